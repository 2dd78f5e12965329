package models

import (
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// appendToURI adds path segments to an artifact location, before its query if it has one.
func appendToURI(location string, segments ...string) string {
	base, query, hasQuery := strings.Cut(location, "?")
	for _, s := range segments {
		if strings.HasSuffix(base, "/") {
			base += s
		} else {
			base += "/" + s
		}
	}
	if hasQuery {
		return base + "?" + query
	}
	return base
}

var percentEncoded = regexp.MustCompile(`%[0-9a-fA-F]{2}`)

var schemePattern = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+.\-]*:`)

// uriScheme is the lower-case scheme of a location, "" for a plain path.
func uriScheme(location string) string {
	return strings.ToLower(strings.TrimSuffix(schemePattern.FindString(location), ":"))
}

// hostSchemes name a server to talk to: a location of theirs would make whoever reads it send requests where its author wants.
var hostSchemes = map[string]bool{
	"http": true, "https": true, "ftp": true, "sftp": true, "hdfs": true, "viewfs": true, "r2": true, "b2": true, "abfss": true,
}

// checkArtifactLocation refuses a location that could lead outside the stores the operator set up; field is the parameter's name.
func (o Options) checkArtifactLocation(field, location string) error {
	if strings.HasPrefix(location, "runs:") {
		return invalid("Artifact location cannot be a runs:/ URI. Given: '%s'", location)
	}
	u, err := url.Parse(location)
	if err != nil {
		return invalid("'%s' is not a valid URI.", field)
	}
	if u.Fragment != "" || strings.ContainsAny(location, "#;") {
		return invalid("'%s' URL can't include fragments or params.", field)
	}
	if decoded := unquoteAll(location); uriScheme(location) == "mlflow-artifacts" &&
		(strings.ContainsAny(decoded, `\?`) || slices.Contains(strings.Split(decoded, "/"), "..")) {
		return invalid("'%s' must be a folder of the artifact store, without '..', '\\' and '?': '%s'", field, location)
	}
	query := u.RawQuery
	for range 10 {
		if strings.Contains(query, "..") {
			return invalid("Invalid query string: %s", u.RawQuery)
		}
		decoded, err := url.QueryUnescape(query)
		if err != nil || decoded == query {
			break
		}
		query = decoded
	}
	return o.checkHost(field, location)
}

// checkHost refuses a location that names a server which is not the operator's; field is the parameter's name.
func (o Options) checkHost(field, location string) error {
	scheme := uriScheme(location)
	named := hostSchemes[scheme] || scheme == "mlflow-artifacts" && splitURI(location).host != ""
	if named && !slices.Contains(o.AllowedSchemes, scheme) && !within(o.ArtifactRoot, location) {
		return invalid("'%s' cannot use the '%s' scheme: it names a server this one does not store artifacts on. Use a location in the server's own artifact store, "+
			"or let the operator name the scheme in MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES.", field, scheme)
	}
	return nil
}

// within tells whether location is root or below it, on the same server.
func within(root, location string) bool {
	r, err := url.Parse(root)
	if err != nil || root == "" {
		return false
	}
	l, err := url.Parse(location)
	if err != nil || l.Scheme != r.Scheme || l.Host != r.Host {
		return false
	}
	return l.Path == r.Path || strings.HasPrefix(l.Path, strings.TrimSuffix(r.Path, "/")+"/")
}

// resolveLocal makes a plain local path absolute; other locations stay as they are.
func resolveLocal(location string) string {
	if uriScheme(location) != "" {
		return location
	}
	if abs, err := filepath.Abs(location); err == nil {
		return abs
	}
	return location
}
