package upkeep

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"greenroom/artifacts"
	"greenroom/models"
	"greenroom/models/modelstest"
)

func TestDigester_ReadsWhatDidNotPassThroughTheServer(t *testing.T) {
	onAll(t, func(t *testing.T, k *kept) {
		k.recordUnread("1/a.bin", "direct")
		k.record("1/b.bin", "through the server")
		k.work(k.digester())
		for path, content := range map[string]string{"1/a.bin": "direct", "1/b.bin": "through the server"} {
			if r, ok := k.recorded(path); !ok || r.SHA256 != sha256Hex(content) || r.DueAt != nil {
				t.Errorf("record of %s = %+v, %v", path, r, ok)
			}
		}
	})
}

func TestDigester_LeavesAFileThatIsNotWhatWasStored(t *testing.T) {
	onBoth(t, func(t *testing.T, k *kept) {
		k.recordUnread("1/replaced", "direct")
		k.put("1/replaced", "by hand")
		k.recordUnread("1/gone", "direct")
		if err := k.stores.Served.Delete(t.Context(), "1/gone"); err != nil {
			t.Fatal(err)
		}
		d := k.digester()
		for range 300 { // days pass
			k.work(d)
			k.now = k.now.Add(time.Hour)
		}
		for _, path := range []string{"1/replaced", "1/gone"} {
			if r, ok := k.recorded(path); !ok || r.SHA256 != "" || r.DueAt != nil {
				t.Errorf("record of %s = %+v, %v; want it without a digest, and given up", path, r, ok)
			}
		}
		if n := strings.Count(k.log.String(), "has no digest"); n != 2 {
			t.Errorf("%d lines in the log: %s", n, k.log.String())
		}
	})
}

func TestDigester_AFileIsReadByOneReplica(t *testing.T) {
	onBoth(t, func(t *testing.T, k *kept) {
		k.recordUnread("1/a.bin", "direct")
		if _, ok, err := k.store.ClaimArtifact(t.Context(), lease); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if did, err := k.digester().readFile(t.Context()); did || err != nil {
			t.Errorf("a second replica reads the file too: %v, %v", did, err)
		}
		k.now = k.now.Add(lease) // the first has died
		k.work(k.digester())
		if r, _ := k.recorded("1/a.bin"); r.SHA256 != sha256Hex("direct") {
			t.Errorf("record = %+v", r)
		}
	})
}

// sha256sum is what the commands of docs/artifacts.md print for a folder.
func sha256sum(t *testing.T, dir string) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", `find . -type f | sed 's|^\./||' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum`)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))[0]
}

func TestDigester_AVersionsDigestIsThatOfSha256sum(t *testing.T) {
	onBoth(t, func(t *testing.T, k *kept) {
		run, folder := k.run()
		k.record(folder+"/model/MLmodel", "flavors")
		k.recordUnread(folder+"/model/data/weights.bin", "weights")
		k.put(folder+"/model/data.txt", "sorts before data/")
		k.record(folder+"/model/Ünïcode and space.txt", "")
		k.record(folder+"/model2/other", "of another model")
		v := k.register("churn", run, "model")
		before := k.version(v)
		d := k.digester()
		k.work(d)
		k.now = k.now.Add(pendingPause) // for the files to be read
		k.work(d)
		after := k.version(v)
		digest, ok := after.Digest()
		if want := sha256sum(t, filepath.Join(k.dir, folder, "model")); !ok || digest != want {
			t.Fatalf("digest = %q, want %q; log: %s", digest, want, k.log.String())
		}
		if *after.LastUpdatedTime != *before.LastUpdatedTime {
			t.Error("the digest counts as a change of the version")
		}
		text, ok, err := k.store.Manifest(t.Context(), digest)
		if err != nil || !ok || sha256Hex(text) != digest || strings.Count(text, "\n") != 4 {
			t.Errorf("manifest = %q, %v, %v", text, ok, err)
		}
		if _, ok := k.recorded(folder + "/model/data.txt"); !ok {
			t.Error("a file that was found is not recorded")
		}
		if _, ok, err := k.store.ClaimVersion(t.Context(), lease); ok || err != nil {
			t.Errorf("the version is still due: %v, %v", ok, err)
		}

		ctx := modelstest.Anyone(t)
		if err := k.store.SetModelVersionTag(ctx, v.Name, v.Version, models.Tag{Key: models.TagDigest, Value: "sha256:" + digest}); err != nil {
			t.Errorf("an importer sets the tag as it is: %v", err)
		}
		if err := k.store.SetModelVersionTag(ctx, v.Name, v.Version, models.Tag{Key: models.TagDigest, Value: "sha256:0"}); err == nil || !strings.Contains(err.Error(), "is set by the server") {
			t.Errorf("a client sets the tag: %v", err)
		}
		if err := k.store.DeleteModelVersionTag(ctx, v.Name, v.Version, models.TagDigest); err == nil || !strings.Contains(err.Error(), "is set by the server") {
			t.Errorf("a client deletes the tag: %v", err)
		}
	})
}

func TestDigester_AVersionThatIsAFileOrACopy(t *testing.T) {
	onAll(t, func(t *testing.T, k *kept) {
		run, folder := k.run()
		k.record(folder+"/model.onnx", "weights")
		k.register("churn", run, "model.onnx")
		ctx := modelstest.Anyone(t)
		_, err := k.store.CreateModelVersion(ctx, models.NewModelVersion{Name: "churn", Source: "models:/churn/1", Tags: []models.Tag{{Key: models.TagDigest, Value: "sha256:of another"}}})
		if err != nil {
			t.Fatal(err)
		}
		k.work(k.digester())
		want := sha256Hex(fmt.Sprintf("%s  model.onnx\n", sha256Hex("weights")))
		for version := range int64(2) {
			v, err := k.store.ModelVersion(ctx, "churn", version+1)
			if err != nil {
				t.Fatal(err)
			}
			if digest, _ := v.Digest(); digest != want {
				t.Errorf("digest of version %d = %q, want %q", v.Version, digest, want)
			}
		}
	})
}

func TestDigester_AVersionWhoseFilesComeLaterWaitsForThem(t *testing.T) {
	onBoth(t, func(t *testing.T, k *kept) {
		run, folder := k.run()
		late, never := k.register("late", run, "late"), k.register("never", run, "never")
		d := k.digester()
		k.work(d)
		k.record(folder+"/late/f", "x")
		for range 30 {
			k.now = k.now.Add(time.Minute)
			k.work(d)
		}
		if _, ok := k.version(late).Digest(); !ok {
			t.Error("a version whose files came later has no digest")
		}
		if _, ok := k.version(never).Digest(); ok {
			t.Error("a version without files has a digest")
		}
		k.now = k.now.Add(24 * time.Hour)
		if _, ok, err := k.store.ClaimVersion(t.Context(), lease); ok || err != nil {
			t.Errorf("a version is still due: %v, %v", ok, err)
		}
	})
}

func TestDigester_WhatIsDueFollowsTheModel(t *testing.T) {
	onBoth(t, func(t *testing.T, k *kept) {
		run, folder := k.run()
		k.record(folder+"/model/f", "x")
		ctx := modelstest.Anyone(t)
		renamed := k.register("old", run, "model")
		k.register("deleted", run, "model")
		k.register("some", run, "model")
		if _, err := k.store.RenameRegisteredModel(ctx, "old", "new"); err != nil {
			t.Fatal(err)
		}
		if err := k.store.DeleteRegisteredModel(ctx, "deleted"); err != nil {
			t.Fatal(err)
		}
		if err := k.store.DeleteModelVersion(ctx, "some", 1); err != nil {
			t.Fatal(err)
		}
		if _, err := k.store.CreateRegisteredModel(ctx, "prompt", "", []models.Tag{{Key: "mlflow.prompt.is_prompt", Value: "true"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := k.store.CreateModelVersion(ctx, models.NewModelVersion{Name: "prompt", Source: "dummy-source", Tags: []models.Tag{{Key: "mlflow.prompt.is_prompt", Value: "true"}}}); err != nil {
			t.Fatal(err)
		}
		v, ok, err := k.store.ClaimVersion(t.Context(), lease)
		if err != nil || !ok || v.Name != "new" || v.Version != 1 || v.Attempts != 1 {
			t.Errorf("due = %+v, %v, %v", v, ok, err)
		}
		if v, ok, err := k.store.ClaimVersion(t.Context(), lease); ok || err != nil {
			t.Errorf("due too: %+v, %v", v, err)
		}
		k.now = k.now.Add(lease)
		k.work(k.digester())
		renamed.Name = "new"
		if _, ok := k.version(renamed).Digest(); !ok {
			t.Error("the renamed model's version has no digest")
		}
	})
}

// broken is a store that can be made to fail.
type broken struct {
	artifacts.Store
	down bool
}

func (b *broken) Open(ctx context.Context, path string) (*artifacts.Object, error) {
	if b.down {
		return nil, &artifacts.UnavailableError{Err: errors.New("out of order")}
	}
	return b.Store.Open(ctx, path)
}

func (b *broken) List(ctx context.Context, path string) ([]artifacts.Entry, error) {
	if b.down {
		return nil, &artifacts.UnavailableError{Err: errors.New("out of order")}
	}
	return b.Store.List(ctx, path)
}

func TestDigester_AStoreThatFailsIsTriedLater(t *testing.T) {
	onBoth(t, func(t *testing.T, k *kept) {
		store := &broken{Store: k.stores.Served}
		k.stores.Served = store
		run, folder := k.run()
		k.recordUnread(folder+"/model/f", "x")
		v := k.register("churn", run, "model")
		store.down = true
		d := k.digester()
		for range 60 {
			k.work(d)
			k.now = k.now.Add(time.Minute)
		}
		store.down = false
		for range 120 {
			k.work(d)
			k.now = k.now.Add(time.Minute)
		}
		if digest, _ := k.version(v).Digest(); digest != sha256Hex(sha256Hex("x")+"  f\n") {
			t.Errorf("digest = %q", digest)
		}
	})
}

func TestDigester_RunEndsWithItsContextAndIsWoken(t *testing.T) {
	onBoth(t, func(t *testing.T, k *kept) {
		ctx, cancel := context.WithCancel(t.Context())
		done, d := make(chan struct{}), k.digester()
		d.poll = 24 * time.Hour // it has to be woken
		go func() {
			defer close(done)
			d.Run(ctx)
		}()
		run, folder := k.run()
		k.record(folder+"/model/f", "x")
		start := time.Now()
		v := k.register("churn", run, "model")
		for tick := time.Tick(5 * time.Millisecond); ; <-tick {
			if _, ok := k.version(v).Digest(); ok {
				break
			}
			if time.Since(start) > 5*time.Minute {
				t.Fatal("nobody woke the digester")
			}
		}
		cancel()
		<-done
	})
}
