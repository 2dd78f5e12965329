package panics_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"greenroom/panics"
)

func TestCaught(t *testing.T) {
	if err := panics.Caught(func() error { return nil }); err != nil {
		t.Error(err)
	}
	if err := panics.Caught(func() error { return io.EOF }); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	err := panics.Caught(func() error { return breakDown() })
	if err == nil || !strings.HasPrefix(err.Error(), "panic: broken\n") || !strings.Contains(err.Error(), "breakDown") {
		t.Errorf("got %v", err)
	}
}

func breakDown() error { panic("broken") }
