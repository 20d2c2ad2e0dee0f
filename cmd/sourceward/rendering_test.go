package main_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// wanted matches a comment that lists the rules with a finding on its line.
var wanted = regexp.MustCompile(`# want: ([a-z -]+)`)

// gitOps are objects that name folders of the repository of a case, by the names of files to add to it.
var gitOps = map[string]string{
	"gitops/argo.yaml": `apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: prod, namespace: argocd}
spec:
  source: {path: overlays/prod}
---
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: web, namespace: argocd}
spec:
  source:
    path: charts/web
    helm: {parameters: [{name: trafficPolicy, value: Local}]}
`,
	"gitops/flux.yaml": `apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: staging, namespace: flux-system}
spec: {path: ./overlays/staging}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: apps, namespace: flux-system}
spec: {path: ./none}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: game, namespace: edge}
spec:
  chart: {spec: {chart: ./charts/game}}
  values: {replicas: 2}
`,
}

// TestFindingsInRenderedObjectsAreAtTheirSource compares the findings in the repository of a case with the comments in
// its files, which say where a reader would look for them.
func TestFindingsInRenderedObjectsAreAtTheirSource(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/a-repository-is-checked-as-it-will-be-applied")); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{".git", "gitops"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range gitOps {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := checked(t, dir, ".")
	if diff := cmp.Diff(commented(t, dir), got.findings); diff != "" {
		t.Errorf("findings mismatch (-want +got):\n%s", diff)
	}
	notes := []string{
		"gitops/argo.yaml:7 charts/web is checked without what spec.source.helm of this object changes in it",
		"gitops/flux.yaml:6 what it puts into the cluster was not seen; render it, and check the result",
		"gitops/flux.yaml:11 charts/game is checked without what spec.values of this object changes in it",
	}
	if diff := cmp.Diff(notes, got.notes); diff != "" {
		t.Errorf("notes mismatch (-want +got):\n%s", diff)
	}
	want := "gitops/argo.yaml:1 what it puts into the cluster was not seen; give overlays/prod, too"
	if got := checked(t, dir, "gitops"); !slices.Contains(got.notes, want) {
		t.Errorf("notes about the objects alone are %q, want also %q", got.notes, want)
	}
}

// commented returns the rules that the comments in files below a directory name, each after its place, sorted.
func commented(t *testing.T, dir string) []string {
	t.Helper()
	var want []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		for i, line := range strings.Split(string(text), "\n") {
			if match := wanted.FindStringSubmatch(line); match != nil {
				for rule := range strings.FieldsSeq(match[1]) {
					want = append(want, fmt.Sprintf("%s:%d %s", filepath.ToSlash(name), i+1, rule))
				}
			}
		}
		return err
	})
	if err != nil || len(want) < 8 {
		t.Fatalf("%d comments, %v", len(want), err)
	}
	slices.Sort(want)
	return want
}

// places holds the findings and notes of a report, each after its place. The findings are sorted, and equal ones are
// there once.
type places struct{ findings, notes []string }

func checked(t *testing.T, dir, path string) places {
	t.Helper()
	result := run(t, command(t, dir, "check", "-o", "json", path))
	var decoded struct {
		Findings, Notes []struct {
			Rule, Message, File string
			Line                int
		}
	}
	if err := json.Unmarshal([]byte(result.Stdout), &decoded); err != nil {
		t.Fatalf("%v: %+v", err, result)
	}
	var r places
	for _, f := range decoded.Findings {
		r.findings = append(r.findings, fmt.Sprintf("%s:%d %s", f.File, f.Line, f.Rule))
	}
	for _, n := range decoded.Notes {
		r.notes = append(r.notes, fmt.Sprintf("%s:%d %s", n.File, n.Line, n.Message))
	}
	slices.Sort(r.findings)
	r.findings = slices.Compact(r.findings)
	return r
}
