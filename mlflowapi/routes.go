package mlflowapi

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"

	"greenroom/auth"
)

// route is one RPC: path is relative to /api/<version>/<base>/, where base is mlflow, or greenroom for what MLflow has no
// RPC for; level is what its caller needs on its targets. What it changes goes into the audit log, unless it is marked as logging.
type route struct {
	method, version, base, path string
	level                       auth.Level
	call                        call
	logging                     bool
}

func get[Req, Resp any, P request[Req]](path string, level auth.Level, handle func(context.Context, P) (*Resp, error)) route {
	return route{http.MethodGet, "2.0", "mlflow", path, level, rpc(handle), false}
}

func post[Req, Resp any, P request[Req]](path string, level auth.Level, handle func(context.Context, P) (*Resp, error)) route {
	return route{http.MethodPost, "2.0", "mlflow", path, level, rpc(handle), false}
}

func patch[Req, Resp any, P request[Req]](path string, level auth.Level, handle func(context.Context, P) (*Resp, error)) route {
	return route{http.MethodPatch, "2.0", "mlflow", path, level, rpc(handle), false}
}

func del[Req, Resp any, P request[Req]](path string, level auth.Level, handle func(context.Context, P) (*Resp, error)) route {
	return route{http.MethodDelete, "2.0", "mlflow", path, level, rpc(handle), false}
}

// v3 is the route under version 3.0 of the API.
func v3(r route) route {
	r.version = "3.0"
	return r
}

// logging is a route by which a run or a logged model is filled: there are too many such changes for the audit log.
func logging(r route) route {
	r.logging = true
	return r
}

// own is the route as one of Greenroom's own.
func own(r route) route {
	r.version, r.base = "3.0", "greenroom"
	return r
}

// routes is every RPC served. An endpoint is one line here and a handler in its topic's file.
func (a *API) routes() []route {
	return []route{
		post("experiments/create", auth.Edit, a.createExperiment),
		get("experiments/get", auth.Read, a.getExperiment),
		get("experiments/get-by-name", auth.Read, a.getExperimentByName),
		get("experiments/search", auth.Read, a.searchExperiments),
		post("experiments/search", auth.Read, a.searchExperiments),
		get("experiments/list", auth.Read, a.listExperiments),
		post("experiments/update", auth.Edit, a.updateExperiment),
		post("experiments/delete", auth.Manage, a.deleteExperiment),
		post("experiments/restore", auth.Manage, a.restoreExperiment),
		post("experiments/set-experiment-tag", auth.Edit, a.setExperimentTag),
		post("experiments/delete-experiment-tag", auth.Edit, a.deleteExperimentTag),

		logging(post("runs/create", auth.Edit, a.createRun)),
		get("runs/get", auth.Read, a.getRun),
		logging(post("runs/update", auth.Edit, a.updateRun)),
		post("runs/delete", auth.Manage, a.deleteRun),
		post("runs/restore", auth.Manage, a.restoreRun),
		post("runs/search", auth.Read, a.searchRuns),
		logging(post("runs/log-metric", auth.Edit, a.logMetric)),
		logging(post("runs/log-parameter", auth.Edit, a.logParam)),
		logging(post("runs/set-tag", auth.Edit, a.setTag)),
		logging(post("runs/delete-tag", auth.Edit, a.deleteTag)),
		logging(post("runs/log-batch", auth.Edit, a.logBatch)),
		logging(post("runs/log-model", auth.Edit, a.logModel)),
		logging(post("runs/log-inputs", auth.Edit, a.logInputs)),
		logging(post("runs/outputs", auth.Edit, a.logOutputs)),
		get("metrics/get-history", auth.Read, a.getMetricHistory),
		get("metrics/get-history-bulk-interval", auth.Read, a.getMetricHistoryInterval),

		post("registered-models/create", auth.Edit, a.createRegisteredModel),
		get("registered-models/get", auth.Read, a.getRegisteredModel),
		get("registered-models/search", auth.Read, a.searchRegisteredModels),
		get("registered-models/list", auth.Read, a.listRegisteredModels),
		post("registered-models/rename", auth.Edit, a.renameRegisteredModel),
		patch("registered-models/update", auth.Edit, a.updateRegisteredModel),
		del("registered-models/delete", auth.Manage, a.deleteRegisteredModel),
		get("registered-models/get-latest-versions", auth.Read, a.getLatestVersions),
		post("registered-models/get-latest-versions", auth.Read, a.getLatestVersions),
		post("registered-models/set-tag", auth.Edit, a.setRegisteredModelTag),
		del("registered-models/delete-tag", auth.Edit, a.deleteRegisteredModelTag),
		post("registered-models/alias", auth.Edit, a.setAlias),
		get("registered-models/alias", auth.Read, a.getModelVersionByAlias),
		del("registered-models/alias", auth.Manage, a.deleteAlias),

		post("model-versions/create", auth.Edit, a.createModelVersion),
		get("model-versions/get", auth.Read, a.getModelVersion),
		patch("model-versions/update", auth.Edit, a.updateModelVersion),
		del("model-versions/delete", auth.Manage, a.deleteModelVersion),
		get("model-versions/search", auth.Read, a.searchModelVersions),
		get("model-versions/get-download-uri", auth.Read, a.getDownloadURI),
		post("model-versions/transition-stage", auth.Edit, a.transitionStage),
		post("model-versions/set-tag", auth.Edit, a.setModelVersionTag),
		del("model-versions/delete-tag", auth.Manage, a.deleteModelVersionTag),

		get("artifacts/list", auth.Read, a.listArtifacts),
		get("logged-models/:model_id/artifacts/directories", auth.Read, a.listLoggedModelArtifacts),
		post("artifacts/presigned-upload-url", auth.Edit, a.presignedUpload),
		post("artifacts/presigned-download-url", auth.Read, a.presignedDownload),

		logging(post("logged-models", auth.Edit, a.createLoggedModel)),
		post("logged-models/search", auth.Read, a.searchLoggedModels),
		get("logged-models/:model_id", auth.Read, a.getLoggedModel),
		logging(patch("logged-models/:model_id", auth.Edit, a.finalizeLoggedModel)),
		del("logged-models/:model_id", auth.Manage, a.deleteLoggedModel),
		logging(post("logged-models/:model_id/params", auth.Edit, a.logLoggedModelParams)),
		logging(patch("logged-models/:model_id/tags", auth.Edit, a.setLoggedModelTags)),
		logging(del("logged-models/:model_id/tags/:tag_key", auth.Edit, a.deleteLoggedModelTag)),

		post("users/create", auth.Manage, a.createUser),
		get("users/get", auth.Manage, a.getUser),
		get("users/list", auth.Manage, a.listUsers),
		get("users/current", auth.Read, a.currentUser),
		patch("users/update-password", auth.Manage, a.updateUserPassword),
		patch("users/update-admin", auth.Manage, a.updateUserAdmin),
		del("users/delete", auth.Manage, a.deleteUser),

		v3(get("users/current/permissions", auth.Read, a.currentUserPermissions)),
		v3(get("users/permissions/list", auth.Manage, a.listUserPermissions)),
		v3(get("users/permissions/get", auth.Manage, a.getUserPermission)),
		v3(post("users/permissions/grant", auth.Manage, a.grantUserPermission)),
		v3(post("users/permissions/revoke", auth.Manage, a.revokeUserPermission)),
		v3(get("users/roles/list", auth.Manage, a.listUserRoles)),
		v3(post("roles/create", auth.Manage, a.createRole)),
		v3(get("roles/get", auth.Read, a.getRole)),
		v3(get("roles/list", auth.Read, a.listRoles)),
		v3(patch("roles/update", auth.Manage, a.updateRole)),
		v3(del("roles/delete", auth.Manage, a.deleteRole)),
		v3(post("roles/assign", auth.Manage, a.assignRole)),
		v3(del("roles/unassign", auth.Manage, a.unassignRole)),
		v3(get("roles/users/list", auth.Manage, a.listRoleUsers)),
		v3(post("roles/permissions/add", auth.Manage, a.addRolePermission)),
		v3(get("roles/permissions/list", auth.Read, a.listRolePermissions)),
		v3(patch("roles/permissions/update", auth.Manage, a.updateRolePermission)),
		v3(del("roles/permissions/remove", auth.Manage, a.removeRolePermission)),

		// What MLflow served up to 3.6, and its clients of that time ask for.
		post("experiments/permissions/create", auth.Manage, a.createExperimentPermission),
		get("experiments/permissions/get", auth.Manage, a.getExperimentPermission),
		patch("experiments/permissions/update", auth.Manage, a.updateExperimentPermission),
		del("experiments/permissions/delete", auth.Manage, a.deleteExperimentPermission),
		post("registered-models/permissions/create", auth.Manage, a.createModelPermission),
		get("registered-models/permissions/get", auth.Manage, a.getModelPermission),
		patch("registered-models/permissions/update", auth.Manage, a.updateModelPermission),
		del("registered-models/permissions/delete", auth.Manage, a.deleteModelPermission),

		own(get("audit/search", auth.Read, a.searchAudit)),
		own(post("setup", auth.NoPermissions, a.setUp)),
		own(get("auth/whoami", auth.NoPermissions, a.whoAmI)),
		own(get("auth/explain", auth.Manage, a.explain)),
		own(post("tokens/create", auth.NoPermissions, a.createToken)),
		own(get("tokens/list", auth.NoPermissions, a.listTokens)),
		own(post("tokens/revoke", auth.NoPermissions, a.revokeToken)),
		own(post("tokens/revoke-jwt", auth.NoPermissions, a.revokeJWT)),
		own(post("users/revoke-all", auth.NoPermissions, a.revokeAll)),
		own(post("users/create", auth.Manage, a.createFullUser)),
		own(get("users/get", auth.Manage, a.getFullUser)),
		own(get("users/list", auth.Manage, a.listFullUsers)),
		own(post("users/permissions/grant", auth.Manage, a.setUserPermission)),
		own(post("users/permissions/revoke", auth.Manage, a.revokeUserPermission)),
		own(patch("users/update-disabled", auth.Manage, a.updateDisabled)),
		own(post("groups/create", auth.Manage, a.createGroup)),
		own(get("groups/get", auth.Manage, a.getGroup)),
		own(get("groups/list", auth.Manage, a.listGroups)),
		own(del("groups/delete", auth.Manage, a.deleteGroup)),
		own(post("groups/add-member", auth.Manage, a.addGroupMember)),
		own(post("groups/remove-member", auth.Manage, a.removeGroupMember)),
		own(post("groups/roles/assign", auth.Manage, a.assignGroupRole)),
		own(post("groups/roles/unassign", auth.Manage, a.unassignGroupRole)),
		own(post("groups/permissions/grant", auth.Manage, a.grantGroupPermission)),
		own(post("groups/permissions/revoke", auth.Manage, a.revokeGroupPermission)),
		own(get("groups/permissions/list", auth.Manage, a.listGroupPermissions)),
	}
}

// pageRoutes are the RPCs that only MLflow's own pages call, under /ajax-api alone.
func (a *API) pageRoutes() []route {
	return []route{
		post("experiments/search-datasets", auth.Read, a.searchDatasets),
		get("metrics/get-history-bulk", auth.Read, a.getMetricHistoryBulk),
	}
}

// mount adds every route under /api, under /ajax-api (where MLflow's own pages call) and under /api/2.0/preview
// (where clients 1.x call the registry), and the few that sit at the root.
func (a *API) mount(engine *gin.Engine) {
	root := engine.Group(a.cfg.StaticPrefix)
	for _, r := range a.routes() {
		handler := a.serve(r)
		for _, base := range []string{"/api/" + r.version, "/ajax-api/" + r.version} {
			root.Handle(r.method, base+"/"+r.base+"/"+r.path, handler)
		}
		if r.version == "2.0" {
			root.Handle(r.method, "/api/2.0/preview/mlflow/"+r.path, handler)
		}
	}
	a.mountArtifacts(root)
	for _, r := range a.pageRoutes() {
		root.Handle(r.method, "/ajax-api/"+r.version+"/mlflow/"+r.path, a.serve(r))
	}
	info := a.serve(route{level: auth.NoPermissions, call: a.serverInfo})
	root.GET("/api"+serverInfoPath, info)
	root.GET("/ajax-api"+serverInfoPath, info)

	root.GET("/", plainText("Greenroom "+a.cfg.Version+" serves MLflow's REST API here. It has no web pages: point a client at this address with MLFLOW_TRACKING_URI.\n"))
	a.mountProbes(root)
	if a.cfg.StaticPrefix != "" {
		a.mountProbes(engine.Group(""))
	}
}

// mountProbes adds what load balancers, orchestrators and Prometheus ask for; they know no static prefix.
func (a *API) mountProbes(root *gin.RouterGroup) {
	probes := map[string]gin.HandlerFunc{
		"/health": plainText("OK"), "/livez": plainText("OK"), "/readyz": a.ready, "/version": plainText(MLflowVersion),
		"/metrics": gin.WrapH(a.metrics.handler()),
	}
	for path, handler := range probes {
		root.GET(path, handler)
		root.HEAD(path, handler)
	}
}
