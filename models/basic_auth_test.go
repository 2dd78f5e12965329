package models

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"greenroom/auth"
	"greenroom/models/modelstest"
)

// mlflowUsers is the URI of a database as a release of MLflow wrote it.
func mlflowUsers(t *testing.T, release, uri string) string {
	t.Helper()
	dump, err := os.ReadFile(filepath.Join("testdata", "basic_auth", release+".sql"))
	if err != nil {
		t.Fatal(err)
	}
	db, _ := modelstest.Open(t, uri)
	if _, err := db.ExecContext(t.Context(), string(dump)); err != nil {
		t.Fatal(err)
	}
	return uri
}

// importUsers imports, and gives what was told.
func importUsers(t *testing.T, s *Store, uri string) (Imported, []string) {
	t.Helper()
	var told []string
	done, err := s.ImportBasicAuth(t.Context(), uri, func(line string) { told = append(told, line) })
	if err != nil {
		t.Fatal(err)
	}
	return done, told
}

func wantTold(t *testing.T, told []string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !slices.ContainsFunc(told, func(line string) bool { return strings.HasPrefix(line, w) }) {
			t.Errorf("nothing is told like %q", w)
		}
	}
	if len(told) != len(want) {
		t.Errorf("told:\n%s", strings.Join(told, "\n"))
	}
}

// checkImported checks what both releases' servers were told to keep.
func checkImported(t *testing.T, s *Store) {
	t.Helper()
	for name, admin := range map[string]bool{"admin": true, "bob": false, "carl": false, "dora": true} {
		a := account(t, s, name)
		if right, err := auth.NewPasswords().Verify(t.Context(), *a.PasswordHash, "longpassword1234"); name != "admin" && (err != nil || !right) {
			t.Errorf("%s cannot log in with the old password: %v", name, err)
		}
		if a.Admin != admin {
			t.Errorf("%s is an administrator: %v", name, a.Admin)
		}
	}
	bob, carl := must(s.User(t.Context(), "bob"))(t), must(s.User(t.Context(), "carl"))(t)
	experiment := auth.Object{Kind: auth.Experiment, ID: "1", Name: "bobs"}
	for _, c := range []struct {
		user  *User
		o     auth.Object
		level auth.Level
	}{
		{bob, experiment, auth.Manage},
		{bob, model("bobmodel"), auth.Manage},
		{carl, model("bobmodel"), auth.Deny},
	} {
		if got := levelOf(t, s, c.user, c.o); got != c.level {
			t.Errorf("%s has %s on %s, want %s", c.user.Name, got, c.o, c.level)
		}
	}
}

func TestImportBasicAuth_OfReleasesUpTo3_6(t *testing.T) {
	both := map[string]func(testing.TB) string{"from sqlite": modelstest.EmptySQLite, "from postgresql": modelstest.EmptyPostgreSQL}
	for name, empty := range both {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, s *Store) {
				uri := mlflowUsers(t, "3.6.0", empty(t))
				done, told := importUsers(t, s, uri)
				if diff := cmp.Diff(Imported{Users: 4, Grants: 5, Skipped: 2}, done); diff != "" {
					t.Error(diff)
				}
				wantTold(t, told, "in MLflow all users may create", `user "x:y" was left out: `, "EDIT on experiment 'myexperiment' of user 'carl' was left out: 'myexperiment' is no experiment's id")
				checkImported(t, s)
				carl := must(s.User(t.Context(), "carl"))(t)
				if got := levelOf(t, s, carl, auth.Object{Kind: auth.Experiment, ID: "1"}); got != auth.Read {
					t.Errorf("carl has %s on experiment 1", got)
				}
			})
		})
	}
}

func TestImportBasicAuth_Of3_17(t *testing.T) {
	both := map[string]func(testing.TB) string{"from sqlite": modelstest.EmptySQLite, "from postgresql": modelstest.EmptyPostgreSQL}
	for name, empty := range both {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, s *Store) {
				ctx := t.Context()
				uri := mlflowUsers(t, "3.17.2", empty(t))
				done, told := importUsers(t, s, uri)
				if diff := cmp.Diff(Imported{Users: 4, Roles: 3, Assignments: 4, Grants: 6, Skipped: 6}, done); diff != "" {
					t.Error(diff)
				}
				wantTold(t, told, "in MLflow all users may create", `user "x:y" was left out: `, "role 'y' of workspace 'other' was left out", "role 'guest' of workspace 'research' was left out",
					"DENY on run '*' of role 'deployer' was left out: resource_type 'run' has no permissions of its own",
					"READ on prompt '*' of role 'deployer' was left out", "USE on gateway_endpoint 'chat' of role 'deployer' was left out",
					"role 'viewer' exists here with other permissions; the imported one is 'viewer (imported)'",
					"MANAGE on the workspace of role 'ops' becomes MANAGE on all experiments and models")
				checkImported(t, s)

				var held []string
				for _, r := range must(s.HolderRoles(ctx, Holder{User: "carl"}))(t) {
					if !r.Hidden() {
						held = append(held, r.Name)
					}
				}
				if diff := cmp.Diff([]string{"deployer", "viewer (imported)"}, held); diff != "" {
					t.Error(diff)
				}
				carl, bob := must(s.User(ctx, "carl"))(t), must(s.User(ctx, "bob"))(t)
				for o, level := range map[auth.Object]auth.Level{
					model("greeting"): auth.Edit, // a prompt
					model("churn"):    auth.Edit, model("a*b"): auth.Read, model("axb"): auth.NoPermissions,
					{Kind: auth.Experiment, ID: "7", Name: "x"}: auth.Edit, auth.Server: auth.Use,
				} {
					if got := levelOf(t, s, carl, o); got != level {
						t.Errorf("carl has %s on %s, want %s", got, o, level)
					}
				}
				if got := levelOf(t, s, bob, model("any")); got != auth.Manage { // by the built-in role manager, which is the same
					t.Errorf("bob has %s by role manager", got)
				}
			})
		})
	}
}

func TestImportBasicAuth_ASecondOneChangesNothing(t *testing.T) {
	for _, release := range []string{"3.6.0", "3.17.2"} {
		t.Run(release, func(t *testing.T) {
			s := open(t, modelstest.SQLite(t))
			ctx := t.Context()
			uri := mlflowUsers(t, release, modelstest.EmptySQLite(t))
			importUsers(t, s, strings.TrimPrefix(uri, "sqlite:///"))
			if err := s.SetPassword(ctx, "bob", "changed here"); err != nil {
				t.Fatal(err)
			}
			if err := s.Revoke(ctx, Holder{User: "bob"}, auth.Experiment, "1"); err != nil {
				t.Fatal(err)
			}
			before := must(s.Roles(ctx))(t)
			done, told := importUsers(t, s, uri)
			if done.Users+done.Roles+done.Grants+done.Assignments != 0 || done.Left != 4 {
				t.Errorf("got %+v", done)
			}
			if !slices.ContainsFunc(told, func(line string) bool {
				return strings.HasPrefix(line, "user 'bob' exists here already and stays as it is here")
			}) {
				t.Errorf("told: %q", told)
			}
			if diff := cmp.Diff(before, must(s.Roles(ctx))(t)); diff != "" {
				t.Error(diff)
			}
			if a := account(t, s, "bob"); *a.PasswordHash != "changed here" {
				t.Error("a password is taken back")
			}
		})
	}
}

func TestImportBasicAuth_Refusals(t *testing.T) {
	s := open(t, modelstest.SQLite(t))
	missing := filepath.Join(t.TempDir(), "none.db")
	for uri, why := range map[string]string{
		missing:                  "no such file",
		modelstest.SQLite(t):     "is not a database of MLflow's basic-auth app",
		"mysql://h/d":            "not supported",
		modelstest.PostgreSQL(t): "is not a database of MLflow's basic-auth app",
	} {
		_, err := s.ImportBasicAuth(t.Context(), uri, func(string) {})
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: got %v, want …%s…", uri, err, why)
		}
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("a file is made")
	}
}
