package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// client calls an MLflow server, this one or a genuine one, as MLflow's own client would: same variables, same credentials.
type client struct {
	base     *url.URL
	http     *http.Client
	user     string
	password string
	token    string
	// pause is the time before the first repetition of a GET that failed; each further one doubles it.
	pause time.Duration
}

const (
	getAttempts      = 4
	maxAnswerBytes   = 256 << 20
	longestErrorText = 300
)

// newClient reads MLFLOW_TRACKING_URI (uri, if given, wins) and the variables for credentials and TLS.
func newClient(uri string, getenv func(string) string) (*client, error) {
	if uri == "" {
		uri = getenv("MLFLOW_TRACKING_URI")
	}
	if uri == "" {
		return nil, usageError{errors.New("no server given: set MLFLOW_TRACKING_URI, or use --tracking-uri http://127.0.0.1:5000")}
	}
	base, err := url.Parse(uri)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, usageError{fmt.Errorf("tracking URI %q is not the URL of a server, such as http://127.0.0.1:5000", redacted(uri))}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if transport.TLSClientConfig, err = tlsConfig(getenv); err != nil {
		return nil, err
	}
	timeout := 120 * time.Second
	if text := getenv("MLFLOW_HTTP_REQUEST_TIMEOUT"); text != "" {
		seconds, err := strconv.Atoi(text)
		if err != nil || seconds <= 0 {
			return nil, usageError{fmt.Errorf("environment variable MLFLOW_HTTP_REQUEST_TIMEOUT=%s is not a number of seconds", text)}
		}
		timeout = time.Duration(seconds) * time.Second
	}
	c := &client{base: base, http: &http.Client{Transport: transport, Timeout: timeout, CheckRedirect: checkRedirect}, pause: 500 * time.Millisecond}
	if err := c.readCredentials(getenv); err != nil {
		return nil, err
	}
	if base.User != nil { // wins over everything, as in Python's requests
		c.user = base.User.Username()
		c.password, _ = base.User.Password()
		base.User = nil
	}
	return c, nil
}

// redacted is a URI without its password, as far as it can be understood.
func redacted(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return "(not shown)"
	}
	return u.Redacted()
}

// checkRedirect follows a redirect only if the request stays what it is: most turn a POST into a GET.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if req.Method != via[0].Method || len(via) >= 10 {
		return http.ErrUseLastResponse
	}
	return nil
}

func tlsConfig(getenv func(string) string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	authority := getenv("MLFLOW_TRACKING_SERVER_CERT_PATH")
	if text := getenv("MLFLOW_TRACKING_INSECURE_TLS"); text != "" {
		insecure, err := parseBool(text)
		if err != nil {
			return nil, usageError{fmt.Errorf("environment variable MLFLOW_TRACKING_INSECURE_TLS: %w", err)}
		}
		if insecure && authority != "" {
			return nil, usageError{errors.New("MLFLOW_TRACKING_INSECURE_TLS and MLFLOW_TRACKING_SERVER_CERT_PATH exclude each other: unset one")}
		}
		config.InsecureSkipVerify = insecure
	}
	if authority != "" {
		pem, err := os.ReadFile(authority)
		if err != nil {
			return nil, fmt.Errorf("MLFLOW_TRACKING_SERVER_CERT_PATH: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("MLFLOW_TRACKING_SERVER_CERT_PATH: %s holds no certificate in PEM form", authority)
		}
	}
	if path := getenv("MLFLOW_TRACKING_CLIENT_CERT_PATH"); path != "" {
		pair, err := tls.LoadX509KeyPair(path, path)
		if err != nil {
			return nil, fmt.Errorf("MLFLOW_TRACKING_CLIENT_CERT_PATH: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// readCredentials takes user and password from the variables and, field by field, from ~/.mlflow/credentials. The token
// counts only without them.
func (c *client) readCredentials(getenv func(string) string) error {
	file, err := readCredentialsFile(getenv("HOME"))
	if err != nil {
		return err
	}
	first := func(variable, key string) string {
		if value := getenv(variable); value != "" {
			return value
		}
		return file[key]
	}
	c.user = first("MLFLOW_TRACKING_USERNAME", "mlflow_tracking_username")
	c.password = first("MLFLOW_TRACKING_PASSWORD", "mlflow_tracking_password")
	c.token = getenv("MLFLOW_TRACKING_TOKEN")
	if c.user == "" || c.password == "" {
		c.user, c.password = "", ""
	}
	return nil
}

// readCredentialsFile gives the keys of the file's [mlflow] section.
func readCredentialsFile(home string) (map[string]string, error) {
	values := map[string]string{}
	if home == "" {
		return values, nil
	}
	file, err := os.Open(filepath.Join(home, ".mlflow", "credentials"))
	if errors.Is(err, os.ErrNotExist) {
		return values, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	section := ""
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") {
			section = line
			continue
		}
		if i := strings.IndexAny(line, "=:"); i > 0 && section == "[mlflow]" && !strings.ContainsRune("#;", rune(line[0])) {
			values[strings.ToLower(strings.TrimSpace(line[:i]))] = strings.TrimSpace(line[i+1:])
		}
	}
	return values, lines.Err()
}

// apiError is a server's refusal.
type apiError struct {
	status  int
	code    string // MLflow's error_code; "" if the answer is not MLflow's
	message string
}

func (e *apiError) Error() string {
	text := e.message
	if e.code == "" {
		text = fmt.Sprintf("the server answers %d %s: %s", e.status, http.StatusText(e.status), e.message)
	}
	if e.status == http.StatusUnauthorized && !strings.Contains(text, "MLFLOW_TRACKING_TOKEN") {
		text += " (set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD)"
	}
	return text
}

func (e *apiError) exitCode() int {
	switch {
	case e.status == http.StatusNotFound && e.code == "RESOURCE_DOES_NOT_EXIST":
		return exitNotFound
	case e.status == http.StatusUnauthorized, e.status == http.StatusForbidden:
		return exitRefused
	case e.code != "" && e.status >= 400 && e.status < 500 && e.status != http.StatusTooManyRequests && e.code != "ENDPOINT_NOT_FOUND":
		return exitRefused
	}
	return exitFailed
}

// notFoundError is something that the server's answer does not contain.
type notFoundError struct{ message string }

func (e *notFoundError) Error() string { return e.message }

// get calls GET path with query and decodes the answer into out. It tries again after failures that may pass.
func (c *client) get(ctx context.Context, path string, query url.Values, out any) error {
	pause := c.pause
	for attempt := 1; ; attempt++ {
		wait, err := c.do(ctx, http.MethodGet, path+"?"+query.Encode(), nil, out)
		if err == nil || wait < 0 || attempt == getAttempts {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(max(wait, pause)):
		}
		pause *= 2
	}
}

// send calls another method, once: only the user can know whether to do it again.
func (c *client) send(ctx context.Context, method, path string, body, out any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, method, path, encoded, out)
	return err
}

// do makes one request to a path below /api/2.0/mlflow/, or to one that begins with a slash as it is. With an error comes the
// time to wait before a repetition; negative if that would not help.
func (c *client) do(ctx context.Context, method, path string, body []byte, out any) (wait time.Duration, err error) {
	const never = -1
	if !strings.HasPrefix(path, "/") {
		path = "/api/2.0/mlflow/" + path
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.base.String(), "/")+path, bytes.NewReader(body))
	if err != nil {
		return never, err
	}
	req.Header.Set("User-Agent", "greenroom/"+version)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	switch {
	case c.user != "":
		req.SetBasicAuth(c.user, c.password)
	case c.token != "":
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return waitAfter(err), fmt.Errorf("can't reach the server: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return 0, fmt.Errorf("read the server's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return c.refused(resp, answer)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return never, fmt.Errorf("%s does not answer as an MLflow server does; check MLFLOW_TRACKING_URI: %w", c.base, err)
	}
	return never, nil
}

// refused makes an error of an answer that is not 200.
func (c *client) refused(resp *http.Response, answer []byte) (wait time.Duration, err error) {
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return -1, &apiError{status: resp.StatusCode, message: "it redirects to " + printable(resp.Header.Get("Location")) + "; set MLFLOW_TRACKING_URI to the server's final address"}
	}
	var body struct {
		Code    string `json:"error_code"`
		Message string `json:"message"`
	}
	failure := &apiError{status: resp.StatusCode}
	if json.Unmarshal(answer, &body) == nil && body.Code != "" {
		failure.code, failure.message = body.Code, printable(body.Message)
	} else {
		failure.message = cut(printable(string(answer)), longestErrorText)
	}
	if !slices.Contains([]int{http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}, resp.StatusCode) {
		return -1, failure
	}
	const longestWait = 10 * time.Second
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // a date or nothing counts as no wish
	return min(max(0, time.Duration(seconds)*time.Second), longestWait), failure
}

// waitAfter tells whether a failed connection is worth another try: one that broke is, one that nobody answers is not.
func waitAfter(err error) time.Duration {
	var op *net.OpError
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op) && op.Op == "read" {
		return 0
	}
	return -1
}

// printable is text in one line that can't steer a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, text)
}

// cut shortens text to n characters.
func cut(text string, n int) string {
	if runes := []rune(text); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return text
}
