package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// askPassword reads a new password: from standard input, or twice from the terminal without showing it. It never comes from
// the command line, which every user of the machine can see.
func askPassword(cmd *cobra.Command, fromStdin bool, user string) (string, error) {
	in := cmd.InOrStdin()
	if fromStdin {
		return readSecret(in)
	}
	terminal, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		return "", usageError{errors.New("no terminal to ask for the password on: give it with --password-stdin")}
	}
	first, err := promptSecret(cmd, terminal, "New password of "+user+": ")
	if err != nil {
		return "", err
	}
	second, err := promptSecret(cmd, terminal, "Again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", usageError{errors.New("the two passwords differ")}
	}
	return first, nil
}

// promptSecret reads a line that is not shown. Ctrl-C gives it up, and the terminal is as it was before.
func promptSecret(cmd *cobra.Command, terminal *os.File, prompt string) (string, error) {
	fd := int(terminal.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	fmt.Fprint(cmd.ErrOrStderr(), printable(prompt))
	type answer struct {
		secret []byte
		err    error
	}
	typed := make(chan answer, 1)
	go func() {
		secret, err := term.ReadPassword(fd)
		typed <- answer{secret, err}
	}()
	var got answer
	select {
	case got = <-typed:
	case <-cmd.Context().Done():
		got.err = errors.Join(cmd.Context().Err(), term.Restore(fd, before))
	}
	fmt.Fprintln(cmd.ErrOrStderr())
	if got.err != nil {
		return "", fmt.Errorf("read the password: %w", got.err)
	}
	return string(got.secret), nil
}

// readSecret reads the first line.
func readSecret(in io.Reader) (string, error) {
	const longest = 64 << 10
	line, err := bufio.NewReader(io.LimitReader(in, longest)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	secret := strings.TrimRight(line, "\r\n")
	if secret == "" {
		return "", usageError{errors.New("standard input is empty: the password is expected there, in one line")}
	}
	return secret, nil
}
