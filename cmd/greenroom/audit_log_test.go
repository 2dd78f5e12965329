package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestAuditLog_FollowsARenameAfterSIGHUP(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.jsonl")
	if err := os.WriteFile(path, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, done, err := openAuditLog(t.Context(), path, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	write := func(line string) {
		t.Helper()
		if _, err := w.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	write("one\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write("two\n")
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for { // until the signal has arrived
		if info, err := os.Stat(path); err == nil {
			if mode := info.Mode().Perm(); mode != 0o600 {
				t.Errorf("the new file has mode %o", mode)
			}
			break
		}
	}
	write("three\n") // waits for the reopening
	for file, want := range map[string]string{path + ".1": "before\none\ntwo\n", path: "three\n"} {
		if got, err := os.ReadFile(file); string(got) != want || err != nil {
			t.Errorf("%s has %q, want %q (%v)", filepath.Base(file), got, want, err)
		}
	}
}

func TestAuditLog_DashIsStandardOutput(t *testing.T) {
	var stdout bytes.Buffer
	w, done, err := openAuditLog(t.Context(), "-", &stdout, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if _, err := w.Write([]byte("line\n")); err != nil || stdout.String() != "line\n" {
		t.Errorf("standard output has %q: %v", stdout.String(), err)
	}
	if _, _, err := openAuditLog(t.Context(), filepath.Join(t.TempDir(), "no", "folder"), nil, nil); err == nil {
		t.Error("a file in no folder was opened")
	}
}
