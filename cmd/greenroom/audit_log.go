package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// openAuditLog gives where --audit-log writes to: nil for "", stdout for "-". SIGHUP opens a file anew, after a program such
// as logrotate has renamed it.
func openAuditLog(ctx context.Context, path string, stdout io.Writer, log *slog.Logger) (w io.Writer, done func(), err error) {
	switch path {
	case "":
		return nil, func() {}, nil
	case "-":
		return stdout, func() {}, nil
	}
	file := &logFile{path: path}
	if err := file.reopen(); err != nil {
		return nil, nil, fmt.Errorf("--audit-log: %w", err)
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangups:
				if err := file.reopen(); err != nil {
					log.ErrorContext(ctx, "the audit log's file stays the one before", slog.Any("error", err))
				}
			}
		}
	}()
	return file, func() {
		signal.Stop(hangups)
		cancel()
		file.close()
	}, nil
}

// logFile is a file at whose end lines are added, readable by its owner only.
type logFile struct {
	path string
	mu   sync.Mutex
	file *os.File
}

func (l *logFile) reopen() error {
	l.mu.Lock() // from now on lines wait for the new file
	defer l.mu.Unlock()
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file = file
	return nil
}

// Write implements io.Writer.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Write(p)
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file.Close()
}
