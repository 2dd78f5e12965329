package auth_test

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"testing"
	"time"

	"greenroom/auth"
)

func TestNewToken_IsParsedAgainAndKeptAsAHash(t *testing.T) {
	format := regexp.MustCompile(`^greenroom_[a-z2-7]{12}_[A-Za-z0-9_-]{48}$`)
	seen := map[string]bool{}
	for range 100 {
		token, id, hash := auth.NewToken()
		if !format.MatchString(token) {
			t.Errorf("%q is not of the documented form", token)
		}
		gotID, gotHash, ok := auth.ParseToken(token)
		if !ok || gotID != id || gotHash != hash {
			t.Errorf("ParseToken(%q) = %q, %q, %v, want %q, %q", token, gotID, gotHash, ok, id, hash)
		}
		if sum := sha256.Sum256([]byte(token[len(token)-48:])); hex.EncodeToString(sum[:]) != hash {
			t.Errorf("%q is not the SHA-256 of the secret part", hash)
		}
		if seen[token] || seen[id] || seen[hash] {
			t.Errorf("%q came twice", token)
		}
		seen[token], seen[id], seen[hash] = true, true, true
		if _, ok := auth.ParseSetupToken(token); ok {
			t.Errorf("the API token %q is taken for a set-up token", token)
		}
	}
}

func TestParseToken_FindsEveryTypingError(t *testing.T) {
	token, _, _ := auth.NewToken()
	for i := range token {
		for _, c := range "aA2-_ \n" {
			if wrong := token[:i] + string(c) + token[i+1:]; wrong != token {
				if _, _, ok := auth.ParseToken(wrong); ok {
					t.Errorf("%q was made from %q, and is accepted", wrong, token)
				}
			}
		}
	}
	setup, _ := auth.NewSetupToken()
	for _, wrong := range []string{
		"", "greenroom_", "greenroom_setup_", token[1:], token[:len(token)-1], token + "a", token + "\n", " " + token, token + "=", strings.ToUpper(token),
		token[:23] + strings.Repeat("\n", 48), setup, "greenroom_abcdefghijkl", "greenroom_abcdefghijkl_", "eyJhbGciOiJFZERTQSJ9.e30.x",
	} {
		if _, _, ok := auth.ParseToken(wrong); ok {
			t.Errorf("%q is accepted", wrong)
		}
	}
}

func TestNewSetupToken_IsParsedAgain(t *testing.T) {
	token, hash := auth.NewSetupToken()
	got, ok := auth.ParseSetupToken(token)
	if !ok || got != hash || !regexp.MustCompile(`^greenroom_setup_[A-Za-z0-9_-]{48}$`).MatchString(token) {
		t.Errorf("ParseSetupToken(%q) = %q, %v, want %q", token, got, ok, hash)
	}
	for _, wrong := range []string{"", "greenroom_setup_", token + "a", token[1:], token[:len(token)-1] + "*"} {
		if _, ok := auth.ParseSetupToken(wrong); ok {
			t.Errorf("%q is accepted", wrong)
		}
	}
}

func TestSameHash(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{{"ab", "ab", true}, {"ab", "ac", false}, {"ab", "abc", false}, {"ab", "", false}, {"", "", false}} {
		if got := auth.SameHash(c.a, c.b); got != c.want {
			t.Errorf("SameHash(%q, %q) = %v", c.a, c.b, got)
		}
	}
}

func TestParseLifetime(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{"90d": 90 * day, "12h": 12 * time.Hour, "2w": 14 * day, "30m": 30 * time.Minute, "1m": time.Minute, "3650d": 3650 * day} {
		if got, err := auth.ParseLifetime(text); got != want || err != nil {
			t.Errorf("ParseLifetime(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "90", "0d", "00h", "-1d", "+1d", "1.5h", "1y", "1s", "90 d", " 90d", "90D", "1d12h", "3651d", "999999999w", "99999999999999999999d", "٩d"} {
		if got, err := auth.ParseLifetime(text); err == nil || !strings.Contains(err.Error(), ": write ") {
			t.Errorf("ParseLifetime(%q) = %v, %v, want an error that says what to write", text, got, err)
		}
	}
}
