package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"greenroom/panics"
)

const (
	// passwordFresh is how long a verified password is taken as right without hashing it again.
	passwordFresh = time.Minute
	// jwtFresh is the same for a JWT: the issuer may have withdrawn its key.
	jwtFresh = 5 * time.Minute
	// useNoted is how exactly a token's last use is kept.
	useNoted = time.Minute
	// maxLogins bounds the credentials that are remembered, and maxGrants what they hold: a user can write one token into many
	// headers, and each of them is remembered with all the user's grants.
	maxLogins = 10_000
	maxGrants = 500_000
	// maxHeader bounds an Authorization header, in bytes: a JWT of the largest size fits in, also as a password.
	maxHeader = 2*maxToken + 1024
)

// Options say whom an Authenticator lets in.
type Options struct {
	// Required asks for a log-in also while there is no user at all.
	Required bool
	// Default is what every user may do at least with every experiment and model.
	Default Level
	// JWT verifies JWTs; nil refuses them.
	JWT *JWTVerifier
	// AdminGroup is the group of an external issuer whose members are administrators; "" for none.
	AdminGroup string
	Log        *slog.Logger
	Now        func() time.Time
}

// Authenticator tells who makes a request. It remembers verified credentials, so that a request costs no query: until the
// directory's revision changes, and so no longer than a revocation may take.
type Authenticator struct {
	dir       Directory
	opts      Options
	limiter   *Limiter
	passwords *Passwords
	// secret keys the digests under which credentials are remembered: a memory dump shows none.
	secret  [sha256.Size]byte
	flights singleflight.Group

	mu       sync.Mutex
	revision int64
	logins   map[string]*login // of this revision, by the credential's digest
	grants   int               // of all logins
	// verified are the passwords that were verified not long ago, of any revision: when somebody is granted something, others' passwords
	// are not to be hashed again.
	verified map[string]verifiedPassword
}

// verifiedPassword is the hash of which a credential's password is, and until when that is taken for true.
type verifiedPassword struct {
	hash  string
	until time.Time
}

// login is a credential that was verified.
type login struct {
	principal *Principal
	until     time.Time // when it has to be verified again
	tokenID   string    // of an API token
	noted     time.Time // when the directory was told of the token's use
	ownKeys   int       // the state of the own keys, one of which signed a JWT; 0 for all other credentials
}

// NewAuthenticator makes an authenticator of the users of a directory.
func NewAuthenticator(dir Directory, opts Options) *Authenticator {
	a := &Authenticator{dir: dir, opts: opts, limiter: NewLimiter(dir, opts.Now), passwords: NewPasswords(), logins: map[string]*login{}, verified: map[string]verifiedPassword{}}
	_, _ = rand.Read(a.secret[:]) // it never fails
	return a
}

// UnauthenticatedError refuses a request whose sender is not known. Message tells the sender what to do.
type UnauthenticatedError struct {
	Message string
	// InvalidToken says that a token was sent that is not valid, or no longer.
	InvalidToken bool
}

func (e *UnauthenticatedError) Error() string { return e.Message }

// Authenticate gives the sender of a request with this Authorization header, from this address. Who has no right to be
// here gets an *UnauthenticatedError, who guesses a *ThrottledError; ErrIssuerUnavailable says to try again later.
func (a *Authenticator) Authenticate(ctx context.Context, header, address string) (*Principal, error) {
	state, err := a.dir.IdentityState(ctx)
	if err != nil {
		return nil, err
	}
	if !a.opts.Required && !state.HasUsers {
		return Anyone(), nil
	}
	if header == "" {
		return nil, &UnauthenticatedError{Message: "You are not logged in." + howToLogIn}
	}
	if len(header) > maxHeader {
		return nil, invalidToken()
	}
	digest := a.digest(header)
	if l := a.remembered(ctx, state.Revision, digest); l != nil {
		return l.principal, nil
	}
	// Requests that bring the same credential at one time wait for one verification: a job's many workers are no guesses.
	flight := a.flights.DoChan(strconv.FormatInt(state.Revision, 10)+digest, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		l, err := panics.Result(func() (*login, error) { return a.logIn(ctx, header, digest, address) })
		if err != nil {
			return nil, err
		}
		if l.principal.SetupHash == "" { // whoever calls it a set-up token: it is checked when it is used
			a.remember(state.Revision, digest, l)
		}
		return l.principal, nil
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case result := <-flight:
		if result.Err != nil {
			return nil, result.Err
		}
		return result.Val.(*Principal), nil
	}
}

func (a *Authenticator) digest(credential string) string {
	mac := hmac.New(sha256.New, a.secret[:])
	mac.Write([]byte(credential))
	return string(mac.Sum(nil))
}

// remembered gives a log-in that still holds.
func (a *Authenticator) remembered(ctx context.Context, revision int64, digest string) *login {
	now := a.opts.Now()
	a.mu.Lock()
	l := a.logins[digest]
	if a.revision != revision || l == nil || !now.Before(l.until) {
		a.mu.Unlock()
		return nil
	}
	note := l.tokenID != "" && now.Sub(l.noted) >= useNoted
	if note {
		l.noted = now
	}
	a.mu.Unlock()
	if l.ownKeys != 0 && l.ownKeys != a.opts.JWT.ownKeys(ctx) {
		return nil
	}
	if note {
		a.noteUse(ctx, l.tokenID, now)
	}
	return l
}

func (a *Authenticator) remember(revision int64, digest string, l *login) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if revision < a.revision {
		return // read before a change that others have seen
	}
	if old := a.logins[digest]; old != nil {
		a.grants -= old.weight()
	}
	if revision > a.revision || len(a.logins) >= maxLogins || a.grants+l.weight() > maxGrants {
		clear(a.logins)
		a.revision, a.grants = revision, 0
	}
	a.logins[digest] = l
	a.grants += l.weight()
}

func (l *login) weight() int { return len(l.principal.Grants) + len(l.principal.Scope) }

// verifiedAgainst tells until when a credential's password is taken for the one of a hash, without hashing it; ok is false if it is not.
func (a *Authenticator) verifiedAgainst(digest, hash string) (until time.Time, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v := a.verified[digest]
	return v.until, v.hash == hash && a.opts.Now().Before(v.until)
}

func (a *Authenticator) rememberPassword(digest, hash string) (until time.Time) {
	until = a.opts.Now().Add(passwordFresh)
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.verified) >= maxLogins {
		clear(a.verified)
	}
	a.verified[digest] = verifiedPassword{hash, until}
	return until
}

// noteUse tells the directory of a token's use. The request does not fail with it.
func (a *Authenticator) noteUse(ctx context.Context, id string, now time.Time) {
	if err := a.dir.NoteTokenUse(ctx, id, now); err != nil {
		a.opts.Log.WarnContext(ctx, "the use of a token was not noted", slog.String("token", id), slog.Any("error", err))
	}
}

const howToLogIn = " Set MLFLOW_TRACKING_TOKEN to a token, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to a user's name and password."

// invalidToken is one answer for all tokens that never were valid, so that it tells a forger nothing.
func invalidToken() error {
	return &UnauthenticatedError{InvalidToken: true, Message: "The token is not valid. Set MLFLOW_TRACKING_TOKEN to a valid one."}
}

// endedToken is for the holder of a token that was valid.
func endedToken(how string) error {
	return &UnauthenticatedError{InvalidToken: true, Message: "The token " + how + ". Get a new one and set MLFLOW_TRACKING_TOKEN to it."}
}

func wrongPassword() error {
	return &UnauthenticatedError{Message: "User name or password is wrong." + howToLogIn}
}

// logIn verifies a credential, of which digest is the header's.
func (a *Authenticator) logIn(ctx context.Context, header, digest, address string) (*login, error) {
	scheme, credential, _ := strings.Cut(header, " ")
	credential = strings.TrimSpace(credential)
	switch strings.ToLower(scheme) {
	case "bearer":
		return a.token(ctx, credential, address)
	case "basic":
		text, err := base64.StdEncoding.DecodeString(credential)
		name, password, ok := strings.Cut(string(text), ":")
		if err != nil || !ok {
			return nil, &UnauthenticatedError{Message: "The Authorization header is not valid Basic authentication." + howToLogIn}
		}
		if looksLikeToken(password) { // clients that know only user and password; the token tells whose it is
			return a.token(ctx, password, address)
		}
		return a.password(ctx, name, password, digest, address)
	}
	return nil, &UnauthenticatedError{Message: "The Authorization header is neither Basic nor Bearer." + howToLogIn}
}

func looksLikeToken(text string) bool {
	return strings.HasPrefix(text, tokenPrefix) || looksLikeJWT(text)
}

// looksLikeJWT knows the base64 of {" that every JWT begins with.
func looksLikeJWT(text string) bool {
	return strings.HasPrefix(text, "eyJ") && strings.Count(text, ".") >= 2
}

func (a *Authenticator) token(ctx context.Context, token, address string) (*login, error) {
	if hash, ok := ParseSetupToken(token); ok {
		return &login{principal: &Principal{Name: "setup", Credential: "set-up token", SetupHash: hash, Scope: Grants{}}}, nil
	}
	if looksLikeJWT(token) && a.opts.JWT != nil {
		return a.jwt(ctx, token, address)
	}
	return a.apiToken(ctx, token, address)
}

// failed counts a token that nobody was ever given, and gives the answer.
func (a *Authenticator) failed(ctx context.Context, address string) error {
	if err := a.limiter.Failed(ctx, address); err != nil {
		return err
	}
	return invalidToken()
}

func (a *Authenticator) apiToken(ctx context.Context, token, address string) (*login, error) {
	id, hash, ok := ParseToken(token)
	if !ok {
		return nil, a.failed(ctx, address)
	}
	t, ok, err := a.dir.APIToken(ctx, id)
	if err != nil {
		return nil, err
	}
	now := a.opts.Now()
	switch {
	case !ok || !SameHash(t.SecretHash, hash):
		return nil, a.failed(ctx, address)
	case t.Revoked:
		return nil, endedToken("'" + t.Name + "' was revoked")
	case !now.Before(t.ExpiresAt):
		return nil, endedToken("'" + t.Name + "' expired at " + t.ExpiresAt.UTC().Format(time.RFC3339))
	case t.Account.Disabled:
		return nil, disabled(t.Account)
	}
	p, err := a.PrincipalOf(ctx, t.Account, &t)
	if err != nil {
		return nil, err
	}
	noted := t.LastUsed
	if now.Sub(noted) >= useNoted { // whatever others change: this writes
		a.noteUse(ctx, t.ID, now)
		noted = now
	}
	return &login{principal: p, until: t.ExpiresAt, tokenID: t.ID, noted: noted}, nil
}

func disabled(a Account) error {
	return &UnauthenticatedError{Message: "User '" + a.Name + "' is disabled. An administrator can enable it."}
}

func (a *Authenticator) jwt(ctx context.Context, token, address string) (*login, error) {
	ownKeys := a.opts.JWT.ownKeys(ctx) // before they are used: a change in between counts
	claims, err := a.opts.JWT.Verify(ctx, token)
	var expired *ExpiredError
	switch {
	case errors.As(err, &expired):
		return nil, endedToken("expired at " + expired.At.UTC().Format(time.RFC3339))
	case errors.Is(err, ErrIssuerUnavailable):
		return nil, err
	case err != nil:
		return nil, a.failed(ctx, address)
	}
	if claims.ID != "" {
		revoked, err := a.dir.JWTRevoked(ctx, claims.Issuer, claims.ID)
		if err != nil {
			return nil, err
		}
		if revoked {
			return nil, endedToken("was revoked")
		}
	}
	account, err := a.account(ctx, claims)
	if err != nil {
		return nil, err
	}
	if account.Disabled {
		return nil, disabled(account)
	}
	if account.ValidAfter > 0 && claims.IssuedAt.UnixMilli() < account.ValidAfter {
		return nil, endedToken("was revoked with all of its user")
	}
	p, err := a.principal(ctx, account, "jwt "+claims.Issuer+" "+claims.ID, claims.Groups, claims.Roles)
	if err != nil {
		return nil, err
	}
	if !claims.Own && a.opts.AdminGroup != "" && slices.Contains(claims.Groups, a.opts.AdminGroup) {
		p.Admin = true
	}
	p.Expires = claims.ExpiresAt
	until := a.opts.Now().Add(jwtFresh)
	if claims.ExpiresAt.Before(until) {
		until = claims.ExpiresAt
	}
	if !claims.Own {
		ownKeys = 0
	}
	return &login{principal: p, until: until, ownKeys: ownKeys}, nil
}

// account finds the user of a JWT. An external issuer can't name a user of this server's or of another issuer.
func (a *Authenticator) account(ctx context.Context, c *Claims) (Account, error) {
	if c.Own {
		account, ok, err := a.dir.Account(ctx, c.User)
		if err == nil && (!ok || account.Issuer != "") {
			err = endedToken("is of a user who is not known here")
		}
		return account, err
	}
	account, ok, err := a.dir.ExternalAccount(ctx, c.Issuer, c.Subject, c.User)
	if err == nil && !ok {
		err = &UnauthenticatedError{Message: fmt.Sprintf("The token names the user '%s', who is somebody else here, or a name that no user can have: have the issuer give another name.", c.User)}
	}
	return account, err
}

func (a *Authenticator) password(ctx context.Context, name, password, digest, address string) (*login, error) {
	account, ok, err := a.dir.Account(ctx, name)
	if err != nil {
		return nil, err
	}
	if ok = ok && account.PasswordHash != nil && !account.Disabled; ok {
		if until, ok := a.verifiedAgainst(digest, *account.PasswordHash); ok {
			return a.loggedIn(ctx, account, until)
		}
	}
	if err := a.limiter.Allow(ctx, name, address); err != nil {
		return nil, err
	}
	if !ok {
		if err := a.passwords.VerifyNobody(ctx, password); err != nil {
			return nil, err
		}
		return nil, wrongPassword()
	}
	hash := *account.PasswordHash
	right, err := a.passwords.Verify(ctx, hash, password)
	if errors.Is(err, errHash) {
		a.opts.Log.ErrorContext(ctx, "the kept password hash of a user cannot be used; set a new password", slog.String("user", name), slog.Any("error", err))
		right, err = false, a.passwords.VerifyNobody(ctx, password)
	}
	if err != nil {
		return nil, err
	}
	if !right {
		return nil, wrongPassword()
	}
	if err := a.limiter.Succeeded(ctx, name, address); err != nil {
		return nil, err
	}
	if NeedsRehash(hash) {
		old := hash
		if hash, err = a.passwords.Hash(ctx, password); err != nil {
			return nil, err
		}
		if err := a.dir.RehashPassword(ctx, account.ID, old, hash); err != nil {
			return nil, err
		}
	}
	return a.loggedIn(ctx, account, a.rememberPassword(digest, hash))
}

// loggedIn is the log-in of an account whose password is right until a time.
func (a *Authenticator) loggedIn(ctx context.Context, account Account, until time.Time) (*login, error) {
	p, err := a.principal(ctx, account, "password", nil, nil)
	if err != nil {
		return nil, err
	}
	return &login{principal: p, until: until}, nil
}

// PrincipalOf is who logs in as an account: with an API token of it, which is not checked, or with its password for nil.
func (a *Authenticator) PrincipalOf(ctx context.Context, account Account, t *APIToken) (*Principal, error) {
	if t == nil {
		return a.principal(ctx, account, "password", nil, nil)
	}
	p, err := a.principal(ctx, account, "token "+t.Name+" ("+t.ID+")", nil, nil)
	if err != nil {
		return nil, err
	}
	p.Expires = t.ExpiresAt
	if t.RoleID != nil {
		scope, err := a.dir.RoleGrants(ctx, *t.RoleID)
		if err != nil {
			return nil, err
		}
		p.Scope, p.ScopeRole = append(Grants{}, scope...), t.Role // not nil: a role without permissions allows nothing
	}
	return p, nil
}

// principal is what an account may do, with the groups and roles that its JWT names.
func (a *Authenticator) principal(ctx context.Context, account Account, credential string, groups, roles []string) (*Principal, error) {
	m, err := a.dir.Membership(ctx, account.ID, groups, roles)
	if err != nil {
		return nil, err
	}
	return &Principal{
		UserID: account.ID, Name: account.Name, Admin: account.Admin, Credential: credential, Grants: m.Grants, Groups: m.Groups, Default: a.opts.Default,
	}, nil
}
