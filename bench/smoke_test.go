package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestMain lets the test's program be the server that does nothing, as the command is.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == helloCommand {
		fmt.Fprintln(os.Stderr, serveHello(os.Args[2]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestRun_MeasuresOurServerOnBothDatabases(t *testing.T) {
	var out, progress strings.Builder
	arguments := []string{"-quick", "-duration", "20ms", "-peers", "", "-only", "^(log-.*c=1$|history.*sampled|registry: resolve alias|an artifact)"}
	if err := run(context.Background(), arguments, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	for _, workload := range []string{"log-metric, c=1 | sqlite", "log-batch of 1,000, c=1 | postgresql", "registry: resolve alias, c=16 | postgresql", "an artifact of 16 MiB: up | sqlite"} {
		if !strings.Contains(out.String(), "| "+workload) {
			t.Errorf("no row %q in\n%s", workload, out.String())
		}
	}
}

func TestParse_SaysWhatIsWrong(t *testing.T) {
	for arguments, want := range map[string]string{
		"-peers mlflow-go": `-peers: "mlflow-go" is none of fasttrackml, mlflow`,
		"-databases mysql": `-databases: "mysql" is none of sqlite, postgresql`,
		"-runs 5000,4000":  `-runs: "5000,4000": give rising numbers, from 1000 on`,
		"everything":       `unexpected argument "everything"`,
	} {
		_, err := parse(strings.Fields(arguments), os.Stderr)
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", arguments, err, want)
		}
	}
}
