package mlflowapi

import (
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/google/go-cmp/cmp"

	"greenroom/models"
)

// everything has a field of each kind a request can have.
type everything struct {
	runRef
	Name     string         `json:"name"`
	BigName  *string        `json:"big_name"`
	Count    int64          `json:"count"`
	Maybe    *int64         `json:"maybe"`
	Value    float64        `json:"value"`
	Flag     bool           `json:"flag"`
	Status   runStatus      `json:"status"`
	Names    []string       `json:"names"`
	Metrics  []loggedMetric `json:"metrics"`
	Dataset  dataset        `json:"dataset"`
	ignored  int            //nolint:unused // shows that a field without a tag is left alone
	Untagged string
}

func decodeText(t testing.TB, method, target, contentType, body string) (everything, error) {
	t.Helper()
	c, _ := gin.CreateTestContext(httptest.NewRecorder())
	c.Request = httptest.NewRequest(method, target, strings.NewReader(body))
	if contentType != "" {
		c.Request.Header.Set("Content-Type", contentType)
	}
	var out everything
	err := newRequestDecoder(reflect.TypeFor[everything]()).decode(c, &out)
	return out, err
}

func TestDecode_Accepts(t *testing.T) {
	big, seven := "n", int64(7)
	ref := runRef{RunID: "r"}
	for _, c := range []struct {
		name, method, target, body string
		want                       everything
	}{
		{"snake case", "POST", "/", `{"run_id":"r","big_name":"n"}`, everything{runRef: ref, BigName: &big}},
		{"camel case", "POST", "/", `{"runId":"r","bigName":"n"}`, everything{runRef: ref, BigName: &big}},
		{"the old name of a run's id", "POST", "/", `{"run_uuid":"r"}`, everything{runRef: runRef{RunUUID: "r"}}},
		{"integers as text", "POST", "/", `{"run_id":"r","count":"9007199254740993","maybe":"7"}`, everything{runRef: ref, Count: 9007199254740993, Maybe: &seven}},
		{"whole floats as integers", "POST", "/", `{"run_id":"r","count":5.0,"maybe":0.7e1}`, everything{runRef: ref, Count: 5, Maybe: &seven}},
		{"infinity as text", "POST", "/", `{"run_id":"r","value":"-Infinity"}`, everything{runRef: ref, Value: math.Inf(-1)}},
		{"inf in any spelling", "POST", "/", `{"run_id":"r","value":"INF"}`, everything{runRef: ref, Value: math.Inf(1)}},
		{"beyond a double", "POST", "/", `{"run_id":"r","value":1e400}`, everything{runRef: ref, Value: math.Inf(1)}},
		{"True as a double", "POST", "/", `{"run_id":"r","value":true}`, everything{runRef: ref, Value: 1}},
		{"enum by number", "POST", "/", `{"run_id":"r","status":3}`, everything{runRef: ref, Status: "FINISHED"}},
		{"null is absent", "POST", "/", `{"run_id":"r","big_name":null,"count":null,"names":null}`, everything{runRef: ref}},
		{"unknown fields", "POST", "/", `{"run_id":"r","other":{"deep":[1]}}`, everything{runRef: ref}},
		{"encoded twice", "POST", "/", `"{\"run_id\":\"r\"}"`, everything{runRef: ref}},
		{"nested", "POST", "/", `{"run_id":"r","metrics":[{"key":"k","value":1,"timestamp":2}]}`, everything{runRef: ref, Metrics: []loggedMetric{{Key: "k", Value: 1, Timestamp: 2}}}},
		{"a query", "GET", "/?run_id=r&names=a&names=b&flag=True&count=5&status=FAILED", "", everything{runRef: ref, Names: []string{"a", "b"}, Flag: true, Count: 5, Status: "FAILED"}},
		{"the body of a GET without query", "GET", "/", `{"run_id":"r"}`, everything{runRef: ref}},
		{"a query name in camel case is unknown", "GET", "/?run_id=r&bigName=x", "", everything{runRef: ref}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := decodeText(t, c.method, c.target, "application/json; charset=utf-8", c.body)
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(everything{})); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

func TestDecode_AcceptsNaNInEverySpelling(t *testing.T) {
	for _, text := range []string{"NaN", "nan", "NAN"} {
		if got, err := decodeText(t, "POST", "/", "application/json", `{"run_id":"r","value":"`+text+`"}`); err != nil || !math.IsNaN(got.Value) {
			t.Errorf("%s: got %v, %v", text, got.Value, err)
		}
	}
}

func TestDecode_Refuses(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000)
	for _, c := range []struct{ name, method, target, body, message string }{
		{"nothing", "POST", "/", "", "Missing value for required parameter 'run_id'. See the API docs"},
		{"an empty id", "POST", "/", `{"run_id":""}`, "Missing value for required parameter 'run_id'."},
		{"an empty id in a query", "GET", "/?run_id=", "", "Missing value for required parameter 'run_id'."},
		{"a number for text", "POST", "/", `{"run_id":"r","name":5}`, "Invalid value 5 for parameter 'name' supplied:  Hint: Value was of type 'int'. See the API docs for more information about request parameters."},
		{"an object for text", "POST", "/", `{"run_id":"r","name":{"ü":1}}`, `Invalid value {"\u00fc":1} for parameter 'name' supplied:  Hint: Value was of type 'dict'.`},
		{"text for a boolean", "POST", "/", `{"run_id":"r","flag":"true"}`, `Invalid value "true" for parameter 'flag' supplied:  Hint: Value was of type 'str'.`},
		{"another word for a boolean in a query", "GET", "/?run_id=r&flag=yes", "", "Invalid boolean value: yes, must be 'true' or 'false'."},
		{"a fraction for an integer", "POST", "/", `{"run_id":"r","count":1.5}`, "Invalid value 1.5 for parameter 'count' supplied:  Hint: Value was of type 'float'."},
		{"an integer beyond 64 bits", "POST", "/", `{"run_id":"r","count":9223372036854775808}`, "Invalid value 9223372036854775808 for parameter 'count'"},
		{"words for a double", "POST", "/", `{"run_id":"r","value":"much"}`, `Invalid value "much" for parameter 'value'`},
		{"an unknown status", "POST", "/", `{"run_id":"r","status":"DONE"}`, `Invalid value "DONE" for parameter 'status' supplied: must be one of RUNNING, SCHEDULED, FINISHED, FAILED, KILLED.`},
		{"a missing nested value", "POST", "/", `{"run_id":"r","metrics":[{"key":"k","timestamp":1}]}`, "Missing value for required parameter 'metrics[0].value'."},
		{"a wrong nested type", "POST", "/", `{"run_id":"r","metrics":[{"key":"k","value":1,"timestamp":1},{"key":2}]}`, "Invalid value 2 for parameter 'metrics[1].key'"},
		{"an object for a list", "POST", "/", `{"run_id":"r","names":{"a":1}}`, "Invalid value {\"a\":1} for parameter 'names' supplied:  Hint: Value was of type 'dict'."},
		{"null in a list", "POST", "/", `{"run_id":"r","names":[null]}`, "Invalid value null for parameter 'names[0]' supplied:  Hint: Value was of type 'NoneType'."},
		{"both spellings", "POST", "/", `{"run_id":"r","big_name":"a","bigName":"a"}`, "Request specifies both 'big_name' and 'bigName'; provide only one of them."},
		{"two runs", "POST", "/", `{"run_id":"r","run_uuid":"s"}`, "Request specifies both 'run_id' and 'run_uuid', with different values; provide only one of them."},
		{"two runs in camel case", "POST", "/", `{"run_id":"r","runUuid":"s"}`, "Request specifies both 'run_id' and 'run_uuid'"},
		{"two runs in a query", "GET", "/?run_id=r&run_uuid=s", "", "Request specifies both 'run_id' and 'run_uuid', with different values; provide only one of them."},
		{"a name twice", "POST", "/", `{"run_id":"r","name":"a","name":"b"}`, `The request body has the name "name" twice in one object`},
		{"a query name twice", "GET", "/?run_id=r&run_id=s", "", "Parameter 'run_id' is given 2 times with different values"},
		{"a list", "POST", "/", `[]`, "The request body must be a JSON object, got a value of type 'list'."},
		{"no JSON", "POST", "/", `{"run_id":`, "The request body is not valid JSON: unexpected EOF"},
		{"two values", "POST", "/", `{"run_id":"r"} {}`, "The request body is not valid JSON: unexpected text after the first value"},
		{"a bare NaN", "POST", "/", `{"run_id":"r","value":NaN}`, "The request body is not valid JSON:"},
		{"deep nesting", "POST", "/", deep, "The request body nests deeper than 64 levels."},
		{"a NUL", "POST", "/", `{"run_id":"r","name":"a\u0000"}`, "Text must be valid UTF-8 without NUL characters."},
		{"a NUL in a query", "GET", "/?run_id=r%00", "", "Text in parameter 'run_id' must be valid UTF-8 without NUL characters."},
		{"bytes that are no UTF-8 in a query", "GET", "/?run_id=%ff", "", "Text in parameter 'run_id' must be valid UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := decodeText(t, c.method, c.target, "application/json", c.body)
			var e *models.Error
			if !errors.As(err, &e) || e.Code != models.InvalidParameterValue || !strings.HasPrefix(e.Message, c.message) {
				t.Errorf("got %v, want %s…", err, c.message)
			}
		})
	}
}

func TestDecode_ContentType(t *testing.T) {
	for contentType, message := range map[string]string{
		"":           "Bad Request. Content-Type header is missing.",
		"text/plain": "Bad Request. Content-Type must be one of ['application/json'].",
		"nonsense/":  "Bad Request. Content-Type must be one of ['application/json'].",
	} {
		for _, method := range []string{http.MethodPost, http.MethodPut} {
			_, err := decodeText(t, method, "/", contentType, `{"run_id":"r"}`)
			if err == nil || !strings.Contains(err.Error(), message) {
				t.Errorf("%s with %q: got %v, want %s", method, contentType, err, message)
			}
		}
		if _, err := decodeText(t, http.MethodDelete, "/", contentType, `{"run_id":"r"}`); err != nil {
			t.Errorf("DELETE with %q: %v", contentType, err)
		}
	}
}

// Whatever the body, it is decoded or refused as a client's mistake.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{"run_id":"r","metrics":[{"key":"k","value":"NaN","timestamp":"1"}]}`, `[1,{"a":null}]`, `"{}"`, `{"a":1,"a":2}`, "\x00", `{"run_id":"\ud800"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		_, err := decodeText(t, "POST", "/", "application/json", body)
		var e *models.Error
		if err != nil && !errors.As(err, &e) {
			t.Errorf("%q: %v", body, err)
		}
	})
}
