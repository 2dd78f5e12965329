package models

import (
	"cmp"
	"encoding/json"
	"slices"

	"greenroom/search"
)

// ofRuns is a query about runs, whose ids are its one argument as JSON: the columns of what is from tables for each of them, after
// the run's number in that list. run.value is the id.
func (t *tx) ofRuns(columns, from string) string {
	if t.s.dialect == search.PostgreSQL {
		// OFFSET keeps the planner from reading a whole table to join it.
		return "SELECT run.key - 1, of_run.* FROM jsonb_array_elements_text(CAST($1 AS jsonb)) WITH ORDINALITY AS run (value, key) CROSS JOIN LATERAL (SELECT " + columns + " FROM " + from + " OFFSET 0) AS of_run"
	}
	// The ids come first, as CROSS JOIN tells SQLite.
	return "SELECT run.key, " + columns + " FROM json_each($1) AS run CROSS JOIN " + from
}

// loadOfRuns reads what ofRuns asks for and gives it run by run, in the order in which the database has it; a run may come again. rows are
// good until give returns.
func loadOfRuns[T any](t *tx, query, ids string, columns int, read func(row []any) T, give func(run int, rows []T)) error {
	var rows []T
	run := 0
	err := t.eachPlain(query, []any{ids}, 1+columns, func(row []any) {
		if i := int(number(row[0])); i != run {
			give(run, rows)
			run, rows = i, rows[:0]
		}
		rows = append(rows, read(row[1:]))
	})
	if err == nil && len(rows) > 0 {
		give(run, rows)
	}
	return err
}

// loadRuns fills metrics, params, tags, inputs and outputs of all runs with one query for each kind.
func (t *tx) loadRuns(runs []*Run) error {
	if len(runs) == 0 {
		return nil
	}
	list := make([]string, len(runs))
	for i, r := range runs {
		list[i] = r.ID
	}
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	ids := string(text)
	err = loadOfRuns(t, t.ofRuns("m.key, m.value, m.timestamp, m.step, m.is_nan", "latest_metrics m WHERE m.run_uuid = run.value"), ids, 5, func(row []any) Metric {
		return Metric{Key: textOf(row[0]), Value: double(row[1]), Timestamp: number(row[2]), Step: number(row[3]), IsNaN: truth(row[4])}
	}, func(i int, rows []Metric) { runs[i].Metrics = append(runs[i].Metrics, rows...) })
	if err != nil {
		return err
	}
	err = loadOfRuns(t, t.ofRuns("p.key, p.value", "params p WHERE p.run_uuid = run.value"), ids, 2, func(row []any) Param {
		return Param{textOf(row[0]), textOf(row[1])}
	}, func(i int, rows []Param) { runs[i].Params = append(runs[i].Params, rows...) })
	if err != nil {
		return err
	}
	err = loadOfRuns(t, t.ofRuns("g.key, g.value", "tags g WHERE g.run_uuid = run.value"), ids, 2, func(row []any) Tag {
		return Tag{textOf(row[0]), textOf(row[1])}
	}, func(i int, rows []Tag) { runs[i].Tags = append(runs[i].Tags, rows...) })
	if err != nil {
		return err
	}
	for _, r := range runs {
		slices.SortFunc(r.Metrics, func(a, b Metric) int { return cmp.Compare(a.Key, b.Key) })
		slices.SortFunc(r.Params, func(a, b Param) int { return cmp.Compare(a.Key, b.Key) })
		slices.SortFunc(r.Tags, func(a, b Tag) int { return cmp.Compare(a.Key, b.Key) })
	}
	if err := t.loadDatasets(runs, ids); err != nil {
		return err
	}
	links := t.ofRuns("i.source_type, i.destination_id, i.step", `inputs i WHERE i.source_id = run.value
		AND (i.source_type = 'RUN_INPUT' AND i.destination_type = 'MODEL_INPUT' OR i.source_type = 'RUN_OUTPUT' AND i.destination_type = 'MODEL_OUTPUT')`)
	return loadOfRuns(t, links, ids, 3, func(row []any) modelLink {
		return modelLink{SourceType: textOf(row[0]), ModelID: textOf(row[1]), Step: number(row[2])}
	}, func(i int, links []modelLink) {
		slices.SortFunc(links, func(a, b modelLink) int {
			return cmp.Or(cmp.Compare(a.Step, b.Step), cmp.Compare(a.ModelID, b.ModelID))
		})
		for _, l := range links {
			if l.SourceType == "RUN_INPUT" {
				runs[i].ModelInputs = append(runs[i].ModelInputs, ModelInput{l.ModelID})
			} else {
				runs[i].ModelOutputs = append(runs[i].ModelOutputs, ModelOutput{l.ModelID, l.Step})
			}
		}
	})
}

// loadDatasets fills the datasets of runs, and their tags if there are any datasets.
func (t *tx) loadDatasets(runs []*Run, ids string) error {
	const ofRun = "i.destination_type = 'RUN' AND i.destination_id = run.value AND i.source_type = 'DATASET'"
	type link struct {
		id      string // input_uuid
		dataset Dataset
	}
	type place struct{ run, at int }
	linked := map[string]place{} // by input_uuid
	datasets := t.ofRuns("i.input_uuid, d.name, d.digest, d.dataset_source_type, d.dataset_source, d.dataset_schema, d.dataset_profile",
		"inputs i JOIN datasets d ON d.dataset_uuid = i.source_id WHERE "+ofRun)
	err := loadOfRuns(t, datasets, ids, 7, func(row []any) link {
		return link{textOf(row[0]), Dataset{
			Name: textOf(row[1]), Digest: textOf(row[2]), SourceType: textOf(row[3]), Source: textOf(row[4]), Schema: optionalText(row[5]), Profile: optionalText(row[6]),
		}}
	}, func(i int, links []link) {
		slices.SortFunc(links, func(a, b link) int { return a.dataset.key().compare(b.dataset.key()) })
		for _, l := range links {
			linked[l.id] = place{i, len(runs[i].DatasetInputs)}
			runs[i].DatasetInputs = append(runs[i].DatasetInputs, DatasetInput{Dataset: l.dataset})
		}
	})
	if err != nil || len(linked) == 0 {
		return err
	}
	type inputTag struct {
		id string
		Tag
	}
	tags := t.ofRuns("i.input_uuid, g.name, g.value", "inputs i JOIN input_tags g ON g.input_uuid = i.input_uuid WHERE "+ofRun)
	err = loadOfRuns(t, tags, ids, 3, func(row []any) inputTag {
		return inputTag{textOf(row[0]), Tag{textOf(row[1]), textOf(row[2])}}
	}, func(_ int, tags []inputTag) {
		for _, g := range tags {
			if p, ok := linked[g.id]; ok {
				in := &runs[p.run].DatasetInputs[p.at]
				in.Tags = append(in.Tags, g.Tag)
			}
		}
	})
	for _, p := range linked {
		slices.SortFunc(runs[p.run].DatasetInputs[p.at].Tags, func(a, b Tag) int { return cmp.Compare(a.Key, b.Key) })
	}
	return err
}
