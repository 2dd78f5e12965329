package models

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"greenroom/auth"
	"greenroom/models/modelstest"
)

// randomText is made of what patterns of either database could take for something else.
func randomText(r *rand.Rand, most int, alphabet ...string) string {
	var b strings.Builder
	for range r.IntN(most + 1) {
		b.WriteString(alphabet[r.IntN(len(alphabet))])
	}
	return b.String()
}

var (
	nameParts    = []string{"a", "A", "b", "é", "%", "_", `\`, "?", "[", "]", "^", "-", "'", `"`, "{", ",", " x", "1", "*"}
	patternParts = append(slices.Clone(nameParts), "*", "*", "*")
)

func randomGrants(r *rand.Rand, names []string, ids []int64) auth.Grants {
	grants := auth.Grants{}
	for range r.IntN(6) {
		g := auth.Grant{Kind: auth.Experiment, Level: auth.Level(r.IntN(int(auth.Manage-auth.Deny)+1)) + auth.Deny, Exact: r.IntN(4) == 0}
		if r.IntN(2) == 0 {
			g.Kind = auth.RegisteredModel
		}
		switch r.IntN(4) {
		case 0:
			g.Pattern = names[r.IntN(len(names))]
		case 1:
			g.Pattern = []string{"", "0", "*"}[r.IntN(3)] + strconv.FormatInt(ids[r.IntN(len(ids))], 10)
		default:
			g.Pattern = randomText(r, 4, patternParts...)
		}
		grants = append(grants, g)
	}
	return grants
}

// TestVisible_IsThePrincipalsLevel compares what searches give with what the principal's level on each object says.
func TestVisible_IsThePrincipalsLevel(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		r := rand.New(rand.NewPCG(1, 2))
		var objects []auth.Object
		var names []string
		var ids []int64
		for i := range 60 {
			name := "n" + randomText(r, 4, nameParts...)
			if slices.Contains(names, name) {
				name += strconv.Itoa(i)
			}
			id := must(s.CreateExperiment(modelstest.Anyone(t), name, "", nil))(t)
			names, ids = append(names, name), append(ids, id)
			objects = append(objects, auth.Object{Kind: auth.Experiment, ID: strconv.FormatInt(id, 10), Name: name})
			must(s.CreateRun(modelstest.Anyone(t), NewRun{ExperimentID: id, Name: name}))(t)
			must(s.CreateRegisteredModel(modelstest.Anyone(t), name, "", nil))(t)
			objects = append(objects, auth.Object{Kind: auth.RegisteredModel, Name: name})
		}
		for i := range 400 {
			p := &auth.Principal{Name: "u", Admin: r.IntN(5) == 0, Grants: randomGrants(r, names, ids)}
			if r.IntN(4) == 0 {
				p.Default = auth.Edit
			}
			if r.IntN(3) == 0 {
				p.Scope = randomGrants(r, names, ids)
			}
			var want []string
			for _, o := range objects {
				if p.Level(o) >= auth.Read {
					want = append(want, string(o.Kind)+" "+o.Name)
				}
			}
			ctx := auth.With(t.Context(), p)
			var got, runs []string
			for _, e := range must(s.SearchExperiments(ctx, ActiveOnly, Page{Filter: "name != 'Default'", Limit: 1000}))(t) {
				got = append(got, "experiment "+e.Name)
			}
			for _, run := range must(s.SearchRuns(ctx, ids, ActiveOnly, Page{Limit: 1000}))(t) {
				runs = append(runs, "experiment "+*run.Name)
			}
			slices.Sort(got)
			slices.Sort(runs)
			if diff := cmp.Diff(got, runs); diff != "" {
				t.Fatalf("principal %d %+v: runs are seen otherwise than their experiments (-experiments +runs):\n%s", i, p, diff)
			}
			for _, m := range must(s.SearchRegisteredModels(ctx, Page{Limit: 1000}))(t) {
				got = append(got, "registered_model "+m.Name)
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("principal %d %+v (-level +search):\n%s", i, p, diff)
			}
		}
	})
}

// reader may read what the patterns match, and nothing else.
func reader(t testing.TB, kind auth.Kind, patterns ...string) context.Context {
	p := &auth.Principal{UserID: 7, Name: "bob"}
	for _, pattern := range patterns {
		p.Grants = append(p.Grants, auth.Grant{Kind: kind, Pattern: pattern, Level: auth.Read})
	}
	return auth.With(t.Context(), p)
}

func TestSearches_LeaveOutWhatTheCallerMayNotRead(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		all := modelstest.Anyone(t)
		var ids []int64
		for _, team := range []string{"a", "b"} {
			for n := range 3 {
				id := must(s.CreateExperiment(all, fmt.Sprintf("%s/%d", team, n), "", nil))(t)
				ids = append(ids, id)
				run := must(s.CreateRun(all, NewRun{ExperimentID: id, Name: team}))(t)
				if err := s.LogInputs(all, run.ID, []DatasetInput{{Dataset: Dataset{Name: team, Digest: "d"}}}, nil); err != nil {
					t.Fatal(err)
				}
				must(s.CreateLoggedModel(all, NewLoggedModel{ExperimentID: id, Name: team}))(t)
			}
			model := team + ".m"
			newRegisteredModel(t, s, model)
			must(s.CreateModelVersion(all, NewModelVersion{Name: model, Source: "s3://b/x"}))(t)
		}
		counts := func(ctx context.Context, limit, offset int) []int {
			page := Page{Limit: limit, Offset: offset}
			return []int{
				len(must(s.SearchExperiments(ctx, ActiveOnly, page))(t)),
				len(must(s.SearchRuns(ctx, ids, ActiveOnly, page))(t)),
				len(must(s.SearchLoggedModels(ctx, LoggedModelSearch{ExperimentIDs: ids, Limit: limit, Offset: offset}))(t)),
				len(must(s.DatasetSummaries(ctx, ids))(t)),
				len(must(s.SearchRegisteredModels(ctx, page))(t)),
				len(must(s.SearchModelVersions(ctx, page))(t)),
			}
		}
		for _, c := range []struct {
			name          string
			ctx           context.Context
			limit, offset int
			want          []int
		}{
			{"everyone on an open server", all, 100, 0, []int{7, 6, 6, 6, 2, 2}},
			{"a context without a principal", t.Context(), 100, 0, []int{0, 0, 0, 0, 0, 0}},
			{"a user without grants", reader(t, auth.Experiment), 100, 0, []int{0, 0, 0, 0, 0, 0}},
			{"one team's experiments", reader(t, auth.Experiment, "a/*"), 100, 0, []int{3, 3, 3, 3, 0, 0}},
			{"the rows of others take no place on a page", reader(t, auth.Experiment, "a/*"), 2, 1, []int{2, 2, 2, 3, 0, 0}},
			{"no page follows the last readable row", reader(t, auth.Experiment, "a/*"), 2, 3, []int{0, 0, 0, 3, 0, 0}},
			{"one experiment by its id", reader(t, auth.Experiment, strconv.FormatInt(ids[4], 10)), 100, 0, []int{1, 1, 1, 1, 0, 0}},
			{"one team's models", reader(t, auth.RegisteredModel, "b.*"), 100, 0, []int{0, 0, 0, 0, 1, 1}},
			{"a wildcard", reader(t, auth.RegisteredModel, "*"), 100, 0, []int{0, 0, 0, 0, 2, 2}},
		} {
			if diff := cmp.Diff(c.want, counts(c.ctx, c.limit, c.offset)); diff != "" {
				t.Errorf("%s: experiments, runs, logged models, datasets, models, versions (-want +got):\n%s", c.name, diff)
			}
		}
		t.Run("thousands of grants", func(t *testing.T) {
			var patterns []string
			for i := range 40_000 {
				patterns = append(patterns, strconv.Itoa(1000+i), fmt.Sprintf("x%d", i), fmt.Sprintf("x%d*", i))
			}
			ctx := reader(t, auth.Experiment, append(patterns, "a/1")...)
			if got := must(s.SearchRuns(ctx, ids, ActiveOnly, Page{Limit: 9}))(t); len(got) != 1 {
				t.Errorf("got %d runs, want the one in a/1", len(got))
			}
		})
	})
}
