package upkeep

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"greenroom/artifacts"
	"greenroom/models"
	"greenroom/models/modelstest"
	"greenroom/models/schema"
)

func (k *kept) backup(withArtifacts bool) (file string, m Manifest) {
	k.t.Helper()
	file = filepath.Join(k.t.TempDir(), "backup.tar.gz")
	b := Backup{Store: k.store, Stores: k.stores, Artifacts: withArtifacts, Greenroom: "1", Now: k.clock}
	m, err := b.Write(k.t.Context(), file)
	if err != nil {
		k.t.Fatal(err)
	}
	return file, m
}

// emptyPlace is where a backup can be restored: with a database of the same kind, and a folder.
func (k *kept) emptyPlace(m Manifest) (r Restore, dir string) {
	k.t.Helper()
	t := k.t.(*testing.T)
	served, dir := local(t)
	r = Restore{Stores: artifacts.Stores{Served: served}, URI: modelstest.EmptySQLite(t)}
	if m.Dialect == schema.PostgreSQL {
		r.URI = modelstest.EmptyPostgreSQL(t)
	}
	return r, dir
}

// restored opens what has been restored.
func (k *kept) restored(r Restore) *kept {
	k.t.Helper()
	again := &kept{t: k.t, stores: r.Stores, now: k.now}
	var err error
	if again.store, err = models.Open(k.t.Context(), r.URI, models.Options{ArtifactRoot: "mlflow-artifacts:/", Now: k.clock}); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { again.store.Close() })
	return again
}

func wantState(t testing.TB, uri string, want schema.State) {
	t.Helper()
	status, err := models.Inspect(context.Background(), uri)
	if err != nil || status.State != want {
		t.Errorf("the database is %s, %v, want %s", status.State, err, want)
	}
}

func TestBackup_RestoredIsVerifiedWithoutAFinding(t *testing.T) {
	onAll(t, func(t *testing.T, k *kept) {
		k.record("1/run/artifacts/model/MLmodel", "flavors")
		k.record("1/run/artifacts/model/data/ä b.bin", strings.Repeat("weights", 1<<18))
		k.now = k.now.Add(time.Second)
		file, m := k.backup(true)
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the archive: %v, %v", info, err)
		}
		checked, err := CheckBackup(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, checked); diff != "" {
			t.Errorf("manifest (-written +read):\n%s", diff)
		}
		r, _ := k.emptyPlace(m)
		if err := r.Run(t.Context(), file, checked); err != nil {
			t.Fatal(err)
		}
		again := k.restored(r)
		found, totals := again.verify(false)
		if len(found) > 0 || totals.Files != 2 || totals.Unrecorded != 0 {
			t.Errorf("verify found %v, %+v", found, totals)
		}
		if err := r.Run(t.Context(), file, checked); err == nil {
			t.Error("it was restored a second time")
		}
	})
}

func TestBackup_TellsOfFilesThatAreNotWhatTheyWere(t *testing.T) {
	onBoth(t, func(t *testing.T, k *kept) {
		for _, name := range []string{"good", "altered", "missing"} {
			k.record("1/run/artifacts/"+name, "content of "+name)
		}
		flip(t, filepath.Join(k.dir, "1/run/artifacts/altered"))
		if err := os.Remove(filepath.Join(k.dir, "1/run/artifacts/missing")); err != nil {
			t.Fatal(err)
		}
		k.now = k.now.Add(time.Second)
		file, m := k.backup(true)
		var bad []string
		for _, finding := range m.Bad {
			bad = append(bad, string(finding.Status)+" "+finding.Location)
		}
		want := []string{"altered mlflow-artifacts:/1/run/artifacts/altered", "missing mlflow-artifacts:/1/run/artifacts/missing"}
		if diff := cmp.Diff(want, bad); diff != "" {
			t.Errorf("bad (-want +got):\n%s", diff)
		}
		r, _ := k.emptyPlace(m)
		if err := r.Run(t.Context(), file, m); err != nil {
			t.Fatal(err)
		}
		if _, totals := k.restored(r).verify(false); totals.Bad != 2 {
			t.Errorf("verify of what was restored: %+v", totals)
		}
	})
}

// changing is a store whose files change while they are copied.
type changing struct {
	artifacts.Store
	once func()
}

func (c *changing) List(ctx context.Context, path string) ([]artifacts.Entry, error) {
	if c.once != nil {
		once := c.once
		c.once = nil
		once()
	}
	return c.Store.List(ctx, path)
}

func TestBackup_FilesThatChangeMeanwhileAreNoHarm(t *testing.T) {
	onBoth(t, func(t *testing.T, k *kept) {
		for _, name := range []string{"stays", "replaced", "deleted"} {
			k.record("1/run/artifacts/"+name, "content of "+name)
		}
		k.now = k.now.Add(time.Second)
		served := k.stores.Served
		k.stores.Served = &changing{served, func() { // the database has been copied
			k.record("1/run/artifacts/replaced", "other content")
			k.record("1/run/artifacts/new", "new")
			if err := k.store.ForgetArtifacts(t.Context(), "mlflow-artifacts:/1/run/artifacts/deleted"); err != nil {
				t.Error(err)
			}
			if err := served.Delete(t.Context(), "1/run/artifacts/deleted"); err != nil {
				t.Error(err)
			}
		}}
		file, m := k.backup(true)
		if len(m.Bad) > 0 {
			t.Errorf("bad: %v", m.Bad)
		}
		r, _ := k.emptyPlace(m)
		if err := r.Run(t.Context(), file, m); err != nil {
			t.Fatal(err)
		}
		if found, totals := k.restored(r).verify(false); totals.Bad > 0 || totals.Files != 1 {
			t.Errorf("verify of what was restored: %v, %+v", found, totals)
		}
	})
}

func TestRestore_RefusesADamagedArchive(t *testing.T) {
	k := keep(t, modelstest.SQLite(t), local)
	k.record("1/run/artifacts/model", strings.Repeat("weights", 1000))
	file, _ := k.backup(true)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	damagedFile := filepath.Join(t.TempDir(), "damaged")
	check := func(what string, content []byte) {
		t.Helper()
		if err := os.WriteFile(damagedFile, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := CheckBackup(t.Context(), damagedFile); !errors.Is(err, ErrArchive) {
			t.Errorf("%s: CheckBackup = %v, want ErrArchive", what, err)
		}
	}
	for n := 0; n < len(whole); n += 1 + len(whole)/40 {
		check("cut off", whole[:n])
	}
	check("cut off by a byte", whole[:len(whole)-1])
	check("another file", []byte("no archive at all"))
	for at := 20; at < len(whole); at += 1 + len(whole)/40 {
		flipped := append([]byte(nil), whole...)
		flipped[at] ^= 1
		check("a flipped bit", flipped)
	}
	for name, change := range map[string]func(*tar.Header, []byte) ([]byte, bool){
		"without its manifest": func(h *tar.Header, c []byte) ([]byte, bool) { return c, h.Name != manifestName },
		"without a file":       func(h *tar.Header, c []byte) ([]byte, bool) { return c, !strings.HasPrefix(h.Name, artifactFolder) },
		"with another file": func(h *tar.Header, c []byte) ([]byte, bool) {
			h.Name = strings.Replace(h.Name, "run", "../x", 1)
			return c, true
		},
		"with other content": func(h *tar.Header, c []byte) ([]byte, bool) {
			if strings.HasPrefix(h.Name, artifactFolder) {
				c[0]++
			}
			return c, true
		},
	} {
		check(name, repack(t, file, change))
	}
}

// repack writes an archive anew with the entries that change gives.
func repack(t *testing.T, file string, change func(*tar.Header, []byte) ([]byte, bool)) []byte {
	t.Helper()
	var packed strings.Builder
	compressed := gzip.NewWriter(&packed)
	to := tar.NewWriter(compressed)
	err := readArchive(t.Context(), file, func(h *tar.Header, r io.Reader) error {
		content, err := io.ReadAll(r)
		content, stays := change(h, content)
		if err != nil || !stays {
			return err
		}
		if err := to.WriteHeader(h); err != nil {
			return err
		}
		_, err = to.Write(content)
		return err
	})
	if err := errors.Join(err, to.Close(), compressed.Close()); err != nil {
		t.Fatal(err)
	}
	return []byte(packed.String())
}

func TestRestore_BrokenOffLeavesNoDatabaseAndCanBeRunAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, k *kept) {
		for _, name := range []string{"a", "b", "c"} {
			k.record("1/run/artifacts/"+name, "content of "+name)
		}
		file, m := k.backup(true)
		r, _ := k.emptyPlace(m)
		broken := r
		broken.Stores.Served = &full{r.Stores.Served, 2}
		if err := broken.Run(t.Context(), file, m); !errors.Is(err, artifacts.ErrNoSpace) {
			t.Fatalf("Run = %v", err)
		}
		wantState(t, r.URI, schema.Empty)
		if err := r.Run(t.Context(), file, m); err != nil {
			t.Fatal(err)
		}
		wantState(t, r.URI, schema.Current)
		if found, _ := k.restored(r).verify(false); len(found) > 0 {
			t.Errorf("verify found %v", found)
		}

		other, otherDir := k.emptyPlace(m)
		if err := os.WriteFile(filepath.Join(otherDir, "mine"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := other.Run(t.Context(), file, m); err == nil || !strings.Contains(err.Error(), "the artifact store is not empty: it has mlflow-artifacts:/mine") {
			t.Errorf("restored over other files: %v", err)
		}
		wantState(t, other.URI, schema.Empty)
		left, err := filepath.Glob(filepath.Join(filepath.Dir(strings.TrimPrefix(r.URI, "sqlite:///")), ".greenroom-*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left over: %v %v", left, err)
		}
	})
}

// full is a store with room for a number of files.
type full struct {
	artifacts.Store
	room int
}

func (f *full) Put(ctx context.Context, path string, body io.Reader, size int64) (artifacts.Stored, error) {
	if f.room--; f.room < 0 {
		return artifacts.Stored{}, artifacts.ErrNoSpace
	}
	return f.Store.Put(ctx, path, body, size)
}

func TestBackup_OfTheDatabaseAloneFitsTheStoreAsItIs(t *testing.T) {
	onBoth(t, func(t *testing.T, k *kept) {
		k.record("1/run/artifacts/model", "weights")
		file, m := k.backup(false)
		r, _ := k.emptyPlace(m)
		if err := r.Run(t.Context(), file, m); err != nil {
			t.Fatal(err)
		}
		r.Stores = k.stores // which is brought back by its own means
		if found, totals := k.restored(r).verify(false); len(found) > 0 || totals.Files != 1 {
			t.Errorf("verify found %v, %+v", found, totals)
		}
	})
}
