// Command greenroom is a model registry and experiment-tracking server that speaks MLflow's REST API.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program; it gives the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "greenroom",
		Short:         "A model registry and experiment-tracking server that speaks MLflow's REST API",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(newServerCommand(), newModelsCommand(), newRunsCommand(),
		newUserCommand(), newTokenCommand(), newGroupCommand(), newRoleCommand(), newAuthCommand(), newKeyCommand(),
		newDBCommand(), newGCCommand(), newVerifyCommand(), newBackupCommand(), newRestoreCommand(), newVersionCommand())
	usage(root)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(stderr, "Error:", oneLine(err.Error()))
	}
	return exitCode(err)
}

// oneLine joins the lines of a driver's message.
func oneLine(message string) string {
	lines := strings.FieldsFunc(message, func(r rune) bool { return r == '\n' || r == '\t' })
	return strings.ReplaceAll(strings.Join(lines, "; "), ":; ", ": ")
}

// Exit codes, for scripts to branch on.
const (
	exitOK       = 0
	exitFailed   = 1 // the server can't be reached or is broken, or the command can't do its work
	exitUsage    = 2 // the command line is wrong
	exitNotFound = 3 // there is no such model, version, alias, run, experiment, user, group, role or token
	exitRefused  = 4 // the server says no: not logged in, not allowed, in conflict, or not a valid value
)

func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if wrong := (usageError{}); errors.As(err, &wrong) {
		return exitUsage
	}
	if missing := (*notFoundError)(nil); errors.As(err, &missing) {
		return exitNotFound
	}
	if refused := (refusedError{}); errors.As(err, &refused) {
		return exitRefused
	}
	if refusal := (*apiError)(nil); errors.As(err, &refusal) {
		return refusal.exitCode()
	}
	return exitFailed
}
