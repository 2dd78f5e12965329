package mlflowapi_test

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"greenroom/auth"
	"greenroom/models/modelstest"
)

func TestSetup_MakesTheFirstAdministrator(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		s := newGuardedServer(t, uri)
		token, hash := auth.NewSetupToken()
		if set, err := s.store.SetSetupToken(t.Context(), hash, s.now.Add(time.Hour)); err != nil || !set {
			t.Fatal(set, err)
		}
		other, _ := auth.NewSetupToken()
		s.refused("", "POST", "setup", `{"username": "ada"}`, 401, "You are not logged in")
		s.refused(other, "POST", "setup", `{"username": "eve", "password": "short"}`, 401, "The set-up token is not the newest one") // and no password is hashed
		s.refused(token, "POST", "setup", `{"username": "ada", "password": "short"}`, 400, "The password must be at least 12 characters")
		s.refused(token, "POST", "setup", `{"username": "a:b", "password": "password of a:b"}`, 400, "The user's name")
		for _, path := range []string{"auth/whoami", "tokens/list", "/api/2.0/mlflow/experiments/search?max_results=1", "/api/2.0/mlflow/experiments/get?experiment_id=0"} {
			s.refused(token, "GET", path, "", 403, "User 'setup' may only make the first administrator: POST a user and a password to /api/3.0/greenroom/setup")
		}
		var winners atomic.Int64
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if status, _ := s.call(token, "POST", "setup", `{"username": "ada", "password": "password of ada"}`); status == http.StatusOK {
					winners.Add(1)
				}
			})
		}
		all.Wait()
		if winners.Load() != 1 {
			t.Errorf("%d requests made the first administrator", winners.Load())
		}
		if who := s.ok("ada", "GET", "auth/whoami", ""); who["is_admin"] != true {
			t.Errorf("got %v", who)
		}
		s.refused(token, "POST", "setup", `{"username": "eve", "password": "password of eve"}`, 401, "The server is set up")
		s.refused("ada", "POST", "setup", `{"username": "eve", "password": "password of eve"}`, 403, "Set MLFLOW_TRACKING_TOKEN to the set-up token")
	})
}

func TestSetup_WithoutAPasswordGivesAToken(t *testing.T) {
	s := newGuardedServer(t, modelstest.SQLite(t))
	setupToken, hash := auth.NewSetupToken()
	if set, err := s.store.SetSetupToken(t.Context(), hash, s.now.Add(time.Hour)); err != nil || !set {
		t.Fatal(set, err)
	}
	token := s.ok(setupToken, "POST", "setup", `{"username": "ada"}`)["token"].(string)
	if who := s.ok(token, "GET", "auth/whoami", ""); who["username"] != "ada" || who["is_admin"] != true {
		t.Errorf("got %v", who)
	}
}
