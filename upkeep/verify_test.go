package upkeep

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"greenroom/artifacts"
	"greenroom/models"
	"greenroom/models/modelstest"
)

// flip changes one random byte of a file as a dying disk does: neither size nor time of change tell of it.
func flip(t testing.TB, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var random [8]byte
	rand.Read(random[:])
	at := int(random[0])<<8 + int(random[1])
	content[at%len(content)] ^= 1 << (random[2] % 8)
	f, err := os.OpenFile(path, os.O_WRONLY, 0) // the same file, with what S3 servers keep beside its content
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, info.ModTime()); err != nil {
		t.Fatal(err)
	}
}

func content(i int) string { return strings.Repeat(fmt.Sprintf("file %d, ", i), 100+i) }

func TestVerify_NamesEveryFileWithAFlippedBit(t *testing.T) {
	onAll(t, func(t *testing.T, k *kept) {
		var want []string
		for i := range 120 {
			path := fmt.Sprintf("1/run%d/artifacts/f%03d.bin", i%7, i)
			text := content(i)
			if i%20 == 0 {
				text = strings.Repeat(text, 1000) // more than one read
			}
			k.record(path, text)
			if i < 100 {
				flip(t, filepath.Join(k.dir, path))
				want = append(want, "altered "+path)
			}
		}
		found, totals := k.verify(false)
		slices.Sort(found)
		slices.Sort(want)
		if diff := cmp.Diff(want, found); diff != "" {
			t.Errorf("found (-want +got):\n%s", diff)
		}
		if totals.Files != 120 || totals.Bad != 100 || totals.Bytes == 0 {
			t.Errorf("totals = %+v", totals)
		}
	})
}

func TestVerify_TellsWhatHasHappenedToAFile(t *testing.T) {
	onAll(t, func(t *testing.T, k *kept) {
		for _, name := range []string{"fine", "missing", "cut", "empty", "longer", "replaced"} {
			k.record("1/"+name, "0123456789")
		}
		k.recordUnread("1/unread", "direct")
		k.recordUnread("1/unread and cut", "direct")
		k.recordUnread("1/unread and gone", "direct")
		for _, name := range []string{"1/missing", "1/unread and gone"} {
			if err := k.stores.Served.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		for name, text := range map[string]string{
			"cut": "01234", "empty": "", "longer": "0123456789!", "replaced": "9876543210", "unread and cut": "dir", "by hand": "x",
		} {
			k.put("1/"+name, text)
		}
		found, totals := k.verify(false)
		slices.Sort(found)
		want := []string{
			"altered 1/longer", "altered 1/replaced", "missing 1/missing", "missing 1/unread and gone",
			"truncated 1/cut", "truncated 1/empty", "truncated 1/unread and cut", "unrecorded 1/by hand",
		}
		if diff := cmp.Diff(want, found); diff != "" {
			t.Errorf("found (-want +got):\n%s", diff)
		}
		if totals.Bad != 7 || totals.Unrecorded != 1 || totals.Recorded != 1 || totals.Files != 9 {
			t.Errorf("totals = %+v", totals)
		}
		if r, _ := k.recorded("1/unread"); r.SHA256 != sha256Hex("direct") {
			t.Errorf("a file that nobody had read has no digest: %+v", r)
		}
		if r, _ := k.recorded("1/longer"); r.SHA256 != sha256Hex("0123456789") {
			t.Errorf("a verification changed what is known: %+v", r)
		}
	})
}

func TestVerify_ARestoredFolderIsFine(t *testing.T) {
	onBoth(t, func(t *testing.T, k *kept) {
		k.record("1/a.bin", "hello")
		before, _ := k.recorded("1/a.bin")
		now := k.put("1/a.bin", "hello") // as another file, at another time
		if found, totals := k.verify(false); len(found) > 0 || totals.Files != 1 {
			t.Errorf("found = %v", found)
		}
		if after, _ := k.recorded("1/a.bin"); after.ETag != now.ETag || after.SHA256 != before.SHA256 || after.StoredAt != before.StoredAt {
			t.Errorf("record = %+v, want that of %+v", after, now)
		}
	})
}

func TestVerify_RecordsAStoreOfMLflows(t *testing.T) {
	onAll(t, func(t *testing.T, k *kept) {
		run, folder := k.run()
		for i := range 30 {
			k.put(fmt.Sprintf("%s/model/d%d/f%d", folder, i%3, i), content(i))
		}
		v := k.register("churn", run, "model")
		if err := k.store.GiveUpVersion(t.Context(), dueVersion(v)); err != nil { // MLflow made it
			t.Fatal(err)
		}
		found, totals := k.verify(false)
		if totals.Bad != 0 || totals.Unrecorded != 30 || totals.Undigested != 1 || len(found) != 30 {
			t.Errorf("totals = %+v", totals)
		}
		if found, totals = k.verify(true); len(found) > 0 || totals.Recorded != 30 || totals.Versions != 1 {
			t.Errorf("found %v, totals = %+v", found, totals)
		}
		if found, totals = k.verify(false); len(found) > 0 || totals.Files != 30 || totals.Versions != 1 {
			t.Errorf("found %v, totals = %+v", found, totals)
		}
		if _, ok := k.version(v).Digest(); !ok {
			t.Error("the version has no digest")
		}
	})
}

func TestVerify_AVersionIsComparedWithWhatWasRegistered(t *testing.T) {
	onAll(t, func(t *testing.T, k *kept) {
		run, folder := k.run()
		for _, name := range []string{"model/MLmodel", "model/data/w1", "model/data/w2", "model/data/w3", "model/data/w4", "model2/other"} {
			k.record(folder+"/"+name, "content of "+name)
		}
		v := k.register("churn", run, "model")
		k.work(k.digester())
		v = k.version(v)
		var found []string
		totals, err := k.verifier(&found).Version(t.Context(), v)
		if err != nil || len(found) > 0 || totals.Files != 5 || totals.Versions != 1 {
			t.Fatalf("a version that is fine: %v, %+v, %v", found, totals, err)
		}

		flip(t, filepath.Join(k.dir, folder, "model/MLmodel"))
		if err := k.stores.Served.Delete(t.Context(), folder+"/model/data/w1"); err != nil {
			t.Fatal(err)
		}
		k.put(folder+"/model/data/w2", "short")
		k.record(folder+"/model/data/w3", "stored anew, through the server")
		k.record(folder+"/model/data/w5", "stored later")
		k.record(folder+"/model2/other", "of another model")
		totals, err = k.verifier(&found).Version(t.Context(), v)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(found)
		at := folder + "/model/"
		want := []string{"added " + at + "data/w5", "altered " + at + "MLmodel", "altered " + at + "data/w3", "missing " + at + "data/w1", "truncated " + at + "data/w2"}
		if diff := cmp.Diff(want, found); diff != "" {
			t.Errorf("found (-want +got):\n%s", diff)
		}
		if totals.Bad != 5 {
			t.Errorf("totals = %+v", totals)
		}
		found, totals = k.verify(false) // everything: each file is named once
		slices.Sort(found)
		if diff := cmp.Diff(want, found); diff != "" {
			t.Errorf("found (-want +got):\n%s", diff)
		}
		if totals.Bad != 5 {
			t.Errorf("totals = %+v", totals)
		}
	})
}

func TestVerify_AVersionOfARunsURIIsOneOfItsFolder(t *testing.T) {
	onBoth(t, func(t *testing.T, k *kept) {
		run, folder := k.run()
		k.record(folder+"/model/a.bin", "a")
		same := k.register("churn", run, "model")
		v, err := k.store.CreateModelVersion(modelstest.Anyone(t), models.NewModelVersion{Name: "churn", Source: "runs:/" + run.ID + "/model/", RunID: &run.ID})
		if err != nil {
			t.Fatal(err)
		}
		whole, err := k.store.CreateModelVersion(modelstest.Anyone(t), models.NewModelVersion{Name: "churn", Source: "runs:/" + run.ID, RunID: &run.ID})
		if err != nil {
			t.Fatal(err)
		}
		k.work(k.digester())
		want, _ := k.version(same).Digest()
		if got, ok := k.version(v).Digest(); !ok || got != want {
			t.Errorf("digest = %q, want %q", got, want)
		}
		if _, ok := k.version(whole).Digest(); !ok {
			t.Error("the version of a whole run has no digest")
		}
		k.record(folder+"/model/a.bin", "b")
		if found, totals := k.verify(false); len(found) == 0 || totals.Versions != 3 {
			t.Errorf("found %v in %d versions, want the altered file, of 3 versions", found, totals.Versions)
		}
	})
}

func TestVerify_AVersionWithoutADigestIsNotCalledFine(t *testing.T) {
	onBoth(t, func(t *testing.T, k *kept) {
		run, folder := k.run()
		k.record(folder+"/model/f", "x")
		v := k.register("churn", run, "model")
		var found []string
		if _, err := k.verifier(&found).Version(t.Context(), v); !errors.Is(err, errNoDigest) {
			t.Errorf("verify = %v", err)
		}
		verifier := k.verifier(&found)
		verifier.Record = true
		if totals, err := verifier.Version(t.Context(), v); err != nil || totals.Versions != 1 || len(found) > 0 {
			t.Errorf("verify --record = %+v, %v, %v", totals, found, err)
		}
		if digest, _ := k.version(v).Digest(); digest != sha256Hex(sha256Hex("x")+"  f\n") {
			t.Errorf("digest = %q", digest)
		}
	})
}

func TestVerify_AStoreThatFailsIsNoMissingFile(t *testing.T) {
	onBoth(t, func(t *testing.T, k *kept) {
		run, folder := k.run()
		k.record(folder+"/model/f", "x")
		v := k.register("churn", run, "model")
		k.work(k.digester())
		k.stores.Served = &broken{Store: k.stores.Served, down: true}
		var found []string
		var away *artifacts.UnavailableError
		if _, err := k.verifier(&found).All(t.Context()); !errors.As(err, &away) {
			t.Errorf("verify = %v", err)
		}
		if _, err := k.verifier(&found).Version(t.Context(), k.version(v)); !errors.As(err, &away) {
			t.Errorf("verify a version = %v", err)
		}
		if len(found) > 0 {
			t.Errorf("found = %v", found)
		}
	})
}

func TestVerify_WhileFilesAreReplacedAndDeletedFindsNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, k *kept) {
		for i := range 20 {
			k.record(fmt.Sprintf("1/f%d", i), content(i))
		}
		ctx, done := t.Context(), make(chan struct{})
		go func() {
			defer close(done)
			for i := range 60 {
				path := fmt.Sprintf("1/f%d", i%20)
				r, ok, err := k.store.ArtifactRecord(ctx, location(path))
				if err == nil && ok {
					err = k.store.ForgetArtifact(ctx, r.Location, r.ETag)
				}
				if err == nil && i%3 == 0 {
					err = k.stores.Served.Delete(ctx, path)
				} else if err == nil {
					body := content(i)
					var stored artifacts.Stored
					if stored, err = k.stores.Served.Put(ctx, path, bytes.NewReader([]byte(body)), int64(len(body))); err == nil {
						_, err = k.store.RecordArtifact(ctx, location(path), stored, models.ArtifactBefore{}, false)
					}
				}
				if err != nil {
					t.Error(err)
				}
			}
		}()
		for ended := false; !ended; {
			select {
			case <-done:
				ended = true
			default:
			}
			found, _ := k.verify(false)
			for _, f := range found {
				if !strings.HasPrefix(f, "unrecorded") {
					t.Errorf("found %s", f)
				}
			}
		}
	})
}
