package schema_test

import (
	"context"
	"testing"

	"greenroom/models/modelstest"
	"greenroom/models/schema"
)

func TestMigrate_CreatesOnce(t *testing.T) {
	modelstest.RunEmpty(t, func(t *testing.T, uri string) {
		db, d := modelstest.Open(t, uri)
		ctx := context.Background()
		for range 2 {
			if err := schema.Migrate(ctx, db, d, schema.Options{ArtifactLocation: "mlflow-artifacts:/0"}); err != nil {
				t.Fatal(err)
			}
		}
		s, err := schema.Inspect(ctx, db, d)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(s)
	})
}

func TestRun(t *testing.T) {
	for range 3 {
		modelstest.Run(t, func(t *testing.T, uri string) { t.Log(uri) })
	}
}
