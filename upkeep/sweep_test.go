package upkeep_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"greenroom/artifacts"
	"greenroom/models/modelstest"
	"greenroom/upkeep"
)

func TestSweeper_DropsWhatUploadsLeaveBehind(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) artifacts.Store{
		"local": func(*testing.T) artifacts.Store { return nil },
		"s3":    func(t *testing.T) artifacts.Store { return openS3(t) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, modelstest.SQLite(t), open(t))
			store := w.stores.Served.(artifacts.Multiparter)
			id, err := store.CreateUpload(w.ctx, "1/r/artifacts/f")
			w.check(err)
			_, err = store.PutPart(w.ctx, "1/r/artifacts/f", id, 1, strings.NewReader("part"), 4)
			w.check(err)
			killed := filepath.Join(w.folder, ".greenroom-uploads", "KILLED")
			if name == "local" {
				w.check(os.MkdirAll(filepath.Dir(killed), 0o700))
				w.check(os.WriteFile(killed, []byte("half"), 0o600))
			}
			w.exec("INSERT INTO greenroom_manifests (digest, content) VALUES ('d1', 'x'), ('d2', 'y')")
			w.version("churn", "s3://b/x", "", "")
			w.exec("INSERT INTO model_version_tags (workspace, name, version, key, value) VALUES ('default', 'churn', 1, 'greenroom.digest', 'sha256:d1')")

			s := upkeep.Sweeper{Store: w.store, Stores: w.stores, UploadLifetime: time.Hour, Now: time.Now}
			swept, err := s.Sweep(w.ctx)
			w.check(err)
			if swept != (upkeep.Swept{Manifests: 1}) {
				t.Errorf("at once %+v are swept", swept)
			}
			if _, err := os.Stat(killed); err == nil {
				t.Error("the temporary file of a killed upload is left")
			}
			s.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
			w.check(w.store.DeleteModelVersion(w.ctx, "churn", 1))
			swept, err = s.Sweep(w.ctx)
			w.check(err)
			if swept != (upkeep.Swept{Uploads: 1, Manifests: 1}) {
				t.Errorf("two hours later %+v are swept", swept)
			}
			if _, err := store.PutPart(w.ctx, "1/r/artifacts/f", id, 1, strings.NewReader("part"), 4); !errors.Is(err, artifacts.ErrNoUpload) {
				t.Errorf("the upload goes on: %v", err)
			}
		})
	}
}
