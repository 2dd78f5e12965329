package mlflowapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"greenroom/artifacts"
	"greenroom/artifacts/artifactstest"
	"greenroom/auth"
	"greenroom/mlflowapi"
	"greenroom/models"
	"greenroom/models/modelstest"
)

// secret is what no answer may hold.
const secret = "top-secret-content"

// besieged is a server with something to steal and to break: two experiments, of which anna may edit the first alone, a model of hers, and files
// beside the store.
type besieged struct {
	*artifactServer
	prefix     string
	outside    string // the folder on disk that holds the store and what is beside it
	mine, hers *models.Run
	model      *models.LoggedModel
	mineAt     string // paths in the store
	hersAt     string
	before     map[string]string
	signed     string // the URL, without the server, of a download of anna's
	signedPart string
	upload     string // an upload of anna's
}

// besiege runs a test with the store in a folder and in a bucket, without and with a static prefix.
func besiege(t *testing.T, test func(t *testing.T, s *besieged)) {
	for _, kind := range []string{"folder", "bucket"} {
		for _, prefix := range []string{"", "/mlflow"} {
			t.Run(kind+prefix, func(t *testing.T) { test(t, newBesieged(t, kind, prefix)) })
		}
	}
}

func newBesieged(t *testing.T, kind, prefix string) *besieged {
	t.Helper()
	s := &besieged{prefix: prefix, outside: t.TempDir()}
	var store artifacts.Store
	if kind == "bucket" {
		server := artifactstest.SharedS3(t)
		bucket := server.Bucket(t)
		t.Setenv("AWS_ACCESS_KEY_ID", server.AccessKey)
		t.Setenv("AWS_SECRET_ACCESS_KEY", server.SecretKey)
		t.Setenv("AWS_REGION", server.Region)
		s3, err := artifacts.OpenS3(t.Context(), artifacts.S3Options{URI: "s3://" + bucket + "/team/store", Endpoint: server.Endpoint, Bounds: artifactstest.Patient()})
		if err != nil {
			t.Fatal(err)
		}
		closeAtEnd(t, s3)
		store, s.outside = s3, server.File(bucket, "")
	} else {
		store = openFolder(t, filepath.Join(s.outside, "team", "store"))
	}
	for _, file := range []string{"secret", "team/secret", "team/store2/secret", "etc/passwd"} {
		file = filepath.Join(s.outside, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	u := users{"root": {UserID: 1, Name: "root", Admin: true}, "stranger": {UserID: 2, Name: "stranger"}}
	s.artifactServer = newArtifactServerWith(t, func(cfg *mlflowapi.Config) {
		cfg.Auth, cfg.StaticPrefix, cfg.PresignedURLs = u, prefix, mlflowapi.PresignedServer
		cfg.Artifacts = artifacts.Stores{Served: store}
	})
	s.mine, s.hers = s.run(""), s.run("mlflow-artifacts:/team-b")
	u["anna"] = &auth.Principal{UserID: 3, Name: "anna", Grants: auth.Grants{
		{Kind: auth.Experiment, Pattern: fmt.Sprint(s.mine.ExperimentID), Level: auth.Manage}, {Kind: auth.RegisteredModel, Pattern: "*", Level: auth.Manage}, {Kind: auth.Workspace, Pattern: "*", Level: auth.Use},
	}}
	s.mineAt, s.hersAt = strings.TrimPrefix(*s.mine.ArtifactURI, "mlflow-artifacts:/"), strings.TrimPrefix(*s.hers.ArtifactURI, "mlflow-artifacts:/")
	all := modelstest.Anyone(t)
	var err error
	if s.model, err = s.models.CreateLoggedModel(all, models.NewLoggedModel{ExperimentID: s.mine.ExperimentID, Name: "lm"}); err != nil {
		t.Fatal(err)
	}
	if _, err = s.models.CreateRegisteredModel(all, "m", "", nil); err != nil {
		t.Fatal(err)
	}
	if _, err = s.models.CreateModelVersion(all, models.NewModelVersion{Name: "m", Source: *s.mine.ArtifactURI + "/d", RunID: &s.mine.ID}); err != nil {
		t.Fatal(err)
	}
	s.want(s.send("root", "PUT", proxy+"/"+s.mineAt+"/d/a.txt", "mine"), 200, "")
	s.want(s.send("root", "PUT", proxy+"/"+s.hersAt+"/d/a.txt", secret), 200, "")
	file := decode[presignedFile](s.artifactServer, s.send("anna", "GET", presigned+"/"+s.mineAt+"/d/a.txt", ""))
	up := decode[begun](s.artifactServer, s.send("anna", "POST", mpu+"/create/"+s.mineAt+"/d", `{"path":"parts","num_parts":1}`))
	s.signed, s.signedPart, s.upload = s.path(file.URL), s.path(up.Credentials[0].URL), up.UploadID
	s.before = files(t, s.outside)
	return s
}

// send makes a request in a user's name.
func (s *besieged) send(user, method, path, body string) answer {
	s.t.Helper()
	return s.as(user, method, s.prefix+path, body)
}

// refused sends a request that must be answered with a 4xx, and tell nothing.
func (s *besieged) refused(user, method, path, body string) {
	s.t.Helper()
	got := s.send(user, method, path, body)
	asked, _ := url.PathUnescape(path)
	told := strings.Contains(got.body, s.outside) && !strings.Contains(asked+body, s.outside)
	if got.status < 400 || got.status > 499 || strings.Contains(got.body, secret) || told {
		s.t.Errorf("%s: %s %s %s = %d %.200s, want a refusal", user, method, path, body, got.status, got.body)
	}
}

func (s *besieged) unchanged() {
	s.t.Helper()
	if diff := cmp.Diff(s.before, files(s.t, s.outside)); diff != "" {
		s.t.Errorf("files changed (-before +after):\n%s", diff)
	}
}

// asJSON is a text that stands in a URL, decoded once, as it stands in a JSON body.
func asJSON(path string) string {
	if decoded, err := url.PathUnescape(path); err == nil {
		path = decoded
	}
	text, _ := json.Marshal(path)
	return string(text)
}

// ways are all requests that take the path of an artifact, as it stands in a URL.
func (s *besieged) ways(path string) [][3]string {
	var all [][3]string
	for _, api := range []string{"/api", "/ajax-api"} {
		base, rpc := api+"/2.0/mlflow-artifacts", api+"/2.0/mlflow"
		body := `{"path":"x","upload_id":"` + s.upload + `","num_parts":1,"parts":[{"part_number":1,"etag":"e"}]}`
		all = append(all, [][3]string{
			{"GET", base + "/artifacts/" + path},
			{"HEAD", base + "/artifacts/" + path},
			{"PUT", base + "/artifacts/" + path, "evil"},
			{"DELETE", base + "/artifacts/" + path},
			{"GET", base + "/artifacts?path=" + path},
			{"GET", base + "/presigned/" + path},
			{"POST", base + "/mpu/create/" + path, body},
			{"POST", base + "/mpu/complete/" + path, body},
			{"POST", base + "/mpu/abort/" + path, body},
		}...)
		all = append(all, s.belowRun(rpc, path)...)
	}
	_, query, _ := strings.Cut(s.signed, "?")
	_, partQuery, _ := strings.Cut(s.signedPart, "?")
	transfer := "/api/2.0/mlflow-artifacts/transfer/" + path
	return append(all, [][3]string{
		{"GET", transfer + "?" + query},
		{"HEAD", transfer + "?" + query},
		{"PUT", transfer + "?" + partQuery, "evil"},
		{"PUT", transfer + "?" + query, "evil"},
		{"GET", transfer},
		{"GET", "/get-artifact?run_uuid=" + s.mine.ID + "&path=" + path},
		{"GET", "/get-artifact?run_id=" + s.mine.ID + "&path=" + path},
		{"GET", "/model-versions/get-artifact?name=m&version=1&path=" + path},
		{"GET", "/ajax-api/2.0/mlflow/logged-models/" + s.model.ID + "/artifacts/files?artifact_file_path=" + path},
		{"POST", "/ajax-api/2.0/mlflow/upload-artifact?run_uuid=" + s.mine.ID + "&path=" + path, "evil"},
	}...)
}

// belowRun are the RPCs that take a path below a run or logged model.
func (s *besieged) belowRun(rpc, path string) [][3]string {
	return [][3]string{
		{"GET", rpc + "/artifacts/list?run_id=" + s.mine.ID + "&path=" + path},
		{"GET", rpc + "/logged-models/" + s.model.ID + "/artifacts/directories?artifact_directory_path=" + path},
		{"POST", rpc + "/artifacts/presigned-download-url", `{"run_id":"` + s.mine.ID + `","path":` + asJSON(path) + `}`},
		{"POST", rpc + "/artifacts/presigned-upload-url", `{"run_id":"` + s.mine.ID + `","path":` + asJSON(path) + `}`},
		{"POST", rpc + "/artifacts/presigned-upload-url", `{"model_id":"` + s.model.ID + `","path":` + asJSON(path) + `}`},
	}
}

func TestAttacks_NoSpellingOfAPathLeadsOut(t *testing.T) {
	besiege(t, func(t *testing.T, s *besieged) {
		paths := append([]string{
			"../secret", "../../secret", "%2e%2e/secret", "%2e%2e%2f%2e%2e%2fsecret", "..%2fstore2%2fsecret", "%252e%252e/secret", "%25252e%25252e/secret", "./../secret", s.mineAt + "/../../../../secret",
			"%2e./secret", ".%2e/secret", "..%00/secret", "%c0%ae%c0%ae/secret", "..%c0%afsecret", url.PathEscape(s.outside) + "%2fsecret", "file:%2f%2f" + url.PathEscape(s.outside) + "/secret",
			".greenroom-uploads/x", "%2egreenroom-uploads/x", ".GREENROOM-upload/x", strings.Repeat("a/", 1500) + "f", strings.Repeat("a", 256),
		}, badPaths...)
		for _, path := range paths {
			for _, way := range s.ways(path) {
				s.refused("anna", way[0], way[1], way[2])
			}
		}
		for _, path := range paths {
			for _, way := range s.ways(path)[:9] {
				s.refused("stranger", way[0], way[1], way[2])
			}
		}
		s.unchanged()
	})
}

// The path of a file in the body of a multipart call is a local one of the client, of which the name counts.
func TestAttacks_AMultipartBodyNamesNoOtherFolder(t *testing.T) {
	besiege(t, func(t *testing.T, s *besieged) {
		for _, api := range []string{"/api", "/ajax-api"} {
			for _, name := range []string{"", ".", "..", "/", "x/", "x/..", "a%2e%2e", "%2e%2e", "a#b", "a?b", "a\x00b", ".greenroom-uploads", strings.Repeat("a", 256)} {
				text, _ := json.Marshal(name)
				for _, call := range []string{"create", "complete", "abort"} {
					s.refused("anna", "POST", api+"/2.0/mlflow-artifacts/mpu/"+call+"/"+s.mineAt+"/d", `{"path":`+string(text)+`,"upload_id":"`+s.upload+`","num_parts":1,"parts":[{"part_number":1,"etag":"e"}]}`)
				}
			}
		}
		s.unchanged()
	})
}

func TestAttacks_NoSpellingReachesAnotherTeamsFiles(t *testing.T) {
	besiege(t, func(t *testing.T, s *besieged) {
		theirs := s.hersAt + "/d/a.txt"
		for _, path := range []string{
			theirs, "./" + theirs, "/" + theirs, "%2e/" + theirs, strings.Replace(theirs, "/", "//", 1), strings.Replace(theirs, "team-b", "t%65am-b", 1), strings.Replace(theirs, "team-b", "t%2565am-b", 1),
			strings.ReplaceAll(theirs, "/", "%2f"), s.mineAt + "/../../../" + theirs, fmt.Sprint(s.mine.ExperimentID) + "/../" + theirs, fmt.Sprint(s.mine.ExperimentID) + "%2f..%2f" + theirs,
		} {
			for _, way := range s.ways(path) {
				if inStore := !strings.Contains(way[1], "/2.0/mlflow/") && !strings.Contains(way[1], "get-artifact"); inStore {
					s.refused("anna", way[0], way[1], way[2])
				}
			}
		}
		for _, folder := range []string{"", ".", "./.", "%2e", "team-b", s.hersAt} {
			for _, api := range []string{"/api", "/ajax-api"} {
				base := api + "/2.0/mlflow-artifacts/artifacts"
				s.refused("anna", "DELETE", base+"/"+folder, "")
				s.refused("anna", "GET", base+"?path="+folder, "")
			}
		}
		for _, folder := range []string{"", ".", "./.", "%2e", "//"} {
			s.refused("root", "DELETE", proxy+"/"+folder, "")
		}
		// What a run's and a model's own routes take is below the run and the model.
		for _, way := range slices.Concat(s.belowRun("/api/2.0/mlflow", theirs), [][3]string{{"GET", "/get-artifact?run_id=" + s.mine.ID + "&path=" + theirs}, {"GET", "/get-artifact?path=d/a.txt&run_id=" + s.hers.ID}}) {
			if got := s.send("anna", way[0], way[1], way[2]); got.status > 499 || strings.Contains(got.body, secret) {
				t.Errorf("%v = %d %s", way, got.status, got.body)
			}
		}
		s.unchanged()
	})
}

// Nobody, administrators included, makes the server or a client read what the operator did not name.
func TestAttacks_NoLocationLeadsOut(t *testing.T) {
	besiege(t, func(t *testing.T, s *besieged) {
		for i, location := range []string{
			"/etc", "file:///etc", "file:/etc", "file://localhost/etc", "//etc/passwd", "../../etc", "file:///root/x", "file:///tmp/%2e%2e/etc", `file:///..\..\etc`, s.outside, "file://" + s.outside, "s3://other/x", "s3://team/store/../x",
			"gs://other/x", "dbfs:/x", "http:///?/../../../../etc/", "http://host#/../../../etc/", "http://host/;/../../../etc", "http://169.254.169.254/", "ftp://127.0.0.1/x", "hdfs://h/x", "mlflow-artifacts://evil:80/x",
			"http://attacker/api/2.0/mlflow-artifacts/artifacts/", "mlflow-artifacts:/../x", "mlflow-artifacts:/%252e%252e/x",
		} {
			text, _ := json.Marshal(location)
			for _, user := range []string{"anna", "root"} {
				for _, api := range []string{"/api", "/ajax-api"} {
					for _, claim := range []string{"", `,"run_id":"` + s.mine.ID + `"`, `,"model_id":"` + s.model.ID + `"`, `,"tags":[{"key":"mlflow.prompt.is_prompt","value":"true"}]`} {
						if !strings.HasPrefix(location, "s3://other") { // whose scheme this server allows
							s.refused(user, "POST", api+"/2.0/mlflow/model-versions/create", `{"name":"m","source":`+string(text)+claim+`}`)
						}
					}
					if !strings.HasPrefix(location, "s3://other") {
						s.refused(user, "POST", api+"/2.0/mlflow/experiments/create", fmt.Sprintf(`{"name":"e%d","artifact_location":%s}`, i, text))
					}
				}
			}
		}
		for _, source := range []string{*s.hers.ArtifactURI, *s.hers.ArtifactURI + "/d", "runs:/" + s.hers.ID + "/d", "mlflow-artifacts:/", "mlflow-artifacts:/team-b"} {
			for _, run := range []string{s.hers.ID, s.mine.ID, ""} {
				s.refused("anna", "POST", "/api/2.0/mlflow/model-versions/create", `{"name":"m","source":"`+source+`","run_id":"`+run+`"}`)
			}
		}
		s.refused("anna", "GET", "/model-versions/get-artifact?name=m&version=2&path=passwd", "")
		s.unchanged()
	})
}

func TestAttacks_SymlinksLeadNowhere(t *testing.T) {
	s := newBesieged(t, "folder", "")
	run := filepath.Join(s.outside, "team", "store", s.mineAt)
	if err := os.Symlink(s.outside, filepath.Join(run, "out")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(s.outside, "secret"), filepath.Join(run, "file")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"out/secret", "out/new", "file", "out"} {
		for _, way := range slices.Concat(s.ways(s.mineAt + "/" + path)[:6], [][3]string{
			{"GET", "/get-artifact?run_id=" + s.mine.ID + "&path=" + path},
			{"POST", "/ajax-api/2.0/mlflow/upload-artifact?run_uuid=" + s.mine.ID + "&path=" + path, "evil"},
		}) {
			if got := s.send("anna", way[0], way[1], way[2]); got.status > 499 || strings.Contains(got.body, secret) {
				t.Errorf("%v = %d %s", way, got.status, got.body)
			}
		}
	}
	got := files(t, s.outside)
	for name := range maps.Clone(got) {
		if strings.HasPrefix(name, "team/store/") {
			delete(got, name)
		}
	}
	want := map[string]string{"secret": secret, "team/secret": secret, "team/store2/secret": secret, "etc/passwd": secret}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files outside changed (-want +got):\n%s", diff)
	}
}
