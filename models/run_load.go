package models

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"slices"

	"greenroom/search"
)

// runTable is a table of the ids of runs, which are its one argument as JSON: run.value is the id, run.key the number, from 0 on.
func (t *tx) runTable() string {
	if t.s.dialect == search.PostgreSQL {
		return "(SELECT value, key - 1 AS key FROM jsonb_array_elements_text(CAST(? AS jsonb)) WITH ORDINALITY AS id (value, key)) AS run"
	}
	return "json_each(?) AS run"
}

// loadRuns fills metrics, params, tags, inputs and outputs of all runs with one query for each kind.
func (t *tx) loadRuns(runs []*Run) error {
	if len(runs) == 0 {
		return nil
	}
	ids := make([]string, len(runs))
	for i, r := range runs {
		ids[i] = r.ID
	}
	list, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	// The ids come first, as CROSS JOIN tells SQLite, and rows are sorted here: neither planner has better to offer.
	of := func(columns, from string) *query {
		return newQuery("SELECT run.key, "+columns+" FROM "+t.runTable()+" CROSS JOIN "+from, string(list))
	}
	var i int
	err = t.each(of("m.key, m.value, COALESCE(m.timestamp, 0), m.step, m.is_nan", "latest_metrics m WHERE m.run_uuid = run.value"), func(rows *sql.Rows) error {
		var m Metric
		err := rows.Scan(&i, &m.Key, &m.Value, &m.Timestamp, &m.Step, &m.IsNaN)
		runs[i].Metrics = append(runs[i].Metrics, m)
		return err
	})
	if err != nil {
		return err
	}
	err = t.each(of("p.key, p.value", "params p WHERE p.run_uuid = run.value"), func(rows *sql.Rows) error {
		var p Param
		err := rows.Scan(&i, &p.Key, &p.Value)
		runs[i].Params = append(runs[i].Params, p)
		return err
	})
	if err != nil {
		return err
	}
	err = t.each(of("g.key, COALESCE(g.value, '')", "tags g WHERE g.run_uuid = run.value"), func(rows *sql.Rows) error {
		var g Tag
		err := rows.Scan(&i, &g.Key, &g.Value)
		runs[i].Tags = append(runs[i].Tags, g)
		return err
	})
	if err != nil {
		return err
	}
	for _, r := range runs {
		slices.SortFunc(r.Metrics, func(a, b Metric) int { return cmp.Compare(a.Key, b.Key) })
		slices.SortFunc(r.Params, func(a, b Param) int { return cmp.Compare(a.Key, b.Key) })
		slices.SortFunc(r.Tags, func(a, b Tag) int { return cmp.Compare(a.Key, b.Key) })
	}
	if err := t.loadDatasets(runs, of); err != nil {
		return err
	}
	links := of("i.source_type, i.destination_id, i.step", `inputs i WHERE i.source_id = run.value
		AND (i.source_type = 'RUN_INPUT' AND i.destination_type = 'MODEL_INPUT' OR i.source_type = 'RUN_OUTPUT' AND i.destination_type = 'MODEL_OUTPUT')
		ORDER BY run.key, i.step, i.destination_id`)
	return t.each(links, func(rows *sql.Rows) error {
		var kind, model string
		var step int64
		err := rows.Scan(&i, &kind, &model, &step)
		if kind == "RUN_INPUT" {
			runs[i].ModelInputs = append(runs[i].ModelInputs, ModelInput{model})
		} else {
			runs[i].ModelOutputs = append(runs[i].ModelOutputs, ModelOutput{model, step})
		}
		return err
	})
}

// loadDatasets fills the datasets of runs, and their tags if there are any datasets; of makes a query about the runs.
func (t *tx) loadDatasets(runs []*Run, of func(columns, from string) *query) error {
	const ofRun = "i.destination_type = 'RUN' AND i.destination_id = run.value AND i.source_type = 'DATASET'"
	type place struct{ run, at int }
	linked := map[string]place{} // by input_uuid
	datasets := of("i.input_uuid, d.name, d.digest, d.dataset_source_type, d.dataset_source, d.dataset_schema, d.dataset_profile",
		"inputs i JOIN datasets d ON d.dataset_uuid = i.source_id WHERE "+ofRun+" ORDER BY run.key, d.name, d.digest")
	err := t.each(datasets, func(rows *sql.Rows) error {
		var i int
		var id string
		var d Dataset
		err := rows.Scan(&i, &id, &d.Name, &d.Digest, &d.SourceType, &d.Source, &d.Schema, &d.Profile)
		linked[id] = place{i, len(runs[i].DatasetInputs)}
		runs[i].DatasetInputs = append(runs[i].DatasetInputs, DatasetInput{Dataset: d})
		return err
	})
	if err != nil || len(linked) == 0 {
		return err
	}
	tags := of("i.input_uuid, g.name, g.value", "inputs i JOIN input_tags g ON g.input_uuid = i.input_uuid WHERE "+ofRun+" ORDER BY i.input_uuid, g.name")
	return t.each(tags, func(rows *sql.Rows) error {
		var i int
		var id string
		var g Tag
		err := rows.Scan(&i, &id, &g.Key, &g.Value)
		if p, ok := linked[id]; ok {
			in := &runs[p.run].DatasetInputs[p.at]
			in.Tags = append(in.Tags, g)
		}
		return err
	})
}
