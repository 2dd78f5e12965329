package mlflowapi

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"greenroom/auth"
	"greenroom/models"
)

// onGranted is what a permission is about: one experiment or registered model, whose managers grant it, or more, for administrators.
func onGranted(kind, pattern string) []target {
	switch one := !strings.Contains(pattern, "*"); {
	case one && kind == string(auth.Experiment) && pattern != "" && strings.Trim(pattern, "0123456789") == "":
		return onExperiment(pattern) // an experiment's name may be another's tomorrow
	case one && kind == string(auth.RegisteredModel):
		return onModel(pattern)
	}
	return []target{{kind: administration}}
}

func parseLevel(name string) (auth.Level, error) {
	level, err := auth.ParseLevel(name)
	if err != nil {
		return level, models.Refuse(err)
	}
	return level, nil
}

// permissionRef names what is granted to a user.
type permissionRef struct {
	Username     string `json:"username" mlflow:"required"`
	ResourceType string `json:"resource_type" mlflow:"required"`
	ResourceID   string `json:"resource_id" mlflow:"required"`
}

func (r permissionRef) targets() []target { return onGranted(r.ResourceType, r.ResourceID) }

type grantUserPermissionRequest struct {
	permissionRef
	Permission string `json:"permission" mlflow:"required"`
}

// grantUserPermission refuses where something is granted already, as in MLflow.
func (a *API) grantUserPermission(ctx context.Context, req *grantUserPermissionRequest) (*empty, error) {
	return grantDirectly(ctx, a.store.CreateGrant, models.Holder{User: req.Username}, req.ResourceType, req.ResourceID, req.Permission)
}

// setUserPermission puts a permission in place of what was granted there before.
func (a *API) setUserPermission(ctx context.Context, req *grantUserPermissionRequest) (*empty, error) {
	return grantDirectly(ctx, a.store.Grant, models.Holder{User: req.Username}, req.ResourceType, req.ResourceID, req.Permission)
}

// grantDirectly grants with one of the store's methods.
func grantDirectly(ctx context.Context, grant storeGrant, to models.Holder, kind, object, permission string) (*empty, error) {
	level, err := parseLevel(permission)
	if err != nil {
		return nil, err
	}
	return &empty{}, grant(ctx, to, models.DirectGrant(auth.Kind(kind), object, level))
}

// storeGrant is Grant, CreateGrant or UpdateGrant of the store.
type storeGrant func(context.Context, models.Holder, auth.Grant) error

func (a *API) revokeUserPermission(ctx context.Context, req *permissionRef) (*empty, error) {
	return &empty{}, a.store.Revoke(ctx, models.Holder{User: req.Username}, auth.Kind(req.ResourceType), req.ResourceID)
}

type getUserPermissionRequest struct{ permissionRef }

// Users may ask about themselves.
func (r getUserPermissionRequest) targets() []target {
	targets := r.permissionRef.targets()
	targets[0].self = r.Username
	return targets
}

type getUserPermissionResponse struct {
	// Allowed says that the permission is USE or more, as in MLflow.
	Allowed    bool   `json:"allowed"`
	Permission string `json:"permission"`
}

// getUserPermission tells what a user may do with an object by all the user's grants and roles.
func (a *API) getUserPermission(ctx context.Context, req *getUserPermissionRequest) (*getUserPermissionResponse, error) {
	if err := models.CheckKind(req.ResourceType); err != nil {
		return nil, err
	}
	object, err := a.permissionObject(ctx, auth.Kind(req.ResourceType), req.ResourceID)
	if err != nil {
		return nil, err
	}
	p := auth.Of(ctx)
	if !isSelf(p, req.Username) {
		account, err := a.account(ctx, req.Username)
		if err != nil {
			return nil, err
		}
		if p, err = a.cfg.Auth.PrincipalOf(ctx, account, nil); err != nil {
			return nil, err
		}
	}
	level := p.Level(object)
	return &getUserPermissionResponse{level >= auth.Use, level.String()}, nil
}

// permissionObject finds the object of a permission, also by an experiment's name. One that does not exist is none's.
func (a *API) permissionObject(ctx context.Context, kind auth.Kind, ref string) (auth.Object, error) {
	switch kind {
	case auth.Workspace:
		return auth.Server, nil
	case auth.RegisteredModel:
		return auth.Object{Kind: kind, Name: ref}, nil
	}
	var o auth.Object
	id, err := strconv.ParseInt(ref, 10, 64)
	if err == nil {
		o, err = a.store.ExperimentObject(ctx, id)
	} else {
		var e *models.Experiment
		if e, err = a.store.ExperimentByName(ctx, ref); err == nil {
			o = e.Object()
		}
	}
	if hasCode(err, models.ResourceDoesNotExist) {
		return auth.Object{Kind: kind, ID: ref, Name: ref}, nil
	}
	return o, err
}

func hasCode(err error, code models.Code) bool {
	var known *models.Error
	return errors.As(err, &known) && known.Code == code
}

// heldPermission is a permission and the role through which a user has it.
type heldPermission struct {
	RoleID          int64  `json:"role_id"`
	RoleName        string `json:"role_name"`
	Workspace       string `json:"workspace"`
	ResourceType    string `json:"resource_type"`
	ResourcePattern string `json:"resource_pattern"`
	Permission      string `json:"permission"`
}

type userPermissionsResponse struct {
	IsAdmin     bool             `json:"is_admin"`
	Permissions []heldPermission `json:"permissions"`
}

func answerPermissions(admin bool, roles []*models.Role) *userPermissionsResponse {
	resp := &userPermissionsResponse{IsAdmin: admin, Permissions: []heldPermission{}}
	for _, r := range roles {
		for _, p := range r.Permissions {
			resp.Permissions = append(resp.Permissions, heldPermission{r.ID, r.Name, theWorkspace, string(p.Kind), p.Pattern, p.Level.String()})
		}
	}
	return resp
}

type currentUserPermissionsRequest struct{ loggedIn }

func (a *API) currentUserPermissions(ctx context.Context, _ *currentUserPermissionsRequest) (*userPermissionsResponse, error) {
	p := auth.Of(ctx)
	roles, err := a.store.RolesOf(ctx, p.UserID, p.Groups)
	return answerPermissions(p.Unlimited(), roles), err
}

func (a *API) listUserPermissions(ctx context.Context, req *userRef) (*userPermissionsResponse, error) {
	u, err := a.store.User(ctx, req.Username)
	if err != nil {
		return nil, err
	}
	m, err := a.store.Membership(ctx, u.ID, nil, nil)
	if err != nil {
		return nil, err
	}
	roles, err := a.store.RolesOf(ctx, u.ID, m.Groups)
	return answerPermissions(u.Admin, roles), err
}

// The permissions of MLflow up to 3.6. What its clients call NO_PERMISSIONS overrules everything else, and is a DENY here.

type experimentPermission struct {
	ExperimentID string `json:"experiment_id"`
	UserID       int64  `json:"user_id"`
	Permission   string `json:"permission"`
}

type modelPermission struct {
	Name       string `json:"name"`
	UserID     int64  `json:"user_id"`
	Permission string `json:"permission"`
}

func legacyName(level auth.Level) string {
	if level == auth.Deny {
		level = auth.NoPermissions
	}
	return level.String()
}

func parseLegacyLevel(name string) (auth.Level, error) {
	level, err := parseLevel(name)
	if level == auth.NoPermissions {
		level = auth.Deny
	}
	return level, err
}

type experimentPermissionRef struct {
	ExperimentID string `json:"experiment_id" mlflow:"required"`
	Username     string `json:"username" mlflow:"required"`
}

func (r experimentPermissionRef) targets() []target {
	return onGranted(string(auth.Experiment), r.ExperimentID)
}

func (r experimentPermissionRef) legacy() legacyRef {
	return legacyRef{
		auth.Experiment, r.ExperimentID, r.Username,
		fmt.Sprintf("Experiment permission (experiment_id=%s, username=%s) already exists.", r.ExperimentID, r.Username),
		fmt.Sprintf("Experiment permission with experiment_id=%s and username=%s not found", r.ExperimentID, r.Username),
	}
}

type setExperimentPermissionRequest struct {
	experimentPermissionRef
	Permission string `json:"permission" mlflow:"required"`
}

type experimentPermissionResponse struct {
	ExperimentPermission experimentPermission `json:"experiment_permission"`
}

type modelPermissionRef struct {
	Name     string `json:"name" mlflow:"required"`
	Username string `json:"username" mlflow:"required"`
}

func (r modelPermissionRef) targets() []target {
	return onGranted(string(auth.RegisteredModel), r.Name)
}

func (r modelPermissionRef) legacy() legacyRef {
	return legacyRef{
		auth.RegisteredModel, r.Name, r.Username,
		fmt.Sprintf("Registered model permission (name=%s, username=%s) already exists.", r.Name, r.Username),
		fmt.Sprintf("Registered model permission with name=%s and username=%s not found", r.Name, r.Username),
	}
}

type setModelPermissionRequest struct {
	modelPermissionRef
	Permission string `json:"permission" mlflow:"required"`
}

type modelPermissionResponse struct {
	RegisteredModelPermission modelPermission `json:"registered_model_permission"`
}

// legacyRef names a permission of a user, and how clients know that there is one or none.
type legacyRef struct {
	kind            auth.Kind
	object, user    string
	exists, missing string
}

func (r legacyRef) holder() models.Holder { return models.Holder{User: r.user} }

// explainLegacy puts the message of MLflow up to 3.6 on an error about the permission.
func (a *API) explainLegacy(ctx context.Context, r legacyRef, err error) error {
	switch {
	case hasCode(err, models.ResourceAlreadyExists):
		return &models.Error{Code: models.ResourceAlreadyExists, Message: r.exists}
	case hasCode(err, models.ResourceDoesNotExist):
		if _, err := a.store.User(ctx, r.user); err != nil {
			return err
		}
		return &models.Error{Code: models.ResourceDoesNotExist, Message: r.missing}
	}
	return err
}

// grantLegacy grants with one of the store's methods, and gives what clients know of it: the user's id and the level's name.
func (a *API) grantLegacy(ctx context.Context, r legacyRef, permission string, grant storeGrant) (int64, string, error) {
	level, err := parseLegacyLevel(permission)
	if err != nil {
		return 0, "", err
	}
	if err := grant(ctx, r.holder(), models.DirectGrant(r.kind, r.object, level)); err != nil {
		return 0, "", a.explainLegacy(ctx, r, err)
	}
	return a.heldLegacy(ctx, r)
}

func (a *API) heldLegacy(ctx context.Context, r legacyRef) (int64, string, error) {
	u, err := a.store.User(ctx, r.user)
	if err != nil {
		return 0, "", err
	}
	g, err := a.store.HeldGrant(ctx, r.holder(), r.kind, r.object)
	return u.ID, legacyName(g.Level), a.explainLegacy(ctx, r, err)
}

func (a *API) revokeLegacy(ctx context.Context, r legacyRef) (*empty, error) {
	return &empty{}, a.explainLegacy(ctx, r, a.store.Revoke(ctx, r.holder(), r.kind, r.object))
}

func (a *API) createExperimentPermission(ctx context.Context, req *setExperimentPermissionRequest) (*experimentPermissionResponse, error) {
	id, level, err := a.grantLegacy(ctx, req.legacy(), req.Permission, a.store.CreateGrant)
	return &experimentPermissionResponse{experimentPermission{req.ExperimentID, id, level}}, err
}

func (a *API) getExperimentPermission(ctx context.Context, req *experimentPermissionRef) (*experimentPermissionResponse, error) {
	id, level, err := a.heldLegacy(ctx, req.legacy())
	return &experimentPermissionResponse{experimentPermission{req.ExperimentID, id, level}}, err
}

func (a *API) updateExperimentPermission(ctx context.Context, req *setExperimentPermissionRequest) (*empty, error) {
	_, _, err := a.grantLegacy(ctx, req.legacy(), req.Permission, a.store.UpdateGrant)
	return &empty{}, err
}

func (a *API) deleteExperimentPermission(ctx context.Context, req *experimentPermissionRef) (*empty, error) {
	return a.revokeLegacy(ctx, req.legacy())
}

func (a *API) createModelPermission(ctx context.Context, req *setModelPermissionRequest) (*modelPermissionResponse, error) {
	id, level, err := a.grantLegacy(ctx, req.legacy(), req.Permission, a.store.CreateGrant)
	return &modelPermissionResponse{modelPermission{req.Name, id, level}}, err
}

func (a *API) getModelPermission(ctx context.Context, req *modelPermissionRef) (*modelPermissionResponse, error) {
	id, level, err := a.heldLegacy(ctx, req.legacy())
	return &modelPermissionResponse{modelPermission{req.Name, id, level}}, err
}

func (a *API) updateModelPermission(ctx context.Context, req *setModelPermissionRequest) (*empty, error) {
	_, _, err := a.grantLegacy(ctx, req.legacy(), req.Permission, a.store.UpdateGrant)
	return &empty{}, err
}

func (a *API) deleteModelPermission(ctx context.Context, req *modelPermissionRef) (*empty, error) {
	return a.revokeLegacy(ctx, req.legacy())
}
