package artifacts_test

import (
	"errors"
	"testing"

	"greenroom/artifacts"
)

func TestStores_LocateGivesAFileOnePlace(t *testing.T) {
	store := func() artifacts.Store { return openLocal(t, t.TempDir()) }
	bucket := artifacts.Stores{Served: store(), ServedAs: "s3://bucket/team", Roots: map[string]artifacts.Store{"s3://bucket": store(), "/data/models/": store()}}
	for location, want := range map[string]string{
		"mlflow-artifacts:/1/a":     "mlflow-artifacts:/1/a",
		"mlflow-artifacts:///1//a/": "mlflow-artifacts:/1/a",
		"s3://bucket/team/1/a":      "mlflow-artifacts:/1/a",
		"s3://bucket/team":          "mlflow-artifacts:/",
		"s3://bucket/teamwork/1/a":  "s3://bucket/teamwork/1/a",
		"s3://bucket/1/a":           "s3://bucket/1/a",
		"/data/models/1/a":          "/data/models/1/a",
		"file:///data/models/1/a":   "/data/models/1/a",
		"s3://buckets/1":            "",
		"/data/models2/1":           "",
		"/etc/passwd":               "",
		"file://host/data/models/1": "",
		"http://host/1/a":           "",
		"http://host/api/2.0/mlflow-artifacts/artifacts/1/a": "mlflow-artifacts:/1/a",
	} {
		at, err := bucket.Locate(location)
		switch {
		case want == "" && !errors.Is(err, artifacts.ErrElsewhere):
			t.Errorf("Locate(%q) = %q, %v, want ErrElsewhere", location, at.Location(), err)
		case want != "" && (err != nil || at.Location() != want):
			t.Errorf("Locate(%q) = %q, %v, want %q", location, at.Location(), err, want)
		}
	}
	none := artifacts.Stores{ServedAs: "/served", Roots: map[string]artifacts.Store{"/data": store()}}
	if _, err := none.Locate("mlflow-artifacts:/1/a"); !errors.Is(err, artifacts.ErrNotServed) {
		t.Errorf("Locate without a served store = %v, want ErrNotServed", err)
	}
	if _, err := none.Locate("/served/1"); !errors.Is(err, artifacts.ErrElsewhere) {
		t.Errorf("Locate below the folder of a store that is not served = %v, want ErrElsewhere", err)
	}
}
