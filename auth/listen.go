// Package auth decides who may use the server. It knows neither gin nor the database.
package auth

import (
	"fmt"
	"net/netip"
	"strings"
)

// CheckListen refuses to listen for other machines while nobody has to log in, unless the operator says so with --no-auth.
func CheckListen(host string, noAuth bool) error {
	if noAuth || IsLoopback(host) {
		return nil
	}
	if host == "" {
		host = "(all addresses)"
	}
	return fmt.Errorf("--host %s lets other machines in, and without authentication everyone who reaches the port can read, change and delete "+
		"every run and model: add --no-auth if the network is trusted or a proxy in front checks users, or keep --host 127.0.0.1", host)
}

// IsLoopback tells whether a listen address is reachable from this machine only. A name other than localhost is taken for a public one.
func IsLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil && addr.Unmap().IsLoopback()
}
