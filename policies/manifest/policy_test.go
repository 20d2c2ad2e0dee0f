package manifest

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const policyHead = "apiVersion: sourceward.dev/v1alpha1\nkind: SourceIPPolicy\n"

// loadPolicies loads the policies in a folder with these files. The names and errors that it returns contain paths
// relative to that folder.
func loadPolicies(t *testing.T, files map[string]string, paths ...string) (policies []*Policy, names, errs []string) {
	t.Helper()
	dir := tree{files: files}.make(t)
	if paths == nil {
		paths = []string{"."}
	}
	for i, path := range paths {
		if path != Stdin {
			paths[i] = dir + "/" + path
		}
	}
	policies, problems := LoadPolicies(paths)
	relative := func(text string) string { return strings.ReplaceAll(text, dir+"/", "") }
	for _, p := range policies {
		names = append(names, relative(p.File())+" "+p.Name)
	}
	for _, e := range problems {
		errs = append(errs, relative(e.Error()))
	}
	return policies, names, errs
}

func TestLoadPolicies(t *testing.T) {
	t.Parallel()
	edge := policyHead + "metadata: {name: edge}\n"
	const want = " is wrong for a SourceIPPolicy; write apiVersion: sourceward.dev/v1alpha1"
	tests := map[string]struct {
		files     map[string]string
		paths     []string
		want      []string
		wantError []string
	}{
		"several documents; other objects are ignored": {
			files: map[string]string{
				"a.yaml": edge + "---\n# none\n---\n" + service("web") + "---\n- a\n---\n" +
					strings.Replace(edge, "edge", "other", 1),
			},
			want: []string{"a.yaml edge", "a.yaml other"},
		},
		"a directory is walked in order": {
			files: map[string]string{
				"b.json":      `{"apiVersion":"sourceward.dev/v1alpha1","kind":"SourceIPPolicy","metadata":{"name":"b"}}`,
				"a/a.yml":     edge,
				"c.txt":       edge,
				".git/d.yaml": edge,
			},
			want: []string{"a/a.yml edge", "b.json b"},
		},
		"a policy that is given by two paths is read once": {
			files: map[string]string{"a.yaml": edge},
			paths: []string{"a.yaml", ".", "./a.yaml"},
			want:  []string{"a.yaml edge"},
		},
		"the items of a List": {
			files: map[string]string{
				"a.yaml": "apiVersion: v1\nkind: List\nitems:\n" +
					"- apiVersion: sourceward.dev/v1alpha1\n  kind: SourceIPPolicy\n  metadata: {name: edge}\n" +
					"- text\n- apiVersion: v1\n  kind: Service\n" +
					"- apiVersion: sourceward.dev/v1alpha1\n  kind: SourceIPPolicy\n  spec: {rule: []}\n",
			},
			want:      []string{"a.yaml edge"},
			wantError: []string{"a.yaml:12:10: a SourceIPPolicy has no field spec.rule; check its spelling"},
		},
		"a path without a policy": {
			files: map[string]string{"a.yaml": edge, "b.yaml": service("web"), "c/d.txt": edge},
			paths: []string{"a.yaml", "b.yaml", "c"},
			want:  []string{"a.yaml edge"},
			wantError: []string{
				"b.yaml: contains no SourceIPPolicy; give the file or directory with your policies",
				"c: contains no SourceIPPolicy; give the file or directory with your policies",
			},
		},
		"a missing path": {
			paths:     []string{"a.yaml"},
			wantError: []string{"a.yaml: cannot be read: no such file or directory; check the path and its permissions"},
		},
		"standard input": {
			paths:     []string{Stdin},
			wantError: []string{"-: policies cannot be read from standard input; give a file or directory"},
		},
		"a broken document leaves the others": {
			files:     map[string]string{"a.yaml": "a: 1\na: 2\n---\n" + edge},
			want:      []string{"a.yaml edge"},
			wantError: []string{`a.yaml:2:1: key "a" is set twice, first on line 1; remove one`},
		},
		"a broken document is reported, a missing policy is not": {
			files:     map[string]string{"a.yaml": "a: 1\na: 2\n"},
			wantError: []string{`a.yaml:2:1: key "a" is set twice, first on line 1; remove one`},
		},
		"another version": {
			files: map[string]string{"a.yaml": "# a\napiVersion: sourceward.dev/v1\nkind: SourceIPPolicy\n"},
			wantError: []string{
				`a.yaml:2:1: apiVersion "sourceward.dev/v1"` + want,
			},
		},
		"another group": {
			files: map[string]string{
				"a.yaml": "apiVersion: sourceward.io/v1alpha1\nkind: SourceIPPolicy\n---\nkind: SourceIPPolicy\n---\n" +
					"apiVersion: 1\nkind: SourceIPPolicy\n",
			},
			wantError: []string{
				`a.yaml:1:1: apiVersion "sourceward.io/v1alpha1"` + want,
				`a.yaml:4:1: apiVersion ""` + want,
				`a.yaml:6:1: apiVersion ""` + want,
			},
		},
		"another kind": {
			files: map[string]string{
				"a.yaml": "apiVersion: sourceward.dev/v1alpha1\nkind: SourceIpPolicy\n---\n" +
					"apiVersion: sourceward.dev/v1\nkind: SourceIPPolicies\n",
			},
			wantError: []string{
				`a.yaml:2:1: kind "SourceIpPolicy" is wrong for a SourceIPPolicy; write kind: SourceIPPolicy`,
				`a.yaml:4:1: apiVersion "sourceward.dev/v1"` + want,
				`a.yaml:5:1: kind "SourceIPPolicies" is wrong for a SourceIPPolicy; write kind: SourceIPPolicy`,
			},
		},
		"the items of a typed list need no kind": {
			files: map[string]string{
				"a.yaml": "apiVersion: sourceward.dev/v1alpha1\nkind: SourceIPPolicyList\nitems:\n" +
					"- metadata: {name: edge}\n- metadata: {name: other}\n  spec: {rule: []}\n- null\n",
			},
			want:      []string{"a.yaml edge"},
			wantError: []string{"a.yaml:6:10: a SourceIPPolicy has no field spec.rule; check its spelling"},
		},
		"a skew of 0 is not the same as none": {
			files: map[string]string{
				"a.yaml": policyHead + "metadata: {name: edge}\nspec:\n  spread: {strategy: TopologySpread, maxSkew: 0}\n",
			},
			wantError: []string{"a.yaml:5:38: spec.spread.maxSkew: Invalid value: 0: must be at least 1"},
		},
		"each unknown field has its line": {
			files: map[string]string{
				"a.yaml": policyHead + "metadata: {name: edge}\nspec:\n  prio: 1\n  rules:\n  - {id: a, mode: Deny}\n" +
					"  - id: b\n    modes: Deny\n  match:\n    namespaceSelector:\n      matchLabel: {}\n",
			},
			wantError: []string{
				"a.yaml:12:7: a SourceIPPolicy has no field spec.match.namespaceSelector.matchLabel; check its spelling",
				"a.yaml:5:3: a SourceIPPolicy has no field spec.prio; check its spelling",
				"a.yaml:9:5: a SourceIPPolicy has no field spec.rules[1].modes; check its spelling",
			},
		},
		"parameters are free, and so are labels": {
			files: map[string]string{
				"a.yaml": policyHead + "metadata: {name: edge, labels: {a.b/c: d}}\n" +
					"spec: {parameters: {anything: [{goes: 1}]}}\n",
			},
			want: []string{"a.yaml edge"},
		},
		"a value of the wrong type has its line": {
			files: map[string]string{
				"a.yaml": policyHead + "metadata: {name: edge}\nspec:\n  rules: []\n  priority: high\n",
			},
			wantError: []string{
				"a.yaml:6:3: spec.priority of this SourceIPPolicy: want a whole number, got a string; write digits without quotes",
			},
		},
		"the mode Off, which is a boolean without quotes": {
			files: map[string]string{
				"a.yaml": policyHead + "metadata: {name: edge}\nspec:\n  rules: [{id: a, mode: Off}]\n",
			},
			wantError: []string{
				"a.yaml:5:19: spec.rules[0].mode of this SourceIPPolicy: want a string, got a boolean; quote it",
			},
		},
		"the mode Off in quotes": {
			files: map[string]string{"a.yaml": policyHead + "metadata: {name: edge}\nspec:\n  rules: [{id: a, mode: 'Off'}]\n"},
			want:  []string{"a.yaml edge"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, got, errs := loadPolicies(t, test.files, test.paths...)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("LoadPolicies() mismatch (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.wantError, errs); diff != "" {
				t.Errorf("errors of LoadPolicies() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPolicyPositionFindsTheRowOfAModuleInTheFile(t *testing.T) {
	t.Parallel()
	const head = policyHead + "metadata: {name: edge}\nspec:\n  rego:\n  - name: corp.rego\n" // 6 lines
	const pointer = "/spec/rego/0/module"
	block := func(header string) string {
		return head + "    module: " + header +
			"\n      package sourceward.custom.corp\n\n      deny contains {}\n        if true\n"
	}
	tests := map[string]struct {
		text string
		row  int
		want Position
	}{
		"no row: the place of the key":              {block("|"), 0, Position{7, 5}},
		"the first row of a block":                  {block("|"), 1, Position{8, 0}},
		"a row further down":                        {block("|"), 4, Position{11, 0}},
		"a block without its last line break":       {block("|-"), 3, Position{10, 0}},
		"a block with all its line breaks":          {block("|+"), 3, Position{10, 0}},
		"a block that says how it is indented":      {block("|2"), 4, Position{11, 0}},
		"a block with a comment after its header":   {block("| # ours"), 3, Position{10, 0}},
		"a block of carriage returns":               {strings.ReplaceAll(block("|"), "\n", "\r\n"), 3, Position{10, 0}},
		"a block that begins with an empty line":    {head + "    module: |\n\n      package a\n", 2, Position{9, 0}},
		"a row after the end: the place of the key": {block("|-"), 5, Position{7, 5}},
		"a row that a folded text keeps":            {block(">-"), 1, Position{8, 0}},
		"a row that a folded text joins": {
			head + "    module: >-\n      package a\n      deny contains {}\n\n\n      deny contains 1\n",
			2,
			Position{7, 5},
		},
		"a quoted text: the place of the key": {
			head + `    module: "package a\n\ndeny contains {}\n"` + "\n",
			3,
			Position{7, 5},
		},
		"a quoted text of several lines: the place of the key": {
			head + "    module: 'package a\n\n      deny contains {}'\n",
			2,
			Position{7, 5},
		},
		"a text that comes from an alias: the place of the key": {
			policyHead + "metadata:\n  name: edge\n" +
				"  annotations:\n    rego: &rego |\n      package a\n      deny contains {}\n" +
				"spec:\n  rego:\n  - name: corp.rego\n    module: *rego\n",
			2, Position{12, 5},
		},
		"the second document of a file": {"a: 1\n---\n" + block("|"), 4, Position{13, 0}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			policies, _, _ := loadPolicies(t, map[string]string{"a.yaml": test.text})
			if len(policies) != 1 {
				t.Fatalf("there are %d policies in\n%s", len(policies), test.text)
			}
			if diff := cmp.Diff(test.want, policies[0].Position(pointer, test.row)); diff != "" {
				t.Errorf("Position(%d) mismatch (-want +got):\n%s\nof\n%s", test.row, diff, test.text)
			}
		})
	}
}

func TestPolicyPositionInAList(t *testing.T) {
	t.Parallel()
	policies, _, _ := loadPolicies(
		t,
		map[string]string{
			"a.yaml": "apiVersion: v1\nkind: List\nitems:\n- apiVersion: sourceward.dev/v1alpha1\n  kind: SourceIPPolicy\n" +
				"  metadata: {name: edge}\n  spec:\n    priority: 1\n" +
				"    rego:\n    - name: corp.rego\n      module: |\n        package a\n        deny\n",
		},
	)
	if len(policies) != 1 {
		t.Fatalf("there are %d policies, want 1", len(policies))
	}
	got := []Position{
		policies[0].Position("", 0),
		policies[0].Position("/spec/priority", 0), policies[0].Position("/spec/priority", 1),
		policies[0].Position("/spec/rego/0/module", 2), policies[0].Position("/spec/rego/7/module", 2),
	}
	if diff := cmp.Diff([]Position{{4, 3}, {8, 5}, {8, 5}, {13, 0}, {9, 5}}, got); diff != "" {
		t.Errorf("Position() mismatch (-want +got):\n%s", diff)
	}
}

func TestManifestsReturnThePoliciesAmongThem(t *testing.T) {
	t.Parallel()
	edge := policyHead + "metadata: {name: edge}\n"
	named := func(name string) string { return strings.Replace(edge, "edge", name, 1) }
	tests := map[string]struct {
		files     map[string]string
		paths     []string
		further   []string
		want      []string
		wantError []string
	}{
		"a policy next to other objects": {
			files: map[string]string{"a.yaml": service("web") + "---\n" + edge, "b.yaml": service("api")},
			paths: []string{"."},
			want:  []string{"a.yaml edge"},
		},
		"no policy is not an error": {files: map[string]string{"a.yaml": service("web")}, paths: []string{"."}},
		"no policy in a further path is an error, even if it was read before": {
			files:     map[string]string{"a.yaml": service("web")},
			paths:     []string{"."},
			further:   []string{"a.yaml"},
			wantError: []string{"a.yaml: contains no SourceIPPolicy; give the file or directory with your policies"},
		},
		"a file that is given both ways is read once": {
			files:   map[string]string{"a.yaml": edge, "policies/b.yaml": named("b"), "c.yaml": service("web")},
			paths:   []string{"a.yaml", "c.yaml"},
			further: []string{"a.yaml", "policies"},
			want:    []string{"a.yaml edge", "policies/b.yaml b"},
		},
		"a broken document is reported once": {
			files:   map[string]string{"a.yaml": "a: 1\na: 2\n---\n" + edge, "b.yaml": "a: 1\na: 2\n"},
			paths:   []string{"."},
			further: []string{"a.yaml", "b.yaml"},
			want:    []string{"a.yaml edge"},
			wantError: []string{
				`a.yaml:2:1: key "a" is set twice, first on line 1; remove one`,
				`b.yaml:2:1: key "a" is set twice, first on line 1; remove one`,
			},
		},
		"a policy that is wrong is an error": {
			files:     map[string]string{"a.yaml": edge + "spec: {prio: 1}\n"},
			paths:     []string{"."},
			wantError: []string{"a.yaml:4:8: a SourceIPPolicy has no field spec.prio; check its spelling"},
		},
		"a patch of a kustomization is a part of one, unless it is given as a policy": {
			files: map[string]string{
				"a.yaml": edge, "patch.yaml": named("patched"),
				"kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n" +
					"patches: [{path: patch.yaml}]\n",
			},
			paths:   []string{"."},
			further: []string{"patch.yaml"},
			want:    []string{"a.yaml edge", "patch.yaml patched"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := tree{files: test.files}.make(t)
			in := func(paths []string) (all []string) {
				for _, path := range paths {
					all = append(all, filepath.Join(dir, path))
				}
				return all
			}
			m, err := Load(Options{Paths: in(test.paths)})
			if err != nil {
				t.Fatal(err)
			}
			found, problems := m.Policies(in(test.further))
			var got, errs []string
			for _, p := range found {
				got = append(got, strings.ReplaceAll(p.File(), dir+"/", "")+" "+p.Name)
			}
			for _, e := range slices.Concat(m.Errors, problems) {
				errs = append(errs, strings.ReplaceAll(e.Error(), dir+"/", ""))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Policies() mismatch (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.wantError, errs); diff != "" {
				t.Errorf("errors mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLinkThatLeadsOutOfAFolderOfPoliciesIsAnError(t *testing.T) {
	t.Parallel()
	dir := tree{
		files: map[string]string{
			"in/a.yaml": policyHead + "metadata: {name: a}\n", "in/chart/Chart.yaml": "name: a\n",
			"in/chart/templates/b.yaml": "{{",
		},
		links: map[string]string{"in/b.yaml": "../b.yaml"},
	}.make(t)
	loaded, errs := LoadPolicies([]string{filepath.Join(dir, "in")})
	want := filepath.Join(dir, "in/b.yaml") + ": it is a symbolic link that leads out of the folder; " +
		"name it with --policy if it has policies"
	if len(loaded) != 1 || len(errs) != 1 || errs[0].Error() != want {
		t.Errorf("LoadPolicies() = %d policies, %v; want one, and %s", len(loaded), errs, want)
	}
}
