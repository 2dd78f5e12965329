package mlflowapi_test

import (
	"fmt"
	"strings"
	"testing"

	"greenroom/mlflowapi"
	"greenroom/models"
	"greenroom/models/modelstest"
)

// Whichever way a browser gets a file, it must not run in the origin of a server that somebody is logged in to.
func TestDownloads_AreSandboxedAttachmentsInEveryWay(t *testing.T) {
	for _, mode := range []string{mlflowapi.PresignedServer, mlflowapi.PresignedAuto} {
		s, direct := newBucketServer(t, func(cfg *mlflowapi.Config) { cfg.PresignedURLs = mode })
		all := modelstest.Anyone(t)
		run, beside := s.run(""), s.run(direct+"/exp")
		model, err := s.models.CreateLoggedModel(all, models.NewLoggedModel{ExperimentID: run.ExperimentID, Name: "lm"})
		if err != nil {
			t.Fatal(err)
		}
		s.version(run, "/d", "None")
		at := strings.TrimPrefix(*run.ArtifactURI, "mlflow-artifacts:/")
		for _, name := range []string{"page.html", "image.svg", "data.xml", "notes.txt", "model.pkl", `q"uote;x.html`} {
			escaped := strings.NewReplacer(`"`, "%22", ";", "%3B").Replace(name)
			const script = "<script>alert(1)</script>"
			for _, path := range []string{at + "/d/", strings.TrimPrefix(model.ArtifactLocation, "mlflow-artifacts:/") + "/"} {
				s.want(s.do("PUT", proxy+"/"+path+escaped, script), 200, "")
			}
			s.want(s.do("POST", "/ajax-api/2.0/mlflow/upload-artifact?run_uuid="+beside.ID+"&path="+escaped, script), 200, "")
			file := decode[presignedFile](s, s.do("GET", presigned+"/"+at+"/d/"+escaped, ""))
			down := decode[struct {
				URL string `json:"presigned_url"`
			}](s, s.do("POST", "/api/2.0/mlflow/artifacts/presigned-download-url", fmt.Sprintf(`{"run_id":%q,"path":%q}`, beside.ID, name), jsonBody))
			for way, address := range map[string]string{
				"proxy":            s.URL + proxy + "/" + at + "/d/" + escaped,
				"ajax proxy":       s.URL + "/ajax-" + proxy[len("/"):] + "/" + at + "/d/" + escaped,
				"run":              s.URL + "/get-artifact?run_uuid=" + run.ID + "&path=d/" + escaped,
				"run of a bucket":  s.URL + "/get-artifact?run_id=" + beside.ID + "&path=" + escaped,
				"model version":    s.URL + "/model-versions/get-artifact?name=m&version=1&path=" + escaped,
				"logged model":     s.URL + "/ajax-api/2.0/mlflow/logged-models/" + model.ID + "/artifacts/files?artifact_file_path=" + escaped,
				"URL":              file.URL,
				"URL of a bucket":  down.URL,
				"part of the file": file.URL,
			} {
				header := map[string]string{}
				if way == "part of the file" {
					header["Range"] = "bytes=1-3"
				}
				got := fetch(t, "GET", address, "", header)
				if got.status/100 != 2 || !strings.Contains(script, got.body) {
					t.Errorf("%s of %s by %s = %d %s", name, mode, way, got.status, got.body)
				}
				if !strings.HasPrefix(got.header.Get("Content-Disposition"), "attachment; filename=") {
					t.Errorf("%s by %s: Content-Disposition %q", name, way, got.header.Get("Content-Disposition"))
				}
				if ours := strings.HasPrefix(address, s.URL); ours && (got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("Content-Security-Policy") != "sandbox") {
					t.Errorf("%s by %s: %v", name, way, got.header)
				}
			}
		}
	}
}
