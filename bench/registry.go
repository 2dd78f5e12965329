package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// versionsOfModel is how many versions each seeded model has.
const versionsOfModel = 100

// registryWorkers is c of the registry's workloads; each worker has a model of its own.
const registryWorkers = 16

func (e *env) registryWorkloads() []workload {
	writes := []target{atLeast(sqlite, 50, mlflow), atLeast(postgres, 20, mlflow)}
	reads := []target{atLeast(sqlite, 60, mlflow), atLeast(postgres, 40, mlflow), atLeast(sqlite, 0.4, limit)}
	all := []workload{
		registry("create version", writes, func(m *seededModel) step { return m.createVersion }),
		registry("transition", writes, func(m *seededModel) step { return m.transition }),
		registry("set alias", writes, func(m *seededModel) step { return m.setAlias }),
		helloLimited(registry("resolve alias", reads, func(m *seededModel) step { return m.resolveAlias })),
		helloLimited(registry("resolve stage", reads, func(m *seededModel) step { return m.resolveStage })),
	}
	for i, n := range e.versions {
		w := registry(fmt.Sprintf("search the %d versions of a model among %s", versionsOfModel, plain(float64(n))), nil,
			func(m *seededModel) step { return m.searchVersions })
		w.prepare = prepareRegistry(plain(float64(n)), n/versionsOfModel, func(m *seededModel) step { return m.searchVersions })
		if i == 0 {
			w.figures[0].targets = []target{atLeast("", 20, mlflow)}
		} else {
			w.peers, w.note = nil, "mlflow takes minutes"
		}
		all = append(all, w)
	}
	return all
}

// registry is a request about models of its own: what other workloads create does not weigh on it.
func registry(what string, targets []target, do func(*seededModel) step) workload {
	return workload{
		name:    fmt.Sprintf("registry: %s, c=%d", what, registryWorkers),
		figures: []figure{{unit: perSecond, targets: targets}},
		peers:   []string{mlflow},
		prepare: prepareRegistry(strings.ReplaceAll(what, " ", "-"), registryWorkers, do),
	}
}

// prepareRegistry fills the registry with models whose names begin alike, and measures a request that each worker sends about a model of its own.
func prepareRegistry(prefix string, models int, do func(*seededModel) step) func(ctx context.Context, s *server) (round, error) {
	return func(ctx context.Context, s *server) (round, error) {
		seeded, err := s.seededModels(ctx, prefix, models)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) ([]float64, error) {
			l, err := drive(ctx, s, registryWorkers, s.env.window, func(c *client, w, i int) error {
				return do(seeded[w])(c, w, i)
			})
			if err != nil {
				return nil, err
			}
			c, err := dial(ctx, s.base)
			if err != nil {
				return nil, err
			}
			defer c.close()
			for _, m := range seeded[:registryWorkers] {
				if err := m.check(c); err != nil {
					return nil, fmt.Errorf("read back: %w", err)
				}
			}
			return []float64{l.perSecond()}, nil
		}, nil
	}
}

// seededModel is a model and what is known of it. One worker at a time uses it.
type seededModel struct {
	name     string
	run      string
	source   string
	versions int
	stage    string // of version 1
	champion int    // the version of the alias
	answers  map[string]*repeated
}

type version struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Stage   string `json:"current_stage"`
	Source  string `json:"source"`
}

// createVersion registers another source each time: what is asked again alike may be a client's repetition.
func (m *seededModel) createVersion(c *client, _, _ int) error {
	source := fmt.Sprintf("%s-%d", m.source, m.versions+1)
	var answer struct {
		Version version `json:"model_version"`
	}
	err := c.call("POST", "model-versions/create", map[string]string{"name": m.name, "source": source, "run_id": m.run}, &answer)
	if err != nil {
		return err
	}
	m.versions++
	if v := answer.Version; v.Name != m.name || v.Version != strconv.Itoa(m.versions) || v.Source != source {
		return fmt.Errorf("model-versions/create: answered %+v, want version %d of %s", v, m.versions, m.name)
	}
	return nil
}

func (m *seededModel) transition(c *client, _, i int) error {
	stage := []string{"Staging", "Production"}[i%2]
	var answer struct {
		Version version `json:"model_version"`
	}
	request := map[string]any{"name": m.name, "version": "1", "stage": stage, "archive_existing_versions": false}
	if err := c.call("POST", "model-versions/transition-stage", request, &answer); err != nil {
		return err
	}
	m.stage = stage
	if v := answer.Version; v.Name != m.name || v.Version != "1" || v.Stage != stage {
		return fmt.Errorf("model-versions/transition-stage: answered %+v, want version 1 of %s in %s", v, m.name, stage)
	}
	return nil
}

func (m *seededModel) setAlias(c *client, _, i int) error {
	to := 1 + i%versionsOfModel
	body := fmt.Appendf(nil, `{"name":"%s","alias":"champion","version":"%d"}`, m.name, to)
	if err := c.post("registered-models/alias", body); err != nil {
		return err
	}
	m.champion = to
	return nil
}

func (m *seededModel) resolveAlias(c *client, _, _ int) error {
	answer, err := c.ok("GET", "registered-models/alias?name="+m.name+"&alias=champion", nil)
	if err != nil {
		return err
	}
	return m.same("alias", answer, func(answer []byte) error {
		var got struct {
			Version version `json:"model_version"`
		}
		if err := json.Unmarshal(answer, &got); err != nil {
			return err
		}
		return m.is(got.Version, m.champion)
	})
}

// resolveStage is what a client asks for models:/name/Archived, as for any stage: version 2 stays there.
func (m *seededModel) resolveStage(c *client, _, _ int) error {
	answer, err := c.ok("POST", "registered-models/get-latest-versions", []byte(`{"name":"`+m.name+`","stages":["Archived"]}`))
	if err != nil {
		return err
	}
	return m.same("stage", answer, func(answer []byte) error {
		var got struct {
			Versions []version `json:"model_versions"`
		}
		if err := json.Unmarshal(answer, &got); err != nil {
			return err
		}
		if len(got.Versions) != 1 || got.Versions[0].Stage != "Archived" {
			return fmt.Errorf("got %+v", got.Versions)
		}
		return m.is(got.Versions[0], 2)
	})
}

func (m *seededModel) searchVersions(c *client, _, _ int) error {
	answer, err := c.ok("GET", with("model-versions/search", "filter", "name = '"+m.name+"'", "max_results", "200"), nil)
	if err != nil {
		return err
	}
	return m.same("search", answer, func(answer []byte) error {
		var got struct {
			Versions []version `json:"model_versions"`
		}
		if err := json.Unmarshal(answer, &got); err != nil {
			return err
		}
		seen := map[string]bool{}
		for _, v := range got.Versions {
			if v.Name != m.name {
				return fmt.Errorf("got a version of %s", v.Name)
			}
			seen[v.Version] = true
		}
		if len(got.Versions) != len(seen) || len(seen) != m.versions {
			return fmt.Errorf("got %d versions, %d different, want %d", len(got.Versions), len(seen), m.versions)
		}
		return nil
	})
}

func (m *seededModel) is(got version, want int) error {
	if got.Name != m.name || got.Version != strconv.Itoa(want) {
		return fmt.Errorf("got %+v, want version %d of %s", got, want, m.name)
	}
	return nil
}

// same checks an answer to a question that is asked over and over.
func (m *seededModel) same(question string, answer []byte, check func([]byte) error) error {
	if m.answers[question] == nil {
		m.answers[question] = &repeated{check: check}
	}
	return m.answers[question].verify(answer)
}

// check reads back what the answers promised: the last version, the stage, the alias.
func (m *seededModel) check(c *client) error {
	for _, answers := range m.answers {
		if err := answers.checkOthers(); err != nil {
			return err
		}
	}
	m.answers = map[string]*repeated{} // what follows asks anew
	var got struct {
		Version version `json:"model_version"`
	}
	if err := c.call("GET", with("model-versions/get", "name", m.name, "version", strconv.Itoa(m.versions)), nil, &got); err != nil {
		return err
	}
	if err := m.is(got.Version, m.versions); err != nil {
		return err
	}
	status, _, err := c.do("GET", apiPath+with("model-versions/get", "name", m.name, "version", strconv.Itoa(m.versions+1)), nil)
	if err != nil || status != 404 {
		return fmt.Errorf("a version %d of %s was never acknowledged, and is answered with %d: %w", m.versions+1, m.name, status, err)
	}
	if err := c.call("GET", with("model-versions/get", "name", m.name, "version", "1"), nil, &got); err != nil {
		return err
	}
	if got.Version.Stage != m.stage {
		return fmt.Errorf("version 1 of %s is in %s, want %s", m.name, got.Version.Stage, m.stage)
	}
	return m.resolveAlias(c, 0, 0)
}

// seededModels are n models with 100 versions each. Version 1 is in Production and
// version 2 in Archived; the alias champion names version 1.
func (s *server) seededModels(ctx context.Context, prefix string, n int) ([]*seededModel, error) {
	runs, err := newRuns(ctx, s, 1)
	if err != nil {
		return nil, err
	}
	models := rows{table: "registered_models", columns: []string{"name", "creation_time", "last_updated_time", "workspace"}}
	versions := rows{table: "model_versions", columns: []string{
		"name", "version", "creation_time", "last_updated_time", "current_stage", "source", "run_id", "status", "workspace", "storage_location",
	}}
	aliases := rows{table: "registered_model_aliases", columns: []string{"name", "alias", "version", "workspace"}}
	source := "mlflow-artifacts:/0/" + runs[0] + "/artifacts/model"
	var all []*seededModel
	for i := range n {
		m := &seededModel{
			name: fmt.Sprintf("%s-%d", prefix, i), run: runs[0], source: source,
			versions: versionsOfModel, stage: "Production", champion: 1, answers: map[string]*repeated{},
		}
		all = append(all, m)
		models.values = append(models.values, []any{m.name, seedStart, seedStart, "default"})
		aliases.values = append(aliases.values, []any{m.name, "champion", 1, "default"})
		for v := range versionsOfModel {
			stage := map[int]string{0: "Production", 1: "Archived"}[v]
			if stage == "" {
				stage = "None"
			}
			versions.values = append(versions.values, []any{m.name, v + 1, seedStart + v, seedStart + v, stage, source, runs[0], "READY", "default", source})
		}
	}
	if err := s.storage.insert(ctx, together(models, versions, aliases)); err != nil {
		return nil, fmt.Errorf("seed %s with models: %w", s.name, err)
	}
	return all, s.storage.settle(ctx)
}

// helloLimited puts the ceiling of the HTTP framework beside a workload: what gin does with a handler that does nothing.
func helloLimited(w workload) workload {
	w.limit = func(ctx context.Context, b *bare) (round, error) { return b.hello(ctx, registryWorkers) }
	is := fmt.Sprintf("gin answers a constant, c=%d", registryWorkers)
	w.limitIs = map[string]string{sqlite: is, postgres: is}
	return w
}
