package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"greenroom/mlflowapi"
	"greenroom/models"
)

// serverFlags are the flags of greenroom server, named as mlflow server's.
type serverFlags struct {
	backendStoreURI      string
	defaultArtifactRoot  string
	artifactsDestination string
	serveArtifacts       bool
	host                 string
	port                 int
	staticPrefix         string
}

func newServerCommand() *cobra.Command {
	var f serverFlags
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run the tracking server and model registry",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), f, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.backendStoreURI, "backend-store-uri", "sqlite:///greenroom.db", "database: sqlite:///file.db or postgresql://user:password@host/database")
	flags.StringVar(&f.defaultArtifactRoot, "default-artifact-root", "", "where new experiments keep artifacts (default: mlflow-artifacts:/, this server)")
	flags.StringVar(&f.artifactsDestination, "artifacts-destination", "./mlartifacts", "folder for the artifacts this server stores")
	flags.BoolVar(&f.serveArtifacts, "serve-artifacts", true, "store artifacts through this server")
	flags.StringVarP(&f.host, "host", "h", "127.0.0.1", "address to listen on")
	flags.IntVarP(&f.port, "port", "p", 5000, "port to listen on")
	flags.StringVar(&f.staticPrefix, "static-prefix", "", "prefix of every path, such as /mlflow")
	flags.Bool("help", false, "help for server")
	return cmd
}

// shutdownTimeout bounds how long running requests may take to end after SIGTERM.
const shutdownTimeout = 30 * time.Second

// serve runs the server until ctx ends, then lets running requests finish.
func serve(ctx context.Context, f serverFlags, stdout, stderr io.Writer) error {
	log := slog.New(slog.NewTextHandler(stderr, nil))
	root := f.defaultArtifactRoot
	if root == "" {
		root = "mlflow-artifacts:/"
	}
	store, err := models.Open(ctx, f.backendStoreURI, models.Options{ArtifactRoot: root})
	if err != nil {
		return err
	}
	defer store.Close() //nolint:errcheck // the process ends here, and everything acknowledged is committed

	config := mlflowapi.Config{Version: version, StaticPrefix: f.staticPrefix, Log: log}
	closeArtifacts, err := openArtifacts(f, &config)
	if err != nil {
		return err
	}
	defer closeArtifacts()

	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(f.host, strconv.Itoa(f.port)))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{
		Handler:           mlflowapi.New(store, config),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	url := "http://" + listener.Addr().String() + f.staticPrefix
	fmt.Fprintf(stdout, "Greenroom %s listens on %s\n  database   %s\n  artifacts  %s\n\nIn a client:\n  export MLFLOW_TRACKING_URI=%s\n  python -c 'import mlflow; mlflow.log_metric(\"hello\", 1)'\n",
		version, url, f.backendStoreURI, f.artifactsDestination, url)

	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	log.InfoContext(ctx, "stopping: running requests may finish", slog.Duration("timeout", shutdownTimeout))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return errors.Join(errors.New("some requests did not finish in time"), err)
	}
	return nil
}
