package models

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"greenroom/models/modelstest"
)

func newRegisteredModel(t *testing.T, s *Store, name string) {
	t.Helper()
	must(s.CreateRegisteredModel(modelstest.Anyone(t), name, "", nil))(t)
}

func TestRegisteredModel_Life(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := modelstest.Anyone(t)
		m := must(s.CreateRegisteredModel(ctx, "churn", "d", []Tag{{"k", "v"}, {"k", "v2"}}))(t)
		if diff := cmp.Diff([]Tag{{"k", "v2"}}, m.Tags); diff != "" {
			t.Errorf("the last of two tags with one key does not win: %s", diff)
		}
		wantError(t, s.DeleteRegisteredModelTag(ctx, "none", "k"), ResourceDoesNotExist, "Registered Model with name=none not found")
		for _, step := range []error{
			s.SetRegisteredModelTag(ctx, "churn", Tag{"a", "b"}),
			s.DeleteRegisteredModelTag(ctx, "churn", "k"),
			s.DeleteRegisteredModelTag(ctx, "churn", "k"), // a missing tag is no error
		} {
			if step != nil {
				t.Fatal(step)
			}
		}
		if m := must(s.UpdateRegisteredModel(ctx, "churn", ""))(t); deref(m.Description) != "" {
			t.Errorf("description %q is not cleared", deref(m.Description))
		}
		newRegisteredModel(t, s, "other")
		_, err := s.RenameRegisteredModel(ctx, "churn", "other")
		wantError(t, err, ResourceAlreadyExists, "Registered Model (name=other) already exists.")

		must(s.CreateModelVersion(ctx, NewModelVersion{Name: "churn", Source: "s3://b/1", Tags: []Tag{{"t", "1"}}}))(t)
		if err := s.SetAlias(ctx, "churn", "champion", 1); err != nil {
			t.Fatal(err)
		}
		must(s.RenameRegisteredModel(ctx, "churn", "churn2"))(t)
		m = must(s.RegisteredModel(ctx, "churn2"))(t)
		if len(m.Tags) != 1 || len(m.Aliases) != 1 || len(m.LatestVersions) != 1 || len(m.LatestVersions[0].Tags) != 1 {
			t.Errorf("rename left something behind: %+v", m)
		}
		if err := s.DeleteRegisteredModel(ctx, "churn2"); err != nil {
			t.Fatal(err)
		}
		_, err = s.RegisteredModel(ctx, "churn2")
		wantError(t, err, ResourceDoesNotExist, "Registered Model with name=churn2 not found")
		newRegisteredModel(t, s, "churn2")
		if m := must(s.RegisteredModel(ctx, "churn2"))(t); len(m.Tags)+len(m.Aliases)+len(m.LatestVersions) != 0 {
			t.Errorf("the name's earlier model left something behind: %+v", m)
		}
	})
}

func TestCreateRegisteredModel_SaysWhatHasTheName(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := modelstest.Anyone(t)
		prompt := []Tag{{"mlflow.prompt.is_prompt", "true"}}
		newRegisteredModel(t, s, "m")
		must(s.CreateRegisteredModel(ctx, "p", "", prompt))(t)
		for _, c := range []struct {
			name string
			tags []Tag
			want string
		}{
			{"m", nil, "Registered Model (name=m) already exists."},
			{"p", prompt, "Prompt (name=p) already exists."},
			{"m", prompt, "Tried to create a prompt with name 'm', but the name is already taken by a registered model."},
			{"p", nil, "Tried to create a registered model with name 'p', but the name is already taken by a prompt."},
		} {
			_, err := s.CreateRegisteredModel(ctx, c.name, "", c.tags)
			wantError(t, err, ResourceAlreadyExists, c.want)
		}
	})
}

func TestRegistry_RefusesWhatOneDatabaseCouldNotHold(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := modelstest.Anyone(t)
		newRegisteredModel(t, s, "m")
		create := func(n NewModelVersion) error {
			n.Name = "m"
			if n.Source == "" {
				n.Source = "s3://b/x"
			}
			_, err := s.CreateModelVersion(ctx, n)
			return err
		}
		long := func(n int) string { return strings.Repeat("ü", n) }
		runID := long(33)
		for _, c := range []struct {
			err  error
			want string
		}{
			{second(s.CreateRegisteredModel(ctx, long(257), "", nil)), "'name' exceeds the maximum length of 256 characters"},
			{second(s.RenameRegisteredModel(ctx, "m", long(257))), "'new_name' exceeds the maximum length of 256 characters"},
			{second(s.CreateRegisteredModel(ctx, "x", long(5001), nil)), "'description' exceeds the maximum length of 5000 characters"},
			{second(s.UpdateRegisteredModel(ctx, "m", long(5001))), "'description' exceeds the maximum length of 5000 characters"},
			{s.SetRegisteredModelTag(ctx, "m", Tag{"k", long(5001)}), "'value' exceeds the maximum length of 5000 characters"},
			{s.SetRegisteredModelTag(ctx, "m", Tag{long(251), ""}), "'key' exceeds the maximum length of 250 characters"},
			{create(NewModelVersion{Source: "s3://b/" + long(500)}), "'source' exceeds the maximum length of 500 characters"},
			{create(NewModelVersion{RunID: &runID}), "'run_id' exceeds the maximum length of 32 characters"},
			{create(NewModelVersion{RunLink: long(501)}), "'run_link' exceeds the maximum length of 500 characters"},
			{create(NewModelVersion{Description: long(5001)}), "'description' exceeds the maximum length of 5000 characters"},
			{create(NewModelVersion{Tags: []Tag{{"k", long(100001)}}}), "'value' exceeds the maximum length of 100000 characters"},
			{create(NewModelVersion{Tags: []Tag{{"mlflow.prompt.text", long(100001)}}}), "Prompt text exceeds max length of 100000 characters."},
			{create(NewModelVersion{Tags: []Tag{{"a$b", "v"}}}), `Invalid value "a$b" for parameter 'key' supplied`},
			{s.SetAlias(ctx, "m", long(256), 1), "'Registered model alias name' exceeds the maximum length of 255 characters"},
			{second(s.CreateRegisteredModel(ctx, "a/b", "", nil)), "Invalid model name 'a/b'. Names cannot contain '/' or ':'."},
			{second(s.CreateRegisteredModel(ctx, " ", "", nil)), "Missing value for required parameter 'name'."},
			{second(s.CreateRegisteredModel(ctx, "a\nb", "", nil)), `Invalid model name "a\nb". Names cannot contain control characters.`},
			{second(s.CreateRegisteredModel(ctx, "a\u200bb", "", nil)), `Invalid model name "a\u200bb". Names cannot contain invisible characters.`},
			{second(s.CreateRegisteredModel(ctx, "a\u202eb", "", nil)), `Invalid model name "a\u202eb". Names cannot contain invisible characters.`},
			{second(s.CreateRegisteredModel(ctx, "m ", "", nil)), "Invalid model name 'm '. Names cannot begin or end with a space."},
			{second(s.RenameRegisteredModel(ctx, "m", "m%31")), "Invalid model name 'm%31'. Names cannot contain percent escapes such as %31"},
			{second(s.CreateRegisteredModel(ctx, "e\u0301", "", nil)), "Invalid model name 'e\u0301'. It has letters and accents as separate characters"},
			{second(s.CreateRegisteredModel(ctx, "..", "", nil)), `Invalid value ".." for parameter 'name' supplied`},
		} {
			wantError(t, c.err, InvalidParameterValue, c.want)
		}
		if err := create(NewModelVersion{Description: long(5000), RunLink: long(500), Tags: []Tag{{long(250), long(100000)}}}); err != nil {
			t.Errorf("values at the limit: %v", err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestSearchRegisteredModels_HidesPromptsAndPages(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := modelstest.Anyone(t)
		for _, name := range []string{"a", "b", "c"} {
			newRegisteredModel(t, s, name)
			for _, source := range []string{"s3://b/1", "s3://b/2", "s3://b/3"} {
				must(s.CreateModelVersion(ctx, NewModelVersion{Name: name, Source: source, Tags: []Tag{{"of", name + source}}}))(t)
			}
			must(s.TransitionStage(ctx, name, 1, "Staging", false))(t)
		}
		must(s.CreateRegisteredModel(ctx, "p", "", []Tag{{"mlflow.prompt.is_prompt", "true"}}))(t)
		names := func(page Page) (out []string) {
			page.Limit = 10
			for _, m := range must(s.SearchRegisteredModels(ctx, page))(t) {
				out = append(out, m.Name)
			}
			return out
		}
		for _, c := range []struct {
			page Page
			want []string
		}{
			{Page{}, []string{"a", "b", "c"}},
			{Page{Offset: 1}, []string{"b", "c"}},
			{Page{OrderBy: []string{"name DESC"}}, []string{"c", "b", "a"}},
			{Page{Filter: "tags.`mlflow.prompt.is_prompt` = 'true'"}, []string{"p"}},
			{Page{Filter: "name = 'b'"}, []string{"b"}},
		} {
			if diff := cmp.Diff(c.want, names(c.page)); diff != "" {
				t.Errorf("%+v: %s", c.page, diff)
			}
		}
		b := must(s.SearchRegisteredModels(ctx, Page{Filter: "name = 'b'", Limit: 1}))(t)[0]
		var latest []string
		for _, v := range b.LatestVersions {
			latest = append(latest, string(v.CurrentStage)+" "+v.Tags[0].Value)
		}
		if diff := cmp.Diff([]string{"Staging bs3://b/1", "None bs3://b/3"}, latest); diff != "" {
			t.Errorf("latest versions: %s", diff)
		}
		found := must(s.SearchModelVersions(ctx, Page{Filter: "name = 'b'", OrderBy: []string{"version_number ASC"}, Limit: 2}))(t)
		if len(found) != 2 || found[0].Version != 1 || found[1].Tags[0].Value != "bs3://b/2" {
			t.Errorf("found versions %+v", found)
		}
	})
}

func TestSetAlias_Names(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := modelstest.Anyone(t)
		newRegisteredModel(t, s, "m")
		must(s.CreateModelVersion(ctx, NewModelVersion{Name: "m", Source: "s3://b/1"}))(t)
		for alias, want := range map[string]string{
			"":       "Registered model alias name cannot be empty.",
			"latest": "'latest' alias name (case insensitive) is reserved.",
			"LATEST": "'latest' alias name (case insensitive) is reserved.",
			"v1":     "Version alias name 'v1' is reserved.",
			"V22":    "Version alias name 'V22' is reserved.",
			"a b":    "Invalid alias name: 'a b'. Names may only contain",
			"a.b":    "Invalid alias name: 'a.b'. Names may only contain",
		} {
			wantError(t, s.SetAlias(ctx, "m", alias, 1), InvalidParameterValue, want)
		}
		for _, alias := range []string{"champion", "123", "é", "v1a", "-", strings.Repeat("x", 255)} {
			if err := s.SetAlias(ctx, "m", alias, 1); err != nil {
				t.Errorf("alias %s: %v", alias, err)
			}
		}
		wantError(t, s.SetAlias(ctx, "m", "a", 2), ResourceDoesNotExist, "Model Version (name=m, version=2) not found")
		wantError(t, s.SetAlias(ctx, "m", "a", 1<<40), ResourceDoesNotExist, "Model Version (name=m, version=1099511627776) not found")
		wantError(t, s.SetAlias(ctx, "none", "a", 1), ResourceDoesNotExist, "Model Version (name=none, version=1) not found")
		_, err := s.ModelVersionByAlias(ctx, "m", "Champion")
		wantError(t, err, InvalidParameterValue, "Registered model alias Champion not found.")
		if v := must(s.ModelVersionByAlias(ctx, "m", "Latest"))(t); v.Version != 1 {
			t.Errorf("latest is %d", v.Version)
		}
		if err := s.DeleteAlias(ctx, "m", "nothing"); err != nil {
			t.Errorf("deleting a missing alias: %v", err)
		}
	})
}

// twoReplicas opens one PostgreSQL database twice, as two servers would.
func twoReplicas(t *testing.T) [2]*Store {
	t.Helper()
	uri := modelstest.PostgreSQL(t)
	return [2]*Store{open(t, uri), open(t, uri)}
}
