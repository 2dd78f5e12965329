package upkeep

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"greenroom/artifacts"
	"greenroom/models"
	"greenroom/models/modelstest"
	"greenroom/panics"
)

// lines gives what is written, line by line.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func wantPanic(t *testing.T, text string) {
	t.Helper()
	if !strings.Contains(text, "panic: ") || !strings.Contains(text, "goroutine") {
		t.Errorf("got %s, want a panic with its stack", text)
	}
}

func TestDigester_GoesOnAfterAPanic(t *testing.T) {
	log := make(lines, 1)
	d := NewDigester(nil, artifacts.Stores{}, slog.New(slog.NewTextHandler(log, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	wake := make(chan struct{}, 1)
	wake <- struct{}{}
	steps := 0
	d.loop(ctx, wake, func(context.Context) (bool, error) {
		if steps++; steps == 1 {
			panic("broken")
		}
		cancel()
		return false, nil
	})
	wantPanic(t, <-log)
	if steps != 2 {
		t.Errorf("%d steps", steps)
	}
}

func TestHold_EndsItsLeaseWithAPanic(t *testing.T) {
	var held context.Context
	err := panics.Caught(func() error {
		return hold(t.Context(), nil, func(ctx context.Context) error {
			held = ctx
			panic("broken")
		})
	})
	wantPanic(t, err.Error())
	if held.Err() == nil {
		t.Error("the lease is renewed for ever")
	}
}

// brokenStore panics where a store would work.
type brokenStore struct {
	artifacts.Store
	artifacts.Multiparter
}

func TestSweeper_GoesOnAfterAPanic(t *testing.T) {
	store, err := models.Open(t.Context(), modelstest.SQLite(t), models.Options{ArtifactRoot: "mlflow-artifacts:/"})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	log := make(lines)
	s := Sweeper{Store: store, Stores: artifacts.Stores{Served: brokenStore{}}, UploadLifetime: time.Hour, Log: slog.New(slog.NewTextHandler(log, nil)), Now: time.Now}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(ctx, time.Millisecond)
	}()
	for range 2 {
		wantPanic(t, <-log)
	}
	cancel()
	for {
		select {
		case <-log:
		case <-ended:
			return
		}
	}
}

func TestEach_APanicIsAnError(t *testing.T) {
	err := each(t.Context(), 2, func(_ context.Context, work chan<- int) error {
		work <- 1
		return nil
	}, func(context.Context, int) error { panic("broken") })
	if err == nil {
		t.Fatal("no error")
	}
	wantPanic(t, err.Error())
}
