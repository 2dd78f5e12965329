package mlflowapi

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"greenroom/auth"
	"greenroom/models"
)

type explainRequest struct {
	Username string `json:"username"` // "" for the caller
	// One of these, or none for what the user may create.
	ExperimentID   string `json:"experiment_id"`
	ExperimentName string `json:"experiment_name"`
	Model          string `json:"model"`
	// Token is the id of an API token of the user's that narrows the answer.
	Token string `json:"token"`
}

// targets are what a caller needs MANAGE on who is neither an administrator nor the user.
func (r explainRequest) targets() []target {
	if r.Username == "" {
		return nil
	}
	t := r.object()
	t.level, t.self = auth.Manage, r.Username
	return []target{t}
}

func (r explainRequest) object() target {
	switch {
	case r.ExperimentID != "":
		return target{kind: experimentByID, ref: r.ExperimentID}
	case r.ExperimentName != "":
		return target{kind: experimentByName, ref: r.ExperimentName}
	case r.Model != "":
		return target{kind: modelByName, ref: r.Model}
	}
	return target{kind: administration}
}

func (r explainRequest) check() error {
	given := 0
	for _, s := range []string{r.ExperimentID, r.ExperimentName, r.Model} {
		if s != "" {
			given++
		}
	}
	if given > 1 {
		return invalid("Give one of 'experiment_id', 'experiment_name' and 'model', or none of them to ask what the user may create.")
	}
	return nil
}

// explanation says what a user may do with an object, and why. Lines say it in sentences.
type explanation struct {
	Username     string    `json:"username"`
	ResourceType auth.Kind `json:"resource_type"`
	// ResourceID is an experiment's id or a model's name; ExperimentName is for callers who may read it.
	ResourceID     string `json:"resource_id,omitempty"`
	ExperimentName string `json:"experiment_name,omitempty"`
	Exists         bool   `json:"exists"`
	// Permission is the level that counts.
	Permission string `json:"permission"`
	// MayCreate is there where the object does not exist, and for the server itself.
	MayCreate *bool `json:"may_create,omitempty"`
	IsAdmin   bool  `json:"is_admin"`
	Disabled  bool  `json:"disabled"`
	// DefaultPermission is the least that every user has, but where a grant denies.
	DefaultPermission string           `json:"default_permission"`
	Groups            []string         `json:"groups"`
	Grants            []explainedGrant `json:"grants"`
	// Scope is what a token's role allows.
	Scope *explainedScope `json:"scope,omitempty"`
	Lines []string        `json:"lines"`
}

type explainedGrant struct {
	Permission string `json:"permission"`
	Pattern    string `json:"pattern"`
	Exact      bool   `json:"exact"`
	Via        string `json:"via"`
	// Decides marks the grant that gives the level.
	Decides bool `json:"decides"`
}

type explainedScope struct {
	Role       string           `json:"role"`
	Permission string           `json:"permission"`
	Grants     []explainedGrant `json:"grants"`
}

func (a *API) explain(ctx context.Context, req *explainRequest) (*explanation, error) {
	if err := req.check(); err != nil {
		return nil, err
	}
	user, err := orCaller(ctx, req.Username)
	if err != nil {
		return nil, err
	}
	account, err := a.account(ctx, user)
	if err != nil {
		return nil, err
	}
	p, notes, err := a.explained(ctx, account, req.Token)
	if err != nil {
		return nil, err
	}
	o, exists, err := a.explainedObject(ctx, req)
	if err != nil {
		return nil, err
	}
	e := explainLevel(p, o)
	e.Username, e.Exists, e.Disabled = account.Name, exists, account.Disabled
	if !exists || o.Kind == auth.Workspace {
		may := p.MayCreate(o)
		e.MayCreate = &may
	}
	if o.Kind == auth.Experiment && auth.Of(ctx).Level(o) >= auth.Read {
		e.ExperimentName = o.Name
	}
	e.Lines = append(e.sentences(p, o), notes...)
	return e, nil
}

// account gives the account of a user.
func (a *API) account(ctx context.Context, user string) (auth.Account, error) {
	account, ok, err := a.store.Account(ctx, user)
	if err == nil && !ok {
		err = &models.Error{Code: models.ResourceDoesNotExist, Message: "User with username=" + user + " not found"}
	}
	return account, err
}

// explained is the principal that the answer is about: the caller as the request came, or the user as one who logs in, and
// what else there is to say of the log-in.
func (a *API) explained(ctx context.Context, account auth.Account, token string) (p *auth.Principal, notes []string, err error) {
	if token == "" {
		if p := auth.Of(ctx); p.UserID == account.ID {
			return p, nil, nil
		}
		if account.Issuer != "" {
			notes = []string{"Groups and roles that a JWT of " + account.Issuer + " names count besides, while the user is logged in with it; they are not in this answer."}
		}
		p, err = a.cfg.Auth.PrincipalOf(ctx, account, nil)
		return p, notes, err
	}
	t, ok, err := a.store.APIToken(ctx, token)
	if err == nil && (!ok || t.Account.ID != account.ID) {
		err = &models.Error{Code: models.ResourceDoesNotExist, Message: "User '" + account.Name + "' has no API token with id=" + token + ": tokens/list shows the ids."}
	}
	if err != nil {
		return nil, nil, err
	}
	if t.Revoked {
		notes = []string{"The token was revoked: nobody can log in with it."}
	} else {
		notes = []string{"The token ends at " + t.ExpiresAt.UTC().Format(time.RFC3339) + "."}
	}
	p, err = a.cfg.Auth.PrincipalOf(ctx, account, &t)
	return p, notes, err
}

// explainedObject finds the object. A model or an experiment's name that does not exist is one that might be created.
func (a *API) explainedObject(ctx context.Context, req *explainRequest) (o auth.Object, exists bool, err error) {
	t := req.object()
	if t.kind == administration {
		return auth.Server, true, nil
	}
	if t.kind == modelByName {
		o = auth.Object{Kind: auth.RegisteredModel, Name: t.ref}
		_, err = a.store.RegisteredModel(ctx, t.ref)
	} else {
		o, err = a.object(ctx, auth.Of(ctx), t)
		if err != nil && t.kind == experimentByName {
			o = auth.Object{Kind: auth.Experiment, Name: t.ref}
		}
	}
	if hasCode(err, models.ResourceDoesNotExist) && o.Name != "" {
		return o, false, nil
	}
	return o, true, err
}

// explainLevel shows how Principal.Level comes to its result.
func explainLevel(p *auth.Principal, o auth.Object) *explanation {
	_, by := p.Held(o)
	e := &explanation{
		ResourceType: o.Kind, ResourceID: o.ID, Permission: p.Level(o).String(), IsAdmin: p.Admin, DefaultPermission: p.Default.String(),
		Groups: append([]string{}, p.Groups...), Grants: explainGrants(p.Grants, o, by),
	}
	if o.Kind == auth.RegisteredModel {
		e.ResourceID = o.Name
	}
	if p.Scope != nil {
		level, by := p.Scope.Level(o)
		e.Scope = &explainedScope{Role: p.ScopeRole, Permission: level.String(), Grants: explainGrants(p.Scope, o, by)}
	}
	return e
}

// explainGrants are those that cover an object; the one by which it is decided comes first.
func explainGrants(grants auth.Grants, o auth.Object, by auth.Grant) []explainedGrant {
	found := []explainedGrant{}
	for _, g := range grants {
		if !g.Covers(o) {
			continue
		}
		shown := explainedGrant{g.Level.String(), g.Pattern, g.Exact, g.Via, g == by}
		if g == by {
			found = slices.Insert(found, 0, shown)
		} else {
			found = append(found, shown)
		}
	}
	return found
}

// String is the grant in a sentence, such as "EDIT by pattern churn-* (group ops, role deployer)".
func (g explainedGrant) String() string {
	switch {
	case g.Exact:
		return g.Permission + " on exactly this one (" + g.Via + ")"
	case strings.Contains(g.Pattern, "*"):
		return g.Permission + " by pattern " + g.Pattern + " (" + g.Via + ")"
	}
	return g.Permission + " by name " + g.Pattern + " (" + g.Via + ")"
}

// sentences says the explanation of what p may do with o.
func (e *explanation) sentences(p *auth.Principal, o auth.Object) []string {
	lines := []string{e.headline(p.Level(o), o)}
	if e.Disabled {
		lines = append(lines, "The user is disabled and cannot log in, until an administrator enables the user.")
	}
	switch {
	case p.UserID == 0:
		return append(lines, "This server asks nobody to log in: everyone may do everything.")
	case e.IsAdmin:
		lines = append(lines, "The user is an administrator, who may do everything: grants do not matter.")
	case len(e.Grants) == 0 && o.Kind == auth.Workspace:
		lines = append(lines, "No grant to the user, or to the user's groups and roles, is about the server.")
	case len(e.Grants) == 0:
		lines = append(lines, "No grant to the user, or to the user's groups and roles, covers it: the server's default permission counts, "+e.DefaultPermission+".")
	case !e.Grants[0].Decides:
		lines = append(lines, "Decided by the server's default permission, "+e.DefaultPermission+", which everyone has at least.")
		fallthrough
	default:
		lines = append(lines, said(e.Grants)...)
	}
	if len(e.Groups) > 0 {
		lines = append(lines, "The user's groups: "+strings.Join(e.Groups, ", ")+".")
	}
	if s := e.Scope; s != nil {
		lines = append(lines, fmt.Sprintf("The token's role %s allows %s at most.", s.Role, s.Permission))
		lines = append(lines, said(s.Grants)...)
	}
	return lines
}

func said(grants []explainedGrant) []string {
	var lines []string
	for _, g := range grants {
		switch {
		case g.Decides && g.Permission == auth.Deny.String():
			lines = append(lines, "Decided by "+g.String()+", which overrules every other grant.")
		case g.Decides:
			lines = append(lines, "Decided by "+g.String()+".")
		default:
			lines = append(lines, "Also "+g.String()+".")
		}
	}
	return lines
}

func (e *explanation) headline(level auth.Level, o auth.Object) string {
	user := "User '" + e.Username + "'"
	if e.MayCreate != nil {
		what := "experiments and registered models of any name"
		if o.Kind != auth.Workspace {
			what = fmt.Sprintf("the %s '%s', which does not exist", strings.ReplaceAll(string(o.Kind), "_", " "), o.Name)
		}
		if *e.MayCreate {
			return user + " may create " + what + "."
		}
		return user + " may not create " + what + ": that takes USE on the server, as the role editor has, or EDIT on a pattern that matches the name."
	}
	return user + " has " + e.Permission + " on " + o.String() + " and " + mayDo(level) + "."
}

func mayDo(level auth.Level) string {
	switch level {
	case auth.Manage:
		return "may see, change and delete it, and grant permissions on it"
	case auth.Edit:
		return "may see and change it, but not delete it"
	case auth.Use, auth.Read:
		return "may see it, but not change it"
	}
	return "may not even see it"
}
