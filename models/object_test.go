package models

import (
	"testing"

	"greenroom/models/modelstest"
)

// What the permission on a run costs a user without a role for everything.
func BenchmarkRunObject(b *testing.B) {
	s, err := Open(b.Context(), modelstest.SQLite(b), Options{ArtifactRoot: "mlflow-artifacts:/"})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	run, err := s.CreateRun(modelstest.Anyone(b), NewRun{ExperimentID: 0})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.RunObject(b.Context(), run.ID); err != nil {
			b.Fatal(err)
		}
	}
}
