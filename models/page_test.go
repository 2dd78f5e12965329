package models

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"greenroom/auth"
	"greenroom/models/modelstest"
	"greenroom/search"
)

// turn reads all pages of a search with cursors of size rows and calls between after each.
func turn[T any](t *testing.T, size int, find func(Page) ([]T, error), p Page, between func()) (all []T) {
	t.Helper()
	p.Limit, p.Cursor = size, &Cursor{}
	for range 1000 {
		rows, err := find(p)
		if err != nil {
			t.Fatalf("%+v after %+v: %v", p, p.Cursor, err)
		}
		all = append(all, rows...)
		if !p.Cursor.More {
			return all
		}
		if len(rows) != size {
			t.Fatalf("%+v: a page has %d rows, and more follow", p, len(rows))
		}
		between()
	}
	t.Fatal("the pages have no end")
	return nil
}

// randomRows inserts runs, experiments and models whose sort keys are often equal, null or not a number.
func randomRows(t *testing.T, s *Store, r *rand.Rand, runs int) {
	t.Helper()
	one := func(values ...any) any { return values[r.IntN(len(values))] }
	exec := func(query string, args ...any) {
		t.Helper()
		if err := s.write.Exec(query, args...).Error; err != nil {
			t.Fatal(err)
		}
	}
	small := func() any { return one(nil, int64(1), int64(2), int64(3), int64(math.MaxInt64)) }
	for range runs {
		id := newID()
		exec("INSERT INTO runs (run_uuid, name, user_id, status, start_time, end_time, lifecycle_stage, artifact_uri, experiment_id) VALUES (?, ?, ?, ?, ?, ?, ?, '', 0)",
			id, one(nil, "", "a", "B", "é", "a b"), one(nil, "x", "y"), one("RUNNING", "FINISHED"), small(), small(), one("active", "active", "deleted"))
		for _, key := range []string{"m", "n"} {
			if value := one(nil, -1.5, 0.0, 0.1, 0.30000000000000004, math.MaxFloat64, -math.MaxFloat64, math.NaN()); value != nil {
				m := NewMetric(key, value.(float64), 1, 0)
				exec("INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, 1, 0, ?, ?)", key, m.Value, m.IsNaN, id)
			}
		}
		if value := one(nil, "", "1", "a", "A", "é%"); value != nil {
			exec("INSERT INTO params (key, value, run_uuid) VALUES ('p', ?, ?)", value, id)
			exec("INSERT INTO tags (key, value, run_uuid) VALUES ('t', ?, ?)", one(nil, "u", "v"), id)
		}
	}
	for range runs / 2 {
		name := fmt.Sprint(one("a", "B", "é"), newID())
		exec("INSERT INTO experiments (name, artifact_location, lifecycle_stage, creation_time, last_update_time) VALUES (?, '', 'active', ?, ?)", name, small(), small())
		exec("INSERT INTO registered_models (name, last_updated_time) VALUES (?, ?)", name, small())
		for version := range 3 {
			exec("INSERT INTO model_versions (name, version, current_stage, creation_time, last_updated_time, source, run_id, status) VALUES (?, ?, 'None', ?, ?, '', '', 'READY')",
				name, version+1, small(), small())
		}
	}
}

// randomOrder gives order_by items, each key at most once.
func randomOrder(r *rand.Rand, keys ...string) (items []string) {
	for _, i := range r.Perm(len(keys))[:r.IntN(min(3, len(keys))+1)] {
		items = append(items, keys[i]+[]string{"", " ASC", " DESC"}[r.IntN(3)])
	}
	return items
}

func TestPages_JoinedAreTheWholeResult(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, r := modelstest.Anyone(t), rand.New(rand.NewPCG(7, 7))
		randomRows(t, s, r, 60)
		check := func(find func(Page) ([]string, error), p Page) {
			t.Helper()
			whole := p
			whole.Limit = 1000
			want, err := find(whole)
			if err != nil {
				t.Fatal(err)
			}
			if got := turn(t, 1+r.IntN(9), find, p, func() {}); !slices.Equal(got, want) {
				t.Errorf("%q, %q: got %d rows %v, want %d rows %v", p.Filter, p.OrderBy, len(got), got, len(want), want)
			}
		}
		for range 60 {
			views, filters := []ViewType{ActiveOnly, DeletedOnly, ViewAll}, []string{"", "metrics.m > 0", "params.p != 'a'", "status = 'RUNNING' AND metrics.n <= 0.1"}
			view := views[r.IntN(len(views))]
			check(func(p Page) (ids []string, err error) {
				runs, err := s.SearchRuns(ctx, []int64{0}, view, p)
				for _, run := range runs {
					ids = append(ids, run.ID)
				}
				return ids, err
			}, Page{Filter: filters[r.IntN(len(filters))], OrderBy: randomOrder(r, "metrics.m", "metrics.n", "params.p", "tags.t", "start_time", "end_time", "status", "run_name", "run_id", "user_id")})
		}
		for range 20 {
			check(func(p Page) (ids []string, err error) {
				found, err := s.SearchExperiments(ctx, ActiveOnly, p)
				for _, e := range found {
					ids = append(ids, e.Name)
				}
				return ids, err
			}, Page{OrderBy: randomOrder(r, "name", "experiment_id", "creation_time", "last_update_time")})
			check(func(p Page) (ids []string, err error) {
				found, err := s.SearchRegisteredModels(ctx, p)
				for _, m := range found {
					ids = append(ids, m.Name)
				}
				return ids, err
			}, Page{OrderBy: randomOrder(r, "name", "timestamp")})
			check(func(p Page) (ids []string, err error) {
				found, err := s.SearchModelVersions(ctx, p)
				for _, v := range found {
					ids = append(ids, fmt.Sprint(v.Name, " ", v.Version))
				}
				return ids, err
			}, Page{OrderBy: randomOrder(r, "name", "version_number", "creation_timestamp", "last_updated_timestamp")})
		}
	})
}

func TestPages_KeepTheirPlaceWhileRunsComeAndGo(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, r := modelstest.Anyone(t), rand.New(rand.NewPCG(3, 4))
		randomRows(t, s, r, 40)
		for _, order := range [][]string{nil, {"metrics.m DESC"}, {"params.p"}, {"end_time", "metrics.n"}} {
			find := func(p Page) (ids []string, err error) {
				runs, err := s.SearchRuns(ctx, []int64{0}, ActiveOnly, p)
				for _, run := range runs {
					ids = append(ids, run.ID)
				}
				return ids, err
			}
			before := must(find(Page{Limit: 1000}))(t)
			stay := before[:len(before)/2]
			leave := before[len(before)/2:]
			got := turn(t, 3, find, Page{OrderBy: order}, func() {
				randomRows(t, s, r, 2)
				if len(leave) > 0 {
					if err := s.DeleteRun(ctx, leave[0]); err != nil {
						t.Fatal(err)
					}
					leave = leave[1:]
				}
			})
			seen := map[string]int{}
			for _, id := range got {
				if seen[id]++; seen[id] > 1 {
					t.Errorf("%q: run %s comes twice", order, id)
				}
			}
			for _, id := range stay {
				if seen[id] != 1 {
					t.Errorf("%q: run %s was there all along and is left out", order, id)
				}
			}
		}
	})
}

func TestCursor_OfAnotherSearchCountsRows(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := modelstest.Anyone(t)
		randomRows(t, s, rand.New(rand.NewPCG(1, 1)), 20)
		at := &Cursor{}
		must(s.SearchRuns(ctx, []int64{0}, ViewAll, Page{Limit: 5, Cursor: at}))(t)
		if at.Offset != 5 || at.After == nil {
			t.Fatalf("cursor = %+v", at)
		}
		other := Page{OrderBy: []string{"metrics.m"}, Limit: 4}
		moved := *at
		withCursor := other
		withCursor.Cursor = &moved
		got := must(s.SearchRuns(ctx, []int64{0}, ViewAll, withCursor))(t)
		other.Offset = 5
		want := must(s.SearchRuns(ctx, []int64{0}, ViewAll, other))(t)
		if len(got) != 4 || got[0].ID != want[0].ID || got[3].ID != want[3].ID {
			t.Errorf("got %v, want %v", got, want)
		}
		one := "1"
		for _, after := range [][]*string{{&one}, {&one, &one, &one}, {new(string), &one}, {&one, &[]string{"\x00"}[0]}} {
			_, err := s.SearchRuns(ctx, []int64{0}, ViewAll, Page{Limit: 5, Cursor: &Cursor{After: after, Search: at.Search}})
			wantError(t, err, InvalidParameterValue, "Invalid page token")
		}
	})
}

// TestSearchRuns_OrderedByAMetricAreTheWholeResult compares pages, which are found by way of the index of values where they are small,
// with the result as one page, which is not.
func TestSearchRuns_OrderedByAMetricAreTheWholeResult(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx, r := modelstest.Anyone(t), rand.New(rand.NewPCG(5, 6))
		randomRows(t, s, r, 80)
		other := must(s.CreateExperiment(ctx, "other", "", nil))(t)
		if err := s.write.Exec("UPDATE runs SET experiment_id = ? WHERE start_time = 2", other).Error; err != nil {
			t.Fatal(err)
		}
		for _, order := range [][]string{{"metrics.m"}, {"metrics.m DESC"}, {"metrics.n DESC", "params.p", "metrics.m"}, {"metrics.none"}} {
			for _, filter := range []string{"", "metrics.m > 0", "metrics.m != 0.1 AND params.p = 'a'", "metrics.n <= 0.1 AND metrics.m < 1e300", "status = 'RUNNING' AND params.p = 'a'", "tags.t = 'nothing'"} {
				ids := func(p Page) (found []string, err error) {
					runs, err := s.SearchRuns(ctx, []int64{0}, ActiveOnly, p)
					for _, run := range runs {
						found = append(found, run.ID)
					}
					return found, err
				}
				p := Page{Filter: filter, OrderBy: order}
				whole := p
				whole.Limit = 1000
				want := must(ids(whole))(t)
				for _, size := range []int{1, 2, 3} {
					if got := turn(t, size, ids, p, func() {}); !slices.Equal(got, want) {
						t.Errorf("%q, %q, pages of %d: got %d rows %v, want %d rows %v", filter, order, size, len(got), got, len(want), want)
					}
				}
			}
		}
	})
}

// TestSearchRuns_FindsTheBestByTheIndex reads the plans of a page in the order of a metric.
func TestSearchRuns_FindsTheBestByTheIndex(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		for _, statement := range []string{
			`INSERT INTO runs (run_uuid, status, start_time, lifecycle_stage, artifact_uri, experiment_id)
				WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < 3000) SELECT CAST(n AS TEXT), 'FINISHED', n, 'active', '', 0 FROM counted`,
			"INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) SELECT 'm', start_time, 1, 0, FALSE, run_uuid FROM runs",
			"INSERT INTO params (key, value, run_uuid) SELECT 'p', 'a', run_uuid FROM runs",
		} {
			if err := s.write.Exec(statement).Error; err != nil {
				t.Fatal(err)
			}
		}
		explain := "EXPLAIN QUERY PLAN "
		if s.dialect == search.PostgreSQL {
			explain = "EXPLAIN "
			if err := s.write.Exec("ANALYZE").Error; err != nil {
				t.Fatal(err)
			}
		}
		for _, order := range []string{"metrics.m", "metrics.m DESC"} {
			q := must(runSchema.Query(s.dialect, "metrics.m > 0 AND params.p = 'a'", []string{order}))(t)
			l := listRuns(q, []int64{0}, ActiveOnly, nil)
			err := s.view(auth.With(t.Context(), auth.Anyone()), func(tx *tx) error {
				for _, after := range [][]any{nil, {1500.0, int64(1500), "1500"}} {
					parts, err := l.parts(tx, after, 10, 0)
					if err != nil {
						return err
					}
					if len(parts) < 2 || !parts[0].lead || parts[len(parts)-1].lead {
						t.Fatalf("%s after %v: parts = %+v", order, after, parts)
					}
					for i, part := range parts {
						if !part.lead {
							continue
						}
						ties := after != nil && i == 0 // rows of one value, which are sorted
						q := l.query(s.dialect, part, 10, 0)
						plan, err := pick[map[string]any](tx, explain+q.text.String(), q.args...)
						if err != nil {
							return err
						}
						text := fmt.Sprint(plan)
						sorted := strings.Contains(text, "B-TREE FOR ORDER BY") || strings.Contains(text, "Sort") && !strings.Contains(text, "Incremental Sort")
						if !strings.Contains(text, "greenroom_latest_metrics_by_value") || sorted && !ties {
							t.Errorf("%s: plan = %s", q.text.String(), text)
						}
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
}

// TestSearchRuns_FindsAPageByTheIndex reads the plans of the first page and of one far behind it.
func TestSearchRuns_FindsAPageByTheIndex(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		if s.dialect == search.PostgreSQL {
			if err := s.write.Exec(`INSERT INTO runs (run_uuid, status, start_time, lifecycle_stage, artifact_uri, experiment_id)
				SELECT md5(CAST(n AS text)), 'FINISHED', n, 'active', '', 0 FROM generate_series(1, 5000) n`).Error; err != nil {
				t.Fatal(err)
			}
			if err := s.write.Exec("ANALYZE runs").Error; err != nil {
				t.Fatal(err)
			}
		}
		order := must(runSchema.OrderBy(s.dialect, nil))(t)
		rows := newQuery(" FROM runs WHERE runs.experiment_id IN ? AND runs.lifecycle_stage IN ?", []int64{0}, ActiveOnly.stages())
		l := listing{columns: runColumns, rows: rows, order: order}
		err := s.view(auth.With(t.Context(), auth.Anyone()), func(tx *tx) error {
			for _, c := range append(search.After(order, []any{int64(100), "a"}), search.Clause{}) {
				q := l.query(s.dialect, part{c, false}, 10, 0)
				explain := "EXPLAIN QUERY PLAN "
				if s.dialect == search.PostgreSQL {
					explain = "EXPLAIN "
				}
				plan, err := pick[map[string]any](tx, explain+q.text.String(), q.args...)
				if err != nil {
					return err
				}
				text := fmt.Sprint(plan)
				if !strings.Contains(text, "greenroom_runs_by_start") || strings.Contains(text, "ORDER BY") || strings.Contains(text, "Sort") {
					t.Errorf("%s: plan = %s", q.text.String(), text)
				}
				if c.SQL != "" && !strings.Contains(text, "start_time") {
					t.Errorf("%s does not begin in the middle: plan = %s", q.text.String(), text)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}
