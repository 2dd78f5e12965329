package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"
)

const artifactPath = "/api/2.0/mlflow-artifacts/artifacts/"

func (e *env) artifactWorkloads() []workload {
	const small, smallSize = 200, 8 << 10
	return []workload{
		{
			name: fmt.Sprintf("an artifact of %s MiB", plain(float64(e.artifact)/(1<<20))),
			figures: []figure{
				{name: "up", unit: mibPerSec, targets: []target{atLeast("", 4, mlflow)}},
				{name: "down", unit: mibPerSec, targets: []target{atLeast("", 4, mlflow)}},
				{name: "memory grows by (PSS)", unit: mib, targets: []target{atMost("", 64<<20)}},
			},
			engines: []string{sqlite},
			peers:   []string{mlflow},
			prepare: func(_ context.Context, s *server) (round, error) {
				content := noise(s.env.artifact)
				return func(ctx context.Context) ([]float64, error) { return s.bigArtifact(ctx, content) }, nil
			},
		},
		{
			name: fmt.Sprintf("%d artifacts of 8 KiB, one after another up, c=8 down", small),
			figures: []figure{
				{name: "up", unit: filesPerSec, targets: []target{atLeast("", 5, mlflow)}},
				{name: "down", unit: filesPerSec, targets: []target{atLeast("", 5, mlflow)}},
			},
			engines: []string{sqlite},
			peers:   []string{mlflow},
			prepare: func(_ context.Context, s *server) (round, error) {
				content := noise(smallSize)
				return func(ctx context.Context) ([]float64, error) { return s.smallArtifacts(ctx, small, content) }, nil
			},
		},
	}
}

// noise is content that can not be compressed.
func noise(size int) []byte {
	content := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(content) //nolint:errcheck // never fails
	return content
}

func (s *server) artifactFolder(ctx context.Context) (string, error) {
	runs, err := newRuns(ctx, s, 1)
	if err != nil {
		return "", err
	}
	return artifactPath + "0/" + runs[0] + "/artifacts/", nil
}

// bigArtifact stores a file and reads it again, comparing every byte, and watches the server's memory meanwhile.
func (s *server) bigArtifact(ctx context.Context, content []byte) ([]float64, error) {
	folder, err := s.artifactFolder(ctx)
	if err != nil {
		return nil, err
	}
	before, err := s.memory()
	if err != nil {
		return nil, err
	}
	c, err := dial(ctx, s.base)
	if err != nil {
		return nil, err
	}
	defer c.close()
	little := content[:min(len(content), 1<<20)] // as drive, a step that does not count
	if err := errors.Join(c.put(folder+"little", little), c.compare(folder+"little", little)); err != nil {
		return nil, err
	}
	watch := s.watchMemory()
	begun := time.Now()
	err = c.put(folder+"big", content)
	up := time.Since(begun)
	begun = time.Now()
	if err == nil {
		err = c.compare(folder+"big", content)
	}
	down := time.Since(begun)
	most, watchErr := watch()
	if err != nil {
		return nil, err
	}
	size := float64(len(content))
	return []float64{size / up.Seconds(), size / down.Seconds(), max(0, most-before)}, watchErr
}

// watchMemory looks at the server's memory ten times a second until the returned function is called, which tells the most.
func (s *server) watchMemory() (stop func() (float64, error)) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	var most float64
	var err error
	wg.Go(func() {
		every := time.NewTicker(100 * time.Millisecond)
		defer every.Stop()
		for err == nil {
			var now float64
			now, err = s.memory()
			most = max(most, now)
			select {
			case <-every.C:
			case <-done:
				return
			}
		}
	})
	return func() (float64, error) {
		close(done)
		wg.Wait()
		return most, err
	}
}

// smallArtifacts stores files one after another and fetches them in parallel, as MLflow's client does.
func (s *server) smallArtifacts(ctx context.Context, n int, content []byte) ([]float64, error) {
	folder, err := s.artifactFolder(ctx)
	if err != nil {
		return nil, err
	}
	c, err := dial(ctx, s.base)
	if err != nil {
		return nil, err
	}
	defer c.close()
	if err := c.put(folder+"file", content); err != nil { // as drive, one that does not count
		return nil, err
	}
	begun := time.Now()
	for i := range n {
		if err := c.put(fmt.Sprintf("%sfile-%d", folder, i), content); err != nil {
			return nil, err
		}
	}
	up := time.Since(begun)
	const workers = 8
	clients := make([]*client, workers)
	for w := range clients {
		if clients[w], err = dial(ctx, s.base); err != nil {
			return nil, err
		}
		defer clients[w].close()
		if err := clients[w].compare(folder+"file", content); err != nil {
			return nil, err
		}
	}
	errs := make([]error, workers)
	var wg sync.WaitGroup
	begun = time.Now()
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n && errs[w] == nil; i += workers {
				errs[w] = clients[w].compare(fmt.Sprintf("%sfile-%d", folder, i), content)
			}
		})
	}
	wg.Wait()
	down := time.Since(begun)
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return []float64{float64(n) / up.Seconds(), float64(n) / down.Seconds()}, nil
}

func (c *client) put(path string, content []byte) error {
	status, answer, err := c.do("PUT", path, content)
	if err == nil && status != 200 {
		err = fmt.Errorf("PUT %s: %d: %s", path, status, shortened(answer))
	}
	return err
}

// compare fetches a file, which must be this content.
func (c *client) compare(path string, content []byte) error {
	buffer := make([]byte, 256<<10)
	status, err := c.send("GET", path, nil, func(status int, body io.Reader) error {
		rest := content
		for {
			n, err := body.Read(buffer)
			if n > len(rest) || !bytes.Equal(buffer[:n], rest[:n]) {
				return fmt.Errorf("GET %s: %d: is not what was stored, from byte %d", path, status, len(content)-len(rest))
			}
			if rest = rest[n:]; err == io.EOF && len(rest) == 0 {
				return nil
			}
			if err != nil {
				return fmt.Errorf("GET %s: %d bytes missing: %w", path, len(rest), err)
			}
		}
	})
	if err == nil && status != 200 {
		err = fmt.Errorf("GET %s: %d", path, status)
	}
	return err
}
