package mlflowapi

import (
	"context"
	"time"

	"greenroom/auth"
	"greenroom/models"
)

// apiToken is a token in an answer; times are milliseconds since 1970.
type apiToken struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Username   string `json:"username"`
	Role       string `json:"role,omitempty"`
	CreatedAt  int64  `json:"created_at"`
	ExpiresAt  int64  `json:"expires_at"`
	LastUsedAt *int64 `json:"last_used_at,omitempty"` // to the minute
	RevokedAt  *int64 `json:"revoked_at,omitempty"`
}

func newAPIToken(t models.APIToken) apiToken {
	return apiToken{t.ID, t.Name, t.User, t.Role, t.CreatedAt, t.ExpiresAt, t.LastUsedAt, t.RevokedAt}
}

type createTokenRequest struct {
	Username string `json:"username"` // "" for the caller
	Name     string `json:"name" mlflow:"required"`
	Role     string `json:"role"`
	Expires  string `json:"expires" mlflow:"required"` // how long from now, such as 90d
}

func (r createTokenRequest) targets() []target { return onAccount(r.Username) }

type createTokenResponse struct {
	Token string   `json:"token"` // shown this once
	Info  apiToken `json:"info"`
}

func (a *API) createToken(ctx context.Context, req *createTokenRequest) (*createTokenResponse, error) {
	user, err := orCaller(ctx, req.Username)
	if err != nil {
		return nil, err
	}
	lifetime, err := auth.ParseLifetime(req.Expires)
	if err != nil {
		return nil, models.Refuse(err)
	}
	text, made, err := a.store.CreateAPIToken(ctx, models.NewAPIToken{User: user, Name: req.Name, Role: req.Role, Lifetime: lifetime})
	if err != nil {
		return nil, err
	}
	return &createTokenResponse{text, newAPIToken(*made)}, nil
}

// orCaller is the user whom a request names, else the caller.
func orCaller(ctx context.Context, user string) (string, error) {
	p := auth.Of(ctx)
	if user == "" && p.UserID == 0 {
		return "", invalid("Name the user in parameter 'username': you are not logged in as one.")
	}
	if user == "" {
		user = p.Name
	}
	return user, nil
}

type listTokensRequest struct {
	Username string `json:"username"` // "" for all, and for the caller's own where the caller is no administrator
}

func (r listTokensRequest) targets() []target { return onAccount(r.Username) }

type listTokensResponse struct {
	Tokens []apiToken `json:"tokens"`
}

func (a *API) listTokens(ctx context.Context, req *listTokensRequest) (*listTokensResponse, error) {
	user := req.Username
	if user == "" {
		user = ownOnly(ctx)
	}
	found, err := a.store.APITokens(ctx, user)
	if err != nil {
		return nil, err
	}
	resp := &listTokensResponse{Tokens: []apiToken{}}
	for _, t := range found {
		resp.Tokens = append(resp.Tokens, newAPIToken(t))
	}
	return resp, nil
}

// ownOnly is the caller's name, or "" for an administrator, whose requests are about everyone.
func ownOnly(ctx context.Context) string {
	p := auth.Of(ctx)
	if p.Unlimited() {
		return ""
	}
	return p.Name
}

type revokeTokenRequest struct {
	ID string `json:"id" mlflow:"required"`
}

func (revokeTokenRequest) targets() []target { return onAccount("") }

type revokeTokenResponse struct {
	Info apiToken `json:"info"`
}

func (a *API) revokeToken(ctx context.Context, req *revokeTokenRequest) (*revokeTokenResponse, error) {
	revoked, err := a.store.RevokeAPIToken(ctx, req.ID, ownOnly(ctx))
	if err != nil {
		return nil, err
	}
	return &revokeTokenResponse{newAPIToken(*revoked)}, nil
}

type revokeJWTRequest struct {
	adminOnly
	Issuer    string `json:"issuer" mlflow:"required"`
	JTI       string `json:"jti" mlflow:"required"`
	ExpiresAt *int64 `json:"expires_at" mlflow:"required"` // milliseconds since 1970
}

func (a *API) revokeJWT(ctx context.Context, req *revokeJWTRequest) (*empty, error) {
	return &empty{}, a.store.RevokeJWT(ctx, req.Issuer, req.JTI, time.UnixMilli(*req.ExpiresAt))
}

type revokeAllRequest struct {
	Username string `json:"username"` // "" for the caller
}

func (r revokeAllRequest) targets() []target { return onAccount(r.Username) }

type revokeAllResponse struct {
	RevokedTokens int64 `json:"revoked_tokens"`
}

// revokeAll ends the tokens and JWTs of a user; who has the password logs in again.
func (a *API) revokeAll(ctx context.Context, req *revokeAllRequest) (*revokeAllResponse, error) {
	user, err := orCaller(ctx, req.Username)
	if err != nil {
		return nil, err
	}
	n, err := a.store.RevokeAll(ctx, user)
	return &revokeAllResponse{n}, err
}
