package mlflowapi

import (
	"context"

	"greenroom/auth"
)

type whoAmIRequest struct{ loggedIn }

// whoAmI is the caller as the server sees the request.
type whoAmI struct {
	ID         int64    `json:"id"`       // 0 where nobody has to log in
	Username   string   `json:"username"` // "" likewise
	IsAdmin    bool     `json:"is_admin"`
	Groups     []string `json:"groups"`
	Credential string   `json:"credential"`
	// ExpiresAt is when the credential ends, in milliseconds since 1970; absent for a password.
	ExpiresAt *int64 `json:"expires_at,omitempty"`
	// Role narrows what the credential may do; absent for all that the user may.
	Role string `json:"role,omitempty"`
}

func (a *API) whoAmI(ctx context.Context, _ *whoAmIRequest) (*whoAmI, error) {
	p := auth.Of(ctx)
	w := &whoAmI{ID: p.UserID, Username: p.Name, IsAdmin: p.Unlimited(), Groups: append([]string{}, p.Groups...), Credential: p.Credential, Role: p.ScopeRole}
	if !p.Expires.IsZero() {
		expires := p.Expires.UnixMilli()
		w.ExpiresAt = &expires
	}
	return w, nil
}
