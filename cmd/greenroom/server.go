package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"greenroom/auth"
	"greenroom/mlflowapi"
	"greenroom/models"
	"greenroom/models/schema"
	"greenroom/upkeep"
)

func newServerCommand() *cobra.Command {
	var f serverFlags
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run the tracking server and model registry",
		Long: "Runs the tracking server and model registry. It takes the flags of mlflow server, and reads the same environment variables\n" +
			"(MLFLOW_BACKEND_STORE_URI for --backend-store-uri and so on); a flag wins over its variable.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			stderr := cmd.ErrOrStderr()
			if err := f.readEnvironment(cmd.Flags(), os.Getenv); err != nil {
				return err
			}
			if err := f.check(cmd.Flags(), stderr); err != nil {
				return err
			}
			log, err := f.logger(stderr)
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("backend-store-uri") {
				noteOtherStores(stderr)
			}
			return serve(cmd.Context(), f, cmd.OutOrStdout(), log)
		},
	}
	f.define(cmd.Flags())
	return cmd
}

// noteOtherStores tells a newcomer who starts the server beside MLflow's data that this data is not what is served.
func noteOtherStores(w io.Writer) {
	if _, err := os.Stat("greenroom.db"); err == nil {
		return
	}
	if _, err := os.Stat("mlflow.db"); err == nil {
		fmt.Fprintln(w, "note: there is an mlflow.db here; to serve it instead of a new greenroom.db, add --backend-store-uri sqlite:///mlflow.db")
	}
}

const (
	// shutdownTime bounds how long running requests may take to end after SIGTERM; orchestrators often kill after 30 s.
	shutdownTime = 25 * time.Second
	headerTime   = 10 * time.Second
	// idleTime is longer than the minute after which many load balancers drop a connection: the server must not be first.
	idleTime = 2 * time.Minute
	// maxHeaderBytes leaves net/http, which adds 4 KiB, at 64 KiB: more is refused with 431, be it the URL.
	maxHeaderBytes = 60 << 10
)

// serve runs the server until ctx ends, then lets running requests finish.
func serve(ctx context.Context, f serverFlags, stdout io.Writer, log *slog.Logger) error {
	target, err := models.ParseURI(f.backendStoreURI)
	if err != nil {
		return err
	}
	if f.defaultArtifactRoot, err = artifactRoot(f); err != nil {
		return fmt.Errorf("--default-artifact-root: %w", err)
	}
	destination := ""
	if f.serveArtifacts {
		if destination, err = destinationFolder(f.artifactsDestination); err != nil {
			return fmt.Errorf("--artifacts-destination %s: %w", f.artifactsDestination, err)
		}
	}
	verifier, err := f.verifier(log)
	if err != nil {
		return err
	}
	listener, err := listen(ctx, f)
	if err != nil {
		return err
	}
	defer listener.Close()
	stores, closeStores, err := openArtifacts(ctx, f.artifactLocations(), os.Getenv)
	if err != nil {
		return err
	}
	defer closeStores()

	store, err := models.Open(ctx, f.backendStoreURI, models.Options{
		ArtifactRoot: f.defaultArtifactRoot, ArtifactsDestination: destination, RefuseLongValues: f.refuseLongValues, SourcePattern: f.sourcePattern, AllowedSchemes: f.allowedSchemes,
		AllowedPrefixes: f.allowedPrefixes, AllowLiveChanges: f.allowLiveArtifactChanges,
	})
	if refused := (*schema.RefusedError)(nil); err != nil && target.Dialect == schema.PostgreSQL && !errors.As(err, &refused) {
		return fmt.Errorf("%w: check --backend-store-uri, and that the database is up and lets this user in", err)
	}
	if err != nil {
		return err
	}
	defer store.Close() // the process ends here, and everything acknowledged is committed
	gate, err := f.openGate(ctx, store, verifier, log)
	if err != nil {
		return err
	}
	proxies, err := f.proxies()
	if err != nil {
		return err
	}
	var end ending
	config := mlflowapi.Config{
		Stopping: end.isAsked,
		Version:  version, StaticPrefix: f.staticPrefix, Log: log, Artifacts: stores, MaxRequestBytes: f.maxRequestSize, MaxArtifactBytes: f.maxArtifactSize,
		Auth: gate.authenticator, TrustedProxies: proxies,
		PresignedURLs: f.presignedURLs, PublicURL: f.publicURL, DownloadURLTime: f.downloadURLTime,
		Security: mlflowapi.Security{
			Disabled: f.disableSecurity, AllowedHosts: f.allowedHosts, AllowedOrigins: f.corsAllowedOrigins,
			ListenHost: f.host, FrameOptions: f.xFrameOptions,
		},
	}
	auditLog, closeAuditLog, err := openAuditLog(ctx, f.auditLog, stdout, log)
	if err != nil {
		return err
	}
	defer closeAuditLog()
	config.AuditLog = auditLog
	checkArtifacts(ctx, stores, log)
	sweeper := upkeep.Sweeper{Store: store, Stores: stores, UploadLifetime: upkeep.UploadLifetime, Log: log, Now: time.Now}
	digester := upkeep.NewDigester(store, stores, log)
	defer inBackground(ctx, digester.Run, func(ctx context.Context) { sweeper.Run(ctx, upkeep.SweepEvery) })()

	defer calmGC()()
	server := &http.Server{
		Handler:           end.handler(mlflowapi.New(store, config)),
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	if err := announce(stdout, f, gate, target, listener.Addr()); err != nil {
		return err
	}
	return runServer(ctx, server, listener, &end, f.drainTime, log)
}

// inBackground starts work that ends with ctx, and gives the function that ends it and waits.
func inBackground(ctx context.Context, work ...func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, run := range work {
		wg.Go(func() { run(ctx) })
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// artifactRoot is where experiments keep their artifacts by default, by MLflow's rules.
func artifactRoot(f serverFlags) (string, error) {
	switch {
	case f.defaultArtifactRoot == "" && f.serveArtifacts:
		return "mlflow-artifacts:/", nil
	case f.defaultArtifactRoot == "":
		return filepath.Abs("mlruns")
	case scheme(f.defaultArtifactRoot) == "":
		return filepath.Abs(f.defaultArtifactRoot)
	case scheme(f.defaultArtifactRoot) == "mlflow-artifacts" && !f.serveArtifacts:
		return "", errors.New("mlflow-artifacts: is this server, which --no-serve-artifacts forbids to store artifacts; name another place")
	}
	return f.defaultArtifactRoot, nil
}

func listen(ctx context.Context, f serverFlags) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(f.host, strconv.Itoa(f.port)))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("port %d on %s is taken: stop the program that listens there, or take another port with --port", f.port, f.host)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("--host %s is not an address of this machine", f.host)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("this user may not listen on port %d: take one above 1023 with --port", f.port)
	case err != nil:
		return nil, fmt.Errorf("can't listen on --host %s --port %d: %w", f.host, f.port, err)
	}
	return listener, nil
}

// announce prints where the server listens, where data lies, and what a client needs.
func announce(w io.Writer, f serverFlags, g gate, target models.Target, addr net.Addr) error {
	database := target.String()
	if target.Dialect == schema.SQLite {
		path, err := filepath.Abs(target.Path)
		if err != nil {
			return err
		}
		database = path
	}
	stored := "not stored by this server"
	if f.serveArtifacts {
		folder, err := destinationFolder(f.artifactsDestination)
		if err != nil {
			return err
		}
		stored = folder
	}
	if f.defaultArtifactRoot != "mlflow-artifacts:/" {
		stored += "; new experiments keep them in " + f.defaultArtifactRoot
	}
	client := addr.String()
	if host, port, err := net.SplitHostPort(client); err == nil {
		switch ip := net.ParseIP(host); {
		case ip != nil && ip.IsUnspecified():
			client = net.JoinHostPort("localhost", port)
		case f.host != "":
			client = net.JoinHostPort(f.host, port)
		}
	}
	url := "http://" + client + f.staticPrefix
	fmt.Fprintf(w, "Greenroom %s listens on %s (API of MLflow %s)\n  database   %s\n  artifacts  %s\n", version, url, mlflowapi.MLflowVersion, database, stored)
	fmt.Fprintln(w, "  users     ", f.whoMayUse(g))
	if !auth.IsLoopback(f.host) && f.allowedHosts == nil && !f.disableSecurity {
		fmt.Fprintln(w, "  names      localhost and private addresses; for another host name add --allowed-hosts")
	}
	if g.setupToken != "" {
		fmt.Fprintf(w, "\nMake the first administrator within 24 hours (a restart, also of another replica, prints a new token, and only the newest counts):\n"+
			"  greenroom auth setup --tracking-uri %s --setup-token %s --user NAME\n", url, g.setupToken)
	}
	logIn := ""
	if g.users > 0 && !f.noAuth || f.logInRequired() && !f.noAuth {
		logIn = "  export MLFLOW_TRACKING_TOKEN=...  # or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD\n"
	}
	_, err := fmt.Fprintf(w, "\nIn a client:\n  export MLFLOW_TRACKING_URI=%s\n%s  python -c 'import mlflow; mlflow.log_metric(\"hello\", 1)'\n", url, logIn)
	return err
}
