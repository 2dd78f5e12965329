package mlflowapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"greenroom/auth"
	"greenroom/mlflowapi"
	"greenroom/models"
	"greenroom/models/modelstest"
)

// users are who may log in, by what follows "Bearer " in their requests.
type users map[string]*auth.Principal

func (u users) Authenticate(_ context.Context, header, _ string) (*auth.Principal, error) {
	if p, ok := u[strings.TrimPrefix(header, "Bearer ")]; ok {
		return p, nil
	}
	return nil, &auth.UnauthenticatedError{Message: "who are you?"}
}

// PrincipalOf is not asked for here: these users have no accounts.
func (u users) PrincipalOf(_ context.Context, account auth.Account, _ *auth.APIToken) (*auth.Principal, error) {
	return u[account.Name], nil
}

// add makes a user with a level on what the pattern of each kind matches.
func (u users) add(name string, level auth.Level, patterns ...auth.Grant) {
	p := &auth.Principal{UserID: int64(len(u) + 1), Name: name, Grants: auth.Grants{{Kind: auth.Workspace, Pattern: "*", Level: auth.Use}}}
	for _, g := range patterns {
		g.Level = level
		p.Grants = append(p.Grants, g)
	}
	u[name] = p
}

func on(pattern string) auth.Grant { return auth.Grant{Kind: auth.Experiment, Pattern: pattern} }

func onModelNamed(pattern string) auth.Grant {
	return auth.Grant{Kind: auth.RegisteredModel, Pattern: pattern}
}

// newUserServer is a server whose users have to log in; root may do everything.
func newUserServer(t *testing.T) (*artifactServer, users) {
	t.Helper()
	u := users{"root": {UserID: 1, Name: "root", Admin: true}}
	return newArtifactServerWith(t, func(cfg *mlflowapi.Config) { cfg.Auth = u }), u
}

// as sends a request in a user's name.
func (s *artifactServer) as(user, method, path, body string) answer {
	s.t.Helper()
	return s.do(method, path, body, "Authorization: Bearer "+user, "Content-Type: application/json")
}

// put stores files in the name of root.
func (s *artifactServer) put(paths ...string) {
	s.t.Helper()
	for _, path := range paths {
		s.want(s.as("root", "PUT", proxy+"/"+path, "content of "+path), 200, "")
	}
}

func (s *artifactServer) experiment(name, location string) string {
	s.t.Helper()
	id, err := s.models.CreateExperiment(modelstest.Anyone(s.t), name, location, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprint(id)
}

func TestProxy_AFileBelongsToTheExperimentsAroundIt(t *testing.T) {
	s, u := newUserServer(t)
	a, b := s.experiment("a", ""), s.experiment("b", "")
	s.experiment("custom", "mlflow-artifacts:///team/c/")
	s.experiment("inside", "mlflow-artifacts:/team/c/deep%20er")
	s.experiment("http", "mlflow-artifacts:/h")
	u.add("anna", auth.Read, on("a"))
	u.add("ed", auth.Edit, on("a"))
	u.add("max", auth.Manage, on("a"))
	u.add("carl", auth.Manage, on("custom"))
	u.add("cora", auth.Manage, on("custom"), on("inside"))
	u.add("all", auth.Manage, on("*"))
	u.add("nobody", auth.Read)
	s.put(a+"/r/artifacts/f", b+"/r/artifacts/f", "team/c/r/f", "team/c/deep er/r/f", "orphan/f")

	for _, c := range []struct {
		user, method, path string
		want               int
	}{
		{"anna", "GET", a + "/r/artifacts/f", 200},
		{"anna", "HEAD", a + "/r/artifacts/f", 200},
		{"anna", "GET", a + "//r/./artifacts/f", 200},
		{"anna", "GET", b + "/r/artifacts/f", 403},
		{"anna", "HEAD", b + "/r/artifacts/f", 403},
		{"anna", "GET", b + "/r/artifacts/none", 403},
		{"anna", "GET", "0/r/artifacts/f", 403},
		{"anna", "GET", "99/r/artifacts/f", 403},
		{"anna", "GET", "orphan/f", 403},
		{"anna", "GET", "team/c/r/f", 403},
		{"anna", "PUT", a + "/r/artifacts/g", 403},
		{"ed", "PUT", a + "/r/artifacts/g", 200},
		{"ed", "PUT", b + "/r/artifacts/g", 403},
		{"ed", "PUT", "orphan/g", 403},
		{"ed", "PUT", "g", 403},
		{"ed", "DELETE", a + "/r/artifacts/g", 403},
		{"max", "DELETE", a + "/r/artifacts/g", 200},
		{"max", "DELETE", b + "/r/artifacts/f", 403},
		{"max", "DELETE", "", 403},
		{"all", "DELETE", "", 403},
		{"all", "DELETE", "team", 403},
		{"all", "GET", "orphan/f", 403},
		{"all", "GET", a + "/r/artifacts/f", 200},
		{"all", "GET", "0" + a + "/r/artifacts/f", 403},
		{"all", "GET", "99/r/artifacts/f", 403},
		{"all", "GET", "team/c/r/f", 200},

		{"anna", "GET", strings.Replace(b, b, "%25"+fmt.Sprintf("%x", b[0]), 1) + b[1:] + "/r/artifacts/f", 400},
		{"anna", "GET", "%" + fmt.Sprintf("%x", b[0]) + b[1:] + "/r/artifacts/f", 403},
		{"anna", "GET", "./" + b + "/r/artifacts/f", 403},
		{"anna", "GET", "/" + b + "/r/artifacts/f", 400},
		{"anna", "GET", a + "/../" + b + "/r/artifacts/f", 400},
		{"anna", "GET", a + "/%2e%2e/" + b + "/r/artifacts/f", 400},
		{"anna", "GET", a + "%2f..%2f" + b + "/r/artifacts/f", 400},
		{"anna", "GET", "x/../" + b + "/r/artifacts/f", 400},
		{"anna", "GET", "0" + a + "/r/artifacts/f", 403},
		{"ed", "PUT", "./" + b + "/r/artifacts/f", 403},
		{"ed", "PUT", a + "/../" + b + "/r/artifacts/f", 400},
		{"max", "DELETE", a + "/..", 400},

		{"carl", "GET", "team/c/r/f", 200},
		{"carl", "PUT", "team/c/r/g", 200},
		{"carl", "DELETE", "team/c/r/g", 200},
		{"carl", "GET", "team/c/deep%20er/r/f", 403},
		{"cora", "GET", "team/c/deep%20er/r/f", 200},
		{"carl", "PUT", "team/c/deep%20er", 403},
		{"carl", "DELETE", "team/c", 403},
		{"carl", "DELETE", "team", 403},
		{"cora", "DELETE", "team/c", 200},
		{"nobody", "GET", a + "/r/artifacts/f", 403},
		{"stranger", "GET", a + "/r/artifacts/f", 401},
		{"root", "GET", "orphan/f", 200},
		{"root", "DELETE", "orphan", 200},
	} {
		path := proxy + "/" + c.path
		if c.path == "" {
			path = proxy + "/."
		}
		if got := s.as(c.user, c.method, path, "x"); got.status != c.want {
			t.Errorf("%s %s by %s = %d %s, want %d", c.method, c.path, c.user, got.status, got.body, c.want)
		}
	}

	for path, want := range map[string]int{
		a: 200, a + "/r": 200, a + "/": 200, b: 403, "": 403, ".": 403, "./": 403, "/": 400, "team": 403, "%2531": 400, "..": 400, a + "/../" + b: 400,
	} {
		if got := s.as("anna", "GET", proxy+"?path="+path, ""); got.status != want {
			t.Errorf("list %q = %d %s, want %d", path, got.status, got.body, want)
		}
	}
	const body = `{"path":"/home/ed/f.bin","num_parts":1,"upload_id":"nope","parts":[{"part_number":1,"etag":"e"}]}`
	for step, want := range map[string]int{"create": 200, "complete": 404, "abort": 200} {
		mpu := "/2.0/mlflow-artifacts/mpu/" + step + "/"
		s.want(s.as("anna", "POST", "/api"+mpu+a+"/x", body), 403, "needs EDIT on experiment "+a+" (has READ)")
		s.want(s.as("ed", "POST", "/api"+mpu+a+"/x", body), want, "")
		s.want(s.as("ed", "POST", "/ajax-api"+mpu+b+"/x", body), 403, "")
		s.want(s.as("stranger", "POST", "/api"+mpu+a+"/x", body), 401, "")
		// The folder is anna's to edit, and the file is another experiment's folder.
		s.want(s.as("carl", "POST", "/api"+mpu+"team/c", strings.Replace(body, "f.bin", "deep er", 1)), 403, "")
		for folder, want := range map[string]int{
			"%25" + fmt.Sprintf("%x", b[0]) + b[1:] + "/r": 400, "%" + fmt.Sprintf("%x", b[0]) + b[1:] + "/r": 403, "./" + b + "/r": 403, "x/../" + b + "/r": 400,
			a + "%2f..%2f" + b: 400, "%252e%252e/x": 400, "/" + b: 400, "0" + a: 403,
		} {
			if got := s.as("ed", "POST", "/api"+mpu+folder, body); got.status != want {
				t.Errorf("mpu/%s/%s = %d %s, want %d", step, folder, got.status, got.body, want)
			}
		}
	}
	const presigned = "/api/2.0/mlflow-artifacts/presigned/"
	for _, c := range []struct {
		user, path string
		want       int
	}{
		{"anna", b + "/r/artifacts/f", 403},
		{"anna", a + "/r/artifacts/f", 200},
		{"anna", a + "/x", 404},
		{"ed", a + "/r/artifacts/f", 200},
		{"stranger", a + "/r/artifacts/f", 401},
		{"anna", "%25" + fmt.Sprintf("%x", b[0]) + b[1:] + "/r/artifacts/f", 400},
		{"anna", "./" + b + "/r/artifacts/f", 403},
		{"anna", "x/../" + b + "/r/artifacts/f", 400},
	} {
		if got := s.as(c.user, "GET", presigned+c.path, ""); got.status != c.want {
			t.Errorf("presigned/%s by %s = %d %s, want %d", c.path, c.user, got.status, got.body, c.want)
		}
	}
}

func TestProxy_WithoutAStoreSaysSoToUsersToo(t *testing.T) {
	u := users{}
	s := newArtifactServerWith(t, func(cfg *mlflowapi.Config) { cfg.Auth, cfg.Artifacts.Served = u, nil })
	u.add("anna", auth.Read, on("*"))
	s.want(s.as("anna", "GET", proxy+"/0/x", ""), 403, "--no-serve-artifacts")
}

func TestCreateExperiment_UsersGetAFolderOfTheirOwn(t *testing.T) {
	s, u := newUserServer(t)
	u.add("anna", auth.Edit)
	taken := s.experiment("a", "")
	s.experiment("custom", "mlflow-artifacts:/team/c")
	create := func(user, location string) answer {
		body, err := json.Marshal(map[string]string{"name": user + location, "artifact_location": location})
		if err != nil {
			t.Fatal(err)
		}
		return s.as(user, "POST", "/api/2.0/mlflow/experiments/create", string(body))
	}
	for _, location := range []string{
		"mlflow-artifacts:/" + taken, "mlflow-artifacts:/" + taken + "/", "mlflow-artifacts:///" + taken, "mlflow-artifacts:/%3" + taken,
		"mlflow-artifacts:/" + taken + "/x/artifacts", "mlflow-artifacts:/17", "mlflow-artifacts:/./17", "mlflow-artifacts:/017/x",
		"mlflow-artifacts:/", "mlflow-artifacts:///", "mlflow-artifacts:", "mlflow-artifacts:/.",
		"mlflow-artifacts:/team", "mlflow-artifacts:/team/c", "mlflow-artifacts:/team//c/", "mlflow-artifacts:/team/c/d", "mlflow-artifacts:/t%65am/c", "mlflow-artifacts:/TEAM/c",
	} {
		s.want(create("anna", location), 400, "leave it out, or name a new folder")
	}
	for _, location := range []string{
		"mlflow-artifacts:/%2525", "mlflow-artifacts:/.greenroom-upload/x", "/etc", "file:///etc", "file:/etc", "relative", s.local, s.local + "/x", "file://localhost/etc", "FILE:///etc",
	} {
		for _, user := range []string{"anna", "root"} {
			s.want(create(user, location), 400, "'"+location+"' is not where this server keeps artifacts")
		}
	}
	for _, location := range []string{"mlflow-artifacts:/teams", "mlflow-artifacts:/team/cc", "mlflow-artifacts:///anna/x/", "mlflow-artifacts:/a17", "s3://bucket/x", ""} {
		s.want(create("anna", location), 200, "experiment_id")
	}
	s.want(create("anna", "mlflow-artifacts:/anna"), 400, "is, contains or lies in")
	for _, location := range []string{"mlflow-artifacts:/team/c", "mlflow-artifacts:/17"} {
		s.want(create("root", location), 200, "experiment_id")
	}
}

func TestCreateModelVersion_NeedsReadOnItsSource(t *testing.T) {
	s, u := newUserServer(t)
	hidden, open := s.run(""), s.run("mlflow-artifacts:/open")
	all := modelstest.Anyone(t)
	for _, name := range []string{"bob.m", "shared", "secret"} {
		if _, err := s.models.CreateRegisteredModel(all, name, "", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := s.models.CreateModelVersion(all, models.NewModelVersion{Name: name, Source: *hidden.ArtifactURI, RunID: &hidden.ID}); err != nil {
			t.Fatal(err)
		}
		if err := s.models.SetAlias(all, name, "best", 1); err != nil {
			t.Fatal(err)
		}
	}
	logged := func(run *models.Run) *models.LoggedModel {
		m, err := s.models.CreateLoggedModel(all, models.NewLoggedModel{ExperimentID: run.ExperimentID, Name: "m", SourceRunID: run.ID})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	hiddenModel, openModel := logged(hidden), logged(open)
	u.add("bob", auth.Read, on(fmt.Sprint(open.ExperimentID)), onModelNamed("shared"))
	u["bob"].Grants = append(u["bob"].Grants, auth.Grant{Kind: auth.RegisteredModel, Pattern: "bob.*", Level: auth.Edit})
	noExperiment := fmt.Sprintf("needs READ on experiment %d (has NO_PERMISSIONS)", hidden.ExperimentID)
	for _, c := range []struct {
		name, source, run, model string
		status                   int
		want                     string
	}{
		{"the user's own run", *open.ArtifactURI + "/model", open.ID, "", 200, ""},
		{"the same by id", "runs:/" + open.ID + "/model", open.ID, "", 200, ""},
		{"a logged model", "models:/" + openModel.ID, "", openModel.ID, 200, ""},
		{"another location with a run of another server", "s3://b/x", "0123456789abcdef0123456789abcdef", "", 200, ""},
		{"a version of a readable model", "models:/shared/1", "", "", 200, ""},
		{"the same by alias", "models:/shared@best", "", "", 200, ""},
		{"the same with its run, which the user may not read", "models:/shared/1", hidden.ID, "", 403, noExperiment},

		{"another's run", *hidden.ArtifactURI + "/model", hidden.ID, "", 403, noExperiment},
		{"another's run by id", "runs:/" + hidden.ID + "/model", hidden.ID, "", 403, noExperiment},
		{"another's run, unnamed", *hidden.ArtifactURI + "/model", "", "", 400, ""},
		{"another's run by id, unnamed", "runs:/" + hidden.ID + "/model", "", "", 400, ""},
		{"another's run, named as one's own", *hidden.ArtifactURI + "/model", open.ID, "", 400, ""},
		{"another's logged model", "models:/" + hiddenModel.ID, "", hiddenModel.ID, 403, noExperiment},
		{"another's logged model, unnamed", "models:/" + hiddenModel.ID, "", "", 400, ""},
		{"another's logged model, named as one's own", "models:/" + hiddenModel.ID, "", openModel.ID, 400, ""},
		{"a run of another's, as a note", "s3://b/x", hidden.ID, "", 403, noExperiment},
		{"a version of another's model", "models:/secret/1", "", "", 403, "needs READ on registered model 'secret' (has NO_PERMISSIONS)"},
		{"the same by alias", "models:/secret@best", "", "", 403, "needs READ on registered model 'secret'"},
		{"the same by stage", "models:/secret/None", "", "", 403, "needs READ on registered model 'secret'"},
		{"the newest", "models:/secret/latest", "", "", 403, "needs READ on registered model 'secret'"},
	} {
		fields := map[string]string{"name": "bob.m", "source": c.source}
		if c.run != "" {
			fields["run_id"] = c.run
		}
		if c.model != "" {
			fields["model_id"] = c.model
		}
		body, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		got := s.as("bob", "POST", "/api/2.0/mlflow/model-versions/create", string(body))
		if got.status != c.status || !strings.Contains(got.body, c.want) {
			t.Errorf("%s: %d %s, want %d %s", c.name, got.status, got.body, c.status, c.want)
		}
	}
}

func TestCreateLoggedModel_NeedsReadOnItsSourceRun(t *testing.T) {
	s, u := newUserServer(t)
	hidden, own := s.run(""), s.run("mlflow-artifacts:/own")
	u.add("bob", auth.Edit, on(fmt.Sprint(own.ExperimentID)))
	for run, status := range map[string]int{hidden.ID: 403, own.ID: 200, "": 200, "0123456789abcdef0123456789abcdef": 200} {
		body := fmt.Sprintf(`{"experiment_id": "%d", "name": "m", "source_run_id": %q}`, own.ExperimentID, run)
		if got := s.as("bob", "POST", "/api/2.0/mlflow/logged-models", body); got.status != status {
			t.Errorf("from run %q: %d %s, want %d", run, got.status, got.body, status)
		}
	}
}

func TestProxy_WhoMayReadAModelMayLoadItsVersions(t *testing.T) {
	s, u := newUserServer(t)
	all, run := modelstest.Anyone(t), s.run("")
	folder := fmt.Sprintf("%d/%s/artifacts", run.ExperimentID, run.ID)
	logged, err := s.models.CreateLoggedModel(all, models.NewLoggedModel{ExperimentID: run.ExperimentID, Name: "m"})
	if err != nil {
		t.Fatal(err)
	}
	loggedFolder := strings.TrimPrefix(logged.ArtifactLocation, "mlflow-artifacts:/")
	for name, v := range map[string]models.NewModelVersion{
		"churn":  {Source: *run.ArtifactURI + "/model", RunID: &run.ID},
		"other":  {Source: *run.ArtifactURI + "/other/", RunID: &run.ID},
		"logged": {Source: "models:/" + logged.ID, ModelID: &logged.ID},
		"copied": {Source: "models:/churn/1"},
	} {
		if _, err := s.models.CreateRegisteredModel(all, name, "", nil); err != nil {
			t.Fatal(err)
		}
		if name == "copied" {
			continue
		}
		v.Name = name
		if _, err := s.models.CreateModelVersion(all, v); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.models.CreateModelVersion(all, models.NewModelVersion{Name: "copied", Source: "models:/churn/1"}); err != nil {
		t.Fatal(err)
	}
	s.put(folder+"/model/MLmodel", folder+"/model/data/x", folder+"/model2/MLmodel", folder+"/other/f", loggedFolder+"/MLmodel")
	u.add("churn", auth.Manage, onModelNamed("churn"))
	u.add("other", auth.Manage, onModelNamed("other"))
	u.add("logged", auth.Read, onModelNamed("logged"))
	u.add("copied", auth.Read, onModelNamed("cop*"))
	for _, c := range []struct {
		user, method, path string
		want               int
	}{
		{"churn", "GET", "/" + folder + "/model/MLmodel", 200},
		{"churn", "GET", "/" + folder + "/model/data/x", 200},
		{"churn", "HEAD", "/" + folder + "/model/data/x", 200},
		{"churn", "GET", "/" + folder + "/model/none", 404},
		{"churn", "GET", "?path=" + folder + "/model", 200},
		{"churn", "GET", "?path=" + folder + "/model/data", 200},
		{"copied", "GET", "/" + folder + "/model/MLmodel", 200},
		{"other", "GET", "/" + folder + "/other/f", 200},
		{"logged", "GET", "/" + loggedFolder + "/MLmodel", 200},
		{"logged", "GET", "?path=" + loggedFolder, 200},

		{"churn", "PUT", "/" + folder + "/model/MLmodel", 403},
		{"churn", "DELETE", "/" + folder + "/model/MLmodel", 403},
		{"churn", "GET", "?path=" + folder, 403},
		{"churn", "GET", "/" + folder + "/model2/MLmodel", 403},
		{"churn", "GET", "/" + folder + "/other/f", 403},
		{"churn", "GET", "/" + loggedFolder + "/MLmodel", 403},
		{"logged", "GET", "/" + folder + "/model/MLmodel", 403},
		{"logged", "GET", "?path=" + strings.TrimSuffix(loggedFolder, "/artifacts"), 403},
	} {
		if got := s.as(c.user, c.method, proxy+c.path, "x"); got.status != c.want {
			t.Errorf("%s %s by %s = %d %s, want %d", c.method, c.path, c.user, got.status, got.body, c.want)
		}
	}
	if err := s.models.DeleteModelVersion(all, "other", 1); err != nil {
		t.Fatal(err)
	}
	s.want(s.as("other", "GET", proxy+"/"+folder+"/other/f", ""), http.StatusForbidden, "")
}

// Clients note a new version on its logged model, as the server does; whoever may register it may not change it otherwise.
func TestSetLoggedModelTags_AReaderMayRepeatTheVersions(t *testing.T) {
	s, u := newUserServer(t)
	run := s.run("")
	logged, err := s.models.CreateLoggedModel(modelstest.Anyone(t), models.NewLoggedModel{ExperimentID: run.ExperimentID, Name: "m"})
	if err != nil {
		t.Fatal(err)
	}
	u.add("reg", auth.Read, on("*"))
	u["reg"].Grants = append(u["reg"].Grants, auth.Grant{Kind: auth.RegisteredModel, Pattern: "*", Level: auth.Edit})
	s.want(s.as("reg", "POST", "/api/2.0/mlflow/registered-models/create", `{"name": "m"}`), 200, "")
	s.want(s.as("reg", "POST", "/api/2.0/mlflow/model-versions/create", `{"name": "m", "source": "models:/`+logged.ID+`", "model_id": "`+logged.ID+`"}`), 200, "")
	set := func(tags ...map[string]string) answer {
		body, err := json.Marshal(map[string]any{"tags": tags})
		if err != nil {
			t.Fatal(err)
		}
		return s.as("reg", "PATCH", "/api/2.0/mlflow/logged-models/"+logged.ID+"/tags", string(body))
	}
	tag := func(key, value string) map[string]string { return map[string]string{"key": key, "value": value} }
	const noted = `[{"name":"m","version":1}]`
	s.want(set(tag(models.TagModelVersions, `[{"name": "m", "version": 1}, {"name": "m", "version": "1"}]`)), 200, "")
	for _, refused := range []answer{
		set(tag(models.TagModelVersions, `[{"name": "m", "version": 2}]`)),
		set(tag(models.TagModelVersions, `[{"name": "other", "version": 1}]`)),
		set(tag(models.TagModelVersions, `x`)),
		set(tag("k", "v")),
		set(tag(models.TagModelVersions, noted), tag("k", "v")),
		set(tag(models.TagModelVersions, noted), tag(models.TagModelVersions, `[]`)),
		s.as("reg", "DELETE", "/api/2.0/mlflow/logged-models/"+logged.ID+"/tags/"+models.TagModelVersions, ""),
	} {
		s.want(refused, 403, "PERMISSION_DENIED")
	}
	got, err := s.models.LoggedModel(modelstest.Anyone(t), logged.ID, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Tags) != 1 || got.Tags[0].Value != noted {
		t.Errorf("tags %v, want the server's note alone", got.Tags)
	}
}

func TestSearches_ShowNothingOfOthers(t *testing.T) {
	s, u := newUserServer(t)
	all := modelstest.Anyone(t)
	runs := map[string]*models.Run{}
	for _, team := range []string{"other1", "a", "other2"} {
		run := s.run("mlflow-artifacts:/" + team)
		runs[team] = run
		if err := s.models.LogMetric(all, run.ID, models.NewMetric("loss", 1, 1, 1)); err != nil {
			t.Fatal(err)
		}
		if err := s.models.LogInputs(all, run.ID, []models.DatasetInput{{Dataset: models.Dataset{Name: team, Digest: "d"}}}, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := s.models.CreateLoggedModel(all, models.NewLoggedModel{ExperimentID: run.ExperimentID, Name: team}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.models.CreateRegisteredModel(all, team, "", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := s.models.CreateModelVersion(all, models.NewModelVersion{Name: team, Source: *run.ArtifactURI, RunID: &run.ID}); err != nil {
			t.Fatal(err)
		}
	}
	name := s.t.Name() + "mlflow-artifacts:/a"
	u.add("anna", auth.Read, on(name), onModelNamed("a"))
	u.add("none", auth.Read)
	ids := fmt.Sprintf(`"experiment_ids": ["%d", "%d", "%d"]`, runs["other1"].ExperimentID, runs["a"].ExperimentID, runs["other2"].ExperimentID)
	const api, ajax = "/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/"
	const beyond = "eyJvZmZzZXQiOiAxfQ==" // {"offset": 1}
	for _, c := range []struct{ method, path, body string }{
		{"GET", api + "experiments/search?max_results=1", ""},
		{"POST", api + "experiments/search", `{"max_results": 1, "order_by": ["name DESC"]}`},
		{"GET", api + "experiments/list", ""},
		{"POST", api + "runs/search", `{"max_results": 1, ` + ids + `}`},
		{"POST", api + "logged-models/search", `{"max_results": 1, ` + ids + `}`},
		{"POST", ajax + "experiments/search-datasets", `{` + ids + `}`},
		{"GET", api + "registered-models/search?max_results=1", ""},
		{"GET", api + "registered-models/list", ""},
		{"GET", api + "model-versions/search?max_results=1", ""},
		{"GET", "/api/2.0/preview/mlflow/model-versions/search?max_results=1", ""},
	} {
		got := s.as("anna", c.method, c.path, c.body)
		if got.status != 200 || strings.Contains(got.body, "next_page_token") || strings.Contains(got.body, "other") ||
			!strings.Contains(got.body, `"a"`) && !strings.Contains(got.body, name) && !strings.Contains(got.body, runs["a"].ID) {
			t.Errorf("%s %s = %d %s, want what is anna's alone", c.method, c.path, got.status, got.body)
		}
		s.wantJSON(s.as("none", c.method, c.path, c.body), `{}`)
		if path, body := c.path, c.body; strings.Contains(path+body, "max_results") {
			path = strings.Replace(path, "max_results=1", "max_results=1&page_token="+beyond, 1)
			body = strings.Replace(body, `"max_results": 1`, `"max_results": 1, "page_token": "`+beyond+`"`, 1)
			if got := s.as("anna", c.method, path, body); got.status == 200 && got.body != "{}" {
				t.Errorf("%s %s %s = %s, want nothing after the last readable row", c.method, path, body, got.body)
			}
		}
	}

	for _, path := range []string{
		ajax + "metrics/get-history-bulk?metric_key=loss&run_id=%s&run_id=%s", api + "metrics/get-history-bulk-interval?metric_key=loss&run_ids=%s&run_ids=%s",
	} {
		s.want(s.as("anna", "GET", fmt.Sprintf(path, runs["a"].ID, runs["a"].ID), ""), 200, runs["a"].ID)
		s.want(s.as("anna", "GET", fmt.Sprintf(path, runs["a"].ID, runs["other1"].ID), ""), 403, fmt.Sprintf("needs READ on experiment %d", runs["other1"].ExperimentID))
	}
	for _, path := range []string{
		"runs/get?run_id=" + runs["other1"].ID, "metrics/get-history?metric_key=loss&run_id=" + runs["other1"].ID, "artifacts/list?run_id=" + runs["other1"].ID,
		"registered-models/get?name=other1", "registered-models/get-latest-versions?name=other1", "model-versions/get?name=other1&version=1",
		"model-versions/get-download-uri?name=other1&version=1", "registered-models/alias?name=other1&alias=x",
		fmt.Sprintf("experiments/get?experiment_id=%d", runs["other1"].ExperimentID), "experiments/get-by-name?experiment_name=" + s.t.Name() + "mlflow-artifacts:/other1",
	} {
		s.want(s.as("anna", "GET", api+path, ""), 403, "needs READ on")
	}
	s.want(s.as("anna", "GET", "/get-artifact?path=x&run_id="+runs["other1"].ID, ""), 403, "needs READ on")
	s.want(s.as("anna", "GET", "/model-versions/get-artifact?path=x&name=other1&version=1", ""), 403, "needs READ on")
}
