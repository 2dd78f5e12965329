package mlflowapi

import (
	"context"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"greenroom/artifacts"
	"greenroom/models"
)

// servedRoot is what locations in the served store begin with.
const servedRoot = "mlflow-artifacts:"

// place is a file or folder that this server keeps. Its path is canonical.
type place struct {
	store artifacts.Store
	root  string // of the store, as artifact locations name it; servedRoot, a folder or s3://bucket/prefix
	path  string
}

// location is the one spelling by which the database knows the place.
func (p place) location() string { return p.root + "/" + p.path }

// in is a file or folder below a place.
func (p place) in(below string) (place, error) {
	below, err := artifacts.CanonicalPath(below)
	p.path = path.Join(p.path, below)
	return p, err
}

// servedArtifacts is the store behind mlflow-artifacts: locations.
func (a *API) servedArtifacts() (artifacts.Store, error) {
	if a.cfg.Artifacts == nil {
		// Not MLflow's 503, which clients would retry seven times.
		return nil, &models.Error{Code: models.FeatureDisabled, Message: "This server does not serve artifacts: it runs with --no-serve-artifacts. Start it with --serve-artifacts."}
	}
	return a.cfg.Artifacts, nil
}

// served is a file or folder of the served store, by its path there in any spelling.
func (a *API) served(p string) (place, error) {
	store, err := a.servedArtifacts()
	if err != nil {
		return place{}, err
	}
	return place{store: store, root: servedRoot}.in(p)
}

// servedFile is served for what must name a file.
func (a *API) servedFile(p string) (place, error) {
	at, err := a.served(p)
	if err == nil {
		_, err = artifacts.CanonicalFilePath(p)
	}
	return at, err
}

// locate finds the place that an artifact location names. Only the served store and the roots that the operator configured
// can be named: a location comes from a client, and must open nothing else.
func (a *API) locate(location string) (place, error) {
	if models.IsProxied(location) {
		folder, ok := models.ProxiedFolder(location)
		if !ok {
			return place{}, notServed(location)
		}
		return a.served(folder)
	}
	plain := location
	if strings.HasPrefix(location, "file:") {
		u, err := url.Parse(location)
		if err != nil || u.Host != "" && u.Host != "localhost" {
			return place{}, notServed(location)
		}
		plain = u.Path
	}
	for root, store := range a.cfg.ArtifactRoots {
		root = strings.TrimSuffix(filepath.ToSlash(root), "/")
		if rel, ok := strings.CutPrefix(plain+"/", root+"/"); ok {
			return place{store: store, root: root}.in(strings.TrimSuffix(rel, "/"))
		}
	}
	return place{}, notServed(location)
}

// placeOfRun is where a run keeps its artifacts.
func (a *API) placeOfRun(ctx context.Context, id string) (place, error) {
	run, err := a.store.RunInfo(ctx, id)
	if err != nil {
		return place{}, err
	}
	return a.locate(value(run.ArtifactURI))
}

func notServed(location string) error {
	return invalid("The artifacts at '%s' are not stored by this server; clients reach that location directly.", location)
}
