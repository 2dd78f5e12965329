package auth

import (
	"encoding/base64"
	"strings"
)

// Describe tells what an Authorization header brings, without any secret, such as "password" or "token k3v…", and the user it
// names. Nobody has verified either: the name may be anything, also a password in the wrong field.
func Describe(header string) (credential, user string) {
	scheme, secret, _ := strings.Cut(header, " ")
	secret = strings.TrimSpace(secret)
	switch strings.ToLower(scheme) {
	case "bearer":
		return describeToken(secret), ""
	case "basic":
		text, _ := base64.StdEncoding.DecodeString(secret) // what is none names nobody
		name, password, _ := strings.Cut(string(text), ":")
		if looksLikeToken(password) {
			return describeToken(password), ""
		}
		return "password", name
	}
	return "unknown", ""
}

func describeToken(token string) string {
	if id, _, ok := ParseToken(token); ok {
		return "token " + id
	}
	if looksLikeJWT(token) {
		return "jwt"
	}
	return "token"
}
