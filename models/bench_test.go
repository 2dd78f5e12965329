package models

import (
	"testing"

	"greenroom/models/modelstest"
)

func BenchmarkLogMetric(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { benchLogMetric(b, modelstest.SQLite(b)) })
	b.Run("postgresql", func(b *testing.B) { benchLogMetric(b, modelstest.PostgreSQL(b)) })
}

func benchLogMetric(b *testing.B, uri string) {
	s := open(b, uri)
	r, err := s.CreateRun(b.Context(), NewRun{})
	if err != nil {
		b.Fatal(err)
	}
	for i := range b.N {
		if err := s.LogMetric(b.Context(), r.ID, NewMetric("m", 1, int64(i), int64(i))); err != nil {
			b.Fatal(err)
		}
	}
}
