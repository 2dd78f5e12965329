package models

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"greenroom/models/modelstest"
)

func TestSplitJSON_GivesTheElementsOfAnArray(t *testing.T) {
	r, err := splitJSON(`["a,]\"[", null, -7,"caf\u00e9", [["k", "v]"], ["e", null]],["x"],""]`)
	if err != nil {
		t.Fatal(err)
	}
	type value struct {
		Text   string
		Number int64
		Is     bool
	}
	var got []value
	for i := range r {
		text, isText := r.text(i)
		number, isNumber := r.number(i)
		got = append(got, value{text, number, isText || isNumber})
	}
	want := []value{{`a,]"[`, 0, true}, {}, {"", -7, true}, {"café", 0, true}, {}, {}, {"", 0, true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	pairs, err := splitJSON(r[4])
	if want := (jsonRecord{`["k", "v]"]`, `["e", null]`}); err != nil || !slices.Equal(pairs, want) {
		t.Errorf("pairs = %q, %v, want %q", pairs, err, want)
	}
	for _, empty := range []string{"", "null", "[]"} {
		if r, err := splitJSON(empty); err != nil || len(r) != 0 {
			t.Errorf("%q has the elements %q, %v", empty, r, err)
		}
	}
	if _, err := splitJSON(`["a", "b`); err == nil {
		t.Error("an array without an end is none")
	}
}

// TestSearchModelVersions_GivesWhatGetGives reads versions both ways, whole and by pages of one.
func TestSearchModelVersions_GivesWhatGetGives(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := modelstest.Anyone(t)
		for _, name := range []string{"m", `café "quotes"`} {
			newRegisteredModel(t, s, name)
			run := "0123456789abcdef0123456789abcdef"
			for i, n := range []NewModelVersion{
				{Source: "s3://b/1"},
				{Source: "s3://b/<2>&", Description: "two\nlines, \\ and \"\u2028\"", RunID: &run, RunLink: "http://h/"},
				{Source: "s3://b/3", Tags: []Tag{{"b", `["\"`}, {"a", ""}, {"B", "ü\n"}}},
			} {
				n.Name = name
				must(s.CreateModelVersion(ctx, n))(t)
				if i == 1 {
					must(s.TransitionStage(ctx, name, 2, "Production", false))(t)
				}
			}
			if err := s.write.Exec("UPDATE model_versions SET creation_time = NULL, last_updated_time = NULL, run_link = NULL WHERE version = 1").Error; err != nil {
				t.Fatal(err)
			}
			filter := "name = '" + name + "'"
			for _, order := range [][]string{nil, {"version_number ASC"}, {"last_updated_timestamp ASC"}} {
				whole := must(s.SearchModelVersions(ctx, Page{Filter: filter, OrderBy: order, Limit: 10, Cursor: &Cursor{}}))(t)
				var paged []*ModelVersion
				for cursor := (&Cursor{More: true}); cursor.More; {
					paged = append(paged, must(s.SearchModelVersions(ctx, Page{Filter: filter, OrderBy: order, Limit: 1, Cursor: cursor}))(t)...)
				}
				if diff := cmp.Diff(whole, paged); diff != "" || len(whole) != 3 {
					t.Errorf("%d versions, by pages in order %v: %s", len(whole), order, diff)
				}
				for _, v := range whole {
					if diff := cmp.Diff(must(s.ModelVersion(ctx, name, v.Version))(t), v); diff != "" {
						t.Errorf("found version %d: %s", v.Version, diff)
					}
				}
			}
			if got := must(s.SearchModelVersions(ctx, Page{Filter: filter + " AND tags.b = '[\"\\\"'", Limit: 10}))(t); len(got) != 1 {
				t.Errorf("found %s by a tag", fmt.Sprint(got))
			}
		}
	})
}
