package auth_test

import (
	"testing"

	"greenroom/auth"
)

func TestIsLoopback_OnlyAddressesOfThisMachine(t *testing.T) {
	for host, loopback := range map[string]bool{
		"127.0.0.1": true, "127.8.8.8": true, "localhost": true, "LOCALHOST": true, "::1": true, "[::1]": true, "::ffff:127.0.0.1": true,
		"0.0.0.0": false, "": false, "::": false, "[::]": false, "10.0.0.5": false, "192.168.1.2": false, "mlflow.company.com": false,
		"localhost.company.com": false, "127.0.0.1.nip.io": false, "::ffff:10.0.0.1": false,
	} {
		if got := auth.IsLoopback(host); got != loopback {
			t.Errorf("IsLoopback(%q) = %v", host, got)
		}
	}
}
