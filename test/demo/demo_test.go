package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/test/cluster"
)

// bin is the folder of the binaries that the demo runs.
var bin string

// TestMain changes to the root of the repository, because the demo runs there.
func TestMain(m *testing.M) {
	if err := prepare(); err != nil {
		panic(err)
	}
	defer os.RemoveAll(bin) //nolint:errcheck // a leftover temporary folder does not matter
	m.Run()
}

func prepare() (err error) {
	if err := os.Chdir("../.."); err != nil {
		return err
	}
	if bin, err = os.MkdirTemp("", "sourceward-demo-"); err != nil {
		return err
	}
	for name, pkg := range map[string]string{"sourceward": "./cmd/sourceward", "sourceward-webhook": "./cmd/webhook"} {
		out, err := exec.Command("go", "build", "-o", filepath.Join(bin, name), pkg).CombinedOutput()
		if err != nil {
			return fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
	}
	return nil
}

// TestDemo runs the whole demo, which itself fails when the output of a command is not as expected.
func TestDemo(t *testing.T) {
	t.Parallel()
	var out, progress bytes.Buffer
	cmd := command()
	cmd.SetArgs([]string{"--bin", bin})
	cmd.SetOut(&out)
	cmd.SetErr(&progress)
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("%v\n%s\n%s", err, &progress, &out)
	}
	rest := out.String()
	for _, want := range []string{
		"$ kubectl apply -f test/demo/manifests/admin.yaml\nThe Service \"admin\" is invalid: ",
		"$ kubectl apply -f test/demo/manifests/admin.yaml\nError from server (Forbidden): ",
		"\nWarning: source-ip-needs-local: repaired: ",
		"\n+  externalTrafficPolicy: Local\n",
		"\nWarning: unspread-behind-local: pods of Service demo/web may share a node: 3x load\n",
		"\n      5 node-1\n",
		"\nnode-1  50.0 % of the traffic, 10.0 % for each pod\n",
		"  50.0 % of the traffic, 50.0 % for each pod: 3.0 times its fair share\n",
		"\nWarning: unspread-behind-local: repaired: ",
		"\n+        topologyKey: kubernetes.io/hostname\n",
		"\n      2 node-1\n      2 node-2\n      2 node-3\n",
		"\nnode-3  33.3 % of the traffic, 16.7 % for each pod\n",
		": 1 deny, 2 mutate\n",
	} {
		_, after, found := strings.Cut(rest, want)
		if !found {
			t.Fatalf("the demo does not print %q, or not in this order:\n%s", want, &out)
		}
		rest = after
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("the demo prints colors without a terminal:\n%q", &out)
	}
}

func TestRunLastsUntilAnInterrupt(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	reader, out := io.Pipe()
	cmd := command()
	cmd.SetArgs([]string{"run", "--bin", bin})
	cmd.SetOut(out)
	cmd.SetErr(io.Discard)
	ended := make(chan error, 1)
	go func() {
		err := cmd.ExecuteContext(ctx)
		ended <- err
		_ = out.CloseWithError(err) // never fails
	}()

	// One read returns everything, because it is written at once.
	text := make([]byte, 4<<10)
	n, err := reader.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	config := regexp.MustCompile(`export KUBECONFIG=((.*)/admin\.kubeconfig)`).FindSubmatch(text[:n])
	kubectl := regexp.MustCompile(`kubectl is (.*)\.`).FindSubmatch(text[:n])
	if config == nil || kubectl == nil {
		t.Fatalf("no KUBECONFIG and no kubectl in:\n%s", text[:n])
	}
	apply := exec.CommandContext(t.Context(), string(kubectl[1]), "--kubeconfig", string(config[1]),
		"apply", "-f", "test/demo/manifests/admin.yaml")
	if answer, err := apply.CombinedOutput(); err == nil || !strings.Contains(string(answer), "local-on-cluster-ip") {
		t.Errorf("kubectl apply: %v, want an error that names local-on-cluster-ip:\n%s", err, answer)
	}

	interrupt()
	if err := <-ended; err != nil {
		t.Errorf("after the interrupt: %v, want no error", err)
	}
	if _, err := os.Stat(string(config[2])); !os.IsNotExist(err) {
		t.Errorf("after the interrupt, stat %s: %v, want %v", config[2], err, fs.ErrNotExist)
	}
}

func TestUnexpectedOutputEndsTheDemo(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		tell    func(*story)
		wantErr string
	}{
		"a text is missing": {
			func(s *story) { s.run("echo hello", "", "hello", "bye") },
			`step 1: echo hello: the output above does not contain "bye"`,
		},
		"nothing is denied": {
			func(s *story) { s.run("echo hello", policies.Deny) }, "step 1: echo hello: the command succeeded, want an error",
		},
		"a command fails": {
			func(s *story) { s.run("echo hello; exit 3", "") }, "step 1: echo hello; exit 3: exit status 3",
		},
		"nothing is repaired": {
			func(s *story) {
				same := map[string]any{"spec": map[string]any{"type": "LoadBalancer"}}
				s.run("echo hello", "")
				s.compare("before", same, "after", same, "+type", []string{"spec", "type"})
			},
			`step 1: the diff does not contain the line "+type"`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			s := &story{ctx: t.Context(), stage: &stage{cluster: &cluster.Cluster{}}, screen: newScreen(&out, false)}
			s.chapter("Hello", "This is printed.")
			test.tell(s)
			s.run("echo more", "")
			s.chapter("More", "This is not printed.")
			if s.err == nil || s.err.Error() != test.wantErr {
				t.Errorf("error is %v, want %s", s.err, test.wantErr)
			}
			if !strings.Contains(out.String(), "hello") || strings.Contains(out.String(), "ore") {
				t.Errorf("the output does not end with the step that fails:\n%s", &out)
			}
		})
	}
}
