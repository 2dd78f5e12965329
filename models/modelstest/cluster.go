package modelstest

import (
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// Cluster is a PostgreSQL server of one test alone, which may stop it in any way and start it again. Its settings are
// PostgreSQL's own, so a commit is on disk before it is answered.
type Cluster struct {
	t         testing.TB
	bin, dir  string
	port      int
	run       func(t testing.TB, name string, args ...string)
	databases atomic.Int32
}

// clusterKeeper removes the cluster when its standard input ends, which is when the test process does, however it ends.
const clusterKeeper = `
read _
"$1/pg_ctl" -D "$2/data" -m immediate stop >"$2/stop" 2>&1
cd /
rm -rf "$2"
`

// NewCluster starts a PostgreSQL server on a port that stays the same, and removes it after the test. Settings are more of
// its own, such as "max_connections=200".
func NewCluster(t testing.TB, port int, settings ...string) *Cluster {
	t.Helper()
	bin, err := postgresBin()
	if err != nil {
		t.Fatal(err)
	}
	dir, attributes, err := initCluster(bin)
	if err != nil {
		t.Fatal(err)
	}
	keeper := exec.Command("/bin/sh", "-c", clusterKeeper, "keeper", bin, dir)
	keeper.Dir, keeper.SysProcAttr = dir, attributes
	stdin, err := keeper.StdinPipe()
	if err == nil {
		err = keeper.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := keeper.Wait(); err != nil {
			t.Errorf("remove the cluster: %v", err)
		}
	})
	c := &Cluster{t: t, bin: bin, dir: dir, port: port}
	c.run = func(t testing.TB, name string, args ...string) {
		t.Helper()
		// No pipe: the server that pg_ctl leaves behind would hold it open.
		output, err := os.Create(filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		defer output.Close()
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.Dir, cmd.SysProcAttr, cmd.Stdout, cmd.Stderr = dir, attributes, output, output
		if err := cmd.Run(); err != nil {
			text, _ := os.ReadFile(output.Name())
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Fatalf("%s %v: %v\n%s\n%s", name, args, err, text, log)
		}
	}
	file, err := os.OpenFile(filepath.Join(dir, "data", "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(file, "port = %d\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n", port)
	for _, setting := range settings {
		if err == nil {
			_, err = fmt.Fprintln(file, setting)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	c.Start()
	return c
}

// Start starts a server that is stopped, and waits until it takes connections.
func (c *Cluster) Start() {
	c.t.Helper()
	c.run(c.t, "pg_ctl", "-D", filepath.Join(c.dir, "data"), "-l", filepath.Join(c.dir, "log"), "-w", "start")
}

// Stop stops the server in one of pg_ctl's modes: smart, fast, immediate. The last one is as if it had crashed.
func (c *Cluster) Stop(mode string) {
	c.t.Helper()
	c.run(c.t, "pg_ctl", "-D", filepath.Join(c.dir, "data"), "-w", "-m", mode, "stop")
}

// Log is what the server has logged.
func (c *Cluster) Log() string {
	text, err := os.ReadFile(filepath.Join(c.dir, "log"))
	if err != nil {
		c.t.Error(err)
	}
	return string(text)
}

// EmptyDatabase is the URI of a new database without tables.
func (c *Cluster) EmptyDatabase() string {
	c.t.Helper()
	return c.database("template0")
}

// Copy is the URI of a new database like the one at uri, which nobody may be using.
func (c *Cluster) Copy(uri string) string {
	c.t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.database(strings.TrimPrefix(u.Path, "/"))
}

func (c *Cluster) database(template string) string {
	c.t.Helper()
	admin, err := sql.Open("pgx", c.uri("postgres"))
	if err != nil {
		c.t.Fatal(err)
	}
	defer admin.Close()
	name := "test" + strconv.Itoa(int(c.databases.Add(1)))
	if _, err := admin.Exec("CREATE DATABASE " + name + " TEMPLATE " + template); err != nil {
		c.t.Fatal(err)
	}
	return c.uri(name)
}

// Schema is what pg_dump says of the database at uri without its rows.
func (c *Cluster) Schema(uri string) string {
	c.t.Helper()
	dump, err := exec.Command(filepath.Join(c.bin, "pg_dump"), "--schema-only", uri).Output()
	if err != nil {
		c.t.Fatalf("pg_dump: %v", err)
	}
	lines := slices.DeleteFunc(strings.Split(string(dump), "\n"), func(line string) bool {
		return strings.HasPrefix(line, `\`) // for psql, some with a random word
	})
	return strings.Join(lines, "\n")
}

func (c *Cluster) uri(database string) string {
	u := url.URL{Scheme: "postgresql", User: url.User("postgres"), Host: "127.0.0.1:" + strconv.Itoa(c.port), Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}
