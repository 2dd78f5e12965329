package auth_test

import (
	"strings"
	"testing"

	"greenroom/auth"
)

func TestCheckListen_OnlyLoopbackNeedsNoExplicitNoAuth(t *testing.T) {
	for host, loopback := range map[string]bool{
		"127.0.0.1": true, "127.8.8.8": true, "localhost": true, "LOCALHOST": true, "::1": true, "[::1]": true, "::ffff:127.0.0.1": true,
		"0.0.0.0": false, "": false, "::": false, "[::]": false, "10.0.0.5": false, "192.168.1.2": false, "mlflow.company.com": false,
		"localhost.company.com": false, "127.0.0.1.nip.io": false, "::ffff:10.0.0.1": false,
	} {
		err := auth.CheckListen(host, false)
		if (err == nil) != loopback {
			t.Errorf("CheckListen(%q, false) = %v, want an error: %v", host, err, !loopback)
		}
		if err != nil && !strings.Contains(err.Error(), "--no-auth") {
			t.Errorf("CheckListen(%q, false) = %q does not name --no-auth", host, err)
		}
		if err := auth.CheckListen(host, true); err != nil {
			t.Errorf("CheckListen(%q, true) = %v", host, err)
		}
	}
}
