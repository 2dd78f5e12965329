package models

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"greenroom/auth"
	"greenroom/search"
)

// AuditOutcome tells whether what an AuditEntry is about happened.
type AuditOutcome string

// The outcomes.
const (
	AuditAllowed AuditOutcome = "allowed"
	AuditRefused AuditOutcome = "refused"
)

// AuditEntry is one entry of the audit log, which only grows.
type AuditEntry struct {
	ID         string       `json:"id"`      // a UUID of version 7: in the order of time
	At         int64        `json:"at"`      // milliseconds since 1970
	UserID     *int64       `json:"user_id"` // nil for nobody in particular, and for who could not log in
	UserName   string       `json:"user_name"`
	Credential string       `json:"credential"` // what the user logged in with, without any secret
	Action     string       `json:"action"`     // such as model-versions/transition-stage
	Object     string       `json:"object"`     // such as registered model 'churn' version 42
	Outcome    AuditOutcome `json:"outcome"`
	Detail     AuditDetail  `json:"detail"`
	RequestID  string       `json:"request_id"`
	Address    string       `json:"address"`
}

// AuditDetail is the text of a JSON object: what changed, or why it was refused.
type AuditDetail string

// MarshalJSON implements json.Marshaler.
func (d AuditDetail) MarshalJSON() ([]byte, error) { return []byte(d), nil }

// UnmarshalJSON implements json.Unmarshaler.
func (d *AuditDetail) UnmarshalJSON(text []byte) error {
	*d = AuditDetail(text)
	return nil
}

// The columns' sizes, in characters.
const (
	maxAuditName    = 255 // also of actions
	maxCredential   = 500
	maxAuditObject  = 1000
	maxAuditDetail  = 2000
	maxAuditAddress = 64 // also of request ids

	// maxDetailValue is where one value of a detail is cut, in bytes of JSON.
	maxDetailValue = 500
)

// Audit is what the audit log is to say of a request. Who makes it is auth.Of the context.
type Audit struct {
	Action string
	// Object is what the request names; a change knows it better.
	Object             string
	RequestID, Address string
	// Committed, if it is set, hears of an entry that was committed.
	Committed func(AuditEntry)

	recorded bool
}

type auditKey struct{}

// WithAudit makes the next change under the context leave an entry in the audit log, committed together with it: both
// happen or neither. A request leaves one entry, also if it makes several transactions.
func WithAudit(ctx context.Context, a *Audit) context.Context {
	return context.WithValue(ctx, auditKey{}, a)
}

// operatorAction is the action of a change of users or permissions that no request asked for: on the server's start, or on
// the command line of who owns the database.
const operatorAction = "operator"

// auditDue is what the transaction has to leave an entry for, nil for nothing.
func (t *tx) auditDue(ctx context.Context) *Audit {
	a, request := ctx.Value(auditKey{}).(*Audit)
	switch {
	case t.changed.nothing:
		return nil
	case request && a != nil && !a.recorded:
		return a
	case request || !t.identityChanged:
		return nil
	}
	if t.by.Credential == "" {
		t.by = &auth.Principal{Credential: "database"}
	}
	return &Audit{Action: operatorAction}
}

func (a *Audit) committed(e AuditEntry) {
	a.recorded = true
	if a.Committed != nil {
		a.Committed(e)
	}
}

// RecordChange leaves the context's entry for a change that is not in the database, such as that of a file.
func (s *Store) RecordChange(ctx context.Context) error {
	return s.update(ctx, func(*tx) error { return nil })
}

// RecordRefusal leaves an entry for a request of the context's user that was refused.
func (s *Store) RecordRefusal(ctx context.Context, a Audit, reason string) error {
	var entry AuditEntry
	err := s.update(WithAudit(ctx, nil), func(t *tx) (err error) {
		t.note("reason", reason)
		entry, err = t.record(a, AuditRefused)
		return err
	})
	if err == nil {
		a.committed(entry)
	}
	return err
}

// changed is what a transaction tells the audit log of itself.
type changed struct {
	object  string
	nothing bool
	detail  bytes.Buffer // the members of a JSON object
}

// about names what the transaction changes.
func (t *tx) about(format string, args ...any) { t.changed.object = fmt.Sprintf(format, args...) }

// changesNothing says that this transaction is not for the audit log.
func (t *tx) changesNothing() { t.changed.nothing = true }

// note adds to what the audit log says of the change. A long text is cut; what finds no place is left out. No secret
// may come here.
func (t *tx) note(key string, value any) {
	if text, ok := value.(string); ok {
		value = cutJSON(text)
	}
	member := fmt.Appendf(nil, "%s:%s", plainJSON(key), plainJSON(value))
	d := &t.changed.detail
	if d.Len() > 0 {
		member = append([]byte{','}, member...)
	}
	if d.Len()+len(member)+len("{}") <= maxAuditDetail {
		d.Write(member)
	}
}

// noteMove notes a value that is replaced by another.
func (t *tx) noteMove(key string, from, to any) {
	t.note(key, struct {
		From any `json:"from"`
		To   any `json:"to"`
	}{from, to})
}

// noteTag notes a tag that is set.
func (t *tx) noteTag(tag Tag) {
	t.note("tag", tag.Key)
	t.note("value", tag.Value)
}

// noteSource notes where a version's files come from, without a password or a signature.
func (t *tx) noteSource(source string) {
	source, _, _ = strings.Cut(source, "?")
	u, err := url.Parse(source)
	switch {
	case err == nil:
		t.note("source", shownURL(u))
	case !strings.Contains(source, "@"):
		t.note("source", source)
	}
}

// plainJSON is JSON that stays readable: < and & are no danger here.
func plainJSON(value any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		panic(err) // what is noted are texts and numbers
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// cutJSON shortens a text to maxDetailValue.
func cutJSON(text string) string {
	if len(text) > maxDetailValue {
		text = cut(text, maxDetailValue)
	}
	for len(plainJSON(text)) > maxDetailValue {
		text = cut(text, utf8.RuneCountInString(text)*3/4)
	}
	return text
}

// cut shortens a text to n characters, the last of which shows it.
func cut(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return string(runes[:n-1]) + "…"
}

// column makes a client's text fit for a column of n characters, and for a terminal.
func column(text string, n int) string {
	return cut(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(text, string(utf8.RuneError))), n)
}

// record inserts the entry of this transaction.
func (t *tx) record(a Audit, outcome AuditOutcome) (AuditEntry, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return AuditEntry{}, fmt.Errorf("make the id of an audit entry: %w", err)
	}
	if t.changed.object != "" {
		a.Object = t.changed.object
	}
	e := AuditEntry{
		ID: id.String(), At: t.now, UserName: column(t.by.Name, maxAuditName), Credential: column(t.by.Credential, maxCredential),
		Action: column(a.Action, maxAuditName), Object: column(a.Object, maxAuditObject), Outcome: outcome,
		Detail:    AuditDetail("{" + t.changed.detail.String() + "}"),
		RequestID: column(a.RequestID, maxAuditAddress), Address: column(a.Address, maxAuditAddress),
	}
	if t.by.UserID != 0 {
		e.UserID = &t.by.UserID
	}
	err = t.queue("INSERT INTO greenroom_audit ("+auditColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
		e.ID, e.At, e.UserID, e.UserName, e.Credential, e.Action, e.Object, string(e.Outcome), string(e.Detail), e.RequestID, e.Address)
	if err != nil {
		return AuditEntry{}, fmt.Errorf("record in the audit log: %w", err)
	}
	return e, nil
}

const auditColumns = "id, at, user_id, user_name, credential, action, object, outcome, detail, request_id, address"

// AuditFilter selects entries of the audit log; what is empty or nil does not select.
type AuditFilter struct {
	User string
	// Object and Action may have * for any text.
	Object, Action string
	Outcome        AuditOutcome
	// Since and Until are milliseconds since 1970; Until is not included.
	Since, Until *int64
	// Before is the id of an entry: only older ones are given.
	Before string
	Limit  int
}

// SearchAudit gives entries of the audit log, the newest first.
func (s *Store) SearchAudit(ctx context.Context, f AuditFilter) (found []*AuditEntry, err error) {
	if err := errors.Join(checkLength("object", f.Object, maxAuditObject), checkLength("action", f.Action, maxAuditName)); err != nil {
		return nil, err // SQLite fails on very long patterns
	}
	q := newQuery("SELECT " + auditColumns + " FROM greenroom_audit WHERE 1 = 1")
	where := func(condition string, arg any) { q.and(search.Clause{SQL: condition, Args: []any{arg}}) }
	if f.User != "" {
		where("user_name = ?", f.User)
	}
	if f.Object != "" {
		where("object"+matching, likePattern(f.Object))
	}
	if f.Action != "" {
		where("action"+matching, likePattern(f.Action))
	}
	if f.Outcome != "" {
		where("outcome = ?", f.Outcome)
	}
	if f.Since != nil {
		where("at >= ?", *f.Since)
	}
	if f.Until != nil {
		where("at < ?", *f.Until)
	}
	if f.Before != "" {
		where("id < ?", f.Before)
	}
	q.add(" ORDER BY id DESC LIMIT ?", f.Limit)
	err = s.view(ctx, func(t *tx) error {
		found, err = pick[*AuditEntry](t, q.text.String(), q.args...)
		return err
	})
	return found, err
}

// matching is the SQL of a text that is like a pattern, in which * stands for any text.
const matching = ` LIKE ? ESCAPE '\'`

func likePattern(pattern string) string {
	return strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`, "*", "%").Replace(pattern)
}
