package policies_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
)

// The objects of the rows of TestRatchet. Each is a format with one verb, for what the row adds.
const (
	clusterService = `{apiVersion: v1, kind: Service, metadata: {name: web, namespace: edge, %s},
		spec: {type: LoadBalancer, externalTrafficPolicy: Cluster, selector: {app: web}, ports: [{port: 80}]}}`
	localService = `{apiVersion: v1, kind: Service, metadata: {name: web, namespace: edge, %s},
		spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80}]}}`
	deployment = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: edge, %s},
		spec: {replicas: 3, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}},
			spec: {containers: [{name: web, image: "web:1"}]}}}}`
	withConstraint = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: edge},
		spec: {replicas: 3, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}},
			spec: {containers: [{name: web, image: "web:1"}], topologySpreadConstraints: [
				{topologyKey: kubernetes.io/hostname, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway, %s}]}}}}`
	ofAllPods = `labelSelector: {matchLabels: {app: web}}, matchLabelKeys: [pod-template-hash]`
	ofNoPods  = `labelSelector: {matchLabels: {app: other}}`

	weighted = `networking.gke.io/weighted-load-balancing: pods-per-node`
	preserve = `sourceward.dev/source-ip: preserve`
	forever  = `exempt.sourceward.dev/source-ip-needs-local: a test`
	expired  = `exempt.sourceward.dev/source-ip-needs-local: a test; until=2026-11-01`
)

func annotated(object string, annotations ...string) string {
	return fmt.Sprintf(object, "annotations: {"+strings.Join(annotations, ", ")+"}")
}

func labelled(object, label string) string { return fmt.Sprintf(object, "labels: {"+label+"}") }

// containers returns a Deployment with one container for each image.
func containers(images ...string) string {
	var list []string
	for i, image := range images {
		list = append(list, fmt.Sprintf("{name: c%d, image: %q}", i, image))
	}
	return strings.Replace(fmt.Sprintf(deployment, ""),
		`containers: [{name: web, image: "web:1"}]`, "containers: ["+strings.Join(list, ", ")+"]", 1)
}

// deadlock returns a Deployment whose rollouts get stuck on three nodes.
func deadlock(image string) string {
	return strings.Replace(fmt.Sprintf(deployment, ""), `image: "web:1"`,
		fmt.Sprintf("image: %q, ports: [{containerPort: 80, hostPort: 80}]", image), 1)
}

// The policies of the rows of TestRatchet.
const (
	denyUnspread   = `{rules: [{id: unspread-behind-local, mode: Deny}]}`
	denyNeedsLocal = `{rules: [{id: source-ip-needs-local, mode: Deny}]}`
	mutateUnspread = `{rules: [{id: unspread-behind-local, mode: Mutate}]}`
	denyInProd     = `{match: {objectSelector: {matchLabels: {env: prod}}},
		rules: [{id: source-ip-needs-local, mode: Deny}]}`
)

var (
	oldImage = regoPolicy("", "old_image", `
deny contains {"message": "old image", "path": sprintf("/spec/template/spec/containers/%d/image", [i])} if {
	some i, c in input.object.spec.template.spec.containers
	startswith(c.image, "old")
}`)
	noPath = regoPolicy("", "fields", `
deny contains {"message": key} if {
	some key, value in input.object.metadata.labels
	value == "bad"
}`)
	withPath = regoPolicy("", "fields", `
deny contains {"message": key, "path": sprintf("/metadata/labels/%s", [key])} if {
	some key, value in input.object.metadata.labels
	value == "bad"
}`)
	failsOnNumber = regoPolicy("evaluationFailure: Deny", "fails", `
deny contains {"message": "x"} if to_number(input.object.metadata.labels.number) > 9`)
	failsInModules = regoPolicy("evaluationFailure: Deny", "fails", `
deny contains {"message": "x"} if to_number(input.object.metadata.labels.number) > 9`, "other", `
deny contains {"message": "x"} if to_number(input.object.metadata.labels.other) > 9`)
	// failsInSet returns a member that is not valid in the set that the label names.
	failsInSet = regoPolicy("evaluationFailure: Deny", "fails", `
deny contains 1 if input.object.metadata.labels.set == "deny"

warn contains 1 if input.object.metadata.labels.set == "warn"`)
	// wishes asks for Local by the label wish, whose value is the strength.
	wishes = regoPolicy("", "wish", `
require_local contains {"message": "a label asks for Local", "strength": input.object.metadata.labels.wish} if {
	input.object.metadata.labels.wish
}`)
)

// regoPolicy returns the spec of a policy with some fields, and modules: the name and the rules of each.
func regoPolicy(fields string, modules ...string) string {
	var list []string
	for i := 0; i < len(modules); i += 2 {
		list = append(list, fmt.Sprintf("{name: %s.rego, module: %q}",
			modules[i], "package sourceward.custom."+modules[i]+"\n"+modules[i+1]))
	}
	if fields != "" {
		fields += ", "
	}
	return fmt.Sprintf("{%srego: [%s]}", fields, strings.Join(list, ", "))
}

// existing adds existingViolations: Deny to a policy.
func existing(policy string) string { return "{existingViolations: Deny, " + policy[1:] }

// TestRatchet has at least one row for each sentence about what an update may be denied or repaired for.
func TestRatchet(t *testing.T) {
	t.Parallel()
	web := fmt.Sprintf(deployment, "")
	newImage := strings.Replace(web, "web:1", "web:2", 1)
	inFront := []string{fmt.Sprintf(localService, "")}
	const needsLocal, unspread = "source-ip-needs-local", "unspread-behind-local"
	tests := map[string]struct {
		old, object string
		// services are in front of the object, oldServices in front of the old one; nil for the same.
		services, oldServices []string
		// workloads are behind the object.
		workloads []string
		policies  []string
		nodes     int
		// rule is the rule of the finding, and want its mode.
		rule string
		want policies.Mode
	}{
		// On UPDATE, Deny and Mutate apply to findings that the request brings.
		"an annotation that needs Local is added": {
			old: fmt.Sprintf(clusterService, ""), object: annotated(clusterService, weighted),
			rule: needsLocal, want: policies.Mutate,
		},
		"a forbidden Local is set": {
			old:    annotated(clusterService, "kube-vip.io/leaseName: x"),
			object: annotated(localService, "kube-vip.io/leaseName: x"),
			rule:   "local-forbidden", want: policies.Deny,
		},
		"the spread is removed, as rollout undo may do": {
			old: fmt.Sprintf(withConstraint, ofAllPods), object: web, services: inFront, policies: []string{denyUnspread},
			rule: unspread, want: policies.Deny,
		},
		"a rollout that gets stuck is brought": {
			old:    strings.Replace(deadlock("web:1"), "replicas: 3", "replicas: 2", 1),
			object: deadlock("web:1"), services: inFront, nodes: 3,
			rule: "anti-affinity-deadlock", want: policies.Deny,
		},
		"the rollout that begins does not get stuck, but the next one does": {
			old: web, object: deadlock("web:1"), services: inFront, nodes: 3,
			rule: "anti-affinity-deadlock", want: policies.Warn,
		},
		// What was there becomes Warn.
		"an annotation that needs Local stays": {
			old: annotated(clusterService, weighted), object: annotated(clusterService, weighted, "a: b"),
			rule: needsLocal, want: policies.Warn,
		},
		"a forbidden Local stays": {
			old:    annotated(localService, "kube-vip.io/leaseName: x"),
			object: annotated(localService, "kube-vip.io/leaseName: x", "a: b"),
			rule:   "local-forbidden", want: policies.Warn,
		},
		"an unspread workload is labelled": {
			old: web, object: labelled(deployment, "a: b"), services: inFront, policies: []string{denyUnspread},
			rule: unspread, want: policies.Warn,
		},
		"an unspread workload gets another image": {
			old: web, object: newImage, services: inFront, policies: []string{denyUnspread},
			rule: unspread, want: policies.Warn,
		},
		"a rollout that gets stuck begins": {
			old: deadlock("web:1"), object: deadlock("web:2"), services: inFront, nodes: 3,
			rule: "anti-affinity-deadlock", want: policies.Warn,
		},
		// The stored object is judged with its own neighbours.
		"moved between two Local Services": {
			old: web, object: labelled(deployment, "a: b"), services: inFront, policies: []string{denyUnspread},
			oldServices: []string{strings.Replace(inFront[0], "name: web", "name: other", 1)},
			rule:        unspread, want: policies.Warn,
		},
		"moved from a Cluster Service to a Local one": {
			old: web, object: labelled(deployment, "a: b"), services: inFront, policies: []string{denyUnspread},
			oldServices: []string{fmt.Sprintf(clusterService, "")},
			rule:        unspread, want: policies.Deny,
		},
		"the selector of a Local Service changes, and the pods were not spread before": {
			old:       fmt.Sprintf(localService, ""),
			object:    strings.Replace(fmt.Sprintf(localService, ""), "{app: web}", "{app: web, v: blue}", 1),
			workloads: []string{strings.Replace(web, "labels: {app: web}", "labels: {app: web, v: blue}", 1)},
			policies:  []string{denyUnspread}, rule: unspread, want: policies.Warn,
		},
		"a Service with unspread pods becomes Local": {
			old: fmt.Sprintf(clusterService, ""), object: fmt.Sprintf(localService, ""), workloads: []string{web},
			policies: []string{denyUnspread}, rule: unspread, want: policies.Deny,
		},
		"the load balancer no longer weights nodes by their pods": {
			old: annotated(localService, weighted), object: fmt.Sprintf(localService, ""), workloads: []string{web},
			policies: []string{denyUnspread}, rule: unspread, want: policies.Deny,
		},
		// A rule that is silent while the pods are not spread does not deny that they are.
		"pods are spread, and their number is then uneven": {
			old:      strings.Replace(web, "replicas: 3", "replicas: 4", 1),
			object:   strings.Replace(fmt.Sprintf(withConstraint, ofAllPods), "replicas: 3", "replicas: 4", 1),
			services: inFront, policies: []string{`{rules: [{id: uneven-replicas, mode: Deny}]}`}, nodes: 3,
			rule: "uneven-replicas", want: policies.Warn,
		},
		"the number of spread pods becomes uneven": {
			old:      fmt.Sprintf(withConstraint, ofAllPods),
			object:   strings.Replace(fmt.Sprintf(withConstraint, ofAllPods), "replicas: 3", "replicas: 4", 1),
			services: inFront, policies: []string{`{rules: [{id: uneven-replicas, mode: Deny}]}`}, nodes: 3,
			rule: "uneven-replicas", want: policies.Deny,
		},
		// Findings are counted by rule and path, list indices left out.
		"a key that looks like an index is another path": {
			old: labelled(deployment, `"1": bad`), object: labelled(deployment, `"2": bad`), policies: []string{withPath},
			rule: "fields", want: policies.Deny,
		},
		"an element is prepended to a list": {
			old: containers("old:1"), object: containers("new:1", "old:1"), policies: []string{oldImage},
			rule: "old-image", want: policies.Warn,
		},
		"an element is replaced by another bad one": {
			old: containers("old:1"), object: containers("old:2"), policies: []string{oldImage},
			rule: "old-image", want: policies.Warn,
		},
		"there are more of a kind than before": {
			old: containers("old:1"), object: containers("old:1", "old:1"), policies: []string{oldImage},
			rule: "old-image", want: policies.Deny,
		},
		// A hard reason after a soft one is brought, and so is our own annotation.
		"soft to hard": {
			old:    annotated(clusterService, "a: b", "external-dns.alpha.kubernetes.io/access: public"),
			object: annotated(clusterService, weighted),
			rule:   needsLocal, want: policies.Mutate,
		},
		"soft by policy to hard": {
			old: labelled(clusterService, "wish: soft"), object: labelled(clusterService, "wish: hard"),
			policies: []string{wishes}, rule: needsLocal, want: policies.Mutate,
		},
		"hard to soft": {
			old: labelled(clusterService, "wish: hard"), object: labelled(clusterService, "wish: soft"),
			policies: []string{wishes, `{priority: 1, rules: [{id: source-ip-needs-local, mode: Deny}]}`},
			rule:     needsLocal, want: policies.Warn,
		},
		"a soft wish, then our own annotation": {
			old:      labelled(clusterService, "wish: soft"),
			object:   fmt.Sprintf(clusterService, "labels: {wish: soft}, annotations: {"+preserve+"}"),
			policies: []string{wishes}, rule: needsLocal, want: policies.Mutate,
		},
		"our own annotation stays": {
			old: annotated(clusterService, preserve), object: annotated(clusterService, preserve, "a: b"),
			rule: needsLocal, want: policies.Warn,
		},
		// unspread-behind-local and ineffective-spread count as one rule.
		"unspread to ineffective": {
			old: web, object: fmt.Sprintf(withConstraint, ofNoPods), services: inFront, policies: []string{denyUnspread},
			rule: "ineffective-spread", want: policies.Warn,
		},
		"ineffective to unspread": {
			old: fmt.Sprintf(withConstraint, ofNoPods), object: web, services: inFront, policies: []string{denyUnspread},
			rule: unspread, want: policies.Warn,
		},
		// A finding of any mode counts as there, an exempt one too.
		"an exemption is removed": {
			old: annotated(clusterService, weighted, forever), object: annotated(clusterService, weighted),
			rule: needsLocal, want: policies.Warn,
		},
		"an exemption has expired": {
			old: annotated(clusterService, weighted, expired), object: annotated(clusterService, weighted, expired, "a: b"),
			rule: needsLocal, want: policies.Warn,
		},
		"a label brings the object under a policy": {
			old:      annotated(clusterService, weighted),
			object:   fmt.Sprintf(clusterService, "labels: {env: prod}, annotations: {"+weighted+"}"),
			policies: []string{denyInProd}, rule: needsLocal, want: policies.Warn,
		},
		"a policy was turned to Deny": {
			old: annotated(clusterService, weighted), object: annotated(clusterService, weighted),
			policies: []string{denyNeedsLocal}, rule: needsLocal, want: policies.Warn,
		},
		"a controller lets go of its child": {
			old: strings.Replace(fmt.Sprintf(deployment, owned("apps/v1", "Deployment")),
				"kind: Deployment", "kind: ReplicaSet", 1),
			object:   strings.Replace(web, "kind: Deployment", "kind: ReplicaSet", 1),
			services: inFront, policies: []string{denyUnspread}, rule: unspread, want: policies.Warn,
		},
		// If the old object cannot be judged, the finding is brought.
		"the old object cannot be read": {
			object: annotated(clusterService, weighted), policies: []string{denyNeedsLocal},
			rule: needsLocal, want: policies.Deny,
		},
		"the old object makes Rego fail": {
			old:      fmt.Sprintf(clusterService, "labels: {number: x}"),
			object:   fmt.Sprintf(clusterService, `labels: {number: "10"}`),
			policies: []string{failsOnNumber}, rule: "fails", want: policies.Deny,
		},
		// A template that changes anyway is still repaired.
		"an unspread template changes, in mode Mutate": {
			old: web, object: newImage, services: inFront, policies: []string{mutateUnspread},
			rule: unspread, want: policies.Mutate,
		},
		"an unspread template does not change, in mode Mutate": {
			old: web, object: labelled(deployment, "a: b"), services: inFront, policies: []string{mutateUnspread},
			rule: unspread, want: policies.Warn,
		},
		// A house rule without a path has findings of one kind.
		"a house rule with a path finds another field": {
			old: labelled(deployment, "one: bad"), object: labelled(deployment, "two: bad"), policies: []string{withPath},
			rule: "fields", want: policies.Deny,
		},
		"a house rule without a path finds another field": {
			old: labelled(deployment, "one: bad"), object: labelled(deployment, "two: bad"), policies: []string{noPath},
			rule: "fields", want: policies.Warn,
		},
		"a house rule without a path finds one more field": {
			old: labelled(deployment, "one: bad"), object: labelled(deployment, "one: bad, two: bad"),
			policies: []string{noPath},
			rule:     "fields", want: policies.Deny,
		},
		// A fault that the old object causes as well is a warning where spec does not change.
		"a fault stays": {
			old: labelled(deployment, "number: x"), object: labelled(deployment, "number: x, a: b"),
			policies: []string{failsOnNumber}, rule: "policy-not-evaluated", want: policies.Warn,
		},
		"a fault stays, and spec changes": {
			old:      labelled(deployment, "number: x"),
			object:   strings.Replace(labelled(deployment, "number: x"), "web:1", "web:2", 1),
			policies: []string{failsOnNumber}, rule: "policy-not-evaluated", want: policies.Deny,
		},
		"a fault is brought": {
			old: labelled(deployment, "a: b"), object: labelled(deployment, "number: x"),
			policies: []string{failsOnNumber}, rule: "policy-not-evaluated", want: policies.Deny,
		},
		"a fault moves to another module": {
			old: labelled(deployment, "number: x"), object: labelled(deployment, "other: x"),
			policies: []string{failsInModules}, rule: "policy-not-evaluated", want: policies.Deny,
		},
		"a fault stays, and a repair would change spec": {
			old: labelled(clusterService, "number: x"), policies: []string{failsOnNumber},
			object: fmt.Sprintf(clusterService, "labels: {number: x}, annotations: {"+weighted+"}"),
			rule:   needsLocal, want: policies.Warn,
		},
		"a fault moves to another set": {
			old: labelled(deployment, "set: deny"), object: labelled(deployment, "set: warn"),
			policies: []string{failsInSet}, rule: "policy-not-evaluated", want: policies.Deny,
		},
		"a fault stays in its set": {
			old: labelled(deployment, "set: warn"), object: labelled(deployment, "set: warn, a: b"),
			policies: []string{failsInSet}, rule: "policy-not-evaluated", want: policies.Warn,
		},
		// existingViolations: Deny counts for the rules whose mode the policy gives, and for its own house rules.
		"existing violations are denied": {
			old: web, object: newImage, services: inFront, policies: []string{existing(denyUnspread)},
			rule: unspread, want: policies.Deny,
		},
		"existing violations are denied for a rule that takes its mode from another": {
			old: fmt.Sprintf(withConstraint, ofNoPods), services: inFront, policies: []string{existing(denyUnspread)},
			object: strings.Replace(fmt.Sprintf(withConstraint, ofNoPods), "web:1", "web:2", 1),
			rule:   "ineffective-spread", want: policies.Deny,
		},
		"existing violations of another policy's rule are not denied": {
			old: web, object: newImage, services: inFront, policies: []string{denyUnspread, existing(`{priority: -1}`)},
			rule: unspread, want: policies.Warn,
		},
		"existing violations of a rule whose mode a policy with precedence gives are not denied": {
			old: web, object: newImage, services: inFront,
			policies: []string{denyUnspread, existing(`{priority: -1, rules: [{id: unspread-behind-local, mode: Deny}]}`)},
			rule:     unspread, want: policies.Warn,
		},
		"existing violations of a rule in the default mode are not denied": {
			old:      annotated(localService, "kube-vip.io/leaseName: x"),
			object:   annotated(localService, "kube-vip.io/leaseName: x", "a: b"),
			policies: []string{existing(denyUnspread)}, rule: "local-forbidden", want: policies.Warn,
		},
		"existing violations of a house rule are denied": {
			old: containers("old:1"), object: containers("new:1", "old:1"), policies: []string{existing(oldImage)},
			rule: "old-image", want: policies.Deny,
		},
		"existing faults of a policy are denied": {
			old: labelled(deployment, "number: x"), object: labelled(deployment, "number: x, a: b"),
			policies: []string{existing(failsOnNumber)}, rule: "policy-not-evaluated", want: policies.Deny,
		},
		"existing violations are repaired": {
			old: annotated(clusterService, preserve), object: annotated(clusterService, preserve, "a: b"),
			policies: []string{existing(`{rules: [{id: source-ip-needs-local, mode: Mutate}]}`)},
			rule:     needsLocal, want: policies.Mutate,
		},
		"existing violations are repaired in a template only if it changes": {
			old: web, object: labelled(deployment, "a: b"), services: inFront, policies: []string{existing(mutateUnspread)},
			rule: unspread, want: policies.Warn,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rules := compiled(t, test.policies)
			in := policies.Input{
				Operation: policies.Update, Object: parsed(t, test.object),
				Namespace: policies.Namespace{Name: "edge"},
				Cluster:   policies.Cluster{Nodes: test.nodes},
				Now:       time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC),
			}
			in.Related = relatedServices(t, test.services)
			for _, text := range test.workloads {
				in.Related.Workloads = append(in.Related.Workloads, parsed(t, text).Workload)
			}
			in.OldRelated = in.Related
			if test.oldServices != nil {
				in.OldRelated = relatedServices(t, test.oldServices)
			}
			if test.old != "" {
				in.Old = parsed(t, test.old)
			}
			settings := policies.Resolve(rules.Policies, in.Object, in.Namespace)
			for _, final := range []bool{false, true} {
				in.Final = final
				decision, err := policies.Decide(t.Context(), in, rules, settings)
				isFault := func(f policies.Finding) bool { return f.Rule == "policy-not-evaluated" }
				if slices.ContainsFunc(decision.Findings, isFault) != (err != nil) {
					t.Errorf("final: %t: findings %v, but error %v", final, decision.Findings, err)
				}
				i := slices.IndexFunc(decision.Findings, func(f policies.Finding) bool { return f.Rule == test.rule })
				if i < 0 || decision.Findings[i].Mode != test.want {
					t.Errorf("final: %t: findings %v; want %s in mode %s", final, decision.Findings, test.rule, test.want)
				}
				if got := len(decision.Mutations()) > 0; got != (test.want == policies.Mutate) {
					t.Errorf("final: %t: mutations %v", final, decision.Mutations())
				}
			}
		})
	}
}

func compiled(t *testing.T, specs []string) *bundle.Set {
	t.Helper()
	var all []v1alpha1.SourceIPPolicy
	for i, spec := range specs {
		policy := v1alpha1.SourceIPPolicy{}
		policy.Name = fmt.Sprintf("policy-%d", i)
		if err := yaml.UnmarshalStrict([]byte(spec), &policy.Spec); err != nil {
			t.Fatal(err)
		}
		policy.Default()
		all = append(all, policy)
	}
	set, errs := bundle.Compile(t.Context(), nil, all)
	if errs != nil {
		t.Fatal(errs)
	}
	return set
}

func parsed(t *testing.T, text string) *policies.Object {
	t.Helper()
	var content map[string]any
	if err := yaml.Unmarshal([]byte(text), &content); err != nil {
		t.Fatal(err)
	}
	return newObject(t, clone(t, content))
}

func relatedServices(t *testing.T, services []string) policies.Related {
	t.Helper()
	related := policies.Related{View: policies.ViewCluster}
	for _, text := range services {
		related.Services = append(related.Services, parsed(t, text).Service)
	}
	return related
}
