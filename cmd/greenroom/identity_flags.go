package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"greenroom/auth"
	"greenroom/mlflowapi"
	"greenroom/models"
)

// identityFlags say who may use the server.
type identityFlags struct {
	auth, noAuth      bool
	appName           string
	defaultPermission string

	oidcIssuers, oidcAudiences                     []string
	oidcUserClaim, oidcGroupsClaim, oidcRolesClaim string
	oidcAdminGroup                                 string
	keyFile, jwtAudience                           string

	trustedProxies []string

	// admin is the first administrator; MLflow has variables for it, and no flag.
	admin struct{ name, password string }
	// mlflowConfig is the file that configures MLflow's basic-auth app.
	mlflowConfig string
	level        auth.Level // of defaultPermission
}

// ownAudience is what the JWTs of the server's own keys are meant for, unless the operator names it.
const ownAudience = "greenroom"

func (f *identityFlags) define(set *pflag.FlagSet) {
	set.BoolVar(&f.auth, "auth", false, "everyone has to log in, also while there are no users (default on loopback, without an issuer, key file or proxy: from the first user on)")
	set.BoolVar(&f.noAuth, "no-auth", false, "nobody has to log in: everyone who can connect may do everything")
	set.StringVar(&f.appName, "app-name", "", "basic-auth, as in mlflow server, is --auth")
	set.StringVar(&f.defaultPermission, "default-permission", "NO_PERMISSIONS", "what every user may do at least with every experiment and model: NO_PERMISSIONS, READ, USE, EDIT or MANAGE")
	set.StringSliceVar(&f.oidcIssuers, "oidc-issuer", nil, "trust the JWTs of this OpenID Connect issuer, whose URL is written as in their iss; may be repeated")
	set.StringSliceVar(&f.oidcAudiences, "oidc-audience", nil, "what these JWTs must be meant for (aud), as the issuer knows this server; may be repeated")
	set.StringVar(&f.oidcUserClaim, "oidc-user-claim", "preferred_username", "claim that names the user; dots lead into claims in claims")
	set.StringVar(&f.oidcGroupsClaim, "oidc-groups-claim", "groups", "claim that lists groups, which count if groups of these names exist here")
	set.StringVar(&f.oidcRolesClaim, "oidc-roles-claim", "roles", "claim that lists roles, which count if roles of these names exist here")
	set.StringVar(&f.oidcAdminGroup, "oidc-admin-group", "", "group in the claims whose members are administrators (default: claims make no administrators)")
	set.StringVar(&f.keyFile, "key-file", "", "keys that sign this server's own JWTs; greenroom key create makes one")
	set.StringVar(&f.jwtAudience, "jwt-audience", ownAudience, "what the own JWTs must be meant for (aud)")
	set.StringSliceVar(&f.trustedProxies, "trusted-proxies", nil, "addresses or networks, such as 10.0.0.0/8, of proxies whose X-Forwarded-For tells the client's address (default none)")
}

func identityVariables() map[string]string {
	return map[string]string{
		"auth":               "GREENROOM_AUTH",
		"no-auth":            "GREENROOM_NO_AUTH",
		"default-permission": "GREENROOM_DEFAULT_PERMISSION",
		"oidc-issuer":        "GREENROOM_OIDC_ISSUER",
		"oidc-audience":      "GREENROOM_OIDC_AUDIENCE",
		"oidc-user-claim":    "GREENROOM_OIDC_USER_CLAIM",
		"oidc-groups-claim":  "GREENROOM_OIDC_GROUPS_CLAIM",
		"oidc-roles-claim":   "GREENROOM_OIDC_ROLES_CLAIM",
		"oidc-admin-group":   "GREENROOM_OIDC_ADMIN_GROUP",
		"key-file":           "GREENROOM_KEY_FILE",
		"jwt-audience":       "GREENROOM_JWT_AUDIENCE",
		"trusted-proxies":    "GREENROOM_TRUSTED_PROXIES",
	}
}

// checkIdentity refuses flags that contradict each other or can't work.
func (f *identityFlags) checkIdentity(notes io.Writer) (err error) {
	switch f.appName {
	case "":
	case "basic-auth":
		f.auth = true
		fmt.Fprintln(notes, "note: --app-name basic-auth is --auth here; its users move in with greenroom user import")
	default:
		return fmt.Errorf("--app-name %s is not supported: MLflow's Python apps can't run here, but users are built in: write --auth", f.appName)
	}
	if f.mlflowConfig != "" {
		fmt.Fprintln(notes, "note: MLFLOW_AUTH_CONFIG_PATH has no effect: its default_permission is --default-permission here, its users move in with greenroom user import")
	}
	if f.level, err = auth.ParseLevel(f.defaultPermission); err != nil {
		return fmt.Errorf("--default-permission: %w", err)
	}
	f.trustedProxies = trimmed(f.trustedProxies)
	switch {
	case f.level == auth.Deny:
		return errors.New("--default-permission DENY would overrule every other permission: write NO_PERMISSIONS")
	case f.auth && f.noAuth:
		return errors.New("--auth and --no-auth exclude each other: leave one out")
	case f.noAuth && (len(f.oidcIssuers) > 0 || f.keyFile != ""):
		return errors.New("--no-auth asks nobody for a JWT: leave it out, or --oidc-issuer and --key-file")
	case len(f.oidcIssuers) > 0 && len(f.oidcAudiences) == 0:
		return errors.New("--oidc-issuer needs --oidc-audience: without it, the issuer's tokens for any other service would do here")
	case len(f.oidcIssuers) == 0 && (len(f.oidcAudiences) > 0 || f.oidcAdminGroup != ""):
		return errors.New("--oidc-audience and --oidc-admin-group are for the JWTs of an --oidc-issuer: name it")
	case f.admin.name != "" && f.admin.password == "":
		return errors.New("environment variable MLFLOW_AUTH_ADMIN_USERNAME needs MLFLOW_AUTH_ADMIN_PASSWORD")
	}
	_, err = f.proxies()
	return err
}

// proxies are the networks of --trusted-proxies.
func (f *identityFlags) proxies() (networks []netip.Prefix, err error) {
	for _, text := range f.trustedProxies {
		network, err := netip.ParsePrefix(text)
		if address, single := netip.ParseAddr(text); single == nil {
			network, err = address.Prefix(address.BitLen())
		}
		if err != nil {
			return nil, fmt.Errorf("--trusted-proxies %q is neither an address nor a network such as 10.0.0.0/8", text)
		}
		networks = append(networks, network)
	}
	return networks, nil
}

// verifier verifies the JWTs that the flags say are trusted; nil if none are.
func (f *identityFlags) verifier(log *slog.Logger) (*auth.JWTVerifier, error) {
	if len(f.oidcIssuers) == 0 && f.keyFile == "" {
		return nil, nil
	}
	return auth.NewJWTVerifier(auth.JWTOptions{
		Issuers: f.oidcIssuers, Audiences: f.oidcAudiences, KeyFile: f.keyFile, OwnAudiences: []string{f.jwtAudience},
		UserClaim: f.oidcUserClaim, GroupsClaim: f.oidcGroupsClaim, RolesClaim: f.oidcRolesClaim, Now: time.Now, Log: log,
	})
}

// gate is who lets requests in, and what the operator has to know about it.
type gate struct {
	authenticator mlflowapi.Authenticator
	users         int
	setupToken    string // with which the first administrator is made; "" where none is needed
}

// openGate makes the authenticator, and sees to it that somebody can log in: the administrator of the environment's variables,
// or whoever holds the set-up token.
func (f *serverFlags) openGate(ctx context.Context, store *models.Store, verifier *auth.JWTVerifier, log *slog.Logger) (g gate, err error) {
	if err := f.makeFirstAdmin(ctx, store, log); err != nil {
		return g, err
	}
	users, err := store.Users(ctx)
	if err != nil {
		return g, err
	}
	g.users = len(users)
	if f.noAuth {
		g.authenticator = auth.Off{}
		return g, nil
	}
	g.authenticator = auth.NewAuthenticator(store, auth.Options{
		Required: f.logInRequired(), Default: f.level, JWT: verifier, AdminGroup: f.oidcAdminGroup, Log: log, Now: time.Now,
	})
	if f.logInRequired() && f.oidcAdminGroup == "" {
		token, hash := auth.NewSetupToken()
		set, err := store.SetSetupToken(ctx, hash, time.Now().Add(setupTime))
		if err != nil {
			return g, err
		}
		if set {
			g.setupToken = token
		}
	}
	return g, nil
}

// setupTime is how long a set-up token can be used.
const setupTime = 24 * time.Hour

// logInRequired tells whether everyone has to log in also while there are no users: where other machines come in, also through
// a proxy, and where the operator says who may.
func (f *serverFlags) logInRequired() bool {
	return f.auth || !auth.IsLoopback(f.host) || len(f.oidcIssuers) > 0 || f.keyFile != "" || len(f.trustedProxies) > 0
}

// whoMayUse tells the operator who has to log in.
func (f *serverFlags) whoMayUse(g gate) string {
	if f.noAuth {
		return "not checked: everyone who can connect can read, change and delete everything (--no-auth)"
	}
	text := "checked; there are none yet"
	switch {
	case g.users == 0 && !f.logInRequired():
		text = "not checked until the first one exists: greenroom user create NAME makes an administrator"
	case g.users == 1:
		text = "checked, 1 user"
	case g.users > 1:
		text = fmt.Sprintf("checked, %d users", g.users)
	}
	if len(f.oidcIssuers) > 0 {
		text += "; JWTs of " + strings.Join(f.oidcIssuers, ", ")
	}
	if f.keyFile != "" {
		text += "; JWTs of the keys in " + f.keyFile
	}
	return text
}

// makeFirstAdmin makes the administrator that MLFLOW_AUTH_ADMIN_USERNAME and MLFLOW_AUTH_ADMIN_PASSWORD name, if there is none.
func (f *serverFlags) makeFirstAdmin(ctx context.Context, store *models.Store, log *slog.Logger) error {
	if f.admin.password == "" {
		return nil
	}
	const noEffect = "MLFLOW_AUTH_ADMIN_USERNAME and MLFLOW_AUTH_ADMIN_PASSWORD have no effect: there is an administrator already"
	there, err := store.HasAdmin(ctx)
	if err != nil {
		return err
	}
	if there {
		log.InfoContext(ctx, noEffect)
		return nil
	}
	name := f.admin.name
	if name == "" {
		name = "admin" // as in MLflow
	}
	if err := auth.CheckNewPassword(name, f.admin.password); err != nil {
		return fmt.Errorf("environment variable MLFLOW_AUTH_ADMIN_PASSWORD: %w", err)
	}
	hash, err := auth.NewPasswords().Hash(ctx, f.admin.password)
	if err != nil {
		return err
	}
	by := theOperator()
	by.Credential = "environment"
	made, err := store.BootstrapAdmin(models.WithAudit(auth.With(ctx, by), &models.Audit{Action: "server start"}), name, hash)
	if err != nil {
		return fmt.Errorf("make the administrator of MLFLOW_AUTH_ADMIN_USERNAME: %w", err)
	}
	if !made { // another replica was faster
		log.InfoContext(ctx, noEffect)
		return nil
	}
	log.InfoContext(ctx, "the first administrator is made", slog.String("user", name))
	return nil
}
