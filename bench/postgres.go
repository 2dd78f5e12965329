package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// cluster is a PostgreSQL server with its defaults, on the disk that SQLite's files are on.
type cluster struct {
	bin, dir  string
	port      int
	as        *syscall.SysProcAttr
	databases int
}

func startCluster(parent string) (*cluster, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, "postgresql-")
	if err != nil {
		return nil, err
	}
	c := &cluster{bin: bin, dir: dir, as: &syscall.SysProcAttr{Setsid: true}}
	if os.Geteuid() == 0 { // as which PostgreSQL refuses to run
		if c.as.Credential, err = giveAway(dir); err != nil {
			return nil, err
		}
	}
	if c.port, err = freePort(); err != nil {
		return nil, err
	}
	if err := c.run("initdb", "-D", c.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"); err != nil {
		return nil, err
	}
	// Room for the connections of all servers; everything else is the default.
	settings := fmt.Sprintf("-p %d -h 127.0.0.1 -k %s -c max_connections=300", c.port, dir)
	return c, c.run("pg_ctl", "-D", c.data(), "-l", filepath.Join(dir, "log"), "-w", "-t", "300", "-o", settings, "start")
}

func (c *cluster) data() string { return filepath.Join(c.dir, "data") }

func (c *cluster) stop() error {
	return c.run("pg_ctl", "-D", c.data(), "-m", "immediate", "-w", "-t", "300", "stop")
}

func (c *cluster) url(database string) string {
	return fmt.Sprintf("postgresql://postgres@127.0.0.1:%d/%s?sslmode=disable", c.port, database)
}

// createDatabase returns the URL of a new, empty database.
func (c *cluster) createDatabase(ctx context.Context) (string, error) {
	c.databases++
	name := fmt.Sprintf("bench%d", c.databases)
	conn, err := pgx.Connect(ctx, c.url("postgres"))
	if err != nil {
		return "", err
	}
	_, err = conn.Exec(ctx, "CREATE DATABASE "+name)
	return c.url(name), errors.Join(err, conn.Close(ctx))
}

// run runs one of PostgreSQL's programs. Its output goes to a file: a pipe would stay open as long as the server.
func (c *cluster) run(program string, arguments ...string) error {
	out, err := os.CreateTemp("", "bench-postgresql-")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name()) //nolint:errcheck // a small file in the temporary folder
	defer out.Close()
	cmd := exec.Command(filepath.Join(c.bin, program), arguments...)
	cmd.Dir, cmd.SysProcAttr, cmd.Stdout, cmd.Stderr = c.dir, c.as, out, out
	if err := cmd.Run(); err != nil {
		text, readErr := os.ReadFile(out.Name())
		return errors.Join(fmt.Errorf("%s: %w\n%s", program, err, text), readErr)
	}
	return nil
}

// postgresBin is the folder of initdb and pg_ctl: that of GREENROOM_TEST_POSTGRES_BIN, on PATH, or where Debian keeps it (the newest).
func postgresBin() (string, error) {
	if bin := os.Getenv("GREENROOM_TEST_POSTGRES_BIN"); bin != "" {
		return bin, nil
	}
	if initdb, err := exec.LookPath("initdb"); err == nil {
		if initdb, err = filepath.EvalSymlinks(initdb); err == nil {
			return filepath.Dir(initdb), nil
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("no initdb on PATH or in /usr/lib/postgresql/*/bin: install PostgreSQL's server, or leave it out with -databases sqlite")
	}
	version := func(initdb string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(initdb))))
		return n
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(newest), nil
}

// giveAway gives the folder to a user that may run PostgreSQL.
func giveAway(dir string) (*syscall.Credential, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, os.Chown(dir, int(uid), int(gid))
}
