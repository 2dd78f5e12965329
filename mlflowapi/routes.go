package mlflowapi

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"
)

// route is one RPC of MLflow: path is relative to /api/<version>/mlflow/.
type route struct {
	method, version, path string
	call                  func(*gin.Context) (any, error)
}

func get[Req, Resp any](path string, handle func(context.Context, *Req) (*Resp, error)) route {
	return route{http.MethodGet, "2.0", path, rpc(handle)}
}

func post[Req, Resp any](path string, handle func(context.Context, *Req) (*Resp, error)) route {
	return route{http.MethodPost, "2.0", path, rpc(handle)}
}

func patch[Req, Resp any](path string, handle func(context.Context, *Req) (*Resp, error)) route {
	return route{http.MethodPatch, "2.0", path, rpc(handle)}
}

func del[Req, Resp any](path string, handle func(context.Context, *Req) (*Resp, error)) route {
	return route{http.MethodDelete, "2.0", path, rpc(handle)}
}

// routes is every RPC served. An endpoint is one line here and a handler in its topic's file.
func (a *API) routes() []route {
	return []route{
		post("experiments/create", a.createExperiment),
		get("experiments/get", a.getExperiment),
		get("experiments/get-by-name", a.getExperimentByName),
		get("experiments/search", a.searchExperiments),
		post("experiments/search", a.searchExperiments),
		get("experiments/list", a.listExperiments),
		post("experiments/update", a.updateExperiment),
		post("experiments/delete", a.deleteExperiment),
		post("experiments/restore", a.restoreExperiment),
		post("experiments/set-experiment-tag", a.setExperimentTag),
		post("experiments/delete-experiment-tag", a.deleteExperimentTag),

		post("runs/create", a.createRun),
		get("runs/get", a.getRun),
		post("runs/update", a.updateRun),
		post("runs/delete", a.deleteRun),
		post("runs/restore", a.restoreRun),
		post("runs/search", a.searchRuns),
		post("runs/log-metric", a.logMetric),
		post("runs/log-parameter", a.logParam),
		post("runs/set-tag", a.setTag),
		post("runs/delete-tag", a.deleteTag),
		post("runs/log-batch", a.logBatch),
		post("runs/log-model", a.logModel),
		post("runs/log-inputs", a.logInputs),
		post("runs/outputs", a.logOutputs),
		get("metrics/get-history", a.getMetricHistory),
		get("metrics/get-history-bulk-interval", a.getMetricHistoryInterval),

		post("registered-models/create", a.createRegisteredModel),
		get("registered-models/get", a.getRegisteredModel),
		get("registered-models/search", a.searchRegisteredModels),
		get("registered-models/list", a.listRegisteredModels),
		post("registered-models/rename", a.renameRegisteredModel),
		patch("registered-models/update", a.updateRegisteredModel),
		del("registered-models/delete", a.deleteRegisteredModel),
		get("registered-models/get-latest-versions", a.getLatestVersions),
		post("registered-models/get-latest-versions", a.getLatestVersions),
		post("registered-models/set-tag", a.setRegisteredModelTag),
		del("registered-models/delete-tag", a.deleteRegisteredModelTag),
		post("registered-models/alias", a.setAlias),
		get("registered-models/alias", a.getModelVersionByAlias),
		del("registered-models/alias", a.deleteAlias),

		post("model-versions/create", a.createModelVersion),
		get("model-versions/get", a.getModelVersion),
		patch("model-versions/update", a.updateModelVersion),
		del("model-versions/delete", a.deleteModelVersion),
		get("model-versions/search", a.searchModelVersions),
		get("model-versions/get-download-uri", a.getDownloadURI),
		post("model-versions/transition-stage", a.transitionStage),
		post("model-versions/set-tag", a.setModelVersionTag),
		del("model-versions/delete-tag", a.deleteModelVersionTag),

		get("artifacts/list", a.listArtifacts),
		get("logged-models/:model_id/artifacts/directories", a.listLoggedModelArtifacts),
		post("artifacts/presigned-upload-url", a.presignedUpload),
		post("artifacts/presigned-download-url", a.presignedDownload),

		post("logged-models", a.createLoggedModel),
		post("logged-models/search", a.searchLoggedModels),
		get("logged-models/:model_id", a.getLoggedModel),
		patch("logged-models/:model_id", a.finalizeLoggedModel),
		del("logged-models/:model_id", a.deleteLoggedModel),
		post("logged-models/:model_id/params", a.logLoggedModelParams),
		patch("logged-models/:model_id/tags", a.setLoggedModelTags),
		del("logged-models/:model_id/tags/:tag_key", a.deleteLoggedModelTag),
	}
}

// pageRoutes are the RPCs that only MLflow's own pages call, under /ajax-api alone.
func (a *API) pageRoutes() []route {
	return []route{
		post("experiments/search-datasets", a.searchDatasets),
		get("metrics/get-history-bulk", a.getMetricHistoryBulk),
	}
}

// mount adds every route under /api, under /ajax-api (where MLflow's own pages call) and under /api/2.0/preview
// (where clients 1.x call the registry), and the few that sit at the root.
func (a *API) mount(engine *gin.Engine) {
	root := engine.Group(a.cfg.StaticPrefix)
	for _, r := range a.routes() {
		handler := a.serve(r.call)
		for _, base := range []string{"/api/" + r.version, "/ajax-api/" + r.version} {
			root.Handle(r.method, base+"/mlflow/"+r.path, handler)
		}
		if r.version == "2.0" {
			root.Handle(r.method, "/api/2.0/preview/mlflow/"+r.path, handler)
		}
	}
	a.mountArtifacts(root)
	for _, r := range a.pageRoutes() {
		root.Handle(r.method, "/ajax-api/"+r.version+"/mlflow/"+r.path, a.serve(r.call))
	}
	info := a.serve(rpc(a.serverInfo))
	root.GET("/api/3.0/mlflow/server-info", info)
	root.GET("/ajax-api/3.0/mlflow/server-info", info)

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
