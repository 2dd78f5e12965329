package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"greenroom/mlflowapi"
	"greenroom/models"
)

// serverFlags are the flags of greenroom server, named as mlflow server's.
type serverFlags struct {
	backendStoreURI      string
	registryStoreURI     string
	defaultArtifactRoot  string
	artifactsDestination string
	s3PublicEndpointURL  string
	serveArtifacts       bool
	host                 string
	port                 int
	staticPrefix         string
	allowedHosts         []string
	corsAllowedOrigins   []string
	xFrameOptions        string
	disableSecurity      bool
	dev                  bool

	identityFlags
	urlFlags
	logFormat       string
	logLevel        string
	auditLog        string
	maxRequestSize  int64
	maxArtifactSize int64
	drainTime       time.Duration

	allowLiveArtifactChanges bool
	allowedPrefixes          []string

	// What MLflow has a variable for, and no flag.
	refuseLongValues bool
	sourcePattern    *regexp.Regexp
	allowedSchemes   []string
}

// foreignFlag is a flag of mlflow server that has nothing to steer here. A harmless one is accepted with a note; one that would
// change what the operator gets is refused.
type foreignFlag struct {
	name, short, env string
	boolean          bool
	refused          bool
	why              string
}

func foreignFlags() []foreignFlag {
	const oneProcess = "one process serves all cores"
	return []foreignFlag{
		{name: "workers", short: "w", env: "MLFLOW_WORKERS", why: oneProcess},
		{name: "gunicorn-opts", env: "MLFLOW_GUNICORN_OPTS", why: oneProcess + ", without gunicorn"},
		{name: "waitress-opts", why: oneProcess + ", without waitress"},
		{name: "uvicorn-opts", env: "MLFLOW_UVICORN_OPTS", why: oneProcess + ", without uvicorn"},
		{name: "expose-prometheus", env: "MLFLOW_EXPOSE_PROMETHEUS", why: "metrics are always at /metrics and need no folder"},
		{name: "secrets-cache-ttl", why: "there is no AI gateway, and so no cache of secrets"},
		{name: "secrets-cache-max-size", why: "there is no AI gateway, and so no cache of secrets"},
		{name: "workspace-store-uri", env: "MLFLOW_WORKSPACE_STORE_URI", why: "there are no workspaces"},
		{name: "disable-workspaces", boolean: true, why: "there are no workspaces"},
		{name: "enable-workspaces", env: "MLFLOW_ENABLE_WORKSPACES", boolean: true, refused: true, why: "there are no workspaces; run one server for each, with its own --backend-store-uri"},
		{name: "read-replica-backend-store-uri", env: "MLFLOW_READ_REPLICA_BACKEND_STORE_URI", refused: true, why: "all queries go to --backend-store-uri; leave it out"},
		{name: "artifacts-only", env: "MLFLOW_ARTIFACTS_ONLY", boolean: true, refused: true, why: "the server always has the tracking API; leave it out, and let a proxy pass only /api/2.0/mlflow-artifacts"},
		{name: "trace-archival-config", env: "MLFLOW_TRACE_ARCHIVAL_CONFIG", refused: true, why: "traces are not served; leave it out"},
	}
}

// define adds all flags to set.
func (f *serverFlags) define(set *pflag.FlagSet) {
	set.SortFlags = false
	set.StringVar(&f.backendStoreURI, "backend-store-uri", "sqlite:///greenroom.db", "database: sqlite:///file.db, sqlite:////absolute/file.db or postgresql://user:password@host/database")
	set.StringVar(&f.registryStoreURI, "registry-store-uri", "", "database of the registered models; only the one of --backend-store-uri")
	set.StringVar(&f.defaultArtifactRoot, "default-artifact-root", "", "where clients keep the artifacts of new experiments: a URI such as s3://bucket/prefix, or a folder (default mlflow-artifacts:/, which is this server; ./mlruns with --no-serve-artifacts)")
	f.serveArtifacts = true
	set.VarPF(boolFlag{&f.serveArtifacts, true}, "serve-artifacts", "", "store artifacts through this server (default)").NoOptDefVal = "true"
	set.VarPF(boolFlag{&f.serveArtifacts, false}, "no-serve-artifacts", "", "let clients reach the artifact store themselves").NoOptDefVal = "true"
	set.StringVar(&f.artifactsDestination, "artifacts-destination", "./mlartifacts", "where this server stores artifacts: a folder, or s3://bucket/prefix")
	set.StringVar(&f.s3PublicEndpointURL, "s3-public-endpoint-url", "", "URL under which clients reach the S3 server of MLFLOW_S3_ENDPOINT_URL, if they need another one than this server (for presigned URLs)")
	set.StringSliceVar(&f.allowedPrefixes, "allow-artifact-prefix", nil, "location such as s3://team/models or /data/models below which clients may choose artifact locations and sources of model versions, besides this server's own")
	set.BoolVar(&f.allowLiveArtifactChanges, "allow-live-artifact-changes", false, "let clients overwrite and delete the files of model versions in Staging and Production")
	set.StringVarP(&f.host, "host", "h", "127.0.0.1", "address to listen on; other than loopback, everyone has to log in")
	set.IntVarP(&f.port, "port", "p", 5000, "port to listen on; 0 takes a free one")
	set.StringVar(&f.staticPrefix, "static-prefix", "", "prefix of every path, such as /mlflow")
	set.StringSliceVar(&f.allowedHosts, "allowed-hosts", nil, "Host headers to accept, with * as wildcard; a name without a port stands for all ports (default localhost, private addresses and --host)")
	set.StringSliceVar(&f.corsAllowedOrigins, "cors-allowed-origins", nil, "origins of other web sites whose pages may call the server, with * as wildcard (default localhost)")
	set.StringVar(&f.xFrameOptions, "x-frame-options", "SAMEORIGIN", "who may show the server in a frame: SAMEORIGIN, DENY or NONE (everyone)")
	set.BoolVar(&f.disableSecurity, "disable-security-middleware", false, "no checks of Host and Origin, no X-Frame-Options: any web page can then use the server")
	set.BoolVar(&f.dev, "dev", false, "same as --log-level debug")

	f.urlFlags.define(set)
	f.identityFlags.define(set)
	set.StringVar(&f.logFormat, "log-format", "text", "log lines on standard error as text or json")
	set.StringVar(&f.logLevel, "log-level", "info", "debug (every request), info, warn or error")
	set.StringVar(&f.auditLog, "audit-log", "", "file for the audit log's entries as lines of JSON, besides the database; - for standard output; SIGHUP opens it anew")
	set.Int64Var(&f.maxRequestSize, "max-request-size", mlflowapi.DefaultMaxRequestBytes, "largest JSON request, in bytes")
	set.Int64Var(&f.maxArtifactSize, "max-artifact-size", 0, "largest artifact that clients may store through the server, in bytes; 0 for no limit")
	set.DurationVar(&f.drainTime, "drain-time", 5*time.Second, "how long the server still answers after SIGTERM while /readyz says 503, so that load balancers turn away; only if /readyz was asked within the last minute")
	set.Bool("help", false, "help for server")

	for _, foreign := range foreignFlags() {
		usage := "accepted: " + foreign.why
		if foreign.refused {
			usage = "refused: " + foreign.why
		}
		if foreign.boolean {
			set.BoolP(foreign.name, foreign.short, false, usage)
		} else {
			set.StringP(foreign.name, foreign.short, "", usage)
		}
	}
}

// environment names the variable behind each flag; mlflow server reads the same ones.
func (f *serverFlags) environment() map[string]string {
	env := map[string]string{
		"backend-store-uri":           "MLFLOW_BACKEND_STORE_URI",
		"registry-store-uri":          "MLFLOW_REGISTRY_STORE_URI",
		"default-artifact-root":       "MLFLOW_DEFAULT_ARTIFACT_ROOT",
		"serve-artifacts":             "MLFLOW_SERVE_ARTIFACTS",
		"artifacts-destination":       "MLFLOW_ARTIFACTS_DESTINATION",
		"s3-public-endpoint-url":      "GREENROOM_S3_PUBLIC_ENDPOINT_URL",
		"host":                        "MLFLOW_HOST",
		"port":                        "MLFLOW_PORT",
		"static-prefix":               "MLFLOW_STATIC_PREFIX",
		"allowed-hosts":               "MLFLOW_SERVER_ALLOWED_HOSTS",
		"cors-allowed-origins":        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS",
		"x-frame-options":             "MLFLOW_SERVER_X_FRAME_OPTIONS",
		"disable-security-middleware": "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE",
		"log-format":                  "GREENROOM_LOG_FORMAT",
		"log-level":                   "GREENROOM_LOG_LEVEL",
		"audit-log":                   "GREENROOM_AUDIT_LOG",
		"max-request-size":            "GREENROOM_MAX_REQUEST_SIZE",
		"max-artifact-size":           "GREENROOM_MAX_ARTIFACT_SIZE",
		"allow-artifact-prefix":       "GREENROOM_ALLOWED_ARTIFACT_PREFIXES",
		"allow-live-artifact-changes": "GREENROOM_ALLOW_LIVE_ARTIFACT_CHANGES",
	}
	maps.Copy(env, identityVariables())
	maps.Copy(env, urlVariables())
	for _, foreign := range foreignFlags() {
		if foreign.env != "" {
			env[foreign.name] = foreign.env
		}
	}
	return env
}

// readEnvironment fills in the flags that the command line leaves out. An empty variable counts as unset.
func (f *serverFlags) readEnvironment(set *pflag.FlagSet, getenv func(string) string) error {
	for name, variable := range f.environment() {
		value := getenv(variable)
		if value == "" || set.Changed(name) || name == "serve-artifacts" && set.Changed("no-serve-artifacts") {
			continue
		}
		if set.Lookup(name).Value.Type() == "bool" {
			b, err := parseBool(value)
			if err != nil {
				return usageError{fmt.Errorf("environment variable %s: %w", variable, err)}
			}
			value = strconv.FormatBool(b)
		}
		if err := set.Set(name, value); err != nil {
			return usageError{fmt.Errorf("environment variable %s: %w", variable, err)}
		}
	}
	if value := getenv("MLFLOW_TRUNCATE_LONG_VALUES"); value != "" {
		truncate, err := parseBool(value)
		if err != nil {
			return usageError{fmt.Errorf("environment variable MLFLOW_TRUNCATE_LONG_VALUES: %w", err)}
		}
		f.refuseLongValues = !truncate
	}
	if pattern := getenv("MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX"); pattern != "" {
		var err error
		if f.sourcePattern, err = regexp.Compile(pattern); err != nil {
			return usageError{fmt.Errorf("environment variable MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX is not a regular expression of Go's syntax: %w", err)}
		}
	}
	if err := f.urlFlags.readEnvironment(getenv); err != nil {
		return err
	}
	f.admin.name, f.admin.password = getenv("MLFLOW_AUTH_ADMIN_USERNAME"), getenv("MLFLOW_AUTH_ADMIN_PASSWORD")
	f.mlflowConfig = getenv("MLFLOW_AUTH_CONFIG_PATH")
	f.allowedSchemes = trimmed(strings.Split(strings.ToLower(getenv("MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES")), ","))
	if workspace := getenv("MLFLOW_WORKSPACE"); workspace != "" {
		return usageError{fmt.Errorf("environment variable MLFLOW_WORKSPACE=%s is for clients, and there are no workspaces: unset it", workspace)}
	}
	return nil
}

// check refuses values that can't work, and tells the operator about flags that do nothing.
func (f *serverFlags) check(set *pflag.FlagSet, notes io.Writer) error {
	if err := f.checkForeign(set, notes); err != nil {
		return usageError{err}
	}
	if err := f.checkIdentity(notes); err != nil {
		return usageError{err}
	}
	if err := f.urlFlags.check(); err != nil {
		return usageError{err}
	}
	if f.registryStoreURI != "" && f.registryStoreURI != f.backendStoreURI {
		return usageError{errors.New("--registry-store-uri differs from --backend-store-uri: runs and registered models share one database; leave it out")}
	}
	f.allowedHosts, f.corsAllowedOrigins = trimmed(f.allowedHosts), trimmed(f.corsAllowedOrigins)
	if f.maxArtifactSize < 0 {
		return usageError{fmt.Errorf("--max-artifact-size %d: write a number of bytes, or 0 for no limit", f.maxArtifactSize)}
	}
	f.allowedPrefixes = trimmed(f.allowedPrefixes)
	for _, prefix := range f.allowedPrefixes {
		if err := models.CheckPrefix(prefix); err != nil {
			return usageError{fmt.Errorf("--allow-artifact-prefix %s: %w", prefix, err)}
		}
	}
	switch f.xFrameOptions = strings.ToUpper(f.xFrameOptions); f.xFrameOptions {
	case "SAMEORIGIN", "DENY", "NONE":
	default:
		return usageError{fmt.Errorf("--x-frame-options %q: write SAMEORIGIN, DENY or NONE", f.xFrameOptions)}
	}
	if p := f.staticPrefix; p != "" && (p[0] != '/' || strings.HasSuffix(p, "/") || strings.ContainsAny(p, "{}:*?#%\\ ") || strings.Contains(p, "//") || strings.Contains(p, "/.")) {
		return usageError{fmt.Errorf("--static-prefix %q: write it like /mlflow: starting with a slash, without one at the end, and plain in between", p)}
	}
	if f.port < 0 || f.port > 65535 {
		return usageError{fmt.Errorf("--port %d: ports go from 0 to 65535", f.port)}
	}
	if f.maxRequestSize < 1<<20 {
		return usageError{fmt.Errorf("--max-request-size %d: MLflow's clients send up to 1 MiB, so allow at least %d bytes", f.maxRequestSize, 1<<20)}
	}
	if s := scheme(f.artifactsDestination); f.serveArtifacts && !storable(f.artifactsDestination) {
		return usageError{fmt.Errorf("--artifacts-destination %s: this server stores artifacts in a local folder or in S3 (s3://bucket/prefix); name one, or let clients reach %s themselves with --no-serve-artifacts --default-artifact-root %[1]s", f.artifactsDestination, s)}
	}
	return nil
}

// artifactLocations are those of the stores that the server opens.
func (f *serverFlags) artifactLocations() artifactLocations {
	l := artifactLocations{defaultRoot: f.defaultArtifactRoot, s3PublicEndpoint: f.s3PublicEndpointURL}
	if f.serveArtifacts {
		l.destination = f.artifactsDestination
	}
	return l
}

// trimmed is a list without blanks and empty entries; nil when nothing is left.
func trimmed(list []string) (out []string) {
	for _, entry := range list {
		if entry = strings.TrimSpace(entry); entry != "" {
			out = append(out, entry)
		}
	}
	return out
}

func (f *serverFlags) checkForeign(set *pflag.FlagSet, notes io.Writer) error {
	for _, foreign := range foreignFlags() {
		flag := set.Lookup(foreign.name)
		if !flag.Changed || foreign.boolean && flag.Value.String() == "false" {
			continue
		}
		if foreign.refused {
			return fmt.Errorf("--%s is not supported: %s", foreign.name, foreign.why)
		}
		if strings.HasSuffix(foreign.name, "-opts") {
			if err := checkServerOpts(foreign.name, flag.Value.String()); err != nil {
				return err
			}
		}
		fmt.Fprintf(notes, "note: --%s has no effect: %s\n", foreign.name, foreign.why)
	}
	return nil
}

// checkServerOpts refuses options for Python's web servers that the operator must not believe to be at work.
func checkServerOpts(name, opts string) error {
	for _, opt := range strings.Fields(opts) {
		opt, _, _ = strings.Cut(opt, "=")
		switch {
		case strings.HasPrefix(opt, "--ssl") || slices.Contains([]string{"--certfile", "--keyfile", "--ca-certs"}, opt):
			return fmt.Errorf("--%s %s: the server speaks plain HTTP; let a proxy in front of it do TLS", name, opt)
		case slices.Contains([]string{"--bind", "-b", "--listen", "--host", "--port", "--uds", "--fd", "--unix-socket"}, opt):
			return fmt.Errorf("--%s %s: say it with --host and --port", name, opt)
		case slices.Contains([]string{"--root-path", "--url-prefix"}, opt):
			return fmt.Errorf("--%s %s: say it with --static-prefix", name, opt)
		}
	}
	return nil
}

// logger writes to w what --log-format and --log-level ask for.
func (f *serverFlags) logger(w io.Writer) (*slog.Logger, error) {
	level := slog.LevelDebug
	if !f.dev {
		if err := level.UnmarshalText([]byte(f.logLevel)); err != nil || strings.ContainsAny(f.logLevel, "+-") {
			return nil, usageError{fmt.Errorf("--log-level %q: write debug, info, warn or error", f.logLevel)}
		}
	}
	options := &slog.HandlerOptions{Level: level}
	switch f.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, usageError{fmt.Errorf("--log-format %q: write text or json", f.logFormat)}
}

// boolFlag sets a bool to one of the two values that a pair like --serve-artifacts and --no-serve-artifacts stands for.
type boolFlag struct {
	target *bool
	means  bool
}

func (b boolFlag) String() string {
	return ""
}

func (b boolFlag) Set(text string) error {
	v, err := parseBool(text)
	if err == nil {
		*b.target = v == b.means
	}
	return err
}

func (b boolFlag) Type() string { return "bool" }

// parseBool reads the spellings that MLflow accepts.
func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "t", "1", "yes", "y", "on":
		return true, nil
	case "false", "f", "0", "no", "n", "off":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", text)
}

// usageError is a command line that can't be run; the exit code is 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// usage makes the mistakes of a command line in cmd and below usageErrors, unknown commands included.
func usage(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())}
	})
	args := cmd.Args
	if !cmd.Runnable() {
		args = cobra.NoArgs
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	cmd.Args = func(cmd *cobra.Command, given []string) error {
		if err := args(cmd, given); err != nil {
			return usageError{fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())}
		}
		return nil
	}
	for _, child := range cmd.Commands() {
		usage(child)
	}
}
