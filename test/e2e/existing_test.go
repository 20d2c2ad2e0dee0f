package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/sandbox"
)

// The Namespaces of TestExistingCluster. Those that exist before the installation have the same objects.
const (
	existingDefaults = "defaults" // in the default modes
	existingDenied   = "denied"   // every rule is in mode Deny
	existingFaults   = "faults"   // Rego of a policy cannot be evaluated
	existingFresh    = "fresh"    // every rule is in mode Deny; its objects are created after the installation
)

const (
	// existingLabel is on all objects that exist before the installation, but not on what controllers make of them.
	existingLabel = "existing"
	existingAll   = "-l=" + existingLabel + "=yes"
)

// TestExistingCluster installs Sourceward into a cluster in which about 200 Services and workloads have every finding
// that can be denied. Then everything that people and controllers do to objects still passes, with at most a warning,
// as long as it brings no other finding. A request that brings one is denied.
func TestExistingCluster(t *testing.T) {
	t.Parallel()
	e := &existing{environment: newBareEnvironment(t, cluster.Options{Nodes: 3}), dir: t.TempDir()}
	// One more Node, for findings about Nodes that get no traffic or have taints.
	e.create(t, `{apiVersion: v1, kind: Node, metadata: {name: control-plane, labels: {
	  kubernetes.io/hostname: control-plane, node.kubernetes.io/exclude-from-external-load-balancers: "true"}},
	  spec: {taints: [{key: node-role.kubernetes.io/control-plane, effect: NoSchedule}]}}`)
	e.install(t, existingRollout, existingCloneSet)
	for _, namespace := range []string{existingDefaults, existingDenied, existingFaults, existingFresh} {
		e.namespace(t, namespace)
	}
	e.store(t, existingDefaults)
	e.store(t, existingDenied)
	e.storeFaults(t)
	e.installSourceward(t, sandbox.Options{Flags: []string{"--verbosity=0"}})
	e.untilCached(t)
	e.createPolicies(t)

	for _, test := range []struct {
		name string
		run  func(*testing.T, *existing)
	}{
		{"every rule has a finding", testEveryRuleExists},
		{"default modes", func(t *testing.T, e *existing) { testVerbs(t, e, existingDefaults) }},
		{"every rule denies", func(t *testing.T, e *existing) { testVerbs(t, e, existingDenied) }},
		{"faults", testExistingFaults},
		{"what a request brings is denied", testBrought},
		{"rollout undo brings a finding back", testUndoBringsBack},
		{"replace --force creates", testReplaceForce},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, e) })
	}
}

var (
	existingRollout  = customKind{"argoproj.io", "v1alpha1", "Rollout", "rollouts"}
	existingCloneSet = customKind{"apps.kruise.io", "v1alpha1", "CloneSet", "clonesets"}
)

// existingCase is an object with a finding.
type existingCase struct {
	rule string
	// kinds are the kinds of the object, one object for each.
	kinds []string
	// bad holds the operations, as JSON Patch in YAML, that give the object without findings this one. good holds those
	// that are necessary for both: the object without the finding has them, too.
	bad, good string
	// beside is true if the finding needs another workload behind the same Service, which is a StatefulSet.
	beside bool
}

const (
	makeCluster  = `{op: add, path: /spec/externalTrafficPolicy, value: Cluster}`
	makeNodePort = `{op: add, path: /spec/type, value: NodePort}`
	makeNLB      = `{op: add, path: /spec/loadBalancerClass, value: service.k8s.aws/nlb}`
)

// addAnnotation returns the operation that adds an annotation.
func addAnnotation(key, value string) string {
	return fmt.Sprintf(`{op: add, path: /metadata/annotations/%s, value: %q}`, strings.ReplaceAll(key, "/", "~1"), value)
}

var (
	onService  = []string{"Service"}
	onReplicas = []string{"Deployment", "StatefulSet", "Rollout", "CloneSet"}
	onSpread   = []string{"Deployment", "StatefulSet", "ReplicaSet", "Rollout", "CloneSet"}
	onAll      = []string{"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Rollout", "CloneSet"}
)

// existingCases have every rule that an object can have in a cluster; see testEveryRuleExists.
var existingCases = []existingCase{
	{
		rule: "source-ip-needs-local", kinds: onService, good: makeCluster,
		bad: addAnnotation("networking.gke.io/weighted-load-balancing", "pods-per-node"),
	},
	{rule: "source-ip-needs-local", kinds: onService, good: makeCluster, bad: addAnnotation("kube-vip.io/egress", "true")},
	{
		rule: "source-ip-needs-local", kinds: onService, good: makeCluster,
		bad: addAnnotation("sourceward.dev/source-ip", "preserve"),
	},
	{
		rule: "source-ip-needs-local", kinds: onService, good: makeNodePort + ", " + makeCluster,
		bad: addAnnotation("sourceward.dev/source-ip", "preserve"),
	},
	{
		rule: "external-ips-local", kinds: onService,
		good: `{op: add, path: /spec/type, value: ClusterIP}, {op: add, path: /spec/externalIPs, value: [192.0.2.1]}, ` +
			makeCluster,
		bad: `{op: add, path: /spec/externalTrafficPolicy, value: Local}`,
	},
	{
		rule: "pinned-health-check-node-port", kinds: onService, good: makeCluster,
		bad: `{op: add, path: /spec/externalTrafficPolicy, value: Local},
		  {op: add, path: /spec/healthCheckNodePort, value: PORT}`,
	},
	{
		rule: "node-port-local", kinds: onService, good: makeNodePort + ", " + makeCluster,
		bad: `{op: add, path: /spec/externalTrafficPolicy, value: Local}`,
	},
	{
		rule: "publishes-not-ready", kinds: onService,
		bad: `{op: add, path: /spec/publishNotReadyAddresses, value: true}`,
	},
	{rule: "selectorless-local", kinds: onService, bad: `{op: remove, path: /spec/selector}`},
	{rule: "internal-local", kinds: onService, bad: `{op: add, path: /spec/internalTrafficPolicy, value: Local}`},
	{
		rule: "distribution-ignored", kinds: onService,
		bad: `{op: add, path: /spec/trafficDistribution, value: PreferSameNode}`,
	},
	{
		rule: "health-check-overridden", kinds: onService,
		bad: addAnnotation("service.beta.kubernetes.io/aws-load-balancer-healthcheck-port", "10256"),
	},
	{
		rule: "legacy-annotation", kinds: onService,
		bad: addAnnotation("service.beta.kubernetes.io/external-traffic", "OnlyLocal"),
	},
	{rule: "misplaced-field", kinds: onService, bad: addAnnotation("externalTrafficPolicy", "Cluster")},
	{rule: "unknown-exemption", kinds: onAll, bad: addAnnotation("exempt.sourceward.dev/no-such-rule", "it is a test")},
	{rule: "local-forbidden", kinds: onService, bad: addAnnotation("kube-vip.io/leaseName", "shared")},
	{
		rule: "local-has-no-effect", kinds: onService,
		bad: addAnnotation("service.cilium.io/forwarding-mode", "dsr"),
	},
	{
		rule: "local-hides-source-ip", kinds: onService,
		bad: addAnnotation("service.beta.kubernetes.io/do-loadbalancer-type", "REGIONAL"),
	},
	{
		rule: "node-ports-disabled", kinds: onService,
		good: makeNLB + ", " + addAnnotation("service.beta.kubernetes.io/aws-load-balancer-nlb-target-type", "instance"),
		bad:  `{op: add, path: /spec/allocateLoadBalancerNodePorts, value: false}`,
	},
	{
		rule: "proxy-protocol-breaks-health-check", kinds: onService, good: makeNLB,
		bad: addAnnotation("service.beta.kubernetes.io/aws-load-balancer-target-group-attributes",
			"proxy_protocol_v2.enabled=true"),
	},
	{
		rule: "single-announcer", kinds: onService,
		good: `{op: add, path: /spec/loadBalancerClass, value: example.com/l2}, ` + makeCluster,
		bad:  `{op: add, path: /spec/externalTrafficPolicy, value: Local}`,
	},
	{
		rule: "weighted-needs-local", kinds: onService,
		bad: addAnnotation("networking.gke.io/weighted-load-balancing", "pods-per-nodes"),
	},

	{rule: "unspread-behind-local", kinds: onSpread, bad: `{op: remove, path: CONSTRAINTS}`},
	{
		rule: "ineffective-spread", kinds: onSpread,
		bad: `{op: replace, path: CONSTRAINTS/0/labelSelector/matchLabels/app, value: another}`,
	},
	{
		rule: "hard-spread-ignores-taints", kinds: onSpread,
		bad: `{op: replace, path: CONSTRAINTS/0/whenUnsatisfiable, value: DoNotSchedule}`,
	},
	{
		rule: "spread-decays-on-rollout", kinds: []string{"Deployment", "Rollout", "CloneSet"},
		bad: `{op: remove, path: CONSTRAINTS/0/matchLabelKeys}`,
	},
	{
		rule: "anti-affinity-deadlock", kinds: []string{"Deployment", "Rollout"},
		bad: `{op: add, path: /spec/template/spec/affinity, value: {podAntiAffinity: {
		  requiredDuringSchedulingIgnoredDuringExecution: [
		  {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: NAME}}}]}}}`,
	},
	{
		rule: "recreate-behind-local", kinds: []string{"Deployment"},
		bad: `{op: add, path: /spec/strategy, value: {type: Recreate}}`,
	},
	{
		rule: "recreate-behind-local", kinds: []string{"Rollout"},
		bad: `{op: add, path: /spec/strategy, value: {canary: {maxSurge: 0, maxUnavailable: 3}}}`,
	},
	{
		rule: "recreate-behind-local", kinds: []string{"DaemonSet"},
		bad: `{op: add, path: /spec/updateStrategy, value: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 100%}}}`,
	},
	{rule: "single-replica-local", kinds: onReplicas, bad: `{op: replace, path: /spec/replicas, value: 1}`},
	{rule: "uneven-replicas", kinds: onReplicas, bad: `{op: replace, path: /spec/replicas, value: 4}`},
	{
		rule: "missing-readiness", kinds: onAll,
		bad: `{op: remove, path: /spec/template/spec/containers/0/readinessProbe}`,
	},
	{
		rule: "no-drain-window", kinds: onAll,
		bad: `{op: remove, path: /spec/template/spec/containers/0/lifecycle}`,
	},
	{
		rule: "shared-selector", kinds: []string{"Deployment"}, beside: true,
		good: `{op: remove, path: CONSTRAINTS/0/matchLabelKeys}`,
		bad:  `{op: add, path: CONSTRAINTS/0/labelSelector/matchLabels/track, value: canary}`,
	},
	{
		rule: "excluded-nodes", kinds: onReplicas,
		bad: `{op: add, path: /spec/template/spec/tolerations, value: [
		  {key: node-role.kubernetes.io/control-plane, operator: Exists}]}`,
	},
}

// existingObject is an object of a case.
type existingObject struct {
	existingCase
	kind, name string
	// others are the Service in front of a workload, and the workloads beside it.
	others []map[string]any
	// bad has the finding, and good has none.
	bad, good map[string]any
}

// existingObjects returns the objects of all cases for one Namespace. If clean is set, they also have what the policy's
// own rules require.
func existingObjects(t *testing.T, namespace string, clean bool) []existingObject {
	t.Helper()
	var objects []existingObject
	for i, c := range existingCases {
		for _, kind := range c.kinds {
			o := existingObject{existingCase: c, kind: kind}
			o.name = fmt.Sprintf("%s-%d-%s", strings.ToLower(kind), i, c.rule)
			base := existingService(t, namespace, o.name, clean)
			if kind != "Service" {
				o.others = append(o.others, base)
				base = existingWorkload(t, kind, namespace, o.name, o.name, clean)
			}
			if c.beside {
				track := func(object map[string]any, track string) map[string]any {
					return patched(t, object, o.name, namespace, fmt.Sprintf(
						`{op: add, path: /spec/template/metadata/labels/track, value: %s},
						 {op: add, path: /spec/selector/matchLabels/track, value: %[1]s}`, track))
				}
				stable := existingWorkload(t, "StatefulSet", namespace, o.name+"-stable", o.name, clean)
				o.others = append(o.others, track(stable, "stable"))
				base = track(base, "canary")
			}
			o.good = patched(t, base, o.name, namespace, c.good)
			o.bad = patched(t, o.good, o.name, namespace, c.bad)
			objects = append(objects, o)
		}
	}
	return objects
}

// patched returns a copy of an object with operations applied, as JSON Patch in YAML without the brackets. In these,
// CONSTRAINTS, NAME and PORT are replaced.
func patched(t *testing.T, object map[string]any, name, namespace, operations string) map[string]any {
	t.Helper()
	port := map[string]string{existingDefaults: "20001", existingDenied: "20002", existingFresh: "20003"}[namespace]
	const constraints = "/spec/template/spec/topologySpreadConstraints"
	text := strings.NewReplacer("CONSTRAINTS", constraints, "NAME", name, "PORT", port).Replace("[" + operations + "]")
	patch, err := jsonpatch.DecodePatch([]byte(yamlToJSON(t, text)))
	if err != nil {
		t.Fatal(err)
	}
	before, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	after, err := patch.Apply(before)
	if err != nil {
		t.Fatalf("%s: %s: %v", name, text, err)
	}
	var result unstructured.Unstructured
	if err := result.UnmarshalJSON(after); err != nil {
		t.Fatal(err)
	}
	return result.Object
}

// existingService returns a Local Service without findings, for the pods of the workload with the same name.
func existingService(t *testing.T, namespace, name string, clean bool) map[string]any {
	t.Helper()
	return existingBase(t, clean, fmt.Sprintf(
		`{apiVersion: v1, kind: Service, metadata: {namespace: %s, name: %s}, spec: {type: LoadBalancer,
		  externalTrafficPolicy: Local, selector: {app: %[2]s}, ports: [{port: 80, protocol: TCP}]}}`, namespace, name))
}

// existingWorkload returns a workload without findings, with pods behind the Service app. The pods are never scheduled:
// nothing here depends on them, and each change of a template would replace hundreds of running pods.
func existingWorkload(t *testing.T, kind, namespace, name, app string, clean bool) map[string]any {
	t.Helper()
	i := slices.IndexFunc(policies.WorkloadKinds, func(k policies.WorkloadKind) bool { return k.Kind == kind })
	row := policies.WorkloadKinds[i]
	rest := "replicas: 3"
	switch kind {
	case "DaemonSet":
		rest = "minReadySeconds: 0"
	case "StatefulSet":
		rest += ", serviceName: " + app
	case "Rollout":
		rest += ", strategy: {canary: {}}"
	case "CloneSet":
		rest += ", updateStrategy: {maxSurge: 1}"
	}
	keys := ""
	if row.RevisionLabel != "" {
		keys = ", matchLabelKeys: [" + row.RevisionLabel + "]"
	}
	limits := ""
	if clean {
		limits = ", resources: {limits: {memory: 64Mi}}"
	}
	object := existingBase(t, clean, fmt.Sprintf(
		`{apiVersion: %s, kind: %s, metadata: {namespace: %s, name: %s}, spec: {%s, selector: {matchLabels: {app: %s}},
		  template: {metadata: {labels: {app: %[6]s}}, spec: {schedulingGates: [{name: example.com/never}],
		  topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway,
		  labelSelector: {matchLabels: {app: %[6]s}}%s}],
		  containers: [{name: web, image: "web:1", readinessProbe: {tcpSocket: {port: 80}},
		  lifecycle: {preStop: {sleep: {seconds: 30}}}%s}]}}}}`,
		row.APIVersion(), kind, namespace, name, rest, app, keys, limits))
	if kind == "DaemonSet" {
		return patched(t, object, name, namespace, `{op: remove, path: CONSTRAINTS}`)
	}
	return object
}

// existingBase returns an object with the labels and annotations of this test.
func existingBase(t *testing.T, clean bool, manifest string) map[string]any {
	t.Helper()
	object := read(t, manifest)
	labels := map[string]string{existingLabel: "yes"}
	if clean {
		labels["owner"] = "edge"
	}
	object.SetLabels(labels)
	object.SetAnnotations(map[string]string{"edited": "no"})
	return object.Object
}

// existing is a cluster with objects that are older than the installation.
type existing struct {
	*environment
	// dir holds the manifests, in a folder for each Namespace.
	dir string
}

// The files of a Namespace.
var existingFiles = []string{"services.json", "workloads.json", "custom.json"}

// store writes the manifests of a Namespace, and applies them.
func (e *existing) store(t *testing.T, namespace string) {
	t.Helper()
	files := map[string][]any{}
	for _, o := range existingObjects(t, namespace, false) {
		for _, object := range append(o.others, o.bad) {
			file := existingFiles[1]
			switch object["kind"] {
			case "Service":
				file = existingFiles[0]
			case "Rollout", "CloneSet":
				file = existingFiles[2]
			}
			files[file] = append(files[file], object)
		}
	}
	if err := os.MkdirAll(filepath.Join(e.dir, namespace), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range existingFiles {
		list, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": files[file]})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(e.file(namespace, file), list, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e.must(t, "", "apply", "-f", filepath.Join(e.dir, namespace))
}

func (e *existing) file(namespace, file string) string { return filepath.Join(e.dir, namespace, file) }

// storeFaults stores objects for which existingFaultyPolicy cannot be evaluated.
func (e *existing) storeFaults(t *testing.T) {
	t.Helper()
	for _, object := range []map[string]any{
		existingService(t, existingFaults, "web", false),
		existingWorkload(t, "Deployment", existingFaults, "web", "web", false),
	} {
		e.createObject(t, object)
	}
}

func (e *existing) createObject(t *testing.T, object map[string]any) {
	t.Helper()
	if err := e.objects.Create(t.Context(), &unstructured.Unstructured{Object: object}); err != nil {
		t.Fatal(err)
	}
}

// stored returns an object as it is stored.
func (e *existing) stored(t *testing.T, o existingObject) (*unstructured.Unstructured, error) {
	t.Helper()
	stored := &unstructured.Unstructured{}
	stored.SetGroupVersionKind((&unstructured.Unstructured{Object: o.bad}).GroupVersionKind())
	err := e.objects.Get(t.Context(), client.ObjectKeyFromObject(&unstructured.Unstructured{Object: o.bad}), stored)
	return stored, err
}

// untilCached waits until the webhook has the objects of custom kinds, which it begins to watch after the others.
func (e *existing) untilCached(t *testing.T) {
	t.Helper()
	counts := map[customKind]float64{}
	for _, namespace := range []string{existingDefaults, existingDenied} {
		for _, o := range existingObjects(t, namespace, false) {
			switch o.kind {
			case "Rollout":
				counts[existingRollout]++
			case "CloneSet":
				counts[existingCloneSet]++
			}
		}
	}
	for kind, n := range counts {
		e.cached(t, kind.cachedAs(), n)
	}
}

// judged sends a request, again if not every rule was evaluated, and returns its warnings and its error.
func (e *existing) judged(t *testing.T, send func() error) (warned []string, err error) {
	t.Helper()
	e.eventually(t, "every rule is evaluated", func() (bool, string) {
		e.warned.take()
		err = send()
		warned = e.warned.take()
		return !isNotEvaluated(warned) && !apierrors.IsConflict(err), fmt.Sprintf("%v, warnings %q", err, warned)
	})
	return warned, err
}

// existingNotDenied holds the rules without a finding that mode Deny could apply to in a cluster, and why.
var existingNotDenied = map[string]string{
	"local-on-cluster-ip":              "the API server stores no such Service",
	"unknown-traffic-policy":           "the API server stores no such Service",
	"misplaced-health-check-node-port": "the API server stores no such Service",
	"neighbours-unknown":               "a webhook that is ready sees all neighbours",
	"policy-not-evaluated":             "it depends on the policy; see testExistingFaults",
}

// The rules of existingPolicy's own, with and without a path. All objects that exist before the installation have
// them.
const (
	existingOwner  = "no-owner"
	existingLimits = "no-limits"
)

const existingModules = `
    - name: owner.rego
      module: |
        package sourceward.custom.no_owner

        deny contains {"message": "the object has no owner"} if not input.object.metadata.labels.owner
    - name: limits.rego
      module: |
        package sourceward.custom.no_limits

        deny contains {"message": "the container has no limits", "path": path} if {
          some i, container in input.object.spec.template.spec.containers
          not container.resources.limits
          path := sprintf("/spec/template/spec/containers/%d/resources", [i])
        }
`

const existingFaultyPolicy = `{match: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: faults}}},
  evaluationFailure: Deny, rego: [{name: faulty.rego, module: 'package sourceward.custom.faulty

    deny contains {"message": "no"} if 1 / (count(input.object.spec.ports) - 1) > 1

    deny contains {"message": "no"} if 1 / (count(input.object.spec.template.spec.containers) - 1) > 1'}]}`

// createPolicies turns every rule to Deny in two Namespaces, and creates a policy that cannot be evaluated.
func (e *existing) createPolicies(t *testing.T) {
	t.Helper()
	var rules []string
	for _, rule := range policies.Catalogue() {
		if rule.ID != "policy-not-evaluated" {
			rules = append(rules, fmt.Sprintf("{id: %s, mode: Deny}", rule.ID))
		}
	}
	e.policyManifest(t, fmt.Sprintf(`
apiVersion: sourceward.dev/v1alpha1
kind: SourceIPPolicy
metadata: {name: denied}
spec:
  match: {namespaceSelector: {matchExpressions: [
    {key: kubernetes.io/metadata.name, operator: In, values: [%s, %s]}]}}
  rules: [%s]
  loadBalancers: {classes: {example.com/l2: metallb-l2}}
  evaluationFailure: Warn # a busy machine must not fail this test
  rego:%s`, existingDenied, existingFresh, strings.Join(rules, ", "), existingModules))
	e.policy(t, "faults", existingFaultyPolicy)
}

// testEveryRuleExists checks that the objects have the findings that they should have: an update that changes nothing
// of them names each rule.
func testEveryRuleExists(t *testing.T, e *existing) {
	missing := map[string]bool{}
	for _, rule := range policies.Catalogue() {
		missing[rule.ID] = existingNotDenied[rule.ID] == ""
	}
	denied := 0
	for _, o := range existingObjects(t, existingDenied, false) {
		stored, err := e.stored(t, o)
		if err != nil {
			t.Fatal(err)
		}
		stored.SetLabels(map[string]string{existingLabel: "yes", "touched": "yes"})
		said, err := e.judged(t, func() error { return e.objects.Update(t.Context(), stored.DeepCopy(), client.DryRunAll) })
		rules := []string{o.rule, existingOwner}
		if o.kind != "Service" {
			rules = append(rules, existingLimits)
		}
		for _, rule := range rules {
			delete(missing, rule)
			if !slices.ContainsFunc(said, func(line string) bool { return warningRule(line) == rule }) {
				t.Errorf("%s: an update of a label does not warn about %s: %.200v, %q", o.name, rule, err, said)
			}
		}
		if err != nil {
			denied++
		}
	}
	for rule, isMissing := range missing {
		if isMissing {
			t.Errorf("no object has a finding of %s", rule)
		}
	}
	t.Logf("%d of %d objects do not accept a label", denied, len(existingObjects(t, existingDenied, false)))
}

// existingVerb is something that people and controllers do to all objects of a Namespace.
type existingVerb struct {
	name string
	run  func(t *testing.T) answer
	// mutate and validate are the least numbers of requests about which the endpoints must have been asked.
	mutate, validate int
}

// testVerbs does to the objects of a Namespace what people and controllers do. Nothing is refused, and no traffic
// policy and no spreading changes.
func testVerbs(t *testing.T, e *existing, namespace string) {
	counts := map[string]int{}
	objects := existingObjects(t, namespace, false)
	for _, o := range objects {
		for _, object := range append(o.others, o.bad) {
			counts[object["kind"].(string)]++
		}
	}
	services, deployments := counts["Service"], counts["Deployment"]
	custom := counts["Rollout"] + counts["CloneSet"]
	daemons := counts["DaemonSet"] // /mutate does not get them, since nothing of them is repaired
	rolling := deployments + counts["StatefulSet"] + daemons
	scaled := deployments + counts["StatefulSet"]
	workloads := rolling + counts["ReplicaSet"]
	all := services + workloads + custom
	t.Logf("%d Services, %d workloads: %v", services, all-services, counts)

	const (
		rollingKinds = "deployments.apps,statefulsets.apps,daemonsets.apps"
		kinds        = rollingKinds + ",replicasets.apps"
		allKinds     = "services," + kinds + ",rollouts.argoproj.io,clonesets.apps.kruise.io"
	)
	files, customFile := filepath.Join(e.dir, namespace), e.file(namespace, existingFiles[2])
	kubectl := func(args ...string) func(t *testing.T) answer {
		return func(t *testing.T) answer { return e.kubectl(t, "", append([]string{"-n", namespace}, args...)...) }
	}
	// --openapi-patch=false makes kubectl compute the same patches from its own types, in a tenth of the time.
	for _, verb := range []existingVerb{
		{"label", kubectl("label", allKinds, existingAll, "team=edge"), services, all},
		{"annotate", kubectl("annotate", allKinds, existingAll, "--overwrite", "edited=yes"), services, all},
		{"apply", kubectl("apply", "--openapi-patch=false", "-f", files), services, all},
		{"edit", func(t *testing.T) answer { return e.edit(t, namespace, files) }, services, all},
		{"apply --server-side", kubectl("apply", "--server-side", "--force-conflicts", "-f", files), services, all},
		{
			"patch", kubectl("patch", "-f", files, "--type=merge", "-p", `{"metadata":{"annotations":{"patched":"yes"}}}`),
			services, all,
		},
		{"a controller's update", func(t *testing.T) answer { return e.update(t, objects) }, 0, len(objects)},
		{"replace", kubectl("replace", "-f", files), services, all},
		{"set image", kubectl("set", "image", kinds, existingAll, "*=web:2"), workloads - daemons, workloads},
		{"set env", kubectl("set", "env", kinds, existingAll, "STAGE=live"), workloads - daemons, workloads},
		{
			"patch the image of custom kinds", kubectl("patch", "-f", customFile, "--type=json", "-p",
				`[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"web:2"}]`), custom, custom,
		},
		{
			"pause custom kinds", kubectl("patch", "-f", customFile, "--type=merge", "-p", `{"spec":{"paused":true}}`),
			0, custom,
		},
		{"rollout pause", kubectl("rollout", "pause", "deployments", existingAll), 0, deployments},
		{"rollout resume", kubectl("rollout", "resume", "deployments", existingAll), 0, deployments},
		{"rollout restart", kubectl("rollout", "restart", rollingKinds, existingAll), rolling - daemons, rolling},
		{"rollout undo", func(t *testing.T) answer {
			e.untilObserved(t, namespace)
			return kubectl("rollout", "undo", rollingKinds, existingAll)(t)
		}, rolling - daemons, rolling},
		{
			"scale", kubectl("scale", "deployments.apps,statefulsets.apps,replicasets.apps", existingAll, "--replicas=5"),
			0, scaled,
		},
		{"autoscale", func(t *testing.T) answer { return e.autoscale(t, objects, namespace) }, 0, 0},
		{
			"annotate what is scaled", kubectl("annotate", allKinds, existingAll, "--overwrite", "team=core"), services, all,
		},
	} {
		t.Run(verb.name, func(t *testing.T) {
			before := e.calls(t)
			start := time.Now()
			a := verb.run(t)
			took := time.Since(start)
			after := e.calls(t)
			refused := strings.Count(a.stderr, "denied the request")
			if a.code != 0 {
				t.Errorf("kubectl exits with %d; %d objects are refused: %.2000s", a.code, refused, a.stderr)
			}
			if denied := after.denied - before.denied; denied > 0 {
				t.Errorf("%v requests are denied", denied)
			}
			mutated, validated := after.mutate-before.mutate, after.validate-before.validate
			if mutated < float64(verb.mutate) || validated < float64(verb.validate) {
				t.Errorf("%v requests at /mutate and %v at /validate, want at least %d and %d",
					mutated, validated, verb.mutate, verb.validate)
			}
			t.Logf("%d refused, %d warnings shown, %v calls of /mutate, %v of /validate, %s",
				refused, len(warnings(a.stderr)), mutated, validated, took.Round(time.Millisecond))
		})
	}

	for _, o := range objects {
		stored, err := e.stored(t, o)
		if err != nil {
			t.Error(err)
			continue
		}
		if diff := cmp.Diff(repairedFields(o.bad), repairedFields(stored.Object)); diff != "" {
			t.Errorf("%s is repaired, though nothing asked for that (-before +after):\n%s", o.name, diff)
		}
	}
}

// existingCalls counts the requests that the webhook has answered.
type existingCalls struct{ mutate, validate, denied float64 }

func (e *existing) calls(t *testing.T) existingCalls {
	t.Helper()
	metrics, err := e.Replicas[0].Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var calls existingCalls
	for sample, n := range metrics {
		labels, ok := strings.CutPrefix(sample, "sourceward_requests_total{")
		if !ok {
			continue
		}
		if strings.Contains(labels, `endpoint="mutate"`) {
			calls.mutate += n
		} else if strings.Contains(labels, `endpoint="validate"`) {
			calls.validate += n
		}
		if strings.Contains(labels, `outcome="denied"`) {
			calls.denied += n
		}
	}
	return calls
}

// edit runs kubectl edit with an editor that changes an annotation and, of some kinds, a field that no rule reads.
func (e *existing) edit(t *testing.T, namespace, files string) answer {
	t.Helper()
	dir := t.TempDir()
	editor := filepath.Join(dir, "editor")
	const script = `#!/bin/sh
exec sed -i -e 's/edited: "no"$/edited: "yes"/' -e 's/sessionAffinity: None/sessionAffinity: ClientIP/' \
  -e 's/revisionHistoryLimit: 10/revisionHistoryLimit: 9/' "$1"
`
	if err := os.WriteFile(editor, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := e.Kubectl(t.Context(), "edit", "-n", namespace, "-f", files)
	cmd.Env = append(cmd.Environ(), "KUBE_EDITOR="+editor, "TMPDIR="+dir)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return answer{stderr: string(out), code: cmd.ProcessState.ExitCode()}
}

// update reads each object, and writes it back with an annotation, as a controller does.
func (e *existing) update(t *testing.T, objects []existingObject) (a answer) {
	t.Helper()
	for _, o := range objects {
		stored, err := e.stored(t, o)
		if err != nil {
			t.Fatal(err)
		}
		annotations := stored.GetAnnotations()
		annotations["controller.example.com/state"] = "synced"
		stored.SetAnnotations(annotations)
		if err := e.objects.Update(t.Context(), stored); err != nil {
			a.code = 1
			a.stderr += err.Error() + "\n"
		}
	}
	return a
}

// autoscale creates an autoscaler for each Deployment.
func (e *existing) autoscale(t *testing.T, objects []existingObject, namespace string) answer {
	t.Helper()
	args := []string{"autoscale", "-n", namespace, "deployment", "--max=7", "--cpu=80%"}
	for _, o := range objects {
		if o.kind == "Deployment" {
			args = append(args, o.name)
		}
	}
	return e.kubectl(t, "", args...)
}

// untilObserved waits until the controllers have made a revision of each template.
func (e *existing) untilObserved(t *testing.T, namespace string) {
	t.Helper()
	e.eventually(t, "controllers have observed the workloads", func() (bool, string) {
		var deployments appsv1.DeploymentList
		var statefulSets appsv1.StatefulSetList
		var daemonSets appsv1.DaemonSetList
		for _, list := range []client.ObjectList{&deployments, &statefulSets, &daemonSets} {
			if err := e.objects.List(t.Context(), list, client.InNamespace(namespace)); err != nil {
				t.Fatal(err)
			}
		}
		behind := 0
		count := func(observed, generation int64) {
			if observed < generation {
				behind++
			}
		}
		for _, d := range deployments.Items {
			count(d.Status.ObservedGeneration, d.Generation)
		}
		for _, s := range statefulSets.Items {
			count(s.Status.ObservedGeneration, s.Generation)
		}
		for _, d := range daemonSets.Items {
			count(d.Status.ObservedGeneration, d.Generation)
		}
		return behind == 0, fmt.Sprint(behind, " are behind")
	})
}

// testExistingFaults changes objects for which a policy could not be evaluated before either: a change of the spec is
// denied, since its findings are not known, and any other passes.
func testExistingFaults(t *testing.T, e *existing) {
	for name, test := range map[string]struct {
		args   []string
		denied bool
	}{
		"annotate a Service":    {[]string{"annotate", "service/web", "team=edge"}, false},
		"label a Service":       {[]string{"label", "service/web", "team=edge"}, false},
		"annotate a Deployment": {[]string{"annotate", "deployment/web", "team=edge"}, false},
		"label a Deployment":    {[]string{"label", "deployment/web", "team=edge"}, false},
		"change a Service": {
			[]string{"patch", "service/web", "-p", `{"spec":{"sessionAffinity":"ClientIP"}}`}, true,
		},
		"set image": {[]string{"set", "image", "deployment/web", "*=web:2"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			a := e.kubectl(t, "", append([]string{"-n", existingFaults}, test.args...)...)
			if (a.code != 0) != test.denied || !strings.Contains(a.stderr, "policy-not-evaluated: ") {
				t.Errorf("kubectl exits with %d: %s; want denied: %t", a.code, a.stderr, test.denied)
			}
		})
	}
}

// testBrought creates objects without findings, which pass, and then requests each finding by a creation and by an
// update, which are denied.
func testBrought(t *testing.T, e *existing) {
	for _, o := range existingObjects(t, existingFresh, true) {
		t.Run(o.name, func(t *testing.T) {
			for _, other := range o.others {
				e.createObject(t, other)
			}
			bad, good := &unstructured.Unstructured{Object: o.bad}, &unstructured.Unstructured{Object: o.good}
			_, err := e.judged(t, func() error { return e.objects.Create(t.Context(), bad.DeepCopy(), client.DryRunAll) })
			wantDenied(t, "a creation", o.rule, err)

			said, err := e.judged(t, func() error { return e.objects.Create(t.Context(), good.DeepCopy(), client.DryRunAll) })
			isOurs := func(line string) bool { _, found := policies.RuleByID(warningRule(line)); return found }
			if err != nil || slices.ContainsFunc(said, isOurs) {
				t.Errorf("without the finding: %v, warnings %q", err, said)
			}
			e.createObject(t, o.good)
			_, err = e.judged(t, func() error {
				// A controller may change it, too.
				if err := e.objects.Get(t.Context(), client.ObjectKeyFromObject(good), good); err != nil {
					return err
				}
				bad.SetResourceVersion(good.GetResourceVersion())
				return e.objects.Update(t.Context(), bad.DeepCopy(), client.DryRunAll)
			})
			wantDenied(t, "an update", o.rule, err)
		})
	}
}

func wantDenied(t *testing.T, what, rule string, err error) {
	t.Helper()
	if !apierrors.IsForbidden(err) || !strings.Contains(fmt.Sprint(err), rule+": ") {
		t.Errorf("%s that brings the finding: %v, want a denial by %s", what, err, rule)
	}
}

// testUndoBringsBack removes a finding, which passes, and brings it back by rollout undo, which is denied.
func testUndoBringsBack(t *testing.T, e *existing) {
	const rule, probe = "missing-readiness", `{"spec":{"template":{"spec":{"containers":[
	  {"name":"web","readinessProbe":{"tcpSocket":{"port":80}}}]}}}}`
	name := existingName(t, rule, "Deployment")
	a := e.must(t, "", "patch", "-n", existingDenied, "deployment/"+name, "-p", probe)
	if strings.Contains(a.stderr, rule) {
		t.Errorf("the finding is still there: %s", a.stderr)
	}
	e.untilObserved(t, existingDenied)
	a = e.kubectl(t, "", "rollout", "undo", "-n", existingDenied, "deployment/"+name)
	if a.code == 0 || !strings.Contains(a.stderr, rule+": ") {
		t.Errorf("rollout undo exits with %d: %s", a.code, a.stderr)
	}
	stored := get[appsv1.Deployment](t, e.environment, existingDenied, name)
	if stored.Spec.Template.Spec.Containers[0].ReadinessProbe == nil {
		t.Error("rollout undo removed the readiness probe")
	}
}

// existingName returns the name of the first object of a kind with a finding of a rule.
func existingName(t *testing.T, rule, kind string) string {
	t.Helper()
	objects := existingObjects(t, existingDenied, false)
	i := slices.IndexFunc(objects, func(o existingObject) bool { return o.rule == rule && o.kind == kind })
	return objects[i].name
}

// testReplaceForce replaces a Service by force, which deletes it first. What creates it again is judged like any other
// creation, so the Service is lost. Its rule denies in the default modes, too.
func testReplaceForce(t *testing.T, e *existing) {
	for _, namespace := range []string{existingDefaults, existingDenied} {
		objects := existingObjects(t, namespace, false)
		i := slices.IndexFunc(objects, func(o existingObject) bool { return o.rule == "local-forbidden" })
		a := e.kubectl(t, text(t, objects[i].bad), "replace", "--force", "-f", "-")
		if a.code == 0 || !strings.Contains(a.stderr, "local-forbidden: ") {
			t.Errorf("%s: replace --force exits with %d: %s", namespace, a.code, a.stderr)
		}
		if e.isStored(t, namespace, objects[i].name) {
			t.Errorf("%s: the Service still exists", namespace)
		}
	}
}
