package auth

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
)

const cyrillic = "пароль-из-кириллицы-ü"

// What werkzeug 3.1.9's generate_password_hash made.
const (
	werkzeugScrypt       = "scrypt:32768:8:1$CZuQmmGcZROT2dnE$3942ebf8e7e24ccaf13922befc52c516bc7e6d087dfff635139064b660587ddd026c36fdec708b4343906c98d495ac60914289e801f1e92d0df84c0e6ae8f37d"
	werkzeugScryptSmall  = "scrypt:1024:4:2$Fl4TllxCzPy4qFoM$a606cb0f0cd261a786380d2c7dcf88c890cd932989134ff69ed2456ecb6eeb10a0ab072d94854eff8165529dc4291ca4290c3cbb71ea2924101c398c19dff650"
	werkzeugScryptUTF8   = "scrypt:32768:8:1$FksatiEMbTmPtIcy$4533e67638a963df92d9c4f7d820944f0bc83102cdef3f03d935ef7d64da9814e48d4c838d6f857300e61a72461164d8b90c028af093c70717f4bf910d26ee76"
	werkzeugPBKDF2       = "pbkdf2:sha256:260000$0TYnUcnOR7UF0akr$e74aaecbae07ecabd471d81761f717713b7851beb6454059ce78b348eabfd7e5"
	werkzeugPBKDF2Small  = "pbkdf2:sha256:1000$L782Z4EOOfWdiVtq$bd7012e8dcafeef5f952a100a9a93ed57ef7b07c49c8987ba040d6a37a7bf717"
	werkzeugPasswordText = "correct horse battery"
)

// argonReference is of the test suite of Argon2's reference implementation.
const argonReference = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"

func TestVerify_TakesTheHashesOfOthers(t *testing.T) {
	for _, c := range []struct{ name, hash, password string }{
		{"argon2's reference", argonReference, "password"},
		{"werkzeug's scrypt", werkzeugScrypt, werkzeugPasswordText},
		{"scrypt of other parameters", werkzeugScryptSmall, werkzeugPasswordText},
		{"scrypt of a password beyond ASCII", werkzeugScryptUTF8, cyrillic},
		{"werkzeug's pbkdf2", werkzeugPBKDF2, werkzeugPasswordText},
		{"pbkdf2 of other parameters", werkzeugPBKDF2Small, werkzeugPasswordText},
	} {
		t.Run(c.name, func(t *testing.T) {
			for password, want := range map[string]bool{c.password: true, c.password + "x": false, "": false} {
				if got, err := NewPasswords().Verify(t.Context(), c.hash, password); got != want || err != nil {
					t.Errorf("Verify(%q) = %v, %v, want %v", password, got, err, want)
				}
			}
			if !NeedsRehash(c.hash) {
				t.Error("NeedsRehash = false, want true")
			}
		})
	}
}

func TestHash_VerifiesThePasswordAndNoOther(t *testing.T) {
	long := strings.Repeat("x", 79) // bcrypt looks at 72 bytes alone
	hash, err := NewPasswords().Hash(t.Context(), long+"1")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") || len(hash) > 255 {
		t.Errorf("the hash %q is not argon2id of the cost OWASP asks for, in 255 characters", hash)
	}
	if NeedsRehash(hash) {
		t.Error("NeedsRehash of a new hash")
	}
	for password, want := range map[string]bool{long + "1": true, long + "2": false, long: false} {
		if got, err := NewPasswords().Verify(t.Context(), hash, password); got != want || err != nil {
			t.Errorf("Verify(%q) = %v, %v, want %v", password, got, err, want)
		}
	}
	again, err := NewPasswords().Hash(t.Context(), long+"1")
	if err != nil || again == hash {
		t.Errorf("the same password has the same hash twice (%v): no salt", err)
	}
}

func TestVerify_RefusesHashesThatAreDamagedOrCostTooMuch(t *testing.T) {
	_, sum, _ := strings.Cut(werkzeugScrypt, "$")
	_, pbkdf2Sum, _ := strings.Cut(werkzeugPBKDF2, "$")
	const argonSum = "$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	for _, hash := range []string{
		"", "x", "password1234", "$2b$12$abcdefghijklmnopqrstuv", "$argon2id$", "$argon2i$v=19$m=4096,t=3,p=1" + argonSum, "md5$a$b",
		"$argon2id$v=16$m=65536,t=2,p=1" + argonSum, "$argon2id$v=19$m=65536,t=2" + argonSum, "$argon2id$v=19$m=4194304,t=2,p=1" + argonSum,
		"$argon2id$v=19$m=19456,t=0,p=1" + argonSum, "$argon2id$v=19$m=19456,t=2,p=0" + argonSum, "$argon2id$v=19$m=19456,t=4000000000,p=1" + argonSum,
		"$argon2id$v=19$m=19456,t=2,p=255" + argonSum, "$argon2id$v=19$m=19456,t=2,p=1,data=x" + argonSum, "$argon2id$v=19$m=-1,t=2,p=1" + argonSum,
		"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$", "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$eA", "$argon2id$v=19$m=19456,t=2,p=1$$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=19456,t=2,p=1" + argonSum + "$x", "$argon2id$v=19$m=19456,t=2,p=1" + argonSum + "=",
		"scrypt", "scrypt:", "scrypt:32768:8$" + sum, "scrypt:1048576:1024:1$" + sum, "scrypt:4294967295:4294967295:4294967295$" + sum, "scrypt:2147483648:4294967295:1$" + sum,
		"scrypt:1000:8:1$" + sum, "scrypt:0:8:1$" + sum, "scrypt:1:8:1$" + sum, "scrypt:1024:0:1$" + sum, "scrypt:1024:8:0$" + sum, "scrypt:1024:8:1000000$" + sum,
		"scrypt:-2:8:1$" + sum, "scrypt:1024:8:1:9$" + sum, "scrypt:1024:8:1$$" + sum, "scrypt:1024:8:1$salt$", "scrypt:1024:8:1$salt$zz",
		"pbkdf2:sha256:0$" + pbkdf2Sum, "pbkdf2:sha256:2000001$" + pbkdf2Sum, "pbkdf2:sha256:99999999999999999999$" + pbkdf2Sum, "pbkdf2:sha256:-5$" + pbkdf2Sum,
		"pbkdf2:sha1:1000$" + pbkdf2Sum, "pbkdf2:md5:1000$" + pbkdf2Sum, "pbkdf2:sha256:1000$salt$00",
	} {
		ok, err := NewPasswords().Verify(t.Context(), hash, "password")
		if ok || !errors.Is(err, errHash) {
			t.Errorf("Verify(%q) = %v, %v, want an error", hash, ok, err)
		}
		if hash != "" && hash != "x" && err != nil && strings.Contains(err.Error(), hash) {
			t.Errorf("the error shows the hash: %v", err)
		}
	}
}

func TestVerify_WaitsForItsTurnAsLongAsTheRequestLives(t *testing.T) {
	passwords := NewPasswords()
	for range cap(passwords.room) {
		if err := passwords.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := passwords.Hash(ctx, werkzeugPasswordText)
		done <- err
	}()
	go func() {
		_, err := passwords.Verify(ctx, werkzeugPBKDF2Small, werkzeugPasswordText)
		done <- err
	}()
	go func() { done <- passwords.VerifyNobody(ctx, werkzeugPasswordText) }()
	cancel()
	for range 3 {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want that the request is gone", err)
		}
	}
	for range cap(passwords.room) {
		passwords.leave()
	}
	if ok, err := passwords.Verify(t.Context(), werkzeugPBKDF2Small, werkzeugPasswordText); !ok || err != nil {
		t.Errorf("Verify when there is room again = %v, %v", ok, err)
	}
}

func TestVerifyNobody_CostsWhatAWrongPasswordDoes(t *testing.T) {
	hash, err := NewPasswords().Hash(t.Context(), "correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	cost := func(verify func() error) (bytes uint64) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := verify(); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	wrong := cost(func() error {
		_, err := NewPasswords().Verify(t.Context(), hash, "wrong")
		return err
	})
	nobody := cost(func() error { return NewPasswords().VerifyNobody(t.Context(), "wrong") })
	if wrong < 19<<20 || nobody < wrong*99/100 || nobody > wrong*101/100 {
		t.Errorf("a wrong password takes %d bytes, an unknown user %d, want the same, of 19 MiB or more", wrong, nobody)
	}
}

func TestCheckNewPassword(t *testing.T) {
	for _, c := range []struct{ name, password, wrong string }{
		{"12 characters", "correct hors", ""},
		{"12 characters beyond ASCII", strings.Repeat("ж", 12), ""},
		{"1024 bytes", strings.Repeat("ab", 512), ""},
		{"empty", "", "at least 12 characters"},
		{"11 characters of 22 bytes", strings.Repeat("ж", 11), "at least 12 characters"},
		{"1025 bytes", strings.Repeat("a", 1025), "at most 1024 bytes"},
		{"blank", strings.Repeat("  ", 12), "blank"},
		{"a line end", "correct horse\n", "control characters"},
		{"a NUL", "correct horse\x00", "control characters"},
		{"not UTF-8", "correct horse\xff", "UTF-8"},
		{"the user's name", "Administrator", "name"},
	} {
		t.Run(c.name, func(t *testing.T) { wantRefusal(t, CheckNewPassword("administrator", c.password), c.wrong) })
	}
}

func TestCheckUserName(t *testing.T) {
	for _, c := range []struct{ user, wrong string }{
		{"bob", ""},
		{"b", ""},
		{"Björn Ångström", ""},
		{"alice@company.com", ""},
		{"_x", ""},
		{strings.Repeat("ж", 255), ""},
		{"", "empty"},
		{strings.Repeat("a", 256), "255"},
		{" bob", "blanks"},
		{"bob\n", "blanks"},
		{"\u00a0bob", "blanks"},
		{"bo\tb", "control"},
		{"bo\x00b", "control"},
		{"bob\u200b", "invisible"},
		{"\u202ebob", "invisible"},
		{"Bjo\u0308rn", "composed"},
		{"bob\xff", "UTF-8"},
		{"bob:x", "':'"},
		{"__user_1__", "'__'"},
	} {
		t.Run(c.user, func(t *testing.T) { wantRefusal(t, CheckUserName(c.user), c.wrong) })
	}
}

// wantRefusal checks that an error has some words, or that there is none where they are "".
func wantRefusal(t *testing.T, err error, words string) {
	t.Helper()
	if words == "" && err != nil {
		t.Errorf("got error %v, want none", err)
	}
	if words != "" && (err == nil || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), ": ")) {
		t.Errorf("got error %v, want one about %q that says what to do", err, words)
	}
}

func BenchmarkVerify(b *testing.B) {
	hash, err := NewPasswords().Hash(b.Context(), "correct horse battery")
	if err != nil {
		b.Fatal(err)
	}
	for name, hash := range map[string]string{"argon2id": hash, "scrypt": werkzeugScrypt, "pbkdf2": werkzeugPBKDF2} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := NewPasswords().Verify(b.Context(), hash, "wrong"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
