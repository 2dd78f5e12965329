package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"greenroom/auth"
	"greenroom/mlflowapi"
	"greenroom/models"
	"greenroom/models/schema"
)

// admin is what commands share that administer users: they ask a server, or the database itself.
type admin struct {
	remote
	database string
}

const adminHelp = `

The server and your credentials come from the variables of MLflow's client: MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME and
MLFLOW_TRACKING_PASSWORD (or ~/.mlflow/credentials), or MLFLOW_TRACKING_TOKEN. Who has the database needs no server and no log-in:
name it with --backend-store-uri, or with MLFLOW_BACKEND_STORE_URI where MLFLOW_TRACKING_URI is not set. A running server notices
within a second.

Exit codes: 0 done; 1 the server can't be reached or failed; 2 wrong command line; 3 not found;
4 refused: not logged in, not allowed, in conflict, or not a valid value.`

func (a *admin) define(cmd *cobra.Command) {
	a.remote.define(cmd)
	cmd.PersistentFlags().StringVar(&a.database, "backend-store-uri", "", "work on this database itself, without a server and a log-in")
}

// with gives work a client of the server or the database that the flags and variables name.
func (a *admin) with(work func(cmd *cobra.Command, c *client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		database, err := a.chosenDatabase()
		if err != nil {
			return err
		}
		if database == "" {
			c, err := newClient(a.uri, os.Getenv)
			if err != nil {
				return err
			}
			return work(cmd, c, args)
		}
		store, err := openAsOperator(cmd.Context(), database)
		if err != nil {
			return err
		}
		defer store.Close() // everything acknowledged is committed
		return work(cmd, operatorClient(store, cmd.ErrOrStderr()), args)
	}
}

// chosenDatabase is the URI of the database to work on; "" for a server's.
func (a *admin) chosenDatabase() (string, error) {
	switch {
	case a.database != "" && a.uri != "":
		return "", usageError{errors.New("give --tracking-uri or --backend-store-uri, not both")}
	case a.database == "" && a.uri == "" && os.Getenv("MLFLOW_TRACKING_URI") == "":
		return os.Getenv("MLFLOW_BACKEND_STORE_URI"), nil
	}
	return a.database, nil
}

// openAsOperator opens a database for commands that know nothing of artifacts.
func openAsOperator(ctx context.Context, uri string) (*models.Store, error) {
	return openPrepared(ctx, uri, models.Options{})
}

// openPrepared opens a database that a server could use at once: a mistyped name must not make a new one.
func openPrepared(ctx context.Context, uri string, options models.Options) (*models.Store, error) {
	status, err := models.Inspect(ctx, uri)
	if err != nil {
		return nil, err
	}
	if err := status.Refused(redacted(uri)); err != nil {
		return nil, err
	}
	if status.State == schema.Empty || len(status.Pending) > 0 {
		return nil, fmt.Errorf("the database %s is not set up for this Greenroom: check its name, and run greenroom db upgrade --backend-store-uri %[1]s", redacted(uri))
	}
	return models.Open(ctx, uri, options)
}

// operatorClient sends its requests to an API in this process, which lets the operator do everything.
func operatorClient(store *models.Store, stderr io.Writer) *client {
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	api := mlflowapi.New(store, mlflowapi.Config{
		Version: version, Log: log, Security: mlflowapi.Security{Disabled: true},
		Auth: operator{auth.NewAuthenticator(store, auth.Options{Log: log, Now: time.Now})},
	})
	return &client{base: &url.URL{Scheme: "http", Host: "localhost"}, http: &http.Client{Transport: inProcess{api}}}
}

// operator is whoever can open the database, and so may do everything with it.
type operator struct{ *auth.Authenticator }

// Authenticate gives theOperator.
func (operator) Authenticate(context.Context, string, string) (*auth.Principal, error) {
	return theOperator(), nil
}

// theOperator is named after the user of the operating system. No user of the server has a colon in the name.
func theOperator() *auth.Principal {
	name := "operator"
	if u, err := user.Current(); err == nil {
		name += ":" + u.Username
	}
	return &auth.Principal{Name: name, Admin: true, Credential: "database"}
}

// inProcess answers requests with a handler in this process.
type inProcess struct{ handler http.Handler }

func (p inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	defer req.Body.Close()
	served := req.Clone(req.Context())
	served.RequestURI, served.RemoteAddr = req.URL.RequestURI(), "127.0.0.1:0"
	w := &answerRecorder{header: http.Header{}, status: http.StatusOK}
	p.handler.ServeHTTP(w, served)
	return &http.Response{
		StatusCode: w.status, Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: req,
	}, nil
}

// answerRecorder keeps what a handler answers.
type answerRecorder struct {
	header http.Header
	status int
	wrote  bool
	body   bytes.Buffer
}

func (w *answerRecorder) Header() http.Header { return w.header }

func (w *answerRecorder) WriteHeader(status int) {
	if !w.wrote {
		w.status, w.wrote = status, true
	}
}

func (w *answerRecorder) Write(p []byte) (int, error) {
	w.wrote = true
	return w.body.Write(p)
}
