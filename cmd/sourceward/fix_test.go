package main_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// written is a file as it is written before sourceward fix, and as it has to be afterwards.
type written struct{ before, after strings.Builder }

// keep adds text that stays, remove text that has to go, and add text that has to come.
func (w *written) keep(format string, args ...any) {
	fmt.Fprintf(&w.before, format, args...)
	fmt.Fprintf(&w.after, format, args...)
}
func (w *written) remove(text string) { w.before.WriteString(text) }
func (w *written) add(text string)    { w.after.WriteString(text) }

// style is a way to write manifests.
type style struct {
	// indent is the indentation of a level, and dash that of the dashes of a list below its key.
	indent, dash int
	// comments is true if there are comments everywhere.
	comments bool
}

// object writes one application in block style: a Service, and a workload behind it. Of a Local one the workload is to
// be spread, and of any other the Service loses its traffic policy.
func (s style) object(w *written, r *rand.Rand, name string, isLocal bool) {
	level := func(n int) string { return strings.Repeat(" ", n*s.indent) }
	line := func(n int, format string, args ...any) {
		if s.comments && r.IntN(3) == 0 {
			w.keep("%s# a comment: with \"quotes\", 'more' and {braces}\n", level(n))
		}
		w.keep(level(n)+format, args...)
		if s.comments && r.IntN(4) == 0 {
			w.keep("   # at the end")
		}
		w.keep("\n")
	}
	line(0, "apiVersion: v1")
	line(0, "kind: 'Service'")
	line(0, "metadata:")
	line(1, "namespace: edge")
	line(1, "name: \"%s\"", name)
	line(0, "spec:")
	if isLocal {
		line(1, "type: LoadBalancer")
		line(1, "externalTrafficPolicy: Local")
	} else {
		line(1, "type: ClusterIP")
		w.remove(level(1) + "externalTrafficPolicy: Local\n")
	}
	line(1, "selector: {app: %s}", name)
	line(1, "ports:")
	w.keep("%s%s- port: 80\n", level(1), strings.Repeat(" ", s.dash))
	w.keep("---\n")
	line(0, "apiVersion: apps/v1")
	line(0, "kind: Deployment")
	line(0, "metadata: {namespace: edge, name: %s}", name)
	line(0, "spec:")
	line(1, "replicas: 2")
	line(1, "selector:")
	line(2, "matchLabels: &labels%d", r.IntN(10))
	line(3, "app: %s", name)
	line(1, "template:")
	line(2, "metadata:")
	line(3, "labels: {app: %s}", name)
	line(2, "spec:")
	line(3, "containers:")
	dash := level(3) + strings.Repeat(" ", s.dash)
	w.keep("%s- name: web\n%s  image: \"registry.example.com/web:1\"\n", dash, dash)
	if isLocal {
		w.add(s.constraint(level(3), name))
	}
}

// constraint returns the lines that spread a workload, which begin at an indentation. fix writes them with the usual
// two spaces.
func (s style) constraint(indent, name string) string {
	lines := "topologySpreadConstraints:\n"
	dash := ""
	if s.dash > 0 {
		dash = "  "
	}
	lines += dash + "- labelSelector:\n" + dash + "    matchLabels:\n" + dash + "      app: " + name + "\n" +
		dash + "  matchLabelKeys:\n" + dash + dash + "  - pod-template-hash\n" +
		dash + "  maxSkew: 1\n" + dash + "  topologyKey: kubernetes.io/hostname\n" +
		dash + "  whenUnsatisfiable: ScheduleAnyway\n"
	var indented strings.Builder
	for line := range strings.Lines(lines) {
		indented.WriteString(indent + line)
	}
	return indented.String()
}

// flowConstraint is what constraint returns, as JSON.
func flowConstraint(name string) string {
	return fmt.Sprintf(`[{"labelSelector":{"matchLabels":{"app":%q}},"matchLabelKeys":["pod-template-hash"],"maxSkew":1,`+
		`"topologyKey":"kubernetes.io/hostname","whenUnsatisfiable":"ScheduleAnyway"}]`, name)
}

// flow writes an application as two JSON objects in one line each, in a List or as a stream of YAML.
func flow(w *written, name string, isList bool) {
	separator, end := "\n---\n", "\n"
	if isList {
		w.keep(`{"apiVersion": "v1", "kind": "List", "items": [` + "\n")
		separator, end = ",\n", "]}\n"
	}
	w.keep(`{"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "edge", "name": %q}, "spec": {`+
		`"type": "LoadBalancer", "externalTrafficPolicy": "Local", "selector": {"app": %q}, "ports": [{"port": 80}]}}`,
		name, name)
	w.keep("%s", separator)
	w.keep(`{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "edge", "name": %q}, "spec": {`+
		`"replicas": 2, "selector": {"matchLabels": {"app": %q}}, "template": {"metadata": {"labels": {"app": %q}}, `+
		`"spec": {"containers": [{"name": "web", "image": "i"}]`, name, name, name)
	w.add(`, "topologySpreadConstraints":` + flowConstraint(name))
	w.keep("}}}}%s", end)
}

// repository writes files in all styles below a folder, and returns what they must be after sourceward fix, by name.
// Some are not to be changed: the templates of charts, and bases of which only one of several overlays needs a repair.
func repository(t *testing.T, dir string, count int) map[string]string {
	t.Helper()
	r := rand.New(rand.NewPCG(20, 300))
	want := map[string]string{}
	add := func(name, before, after string) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(before), 0o640)); err != nil {
			t.Fatal(err)
		}
		want[name] = after
	}
	both := func(name, text string) { add(name, text, text) }
	styles := []style{{2, 2, false}, {2, 0, true}, {4, 4, true}, {2, 2, true}, {3, 0, false}}
	for i := 0; len(want) < count; i++ {
		app := fmt.Sprintf("app%03d", i)
		w := &written{}
		name := fmt.Sprintf("plain/%s.yaml", app)
		s := styles[r.IntN(len(styles))]
		switch i % 6 {
		case 0, 1:
			s.object(w, r, app, true)
		case 2: // several documents, of which one Service is to lose a line
			w.keep("# first\n---\n")
			s.object(w, r, app, true)
			w.keep("---\n# nothing\n---\n")
			s.object(w, r, app+"b", false)
			w.keep("...\n")
		case 3:
			flow(w, app, i%12 == 3)
			if name = fmt.Sprintf("json/%s.json", app); i%12 != 3 {
				name = fmt.Sprintf("json/%s.yaml", app)
			}
		case 4: // a kustomization of which the base holds what is to be repaired
			s.object(w, r, app, true)
			both("kustomize/"+app+"/base/kustomization.yaml", "resources: [app.yaml]\n")
			both("kustomize/"+app+"/overlays/prod/kustomization.yaml", "resources: [../../base]\nnamePrefix: prod-\n")
			name = "kustomize/" + app + "/base/app.yaml"
		case 5: // a chart, and a base of two overlays, neither of which may change
			object := &written{}
			style{2, 2, true}.object(object, r, app, true)
			both("charts/"+app+"/Chart.yaml", "apiVersion: v2\nname: "+app+"\nversion: 1.0.0\n")
			both("charts/"+app+"/templates/app.yaml", "# {{ .Release.Name }}\n"+object.before.String())
			both("shared/"+app+"/base/kustomization.yaml", "resources: [app.yaml]\n")
			both("shared/"+app+"/base/app.yaml",
				strings.ReplaceAll(object.before.String(), "externalTrafficPolicy: Local", "externalTrafficPolicy: Cluster"))
			both("shared/"+app+"/overlays/dev/kustomization.yaml", "resources: [../../base]\n")
			both("shared/"+app+"/overlays/prod/kustomization.yaml", "resources: [../../base]\npatches:\n- path: local.yaml\n")
			both("shared/"+app+"/overlays/prod/local.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: "+app+
				", namespace: edge}\nspec: {externalTrafficPolicy: Local}\n")
			continue
		}
		before, after := w.before.String(), w.after.String()
		if strings.HasPrefix(name, "plain/") {
			mangle := []func(string) string{
				func(text string) string { return text },
				func(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") },
				func(text string) string { return "# a line of Windows\r\n" + text },
				func(text string) string { return "\ufeff" + text },
				func(text string) string { return strings.TrimSuffix(text, "\n") },
				func(text string) string { return text + "\n# the end\n\n" },
			}[r.IntN(6)]
			before, after = mangle(before), mangle(after)
		}
		add(name, before, after)
	}
	return want
}

// contents returns the files below a folder by their names, without hidden ones.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(entry.Name(), ".") {
			return err
		}
		text, err := os.ReadFile(path)
		name, relErr := filepath.Rel(dir, path)
		all[filepath.ToSlash(name)] = string(text)
		return errors.Join(err, relErr)
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// patched is what a JSON report says of repairs.
type patched struct {
	Findings []struct{ Rule, File string }
	Patches  []struct{ Rule, File string }
}

func patchesOf(t *testing.T, dir string) patched {
	t.Helper()
	result := run(t, command(t, dir, "check", "-o", "json", "."))
	var report patched
	if err := json.Unmarshal([]byte(result.Stdout), &report); err != nil {
		t.Fatalf("%v: %+v", err, result)
	}
	return report
}

// TestFixChangesOnlyWhatRepairsNeed repairs a repository of 300 files in many styles. Each file must be exactly what
// the generator expects, the report must no longer have what was repaired, and a second run must change nothing.
func TestFixChangesOnlyWhatRepairsNeed(t *testing.T) {
	t.Parallel()
	const files = 300
	dir := t.TempDir()
	want := repository(t, dir, files)
	before := contents(t, dir)
	needed := len(patchesOf(t, dir).Patches)

	shown := run(t, command(t, dir, "fix", "--diff", "."))
	if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
		t.Fatalf("--diff changes files (-before +after):\n%s", diff)
	}
	result := run(t, command(t, dir, "fix", "."))
	got := contents(t, dir)
	changed := 0
	for name, text := range want {
		if text != before[name] {
			changed++
		}
		if diff := cmp.Diff(text, got[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d files, want %d", len(got), len(want))
	}
	if shown.Code != 1 || result.Code != 1 { // templates, and shared bases, are left out
		t.Errorf("codes %d and %d, want 1\n%s%s", shown.Code, result.Code, result.Stderr, shown.Stderr)
	}
	left := patchesOf(t, dir)
	for _, p := range left.Patches {
		if !strings.HasPrefix(p.File, "charts/") && !strings.HasPrefix(p.File, "shared/") {
			t.Errorf("%s of %s is still to be repaired", p.Rule, p.File)
		}
	}
	again := run(t, command(t, dir, "fix", "."))
	if diff := cmp.Diff(got, contents(t, dir)); diff != "" {
		t.Errorf("a second run changes files (-first +second):\n%s", diff)
	}
	if want := fmt.Sprintf("%d left out", len(left.Patches)); !strings.Contains(again.Stdout, want) {
		t.Errorf("the second run says\n%s\nwant %q", again.Stdout, want)
	}
	t.Logf("%d files, %d changed; %d repairs, %d left out", len(want), changed, needed, len(left.Patches))
}

// TestFixKeepsPermissionsAndLinks repairs a file behind a symbolic link, which stays one.
func TestFixKeepsPermissionsAndLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := &written{}
	style{2, 2, false}.object(w, rand.New(rand.NewPCG(1, 1)), "web", false)
	target, link := filepath.Join(dir, "target.txt"), filepath.Join(dir, "web.yaml")
	const group = 1000
	mode := os.FileMode(0o640) | os.ModeSetgid
	err := errors.Join(
		os.WriteFile(target, []byte(w.before.String()), 0o600), os.Symlink("target.txt", link),
		os.Chown(target, -1, group), os.Chmod(target, mode),
	)
	if err != nil {
		t.Fatal(err) // the tests run as root, as in CONTRIBUTING.md
	}
	if got := run(t, command(t, dir, "fix", "web.yaml")); got.Code != 0 {
		t.Fatalf("%+v", got)
	}
	text, readErr := os.ReadFile(target)
	info, statErr := os.Lstat(target)
	linked, linkErr := os.Readlink(link)
	if err := errors.Join(readErr, statErr, linkErr); err != nil {
		t.Fatal(err)
	}
	gid := info.Sys().(*syscall.Stat_t).Gid
	if string(text) != w.after.String() || info.Mode() != mode || gid != group || linked != "target.txt" {
		t.Errorf("mode %v, group %d, link %q, text:\n%s", info.Mode(), gid, linked, text)
	}
}

// kills is larger in make test-long.
var kills = flag.Int("kills", 40, "how often TestFixThatIsKilled kills sourceward fix")

// TestFixThatIsKilled kills sourceward fix at random moments, half of them while it writes. Each file must be the old
// or the new one.
func TestFixThatIsKilled(t *testing.T) {
	t.Parallel()
	const files = 40
	dir := t.TempDir()
	want, before := map[string]string{}, map[string]string{}
	r := rand.New(rand.NewPCG(20, 200))
	for i := range files {
		w := &written{}
		style{2, 2, true}.object(w, r, fmt.Sprintf("app%d", i), true)
		name := fmt.Sprintf("%02d.yaml", i)
		want[name], before[name] = w.after.String(), w.before.String()
	}
	restore := func() {
		for name, text := range before {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	restore()
	start := time.Now()
	run(t, command(t, dir, "fix", "."))
	whole := time.Since(start)

	killed, partial := 0, 0
	for i := range *kills {
		restore()
		cmd := command(t, dir, "fix", ".")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		exited := make(chan struct{})
		go func() {
			defer close(exited)
			_ = cmd.Wait()
		}()
		moment := time.NewTimer(time.Duration(r.Int64N(int64(whole))))
		if i%2 == 0 { // as soon as a certain file is the new one
			name := fmt.Sprintf("%02d.yaml", r.IntN(files))
			moment.Reset(0)
			for !isAsIn(t, dir, name, want) {
				select {
				case <-exited:
				default:
					continue
				}
				break
			}
		}
		select {
		case <-moment.C:
			_ = cmd.Process.Kill() // an error means that it has ended
		case <-exited:
		}
		<-exited
		moment.Stop()
		if cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
			killed++
		}
		old, renewed := 0, 0
		for name := range want {
			switch {
			case isAsIn(t, dir, name, before):
				old++
			case isAsIn(t, dir, name, want):
				renewed++
			default:
				t.Errorf("kill %d: %s is neither old nor new", i, name)
			}
		}
		if old > 0 && renewed > 0 {
			partial++
		}
	}
	if killed < *kills/2 || partial < *kills/10 {
		t.Errorf("of %d runs, %d were killed, %d of them between two files", *kills, killed, partial)
	}
	t.Logf("%d runs, %d killed, %d of them between two files", *kills, killed, partial)
}

// isAsIn reports whether a file has the text that a map has for its name.
func isAsIn(t *testing.T, dir, name string, texts map[string]string) bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text) == texts[name]
}
