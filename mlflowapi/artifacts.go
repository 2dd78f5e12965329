package mlflowapi

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/gin-gonic/gin"

	"greenroom/artifacts"
	"greenroom/auth"
	"greenroom/models"
)

// proxyBase is where clients with mlflow-artifacts: locations find the store, below /api and /ajax-api.
const proxyBase = "/2.0/mlflow-artifacts"

const (
	noMultipartUpload   = "Multipart upload is not supported for the current artifact repository"
	noMultipartDownload = "Multipart download is not supported for the current artifact repository"
	noPresignedUpload   = "Presigned upload is not supported for the current artifact repository"
	noPresignedDownload = "Presigned download is not supported for the current artifact repository"
)

// mountArtifacts adds the routes that stream files, or take a path instead of fields.
func (a *API) mountArtifacts(root *gin.RouterGroup) {
	for _, api := range []string{"/api", "/ajax-api"} {
		proxy := root.Group(api + proxyBase)
		download := a.stream(auth.Read, artifactInPath, a.downloadProxied)
		proxy.GET("/artifacts", a.serve(route{level: auth.Read, call: rpc(a.listProxied)}))
		proxy.GET("/artifacts/*path", download)
		proxy.HEAD("/artifacts/*path", download)
		proxy.PUT("/artifacts/*path", a.stream(auth.Edit, artifactInPath, a.uploadProxied))
		proxy.DELETE("/artifacts/*path", a.serve(route{level: auth.Manage, call: onArtifactPath(a.deleteProxied)}))
		proxy.POST("/mpu/create/*path", a.serve(route{level: auth.Edit, call: onUpload(a, a.createMultipartUpload)}))
		proxy.POST("/mpu/complete/*path", a.serve(route{level: auth.Edit, call: onUpload(a, a.completeMultipartUpload)}))
		proxy.POST("/mpu/abort/*path", a.serve(route{level: auth.Edit, call: onUpload(a, a.abortMultipartUpload)}))
		proxy.GET("/presigned/*path", a.serve(route{level: auth.Read, call: a.presignedProxied}))
	}
	a.mountTransfers(root)
	root.GET("/get-artifact", a.stream(auth.Read, runInQuery("run_id", "run_uuid"), a.getArtifact))
	root.GET("/model-versions/get-artifact", a.stream(auth.Read, modelInQuery, a.getModelVersionArtifact))
	root.GET("/ajax-api/2.0/mlflow/logged-models/:model_id/artifacts/files", a.stream(auth.Read, loggedModelInPath, a.getLoggedModelArtifact))
	root.POST("/ajax-api/2.0/mlflow/upload-artifact", a.stream(auth.Edit, runInQuery("run_uuid"), a.uploadArtifact))
}

// onArtifact is a file or folder of the served store, by its path there.
func onArtifact(path string) []target { return []target{{kind: artifactByPath, ref: path}} }

// artifactInPath is what the end of the request's path names.
func artifactInPath(c *gin.Context) ([]target, error) { return onArtifact(artifactPath(c)), nil }

// onArtifactPath is an RPC about the artifact that the end of its path names.
func onArtifactPath(answer func(context.Context, string) (any, error)) call {
	return func(c *gin.Context) (decoded, error) {
		target := artifactPath(c)
		return decoded{onArtifact(target), func(ctx context.Context) (any, error) { return answer(ctx, target) }}, nil
	}
}

// runInQuery is the run that a query parameter names. A request without one is about nothing, and is refused as such.
func runInQuery(names ...string) func(*gin.Context) ([]target, error) {
	return func(c *gin.Context) ([]target, error) {
		id, err := queryOnce(c, names...)
		if err != nil || id == "" {
			return nil, err
		}
		return onRun(id), nil
	}
}

func modelInQuery(c *gin.Context) ([]target, error) {
	name, err := queryOnce(c, "name")
	return onModel(name), err
}

func loggedModelInPath(c *gin.Context) ([]target, error) {
	return onLoggedModel(c.Param("model_id")), nil
}

type artifactFile struct {
	Path     string `json:"path"`
	IsDir    bool   `json:"is_dir"`
	FileSize int64  `json:"file_size,omitempty"` // bytes; absent for a folder
}

type artifactList struct {
	RootURI *string        `json:"root_uri,omitempty"`
	Files   []artifactFile `json:"files,omitempty"`
}

type listProxiedRequest struct {
	Path string `json:"path"`
}

func (r listProxiedRequest) targets() []target { return onArtifact(r.Path) }

// listProxied lists a folder of the served store. Names are relative to the folder; clients join them.
func (a *API) listProxied(ctx context.Context, req *listProxiedRequest) (*artifactList, error) {
	at, err := a.served(req.Path)
	if err != nil {
		return nil, err
	}
	files, err := listFiles(ctx, at, "")
	return &artifactList{Files: files}, err
}

// downloadProxied sends a file of the served store.
func (a *API) downloadProxied(c *gin.Context) {
	at, err := a.served(artifactPath(c))
	if err == nil {
		err = a.sendArtifact(c, at)
	}
	if err != nil {
		a.fail(c, err)
	}
}

// uploadProxied stores the body. Clients expect an empty answer.
func (a *API) uploadProxied(c *gin.Context) {
	body := newUpload(c)
	at, err := a.servedFile(artifactPath(c))
	if err == nil {
		err = a.putArtifact(c.Request.Context(), at, body, c.Request.ContentLength)
	}
	if err != nil {
		body.drain()
		a.fail(c, err)
		return
	}
	c.Status(http.StatusOK)
}

// deleteProxied removes a file or folder; what does not exist is removed already.
func (a *API) deleteProxied(ctx context.Context, target string) (any, error) {
	at, err := a.served(target)
	if err != nil {
		return nil, err
	}
	return empty{}, a.deleteArtifact(ctx, at)
}

type listArtifactsRequest struct {
	runRef
	Path string `json:"path"`
}

// listArtifacts lists a folder of a run. Names are relative to the run's artifact root.
func (a *API) listArtifacts(ctx context.Context, req *listArtifactsRequest) (*artifactList, error) {
	if _, err := artifacts.CanonicalPath(req.Path); err != nil {
		return nil, err
	}
	run, err := a.store.RunInfo(ctx, req.id())
	if err != nil {
		return nil, err
	}
	return a.listAt(ctx, value(run.ArtifactURI), req.Path)
}

type listLoggedModelArtifactsRequest struct {
	ModelID string `json:"model_id" mlflow:"required"`
	Path    string `json:"artifact_directory_path"`
}

func (r listLoggedModelArtifactsRequest) targets() []target { return onLoggedModel(r.ModelID) }

func (a *API) listLoggedModelArtifacts(ctx context.Context, req *listLoggedModelArtifactsRequest) (*artifactList, error) {
	if _, err := artifacts.CanonicalPath(req.Path); err != nil {
		return nil, err
	}
	model, err := a.store.LoggedModel(ctx, req.ModelID, false)
	if err != nil {
		return nil, err
	}
	return a.listAt(ctx, model.ArtifactLocation, req.Path)
}

// listAt lists a folder below an artifact location.
func (a *API) listAt(ctx context.Context, location, folder string) (*artifactList, error) {
	root, err := a.locate(location)
	if err != nil {
		return nil, err
	}
	files, err := listFiles(ctx, root, folder)
	return &artifactList{RootURI: &location, Files: files}, err
}

// listFiles lists root/folder with names relative to root. A missing folder, and a file, hold nothing.
func listFiles(ctx context.Context, root artifacts.Place, folder string) ([]artifactFile, error) {
	at, err := root.In(folder)
	if err != nil {
		return nil, err
	}
	entries, err := at.Store.List(ctx, at.Path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, artifacts.ErrNotDir) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	prefix := strings.TrimPrefix(root.Path+"/", "/")
	files := make([]artifactFile, len(entries))
	for i, entry := range entries {
		files[i] = artifactFile{Path: strings.TrimPrefix(path.Join(at.Path, entry.Name), prefix), IsDir: entry.IsDir, FileSize: entry.Size}
	}
	return files, nil
}

// getArtifact sends a file of a run to MLflow's pages and to old clients.
func (a *API) getArtifact(c *gin.Context) {
	a.sendFrom(c, "path", func(ctx context.Context) (string, error) {
		id, err := queryOnce(c, "run_id", "run_uuid")
		if err != nil {
			return "", err
		}
		if id == "" {
			return "", missing("run_id")
		}
		run, err := a.store.RunInfo(ctx, id)
		if err != nil {
			return "", err
		}
		return value(run.ArtifactURI), nil
	})
}

// getModelVersionArtifact sends a file of a model version to MLflow's pages.
func (a *API) getModelVersionArtifact(c *gin.Context) {
	a.sendFrom(c, "path", func(ctx context.Context) (string, error) {
		name, err := queryOnce(c, "name")
		if err != nil {
			return "", err
		}
		number, err := queryOnce(c, "version")
		if err != nil {
			return "", err
		}
		version, err := models.ParseVersion(number)
		if err != nil {
			return "", err
		}
		uri, err := a.store.DownloadURI(ctx, name, version)
		if err != nil {
			return "", err
		}
		return uri, a.requireVersionFolder(ctx, uri)
	})
}

// requireVersionFolder refuses a version's location that is more than a part of one run or logged model, which MLflow has
// let into its database: it would open the whole store to who may read the model.
func (a *API) requireVersionFolder(ctx context.Context, location string) error {
	at, err := a.locate(location)
	if err != nil {
		return err
	}
	return a.store.RequireArtifact(ctx, auth.Read, at.Location())
}

// getLoggedModelArtifact sends a file of a logged model to MLflow's pages.
func (a *API) getLoggedModelArtifact(c *gin.Context) {
	a.sendFrom(c, "artifact_file_path", func(ctx context.Context) (string, error) {
		model, err := a.store.LoggedModel(ctx, c.Param("model_id"), false)
		if err != nil {
			return "", err
		}
		return model.ArtifactLocation, nil
	})
}

// sendFrom sends the file that a query parameter names, below a location. The path is checked before the location is looked up, so that a bad
// one is answered alike whether or not the run or model exists.
func (a *API) sendFrom(c *gin.Context, parameter string, location func(context.Context) (string, error)) {
	err := func() error {
		file, err := queryOnce(c, parameter)
		if err != nil {
			return err
		}
		if file == "" {
			return missing(parameter)
		}
		file, err = artifacts.CanonicalPath(file)
		if err != nil {
			return err
		}
		uri, err := location(c.Request.Context())
		if err != nil {
			return err
		}
		at, err := a.locate(uri)
		if err != nil {
			return err
		}
		if at, err = at.In(file); err != nil {
			return err
		}
		return a.sendArtifact(c, at)
	}()
	if err != nil {
		a.fail(c, err)
	}
}

// maxSmallUpload is the largest file, in bytes, that uploadArtifact takes, as in MLflow.
const maxSmallUpload = 10 << 20

// uploadArtifact stores a small file in a run, for MLflow's pages.
func (a *API) uploadArtifact(c *gin.Context) {
	body := newUpload(c)
	if err := a.putInRun(c, body); err != nil {
		body.drain()
		a.fail(c, err)
		return
	}
	c.Status(http.StatusOK)
}

func (a *API) putInRun(c *gin.Context, body *upload) error {
	ctx := c.Request.Context()
	id, err := queryOnce(c, "run_uuid")
	if err != nil {
		return err
	}
	file, err := queryOnce(c, "path")
	if err != nil {
		return err
	}
	if id == "" {
		return invalid("Request must specify run_uuid.")
	}
	if file == "" {
		return invalid("Request must specify path.")
	}
	file, err = artifacts.CanonicalFilePath(file)
	if err != nil {
		return err
	}
	if c.Request.ContentLength == 0 {
		return invalid("Request must specify data.")
	}
	if c.Request.ContentLength > maxSmallUpload {
		return &requestTooLarge{limit: maxSmallUpload}
	}
	at, err := a.placeOfRun(ctx, id)
	if err != nil {
		return err
	}
	if at, err = at.In(file); err != nil {
		return err
	}
	return a.putArtifact(ctx, at, body.limited(maxSmallUpload), c.Request.ContentLength)
}

// artifactError turns what a store says into an answer that names the path.
func artifactError(target string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &models.Error{Code: models.ResourceDoesNotExist, Message: "No such artifact: '" + target + "'"}
	case errors.Is(err, artifacts.ErrIsDir):
		return invalid("Artifact path refers to a directory, not a file: '%s'", target)
	case errors.Is(err, artifacts.ErrNotDir):
		return invalid("Artifact path goes through a file as if it were a directory: '%s'", target)
	}
	return err
}

func notImplemented(message string) error {
	return &models.Error{Code: models.NotImplemented, Message: message}
}

func missing(parameter string) error {
	return invalid("Missing value for required parameter '%s'.%s", parameter, apiDocsHint)
}

// queryOnce gives a query parameter, which may have several names; "" if it is absent. Two values are refused, as one of
// them would be ignored.
func queryOnce(c *gin.Context, names ...string) (value string, err error) {
	for _, name := range names {
		for _, v := range c.QueryArray(name) {
			if err := checkText(name, v); err != nil {
				return "", err
			}
			if v != "" && value != "" && v != value {
				return "", invalid("Parameter '%s' is given several times with different values; provide it once.", strings.Join(names, "' or '"))
			}
			if v != "" {
				value = v
			}
		}
	}
	return value, nil
}
