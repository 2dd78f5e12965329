package modelstest

import (
	"bufio"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// EmptyPostgreSQL is the URI of a new PostgreSQL database without tables, dropped after the test. The server is the one
// of GREENROOM_TEST_POSTGRES_URL (a superuser's URL), else one that this process starts and that ends with it.
func EmptyPostgreSQL(t testing.TB) string {
	t.Helper()
	return newDatabase(t, "template0")
}

// PostgreSQL is the URI of a new migrated PostgreSQL database, dropped after the test.
func PostgreSQL(t testing.TB) string {
	t.Helper()
	template, err := postgresTemplate()
	if err != nil {
		t.Fatal(err)
	}
	return newDatabase(t, template)
}

func newDatabase(t testing.TB, template string) string {
	t.Helper()
	server, err := postgresServer()
	if err != nil {
		t.Fatal(err)
	}
	name, err := server.create(template)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := server.admin.Exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return server.uri(name)
}

// postgresTemplate is the name of a migrated database to copy, made once.
var postgresTemplate = sync.OnceValues(func() (string, error) {
	server, err := postgresServer()
	if err != nil {
		return "", err
	}
	name, err := server.create("template0")
	if err != nil {
		return "", err
	}
	return name, migrate(server.uri(name))
})

type server struct {
	url    *url.URL
	admin  *sql.DB
	keeper io.Closer  // ends the server when closed, were it by the garbage collector
	copied sync.Mutex // held while a template is copied, which suffers no second reader
}

// postgresServer is the one PostgreSQL server of this process.
var postgresServer = sync.OnceValues(func() (*server, error) {
	raw := os.Getenv("GREENROOM_TEST_POSTGRES_URL")
	var keeper io.Closer
	if raw == "" {
		var err error
		if raw, keeper, err = startCluster(); err != nil {
			return nil, fmt.Errorf("start PostgreSQL for the tests (install its server, or set GREENROOM_TEST_POSTGRES_URL): %w", err)
		}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("GREENROOM_TEST_POSTGRES_URL: %w", err)
	}
	admin, err := sql.Open("pgx", raw)
	if err != nil {
		return nil, err
	}
	return &server{url: u, admin: admin, keeper: keeper}, admin.PingContext(context.Background())
})

func (s *server) create(template string) (string, error) {
	s.copied.Lock()
	defer s.copied.Unlock()
	name := "greenroom_test_" + strings.ToLower(rand.Text())
	if _, err := s.admin.Exec("CREATE DATABASE " + name + " TEMPLATE " + template); err != nil {
		return "", fmt.Errorf("create the test's database: %w", err)
	}
	return name, nil
}

func (s *server) uri(database string) string {
	u := *s.url
	u.Path = "/" + database
	return u.String()
}

// keeperScript runs the server until its standard input ends, which is when the test process does, however it ends.
const keeperScript = `
"$1/pg_ctl" -D "$2/data" -l "$2/log" -w -t 300 -o "$3" start >"$2/start" 2>&1 || { cat "$2/log" "$2/start"; exit 1; }
echo ready
exec >&-
read _
"$1/pg_ctl" -D "$2/data" -m immediate stop >"$2/stop" 2>&1
cd /
rm -rf "$2"
`

// startCluster starts a PostgreSQL server in a temporary folder, as an unprivileged user if this one is root, which
// PostgreSQL refuses.
func startCluster() (uri string, keeper io.Closer, err error) {
	bin, err := postgresBin()
	if err != nil {
		return "", nil, err
	}
	dir, attributes, err := initCluster(bin)
	if err != nil {
		return "", nil, err
	}
	port, err := freePort()
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	settings := fmt.Sprintf("-p %d -h 127.0.0.1 -k %s -c fsync=off -c full_page_writes=off -c synchronous_commit=off -c max_connections=300", port, dir)
	cmd := exec.Command("/bin/sh", "-c", keeperScript, "keeper", bin, dir, settings)
	cmd.Dir, cmd.SysProcAttr = dir, attributes
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	var output strings.Builder
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if lines.Text() == "ready" {
			return fmt.Sprintf("postgresql://postgres@127.0.0.1:%d/postgres?sslmode=disable", port), stdin, nil
		}
		output.WriteString(lines.Text() + "\n")
	}
	return "", nil, errors.Join(fmt.Errorf("pg_ctl start: %w\n%s", cmd.Wait(), output.String()), os.RemoveAll(dir))
}

// initCluster makes a cluster's files in a temporary folder, and the attributes of the processes that may use them.
func initCluster(bin string) (dir string, attributes *syscall.SysProcAttr, err error) {
	if dir, err = os.MkdirTemp("", "greenroom-pg-"); err != nil {
		return "", nil, err
	}
	attributes = &syscall.SysProcAttr{Setsid: true} // an interrupt from the keyboard is for the test alone
	if os.Geteuid() == 0 {
		if attributes.Credential, err = unprivileged(dir); err != nil {
			return "", nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", filepath.Join(dir, "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = dir, attributes
	if out, err := initdb.CombinedOutput(); err != nil {
		return "", nil, errors.Join(fmt.Errorf("initdb: %w\n%s", err, out), os.RemoveAll(dir))
	}
	return dir, attributes, nil
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
		return "", errors.New("no initdb on PATH or in /usr/lib/postgresql/*/bin")
	}
	version := func(initdb string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(initdb))))
		return n
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(newest), nil
}

// unprivileged gives the folder to a user that may run PostgreSQL.
func unprivileged(dir string) (*syscall.Credential, error) {
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

// freePort is a port below those that systems take for connections, so that it is still free when the server starts.
func freePort() (port int, err error) {
	for range 100 {
		port = 10_000 + mathrand.IntN(20_000)
		var l net.Listener
		if l, err = net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, err
}
