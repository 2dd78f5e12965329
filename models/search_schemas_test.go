package models

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite"

	"greenroom/search"
)

// recorded is a question put to genuine MLflow 3.17.2 and its answer; compat_tests/record_search.py writes them.
type recorded struct {
	Entity   string
	Filter   *string
	Order    json.RawMessage
	Datasets []struct {
		Name   string `json:"dataset_name"`
		Digest string `json:"dataset_digest"`
	}
	IDs      []string
	Bad      string // 400
	Internal string // 500
}

func (r recorded) question() string {
	switch {
	case r.Filter != nil && r.Datasets != nil:
		return *r.Filter + " on datasets"
	case r.Filter != nil:
		return *r.Filter
	}
	return "ORDER BY " + string(r.Order)
}

// ask puts the question to our vocabularies, on rows made by testdata/search.
func (r recorded) ask(db *sql.DB) ([]string, error) {
	const d = search.SQLite
	var schema *search.Schema
	var from, base string
	switch r.Entity {
	case "runs":
		schema, from, base = runSchema, "SELECT runs.run_uuid FROM runs", "runs.experiment_id = 1"
	case "experiments":
		schema, from, base = experimentSchema, "SELECT experiments.experiment_id FROM experiments", "experiments.lifecycle_stage = 'active'"
	case "registered_models":
		schema, from, base = registeredModelSchema, "SELECT registered_models.name FROM registered_models", "registered_models.workspace = 'default'"
	case "model_versions":
		schema, from, base = modelVersionSchema, "SELECT model_versions.name || '/' || model_versions.version FROM model_versions", "model_versions.workspace = 'default'"
	case "logged_models":
		schema, from, base = loggedModelSchema, "SELECT logged_models.model_id FROM logged_models", "logged_models.experiment_id = 1"
	}
	filter := ""
	if r.Filter != nil {
		filter = *r.Filter
	}
	where, err := schema.Where(d, filter)
	if r.Datasets != nil {
		var datasets []DatasetFilter
		for _, ds := range r.Datasets {
			datasets = append(datasets, DatasetFilter{ds.Name, ds.Digest})
		}
		where, err = loggedModelWhere(d, filter, datasets)
	}
	if err != nil {
		return nil, err
	}
	order, err := r.orderBy(d, schema)
	if err != nil {
		return nil, err
	}
	if where.SQL != "" {
		base += " AND " + where.SQL
	}
	rows, err := db.Query(from+" WHERE "+base+" ORDER BY "+order.SQL, append(where.Args, order.Args...)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

func (r recorded) orderBy(d search.Dialect, schema *search.Schema) (search.Clause, error) {
	if r.Entity == "logged_models" {
		var items []struct {
			Field     string `json:"field_name"`
			Ascending *bool
			Name      string `json:"dataset_name"`
			Digest    string `json:"dataset_digest"`
		}
		if r.Order != nil {
			if err := json.Unmarshal(r.Order, &items); err != nil {
				return search.Clause{}, err
			}
		}
		var keys []LoggedModelOrder
		for _, it := range items {
			keys = append(keys, LoggedModelOrder{it.Field, it.Ascending != nil && !*it.Ascending, it.Name, it.Digest})
		}
		return loggedModelOrderBy(d, keys)
	}
	var items []string
	if r.Order != nil {
		if err := json.Unmarshal(r.Order, &items); err != nil {
			return search.Clause{}, err
		}
	}
	return schema.OrderBy(d, items)
}

// searchDB is an SQLite database with the rows the record was made with.
func searchDB(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "search.db")+"?_pragma=case_sensitive_like(1)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	for _, name := range []string{"tables.sql", "rows.sql"} {
		text, err := os.ReadFile(filepath.Join("testdata", "search", name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(string(text)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return db
}

func readRecord(t *testing.T) []recorded {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "search", "record.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []recorded
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var r recorded
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("%v in %s", err, lines.Text())
		}
		all = append(all, r)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

var printedSet = regexp.MustCompile(`\{'[^{}]*'\}|\{[^{}]*$`)

// sortSets orders the members of each set that a message prints: genuine's order varies.
func sortSets(message string) string {
	return printedSet.ReplaceAllStringFunc(message, func(s string) string {
		s = strings.Trim(s, "{}")
		members := strings.Split(s, ", ")
		sort.Strings(members)
		return "{" + strings.Join(members, ", ") + "}"
	})
}

// searchDifferences are the questions that we answer otherwise than genuine, on purpose.
var searchDifferences = []struct {
	entity   string // "" is any
	question string // regular expression
	why      string
}{
	{"", ` % `, "what cannot be read is named word by word"},
	{"runs|experiments", `(start_time|end_time|created|creation_time|last_update_time) LIKE 1`, "the comparators named are those that numbers have, not those of texts"},
	{"experiments|model_versions|logged_models", `(experiment_id|version_number) = '?99999999999`, "a number that the column cannot hold is an error on both databases"},
	{"experiments", `experiment_id = \('r1'\)`, "a list without IN is refused as that"},
	{"experiments", `ORDER BY \["creation_time"`, "missing values come last in both directions on both databases"},
	{"registered_models", `ORDER BY \["(last_updated_)?timestamp"\]`, "missing values come last in both directions on both databases"},
	{"model_versions", `name = NULL`, "NULL is answered as a number is"},
	{"model_versions", `ORDER BY \["(tags.team|version)"\]`, "unknown sort keys have one wording"},
	{"logged_models", `(?i)is +(not +)?null`, "the message has a space before IS NULL"},
	{"logged_models", `= "`, "double quotes quote"},
	{"logged_models", `IN \((1(, 2)?)?\)|IN \('a' 1\)|= \('r1'\)`, "a list is a list of texts with at least one, and goes with IN"},
	{"logged_models", `(status|experiment_id) .*([a-zA-Z]'|%'|''|1\.5|x|LIKE 1|like '.'|LIKE '.'|'r1')`, "states and experiments are numbers; states also have names"},
	{"logged_models", `(status|experiment_id) (>|<=|==|<>|NOT LIKE|RLIKE)`, "the comparators named are those that states and experiments have"},
	{"logged_models", `(start_time|version_number|nope) (>|<|=|NOT|R)`, "an unknown attribute is named before the comparator"},
	{"logged_models", `^creation_time(stamp)? (?i)(not |in |r?i?like |==|<>)`, "an attribute is named as the user names it, not as its column"},
	{"logged_models", `metrics.* (inf|NaN)$`, "infinity is not a number to write"},
}

func TestSearchAnswersAsGenuine(t *testing.T) {
	db := searchDB(t)
	used := make([]bool, len(searchDifferences))
	for _, r := range readRecord(t) {
		t.Run(r.Entity+"/"+r.question(), func(t *testing.T) {
			got, err := r.ask(db)
			var mistake *search.Error
			if err != nil && !errors.As(err, &mistake) {
				t.Fatalf("the database refuses: %v", err)
			}
			if r.Internal != "" {
				return // ours may answer or refuse, but with an *Error
			}
			problem := ""
			switch {
			case r.Bad != "" && err == nil:
				problem = fmt.Sprintf("found %v; genuine refuses: %s", got, r.Bad)
			case r.Bad != "" && !strings.HasPrefix(sortSets(err.Error()), sortSets(r.Bad)):
				problem = fmt.Sprintf("refused with:    %s\ngenuine refuses: %s", err, r.Bad)
			case r.Bad == "" && err != nil:
				problem = fmt.Sprintf("refused: %s; genuine finds %v", err, r.IDs)
			case r.Bad == "" && !cmp.Equal(got, append([]string(nil), r.IDs...)):
				problem = fmt.Sprintf("found %v; genuine finds %v", got, r.IDs)
			}
			if problem == "" {
				return
			}
			for i, d := range searchDifferences {
				if slices.Contains(strings.Split(d.entity, "|"), r.Entity) || d.entity == "" {
					if regexp.MustCompile(d.question).MatchString(r.question()) {
						used[i] = true
						return
					}
				}
			}
			t.Error(problem)
		})
	}
	for i, d := range searchDifferences {
		if !used[i] {
			t.Errorf("no question shows the difference %s: %s", d.question, d.why)
		}
	}
}
