package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// source is the folder of this package; tests work in others.
var source = func() string {
	folder, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return folder
}()

// home is the home folder of whoever runs the tests, with the caches of the Go tools.
var home = os.Getenv("HOME")

// command runs greenroom with args and gives what it printed.
func command(t testing.TB, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return commandWithInput(t, "", args...)
}

func commandWithInput(t testing.TB, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

// cleanEnvironment keeps the variables and files of whoever runs the tests out of them.
func cleanEnvironment(t testing.TB) {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "MLFLOW_") || strings.HasPrefix(name, "GREENROOM_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("HOME", t.TempDir())
	t.Chdir(t.TempDir())
}

// running is a greenroom server in this process.
type running struct {
	url    string
	banner string
	stop   func() (code int, stderr string) // as SIGTERM does
}

// startServer runs greenroom server in an empty folder until it listens.
func startServer(t testing.TB, args ...string) running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stdout, w := io.Pipe()
	var errs bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"server", "--port", "0"}, args...), strings.NewReader(""), w, &errs)
		w.Close()
	}()
	lines := bufio.NewReader(stdout)
	s := running{}
	for !strings.Contains(s.banner, "python -c") {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the server ended with %d: %s", <-code, errs.String())
		}
		s.banner += line
		if _, uri, found := strings.Cut(line, "export MLFLOW_TRACKING_URI="); found {
			s.url = strings.TrimSpace(uri)
		}
	}
	stopped := false
	s.stop = func() (int, string) {
		stopped = true
		cancel()
		return <-code, errs.String()
	}
	t.Cleanup(func() {
		if !stopped {
			s.stop()
		}
	})
	return s
}

func TestServer_SaysWhereDataLiesAndKeepsItPrivate(t *testing.T) {
	cleanEnvironment(t)
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	s := startServer(t)
	for _, want := range []string{
		"http://127.0.0.1:", filepath.Join(folder, "greenroom.db"), filepath.Join(folder, "mlartifacts"),
		"export MLFLOW_TRACKING_URI=" + s.url, "import mlflow",
	} {
		if !strings.Contains(s.banner, want) {
			t.Errorf("the banner lacks %q:\n%s", want, s.banner)
		}
	}
	for name, want := range map[string]os.FileMode{"greenroom.db": 0o600, "greenroom.db-wal": 0o600, "mlartifacts": 0o700} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", name, got, want)
		}
	}
	if code, stderr := s.stop(); code != 0 {
		t.Errorf("stopped with %d: %s", code, stderr)
	}
}

func TestServer_AnswersRunningRequestsBeforeItStops(t *testing.T) {
	cleanEnvironment(t)
	s := startServer(t)
	body, sender := io.Pipe()
	req, err := http.NewRequest(http.MethodPut, s.url+"/api/2.0/mlflow-artifacts/artifacts/1/late.txt", body)
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				err = errorString(resp.Status)
			}
		}
		answered <- err
	}()
	if _, err := io.WriteString(sender, "first half, "); err != nil { // returns when the client sends it
		t.Fatal(err)
	}
	waitInFlight(t, s)
	stopped := make(chan int, 1)
	go func() {
		code, _ := s.stop()
		stopped <- code
	}()
	waitClosed(t, s)
	if _, err := io.WriteString(sender, "second half"); err != nil {
		t.Fatal(err)
	}
	if err := sender.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if code := <-stopped; code != 0 {
		t.Errorf("exit code %d", code)
	}
	content, err := os.ReadFile("mlartifacts/1/late.txt")
	if err != nil || string(content) != "first half, second half" {
		t.Errorf("stored %q, %v", content, err)
	}
}

type errorString string

func (e errorString) Error() string { return string(e) }

// waitInFlight waits until the upload runs beside the request that asks.
func waitInFlight(t testing.TB, s running) {
	t.Helper()
	until(t, func() bool {
		resp, err := http.Get(s.url + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(text), "greenroom_http_requests_in_flight 2")
	})
}

// waitClosed waits until the server takes no new connections.
func waitClosed(t testing.TB, s running) {
	t.Helper()
	until(t, func() bool {
		conn, err := net.DialTimeout("tcp", strings.TrimPrefix(s.url, "http://"), time.Second)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
}

// until asks again and again, and gives up after some minutes.
func until(t testing.TB, done func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come about in five minutes")
		}
	}
}

func TestServer_TakesAnMLflowServerCommandLine(t *testing.T) {
	cleanEnvironment(t)
	t.Setenv("MLFLOW_STATIC_PREFIX", "/from-env")
	t.Setenv("MLFLOW_SERVE_ARTIFACTS", "false")
	t.Setenv("MLFLOW_SERVER_X_FRAME_OPTIONS", "deny")
	s := startServer(t, "-h", "localhost", "-w", "4", "--static-prefix", "/ml", "--serve-artifacts", "--registry-store-uri", "sqlite:///a/b.db",
		"--backend-store-uri", "sqlite:///a/b.db", "--gunicorn-opts", "--timeout 60", "--expose-prometheus", "/tmp/metrics", "--disable-workspaces",
		"--allowed-hosts", "localhost, mlflow.company.com")
	if !strings.HasSuffix(s.url, "/ml") || !strings.HasPrefix(s.url, "http://localhost:") {
		t.Errorf("it listens on %s", s.url)
	}
	req, err := http.NewRequest(http.MethodGet, s.url+"/api/2.0/mlflow/experiments/get?experiment_id=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "mlflow.company.com"
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(text), "mlflow-artifacts:/0") {
		t.Errorf("%s %s, %v", resp.Status, text, err)
	}
	if got := resp.Header.Get("X-Frame-Options"); got != "DENY" {
		t.Errorf("X-Frame-Options is %q", got)
	}
	code, stderr := s.stop()
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, flag := range []string{"--workers", "--gunicorn-opts", "--expose-prometheus", "--disable-workspaces"} {
		if !strings.Contains(stderr, "note: "+flag+" has no effect") {
			t.Errorf("no note about %s in %q", flag, stderr)
		}
	}
	if strings.Contains(stderr, "note: --static-prefix") {
		t.Errorf("a note about a flag that works: %s", stderr)
	}
}

func TestServer_WithoutServedArtifactsTheRootIsALocalFolder(t *testing.T) {
	cleanEnvironment(t)
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	s := startServer(t, "--no-serve-artifacts")
	code, stdout, stderr := command(t, "runs", "list", "--experiment", "Default", "--tracking-uri", s.url)
	if code != 0 {
		t.Errorf("%d %s %s", code, stdout, stderr)
	}
	if !strings.Contains(s.banner, "not stored by this server; new experiments keep them in "+filepath.Join(folder, "mlruns")) {
		t.Error(s.banner)
	}
	resp, err := http.Get(s.url + "/api/2.0/mlflow/experiments/get?experiment_id=0")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(text), `"artifact_location":"`+filepath.Join(folder, "mlruns", "0")+`"`) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestServer_RefusesWhatItCannotDo(t *testing.T) {
	cleanEnvironment(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		env  string
		args string
		code int
		want string
	}{
		"unknown flag":            {args: "--nope", code: 2, want: "unknown flag: --nope"},
		"argument":                {args: "now", code: 2, want: `"now"`},
		"port is no number":       {args: "--port x", code: 2, want: `"x"`},
		"port out of range":       {args: "--port 70000", code: 2, want: "0 to 65535"},
		"port taken":              {args: "--port " + port, code: 1, want: "port " + port + " on 127.0.0.1 is taken"},
		"port taken, from env":    {env: "MLFLOW_PORT=" + port, code: 1, want: "is taken"},
		"someone else's address":  {args: "--host 192.0.2.1 --no-auth", code: 1, want: "not an address of this machine"},
		"other app":               {args: "--app-name oidc-auth", code: 2, want: "write --auth"},
		"auth or not":             {args: "--auth --no-auth", code: 2, want: "exclude each other"},
		"default DENY":            {args: "--default-permission DENY", code: 2, want: "NO_PERMISSIONS"},
		"default level":           {args: "--default-permission read", code: 2, want: "must be one of"},
		"issuer without audience": {args: "--oidc-issuer https://idp.company.com", code: 2, want: "--oidc-audience"},
		"audience without issuer": {args: "--oidc-audience x", code: 2, want: "--oidc-issuer"},
		"JWTs that nobody asks":   {args: "--no-auth --key-file x.json", code: 2, want: "leave it out"},
		"no such key file":        {args: "--key-file x.json", code: 1, want: "x.json"},
		"unsafe issuer":           {args: "--oidc-issuer http://idp.company.com --oidc-audience x", code: 1, want: "https"},
		"proxy":                   {args: "--trusted-proxies nginx", code: 2, want: "10.0.0.0/8"},
		"admin without password":  {env: "MLFLOW_AUTH_ADMIN_USERNAME=ann", code: 2, want: "MLFLOW_AUTH_ADMIN_PASSWORD"},
		"replica":                 {args: "--read-replica-backend-store-uri sqlite:///x.db", code: 2, want: "leave it out"},
		"artifacts only":          {args: "--artifacts-only", code: 2, want: "leave it out"},
		"workspaces":              {args: "--enable-workspaces", code: 2, want: "no workspaces"},
		"workspaces, from env":    {env: "MLFLOW_ENABLE_WORKSPACES=true", code: 2, want: "no workspaces"},
		"workspace":               {env: "MLFLOW_WORKSPACE=a", code: 2, want: "unset it"},
		"trace archive":           {args: "--trace-archival-config x.yml", code: 2, want: "traces"},
		"two databases":           {args: "--registry-store-uri sqlite:///x.db", code: 2, want: "one database"},
		"TLS by gunicorn":         {args: "--gunicorn-opts=--certfile=x", code: 2, want: "proxy"},
		"TLS by uvicorn":          {env: "MLFLOW_UVICORN_OPTS=--ssl-keyfile k", code: 2, want: "proxy"},
		"port by gunicorn":        {args: "--gunicorn-opts=-b=0.0.0.0:80", code: 2, want: "--host and --port"},
		"Google's storage":        {args: "--artifacts-destination gs://bucket/x", code: 2, want: "--no-serve-artifacts --default-artifact-root gs://bucket/x"},
		"S3 without a bucket":     {args: "--artifacts-destination s3:///x", code: 1, want: "write s3://bucket"},
		"S3 endpoint":             {args: "--artifacts-destination s3://bucket --s3-public-endpoint-url minio:9000", code: 1, want: "https://minio.company.com:9000"},
		"S3's upload arguments":   {args: "--artifacts-destination s3://bucket", env: `MLFLOW_S3_UPLOAD_EXTRA_ARGS={"Encrypt":1}`, code: 1, want: "ServerSideEncryption"},
		"S3's addressing style":   {args: "--artifacts-destination s3://bucket", env: "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE=dns", code: 1, want: "path, virtual or auto"},
		"root at itself":          {args: "--no-serve-artifacts --default-artifact-root mlflow-artifacts:/", code: 1, want: "--no-serve-artifacts"},
		"prefix":                  {args: "--static-prefix ml/", code: 2, want: "/mlflow"},
		"frame":                   {args: "--x-frame-options ALLOW-FROM", code: 2, want: "SAMEORIGIN"},
		"log level":               {args: "--log-level loud", code: 2, want: "debug, info"},
		"log format":              {args: "--log-format xml", code: 2, want: "text or json"},
		"presigned URLs":          {args: "--presigned-urls yes", code: 2, want: "auto, server or off"},
		"public URL":              {args: "--public-url mlflow.example.com", code: 2, want: "https://mlflow.example.com"},
		"public URL with a user":  {env: "GREENROOM_PUBLIC_URL=https://u:hush@mlflow.example.com", code: 2, want: "without a user"},
		"time of URLs":            {env: "MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS=1h", code: 2, want: "MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS"},
		"request size":            {args: "--max-request-size 10", code: 2, want: "at least"},
		"boolean":                 {env: "MLFLOW_SERVE_ARTIFACTS=perhaps", code: 2, want: "MLFLOW_SERVE_ARTIFACTS"},
		"truncate":                {env: "MLFLOW_TRUNCATE_LONG_VALUES=2", code: 2, want: "MLFLOW_TRUNCATE_LONG_VALUES"},
		"source pattern":          {env: "MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX=(", code: 2, want: "MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX is not a regular expression"},
		"MySQL":                   {args: "--backend-store-uri mysql://db/x", code: 1, want: "postgresql://"},
		"file store":              {args: "--backend-store-uri ./mlruns", code: 1, want: "sqlite:///"},
		"no PostgreSQL there":     {args: "--backend-store-uri postgresql://u:hush@127.0.0.1:1/x", code: 1, want: "check --backend-store-uri"},
	} {
		t.Run(name, func(t *testing.T) {
			if variable, value, ok := strings.Cut(test.env, "="); ok {
				t.Setenv(variable, value)
			}
			args := []string{"server"}
			if !strings.Contains(test.args+test.env, "port") && !strings.Contains(test.env, "PORT") {
				args = append(args, "--port", "0")
			}
			code, stdout, stderr := command(t, append(args, strings.Fields(test.args)...)...)
			if code != test.code || stdout != "" {
				t.Errorf("exit code %d, want %d; printed %q", code, test.code, stdout)
			}
			if strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, test.want) {
				t.Errorf("got %q, want one line with %q", stderr, test.want)
			}
			if strings.Contains(stderr, "hush") {
				t.Errorf("the password is shown: %s", stderr)
			}
		})
	}
	if _, err := os.Stat("greenroom.db"); err == nil {
		t.Error("a refused start left a database")
	}
}

func TestCommandLine_MistakesExitWith2(t *testing.T) {
	cleanEnvironment(t)
	for _, args := range []string{
		"nope", "db nope", "models nope", "models alias nope", "runs show", "models transition churn 1", "models transition churn one Production",
		"models list --tracking-uri ftp://x", "models list --tracking-uri 127.0.0.1:5000", "models list", "models resolve runs:/x/y",
		"models resolve models:/churn", "models resolve models:/churn/1/2", "models resolve models:/@x", "runs list --tracking-uri http://127.0.0.1:1",
		"models list --max 0 --tracking-uri http://127.0.0.1:1",
	} {
		if code, _, stderr := command(t, strings.Fields(args)...); code != 2 || stderr == "" {
			t.Errorf("greenroom %s: exit code %d, %q", args, code, stderr)
		}
	}
}
