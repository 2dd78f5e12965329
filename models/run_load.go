package models

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"greenroom/search"
)

// runsWithData gives runs that are found in one snapshot of the database with their data in the same: metrics, params, tags, inputs
// and outputs, sorted.
func (s *Store) runsWithData(ctx context.Context, find func(*tx) ([]*Run, error)) (runs []*Run, err error) {
	var l *runLoader
	err = s.view(ctx, func(t *tx) error {
		if runs, err = find(t); err != nil || len(runs) == 0 {
			return err
		}
		if l, err = newRunLoader(s.dialect, runs); err != nil {
			return err
		}
		return t.askLast(l.metrics(), l.params(), l.tags(), l.datasets(), l.models())
	})
	if err != nil || len(runs) == 0 {
		return nil, err
	}
	return runs, l.finish()
}

// runLoader reads the data of runs, by one question for each kind.
type runLoader struct {
	dialect search.Dialect
	runs    []*Run
	ids     string         // of the runs, as a question's one argument
	places  map[string]int // of the runs by id, on PostgreSQL

	datasetTags map[*Run][]string // of each of the run's datasets, as JSON
	links       map[*Run][]modelLink
}

func newRunLoader(d search.Dialect, runs []*Run) (*runLoader, error) {
	l := &runLoader{dialect: d, runs: runs, datasetTags: map[*Run][]string{}, links: map[*Run][]modelLink{}}
	ids := make([]string, len(runs))
	for i, r := range runs {
		ids[i] = r.ID
	}
	if d == search.PostgreSQL {
		l.places = make(map[string]int, len(runs))
		for i, id := range ids {
			l.places[id] = i
		}
		l.ids = arrayText(ids)
		return l, nil
	}
	text, err := json.Marshal(ids)
	l.ids = string(text)
	return l, err
}

// arrayText writes texts as PostgreSQL's text[].
func arrayText(texts []string) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	escaped := make([]string, len(texts))
	for i, text := range texts {
		escaped[i] = escape.Replace(text)
	}
	return `{"` + strings.Join(escaped, `","`) + `"}`
}

// ofRuns asks for columns of tables' rows, whose column owner has the id of a run; where is what else holds for them. give takes the run of
// each row; the rows of one run need not follow each other.
func (l *runLoader) ofRuns(owner, columns, tables, where string, into []any, give func(*Run)) rowQuestion {
	if l.dialect == search.PostgreSQL {
		run, id := l.runs[0], ""
		return rowQuestion{
			"SELECT " + owner + ", " + columns + " FROM " + tables + " WHERE " + owner + " = ANY (CAST($1 AS text[]))" + where,
			[]any{l.ids},
			append([]any{&id}, into...), func() error {
				if run.ID != id {
					run = l.runs[l.places[id]]
				}
				give(run)
				return nil
			},
		}
	}
	i := new(int64)
	return rowQuestion{
		// The ids come first, as CROSS JOIN tells SQLite.
		"SELECT run.key, " + columns + " FROM json_each($1) AS run CROSS JOIN " + tables + " WHERE " + owner + " = run.value" + where,
		[]any{l.ids},
		append([]any{i}, into...), func() error {
			give(l.runs[*i])
			return nil
		},
	}
}

// adder appends to runs' lists, and makes room for as many values as the last run has.
func adder[T any](list func(*Run) *[]T, value *T) func(*Run) {
	var last *[]T
	return func(r *Run) {
		to := list(r)
		if *to == nil && last != nil {
			*to = make([]T, 0, len(*last))
		}
		last, *to = to, append(*to, *value)
	}
}

func (l *runLoader) metrics() rowQuestion {
	var m Metric
	return l.ofRuns("m.run_uuid", "m.key, m.value, m.timestamp, m.step, m.is_nan", "latest_metrics m", "",
		[]any{&m.Key, &m.Value, &m.Timestamp, &m.Step, &m.IsNaN}, adder(func(r *Run) *[]Metric { return &r.Metrics }, &m))
}

func (l *runLoader) params() rowQuestion {
	var p Param
	return l.ofRuns("p.run_uuid", "p.key, p.value", "params p", "", []any{&p.Key, &p.Value}, adder(func(r *Run) *[]Param { return &r.Params }, &p))
}

func (l *runLoader) tags() rowQuestion {
	var g Tag
	return l.ofRuns("g.run_uuid", "g.key, g.value", "tags g", "", []any{&g.Key, &g.Value}, adder(func(r *Run) *[]Tag { return &r.Tags }, &g))
}

func (l *runLoader) datasets() rowQuestion {
	tags := "json_group_array(json_array(CAST(g.name AS TEXT), CAST(g.value AS TEXT)))"
	if l.dialect == search.PostgreSQL {
		tags = "CAST(json_agg(json_build_array(g.name, g.value)) AS TEXT)"
	}
	var d Dataset
	var ofUse string
	return l.ofRuns("i.destination_id", "d.name, d.digest, d.dataset_source_type, d.dataset_source, d.dataset_schema, d.dataset_profile, "+
		"(SELECT "+tags+" FROM input_tags g WHERE g.input_uuid = i.input_uuid)",
		"inputs i JOIN datasets d ON d.dataset_uuid = i.source_id", " AND i.destination_type = 'RUN' AND i.source_type = 'DATASET'",
		[]any{&d.Name, &d.Digest, &d.SourceType, &d.Source, &d.Schema, &d.Profile, &ofUse}, func(r *Run) {
			r.DatasetInputs = append(r.DatasetInputs, DatasetInput{Dataset: d})
			l.datasetTags[r] = append(l.datasetTags[r], ofUse)
		})
}

func (l *runLoader) models() rowQuestion {
	var m modelLink
	return l.ofRuns("i.source_id", "i.source_type, i.destination_id, i.step", "inputs i",
		" AND (i.source_type = 'RUN_INPUT' AND i.destination_type = 'MODEL_INPUT' OR i.source_type = 'RUN_OUTPUT' AND i.destination_type = 'MODEL_OUTPUT')",
		[]any{&m.SourceType, &m.ModelID, &m.Step}, func(r *Run) { l.links[r] = append(l.links[r], m) })
}

// finish puts what was read in order.
func (l *runLoader) finish() error {
	for _, r := range l.runs {
		sortByKey(r.Metrics, func(m *Metric) string { return m.Key })
		sortByKey(r.Params, func(p *Param) string { return p.Key })
		sortByKey(r.Tags, func(g *Tag) string { return g.Key })
	}
	for r, tags := range l.datasetTags {
		for i, text := range tags {
			var pairs [][2]string
			if text != "" {
				if err := json.Unmarshal([]byte(text), &pairs); err != nil {
					return err
				}
			}
			for _, p := range pairs {
				r.DatasetInputs[i].Tags = append(r.DatasetInputs[i].Tags, Tag{p[0], p[1]})
			}
			sortByKey(r.DatasetInputs[i].Tags, func(g *Tag) string { return g.Key })
		}
		slices.SortFunc(r.DatasetInputs, func(a, b DatasetInput) int { return a.Dataset.key().compare(b.Dataset.key()) })
	}
	for r, links := range l.links {
		slices.SortFunc(links, func(a, b modelLink) int {
			return cmp.Or(cmp.Compare(a.Step, b.Step), cmp.Compare(a.ModelID, b.ModelID))
		})
		for _, m := range links {
			if m.SourceType == "RUN_INPUT" {
				r.ModelInputs = append(r.ModelInputs, ModelInput{m.ModelID})
			} else {
				r.ModelOutputs = append(r.ModelOutputs, ModelOutput{m.ModelID, m.Step})
			}
		}
	}
	return nil
}

// sortByKey sorts what databases mostly give in order.
func sortByKey[T any](list []T, key func(*T) string) {
	for i := 1; i < len(list); i++ {
		if key(&list[i]) < key(&list[i-1]) {
			slices.SortFunc(list, func(a, b T) int { return cmp.Compare(key(&a), key(&b)) })
			return
		}
	}
}
