package models

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"greenroom/models/modelstest"
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

// ask puts the question to our vocabularies, on the rows of testdata/search.
func (r recorded) ask(s *Store) ([]string, error) {
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
	q, err := r.query(s.dialect, schema, filter)
	if err != nil {
		return nil, err
	}
	order := search.Sort(q.Order)
	if q.Where.SQL != "" {
		base += " AND " + q.Where.SQL
	}
	var ids []string
	args := slices.Concat(q.Joins.Args, q.Where.Args, order.Args)
	return ids, s.read.Raw(from+q.Joins.SQL+" WHERE "+base+" ORDER BY "+order.SQL, args...).Scan(&ids).Error
}

func (r recorded) query(d search.Dialect, schema *search.Schema, filter string) (q search.Query, err error) {
	if r.Entity != "logged_models" {
		var items []string
		if r.Order != nil {
			if err := json.Unmarshal(r.Order, &items); err != nil {
				return q, err
			}
		}
		return schema.Query(d, filter, items)
	}
	var datasets []DatasetFilter
	for _, ds := range r.Datasets {
		datasets = append(datasets, DatasetFilter{ds.Name, ds.Digest})
	}
	if q.Where, err = loggedModelWhere(d, filter, datasets); err != nil {
		return q, err
	}
	q.Order, err = r.orderBy(d)
	return q, err
}

func (r recorded) orderBy(d search.Dialect) ([]search.Key, error) {
	var items []struct {
		Field     string `json:"field_name"`
		Ascending *bool
		Name      string `json:"dataset_name"`
		Digest    string `json:"dataset_digest"`
	}
	if r.Order != nil {
		if err := json.Unmarshal(r.Order, &items); err != nil {
			return nil, err
		}
	}
	var keys []LoggedModelOrder
	for _, it := range items {
		keys = append(keys, LoggedModelOrder{it.Field, it.Ascending != nil && !*it.Ascending, it.Name, it.Digest})
	}
	return loggedModelOrderBy(d, keys)
}

// searchRows fills a new store with the rows that the record was made with.
func searchRows(t *testing.T, s *Store) {
	t.Helper()
	rows, err := os.ReadFile(filepath.Join("testdata", "search", "rows.sql"))
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range append([]string{"DELETE FROM experiments"}, strings.Split(string(rows), ";\n")...) {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		db, err := s.write.DB()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
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

// searchDifference is a sort of question that we answer otherwise than genuine, on purpose.
type searchDifference struct {
	entities string // "" is any
	question *regexp.Regexp
	why      string
}

var searchDifferences = []searchDifference{
	{"", regexp.MustCompile(` % `), "what cannot be read is named word by word"},
	{"runs|experiments", regexp.MustCompile(`(start_time|end_time|created|creation_time|last_update_time) LIKE 1`), "the comparators named are those that numbers have, not those of texts"},
	{"experiments|model_versions|logged_models", regexp.MustCompile(`(experiment_id|version_number) = '?99999999999`), "a number that the column cannot hold is an error on both databases"},
	{"experiments", regexp.MustCompile(`experiment_id = \('r1'\)`), "a list without IN is refused as that"},
	{"experiments", regexp.MustCompile(`ORDER BY \["creation_time"`), "missing values come last in both directions on both databases"},
	{"registered_models", regexp.MustCompile(`ORDER BY \["(last_updated_)?timestamp"\]`), "missing values come last in both directions on both databases"},
	{"model_versions", regexp.MustCompile(`name = NULL`), "NULL is answered as a number is"},
	{"model_versions", regexp.MustCompile(`ORDER BY \["(tags.team|version)"\]`), "unknown sort keys have one wording"},
	{"logged_models", regexp.MustCompile(`(?i)is +(not +)?null`), "the message has a space before IS NULL"},
	{"logged_models", regexp.MustCompile(`= "`), "double quotes quote"},
	{"logged_models", regexp.MustCompile(`IN \((1(, 2)?)?\)|IN \('a' 1\)|= \('r1'\)`), "a list is a list of texts with at least one, and goes with IN"},
	{"logged_models", regexp.MustCompile(`(status|experiment_id) .*([a-zA-Z]'|%'|''|1\.5|x|LIKE 1|like '.'|LIKE '.'|'r1')`), "states and experiments are numbers; states also have names"},
	{"logged_models", regexp.MustCompile(`(status|experiment_id) (>|<=|==|<>|NOT LIKE|RLIKE)`), "the comparators named are those that states and experiments have"},
	{"logged_models", regexp.MustCompile(`(start_time|version_number|nope) (>|<|=|NOT|R)`), "an unknown attribute is named before the comparator"},
	{"logged_models", regexp.MustCompile(`^creation_time(stamp)? (?i)(not |in |r?i?like |==|<>)`), "an attribute is named as the user names it, not as its column"},
	{"logged_models", regexp.MustCompile(`metrics.* (inf|NaN)$`), "infinity is not a number to write"},
}

func TestSearchAnswersAsGenuine(t *testing.T) {
	questions := readRecord(t)
	onBoth(t, func(t *testing.T, s *Store) {
		searchRows(t, s)
		used := make([]bool, len(searchDifferences))
		for _, r := range questions {
			problem := r.compare(t, s)
			if problem == "" {
				continue
			}
			known := slices.IndexFunc(searchDifferences, func(d searchDifference) bool {
				return (d.entities == "" || slices.Contains(strings.Split(d.entities, "|"), r.Entity)) && d.question.MatchString(r.question())
			})
			if known < 0 {
				t.Errorf("%s: %s\n%s", r.Entity, r.question(), problem)
				continue
			}
			used[known] = true
		}
		for i, d := range searchDifferences {
			if !used[i] {
				t.Errorf("no question shows the difference %s: %s", d.question, d.why)
			}
		}
	})
}

// compare tells how our answer differs from the recorded one; "" if it does not. Where genuine fails with a 500, ours
// may be anything but a failure.
func (r recorded) compare(t *testing.T, s *Store) string {
	t.Helper()
	got, err := r.ask(s)
	var mistake *search.Error
	switch {
	case err != nil && !errors.As(err, &mistake):
		t.Errorf("%s: %s\nthe database refuses: %v", r.Entity, r.question(), err)
	case r.Internal != "":
	case r.Bad != "" && err == nil:
		return fmt.Sprintf("found %v; genuine refuses: %s", got, r.Bad)
	case r.Bad != "" && !strings.HasPrefix(sortSets(err.Error()), sortSets(r.Bad)):
		return fmt.Sprintf("refused with:    %s\ngenuine refuses: %s", err, r.Bad)
	case r.Bad == "" && err != nil:
		return fmt.Sprintf("refused: %s; genuine finds %v", err, r.IDs)
	case r.Bad == "" && !slices.Equal(got, r.IDs):
		return fmt.Sprintf("found %v; genuine finds %v", got, r.IDs)
	}
	return ""
}

// FuzzSearchOnSQLite looks for filters and orders that the database refuses.
func FuzzSearchOnSQLite(f *testing.F) {
	entities := []string{"runs", "experiments", "registered_models", "model_versions", "logged_models"}
	f.Add(uint8(0), "metrics.loss > 1e999 AND tags.`a b` LIKE '%'", "metrics.loss DESC")
	f.Add(uint8(1), "experiment_id NOT IN ('1', '2') AND creation_time > 5", "creation_time")
	f.Add(uint8(2), "name ILIKE 'x' AND tags.`mlflow.prompt.is_prompt` = 'true'", "timestamp DESC")
	f.Add(uint8(3), "version_number = '2' AND run_id IN ('a')", "version_number")
	f.Add(uint8(4), "status = READY AND metrics.f1-score > .5", "")
	s, err := Open(f.Context(), modelstest.SQLite(f), Options{ArtifactRoot: "mlflow-artifacts:/"})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := s.Close(); err != nil {
			f.Error(err)
		}
	})
	f.Fuzz(func(t *testing.T, entity uint8, filter, order string) {
		r := recorded{Entity: entities[int(entity)%len(entities)], Filter: &filter}
		if order != "" && r.Entity != "logged_models" {
			r.Order, _ = json.Marshal([]string{order})
		}
		_, err := r.ask(s)
		var mistake *search.Error
		if err != nil && !errors.As(err, &mistake) {
			t.Errorf("%s where %q order by %q: %v", r.Entity, filter, order, err)
		}
	})
}

func TestSearchTakesTheLargestFilterAllowed(t *testing.T) {
	cases := []struct {
		name   string
		clause string
		schema *search.Schema
		from   string
	}{
		{"metrics", "metrics.a > 1", runSchema, "runs"},
		{"params and tags", "params.a = 'x' AND tags.a IS NULL", runSchema, "runs"},
		{"attributes", "user_id ILIKE '%x%'", runSchema, "runs"},
		{"datasets", "dataset.name = 'x'", runSchema, "runs"},
		{"version tags", "tags.a LIKE 'x'", modelVersionSchema, "model_versions"},
	}
	onBoth(t, func(t *testing.T, s *Store) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				n := 500 / (1 + strings.Count(c.clause, " AND "))
				where, err := c.schema.Where(s.dialect, strings.Repeat(c.clause+" AND ", n))
				if err != nil {
					t.Fatal(err)
				}
				var n64 int64
				if err := s.read.Raw("SELECT count(*) FROM "+c.from+" WHERE "+where.SQL, where.Args...).Scan(&n64).Error; err != nil {
					t.Error(err)
				}
			})
		}
		t.Run("list", func(t *testing.T) {
			where, err := runSchema.Where(s.dialect, "run_id IN ("+strings.Repeat("'a',", 5000)+")")
			if err != nil {
				t.Fatal(err)
			}
			var n64 int64
			if err := s.read.Raw("SELECT count(*) FROM runs WHERE "+where.SQL, where.Args...).Scan(&n64).Error; err != nil {
				t.Error(err)
			}
		})
		t.Run("order", func(t *testing.T) {
			var items []string
			for i := range 100 {
				items = append(items, fmt.Sprintf("metrics.m%d DESC", i))
			}
			order, err := runSchema.OrderBy(s.dialect, items)
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			if err := s.read.Raw("SELECT run_uuid FROM runs ORDER BY "+search.Sort(order).SQL, search.Sort(order).Args...).Scan(&ids).Error; err != nil {
				t.Error(err)
			}
		})
	})
}

func TestSearch_TooManyValuesForOneStatementAreRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		_, err := s.SearchRuns(modelstest.Anyone(t), make([]int64, maxBound), ActiveOnly, Page{Limit: 1})
		wantError(t, err, InvalidParameterValue, "The search compares with 30003 values; at most 30000 are possible.")
		if _, err := s.SearchRuns(modelstest.Anyone(t), make([]int64, maxBound-3), ActiveOnly, Page{Limit: 1}); err != nil {
			t.Error(err)
		}

		models := LoggedModelSearch{ExperimentIDs: []int64{0}, Filter: strings.TrimSuffix(strings.Repeat("metrics.a > 1 AND ", 400), " AND "), Limit: 1}
		for i := range 100 {
			models.Datasets = append(models.Datasets, DatasetFilter{Name: "d", Digest: strconv.Itoa(i)})
		}
		_, err = s.SearchLoggedModels(modelstest.Anyone(t), models)
		wantError(t, err, InvalidParameterValue, "The search compares with 80804 values;")
	})
}
