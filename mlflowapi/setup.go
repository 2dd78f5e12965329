package mlflowapi

import (
	"context"
	"time"

	"greenroom/auth"
	"greenroom/models"
)

// setupTokenLifetime is that of the token for an administrator who is made without a password.
const setupTokenLifetime = 30 * 24 * time.Hour

type setupRequest struct {
	setupOnly
	Username string `json:"username" mlflow:"required"`
	Password string `json:"password"`
}

type setupResponse struct {
	User currentUser `json:"user"`
	// Token logs in an administrator without a password.
	Token string `json:"token,omitempty"`
}

func (a *API) setUp(ctx context.Context, req *setupRequest) (*setupResponse, error) {
	hash := auth.Of(ctx).SetupHash
	if err := a.store.CheckSetupToken(ctx, hash); err != nil {
		return nil, err
	}
	password, err := a.newPassword(ctx, req.Username, req.Password)
	if err != nil {
		return nil, err
	}
	u, token, err := a.store.UseSetupToken(ctx, hash, models.NewUser{Name: req.Username, PasswordHash: password}, models.NewAPIToken{Name: "set-up", Lifetime: setupTokenLifetime})
	if err != nil {
		return nil, err
	}
	return &setupResponse{currentUser{u.ID, u.Name, u.Admin}, token}, nil
}
