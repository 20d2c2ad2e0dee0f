package policies_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sourceward/sourceward/policies"
)

// decided returns the decision about the creation of an object.
func decided(t *testing.T, object string, related policies.Related, specs ...string) policies.Decision {
	t.Helper()
	return decidedIn(t, policies.Cluster{}, object, related, specs...)
}

func decidedIn(
	t *testing.T, cluster policies.Cluster, object string, related policies.Related, specs ...string,
) policies.Decision {
	t.Helper()
	rules := compiled(t, specs)
	in := policies.Input{
		Operation: policies.Create, Object: parsed(t, object), Namespace: policies.Namespace{Name: "edge"}, Related: related,
		Cluster: cluster, Now: time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC),
	}
	decision, err := policies.Decide(t.Context(), in, rules, policies.Resolve(rules.Policies, in.Object, in.Namespace))
	if err != nil {
		t.Fatal(err)
	}
	return decision
}

func hasFinding(decision policies.Decision, rule string) bool {
	return slices.ContainsFunc(decision.Findings, func(f policies.Finding) bool { return f.Rule == rule })
}

// TestARuleThatIsOffEndsNothing turns off one rule of the catalogue after the other: the findings of all others stay.
func TestARuleThatIsOffEndsNothing(t *testing.T) {
	t.Parallel()
	related := relatedServices(t, []string{fmt.Sprintf(localService, "")})
	object := fmt.Sprintf(deployment, "")
	all := decided(t, object, related)
	if len(all.Findings) < 3 {
		t.Fatalf("the object has the findings %v, want three or more", all.Findings)
	}
	for _, rule := range policies.Catalogue() {
		if rule.ID == "policy-not-evaluated" { // its mode is evaluationFailure
			continue
		}
		decision := decided(t, object, related, fmt.Sprintf("{rules: [{id: %s, mode: \"Off\"}]}", rule.ID))
		for _, f := range all.Findings {
			if hasFinding(decision, f.Rule) != (f.Rule != rule.ID) {
				t.Errorf("with %s turned off, the findings are %v", rule.ID, decision.Findings)
			}
		}
	}
}

// TestARuleOfAPolicyThatIsOffEndsNothing turns off one of two rules in the Rego of a policy.
func TestARuleOfAPolicyThatIsOffEndsNothing(t *testing.T) {
	t.Parallel()
	const always = "deny contains {\"message\": \"always\"}\n\nwarn contains {\"message\": \"always, too\"}"
	spec := regoPolicy("", "first", always, "second", always)
	for _, off := range []string{"first", "second"} {
		decision := decided(t, annotated(clusterService), policies.Related{View: policies.ViewCluster},
			strings.Replace(spec, "{", "{rules: [{id: "+off+", mode: \"Off\"}], ", 1))
		for _, rule := range []string{"first", "second"} {
			if hasFinding(decision, rule) != (rule != off) {
				t.Errorf("with %s turned off, the findings are %v", off, decision.Findings)
			}
		}
	}
}

// TestOnlyOthersShareAnAddress checks that neither the object itself nor a Service that does not ask for its address
// counts as sharing the address: on a shared one, Local is never forced.
func TestOnlyOthersShareAnAddress(t *testing.T) {
	t.Parallel()
	const shared = "metallb.io/allow-shared-ip: edge"
	object := annotated(clusterService, weighted, shared)
	named := func(text, name string) string { return strings.Replace(text, "name: web", "name: "+name, 1) }
	for name, test := range map[string]struct {
		services []string
		repaired bool
	}{
		"no other Service": {nil, true},
		"itself":           {[]string{object}, true},
		"one with another address": {
			[]string{named(annotated(clusterService, "metallb.io/allow-shared-ip: lan"), "api")}, true,
		},
		"one without the annotation":    {[]string{named(annotated(clusterService), "api")}, true},
		"itself and one that shares it": {[]string{object, named(annotated(clusterService, shared), "api")}, false},
	} {
		decision := decided(t, object, relatedServices(t, test.services))
		if got := len(decision.Mutations()) > 0; got != test.repaired {
			t.Errorf("%s: it is made Local: %t, want %t; %v", name, got, test.repaired, decision.Findings)
		}
	}
}

// TestKindsAreFoundByGroupVersionAndKind checks that each part of an apiVersion and the kind count.
func TestKindsAreFoundByGroupVersionAndKind(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		kind string
		is   func(apiVersion, kind string) bool
		want []string
	}{
		{"autoscaler", policies.Autoscales, []string{
			"autoscaling/v1 HorizontalPodAutoscaler", "autoscaling/v2 HorizontalPodAutoscaler", "keda.sh/v1alpha1 ScaledObject",
		}},
		{"holder of endpoints", policies.HoldsEndpoints, []string{"discovery.k8s.io/v1 EndpointSlice", "v1 Endpoints"}},
		{"judged kind", policies.Judged, []string{
			"apps.kruise.io/v1alpha1 StatefulSet", "apps/v1 Deployment", "apps/v1 StatefulSet", "argoproj.io/v1alpha1 Rollout",
			"v1 Pod", "v1 Service",
		}},
	} {
		var got []string
		for _, apiVersion := range []string{
			"v1", "v2", "apps/v1", "apps/v1alpha1", "autoscaling/v1", "autoscaling/v2", "autoscaling/v2/v2",
			"keda.sh/v1alpha1", "keda.sh/v2", "discovery.k8s.io/v1", "argoproj.io/v1alpha1", "apps.kruise.io/v1alpha1",
		} {
			for _, kind := range []string{
				"Service", "Pod", "Deployment", "StatefulSet", "Rollout", "HorizontalPodAutoscaler", "ScaledObject",
				"EndpointSlice", "Endpoints", "",
			} {
				if test.is(apiVersion, kind) {
					got = append(got, apiVersion+" "+kind)
				}
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, test.want) {
			t.Errorf("a %s is one of %q, want %q", test.kind, got, test.want)
		}
	}
}

// TestKindsWithAScaleThatIsJudged lists the kinds whose scale requests the webhook is asked about.
func TestKindsWithAScaleThatIsJudged(t *testing.T) {
	t.Parallel()
	var got []string
	for _, kind := range policies.WorkloadKinds {
		if kind.Scaled {
			got = append(got, kind.Group+" "+kind.Kind)
		}
	}
	want := []string{
		" ReplicationController", "apps Deployment", "apps StatefulSet", "apps.kruise.io CloneSet",
		"apps.kruise.io StatefulSet", "argoproj.io Rollout",
	}
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("kinds with a scale that is judged: %q, want %q", got, want)
	}
}

// TestNoExemptionFromWhatTheServerRejects lists the rules from which nothing is exempt, since the API server itself
// rejects such an object.
func TestNoExemptionFromWhatTheServerRejects(t *testing.T) {
	t.Parallel()
	var got []string
	for _, rule := range policies.Catalogue() {
		if rule.RefusedByServer {
			got = append(got, rule.ID)
		}
	}
	want := []string{"local-on-cluster-ip", "misplaced-health-check-node-port", "unknown-traffic-policy"}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("rules without exemptions: %q, want %q", got, want)
	}
}

// TestEveryUnknownExemptionIsFound has exemptions from a rule that nobody knows, from one that exists, and from one
// that is misspelt, in this order.
func TestEveryUnknownExemptionIsFound(t *testing.T) {
	t.Parallel()
	object := annotated(deployment, "exempt.sourceward.dev/a: a test", "exempt.sourceward.dev/missing-readiness: a test",
		"exempt.sourceward.dev/unspread-behind-lokal: a test")
	for complete, want := range map[bool]int{false: 1, true: 2} {
		rules := compiled(t, nil)
		rules.Policies.Complete = complete
		in := policies.Input{
			Operation: policies.Create, Object: parsed(t, object), Namespace: policies.Namespace{Name: "edge"},
		}
		decision, err := policies.Decide(t.Context(), in, rules, policies.Resolve(rules.Policies, in.Object, in.Namespace))
		found := 0
		for _, f := range decision.Findings {
			if f.Rule == "unknown-exemption" {
				found++
			}
		}
		if err != nil || found != want {
			t.Errorf("all policies are known: %t: %d findings, want %d (%v)", complete, found, want, err)
		}
	}
}

// TestLacksLocalService checks whether one more Local Service could lead to a repair.
func TestLacksLocalService(t *testing.T) {
	t.Parallel()
	local, cluster, web := fmt.Sprintf(localService, ""), fmt.Sprintf(clusterService, ""), fmt.Sprintf(deployment, "")
	for name, test := range map[string]struct {
		object   string
		services []string
		want     bool
	}{
		"no Service":                    {web, nil, true},
		"a Service that is not Local":   {web, []string{cluster}, true},
		"a Local Service":               {web, []string{local}, false},
		"a Local Service of other pods": {web, []string{strings.Replace(local, "app: web", "app: api", 1)}, true},
		"both":                          {web, []string{cluster, local}, false},
		"one pod":                       {strings.Replace(web, "replicas: 3", "replicas: 1", 1), nil, false},
		"pods that are spread":          {fmt.Sprintf(withConstraint, ofAllPods), nil, false},
		"pods without labels":           {strings.ReplaceAll(web, "{app: web}", "{}"), nil, false},
		"an object that is no workload": {cluster, nil, false},
	} {
		in := policies.Input{
			Object: parsed(t, test.object), Namespace: policies.Namespace{Name: "edge"},
			Related: relatedServices(t, test.services),
		}
		if got := policies.LacksLocalService(in); got != test.want {
			t.Errorf("%s: LacksLocalService() = %t, want %t", name, got, test.want)
		}
	}
}

// TestModulesSeeWhichNeighboursHaveAName asks a module about a Service in front of a workload. It says that Local has
// no effect if the API server will generate the name of the Service.
func TestModulesSeeWhichNeighboursHaveAName(t *testing.T) {
	t.Parallel()
	const module = "keeps_source_ip contains {\"verdict\": \"useless\", \"message\": \"a test\"} if " +
		"input.object.metadata.generateName"
	service := strings.Replace(fmt.Sprintf(localService, ""), "name: web", "generateName: web-", 1)
	for text, want := range map[string]bool{service: false, fmt.Sprintf(localService, ""): true} {
		related := relatedServices(t, []string{text})
		decision := decided(t, fmt.Sprintf(deployment, ""), related, regoPolicy("", "first", module))
		if got := hasFinding(decision, "unspread-behind-local"); got != want {
			t.Errorf("%s: unspread-behind-local: %t, want %t; %v", text, got, want, decision.Findings)
		}
	}
}

// TestSelectorsOfAllPodsBehindAService has two workloads behind one Service. A constraint by an expression counts the
// pods of both, or only its own.
func TestSelectorsOfAllPodsBehindAService(t *testing.T) {
	t.Parallel()
	const tier = "{matchLabels: {app: web}, matchExpressions: [{key: tier, operator: In, values: [%s]}]}"
	workload := func(name, tiers string) string {
		text := fmt.Sprintf(withConstraint, "labelSelector: "+fmt.Sprintf(tier, tiers))
		text = strings.Replace(text, "name: web", "name: "+name, 1)
		return strings.ReplaceAll(text, "labels: {app: web}", "labels: {app: web, tier: "+name+"}")
	}
	for tiers, want := range map[string]bool{"a": true, "b": true, "'a', 'b'": false} {
		related := relatedServices(t, []string{fmt.Sprintf(localService, "")})
		related.Workloads = append(related.Workloads, parsed(t, workload("b", "b")).Workload)
		decision := decided(t, workload("a", tiers), related)
		if got := hasFinding(decision, "shared-selector"); got != want {
			t.Errorf("a constraint on the tiers %s: shared-selector: %t, want %t; %v", tiers, got, want, decision.Findings)
		}
	}
}

// TestUnseenServicesThatShareAnAddress checks when it matters that the Services that share an address are not seen.
func TestUnseenServicesThatShareAnAddress(t *testing.T) {
	t.Parallel()
	const shared = "metallb.io/allow-shared-ip: edge"
	for _, test := range []struct {
		object string
		view   policies.View
		want   bool
	}{
		{annotated(clusterService, weighted, shared), policies.ViewNone, true},
		{annotated(clusterService, weighted), policies.ViewNone, false},
		{annotated(clusterService, weighted, shared), policies.ViewCluster, false},
		{annotated(clusterService, weighted, shared), policies.ViewFiles, false},
	} {
		decision := decided(t, test.object, policies.Related{View: test.view})
		if got := hasFinding(decision, "neighbours-unknown"); got != test.want {
			t.Errorf("view %v: neighbours-unknown: %t, want %t; %s", test.view, got, test.want, test.object)
		}
	}
	decision := decided(t, annotated(clusterService, weighted, shared), policies.Related{},
		`{rules: [{id: local-forbidden, mode: "Off"}, {id: source-ip-needs-local, mode: "Off"}]}`)
	if hasFinding(decision, "neighbours-unknown") {
		t.Errorf("no rule that is on reads such Services, but the findings are %v", decision.Findings)
	}
}

// TestDaemonSetBesideOthers has a DaemonSet, whose pods are always on different nodes, and behind the same Local
// Service a workload without pods and another one: whether the pods are spread together depends on that one.
func TestDaemonSetBesideOthers(t *testing.T) {
	t.Parallel()
	other := strings.Replace(fmt.Sprintf(deployment, ""), "name: web", "name: other", 1)
	idle := strings.NewReplacer("name: web", "name: idle", "replicas: 3", "replicas: 0").
		Replace(fmt.Sprintf(deployment, ""))
	daemons := strings.NewReplacer("kind: Deployment", "kind: DaemonSet", "replicas: 3, ", "").Replace
	spread := func(selector string) string {
		return strings.Replace(fmt.Sprintf(withConstraint, "labelSelector: "+selector), "name: web", "name: other", 1)
	}
	for name, test := range map[string]struct {
		other string
		want  bool
	}{
		"a Deployment":                     {other, true},
		"one without pods":                 {strings.Replace(other, "replicas: 3", "replicas: 0", 1), false},
		"one that counts the pods of both": {spread("{matchLabels: {app: web}}"), false},
		"one that counts other pods":       {spread("{matchLabels: {app: other}}"), true},
		"another DaemonSet":                {daemons(other), false},
		"the object itself":                {daemons(strings.Replace(other, "name: other", "name: web", 1)), false},
	} {
		related := relatedServices(t, []string{fmt.Sprintf(localService, "")})
		related.Workloads = append(related.Workloads, parsed(t, test.other).Workload, parsed(t, idle).Workload)
		decision := decided(t, daemons(fmt.Sprintf(deployment, "")), related)
		if got := hasFinding(decision, "shared-selector"); got != test.want {
			t.Errorf("%s: shared-selector: %t, want %t; %v", name, got, test.want, decision.Findings)
		}
	}
}

// TestCustomKinds checks that a kind is custom exactly if its group is that of a project other than Kubernetes, since
// such groups have a dot.
func TestCustomKinds(t *testing.T) {
	t.Parallel()
	for _, kind := range policies.WorkloadKinds {
		if kind.Custom != strings.Contains(kind.Group, ".") {
			t.Errorf("%s in %s: Custom is %t", kind.Kind, kind.Group, kind.Custom)
		}
	}
	for _, kind := range policies.AutoscalerKinds {
		if kind.Custom != strings.Contains(kind.Group, ".") {
			t.Errorf("%s in %s: Custom is %t", kind.Kind, kind.Group, kind.Custom)
		}
	}
}

func TestEndpointsOfCountsThoseWithoutANode(t *testing.T) {
	t.Parallel()
	var slice discoveryv1.EndpointSlice
	for _, node := range []*string{nil, new(""), new("a"), new("b"), nil} {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{NodeName: node})
	}
	if got := policies.EndpointsOf(&slice); got.Count != 5 || got.WithoutNode != 3 {
		t.Errorf("EndpointsOf() counts %d, %d of them without a node; want 5 and 3", got.Count, got.WithoutNode)
	}
}

// TestAntiAffinityAndUnevenReplicas has five pods on three nodes. Only a required term that keeps all of them apart
// leaves nothing to even out.
func TestAntiAffinityAndUnevenReplicas(t *testing.T) {
	t.Parallel()
	const required = "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{%s}]}}, "
	const preferred = "affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [" +
		"{weight: 1, podAffinityTerm: {%s}}]}}, "
	const host, rack = "topologyKey: kubernetes.io/hostname, ", "topologyKey: example.com/rack, "
	const web, api = "labelSelector: {matchLabels: {app: web}}", "labelSelector: {matchLabels: {app: api}}"
	for name, test := range map[string]struct {
		affinity string
		want     bool
	}{
		"none":                            {"", true},
		"required":                        {fmt.Sprintf(required, host+web), false},
		"required, of other pods":         {fmt.Sprintf(required, host+api), true},
		"required, on a label of no node": {fmt.Sprintf(required, rack+web), true},
		"preferred":                       {fmt.Sprintf(preferred, host+web), true},
	} {
		var nodes []*corev1.Node
		for _, name := range []string{"a", "b", "c"} {
			nodes = append(nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
				Name: name, Labels: map[string]string{corev1.LabelHostname: name},
			}})
		}
		object := strings.NewReplacer("replicas: 3", "replicas: 5", "containers:", test.affinity+"containers:").
			Replace(fmt.Sprintf(withConstraint, ofAllPods))
		decision := decidedIn(t, policies.Cluster{Known: policies.NewNodes(nodes)}, object,
			relatedServices(t, []string{fmt.Sprintf(localService, "")}))
		if got := hasFinding(decision, "uneven-replicas"); got != test.want {
			t.Errorf("%s: uneven-replicas: %t, want %t; %v", name, got, test.want, decision.Findings)
		}
	}
}

// TestMismatchLabelKeysAndDeadlocks has as many pods as nodes, and a required term. A key in mismatchLabelKeys that all
// pods have in common lets them meet. One that they lack does not.
func TestMismatchLabelKeysAndDeadlocks(t *testing.T) {
	t.Parallel()
	const term = "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{" +
		"topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}, mismatchLabelKeys: [%s]}]}}, " +
		"containers:"
	for key, want := range map[string]bool{"": true, "app": false, "absent": true, "pod-template-hash": false} {
		object := strings.Replace(fmt.Sprintf(deployment, ""), "containers:", fmt.Sprintf(term, key), 1)
		decision := decidedIn(t, policies.Cluster{Nodes: 3, Version: policies.Newest}, object,
			relatedServices(t, []string{fmt.Sprintf(localService, "")}))
		if got := hasFinding(decision, "anti-affinity-deadlock"); got != want {
			t.Errorf("mismatchLabelKeys [%s]: anti-affinity-deadlock: %t, want %t; %v", key, got, want, decision.Findings)
		}
	}
}

// TestNoTimeToAskAPolicy updates an annotation with a context that has ended. What was not asked is not known to be as
// before.
func TestNoTimeToAskAPolicy(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	rules := compiled(t, []string{
		regoPolicy("evaluationFailure: Deny", "first", "deny contains {\"message\": \"never\"} if false"),
	})
	old, object := parsed(t, annotated(clusterService)), parsed(t, annotated(clusterService, "a: b"))
	in := policies.Input{
		Operation: policies.Update, Object: object, Old: old, Namespace: policies.Namespace{Name: "edge"},
		Related: policies.Related{View: policies.ViewCluster}, OldRelated: policies.Related{View: policies.ViewCluster},
	}
	decision, err := policies.Decide(ctx, in, rules, policies.Resolve(rules.Policies, object, in.Namespace))
	isDenied := slices.ContainsFunc(decision.Findings, func(f policies.Finding) bool {
		return f.Rule == "policy-not-evaluated" && f.Mode == policies.Deny
	})
	if !isDenied {
		t.Errorf("the findings are %v (%v), want policy-not-evaluated in mode deny", decision.Findings, err)
	}
}

// TestMessageAboutExternalIPs checks when local-on-cluster-ip speaks of externalIPs.
func TestMessageAboutExternalIPs(t *testing.T) {
	t.Parallel()
	const local = `{apiVersion: v1, kind: Service, metadata: {name: web, namespace: edge},
		spec: {type: ClusterIP, externalTrafficPolicy: Local, %sports: [{port: 80}]}}`
	const ips = "externalIPs: [192.0.2.1], "
	for _, test := range []struct{ version, ips, want string }{
		{"1.29", "", "externalTrafficPolicy Local is invalid on type ClusterIP without externalIPs"},
		{"1.29", ips, ""},
		{"1.28", "", "externalTrafficPolicy Local is invalid on type ClusterIP"},
		{"1.28", ips, "externalTrafficPolicy Local is invalid on type ClusterIP with externalIPs before Kubernetes 1.29"},
	} {
		version, err := policies.ParseVersion(test.version)
		if err != nil {
			t.Fatal(err)
		}
		decision := decidedIn(t, policies.Cluster{Version: version}, fmt.Sprintf(local, test.ips),
			policies.Related{View: policies.ViewCluster})
		message := ""
		for _, f := range decision.Findings {
			if f.Rule == "local-on-cluster-ip" {
				message = f.Message
			}
		}
		if message != test.want {
			t.Errorf("Kubernetes %s, %q: the message is %q, want %q", test.version, test.ips, message, test.want)
		}
	}
}

// TestHostPortsAndAntiAffinityOnOneKey checks which of two things that keep the pods on different nodes is named.
func TestHostPortsAndAntiAffinityOnOneKey(t *testing.T) {
	t.Parallel()
	var nodes []*corev1.Node
	for _, name := range []string{"a", "b", "c"} {
		nodes = append(nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{corev1.LabelHostname: name, corev1.LabelTopologyZone: name[:1]},
		}})
	}
	const term = "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{" +
		"topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}}]}}, containers:"
	const port = `image: "web:1", ports: [{containerPort: 1, hostPort: 1}]`
	object := strings.NewReplacer("containers:", term, `image: "web:1"`, port).Replace(fmt.Sprintf(deployment, ""))
	decision := decidedIn(t, policies.Cluster{Known: policies.NewNodes(nodes)}, object,
		relatedServices(t, []string{fmt.Sprintf(localService, "")}))
	for _, f := range decision.Findings {
		if f.Rule == "anti-affinity-deadlock" && strings.Contains(f.Message+f.Fix, "hostPort") {
			return
		}
	}
	t.Errorf("no finding of anti-affinity-deadlock is about the host port: %v", decision.Findings)
}

// TestOnlyJudgedKindsAreObjects checks that neither the apiVersion nor the kind of a Service alone makes one.
func TestOnlyJudgedKindsAreObjects(t *testing.T) {
	t.Parallel()
	for kind, want := range map[[2]string]bool{
		{"v1", "Service"}: true, {"v1", "ConfigMap"}: false, {"serving.knative.dev/v1", "Service"}: false,
	} {
		_, err := policies.NewObject(map[string]any{
			"apiVersion": kind[0], "kind": kind[1], "metadata": map[string]any{"name": "web"}, "spec": map[string]any{},
		})
		if got := err == nil; got != want {
			t.Errorf("%s is an object: %t, want %t (%v)", kind, got, want, err)
		}
	}
}

// TestEachTermMayCauseADeadlock has three pods on three nodes, and two terms, of which the second keeps them apart.
func TestEachTermMayCauseADeadlock(t *testing.T) {
	t.Parallel()
	const terms = "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [" +
		"{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: api}}}, " +
		"{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}}]}}, containers:"
	object := strings.Replace(fmt.Sprintf(deployment, ""), "containers:", terms, 1)
	related := relatedServices(t, []string{fmt.Sprintf(localService, "")})
	decision := decidedIn(t, policies.Cluster{Nodes: 3}, object, related)
	if !hasFinding(decision, "anti-affinity-deadlock") {
		t.Errorf("the second term is not found: %v", decision.Findings)
	}
}

// TestSpreadDecaysWithTwoPods checks the smallest number of pods, and which of two constraints is repaired.
func TestSpreadDecaysWithTwoPods(t *testing.T) {
	t.Parallel()
	const one = "labelSelector: {matchLabels: {app: web}}"
	const two = one + "}, {topologyKey: kubernetes.io/hostname, maxSkew: 1, whenUnsatisfiable: DoNotSchedule, " + one
	for replicas, want := range map[string]bool{"1": false, "2": true} {
		object := strings.Replace(fmt.Sprintf(withConstraint, two), "replicas: 3", "replicas: "+replicas, 1)
		decision := decidedIn(t, policies.Cluster{Version: policies.Newest}, object,
			relatedServices(t, []string{fmt.Sprintf(localService, "")}))
		if got := hasFinding(decision, "spread-decays-on-rollout"); got != want {
			t.Errorf("%s pods: spread-decays-on-rollout: %t, want %t; %v", replicas, got, want, decision.Findings)
		}
		for _, f := range decision.Findings {
			if f.Rule == "spread-decays-on-rollout" && !strings.Contains(f.Path, "topologySpreadConstraints/0") {
				t.Errorf("the finding is about %s, want the first constraint", f.Path)
			}
		}
	}
}

// TestDeleteEndpoints deletes the Endpoints that have the name of their Service.
func TestDeleteEndpoints(t *testing.T) {
	t.Parallel()
	endpoints, err := policies.NewEndpoints(map[string]any{
		"apiVersion": "v1", "kind": "Endpoints", "metadata": map[string]any{"namespace": "edge", "name": "web"},
		"subsets": []any{map[string]any{"addresses": []any{map[string]any{"ip": "192.0.2.1"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	service := parsed(t, strings.Replace(fmt.Sprintf(localService, ""), "selector: {app: web}, ", "", 1))
	index := policies.NewIndex(policies.ViewCluster)
	index.Put(service)
	index.PutEndpointsCopy(endpoints, 0)
	before := len(index.Related(service).Endpoints)
	index.Delete(endpoints.Ref)
	if after := len(index.Related(service).Endpoints); before != 1 || after != 0 {
		t.Errorf("%d Endpoints before they are deleted, %d after; want 1 and 0", before, after)
	}
}

// TestAntiAffinityAmongTwoWorkloads has two workloads behind one Service, and a term of one of them that counts pods
// of both. It spreads them over nodes only by hostname, and only if it counts the pods of all revisions.
func TestAntiAffinityAmongTwoWorkloads(t *testing.T) {
	t.Parallel()
	const own = "labelSelector: {matchLabels: {app: web, tier: %s}}"
	const term = "affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, " +
		"podAffinityTerm: {%s, labelSelector: {matchLabels: {app: web}}}}]}}, containers:"
	workload := func(name string) string {
		text := strings.Replace(fmt.Sprintf(withConstraint, fmt.Sprintf(own, name)), "name: web", "name: "+name, 1)
		return strings.ReplaceAll(text, "labels: {app: web}", "labels: {app: web, tier: "+name+"}")
	}
	for fields, want := range map[string]bool{
		"topologyKey: kubernetes.io/hostname":                                      false,
		"topologyKey: topology.kubernetes.io/zone":                                 true,
		"topologyKey: kubernetes.io/hostname, matchLabelKeys: [pod-template-hash]": true,
	} {
		related := relatedServices(t, []string{fmt.Sprintf(localService, "")})
		related.Workloads = append(related.Workloads, parsed(t, workload("b")).Workload)
		object := strings.Replace(workload("a"), "containers:", fmt.Sprintf(term, fields), 1)
		decision := decidedIn(t, policies.Cluster{Version: policies.Newest}, object, related)
		if got := hasFinding(decision, "shared-selector"); got != want {
			t.Errorf("a term with %s: shared-selector: %t, want %t; %v", fields, got, want, decision.Findings)
		}
	}
}

// TestMaxUnavailableOfOldVersions checks which workloads may lose all pods at once before StatefulSets had the field.
func TestMaxUnavailableOfOldVersions(t *testing.T) {
	t.Parallel()
	old, err := policies.ParseVersion("1.28")
	if err != nil {
		t.Fatal(err)
	}
	const strategy, updates = "strategy: {rollingUpdate: {maxUnavailable: 100%}}, ",
		"podManagementPolicy: Parallel, updateStrategy: {rollingUpdate: {maxUnavailable: 100%}}, "
	for _, test := range []struct {
		kind, strategy string
		version        policies.Version
		want           bool
	}{
		{"apiVersion: apps/v1, kind: Deployment", strategy, old, true},
		{"apiVersion: apps/v1, kind: StatefulSet", updates, old, false},
		{"apiVersion: apps/v1, kind: StatefulSet", updates, policies.Newest, true},
		{"apiVersion: apps.kruise.io/v1beta1, kind: StatefulSet", updates, old, true},
	} {
		object := strings.NewReplacer("apiVersion: apps/v1, kind: Deployment", test.kind, "replicas: 3, ",
			"replicas: 3, "+test.strategy).Replace(fmt.Sprintf(deployment, ""))
		decision := decidedIn(t, policies.Cluster{Version: test.version}, object,
			relatedServices(t, []string{fmt.Sprintf(localService, "")}))
		if got := hasFinding(decision, "recreate-behind-local"); got != test.want {
			t.Errorf("%s, Kubernetes %s: recreate-behind-local: %t, want %t; %v",
				test.kind, test.version, got, test.want, decision.Findings)
		}
	}
}

// TestRepairWithASelectorOfExpressions checks that a repair holds the workload's selector and nothing else.
func TestRepairWithASelectorOfExpressions(t *testing.T) {
	t.Parallel()
	object := strings.Replace(fmt.Sprintf(deployment, ""), "selector: {matchLabels: {app: web}}",
		"selector: {matchExpressions: [{key: app, operator: In, values: [web]}]}", 1)
	decision := decided(t, object, relatedServices(t, []string{fmt.Sprintf(localService, "")}))
	found := false
	for _, patch := range decision.Patches {
		text := fmt.Sprint(patch.Operations)
		found = found || patch.Rule == "unspread-behind-local" && strings.Contains(text, "matchExpressions")
		if strings.Contains(text, "matchLabels:") {
			t.Errorf("the repair has matchLabels: %s", text)
		}
	}
	if !found {
		t.Errorf("no repair has the selector: %v", decision.Patches)
	}
}

// TestChangedAutoscalersCount replaces an autoscaler among related objects that an index has found, as the webhook does
// for a request that changes one: what was found for the former one must not be used.
func TestChangedAutoscalersCount(t *testing.T) {
	t.Parallel()
	scaledTo := func(pods int) policies.Autoscaler {
		autoscaler, err := policies.NewAutoscaler(map[string]any{
			"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
			"metadata": map[string]any{"namespace": "edge", "name": "web"},
			"spec": map[string]any{
				"minReplicas": int64(pods), "maxReplicas": int64(pods),
				"scaleTargetRef": map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return autoscaler
	}
	index := policies.NewIndex(policies.ViewCluster)
	index.Put(parsed(t, fmt.Sprintf(localService, "")))
	object := parsed(t, fmt.Sprintf(deployment, ""))
	index.Put(object)
	index.PutAutoscaler(scaledTo(1))
	rules := compiled(t, nil)
	for pods, want := range map[int]bool{1: false, 5: true} {
		in := policies.Input{
			Operation: policies.Create, Object: object, Namespace: policies.Namespace{Name: "edge"},
			Related: index.Related(object),
		}
		if pods != 1 {
			in.Related.Autoscalers = []policies.Autoscaler{scaledTo(pods)}
		}
		decision, err := policies.Decide(t.Context(), in, rules, policies.Resolve(rules.Policies, object, in.Namespace))
		if got := hasFinding(decision, "unspread-behind-local"); got != want || err != nil {
			t.Errorf("%d pods: unspread-behind-local: %t, want %t; %v (%v)", pods, got, want, decision.Findings, err)
		}
	}
}

// TestLoadOverNodesIsShownIfItIsLess checks when the fix of unspread-behind-local names the load after it: if it is
// more than the share of each pod, but less than without the fix.
func TestLoadOverNodesIsShownIfItIsLess(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pods, nodes int
		want        string
	}{
		{3, 2, ""}, {3, 3, ""}, {3, 4, ""}, {6, 4, "(1.5x over 4 nodes)"},
	} {
		object := strings.Replace(fmt.Sprintf(deployment, ""), "replicas: 3", fmt.Sprintf("replicas: %d", test.pods), 1)
		decision := decidedIn(t, policies.Cluster{Nodes: test.nodes}, object,
			relatedServices(t, []string{fmt.Sprintf(localService, "")}))
		isUnspread := func(f policies.Finding) bool { return f.Rule == "unspread-behind-local" }
		i := slices.IndexFunc(decision.Findings, isUnspread)
		if i < 0 {
			t.Errorf("%d pods on %d nodes: unspread-behind-local finds nothing", test.pods, test.nodes)
			continue
		}
		fix := decision.Findings[i].Fix
		if !strings.Contains(fix, test.want) || test.want == "" && strings.Contains(fix, " nodes)") {
			t.Errorf("%d pods on %d nodes: the fix is %q, want the load %q", test.pods, test.nodes, fix, test.want)
		}
	}
}
