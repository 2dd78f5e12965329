package mlflowapi_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"greenroom/auth"
	"greenroom/mlflowapi"
	"greenroom/models"
	"greenroom/models/modelstest"
)

type guardedServer struct {
	t     testing.TB
	url   string
	store *models.Store

	mu  sync.Mutex
	now time.Time
	log bytes.Buffer
}

func (s *guardedServer) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(text)
}

func (s *guardedServer) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

func onGuarded(t *testing.T, test func(t *testing.T, s *guardedServer)) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		s := newGuardedServer(t, uri)
		s.users("ada", "bob", "carl")
		test(t, s)
	})
}

var hashes sync.Map // a hash takes long

func passwordHash(t testing.TB, password string) string {
	t.Helper()
	if hash, ok := hashes.Load(password); ok {
		return hash.(string)
	}
	hash, err := auth.NewPasswords().Hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	hashes.Store(password, hash)
	return hash
}

func newGuardedServer(t testing.TB, uri string, options ...func(*auth.Options)) *guardedServer {
	t.Helper()
	s := &guardedServer{t: t, now: time.Now()}
	log := slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug}))
	store, err := models.Open(t.Context(), uri, models.Options{ArtifactRoot: "mlflow-artifacts:/", AllowedSchemes: []string{"s3"}, Now: s.clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	opts := auth.Options{Required: true, Log: log, Now: s.clock}
	for _, set := range options {
		set(&opts)
	}
	server := httptest.NewServer(mlflowapi.New(store, mlflowapi.Config{Version: "test", Log: log, Auth: auth.NewAuthenticator(store, opts)}))
	t.Cleanup(server.Close)
	s.store, s.url = store, server.URL
	return s
}

func (s *guardedServer) users(names ...string) {
	s.t.Helper()
	for _, name := range names {
		if _, err := s.store.CreateUser(s.t.Context(), models.NewUser{Name: name, PasswordHash: passwordHash(s.t, "password of "+name)}); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *guardedServer) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *guardedServer) sleep(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

func (s *guardedServer) call(as, method, path, body string) (int, map[string]any) {
	s.t.Helper()
	if !strings.HasPrefix(path, "/") {
		path = "/api/3.0/greenroom/" + path
	}
	authorization := ""
	switch {
	case strings.HasPrefix(as, "greenroom_"), strings.HasPrefix(as, "eyJ"):
		authorization = "Bearer " + as
	case as != "":
		authorization = basicAuth(as, "password of "+as)
	}
	return requestJSON(s.t, authorization, method, s.url+path, body)
}

func (s *guardedServer) ok(as, method, path, body string) map[string]any {
	s.t.Helper()
	status, answer := s.call(as, method, path, body)
	if status != http.StatusOK {
		s.t.Fatalf("%s: %s %s %s answers %d %v", as, method, path, body, status, answer)
	}
	return answer
}

func (s *guardedServer) refused(as, method, path, body string, want int, prefix string) {
	s.t.Helper()
	status, answer := s.call(as, method, path, body)
	if message, _ := answer["message"].(string); status != want || !strings.HasPrefix(message, prefix) {
		s.t.Errorf("%s: %s %s %s answers %d %v, want %d %s…", as, method, path, body, status, answer, want, prefix)
	}
}

func (s *guardedServer) newToken(as, body string) (text, id string) {
	s.t.Helper()
	made := s.ok(as, "POST", "tokens/create", body)
	return made["token"].(string), dig(made, "info", "id").(string)
}
