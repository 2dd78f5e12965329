package main

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"greenroom/artifacts"
	"greenroom/mlflowapi"
)

// openArtifacts opens the folders in which the flags tell the server to keep artifacts, and gives the function that closes them.
func openArtifacts(f serverFlags, config *mlflowapi.Config) (closeAll func(), err error) {
	var stores []*artifacts.Local
	closeAll = func() {
		for _, store := range stores {
			store.Close() //nolint:errcheck // a folder's handle; every file in it is synced and closed already
		}
	}
	open := func(flag, location string) (folder string, store *artifacts.Local, err error) {
		if folder, err = localFolder(location); err == nil {
			store, err = artifacts.OpenLocal(folder)
		}
		if err != nil {
			closeAll()
			return "", nil, fmt.Errorf("--%s %s: %w", flag, location, err)
		}
		stores = append(stores, store)
		return folder, store, nil
	}

	config.Artifacts.Roots = map[string]artifacts.Store{}
	if f.serveArtifacts {
		_, store, err := open("artifacts-destination", f.artifactsDestination)
		if err != nil {
			return nil, err
		}
		config.Artifacts.Served = store
	}
	if root := f.defaultArtifactRoot; root != "" && (scheme(root) == "" || scheme(root) == "file") {
		folder, store, err := open("default-artifact-root", root)
		if err != nil {
			return nil, err
		}
		config.Artifacts.Roots[folder] = store
	}
	return closeAll, nil
}

// localFolder is the absolute path that a plain path or a file: URI names.
func localFolder(location string) (string, error) {
	switch s := scheme(location); s {
	case "":
		return filepath.Abs(location)
	case "file":
		u, err := url.Parse(location)
		if err != nil || u.Path == "" || u.Host != "" && u.Host != "localhost" {
			return "", fmt.Errorf("write a file URI as file:///absolute/path")
		}
		return filepath.Clean(u.Path), nil
	default:
		return "", fmt.Errorf("%s storage is not supported; name a local folder", s)
	}
}

// scheme is the part before the first colon, as far as it can be a URI's; "" for a plain path.
func scheme(location string) string {
	before, _, found := strings.Cut(location, ":")
	if !found || len(before) < 2 || strings.ContainsAny(before, `/\.`) {
		return ""
	}
	return strings.ToLower(before)
}
