package auth_test

import (
	"testing"

	"greenroom/auth"
)

func TestPrincipal_DefaultIsTheLevelWhereNoGrantCoversTheObject(t *testing.T) {
	p := &auth.Principal{Default: auth.Read, Grants: auth.Grants{
		{Kind: auth.Experiment, Pattern: "mine*", Level: auth.Manage},
		{Kind: auth.Experiment, Pattern: "secret*", Level: auth.Deny},
		{Kind: auth.Experiment, Pattern: "hidden", Level: auth.NoPermissions},
	}}
	for _, c := range []struct {
		object auth.Object
		want   auth.Level
	}{
		{auth.Object{Kind: auth.Experiment, ID: "1", Name: "other"}, auth.Read},
		{auth.Object{Kind: auth.Experiment, ID: "1", Name: "mine/1"}, auth.Manage},
		{auth.Object{Kind: auth.Experiment, ID: "1", Name: "secret/1"}, auth.Deny},
		{auth.Object{Kind: auth.Experiment, ID: "1", Name: "hidden"}, auth.NoPermissions},
		{auth.Object{Kind: auth.RegisteredModel, Name: "secret/1"}, auth.Read},
		{auth.Server, auth.NoPermissions},
	} {
		if got := p.Level(c.object); got != c.want {
			t.Errorf("Level(%v) = %v, want %v", c.object, got, c.want)
		}
	}
	p.Scope = auth.Grants{{Kind: auth.Experiment, Pattern: "mine*", Level: auth.Edit}}
	if got := p.Level(auth.Object{Kind: auth.Experiment, Name: "other"}); got != auth.NoPermissions {
		t.Errorf("a token's role lets %v through where it grants nothing", got)
	}
}
