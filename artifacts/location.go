package artifacts

import (
	"errors"
	"net/url"
	"path"
	"path/filepath"
	"strings"
)

// ServedRoot is what locations in the served store begin with.
const ServedRoot = "mlflow-artifacts:"

var (
	// ErrNotServed reports a location in the served store of a server that serves none.
	ErrNotServed = errors.New("this server does not serve artifacts")
	// ErrElsewhere reports a location that lies in none of a server's stores.
	ErrElsewhere = errors.New("artifacts are not stored by this server")
)

// Stores are all that a server keeps artifacts in.
type Stores struct {
	// Served is the store behind mlflow-artifacts: locations; nil for none.
	Served Store
	// ServedAs is what other locations in the served store begin with, as the keys of Roots do; empty for nothing.
	ServedAs string
	// Roots are the other stores, by the absolute path of the folder, or the URI (s3://bucket/prefix), that locations in them
	// begin with.
	Roots map[string]Store
}

// Place is a file or folder in one of a server's stores. Its path is canonical.
type Place struct {
	Store Store
	Root  string // of the store, as locations name it: ServedRoot or a key of Stores.Roots
	Path  string
}

// Location is the one spelling by which the database knows the place, such as mlflow-artifacts:/1/<run>/artifacts/model.pkl.
func (p Place) Location() string { return p.Root + "/" + p.Path }

// In is the file or folder at a path below a place, in any spelling. A bad path is a *PathError.
func (p Place) In(below string) (Place, error) {
	below, err := CanonicalPath(below)
	p.Path = path.Join(p.Path, below)
	return p, err
}

// ServedAt is the place at a path of the served store, in any spelling. Errors are ErrNotServed and *PathError.
func (s Stores) ServedAt(p string) (Place, error) {
	if s.Served == nil {
		return Place{}, ErrNotServed
	}
	return Place{Store: s.Served, Root: ServedRoot}.In(p)
}

// Locate finds the place that an artifact location names. A location comes from a client: only the stores can be named, and
// everything else is ErrElsewhere. Other errors are as ServedAt's.
func (s Stores) Locate(location string) (Place, error) {
	if IsProxied(location) {
		folder, ok := ProxiedFolder(location)
		if !ok {
			return Place{}, ErrElsewhere
		}
		return s.ServedAt(folder)
	}
	plain := location
	if strings.HasPrefix(location, "file:") {
		u, err := url.Parse(location)
		if err != nil || u.Host != "" && u.Host != "localhost" {
			return Place{}, ErrElsewhere
		}
		plain = u.Path
	}
	// What several stores hold is the served one's: a file has one place.
	if _, below, ok := cutRoot(s.ServedAs, plain); ok && s.Served != nil {
		return s.ServedAt(below)
	}
	for root, store := range s.Roots {
		if root, below, ok := cutRoot(root, plain); ok {
			return Place{Store: store, Root: root}.In(below)
		}
	}
	return Place{}, ErrElsewhere
}

// cutRoot gives a root as Place has it, and the path of a location below it; ok is false if the location is not there.
func cutRoot(root, location string) (clean, below string, ok bool) {
	clean = strings.TrimSuffix(filepath.ToSlash(root), "/")
	below, ok = strings.CutPrefix(location+"/", clean+"/")
	return clean, strings.TrimSuffix(below, "/"), ok && root != ""
}

// proxyAnchor separates server and path in an http(s) location that names a served store.
const proxyAnchor = "/api/2.0/mlflow-artifacts/artifacts/"

// IsProxied tells whether clients reach the location through a tracking server.
func IsProxied(location string) bool {
	scheme, _, found := strings.Cut(location, ":")
	switch strings.ToLower(scheme) {
	case "mlflow-artifacts", "http", "https":
		return found
	}
	return false
}

// ProxiedFolder gives the path in the served store that a proxied location names; ok is false if it names none. The path is
// decoded once, as a client's request for it would be.
func ProxiedFolder(location string) (folder string, ok bool) {
	scheme, rest, _ := strings.Cut(location, ":")
	if host, ok := strings.CutPrefix(rest, "//"); ok {
		_, rest, _ = strings.Cut(host, "/")
		rest = "/" + rest
	}
	if !strings.EqualFold(scheme, "mlflow-artifacts") {
		if _, rest, ok = strings.Cut(rest, proxyAnchor); !ok {
			return "", false
		}
	}
	rest = strings.TrimLeft(rest, "/")
	if decoded, err := url.PathUnescape(rest); err == nil {
		rest = decoded
	}
	return rest, true
}
