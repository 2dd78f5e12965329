package mlflowapi

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/google/go-cmp/cmp"
)

// decodeSlowly is decodeText by way of maps.
func decodeSlowly(t testing.TB, body string) (out everything, err error) {
	t.Helper()
	c, _ := gin.CreateTestContext(httptest.NewRecorder())
	c.Request = httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	c.Request.Header.Set("Content-Type", "application/json")
	err = newDecoder(reflect.TypeFor[everything]()).decode(c, &out)
	return out, err
}

func decodeFast(body string) (out everything, ok bool) {
	t := reflect.TypeFor[everything]()
	ok = newFastDecoder(newDecoder(t), t).decode(body, reflect.ValueOf(&out).Elem())
	return out, ok
}

// wantSame checks that the fast way, if it takes a body, gives what the other one gives.
func wantSame(t *testing.T, body string) (fast bool) {
	t.Helper()
	got, ok := decodeFast(body)
	if !ok {
		return false
	}
	want, err := decodeSlowly(t, body)
	same := cmp.Comparer(func(a, b float64) bool {
		return math.Float64bits(a) == math.Float64bits(b) || math.IsNaN(a) && math.IsNaN(b)
	})
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(everything{}), same); err != nil || diff != "" {
		t.Errorf("%s\n%v\n%s", body, err, diff)
	}
	return true
}

func TestFastDecoder_TakesWhatClientsSend(t *testing.T) {
	for _, body := range []string{
		`{"run_uuid": "r", "run_id": "r", "name": "loss", "value": 0.1, "count": 1700000000000, "maybe": 5}`,
		`{"run_id":"r","metrics":[{"key":"k","value":"NaN","timestamp":"12","step":-3,"run_id":"r","model_id":null},{"key":"k2","value":-0.0,"timestamp":1}]}`,
		"\r\n\t{ \"run_id\" : \"r\" , \"names\" : [ \"\\u00fc\" , \"ü\" , \"\" ] , \"metrics\" : [ ] , \"flag\" : true , \"status\" : \"FINISHED\" } \n",
		`{"run_id":"r","dataset":{"name":"d","digest":"1"},"big_name":"","names":null,"other":"x","more":1e5,"yes":false}`,
		`{"runId":"r","bigName":"\"quoted\\"}`,
	} {
		if !wantSame(t, body) {
			t.Errorf("left to the slow way: %s", body)
		}
	}
}

func TestFastDecoder_LeavesWhatIsUnusual(t *testing.T) {
	for _, body := range []string{
		``, `null`, `[]`, `"{}"`, `{}`, `{"run_id":""}`, `{"run_id":null}`, `{"run_uuid":"r"}`, `{"run_id":"r","run_uuid":"s"}`, `{"run_id":"r","runUuid":""}`,
		`{"run_id":"r","run_id":"r"}`, `{"run_id":"r","x":1,"x":1}`, `{"run_id":"r","big_name":"a","bigName":"a"}`, `{"run_id":"r",}`, `{"run_id":"r"} x`, `{"run_id":"r"`,
		`{"run_id":"r","count":1.0}`, `{"run_id":"r","count":01}`, `{"run_id":"r","value":.5}`, `{"run_id":"r","value":1.}`, `{"run_id":"r","value":NaN}`, `{"run_id":"r","value":1e999}`,
		`{"run_id":"r","names":[null]}`, `{"run_id":"r","names":["a",]}`, `{"run_id":"r","name":5}`, `{"run_id":"r","name":"a` + "\n" + `"}`, `{"run_id":"r","name":"\u0000"}`, `{"run_id":"r","name":"\x"}`,
		`{"run_id":"r","x":{}}`, `{"run_id":"r","metrics":[{"key":"k","value":1}]}`, `{"run_id":"r","status":"DONE"}`, "{\"run_id\":\"r\xff\"}", "\ufeff" + `{"run_id":"r"}`,
	} {
		if got, ok := decodeFast(body); ok {
			t.Errorf("%s: got %+v", body, got)
		}
	}
}

// mixture makes a body of pieces that are mostly right.
func mixture(r *rand.Rand) string {
	pick := func(texts ...string) string { return texts[r.IntN(len(texts))] }
	value := func() string {
		return pick(`"r"`, `"r"`, `""`, `null`, `1`, `-0`, `1.5`, `"7"`, `"NaN"`, `"-inf"`, `1e400`, `true`, `false`, `"\u00e4\n"`, `"\ud800"`, `[]`, `["a", "b"]`, `[null]`, `{}`, `9223372036854775808`, `"0x1p-2"`, `"1_0"`, `3`, `"RUNNING"`,
			`[{"key":"k","value":1,"timestamp":2}]`, `[{"key":"k","value":"1","timestamp":2,"step":null,"run_id":"x"},{"key":"","value":1,"timestamp":1}]`, `{"name":"n","digest":"d"}`)
	}
	var b strings.Builder
	b.WriteString(`{"run_id":"r"`)
	for range r.IntN(6) {
		fmt.Fprintf(&b, `%s"%s"%s:%s%s`, pick(",", ", ", ",\n"), pick("run_uuid", "runUuid", "name", "big_name", "bigName", "count", "maybe", "value", "flag", "status", "names", "metrics", "dataset", "Untagged", "x", `na\u006de`, "run_id"), pick("", " "), pick("", " "), value())
	}
	text := b.String() + pick("}", "}", "}", "} ", "", "}}", ",}")
	if r.IntN(8) == 0 {
		at := r.IntN(len(text))
		text = text[:at] + pick(`"`, `\`, "0", "x", "", " ", "\x00") + text[at+1:]
	}
	return text
}

func TestFastDecoder_EqualsTheSlowWay(t *testing.T) {
	const bodies = 5000
	r, fast := rand.New(rand.NewPCG(1, 2)), 0
	for range bodies {
		if wantSame(t, mixture(r)) {
			fast++
		}
	}
	if fast < bodies/20 {
		t.Errorf("only %d of %d bodies went the fast way", fast, bodies)
	}
}

func FuzzFastDecoder(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		f.Add(mixture(r))
	}
	f.Fuzz(func(t *testing.T, body string) { wantSame(t, body) })
}

func BenchmarkDecodeLogBatch(b *testing.B) {
	var body bytes.Buffer
	body.WriteString(`{"run_id": "0123456789abcdef0123456789abcdef", "metrics": [`)
	for i := range 1000 {
		if i > 0 {
			body.WriteString(", ")
		}
		fmt.Fprintf(&body, `{"key": "metric_%d", "value": %v, "timestamp": %d, "step": %d}`, i%10, 0.123456789*float64(i), 1700000000000+i, i)
	}
	body.WriteString("]}")
	d := newRequestDecoder(reflect.TypeFor[logBatchRequest]())
	slow := newDecoder(reflect.TypeFor[logBatchRequest]())
	for name, d := range map[string]*decoder{"fast": d, "slow": slow} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				c, _ := gin.CreateTestContext(httptest.NewRecorder())
				c.Request = httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body.Bytes()))
				c.Request.Header.Set("Content-Type", "application/json")
				var req logBatchRequest
				if err := d.decode(c, &req); err != nil || len(req.Metrics) != 1000 {
					b.Fatal(err)
				}
			}
		})
	}
}
