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

func TestRunsJSON_IsEncodingJSONs(t *testing.T) {
	check := func(r run, token string) bool {
		one, all := runResponse{r}, searchRunsResponse{[]run{r, {}}, token}
		return sameJSON(t, one, one.appendJSON(nil)) && sameJSON(t, all, all.appendJSON(nil))
	}
	if err := quick.Check(check, nil); err != nil {
		t.Error(err)
	}
	sameJSON(t, searchRunsResponse{}, (&searchRunsResponse{}).appendJSON(nil))
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
