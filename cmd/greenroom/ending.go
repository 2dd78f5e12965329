package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// watchedTime is how long after a /readyz a load balancer is taken to be there still.
const watchedTime = time.Minute

// ending is how a server stops without a failed request: whoever asks /readyz hears of it while the server still answers.
type ending struct {
	stopping atomic.Bool
	asked    atomic.Int64 // when /readyz was, last: milliseconds since 1970
}

// isAsked is what /readyz calls to know whether the server is about to stop.
func (e *ending) isAsked() bool {
	e.asked.Store(time.Now().UnixMilli())
	return e.stopping.Load()
}

// handler has clients open another connection, to another server, for what they send next while this one is about to stop.
func (e *ending) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if e.stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// drain goes on serving for a while, if there is anybody to turn to another server meanwhile.
func (e *ending) drain(ctx context.Context, failed <-chan error, d time.Duration) error {
	e.stopping.Store(true)
	if time.Since(time.UnixMilli(e.asked.Load())) > watchedTime {
		return nil
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	case <-time.After(d):
	}
	return nil
}

// runServer serves until ctx ends, goes on for drainTime if a load balancer watches, then lets running requests finish.
func runServer(ctx context.Context, server *http.Server, listener net.Listener, end *ending, drainTime time.Duration, log *slog.Logger) error {
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	log.InfoContext(ctx, "stopping: running requests may finish; a second signal ends them", slog.Duration("drain", drainTime), slog.Duration("timeout", shutdownTime))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime+shutdownTime)
	defer cancel()
	if err := end.drain(ctx, failed, drainTime); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	if err := server.Shutdown(ctx); err != nil {
		return fmt.Errorf("requests that were still running after %s are broken off: %w", shutdownTime, errors.Join(err, server.Close()))
	}
	log.InfoContext(ctx, "stopped")
	return nil
}
