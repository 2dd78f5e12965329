package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/pflag"

	"greenroom/artifacts"
	"greenroom/models"
)

// storeFlags name the database and the artifact stores of a server, for a command that works on them itself.
type storeFlags struct{ server serverFlags }

func (f *storeFlags) defineStores(set *pflag.FlagSet) {
	set.StringVar(&f.server.backendStoreURI, "backend-store-uri", "sqlite:///greenroom.db", "database, as the server has it; also MLFLOW_BACKEND_STORE_URI")
	set.StringVar(&f.server.artifactsDestination, "artifacts-destination", "./mlartifacts", "where the server stores artifacts; also MLFLOW_ARTIFACTS_DESTINATION")
	set.StringVar(&f.server.defaultArtifactRoot, "default-artifact-root", "", "where new experiments keep artifacts, as the server has it; also MLFLOW_DEFAULT_ARTIFACT_ROOT")
}

// readStores fills in what the environment gives.
func (f *storeFlags) readStores(set *pflag.FlagSet, getenv func(string) string) error {
	variables := f.server.environment()
	for _, name := range []string{"backend-store-uri", "artifacts-destination", "default-artifact-root"} {
		if value := getenv(variables[name]); value != "" && !set.Changed(name) {
			if err := set.Set(name, value); err != nil {
				return usageError{err}
			}
		}
	}
	return nil
}

// openStores opens the database and the stores that the flags name. A folder that does not exist is a mistake: its files would count
// as deleted.
func (f *storeFlags) openStores(ctx context.Context, set *pflag.FlagSet) (*models.Store, artifacts.Stores, func(), error) {
	f.server.serveArtifacts = true
	for _, flag := range []struct{ name, location string }{{"artifacts-destination", f.server.artifactsDestination}, {"default-artifact-root", f.server.defaultArtifactRoot}} {
		if s := scheme(flag.location); flag.location == "" || s != "" && s != "file" {
			continue
		}
		folder, err := localFolder(flag.location)
		if err == nil {
			_, err = os.Stat(folder)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist) && flag.name == "artifacts-destination" && !set.Changed(flag.name):
			f.server.serveArtifacts = false
		case errors.Is(err, fs.ErrNotExist):
			return nil, artifacts.Stores{}, nil, fmt.Errorf("--%s %s: there is no such folder; name the one that the server has", flag.name, flag.location)
		case err != nil:
			return nil, artifacts.Stores{}, nil, fmt.Errorf("--%s %s: %w", flag.name, flag.location, err)
		}
	}
	options := models.Options{NoDefaultExperiment: true}
	var err error
	if f.server.serveArtifacts || f.server.defaultArtifactRoot != "" {
		if f.server.defaultArtifactRoot, err = artifactRoot(f.server); err != nil {
			return nil, artifacts.Stores{}, nil, err
		}
		options.ArtifactRoot = f.server.defaultArtifactRoot
	}
	if f.server.serveArtifacts {
		if options.ArtifactsDestination, err = destinationFolder(f.server.artifactsDestination); err != nil {
			return nil, artifacts.Stores{}, nil, fmt.Errorf("--artifacts-destination %s: %w", f.server.artifactsDestination, err)
		}
	}
	store, err := openPrepared(ctx, f.server.backendStoreURI, options)
	if err != nil {
		return nil, artifacts.Stores{}, nil, err
	}
	stores, closeStores, err := openArtifacts(ctx, f.server.artifactLocations(), os.Getenv)
	if err != nil {
		return nil, artifacts.Stores{}, nil, errors.Join(err, store.Close())
	}
	return store, stores, func() {
		closeStores()
		store.Close()
	}, nil
}
