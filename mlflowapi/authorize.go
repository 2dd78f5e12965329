package mlflowapi

import (
	"context"
	"fmt"
	"strconv"

	"greenroom/auth"
	"greenroom/models"
)

// target is one object that a request is about.
type target struct {
	kind targetKind
	ref  string // the object's id, name or path
	// version is that of the registered model, where the request is about one; only the audit log tells.
	version string
	// level is what the caller needs on the object; NoPermissions for the level of the route.
	level auth.Level
	// to is the object's new name, where it gets one.
	to string
	// self is the name of the user who needs nothing, as the request is about that user.
	self string
}

type targetKind int

const (
	administration targetKind = iota // users and roles: for administrators only
	account                          // what belongs to one user ("" for the caller), who needs a credential that no role narrows
	setup                            // the first administrator: for the holder of the set-up token
	experimentByID
	experimentByName
	creationExperiment
	runByID
	loggedModelByID
	modelByName
	creationModel
	artifactByPath
	roleByID
)

// decidedBy is the kind of the one object that decides who may use a target; "" for targets with rules of their own.
func (k targetKind) decidedBy() auth.Kind {
	switch k {
	case experimentByID, experimentByName, runByID, loggedModelByID:
		return auth.Experiment
	case modelByName:
		return auth.RegisteredModel
	}
	return ""
}

// targeted is a request that says what it is about. A request type without targets does not compile into a route, so no
// route can forget its permission.
type targeted interface{ targets() []target }

// filtered is embedded by a search: the store leaves out the rows that the caller may not read.
type filtered struct{}

func (filtered) targets() []target { return nil }

// loggedIn is embedded by a request that every user may make, as it is about themselves or nothing secret.
type loggedIn struct{}

func (loggedIn) targets() []target { return nil }

// adminOnly is embedded by a request for administrators.
type adminOnly struct{}

func (adminOnly) targets() []target { return []target{{kind: administration}} }

// adminOnUser is embedded by a request of administrators about a user.
type adminOnUser struct {
	Username string `json:"username" mlflow:"required"`
}

func (r adminOnUser) targets() []target {
	return []target{{kind: administration, ref: "user '" + r.Username + "'"}}
}

// adminOnRole is embedded by a request of administrators about a role.
type adminOnRole struct {
	RoleID int64 `json:"role_id" mlflow:"required"`
}

func (r adminOnRole) targets() []target {
	return []target{{kind: administration, ref: "role " + strconv.FormatInt(r.RoleID, 10)}}
}

// onUser is a user, who may do it without help; others must be administrators.
func onUser(name string) []target { return []target{{kind: administration, self: name}} }

// isSelf tells whether a user acts under their own name.
func isSelf(p *auth.Principal, name string) bool { return p.UserID != 0 && p.Name == name }

// setupOnly is embedded by the request that makes the first administrator.
type setupOnly struct{}

func (setupOnly) targets() []target { return []target{{kind: setup}} }

// onAccount is a request about what belongs to one user, "" for the caller.
func onAccount(user string) []target { return []target{{kind: account, ref: user}} }

func onExperiment(id string) []target { return []target{{kind: experimentByID, ref: id}} }

func onRun(id string) []target { return []target{{kind: runByID, ref: id}} }

func onRuns(ids []string) []target {
	var ts []target
	for _, id := range ids {
		ts = append(ts, onRun(id)...)
	}
	return ts
}

func onLoggedModel(id string) []target { return []target{{kind: loggedModelByID, ref: id}} }

func onModel(name string) []target { return []target{{kind: modelByName, ref: name}} }

func onVersion(name, version string) []target {
	return []target{{kind: modelByName, ref: name, version: version}}
}

// authorize refuses a request whose caller lacks the level on one of its targets. A target that does not exist is told as
// the handler would: there is nothing to protect.
func (a *API) authorize(ctx context.Context, level auth.Level, targets []target) error {
	p := auth.Of(ctx)
	if err := authorizeSetup(p, targets); err != nil {
		return err
	}
	if p.Unlimited() {
		return nil
	}
	for _, t := range targets {
		need := level
		if t.level != auth.NoPermissions {
			need = t.level
		}
		if err := a.authorizeTarget(ctx, p, need, t); err != nil {
			return err
		}
	}
	return nil
}

// authorizeSetup keeps the set-up token and all other credentials apart.
func authorizeSetup(p *auth.Principal, targets []target) error {
	switch wanted := len(targets) > 0 && targets[0].kind == setup; {
	case p.SetupHash != "" && !wanted:
		return p.Forbid("may only make the first administrator: POST a user and a password to /api/3.0/greenroom/setup, then log in as that user")
	case p.SetupHash == "" && wanted:
		return &models.Error{Code: models.PermissionDenied, Message: "Set MLFLOW_TRACKING_TOKEN to the set-up token that the server printed when it started. " +
			"A server that asks nobody to log in, or has users, prints none: make users there with users/create."}
	}
	return nil
}

func (a *API) authorizeTarget(ctx context.Context, p *auth.Principal, need auth.Level, t target) error {
	if t.self != "" && isSelf(p, t.self) {
		return nil
	}
	switch t.kind {
	case administration:
		return p.Forbid("must be an administrator" + scopeNote(p))
	case roleByID:
		holds, err := a.holdsRole(ctx, p, t.ref)
		if err != nil || holds {
			return err
		}
		return p.Forbid("must be an administrator, or have the role, to see it" + scopeNote(p))
	case account:
		return mayUseAccount(p, t.ref)
	case setup:
		return nil // authorizeSetup has seen the token
	case creationExperiment:
		return mayCreate(p, auth.Object{Kind: auth.Experiment, Name: t.ref}, "the experiment '"+t.ref+"'")
	case creationModel:
		return mayCreate(p, auth.Object{Kind: auth.RegisteredModel, Name: t.ref}, "the registered model '"+t.ref+"'")
	case artifactByPath:
		return a.authorizeArtifact(ctx, need, t.ref)
	}
	// A role for everything needs no look into the database; what does not exist is the handler's to tell.
	if kind := t.kind.decidedBy(); kind != "" && t.to == "" && p.LevelOnAll(kind) >= need {
		return nil
	}
	o, err := a.object(ctx, p, t)
	if err != nil {
		return err
	}
	if err := p.Require(need, o); err != nil || t.to == "" {
		return err
	}
	return mayRename(p, o, t.to)
}

// authorizeArtifact decides about the path that the handler will use: both go by its canonical form.
func (a *API) authorizeArtifact(ctx context.Context, need auth.Level, path string) error {
	at, err := a.served(path)
	if err != nil {
		return err
	}
	return a.store.RequireArtifact(ctx, need, at.Location())
}

func mayUseAccount(p *auth.Principal, user string) error {
	switch {
	case p.UserID == 0 || user != "" && user != p.Name:
		return p.Forbid("must be an administrator" + scopeNote(p) + ", as this is about another user")
	case p.Scope != nil:
		return p.Forbid("logged in with a token that a role narrows, and this takes a password, a JWT or a token without a role")
	}
	return nil
}

func mayCreate(p *auth.Principal, o auth.Object, what string) error {
	if p.MayCreate(o) {
		return nil
	}
	return p.Forbid("needs USE on the server (as the role editor has), or EDIT on a pattern that matches the name, to create " + what)
}

// mayRename refuses a new name that the caller could not create, or under which patterns would give more to the caller.
func mayRename(p *auth.Principal, o auth.Object, name string) error {
	renamed := o
	renamed.Name = name
	if err := mayCreate(p, renamed, fmt.Sprintf("the name '%s'", name)); err != nil {
		return err
	}
	if p.Level(renamed) > p.Level(o) {
		return p.Require(auth.Manage, o)
	}
	return nil
}

func scopeNote(p *auth.Principal) string {
	if p.Admin && p.Scope != nil {
		return ", with a token that no role narrows"
	}
	return ""
}

// object finds the experiment or the registered model that decides who may use a target.
func (a *API) object(ctx context.Context, p *auth.Principal, t target) (auth.Object, error) {
	switch t.kind {
	case experimentByID:
		id, err := experimentID(t.ref)
		if err != nil {
			return auth.Object{}, err
		}
		return a.store.ExperimentObject(ctx, id)
	case experimentByName:
		e, err := a.store.ExperimentByName(ctx, t.ref)
		if err != nil {
			return auth.Object{}, err
		}
		return e.Object(), nil
	case runByID:
		return a.store.RunObject(ctx, t.ref)
	case loggedModelByID:
		return a.store.LoggedModelObject(ctx, t.ref)
	case modelByName:
		o := auth.Object{Kind: auth.RegisteredModel, Name: t.ref}
		if p.Level(o) > auth.NoPermissions {
			return o, nil
		}
		_, err := a.store.RegisteredModel(ctx, t.ref) // clients look whether a name is free
		return o, err
	}
	return auth.Object{}, fmt.Errorf("target kind %d has no object", t.kind)
}
