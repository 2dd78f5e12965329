package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A package that .dockerignore leaves out would break only the image.
func TestDockerignore_LetsEveryPackageIn(t *testing.T) {
	const project = "../.."
	text, err := os.ReadFile(filepath.Join(project, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(text))
	err = filepath.WalkDir(project, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(project, path)
		if err != nil {
			return err
		}
		if entry.IsDir() && strings.HasPrefix(name, ".") && name != "." {
			return fs.SkipDir
		}
		top, _, _ := strings.Cut(filepath.ToSlash(name), "/")
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") && !slices.Contains(lines, "!"+top) {
			t.Errorf("%s is kept out of the image: add !%s to .dockerignore", name, top)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
