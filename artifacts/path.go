package artifacts

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits on artifact paths, in bytes of UTF-8. A segment is a file name on
// every common file system; the whole path is bounded so that no request makes
// a store walk without end, and a database's index holds it.
const (
	maxSegmentBytes = 255
	maxPathBytes    = 2048
)

// reservedPrefix starts the names that stores keep for uploads in progress.
const reservedPrefix = ".greenroom-upload"

// PathError says why a path can't name an artifact. It is the caller's mistake
// and its text is meant for the user.
type PathError struct {
	Path   string
	Reason string
}

func (e *PathError) Error() string {
	shown := e.Path
	if len(shown) > 200 {
		shown = strings.ToValidUTF8(shown[:200], "") + "…"
	}
	return fmt.Sprintf("Invalid path: %s: %q", e.Reason, shown)
}

// CanonicalPath returns the one spelling of an artifact path: slash-separated,
// relative to the root of the store, without empty or "." segments. The root
// itself is "". Authorisation and storage both use this function, so they can't
// disagree on what a path names.
//
// The path must be percent-decoded exactly once. What still decodes to
// something else is refused, for MLflow decodes up to ten times and would store
// it under another name; a percent sign that starts no escape is an ordinary
// character. "#" and "?" are refused because no client can ask for such a name
// again: it sends them as the fragment and the query of the URL.
//
// A refusal is a *PathError.
func CanonicalPath(p string) (string, error) {
	refuse := func(reason string) (string, error) { return "", &PathError{Path: p, Reason: reason} }
	switch {
	case len(p) > maxPathBytes:
		return refuse(fmt.Sprintf("a path has at most %d bytes", maxPathBytes))
	case !utf8.ValidString(p):
		return refuse("a path must be valid UTF-8")
	case strings.HasPrefix(p, "/"):
		return refuse("a path must be relative to the artifact root")
	case strings.ContainsRune(p, '\\'):
		return refuse("use '/' between folders, not a backslash")
	case strings.ContainsAny(p, "#?"):
		return refuse("'#' and '?' can't be part of an artifact name")
	case strings.ContainsFunc(p, unicode.IsControl):
		return refuse("control characters are not allowed")
	case hasEscape(p):
		return refuse("percent-encode a path only once")
	}

	segments := make([]string, 0, strings.Count(p, "/")+1)
	for segment := range strings.SplitSeq(p, "/") {
		switch {
		case segment == "" || segment == ".":
			continue
		case segment == "..":
			return refuse("'..' is not allowed")
		case len(segment) > maxSegmentBytes:
			return refuse(fmt.Sprintf("a file or folder name has at most %d bytes", maxSegmentBytes))
		case strings.HasPrefix(strings.ToLower(segment), reservedPrefix):
			return refuse("names that start with '" + reservedPrefix + "' are reserved")
		case len(segments) == 0 && isDriveOrFileScheme(segment):
			return refuse("a path must be relative to the artifact root")
		}
		segments = append(segments, segment)
	}
	return strings.Join(segments, "/"), nil
}

// CanonicalFilePath is CanonicalPath for what must name a file: the root and a
// trailing slash are refused too.
func CanonicalFilePath(p string) (string, error) {
	clean, err := CanonicalPath(p)
	if err != nil {
		return "", err
	}
	// path.Base maps "a/." to ".", which names the folder as "a/" does.
	if clean == "" || strings.HasSuffix(p, "/") || path.Base(p) == "." {
		return "", &PathError{Path: p, Reason: "Artifact path must include a filename (cannot end with '/')"}
	}
	return clean, nil
}

// hasEscape reports whether p holds a percent sign with two hex digits.
func hasEscape(p string) bool {
	isHex := func(c byte) bool {
		return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
	}
	for i := 0; i+2 < len(p); i++ {
		if p[i] == '%' && isHex(p[i+1]) && isHex(p[i+2]) {
			return true
		}
	}
	return false
}

// isDriveOrFileScheme recognises "C:" of "C:/x" and "file:" of "file:///x".
func isDriveOrFileScheme(segment string) bool {
	if strings.EqualFold(segment, "file:") {
		return true
	}
	return len(segment) == 2 && segment[1] == ':' && unicode.IsLetter(rune(segment[0]))
}
