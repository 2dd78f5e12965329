package mlflowapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"greenroom/models"
	"greenroom/models/modelstest"
)

// version registers the folder of a run as a new version of the model m and moves it to a stage.
func (s *artifactServer) version(run *models.Run, folder, stage string) {
	s.t.Helper()
	ctx := modelstest.Anyone(s.t)
	if _, err := s.models.RegisteredModel(ctx, "m"); err != nil {
		if _, err := s.models.CreateRegisteredModel(ctx, "m", "", nil); err != nil {
			s.t.Fatal(err)
		}
	}
	v, err := s.models.CreateModelVersion(ctx, models.NewModelVersion{Name: "m", Source: *run.ArtifactURI + folder, RunID: &run.ID})
	if err == nil {
		_, err = s.models.TransitionStage(ctx, "m", v.Version, stage, false)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func TestFreeze_EveryWayToChangeALiveVersionIsRefused(t *testing.T) {
	for _, stage := range []string{"Staging", "Production"} {
		t.Run(stage, func(t *testing.T) {
			s := newArtifactServer(t)
			run := s.run("")
			folder := strings.TrimPrefix(*run.ArtifactURI, "mlflow-artifacts:/")
			s.put(folder+"/model/MLmodel", folder+"/log.txt")
			s.version(run, "/model", stage)
			before := files(t, s.dir)
			for _, api := range []string{"/api", "/ajax-api"} {
				base := api + "/2.0/mlflow-artifacts/artifacts/"
				for _, c := range []struct{ method, path string }{
					{"PUT", base + folder + "/model/MLmodel"},
					{"PUT", base + folder + "/model/new/file"},
					{"PUT", base + "./" + folder + "//model/%4DLmodel"},
					{"DELETE", base + folder + "/model/MLmodel"},
					{"DELETE", base + folder + "/model"},
					{"DELETE", base + folder},
					{"DELETE", base + strings.Split(folder, "/")[0]},
					{"POST", "/ajax-api/2.0/mlflow/upload-artifact?run_uuid=" + run.ID + "&path=model/MLmodel"},
				} {
					got := s.do(c.method, c.path, "changed")
					if got.status != 409 || got.code() != "RESOURCE_CONFLICT" || !strings.Contains(got.body, "version 1 of registered model 'm', which is in stage "+stage) {
						t.Errorf("%s %s = %d %s, want 409 RESOURCE_CONFLICT", c.method, c.path, got.status, got.body)
					}
				}
			}
			if diff := cmp.Diff(before, files(t, s.dir)); diff != "" {
				t.Errorf("files changed (-before +after):\n%s", diff)
			}
			s.want(s.do("PUT", proxy+"/"+folder+"/log.txt", "more"), 200, "")
			s.want(s.do("DELETE", proxy+"/"+folder+"/log.txt", ""), 200, "")
			s.want(s.do("POST", "/api/2.0/mlflow/runs/delete", `{"run_id": "`+run.ID+`"}`, "Content-Type: application/json"), 200, "")
			if _, err := s.models.TransitionStage(modelstest.Anyone(t), "m", 1, "Archived", false); err != nil {
				t.Fatal(err)
			}
			s.want(s.do("PUT", proxy+"/"+folder+"/model/MLmodel", "retrained"), 200, "")
			s.want(s.do("DELETE", proxy+"/"+folder+"/model", ""), 200, "")
		})
	}
}

// An upload that was allowed when it began is refused when its last byte arrives after the transition.
func TestFreeze_CoversUploadsUnderWay(t *testing.T) {
	for _, length := range []int64{-1, 8} {
		s := newArtifactServer(t)
		run := s.run("")
		folder := strings.TrimPrefix(*run.ArtifactURI, "mlflow-artifacts:/")
		s.put(folder + "/model/MLmodel")
		before := files(t, s.dir)
		s.version(run, "/model", "None")

		body, client := io.Pipe()
		request, err := http.NewRequestWithContext(t.Context(), "PUT", s.URL+proxy+"/"+folder+"/model/MLmodel", body)
		if err != nil {
			t.Fatal(err)
		}
		request.ContentLength = length
		answered := make(chan error, 1)
		var got answer
		go func() {
			response, err := http.DefaultTransport.RoundTrip(request)
			if err == nil {
				defer response.Body.Close()
				var content []byte
				content, err = io.ReadAll(response.Body)
				got = answer{response.StatusCode, response.Header, string(content)}
			}
			answered <- err
		}()
		if _, err := io.WriteString(client, "half"); err != nil {
			t.Fatal(err)
		}
		s.waitForUpload()
		if _, err := s.models.TransitionStage(modelstest.Anyone(t), "m", 1, "Production", false); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(client, "rest"); err != nil {
			t.Fatal(err)
		}
		client.Close()
		if err := <-answered; err != nil {
			t.Fatal(err)
		}
		s.want(got, 409, "in stage Production")
		if diff := cmp.Diff(before, files(t, s.dir)); diff != "" {
			t.Errorf("files changed (-before +after):\n%s", diff)
		}
	}
}

func TestFreeze_TheRootIsNeverDeletedWhateverIsInIt(t *testing.T) {
	s := newArtifactServer(t)
	run := s.run("")
	folder := strings.TrimPrefix(*run.ArtifactURI, "mlflow-artifacts:/")
	s.put(folder+"/model/MLmodel", folder+"/log.txt")
	for _, stage := range []string{"None", "Production"} {
		s.version(run, "/model", stage)
		before := files(t, s.dir)
		for _, root := range []string{"/", "/%2e", "/./", "//.//"} {
			if got := s.do("DELETE", proxy+root, ""); got.status != 400 || got.code() != "INVALID_PARAMETER_VALUE" {
				t.Errorf("DELETE %s with a version in stage %s = %d %s, want 400 INVALID_PARAMETER_VALUE", root, stage, got.status, got.body)
			}
		}
		if diff := cmp.Diff(before, files(t, s.dir)); diff != "" {
			t.Errorf("files changed (-before +after):\n%s", diff)
		}
		for _, file := range []string{"/model/MLmodel", "/log.txt"} {
			if _, ok := s.record(folder + file); !ok {
				t.Errorf("the digest of %s is forgotten", file)
			}
		}
	}
}

// waitForUpload returns when the store waits for the bytes of an upload.
func (s *artifactServer) waitForUpload() {
	s.t.Helper()
	for s.t.Context().Err() == nil {
		found, err := filepath.Glob(filepath.Join(s.dir, ".greenroom-upload*", "*"))
		if err != nil {
			s.t.Fatal(err)
		}
		if len(found) > 0 {
			return
		}
	}
}

func TestFreeze_RefusalsAreInTheAuditLog(t *testing.T) {
	inAuditServers(t, func(s *auditServer) {
		var made struct {
			Run struct {
				Info struct {
					ID  string `json:"run_id"`
					URI string `json:"artifact_uri"`
				}
			}
		}
		if err := json.Unmarshal([]byte(s.want(200, "bob", "POST", "runs/create", `{"experiment_id":"0"}`)), &made); err != nil {
			s.t.Fatal(err)
		}
		run := made.Run.Info
		path := strings.TrimPrefix(run.URI, "mlflow-artifacts:/") + "/model"
		s.want(200, "bob", "POST", "registered-models/create", `{"name":"churn"}`)
		s.want(200, "bob", "POST", "model-versions/create", `{"name":"churn","run_id":"`+run.ID+`","source":"`+run.URI+`/model"}`)
		s.want(200, "bob", "POST", "model-versions/transition-stage", `{"name":"churn","version":"1","stage":"Staging"}`)
		s.want(409, "bob", "PUT", proxy+"/"+path+"/MLmodel", "changed")
		var got []string
		for _, e := range s.entries("outcome=refused") {
			got = append(got, brief(e))
		}
		if len(got) != 1 || !strings.HasPrefix(got[0], "bob refused | PUT mlflow-artifacts/artifacts | artifact '"+path+"/MLmodel' | ") || !strings.Contains(got[0], "version 1 of registered model 'churn'") {
			s.t.Errorf("refusals: %q", got)
		}
	})
}
