package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"

	"greenroom/artifacts"
	"greenroom/panics"
)

// artifactLocations are where a server keeps artifacts, as its flags name them.
type artifactLocations struct {
	destination string // --artifacts-destination; empty with --no-serve-artifacts
	defaultRoot string // --default-artifact-root
	// s3PublicEndpoint is --s3-public-endpoint-url, for presigned URLs only.
	s3PublicEndpoint string
}

// openArtifacts opens the stores at the locations, and gives the function that closes them. S3 is not asked for anything, so
// that a server starts while it is down. A default root in a store that this server can't read is left to the clients.
func openArtifacts(ctx context.Context, l artifactLocations, getenv func(string) string) (stores artifacts.Stores, closeAll func(), err error) {
	opened := []openedStore{}
	closeAll = func() {
		for _, store := range opened {
			store.Close() //nolint:errcheck // a folder's handle, or idle connections; what was stored is durable
		}
	}
	open := func(flag, location string) (root string, store artifacts.Store, err error) {
		root, found, err := l.open(ctx, location, getenv)
		if err != nil {
			closeAll()
			return "", nil, fmt.Errorf("--%s %s: %w", flag, location, err)
		}
		opened = append(opened, found)
		return root, found, nil
	}

	stores.Roots = map[string]artifacts.Store{}
	if l.destination != "" {
		if stores.ServedAs, stores.Served, err = open("artifacts-destination", l.destination); err != nil {
			return artifacts.Stores{}, nil, err
		}
	}
	if l.defaultRoot != "" && storable(l.defaultRoot) {
		root, store, err := open("default-artifact-root", l.defaultRoot)
		if err != nil {
			return artifacts.Stores{}, nil, err
		}
		if at, err := stores.Locate(root); err != nil || at.Root != artifacts.ServedRoot {
			stores.Roots[root] = store
		}
	}
	return stores, closeAll, nil
}

// storable tells whether there is a store for a location.
func storable(location string) bool {
	switch scheme(location) {
	case "", "file", "s3":
		return true
	}
	return false
}

type openedStore interface {
	artifacts.Store
	Close() error
}

// open also gives what locations in the store begin with.
func (l artifactLocations) open(ctx context.Context, location string, getenv func(string) string) (root string, store openedStore, err error) {
	if scheme(location) == "s3" {
		options, err := s3Options(location, l.s3PublicEndpoint, getenv)
		if err != nil {
			return "", nil, err
		}
		bucket, err := artifacts.OpenS3(ctx, options)
		if err != nil {
			return "", nil, err
		}
		return bucket.URI(), bucket, nil
	}
	folder, err := localFolder(location)
	if err != nil {
		return "", nil, err
	}
	local, err := artifacts.OpenLocal(folder)
	return folder, local, err
}

// s3Options are what MLflow's variables for S3 say. Those of AWS are read by its SDK.
func s3Options(uri, publicEndpoint string, getenv func(string) string) (artifacts.S3Options, error) {
	ignoreTLS := false
	if value := getenv("MLFLOW_S3_IGNORE_TLS"); value != "" {
		var err error
		if ignoreTLS, err = parseBool(value); err != nil {
			return artifacts.S3Options{}, fmt.Errorf("environment variable MLFLOW_S3_IGNORE_TLS: %w", err)
		}
	}
	return artifacts.S3Options{
		URI:                 uri,
		Endpoint:            getenv("MLFLOW_S3_ENDPOINT_URL"),
		PublicEndpoint:      publicEndpoint,
		AddressingStyle:     strings.ToLower(getenv("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE")),
		IgnoreTLS:           ignoreTLS,
		ExpectedBucketOwner: getenv("MLFLOW_S3_EXPECTED_BUCKET_OWNER"),
		UploadArgs:          getenv("MLFLOW_S3_UPLOAD_EXTRA_ARGS"),
	}, nil
}

// checkArtifacts warns of a bucket that does not answer as it should, without holding up anybody.
func checkArtifacts(ctx context.Context, stores artifacts.Stores, log *slog.Logger) {
	check := func(store artifacts.Store) {
		bucket, ok := store.(*artifacts.S3)
		if !ok {
			return
		}
		if err := panics.Caught(func() error { return bucket.Check(ctx) }); err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "the artifact store does not answer as it should; what needs it fails until it does",
				slog.String("store", bucket.URI()), slog.Any("error", err))
		}
	}
	go check(stores.Served)
	for _, store := range stores.Roots {
		go check(store)
	}
}

// destinationFolder is the folder behind --artifacts-destination, or the URI of its bucket.
func destinationFolder(location string) (string, error) {
	if scheme(location) == "s3" {
		return strings.TrimRight(location, "/"), nil
	}
	return localFolder(location)
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
		return "", fmt.Errorf("%s storage is not supported; name a local folder, or s3://bucket/prefix", s)
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
