package auth_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"greenroom/auth"
)

// testIssuer is an OpenID Connect issuer on loopback.
type testIssuer struct {
	*httptest.Server
	mu     sync.Mutex
	keys   []map[string]any
	counts map[string]int // of requests, by path
	// answer, when it is not nil, answers in its place.
	answer http.HandlerFunc
}

func newTestIssuer(tb testing.TB) *testIssuer {
	tb.Helper()
	i := &testIssuer{counts: map[string]int{}}
	i.Server = httptest.NewServer(i)
	tb.Cleanup(i.Close)
	return i
}

func (i *testIssuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	i.counts[r.URL.Path]++
	answer := i.answer
	i.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	i.serve(w, r)
}

// serve answers as an issuer should.
func (i *testIssuer) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	keys := slices.Clone(i.keys)
	i.mu.Unlock()
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		fmt.Fprintf(w, `{"issuer": %q, "jwks_uri": %q}`, i.URL, i.URL+"/jwks")
	case "/jwks":
		if err := json.NewEncoder(w).Encode(map[string]any{"keys": keys}); err != nil {
			panic(err)
		}
	default:
		http.NotFound(w, r)
	}
}

func (i *testIssuer) publish(keys ...map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = keys
}

// answers replaces the answers; nil brings back the right ones.
func (i *testIssuer) answers(answer http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = answer
}

func (i *testIssuer) fetches() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.counts["/jwks"]
}

func (i *testIssuer) requests() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := 0
	for _, count := range i.counts {
		n += count
	}
	return n
}

// jwk is a key as an issuer publishes it.
func jwk(tb testing.TB, kid string, key any, extra map[string]any) map[string]any {
	tb.Helper()
	k, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{Marshal: jwkset.JWKMarshalOptions{Private: true}, Metadata: jwkset.JWKMetadataOptions{KID: kid}})
	if err != nil {
		tb.Fatal(err)
	}
	m := map[string]any{}
	if err := json.Unmarshal(mustJSON(tb, k.Marshal()), &m); err != nil {
		tb.Fatal(err)
	}
	delete(m, "alg")
	maps.Copy(m, extra)
	return m
}

// login is an issuer with one key, "1", and a verifier that trusts it.
type login struct {
	t        *testing.T
	issuer   *testIssuer
	clock    *clock
	logs     *logs
	keys     map[string]ed25519.PrivateKey
	verifier *auth.JWTVerifier
}

func newLogin(t *testing.T, o auth.JWTOptions) *login {
	l := &login{t: t, issuer: newTestIssuer(t), clock: newClock(), logs: &logs{}, keys: map[string]ed25519.PrivateKey{}}
	for _, kid := range []string{"1", "2", "3"} {
		l.keys[kid] = edKey(t)
	}
	l.publish("1")
	o.Issuers, o.Now, o.Log = append([]string{l.issuer.URL}, o.Issuers...), l.clock.now, l.logs.logger()
	l.verifier = newVerifier(t, o)
	return l
}

func (l *login) publish(kids ...string) {
	keys := make([]map[string]any, len(kids))
	for i, kid := range kids {
		keys[i] = jwk(l.t, kid, l.keys[kid].Public(), nil)
	}
	l.issuer.publish(keys...)
}

// token is one that the key signs now.
func (l *login) token(kid string) string {
	l.t.Helper()
	return sign(l.t, jwt.SigningMethodEdDSA, l.keys[kid], map[string]any{"kid": kid}, userClaims(l.issuer.URL, l.clock.now()))
}

// want verifies a token that the key signs now, and checks how that ends and how often the keys have been fetched until then.
func (l *login) want(what, kid string, want error, fetches int) {
	l.t.Helper()
	if _, err := l.verifier.Verify(l.t.Context(), l.token(kid)); !errors.Is(err, want) {
		l.t.Errorf("%s: got %v, want %v", what, err, want)
	}
	if got := l.issuer.fetches(); got != fetches {
		l.t.Errorf("%s: %d fetches, want %d", what, got, fetches)
	}
}

func down(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusBadGateway) }

func TestIssuer_RotatesItsKeys(t *testing.T) {
	l := newLogin(t, auth.JWTOptions{})
	if got := l.issuer.requests(); got != 0 {
		t.Errorf("%d requests before the first token", got)
	}
	l.want("first token", "1", nil, 1)
	old := l.token("1")
	l.clock.advance(31 * time.Second)
	l.publish("2", "1")
	l.want("old key", "1", nil, 1)
	l.want("new key", "2", nil, 2)
	if _, err := l.verifier.Verify(t.Context(), old); err != nil {
		t.Errorf("token of the old key: %v", err)
	}
	l.publish("3", "2")
	l.want("another new key within 30 s", "3", auth.ErrInvalidToken, 2)
	l.want("the withdrawn key while the keys are fresh", "1", nil, 2)
	l.clock.advance(30 * time.Second)
	l.want("another new key after 30 s", "3", nil, 3)
	l.want("the withdrawn key", "1", auth.ErrInvalidToken, 3)
	l.clock.advance(5 * time.Minute)
	l.want("after five minutes", "3", nil, 4)
	if got := l.issuer.requests(); got != 4+1 {
		t.Errorf("%d requests, want 4 for the keys and 1 for the discovery document", got)
	}
}

func TestIssuer_ReplacesAKeyUnderItsOldKid(t *testing.T) {
	l := newLogin(t, auth.JWTOptions{})
	l.want("first token", "1", nil, 1)
	l.clock.advance(31 * time.Second)
	l.keys["1"] = edKey(t)
	l.publish("1")
	l.want("new key, old kid", "1", nil, 2)
}

func TestIssuer_ManyTokensWithAnUnknownKeyCauseOneFetch(t *testing.T) {
	l := newLogin(t, auth.JWTOptions{})
	l.want("first token", "1", nil, 1)
	l.clock.advance(31 * time.Second)
	l.publish("2", "1")
	gate := make(chan struct{})
	l.issuer.answers(func(w http.ResponseWriter, r *http.Request) {
		<-gate
		l.issuer.serve(w, r)
	})
	known, unknown := l.token("2"), l.token("3")
	var started, done sync.WaitGroup
	for n := range 50 {
		started.Add(1)
		done.Go(func() {
			started.Done()
			token, want := known, error(nil)
			if n%2 == 0 {
				token, want = unknown, auth.ErrInvalidToken
			}
			if _, err := l.verifier.Verify(t.Context(), token); !errors.Is(err, want) {
				t.Errorf("goroutine %d: got %v, want %v", n, err, want)
			}
		})
	}
	started.Wait()
	close(gate)
	done.Wait()
	if got := l.issuer.fetches(); got != 2 {
		t.Errorf("%d fetches, want 2", got)
	}
}

func TestIssuer_MayBeDownWhenTheServerStarts(t *testing.T) {
	l := newLogin(t, auth.JWTOptions{})
	l.issuer.answers(down)
	l.want("down", "1", auth.ErrIssuerUnavailable, 0)
	requests := l.issuer.requests()
	l.issuer.answers(nil)
	l.want("at once again", "1", auth.ErrIssuerUnavailable, 0)
	if got := l.issuer.requests(); got != requests {
		t.Errorf("%d requests within 5 s of a failed one", got-requests)
	}
	l.clock.advance(5 * time.Second)
	l.want("up", "1", nil, 1)
}

func TestIssuer_LastGoodKeysOutliveAnOutage(t *testing.T) {
	l := newLogin(t, auth.JWTOptions{})
	l.want("first token", "1", nil, 1)
	l.clock.advance(31 * time.Second)
	l.issuer.answers(down)
	l.want("unknown key of an issuer that is down: nobody knows whether it is new", "2", auth.ErrIssuerUnavailable, 2)
	l.want("known key of an issuer that is down", "1", nil, 2)
	l.clock.advance(5 * time.Minute)
	l.want("known key, hours later", "1", nil, 2) // the fetch of the discovery document runs in the background
	l.want("unknown key joins that fetch", "2", auth.ErrIssuerUnavailable, 2)

	// Nobody waits for an issuer that is known to be down.
	l.clock.advance(31 * time.Second)
	gate := make(chan struct{})
	l.issuer.answers(func(w http.ResponseWriter, r *http.Request) {
		<-gate
		l.issuer.serve(w, r)
	})
	l.want("known key while a fetch hangs", "1", nil, 2)
	l.publish("2")
	close(gate)
	l.want("new key joins that fetch", "2", nil, 3)
	l.want("old key", "1", auth.ErrInvalidToken, 3)

	// An answer that is no key set is an outage as well; an empty key set is the issuer's word.
	l.clock.advance(5 * time.Minute)
	l.issuer.answers(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{}`) })
	l.want("known key after a broken answer", "2", nil, 4)
	l.clock.advance(31 * time.Second)
	l.issuer.answers(nil)
	l.publish()
	l.want("unknown key while no keys are published", "1", auth.ErrIssuerUnavailable, 5)
	l.want("withdrawn key while no keys are published", "2", auth.ErrIssuerUnavailable, 5)
	if got := strings.Count(l.logs.String(), "level=WARN"); got != 4 {
		t.Errorf("%d warnings for 4 failed fetches:\n%s", got, l.logs)
	}
}

func TestIssuer_ThatHangsHoldsUpNoOtherAndNoImpatientCaller(t *testing.T) {
	other := newTestIssuer(t)
	key := edKey(t)
	other.publish(jwk(t, "1", key.Public(), nil))
	l := newLogin(t, auth.JWTOptions{Issuers: []string{other.URL}})
	gate, asked := make(chan struct{}), make(chan struct{})
	l.issuer.answers(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/jwks" {
			close(asked)
			<-gate
		}
		l.issuer.serve(w, r)
	})
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	token := l.token("1")
	done.Go(func() {
		if _, err := l.verifier.Verify(ctx, token); !errors.Is(err, auth.ErrIssuerUnavailable) {
			t.Errorf("of the caller who gave up: %v", err)
		}
	})
	<-asked
	if _, err := l.verifier.Verify(t.Context(), sign(t, jwt.SigningMethodEdDSA, key, nil, userClaims(other.URL, l.clock.now()))); err != nil {
		t.Errorf("token of another issuer: %v", err)
	}
	cancel()
	done.Wait()
	close(gate)
	l.want("the fetch goes on without its first caller", "1", nil, 1)
}

func TestIssuer_TimeoutIsBounded(t *testing.T) {
	l := newLogin(t, auth.JWTOptions{HTTPClient: &http.Client{Timeout: 20 * time.Millisecond}})
	l.issuer.answers(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	l.want("an issuer that never answers", "1", auth.ErrIssuerUnavailable, 0)
}

func TestIssuer_WithBadAnswersIsUnavailable(t *testing.T) {
	lure := newTestIssuer(t)
	lure.publish(jwk(t, "1", edKey(t).Public(), nil))
	discovery := func(format string, args ...any) func(*testIssuer, http.ResponseWriter, *http.Request) {
		return func(i *testIssuer, w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/jwks" {
				i.serve(w, r)
				return
			}
			fmt.Fprintf(w, strings.ReplaceAll(format, "ISSUER", i.URL), args...)
		}
	}
	keys := func(text string) func(*testIssuer, http.ResponseWriter, *http.Request) {
		return func(i *testIssuer, w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/jwks" {
				i.serve(w, r)
				return
			}
			fmt.Fprint(w, text)
		}
	}
	for name, answer := range map[string]func(*testIssuer, http.ResponseWriter, *http.Request){
		"discovery redirects": func(_ *testIssuer, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, lure.URL+r.URL.Path, http.StatusFound)
		},
		"keys redirect": func(i *testIssuer, w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/jwks" {
				i.serve(w, r)
				return
			}
			http.Redirect(w, r, lure.URL+r.URL.Path, http.StatusTemporaryRedirect)
		},
		"keys redirect to the same host": func(i *testIssuer, w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/.well-known/openid-configuration" || r.URL.RawQuery != "" {
				i.serve(w, r)
				return
			}
			http.Redirect(w, r, "/jwks?again", http.StatusSeeOther)
		},
		"discovery of another issuer":     discovery(`{"issuer": %q, "jwks_uri": "ISSUER/jwks"}`, lure.URL),
		"discovery with a slash more":     discovery(`{"issuer": "ISSUER/", "jwks_uri": "ISSUER/jwks"}`),
		"discovery without an issuer":     discovery(`{"jwks_uri": "ISSUER/jwks"}`),
		"keys over http":                  discovery(`{"issuer": "ISSUER", "jwks_uri": "http://keys.company.com/jwks"}`),
		"keys in a file":                  discovery(`{"issuer": "ISSUER", "jwks_uri": "file:///etc/jwks"}`),
		"keys nowhere":                    discovery(`{"issuer": "ISSUER"}`),
		"keys at no URL":                  discovery(`{"issuer": "ISSUER", "jwks_uri": "https://%%zz"}`),
		"discovery is HTML":               discovery(`<html>`),
		"discovery is a list":             discovery(`[]`),
		"keys are HTML":                   keys(`<html>`),
		"keys are missing":                keys(`{}`),
		"keys are null":                   keys(`{"keys": null}`),
		"keys are an object":              keys(`{"keys": {}}`),
		"no keys":                         keys(`{"keys": []}`),
		"no usable keys":                  keys(`{"keys": [5, null, {}, {"kty": "RSA", "kid": "1"}, {"kty": "oct", "kid": "1", "k": "c2VjcmV0"}]}`),
		"more than 1 MB of discovery":     discovery(`{"issuer": "ISSUER", "jwks_uri": "ISSUER/jwks", "more": "` + strings.Repeat("x", 1<<20) + `"}`),
		"more than 1 MB of keys":          keys(strings.Repeat(" ", 1<<20) + `{"keys": []}`),
		"keys are cut off":                keys(`{"keys": [`),
		"not found":                       func(_ *testIssuer, w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
		"an aborted answer":               func(*testIssuer, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"right, but with status 203":      func(i *testIssuer, w http.ResponseWriter, r *http.Request) { w.WriteHeader(203); i.serve(w, r) },
		"right keys after a server error": func(i *testIssuer, w http.ResponseWriter, r *http.Request) { w.WriteHeader(500); i.serve(w, r) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLogin(t, auth.JWTOptions{})
			l.issuer.answers(func(w http.ResponseWriter, r *http.Request) { answer(l.issuer, w, r) })
			if _, err := l.verifier.Verify(t.Context(), l.token("1")); err != auth.ErrIssuerUnavailable { //nolint:errorlint // the very same one
				t.Errorf("got %v, want ErrIssuerUnavailable", err)
			}
			if !strings.Contains(l.logs.String(), "level=WARN") {
				t.Errorf("no warning: %s", l.logs)
			}
			l.issuer.answers(nil)
			l.clock.advance(31 * time.Second)
			if _, err := l.verifier.Verify(t.Context(), l.token("1")); err != nil {
				t.Errorf("when it answers well again: %v", err)
			}
		})
	}
	if got := lure.requests(); got != 0 {
		t.Errorf("%d redirects were followed", got)
	}
}

func TestIssuer_OverTLSNamesKeysOverTLS(t *testing.T) {
	i := &testIssuer{counts: map[string]int{}}
	i.Server = httptest.NewUnstartedServer(i)
	i.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // a client that does not trust it hangs up
	i.StartTLS()
	t.Cleanup(i.Close)
	key, clock := edKey(t), newClock()
	i.publish(jwk(t, "1", key.Public(), nil))
	token := sign(t, jwt.SigningMethodEdDSA, key, nil, userClaims(i.URL, clock.now()))
	verify := func(client *http.Client) error {
		_, err := newVerifier(t, auth.JWTOptions{Issuers: []string{i.URL}, HTTPClient: client, Now: clock.now}).Verify(t.Context(), token)
		return err
	}
	if err := verify(i.Client()); err != nil {
		t.Error(err)
	}
	if err := verify(nil); !errors.Is(err, auth.ErrIssuerUnavailable) {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
	plain := newTestIssuer(t)
	plain.publish(jwk(t, "1", key.Public(), nil))
	i.answers(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer": %q, "jwks_uri": "%s/jwks"}`, i.URL, plain.URL)
	})
	if err := verify(i.Client()); !errors.Is(err, auth.ErrIssuerUnavailable) || plain.requests() != 0 {
		t.Errorf("keys over http for an issuer over https: %v, %d requests", err, plain.requests())
	}
}
