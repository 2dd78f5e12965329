package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// An API token is greenroom_<id>_<secret>, a set-up token greenroom_setup_<secret>. The id is 12 characters a-z2-7: public,
// the key of the token's row. The secret is 48 characters of URL-safe base64: 32 random bytes and the CRC-32 (IEEE, big-endian)
// of the text before the secret and these bytes, by which a typing error, or a scanner's find that is none, shows without a
// database. Kept is the SHA-256 of the secret as it is written; 256 random bits need no slow hash.
const (
	tokenPrefix = "greenroom_"
	setupPrefix = tokenPrefix + "setup_"
	tokenIDLen  = 12
	randomLen   = 32
	secretLen   = 48
)

// NewToken makes an API token. The id and the hash are kept, the token is shown once.
func NewToken() (token, id, secretHash string) {
	id = strings.ToLower(rand.Text()[:tokenIDLen])
	token, secretHash = newSecret(tokenPrefix + id + "_")
	return token, id, secretHash
}

// ParseToken takes an API token apart; ok is false for any text that NewToken never makes. It says nothing of whether the token is in use.
func ParseToken(text string) (id, secretHash string, ok bool) {
	rest, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok || len(rest) < tokenIDLen+1 {
		return "", "", false
	}
	id, secret := rest[:tokenIDLen], rest[tokenIDLen+1:]
	if rest[tokenIDLen] != '_' || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return "", "", false
	}
	if secretHash, ok = hashSecret(tokenPrefix+id+"_", secret); !ok {
		return "", "", false
	}
	return id, secretHash, true
}

// NewSetupToken makes the token with which the first administrator is made.
func NewSetupToken() (token, secretHash string) { return newSecret(setupPrefix) }

// ParseSetupToken is ParseToken for a set-up token.
func ParseSetupToken(text string) (secretHash string, ok bool) {
	secret, ok := strings.CutPrefix(text, setupPrefix)
	if !ok {
		return "", false
	}
	return hashSecret(setupPrefix, secret)
}

// SameHash compares two hashes of secrets in a time that does not tell where they differ. An empty hash is no secret's.
func SameHash(a, b string) bool {
	return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

func newSecret(prefix string) (token, hash string) {
	random := make([]byte, randomLen)
	_, _ = rand.Read(random) // it never fails
	secret := base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(random, secretSum(prefix, random)))
	hash, _ = hashSecret(prefix, secret)
	return prefix + secret, hash
}

func secretSum(prefix string, random []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE([]byte(prefix)), crc32.IEEETable, random)
}

func hashSecret(prefix, secret string) (hash string, ok bool) {
	if len(secret) != secretLen {
		return "", false
	}
	raw, err := base64.RawURLEncoding.DecodeString(secret)
	if err != nil || len(raw) != randomLen+crc32.Size || binary.BigEndian.Uint32(raw[randomLen:]) != secretSum(prefix, raw[:randomLen]) {
		return "", false
	}
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:]), true
}

var lifetime = regexp.MustCompile(`^([1-9][0-9]{0,8})([mhdw])$`)

// maxLifetime is what a token may live at most.
const maxLifetime = 10 * 365 * 24 * time.Hour

// ParseLifetime reads how long a token lives: a whole number of minutes (30m), hours (12h), days (90d) or weeks (2w), up to 3650 days.
func ParseLifetime(text string) (time.Duration, error) {
	parts := lifetime.FindStringSubmatch(text)
	if parts == nil {
		return 0, fmt.Errorf("%q is not a lifetime: write a whole number and m, h, d or w for minutes, hours, days or weeks, such as 90d", text)
	}
	n, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the lifetime %q: %w", text, err)
	}
	unit := map[string]time.Duration{"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour}[parts[2]]
	if n > int64(maxLifetime/unit) {
		return 0, fmt.Errorf("the lifetime %q is too long: write at most %dd", text, maxLifetime/(24*time.Hour))
	}
	return time.Duration(n) * unit, nil
}
