package reliability_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load is one round of writers at work, each with a connection of its own, in an experiment and with a registered model
// that are named after the round.
type load struct {
	t          testing.TB
	experiment string
	model      string

	// dying says that connections may break: the server is about to be killed. Until then no answer may be missing.
	dying atomic.Bool
	// refusals says that the server may answer 503, because its database goes away.
	refusals bool
	// through is what requests pass on their way, nil for nothing.
	through func(http.RoundTripper) http.RoundTripper
	// stopping asks the writers to end after the write they are at.
	stopping atomic.Bool

	acknowledged, refused atomic.Int64

	pauses sync.Mutex // guards what follows
	last   time.Time
	pause  time.Duration

	done sync.WaitGroup
}

// startLoad starts n writers, which make their choices by seeds from r. With refusals the server may answer 503 at times.
func startLoad(t testing.TB, s *server, j *journal, scope string, n int, r *rand.Rand, refusals bool) *load {
	t.Helper()
	l := newLoad(t, s, j, scope, refusals)
	l.startWriters(s, j, n, r)
	return l
}

// newLoad makes the experiment and the model of a round.
func newLoad(t testing.TB, s *server, j *journal, scope string, refusals bool) *load {
	t.Helper()
	l := &load{t: t, model: scope, refusals: refusals}
	c := newCaller(s.url)
	defer c.close()
	j.must(t, scope, write{ID: "experiment", Facts: []string{"experiment " + scope}}, func() {
		var made struct {
			ExperimentID string `json:"experiment_id"`
		}
		c.must(t, "POST", "experiments/create", map[string]any{"name": scope}, &made)
		l.experiment = made.ExperimentID
	})
	j.must(t, scope, write{ID: "model", Facts: []string{"model " + scope}}, func() {
		c.must(t, "POST", "registered-models/create", map[string]any{"name": scope}, nil)
	})
	return l
}

func (l *load) startWriters(s *server, j *journal, n int, r *rand.Rand) {
	l.t.Helper()
	for i := range n {
		name := "w" + strconv.Itoa(i)
		p, err := j.open(l.model, name)
		if err != nil {
			l.t.Fatal(err)
		}
		w := &writer{load: l, caller: newCaller(s.url), page: p, name: l.model + name, random: rand.New(rand.NewPCG(r.Uint64(), 0))}
		if l.through != nil {
			w.caller.client.Transport = l.through(w.caller.client.Transport)
		}
		l.done.Go(func() {
			defer w.caller.close()
			w.work()
			if err := p.close(); err != nil {
				l.t.Errorf("journal: %v", err)
			}
		})
	}
}

// end lets the writers finish what they are at.
func (l *load) end() {
	l.stopping.Store(true)
	l.done.Wait()
}

// kill kills the server under the writers.
func (l *load) kill(s *server) {
	l.dying.Store(true)
	s.kill()
	l.done.Wait()
}

// answered counts an acknowledgement.
func (l *load) answered() {
	l.acknowledged.Add(1)
	l.pauses.Lock()
	defer l.pauses.Unlock()
	now := time.Now()
	if !l.last.IsZero() {
		l.pause = max(l.pause, now.Sub(l.last))
	}
	l.last = now
}

// longest is the longest time without an acknowledgement between two.
func (l *load) longest() time.Duration {
	l.pauses.Lock()
	defer l.pauses.Unlock()
	return l.pause
}

// waitFor waits for that many more acknowledgements.
func (l *load) waitFor(more int64) {
	l.t.Helper()
	enough := l.acknowledged.Load() + more
	eventually(l.t, fmt.Sprintf("%d writes are acknowledged", more), func() bool { return l.acknowledged.Load() >= enough })
}

// writer makes one write after the other.
type writer struct {
	*load
	caller  *caller
	page    *page
	random  *rand.Rand
	name    string // of the round and the writer
	count   int
	run     string // the run that is written to; its id
	runName string
	version int // the last version that was acknowledged, 0 for none
	source  string
}

// work writes until it is told to stop or the server is gone.
func (w *writer) work() {
	for !w.stopping.Load() {
		w.count++
		id := w.name + "n" + strconv.Itoa(w.count)
		var ok bool
		switch choice := w.random.IntN(100); {
		case w.run == "" || choice < 8:
			ok = w.createRun(id)
		case w.version == 0 || choice < 18:
			ok = w.createVersion(id)
		case choice < 28:
			ok = w.setAlias(id)
		case choice < 38:
			ok = w.transition(id)
		case choice < 48:
			ok = w.setTag(id)
		case choice < 53:
			ok = w.updateRun(id)
		case choice < 75:
			ok = w.logMetric(id)
		default:
			ok = w.logBatch(id)
		}
		if !ok {
			return
		}
	}
}

// pace is how long a writer waits after a refusal, so that the journal does not fill while the database is away.
const pace = 20 * time.Millisecond

// send makes one write by its journal. It is false when the writer has to end; acknowledged calls use answer.
func (w *writer) send(attempt write, path string, fields, answer any, acknowledged func() (number string)) bool {
	if err := w.page.attempt(attempt); err != nil {
		w.t.Errorf("journal: %v", err)
		return false
	}
	status, text, err := w.caller.call(http.MethodPost, path, fields, answer)
	switch {
	case err != nil && w.dying.Load():
		return false
	case err != nil:
		w.t.Errorf("%s %s: %v", attempt.ID, path, err)
		return false
	case status == http.StatusServiceUnavailable && w.refusals:
		w.page.refuse(attempt.ID, text)
		w.refused.Add(1)
		time.Sleep(pace)
		return true
	case status != http.StatusOK:
		w.t.Errorf("%s %s %v: %d %s", attempt.ID, path, fields, status, text)
		return false
	}
	w.page.acknowledge(attempt.ID, acknowledged())
	w.answered()
	return true
}

// nothing is what most acknowledgements tell.
func nothing() string { return "" }

func (w *writer) createRun(id string) bool {
	var made struct {
		Run struct {
			Info struct {
				RunID string `json:"run_id"`
			} `json:"info"`
		} `json:"run"`
	}
	return w.send(
		write{ID: id, Facts: []string{"run " + id + " in " + w.model, "tag " + id + " first=" + id}},
		"runs/create", map[string]any{
			"experiment_id": w.experiment, "run_name": id, "start_time": 1, "tags": []pair{{"first", id}},
		}, &made, func() string {
			w.run, w.runName = made.Run.Info.RunID, id
			return ""
		})
}

// pair is a tag or a param on the wire.
type pair struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// metric is a metric on the wire.
type metric struct {
	Key       string  `json:"key"`
	Value     float64 `json:"value"`
	Timestamp int64   `json:"timestamp"`
	Step      int64   `json:"step"`
}

// UnmarshalJSON takes whole numbers as text too, in which proto JSON gives them.
func (m *metric) UnmarshalJSON(text []byte) error {
	var wire struct {
		Key             string
		Value           float64
		Timestamp, Step json.Number
	}
	err := json.Unmarshal(text, &wire)
	if err != nil {
		return err
	}
	m.Key, m.Value = wire.Key, wire.Value
	if m.Timestamp, err = wire.Timestamp.Int64(); err == nil && wire.Step != "" {
		m.Step, err = wire.Step.Int64()
	}
	return err
}

func (m metric) fact(run string) string {
	return fmt.Sprintf("metric %s %s step %d at %d = %g", run, m.Key, m.Step, m.Timestamp, m.Value)
}

// batchRows is how many points of one metric a batch has, beside another metric, a param and a tag.
const batchRows = 5

func (w *writer) logBatch(id string) bool {
	metrics := []metric{{"only-" + id, 0.5, int64(w.count), 0}}
	for row := range int64(batchRows) {
		metrics = append(metrics, metric{"all", float64(row), row, int64(w.count)})
	}
	facts := []string{"param " + w.runName + " p-" + id + "=v", "tag " + w.runName + " t-" + id + "=v"}
	for _, m := range metrics {
		facts = append(facts, m.fact(w.runName))
	}
	return w.send(write{ID: id, Facts: facts}, "runs/log-batch", map[string]any{
		"run_id": w.run, "metrics": metrics, "params": []pair{{"p-" + id, "v"}}, "tags": []pair{{"t-" + id, "v"}},
	}, nil, nothing)
}

func (w *writer) logMetric(id string) bool {
	m := metric{"single", w.random.Float64(), int64(w.count), int64(w.count)}
	return w.send(write{ID: id, Facts: []string{m.fact(w.runName)}}, "runs/log-metric", map[string]any{
		"run_id": w.run, "key": m.Key, "value": m.Value, "timestamp": m.Timestamp, "step": m.Step,
	}, nil, nothing)
}

func (w *writer) setTag(id string) bool {
	return w.send(write{ID: id, Slot: "tag " + w.runName + " last", Value: id}, "runs/set-tag",
		map[string]any{"run_id": w.run, "key": "last", "value": id}, nil, nothing)
}

// updateRun ends the run or makes it run again, which it has to for the next write.
func (w *writer) updateRun(id string) bool {
	status := []string{"RUNNING", "FINISHED", "FAILED"}[w.random.IntN(3)]
	return w.send(write{ID: id, Slot: "status " + w.runName, Value: status}, "runs/update",
		map[string]any{"run_id": w.run, "status": status}, nil, nothing)
}

func (w *writer) createVersion(id string) bool {
	source := "mlflow-artifacts:/" + w.experiment + "/" + w.run + "/artifacts/" + id
	var made struct {
		ModelVersion struct {
			Version string `json:"version"`
		} `json:"model_version"`
	}
	return w.send(
		write{ID: id, Facts: []string{"version " + w.model + " " + source, "version-tag " + source + " first=" + id}},
		"model-versions/create", map[string]any{
			"name": w.model, "source": source, "run_id": w.run, "tags": []pair{{"first", id}},
		}, &made, func() string {
			w.version, _ = strconv.Atoi(made.ModelVersion.Version) // the journal shows what is no number
			w.source = source
			return w.model + "/" + made.ModelVersion.Version + " " + source
		})
}

func (w *writer) setAlias(id string) bool {
	to := strconv.Itoa(1 + w.random.IntN(w.version)) // those below the last exist too
	return w.send(write{ID: id, Slot: "alias " + w.model + " " + w.name, Value: to}, "registered-models/alias",
		map[string]any{"name": w.model, "alias": w.name, "version": to}, nil, nothing)
}

func (w *writer) transition(id string) bool {
	stage := []string{"None", "Staging", "Production", "Archived"}[w.random.IntN(4)]
	return w.send(write{ID: id, Slot: "stage " + w.source, Value: stage}, "model-versions/transition-stage",
		map[string]any{"name": w.model, "version": strconv.Itoa(w.version), "stage": stage}, nil, nothing)
}

// query is a path with a query.
func query(path string, fields url.Values) string { return path + "?" + fields.Encode() }
