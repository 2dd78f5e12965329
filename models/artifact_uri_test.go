package models

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"greenroom/auth"
	"greenroom/models/modelstest"
)

func TestCreateExperiment_OnlyWhereTheOperatorWants(t *testing.T) {
	allowed := filepath.Join(t.TempDir(), "allowed")
	if err := os.MkdirAll(allowed, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(allowed, "link")); err != nil {
		t.Fatal(err)
	}
	prefixes := []string{"s3://team/models", "gs://all/", "dbfs:/ml", "hdfs://nn:9000/ml", "file://" + allowed}
	for _, c := range []struct {
		root, destination string
		prefixes          []string
		yes, no           []string
	}{
		{
			"mlflow-artifacts:/", "/srv/served", nil,
			[]string{"mlflow-artifacts:/teams/a", "mlflow-artifacts:///teams/b", "/srv/served/teams/c", "file:///srv/served/teams/d"},
			[]string{
				"/etc", "file:///root/x", "file:///tmp/%2e%2e/etc", "file:/etc", "file://localhost/etc", "file://elsewhere/srv/served/x", "//etc/passwd", "../../etc", "relative", "/srv", "/srv/served2",
				"/srv/served/../x", "/srv/served/%2e%2e/x", `/srv/served/..\x`, "s3://other/x", "gs://b/x", "dbfs:/x", "wasbs://c@a/x", "http://169.254.169.254/", "http://h/api/2.0/mlflow-artifacts/artifacts/x",
				"mlflow-artifacts://evil:80/x", "hdfs://nn:9000/ml", `C:\x`, "models:/m/1", "unknown:x", "http:///?/../../../../etc/", "http://host#/../../../etc/", "http://host/;/../../../etc",
				"mlflow-artifacts:/a/../b", "mlflow-artifacts:/%252e%252e/b", `mlflow-artifacts:/..\b`,
			},
		},
		{
			"s3://default/runs", "s3://served/p", nil,
			[]string{"mlflow-artifacts:/teams/a", "s3://default/runs/teams/b", "s3://served/p/teams/c", "S3://default/runs/d"},
			[]string{"s3://default", "s3://default/other", "s3://default/runs2/x", "s3://Default/runs/x", "s3://served/p2/x", "s3://served/p/../x", "s3://default/runs/%2e%2e/x", "s3://user@default/runs/x", "s3://default:1/runs/x", "/etc"},
		},
		{
			"gs://default/runs", "", nil,
			[]string{"gs://default/runs/teams/a"},
			[]string{"gs://default/x", "s3://default/runs/x"},
		},
		{
			"mlflow-artifacts:/", "/srv/served", prefixes,
			[]string{
				"s3://team/models/a", "s3://team/models", "s3://team/models/", "gs://all/x", "dbfs:/ml/x", "dbfs:///ml/x", "hdfs://nn:9000/ml/x", allowed + "/a", "file://" + allowed + "/b", "file://" + strings.Replace(allowed, "allowed", "%61llowed", 1),
			},
			[]string{
				"s3://team/models2", "s3://team/model", "s3://team//models", "s3://team/%6dodels/x", "s3://team/models/../x", "s3://team/models/%252e%252e/x", `s3://team/models/..\..\x`, "s3://Team/models/x", "s3://x@team/models/x",
				"gs://al/x", "gs://all.evil/x", "dbfs:/mlx", "dbfs://host/ml/x", "hdfs://nn/ml/x", "hdfs://nn:9000/x", allowed + "2", allowed + "/../x", allowed + "/link", "file://" + allowed + "/%2e%2e/x", "file://host" + allowed,
				"s3:team/models/x", "s3:///team/models/x",
			},
		},
	} {
		s := openWith(t, modelstest.SQLite(t), Options{ArtifactRoot: c.root, ArtifactsDestination: c.destination, AllowedPrefixes: c.prefixes})
		for _, prefix := range c.prefixes {
			if err := CheckPrefix(prefix); err != nil {
				t.Errorf("prefix %s: %v", prefix, err)
			}
		}
		for _, location := range c.yes {
			if _, err := s.CreateExperiment(modelstest.Anyone(t), "at "+location, location, nil); err != nil {
				t.Errorf("root %s: %v", c.root, err)
			}
		}
		for _, location := range c.no {
			_, err := s.CreateExperiment(modelstest.Anyone(t), "at "+location, location, nil)
			wantError(t, err, InvalidParameterValue, "")
			if err != nil && strings.Contains(err.Error(), "/srv/served") && !strings.Contains(location, "/srv/served") {
				t.Errorf("the refusal of %s tells a folder of the server: %v", location, err)
			}
			if err == nil {
				t.Errorf("root %s: %s is taken", c.root, location)
			}
		}
	}
}

func TestCreateExperiment_RefusalSaysWhatToDo(t *testing.T) {
	s := openWith(t, modelstest.SQLite(t), Options{ArtifactRoot: "s3://default/runs", ArtifactsDestination: "/srv/served", AllowedPrefixes: []string{"gs://team", "/srv/models"}})
	_, err := s.CreateExperiment(modelstest.Anyone(t), "e", "s3://other/x", nil)
	wantError(t, err, InvalidParameterValue, "'artifact_location' 's3://other/x' is not where this server keeps artifacts: "+
		"leave it out, or name a folder below mlflow-artifacts:/ or s3://default/runs or gs://team. An operator allows other places with --allow-artifact-prefix.")
}

func TestCheckPrefix(t *testing.T) {
	for prefix, fine := range map[string]bool{
		"s3://b": true, "s3://b/": true, "s3://b/p": true, "/data/models": true, "/": true, "file:///data/models": true, "dbfs:/x": true,
		"": false, "data": false, "file:data": false, "file://host/data": false, "s3://": false, "s3:": false, "s3:///": false, "s3://b/../x": false, "s3://b/%2e%2e/x": false, `s3://b\x`: false, "s3://b/x?y": false, "s3://b/x#y": false,
		"mlflow-artifacts:/x": false, "http://h/api/2.0/mlflow-artifacts/artifacts/x": false,
	} {
		if err := CheckPrefix(prefix); fine != (err == nil) {
			t.Errorf("%q: %v", prefix, err)
		}
	}
}

// In a bucket that this server uses itself, a version may not make readable what its maker may not read.
func TestCreateModelVersion_SourceInABucketOfTheServer(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		s := openWith(t, uri, Options{ArtifactRoot: "s3://default/runs", ArtifactsDestination: "s3://served/p", AllowedPrefixes: []string{"s3://default", "s3://served", "s3://team/models"}})
		all := modelstest.Anyone(t)
		run := func(experiment string) *Run {
			id := must(s.CreateExperiment(all, experiment, "", nil))(t)
			return must(s.CreateRun(all, NewRun{ExperimentID: id}))(t)
		}
		mine, other, old := run("mine"), run("other"), run("old")
		if err := s.write.Exec("UPDATE runs SET artifact_uri = 's3://old/place/artifacts' WHERE run_uuid = ?", old.ID).Error; err != nil {
			t.Fatal(err)
		}
		model := must(s.CreateLoggedModel(all, NewLoggedModel{ExperimentID: mine.ExperimentID, Name: "lm"}))(t)
		newRegisteredModel(t, s, "m")
		bob := auth.With(t.Context(), &auth.Principal{UserID: 1, Name: "bob", Grants: auth.Grants{
			{Kind: auth.RegisteredModel, Pattern: "*", Level: auth.Edit}, {Kind: auth.Experiment, Pattern: "mine", Level: auth.Read}, {Kind: auth.Experiment, Pattern: "old", Level: auth.Read},
		}})
		for _, c := range []struct {
			source, run, model string
			want               Code // "" for none, PermissionDenied for *auth.ForbiddenError
		}{
			{source: *mine.ArtifactURI + "/model", run: mine.ID},
			{source: *mine.ArtifactURI + "/model"}, // as register_model with a run's artifact_uri sends it
			{source: model.ArtifactLocation, model: model.ID},
			{source: model.ArtifactLocation + "/x", model: model.ID},
			{source: "s3://old/place/artifacts/model", run: old.ID},
			{source: "s3://team/models/x"},
			{source: "s3://team/models/x", run: mine.ID},
			{source: "s3://old/place/artifacts/model", want: InvalidParameterValue},
			{source: "s3://old/place/artifacts2", run: old.ID, want: InvalidParameterValue},
			{source: "s3://old/place/artifacts/%2e%2e", run: old.ID, want: InvalidParameterValue},
			{source: "s3://old/place/artifacts/model", run: mine.ID, want: InvalidParameterValue},
			{source: "s3://elsewhere/x", want: InvalidParameterValue},
			{source: "s3://elsewhere/x", run: mine.ID, want: InvalidParameterValue},
			{source: "s3://elsewhere/x", model: model.ID, want: InvalidParameterValue},
			{source: *other.ArtifactURI + "/model", want: PermissionDenied},
			{source: *other.ArtifactURI + "/model", run: mine.ID, want: PermissionDenied},
			{source: *other.ArtifactURI + "/model", model: model.ID, want: PermissionDenied},
			{source: *other.ArtifactURI + "/model", run: other.ID, want: PermissionDenied},
			{source: "s3://default/runs/x", want: PermissionDenied},
			{source: strings.Replace(*other.ArtifactURI, "s3://default/runs", "s3://served/p", 1), want: PermissionDenied},
		} {
			n := NewModelVersion{Name: "m", Source: c.source}
			if c.run != "" {
				n.RunID = &c.run
			}
			if c.model != "" {
				n.ModelID = &c.model
			}
			_, err := s.CreateModelVersion(bob, n)
			switch {
			case c.want == PermissionDenied:
				wantForbidden(t, err)
			case c.want != "":
				wantError(t, err, c.want, "Invalid model version source: '"+c.source+"'.")
			case err != nil:
				t.Error(err)
			}
		}
	})
}
