package models

import (
	"cmp"
	"context"
	"slices"
	"strconv"
)

// Dataset is what a run used, identified by name and digest within its experiment.
type Dataset struct {
	Name, Digest, SourceType, Source string
	Schema, Profile                  *string
}

// DatasetInput is a dataset used by a run, with the tags of that use.
type DatasetInput struct {
	Dataset Dataset
	Tags    []Tag
}

// ModelInput is a logged model used by a run.
type ModelInput struct{ ModelID string }

// ModelOutput is a logged model made by a run.
type ModelOutput struct {
	ModelID string
	Step    int64
}

// Limits in characters: the columns', and for texts without one MLflow's own.
const (
	maxDatasetName       = 500
	maxDatasetDigest     = 36
	maxDatasetSourceType = 36
	maxDatasetSource     = 65535
	maxDatasetSchema     = 1048575
	maxDatasetProfile    = 16777215
	maxInputTagValue     = 500
)

// LogInputs links datasets and logged models to an active run as its inputs. A link is made once: repeating it changes
// nothing, tags included. A dataset that the experiment has already is kept as it is.
func (s *Store) LogInputs(ctx context.Context, runID string, datasets []DatasetInput, inputs []ModelInput) error {
	if err := checkRunID(runID); err != nil {
		return err
	}
	for i, d := range datasets {
		if err := checkDatasetInput("datasets["+strconv.Itoa(i)+"].", d); err != nil {
			return err
		}
	}
	return s.update(ctx, func(t *tx) error {
		run, err := t.activeRun(runID)
		if err != nil {
			return err
		}
		if err := t.linkDatasets(run, datasets); err != nil {
			return err
		}
		ids := make([]string, len(inputs))
		for i, m := range inputs {
			ids[i] = m.ModelID
		}
		if err := t.checkModelsExist(ids); err != nil {
			return err
		}
		rows := make([][]any, len(ids))
		for i, id := range ids {
			rows[i] = []any{newID(), "RUN_INPUT", runID, "MODEL_INPUT", id, int64(0)}
		}
		return t.insertInputs(rows)
	})
}

// LogOutputs links logged models to an active run as what it made. The same again changes nothing; another step for a
// model already linked is refused.
func (s *Store) LogOutputs(ctx context.Context, runID string, outputs []ModelOutput) error {
	return s.update(ctx, func(t *tx) error {
		if _, err := t.activeRun(runID); err != nil {
			return err
		}
		ids := make([]string, len(outputs))
		rows := make([][]any, len(outputs))
		for i, m := range outputs {
			ids[i] = m.ModelID
			rows[i] = []any{newID(), "RUN_OUTPUT", runID, "MODEL_OUTPUT", m.ModelID, m.Step}
		}
		if err := t.checkModelsExist(ids); err != nil {
			return err
		}
		if err := t.insertInputs(rows); err != nil {
			return err
		}
		links, err := t.modelLinks([]string{runID})
		if err != nil {
			return err
		}
		stored := make(map[string]int64, len(links))
		for _, l := range links {
			if l.SourceType == "RUN_OUTPUT" {
				stored[l.ModelID] = l.Step
			}
		}
		for _, m := range outputs {
			if step := stored[m.ModelID]; step != m.Step {
				return invalid("Model '%s' is already an output of run '%s' at step %d; it cannot be one at step %d as well.", m.ModelID, runID, step, m.Step)
			}
		}
		return nil
	})
}

// insertInputs adds edges (input_uuid, source type and id, destination type and id, step) that are not there yet. They are
// sorted, so that two transactions never wait for each other.
func (t *tx) insertInputs(rows [][]any) error {
	sortRows(rows, 2, 4)
	_, err := t.insertRows("INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id, step)",
		"(?, ?, ?, ?, ?, ?)", "ON CONFLICT DO NOTHING", rows)
	return err
}

type datasetKey struct{ name, digest string }

func (d Dataset) key() datasetKey { return datasetKey{d.Name, d.Digest} }

func (k datasetKey) compare(other datasetKey) int {
	return cmp.Or(cmp.Compare(k.name, other.name), cmp.Compare(k.digest, other.digest))
}

// linkDatasets makes the run's experiment know the datasets and links each to the run, unless it is already. Of two with
// one name and digest the first counts.
func (t *tx) linkDatasets(run *Run, inputs []DatasetInput) error {
	first := map[datasetKey]DatasetInput{}
	for _, in := range inputs {
		if _, twice := first[in.Dataset.key()]; !twice {
			first[in.Dataset.key()] = in
		}
	}
	inputs = inputs[:0:0]
	for _, in := range first {
		inputs = append(inputs, in)
	}
	// One order for all writers, so that two runs with the same datasets never wait for each other.
	slices.SortFunc(inputs, func(a, b DatasetInput) int { return a.Dataset.key().compare(b.Dataset.key()) })
	return eachChunk(inputs, func(inputs []DatasetInput) error {
		uuids, err := t.datasetUUIDs(run.ExperimentID, inputs)
		if err != nil {
			return err
		}
		links := make([][]any, len(inputs))
		tags := make(map[string][]Tag, len(inputs)) // by the input_uuid that a new link gets
		datasets := make([]string, len(inputs))
		for i, in := range inputs {
			id := newID()
			tags[id], datasets[i] = in.Tags, uuids[in.Dataset.key()]
			links[i] = []any{id, "DATASET", datasets[i], "RUN", run.ID, int64(0)}
		}
		if err := t.insertInputs(links); err != nil {
			return err
		}
		linked, err := pick[string](t, "SELECT input_uuid FROM inputs WHERE source_type = 'DATASET' AND source_id IN ? AND destination_type = 'RUN' AND destination_id = ?", datasets, run.ID)
		if err != nil {
			return err
		}
		var rows [][]any
		for _, id := range linked {
			for _, tag := range tags[id] {
				rows = append(rows, []any{id, tag.Key, tag.Value})
			}
		}
		_, err = t.insertRows("INSERT INTO input_tags (input_uuid, name, value)", "(?, ?, ?)", "", rows)
		return err
	})
}

// datasetUUIDs adds the datasets that the experiment lacks and gives the ids of all.
func (t *tx) datasetUUIDs(experiment int64, inputs []DatasetInput) (map[datasetKey]string, error) {
	rows := make([][]any, len(inputs))
	names, digests := make([]string, len(inputs)), make([]string, len(inputs))
	for i, in := range inputs {
		d := in.Dataset
		names[i], digests[i] = d.Name, d.Digest
		rows[i] = []any{newID(), experiment, d.Name, d.Digest, d.SourceType, d.Source, d.Schema, d.Profile}
	}
	_, err := t.insertRows("INSERT INTO datasets (dataset_uuid, experiment_id, name, digest, dataset_source_type, dataset_source, dataset_schema, dataset_profile)",
		"(?, ?, ?, ?, ?, ?, ?, ?)", "ON CONFLICT DO NOTHING", rows)
	if err != nil {
		return nil, err
	}
	stored, err := pick[struct{ DatasetUUID, Name, Digest string }](t,
		"SELECT dataset_uuid, name, digest FROM datasets WHERE experiment_id = ? AND name IN ? AND digest IN ?", experiment, names, digests)
	uuids := make(map[datasetKey]string, len(stored))
	for _, d := range stored {
		uuids[datasetKey{d.Name, d.Digest}] = d.DatasetUUID
	}
	return uuids, err
}

type modelLink struct {
	SourceType, RunID, ModelID string
	Step                       int64
}

// modelLinks are the logged models that the runs used and made.
func (t *tx) modelLinks(runIDs []string) ([]modelLink, error) {
	return pick[modelLink](t, `SELECT source_type, source_id AS run_id, destination_id AS model_id, step FROM inputs
		WHERE (source_type = 'RUN_INPUT' AND destination_type = 'MODEL_INPUT' OR source_type = 'RUN_OUTPUT' AND destination_type = 'MODEL_OUTPUT')
		AND source_id IN ? ORDER BY source_id, step, destination_id`, runIDs)
}

// DatasetSummary is a dataset of an experiment in one context that runs used it in; nil for none.
type DatasetSummary struct {
	ExperimentID int64
	Name, Digest string
	Context      *string
}

// maxDatasetSummaries bounds what DatasetSummaries gives.
const maxDatasetSummaries = 1000

// DatasetSummaries gives the datasets that runs of those of the experiments used that the caller may read, for a page to choose from.
func (s *Store) DatasetSummaries(ctx context.Context, experiments []int64) (found []DatasetSummary, err error) {
	err = s.view(ctx, func(t *tx) error {
		experiments, err := t.readableExperiments(experiments)
		if err != nil || len(experiments) == 0 {
			return err
		}
		found, err = pick[DatasetSummary](t, `SELECT DISTINCT d.experiment_id, d.name, d.digest, c.value AS context
			FROM datasets d JOIN inputs i ON i.source_type = 'DATASET' AND i.source_id = d.dataset_uuid
			LEFT JOIN input_tags c ON c.input_uuid = i.input_uuid AND c.name = 'mlflow.data.context'
			WHERE d.experiment_id IN ? ORDER BY d.experiment_id, d.name, d.digest, c.value LIMIT ?`, experiments, maxDatasetSummaries)
		return err
	})
	return found, err
}

func checkDatasetInput(at string, in DatasetInput) error {
	d := in.Dataset
	for _, l := range []struct {
		field, value string
		limit        int
	}{
		{"name", d.Name, maxDatasetName},
		{"digest", d.Digest, maxDatasetDigest},
		{"source_type", d.SourceType, maxDatasetSourceType},
		{"source", d.Source, maxDatasetSource},
		{"schema", deref(d.Schema), maxDatasetSchema},
		{"profile", deref(d.Profile), maxDatasetProfile},
	} {
		if err := checkLength(at+"dataset."+l.field, l.value, l.limit); err != nil {
			return err
		}
	}
	return checkOnce(at+"tags", in.Tags, maxInputTagValue)
}
