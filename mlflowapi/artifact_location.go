package mlflowapi

import (
	"context"
	"errors"

	"greenroom/artifacts"
	"greenroom/models"
)

// served is a file or folder of the served store, by its path there in any spelling.
func (a *API) served(path string) (artifacts.Place, error) {
	at, err := a.cfg.Artifacts.ServedAt(path)
	return at, explainPlace(err, "")
}

// servedFile is served for what must name a file.
func (a *API) servedFile(path string) (artifacts.Place, error) {
	at, err := a.served(path)
	if err == nil {
		_, err = artifacts.CanonicalFilePath(path)
	}
	return at, err
}

// locate finds the place that an artifact location names.
func (a *API) locate(location string) (artifacts.Place, error) {
	at, err := a.cfg.Artifacts.Locate(location)
	return at, explainPlace(err, location)
}

// placeOfRun is where a run keeps its artifacts.
func (a *API) placeOfRun(ctx context.Context, id string) (artifacts.Place, error) {
	run, err := a.store.RunInfo(ctx, id)
	if err != nil {
		return artifacts.Place{}, err
	}
	return a.locate(value(run.ArtifactURI))
}

// explainPlace tells a client why a place can't be reached here.
func explainPlace(err error, location string) error {
	switch {
	case errors.Is(err, artifacts.ErrNotServed):
		// Not MLflow's 503, which clients would retry seven times.
		return &models.Error{Code: models.FeatureDisabled, Message: "This server does not serve artifacts: it runs with --no-serve-artifacts. Start it with --serve-artifacts."}
	case errors.Is(err, artifacts.ErrElsewhere):
		return invalid("The artifacts at '%s' are not stored by this server; clients reach that location directly.", location)
	}
	return err
}
