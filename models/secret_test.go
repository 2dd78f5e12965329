package models_test

import (
	"bytes"
	"sync"
	"testing"

	"greenroom/models"
	"greenroom/models/modelstest"
)

func TestSecret_IsOneForAllReplicas(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		const replicas = 6
		keys := make([][]byte, replicas)
		var wg sync.WaitGroup
		for i := range replicas {
			s, err := models.Open(t.Context(), uri, models.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			wg.Go(func() {
				if keys[i], err = s.Secret(t.Context(), "urls"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, key := range keys {
			if len(key) != 32 || !bytes.Equal(key, keys[0]) || bytes.Equal(key, make([]byte, 32)) {
				t.Errorf("keys = %x, want one of 32 random bytes", keys)
			}
		}
		s, err := models.Open(t.Context(), uri, models.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if other, err := s.Secret(t.Context(), "other"); err != nil || bytes.Equal(other, keys[0]) {
			t.Errorf("the key of another name = %x, %v", other, err)
		}
		if again, err := s.Secret(t.Context(), "urls"); err != nil || !bytes.Equal(again, keys[0]) {
			t.Errorf("the key later = %x, %v, want %x", again, err, keys[0])
		}
	})
}
