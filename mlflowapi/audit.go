package mlflowapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"greenroom/auth"
	"greenroom/models"
)

// auditTime is how long a refusal waits for its entry in the audit log.
const auditTime = 5 * time.Second

// loginAction is the action of a log-in, whichever request it comes with.
const loginAction = "log-in"

// auditor is what the audit log of requests needs.
type auditor struct {
	lines            *auditLines
	refusals, logins *budget // by user, and by the address of who is none
}

func newAuditor(lines *auditLines) *auditor {
	return &auditor{lines, &budget{each: 100, all: 1000}, &budget{each: 20, all: 100}}
}

// objectKey is under which gin keeps the name of what a request is about.
const objectKey = "audited object"

// audited gives the context in which the request's change leaves an entry in the audit log.
func (a *API) audited(c *gin.Context) context.Context {
	return models.WithAudit(c.Request.Context(), a.audit(c, a.action(c)))
}

func (a *API) audit(c *gin.Context, action string) *models.Audit {
	return &models.Audit{Action: action, Object: c.GetString(objectKey), RequestID: requestID(c), Address: c.ClientIP(), Committed: a.auditor.lines.write}
}

// noteObject remembers what the request is about: the first target, where there are several.
func noteObject(c *gin.Context, targets []target) {
	if len(targets) > 0 {
		c.Set(objectKey, targets[0].String())
	}
}

// action is the name of the request's route in the audit log: its path below the base of the API, and the method where the
// path does not say what happens.
func (a *API) action(c *gin.Context) string {
	path := strings.TrimPrefix(c.FullPath(), a.cfg.StaticPrefix)
	for _, base := range []string{"/api/2.0/preview/mlflow/", "/api/2.0/mlflow/", "/api/3.0/mlflow/", "/api/3.0/greenroom/", "/api/2.0/", "/api/3.0/"} {
		if rest, ok := strings.CutPrefix(strings.Replace(path, "/ajax-api/", "/api/", 1), base); ok {
			path = rest
			break
		}
	}
	path = strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/*path")
	if m := c.Request.Method; m == http.MethodPut || m == http.MethodDelete && !saysDelete.MatchString(path) {
		return m + " " + path
	}
	return path
}

var saysDelete = regexp.MustCompile(`/(delete|remove|unassign)[^/]*$`)

// String names a target in the audit log.
func (t target) String() string {
	switch t.kind {
	case experimentByID:
		return "experiment " + t.ref
	case experimentByName, creationExperiment:
		return "experiment '" + t.ref + "'"
	case runByID:
		return "run " + t.ref
	case loggedModelByID:
		return "logged model " + t.ref
	case modelByName, creationModel:
		object := "registered model '" + t.ref + "'"
		if t.version != "" {
			object += " version " + t.version
		}
		return object
	case artifactByPath:
		return "artifact '" + t.ref + "'"
	case roleByID:
		return "role " + t.ref
	case account:
		return "user '" + t.ref + "'"
	}
	if t.self != "" {
		return "user '" + t.self + "'"
	}
	return t.ref
}

// auditRefusal leaves an entry for a refusal of a known user, by permissions or to protect a live model version, and for a failed log-in. A request without a credential
// leaves none, and a flood only its beginning.
func (a *API) auditRefusal(c *gin.Context, err error, answer errorBody) {
	var stranger *auth.UnauthenticatedError
	var throttled *auth.ThrottledError
	header := strings.Join(c.Request.Header.Values("Authorization"), " ")
	switch p := auth.Of(c.Request.Context()); {
	case errors.As(err, &stranger), errors.As(err, &throttled):
		if header != "" {
			a.refused(c, a.auditor.logins, c.ClientIP(), a.audit(c, loginAction), answer.Message, func(ctx context.Context) (*auth.Principal, error) {
				return a.suspect(ctx, header)
			})
		}
	case (answer.ErrorCode == models.PermissionDenied || answer.ErrorCode == models.ResourceConflict) && p.Credential != "": // nobody has none
		a.refused(c, a.auditor.refusals, p.Name, a.audit(c, a.action(c)), answer.Message, func(context.Context) (*auth.Principal, error) { return p, nil })
	}
}

// refused records a refusal if the budget has room for another of key's. The answer does not depend on it.
func (a *API) refused(c *gin.Context, left *budget, key string, entry *models.Audit, reason string, by func(context.Context) (*auth.Principal, error)) {
	switch left.spend(key, time.Now()) {
	case spent:
		a.metrics.auditSkipped.Inc()
		return
	case lastOne:
		reason += " Further refusals in this minute are counted, and not recorded."
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), auditTime)
	defer cancel()
	p, err := by(ctx)
	if err == nil {
		err = a.store.RecordRefusal(auth.With(ctx, p), *entry, reason)
	}
	if err != nil {
		a.metrics.auditFailures.WithLabelValues("database").Inc()
		a.logFailure(c, fmt.Errorf("a refusal is not in the audit log: %w", err))
	}
}

// suspect is who a failed log-in claims to be. A name that no user has is left out: it may be a password in the wrong field.
func (a *API) suspect(ctx context.Context, header string) (*auth.Principal, error) {
	p := &auth.Principal{}
	var name string
	p.Credential, name = auth.Describe(header)
	if name == "" {
		return p, nil
	}
	account, ok, err := a.store.Account(ctx, name)
	if ok {
		p.Name = account.Name
	}
	return p, err
}

// budget bounds how many refusals are recorded in a minute: for one key, and for all.
type budget struct {
	each, all int

	mu    sync.Mutex
	since time.Time
	total int
	spent map[string]int
}

// room is what a budget has left for one more.
type room int

const (
	enough room = iota
	lastOne
	spent
)

func (b *budget) spend(key string, now time.Time) room {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.since) >= time.Minute || b.spent == nil {
		b.since, b.total, b.spent = now, 0, map[string]int{}
	}
	if b.total >= b.all || b.spent[key] >= b.each {
		return spent
	}
	b.total++
	b.spent[key]++
	if b.total == b.all || b.spent[key] == b.each {
		return lastOne
	}
	return enough
}
