package suite

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
)

// template is the folder of a new policy. In its file names and texts, NAME_ stands for the name of the package and
// NAME for the name of the policy.
//
//go:embed template
var template embed.FS

const (
	newFile   = 0o644
	newFolder = 0o755
)

var kebab = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// New creates the folder of a policy with a rule, its tests and its cases. It returns the sorted paths of the files.
// The error is non-nil when the name is not a valid rule name, the folder exists, or a file cannot be written.
func New(name string) ([]string, error) {
	_, builtIn := policies.RuleByID(name)
	module, usable := bundle.PackageOf(name)
	switch {
	case !kebab.MatchString(name) || len(name) > v1alpha1.MaxRuleID:
		return nil, fmt.Errorf("%q is not a valid rule name: want at most %d lowercase letters and digits, "+
			"with - between words, such as no-node-port", name, v1alpha1.MaxRuleID)
	case builtIn:
		return nil, fmt.Errorf("%s is the name of a built-in rule; choose another name", name)
	case !usable, strings.HasSuffix(name, "-test"):
		return nil, fmt.Errorf("%s has a special meaning in Rego; choose another name", name)
	}
	if err := os.Mkdir(name, newFolder); errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s already exists; choose another name, or remove it", name)
	} else if err != nil {
		return nil, err
	}
	const root = "template"
	names := strings.NewReplacer("NAME_", module, "NAME", name)
	var written []string
	err := fs.WalkDir(template, root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || file == root {
			return err
		}
		target := filepath.Join(name, filepath.FromSlash(names.Replace(strings.TrimPrefix(file, root+"/"))))
		if entry.IsDir() {
			return os.Mkdir(target, newFolder)
		}
		text, err := template.ReadFile(file)
		if err != nil {
			return err
		}
		written = append(written, target)
		return os.WriteFile(target, []byte(names.Replace(string(text))), newFile)
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(written)
	made, problems, err := Load([]string{path.Join(name, "policy.yaml")})
	if err == nil && problems == nil {
		_, _, err = Format(context.Background(), nil, made)
	}
	return written, err
}
