package models

import (
	"fmt"
	"sync/atomic"
	"testing"

	"greenroom/models/modelstest"
)

func onEach(b *testing.B, bench func(b *testing.B, s *Store, run string)) {
	for name, uri := range map[string]func(testing.TB) string{"sqlite": modelstest.SQLite, "postgresql": modelstest.PostgreSQL} {
		b.Run(name, func(b *testing.B) {
			s := open(b, uri(b))
			b.ResetTimer()
			bench(b, s, must(s.CreateRun(modelstest.Anyone(b), NewRun{}))(b).ID)
		})
	}
}

func BenchmarkLogMetric(b *testing.B) {
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			onEach(b, func(b *testing.B, s *Store, run string) {
				var n atomic.Int64
				b.SetParallelism(writers)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						i := n.Add(1)
						if err := s.LogMetric(b.Context(), run, NewMetric(fmt.Sprint("m", i%16), 1, i, i)); err != nil {
							b.Error(err)
						}
					}
				})
			})
		})
	}
}

func BenchmarkLogBatch(b *testing.B) {
	onEach(b, func(b *testing.B, s *Store, run string) {
		metrics := make([]Metric, maxBatchMetrics)
		for n := range b.N {
			for i := range metrics {
				at := int64(n*len(metrics) + i)
				metrics[i] = NewMetric(fmt.Sprint("m", i%10), 1, at, at)
			}
			if err := s.LogBatch(b.Context(), run, Batch{Metrics: metrics}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
