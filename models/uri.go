package models

import (
	"fmt"
	"net/url"
	"strings"

	"greenroom/models/schema"
)

// Target is a parsed backend store URI.
type Target struct {
	Dialect schema.Dialect
	// DSN is what the driver takes.
	DSN string
	// Path of the database file, on SQLite.
	Path string

	shown string
}

// String is the target without its password.
func (t Target) String() string { return t.shown }

// sqlitePragmas are set on every connection. MLflow's text comparisons are case-sensitive; a commit is on disk before it is answered.
const sqlitePragmas = "?_pragma=foreign_keys(1)&_pragma=busy_timeout(20000)&_pragma=case_sensitive_like(1)" +
	"&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"

// writerPragmas are those of the writing connection. What it would undo a failed statement with is kept in memory, not in a file.
const writerPragmas = "&_txlock=immediate&_pragma=temp_store(MEMORY)"

// shownURL hides the password, which may also stand among the options.
func shownURL(u *url.URL) string {
	shown, options := *u, u.Query()
	for name := range options {
		if strings.Contains(strings.ToLower(name), "password") {
			options.Set(name, "xxxxx")
			shown.RawQuery = options.Encode()
		}
	}
	return shown.Redacted()
}

// ParseURI reads a --backend-store-uri as MLflow writes it (SQLAlchemy's form): sqlite:///relative.db, sqlite:////absolute.db,
// postgresql://user:password@host/db, with an optional driver name (postgresql+psycopg2://) that is ignored.
func ParseURI(uri string) (Target, error) {
	scheme, rest, ok := strings.Cut(uri, "://")
	engine, _, _ := strings.Cut(scheme, "+")
	switch {
	case ok && engine == "sqlite":
		path, found := strings.CutPrefix(rest, "/")
		if !found || path == "" || path == ":memory:" {
			return Target{}, fmt.Errorf("backend store URI %q names no file: write sqlite:///relative.db or sqlite:////absolute/path.db", uri)
		}
		if strings.ContainsAny(path, "?#") {
			return Target{}, fmt.Errorf("backend store URI %q: options after the file name are not supported", uri)
		}
		return Target{Dialect: schema.SQLite, DSN: "file:" + (&url.URL{Path: path}).EscapedPath() + sqlitePragmas, Path: path, shown: uri}, nil
	case ok && (engine == "postgresql" || engine == "postgres"):
		u, err := url.Parse("postgresql://" + rest)
		if err != nil {
			return Target{}, fmt.Errorf("backend store URI is not a PostgreSQL URL such as postgresql://user:password@host:5432/database")
		}
		return Target{Dialect: schema.PostgreSQL, DSN: u.String(), shown: shownURL(u)}, nil
	case ok && (engine == "mysql" || engine == "mssql"):
		return Target{}, fmt.Errorf("backend store %s:// is not supported: use sqlite:///… or postgresql://…", engine)
	default:
		if end := strings.IndexAny(uri, ":?"); end >= 0 && strings.ContainsAny(uri, "@?") { // the rest may hold a password
			uri = uri[:end+1] + "…"
		}
		return Target{}, fmt.Errorf("backend store %q is not a database URI: use sqlite:///file.db or postgresql://user:password@host/database; a folder of files (MLflow's file store) is not supported, move it with MLflow's own tools first", uri)
	}
}
