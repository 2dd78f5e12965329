package models

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5/pgconn"

	"greenroom/auth"
	"greenroom/models/modelstest"
	"greenroom/search"
)

// audited is a request of ann's; it tells what it has recorded.
func audited(ctx context.Context, action string, heard *[]AuditEntry) context.Context {
	ctx = auth.With(ctx, &auth.Principal{UserID: 7, Name: "ann", Credential: "password", Admin: true})
	return WithAudit(ctx, &Audit{Action: action, Object: "what the request names", RequestID: "r1", Address: "127.0.0.1", Committed: func(e AuditEntry) {
		if heard != nil {
			*heard = append(*heard, e)
		}
	}})
}

func auditLog(t testing.TB, s *Store, f AuditFilter) []AuditEntry {
	t.Helper()
	f.Limit = 1_000_000
	found, err := s.SearchAudit(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	entries := make([]AuditEntry, len(found))
	for i, e := range found {
		entries[i] = *e
	}
	return entries
}

func TestAudit_AChangeLeavesOneEntryWithTheTransaction(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		var heard []AuditEntry
		ctx := audited(t.Context(), "experiments/create", &heard)
		id, err := s.CreateExperiment(ctx, "trials", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SetExperimentTag(ctx, id, Tag{"a", "b"}); err != nil { // a second transaction of the same request
			t.Fatal(err)
		}
		seven := int64(7)
		want := []AuditEntry{{
			UserID: &seven, UserName: "ann", Credential: "password", Action: "experiments/create", Object: fmt.Sprintf("experiment %d", id), Outcome: AuditAllowed,
			Detail: AuditDetail(`{"name":"trials"}`), RequestID: "r1", Address: "127.0.0.1",
		}}
		got := auditLog(t, s, AuditFilter{})
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(AuditEntry{}, "ID", "At")); diff != "" {
			t.Errorf("the log (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(got, heard); diff != "" {
			t.Errorf("after the commit (-log +heard):\n%s", diff)
		}
		if age := time.Since(time.UnixMilli(got[0].At)); age < 0 || age > time.Minute {
			t.Errorf("the entry is %s old", age)
		}
	})
}

func TestAudit_UsersDoNotChangeUnseenOutsideOfRequests(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		if _, err := s.CreateUser(t.Context(), NewUser{Name: "ann"}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.ExternalAccount(audited(t.Context(), "log-in", nil), "https://issuer", "17", "bob"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.ExternalAccount(audited(t.Context(), "log-in", nil), "https://issuer", "17", "bob"); err != nil {
			t.Fatal(err)
		}
		want := []AuditEntry{
			{UserName: "bob", Credential: "jwt https://issuer", Action: "log-in", Object: "user 'bob'", Outcome: AuditAllowed, Detail: `{"issuer":"https://issuer"}`, RequestID: "r1", Address: "127.0.0.1"},
			{Credential: "database", Action: "operator", Object: "user 'ann'", Outcome: AuditAllowed, Detail: `{"admin":true}`},
		}
		if diff := cmp.Diff(want, auditLog(t, s, AuditFilter{}), cmpopts.IgnoreFields(AuditEntry{}, "ID", "At")); diff != "" {
			t.Errorf("the log (-want +got):\n%s", diff)
		}
	})
}

func TestAudit_WhatChangesNothingLeavesNoEntry(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		if _, err := s.CreateRegisteredModel(t.Context(), "churn", "", nil); err != nil {
			t.Fatal(err)
		}
		version := NewModelVersion{Name: "churn", Source: "s3://bucket/churn"}
		if _, err := s.CreateModelVersion(t.Context(), version); err != nil {
			t.Fatal(err)
		}
		for name, change := range map[string]func(context.Context) error{
			"a name that is taken":      func(ctx context.Context) error { _, err := s.CreateRegisteredModel(ctx, "churn", "", nil); return err },
			"a version that is not":     func(ctx context.Context) error { return s.SetAlias(ctx, "churn", "champion", 9) },
			"a repeated creation":       func(ctx context.Context) error { _, err := s.CreateModelVersion(ctx, version); return err },
			"an alias that is not":      func(ctx context.Context) error { return s.DeleteAlias(ctx, "churn", "champion") },
			"a tag that is not":         func(ctx context.Context) error { return s.DeleteModelVersionTag(ctx, "churn", 1, "k") },
			"a model's tag that is not": func(ctx context.Context) error { return s.DeleteRegisteredModelTag(ctx, "churn", "k") },
			"a token's use":             func(ctx context.Context) error { return s.NoteTokenUse(ctx, "x", time.Now()) },
			"a failure's count":         func(ctx context.Context) error { return s.ForgetLoginFailures(ctx, time.Now()) },
			"a request that is cancelled": func(ctx context.Context) error {
				ctx, cancel := context.WithCancel(ctx)
				cancel()
				return s.SetAlias(ctx, "churn", "champion", 1)
			},
			"a transaction that fails at its end": func(ctx context.Context) error {
				return s.update(ctx, func(t *tx) error {
					if _, err := t.exec("UPDATE registered_models SET description = 'x'"); err != nil {
						return err
					}
					return errors.New("no")
				})
			},
		} {
			err := change(audited(t.Context(), name, nil))
			if got := auditLog(t, s, AuditFilter{}); len(got) != 0 {
				t.Fatalf("%s: %v, and an entry: %+v", name, err, got)
			}
		}
	})
}

func TestAudit_ARetriedTransactionLeavesOneEntry(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		var heard []AuditEntry
		attempts := 0
		err := s.update(audited(t.Context(), "x", &heard), func(t *tx) error {
			attempts++
			t.note("attempt", attempts)
			if attempts < 4 {
				return &pgconn.PgError{Code: "40001"}
			}
			return nil
		})
		if got := auditLog(t, s, AuditFilter{}); err != nil || len(got) != 1 || len(heard) != 1 || got[0].Detail != `{"attempt":4}` {
			t.Errorf("%v: after %d attempts %+v", err, attempts, got)
		}
	})
}

func TestAudit_AChangeFailsWithItsEntry(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		if err := s.write.Exec("ALTER TABLE greenroom_audit RENAME TO greenroom_audit_away").Error; err != nil {
			t.Fatal(err)
		}
		var heard []AuditEntry
		_, err := s.CreateRegisteredModel(audited(t.Context(), "registered-models/create", &heard), "churn", "", nil)
		if err == nil || !strings.Contains(err.Error(), "greenroom_audit") {
			t.Errorf("the change without an entry gave %v", err)
		}
		if _, err := s.RegisteredModel(t.Context(), "churn"); !isNotFound(err) || len(heard) > 0 {
			t.Errorf("the model is there: %v; heard %v", err, heard)
		}
		if _, err := s.CreateRegisteredModel(t.Context(), "churn", "", nil); err != nil {
			t.Errorf("what is not audited needs no audit log: %v", err)
		}
	})
}

// Writers are cancelled at any moment, and PostgreSQL cuts connections: what happened and what the log says stay the same.
func TestAudit_TheLogIsWhatHappened(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		if _, err := s.CreateRegisteredModel(t.Context(), "churn", "", nil); err != nil {
			t.Fatal(err)
		}
		ctx, done := context.WithCancel(t.Context())
		var writers, killer sync.WaitGroup
		var ended atomic.Int64
		if s.dialect == search.PostgreSQL {
			killer.Go(func() {
				for last := int64(0); ctx.Err() == nil; {
					if now := ended.Load(); now >= last+4 { // most writes succeed, however slow they are
						last = now
						s.read.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1")
					}
					s.read.Exec("SELECT pg_sleep(0.005)")
				}
			})
		}
		for writer := range 8 {
			writers.Go(func() {
				for i := range 25 {
					ctx := audited(t.Context(), "experiments/create", nil)
					if i%3 == 0 {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, rand.N(4*time.Millisecond))
						defer cancel()
					}
					// What fails is looked at below.
					_, _ = s.CreateExperiment(ctx, fmt.Sprintf("e-%d-%d", writer, i), "", nil)
					_, _ = s.CreateModelVersion(audited(t.Context(), "model-versions/create", nil), NewModelVersion{Name: "churn", Source: fmt.Sprintf("s3://b/%d/%d", writer, i)})
					ended.Add(2)
				}
			})
		}
		writers.Wait()
		done()
		killer.Wait()
		if s.dialect == search.PostgreSQL {
			untilIdle(t, s)
		}
		check := func(action, objects string) {
			t.Helper()
			var happened, logged []string
			var err error
			for attempt := 0; attempt == 0 || err != nil && attempt < 30; attempt++ { // the pool still has connections that were cut
				err = s.read.Raw(objects).Scan(&happened).Error
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range auditLog(t, s, AuditFilter{Action: action}) {
				logged = append(logged, e.Object)
			}
			slices.Sort(happened)
			slices.Sort(logged)
			if diff := cmp.Diff(happened, logged); diff != "" || len(happened) < 10 {
				t.Errorf("%s: %d happened (-happened +logged):\n%s", action, len(happened), diff)
			}
		}
		check("experiments/create", "SELECT 'experiment ' || experiment_id FROM experiments WHERE name LIKE 'e-%'")
		check("model-versions/create", "SELECT 'registered model ''churn'' version ' || version FROM model_versions")
	})
}

// untilIdle waits until PostgreSQL works at nothing of the database any more: a write whose client is gone may yet be committed.
func untilIdle(t *testing.T, s *Store) {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		var busy int
		err := s.read.Raw("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND state <> 'idle'").Scan(&busy).Error
		if err == nil && busy == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d sessions are still at work, %v", busy, err)
		}
	}
}

func TestAudit_TextsFit(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		hostile := []string{strings.Repeat("é", 5000), strings.Repeat("\x01", 3000), "a\x00b", "\xff\xfe", "\x1b[31mred", strings.Repeat("\"\\", 2000), "<&>", "日本"}
		for _, text := range hostile {
			ctx := auth.With(t.Context(), &auth.Principal{Name: text, Credential: text})
			if err := s.RecordRefusal(ctx, Audit{Action: text, Object: text, RequestID: text, Address: text}, text); err != nil {
				t.Fatalf("%.20q: %v", text, err)
			}
			err := s.update(WithAudit(ctx, &Audit{}), func(t *tx) error {
				for i := range 20 {
					t.note(fmt.Sprintf("key%d", i), text)
				}
				return nil
			})
			if err != nil {
				t.Fatalf("%.20q: %v", text, err)
			}
		}
		entries := auditLog(t, s, AuditFilter{})
		if len(entries) != 2*len(hostile) {
			t.Fatalf("%d entries", len(entries))
		}
		for _, e := range entries {
			if len(e.Detail) > maxAuditDetail || len([]rune(e.Object)) > maxAuditObject || strings.ContainsAny(e.Object+e.UserName+e.Action, "\x00\x01\x1b") || !json.Valid([]byte(e.Detail)) || len(e.Detail) < 6 {
				t.Errorf("%.50q %d %s", e.Object, len(e.Detail), e.Detail)
			}
		}
	})
}

func TestAudit_SourcesAreNotedWithoutSecrets(t *testing.T) {
	for source, want := range map[string]string{
		"s3://bucket/model":                   `"source":"s3://bucket/model"`,
		"s3://key:hunter2@bucket/model":       `"source":"s3://key:xxxxx@bucket/model"`,
		"https://h/m?X-Amz-Signature=hunter2": `"source":"https://h/m"`,
		"models:/churn/3":                     `"source":"models:/churn/3"`,
		"ftp://user:hunter2@bad host/%zz":     ``,
		"dbfs:/a b/%zz":                       `"source":"dbfs:/a b/%zz"`,
		"mlflow-artifacts:/1/abc/artifacts/m": `"source":"mlflow-artifacts:/1/abc/artifacts/m"`,
	} {
		transaction := &tx{}
		transaction.noteSource(source)
		if got := transaction.changed.detail.String(); got != want {
			t.Errorf("%s: %s, want %s", source, got, want)
		}
	}
}

func TestSearchAudit_Selects(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		now := int64(1000)
		s := openWith(t, uri, Options{Now: func() time.Time { now++; return time.UnixMilli(now) }})
		for i, e := range []struct{ user, action, object string }{
			{"ann", "model-versions/transition-stage", "registered model 'churn' version 1"},
			{"ann", "model-versions/create", "registered model 'churn' version 10"},
			{"bob", "registered-models/delete", "registered model 'Churn'"},
			{"bob", "registered-models/delete", "registered model '100%_\\'"},
		} {
			ctx := auth.With(t.Context(), &auth.Principal{Name: e.user, Credential: "password"})
			var err error
			if i%2 == 0 {
				err = s.RecordRefusal(ctx, Audit{Action: e.action, Object: e.object}, "no")
			} else {
				err = s.RecordChange(WithAudit(ctx, &Audit{Action: e.action, Object: e.object}))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		all := auditLog(t, s, AuditFilter{})
		time := func(i int) *int64 { return &all[i].At }
		for name, c := range map[string]struct {
			filter AuditFilter
			want   []int
		}{
			"all":               {AuditFilter{}, []int{0, 1, 2, 3}},
			"user":              {AuditFilter{User: "ann"}, []int{2, 3}},
			"outcome":           {AuditFilter{Outcome: AuditRefused}, []int{1, 3}},
			"action":            {AuditFilter{Action: "registered-models/delete"}, []int{0, 1}},
			"actions":           {AuditFilter{Action: "model-versions/*"}, []int{2, 3}},
			"object":            {AuditFilter{Object: "registered model 'churn' version 1"}, []int{3}},
			"objects":           {AuditFilter{Object: "registered model 'churn'*"}, []int{2, 3}},
			"odd characters":    {AuditFilter{Object: `registered model '100%_\'`}, []int{0}},
			"no wildcards":      {AuditFilter{Object: "registered model '_hurn'%"}, nil},
			"since":             {AuditFilter{Since: time(1)}, []int{0, 1}},
			"until":             {AuditFilter{Until: time(1)}, []int{2, 3}},
			"before":            {AuditFilter{Before: all[1].ID}, []int{2, 3}},
			"several":           {AuditFilter{User: "bob", Outcome: AuditAllowed, Action: "*delete"}, []int{0}},
			"none of that name": {AuditFilter{User: "carl"}, nil},
		} {
			var want []AuditEntry
			for _, i := range c.want {
				want = append(want, all[i])
			}
			if diff := cmp.Diff(want, auditLog(t, s, c.filter), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	})
}
