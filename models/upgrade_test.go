package models_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"greenroom/models"
	"greenroom/models/modelstest"
	"greenroom/models/schema"
)

func TestUpgrade_PreparesAnEmptyDatabase(t *testing.T) {
	modelstest.RunEmpty(t, func(t *testing.T, uri string) {
		ctx := context.Background()
		wantState(t, uri, schema.Empty)
		for range 2 {
			if err := models.Upgrade(ctx, uri); err != nil {
				t.Fatal(err)
			}
			wantState(t, uri, schema.Current)
		}
	})
}

func TestUpgrade_RefusesAnOlderRevision(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		db, _ := modelstest.Open(t, uri)
		if _, err := db.Exec("UPDATE alembic_version SET version_num = 'b7e2c1a4d9f3'"); err != nil {
			t.Fatal(err)
		}
		var refused *schema.RefusedError
		if err := models.Upgrade(context.Background(), uri); !errors.As(err, &refused) || refused.Status.State != schema.Older {
			t.Errorf("error is %v, want a refusal", err)
		}
		wantState(t, uri, schema.Older)
	})
}

func TestInspect_MakesNoFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "none", "greenroom.db")
	wantState(t, "sqlite:///"+file, schema.Empty)
	if _, err := os.Stat(filepath.Dir(file)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder: %v, want it not to exist", err)
	}
	if err := models.Upgrade(context.Background(), "sqlite:///"+file); err != nil {
		t.Fatal(err)
	}
	wantState(t, "sqlite:///"+file, schema.Current)
}

func wantState(t *testing.T, uri string, want schema.State) {
	t.Helper()
	s, err := models.Inspect(context.Background(), uri)
	if err != nil {
		t.Fatal(err)
	}
	if s.State != want {
		t.Errorf("state is %s, want %s", s.State, want)
	}
}
