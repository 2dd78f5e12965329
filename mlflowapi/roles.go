package mlflowapi

import (
	"context"
	"slices"
	"strconv"

	"greenroom/auth"
	"greenroom/models"
)

type role struct {
	ID          int64            `json:"id"`
	Name        string           `json:"name"`
	Workspace   string           `json:"workspace"`
	Description *string          `json:"description"`
	Permissions []rolePermission `json:"permissions"`
}

type rolePermission struct {
	ID              int64  `json:"id"`
	RoleID          int64  `json:"role_id"`
	ResourceType    string `json:"resource_type"`
	ResourcePattern string `json:"resource_pattern"`
	Permission      string `json:"permission"`
}

func newRole(r *models.Role) role {
	return role{r.ID, r.Name, theWorkspace, r.Description, newRolePermissions(r.Permissions)}
}

func newRoles(roles []*models.Role) []role {
	out := make([]role, len(roles))
	for i, r := range roles {
		out[i] = newRole(r)
	}
	return out
}

func newRolePermission(p models.RolePermission) rolePermission {
	return rolePermission{p.ID, p.RoleID, string(p.Kind), p.Pattern, p.Level.String()}
}

func newRolePermissions(permissions []models.RolePermission) []rolePermission {
	out := make([]rolePermission, len(permissions))
	for i, p := range permissions {
		out[i] = newRolePermission(p)
	}
	return out
}

type roleResponse struct {
	Role role `json:"role"`
}

func answerRole(r *models.Role, err error) (*roleResponse, error) {
	if err != nil {
		return nil, err
	}
	return &roleResponse{newRole(r)}, nil
}

type createRoleRequest struct {
	adminOnly
	Name        string  `json:"name" mlflow:"required"`
	Workspace   string  `json:"workspace" mlflow:"required"`
	Description *string `json:"description"`
}

func (a *API) createRole(ctx context.Context, req *createRoleRequest) (*roleResponse, error) {
	if req.Workspace != theWorkspace {
		return nil, invalid("There is no workspace '%s': this server has one, 'default'.", req.Workspace)
	}
	return answerRole(a.store.CreateRole(ctx, req.Name, req.Description))
}

// theWorkspace is MLflow's name of the only workspace.
const theWorkspace = "default"

type roleRef struct {
	RoleID int64 `json:"role_id" mlflow:"required"`
}

// A role is for administrators and for those who have it to see.
func (r roleRef) targets() []target {
	return []target{{kind: roleByID, ref: strconv.FormatInt(r.RoleID, 10)}}
}

// holdsRole tells whether a role is among those of the user and the user's groups.
func (a *API) holdsRole(ctx context.Context, p *auth.Principal, id string) (bool, error) {
	roles, err := a.store.RolesOf(ctx, p.UserID, p.Groups)
	return slices.ContainsFunc(roles, func(r *models.Role) bool { return strconv.FormatInt(r.ID, 10) == id }), err
}

func (a *API) getRole(ctx context.Context, req *roleRef) (*roleResponse, error) {
	return answerRole(a.store.Role(ctx, req.RoleID))
}

type listRolesRequest struct {
	filtered
	Workspace []string `json:"workspace"`
}

type rolesResponse struct {
	Roles []role `json:"roles"`
}

// listRoles shows users the roles they have, and administrators all.
func (a *API) listRoles(ctx context.Context, req *listRolesRequest) (*rolesResponse, error) {
	if len(req.Workspace) > 0 && !slices.Contains(req.Workspace, theWorkspace) {
		return &rolesResponse{[]role{}}, nil
	}
	var roles []*models.Role
	var err error
	if p := auth.Of(ctx); p.Unlimited() {
		roles, err = a.store.Roles(ctx)
	} else {
		roles, err = a.store.RolesOf(ctx, p.UserID, p.Groups)
	}
	return &rolesResponse{newRoles(roles)}, err
}

func (a *API) listUserRoles(ctx context.Context, req *userRef) (*rolesResponse, error) {
	roles, err := a.store.HolderRoles(ctx, models.Holder{User: req.Username})
	return &rolesResponse{newRoles(roles)}, err
}

type updateRoleRequest struct {
	adminOnRole
	Name        *string `json:"name"`
	Description *string `json:"description"`
}

func (a *API) updateRole(ctx context.Context, req *updateRoleRequest) (*roleResponse, error) {
	if req.Name == nil && req.Description == nil {
		return nil, invalid("At least one of 'name' or 'description' must be provided to update a role.")
	}
	return answerRole(a.store.UpdateRole(ctx, req.RoleID, req.Name, req.Description))
}

type changeRoleRequest struct {
	adminOnRole
}

func (a *API) deleteRole(ctx context.Context, req *changeRoleRequest) (*empty, error) {
	return &empty{}, a.store.DeleteRole(ctx, req.RoleID)
}

type roleAssignment struct {
	ID     int64 `json:"id"`
	UserID int64 `json:"user_id"`
	RoleID int64 `json:"role_id"`
}

type assignRoleRequest struct {
	adminOnRole
	Username string `json:"username" mlflow:"required"`
}

type assignRoleResponse struct {
	Assignment roleAssignment `json:"assignment"`
}

func (a *API) assignRole(ctx context.Context, req *assignRoleRequest) (*assignRoleResponse, error) {
	made, err := a.store.AssignRole(ctx, models.Holder{User: req.Username}, req.RoleID)
	return &assignRoleResponse{roleAssignment(made)}, err
}

func (a *API) unassignRole(ctx context.Context, req *assignRoleRequest) (*empty, error) {
	return &empty{}, a.store.UnassignRole(ctx, models.Holder{User: req.Username}, req.RoleID)
}

type roleUsersResponse struct {
	Assignments []roleAssignment `json:"assignments"`
}

func (a *API) listRoleUsers(ctx context.Context, req *changeRoleRequest) (*roleUsersResponse, error) {
	found, err := a.store.RoleUsers(ctx, req.RoleID)
	resp := &roleUsersResponse{Assignments: make([]roleAssignment, len(found))}
	for i, f := range found {
		resp.Assignments[i] = roleAssignment(f)
	}
	return resp, err
}

type rolePermissionResponse struct {
	RolePermission rolePermission `json:"role_permission"`
}

type addRolePermissionRequest struct {
	adminOnRole
	ResourceType    string `json:"resource_type" mlflow:"required"`
	ResourcePattern string `json:"resource_pattern" mlflow:"required"`
	Permission      string `json:"permission" mlflow:"required"`
}

func (a *API) addRolePermission(ctx context.Context, req *addRolePermissionRequest) (*rolePermissionResponse, error) {
	level, err := parseLevel(req.Permission)
	if err != nil {
		return nil, err
	}
	p, err := a.store.AddRolePermission(ctx, req.RoleID, auth.Grant{Kind: auth.Kind(req.ResourceType), Pattern: req.ResourcePattern, Level: level})
	return &rolePermissionResponse{newRolePermission(p)}, err
}

type rolePermissionsResponse struct {
	RolePermissions []rolePermission `json:"role_permissions"`
}

func (a *API) listRolePermissions(ctx context.Context, req *roleRef) (*rolePermissionsResponse, error) {
	r, err := a.store.Role(ctx, req.RoleID)
	if err != nil {
		return nil, err
	}
	return &rolePermissionsResponse{newRolePermissions(r.Permissions)}, nil
}

type updateRolePermissionRequest struct {
	adminOnly
	RolePermissionID int64  `json:"role_permission_id" mlflow:"required"`
	Permission       string `json:"permission" mlflow:"required"`
}

func (a *API) updateRolePermission(ctx context.Context, req *updateRolePermissionRequest) (*rolePermissionResponse, error) {
	level, err := parseLevel(req.Permission)
	if err != nil {
		return nil, err
	}
	p, err := a.store.UpdateRolePermission(ctx, req.RolePermissionID, level)
	return &rolePermissionResponse{newRolePermission(p)}, err
}

type removeRolePermissionRequest struct {
	adminOnly
	RolePermissionID int64 `json:"role_permission_id" mlflow:"required"`
}

func (a *API) removeRolePermission(ctx context.Context, req *removeRolePermissionRequest) (*empty, error) {
	return &empty{}, a.store.RemoveRolePermission(ctx, req.RolePermissionID)
}
