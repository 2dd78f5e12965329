package mlflowapi

import (
	"net/url"
	"path/filepath"
	"strings"

	"greenroom/artifacts"
	"greenroom/models"
)

// servedArtifacts is the store behind mlflow-artifacts: locations.
func (a *API) servedArtifacts() (artifacts.Store, error) {
	if a.cfg.Artifacts == nil {
		// Not MLflow's 503, which clients would retry seven times.
		return nil, &models.Error{Code: models.FeatureDisabled, Message: "This server does not serve artifacts: it runs with --no-serve-artifacts. Start it with --serve-artifacts."}
	}
	return a.cfg.Artifacts, nil
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
	if models.IsProxied(location) {
		folder, ok := models.ProxiedFolder(location)
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

func notServed(location string) error {
	return invalid("The artifacts at '%s' are not stored by this server; clients reach that location directly.", location)
}
