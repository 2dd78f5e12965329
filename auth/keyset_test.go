package auth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"greenroom/auth"
)

// newKeyFile makes a key file and gives its path and its key's kid.
func newKeyFile(tb testing.TB, alg string) (path, kid string) {
	tb.Helper()
	path = filepath.Join(tb.TempDir(), "keys.json")
	kid, err := auth.CreateKeyFile(path, alg)
	if err != nil {
		tb.Fatal(err)
	}
	return path, kid
}

func rotate(tb testing.TB, path string, keep int) (kid string) {
	tb.Helper()
	kid, err := auth.RotateKeyFile(path, keep)
	if err != nil {
		tb.Fatal(err)
	}
	return kid
}

func mint(tb testing.TB, path string, now func() time.Time) string {
	tb.Helper()
	token, err := auth.Mint(path, auth.MintRequest{Subject: "alice", Audience: audience, Now: now})
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

// readKeys gives the keys as they are in the file.
func readKeys(tb testing.TB, path string) []map[string]string {
	tb.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	var document struct{ Keys []map[string]string }
	if err := json.Unmarshal(content, &document); err != nil {
		tb.Fatal(err)
	}
	return document.Keys
}

func writeKeys(tb testing.TB, path string, mode os.FileMode, keys ...map[string]any) {
	tb.Helper()
	if err := os.WriteFile(path, mustJSON(tb, map[string]any{"keys": keys}), mode); err != nil {
		tb.Fatal(err)
	}
}

// thumbprint is that of RFC 7638: of the members that make the key, in alphabetical order.
func thumbprint(tb testing.TB, key map[string]string) string {
	tb.Helper()
	members := map[string]string{}
	for _, name := range map[string][]string{"OKP": {"crv", "kty", "x"}, "oct": {"k", "kty"}}[key["kty"]] {
		members[name] = key[name]
	}
	sum := sha256.Sum256(mustJSON(tb, members))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func TestMint_MakesTokensThatTheServerAccepts(t *testing.T) {
	for _, alg := range []string{"EdDSA", "HS256"} {
		path, kid := newKeyFile(t, alg)
		verifier := newVerifier(t, auth.JWTOptions{KeyFile: path})
		request := auth.MintRequest{Subject: "alice", Groups: []string{"ops"}, Roles: []string{"editor", "viewer"}, Audience: audience, TTL: time.Hour}
		token, err := auth.Mint(path, request)
		if err != nil {
			t.Fatal(err)
		}
		got, err := verifier.Verify(t.Context(), token)
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		if len(got.ID) < 22 || time.Since(got.IssuedAt) > time.Minute || got.ExpiresAt.Sub(got.IssuedAt) != time.Hour {
			t.Errorf("%s: jti %q, issued at %s, expires at %s", alg, got.ID, got.IssuedAt, got.ExpiresAt)
		}
		want := &auth.Claims{
			Issuer: "greenroom", Subject: "alice", ID: got.ID, User: "alice", Groups: []string{"ops"}, Roles: []string{"editor", "viewer"},
			IssuedAt: got.IssuedAt, ExpiresAt: got.ExpiresAt, Own: true,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", alg, diff)
		}
		parsed, _, err := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{})
		if err != nil || parsed.Header["kid"] != kid || parsed.Header["alg"] != alg {
			t.Errorf("%s: header %v, %v", alg, parsed.Header, err)
		}
		again, err := verifier.Verify(t.Context(), mint(t, path, time.Now))
		if err != nil || again.ID == got.ID || again.ExpiresAt.Sub(again.IssuedAt) != 15*time.Minute {
			t.Errorf("%s: a token with the default lifetime: %+v, %v", alg, again, err)
		}
	}
}

func TestMint_HasAnIssuerOfItsOwn(t *testing.T) {
	path, _ := newKeyFile(t, "EdDSA")
	token, err := auth.Mint(path, auth.MintRequest{Subject: "alice", Audience: audience, Issuer: "lab"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newVerifier(t, auth.JWTOptions{KeyFile: path, OwnIssuer: "lab"}).Verify(t.Context(), token); err != nil {
		t.Error(err)
	}
	if _, err := newVerifier(t, auth.JWTOptions{KeyFile: path}).Verify(t.Context(), token); !errors.Is(err, auth.ErrInvalidToken) {
		t.Errorf("a server with another issuer: %v", err)
	}
}

func TestMint_RefusesWhatTheServerWould(t *testing.T) {
	path, _ := newKeyFile(t, "EdDSA")
	good := auth.MintRequest{Subject: "alice", Audience: audience}
	for name, change := range map[string]func(*auth.MintRequest){
		"a day and a second": func(r *auth.MintRequest) { r.TTL = 24*time.Hour + time.Second },
		"a negative TTL":     func(r *auth.MintRequest) { r.TTL = -time.Hour },
		"no time at all":     func(r *auth.MintRequest) { r.TTL = time.Millisecond },
		"nobody":             func(r *auth.MintRequest) { r.Subject = "" },
		"control characters": func(r *auth.MintRequest) { r.Subject = "alice\n" },
		"no audience":        func(r *auth.MintRequest) { r.Audience = "" },
		"too many groups":    func(r *auth.MintRequest) { r.Groups = []string{strings.Repeat("g", 16<<10)} },
	} {
		r := good
		change(&r)
		if token, err := auth.Mint(path, r); err == nil {
			t.Errorf("%s: %s", name, token)
		}
	}
	good.TTL = 24 * time.Hour
	if _, err := auth.Mint(path, good); err != nil {
		t.Errorf("a day: %v", err)
	}
}

func TestCreateKeyFile_MakesAPrivateFileOnce(t *testing.T) {
	for _, alg := range []string{"EdDSA", "HS256"} {
		path, kid := newKeyFile(t, alg)
		info, err := os.Stat(path)
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: mode %s, %v", alg, info.Mode(), err)
		}
		keys := readKeys(t, path)
		if len(keys) != 1 || keys[0]["kid"] != kid || kid != thumbprint(t, keys[0]) || keys[0]["alg"] != alg || keys[0]["use"] != "sig" {
			t.Errorf("%s: kid %s of %v", alg, kid, keys)
		}
		if _, err := auth.CreateKeyFile(path, alg); !errors.Is(err, os.ErrExist) {
			t.Errorf("%s: a second time: %v", alg, err)
		}
		if diff := cmp.Diff(keys, readKeys(t, path)); diff != "" {
			t.Errorf("%s: a second time (-before +after):\n%s", alg, diff)
		}
	}
	if _, err := auth.CreateKeyFile(filepath.Join(t.TempDir(), "keys.json"), "RS256"); err == nil {
		t.Error("a key for RS256")
	}
}

func TestRotateKeyFile_KeepsSomeKeysAsPublicOnes(t *testing.T) {
	path, first := newKeyFile(t, "EdDSA")
	link := filepath.Join(t.TempDir(), "link.json")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	second := rotate(t, link, 3)
	third := rotate(t, path, 3)
	fourth := rotate(t, path, 3)
	keys := readKeys(t, path)
	if len(keys) != 3 || keys[0]["kid"] != fourth || keys[1]["kid"] != third || keys[2]["kid"] != second {
		t.Errorf("got %v after %s, %s, %s and %s", keys, first, second, third, fourth)
	}
	if keys[0]["d"] == "" || keys[1]["d"] != "" || keys[2]["d"] != "" {
		t.Errorf("not just the first key has a private part: %v", keys)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %s, %v", info.Mode(), err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if _, err := auth.RotateKeyFile(path, 0); err == nil {
		t.Error("keeps no key")
	}
}

func TestRotateKeyFile_EndsOldTokensWhenTheirKeyGoes(t *testing.T) {
	for _, alg := range []string{"EdDSA", "HS256"} {
		clock := newClock()
		path, _ := newKeyFile(t, alg)
		verifier := newVerifier(t, auth.JWTOptions{KeyFile: path, Now: clock.now})
		old := mint(t, path, clock.now)
		rotate(t, path, 2)
		now := mint(t, path, clock.now)
		for _, token := range []string{now, old} { // the new one at once
			if _, err := verifier.Verify(t.Context(), token); err != nil {
				t.Errorf("%s: %v", alg, err)
			}
		}
		rotate(t, path, 1)
		clock.advance(time.Second)
		for _, token := range []string{old, now} {
			if _, err := verifier.Verify(t.Context(), token); !errors.Is(err, auth.ErrInvalidToken) {
				t.Errorf("%s: a second after its key went: %v", alg, err)
			}
		}
	}
}

func TestRotateKeyFile_UnderLoadRefusesNobody(t *testing.T) {
	path, _ := newKeyFile(t, "EdDSA")
	verifier := newVerifier(t, auth.JWTOptions{KeyFile: path})
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 8 {
		load.Go(func() {
			old := mint(t, path, time.Now)
			for n := 0; ; n++ {
				for _, token := range []string{old, mint(t, path, time.Now)} {
					if _, err := verifier.Verify(t.Context(), token); err != nil {
						t.Errorf("round %d: %v", n, err)
						return
					}
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for range 40 {
		rotate(t, path, 50)
	}
	close(stop)
	load.Wait()
}

func TestKeyFile_ThatBreaksLeavesTheLastGoodKeys(t *testing.T) {
	clock, logs := newClock(), &logs{}
	path, _ := newKeyFile(t, "EdDSA")
	verifier := newVerifier(t, auth.JWTOptions{KeyFile: path, Now: clock.now, Log: logs.logger()})
	good := mint(t, path, clock.now)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := newKeyFile(t, "EdDSA")
	stranger := mint(t, other, clock.now)
	for name, broken := range map[string]func() error{
		"half a file":      func() error { return os.WriteFile(path, content[:len(content)/2], 0o600) },
		"no keys":          func() error { return os.WriteFile(path, []byte(`{"keys": []}`), 0o600) },
		"no file":          func() error { return os.Remove(path) },
		"open to everyone": func() error { return os.Chmod(path, 0o644) },
	} {
		before := strings.Count(logs.String(), "level=ERROR")
		if err := broken(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			clock.advance(time.Second)
			if _, err := verifier.Verify(t.Context(), good); err != nil {
				t.Errorf("%s: token of a key that was good: %v", name, err)
			}
			if _, err := verifier.Verify(t.Context(), stranger); !errors.Is(err, auth.ErrIssuerUnavailable) {
				t.Errorf("%s: token of a key that the file may have: %v", name, err)
			}
		}
		if got := strings.Count(logs.String(), "level=ERROR") - before; got != 1 {
			t.Errorf("%s: %d lines in the log, want 1:\n%s", name, got, logs)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := verifier.Verify(t.Context(), stranger); !errors.Is(err, auth.ErrInvalidToken) {
			t.Errorf("%s: a stranger's token after the repair: %v", name, err)
		}
	}
}

func TestKeyFile_IsReadAgainWhenOverwrittenInPlace(t *testing.T) {
	clock := newClock()
	path, _ := newKeyFile(t, "EdDSA")
	verifier := newVerifier(t, auth.JWTOptions{KeyFile: path, Now: clock.now})
	old := mint(t, path, clock.now)
	other, _ := newKeyFile(t, "EdDSA")
	content, err := os.ReadFile(other) // of the same size
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(time.Second)); err != nil { // the file system's clock may be coarse
		t.Fatal(err)
	}
	clock.advance(time.Second)
	if _, err := verifier.Verify(t.Context(), old); !errors.Is(err, auth.ErrInvalidToken) {
		t.Errorf("token of the key that was there: %v", err)
	}
	if _, err := verifier.Verify(t.Context(), mint(t, other, clock.now)); err != nil {
		t.Errorf("token of the key that is there: %v", err)
	}
}

func TestKeyFile_UnsafeOnesAreRefused(t *testing.T) {
	ed, other, secret := edKey(t), edKey(t), []byte(strings.Repeat("s", 32))
	key := func(kid string, key any, extra map[string]any) map[string]any { return jwk(t, kid, key, extra) }
	x := base64.RawURLEncoding.EncodeToString(other[32:])
	for name, c := range map[string]struct {
		mode os.FileMode
		keys []map[string]any
		want string // in the message
	}{
		"private key open to the group":      {0o640, []map[string]any{key("1", ed, nil)}, "chmod 600 "},
		"private key open to everyone":       {0o604, []map[string]any{key("1", ed, nil)}, "chmod 600 "},
		"secret open to everyone":            {0o644, []map[string]any{key("0", ed.Public(), nil), key("1", secret, nil)}, "chmod 600 "},
		"no keys":                            {0o600, []map[string]any{}, "at least one key"},
		"RSA":                                {0o600, []map[string]any{key("1", rsaKey(t, 2048), nil)}, "key 1: "},
		"public RSA":                         {0o600, []map[string]any{key("1", ed, nil), key("2", &rsaKey(t, 2048).PublicKey, nil)}, "key 2: own keys are Ed25519"},
		"secret of 31 bytes":                 {0o600, []map[string]any{key("1", secret[:31], nil)}, "31 bytes is too short"},
		"secret for HS512":                   {0o600, []map[string]any{key("1", secret, map[string]any{"alg": "HS512"})}, "HS512"},
		"secret for EdDSA":                   {0o600, []map[string]any{key("1", secret, map[string]any{"alg": "EdDSA"})}, "EdDSA"},
		"Ed25519 for HS256":                  {0o600, []map[string]any{key("1", ed, map[string]any{"alg": "HS256"})}, "HS256"},
		"two families under one kid":         {0o600, []map[string]any{key("1", ed, nil), key("1", secret, nil)}, "kid of its own"},
		"no kid":                             {0o600, []map[string]any{key("", ed, nil)}, "kid of its own"},
		"for encryption":                     {0o600, []map[string]any{key("1", ed, map[string]any{"use": "enc"})}, "enc"},
		"private part of another public one": {0o600, []map[string]any{key("1", ed, map[string]any{"x": x})}, "does not belong"},
		"broken base64":                      {0o600, []map[string]any{key("1", ed, map[string]any{"d": "!"})}, "key 1: "},
		"short private part":                 {0o600, []map[string]any{key("1", ed, map[string]any{"d": "AAAA"})}, "key 1: "},
	} {
		path := filepath.Join(t.TempDir(), "keys.json")
		writeKeys(t, path, c.mode, c.keys...)
		if err := os.Chmod(path, c.mode); err != nil { // whatever the umask is
			t.Fatal(err)
		}
		_, err := auth.NewJWTVerifier(auth.JWTOptions{KeyFile: path, Audiences: []string{audience}})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want a message with %q and the path", name, err, c.want)
		}
		if _, err := auth.Mint(path, auth.MintRequest{Subject: "alice", Audience: audience}); err == nil {
			t.Errorf("%s: a token is minted", name)
		}
		if err != nil && (strings.Contains(err.Error(), base64.RawURLEncoding.EncodeToString(ed.Seed())) || strings.Contains(err.Error(), string(secret))) {
			t.Errorf("%s: the message has the key: %v", name, err)
		}
	}
}

func TestKeyFile_OfPublicKeysVerifiesOnly(t *testing.T) {
	ed := edKey(t)
	path := filepath.Join(t.TempDir(), "public.json")
	writeKeys(t, path, 0o644, jwk(t, "1", ed.Public(), nil))
	verifier := newVerifier(t, auth.JWTOptions{KeyFile: path})
	token := sign(t, jwt.SigningMethodEdDSA, ed, map[string]any{"kid": "1"}, userClaims(auth.DefaultIssuer, time.Now()))
	if _, err := verifier.Verify(t.Context(), token); err != nil {
		t.Error(err)
	}
	if _, err := auth.Mint(path, auth.MintRequest{Subject: "alice", Audience: audience}); err == nil || !strings.Contains(err.Error(), "cannot sign") {
		t.Errorf("got %v, want that it cannot sign", err)
	}
}

func TestKeyFile_KeysDoNotVerifyForIssuersNorTheirsForIt(t *testing.T) {
	path, kid := newKeyFile(t, "HS256")
	secret, err := base64.RawURLEncoding.DecodeString(readKeys(t, path)[0]["k"])
	if err != nil {
		t.Fatal(err)
	}
	clock, issuer, key := newClock(), newTestIssuer(t), edKey(t)
	issuer.publish(jwk(t, kid, key.Public(), nil))
	verifier := newVerifier(t, auth.JWTOptions{Issuers: []string{issuer.URL}, KeyFile: path, Now: clock.now})
	header := map[string]any{"kid": kid}
	for name, token := range map[string]string{
		"own key, issuer's iss": sign(t, jwt.SigningMethodHS256, secret, header, userClaims(issuer.URL, clock.now())),
		"issuer's key, own iss": sign(t, jwt.SigningMethodEdDSA, key, header, userClaims(auth.DefaultIssuer, clock.now())),
		"issuer's public key as the secret": sign(t, jwt.SigningMethodHS256, []byte(key[32:]), header,
			userClaims(issuer.URL, clock.now())),
	} {
		if _, err := verifier.Verify(t.Context(), token); !errors.Is(err, auth.ErrInvalidToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
