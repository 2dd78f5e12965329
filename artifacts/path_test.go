package artifacts_test

import (
	"errors"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"greenroom/artifacts"
)

func TestCanonicalPath(t *testing.T) {
	long := strings.Repeat("n", 255)
	tests := []struct{ name, path, want string }{
		{"plain", "1/run/artifacts/a.txt", "1/run/artifacts/a.txt"},
		{"root", "", ""},
		{"dot is the root", ".", ""},
		{"dot segments", "./a/./b/.", "a/b"},
		{"empty segments", "a//b/", "a/b"},
		{"three dots are a name", "a/.../b", "a/.../b"},
		{"dots inside a name", "a..b/..c/d..", "a..b/..c/d.."},
		{"lone percent", "100%.txt", "100%.txt"},
		{"percent without two hex digits", "a%b.txt", "a%b.txt"},
		{"percent at the end", "50%4", "50%4"},
		{"spaces and Unicode", " ä/日本 語", " ä/日本 語"},
		{"longest name", long, long},
		{"a colon is no drive", "model:1/ab:", "model:1/ab:"},
		{"a drive letter below the root is a name", "d/C:/x", "d/C:/x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := artifacts.CanonicalPath(tt.path); got != tt.want || err != nil {
				t.Errorf("CanonicalPath(%q) = %q, %v, want %q", tt.path, got, err, tt.want)
			}
		})
	}
}

func TestCanonicalPath_Refuses(t *testing.T) {
	tests := []struct{ name, path, reason string }{
		{"parent", "..", "'..'"},
		{"parent inside", "a/../b", "'..'"},
		{"parent at the end", "a/..", "'..'"},
		{"absolute", "/etc/passwd", "relative"},
		{"two slashes", "//etc/passwd", "relative"},
		{"backslash", `..\..\x`, "backslash"},
		{"drive", "C:/windows", "relative"},
		{"drive alone", "c:", "relative"},
		{"file URI", "file:///etc/passwd", "relative"},
		{"encoded dots", "%2e%2e/x", "only once"},
		{"encoded slash", "a%2Fb", "only once"},
		{"encoded percent", "%252e%252e", "only once"},
		{"encoded letter of an id", "%31/run", "only once"},
		{"fragment", "a#b", "'#'"},
		{"query", "a?b", "'?'"},
		{"NUL", "a\x00b", "control"},
		{"newline", "a\nb", "control"},
		{"C1 control", "a\u0085b", "control"},
		{"DEL", "a\x7fb", "control"},
		{"invalid UTF-8", "a\xc0\xaeb", "UTF-8"},
		{"long name", strings.Repeat("n", 256), "255 bytes"},
		{"long path", strings.Repeat("d/", 2049), "2048 bytes"},
		{"staging folder", ".greenroom-uploads/x", "reserved"},
		{"staging name in another case", "a/.GreenRoom-Upload-1", "reserved"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := artifacts.CanonicalPath(tt.path)
			var pathErr *artifacts.PathError
			if !errors.As(err, &pathErr) {
				t.Fatalf("CanonicalPath(%q) = %q, %v, want a *PathError", tt.path, got, err)
			}
			if !strings.HasPrefix(err.Error(), "Invalid path") || !strings.Contains(err.Error(), tt.reason) || len(err.Error()) > 1000 {
				t.Errorf("message = %q, want it short and with %q", err, tt.reason)
			}
		})
	}
}

func TestCanonicalFilePath_RefusesFolders(t *testing.T) {
	for _, p := range []string{"", ".", "/", "a/", "a//", "a/.", "./"} {
		if got, err := artifacts.CanonicalFilePath(p); err == nil {
			t.Errorf("CanonicalFilePath(%q) = %q, want an error", p, got)
		}
	}
	if got, err := artifacts.CanonicalFilePath("./a//b.txt"); got != "a/b.txt" || err != nil {
		t.Errorf("CanonicalFilePath = %q, %v", got, err)
	}
}

func FuzzCanonicalPath(f *testing.F) {
	for _, seed := range []string{"a/b", "../x", "%2e%2e/x", `a\b`, "//x", "./.", "C:/x", "a%b", "ä/日本", "a/./b//", ".greenroom-uploads"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, p string) {
		clean, err := artifacts.CanonicalPath(p)
		if err != nil {
			var pathErr *artifacts.PathError
			if clean != "" || !errors.As(err, &pathErr) {
				t.Fatalf("CanonicalPath(%q) = %q, %v", p, clean, err)
			}
			return
		}
		if again, err := artifacts.CanonicalPath(clean); again != clean || err != nil {
			t.Fatalf("CanonicalPath(%q) = %q, and of that %q, %v", p, clean, again, err)
		}
		if clean != "" && (!filepath.IsLocal(clean) || path.Clean(clean) != clean) {
			t.Fatalf("CanonicalPath(%q) = %q, which is not local", p, clean)
		}
	})
}
