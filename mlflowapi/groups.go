package mlflowapi

import (
	"context"

	"greenroom/auth"
	"greenroom/models"
)

type group struct {
	ID        int64    `json:"id"`
	Name      string   `json:"name"`
	CreatedAt int64    `json:"created_at"` // milliseconds since 1970
	Members   []string `json:"members"`
	// Roles are those of the group itself, with the hidden one that holds what is granted to it directly.
	Roles []role `json:"roles"`
}

func newGroup(g *models.Group) group {
	return group{g.ID, g.Name, g.CreatedAt, append([]string{}, g.Members...), newRoles(g.Roles)}
}

type groupResponse struct {
	Group group `json:"group"`
}

func answerGroup(g *models.Group, err error) (*groupResponse, error) {
	if err != nil {
		return nil, err
	}
	return &groupResponse{newGroup(g)}, nil
}

type groupRef struct {
	adminOnly
	Name string `json:"name" mlflow:"required"`
}

func (a *API) createGroup(ctx context.Context, req *groupRef) (*groupResponse, error) {
	return answerGroup(a.store.CreateGroup(ctx, req.Name))
}

func (a *API) getGroup(ctx context.Context, req *groupRef) (*groupResponse, error) {
	return answerGroup(a.store.Group(ctx, req.Name))
}

func (a *API) deleteGroup(ctx context.Context, req *groupRef) (*empty, error) {
	return &empty{}, a.store.DeleteGroup(ctx, req.Name)
}

type listGroupsRequest struct{ adminOnly }

type listGroupsResponse struct {
	Groups []group `json:"groups"`
}

func (a *API) listGroups(ctx context.Context, _ *listGroupsRequest) (*listGroupsResponse, error) {
	groups, err := a.store.Groups(ctx)
	if err != nil {
		return nil, err
	}
	resp := &listGroupsResponse{Groups: make([]group, len(groups))}
	for i, g := range groups {
		resp.Groups[i] = newGroup(g)
	}
	return resp, nil
}

type groupMember struct {
	adminOnly
	GroupName string `json:"group_name" mlflow:"required"`
	Username  string `json:"username" mlflow:"required"`
}

func (a *API) addGroupMember(ctx context.Context, req *groupMember) (*empty, error) {
	return &empty{}, a.store.AddMember(ctx, req.GroupName, req.Username)
}

func (a *API) removeGroupMember(ctx context.Context, req *groupMember) (*empty, error) {
	return &empty{}, a.store.RemoveMember(ctx, req.GroupName, req.Username)
}

type groupRole struct {
	adminOnly
	GroupName string `json:"group_name" mlflow:"required"`
	RoleID    int64  `json:"role_id" mlflow:"required"`
}

func (a *API) assignGroupRole(ctx context.Context, req *groupRole) (*empty, error) {
	_, err := a.store.AssignRole(ctx, models.Holder{Group: req.GroupName}, req.RoleID)
	return &empty{}, err
}

func (a *API) unassignGroupRole(ctx context.Context, req *groupRole) (*empty, error) {
	return &empty{}, a.store.UnassignRole(ctx, models.Holder{Group: req.GroupName}, req.RoleID)
}

// groupPermissionRef names what is granted to a group. Who manages one experiment or model grants it, as to users.
type groupPermissionRef struct {
	GroupName    string `json:"group_name" mlflow:"required"`
	ResourceType string `json:"resource_type" mlflow:"required"`
	ResourceID   string `json:"resource_id" mlflow:"required"`
}

func (r groupPermissionRef) targets() []target { return onGranted(r.ResourceType, r.ResourceID) }

type grantGroupPermissionRequest struct {
	groupPermissionRef
	Permission string `json:"permission" mlflow:"required"`
}

// grantGroupPermission puts a permission in place of what was granted there before.
func (a *API) grantGroupPermission(ctx context.Context, req *grantGroupPermissionRequest) (*empty, error) {
	return grantDirectly(ctx, a.store.Grant, models.Holder{Group: req.GroupName}, req.ResourceType, req.ResourceID, req.Permission)
}

func (a *API) revokeGroupPermission(ctx context.Context, req *groupPermissionRef) (*empty, error) {
	return &empty{}, a.store.Revoke(ctx, models.Holder{Group: req.GroupName}, auth.Kind(req.ResourceType), req.ResourceID)
}

type listGroupPermissionsRequest struct {
	adminOnly
	GroupName string `json:"group_name" mlflow:"required"`
}

type groupPermission struct {
	ResourceType string `json:"resource_type"`
	ResourceID   string `json:"resource_id"`
	Permission   string `json:"permission"`
}

type groupPermissionsResponse struct {
	Permissions []groupPermission `json:"permissions"`
}

// listGroupPermissions gives what is granted to a group directly, without what its roles hold.
func (a *API) listGroupPermissions(ctx context.Context, req *listGroupPermissionsRequest) (*groupPermissionsResponse, error) {
	grants, err := a.store.HeldGrants(ctx, models.Holder{Group: req.GroupName})
	if err != nil {
		return nil, err
	}
	resp := &groupPermissionsResponse{Permissions: make([]groupPermission, len(grants))}
	for i, g := range grants {
		resp.Permissions[i] = groupPermission{string(g.Kind), g.Pattern, g.Level.String()}
	}
	return resp, nil
}
