package mlflowapi

import (
	"context"

	"greenroom/auth"
	"greenroom/models"
)

// accountBody is a user with what MLflow's answers have no place for.
type accountBody struct {
	ID          int64    `json:"id"`
	Username    string   `json:"username"`
	IsAdmin     bool     `json:"is_admin"`
	Disabled    bool     `json:"disabled"`
	HasPassword bool     `json:"has_password"`
	Issuer      string   `json:"issuer,omitempty"` // whose JWTs name the user
	CreatedAt   int64    `json:"created_at"`       // milliseconds since 1970
	Groups      []string `json:"groups"`
	Roles       []role   `json:"roles"`
}

func newAccount(u *models.User, groups []string, roles []*models.Role) accountBody {
	return accountBody{u.ID, u.Name, u.Admin, u.Disabled, u.HasPassword, u.Issuer, u.CreatedAt, append([]string{}, groups...), newRoles(roles)}
}

type accountResponse struct {
	User accountBody `json:"user"`
}

func (a *API) answerAccount(ctx context.Context, name string) (*accountResponse, error) {
	u, err := a.store.User(ctx, name)
	if err != nil {
		return nil, err
	}
	roles, err := a.store.HolderRoles(ctx, models.Holder{User: name})
	if err != nil {
		return nil, err
	}
	m, err := a.store.Membership(ctx, u.ID, nil, nil)
	return &accountResponse{newAccount(u, m.Groups, roles)}, err
}

type createAccountRequest struct {
	adminOnly
	Username string `json:"username" mlflow:"required"`
	Password string `json:"password"` // "" for a user who logs in with tokens or JWTs only
	IsAdmin  bool   `json:"is_admin"`
	Issuer   string `json:"issuer"`
}

// createAccount makes a user as MLflow's users/create can not: without a password, or as an administrator.
func (a *API) createAccount(ctx context.Context, req *createAccountRequest) (*accountResponse, error) {
	hash, err := a.newPassword(ctx, req.Username, req.Password)
	if err != nil {
		return nil, err
	}
	if _, err := a.store.CreateUser(ctx, models.NewUser{Name: req.Username, PasswordHash: hash, Admin: req.IsAdmin, Issuer: req.Issuer}); err != nil {
		return nil, err
	}
	return a.answerAccount(ctx, req.Username)
}

func (a *API) getAccount(ctx context.Context, req *userRef) (*accountResponse, error) {
	return a.answerAccount(ctx, req.Username)
}

type listAccountsResponse struct {
	Users []accountBody `json:"users"`
}

func (a *API) listAccounts(ctx context.Context, _ *listUsersRequest) (*listAccountsResponse, error) {
	users, roles, err := a.store.UsersWithRoles(ctx)
	if err != nil {
		return nil, err
	}
	groups, err := a.store.UserGroups(ctx)
	if err != nil {
		return nil, err
	}
	resp := &listAccountsResponse{make([]accountBody, len(users))}
	for i, u := range users {
		resp.Users[i] = newAccount(u, groups[u.ID], roles[u.ID])
	}
	return resp, nil
}

// setUserPermission puts a permission in place of what was granted there before, where MLflow's request refuses.
func (a *API) setUserPermission(ctx context.Context, req *grantUserPermissionRequest) (*empty, error) {
	level, err := parseLevel(req.Permission)
	if err != nil {
		return nil, err
	}
	return &empty{}, a.store.Grant(ctx, req.holder(), models.DirectGrant(auth.Kind(req.ResourceType), req.ResourceID, level))
}
