package auth_test

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"greenroom/auth"
	"greenroom/models"
	"greenroom/models/modelstest"
)

const password = "correct horse battery"

// house is a server's authenticator over a real database, and a second replica's.
type house struct {
	*testing.T
	store, other *models.Store
	auth         *auth.Authenticator
	time         *clock
	dir          *countingDirectory
}

// countingDirectory counts what is asked of the database.
type countingDirectory struct {
	auth.Directory
	tokens, accounts, attempts, uses atomic.Int64
	grants                           int // that everyone has besides
}

func (d *countingDirectory) APIToken(ctx context.Context, id string) (auth.APIToken, bool, error) {
	d.tokens.Add(1)
	return d.Directory.APIToken(ctx, id)
}

func (d *countingDirectory) Account(ctx context.Context, name string) (auth.Account, bool, error) {
	d.accounts.Add(1)
	return d.Directory.Account(ctx, name)
}

func (d *countingDirectory) ChangeLoginFailures(ctx context.Context, kind, subject string, change func(auth.Failures) (auth.Failures, error)) error {
	d.attempts.Add(1)
	return d.Directory.ChangeLoginFailures(ctx, kind, subject, change)
}

func (d *countingDirectory) NoteTokenUse(ctx context.Context, id string, at time.Time) error {
	d.uses.Add(1)
	return d.Directory.NoteTokenUse(ctx, id, at)
}

func (d *countingDirectory) Membership(ctx context.Context, userID int64, groups, roles []string) (auth.Membership, error) {
	m, err := d.Directory.Membership(ctx, userID, groups, roles)
	m.Grants = append(m.Grants, make(auth.Grants, d.grants)...)
	return m, err
}

func inHouses(t *testing.T, required bool, test func(*house)) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		h := &house{T: t, time: &clock{}}
		h.time.ms.Store(time.Now().UnixMilli())
		open := func() *models.Store {
			store, err := models.Open(t.Context(), uri, models.Options{ArtifactRoot: "mlflow-artifacts:/", Now: h.time.now})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := store.Close(); err != nil {
					t.Error(err)
				}
			})
			return store
		}
		h.store, h.other = open(), open()
		h.dir = &countingDirectory{Directory: h.store}
		h.auth = auth.NewAuthenticator(h.dir, auth.Options{Required: required, Log: slog.New(slog.DiscardHandler), Now: h.time.now})
		test(h)
	})
}

// passwordHash is the hash of password.
var passwordHash = sync.OnceValues(func() (string, error) {
	return auth.NewPasswords().Hash(context.Background(), password)
})

func (h *house) user(name string, admin bool) {
	h.Helper()
	hash, err := passwordHash()
	if err == nil {
		_, err = h.store.CreateUser(h.Context(), models.NewUser{Name: name, PasswordHash: hash, Admin: admin})
	}
	if err != nil {
		h.Fatal(err)
	}
}

func (h *house) token(user, role string) (text, id string) {
	h.Helper()
	text, made, err := h.store.CreateAPIToken(h.Context(), models.NewAPIToken{User: user, Name: "ci", Role: role, Lifetime: time.Hour})
	if err != nil {
		h.Fatal(err)
	}
	return text, made.ID
}

func basic(name, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
}

func (h *house) in(header string) *auth.Principal {
	h.Helper()
	p, err := h.auth.Authenticate(h.Context(), header, "10.0.0.1")
	if err != nil {
		h.Fatalf("refused: %v", err)
	}
	return p
}

func (h *house) out(header, message string) {
	h.Helper()
	p, err := h.auth.Authenticate(h.Context(), header, "10.0.0.1")
	var refusal *auth.UnauthenticatedError
	if !errors.As(err, &refusal) || !strings.Contains(refusal.Message, message) {
		h.Errorf("got %v, %v, want a refusal that says %q", p, err, message)
	}
}

func TestAuthenticator_IsOpenUntilTheFirstUserExists(t *testing.T) {
	inHouses(t, false, func(h *house) {
		if p := h.in(""); !p.Unlimited() {
			t.Errorf("%+v is limited, while there is no user", p)
		}
		h.user("ann", false)
		h.out("", "MLFLOW_TRACKING_TOKEN")
	})
}

func TestAuthenticator_MayAskForALoginBeforeThereAreUsers(t *testing.T) {
	inHouses(t, true, func(h *house) { h.out("", "You are not logged in") })
}

func TestAuthenticator_TakesATokenAsBearerAndAsPassword(t *testing.T) {
	inHouses(t, false, func(h *house) {
		h.user("ann", true)
		h.user("bob", false)
		text, id := h.token("bob", "")
		for _, header := range []string{"Bearer " + text, "bearer  " + text, basic("bob", text), basic("whoever", text)} {
			if p := h.in(header); p.Name != "bob" || p.Admin || !strings.Contains(p.Credential, id) || strings.Contains(p.Credential, text) {
				t.Errorf("%+v is not bob with token %s", p, id)
			}
		}
		other := map[bool]string{true: "B", false: "A"}[strings.HasSuffix(text, "A")]
		h.out("Bearer "+text[:len(text)-1]+other, "not valid")
		h.out("Bearer", "not valid")
		h.out("Digest x", "neither Basic nor Bearer")
		h.out("Basic !", "not valid Basic")
	})
}

func TestAuthenticator_AnAdminsTokenWithARoleIsNoAdmin(t *testing.T) {
	inHouses(t, false, func(h *house) {
		h.user("ann", true)
		text, _ := h.token("ann", "viewer")
		p := h.in("Bearer " + text)
		o := auth.Object{Kind: auth.Experiment, ID: "1", Name: "x"}
		if p.Unlimited() || p.Level(o) != auth.Read || p.MayCreate(o) {
			t.Errorf("the token may more than its role: level %s", p.Level(o))
		}
	})
}

func TestAuthenticator_AsksTheDatabaseOncePerCredentialAndRevision(t *testing.T) {
	inHouses(t, false, func(h *house) {
		h.user("ann", true)
		text, id := h.token("ann", "")
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { h.in(basic("ann", password)) })
		}
		all.Wait()
		if n := h.dir.accounts.Load(); n != 1 {
			t.Errorf("50 requests at one time looked the account up %d times", n)
		}
		for range 50 {
			h.in("Bearer " + text)
		}
		if n := h.dir.tokens.Load(); n != 1 {
			t.Errorf("50 requests looked the token up %d times", n)
		}
		h.time.advance(2 * time.Minute) // passwords are verified anew, tokens are noted as used
		h.in(basic("ann", password))
		h.in("Bearer " + text)
		if n := h.dir.accounts.Load(); n != 2 {
			t.Errorf("the account was looked up %d times, want once more after a minute", n)
		}
		found, _, err := h.store.APIToken(h.Context(), id)
		if err != nil || !found.LastUsed.Equal(h.time.now().Truncate(time.Millisecond)) {
			t.Errorf("the token was last used %s, %v; want %s", found.LastUsed, err, h.time.now())
		}
	})
}

// What another replica changes arrives with the revision that is read again after a second.
func TestAuthenticator_SeesWhatAnotherReplicaRevokes(t *testing.T) {
	ends := map[string]struct {
		end  func(h *house, id string) error
		says string
	}{
		"revoked":  {func(h *house, id string) error { _, err := h.other.RevokeAPIToken(h.Context(), id, ""); return err }, "'ci' was revoked"},
		"disabled": {func(h *house, _ string) error { return h.other.SetDisabled(h.Context(), "bob", true) }, "User 'bob' is disabled"},
		"deleted":  {func(h *house, _ string) error { _, err := h.other.DeleteUser(h.Context(), "bob"); return err }, "not valid"},
	}
	for name, test := range ends {
		t.Run(name, func(t *testing.T) {
			inHouses(t, false, func(h *house) {
				h.user("ann", true)
				h.user("bob", false)
				text, id := h.token("bob", "")
				h.in("Bearer " + text)
				if err := test.end(h, id); err != nil {
					t.Fatal(err)
				}
				h.time.advance(time.Second)
				h.out("Bearer "+text, test.says)
			})
		})
	}
}

func TestAuthenticator_TellsTheHolderOfAnExpiredToken(t *testing.T) {
	inHouses(t, false, func(h *house) {
		h.user("ann", true)
		text, _ := h.token("ann", "")
		h.in("Bearer " + text)
		h.time.advance(time.Hour)
		h.out("Bearer "+text, "expired at "+h.time.now().UTC().Format(time.RFC3339))
	})
}

func TestAuthenticator_AnswersAWrongPasswordAndAnUnknownUserAlike(t *testing.T) {
	inHouses(t, false, func(h *house) {
		h.user("ann", true)
		h.in(basic("ann", password))
		said := map[string]bool{}
		for _, header := range []string{basic("ann", "wrong"), basic("nobody", password), basic("ann", ""), basic("", "")} {
			_, err := h.auth.Authenticate(h.Context(), header, "10.0.0.1")
			said[err.Error()] = true
		}
		if len(said) != 1 {
			t.Errorf("the answers differ: %v", said)
		}
		if err := h.store.SetPassword(h.Context(), "ann", ""); err != nil {
			t.Fatal(err)
		}
		h.out(basic("ann", password), "wrong")
	})
}

func TestAuthenticator_APasswordIsHashedOnceAMinuteWhateverOthersChange(t *testing.T) {
	inHouses(t, false, func(h *house) {
		h.user("ann", true)
		h.in(basic("ann", password))
		before := h.dir.attempts.Load()
		h.user("bob", false)
		if h.in(basic("ann", password)); h.dir.attempts.Load() != before {
			t.Error("the password was verified again, as somebody else was made a user")
		}
		if err := h.store.SetAdmin(t.Context(), "bob", true); err != nil {
			t.Fatal(err)
		}
		if err := h.store.SetAdmin(t.Context(), "ann", false); err != nil {
			t.Fatal(err)
		}
		if p := h.in(basic("ann", password)); p.Admin {
			t.Error("ann is an administrator still")
		}
		if h.time.advance(2 * time.Minute); h.in(basic("ann", password)).Name != "ann" || h.dir.attempts.Load() == before {
			t.Error("the password was not verified again after two minutes")
		}
		if err := h.store.SetDisabled(t.Context(), "ann", true); err != nil {
			t.Fatal(err)
		}
		h.out(basic("ann", password), "wrong")
		if err := h.store.SetDisabled(t.Context(), "ann", false); err != nil {
			t.Fatal(err)
		}
		h.in(basic("ann", password))
		hash, err := auth.NewPasswords().Hash(t.Context(), "another password")
		if err == nil {
			err = h.store.SetPassword(t.Context(), "ann", hash)
		}
		if err != nil {
			t.Fatal(err)
		}
		h.out(basic("ann", password), "wrong")
	})
}

func TestAuthenticator_ATokensUseIsNotedOnceAMinuteWhateverOthersChange(t *testing.T) {
	inHouses(t, false, func(h *house) {
		h.user("ann", true)
		text, _ := h.token("ann", "")
		h.in("Bearer " + text)
		h.user("bob", false)
		if h.in("Bearer " + text); h.dir.tokens.Load() != 2 || h.dir.uses.Load() != 1 {
			t.Errorf("the token was looked up %d times, and its use noted %d times; want 2 and 1", h.dir.tokens.Load(), h.dir.uses.Load())
		}
	})
}

func TestAuthenticator_NamesThatNoDatabaseTakesAreNobodys(t *testing.T) {
	inHouses(t, false, func(h *house) {
		h.user("ann", true)
		h.out(basic("ann\x00", password), "wrong")
		h.out(basic("ann\xff", password), "wrong")
	})
}

// A user can write one token into any number of headers.
func TestAuthenticator_RemembersOnlySoManyGrants(t *testing.T) {
	inHouses(t, false, func(h *house) {
		h.user("ann", true)
		text, _ := h.token("ann", "")
		h.dir.grants = 200_000
		for _, name := range []string{"a", "b", "b", "c", "c"} {
			h.in(basic(name, text))
		}
		if n := h.dir.tokens.Load(); n != 3 {
			t.Errorf("three headers were looked up %d times", n)
		}
		if h.in(basic("a", text)); h.dir.tokens.Load() != 4 {
			t.Error("the first of the headers is remembered beside two that have all the room")
		}
	})
}

func TestAuthenticator_TheJWTsOfARemovedKeyEndAtOnce(t *testing.T) {
	inHouses(t, false, func(h *house) {
		h.user("ann", true)
		file := filepath.Join(t.TempDir(), "keys.json")
		if _, err := auth.CreateKeyFile(file, "EdDSA"); err != nil {
			t.Fatal(err)
		}
		jwts, err := auth.NewJWTVerifier(auth.JWTOptions{KeyFile: file, Audiences: []string{"test"}, Now: h.time.now})
		if err != nil {
			t.Fatal(err)
		}
		h.auth = auth.NewAuthenticator(h.dir, auth.Options{JWT: jwts, Log: slog.New(slog.DiscardHandler), Now: h.time.now})
		mint := func() string {
			token, err := auth.Mint(file, auth.MintRequest{Subject: "ann", Audience: "test", Now: h.time.now})
			if err != nil {
				t.Fatal(err)
			}
			return "Bearer " + token
		}
		rotate := func(keep int) {
			if _, err := auth.RotateKeyFile(file, keep); err != nil {
				t.Fatal(err)
			}
			h.time.advance(time.Second)
		}
		h.time.advance(time.Second) // the user must be older than the JWTs
		first := mint()
		h.in(first)
		rotate(2)
		h.in(first)
		rotate(1)
		h.out(first, "not valid")
		h.in(mint())
	})
}

func TestAuthenticator_ThrottlesWhoGuesses(t *testing.T) {
	inHouses(t, false, func(h *house) {
		h.user("ann", true)
		h.in(basic("ann", password))
		var throttled *auth.ThrottledError
		tries := 0
		for ; tries < 20 && !errors.As(h.try(basic("ann", "wrong")), &throttled); tries++ {
		}
		if tries > 6 || throttled.RetryAfter < time.Second {
			t.Errorf("%d guesses were free, then wait %s", tries, throttled.RetryAfter)
		}
		h.in(basic("ann", password)) // who has logged in before goes on
	})
}

func (h *house) try(header string) error {
	_, err := h.auth.Authenticate(h.Context(), header, "10.0.0.9")
	return err
}

func TestAuthenticator_ASetupTokenMayNothing(t *testing.T) {
	inHouses(t, true, func(h *house) {
		text, hash := auth.NewSetupToken()
		p := h.in("Bearer " + text)
		o := auth.Object{Kind: auth.Experiment, ID: "1", Name: "x"}
		if p.SetupHash != hash || p.Unlimited() || p.Level(o) != auth.NoPermissions || p.MayCreate(o) {
			t.Errorf("a set-up token gives %+v", p)
		}
	})
}

// What a request costs whose credential is remembered.
func BenchmarkAuthenticator_RemembersAToken(b *testing.B) {
	store, err := models.Open(b.Context(), modelstest.SQLite(b), models.Options{ArtifactRoot: "mlflow-artifacts:/"})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	if _, err := store.CreateUser(b.Context(), models.NewUser{Name: "ann"}); err != nil {
		b.Fatal(err)
	}
	text, _, err := store.CreateAPIToken(b.Context(), models.NewAPIToken{User: "ann", Name: "ci", Lifetime: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	authenticator := auth.NewAuthenticator(store, auth.Options{Log: slog.New(slog.DiscardHandler), Now: time.Now})
	for b.Loop() {
		if _, err := authenticator.Authenticate(b.Context(), "Bearer "+text, "10.0.0.1"); err != nil {
			b.Fatal(err)
		}
	}
}

// brokenDirectory panics where a database would be asked.
type brokenDirectory struct{ auth.Directory }

func (brokenDirectory) APIToken(context.Context, string) (auth.APIToken, bool, error) {
	panic("broken")
}

func TestAuthenticator_APanicIsAnError(t *testing.T) {
	inHouses(t, true, func(h *house) {
		h.user("ann", false)
		token, _ := h.token("ann", "")
		broken := auth.NewAuthenticator(brokenDirectory{h.store}, auth.Options{Required: true, Log: slog.New(slog.DiscardHandler), Now: h.time.now})
		if p, err := broken.Authenticate(h.Context(), "Bearer "+token, "10.0.0.1"); err == nil || !strings.Contains(err.Error(), "panic: broken\n") {
			h.Errorf("got %v, %v", p, err)
		}
	})
}
