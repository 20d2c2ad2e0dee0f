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

// story is told on a stage. After its first error it is silent.
type story struct {
	ctx   context.Context
	stage *stage
	*screen

	step int
	err  error
}

// tell tells the story. The error is non-nil when something did not answer as the story says, with the answer.
func tell(ctx context.Context, on *stage, screen *screen) error {
	s := &story{ctx: ctx, stage: on, screen: screen}

	s.chapter("The API server alone",
		"admin was a LoadBalancer once. A line was left behind in Git, and now the sync stops. Which line, and why?")
	s.run("kubectl apply -f test/demo/manifests/admin.yaml", policies.Deny, "spec.externalTrafficPolicy: Invalid value")

	s.chapter("A refusal that helps",
		"The same, now that the webhook runs: the rule, the object and its field, the reason, and what to do.")
	s.do(func() error { return s.stage.install(s.ctx) })
	s.run("kubectl apply -f test/demo/manifests/admin.yaml", policies.Deny,
		"local-on-cluster-ip: Service demo/admin /spec/externalTrafficPolicy", "fix: remove externalTrafficPolicy")

	s.chapter("A repair",
		"game asks for its clients' addresses by an annotation. It needs Local for that, and does not say so.")
	s.run("kubectl apply -f test/demo/manifests/game.yaml", policies.Mutate, "source-ip-needs-local: repaired", "service/game created")
	s.compare("test/demo/manifests/game.yaml", s.read("test/demo/manifests/game.yaml"),
		"service/game, as stored", s.get("service/game"), "+  externalTrafficPolicy: Local",
		[]string{"metadata", "annotations", "sourceward.dev/source-ip"}, []string{"spec", "type"}, []string{"spec", "externalTrafficPolicy"})

	s.chapter("A warning, and what it warns of",
		"web is deployed while two nodes are cordoned for an upgrade, and scaled up later. No pod is ever moved.")
	s.run("kubectl cordon node-2 node-3", "")
	s.run("kubectl apply -f test/demo/manifests/web.yaml", policies.Warn, "unspread-behind-local", "deployment.apps/web created")
	s.rolledOut()
	s.run("kubectl uncordon node-2 node-3", "")
	s.run("kubectl scale -n demo deployment/web --replicas=6", policies.Warn, "unspread-behind-local", "scaled")
	s.rolledOut()
	s.placed(6, 5, "Every node that has a pod gets the same traffic, and divides it among its own pods:")

	s.chapter("A policy",
		"From now on the same finding is repaired in this namespace, whenever a template is new.")
	s.run("kubectl apply -f test/demo/policy.yaml", "", "created")
	s.do(func() error { return s.stage.ready(s.ctx, 1) })
	before := s.get("deployment/web")
	s.run("kubectl rollout restart -n demo deployment/web", policies.Mutate, "unspread-behind-local: repaired", "restarted")
	s.compare("deployment/web, as it was", before, "deployment/web, as stored", s.get("deployment/web"), "+        topologyKey: kubernetes.io/hostname",
		[]string{"spec", "template", "metadata", "labels"}, []string{"spec", "template", "spec", "topologySpreadConstraints"})
	s.rolledOut()
	s.placed(6, 2, "No node may have more than one pod more than another:")

	s.chapter("The same before the merge",
		"The same rules judge the same files in CI or at your desk, and no cluster is asked.")
	s.check("sourceward check --policy test/demo/policy.yaml test/demo/manifests",
		"local-on-cluster-ip", "source-ip-needs-local", "unspread-behind-local")

	s.chapter("Your turn",
		"`make run` starts all of this again and leaves it running. README.md has the rules and the policies.")
	return s.err
}

// do does what the reader does not see.
func (s *story) do(act func() error) {
	if s.err == nil {
		s.err = act()
	}
}

func (s *story) chapter(title, explanation string) {
	if s.err != nil {
		return
	}
	s.step++
	fmt.Fprintf(s, "\n%s\n%s\n", s.title.Sprintf("%d. %s", s.step, title), explanation)
}

// run shows a command and what it answers. It is to fail if the mode is Deny, and to print all of the texts.
func (s *story) run(command string, mode policies.Mode, texts ...string) {
	s.show(command, "", mode, mode == policies.Deny, texts)
}

// check does the same with sourceward check, which is to refuse, and has colours of its own.
func (s *story) check(command string, texts ...string) {
	color := "never"
	if s.colored {
		color = "always"
	}
	s.show(command, " --color "+color, "", true, texts)
}

// show runs a command, with more behind it that is not shown.
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
		s.err = fmt.Errorf("step %d: %s: it was to fail and did not", s.step, command)
	case !fails && err != nil:
		s.err = fmt.Errorf("step %d: %s: %w", s.step, command, err)
	}
	for _, text := range texts {
		if s.err == nil && !strings.Contains(answer, text) {
			s.err = fmt.Errorf("step %d: %s: the answer above does not say %q", s.step, command, text)
		}
	}
}

// read reads a manifest, get what is stored.
func (s *story) read(path string) map[string]any {
	return s.object(func() ([]byte, error) { return os.ReadFile(path) })
}

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

// compare shows how some fields of two objects differ; want is a line of it.
func (s *story) compare(nameBefore string, before map[string]any, nameAfter string, after map[string]any, want string, fields ...[]string) {
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
			return fmt.Errorf("step %d: the difference does not have the line %q", s.step, want)
		}
		return nil
	})
}

// rolledOut waits until all pods of web are new and ready, and the old ones gone.
func (s *story) rolledOut() {
	s.do(func() error {
		answer, err := s.stage.shell(s.ctx, "kubectl rollout status --namespace demo deployment/web --timeout=1m")
		if err != nil {
			return fmt.Errorf("roll out web: %w\n%s", err, answer)
		}
		return nil
	})
}

// placed shows where the pods of web are and what that means for them. The fullest node is to have a number of them.
func (s *story) placed(pods, fullest int, explanation string) {
	const command = "kubectl get pods -n demo -o custom-columns=NODE:.spec.nodeName --no-headers | sort | uniq -c"
	var counts map[string]int
	s.do(func() error {
		// A rollout does not wait for the last pod to be gone.
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

// count reads what uniq -c printed.
func count(text string) map[string]int {
	counts := map[string]int{}
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) == 2 {
			counts[fields[1]], _ = strconv.Atoi(fields[0])
		}
	}
	return counts
}

// shares says how much of the traffic each pod gets: the load balancer gives the same to every node that has one, and
// the node divides it among its own.
func (s *story) shares(counts map[string]int, pods int) {
	for _, node := range []string{"node-1", "node-2", "node-3"} {
		n := counts[node]
		if n == 0 {
			fmt.Fprintf(s, "%s  no pod: the load balancer leaves it out\n", node)
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
