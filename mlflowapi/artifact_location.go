package mlflowapi

import (
	"net/url"
	"path/filepath"
	"strings"

	"greenroom/artifacts"
	"greenroom/models"
)

// proxyAnchor separates server and path in an http(s) location that names a proxied store.
const proxyAnchor = "/api" + proxyBase + "/artifacts/"

// servedArtifacts is the store behind mlflow-artifacts: locations.
func (a *API) servedArtifacts() (artifacts.Store, error) {
	if a.cfg.Artifacts == nil {
		// Not MLflow's 503, which clients would retry seven times.
		return nil, &models.Error{Code: models.FeatureDisabled, Message: "This server does not serve artifacts: it runs with --no-serve-artifacts. Start it with --serve-artifacts."}
	}
	return a.cfg.Artifacts, nil
}

// isProxied tells whether clients reach the location through a tracking server.
func isProxied(location string) bool {
	scheme, _, _ := strings.Cut(location, ":")
	switch strings.ToLower(scheme) {
	case "mlflow-artifacts", "http", "https":
		return true
	}
	return false
}

// locate finds the store, and the folder in it, that an artifact location names. Only the served store and the folders
// the operator configured can be named: a location comes from a client, and must open nothing else on this machine.
func (a *API) locate(location string) (artifacts.Store, string, error) {
	store, folder, err := a.resolve(location)
	if err != nil {
		return nil, "", err
	}
	folder, err = artifacts.CanonicalPath(folder)
	return store, folder, err
}

func (a *API) resolve(location string) (artifacts.Store, string, error) {
	if isProxied(location) {
		_, rest, _ := strings.Cut(location, ":")
		folder, ok := proxiedFolder(rest, !strings.HasPrefix(strings.ToLower(location), "http"))
		if !ok {
			return nil, "", notServed(location)
		}
		store, err := a.servedArtifacts()
		return store, folder, err
	}
	local := location
	if strings.HasPrefix(location, "file:") {
		u, err := url.Parse(location)
		if err != nil || u.Host != "" && u.Host != "localhost" {
			return nil, "", notServed(location)
		}
		local = u.Path
	}
	for root, store := range a.cfg.ArtifactFolders {
		if rel, ok := strings.CutPrefix(local+"/", strings.TrimSuffix(filepath.ToSlash(root), "/")+"/"); ok {
			return store, strings.TrimSuffix(rel, "/"), nil
		}
	}
	return nil, "", notServed(location)
}

// proxiedFolder takes the path out of what follows the scheme. It is decoded once, as a client's request for it would be.
func proxiedFolder(rest string, native bool) (folder string, ok bool) {
	if host, ok := strings.CutPrefix(rest, "//"); ok {
		_, rest, _ = strings.Cut(host, "/")
		rest = "/" + rest
	}
	if !native {
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

func notServed(location string) error {
	return invalid("The artifacts at '%s' are not stored by this server; clients reach that location directly.", location)
}
