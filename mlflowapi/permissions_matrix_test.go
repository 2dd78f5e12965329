package mlflowapi_test

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"greenroom/artifacts"
	"greenroom/auth"
	"greenroom/mlflowapi"
	"greenroom/models"
	"greenroom/models/modelstest"
)

//go:embed testdata/permissions.tsv
var permissionsTable string

// permission is one line of the table.
type permission struct{ method, path, who, example string }

// permissions gives the lines of each route.
func permissions() map[string][]permission {
	all := map[string][]permission{}
	for line := range strings.Lines(permissionsTable) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		cols := append(strings.Split(strings.TrimSpace(line), "\t"), "")
		key := cols[0] + " " + cols[1]
		all[key] = append(all[key], permission{cols[0], cols[1], cols[2], cols[3]})
	}
	return all
}

// caller is somebody with a level on the objects at hand.
type caller struct {
	name    string
	level   auth.Level
	creates bool
	admin   bool
}

// callers are ordered: who comes later may do all that who comes before may.
var callers = []caller{
	{name: "anonymous"},
	{name: "stranger"},
	{name: "creator", creates: true},
	{name: "reader", level: auth.Read, creates: true},
	{name: "editor", level: auth.Edit, creates: true},
	{name: "manager", level: auth.Manage, creates: true},
	{name: "admin", admin: true},
}

func (c caller) may(who string) bool {
	switch who {
	case "public":
		return true
	case "user", "filtered":
		return c.name != "anonymous"
	case "create":
		return c.creates || c.admin
	case "rename":
		return c.creates && c.level >= auth.Edit || c.admin
	case "admin", "own":
		return c.admin
	case "setup", "signature":
		return false
	}
	level, err := auth.ParseLevel(who)
	return err == nil && (c.level >= level || c.admin)
}

// byName authenticates by the name of a principal in place of a credential.
type byName struct {
	auth.Off
	principals map[string]*auth.Principal
}

func (b byName) Authenticate(_ context.Context, header, _ string) (*auth.Principal, error) {
	if p, ok := b.principals[header]; ok {
		return p, nil
	}
	return nil, &auth.UnauthenticatedError{Message: "Log in."}
}

// objects are what one route is tried on.
type objects struct{ exp, expName, run, logged, model, user, other, role, permission, token, group string }

func (o objects) fill(text string) string {
	return strings.NewReplacer("$EXPNAME", o.expName, "$EXP", o.exp, "$RUN", o.run, "$LOGGED", o.logged, "$MODEL", o.model,
		"$USER", o.user, "$OTHER", o.other, "$ROLENAME", "role of "+o.user, "$ROLE", o.role, "$PERMISSION", o.permission, "$TOKEN", o.token, "$GROUP", o.group,
		":model_id", o.logged, ":tag_key", "ltag", "*path", o.exp+"/"+o.run+"/artifacts/f").Replace(text)
}

func TestPermissions_EveryRouteLetsInWhoMayAndNobodyElse(t *testing.T) {
	m := newMatrix(t)
	table := permissions()
	used := map[string]bool{}
	for _, route := range m.handler.(*gin.Engine).Routes() {
		key := route.Method + " " + route.Path
		used[key] = true
		lines, ok := table[key]
		for mount, under := range map[string]string{"/ajax-api/": "/api/", "/api/2.0/preview/": "/api/2.0/"} {
			if rest, mounted := strings.CutPrefix(route.Path, mount); !ok && mounted {
				lines, ok = table[route.Method+" "+under+rest]
			}
		}
		if !ok {
			t.Errorf("%s is not in testdata/permissions.tsv: say there who may call it", key)
		}
		for _, line := range lines {
			line.path = route.Path
			t.Run(strings.ReplaceAll(key, "/", "·"), func(t *testing.T) { m.try(t, line) })
		}
	}
	for key := range table {
		if !used[key] {
			t.Errorf("testdata/permissions.tsv has %s, which is not served", key)
		}
	}
}

// matrix is a server on which every route is tried by every caller.
type matrix struct {
	store   *models.Store
	folder  artifacts.Store
	handler http.Handler
	callers byName
	ids     map[string]int64 // of the callers
	made    int
	read    *objects // what requests that change nothing are tried on
}

func newMatrix(t *testing.T) *matrix {
	store, err := models.Open(t.Context(), modelstest.SQLite(t), models.Options{ArtifactRoot: "mlflow-artifacts:/", AllowedSchemes: []string{"s3"}})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, store)
	m := &matrix{store: store, folder: openFolder(t, t.TempDir()), callers: byName{principals: map[string]*auth.Principal{}}, ids: map[string]int64{}}
	m.handler = mlflowapi.New(store, mlflowapi.Config{Version: "test", Log: slog.New(slog.DiscardHandler), Artifacts: artifacts.Stores{Served: m.folder}, Auth: m.callers, PublicURL: "http://localhost"})
	for _, c := range slices.Backward(callers) { // the first user is an administrator
		m.ids[c.name] = m.user(t, c.name)
	}
	return m
}

func (m *matrix) user(t *testing.T, name string) int64 {
	t.Helper()
	u, err := m.store.CreateUser(t.Context(), models.NewUser{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return u.ID
}

// try lets every caller make one request about objects of its own, or about those that no other changes.
func (m *matrix) try(t *testing.T, p permission) {
	if m.read == nil {
		o := m.newObjects(t, true)
		m.read = &o
	}
	o := *m.read
	if !reads(p.method) {
		o = m.newObjects(t, aboutUsers.MatchString(p.example))
	}
	for _, c := range callers {
		m.callers.principals[c.name] = c.principal(o, m.ids[c.name])
	}
	delete(m.callers.principals, "anonymous")
	if strings.HasSuffix(p.path, "/experiments/restore") { // takes a deleted one
		id, _ := strconv.ParseInt(o.exp, 10, 64)
		if err := m.store.DeleteExperiment(auth.With(t.Context(), auth.Anyone()), id); err != nil {
			t.Fatal(err)
		}
	}
	done := false
	for _, c := range callers {
		status, body := m.call(t, p, o, c)
		if !c.may(p.who) {
			want := http.StatusForbidden
			switch {
			case p.who == "signature":
			case c.name == "anonymous":
				want = http.StatusUnauthorized
			case p.who == "own": // what belongs to others is not told to exist
				want = http.StatusNotFound
			}
			if status != want {
				t.Errorf("%s: status %d, want %d: %s", c.name, status, want, body)
			}
			continue
		}
		// The first who may, does; an example that can't be done twice, or not on a local folder, has its own refusal.
		if status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusInternalServerError {
			t.Errorf("%s: status %d: %s", c.name, status, body)
		}
		if !done && status != http.StatusOK && !strings.Contains(p.path, "presigned") && !strings.Contains(p.path, "/mpu/") {
			t.Errorf("%s is the first who may: status %d, want 200: %s", c.name, status, body)
		}
		done = true
		shown := strings.Contains(body, o.expName) || strings.Contains(body, o.model) || strings.Contains(body, o.run) || strings.Contains(body, "dataset of "+o.exp)
		if readable := c.may("READ"); p.who == "filtered" && shown != readable {
			t.Errorf("%s sees the objects: %v, want %v: %s", c.name, shown, readable, body)
		}
	}
	if !done && p.who != "setup" && p.who != "signature" {
		t.Error("nobody may")
	}
}

func reads(method string) bool { return method == http.MethodGet || method == http.MethodHead }

func (c caller) principal(o objects, id int64) *auth.Principal {
	p := &auth.Principal{Name: c.name, UserID: id, Admin: c.admin}
	if c.creates {
		p.Grants = append(p.Grants, auth.Grant{Kind: auth.Workspace, Pattern: "*", Level: auth.Use})
	}
	if c.level > auth.NoPermissions {
		p.Grants = append(p.Grants,
			auth.Grant{Kind: auth.Experiment, Pattern: o.exp, Exact: true, Level: c.level},
			auth.Grant{Kind: auth.RegisteredModel, Pattern: o.model, Exact: true, Level: c.level})
	}
	return p
}

func (m *matrix) call(t *testing.T, p permission, o objects, c caller) (int, string) {
	t.Helper()
	target, body := o.fill(p.path), strings.ReplaceAll(o.fill(p.example), "$SELF", c.name)
	if c.creates || c.admin { // what one has created, the next can't
		body = strings.ReplaceAll(body, "new-", "new-"+c.name+"-")
	}
	if reads(p.method) || strings.Contains(p.path, "upload-artifact") {
		target, body = target+"?"+body, "content"
	}
	req := httptest.NewRequestWithContext(t.Context(), p.method, "http://localhost"+target, strings.NewReader(body))
	if reads(p.method) {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", c.name)
	answer := httptest.NewRecorder()
	m.handler.ServeHTTP(answer, req)
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.Code, string(text)
}

var aboutUsers = regexp.MustCompile(`\$(USER|OTHER|ROLE|PERMISSION|TOKEN|GROUP)`)

// newObjects makes an experiment with a run, a logged model and a file, a registered model with a version of it, and, if asked
// for, a user with a role, a group, a token and READ on both.
func (m *matrix) newObjects(t *testing.T, user bool) objects {
	t.Helper()
	store := m.store
	m.made++
	ctx := auth.With(t.Context(), auth.Anyone())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	o := objects{
		expName: fmt.Sprintf("experiment-%d-", m.made), model: fmt.Sprintf("model-%d-", m.made),
		user: fmt.Sprintf("user-%d-", m.made), other: fmt.Sprintf("other-%d-", m.made), group: fmt.Sprintf("group-%d-", m.made),
	}
	id, err := store.CreateExperiment(ctx, o.expName, "", []models.Tag{{Key: "etag", Value: "v"}})
	must(err)
	o.exp = fmt.Sprint(id)
	run, err := store.CreateRun(ctx, models.NewRun{ExperimentID: id, Tags: []models.Tag{{Key: "rtag", Value: "v"}}})
	must(err)
	o.run = run.ID
	must(store.LogInputs(ctx, o.run, []models.DatasetInput{{Dataset: models.Dataset{Name: "dataset of " + o.exp, Digest: "d", SourceType: "local", Source: "s"}}}, nil))
	logged, err := store.CreateLoggedModel(ctx, models.NewLoggedModel{ExperimentID: id, Name: "logged", Tags: []models.Tag{{Key: "ltag", Value: "v"}, {Key: "of", Value: o.expName}}})
	must(err)
	o.logged = logged.ID
	_, err = store.CreateRegisteredModel(ctx, o.model, "", []models.Tag{{Key: "mtag", Value: "v"}})
	must(err)
	_, err = store.CreateModelVersion(ctx, models.NewModelVersion{Name: o.model, Source: "models:/" + o.logged, ModelID: &o.logged, Tags: []models.Tag{{Key: "vtag", Value: "v"}}})
	must(err)
	must(store.SetAlias(ctx, o.model, "champion", 1))
	for _, file := range []string{o.exp + "/" + o.run + "/artifacts/f", o.exp + "/models/" + o.logged + "/artifacts/f"} {
		_, err := m.folder.Put(ctx, file, strings.NewReader("file"), artifacts.UnknownSize)
		must(err)
	}
	if !user {
		return o
	}
	m.user(t, o.user)
	m.user(t, o.other)
	bob := models.Holder{User: o.user}
	must(store.Grant(ctx, bob, models.DirectGrant(auth.Experiment, o.exp, auth.Read)))
	must(store.Grant(ctx, bob, models.DirectGrant(auth.RegisteredModel, o.model, auth.Read)))
	role, err := store.CreateRole(ctx, fmt.Sprintf("role-%d", m.made), nil)
	must(err)
	held, err := store.AddRolePermission(ctx, role.ID, auth.Grant{Kind: auth.Experiment, Pattern: "y-*", Level: auth.Read})
	must(err)
	_, err = store.AssignRole(ctx, bob, role.ID)
	must(err)
	_, err = store.CreateGroup(ctx, o.group)
	must(err)
	group := models.Holder{Group: o.group}
	must(store.AddMember(ctx, o.group, o.user))
	_, err = store.AssignRole(ctx, group, 3)
	must(err)
	must(store.Grant(ctx, group, models.DirectGrant(auth.Experiment, o.exp, auth.Read)))
	_, token, err := store.CreateAPIToken(ctx, models.NewAPIToken{User: o.user, Name: "ci", Lifetime: time.Hour})
	must(err)
	o.role, o.permission, o.token = fmt.Sprint(role.ID), fmt.Sprint(held.ID), token.ID
	return o
}
