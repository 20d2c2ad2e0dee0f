package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"reflect"
	goruntime "runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/sourceward/sourceward/policies"
)

// service returns the smallest Service that is judged.
func service(name string) string {
	return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + "}\nspec: {ports: [{port: 80}]}\n"
}

// deployment returns the smallest Deployment that is judged.
func deployment(name string) string {
	return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: " + name + "}\n" +
		"spec: {replicas: 2, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web}]}}}\n"
}

// tree describes a folder: the texts of files, and the targets of symbolic links, both by path. A target that begins
// with a slash is relative to the folder.
type tree struct {
	files, links map[string]string
}

// make creates the folder.
func (tr tree) make(t testing.TB) (dir string) {
	t.Helper()
	dir = t.TempDir()
	path := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, text := range tr.files {
		if err := os.WriteFile(path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range tr.links {
		if strings.HasPrefix(target, "/") {
			target = dir + target
		}
		if err := os.Symlink(target, path(name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// loaded is the part of Manifests that tests compare.
type loaded struct {
	// Objects are "file:line Kind namespace/name".
	Objects                []string
	Files, Documents       int
	NotKubernetes, NotYAML int
	Errors, Skipped, Notes []string
}

// load loads paths in a folder, by default the whole folder. In its result, the names of files are relative to it.
func load(t testing.TB, dir string, options Options) (*Manifests, loaded) {
	t.Helper()
	options.Version = policies.Newest
	under := func(paths []string) []string {
		paths = slices.Clone(paths)
		for i, path := range paths {
			if path != Stdin {
				paths[i] = filepath.Join(dir, path)
			}
		}
		return paths
	}
	if options.Paths == nil {
		options.Paths = []string{"."}
	}
	options.Paths, options.Context = under(options.Paths), under(options.Context)
	if options.ExcludeFrom != "" {
		options.ExcludeFrom = filepath.Join(dir, options.ExcludeFrom)
	}
	m, err := Load(options)
	if err != nil {
		t.Fatal(err)
	}
	relative := func(text string) string {
		return strings.ReplaceAll(strings.ReplaceAll(text, dir+string(filepath.Separator), ""), dir+":", ".:")
	}
	got := loaded{Files: m.Files, Documents: m.Documents, NotKubernetes: m.NotKubernetes, NotYAML: m.NotYAML}
	for _, o := range m.Objects {
		got.Objects = append(got.Objects, relative(o.Place("").String())+" "+o.Ref.String())
	}
	for _, e := range m.Errors {
		got.Errors = append(got.Errors, relative(e.Error()))
	}
	told := func(remarks []Remark) (told []string) {
		for _, r := range remarks {
			if r.Object.Kind != "" {
				r.Text = r.Object.String() + ": " + r.Text
			}
			told = append(told, relative((&Error{r.File, Position{Line: r.Line}, r.Text}).Error()))
		}
		return told
	}
	got.Skipped, got.Notes = told(m.Skipped), told(m.Notes)
	return m, got
}

func TestLoadFindsFiles(t *testing.T) {
	t.Parallel()
	const unreadable = "; check the path and its permissions"
	tests := map[string]struct {
		tree    tree
		options Options
		want    loaded
	}{
		"manifests end in .yaml, .yml or .json": {
			tree: tree{files: map[string]string{
				"a.yaml": service("a"), "b.yml": service("b"), "c.json": "{}", "D.YAML": service("d"),
				"e.txt": service("e"), "yaml": service("f"),
			}},
			want: loaded{
				Objects:       []string{"D.YAML:1 Service default/d", "a.yaml:1 Service default/a", "b.yml:1 Service default/b"},
				Files:         4,
				Documents:     3,
				NotKubernetes: 1,
			},
		},
		"a file that is given may have any name": {
			tree:    tree{files: map[string]string{"manifest": service("a")}},
			options: Options{Paths: []string{"manifest"}},
			want:    loaded{Objects: []string{"manifest:1 Service default/a"}, Files: 1, Documents: 1},
		},
		"directories are walked in order, whatever the order on disk": {
			tree: tree{
				files: map[string]string{
					"b/z.yaml":   service("z"),
					"b/a/x.yaml": service("x"),
					"a.yaml":     service("a"),
					"c.yaml":     service("c"),
				},
			},
			want: loaded{Objects: []string{
				"a.yaml:1 Service default/a", "b/a/x.yaml:1 Service default/x",
				"b/z.yaml:1 Service default/z", "c.yaml:1 Service default/c",
			}, Files: 4, Documents: 4},
		},
		"the order in which paths are given does not matter": {
			tree:    tree{files: map[string]string{"a.yaml": service("a"), "b.yaml": service("b")}},
			options: Options{Paths: []string{"b.yaml", "a.yaml"}},
			want: loaded{
				Objects:   []string{"a.yaml:1 Service default/a", "b.yaml:1 Service default/b"},
				Files:     2,
				Documents: 2,
			},
		},
		"hidden directories and files are skipped": {
			tree: tree{
				files: map[string]string{
					".git/a.yaml": service("a"), "b/.cache/a.yaml": service("b"), ".c.yaml": service("c"), "d.yaml": service("d"),
				},
			},
			want: loaded{Objects: []string{"d.yaml:1 Service default/d"}, Files: 1, Documents: 1},
		},
		"a hidden file that is given is read": {
			tree:    tree{files: map[string]string{".c.yaml": service("c")}},
			options: Options{Paths: []string{".c.yaml"}},
			want:    loaded{Objects: []string{".c.yaml:1 Service default/c"}, Files: 1, Documents: 1},
		},
		"a hidden directory that is given is read": {
			tree:    tree{files: map[string]string{".hidden/a.yaml": service("a")}},
			options: Options{Paths: []string{".hidden"}},
			want:    loaded{Objects: []string{".hidden/a.yaml:1 Service default/a"}, Files: 1, Documents: 1},
		},
		"a directory whose name ends in .yaml is a directory": {
			tree: tree{files: map[string]string{"a.yaml/b.yaml": service("b")}},
			want: loaded{Objects: []string{"a.yaml/b.yaml:1 Service default/b"}, Files: 1, Documents: 1},
		},
		"a link to a file below is read once, by the name that comes first": {
			tree: tree{files: map[string]string{"b.yaml": service("b")}, links: map[string]string{"a.yaml": "b.yaml"}},
			want: loaded{Objects: []string{"a.yaml:1 Service default/b"}, Files: 1, Documents: 1},
		},
		"a link into a hidden directory, as a mounted ConfigMap has them, is read": {
			tree: tree{
				files: map[string]string{"..2026/b.yaml": service("b")},
				links: map[string]string{"..data": "..2026", "b.yaml": "..data/b.yaml"},
			},
			want: loaded{Objects: []string{"b.yaml:1 Service default/b"}, Files: 1, Documents: 1},
		},
		"a link that leads out is skipped": {
			tree: tree{
				files: map[string]string{"in/a.yaml": service("a"), "out/b.yaml": service("b"), "in-too/c.yaml": service("c")},
				links: map[string]string{
					"in/b.yaml": "../out/b.yaml",
					"in/c.yaml": "/in-too/c.yaml",
					"in/d":      "../out",
					"in/e.yaml": "../out",
				},
			},
			options: Options{Paths: []string{"in"}},
			want: loaded{
				Objects: []string{"in/a.yaml:1 Service default/a"}, Files: 1, Documents: 1,
				Skipped: []string{
					"in/b.yaml: it is a symbolic link that leads out of the folder",
					"in/c.yaml: it is a symbolic link that leads out of the folder",
					"in/d: it is a symbolic link that leads out of the folder",
					"in/e.yaml: it is a symbolic link that leads out of the folder",
				},
			},
		},
		"a link that leads out is read where it is given": {
			tree: tree{
				files: map[string]string{"out/b.yaml": service("b")},
				links: map[string]string{"in/b.yaml": "../out/b.yaml"},
			},
			options: Options{Paths: []string{"in/b.yaml"}},
			want:    loaded{Objects: []string{"in/b.yaml:1 Service default/b"}, Files: 1, Documents: 1},
		},
		"a link to a directory is read where it is given": {
			tree:    tree{files: map[string]string{"out/b.yaml": service("b")}, links: map[string]string{"in": "out"}},
			options: Options{Paths: []string{"in"}},
			want:    loaded{Objects: []string{"in/b.yaml:1 Service default/b"}, Files: 1, Documents: 1},
		},
		"directories that link to one another are walked once": {
			tree: tree{files: map[string]string{"a/a.yaml": service("a")}, links: map[string]string{"a/up": "..", "b": "a"}},
			want: loaded{Objects: []string{"a/a.yaml:1 Service default/a"}, Files: 1, Documents: 1},
		},
		"a link to itself is an error": {
			tree: tree{files: map[string]string{"a.yaml": service("a")}, links: map[string]string{"b.yaml": "b.yaml"}},
			want: loaded{
				Objects: []string{"a.yaml:1 Service default/a"}, Files: 1, Documents: 1,
				Errors: []string{"b.yaml: cannot be read: too many levels of symbolic links" + unreadable},
			},
		},
		"a dangling link and a missing path are errors, sorted by file": {
			tree:    tree{files: map[string]string{"a.yaml": service("a")}, links: map[string]string{"z.yaml": "nowhere"}},
			options: Options{Paths: []string{".", "missing"}},
			want: loaded{
				Objects: []string{"a.yaml:1 Service default/a"}, Files: 1, Documents: 1,
				Errors: []string{
					"missing: cannot be read: no such file or directory" + unreadable,
					"z.yaml: cannot be read: no such file or directory" + unreadable,
				},
			},
		},
		"a file that is given by two paths is read once": {
			tree:    tree{files: map[string]string{"d/a.yaml": service("a")}, links: map[string]string{"link": "d"}},
			options: Options{Paths: []string{"d/a.yaml", "d", "link", "d/../d/a.yaml"}},
			want:    loaded{Objects: []string{"d/a.yaml:1 Service default/a"}, Files: 1, Documents: 1},
		},
		"a file that is both a path and context is judged": {
			tree:    tree{files: map[string]string{"a.yaml": service("a"), "b.yaml": service("b")}},
			options: Options{Paths: []string{"a.yaml"}, Context: []string{"."}},
			want:    loaded{Objects: []string{"a.yaml:1 Service default/a"}, Files: 1, Documents: 1},
		},
		"an excluded file that is broken is not an error": {
			tree: tree{
				files: map[string]string{
					"a.yaml":        service("a"),
					"old/b.yaml":    "{{",
					"x-values.yaml": "{{",
					"c/old.yaml":    service("c"),
				},
			},
			options: Options{Exclude: []string{"old", "*-values.yaml"}},
			want: loaded{
				Objects: []string{"a.yaml:1 Service default/a", "c/old.yaml:1 Service default/c"}, Files: 2, Documents: 2,
			},
		},
		"a glob with a slash matches the whole path": {
			tree:    tree{files: map[string]string{"a/old/x.yaml": service("a"), "b/old/x.yaml": service("b")}},
			options: Options{Exclude: []string{"**/a/old"}},
			want:    loaded{Objects: []string{"b/old/x.yaml:1 Service default/b"}, Files: 1, Documents: 1},
		},
		"a file in Paths can be excluded, a directory cannot": {
			tree: tree{files: map[string]string{"a.yaml": service("a"), "values.yaml": "{{", "old/b.yaml": service("b")}},
			options: Options{
				Paths:   []string{"a.yaml", "values.yaml", "missing-values.yaml", "old"},
				Context: []string{"values.yaml"},
				Exclude: []string{"*values.yaml", "old"},
			},
			want: loaded{
				Objects:   []string{"a.yaml:1 Service default/a", "old/b.yaml:1 Service default/b"},
				Files:     2,
				Documents: 2,
				Notes:     []string{"--exclude old matches no file or directory"},
			},
		},
		"a glob with a slash matches from a directory of its own, and one that matches nothing is not noted": {
			tree: tree{files: map[string]string{
				"a.yaml": service("a"), "b/old/x.yaml": service("b"), "c/b/old/x.yaml": service("c"), "d/values.yaml": "{{",
			}},
			options: Options{Exclude: []string{"b/old", "values.yaml", "none"}, ExcludeFrom: "."},
			want: loaded{
				Objects: []string{"a.yaml:1 Service default/a", "c/b/old/x.yaml:1 Service default/c"}, Files: 2, Documents: 2,
			},
		},
		"a glob that ends in a slash matches directories": {
			tree: tree{
				files: map[string]string{
					"a.yaml":        service("a"),
					"base/b.yaml":   service("b"),
					"c/base/d.yaml": service("d"),
					"e/old/f.yaml":  service("f"),
				},
			},
			options: Options{Exclude: []string{"base/", "**/e/old/"}},
			want:    loaded{Objects: []string{"a.yaml:1 Service default/a"}, Files: 1, Documents: 1},
		},
		"standard input is read once": {
			tree:    tree{files: map[string]string{"a.yaml": service("a")}},
			options: Options{Paths: []string{"a.yaml", Stdin, Stdin}, Stdin: strings.NewReader(service("piped"))},
			want: loaded{
				Objects:   []string{"-:1 Service default/piped", "a.yaml:1 Service default/a"},
				Files:     2,
				Documents: 2,
			},
		},
		"standard input may be context": {
			tree:    tree{files: map[string]string{"a.yaml": service("a")}},
			options: Options{Context: []string{Stdin}, Stdin: strings.NewReader(service("piped"))},
			want:    loaded{Objects: []string{"a.yaml:1 Service default/a"}, Files: 1, Documents: 1},
		},
		"standard input that breaks off is an error": {
			options: Options{Paths: []string{Stdin}, Stdin: iotest.ErrReader(errors.New("broken pipe"))},
			want:    loaded{Errors: []string{"-: cannot be read: broken pipe" + unreadable}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, got := load(t, test.tree.make(t), test.options)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Load() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAbsoluteLinkInsideARelativePathIsRead changes the working directory, so it does not run in parallel.
func TestAbsoluteLinkInsideARelativePathIsRead(t *testing.T) {
	dir := tree{
		files: map[string]string{"in/.hidden/a.yaml": service("a"), "out/b.yaml": service("b")},
		links: map[string]string{"in/a.yaml": "/in/.hidden/a.yaml", "in/b.yaml": "/out/b.yaml"},
	}.make(t)
	t.Chdir(filepath.Join(dir, "in"))
	m, err := Load(Options{Paths: []string{"."}})
	if err != nil || len(m.Errors) > 0 {
		t.Fatal(err, m.Errors)
	}
	var got []string
	for _, o := range m.Objects {
		got = append(got, o.Place("").String())
	}
	if diff := cmp.Diff([]string{"a.yaml:1"}, got); diff != "" {
		t.Errorf("Load() mismatch (-want +got):\n%s", diff)
	}
}

func TestLinksThatLeadOutAreNeverFollowed(t *testing.T) {
	t.Parallel()
	const patches = "patches: [{path: ../out/a.yaml}, {path: ../../nowhere/a.yaml}, {path: /etc/passwd}, {path: a.yaml}]\n"
	dir := tree{
		files: map[string]string{
			"in/a.yaml": service("a"), "in/b/b.yaml": service("b"), "in/.c/c.yaml": service("c"), "in/p/p.yaml": service("p"),
			"out/a.yaml": service("outside"), "out/kustomization.yaml": "patchesStrategicMerge: [p.yaml]\n",
		},
		links: map[string]string{
			// Out: files, folders, what does not exist, and what is neither.
			"in/file.yaml": "../out/a.yaml", "in/absolute.yaml": "/out/a.yaml",
			"in/folder": "../out", "in/folder.yaml": "../out",
			"in/text": "../out/a.yaml", "in/nothing.yaml": "../out/none.yaml", "in/zero.yaml": "../../../../../../dev/zero",
			"in/above": "..", "in/b/link.yaml": "../first", "in/first": "b/second", "in/b/second": "../../out/a.yaml",
			"in/p/kustomization.yaml": "../../out/kustomization.yaml", "in/.hidden": "../out",
			// Out and back in, by way of a link that is outside.
			"in/through.yaml": "../out/back.yaml", "out/back.yaml": "../in/a.yaml",
			// In.
			"in/same.yaml": "../in/a.yaml", "in/again.yaml": "/in/b/../a.yaml", "in/self": ".", "in/c.yaml": ".c/c.yaml",
			"in/loop": "b/loop", "in/b/loop": "../loop",
		},
	}.make(t)
	if err := os.WriteFile(filepath.Join(dir, "in/kustomization.yaml"), []byte(patches), 0o600); err != nil {
		t.Fatal(err)
	}
	_, got := load(t, dir, Options{Paths: []string{"in"}})
	want := loaded{
		Objects: []string{
			"in/b/b.yaml:1 Service default/b", "in/c.yaml:1 Service default/c", "in/p/p.yaml:1 Service default/p",
		},
		Files: 5, Documents: 4,
		Skipped: []string{"in/a.yaml:1: Service default/a: it is a patch of in/kustomization.yaml; check that instead"},
		Notes:   []string{notBuilt("in/kustomization.yaml", "patches", "in")},
	}
	for _, name := range []string{
		"above", "absolute.yaml", "b/link.yaml", "b/second", "file.yaml", "first", "folder", "folder.yaml", "nothing.yaml",
		"p/kustomization.yaml", "text", "through.yaml", "zero.yaml",
	} {
		want.Skipped = append(want.Skipped, "in/"+name+": it is a symbolic link that leads out of the folder")
	}
	slices.Sort(want.Skipped)
	slices.Sort(got.Skipped)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Load() mismatch (-want +got):\n%s", diff)
	}
}

func TestNothingOutsideAFolderIsLookedAt(t *testing.T) {
	t.Parallel()
	dir := tree{links: map[string]string{
		"top/a": "../out/b/../c", "top/b": "sub/../../x", "top/sub/c": "../a", "top/sub/d": "../../top/sub/none",
	}}.make(t)
	top := filepath.Join(dir, "top")
	for name, want := range map[string]string{
		"a": "out/c", "b": "x", "sub/c": "out/c", "sub/c/../d": "out/d", "../..": "..", "sub/../../top/sub": "top/sub",
		"/none/x": "/none/x", "": "top", "..": "", ".": "top",
	} {
		if !filepath.IsAbs(want) {
			want = filepath.Join(dir, want)
		}
		if got, err := locate(top, top, name); got != want || err != nil {
			t.Errorf("locate(%q) = %q, %v; want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"none", "sub/d", "sub/none/../../../x"} {
		if got, err := locate(top, top, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("locate(%q) = %q, %v; want an error", name, got, err)
		}
	}
}

func TestIntegersThatDoNotFitAreErrors(t *testing.T) {
	t.Parallel()
	replicas := func(number string) string {
		return strings.Replace(deployment("a"), "replicas: 2", "replicas: "+number, 1)
	}
	port := func(number string) string { return strings.Replace(service("a"), "80", number, 1) }
	const (
		want32     = ": want a whole number of 32 bits, got "
		want64     = ": want a whole number of 64 bits, got "
		ofReplicas = "spec.replicas of this Deployment"
	)
	tests := map[string]string{
		replicas("2147483648"):               ofReplicas + want32 + "2147483648",
		replicas("-2147483649"):              ofReplicas + want32 + "-2147483649",
		replicas("9223372036854775807"):      ofReplicas + want32 + "9223372036854775807",
		replicas("9223372036854775808"):      ofReplicas + want32 + "9223372036854776000",
		replicas("-9223372036854775809"):     ofReplicas + want32 + "-9223372036854776000",
		replicas("18446744073709551617"):     ofReplicas + want32 + "18446744073709552000",
		replicas("18_446744073709551617"):    ofReplicas + want32 + "18446744073709552000",
		replicas("0x8000000000000000"):       ofReplicas + want32 + "9223372036854776000",
		replicas("0o1000000000000000000001"): ofReplicas + want32 + "9223372036854776000",
		replicas("01000000000000000000001"):  ofReplicas + want32 + "9223372036854776000",
		replicas("1e10"):                     ofReplicas + want32 + "10000000000",
		replicas("1e100"):                    ofReplicas + want32 + "1e+100",
		replicas("0x10000000000000000"): ofReplicas +
			": want a whole number, got a string; write digits without quotes",
		port("9223372036854775888"): "spec.ports[0].port of this Service" + want32 + "9223372036854776000",
		port("80, targetPort: 9223372036854775808"): "spec.ports[0].targetPort of this Service" + want32 +
			"9223372036854776000",
		`{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "generation": 1e19},
			"spec": {"ports": [{"port": 80}]}}`: "metadata.generation of this Service" + want64 + "10000000000000000000",
		"apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\n" +
			"spec: {maxReplicas: 9223372036854775808}\n": "spec.maxReplicas of this HorizontalPodAutoscaler" + want32 +
			"9223372036854776000",
		"apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: a}\n" +
			"spec: {replicas: 9223372036854775808, template: {spec: {containers: [{name: a}]}}}\n": "spec.replicas of " +
			"this Rollout" + want32 +
			"9223372036854776000",
	}
	for text, want := range tests {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			m, got := load(t, tree{files: map[string]string{"a.yaml": text}}.make(t), Options{})
			if len(got.Errors) != 1 || !strings.HasSuffix(got.Errors[0], want) || len(got.Objects) > 0 || m.Errors[0].Line == 0 {
				t.Errorf("Load() reads %v and the errors %q, want none and %s", got.Objects, got.Errors, want)
			}
		})
	}
}

func TestLargeFilesAreRefused(t *testing.T) {
	t.Parallel()
	dir := tree{files: map[string]string{"a.yaml": service("a"), "large.yaml": ""}}.make(t)
	if err := os.Truncate(filepath.Join(dir, "large.yaml"), maxFile+1); err != nil {
		t.Fatal(err)
	}
	_, got := load(t, dir, Options{Paths: []string{".", Stdin}, Stdin: zeros{}})
	const tooLarge = ": cannot be read: it is larger than 128 MiB; split it or leave it out"
	want := loaded{
		Objects: []string{"a.yaml:1 Service default/a"}, Files: 1, Documents: 1,
		Errors: []string{"-" + tooLarge, "large.yaml" + tooLarge},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Load() mismatch (-want +got):\n%s", diff)
	}
	m, err := Load(Options{Paths: []string{"/dev/zero"}})
	if err != nil || len(m.Errors) != 1 || m.Errors[0].Error() != "/dev/zero"+tooLarge {
		t.Errorf("Load(/dev/zero) gives the errors %v, %v", m.Errors, err)
	}
}

// zeros is a reader without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestPipeIsReadAsAPathAndSkippedInADirectory(t *testing.T) {
	t.Parallel()
	dir := tree{files: map[string]string{"a.yaml": service("a")}}.make(t)
	for _, name := range []string{"pipe.yaml", "kustomization.yaml", "Kustomization"} {
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "s.json"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	_, got := load(t, dir, Options{})
	want := loaded{Objects: []string{"a.yaml:1 Service default/a"}, Files: 1, Documents: 1, Skipped: []string{
		"Kustomization: it is not a regular file", "kustomization.yaml: it is not a regular file",
		"pipe.yaml: it is not a regular file", "s.json: it is not a regular file",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Load() of a directory mismatch (-want +got):\n%s", diff)
	}

	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = read.Close() })
	if _, err := write.WriteString(service("piped")); err != nil {
		t.Fatal(err)
	}
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/dev/fd/%d", read.Fd())
	m, err := Load(Options{Paths: []string{path}})
	if err != nil || len(m.Errors) > 0 || len(m.Objects) != 1 || m.Objects[0].Place("").String() != path+":1" {
		t.Errorf("Load(%s) = %+v, %v, want one object", path, m, err)
	}
}

func TestInvalidGlobIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := Load(Options{Exclude: []string{"a*", "["}}); err == nil ||
		!strings.HasPrefix(err.Error(), `"[" is not a valid glob: `) {
		t.Errorf(`Load() gives the error %v, want one about "["`, err)
	}
}

func TestProgressCountsEveryFile(t *testing.T) {
	t.Parallel()
	dir := tree{files: map[string]string{"a.yaml": service("a"), "b.yaml": service("b"), "c/c.yaml": service("c")}}.make(t)
	var got [][2]int
	load(
		t,
		dir,
		Options{
			Paths:    []string{"a.yaml", "b.yaml"},
			Context:  []string{"c"},
			Progress: func(read, all int) { got = append(got, [2]int{read, all}) },
		},
	)
	if diff := cmp.Diff([][2]int{{0, 3}, {1, 3}, {2, 3}}, got); diff != "" {
		t.Errorf("progress mismatch (-want +got):\n%s", diff)
	}
}

// TestLoadReadsDocuments loads one file, a.yaml, with different texts.
func TestLoadReadsDocuments(t *testing.T) {
	t.Parallel()
	const partial = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
	const missing = "it is missing; add it or, if this is a patch, leave it out with --exclude"
	const noneFound = ".: " + noObjects
	const withoutPorts = "a.yaml:1: Service default/web: the API server rejects a Service without spec.ports; " +
		"if this is a patch, leave it out with --exclude"
	items := func(kind string, items ...string) string {
		text := "apiVersion: v1\nkind: " + kind + "\nitems:\n"
		for _, item := range items {
			text += "- " + strings.ReplaceAll(strings.TrimSuffix(item, "\n"), "\n", "\n  ") + "\n"
		}
		return text
	}
	tests := map[string]struct {
		text string
		want loaded
	}{
		"nothing":       {text: "", want: loaded{Errors: []string{noneFound}}},
		"only comments": {text: "# a\n---\n# b\n", want: loaded{Errors: []string{noneFound}}},
		"documents that are not objects, or lack an apiVersion or a kind, are skipped": {
			text: "- a\n---\ntext\n---\n{}\n---\nkind: Service\n---\napiVersion: v1\n---\napiVersion: 1\nkind: true\n",
			want: loaded{
				NotKubernetes: 5,
				Skipped:       []string{"a.yaml:7: Service : it has no apiVersion; if it is meant for a cluster, add it"},
				Errors:        []string{noneFound},
			},
		},
		"objects of other kinds count": {
			text: "apiVersion: v1\nkind: ConfigMap\n---\napiVersion: serving.knative.dev/v1\nkind: Service\n",
			want: loaded{Documents: 2},
		},
		"a version that Kubernetes no longer serves is skipped": {
			text: "apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: a}\n---\n" +
				"apiVersion: v2\nkind: Service\nmetadata: {name: b}\n---\n" + service("c") +
				"---\napiVersion: core/v1\nkind: Service\nmetadata: {name: d}\n",
			want: loaded{
				Objects: []string{"a.yaml:9 Service default/c"}, Documents: 1,
				Skipped: []string{
					"a.yaml:1: Deployment a: Kubernetes serves no Deployment in apps/v1beta1; write apps/v1",
					"a.yaml:5: Service b: Kubernetes serves no Service in v2; write v1",
					"a.yaml:14: Service d: Kubernetes serves no Service in core/v1; write v1",
				},
			},
		},
		"a kind in another letter case or in the plural is skipped": {
			text: "apiVersion: v1\nkind: service\nmetadata: {name: a}\n---\n" +
				"apiVersion: apps/v1\nkind: Deployments\nmetadata: {name: b}\n---\n" + service("c") +
				"---\napiVersion: example.com/v1\nkind: Services\nmetadata: {name: d}\n",
			want: loaded{
				Objects: []string{"a.yaml:9 Service default/c"}, Documents: 2,
				Skipped: []string{
					`a.yaml:1: service a: there is no kind "service" in v1; write Service`,
					`a.yaml:5: Deployments b: there is no kind "Deployments" in apps/v1; write Deployment`,
				},
			},
		},
		"a kind with another letter is skipped": {
			text: service("c") + "---\napiVersion: apps/v1\nkind: DeamonSet\nmetadata: {name: a}\n---\n" +
				"apiVersion: autoscaling/v2\nkind: HorizontalPodAutoScaler\nmetadata: {name: b}\n---\n" +
				"apiVersion: v1\nkind: 'Service '\nmetadata: {name: d}\n---\n" +
				"apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: e}\n",
			want: loaded{
				Objects: []string{"a.yaml:1 Service default/c"}, Documents: 2,
				Skipped: []string{
					`a.yaml:6: DeamonSet a: there is no kind "DeamonSet" in apps/v1; write DaemonSet`,
					`a.yaml:10: HorizontalPodAutoScaler b: there is no kind "HorizontalPodAutoScaler" in autoscaling/v2; ` +
						`write HorizontalPodAutoscaler`,
					`a.yaml:14: Service  d: there is no kind "Service " in v1; write Service`,
				},
			},
		},
		"a kind that does not exist in v1 or apps/v1 is skipped": {
			text: service("c") + "---\napiVersion: v1\nkind: Serivce\nmetadata: {name: a}\n" +
				"---\napiVersion: apps/v1\nkind: sts\nmetadata: {name: b}\n" +
				"---\napiVersion: v1\nkind: deployment\nmetadata: {name: d}\n" +
				"---\napiVersion: v1\nkind: HorizontalPodAutoscaler\nmetadata: {name: e}\n" +
				"---\napiVersion: apps/v1\nkind: Namespace\nmetadata: {name: f}\n" +
				"---\napiVersion: v1\nkind: Template\nmetadata: {name: g}\nobjects: [{apiVersion: v1, kind: Service, " +
				"metadata: {name: h}, spec: {ports: [{port: 80}]}}]\n" +
				"---\napiVersion: v1\nkind: Config\n---\napiVersion: v1\nkind: ConfigMapList\n" +
				"---\napiVersion: apps/v1\nkind: ControllerRevision\n---\napiVersion: example.com/v1\nkind: sts\n",
			want: loaded{
				Objects: []string{"a.yaml:1 Service default/c"}, Documents: 5,
				Skipped: []string{
					`a.yaml:6: Serivce a: Kubernetes has no kind "Serivce" in v1; correct it or the apiVersion`,
					`a.yaml:10: sts b: Kubernetes has no kind "sts" in apps/v1; correct it or the apiVersion`,
					`a.yaml:14: deployment d: Kubernetes has no kind "deployment" in v1; correct it or the apiVersion`,
					`a.yaml:18: HorizontalPodAutoscaler e: Kubernetes has no kind "HorizontalPodAutoscaler" in v1; ` +
						`correct it or the apiVersion`,
					`a.yaml:22: Namespace f: Kubernetes has no kind "Namespace" in apps/v1; correct it or the apiVersion`,
					`a.yaml:26: Template g: Kubernetes has no kind "Template" in v1; correct it or the apiVersion; ` +
						`it holds Service default/h at objects[0], which is not checked; check what it puts into a cluster`,
				},
			},
		},
		"objects inside of other objects are noted": {
			text: "apiVersion: template.openshift.io/v1\nkind: Template\nmetadata: {name: t}\nobjects:\n" +
				items("List", service("c"), deployment("d"))[len("apiVersion: v1\nkind: List\nitems:\n"):] +
				"---\napiVersion: example.com/v1\nkind: Wrapper\nmetadata: {name: w}\nspec: {a/b: [{apiVersion: v1, " +
				"kind: Service, metadata: {name: e, namespace: edge}, spec: {ports: [{port: 80}]}}]}\n" +
				"---\napiVersion: example.com/v1\nkind: Scaler\nmetadata: {name: s}\n" +
				"spec: {target: {apiVersion: apps/v1, kind: Deployment, name: d}}\n",
			want: loaded{
				Documents: 3,
				Notes: []string{
					"a.yaml:1: Template t: it holds 2 Services or workloads, the first of them Service default/c at objects[0], " +
						"which are not checked; check what it puts into a cluster",
					"a.yaml:14: Wrapper w: it holds Service edge/e at spec[a/b][0], which is not checked; " +
						"check what it puts into a cluster",
				},
			},
		},
		"a document beside objects that is not YAML": {
			text: service("c") + "---\n{{ include \"x\" . }}\n---\nfoo: [bar\n",
			want: loaded{
				Objects: []string{"a.yaml:1 Service default/c"}, Documents: 1,
				Errors: []string{
					"a.yaml:6:2: a key must be a string, not a list or a mapping; quote it; if this is a template, render it first " +
						"or leave it out with --exclude",
					"a.yaml:8: did not find expected ',' or ']'; fix the YAML on or just above this line",
				},
			},
		},
		"UTF-16 without a mark": {
			text: strings.Join(strings.Split(service("c"), ""), "\x00"),
			want: loaded{
				Errors: []string{"a.yaml:1: control characters are not allowed; fix the YAML on or just above this line"},
			},
		},
		"a version of a custom kind that is not known is skipped": {
			text: service("c") + "---\napiVersion: argoproj.io/v1\nkind: Rollout\nmetadata: {name: a}\n",
			want: loaded{
				Objects: []string{"a.yaml:1 Service default/c"}, Documents: 1,
				Skipped: []string{
					"a.yaml:6: Rollout a: Sourceward does not know Rollout in argoproj.io/v1, only in argoproj.io/v1alpha1",
				},
			},
		},
		"Nodes are noted once": {
			text: "apiVersion: v1\nkind: Node\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: b}\n",
			want: loaded{
				Documents: 2,
				Notes: []string{"a.yaml:1: Node a: Nodes are not counted here, as files hardly ever hold all of them; " +
					"if these do, give them with --context"},
			},
		},
		"every document has its own line": {
			text: "# a\n---\n" + service("a") + "---\n# b\n\n" + deployment("b"),
			want: loaded{Objects: []string{"a.yaml:3 Service default/a", "a.yaml:10 Deployment default/b"}, Documents: 2},
		},
		"a namespace is kept, and is default if absent or empty": {
			text: service("a") + "---\n" + service("b, namespace: edge") + "---\n" +
				strings.Replace(service("c"), "{name: c}", `{name: c, namespace: ""}`, 1) + "---\n" +
				service("d, namespace: shop"),
			want: loaded{
				Objects: []string{
					"a.yaml:1 Service default/a", "a.yaml:6 Service edge/b", "a.yaml:11 Service default/c", "a.yaml:16 Service shop/d",
				},
				Documents: 4,
				Notes: []string{"a.yaml:1: Service default/a: objects without a namespace are taken to be in default, since this " +
					"file names several; -n NAMESPACE sets another"},
			},
		},
		"several objects defined more than once get one note": {
			text: strings.Repeat(service("a")+"---\n", 3) + strings.Repeat(service("b")+"---\n", 2) +
				strings.Repeat(service("c")+"---\n", 2) + service("d"),
			want: loaded{
				Objects: []string{
					"a.yaml:1 Service default/a", "a.yaml:6 Service default/a", "a.yaml:11 Service default/a",
					"a.yaml:16 Service default/b", "a.yaml:21 Service default/b", "a.yaml:26 Service default/c",
					"a.yaml:31 Service default/c", "a.yaml:36 Service default/d",
				}, Documents: 8,
				Notes: []string{
					"a.yaml:6: Service default/a: it is defined more than once, in a.yaml:1 and a.yaml:6, " +
						"and 2 other objects are too; each definition is checked, but a cluster keeps only one",
				},
			},
		},
		"two objects defined twice get one note": {
			text: strings.Repeat(service("a")+"---\n", 2) + strings.Repeat(service("b")+"---\n", 2),
			want: loaded{
				Objects: []string{
					"a.yaml:1 Service default/a", "a.yaml:6 Service default/a",
					"a.yaml:11 Service default/b", "a.yaml:16 Service default/b",
				}, Documents: 4,
				Notes: []string{
					"a.yaml:6: Service default/a: it is defined more than once, in a.yaml:1 and a.yaml:6, " +
						"and 1 other object is too; each definition is checked, but a cluster keeps only one",
				},
			},
		},
		"the same generateName twice is not the same object": {
			text: strings.Replace(service("a"), "name", "generateName", 1) + "---\n" +
				strings.Replace(service("a"), "name", "generateName", 1),
			want: loaded{Objects: []string{"a.yaml:1 Service default/a*", "a.yaml:6 Service default/a*"}, Documents: 2},
		},
		"the same object twice is judged twice and gets one note": {
			text: strings.Replace(service("a"), "{name", "{namespace: default, name", 1) + "---\n" +
				strings.Replace(service("a"), "{name", "{namespace: default, name", 1) + "---\n" +
				strings.Replace(service("a"), "{name", "{namespace: edge, name", 1),
			want: loaded{
				Objects: []string{
					"a.yaml:1 Service default/a",
					"a.yaml:6 Service default/a",
					"a.yaml:11 Service edge/a",
				}, Documents: 3,
				Notes: []string{
					"a.yaml:6: Service default/a: it is defined more than once, in a.yaml:1 and a.yaml:6; " +
						"each definition is checked, but a cluster keeps only one",
				},
			},
		},

		"a Service without ports is judged, and refused by the API server": {
			text: partial + "spec: {type: LoadBalancer}\n",
			want: loaded{
				Objects: []string{"a.yaml:1 Service default/web"}, Documents: 1,
				Notes: []string{withoutPorts},
			},
		},
		"a Service with misspelt ports": {
			text: partial + "spec: {type: LoadBalancer, port: [{port: 80}]}\n",
			want: loaded{
				Objects: []string{"a.yaml:1 Service default/web"}, Documents: 1,
				Notes: []string{withoutPorts},
			},
		},
		"a List whose items are no list, or no objects": {
			text: "apiVersion: v1\nkind: List\nitems: {kind: Service}\n---\n" + items("List", "text", service("a"), "[]"),
			want: loaded{
				Objects: []string{"a.yaml:9 Service default/a"}, Documents: 2,
				Errors: []string{
					"a.yaml:3:1: items of this List: want a list",
					"a.yaml:8:3: items[0] of this List: want an object",
					"a.yaml:13:3: items[2] of this List: want an object",
				},
			},
		},
		"objects in a list that is no List": {
			text: "- apiVersion: v1\n  kind: Service\n---\n- {op: add, value: {apiVersion: v1, kind: Service}}\n",
			want: loaded{
				NotKubernetes: 1,
				Errors: []string{
					"a.yaml:1:1: kubectl reads no list of objects; write kind: List, and the objects under items",
				},
			},
		},
		"a kind that is missing or misspelt": {
			text: "apiVersion: v1\nspec: {ports: [{port: 80}]}\n---\napiVersion: v1\nKind: Service\nmetadata: {name: a}\n" +
				"---\napiVersion: v2\nname: a chart\n---\n" + service("b"),
			want: loaded{
				Objects: []string{"a.yaml:11 Service default/b"}, Documents: 1, NotKubernetes: 1,
				Skipped: []string{
					"a.yaml:1: it has no kind; if it is meant for a cluster, add it",
					"a.yaml:4: its key Kind is not known; write kind",
				},
			},
		},
		"a kind or an apiVersion that is a placeholder": {
			text: "apiVersion: v1\nkind: ${KIND}\nmetadata: {name: a}\n---\n" +
				"apiVersion: ${VERSION}\nkind: Deployment\nmetadata: {name: b}\n---\n" +
				"apiVersion: ${VERSION}\nkind: Ingress\nmetadata: {name: c}\n",
			want: loaded{
				Documents: 1,
				Skipped: []string{
					"a.yaml:1: ${KIND} a: its kind is a placeholder; check what replaces it",
					"a.yaml:5: Deployment b: its apiVersion is a placeholder; check what replaces it",
				},
			},
		},
		"an autoscaler without a target": {
			text: "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\nspec: {maxReplicas: 3}\n",
			want: loaded{
				Documents: 1,
				Notes: []string{"a.yaml:1: HorizontalPodAutoscaler default/a: " +
					"the API server rejects a HorizontalPodAutoscaler without spec.scaleTargetRef; " +
					"if this is a patch, leave it out with --exclude"},
			},
		},
		"an empty List is a document": {
			text: "apiVersion: v1\nkind: List\nitems: []\n",
			want: loaded{Documents: 1},
		},
		"a Service with an empty list of ports": {
			text: partial + "spec: {ports: []}\n",
			want: loaded{
				Objects: []string{"a.yaml:1 Service default/web"}, Documents: 1,
				Notes: []string{withoutPorts},
			},
		},
		"a Service without a spec is an error": {
			text: partial, want: loaded{Documents: 1, Errors: []string{"a.yaml:1:1: spec of this Service: " + missing}},
		},
		"a Service with an empty spec is an error, and the others are judged": {
			text: partial + "spec: {}\n---\n" + service("b") + "---\n" + partial + "spec: null\n",
			want: loaded{
				Objects: []string{"a.yaml:6 Service default/b"}, Documents: 3,
				Errors: []string{
					"a.yaml:4:1: spec of this Service: " + missing, "a.yaml:14:1: spec of this Service: " + missing,
				},
			},
		},
		"a Service with a spec of another type is an error": {
			text: partial + "spec: []\n---\n" + partial + "spec: 3\n---\n" + partial + "spec: text\n",
			want: loaded{Documents: 3, Errors: []string{
				"a.yaml:4:1: spec of this Service: want an object, got a list",
				"a.yaml:9:1: spec of this Service: want an object, got a number",
				"a.yaml:14:1: spec of this Service: want an object, got a string",
			}},
		},
		"a headless Service needs no ports": {
			text: partial + "spec: {clusterIP: None}\n",
			want: loaded{Objects: []string{"a.yaml:1 Service default/web"}, Documents: 1},
		},
		"an ExternalName Service needs no ports": {
			text: partial + "spec: {type: ExternalName, externalName: a.example}\n",
			want: loaded{Objects: []string{"a.yaml:1 Service default/web"}, Documents: 1},
		},
		"a Deployment without a template is an error": {
			text: "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3}\n",
			want: loaded{Documents: 1, Errors: []string{"a.yaml:4:1: spec.template of this Deployment: " + missing}},
		},
		"a Deployment whose template has no pod is an error": {
			text: "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {metadata: {}}}\n",
			want: loaded{Documents: 1, Errors: []string{"a.yaml:4:8: spec.template.spec of this Deployment: " + missing}},
		},
		"a Deployment whose pod is null is an error": {
			text: "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: null}}\n",
			want: loaded{Documents: 1, Errors: []string{"a.yaml:4:19: spec.template.spec of this Deployment: " + missing}},
		},
		"a Deployment without a spec is an error": {
			text: "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n",
			want: loaded{Documents: 1, Errors: []string{"a.yaml:1:1: spec of this Deployment: " + missing}},
		},
		"a Deployment without containers is an error, and judged": {
			text: "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {}}}\n",
			want: loaded{
				Objects: []string{"a.yaml:1 Deployment default/web"}, Documents: 1,
				Errors: []string{"a.yaml:4:19: spec.template.spec.containers of this Deployment: " + missing},
			},
		},
		"a Pod without containers is an error, and judged": {
			text: "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: []}\n",
			want: loaded{
				Objects: []string{"a.yaml:1 Pod default/web"}, Documents: 1,
				Errors: []string{"a.yaml:4:8: spec.containers of this Pod: " + missing},
			},
		},
		"a Deployment with a workloadRef, or a Rollout with an empty one, needs a template": {
			text: "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {workloadRef: {name: b}}\n---\n" +
				"apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: b}\nspec: {workloadRef: {}}\n",
			want: loaded{Documents: 2, Errors: []string{
				"a.yaml:4:1: spec.template of this Deployment: " + missing, "a.yaml:9:1: spec.template of this Rollout: " + missing,
			}},
		},
		"a Rollout that uses the template of a Deployment has none": {
			text: "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: web}\n" +
				"spec: {workloadRef: {apiVersion: apps/v1, kind: Deployment, name: web}}\n",
			want: loaded{Objects: []string{"a.yaml:1 Rollout default/web"}, Documents: 1},
		},

		"items of a List are objects": {
			text: items("List", service("a"), deployment("b")),
			want: loaded{Objects: []string{"a.yaml:4 Service default/a", "a.yaml:8 Deployment default/b"}, Documents: 2},
		},
		"items of a List that lack a kind are skipped": {
			text: items("List", "metadata: {name: a}", "kind: Service", service("b")),
			want: loaded{
				Objects: []string{"a.yaml:6 Service default/b"}, Documents: 1,
				Skipped: []string{
					"a.yaml:4: it has no kind; if it is meant for a cluster, add it",
					"a.yaml:5: Service : it has no apiVersion; if it is meant for a cluster, add it",
				},
			},
		},
		"items of a typed list need no kind": {
			text: items(
				"ServiceList",
				"metadata: {name: a}\nspec: {ports: [{port: 80}]}",
				"metadata: {name: part}",
				service("b"),
				"null",
			),
			want: loaded{
				Objects:   []string{"a.yaml:4 Service default/a", "a.yaml:7 Service default/b"},
				Documents: 3,
				Errors: []string{
					"a.yaml:6:3: spec of this Service: " + missing,
					"a.yaml:11:3: items[3] of this ServiceList: want an object",
				},
			},
		},
		"a List of Lists": {
			text: items(
				"List",
				items("List", service("a")),
				items("ServiceList", "metadata: {name: b}\nspec: {ports: [{port: 80}]}"),
			),
			want: loaded{Objects: []string{"a.yaml:7 Service default/a", "a.yaml:14 Service default/b"}, Documents: 2},
		},
		"an object of any kind with items is a list": {
			text: items("Menu", service("a")) + "---\n" + items("ConfigMap", service("b")) + "---\n" +
				items("Service", items("Deployment", service("c"))),
			want: loaded{
				Objects: []string{
					"a.yaml:4 Service default/a", "a.yaml:12 Service default/b", "a.yaml:23 Service default/c",
				},
				Documents: 3,
			},
		},
		"items without a kind have that of their list, whatever it is": {
			text: items("Service", "metadata: {name: a}\nspec: {ports: [{port: 80}]}"),
			want: loaded{Objects: []string{"a.yaml:4 Service default/a"}, Documents: 1},
		},
		"items with only one of apiVersion and kind are skipped": {
			text: items("ServiceList", "apiVersion: v1\nmetadata: {name: a}", "kind: Service\nmetadata: {name: a}"),
			want: loaded{
				Skipped: []string{
					"a.yaml:4: it has no kind; if it is meant for a cluster, add it",
					"a.yaml:6: Service a: it has no apiVersion; if it is meant for a cluster, add it",
				},
				Errors: []string{noneFound},
			},
		},
		"an object with items and a spec is both": {
			text: service("a") + "items:\n- " + strings.ReplaceAll(service("b"), "\n", "\n  ") + "\n---\n" +
				service("c") + "items: []\n---\n" + service("d") + "items: {}\n---\n" + service("e") + "items: null\n",
			want: loaded{
				Objects: []string{
					"a.yaml:6 Service default/b", "a.yaml:1 Service default/a", "a.yaml:12 Service default/c",
					"a.yaml:18 Service default/d", "a.yaml:24 Service default/e",
				},
				Documents: 5,
			},
		},
		"a broken item leaves the others": {
			text: items("List", strings.Replace(service("a"), "80", "'80'", 1), service("b")),
			want: loaded{
				Objects: []string{"a.yaml:8 Service default/b"}, Documents: 2,
				Errors: []string{
					"a.yaml:7:19: spec.ports[0].port of this Service: want a whole number, got a string; write digits without quotes",
				},
			},
		},

		"a field of the wrong type is an error at its line": {
			text: "# a\n" + strings.Replace(service("a"), "name: a", "labels: {app: 1}, name: a", 1),
			want: loaded{
				Documents: 1,
				Errors:    []string{"a.yaml:4:21: metadata.labels.app of this Service: want a string, got a number; quote it"},
			},
		},
		"metadata and spec of the wrong type are errors": {
			text: "apiVersion: v1\nkind: Service\nmetadata: web\nspec: {ports: [{port: 80}]}\n---\n" +
				"apiVersion: apps/v1\nkind: Deployment\nspec: {template: text}\n",
			want: loaded{Documents: 2, Errors: []string{
				"a.yaml:3:1: metadata of this Service: want an object, got a string",
				"a.yaml:8:8: spec.template of this Deployment: want an object, got a string",
			}},
		},
		"endpoints of the wrong type are an error": {
			text: "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\nendpoints:\n- nodeName: 1\n",
			want: loaded{
				Documents: 1,
				Errors: []string{
					"a.yaml:5:3: endpoints[0].nodeName of this EndpointSlice: want a string, got a number; quote it",
				},
			},
		},
		"an autoscaler of the wrong type is an error": {
			text: "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\nspec:\n  maxReplicas: ten\n",
			want: loaded{
				Documents: 1,
				Errors: []string{
					"a.yaml:5:3: spec.maxReplicas of this HorizontalPodAutoscaler: " +
						"want a whole number, got a string; write digits without quotes",
				},
			},
		},
		"a Namespace of the wrong type is an error": {
			text: "apiVersion: v1\nkind: Namespace\nmetadata: {labels: [a]}\n---\n" +
				"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: edge\n  labels: {a: 5}\n",
			want: loaded{Documents: 2, Errors: []string{
				"a.yaml:3:12: metadata.labels of this Namespace: want an object, got a list",
				"a.yaml:9:12: metadata.labels.a of this Namespace: want a string, got a number; quote it",
			}},
		},
		"unknown fields are ignored": {
			text: service("a") + "extra: 1\n",
			want: loaded{Objects: []string{"a.yaml:1 Service default/a"}, Documents: 1},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.want.Files = 1
			_, got := load(t, tree{files: map[string]string{"a.yaml": test.text}}.make(t), Options{})
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Load() mismatch (-want +got):\n%s\nof\n%s", diff, test.text)
			}
		})
	}
}

// TestWhatLooksLikeKubernetesIsAnError loads one file that cannot be read.
func TestWhatLooksLikeKubernetesIsAnError(t *testing.T) {
	t.Parallel()
	tests := map[string]bool{
		`{"metadata":{"name":"a","name":"a"},"apiVersion":"v1","kind":"Service"}`:                   true,
		`{"kind":"Service","apiVersion":"v1","spec":{}}{"metadata":{"name":"b"},"apiVersion":"v1"}`: true,
		`{"kind":"List","apiVersion":"v1","items":[{"a":1,"a":2}]}`:                                 true,
		"<<: {apiVersion: v1, kind: Service}\na: 1\na: 2\n":                                         true,
		"\"apiVersi\\u006fn\": v1\n\"k\\u0069nd\": Service\na: 1\na: 2\n":                           true,
		`[{"apiVersion":"v1",`:                    true,
		"kind: &k Service\na: [\n":                true,
		"kind: !!str Deployment\na: [\n":          true,
		"apiVersion: v1\rkind: Service\ra: [\r":   true,
		"\tapiVersion: v1\n\tkind: Service\n":     true,
		"{\n  // comment\n  \"strict\": true,\n}": false,
		`{"MD013": false, "MD013": true}`:         false,
		"replicas: {{ .Values.replicas }}\n":      false,
		"kind: Serviceable\na: [\n":               false,
		"apiVersionOf: [\n":                       false,
	}
	for text, want := range tests {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			dir := tree{files: map[string]string{"a.yaml": text, "b.yaml": service("b")}}.make(t)
			_, got := load(t, dir, Options{})
			if isError := len(got.Errors) == 1; isError != want || got.NotYAML == 1 == want {
				t.Errorf("errors %q, and %d not YAML; want an error: %t", got.Errors, got.NotYAML, want)
			}
		})
	}
}

// TestJSONWithComments checks that a comment of JavaScript is an error: for YAML it is a part of the key that follows.
func TestJSONWithComments(t *testing.T) {
	t.Parallel()
	const object = `{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"ports":[{"port":80}]%s}}`
	web := func(place string) loaded {
		return loaded{Objects: []string{place + " Service default/web"}, Documents: 1}
	}
	wrong := func(place string) loaded { return loaded{Errors: []string{place + ": " + errComment.Error()}} }
	tests := map[string]struct {
		file, text string
		want       loaded
	}{
		"a line before a key": {
			"a.json", fmt.Sprintf(object, ", // c\n\"type\":\"LoadBalancer\""), wrong("a.json:1:94"),
		},
		"in the line of a key": {
			"a.yaml", fmt.Sprintf(object, `, /* c */ "type": "LoadBalancer"`), wrong("a.yaml:1:94"),
		},
		"after a trailing comma": {
			"a.json", fmt.Sprintf(object, `, "x": [1,], /* c */ "type": "x"`), wrong("a.json:1:105"),
		},
		"at the start of an object": {"a.json", "{ // c\n" + fmt.Sprintf(object, "")[1:], wrong("a.json:1:3")},
		"at the start of the file":  {"a.json", "// c\n" + fmt.Sprintf(object, ""), wrong("a.json:1:1")},
		"in a text":                 {"a.json", fmt.Sprintf(object, `,"x":"// c"`), web("a.json:1")},
		"in a key that is quoted":   {"a.yaml", fmt.Sprintf(object, `, "// c {": 1`), web("a.yaml:1")},
		"a path":                    {"a.yaml", fmt.Sprintf(object, `, /*: 1, //x: 2`), web("a.yaml:1")},
		"no Kubernetes":             {"a.json", "{// c\n\"a\":1}", loaded{NotYAML: 1, Errors: []string{".: " + noObjects}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, got := load(t, tree{files: map[string]string{test.file: test.text}}.make(t), Options{})
			test.want.Files = 1
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Load() mismatch (-want +got):\n%s\nof\n%s", diff, test.text)
			}
		})
	}
}

func TestErrorOfATemplateHintsToRenderIt(t *testing.T) {
	t.Parallel()
	const hint = "; if this is a template, render it first or leave it out with --exclude"
	_, got := load(t, tree{files: map[string]string{
		"broken.yaml":   "apiVersion: [\n",
		"template.yaml": "apiVersion: v1\nkind: Service\nmetadata:\n{{- if .Values.on }}\n{{- end }}\n",
	}}.make(t), Options{})
	hinted := map[string]bool{}
	for _, e := range got.Errors {
		file, _, _ := strings.Cut(e, ":")
		hinted[file] = strings.HasSuffix(e, hint)
	}
	if diff := cmp.Diff(map[string]bool{"broken.yaml": false, "template.yaml": true}, hinted); diff != "" {
		t.Errorf("hints mismatch (-want +got):\n%s\n%v", diff, got.Errors)
	}
}

// notBuilt returns the note about a kustomization.
func notBuilt(file, fields, folder string) string {
	return fmt.Sprintf("%s: it was not built, and changes what the files hold by %s; to check what it builds: "+
		"sourceward check %s", file, fields, folder)
}

// TestOrderOfPathsDoesNotMatterForKustomizations loads a folder and a file in it in both orders.
func TestOrderOfPathsDoesNotMatterForKustomizations(t *testing.T) {
	t.Parallel()
	dir := tree{files: map[string]string{
		"a/kustomization.yaml": "namespace: prod\nresources: [web.yaml]\npatches: [{path: ../p.yaml}]\n",
		"a/web.yaml":           service("web"),
		"b/kustomization.yaml": "patches: [{path: ../p.yaml}]\nresources: [../a, none.yaml]\n", "p.yaml": service("p"),
	}}.make(t)
	var want loaded
	for i, paths := range [][]string{
		{"a", "a/web.yaml", "b", "p.yaml", "."}, {"a/web.yaml", "a", "p.yaml", "b", "."},
		{".", "b", "p.yaml", "a/web.yaml", "a"},
	} {
		_, got := load(t, dir, Options{Paths: paths})
		if i == 0 {
			want = got
			notes := []string{
				notBuilt("a/kustomization.yaml", "namespace, patches", "a"),
				notBuilt("b/kustomization.yaml", "patches, resources that are not read here", "b"),
			}
			skipped := []string{"p.yaml:1: Service default/p: it is a patch of a/kustomization.yaml; check that instead"}
			if diff := cmp.Diff([][]string{notes, skipped}, [][]string{got.Notes, got.Skipped}); diff != "" {
				t.Errorf("notes and skipped mismatch (-want +got):\n%s", diff)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Load(%q) mismatch (-want +got):\n%s", paths, diff)
		}
	}
}

func TestLinksToFoldersThatAreLeftOutAreSkipped(t *testing.T) {
	t.Parallel()
	const left = ": it is a symbolic link to a folder that is hidden or excluded"
	dir := tree{
		files: map[string]string{
			"a.yaml": service("a"), ".hidden/b.yaml": service("b"), "out/c.yaml": service("c"), "in/d.yaml": service("d"),
		},
		links: map[string]string{"hidden": ".hidden", "more.yaml": "out", "in/up": "../out", "again": "in", "in/all": ".."},
	}.make(t)
	_, got := load(t, dir, Options{Exclude: []string{"out"}})
	want := loaded{
		Objects: []string{"a.yaml:1 Service default/a", "in/d.yaml:1 Service default/d"}, Files: 2, Documents: 2,
		Skipped: []string{"hidden" + left, "in/up" + left, "more.yaml" + left},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Load() mismatch (-want +got):\n%s", diff)
	}
}

func TestKustomizationsThatChangeTheirFilesAreNoted(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ text, fields string }{
		"a namespace": {"namespace: prod\nresources: [web.yaml]\n", "namespace"},
		"a patch that is written there": {
			"resources: [web.yaml]\npatches:\n- target: {kind: Service}\n  patch: |-\n    - {op: remove, path: /spec}\n",
			"patches",
		},
		"replicas and a base": {
			"resources: [../base]\nreplicas: [{name: web, count: 3}]\n", "replicas, resources that are not read here",
		},
		"a remote base": {
			"resources: ['https://example.com/x//y?ref=1']\n", "resources that are not read here",
		},
		"empty fields":                 {"resources: [web.yaml]\ncommonLabels: {}\nreplicas: []\nnamePrefix: ''\n", ""},
		"a resource that is not there": {"resources: [none.yaml]\n", "resources that are not read here"},
		"only its own files": {
			"resources: [web.yaml, more]\nimages: [{name: web, newTag: '2'}]\npatches: []\nnamespace: ''\n", "",
		},
		"it cannot be read": {"namespace: prod\nnamespace: prod\n", ""},
		"it has a type of its own": {
			"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnameSuffix: -x\n", "nameSuffix",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := tree{files: map[string]string{
				"base/web.yaml": service("web"), "prod/kustomization.yaml": test.text, "prod/web.yaml": service("web"),
				"prod/more/kustomization.yaml": "resources: []\n", "web.yaml": service("web"),
			}}
			dir := files.make(t)
			_, got := load(t, dir, Options{Paths: []string{"prod"}})
			var want []string
			if test.fields != "" {
				want = []string{notBuilt("prod/kustomization.yaml", test.fields, "prod")}
			}
			if diff := cmp.Diff(want, got.Notes); diff != "" {
				t.Errorf("notes mismatch (-want +got):\n%s", diff)
			}
			if test.fields != "" {
				want = []string{"prod/kustomization.yaml: it was not built, and changes what the files hold by " + test.fields +
					"; give its folder with --context"}
			}
			_, asContext := load(t, dir, Options{Paths: []string{"web.yaml"}, Context: []string{"prod"}})
			if diff := cmp.Diff(want, asContext.Notes); diff != "" {
				t.Errorf("notes about the context mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWhatTheContextLacksIsNoted checks that there is one note about everything in the context that is not read.
func TestWhatTheContextLacksIsNoted(t *testing.T) {
	t.Parallel()
	const absent = "it is not among the neighbours: "
	const empty = "it is given as context, but no complete Kubernetes object was found there"
	tests := map[string]struct {
		files, links map[string]string
		context      []string
		want         []string
	}{
		"a link that leads out": {
			files: map[string]string{"s.yaml": service("s"), "c/t.yaml": service("t")},
			links: map[string]string{"c/s.yaml": "../s.yaml"},
			want:  []string{"c/s.yaml: " + absent + "it is a symbolic link that leads out of the folder"},
		},
		"a chart": {
			files: map[string]string{"c/Chart.yaml": "name: c\n", "c/templates/s.yaml": service("s"), "c/t.yaml": service("t")},
			want:  []string{"c/templates: " + absent + "it holds the templates of a Helm chart; give c with --context"},
		},
		"a patch": {
			files: map[string]string{
				"c/kustomization.yaml": "resources: [t.yaml]\npatchesStrategicMerge: [s.yaml]\n", "c/s.yaml": service("s"),
				"c/t.yaml": service("t"),
			},
			want: []string{
				"c/kustomization.yaml: it was not built, and changes what the files hold by patchesStrategicMerge; " +
					"give its folder with --context",
				"c/s.yaml:1: Service default/s: " + absent + "it is a patch of c/kustomization.yaml; check that instead",
			},
		},
		"two misspelt kinds and a chart": {
			files: map[string]string{
				"c/s.yaml": "apiVersion: v1\nkind: service\n", "c/t.yaml": service("t") + "---\napiVersion: v1\nkind: Servce\n",
				"c/u/Chart.yaml": "name: u\n", "c/u/templates/s.yaml": service("s"),
			},
			want: []string{"c/s.yaml:1: service : " + absent + "there is no kind \"service\" in v1; write Service; " +
				"2 other objects or files of the context are not used either"},
		},
		"three kustomizations": {
			files: map[string]string{
				"c/a/kustomization.yaml": "namespace: a\n", "c/b/kustomization.yaml": "namespace: b\n",
				"c/c/kustomization.yaml": "namespace: c\n", "c/t.yaml": service("t"),
			},
			want: []string{"c/a/kustomization.yaml: it was not built, and changes what the files hold by namespace; " +
				"give its folder with --context; 2 other kustomizations of the context are not used either"},
		},
		"an empty folder, and a file without objects": {
			files:   map[string]string{"c/values.yaml": "a: 1\n", "v.yaml": "a: 1\n", "d/s.yaml": service("s")},
			context: []string{"c", "v.yaml", "d", "d/s.yaml"}, want: []string{"c: " + empty, "v.yaml: " + empty},
		},
		"nothing but patches": {
			files: map[string]string{"c/kustomization.yaml": "patches: [{path: s.yaml}]\n", "c/s.yaml": service("s")},
			want: []string{
				"c/kustomization.yaml: it was not built, and changes what the files hold by patches; " +
					"give its folder with --context",
				"c/s.yaml:1: Service default/s: " + absent + "it is a patch of c/kustomization.yaml; check that instead",
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.context == nil {
				test.context = []string{"c"}
			}
			files := tree{files: map[string]string{"web.yaml": deployment("web")}, links: test.links}
			maps.Copy(files.files, test.files)
			_, got := load(t, files.make(t), Options{Paths: []string{"web.yaml"}, Context: test.context})
			slices.Sort(test.want)
			slices.Sort(got.Notes)
			if diff := cmp.Diff(test.want, got.Notes); diff != "" {
				t.Errorf("notes mismatch (-want +got):\n%s", diff)
			}
			if got.Skipped != nil || got.Errors != nil {
				t.Errorf("skipped: %q, errors: %q", got.Skipped, got.Errors)
			}
		})
	}
}

func TestPatchesOfAKustomizationAreSkipped(t *testing.T) {
	t.Parallel()
	patches := map[string]string{
		"patches": "patches:\n- path: patch.yaml\n- path: ../base/patch.yaml\n- patch: |-\n    - op: remove\n" +
			"  target: {kind: Service}\n",
		"patchesStrategicMerge": "patchesStrategicMerge:\n- ./patch.yaml\n- |-\n  kind: Service\n  metadata: {}\n" +
			"- ../base/patch.yaml\n",
		"patchesJson6902": "patchesJson6902:\n- target: {version: v1}\n  path: patch.yaml\n" +
			"- {path: ../base/patch.yaml}\n",
		"missing patches": "patches: [{path: patch.yaml}, {path: ../base/patch.yaml}, {path: missing.yaml}, " +
			"{}, 1, null]\n",
		"patches of the wrong type too": "patches: text\npatchesStrategicMerge: [patch.yaml, ../base/patch.yaml]\n",
	}
	fields := map[string]string{
		"patches": "patches", "patchesStrategicMerge": "patchesStrategicMerge", "patchesJson6902": "patchesJson6902",
		"missing patches": "patches", "patches of the wrong type too": "patches, patchesStrategicMerge",
	}
	for name, text := range patches {
		for _, file := range []string{"kustomization.yaml", "kustomization.yml", "Kustomization"} {
			t.Run(name+" in "+file, func(t *testing.T) {
				t.Parallel()
				_, got := load(t, tree{files: map[string]string{
					"base/patch.yaml":      service("base"),
					"overlay/" + file:      text,
					"overlay/patch.yaml":   service("overlay"),
					"overlay/service.yaml": service("web"),
				}}.make(t), Options{})
				want := loaded{
					Objects:   []string{"overlay/service.yaml:1 Service default/web"},
					Files:     4,
					Documents: 2,
					Notes:     []string{notBuilt("overlay/"+file, fields[name], "overlay")},
					Skipped: []string{
						"base/patch.yaml:1: Service default/base: it is a patch of overlay/" + file + "; check that instead",
						"overlay/patch.yaml:1: Service default/overlay: it is a patch of overlay/" + file + "; check that instead",
					},
				}
				if file == "Kustomization" { // has no extension of a manifest
					want.Files, want.Documents = 3, 1
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("Load() mismatch (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestWhatIsAPatch(t *testing.T) {
	files := map[string]string{
		"base/kustomization.yaml": "resources: [web.yaml]\n",
		"base/web.yaml":           service("web"),
		"overlay/kustomization.yaml": "resources: [../base, both.yaml]\n" +
			"patches: [{path: both.yaml}, {path: more/patch.yaml}]\npatchesStrategicMerge: [direct.yaml]\n",
		"overlay/both.yaml":       service("both"),
		"overlay/direct.yaml":     service("direct"),
		"overlay/more/patch.yaml": service("patch"),
	}
	const (
		direct = "overlay/direct.yaml:1: Service default/direct: it is a patch of overlay/kustomization.yaml" +
			"; check that instead"
		patch = "overlay/more/patch.yaml:1: Service default/patch: it is a patch of overlay/kustomization.yaml" +
			"; check that instead"
	)
	changed := notBuilt("overlay/kustomization.yaml",
		"patches, patchesStrategicMerge, resources that are not read here", "overlay")
	tests := map[string]struct {
		files     map[string]string
		links     map[string]string
		directory string
		paths     []string
		want      loaded
	}{
		"a file is both a patch and a resource": {
			paths: []string{"overlay"},
			want: loaded{
				Objects: []string{"overlay/both.yaml:1 Service default/both"}, Files: 4, Documents: 2,
				Skipped: []string{direct, patch},
				Notes:   []string{changed},
			},
		},
		"one of two folders has only patches": {
			files: map[string]string{"overlay/both.yaml": "resources: []\n"},
			paths: []string{"overlay", "base"},
			want: loaded{
				Objects: []string{"base/web.yaml:1 Service default/web"}, Files: 6, Documents: 3, NotKubernetes: 1,
				Skipped: []string{direct, patch},
				Notes:   []string{notBuilt("overlay/kustomization.yaml", "patches, patchesStrategicMerge", "overlay")},
			},
		},
		"a patch is named by hand": {
			paths: []string{"overlay/direct.yaml", "overlay/both.yaml"},
			want: loaded{
				Objects: []string{"overlay/both.yaml:1 Service default/both"}, Files: 2, Documents: 1, Skipped: []string{direct},
				Notes: []string{changed},
			},
		},
		"a patch is named by hand, and its kustomization lies above": {
			paths: []string{"overlay/more/patch.yaml", "base/web.yaml"},
			want: loaded{
				Objects: []string{"base/web.yaml:1 Service default/web"}, Files: 2, Documents: 1, Skipped: []string{patch},
			},
		},
		"a folder is named whose kustomization lies above": {
			paths: []string{"overlay/more", "base/web.yaml"},
			want: loaded{
				Objects: []string{"base/web.yaml:1 Service default/web"}, Files: 2, Documents: 1, Skipped: []string{patch},
			},
		},
		"a kustomization that lists no more than patches": {
			files: map[string]string{"overlay/both.yaml": service("both")},
			paths: []string{"overlay/kustomization.yaml", "overlay/direct.yaml"},
			want: loaded{
				Files: 2, Documents: 1, Skipped: []string{direct}, Notes: []string{changed},
				Errors: []string{noObjects},
			},
		},
		"its kustomization lies above the working directory": {
			directory: "overlay/more", paths: []string{"patch.yaml"},
			want: loaded{Objects: []string{"patch.yaml:1 Service default/patch"}, Files: 1, Documents: 1},
		},
		"a kustomization is a link to one in another folder": {
			links: map[string]string{"base/kustomization.yml": "../overlay/base.yaml"},
			files: map[string]string{"overlay/base.yaml": "patches: [{path: web.yaml}]\n"},
			paths: []string{"base/web.yaml"},
			want:  loaded{Objects: []string{"base/web.yaml:1 Service default/web"}, Files: 1, Documents: 1},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			all := maps.Clone(files)
			maps.Copy(all, test.files)
			dir := filepath.Join(tree{files: all, links: test.links}.make(t), test.directory)
			t.Chdir(dir)
			_, got := load(t, dir, Options{Paths: test.paths})
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Load() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBrokenKustomizationWithoutExtensionIsReported(t *testing.T) {
	t.Parallel()
	_, got := load(t,
		tree{files: map[string]string{
			"Kustomization": "patches: []\npatches: []\n", "a.yaml": service("a"),
		}}.make(t), Options{})
	want := loaded{
		Objects: []string{"a.yaml:1 Service default/a"}, Files: 1, Documents: 1,
		Errors: []string{`Kustomization:2:1: key "patches" is set twice, first on line 1; remove one`},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Load() mismatch (-want +got):\n%s", diff)
	}
}

func TestBrokenKustomizationIsReportedOnce(t *testing.T) {
	t.Parallel()
	_, got := load(
		t,
		tree{files: map[string]string{"kustomization.yaml": "patches: []\npatches: []\n", "a.yaml": service("a")}}.make(t),
		Options{},
	)
	want := loaded{
		Objects: []string{"a.yaml:1 Service default/a"}, Files: 2, Documents: 1,
		Errors: []string{`kustomization.yaml:2:1: key "patches" is set twice, first on line 1; remove one`},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Load() mismatch (-want +got):\n%s", diff)
	}
}

func TestInFileReportsWhetherTheTrafficPolicyIsSet(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spec string
		want policies.InFile
	}{
		"absent":                  {"type: LoadBalancer", policies.InFileAbsent},
		"null":                    {"type: LoadBalancer, externalTrafficPolicy: null", policies.InFileAbsent},
		"empty":                   {"type: LoadBalancer, externalTrafficPolicy: ''", policies.InFileAbsent},
		"the default, written":    {"type: LoadBalancer, externalTrafficPolicy: Cluster", policies.InFileWritten},
		"a value that is unknown": {"type: LoadBalancer, externalTrafficPolicy: local", policies.InFileWritten},
		"where it is not allowed": {"type: ClusterIP, externalTrafficPolicy: Local", policies.InFileWritten},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(service("a"), "{ports", "{"+test.spec+", ports", 1)
			m, _ := load(t, tree{files: map[string]string{"a.yaml": text}}.make(t), Options{})
			if got := m.Input(m.Objects[0], policies.Cluster{}, time.Time{}).InFile; got != test.want {
				t.Errorf("InFile is %s, want %s", got, test.want)
			}
		})
	}
}

func TestNamespaceIsReadFromFilesOrAssumed(t *testing.T) {
	t.Parallel()
	const named = "apiVersion: v1\nkind: Namespace\n" +
		"metadata:\n  name: %s\n  labels: {team: %[1]s}\n  annotations: {note: a}\n"
	const nameLabel = "kubernetes.io/metadata.name"
	m, _ := load(t, tree{files: map[string]string{
		"a.yaml":    fmt.Sprintf(named, "edge"),
		"b/ns.yaml": fmt.Sprintf(named, "default"),
		"c.yaml":    "apiVersion: v1\nkind: Namespace\nmetadata: {name: bare}\n",
	}}.make(t), Options{Paths: []string{"a.yaml", "c.yaml"}, Context: []string{"b"}})
	want := map[string]policies.Namespace{
		"edge": {
			Name:   "edge",
			Labels: map[string]string{"team": "edge", nameLabel: "edge"}, Annotations: map[string]string{"note": "a"},
		},
		"default": {
			Name:   "default",
			Labels: map[string]string{"team": "default", nameLabel: "default"}, Annotations: map[string]string{"note": "a"},
		},
		"bare":    {Name: "bare", Labels: map[string]string{nameLabel: "bare"}},
		"unknown": {Name: "unknown", Labels: map[string]string{nameLabel: "unknown"}, Assumed: true},
	}
	got := map[string]policies.Namespace{}
	for name := range want {
		got[name] = m.Namespace(&Object{Object: &policies.Object{Ref: policies.Ref{Namespace: name}}})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Namespace() mismatch (-want +got):\n%s", diff)
	}
}

// neighbours returns the names of the related objects in the input for the first object.
func neighbours(m *Manifests) []string {
	related := m.Input(m.Objects[0], policies.Cluster{}, time.Time{}).Related
	names := []string{"view " + string(related.View)}
	for _, s := range related.Services {
		names = append(names, fmt.Sprintf("Service %s %s", s.Name, s.Spec.ExternalTrafficPolicy))
	}
	for _, w := range related.Workloads {
		names = append(names, w.Ref.String())
	}
	for _, a := range related.Autoscalers {
		names = append(names, fmt.Sprintf("%s %s %s %d", a.Ref.APIVersion, a.Ref, a.Target.Name, a.MaxReplicas))
	}
	for _, e := range related.Endpoints {
		names = append(names, fmt.Sprintf("%s %s %s %d of %d", e.Ref.APIVersion, e.Ref, e.Service, e.WithoutNode, e.Count))
	}
	slices.Sort(names[1:])
	return names
}

func TestAllObjectsThatWereReadAreNeighbours(t *testing.T) {
	t.Parallel()
	selecting := func(name, policy string) string {
		return strings.Replace(
			service(name),
			"{ports",
			"{type: NodePort, externalTrafficPolicy: "+policy+", selector: {app: web}, ports",
			1,
		)
	}
	autoscaler := func(version, name string) string {
		return "apiVersion: autoscaling/" + version + "\nkind: HorizontalPodAutoscaler\nmetadata: {name: " + name + "}\n" +
			"spec: {maxReplicas: 7, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}\n"
	}
	endpointSlice := func(name, endpoints string) string {
		return "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: " + name +
			", labels: {kubernetes.io/service-name: web}}\nendpoints: [" + endpoints + "]\n"
	}
	tests := map[string]struct {
		tree    tree
		options Options
		want    []string
	}{
		"alone": {tree: tree{files: map[string]string{"a.yaml": deployment("web")}}, want: []string{"view Files"}},
		"a Service in another file, of another extension, read later": {
			tree: tree{files: map[string]string{"a.yaml": deployment("web"), "b.yml": selecting("web", "Local")}},
			want: []string{"view Files", "Service web Local"},
		},
		"a Service in the context": {
			tree:    tree{files: map[string]string{"a.yaml": deployment("web"), "base/b.yaml": selecting("web", "Local")}},
			options: Options{Paths: []string{"a.yaml"}, Context: []string{"base"}},
			want:    []string{"view Files", "Service web Local"},
		},
		"a Service in Paths replaces the one in the context": {
			tree: tree{
				files: map[string]string{
					"a.yaml": deployment("web") + "---\n" + selecting("web", "Local"),
					"z.yaml": selecting("web", "Cluster"),
				},
			},
			options: Options{Paths: []string{"a.yaml"}, Context: []string{"z.yaml"}},
			want:    []string{"view Files", "Service web Local"},
		},
		"a Service without ports is a neighbour": {
			tree: tree{
				files: map[string]string{
					"a.yaml": deployment("web"),
					"b.yaml": strings.Replace(selecting("web", "Local"), "ports: [{port: 80}]", "ports: []", 1),
				},
			},
			want: []string{"view Files", "Service web Local"},
		},
		"autoscalers of all versions": {
			tree: tree{
				files: map[string]string{
					"a.yaml": deployment("web"),
					"b.yaml": autoscaler("v1", "one") + "---\n" + autoscaler("v2", "two"),
				},
			},
			want: []string{
				"view Files",
				"autoscaling/v1 HorizontalPodAutoscaler default/one web 7",
				"autoscaling/v2 HorizontalPodAutoscaler default/two web 7",
			},
		},
		"endpoints of both kinds, in a Service's own namespace": {
			tree: tree{files: map[string]string{
				"a.yaml": service("web"),
				"b.yaml": endpointSlice("web-1", "{nodeName: node-1}, {}, {nodeName: null}"),
				"d.yaml": endpointSlice("web-2, namespace: edge", "{}"),
				"c.yaml": "apiVersion: v1\nkind: Endpoints\nmetadata: {name: web}\n" +
					"subsets: [{addresses: [{ip: 10.0.0.1, nodeName: node-1}]}, {addresses: [{ip: 10.0.0.2}]}]\n",
			}},
			want: []string{
				"view Files", "discovery.k8s.io/v1 EndpointSlice default/web-1 web 2 of 3", "v1 Endpoints default/web web 1 of 2",
			},
		},
		"EndpointSlices with the same generateName are not the same": {
			tree: tree{
				files: map[string]string{
					"a.yaml": service("web"),
					"b.yaml": strings.Repeat("---\n"+strings.Replace(endpointSlice("web-", "{}"), "name:", "generateName:", 1), 2),
				},
			},
			want: []string{
				"view Files",
				"discovery.k8s.io/v1 EndpointSlice default/web-* web 1 of 1",
				"discovery.k8s.io/v1 EndpointSlice default/web-* web 1 of 1",
			},
		},
		"a Service with a selector has no endpoints of its own": {
			tree: tree{files: map[string]string{"a.yaml": selecting("web", "Local"), "b.yaml": endpointSlice("web-1", "{}")}},
			want: []string{"view Files"},
		},
		"an autoscaler in another namespace is not a neighbour": {
			tree: tree{
				files: map[string]string{"a.yaml": deployment("web"), "b.yaml": autoscaler("v2", "two, namespace: edge")},
			},
			want: []string{"view Files"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, _ := load(t, test.tree.make(t), test.options)
			if diff := cmp.Diff(test.want, neighbours(m)); diff != "" {
				t.Errorf("Input().Related mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTextReturnsTheTextOfTheFile(t *testing.T) {
	t.Parallel()
	dir := tree{files: map[string]string{"a.yaml": "# a\r\n" + service("a")}}.make(t)
	m, _ := load(t, dir, Options{Paths: []string{"a.yaml", Stdin}, Stdin: strings.NewReader("# -\n")})
	got := []string{string(m.Text(filepath.Join(dir, "a.yaml"))), string(m.Text(Stdin)), string(m.Text("b.yaml"))}
	if diff := cmp.Diff([]string{"# a\r\n" + service("a"), "# -\n", ""}, got); diff != "" {
		t.Errorf("Text() mismatch (-want +got):\n%s", diff)
	}
}

func TestNodesOfOnlyOneDocumentAreKept(t *testing.T) {
	t.Parallel()
	m, _ := load(t, tree{files: map[string]string{"a.yaml": service("a"), "b.yaml": service("b")}}.make(t), Options{})
	for _, o := range m.Objects {
		o.Place("")
		if kept := m.last.Load(); kept == nil || kept.document != o.Document {
			t.Errorf("the nodes of %s are not kept", o.Ref)
		}
	}
}

// FuzzLoad checks that no file makes Load panic, and that its results are consistent.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		service("web"), deployment("web"), service("web") + "---\n" + deployment("web"), "a: {{ b }}\n",
		"apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Service, spec: {ports: [{port: a}]}}, null, 1]\n",
		"apiVersion: v1\nkind: ServiceList\nitems: [&a {metadata: {name: a}, spec: {ports: [{}]}}, *a]\n",
		"apiVersion: v1\nkind: Service\nspec: {type: 1, externalIPs: 2, sessionAffinity: ClientIP, " +
			"sessionAffinityConfig: 3, ports: [4, {targetPort: {}}]}\n",
		"apiVersion: apps/v1\nkind: Deployment\n" +
			"spec: {strategy: 1, template: {spec: {containers: [{ports: [1], livenessProbe: 2}, 3]}}}\n",
		"apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nspec: []\n",
		"apiVersion: v1\nkind: Endpoints\nsubsets: [1]\n", "apiVersion: v1\nkind: Namespace\nmetadata: 1\n",
		"patches: [{path: a.yaml}]\npatchesStrategicMerge: [a.yaml]\n",
		`{"apiVersion":"v1","kind":"Service","spec":{"ports":[{"port":1e99}]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := tree{files: map[string]string{"kustomization.yaml": string(data)}}.make(t)
		m, got := load(t, dir, Options{})
		if got.Files != 1 || len(got.Objects) > got.Documents {
			t.Errorf("%d of %d documents are judged, in %d files", len(got.Objects), got.Documents, got.Files)
		}
		for _, o := range m.Objects {
			if o.Place("").Line < 1 || m.Input(o, policies.Cluster{}, time.Time{}).InFile == policies.InFileUnknown {
				t.Errorf("%s has no place: %+v", o.Ref, o)
			}
		}
		for _, e := range m.Errors {
			if e.File == "" || e.Message == "" || strings.Contains(e.Message, "\n") {
				t.Errorf("error %+v does not name a file, or its message is not one line", e)
			}
		}
	})
}

// TestContentIsReadAgain compares the content of objects, which is read again when it is asked for, with what the files
// hold.
func TestContentIsReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := `
apiVersion: v1
kind: ServiceList
items:
- metadata: {name: in-list, labels: &labels {app: web, "on": null}}
  spec: {ports: [{port: 80}], selector: *labels}
- apiVersion: v1
  kind: List
  items: [{apiVersion: v1, kind: Pod, metadata: {name: nested}, spec: {containers: [{name: web, image: ! 1}]}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {generateName: web-, namespace: edge}
spec:
  selector: {matchLabels: &pods {app: web}}
  template:
    metadata:
      labels:
        <<: *pods
        tier: front
    spec:
      containers: [{name: web, image: web, resources: {limits: {cpu: 0.5}}}]
---
{"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "web"},
 "template": {"spec": {"containers": [{"name": "a\/b"}]}}}
---
apiVersion: v1
kind: ReplicationController
metadata: {name: old}
spec: {template: {metadata: {labels: {app: old}}, spec: {containers: [{name: web, image: web}]}}}
---
<<: {apiVersion: v1, kind: Service}
metadata: {name: merged}
spec: {ports: [{port: 80, nodePort: null}]}
`
	if err := os.WriteFile(filepath.Join(dir, "all.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := Load(Options{Paths: []string{dir, "../../test/cases", "../../config/samples"}, Version: policies.Newest})
	if err != nil {
		t.Fatal(err)
	}
	documents := map[string][]*Document{}
	compared := 0
	for _, o := range m.Objects {
		if len(o.placeholders) > 0 || len(o.variants) > 0 {
			continue
		}
		file := o.Document.File
		if documents[file] == nil {
			documents[file], _ = Parse(file, m.Text(file))
		}
		i := slices.IndexFunc(documents[file], func(d *Document) bool { return d.Index == o.Document.Index })
		content := runtime.DeepCopyJSON(valueAt(documents[file][i].Content, o.At).(map[string]any))
		content["apiVersion"], content["kind"] = o.APIVersion, o.Kind
		content["metadata"].(map[string]any)["namespace"] = o.Namespace
		setDefaults(content, policies.Newest)
		want, err := policies.NewObject(content)
		if err != nil {
			t.Fatal(err)
		}
		first := o.Content()
		if diff := cmp.Diff(want.Content(), first); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", file, o.Ref, diff)
		}
		compared++
	}
	if t.Logf("%d objects", compared); compared < 500 {
		t.Error("too few objects were compared")
	}
	o := m.Objects[len(m.Objects)-1]
	first := o.Content()
	goruntime.GC()
	goruntime.GC()
	if reflect.ValueOf(o.Content()).Pointer() == reflect.ValueOf(first).Pointer() {
		t.Errorf("%s: the content was kept", o.Ref)
	}
}
