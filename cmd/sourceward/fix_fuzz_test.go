package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzFix repairs files with any content. A file that cannot be read stays as it is. Of any other one no comment is
// lost, and a second run changes nothing.
func FuzzFix(f *testing.F) {
	const service = "apiVersion: v1\nkind: Service\nmetadata: {name: web} # its name\nspec:\n  type: ClusterIP\n" +
		"  # why\n  externalTrafficPolicy: Local\n  selector: &labels {app: web}\n  ports: [{port: 80}]\n"
	const workload = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 2\n" +
		"  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec:\n" +
		"      containers:\n      - name: web # the only one\n        image: web\n"
	behind := strings.Replace(service, "ClusterIP", "LoadBalancer", 1)
	for _, text := range []string{
		service, behind + "---\n" + workload, strings.ReplaceAll(behind+"---\n"+workload, "\n", "\r\n"),
		"\ufeff" + service, strings.TrimSuffix(service, "\n") + " # end", "# first\n---\n" + service + "...\n---\n# last\n",
		`{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
  "spec": {"externalTrafficPolicy": "Local", "ports": [{"port": 80}]}}]}`,
		"x: &x {externalTrafficPolicy: Local, ports: [{port: 80}]}\n---\n" + service,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "a.yaml")
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		fix := func() (code int, after []byte) {
			var out, problems bytes.Buffer
			line := []string{"sourceward", "fix", path}
			code = run(t.Context(), line, streams{in: strings.NewReader(""), out: &out, err: &problems})
			after, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return code, after
		}
		code, after := fix()
		if code == exitFault && !bytes.Equal(text, after) {
			t.Errorf("the file was changed, and the exit code is 2:\n%q\n%q", text, after)
		}
		if lost := commentLines(text) - commentLines(after); lost > 0 {
			t.Errorf("%d comments are lost:\n%s\nafter:\n%s", lost, text, after)
		}
		if _, again := fix(); !bytes.Equal(after, again) {
			t.Errorf("a second run changes the file:\n%s\nafter:\n%s", after, again)
		}
	})
}

// commentLines returns the number of lines that can only be comments.
func commentLines(text []byte) int {
	n := 0
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(bytes.TrimLeft(line, " "), []byte("# ")) {
			n++
		}
	}
	return n
}
