package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// DefaultIssuer is the iss of the tokens that this server's own keys sign.
	DefaultIssuer = "greenroom"

	maxToken  = 16 << 10         // bytes
	jwtLeeway = 30 * time.Second // between the issuer's clock and ours
)

var (
	// ErrInvalidToken is every reason to refuse a JWT but its age. The reasons are in the debug log only: they would help to forge one.
	ErrInvalidToken = errors.New("the token is not valid")
	// ErrIssuerUnavailable says that the keys which the token needs cannot be fetched, so that nobody knows whether it is valid.
	ErrIssuerUnavailable = errors.New("the keys of the token's issuer are not available")
)

// ExpiredError refuses a token that was valid in all but its age.
type ExpiredError struct{ At time.Time }

func (e *ExpiredError) Error() string {
	return "the token expired at " + e.At.UTC().Format(time.RFC3339)
}

// Claims are what a verified JWT says about its bearer.
type Claims struct {
	Issuer, Subject, ID string
	// User is the name that the issuer gives the user. Another issuer may give it to somebody else, and the same issuer later too:
	// who it is, Issuer and Subject tell.
	User          string
	Groups, Roles []string
	// IssuedAt is zero where the token does not tell.
	IssuedAt, ExpiresAt time.Time
	// Own tells that one of this server's own keys signed it.
	Own bool
}

// JWTOptions say whose tokens to trust, and how to read them.
type JWTOptions struct {
	// Issuers are the URLs of OpenID Connect issuers, letter by letter as in the iss of their tokens: https, or http on loopback.
	Issuers []string
	// Audiences are what a token may be meant for; its aud must name one of them.
	Audiences []string
	// OwnAudiences are the same for the tokens that the own keys sign; nil for Audiences. What is meant for one of them is no
	// issuer's to say: an issuer may know another service by that name.
	OwnAudiences []string
	// UserClaim, GroupsClaim and RolesClaim are the claims that name the user ("preferred_username"), the groups ("groups") and the
	// roles ("roles") in tokens of Issuers: a name, or names with dots between them (realm_access.roles) for a claim in a claim.
	// A token without the user's claim is refused; no other claim steps in, for then one user could pass for another. The own
	// tokens name their user in sub, groups in groups and roles in roles.
	UserClaim, GroupsClaim, RolesClaim string
	// KeyFile holds the own keys ("" for none), and OwnIssuer ("" for DefaultIssuer) is the iss of the tokens they sign.
	KeyFile, OwnIssuer string
	// HTTPClient fetches the issuers' keys; nil is one with Go's usual transport. Redirects and answers after 5 s are refused with any.
	HTTPClient *http.Client
	Now        func() time.Time
	Log        *slog.Logger
}

// keySource gives the keys of one issuer.
type keySource interface {
	// keys gives the keys as they are known; with renew, a key was missing in them, and they are read anew if it is time for that.
	// An error tells why they are not up to date; the last good ones come with it.
	keys(ctx context.Context, renew bool) (keySet, error)
}

// JWTVerifier verifies JSON Web Tokens. It fetches the keys of an issuer when the first of its tokens comes.
type JWTVerifier struct {
	parser  *jwt.Parser
	options []jwt.ParserOption
	sources map[string]keySource // by issuer
	own     *keyFile             // nil for none
	names   JWTOptions
	log     *slog.Logger
}

// NewJWTVerifier refuses unsafe options and an unreadable key file. It does not connect to the issuers.
func NewJWTVerifier(o JWTOptions) (*JWTVerifier, error) {
	setDefault(&o.OwnIssuer, DefaultIssuer)
	setDefault(&o.UserClaim, "preferred_username")
	setDefault(&o.GroupsClaim, "groups")
	setDefault(&o.RolesClaim, "roles")
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.OwnAudiences == nil {
		o.OwnAudiences = o.Audiences
	}
	audiences := slices.Concat(o.Audiences, o.OwnAudiences)
	if len(o.Issuers) > 0 && len(o.Audiences) == 0 || o.KeyFile != "" && len(o.OwnAudiences) == 0 || slices.Contains(audiences, "") {
		return nil, errors.New("JWTs need an audience, such as this server's URL: without one, a token for another service would do here")
	}
	sources := map[string]keySource{}
	var own *keyFile
	for _, url := range o.Issuers {
		i, err := newIssuer(url, o)
		if err != nil {
			return nil, err
		}
		sources[url] = i
	}
	if o.KeyFile != "" {
		if sources[o.OwnIssuer] != nil {
			return nil, fmt.Errorf("issuer %s: the tokens of the own keys have the same one", o.OwnIssuer)
		}
		var err error
		if own, err = newKeyFile(o); err != nil {
			return nil, err
		}
		sources[o.OwnIssuer] = own
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods(append(asymmetric(), "HS256")), jwt.WithStrictDecoding(), jwt.WithAudience(audiences...),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(jwtLeeway), jwt.WithTimeFunc(o.Now),
	}
	return &JWTVerifier{parser: jwt.NewParser(options...), options: options, sources: sources, own: own, names: o, log: o.Log}, nil
}

func setDefault(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

// Verify gives the claims of a token that is valid now. Its errors are ErrInvalidToken, *ExpiredError and ErrIssuerUnavailable.
func (v *JWTVerifier) Verify(ctx context.Context, token string) (*Claims, error) {
	claims, err := v.verify(ctx, token)
	var expired *ExpiredError
	switch {
	case err == nil:
		return claims, nil
	case errors.As(err, &expired):
		return nil, expired
	case errors.Is(err, ErrIssuerUnavailable):
		v.log.DebugContext(ctx, "JWT not verified", slog.String("reason", err.Error()))
		return nil, ErrIssuerUnavailable
	}
	v.log.DebugContext(ctx, "JWT refused", slog.String("reason", err.Error()))
	return nil, ErrInvalidToken
}

func (v *JWTVerifier) verify(ctx context.Context, token string) (*Claims, error) {
	if len(token) > maxToken {
		return nil, fmt.Errorf("%d bytes are too many", len(token))
	}
	if strings.ContainsFunc(token, notJWT) { // Go's base64 skips line ends
		return nil, errors.New("a character that is neither base64url nor a dot")
	}
	t, err := v.parse(ctx, token, false)
	if errors.Is(err, errUnknownKey) || errors.Is(err, jwt.ErrTokenSignatureInvalid) { // the issuer may have new keys
		t, err = v.parse(ctx, token, true)
	}
	if err != nil {
		if errors.Is(err, jwt.ErrTokenExpired) {
			return nil, v.expired(t, err)
		}
		return nil, err
	}
	return v.claims(t.Claims.(jwt.MapClaims))
}

// ownKeys is the state of the own keys, another number after each change of the key file; 0 without one.
func (v *JWTVerifier) ownKeys(ctx context.Context) int {
	if v.own == nil {
		return 0
	}
	return v.own.state(ctx)
}

func notJWT(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}

// parse checks the signature with a key of the issuer that the token names, and then the registered claims.
func (v *JWTVerifier) parse(ctx context.Context, token string, renew bool) (*jwt.Token, error) {
	return v.parser.ParseWithClaims(token, jwt.MapClaims{}, func(t *jwt.Token) (any, error) {
		if err := checkHeader(t.Header); err != nil {
			return nil, err
		}
		iss, err := t.Claims.GetIssuer()
		if err != nil {
			return nil, err
		}
		source := v.sources[iss] // so far iss only says whose keys to try
		if source == nil {
			return nil, fmt.Errorf("issuer %.80q is not trusted", iss)
		}
		keys, outdated := source.keys(ctx, renew)
		key, err := keys.find(t.Header)
		if errors.Is(err, errUnknownKey) && renew && outdated != nil {
			return nil, outdated // it may be in the newest keys
		}
		return key, err
	})
}

// checkHeader refuses extensions (RFC 7515 section 4.1.11, RFC 7797) and JWTs of another kind (RFC 8725 section 3.11), such as the
// logout tokens of OpenID Connect. Headers that bring or name a key (jwk, jku, x5c, x5u) have no effect.
func checkHeader(header map[string]any) error {
	for _, name := range []string{"crit", "b64"} {
		if _, ok := header[name]; ok {
			return fmt.Errorf("header %s is not supported", name)
		}
	}
	typ, ok := header["typ"]
	name, _ := typ.(string)
	switch strings.TrimPrefix(strings.ToLower(name), "application/") {
	case "jwt", "at+jwt":
		return nil
	}
	if ok {
		return fmt.Errorf("typ %.80q is not JWT", fmt.Sprint(typ))
	}
	return nil
}

// expired is an ExpiredError if the token was valid just before its end, else err.
func (v *JWTVerifier) expired(t *jwt.Token, err error) error {
	exp, missing := t.Claims.GetExpirationTime()
	if missing != nil || exp == nil {
		return err
	}
	before := func() time.Time { return exp.Add(-time.Second) }
	if jwt.NewValidator(append(slices.Clone(v.options), jwt.WithTimeFunc(before))...).Validate(t.Claims) != nil {
		return err
	}
	return &ExpiredError{At: exp.Time}
}

// claims reads the claims of a verified token.
func (v *JWTVerifier) claims(m jwt.MapClaims) (*Claims, error) {
	c := &Claims{}
	c.Issuer, _ = m["iss"].(string)
	c.Subject, _ = m["sub"].(string)
	c.ID, _ = m["jti"].(string)
	_, c.Own = v.sources[c.Issuer].(*keyFile)
	audiences := v.names.Audiences
	if c.Own {
		audiences = v.names.OwnAudiences
	}
	if meant, err := m.GetAudience(); err != nil || !slices.ContainsFunc(meant, func(aud string) bool { return slices.Contains(audiences, aud) }) {
		return nil, fmt.Errorf("aud %.80q is not one for tokens of %s", meant, c.Issuer)
	}
	if strings.ContainsRune(c.ID, 0) {
		return nil, errors.New("claim jti has a NUL")
	}
	if iat, err := m.GetIssuedAt(); err == nil && iat != nil {
		c.IssuedAt = iat.Time
	}
	if exp, err := m.GetExpirationTime(); err == nil && exp != nil {
		c.ExpiresAt = exp.Time
	}
	user, groups, roles := v.names.UserClaim, v.names.GroupsClaim, v.names.RolesClaim
	if c.Own {
		user, groups, roles = "sub", "groups", "roles"
	}
	if err := checkUser(c.Subject); err != nil {
		return nil, fmt.Errorf("claim sub: %w", err)
	}
	name, _ := lookup(m, user)
	c.User, _ = name.(string)
	if err := checkUser(c.User); err != nil {
		return nil, fmt.Errorf("claim %s: %w", user, err)
	}
	if verified, ok := m["email_verified"]; ok && user == "email" && verified != true && verified != "true" {
		return nil, errors.New("claim email_verified is not true")
	}
	var err error
	if c.Groups, err = names(m, groups); err != nil {
		return nil, err
	}
	if c.Roles, err = names(m, roles); err != nil {
		return nil, err
	}
	return c, nil
}

func checkUser(name string) error {
	switch {
	case name == "":
		return errors.New("no user name")
	case utf8.RuneCountInString(name) > maxUserName:
		return fmt.Errorf("a user name has at most %d characters", maxUserName)
	case strings.ContainsFunc(name, unicode.IsControl), strings.ContainsRune(name, unicode.ReplacementChar):
		return errors.New("a user name has no control characters")
	}
	return nil
}

// names reads a claim of names: a list, or a single one. None is no error, except where the issuer says that there are too many to
// list here (OpenID Connect Core section 5.6.2): a group that is denied something must not get lost.
func names(m map[string]any, path string) ([]string, error) {
	value, ok := lookup(m, path)
	if !ok {
		elsewhere, _ := m["_claim_names"].(map[string]any)
		if _, ok := lookup(elsewhere, path); ok {
			return nil, fmt.Errorf("claim %s is not in the token but distributed: have the issuer put fewer groups into it", path)
		}
	}
	switch value := value.(type) {
	case nil:
		return nil, nil
	case string:
		return names(map[string]any{path: []any{value}}, path)
	case []any:
		names := make([]string, len(value))
		for i, v := range value {
			if names[i], ok = v.(string); !ok || strings.ContainsRune(names[i], 0) {
				return nil, fmt.Errorf("claim %s: item %d is not text", path, i)
			}
		}
		return names, nil
	}
	return nil, fmt.Errorf("claim %s is not a list of names", path)
}

// lookup finds a claim by its name, or by the names on the way to it with dots between them. Names may have dots of their own, as in
// https://company.com/roles.
func lookup(m map[string]any, path string) (any, bool) {
	if value, ok := m[path]; ok {
		return value, true
	}
	for i, r := range path {
		if r != '.' {
			continue
		}
		if inner, ok := m[path[:i]].(map[string]any); ok {
			if value, ok := lookup(inner, path[i+1:]); ok {
				return value, true
			}
		}
	}
	return nil, false
}
