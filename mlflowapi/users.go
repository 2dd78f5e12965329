package mlflowapi

import (
	"context"
	"errors"

	"greenroom/auth"
	"greenroom/models"
)

// user is a user as MLflow's clients read one; those up to 3.6 need the lists.
type user struct {
	ID                         int64                  `json:"id"`
	Username                   string                 `json:"username"`
	IsAdmin                    bool                   `json:"is_admin"`
	ExperimentPermissions      []experimentPermission `json:"experiment_permissions"`
	RegisteredModelPermissions []modelPermission      `json:"registered_model_permissions"`
}

type userResponse struct {
	User user `json:"user"`
}

// answerUser adds what is granted to the user directly.
func (a *API) answerUser(ctx context.Context, u *models.User, err error) (*userResponse, error) {
	if err != nil {
		return nil, err
	}
	grants, err := a.store.HeldGrants(ctx, models.Holder{User: u.Name})
	if err != nil {
		return nil, err
	}
	resp := &userResponse{user{u.ID, u.Name, u.Admin, []experimentPermission{}, []modelPermission{}}}
	for _, g := range grants {
		switch g.Kind {
		case auth.Experiment:
			resp.User.ExperimentPermissions = append(resp.User.ExperimentPermissions, experimentPermission{g.Pattern, u.ID, legacyName(g.Level)})
		case auth.RegisteredModel:
			resp.User.RegisteredModelPermissions = append(resp.User.RegisteredModelPermissions, modelPermission{g.Pattern, u.ID, legacyName(g.Level)})
		}
	}
	return resp, nil
}

type createUserRequest struct {
	adminOnUser
	Password string `json:"password" mlflow:"required"`
}

func (a *API) createUser(ctx context.Context, req *createUserRequest) (*userResponse, error) {
	hash, err := a.newPassword(ctx, req.Username, req.Password)
	if err != nil {
		return nil, err
	}
	u, err := a.store.CreateUser(ctx, models.NewUser{Name: req.Username, PasswordHash: hash})
	return a.answerUser(ctx, u, err)
}

// newPassword gives the hash of a user's new password, "" for none; the user's name is checked too, before anything is hashed.
func (a *API) newPassword(ctx context.Context, name, password string) (hash string, err error) {
	if err := auth.CheckUserName(name); err != nil {
		return "", models.Refuse(err)
	}
	if password == "" {
		return "", nil
	}
	if err := auth.CheckNewPassword(name, password); err != nil {
		return "", models.Refuse(err)
	}
	return a.passwords.Hash(ctx, password)
}

type userRef struct {
	Username string `json:"username" mlflow:"required"`
}

func (r userRef) targets() []target { return onUser(r.Username) }

func (a *API) getUser(ctx context.Context, req *userRef) (*userResponse, error) {
	u, err := a.store.User(ctx, req.Username)
	return a.answerUser(ctx, u, err)
}

type listUsersRequest struct{ adminOnly }

type userWithRoles struct {
	ID       int64  `json:"id"`
	Username string `json:"username"`
	IsAdmin  bool   `json:"is_admin"`
	Roles    []role `json:"roles"`
}

type listUsersResponse struct {
	Users []userWithRoles `json:"users"`
}

func (a *API) listUsers(ctx context.Context, _ *listUsersRequest) (*listUsersResponse, error) {
	users, roles, err := a.store.UsersWithRoles(ctx)
	if err != nil {
		return nil, err
	}
	resp := &listUsersResponse{Users: make([]userWithRoles, len(users))}
	for i, u := range users {
		resp.Users[i] = userWithRoles{u.ID, u.Name, u.Admin, newRoles(roles[u.ID])}
	}
	return resp, nil
}

type currentUserRequest struct{ loggedIn }

type currentUser struct {
	ID       int64  `json:"id"`
	Username string `json:"username"`
	IsAdmin  bool   `json:"is_admin"`
}

type currentUserResponse struct {
	User currentUser `json:"user"`
	// IsBasicAuth says that the user has logged in with a password, and can change it.
	IsBasicAuth bool `json:"is_basic_auth"`
}

func (a *API) currentUser(ctx context.Context, _ *currentUserRequest) (*currentUserResponse, error) {
	p := auth.Of(ctx)
	return &currentUserResponse{currentUser{p.UserID, p.Name, p.Unlimited()}, p.Credential == "password"}, nil
}

type updateUserPasswordRequest struct {
	Username        string `json:"username" mlflow:"required"`
	Password        string `json:"password" mlflow:"required"`
	CurrentPassword string `json:"current_password"`
}

func (r updateUserPasswordRequest) targets() []target { return onUser(r.Username) }

// updateUserPassword asks users for the current password, administrators for their own: a stolen token or an open browser
// is not enough to take the account over.
func (a *API) updateUserPassword(ctx context.Context, req *updateUserPasswordRequest) (*empty, error) {
	if isSelf(auth.Of(ctx), req.Username) {
		if err := a.checkCurrentPassword(ctx, req); err != nil {
			return nil, err
		}
	}
	hash, err := a.newPassword(ctx, req.Username, req.Password)
	if err != nil {
		return nil, err
	}
	return &empty{}, a.store.SetPassword(ctx, req.Username, hash)
}

func (a *API) checkCurrentPassword(ctx context.Context, req *updateUserPasswordRequest) error {
	if req.CurrentPassword == "" {
		return invalid("Current password is required when changing your own password: send it as 'current_password'.")
	}
	account, ok, err := a.store.Account(ctx, req.Username)
	if err != nil {
		return err
	}
	if !ok || account.PasswordHash == nil {
		return invalid("User '%s' has no password to change; an administrator can set one.", req.Username)
	}
	from := "user " + req.Username // instead of an address: the guesses of one user are no hindrance to another
	if err := a.limiter.Allow(ctx, req.Username, from); err != nil {
		return err
	}
	right, err := a.passwords.Verify(ctx, *account.PasswordHash, req.CurrentPassword)
	if err != nil {
		return err
	}
	if !right {
		return invalid("Current password does not match.")
	}
	if req.Password == req.CurrentPassword {
		err = invalid("New password must differ from the current password.")
	}
	return errors.Join(err, a.limiter.Succeeded(ctx, req.Username, from))
}

type updateUserAdminRequest struct {
	adminOnUser
	IsAdmin *bool `json:"is_admin" mlflow:"required"`
}

func (a *API) updateUserAdmin(ctx context.Context, req *updateUserAdminRequest) (*empty, error) {
	return &empty{}, a.store.SetAdmin(ctx, req.Username, *req.IsAdmin)
}

type updateDisabledRequest struct {
	adminOnUser
	Disabled *bool `json:"disabled" mlflow:"required"`
}

// updateDisabled keeps a user out, or lets the user in again.
func (a *API) updateDisabled(ctx context.Context, req *updateDisabledRequest) (*empty, error) {
	return &empty{}, a.store.SetDisabled(ctx, req.Username, *req.Disabled)
}

type deleteUserRequest struct {
	adminOnUser
}

func (a *API) deleteUser(ctx context.Context, req *deleteUserRequest) (*empty, error) {
	if isSelf(auth.Of(ctx), req.Username) {
		return nil, &models.Error{Code: models.BadRequest, Message: "Users cannot delete themselves. Ask another administrator to do it."}
	}
	_, err := a.store.DeleteUser(ctx, req.Username)
	return &empty{}, err
}

// fullUser is a user with what MLflow's answers have no place for.
type fullUser struct {
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

func newFullUser(u *models.User, groups []string, roles []*models.Role) fullUser {
	return fullUser{u.ID, u.Name, u.Admin, u.Disabled, u.HasPassword, u.Issuer, u.CreatedAt, append([]string{}, groups...), newRoles(roles)}
}

type fullUserResponse struct {
	User fullUser `json:"user"`
}

func (a *API) answerFullUser(ctx context.Context, name string) (*fullUserResponse, error) {
	u, err := a.store.User(ctx, name)
	if err != nil {
		return nil, err
	}
	roles, err := a.store.HolderRoles(ctx, models.Holder{User: name})
	if err != nil {
		return nil, err
	}
	m, err := a.store.Membership(ctx, u.ID, nil, nil)
	return &fullUserResponse{newFullUser(u, m.Groups, roles)}, err
}

type createFullUserRequest struct {
	adminOnly
	Username string `json:"username" mlflow:"required"`
	Password string `json:"password"` // "" for a user who logs in with tokens or JWTs only
	IsAdmin  bool   `json:"is_admin"`
	Issuer   string `json:"issuer"`
}

// createFullUser makes a user as MLflow's users/create can not: without a password, or as an administrator.
func (a *API) createFullUser(ctx context.Context, req *createFullUserRequest) (*fullUserResponse, error) {
	hash, err := a.newPassword(ctx, req.Username, req.Password)
	if err != nil {
		return nil, err
	}
	if _, err := a.store.CreateUser(ctx, models.NewUser{Name: req.Username, PasswordHash: hash, Admin: req.IsAdmin, Issuer: req.Issuer}); err != nil {
		return nil, err
	}
	return a.answerFullUser(ctx, req.Username)
}

func (a *API) getFullUser(ctx context.Context, req *userRef) (*fullUserResponse, error) {
	return a.answerFullUser(ctx, req.Username)
}

type listFullUsersResponse struct {
	Users []fullUser `json:"users"`
}

func (a *API) listFullUsers(ctx context.Context, _ *listUsersRequest) (*listFullUsersResponse, error) {
	users, roles, err := a.store.UsersWithRoles(ctx)
	if err != nil {
		return nil, err
	}
	groups, err := a.store.UserGroups(ctx)
	if err != nil {
		return nil, err
	}
	resp := &listFullUsersResponse{make([]fullUser, len(users))}
	for i, u := range users {
		resp.Users[i] = newFullUser(u, groups[u.ID], roles[u.ID])
	}
	return resp, nil
}
