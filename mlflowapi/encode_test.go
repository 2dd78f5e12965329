package mlflowapi

import (
	"encoding/json"
	"math"
	"testing"
	"testing/quick"

	"github.com/google/go-cmp/cmp"

	"greenroom/models"
)

// wireRunMetric is a metric of one of several runs, as encoding/json writes it.
type wireRunMetric struct {
	metric
	RunID string `json:"run_id"`
}

func sameJSON(t *testing.T, want any, got []byte) bool {
	t.Helper()
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(text), string(got)); diff != "" {
		t.Error(diff)
		return false
	}
	return true
}

func TestAppendString_IsEncodingJSONs(t *testing.T) {
	for _, text := range []string{"", "plain ~", `"\/`, "<a href='x'>&amp;</a>", "ä\u2028\u2029\U0001f600", "\x00\x1f\x7f\t\n", "\xff\xc3(", "a\xe2\x80"} {
		sameJSON(t, text, appendString(nil, text))
	}
	if err := quick.Check(func(raw []byte) bool { return sameJSON(t, string(raw), appendString(nil, string(raw))) }, nil); err != nil {
		t.Error(err)
	}
}

func TestModelVersionsJSON_IsEncodingJSONs(t *testing.T) {
	check := func(v modelVersion, token string) bool {
		one, all := modelVersionResponse{v}, modelVersionsResponse{[]modelVersion{v, {}}, token}
		return sameJSON(t, one, one.appendJSON(nil)) && sameJSON(t, all, all.appendJSON(nil))
	}
	if err := quick.Check(check, nil); err != nil {
		t.Error(err)
	}
	sameJSON(t, modelVersionsResponse{}, (&modelVersionsResponse{}).appendJSON(nil))
}

// wireRun is a run as encoding/json writes it.
type wireRun struct {
	Info runInfo `json:"info"`
	Data struct {
		Metrics []metric `json:"metrics,omitempty"`
		Params  []param  `json:"params,omitempty"`
		Tags    []tag    `json:"tags,omitempty"`
	} `json:"data"`
	Inputs  runInputs   `json:"inputs"`
	Outputs *runOutputs `json:"outputs,omitempty"`
}

func newWireRun(r *models.Run) (out wireRun) {
	out.Info, out.Inputs, out.Outputs = newRunInfo(r), newRunInputs(r), newRunOutputs(r)
	for _, m := range r.Metrics {
		out.Data.Metrics = append(out.Data.Metrics, newMetric(m))
	}
	for _, p := range r.Params {
		out.Data.Params = append(out.Data.Params, param(p))
	}
	out.Data.Tags = newTags(r.Tags)
	return out
}

func TestRunsJSON_IsEncodingJSONs(t *testing.T) {
	check := func(r *models.Run, isNew bool, token string) bool {
		one, all := newWireRun(r), []wireRun{newWireRun(r), newWireRun(&models.Run{})}
		if isNew {
			one.Outputs = nil
		}
		return sameJSON(t, map[string]any{"run": one}, (&runResponse{r, isNew}).appendJSON(nil)) &&
			sameJSON(t, struct {
				Runs  []wireRun `json:"runs"`
				Token string    `json:"next_page_token,omitempty"`
			}{all, token}, (&searchRunsResponse{[]*models.Run{r, {}}, token}).appendJSON(nil))
	}
	if err := quick.Check(func(r models.Run, isNew bool, token string) bool { return check(&r, isNew, token) }, nil); err != nil {
		t.Error(err)
	}
	sameJSON(t, struct{}{}, (&searchRunsResponse{}).appendJSON(nil))
}

func TestMetricsJSON_IsEncodingJSONs(t *testing.T) {
	check := func(key, run string, value float64, timestamp, step int64) bool {
		m := models.NewMetric(key, value, timestamp, step)
		p := models.Point{Value: m.Value, Timestamp: timestamp, Step: step, IsNaN: m.IsNaN}
		text := append(appendPoint(nil, appendString(nil, key), p), '}')
		list := historySample{key, []models.RunPoint{{RunID: run, Point: p}, {RunID: "r", Point: p}}}
		return sameJSON(t, newMetric(m), text) && sameJSON(t, map[string]any{"metrics": []wireRunMetric{{newMetric(m), run}, {newMetric(m), "r"}}}, list.appendJSON(nil))
	}
	for _, value := range []float64{0, math.Copysign(0, -1), 1, -2.5, 1e15, 1e16, 1e17, 1e-7, 123456789.125, math.MaxFloat64, math.SmallestNonzeroFloat64, math.NaN(), math.Inf(1), math.Inf(-1)} {
		check("loss <1>", "run\"", value, math.MaxInt64, math.MinInt64)
	}
	if err := quick.Check(check, nil); err != nil {
		t.Error(err)
	}
}
