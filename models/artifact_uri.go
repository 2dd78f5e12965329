package models

import (
	"errors"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
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
	if decoded := unquoteAll(location); uriScheme(location) == "mlflow-artifacts" && strings.ContainsAny(decoded, `\?`) ||
		slices.Contains(strings.FieldsFunc(unquoteAll(splitURI(location).path), isSlash), "..") {
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
	if err := o.checkHost(field, location); err != nil {
		return err
	}
	if at := resolveLocal(location); !o.keeps(at) && !o.allows(at) {
		return invalid("'%s' '%s' is not where this server keeps artifacts: leave it out%s. %s", field, location, o.choices(), prefixHint)
	}
	return nil
}

// checkHost refuses a location that names a server which is not the operator's; field is the parameter's name.
func (o Options) checkHost(field, location string) error {
	scheme := uriScheme(location)
	named := hostSchemes[scheme] || scheme == "mlflow-artifacts" && splitURI(location).host != ""
	if named && !o.allows(location) && !within(o.ArtifactRoot, location) {
		return invalid("'%s' cannot use the '%s' scheme: it names a server this one does not store artifacts on. Use a location in the server's own artifact store, "+
			"or let the operator name the scheme in MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES.", field, scheme)
	}
	return nil
}

// prefixHint tells a user who may let them have other locations.
const prefixHint = "An operator allows other places with --allow-artifact-prefix."

// allows tells whether the operator lets clients choose a location that this server does not store artifacts at.
func (o Options) allows(location string) bool {
	return slices.Contains(o.AllowedSchemes, uriScheme(location)) ||
		slices.ContainsFunc(o.AllowedPrefixes, func(prefix string) bool { return hasPrefix(location, prefix) })
}

// keeps tells whether a location is in the served store or in the default artifact root.
func (o Options) keeps(location string) bool {
	_, ok := o.place(location)
	return ok || o.ArtifactRoot != "" && !splitURI(location).proxied() && hasPrefix(location, o.ArtifactRoot)
}

// choices tells a user where experiments may be. Folders of the server's machine are the operator's alone to know.
func (o Options) choices() string {
	var roots []string
	if o.ArtifactsDestination != "" || splitURI(o.ArtifactRoot).proxied() {
		roots = append(roots, "mlflow-artifacts:/")
	}
	for _, root := range append([]string{o.ArtifactRoot}, o.AllowedPrefixes...) {
		if uri := splitURI(root); !uri.local() && !uri.proxied() {
			roots = append(roots, root)
		}
	}
	if roots == nil {
		return ""
	}
	return ", or name a folder below " + strings.Join(roots, " or ")
}

// CheckPrefix refuses a prefix of locations that could allow less or more than its reader thinks. It is an absolute path or a URI.
func CheckPrefix(prefix string) error {
	uri := splitURI(prefix)
	switch {
	case strings.ContainsAny(prefix, "?#;\\") || slices.Contains(strings.Split(unquoteAll(prefix), "/"), ".."):
		return errors.New("write it plainly, without '..', '?', '#', ';' and backslashes")
	case uri.local() && !filepath.IsAbs(uri.file(prefix)):
		return errors.New("write a folder as /absolute/path or file:///absolute/path")
	case uri.proxied():
		return errors.New("this server's own artifact store needs no permission")
	case !uri.local() && uri.host == "" && strings.Trim(uri.path, "/") == "":
		return errors.New("name a bucket, a host or a folder")
	}
	return nil
}

// hasPrefix tells whether a location is a prefix or below it, step by step, on the same host and as the storage would read it: a
// file: URI is percent-encoded, a key in a bucket is not.
func hasPrefix(location, prefix string) bool {
	if decoded := unquoteAll(location); slices.Contains(strings.FieldsFunc(decoded, isSlash), "..") || strings.ContainsFunc(decoded, unicode.IsControl) {
		return false
	}
	want, have := splitURI(prefix), splitURI(location)
	if want.local() {
		return have.local() && containsFile(prefix, location)
	}
	return want.scheme == have.scheme && want.host == have.host && strings.HasPrefix(have.path+"/", strings.TrimSuffix(want.path, "/")+"/")
}

func isSlash(r rune) bool { return r == '/' || r == '\\' }

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
