package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/policies"
)

// story runs the steps of the demo on a stage and writes them to a screen. After its first error it does nothing more.
type story struct {
	ctx   context.Context
	stage *stage
	*screen

	step int
	err  error
}

// tell runs all steps of the demo. The error is non-nil when the output of a command is not as expected, and says what
// is missing.
func tell(ctx context.Context, on *stage, screen *screen) error {
	s := &story{ctx: ctx, stage: on, screen: screen}

	s.chapter("Without Sourceward",
		"The Service admin used to be a LoadBalancer. A leftover line in Git now makes every sync fail. Which line is it?")
	s.run("kubectl apply -f test/demo/manifests/admin.yaml", policies.Deny, "spec.externalTrafficPolicy: Invalid value")

	s.chapter("A clear error",
		"The same command, now with the webhook running. The error names the rule, the object, the field, the reason",
		"and the fix.")
	s.do(func() error { return s.stage.install(s.ctx) })
	s.run("kubectl apply -f test/demo/manifests/admin.yaml", policies.Deny,
		"local-on-cluster-ip: Service demo/admin /spec/externalTrafficPolicy", "fix: remove externalTrafficPolicy")

	s.chapter("A repair",
		"The Service game has an annotation that asks for the client's IP address. That needs externalTrafficPolicy: Local,",
		"which its author forgot. The webhook adds it.")
	s.run("kubectl apply -f test/demo/manifests/game.yaml", policies.Mutate,
		"source-ip-needs-local: repaired", "service/game created")
	s.compare("test/demo/manifests/game.yaml", s.read("test/demo/manifests/game.yaml"),
		"service/game, as stored", s.get("service/game"), "+  externalTrafficPolicy: Local",
		[]string{"metadata", "annotations", "sourceward.dev/source-ip"},
		[]string{"spec", "type"}, []string{"spec", "externalTrafficPolicy"})

	s.chapter("A warning, and the problem behind it",
		"web is deployed while two nodes are cordoned for an upgrade, and scaled up afterwards. Kubernetes does not move",
		"running pods, so most of them stay on one node.")
	s.run("kubectl cordon node-2 node-3", "")
	s.run("kubectl apply -f test/demo/manifests/web.yaml", policies.Warn,
		"unspread-behind-local", "deployment.apps/web created")
	s.rolledOut()
	s.run("kubectl uncordon node-2 node-3", "")
	s.run("kubectl scale -n demo deployment/web --replicas=6", policies.Warn, "unspread-behind-local", "scaled")
	s.rolledOut()
	s.placed(6, 5, "Every node with a pod gets the same share of the traffic, and divides it among its own pods:")

	s.chapter("A policy",
		"With this policy, the webhook repairs the same problem whenever a pod template in this namespace changes.")
	s.run("kubectl apply -f test/demo/policy.yaml", "", "created")
	s.do(func() error { return s.stage.ready(s.ctx, 1) })
	before := s.get("deployment/web")
	s.run("kubectl rollout restart -n demo deployment/web", policies.Mutate,
		"unspread-behind-local: repaired", "restarted")
	s.compare("deployment/web, before", before, "deployment/web, as stored", s.get("deployment/web"),
		"+        topologyKey: kubernetes.io/hostname",
		[]string{"spec", "template", "metadata", "labels"}, []string{"spec", "template", "spec", "topologySpreadConstraints"})
	s.rolledOut()
	s.placed(6, 2, "Now the numbers of pods on any two nodes differ by at most one:")

	s.chapter("The same check before the merge",
		"sourceward check applies the same rules to the same files, in CI or on your machine, without a cluster.")
	s.check("sourceward check --policy test/demo/policy.yaml test/demo/manifests",
		"local-on-cluster-ip", "source-ip-needs-local", "unspread-behind-local")

	s.chapter("Your turn",
		"`make run` starts the same setup and leaves it running. README.md describes the rules and policies.")
	return s.err
}

// do does something that the screen does not show.
func (s *story) do(act func() error) {
	if s.err == nil {
		s.err = act()
	}
}

func (s *story) chapter(title string, explanation ...string) {
	if s.err != nil {
		return
	}
	s.step++
	fmt.Fprintf(s, "\n%s\n%s\n", s.title.Sprintf("%d. %s", s.step, title), strings.Join(explanation, "\n"))
}

// run shows a command and its output. The command must fail if the mode is Deny, and its output must contain all texts.
func (s *story) run(command string, mode policies.Mode, texts ...string) {
	s.show(command, "", mode, mode == policies.Deny, texts)
}

// check does the same for a command of sourceward, which colors its own output. The command must fail.
func (s *story) check(command string, texts ...string) {
	color := "never"
	if s.colored {
		color = "always"
	}
	s.show(command, " --color "+color, "", true, texts)
}

// show runs a command with more arguments, which it does not show.
func (s *story) show(command, more string, mode policies.Mode, fails bool, texts []string) {
	if s.err != nil {
		return
	}
	fmt.Fprintf(s, "\n%s\n", s.command.Sprint("$ "+command))
	answer, err := s.stage.shell(s.ctx, command+more)
	if s.ctx.Err() != nil {
		s.err = s.ctx.Err()
		return
	}
	s.answer(answer, mode)
	switch {
	case fails && err == nil:
		s.err = fmt.Errorf("step %d: %s: the command succeeded, want an error", s.step, command)
	case !fails && err != nil:
		s.err = fmt.Errorf("step %d: %s: %w", s.step, command, err)
	}
	for _, text := range texts {
		if s.err == nil && !strings.Contains(answer, text) {
			s.err = fmt.Errorf("step %d: %s: the output above does not contain %q", s.step, command, text)
		}
	}
}

// read returns the object in a manifest.
func (s *story) read(path string) map[string]any {
	return s.object(func() ([]byte, error) { return os.ReadFile(path) })
}

// get returns an object as the API server has stored it.
func (s *story) get(name string) map[string]any {
	return s.object(func() ([]byte, error) {
		text, err := s.stage.shell(s.ctx, "kubectl get --namespace demo --output yaml "+name)
		return []byte(text), err
	})
}

func (s *story) object(text func() ([]byte, error)) (object map[string]any) {
	s.do(func() error {
		raw, err := text()
		if err != nil {
			return fmt.Errorf("%w\n%s", err, raw)
		}
		return yaml.Unmarshal(raw, &object)
	})
	return object
}

// compare shows the diff of some fields of two objects. The diff must contain the line want.
func (s *story) compare(
	nameBefore string, before map[string]any, nameAfter string, after map[string]any, want string, fields ...[]string,
) {
	s.do(func() error {
		var texts [2]string
		for i, object := range []map[string]any{before, after} {
			picked := map[string]any{}
			for _, field := range fields {
				value, found, err := unstructured.NestedFieldNoCopy(object, field...)
				if err == nil && found {
					err = unstructured.SetNestedField(picked, value, field...)
				}
				if err != nil {
					return err
				}
			}
			text, err := yaml.Marshal(picked)
			if err != nil {
				return err
			}
			texts[i] = string(text)
		}
		diff := udiff.Unified(nameBefore, nameAfter, texts[0], texts[1])
		fmt.Fprintln(s)
		s.diff(diff)
		if !strings.Contains(diff, want+"\n") {
			return fmt.Errorf("step %d: the diff does not contain the line %q", s.step, want)
		}
		return nil
	})
}

// rolledOut waits until the rollout of web is complete: all its new pods are ready, and the old ones are gone.
func (s *story) rolledOut() {
	s.do(func() error {
		answer, err := s.stage.shell(s.ctx, "kubectl rollout status --namespace demo deployment/web --timeout=1m")
		if err != nil {
			return fmt.Errorf("roll out web: %w\n%s", err, answer)
		}
		return nil
	})
}

// placed shows how many pods of web each node has, and how much of the traffic each pod gets. The node with the most
// pods must have as many as fullest says.
func (s *story) placed(pods, fullest int, explanation string) {
	const command = "kubectl get pods -n demo -o custom-columns=NODE:.spec.nodeName --no-headers | sort | uniq -c"
	var counts map[string]int
	s.do(func() error {
		// A rollout is complete before the last old pod is gone.
		return s.stage.until(s.ctx, fmt.Sprintf("web has %d pods", pods), func() (bool, string) {
			answer, err := s.stage.shell(s.ctx, command)
			counts = count(answer)
			total := 0
			for _, n := range counts {
				total += n
			}
			return err == nil && total == pods, answer
		})
	})
	s.run(command, "")
	s.do(func() error {
		fmt.Fprintf(s, "\n%s\n", explanation)
		s.shares(counts, pods)
		if most := slices.Max(slices.Collect(maps.Values(counts))); most != fullest {
			return fmt.Errorf("step %d: the fullest node has %d pods, want %d", s.step, most, fullest)
		}
		return nil
	})
}

// count parses the output of uniq -c.
func count(text string) map[string]int {
	counts := map[string]int{}
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) == 2 {
			counts[fields[1]], _ = strconv.Atoi(fields[0])
		}
	}
	return counts
}

// shares shows how much of the traffic each pod gets. The load balancer sends the same share to every node that has a
// pod, and the node divides its share among its own pods.
func (s *story) shares(counts map[string]int, pods int) {
	for _, node := range []string{"node-1", "node-2", "node-3"} {
		n := counts[node]
		if n == 0 {
			fmt.Fprintf(s, "%s  no pod: the load balancer sends it nothing\n", node)
			continue
		}
		share := 100 / float64(len(counts))
		each := share / float64(n)
		line := fmt.Sprintf("%s  %4.1f %% of the traffic, %4.1f %% for each pod", node, share, each)
		if fair := 100 / float64(pods); each > 1.05*fair {
			line = s.modes[policies.Warn].Sprintf("%s: %.1f times its fair share", line, each/fair)
		}
		fmt.Fprintln(s, line)
	}
}
