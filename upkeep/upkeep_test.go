package upkeep

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"greenroom/artifacts"
	"greenroom/artifacts/artifactstest"
	"greenroom/models"
	"greenroom/models/modelstest"
)

// kept is a database and a store, whose files lie in a folder.
type kept struct {
	t      testing.TB
	store  *models.Store
	stores artifacts.Stores
	dir    string
	now    time.Time
	log    bytes.Buffer
}

// onBoth runs a test on each database, with files in a folder.
func onBoth(t *testing.T, test func(t *testing.T, k *kept)) {
	modelstest.Run(t, func(t *testing.T, uri string) { test(t, keep(t, uri, local)) })
}

// onAll runs a test on each database with files in a folder, and with files in S3.
func onAll(t *testing.T, test func(t *testing.T, k *kept)) {
	onBoth(t, test)
	t.Run("s3", func(t *testing.T) { test(t, keep(t, modelstest.SQLite(t), inS3)) })
}

func local(t *testing.T) (artifacts.Store, string) {
	dir := t.TempDir()
	store, err := artifacts.OpenLocal(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store, dir
}

func inS3(t *testing.T) (artifacts.Store, string) {
	server := artifactstest.SharedS3(t)
	for _, variable := range server.Env() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	bucket := server.Bucket(t)
	store, err := artifacts.OpenS3(t.Context(), artifacts.S3Options{URI: "s3://" + bucket + "/prefix", Endpoint: server.Endpoint, Bounds: artifactstest.Patient()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store, server.File(bucket, "prefix")
}

func keep(t *testing.T, uri string, open func(*testing.T) (artifacts.Store, string)) *kept {
	t.Helper()
	k := &kept{t: t, now: time.Now()}
	served, dir := open(t)
	k.stores.Served, k.dir = served, dir
	var err error
	k.store, err = models.Open(t.Context(), uri, models.Options{ArtifactRoot: "mlflow-artifacts:/", Now: k.clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.store.Close() })
	return k
}

func (k *kept) clock() time.Time { return k.now }

func (k *kept) digester() *Digester {
	d := NewDigester(k.store, k.stores, slog.New(slog.NewTextHandler(&k.log, nil)))
	d.now = k.clock
	return d
}

// work does all that is due now.
func (k *kept) work(d *Digester) {
	k.t.Helper()
	for {
		read, err := d.readFile(k.t.Context())
		if err != nil {
			k.t.Log(err)
		}
		made, err := d.digestVersion(k.t.Context())
		if err != nil {
			k.t.Log(err)
		}
		if !read && !made {
			return
		}
	}
}

func (k *kept) put(path, content string) artifacts.Stored {
	k.t.Helper()
	stored, err := k.stores.Served.Put(k.t.Context(), path, strings.NewReader(content), int64(len(content)))
	if err != nil {
		k.t.Fatal(err)
	}
	return stored
}

// record stores a file as a server does.
func (k *kept) record(path, content string) {
	k.t.Helper()
	if _, err := k.store.RecordArtifact(k.t.Context(), location(path), k.put(path, content), models.ArtifactBefore{}, false); err != nil {
		k.t.Fatal(err)
	}
}

// recordUnread stores a file as one that did not pass through the server.
func (k *kept) recordUnread(path, content string) {
	k.t.Helper()
	stored := k.put(path, content)
	stored.SHA256 = ""
	if _, err := k.store.RecordArtifact(k.t.Context(), location(path), stored, models.ArtifactBefore{}, false); err != nil {
		k.t.Fatal(err)
	}
}

func location(path string) string { return artifacts.ServedRoot + "/" + path }

func (k *kept) recorded(path string) (r models.ArtifactRecord, ok bool) {
	k.t.Helper()
	r, ok, err := k.store.ArtifactRecord(k.t.Context(), location(path))
	if err != nil {
		k.t.Fatal(err)
	}
	return r, ok
}

// run makes a run, and gives the folder of its artifacts in the store.
func (k *kept) run() (*models.Run, string) {
	k.t.Helper()
	run, err := k.store.CreateRun(modelstest.Anyone(k.t), models.NewRun{ExperimentID: 0})
	if err != nil {
		k.t.Fatal(err)
	}
	return run, strings.TrimPrefix(*run.ArtifactURI, "mlflow-artifacts:/")
}

// register makes a version of a folder of a run.
func (k *kept) register(name string, run *models.Run, folder string) *models.ModelVersion {
	k.t.Helper()
	ctx := modelstest.Anyone(k.t)
	if _, err := k.store.RegisteredModel(ctx, name); err != nil {
		if _, err := k.store.CreateRegisteredModel(ctx, name, "", nil); err != nil {
			k.t.Fatal(err)
		}
	}
	v, err := k.store.CreateModelVersion(ctx, models.NewModelVersion{Name: name, Source: *run.ArtifactURI + "/" + folder, RunID: &run.ID})
	if err != nil {
		k.t.Fatal(err)
	}
	return v
}

func (k *kept) version(v *models.ModelVersion) *models.ModelVersion {
	k.t.Helper()
	v, err := k.store.ModelVersion(k.t.Context(), v.Name, v.Version)
	if err != nil {
		k.t.Fatal(err)
	}
	return v
}

// verify gives what a verification of everything finds, sorted, as "status location".
func (k *kept) verify(record bool) (found []string, totals Totals) {
	k.t.Helper()
	v := k.verifier(&found)
	v.Record = record
	totals, err := v.All(k.t.Context())
	if err != nil {
		k.t.Fatal(err)
	}
	return found, totals
}

func (k *kept) verifier(found *[]string) *Verifier {
	return &Verifier{Store: k.store, Stores: k.stores, Readers: 3, Report: func(f Finding) {
		*found = append(*found, fmt.Sprintf("%s %s", f.Status, strings.TrimPrefix(f.Location, "mlflow-artifacts:/")))
	}}
}

func dueVersion(v *models.ModelVersion) models.DueVersion {
	return models.DueVersion{Name: v.Name, Version: v.Version}
}
