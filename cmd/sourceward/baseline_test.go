package main_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// writeBaseline writes the baseline of a folder, or renews it.
const writeBaseline = "check --baseline baseline.json -o json=baseline.json --fail-on never"

// runAll runs one command line after the other in a folder, and fails the test unless each exits with 0. It returns the
// result of the last one, whatever that is.
func runAll(t *testing.T, dir string, lines ...string) result {
	t.Helper()
	var got result
	for i, line := range lines {
		got = run(t, command(t, dir, strings.Fields(line)...))
		if got.Code != 0 && i < len(lines)-1 {
			t.Fatalf("sourceward %s exits with %d:\n%s", line, got.Code, got.Stderr)
		}
	}
	return got
}

func TestBaselineIsRenewed(t *testing.T) {
	t.Parallel()
	const use = "check --baseline baseline.json"
	dir := write(t, map[string]string{"web.yaml": denied})
	if got := runAll(t, dir, "check -o json=baseline.json --fail-on never", use); got.Code != 0 {
		t.Errorf("check exits with %d on what the baseline has:\n%s", got.Code, got.Stdout)
	}
	first := content(t, dir, "baseline.json")

	for _, renew := range []string{
		writeBaseline,
		use + " -o json=./baseline.json --fail-on never .",
		"check --baseline ./baseline.json -o text -o json=baseline.json --fail-on never",
	} {
		runAll(t, dir, renew, use)
		if diff := cmp.Diff(first, content(t, dir, "baseline.json")); diff != "" {
			t.Errorf("%s changes a baseline that has everything (-before +after):\n%s", renew, diff)
		}
	}

	api := strings.Replace(denied, "name: web", "name: api", 1)
	if err := os.WriteFile(filepath.Join(dir, "web.yaml"), []byte(api), 0o600); err != nil {
		t.Fatal(err)
	}
	want := result{
		Stdout: strings.Replace(deniedOnly("web.yaml"), "default/web", "default/api", 1) + `
gone (-o json=baseline.json --fail-on never renews the baseline)
  web.yaml  local-on-cluster-ip  Service default/web

1 file, 1 object (1 Service, 0 workloads): 1 deny
`,
		Code: 1,
	}
	if diff := cmp.Diff(want, runAll(t, dir, use)); diff != "" {
		t.Errorf("check of a new finding mismatch (-want +got):\n%s", diff)
	}
	want = result{Stdout: "1 file, 1 object (1 Service, 0 workloads): no new findings, 1 in the baseline (not shown)\n"}
	if diff := cmp.Diff(want, runAll(t, dir, writeBaseline, use)); diff != "" {
		t.Errorf("check with a renewed baseline mismatch (-want +got):\n%s", diff)
	}
}

// TestRenewingReplacesOnlyAReport renews what the baseline of a configuration file names.
func TestRenewingReplacesOnlyAReport(t *testing.T) {
	t.Parallel()
	const old = `{"apiVersion": "report.sourceward.dev/v1", "kind": "Report", "findings": [{"mode": "deny"}]}`
	tests := map[string]struct {
		content, check string
		renewed        bool
	}{
		"no file": {
			"", "error: read --baseline: open known/baseline.json: no such file or directory; ", true,
		},
		"a report of an old version": {
			old, "error: --baseline known/baseline.json has findings without a fingerprint, ", true,
		},
		"a manifest": {
			denied, "error: --baseline known/baseline.json is not a report of check -o json: ", false,
		},
		"a report that was cut off": {
			`{"apiVersion": "report`, "error: --baseline known/baseline.json is not a report of check -o json: ", false,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{
				"web.yaml": denied, "known/notes.txt": "", configFile: "baseline: known/baseline.json\n",
			}
			if test.content != "" {
				files["known/baseline.json"] = test.content
			}
			dir := write(t, files)
			const remedy = "add -o json=known/baseline.json --fail-on never to "
			got := runAll(t, dir, "check")
			if got.Code != 2 || !strings.HasPrefix(got.Stderr, test.check) || !strings.Contains(got.Stderr, remedy) {
				t.Errorf("check exits with %d and writes %q, want %q", got.Code, got.Stderr, test.check)
			}
			got = runAll(t, dir, "check -o json=known/baseline.json --fail-on never")
			if renewed := got.Code == 0; renewed != test.renewed {
				t.Errorf("to renew it exits with %d: %s", got.Code, got.Stderr)
			}
			if !test.renewed {
				if diff := cmp.Diff(test.content, content(t, dir, "known/baseline.json")); diff != "" {
					t.Errorf("to renew it changes the file (-before +after):\n%s", diff)
				}
				return
			}
			if got := runAll(t, dir, "check"); got.Code != 0 {
				t.Errorf("check exits with %d after the baseline was renewed:\n%s%s", got.Code, got.Stdout, got.Stderr)
			}
		})
	}
}

func TestBaselineIsReplacedOnlyByAJSONReport(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"web.yaml": denied})
	runAll(t, dir, writeBaseline)
	if err := os.Symlink("baseline.json", filepath.Join(dir, "link.json")); err != nil {
		t.Fatal(err)
	}
	before := content(t, dir, "baseline.json")
	for _, line := range []string{
		"check --baseline baseline.json -o text=baseline.json web.yaml",
		"check --baseline link.json -o text=baseline.json web.yaml",
		"check --baseline baseline.json -o json=baseline.json baseline.json web.yaml",
	} {
		got := runAll(t, dir, line)
		if got.Code != 2 || !strings.Contains(got.Stderr, " would replace a file that was read; name another file") {
			t.Errorf("%s: exit code %d, stderr %q", line, got.Code, got.Stderr)
		}
		if diff := cmp.Diff(before, content(t, dir, "baseline.json")); diff != "" {
			t.Errorf("%s changes the baseline (-before +after):\n%s", line, diff)
		}
	}
	if got := runAll(t, dir, "check --baseline link.json -o json=baseline.json --fail-on never web.yaml"); got.Code != 0 {
		t.Errorf("to renew the baseline by another name exits with %d: %s", got.Code, got.Stderr)
	}
}

// TestBaselineOfAConfigurationFile checks in a folder below that of the file, which names the baseline.
func TestBaselineOfAConfigurationFile(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		".git/HEAD": "", "apps/web/web.yaml": denied, configFile: "baseline: baseline.json\n",
	})
	web := filepath.Join(dir, "apps", "web")
	runAll(t, dir, "check -o json=baseline.json --fail-on never .")
	if got := run(t, command(t, web, "check")); got.Code != 0 {
		t.Errorf("check exits with %d below the folder of the baseline:\n%s%s", got.Code, got.Stdout, got.Stderr)
	}
	want := result{Stdout: deniedOnly("web.yaml") + "\n1 file, 1 object (1 Service, 0 workloads): 1 deny\n", Code: 1}
	if diff := cmp.Diff(want, run(t, command(t, web, "check", "--baseline", ""))); diff != "" {
		t.Errorf("check without the baseline of the file mismatch (-want +got):\n%s", diff)
	}
}

// TestGoneIsWhatWasCheckedAndIsNotFound removes a finding of each of two folders from a repository with a baseline.
func TestGoneIsWhatWasCheckedAndIsNotFound(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		line string
		want []string
	}{
		"the whole repository":    {"check --baseline baseline.json -o json .", []string{"eu/web.yaml", "us/web.yaml"}},
		"one folder":              {"check --baseline baseline.json -o json eu", []string{"eu/web.yaml"}},
		"another file":            {"check --baseline baseline.json -o json eu/api.yaml", nil},
		"another file in context": {"check --baseline baseline.json -o json --context . eu/api.yaml", nil},
		"a file that is broken":   {"check --baseline baseline.json -o json . broken", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			web := func(region string) string { return strings.Replace(denied, "name: web", "name: web-"+region, 1) }
			api := func(region string) string { return strings.Replace(denied, "name: web", "name: api-"+region, 1) }
			dir := write(t, map[string]string{
				"eu/web.yaml": web("eu"), "us/web.yaml": web("us"), "eu/api.yaml": api("eu"), "us/api.yaml": api("us"),
			})
			runAll(t, dir, writeBaseline)
			for _, file := range []string{"eu/web.yaml", "us/web.yaml"} {
				if err := os.Remove(filepath.Join(dir, file)); err != nil {
					t.Fatal(err)
				}
			}
			var gone []string
			for _, g := range decodeReport(t, runAll(t, dir, test.line).Stdout).Gone {
				gone = append(gone, g.File)
			}
			if diff := cmp.Diff(test.want, gone); diff != "" {
				t.Errorf("gone mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// TestBaselineHidesNoErrors breaks a file of a repository in which everything is known.
func TestBaselineHidesNoErrors(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"web.yaml": denied})
	runAll(t, dir, writeBaseline)
	broken := filepath.Join(dir, "broken.yaml")
	if err := os.WriteFile(broken, []byte("apiVersion: v1\nkind: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := runAll(t, dir, "check --baseline baseline.json")
	if got.Code != 2 || !strings.HasPrefix(got.Stderr, "error: broken.yaml:") {
		t.Errorf("check exits with %d and writes %q, want 2 and an error", got.Code, got.Stderr)
	}
}

// TestExemptionThatEndsIsNotInTheBaseline removes the annotation that has exempted an object when the baseline was
// written.
func TestExemptionThatEndsIsNotInTheBaseline(t *testing.T) {
	t.Parallel()
	const exempt = `apiVersion: v1
kind: Service
metadata:
  name: web
  annotations: {exempt.sourceward.dev/node-port-local: "known"}
spec: {type: NodePort, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 443}]}
`
	dir := write(t, map[string]string{"web.yaml": exempt})
	const use = "check --baseline baseline.json --fail-on warn -o json"
	got := runAll(t, dir, "check -o json=baseline.json --fail-on warn", use)
	if s := decodeReport(t, got.Stdout).Summary; got.Code != 0 || s.Exempt != 1 || s.Baseline != 0 {
		t.Fatalf("check exits with %d, want 0, one exempt finding and none in the baseline:\n%s", got.Code, got.Stdout)
	}
	text := strings.Replace(exempt, "exempt.", "former.", 1)
	if err := os.WriteFile(filepath.Join(dir, "web.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got = runAll(t, dir, use)
	if s := decodeReport(t, got.Stdout).Summary; got.Code != 1 || s.Warn != 1 || s.Baseline != 0 {
		t.Errorf("check exits with %d, want 1 and a new finding:\n%s", got.Code, got.Stdout)
	}
}

// TestDocumentsMayMoveBetweenFiles writes the same documents to files in many ways. The findings of all have the
// fingerprints of one file with all documents, and are in its baseline.
func TestDocumentsMayMoveBetweenFiles(t *testing.T) {
	t.Parallel()
	const layouts = 30
	var documents []string
	for _, name := range []string{"web", "api", "game"} {
		documents = append(documents, fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: edge}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: %[1]s}, ports: [{port: 443}]}
`, name), fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: edge}
spec:
  replicas: 4
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec: {containers: [{name: %[1]s, image: nginx}]}
`, name), fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: %s-admin, namespace: edge}
spec: {type: ClusterIP, externalTrafficPolicy: Local, ports: [{port: 443}]}
`, name))
	}
	one := write(t, map[string]string{"all.yaml": strings.Join(documents, "---\n")})
	fingerprints := func(report report) (all []string) {
		for _, f := range report.Findings {
			all = append(all, f.Fingerprint)
		}
		slices.Sort(all)
		return all
	}
	runAll(t, one, writeBaseline)
	want := fingerprints(decodeReport(t, content(t, one, "baseline.json")))
	if len(want) < len(documents) || len(slices.Compact(slices.Clone(want))) != len(want) {
		t.Fatalf("%d documents have %d findings, want more, all different: %q", len(documents), len(want), want)
	}
	for seed := range uint64(layouts) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 0))
			files := map[string]string{"baseline.json": content(t, one, "baseline.json")}
			for _, i := range random.Perm(len(documents)) {
				file := []string{"a.yaml", "b.yml", "apps/a.yaml", "apps/web/c.yaml", "zone/d.yaml"}[random.IntN(5)]
				files[file] += strings.Repeat("# moved\n", random.IntN(4)) + documents[i] + "---\n"
			}
			got := runAll(t, write(t, files), "check --baseline baseline.json --fail-on audit -o json")
			report := decodeReport(t, got.Stdout)
			if diff := cmp.Diff(want, fingerprints(report)); diff != "" {
				t.Errorf("fingerprints mismatch (-in one file +in several):\n%s", diff)
			}
			if got.Code != 0 || report.Summary.Baseline != len(want) || report.Gone != nil {
				t.Errorf("check exits with %d, %d of %d findings are in the baseline, and %d are gone",
					got.Code, report.Summary.Baseline, len(want), len(report.Gone))
			}
		})
	}
}
