package mlflowapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"greenroom/models"
)

// maxNames is how many names an object may have; no request has a use for nearly as many.
const maxNames = 50_000

// maxJSONDepth is far beyond MLflow's messages, none of which nests deeper than five.
const maxJSONDepth = 64

const apiDocsHint = " See the API docs for more information about request parameters."

// decoder fills one request type from a JSON object or a query string, by MLflow's proto2 rules: names in snake_case or
// camelCase, 64-bit integers as numbers or decimal strings, doubles also as "NaN" and "Infinity", null as absent, unknown
// fields ignored. What MLflow drops in silence (a wrong type in a nested message, an unknown enum name) is refused.
//
// Fields are described by tags: `json:"name"` and, when absence is an error, `mlflow:"required"`.
type decoder struct {
	fields []field
	fast   *fastDecoder // for most bodies; nil for none
}

type field struct {
	name, camel string
	index       []int
	required    bool
	repeated    bool
	set         func(dst reflect.Value, path string, v any) error
}

// enum is a request field that takes one of MLflow's enum names, or its number.
type enum interface{ enumNames() map[int64]string }

var enumType = reflect.TypeFor[enum]()

// newRequestDecoder is newDecoder for a whole request.
func newRequestDecoder(t reflect.Type) *decoder {
	d := newDecoder(t)
	d.fast = newFastDecoder(d, t)
	return d
}

// newDecoder describes a request type; it panics on a type no decoder exists for, which a server meets when it starts.
func newDecoder(t reflect.Type) *decoder {
	d := &decoder{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		d.fields = append(d.fields, field{
			name:     name,
			camel:    camelCase(name),
			index:    f.Index,
			required: f.Tag.Get("mlflow") == "required",
			repeated: f.Type.Kind() == reflect.Slice,
			set:      setter(f.Type),
		})
	}
	return d
}

// setter gives the function that stores a JSON value in a field of type t.
func setter(t reflect.Type) func(reflect.Value, string, any) error {
	switch {
	case t.Kind() == reflect.Pointer:
		set := setter(t.Elem())
		return func(dst reflect.Value, path string, v any) error {
			dst.Set(reflect.New(t.Elem()))
			return set(dst.Elem(), path, v)
		}
	case t.Implements(enumType):
		return setEnum
	case t.Kind() == reflect.Slice:
		set := setter(t.Elem())
		return func(dst reflect.Value, path string, v any) error { return setSlice(dst, path, v, set) }
	case t.Kind() == reflect.Struct:
		d := newDecoder(t)
		return func(dst reflect.Value, path string, v any) error {
			object, ok := v.(map[string]any)
			if !ok {
				return wrongType(path, v)
			}
			return d.fill(dst, path, object)
		}
	}
	switch t.Kind() {
	case reflect.String:
		return setString
	case reflect.Int64:
		return setInt
	case reflect.Float64:
		return setDouble
	case reflect.Bool:
		return setBool
	}
	panic(fmt.Sprintf("mlflowapi: no decoder for request field type %s", t))
}

// decode fills dst (a pointer to the decoder's struct) from the request: the query of a GET that has one, the JSON body otherwise.
func (d *decoder) decode(c *gin.Context, dst any) error {
	request := reflect.ValueOf(dst).Elem()
	var object map[string]any
	if query := c.Request.URL.Query(); c.Request.Method == http.MethodGet && len(query) > 0 {
		var err error
		if object, err = d.queryObject(query); err != nil {
			return err
		}
	} else {
		body, err := readBody(c.Request)
		if err != nil {
			return err
		}
		if d.fast != nil && len(c.Params) == 0 {
			if d.fast.decode(string(body), request) {
				return nil
			}
			request.SetZero()
		}
		if object, err = objectOf(body); err != nil {
			return err
		}
	}
	for _, p := range c.Params {
		if err := checkText(p.Key, p.Value); err != nil {
			return err
		}
		if v := object[p.Key]; present(v) && v != p.Value {
			return invalid("The request names '%s' twice, with different values in the path and in the body.", p.Key)
		}
		object[p.Key] = p.Value
	}
	if err := checkOneRun(object); err != nil {
		return err
	}
	return d.fill(request, "", object)
}

// checkOneRun refuses a request that names two runs, as one of them would be ignored.
func checkOneRun(object map[string]any) error {
	var id any
	for _, name := range []string{"run_id", "runId", "run_uuid", "runUuid"} {
		switch v := object[name]; {
		case !present(v):
		case id == nil:
			id = v
		case !reflect.DeepEqual(id, v):
			return invalid("Request specifies both 'run_id' and 'run_uuid', with different values; provide only one of them.")
		}
	}
	return nil
}

func (d *decoder) fill(dst reflect.Value, path string, object map[string]any) error {
	for i := range d.fields {
		f := &d.fields[i]
		v, ok := object[f.name]
		if f.camel != f.name {
			if twin, both := object[f.camel]; both {
				if ok {
					return invalid("Request specifies both '%s' and '%s'; provide only one of them.", f.name, f.camel)
				}
				v = twin
			}
		}
		where := join(path, f.name)
		if !present(v) {
			twin := f.name == "run_id" && path == "" && present(object["run_uuid"])
			if f.required && !twin {
				return invalid("Missing value for required parameter '%s'.%s", where, apiDocsHint)
			}
			if v == nil {
				continue
			}
		}
		if err := f.set(dst.FieldByIndex(f.index), where, v); err != nil {
			return err
		}
	}
	return nil
}

// present tells whether a value is given: to MLflow, null and "" are both absent.
func present(v any) bool { return v != nil && v != "" && v != queryValue("") }

// queryObject turns query parameters into the JSON object that a POST would carry. Only snake_case names count, as in MLflow.
func (d *decoder) queryObject(query url.Values) (map[string]any, error) {
	object := make(map[string]any, len(query))
	for _, f := range d.fields {
		values, ok := query[f.name]
		if !ok {
			continue
		}
		for _, v := range values {
			if err := checkText(f.name, v); err != nil {
				return nil, err
			}
		}
		switch {
		case f.repeated:
			list := make([]any, len(values))
			for i, v := range values {
				list[i] = v
			}
			object[f.name] = list
		case len(values) > 1 && slices.ContainsFunc(values, func(v string) bool { return v != values[0] }):
			return nil, invalid("Parameter '%s' is given %d times with different values; provide it once.", f.name, len(values))
		default:
			object[f.name] = queryValue(values[0])
		}
	}
	return object, nil
}

// queryValue marks a query string so that setBool accepts it: in a JSON body a string is no boolean.
type queryValue string

func readBody(r *http.Request) ([]byte, error) {
	if r.Method == http.MethodPost || r.Method == http.MethodPut {
		if err := checkContentType(r.Header.Get("Content-Type")); err != nil {
			return nil, err
		}
	}
	var body []byte
	var err error
	if whole, ok := r.Body.(*wholeBody); ok {
		body, err = whole.text, whole.err
	} else {
		body, err = io.ReadAll(r.Body)
	}
	if err != nil {
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			return nil, &requestTooLarge{limit: tooLarge.Limit}
		}
		return nil, invalid("The request body could not be read: %v.", err)
	}
	return body, nil
}

func bodyObject(r *http.Request) (map[string]any, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	return objectOf(body)
}

func objectOf(body []byte) (map[string]any, error) {
	value, err := parseJSON(body)
	if text, ok := value.(string); ok && err == nil { // clients of MLflow 0.x encode the object twice
		value, err = parseJSON([]byte(text))
	}
	if err != nil {
		return nil, err
	}
	switch value := value.(type) {
	case nil:
		return map[string]any{}, nil
	case map[string]any:
		return value, nil
	default:
		return nil, invalid("The request body must be a JSON object, got a value of type '%s'.", pythonType(value))
	}
}

func checkContentType(header string) error {
	if header == "" {
		return invalid("Bad Request. Content-Type header is missing.")
	}
	if media, _, err := mime.ParseMediaType(header); err != nil || media != "application/json" {
		return invalid("Bad Request. Content-Type must be one of ['application/json'].")
	}
	return nil
}

// parseJSON reads one JSON value into maps, slices, strings, bools and json.Numbers. It refuses what encoding/json lets
// pass: a name given twice in one object, nesting beyond maxJSONDepth, NUL characters. An empty body is null.
func parseJSON(body []byte) (any, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	if !utf8.Valid(body) {
		return nil, invalid("The request body is not valid JSON: it must be UTF-8.")
	}
	p := jsonParser{json.NewDecoder(bytes.NewReader(body))}
	p.dec.UseNumber()
	value, err := p.value(0)
	if err == nil {
		if _, extra := p.dec.Token(); extra != io.EOF {
			err = errors.New("unexpected text after the first value")
		}
	}
	if err == nil {
		return value, nil
	}
	if known := new(models.Error); errors.As(err, &known) {
		return nil, err
	}
	message := fmt.Sprintf("The request body is not valid JSON: %v (at byte %d).", err, p.dec.InputOffset())
	if bytes.Contains(body, []byte("NaN")) || bytes.Contains(body, []byte("Infinity")) {
		message += ` NaN and infinities must be JSON strings: "NaN", "Infinity", "-Infinity".`
	}
	return nil, invalid("%s", message)
}

type jsonParser struct{ dec *json.Decoder }

func (p jsonParser) value(depth int) (any, error) {
	token, err := p.dec.Token()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	switch token := token.(type) {
	case json.Delim:
		if depth == maxJSONDepth {
			return nil, invalid("The request body nests deeper than %d levels.", maxJSONDepth)
		}
		if token == '{' {
			return p.object(depth + 1)
		}
		return p.array(depth + 1)
	case string:
		return token, checkText("", token)
	default:
		return token, nil
	}
}

func (p jsonParser) object(depth int) (any, error) {
	object := map[string]any{}
	for p.dec.More() {
		token, err := p.dec.Token()
		if err != nil {
			return nil, err
		}
		name := token.(string)
		if len(object) == maxNames {
			return nil, invalid("The request body has more than %d names in one object.", maxNames)
		}
		if _, twice := object[name]; twice {
			return nil, invalid("The request body has the name %q twice in one object; provide it once.", name)
		}
		if object[name], err = p.value(depth); err != nil {
			return nil, err
		}
	}
	_, err := p.dec.Token()
	return object, err
}

func (p jsonParser) array(depth int) (any, error) {
	list := []any{}
	for p.dec.More() {
		v, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := p.dec.Token()
	return list, err
}

// checkText refuses text that PostgreSQL cannot store, on every database alike.
func checkText(name, text string) error {
	if strings.IndexByte(text, 0) < 0 && utf8.ValidString(text) {
		return nil
	}
	if name != "" {
		name = " in parameter '" + name + "'"
	}
	return invalid("Text%s must be valid UTF-8 without NUL characters.", name)
}

func setString(dst reflect.Value, path string, v any) error {
	switch v := v.(type) {
	case string:
		dst.SetString(v)
	case queryValue:
		dst.SetString(string(v))
	default:
		return wrongType(path, v)
	}
	return nil
}

// written is how a string or a number stands in the request; ok is false for anything else.
func written(v any) (text string, ok bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case queryValue:
		return string(v), true
	case json.Number:
		return v.String(), true
	}
	return "", false
}

func setInt(dst reflect.Value, path string, v any) error {
	text, ok := written(v)
	if !ok {
		return wrongType(path, v)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		// 5.0 and 1e3 are whole numbers too; beyond 2^53 a float no longer says which integer is meant.
		f, ferr := strconv.ParseFloat(text, 64)
		if _, number := v.(json.Number); !number || ferr != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return wrongType(path, v)
		}
		n = int64(f)
	}
	dst.SetInt(n)
	return nil
}

func setDouble(dst reflect.Value, path string, v any) error {
	switch v := v.(type) {
	case json.Number:
		f, err := v.Float64()
		if err != nil && !math.IsInf(f, 0) {
			return wrongType(path, v)
		}
		dst.SetFloat(f)
	case string, queryValue:
		f, err := strconv.ParseFloat(fmt.Sprint(v), 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return wrongType(path, v)
		}
		dst.SetFloat(f)
	case bool: // Python's True counts as a number
		if v {
			dst.SetFloat(1)
		}
	default:
		return wrongType(path, v)
	}
	return nil
}

func setBool(dst reflect.Value, path string, v any) error {
	switch v := v.(type) {
	case bool:
		dst.SetBool(v)
	case queryValue:
		switch strings.ToLower(string(v)) {
		case "true":
			dst.SetBool(true)
		case "false":
		default:
			return invalid("Invalid boolean value: %s, must be 'true' or 'false'.", v)
		}
	default:
		return wrongType(path, v)
	}
	return nil
}

func setEnum(dst reflect.Value, path string, v any) error {
	names := dst.Interface().(enum).enumNames()
	text, ok := written(v)
	if !ok {
		return wrongType(path, v)
	}
	for number, name := range names {
		if text == name || text == strconv.FormatInt(number, 10) {
			dst.SetString(name)
			return nil
		}
	}
	numbers := make([]int64, 0, len(names))
	for number := range names {
		numbers = append(numbers, number)
	}
	slices.Sort(numbers)
	valid := make([]string, len(numbers))
	for i, number := range numbers {
		valid[i] = names[number]
	}
	return invalid("Invalid value %s for parameter '%s' supplied: must be one of %s.", shown(v), path, strings.Join(valid, ", "))
}

func setSlice(dst reflect.Value, path string, v any, set func(reflect.Value, string, any) error) error {
	list, ok := v.([]any)
	if !ok {
		return wrongType(path, v)
	}
	dst.Set(reflect.MakeSlice(dst.Type(), len(list), len(list)))
	for i, item := range list {
		where := path + "[" + strconv.Itoa(i) + "]"
		if item == nil {
			return wrongType(where, item)
		}
		if err := set(dst.Index(i), where, item); err != nil {
			return err
		}
	}
	return nil
}

func wrongType(path string, v any) error {
	value := shown(v)
	if strings.Contains(path, "password") {
		value = "(not shown)"
	}
	return invalid("Invalid value %s for parameter '%s' supplied:  Hint: Value was of type '%s'.%s", value, path, pythonType(v), apiDocsHint)
}

// pythonType names a JSON value's type as MLflow's messages do.
func pythonType(v any) string {
	switch v := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return "float"
		}
		return "int"
	case []any:
		return "list"
	case map[string]any:
		return "dict"
	default:
		return "str"
	}
}

// shown prints a JSON value for a message, cut when it is long.
func shown(v any) string {
	const longest = 1000
	text := models.Quote(v)
	if len(text) > longest {
		text = text[:longest] + "…"
	}
	return text
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func camelCase(snake string) string {
	words := strings.Split(snake, "_")
	for i, w := range words[1:] {
		if w != "" {
			words[i+1] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, "")
}

// invalid is a refusal of the request as it stands.
func invalid(format string, args ...any) error {
	return &models.Error{Code: models.InvalidParameterValue, Message: fmt.Sprintf(format, args...)}
}
