package models

import (
	"errors"
	"path"
	"strings"
	"testing"

	"greenroom/artifacts"
)

// namedStore is a store that is only named.
type namedStore struct{ artifacts.Store }

// What permissions and the freeze take for the place of a location is what the server would open.
func FuzzPlace(f *testing.F) {
	for _, seed := range []string{
		"mlflow-artifacts:/1/r/artifacts", "mlflow-artifacts:///1//r/./a", "mlflow-artifacts://h:1/1", "MLFLOW-ARTIFACTS:/a", "mlflow-artifacts:a", "mlflow-artifacts:/a%20b/%2e%2e", "mlflow-artifacts:/%252e", "mlflow-artifacts:/a?b#c",
		"http://h/api/2.0/mlflow-artifacts/artifacts/1/r", "https://h//api/2.0/mlflow-artifacts/artifacts//x", "http:/api/2.0/mlflow-artifacts/artifacts/x", "/data/served/1", "/data/runs/1/../2", "file:///data/runs/%31", "file:/data/runs/1", "file://localhost/data/runs",
		"file://h/data/runs", "//data/runs/1", "/data//runs/1", "s3://served/p/1", "s3://served/p//1", "s3://Served/p/1", "s3://served/p/%31", "s3://served/p?x", "s3:served/p", "", "%", "/", "..",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, location string) {
		for _, root := range []string{"/data/runs", "s3://direct/p"} {
			o := Options{ArtifactRoot: root, ArtifactsDestination: "/data/served"}
			stores := artifacts.Stores{Served: namedStore{}, Roots: map[string]artifacts.Store{root: namedStore{}}}
			p, ok := o.place(location)
			if clean, err := artifacts.CanonicalPath(p.folder); ok && (err != nil || clean != p.folder) {
				t.Fatalf("place(%q) = %q, which is not canonical", location, p.folder)
			}
			at, err := stores.Locate(location)
			if err != nil {
				var bad *artifacts.PathError
				if !errors.Is(err, artifacts.ErrElsewhere) && !errors.As(err, &bad) {
					t.Fatalf("Locate(%q) = %v", location, err)
				}
				continue
			}
			want := place{direct: at.Root != artifacts.ServedRoot, folder: at.Path}
			if !ok || p != want {
				t.Fatalf("root %s: place(%q) = %+v, %v, and the server opens %+v", root, location, p, ok, want)
			}
			if again, ok := o.place(at.Location()); !ok || again != p {
				t.Fatalf("place(%q) = %+v, and of %q it is %+v, %v", location, p, at.Location(), again, ok)
			}
			if strings.Contains("/"+at.Path+"/", "/../") || path.IsAbs(at.Path) {
				t.Fatalf("Locate(%q) = %q", location, at.Path)
			}
		}
	})
}

// No location is allowed that leaves the prefix by the rules of its storage, or of a careless reader's.
func FuzzHasPrefix(f *testing.F) {
	for _, seed := range []string{"s3://team/models/x", "s3://team/models/../x", "s3://team/models/%2e%2e/x", "s3://team/models2", "s3://team//models", "/data/models/x", "/data/models/../x", "file:///data/models/%2e%2e/x", "file:/data/models", `s3://team/models\..\x`, "s3://team/models?x/../y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, location string) {
		for _, prefix := range []string{"s3://team/models", "/nowhere/models", "dbfs:/ml"} {
			if !hasPrefix(location, prefix) {
				continue
			}
			decoded := unquoteAll(location)
			if at := splitURI(decoded); strings.Contains("/"+strings.ReplaceAll(at.path, `\`, "/")+"/", "/../") {
				t.Fatalf("%q is at %s", location, prefix)
			}
			if !splitURI(prefix).local() && !strings.HasPrefix(strings.ToLower(location), strings.SplitAfter(prefix, ":")[0]) {
				t.Fatalf("%q is at %s", location, prefix)
			}
		}
	})
}
