package auth

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

const (
	minRSA, maxRSA = 2048, 16384 // bits
	minSecret      = 32          // bytes
	keyFileCheck   = time.Second

	defaultTTL = 15 * time.Minute
	maxTTL     = 24 * time.Hour
)

var errUnknownKey = errors.New("unknown key")

// key verifies tokens, and perhaps signs them.
type key struct {
	id   string
	algs []string // the only ones it verifies; all of one family
	// verify is an *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey, or the bytes of a secret.
	verify any
	// sign is an ed25519.PrivateKey, the bytes of a secret, or nil.
	sign any
}

type keySet []key

// find gives the key that a token's header names, if the key is for the token's algorithm. A token may name none if there is just one.
func (s keySet) find(header map[string]any) (any, error) {
	if len(s) == 0 {
		return nil, errUnknownKey
	}
	alg, _ := header["alg"].(string)
	named := s
	if kid, ok := header["kid"]; ok {
		id, ok := kid.(string)
		if !ok {
			return nil, errors.New("kid is not text")
		}
		named = slices.DeleteFunc(slices.Clone(s), func(k key) bool { return k.id != id })
		if len(named) == 0 {
			return nil, fmt.Errorf("%w %.80q", errUnknownKey, id)
		}
	} else if len(s) > 1 {
		return nil, errors.New("the token names no key, and its issuer has several")
	}
	fit := slices.DeleteFunc(slices.Clone(named), func(k key) bool { return !slices.Contains(k.algs, alg) })
	if len(fit) != 1 {
		return nil, fmt.Errorf("%d keys of this kid are for %s", len(fit), alg)
	}
	return fit[0].verify, nil
}

// asymmetric are the algorithms that an issuer may use.
func asymmetric() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// parseKey reads a JSON Web Key that can verify signatures: a public one, or with own, one of ours. The error's key has the kid.
func parseKey(raw json.RawMessage, own bool) (key, error) {
	var m jwkset.JWKMarshal
	if err := json.Unmarshal(raw, &m); err != nil {
		return key{}, err
	}
	k := key{id: m.KID}
	if m.USE != "" && m.USE != jwkset.UseSig {
		return k, fmt.Errorf("its use is %s", m.USE)
	}
	if len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify) {
		return k, errors.New("its key_ops lack verify")
	}
	m.X5C, m.X5T, m.X5TS256, m.X5U = nil, "", "", "" // its certificate, if any, says nothing about who may use it here
	jwk, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{Private: own}, jwkset.JWKValidateOptions{SkipAll: true})
	if err != nil {
		return k, err
	}
	switch material := jwk.Key().(type) {
	case *rsa.PublicKey:
		if bits := material.N.BitLen(); bits < minRSA || bits > maxRSA || material.E < 3 || material.E%2 == 0 {
			return k, fmt.Errorf("an RSA key of %d bits with exponent %d is not safe", bits, material.E)
		}
		k.verify, k.algs = material, asymmetric()[:6]
	case *ecdsa.PublicKey:
		k.verify, k.algs = material, []string{map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[material.Curve.Params().BitSize]}
	case ed25519.PublicKey:
		k.verify, k.algs = material, []string{"EdDSA"}
	case ed25519.PrivateKey:
		if !bytes.Equal(ed25519.NewKeyFromSeed(material.Seed()), material) {
			return k, errors.New("its private part d does not belong to its public part x")
		}
		k.sign, k.verify, k.algs = material, material.Public(), []string{"EdDSA"}
	case []byte:
		if len(material) < minSecret {
			return k, fmt.Errorf("a secret of %d bytes is too short: %d are needed", len(material), minSecret)
		}
		k.sign, k.verify, k.algs = material, material, []string{"HS256"}
	default:
		return k, fmt.Errorf("a %s key with curve %s cannot sign", m.KTY, m.CRV)
	}
	if alg := m.ALG.String(); alg != "" {
		if !slices.Contains(k.algs, alg) {
			return k, fmt.Errorf("its alg %s is not one for a key of its kind", alg)
		}
		k.algs = []string{alg}
	}
	return k, nil
}

// keyFile are the own keys: a JSON Web Key Set whose first key signs and whose others verify what they signed earlier.
type keyFile struct {
	path string
	now  func() time.Time
	log  *slog.Logger

	mu      sync.Mutex
	set     keySet      // the last good ones
	reads   int         // how many good ones there have been
	info    fs.FileInfo // of the file they are from
	checked time.Time
	failed  error // why the file as it is now cannot be used
}

func newKeyFile(o JWTOptions) (*keyFile, error) {
	set, info, err := readKeyFile(o.KeyFile)
	if err != nil {
		return nil, err
	}
	return &keyFile{path: o.KeyFile, now: o.Now, log: o.Log, set: set, reads: 1, info: info, checked: o.Now()}, nil
}

func (f *keyFile) keys(ctx context.Context, renew bool) (keySet, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.check(ctx, renew)
	if f.failed != nil {
		return f.set, fmt.Errorf("%w: %w", ErrIssuerUnavailable, f.failed)
	}
	return f.set, nil
}

// state counts the keys that were read, so that who remembers what they verified sees when they are others.
func (f *keyFile) state(ctx context.Context) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.check(ctx, false)
	return f.reads
}

func (f *keyFile) check(ctx context.Context, renew bool) {
	if now := f.now(); renew || now.Sub(f.checked) >= keyFileCheck {
		f.checked = now
		f.reload(ctx)
	}
}

// reload reads the file if it is another one or could not be read before.
func (f *keyFile) reload(ctx context.Context) {
	if info, err := os.Stat(f.path); err == nil && f.failed == nil && os.SameFile(info, f.info) &&
		info.ModTime().Equal(f.info.ModTime()) && info.Size() == f.info.Size() && info.Mode() == f.info.Mode() {
		return
	}
	set, info, err := readKeyFile(f.path)
	switch {
	case err == nil:
		f.set, f.info, f.reads = set, info, f.reads+1
		f.log.InfoContext(ctx, "own keys read", slog.String("file", f.path), slog.Int("keys", len(set)), slog.String("active", set[0].id))
	case f.failed == nil || f.failed.Error() != err.Error():
		f.log.ErrorContext(ctx, "own keys cannot be read, the last good ones stay", slog.String("error", err.Error()))
	}
	f.failed = err
}

// readKeyFile reads own keys, all of them or none.
func readKeyFile(path string) (keySet, fs.FileInfo, error) {
	fail := func(format string, args ...any) (keySet, fs.FileInfo, error) {
		return nil, nil, fmt.Errorf("key file %s: "+format, append([]any{path}, args...)...)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("key file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("key file: %w", err)
	}
	content, err := io.ReadAll(io.LimitReader(file, maxDocument))
	if err != nil {
		return nil, nil, fmt.Errorf("key file: %w", err)
	}
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(content, &document); err != nil || len(document.Keys) == 0 {
		return fail("it is not a JSON Web Key Set with at least one key")
	}
	var set keySet
	for i, raw := range document.Keys {
		k, err := parseKey(raw, true)
		switch {
		case err != nil:
			return fail("key %d: %w", i+1, err)
		case k.algs[0] != "EdDSA" && k.algs[0] != "HS256":
			return fail("key %d: own keys are Ed25519 keys or secrets for HS256", i+1)
		case k.id == "" || slices.ContainsFunc(set, func(other key) bool { return other.id == k.id }):
			return fail("key %d: each key needs a kid of its own", i+1)
		case k.sign != nil && info.Mode().Perm()&0o077 != 0:
			return fail("its mode %#o lets other users read the private keys: run chmod 600 %s", info.Mode().Perm(), path)
		}
		set = append(set, k)
	}
	return set, info, nil
}

// CreateKeyFile makes a file with one new key for alg, EdDSA or HS256, which its owner alone can read, and gives the key's kid. It
// does not touch a file that exists.
func CreateKeyFile(path, alg string) (kid string, err error) {
	k, err := newKey(alg)
	if err != nil {
		return "", err
	}
	content, err := encodeKeys(keySet{k})
	if err != nil {
		return "", err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("create key file: %w", err)
	}
	if err := writeAndClose(file, content); err != nil {
		return "", errors.Join(fmt.Errorf("create key file: %w", err), os.Remove(path))
	}
	return k.id, nil
}

// KeyInfo is what may be told about an own key.
type KeyInfo struct {
	ID    string `json:"kid"`
	Alg   string `json:"alg"`
	Signs bool   `json:"signs"` // new tokens; the other keys verify what they signed earlier
}

// KeyFileInfo tells which keys a key file has.
func KeyFileInfo(path string) ([]KeyInfo, error) {
	set, _, err := readKeyFile(path)
	infos := make([]KeyInfo, len(set))
	for i, k := range set {
		infos[i] = KeyInfo{ID: k.id, Alg: k.algs[0], Signs: i == 0 && k.sign != nil}
	}
	return infos, err
}

// RotateKeyFile puts a new key of the active one's kind in front of a key file, and gives its kid. The older ones verify only; no more
// than keep keys stay, so that 1 ends all tokens at once. Servers that use the file see the new one within a second.
func RotateKeyFile(path string, keep int) (kid string, err error) {
	if keep < 1 {
		return "", fmt.Errorf("cannot keep %d keys: keep at least 1, the new one", keep)
	}
	set, _, err := readKeyFile(path)
	if err != nil {
		return "", err
	}
	k, err := newKey(set[0].algs[0])
	if err != nil {
		return "", err
	}
	set = append(keySet{k}, set...)
	content, err := encodeKeys(set[:min(keep, len(set))])
	if err != nil {
		return "", err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", fmt.Errorf("rotate key file: %w", err)
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // of mode 0600
	if err != nil {
		return "", fmt.Errorf("rotate key file: %w", err)
	}
	if err = writeAndClose(file, content); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("rotate key file: %w", err), os.Remove(file.Name()))
	}
	return k.id, nil
}

func newKey(alg string) (key, error) {
	var k key
	var members string // of RFC 7638, in its order
	switch alg {
	case "EdDSA":
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return key{}, err
		}
		k = key{algs: []string{alg}, verify: public, sign: private}
		members = `{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(public) + `"}`
	case "HS256":
		secret := make([]byte, minSecret)
		if _, err := rand.Read(secret); err != nil {
			return key{}, err
		}
		k = key{algs: []string{alg}, verify: secret, sign: secret}
		members = `{"k":"` + base64.RawURLEncoding.EncodeToString(secret) + `","kty":"oct"}`
	default:
		return key{}, fmt.Errorf("unknown algorithm %q: own keys are for EdDSA or HS256", alg)
	}
	thumbprint := sha256.Sum256([]byte(members))
	k.id = base64.RawURLEncoding.EncodeToString(thumbprint[:])
	return k, nil
}

// encodeKeys writes the private part of the first key only, since the others sign no more. A secret is both parts.
func encodeKeys(set keySet) ([]byte, error) {
	var document jwkset.JWKSMarshal
	for i, k := range set {
		material := k.verify
		if i == 0 {
			material = k.sign
		}
		jwk, err := jwkset.NewJWKFromKey(material, jwkset.JWKOptions{
			Marshal:  jwkset.JWKMarshalOptions{Private: true},
			Metadata: jwkset.JWKMetadataOptions{ALG: jwkset.ALG(k.algs[0]), KID: k.id, USE: jwkset.UseSig},
		})
		if err != nil {
			return nil, fmt.Errorf("encode key %s: %w", k.id, err)
		}
		document.Keys = append(document.Keys, jwk.Marshal())
	}
	content, err := json.MarshalIndent(document, "", "  ")
	return append(content, '\n'), err
}

func writeAndClose(file *os.File, content []byte) error {
	_, err := file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// MintRequest says what a token of the own keys is to tell.
type MintRequest struct {
	Subject       string // the user's name
	Groups, Roles []string
	Audience      string           // one of the server's JWTOptions.Audiences
	Issuer        string           // "" for DefaultIssuer
	TTL           time.Duration    // at most a day; 0 for a quarter of an hour
	Now           func() time.Time // nil for time.Now
}

// Mint makes a token with the active key of a key file.
func Mint(path string, r MintRequest) (token string, err error) {
	setDefault(&r.Issuer, DefaultIssuer)
	if r.Now == nil {
		r.Now = time.Now
	}
	if r.TTL == 0 {
		r.TTL = defaultTTL
	}
	if r.TTL < time.Second || r.TTL > maxTTL {
		return "", fmt.Errorf("a JWT cannot live for %s: give at most %s, or make an API token for what lives longer", r.TTL, maxTTL)
	}
	if r.Audience == "" {
		return "", errors.New("a JWT needs an audience: give one that the server accepts")
	}
	if err := checkUser(r.Subject); err != nil {
		return "", err
	}
	set, _, err := readKeyFile(path)
	if err != nil {
		return "", err
	}
	now, active := r.Now(), set[0]
	if active.sign == nil {
		return "", fmt.Errorf("key file %s: the first key is a public one, which cannot sign", path)
	}
	claims := jwt.MapClaims{
		"iss": r.Issuer, "sub": r.Subject, "aud": r.Audience, "jti": rand.Text(),
		"iat": jwt.NewNumericDate(now), "exp": jwt.NewNumericDate(now.Add(r.TTL)),
	}
	if len(r.Groups) > 0 {
		claims["groups"] = r.Groups
	}
	if len(r.Roles) > 0 {
		claims["roles"] = r.Roles
	}
	t := jwt.NewWithClaims(jwt.GetSigningMethod(active.algs[0]), claims)
	t.Header["kid"] = active.id
	if token, err = t.SignedString(active.sign); err != nil {
		return "", fmt.Errorf("sign JWT: %w", err)
	}
	if len(token) > maxToken {
		return "", fmt.Errorf("the JWT has %d bytes, more than the %d that a server takes: name fewer groups", len(token), maxToken)
	}
	return token, nil
}
