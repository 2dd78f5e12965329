package auth_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"greenroom/auth"
)

const audience = "https://greenroom.company.com"

// newClock starts at a full second: times in JWTs have no fractions.
func newClock() *clock {
	c := &clock{}
	c.ms.Store(time.Now().Truncate(time.Second).UnixMilli())
	return c
}

// logs collects what is logged, at every level.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func newVerifier(tb testing.TB, o auth.JWTOptions) *auth.JWTVerifier {
	tb.Helper()
	o.Audiences = append(o.Audiences, audience)
	v, err := auth.NewJWTVerifier(o)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// sign makes a token. A nil header takes one away.
func sign(tb testing.TB, method jwt.SigningMethod, key any, header map[string]any, claims jwt.MapClaims) string {
	tb.Helper()
	token := jwt.NewWithClaims(method, claims)
	maps.Copy(token.Header, header)
	maps.DeleteFunc(token.Header, func(_ string, v any) bool { return v == nil })
	signed, err := token.SignedString(key)
	if err != nil {
		tb.Fatal(err)
	}
	return signed
}

// with gives the claims with some of them changed; nil takes one away.
func with(claims jwt.MapClaims, changes jwt.MapClaims) jwt.MapClaims {
	claims = maps.Clone(claims)
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

func userClaims(issuer string, now time.Time) jwt.MapClaims {
	return jwt.MapClaims{
		"iss": issuer, "sub": "248289761001", "aud": []string{"account", audience}, "preferred_username": "alice", "jti": "81fa",
		"iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	}
}

func ecKey(tb testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func rsaKey(tb testing.TB, bits int) *rsa.PrivateKey {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func edKey(tb testing.TB) ed25519.PrivateKey {
	tb.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// world is an issuer with a key of each kind, and a verifier that trusts it.
type world struct {
	rsa, weak          *rsa.PrivateKey
	p256, p384, p521   *ecdsa.PrivateKey
	ed, rotten, stolen ed25519.PrivateKey
	secret             []byte
	issuer, other      *testIssuer
	clock              *clock
	logs               *logs
	claims             jwt.MapClaims
	verifier           *auth.JWTVerifier
}

func newWorld(t *testing.T) *world {
	w := &world{
		rsa: rsaKey(t, 2048), weak: rsaKey(t, 1024), p256: ecKey(t, elliptic.P256()), p384: ecKey(t, elliptic.P384()), p521: ecKey(t, elliptic.P521()),
		ed: edKey(t), rotten: edKey(t), stolen: edKey(t), secret: bytes.Repeat([]byte("s"), 64), issuer: newTestIssuer(t), other: newTestIssuer(t),
		clock: newClock(), logs: &logs{},
	}
	cert := base64.StdEncoding.EncodeToString([]byte("no certificate"))
	w.issuer.publish(
		jwk(t, "any", &w.rsa.PublicKey, nil), jwk(t, "rs256", &w.rsa.PublicKey, map[string]any{"alg": "RS256", "x5c": []string{cert}}),
		jwk(t, "ps256", &w.rsa.PublicKey, map[string]any{"alg": "PS256", "use": "sig"}), jwk(t, "weak", &w.weak.PublicKey, nil),
		jwk(t, "p256", &w.p256.PublicKey, nil), jwk(t, "p384", &w.p384.PublicKey, nil), jwk(t, "p521", &w.p521.PublicKey, nil),
		jwk(t, "ed", w.ed.Public(), map[string]any{"key_ops": []string{"verify"}}),
		jwk(t, "enc", w.rotten.Public(), map[string]any{"use": "enc"}), jwk(t, "ops", w.rotten.Public(), map[string]any{"key_ops": []string{"encrypt"}}),
		jwk(t, "mismatch", &w.rsa.PublicKey, map[string]any{"alg": "ES256"}), jwk(t, "hmac", &w.rsa.PublicKey, map[string]any{"alg": "HS256"}),
		jwk(t, "secret", w.secret, nil), jwk(t, "twice", w.ed.Public(), nil), jwk(t, "twice", w.rotten.Public(), nil),
		jwk(t, "private", w.ed, nil),
		map[string]any{"kid": "x25519", "kty": "OKP", "crv": "X25519", "x": base64.RawURLEncoding.EncodeToString(w.ed.Public().(ed25519.PublicKey))},
		map[string]any{"kid": "strange", "kty": "AKP"}, map[string]any{"kid": 5}, map[string]any{"kid": "point", "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
	)
	w.other.publish(jwk(t, "stolen", w.stolen.Public(), nil))
	w.claims = userClaims(w.issuer.URL, w.clock.now())
	w.verifier = newVerifier(t, auth.JWTOptions{Issuers: []string{w.issuer.URL, w.other.URL}, Now: w.clock.now, Log: w.logs.logger()})
	return w
}

// signed is a good token with some claims changed.
func (w *world) signed(t *testing.T, changes jwt.MapClaims) string {
	t.Helper()
	return sign(t, jwt.SigningMethodEdDSA, w.ed, map[string]any{"kid": "ed"}, with(w.claims, changes))
}

// headed is a good token with some headers changed.
func (w *world) headed(t *testing.T, header map[string]any) string {
	t.Helper()
	all := map[string]any{"kid": "ed"}
	maps.Copy(all, header)
	return sign(t, jwt.SigningMethodEdDSA, w.ed, all, w.claims)
}

func TestVerify_AcceptsEveryAsymmetricAlgorithm(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		kid    string
		method jwt.SigningMethod
		key    any
	}{
		{"any", jwt.SigningMethodRS256, w.rsa},
		{"any", jwt.SigningMethodRS384, w.rsa},
		{"any", jwt.SigningMethodRS512, w.rsa},
		{"any", jwt.SigningMethodPS256, w.rsa},
		{"any", jwt.SigningMethodPS384, w.rsa},
		{"any", jwt.SigningMethodPS512, w.rsa},
		{"rs256", jwt.SigningMethodRS256, w.rsa},
		{"ps256", jwt.SigningMethodPS256, w.rsa},
		{"p256", jwt.SigningMethodES256, w.p256},
		{"p384", jwt.SigningMethodES384, w.p384},
		{"p521", jwt.SigningMethodES512, w.p521},
		{"ed", jwt.SigningMethodEdDSA, w.ed},
		{"private", jwt.SigningMethodEdDSA, w.ed},
	} {
		got, err := w.verifier.Verify(t.Context(), sign(t, c.method, c.key, map[string]any{"kid": c.kid}, w.claims))
		if err != nil {
			t.Errorf("%s with key %s: %v", c.method.Alg(), c.kid, err)
			continue
		}
		want := &auth.Claims{
			Issuer: w.issuer.URL, Subject: "248289761001", ID: "81fa", User: "alice",
			IssuedAt: w.clock.now(), ExpiresAt: w.clock.now().Add(10 * time.Minute),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s with key %s (-want +got):\n%s", c.method.Alg(), c.kid, diff)
		}
	}
	if got := w.issuer.fetches(); got != 1 {
		t.Errorf("%d fetches of the keys, want 1", got)
	}
}

func TestVerify_AcceptsWhatIsHarmless(t *testing.T) {
	w := newWorld(t)
	now := w.clock.now()
	for name, token := range map[string]string{
		"typ at+jwt (RFC 9068)":     w.headed(t, map[string]any{"typ": "at+jwt"}),
		"typ application/at+jwt":    w.headed(t, map[string]any{"typ": "application/AT+JWT"}),
		"no typ":                    w.headed(t, map[string]any{"typ": nil}),
		"thumbprint of certificate": w.headed(t, map[string]any{"x5t": "abc"}),
		"a single audience":         w.signed(t, jwt.MapClaims{"aud": audience}),
		"no iat":                    w.signed(t, jwt.MapClaims{"iat": nil}),
		"expired within the leeway": w.signed(t, jwt.MapClaims{"exp": now.Add(-29 * time.Second).Unix()}),
		"nbf within the leeway":     w.signed(t, jwt.MapClaims{"nbf": now.Add(29 * time.Second).Unix()}),
		"iat within the leeway":     w.signed(t, jwt.MapClaims{"iat": now.Add(29 * time.Second).Unix()}),
		"fractions of a second":     w.signed(t, jwt.MapClaims{"exp": float64(now.Unix()) + 99.5}),
		"no kid where there is one": sign(t, jwt.SigningMethodEdDSA, w.stolen, nil, userClaims(w.other.URL, now)),
		"16 KB":                     w.signed(t, jwt.MapClaims{"groups": slices.Repeat([]string{strings.Repeat("g", 97)}, 114)}),
	} {
		if _, err := w.verifier.Verify(t.Context(), token); err != nil {
			t.Errorf("%s: %v\n%s", name, err, w.logs)
		}
	}
}

func TestVerify_RefusesForgeries(t *testing.T) {
	w := newWorld(t)
	good := w.signed(t, nil)
	if _, err := w.verifier.Verify(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	header, rest, _ := strings.Cut(good, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	now := w.clock.now()
	future := now.Add(31 * time.Second).Unix()

	lure := newTestIssuer(t)
	lure.publish(jwk(t, "ed", w.rotten.Public(), nil))
	lured := func(header map[string]any) string {
		header["kid"] = "ed"
		return sign(t, jwt.SigningMethodEdDSA, w.rotten, header, w.claims)
	}
	hmac := func(kid string, secret []byte) string {
		return sign(t, jwt.SigningMethodHS256, secret, map[string]any{"kid": kid}, w.claims)
	}
	kid := func(kid any) string { return w.headed(t, map[string]any{"kid": kid}) }
	none := func(alg string) string {
		return sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, map[string]any{"alg": alg, "kid": "ed"}, w.claims)
	}
	der, err := x509.MarshalPKIXPublicKey(&w.rsa.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public, err := json.Marshal(jwk(t, "any", &w.rsa.PublicKey, nil))
	if err != nil {
		t.Fatal(err)
	}
	rotten := jwk(t, "ed", w.rotten.Public(), nil)

	for name, token := range map[string]string{
		"alg none":                              none("none"),
		"alg None":                              none("None"),
		"alg NONE with a signature":             none("NONE") + signature,
		"no alg":                                w.headed(t, map[string]any{"alg": nil}),
		"alg a number":                          w.headed(t, map[string]any{"alg": 256}),
		"alg unknown":                           w.headed(t, map[string]any{"alg": "EdDSA2"}),
		"alg in lower case":                     w.headed(t, map[string]any{"alg": "eddsa"}),
		"HS256 with the RSA key as DER":         hmac("any", der),
		"HS256 with the RSA key as PEM":         hmac("any", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		"HS256 with the RSA key as JWK":         hmac("any", public),
		"HS256 with the RSA modulus":            hmac("any", w.rsa.N.Bytes()),
		"HS256 with the Ed25519 key":            hmac("ed", w.ed.Public().(ed25519.PublicKey)),
		"HS256 with an RSA key that says so":    hmac("hmac", der),
		"HS256 with a secret of the issuer":     hmac("secret", w.secret),
		"RS256 with a key for PS256":            sign(t, jwt.SigningMethodRS256, w.rsa, map[string]any{"kid": "ps256"}, w.claims),
		"RS512 with a key for RS256":            sign(t, jwt.SigningMethodRS512, w.rsa, map[string]any{"kid": "rs256"}, w.claims),
		"ES256 signature declared ES384":        sign(t, jwt.SigningMethodES256, w.p256, map[string]any{"kid": "p256", "alg": "ES384"}, w.claims),
		"ES256 for a P-384 key":                 sign(t, jwt.SigningMethodES256, w.p256, map[string]any{"kid": "p384"}, w.claims),
		"RSA key that is for ES256":             sign(t, jwt.SigningMethodRS256, w.rsa, map[string]any{"kid": "mismatch"}, w.claims),
		"RSA key of 1024 bits":                  sign(t, jwt.SigningMethodRS256, w.weak, map[string]any{"kid": "weak"}, w.claims),
		"key for encryption by use":             sign(t, jwt.SigningMethodEdDSA, w.rotten, map[string]any{"kid": "enc"}, w.claims),
		"key for encryption by key_ops":         sign(t, jwt.SigningMethodEdDSA, w.rotten, map[string]any{"kid": "ops"}, w.claims),
		"key of two":                            sign(t, jwt.SigningMethodEdDSA, w.ed, map[string]any{"kid": "twice"}, w.claims),
		"key for X25519":                        kid("x25519"),
		"kid unknown":                           kid("nowhere"),
		"kid of another of its keys":            kid("p256"),
		"kid a path":                            kid("../../../../dev/null"),
		"kid SQL":                               kid("ed' OR '1'='1"),
		"kid a command":                         kid("|/bin/true"),
		"kid with NUL":                          kid("ed\x00"),
		"kid a URL":                             kid(lure.URL + "/jwks"),
		"kid empty":                             kid(""),
		"kid a number":                          kid(1),
		"kid a list":                            kid([]string{"ed"}),
		"kid of 8 KB":                           kid(strings.Repeat("k", 8<<10)),
		"no kid where there are several":        kid(nil),
		"no kid, but one key for its alg":       sign(t, jwt.SigningMethodES384, w.p384, nil, w.claims),
		"jwk":                                   lured(map[string]any{"jwk": rotten}),
		"jku":                                   lured(map[string]any{"jku": lure.URL + "/jwks"}),
		"x5u":                                   lured(map[string]any{"x5u": lure.URL + "/jwks"}),
		"x5c":                                   lured(map[string]any{"x5c": []string{base64.StdEncoding.EncodeToString(der)}}),
		"crit":                                  w.headed(t, map[string]any{"crit": []string{"exp"}}),
		"crit empty":                            w.headed(t, map[string]any{"crit": []string{}}),
		"b64 false":                             w.headed(t, map[string]any{"b64": false}),
		"b64 false, critical":                   w.headed(t, map[string]any{"b64": false, "crit": []string{"b64"}}),
		"typ of a logout token":                 w.headed(t, map[string]any{"typ": "logout+jwt"}),
		"typ a number":                          w.headed(t, map[string]any{"typ": 1}),
		"aud of another service":                w.signed(t, jwt.MapClaims{"aud": "https://other.company.com"}),
		"aud a prefix":                          w.signed(t, jwt.MapClaims{"aud": audience[:len(audience)-1]}),
		"aud with a path":                       w.signed(t, jwt.MapClaims{"aud": audience + "/"}),
		"aud of the own keys":                   w.signed(t, jwt.MapClaims{"aud": "greenroom"}),
		"jti with NUL":                          w.signed(t, jwt.MapClaims{"jti": "a\x00"}),
		"group with NUL":                        w.signed(t, jwt.MapClaims{"groups": []string{"a\x00"}}),
		"aud empty":                             w.signed(t, jwt.MapClaims{"aud": ""}),
		"aud an empty list":                     w.signed(t, jwt.MapClaims{"aud": []string{}}),
		"aud a number":                          w.signed(t, jwt.MapClaims{"aud": 1}),
		"aud with a number":                     w.signed(t, jwt.MapClaims{"aud": []any{audience, 1}}),
		"no aud":                                w.signed(t, jwt.MapClaims{"aud": nil}),
		"iss unknown":                           w.signed(t, jwt.MapClaims{"iss": "https://evil.company.com"}),
		"iss with a slash":                      w.signed(t, jwt.MapClaims{"iss": w.issuer.URL + "/"}),
		"iss in upper case":                     w.signed(t, jwt.MapClaims{"iss": strings.ToUpper(w.issuer.URL)}),
		"iss empty":                             w.signed(t, jwt.MapClaims{"iss": ""}),
		"iss a list":                            w.signed(t, jwt.MapClaims{"iss": []string{w.issuer.URL}}),
		"iss the own one, which has no keys":    w.signed(t, jwt.MapClaims{"iss": auth.DefaultIssuer}),
		"iss a lure":                            sign(t, jwt.SigningMethodEdDSA, w.rotten, map[string]any{"kid": "ed"}, with(w.claims, jwt.MapClaims{"iss": lure.URL})),
		"no iss":                                w.signed(t, jwt.MapClaims{"iss": nil}),
		"key of another issuer":                 sign(t, jwt.SigningMethodEdDSA, w.stolen, map[string]any{"kid": "stolen"}, w.claims),
		"iss of another issuer":                 w.signed(t, jwt.MapClaims{"iss": w.other.URL}),
		"no sub":                                w.signed(t, jwt.MapClaims{"sub": nil}),
		"sub too long":                          w.signed(t, jwt.MapClaims{"sub": strings.Repeat("s", 256)}),
		"no exp":                                w.signed(t, jwt.MapClaims{"exp": nil}),
		"exp 0":                                 w.signed(t, jwt.MapClaims{"exp": 0}),
		"exp text":                              w.signed(t, jwt.MapClaims{"exp": "2099-01-01"}),
		"exp a list":                            w.signed(t, jwt.MapClaims{"exp": []int64{future}}),
		"nbf in the future":                     w.signed(t, jwt.MapClaims{"nbf": future}),
		"nbf text":                              w.signed(t, jwt.MapClaims{"nbf": "yesterday"}),
		"iat in the future":                     w.signed(t, jwt.MapClaims{"iat": future}),
		"expired, and for another audience":     w.signed(t, jwt.MapClaims{"exp": now.Add(-time.Hour).Unix(), "aud": "https://other.company.com"}),
		"expired, and not valid yet":            w.signed(t, jwt.MapClaims{"exp": now.Add(-time.Hour).Unix(), "nbf": future}),
		"expired, and of another issuer":        w.signed(t, jwt.MapClaims{"exp": now.Add(-time.Hour).Unix(), "iss": w.other.URL}),
		"expired, and with a bad signature":     header + "." + strings.Split(w.signed(t, jwt.MapClaims{"exp": now.Add(-time.Hour).Unix()}), ".")[1] + "." + signature,
		"five parts, a JWE":                     header + ".a2V5.aXY.dGV4dA.dGFn",
		"four parts":                            good + "." + signature,
		"two parts":                             header + "." + payload,
		"no signature":                          header + "." + payload + ".",
		"nothing":                               "",
		"two dots":                              "..",
		"not a token":                           "grm_0123_secret",
		"1 MB":                                  header + "." + strings.Repeat("A", 1<<20) + "." + signature,
		"more than 16 KB, well signed":          w.signed(t, jwt.MapClaims{"groups": slices.Repeat([]string{strings.Repeat("g", 97)}, 130)}),
		"a byte more":                           good + "A",
		"a padded signature":                    good + "==",
		"a line end":                            good + "\n",
		"a line end in the signature":           good[:len(good)-5] + "\r\n" + good[len(good)-5:],
		"a space":                               good + " ",
		"a space before":                        " " + good,
		"a NUL":                                 good + "\x00",
		"the scheme":                            "Bearer " + good,
		"a payload of other bits, same bytes":   header + "." + payload + "." + otherBits(signature),
		"standard base64":                       header + "." + payload + "." + strings.NewReplacer("-", "+", "_", "/").Replace(signature) + "/",
		"JSON with a tail":                      raw(t, w.ed, `{"alg":"EdDSA","kid":"ed"}`, string(mustJSON(t, w.claims))+`{}`),
		"header null":                           raw(t, w.ed, `null`, string(mustJSON(t, w.claims))),
		"header a list":                         raw(t, w.ed, `[]`, string(mustJSON(t, w.claims))),
		"header of a million brackets, cut off": raw(t, w.ed, strings.Repeat("[", 5000), `{}`),
		"claims null":                           raw(t, w.ed, `{"alg":"EdDSA","kid":"ed"}`, `null`),
		"claims a list":                         raw(t, w.ed, `{"alg":"EdDSA","kid":"ed"}`, `[]`),
		"claims in upper case":                  raw(t, w.ed, `{"alg":"EdDSA","kid":"ed"}`, strings.ToUpper(string(mustJSON(t, w.claims)))),
	} {
		claims, err := w.verifier.Verify(t.Context(), token)
		if err != auth.ErrInvalidToken { //nolint:errorlint // the very same one, with nothing around it
			t.Errorf("%s: got %v, %v, want ErrInvalidToken", name, claims, err)
		}
	}
	if n := lure.requests(); n != 0 {
		t.Errorf("%d requests to an address that only tokens name", n)
	}
	if log := w.logs.String(); strings.Contains(log, signature) || strings.Contains(log, payload) || !strings.Contains(log, "reason=") {
		t.Errorf("the log has parts of tokens, or no reasons: %s", log)
	}
}

// otherBits changes bits of the last character that stand for no byte.
func otherBits(signature string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(signature) - 1
	return signature[:last] + string(alphabet[strings.IndexByte(alphabet, signature[last])^1])
}

func mustJSON(tb testing.TB, v any) []byte {
	tb.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// raw signs any text.
func raw(tb testing.TB, key ed25519.PrivateKey, header, claims string) string {
	tb.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(header)) + "." + encode([]byte(claims))
	return text + "." + encode(ed25519.Sign(key, []byte(text)))
}

func TestVerify_TellsWhenAGoodTokenExpired(t *testing.T) {
	w := newWorld(t)
	token := w.signed(t, jwt.MapClaims{"nbf": w.clock.now().Unix()})
	w.clock.advance(10*time.Minute + 30*time.Second)
	_, err := w.verifier.Verify(t.Context(), token)
	var expired *auth.ExpiredError
	if !errors.As(err, &expired) || !expired.At.Equal(time.Unix(w.claims["exp"].(int64), 0)) || errors.Is(err, auth.ErrInvalidToken) {
		t.Errorf("got %v, want an ExpiredError with the token's exp", err)
	}
	if want := "the token expired at " + expired.At.UTC().Format(time.RFC3339); err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

func TestVerify_ReadsUserGroupsAndRolesFromTheClaimsOfTheOptions(t *testing.T) {
	key, clock, issuer := edKey(t), newClock(), newTestIssuer(t)
	issuer.publish(jwk(t, "1", key.Public(), nil))
	type (
		m    = map[string]any
		list = []any
	)
	for _, c := range []struct {
		name          string
		options       auth.JWTOptions
		claims        jwt.MapClaims
		user          string // "" for a refusal
		groups, roles []string
	}{
		{
			name: "defaults", claims: jwt.MapClaims{"preferred_username": "alice", "groups": list{"ops", "ml"}, "roles": list{"editor"}, "email": "a@b.c"},
			user: "alice", groups: []string{"ops", "ml"}, roles: []string{"editor"},
		},
		{name: "neither groups nor roles", claims: jwt.MapClaims{"preferred_username": "alice"}, user: "alice"},
		{name: "null is none", claims: jwt.MapClaims{"preferred_username": "alice", "groups": nil}, user: "alice"},
		{name: "no claim steps in for the user's", claims: jwt.MapClaims{"email": "alice@company.com", "name": "alice"}},
		{name: "user a number", claims: jwt.MapClaims{"preferred_username": 5}},
		{name: "user with a line end", claims: jwt.MapClaims{"preferred_username": "alice\n"}},
		{name: "user with broken text", claims: jwt.MapClaims{"preferred_username": "alice\xff"}},
		{name: "user too long", claims: jwt.MapClaims{"preferred_username": strings.Repeat("a", 256)}},
		{name: "user by sub", options: auth.JWTOptions{UserClaim: "sub"}, claims: jwt.MapClaims{}, user: "42"},
		{name: "user by e-mail", options: auth.JWTOptions{UserClaim: "email"}, claims: jwt.MapClaims{"email": "alice@company.com"}, user: "alice@company.com"},
		{
			name: "user by verified e-mail", options: auth.JWTOptions{UserClaim: "email"},
			claims: jwt.MapClaims{"email": "alice@company.com", "email_verified": true}, user: "alice@company.com",
		},
		{name: "user by unverified e-mail", options: auth.JWTOptions{UserClaim: "email"}, claims: jwt.MapClaims{"email": "alice@company.com", "email_verified": false}},
		{
			name: "Keycloak's paths", options: auth.JWTOptions{GroupsClaim: "resource_access.my.client.roles", RolesClaim: "realm_access.roles"},
			claims: jwt.MapClaims{"preferred_username": "alice", "realm_access": m{"roles": list{"editor"}}, "resource_access": m{"my.client": m{"roles": list{"ops"}}}},
			user:   "alice", groups: []string{"ops"}, roles: []string{"editor"},
		},
		{
			name: "a name with dots", options: auth.JWTOptions{RolesClaim: "https://company.com/roles"},
			claims: jwt.MapClaims{"preferred_username": "alice", "https://company.com/roles": "editor"}, user: "alice", roles: []string{"editor"},
		},
		{
			name: "a path that leads nowhere", options: auth.JWTOptions{RolesClaim: "realm_access.roles"},
			claims: jwt.MapClaims{"preferred_username": "alice", "realm_access": "roles", "roles": list{"editor"}}, user: "alice",
		},
		{name: "groups a number", claims: jwt.MapClaims{"preferred_username": "alice", "groups": 5}},
		{name: "groups an object", claims: jwt.MapClaims{"preferred_username": "alice", "groups": m{"ops": true}}},
		{name: "groups with a number", claims: jwt.MapClaims{"preferred_username": "alice", "groups": list{"ops", 5}}},
		{name: "roles a number", claims: jwt.MapClaims{"preferred_username": "alice", "roles": 5}},
		{name: "too many groups for a token", claims: jwt.MapClaims{"preferred_username": "alice", "_claim_names": m{"groups": "src1"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := c.options
			o.Issuers, o.Now = []string{issuer.URL}, clock.now
			claims := jwt.MapClaims{"iss": issuer.URL, "sub": "42", "aud": audience, "exp": clock.now().Add(time.Minute).Unix()}
			maps.Copy(claims, c.claims)
			got, err := newVerifier(t, o).Verify(t.Context(), sign(t, jwt.SigningMethodEdDSA, key, nil, claims))
			if c.user == "" {
				if !errors.Is(err, auth.ErrInvalidToken) {
					t.Fatalf("got %+v, %v, want ErrInvalidToken", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := &auth.Claims{Issuer: issuer.URL, Subject: "42", User: c.user, Groups: c.groups, Roles: c.roles, ExpiresAt: clock.now().Add(time.Minute)}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestNewJWTVerifier_RefusesUnsafeOptions(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys.json")
	if _, err := auth.CreateKeyFile(keys, "EdDSA"); err != nil {
		t.Fatal(err)
	}
	aud := []string{audience}
	for name, o := range map[string]auth.JWTOptions{
		"issuers without audience":    {Issuers: []string{"https://login.company.com"}},
		"keys without audience":       {KeyFile: keys},
		"an empty audience":           {KeyFile: keys, Audiences: []string{audience, ""}},
		"http":                        {Issuers: []string{"http://login.company.com"}, Audiences: aud},
		"http on a name like ours":    {Issuers: []string{"http://127.0.0.1.nip.io"}, Audiences: aud},
		"no scheme":                   {Issuers: []string{"login.company.com"}, Audiences: aud},
		"file":                        {Issuers: []string{"file:///etc/passwd"}, Audiences: aud},
		"no host":                     {Issuers: []string{"https://"}, Audiences: aud},
		"a query":                     {Issuers: []string{"https://login.company.com?a=b"}, Audiences: aud},
		"a fragment":                  {Issuers: []string{"https://login.company.com#a"}, Audiences: aud},
		"a password":                  {Issuers: []string{"https://a:b@login.company.com"}, Audiences: aud},
		"not a URL":                   {Issuers: []string{"https://%zz"}, Audiences: aud},
		"an issuer of the own name":   {Issuers: []string{"https://login.company.com"}, KeyFile: keys, OwnIssuer: "https://login.company.com", Audiences: aud},
		"a key file that isn't there": {KeyFile: keys + "x", Audiences: aud},
	} {
		if _, err := auth.NewJWTVerifier(o); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	nobody, err := auth.NewJWTVerifier(auth.JWTOptions{})
	if err != nil {
		t.Fatal(err)
	}
	token := sign(t, jwt.SigningMethodEdDSA, edKey(t), nil, userClaims("", time.Now()))
	if _, err := nobody.Verify(t.Context(), token); !errors.Is(err, auth.ErrInvalidToken) {
		t.Errorf("a verifier that trusts nobody: %v", err)
	}
}

// tokens gives a verifier and one good token for it of each of some kinds.
func tokens(tb testing.TB) (*auth.JWTVerifier, []string) {
	tb.Helper()
	clock, issuer := newClock(), newTestIssuer(tb)
	rsaKey, p256, ed, secrets := rsaKey(tb, 2048), ecKey(tb, elliptic.P256()), edKey(tb), filepath.Join(tb.TempDir(), "keys.json")
	issuer.publish(jwk(tb, "rsa", &rsaKey.PublicKey, nil), jwk(tb, "p256", &p256.PublicKey, nil), jwk(tb, "ed", ed.Public(), nil))
	if _, err := auth.CreateKeyFile(secrets, "HS256"); err != nil {
		tb.Fatal(err)
	}
	minted, err := auth.Mint(secrets, auth.MintRequest{Subject: "alice", Audience: audience, Now: clock.now})
	if err != nil {
		tb.Fatal(err)
	}
	claims := userClaims(issuer.URL, clock.now())
	return newVerifier(tb, auth.JWTOptions{Issuers: []string{issuer.URL}, KeyFile: secrets, Now: clock.now}), []string{
		sign(tb, jwt.SigningMethodPS256, rsaKey, map[string]any{"kid": "rsa"}, claims), sign(tb, jwt.SigningMethodES256, p256, map[string]any{"kid": "p256"}, claims),
		sign(tb, jwt.SigningMethodEdDSA, ed, map[string]any{"kid": "ed"}, claims), minted,
	}
}

func TestVerify_RefusesATokenWithAnyByteChanged(t *testing.T) {
	verifier, good := tokens(t)
	refused := func(what string, i int, token string) {
		if _, err := verifier.Verify(t.Context(), token); !errors.Is(err, auth.ErrInvalidToken) {
			t.Errorf("byte %d %s: %v", i, what, err)
		}
	}
	for _, token := range good {
		if _, err := verifier.Verify(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		for i := range len(token) {
			for _, bit := range []byte{1, 0x20, 0x80} {
				changed := []byte(token)
				changed[i] ^= bit
				refused("changed", i, string(changed))
			}
			refused("left out", i, token[:i]+token[i+1:])
			refused("doubled", i, token[:i]+token[i:i+1]+token[i:])
			refused("after a line end", i, token[:i]+"\n"+token[i:])
		}
	}
}

func FuzzVerify(f *testing.F) {
	verifier, good := tokens(f)
	for _, token := range good {
		f.Add(token)
		f.Add(token[:len(token)/2])
		f.Add(strings.ToLower(token))
	}
	for _, text := range []string{"", ".", "..", "...", "a.b.c", "e30.e30.", "bnVsbA.bnVsbA.", "W10.W10.AA", "eyJhbGciOiJub25lIn0.e30.", "\xff.\xff.\xff"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, token string) {
		claims, err := verifier.Verify(context.Background(), token)
		switch {
		case err == nil && slices.Contains(good, token):
		case claims != nil || !errors.Is(err, auth.ErrInvalidToken):
			t.Errorf("%q: %+v, %v", token, claims, err)
		}
	})
}
