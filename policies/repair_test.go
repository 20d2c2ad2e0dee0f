package policies_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sourceward/sourceward/policies"
)

// rollout is a Rollout. The verbs are for metadata, and for the spec of its pods.
const rollout = `{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: web, namespace: edge, %s},
	spec: {replicas: 3, selector: {matchLabels: {app: web}}, strategy: {canary: {}},
		template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web}], %s}}}}`

func service(kind, annotation, more string) string {
	return fmt.Sprintf(`{apiVersion: v1, kind: Service, metadata: {name: web, namespace: edge, annotations: {%s}, %s},
		spec: {type: %s, externalTrafficPolicy: Cluster, selector: {app: web}, ports: [{port: 80}]}}`,
		annotation, more, kind)
}

func owned(apiVersion, kind string) string {
	return fmt.Sprintf("ownerReferences: [{apiVersion: %s, kind: %s, name: o, uid: u, controller: true}]",
		apiVersion, kind)
}

// TestWhatIsRepaired checks on creations which findings in mode Mutate are repaired at admission, and what is said of
// those that are not.
func TestWhatIsRepaired(t *testing.T) {
	t.Parallel()
	const (
		needsLocal, unspread = "source-ip-needs-local", "unspread-behind-local"

		mutateHard = `{rules: [{id: unspread-behind-local, mode: Mutate}],
			spread: {whenUnsatisfiable: DoNotSchedule, maxSkew: %d}}`
		mutateAnti = `{rules: [{id: unspread-behind-local, mode: Mutate}],
			spread: {strategy: PodAntiAffinity, whenUnsatisfiable: %s}}`
		denyUneven = `{rules: [{id: unspread-behind-local, mode: Mutate}, {id: uneven-replicas, mode: Deny}]}`
	)
	hardOnAnyType := regoPolicy("", "any", `
require_local contains {"message": "a policy asks for Local", "strength": "hard"}`)
	refusesLocal := regoPolicy("", "no_local", `
deny contains {"message": "no Local here"} if input.object.spec.externalTrafficPolicy == "Local"`)
	warnsOfLocal := regoPolicy("", "no_local", `
warn contains {"message": "no Local here", "path": "/spec/externalTrafficPolicy"} if {
	input.object.spec.externalTrafficPolicy == "Local"
}`)
	inFront := []string{fmt.Sprintf(localService, "")}
	web := fmt.Sprintf(deployment, "")
	tests := map[string]struct {
		object   string
		services []string
		policies []string
		nodes    int
		version  policies.Version
		rule     string
		want     policies.Mode
		// fix is part of the fix, and done of what is said about the repair.
		fix, done string
	}{
		"our own annotation on a load balancer": {
			object: service("LoadBalancer", preserve, ""), rule: needsLocal, want: policies.Mutate,
			done: "externalTrafficPolicy set to Local",
		},
		// No repair brings a finding whose remedy is to undo it.
		"our own annotation on a node port": {
			object: service("NodePort", preserve, ""), rule: needsLocal, want: policies.Mutate,
			done: "externalTrafficPolicy set to Local",
		},
		"an annotation of a load balancer on a node port": {
			object: service("NodePort", weighted, ""), rule: needsLocal,
		},
		"a policy's wish on a node port": {
			object: service("NodePort", "", ""), policies: []string{hardOnAnyType}, rule: needsLocal, want: policies.Warn,
			fix: "; not repaired, since node-port-local would ask to undo it",
		},
		"a policy's wish on an exempt node port": {
			object:   service("NodePort", "exempt.sourceward.dev/node-port-local: a balancer in front", ""),
			policies: []string{hardOnAnyType}, rule: needsLocal, want: policies.Mutate,
			done: "externalTrafficPolicy set to Local",
		},
		"a Service without a selector": {
			object: strings.Replace(service("LoadBalancer", preserve, ""), "selector: {app: web}, ", "", 1),
			rule:   needsLocal, want: policies.Warn, fix: "; not repaired, since selectorless-local would ask to undo it",
		},
		"a policy that would audit the traffic policy": {
			object: service("LoadBalancer", preserve, ""), rule: needsLocal, want: policies.Mutate,
			policies: []string{strings.Replace(warnsOfLocal, "{rego", "{rules: [{id: no-local, mode: Audit}], rego", 1)},
			done:     "externalTrafficPolicy set to Local",
		},
		"a policy that warns about the traffic policy": {
			object: service("LoadBalancer", preserve, ""), policies: []string{warnsOfLocal},
			rule: needsLocal, want: policies.Warn, fix: "; not repaired, since no-local would ask to undo it",
		},
		// None is made after which the object would be refused.
		"a policy that denies the repaired Service": {
			object: service("LoadBalancer", weighted, ""), policies: []string{refusesLocal},
			rule: needsLocal, want: policies.Warn, fix: "; not repaired, since no-local would deny it",
		},
		"a policy that denies the repaired workload": {
			object: web, services: inFront, policies: []string{denyUneven}, nodes: 2,
			rule: unspread, want: policies.Warn, fix: "; not repaired, since uneven-replicas would deny it",
		},
		"required anti-affinity that would stop rollouts": {
			object: web, services: inFront, policies: []string{fmt.Sprintf(mutateAnti, "DoNotSchedule")}, nodes: 3,
			version: policies.Version{Major: 1, Minor: 30},
			rule:    unspread, want: policies.Warn, fix: "; not repaired, since anti-affinity-deadlock would deny it",
		},
		// One after which the scheduler places pods as before is none.
		"a skew that all pods on one node have": {
			object: web, services: inFront, policies: []string{fmt.Sprintf(mutateHard, 3)},
			rule: unspread, want: policies.Warn, fix: "; not repaired, since maxSkew 3 allows all 3 pods on one node",
		},
		"a skew that they exceed": {
			object: web, services: inFront, policies: []string{fmt.Sprintf(mutateHard, 2)},
			rule: unspread, want: policies.Mutate, done: "added a DoNotSchedule spread constraint on kubernetes.io/hostname",
		},
		// An operator would undo the repair.
		"a Service that a custom resource controls": {
			object: service("LoadBalancer", weighted, owned("example.com/v1", "Gateway")),
			rule:   needsLocal, want: policies.Warn, fix: "; not repaired, since Gateway o controls it",
		},
		"a workload that a custom resource controls": {
			object:   fmt.Sprintf(deployment, owned("example.com/v1", "Database")),
			services: inFront, policies: []string{mutateUnspread},
			rule: unspread, want: policies.Warn, fix: "; not repaired, since Database o controls it",
		},
		"a denial of what a ConfigMap controls": {
			object:   fmt.Sprintf(deployment, owned("v1", "ConfigMap")),
			services: inFront, policies: []string{denyUnspread}, rule: unspread, want: policies.Deny,
		},
		// A list that an apply replaces as a whole is not appended to.
		"a Rollout without the list": {
			object: fmt.Sprintf(rollout, "", ""), services: inFront, policies: []string{mutateUnspread},
			rule: unspread, want: policies.Mutate, done: "added a ScheduleAnyway spread constraint on kubernetes.io/hostname",
		},
		"a Rollout with the list": {
			object: fmt.Sprintf(rollout, "", "topologySpreadConstraints: [{topologyKey: topology.kubernetes.io/zone, "+
				"maxSkew: 1, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}]"),
			services: inFront, policies: []string{mutateUnspread}, rule: "ineffective-spread", want: policies.Warn,
			fix: `in the manifest, which replaces the whole list, add to topologySpreadConstraints: { "labelSelector": ` +
				`{ "matchLabels": { "app": "web" } }, "matchLabelKeys": [ "rollouts-pod-template-hash" ], "maxSkew": 1, ` +
				`"topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway" }`,
		},
		"a Rollout with the list, and a policy that denies the repair": {
			object:   fmt.Sprintf(rollout, "", "topologySpreadConstraints: []"),
			services: inFront, policies: []string{denyUneven}, nodes: 2, rule: unspread, want: policies.Warn,
			fix: "; not repaired, since uneven-replicas would deny it",
		},
		"a Rollout with an empty list": {
			object:   fmt.Sprintf(rollout, "", "topologySpreadConstraints: []"),
			services: inFront, policies: []string{mutateUnspread}, rule: unspread, want: policies.Warn,
			fix: "in the manifest, which replaces the whole list, add to topologySpreadConstraints: ",
		},
		"a Rollout with the list of another strategy": {
			object:   fmt.Sprintf(rollout, "", "topologySpreadConstraints: []"),
			services: inFront, policies: []string{fmt.Sprintf(mutateAnti, "ScheduleAnyway")}, rule: unspread,
			want: policies.Mutate, done: "added a preferred anti-affinity term on kubernetes.io/hostname",
		},
		"a Deployment with the list": {
			object: fmt.Sprintf(withConstraint, ofNoPods), services: inFront,
			policies: []string{fmt.Sprintf(mutateHard, 1)},
			rule:     "ineffective-spread", want: policies.Mutate,
			done: "added a DoNotSchedule spread constraint on kubernetes.io/hostname",
		},
		"a Deployment with the list of terms": {
			object: strings.Replace(web, "containers:", "affinity: {podAntiAffinity: "+
				"{preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: "+
				"{topologyKey: topology.kubernetes.io/zone, labelSelector: {matchLabels: {app: web}}}}]}}, containers:", 1),
			services: inFront, policies: []string{fmt.Sprintf(mutateAnti, "ScheduleAnyway")},
			rule: "ineffective-spread", want: policies.Warn,
			fix: "in the manifest, which replaces the whole list, add to preferredDuringSchedulingIgnoredDuringExecution: ",
		},
		"a Deployment with the other list of terms": {
			object: strings.Replace(web, "containers:", "affinity: {podAntiAffinity: "+
				"{preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: "+
				"{topologyKey: topology.kubernetes.io/zone, labelSelector: {matchLabels: {app: web}}}}]}}, containers:", 1),
			services: inFront, policies: []string{fmt.Sprintf(mutateAnti, "DoNotSchedule")},
			rule: "ineffective-spread", want: policies.Mutate,
			done: "added a required anti-affinity term on kubernetes.io/hostname",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rules := compiled(t, test.policies)
			in := policies.Input{
				Operation: policies.Create, Object: parsed(t, test.object),
				Namespace: policies.Namespace{Name: "edge"},
				Cluster:   policies.Cluster{Nodes: test.nodes, Version: test.version},
				Related:   relatedServices(t, test.services),
			}
			settings := policies.Resolve(rules.Policies, in.Object, in.Namespace)
			for _, final := range []bool{false, true} {
				in.Final = final
				decision, err := policies.Decide(t.Context(), in, rules, settings)
				if err != nil {
					t.Fatal(err)
				}
				i := slices.IndexFunc(decision.Findings, func(f policies.Finding) bool { return f.Rule == test.rule })
				if test.want == "" {
					if i >= 0 {
						t.Errorf("final: %t: found %v; want nothing of %s", final, decision.Findings[i], test.rule)
					}
					continue
				}
				if i < 0 || decision.Findings[i].Mode != test.want || !strings.Contains(decision.Findings[i].Fix, test.fix) {
					t.Fatalf("final: %t: findings %v; want %s in mode %s with %q",
						final, decision.Findings, test.rule, test.want, test.fix)
				}
				done := ""
				for _, patch := range decision.Patches {
					if patch.Mode == policies.Mutate {
						done += patch.Done
					}
				}
				if done != test.done {
					t.Errorf("final: %t: done: %q, want %q", final, done, test.done)
				}
			}
			in.Final, in.InFile = false, policies.InFileAbsent
			decision, err := policies.Decide(t.Context(), in, rules, settings)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(test.fix, "whole list") && len(decision.Patches) == 0 {
				t.Error("the repair is not offered for a file")
			}
		})
	}
}
