package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/sandbox"
)

const (
	spreadSeed = 20261121
	// spreadPools is the number of pools of nodes, on each of which one workload is placed at a time.
	spreadPools = 20

	// The Namespaces, each with a policy of the same name.
	spreadOff, spreadHard, spreadSoft, spreadWarn = "spread-off", "spread-hard", "spread-soft", "spread-warn"

	spreadImage    = "registry.example/web:1"
	dedicatedTaint = "example.com/dedicated"
	diskLabel      = "example.com/disk"
)

// spreadWorkloads is larger in make test-long.
var spreadWorkloads = flag.Int("spread-workloads", 40, "number of workloads that TestSpreadByTheScheduler places")

// spreadKinds are the kinds of the workloads.
var spreadKinds = []string{"Deployment", "StatefulSet", "ReplicaSet"}

// TestSpreadByTheScheduler places the same workloads behind Local Services without Sourceward, in a Namespace whose
// policy turns the rule off, and with it in three modes. Each workload has an empty pool of nodes to itself.
//
//   - Mutate with DoNotSchedule: of the eligible nodes none has two pods more than another, at first and after all pods
//     were replaced. Most Deployments and StatefulSets roll out a change of their template by themselves. The test
//     deletes the pods of the others: of StatefulSets with OnDelete, and of ReplicaSets, which use a new template for
//     new pods only.
//   - Mutate with ScheduleAnyway: the pods are spread as evenly as without, or better, and no more pods are pending.
//   - Warn: the stored object is the same as without.
//
// Warnings of other rules, for instance about rollouts, do not matter here if they are the same without Sourceward's
// repair; a warning that only the repaired workload gets does.
//
// Some workloads need as much as their nodes have, or more. As many of their pods run as fit. They are not replaced: on
// full nodes a hard constraint may keep a new pod from the only place that an old one leaves.
func TestSpreadByTheScheduler(t *testing.T) {
	t.Parallel()
	t.Logf("seed %d", spreadSeed)
	e := newEnvironment(t, cluster.Options{Nodes: 1}, sandbox.Options{})
	for namespace, spec := range map[string]string{
		spreadOff:  `rules: [{id: unspread-behind-local, mode: "Off"}]`, // ineffective-spread follows its mode
		spreadHard: "rules: [{id: unspread-behind-local, mode: Mutate}], spread: {whenUnsatisfiable: DoNotSchedule}",
		spreadSoft: "rules: [{id: unspread-behind-local, mode: Mutate}], spread: {whenUnsatisfiable: ScheduleAnyway}",
		spreadWarn: "rules: [{id: unspread-behind-local, mode: Warn}]",
	} {
		e.namespace(t, namespace)
		e.policy(
			t,
			namespace,
			fmt.Sprintf("{match: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %s}}}, %s}", namespace, spec),
		)
	}
	// In the last Namespace only the stored workloads matter, so their controllers may not create pods.
	none := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "no-pods"}, Spec: corev1.ResourceQuotaSpec{
		Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")},
	}}
	quotas := e.client.CoreV1().ResourceQuotas(spreadWarn)
	if _, err := quotas.Create(t.Context(), none, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s := newScheduler(t, e.Config())
	pools := make([][]*corev1.Node, spreadPools)
	for i := range pools {
		pools[i] = newSpreadPool(i)
	}
	s.createNodes(t, slices.Concat(pools...))

	tally := spreadTally{without: map[int]int{}, with: map[int]int{}, changes: map[int]int{}, kinds: map[string]int{}}
	group, ctx := errgroup.WithContext(t.Context())
	for i, pool := range pools {
		run, err := newSpreadRun(s, e.Config(), pool)
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() error {
			for n := i; n < *spreadWorkloads; n += spreadPools {
				w := newSpreadWorkload(n, pool)
				result, err := run.all(ctx, w)
				if err != nil {
					return fmt.Errorf("seed %d, workload %d: %w\n%s%s", spreadSeed, n, err, w, nodesText(pool))
				}
				for _, problem := range result.problems {
					t.Errorf("seed %d, workload %d: %s\n%s%s", spreadSeed, n, problem, w, nodesText(pool))
				}
				tally.add(w, result)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf(
		"workloads: %v, of which %d have anti-affinity without effect, and %d need more than their nodes have; replaced: %d",
		tally.kinds,
		tally.terms,
		tally.pending,
		tally.replaced,
	)
	t.Logf("skew without us: %v; with ScheduleAnyway: %v; less by: %v", tally.without, tally.with, tally.changes)
	if tally.pending < *spreadWorkloads/20 || tally.changes[0] > *spreadWorkloads*9/10 {
		t.Errorf(
			"%d workloads have pending pods, and %d have the same skew: the test proves little",
			tally.pending,
			tally.changes[0],
		)
	}
}

// spreadTally counts workloads by their results.
type spreadTally struct {
	mu sync.Mutex
	// without and with count by skew, changes by how much Sourceward reduced the skew.
	without, with, changes map[int]int
	kinds                  map[string]int
	pending, replaced      int
	// terms is the number of workloads with anti-affinity that has no effect.
	terms int
}

func (tally *spreadTally) add(w scheduledWorkload, result spreadResult) {
	tally.mu.Lock()
	defer tally.mu.Unlock()
	tally.kinds[w.kind]++
	tally.without[result.without.skew()]++
	tally.with[result.soft.skew()]++
	tally.changes[result.without.skew()-result.soft.skew()]++
	if w.hasTerm() {
		tally.terms++
	}
	if result.without.pending > 0 {
		tally.pending++
	}
	if result.replaced {
		tally.replaced++
	}
}

// spreadResult is the result for one workload.
type spreadResult struct {
	without, soft placement
	replaced      bool
	problems      []string
}

func (r *spreadResult) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// spreadRun places the workloads of one pool, one after the other.
type spreadRun struct {
	*scheduler
	pool   []*corev1.Node
	sender dynamic.Interface
	// services creates Services; its warnings are dropped.
	services kubernetes.Interface
	warned   *warningLines
}

// warningLines collects the warnings of the API server, except those of the rules in passedOver, until they are taken.
type warningLines struct{ lines, passedOver []string }

func (w *warningLines) HandleWarningHeaderWithContext(_ context.Context, _ int, _ string, text string) {
	if !slices.Contains(w.passedOver, warningRule(text)) {
		w.lines = append(w.lines, text)
	}
}

func (w *warningLines) take() []string {
	lines := w.lines
	w.lines = nil
	return lines
}

// warningRule returns the rule whose finding a warning shows.
func warningRule(line string) string {
	rule, _, _ := strings.Cut(line, ": ")
	return rule
}

func newSpreadRun(s *scheduler, config *rest.Config, pool []*corev1.Node) (*spreadRun, error) {
	run := &spreadRun{scheduler: s, pool: pool, warned: &warningLines{}}
	var err error
	if run.services, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	config.WarningHandlerWithContext = run.warned
	run.sender, err = dynamic.NewForConfig(config)
	return run, err
}

// all places a workload in each mode. The error is non-nil if the API server or the scheduler did not get that far.
func (r *spreadRun) all(ctx context.Context, w scheduledWorkload) (spreadResult, error) {
	var result spreadResult
	nodes := eligible(r.pool, w.template.Spec)
	room := roomOf(nodes, w.template.Spec)
	fit := 0
	for _, n := range room {
		fit += n
	}
	fit = min(fit, w.replicas)

	// Without.
	r.warned.passedOver = nil
	stored, said, err := r.send(ctx, spreadOff, w)
	if err != nil {
		return result, err
	}
	for _, line := range said {
		rule := warningRule(line)
		if slices.Contains([]string{"unspread-behind-local", "ineffective-spread"}, rule) {
			result.problem("without: %q", said)
		}
		r.warned.passedOver = append(r.warned.passedOver, rule)
	}
	if result.without, err = r.await(ctx, spreadOff, w, nodes, fit); err != nil {
		return result, err
	}
	if err := r.remove(ctx, spreadOff, w); err != nil {
		return result, err
	}

	// Mutate with DoNotSchedule.
	repaired, said, err := r.send(ctx, spreadHard, w)
	if err != nil {
		return result, err
	}
	result.wantRepair(w, repaired, said, corev1.DoNotSchedule)
	most := slices.Min(room) + 1
	fitHard := 0
	for _, n := range room {
		fitHard += min(n, most)
	}
	fitHard = min(fitHard, w.replicas)
	if err := r.hard(ctx, w, nodes, fitHard, slices.Min(room) >= 2*w.replicas, &result); err != nil {
		return result, err
	}
	if err := r.remove(ctx, spreadHard, w); err != nil {
		return result, err
	}

	// Mutate with ScheduleAnyway.
	if repaired, said, err = r.send(ctx, spreadSoft, w); err != nil {
		return result, err
	}
	result.wantRepair(w, repaired, said, corev1.ScheduleAnyway)
	// At least as many as without: await returns an error if more are pending.
	if result.soft, err = r.await(ctx, spreadSoft, w, nodes, result.without.bound()); err != nil {
		return result, err
	}
	if result.soft.skew() > result.without.skew() {
		result.problem("with ScheduleAnyway the pods are %s, and without us %s", result.soft, result.without)
	}
	if err := r.remove(ctx, spreadSoft, w); err != nil {
		return result, err
	}

	// Warn.
	warned, said, err := r.send(ctx, spreadWarn, w)
	if err != nil {
		return result, err
	}
	reason := "unspread-behind-local: pods of Service " + spreadWarn + "/" + w.name + " may share a node"
	if w.hasTerm() {
		reason = "ineffective-spread: anti-affinity uses a key nodes lack"
	}
	if len(said) == 0 || !strings.HasPrefix(said[0], reason) {
		result.problem("Warn: the warnings are %q", said)
	}
	if diff := cmp.Diff(withoutIdentity(stored), withoutIdentity(warned)); diff != "" {
		result.problem("Warn changes what is stored (-without +Warn):\n%s", diff)
	}
	return result, r.remove(ctx, spreadWarn, w)
}

// send creates the Service of a workload and then the workload. It returns the stored workload and its warnings.
func (r *spreadRun) send(
	ctx context.Context,
	namespace string,
	w scheduledWorkload,
) (*unstructured.Unstructured, []string, error) {
	_, err := r.services.CoreV1().Services(namespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: w.name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
			Selector: map[string]string{appLabel: w.name}, Ports: []corev1.ServicePort{{Port: 80}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, nil, err
	}
	stored, err := r.create(ctx, r.sender, namespace, w)
	return stored, r.warned.take(), err
}

// hard checks that the pods of a workload with a hard constraint are spread evenly, at first and, if the nodes are
// roomy enough for a rollout, after they were replaced. fit is the number of pods that fit.
func (r *spreadRun) hard(
	ctx context.Context,
	w scheduledWorkload,
	nodes []*corev1.Node,
	fit int,
	roomy bool,
	result *spreadResult,
) error {
	p, err := r.await(ctx, spreadHard, w, nodes, fit)
	if err != nil {
		return err
	}
	if p.skew() > 1 {
		result.problem("with DoNotSchedule the pods are %s", p)
	}
	if !roomy {
		return nil
	}
	before, err := r.of(spreadHard, w.name)
	if err != nil {
		return err
	}
	rolled, err := r.roll(ctx, r.sender, spreadHard, w)
	if err != nil {
		return err
	}
	result.replaced = true
	if said := r.warned.take(); len(said) > 0 {
		result.problem("a rollout of a repaired workload gets warnings: %q", said)
	}
	if w.waitsForDeletion() {
		if err := r.removePods(ctx, before); err != nil {
			return err
		}
	}
	if p, err = r.await(ctx, spreadHard, rolled, nodes, w.replicas); err != nil {
		return fmt.Errorf("replaced: %w", err)
	}
	if p.skew() > 1 {
		result.problem("with DoNotSchedule the pods are %s after they were replaced", p)
	}
	return nil
}

// wantRepair checks that a workload is stored with the constraint of the repair and nothing else, and that its author
// gets a warning about it.
func (r *spreadResult) wantRepair(
	w scheduledWorkload,
	stored *unstructured.Unstructured,
	said []string,
	when corev1.UnsatisfiableConstraintAction,
) {
	want := corev1.TopologySpreadConstraint{
		MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: when,
		LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{appLabel: w.name}},
	}
	if w.kind == "Deployment" {
		want.MatchLabelKeys = []string{appsv1.DefaultDeploymentUniqueLabelKey}
	}
	if when == corev1.DoNotSchedule {
		want.NodeTaintsPolicy = new(corev1.NodeInclusionPolicyHonor)
	}
	got, err := templateOf(stored.Object)
	if err != nil {
		r.problem("%v", err)
	}
	if diff := cmp.Diff([]corev1.TopologySpreadConstraint{want}, got.Spec.TopologySpreadConstraints); diff != "" {
		r.problem("constraints mismatch (-want +got):\n%s", diff)
	}
	rule := "unspread-behind-local"
	if w.hasTerm() {
		rule = "ineffective-spread"
	}
	if len(said) != 2 || said[0] != fmt.Sprintf(
		"%s: repaired: added a %s spread constraint on kubernetes.io/hostname", rule, when) {
		r.problem("%s: the warnings are %q, want one about the repair, and one about its reason", when, said)
	}
}

// withoutIdentity returns the content of an object without the fields that differ between any two objects.
func withoutIdentity(stored *unstructured.Unstructured) map[string]any {
	object := stored.DeepCopy()
	for _, field := range []string{"namespace", "uid", "resourceVersion", "creationTimestamp"} {
		unstructured.RemoveNestedField(object.Object, "metadata", field)
	}
	managed := object.GetManagedFields()
	for i := range managed {
		managed[i].Time = nil
	}
	object.SetManagedFields(managed)
	return object.Object
}

// roomOf returns the number of pods that fit on each node.
func roomOf(nodes []*corev1.Node, pod corev1.PodSpec) []int {
	room := make([]int, len(nodes))
	for i, node := range nodes {
		room[i] = int(node.Status.Allocatable.Cpu().MilliValue() / pod.Containers[0].Resources.Requests.Cpu().MilliValue())
	}
	return room
}

// nodesText describes the nodes of a pool, for messages about failures.
func nodesText(pool []*corev1.Node) string {
	var text strings.Builder
	for _, node := range pool {
		fmt.Fprintf(
			&text,
			"%s: labels %v, taints %v, unschedulable %t, %s CPU, images %v\n",
			node.Name,
			node.Labels,
			node.Spec.Taints,
			node.Spec.Unschedulable,
			node.Status.Allocatable.Cpu(),
			node.Status.Images,
		)
	}
	return text.String()
}

// newSpreadPool generates a pool of three to eight nodes. At least two of them accept all pods.
func newSpreadPool(i int) []*corev1.Node {
	r := rand.New(rand.NewPCG(spreadSeed, uint64(i)))
	pool := fmt.Sprintf("pool-%d", i)
	zones := oneOf(r, 0, 2, 2, 3)
	nodes := make([]*corev1.Node, 3+r.IntN(6))
	for n := range nodes {
		name := fmt.Sprintf("%s-%d", pool, n)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			corev1.LabelHostname: name, poolLabel: pool, diskLabel: oneOf(r, "ssd", "hdd"),
		}}}
		if zones > 0 {
			node.Labels[corev1.LabelTopologyZone] = fmt.Sprintf("zone-%d", r.IntN(zones))
		}
		node.Status.Capacity = corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse(oneOf(r, "4", "4", "8", "16")),
			corev1.ResourceMemory: resource.MustParse("64Gi"),
			corev1.ResourcePods:   resource.MustParse("110"),
		}
		node.Status.Allocatable = node.Status.Capacity
		if n >= 2 {
			switch r.IntN(8) {
			case 0:
				node.Spec.Taints = []corev1.Taint{
					{Key: "node-role.kubernetes.io/control-plane", Effect: corev1.TaintEffectNoSchedule},
				}
			case 1, 2:
				effect := oneOf(r, corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute)
				node.Spec.Taints = []corev1.Taint{{Key: dedicatedTaint, Value: "edge", Effect: effect}}
			case 3:
				node.Spec.Unschedulable = true
			}
		}
		nodes[n] = node
	}
	nodes[r.IntN(len(nodes))].Status.Images = []corev1.ContainerImage{
		{Names: []string{spreadImage}, SizeBytes: imageWorth(r.IntN(100), 6)},
	}
	return nodes
}

// waitsForDeletion reports whether pods are replaced only after they were deleted.
func (w scheduledWorkload) waitsForDeletion() bool {
	return w.kind == "ReplicaSet" || w.kind == "StatefulSet" && w.spec["updateStrategy"] != nil
}

// hasTerm reports whether the pods have anti-affinity, which does not spread them: no node has its topologyKey.
func (w scheduledWorkload) hasTerm() bool {
	return w.template.Spec.Affinity != nil && w.template.Spec.Affinity.PodAntiAffinity != nil
}

// addTerm gives pods a required anti-affinity term on a label that no node has.
func addTerm(pod *corev1.PodSpec, key, name string) {
	if pod.Affinity == nil {
		pod.Affinity = &corev1.Affinity{}
	}
	pod.Affinity.PodAntiAffinity = &corev1.PodAntiAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
			TopologyKey: key, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{appLabel: name}},
		}},
	}
}

// newSpreadWorkload generates a workload that does not spread its pods. At least two nodes of the pool are eligible.
// Each fourth has anti-affinity on a label that no node has: one that is mistaken for kubernetes.io/hostname, or one of
// the user's own.
func newSpreadWorkload(i int, pool []*corev1.Node) scheduledWorkload {
	r := rand.New(rand.NewPCG(spreadSeed, uint64(spreadPools+i)))
	w := scheduledWorkload{
		kind:     spreadKinds[i%len(spreadKinds)],
		name:     fmt.Sprintf("web-%03d", i),
		replicas: 2 + min(r.IntN(11), r.IntN(11)),
	}
	much := chance(r, 15)
	cpu := oneOf(r, "50m", "100m", "150m")
	if much {
		cpu = oneOf(r, "1500m", "3")
		w.replicas = 8 + r.IntN(5)
	}
	pod := pooledPod(spreadImage, pool)
	pod.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	for _, toleration := range []corev1.Toleration{
		{
			Key: "node-role.kubernetes.io/control-plane", Operator: corev1.TolerationOpExists,
			Effect: corev1.TaintEffectNoSchedule,
		},
		{Key: dedicatedTaint, Operator: corev1.TolerationOpEqual, Value: "edge"},
		{Key: dedicatedTaint, Operator: corev1.TolerationOpEqual, Value: "mail"},
		{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists},
		{Operator: corev1.TolerationOpExists},
	} {
		if chance(r, 20) {
			pod.Tolerations = append(pod.Tolerations, toleration)
		}
	}
	requirement := corev1.NodeSelectorRequirement{
		Key:      diskLabel,
		Operator: oneOf(r, corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn),
		Values:   []string{"ssd"},
	}
	term := corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{requirement}}
	chosen := *pod.DeepCopy()
	switch r.IntN(6) {
	case 0:
		chosen.NodeSelector[diskLabel] = oneOf(r, "ssd", "hdd")
	case 1:
		chosen.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{term},
			},
		}}
	case 2:
		chosen.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{
				{Weight: int32(1 + r.IntN(100)), Preference: term},
			},
		}}
	}
	if len(eligible(pool, chosen)) >= 2 {
		pod = chosen
	}
	if i%4 == 3 {
		addTerm(&pod, []string{"topology.kubernetes.io/hostname", "example.com/rack"}[i/4%2], w.name)
	}
	w.template = corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{appLabel: w.name, "track": "stable"}},
		Spec:       pod,
	}
	switch w.kind {
	case "Deployment":
		if strategy := oneOf(r, nil,
			map[string]any{"type": "Recreate"},
			rollingUpdate("25%", "25%"), rollingUpdate(int64(1), int64(0)), rollingUpdate(int64(0), "100%"),
			rollingUpdate("50%", "50%"), rollingUpdate("100%", int64(0)),
		); strategy != nil {
			w.spec = map[string]any{"strategy": strategy}
		}
	case "StatefulSet":
		w.spec = map[string]any{"serviceName": w.name, "podManagementPolicy": oneOf(r, "OrderedReady", "Parallel")}
		if much { // a pending pod would block the ones after it
			w.spec["podManagementPolicy"] = "Parallel"
		}
		if chance(r, 30) {
			w.spec["updateStrategy"] = map[string]any{"type": "OnDelete"}
		}
	}
	return w
}

func rollingUpdate(maxUnavailable, maxSurge any) map[string]any {
	return map[string]any{
		"type":          "RollingUpdate",
		"rollingUpdate": map[string]any{"maxUnavailable": maxUnavailable, "maxSurge": maxSurge},
	}
}
