// Package auth decides who may use the server. It knows neither gin nor the database.
package auth

import (
	"net/netip"
	"strings"
)

// IsLoopback tells whether a listen address is reachable from this machine only. A name other than localhost is taken for a public one.
func IsLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil && addr.Unmap().IsLoopback()
}
