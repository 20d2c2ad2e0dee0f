package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/test/cluster"
)

const (
	predicateSeed = 20261121
	// predicatePools is the number of pools of nodes, on each of which one template is placed at a time.
	predicatePools = 16

	// predicateNamespace is the Namespace of the pods. Some anti-affinity terms apply to predicateElsewhere instead.
	predicateNamespace, predicateElsewhere = "predicate", "elsewhere"

	rackLabel       = "example.com/rack"
	attractiveLabel = "example.com/attractive"
	// absentLabel is a label that no node has, and partialLabel one that only the attractive node lacks.
	absentLabel    = "topology.kubernetes.io/hostname"
	partialLabel   = "example.com/slot"
	predicateImage = "registry.example/web:1"
)

// predicateTemplates is larger in make test-long.
var predicateTemplates = flag.Int("predicate-templates", 150, "number of templates that TestSpreadPredicate places")

// TestSpreadPredicate compares how Sourceward says that templates spread their pods with what the scheduler does. Each
// template has five to seven pods, and is placed on a pool of four nodes (two zones of two, and two racks across them)
// and a fifth node with a taint. The first node attracts pods: it alone has the image, which adds a little to its
// score. Templates that Sourceward calls strong regardless of scores also get a preferred node affinity of the highest
// weight.
//
//   - strong: no node has two pods more than another. Pods may stay pending if no node may run them. A soft constraint
//     is one score among others, and does not outweigh an affinity of weight 100: if only soft constraints make a
//     template strong, only the image attracts.
//   - ineffective and none: the first node has two pods or more, and another has none, or two fewer. If a constraint is
//     said to keep all pods Pending, no node has a pod. Of some of these templates, the repair is placed as well, which
//     must not be ineffective or none.
//   - weak: the result is printed. One thing is checked: a soft constraint on hostname next to one on zones has no
//     effect on nodes without zones, which is why the two together are only weak.
//
// Constraints on zones and racks leave no pod pending (minDomains is at most the number of domains, and only nodes of
// the pool count): a constraint that admits no pod spreads none.
func TestSpreadPredicate(t *testing.T) {
	t.Parallel()
	t.Logf("seed %d", predicateSeed)
	c := startCluster(t, cluster.Options{Nodes: 1})
	config := c.Config()
	config.WarningHandlerWithContext = rest.NoWarnings{} // there are many, about nil selectors
	s := newScheduler(t, config)
	namespaces := map[string]string{predicateNamespace: "a", predicateElsewhere: "b"}
	for name, team := range namespaces {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"team": team}}}
		if _, err := s.client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	pools := make([][]*corev1.Node, predicatePools)
	for i := range pools {
		pools[i] = predicatePool(fmt.Sprintf("pool-%d", i), true)
	}
	bare := predicatePool("bare", false)
	s.createNodes(t, append(slices.Concat(pools...), bare...))

	p := &predicate{scheduler: s, skews: map[policies.Spreading]map[int]int{}}
	group, ctx := errgroup.WithContext(t.Context())
	for i, pool := range pools {
		group.Go(func() error {
			for n := i; n < *predicateTemplates; n += predicatePools {
				w := newPredicateWorkload(n, pool)
				problem, err := p.placeWithRepair(ctx, w, pool)
				if err != nil {
					return fmt.Errorf("seed %d, template %d: %w\n%s", predicateSeed, n, err, w)
				}
				if problem != "" {
					t.Errorf("seed %d, template %d: %s\n%s", predicateSeed, n, problem, w)
				}
			}
			return nil
		})
	}
	group.Go(func() error { return p.withoutZones(ctx, t, bare) })
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}

	least := map[policies.Spreading]int{
		policies.SpreadStrong: *predicateTemplates / 4, policies.SpreadIneffective: *predicateTemplates / 5,
		policies.SpreadWeak: *predicateTemplates / 20, policies.SpreadNone: *predicateTemplates / 20,
	}
	for said, want := range least {
		count := 0
		for _, n := range p.skews[said] {
			count += n
		}
		t.Logf("%s: %d templates, by skew: %v", said, count, p.skews[said])
		if count < want {
			t.Errorf("%s: %d templates, want at least %d", said, count, want)
		}
	}
	t.Logf("%d strong templates are strong by soft constraints alone, and %d left pods pending", p.soft, p.pending)
	t.Logf("%d templates were said to keep all pods Pending; %d repairs were placed, and %d templates have none",
		p.stuck, p.repaired, p.unrepaired)
	if p.stuck < *predicateTemplates/100 || p.repaired < *predicateTemplates/10 {
		t.Errorf("%d templates keep all pods Pending, and %d repairs were placed: these are too few", p.stuck, p.repaired)
	}
}

// predicatePool returns the nodes of a pool, the attractive one first. Pools do not share zones or racks.
func predicatePool(pool string, zones bool) []*corev1.Node {
	nodes := make([]*corev1.Node, 5)
	for i := range nodes {
		name := fmt.Sprintf("%s-%d", pool, i)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			corev1.LabelHostname: name,
			poolLabel:            pool,
			rackLabel:            fmt.Sprintf("%s-%d", pool, i%2),
		}}}
		if i > 0 {
			node.Labels[partialLabel] = name
		}
		if zones {
			node.Labels[corev1.LabelTopologyZone] = fmt.Sprintf("%s-%d", pool, i/2%2)
		}
		nodes[i] = node
	}
	nodes[0].Labels[attractiveLabel] = "true"
	nodes[0].Status.Images = []corev1.ContainerImage{
		{Names: []string{predicateImage}, SizeBytes: imageWorth(40, len(nodes))},
	}
	nodes[4].Spec.Taints = []corev1.Taint{{Key: "example.com/dedicated", Effect: corev1.TaintEffectNoSchedule}}
	return nodes
}

// imageWorth returns the size of an image that adds points, out of a hundred, to the score of a node, if it is the only
// one of nodes that has the image. Source: kubernetes v1.37.1,
// pkg/scheduler/framework/plugins/imagelocality/image_locality.go.
func imageWorth(points, nodes int) int64 {
	const mb, least, most = 1024 * 1024, 23, 1000
	return int64(least+(most-least)*points/100) * mb * int64(nodes)
}

// predicate places templates, and counts the results.
type predicate struct {
	*scheduler

	mu sync.Mutex
	// skews is the number of templates by what Sourceward says about them and by their skew.
	skews         map[policies.Spreading]map[int]int
	soft, pending int
	// stuck is the number of templates that are said to keep all pods Pending. repaired is the number of templates whose
	// repair was placed, and unrepaired that of those that have none.
	stuck, repaired, unrepaired int
}

// placeWithRepair places a template and, if it does not spread its pods, what Sourceward makes of it.
func (p *predicate) placeWithRepair(ctx context.Context, w scheduledWorkload, pool []*corev1.Node) (string, error) {
	problem, err := p.place(ctx, w, pool)
	if err != nil || problem != "" {
		return problem, err
	}
	said, err := spreadingSaid(ctx, w, pool)
	if err != nil || said.kept() {
		return "", err
	}
	p.mu.Lock()
	if said.repaired == nil {
		p.unrepaired++
	} else {
		p.repaired++
	}
	p.mu.Unlock()
	if said.repaired == nil {
		return "", nil
	}
	w.template = *said.repaired
	if said, err = spreadingSaid(ctx, w, pool); err != nil || !said.kept() {
		return fmt.Sprintf("after its repair said to be %s: %s", said.Spreading, w), err
	}
	if problem, err = p.place(ctx, w, pool); problem != "" {
		problem = fmt.Sprintf("after its repair %s: %s", problem, w)
	}
	return problem, err
}

// place waits until the scheduler has placed the pods of a template, and returns a problem if the result contradicts
// what Sourceward says. The error is non-nil if the pods could not be placed.
func (p *predicate) place(ctx context.Context, w scheduledWorkload, pool []*corev1.Node) (problem string, err error) {
	decided, err := spreadingSaid(ctx, w, pool)
	if err != nil {
		return "", err
	}
	said := decided.Spreading
	soft := false
	if said == policies.SpreadStrong {
		rest := w
		rest.template.Spec.TopologySpreadConstraints = slices.DeleteFunc(
			slices.Clone(w.template.Spec.TopologySpreadConstraints),
			func(c corev1.TopologySpreadConstraint) bool { return c.WhenUnsatisfiable == corev1.ScheduleAnyway },
		)
		without, err := spreadingSaid(ctx, rest, pool)
		if err != nil {
			return "", err
		}
		soft = without.Spreading != policies.SpreadStrong
	}
	w.template = *w.template.DeepCopy()
	if !soft {
		attract(&w.template.Spec)
	}
	nodes := eligible(pool, w.template.Spec)
	if _, err := p.create(ctx, p.dynamic, predicateNamespace, w); err != nil {
		return "", err
	}
	least := 2 // Fewer pods would show nothing.
	if decided.pending {
		least = 0
	}
	found, err := p.await(ctx, predicateNamespace, w, nodes, least)
	if err != nil {
		return "", err
	}
	p.count(decided, soft, found)
	stacked := found.perNode[0] >= 2 && (slices.Min(found.perNode) == 0 || found.skew() > 1)
	switch {
	case decided.pending:
		if found.bound() > 0 {
			problem = fmt.Sprintf("said to keep all pods Pending, and they are %s", found)
		}
	case said == policies.SpreadStrong:
		if found.skew() > 1 {
			problem = fmt.Sprintf("said to be %s, soft %t, and the pods are %s", said, soft, found)
		}
	case said == policies.SpreadIneffective, said == policies.SpreadNone:
		if !stacked {
			problem = fmt.Sprintf("said to be %s, and the pods are %s", said, found)
		}
	case said == policies.SpreadWeak:
	default:
		problem = fmt.Sprintf("said to be %q", said)
	}
	return problem, p.remove(ctx, predicateNamespace, w)
}

func (p *predicate) count(decided decidedSpread, soft bool, found placement) {
	p.mu.Lock()
	defer p.mu.Unlock()
	said := decided.Spreading
	if decided.pending {
		p.stuck++
	}
	if p.skews[said] == nil {
		p.skews[said] = map[int]int{}
	}
	p.skews[said][found.skew()]++
	if soft {
		p.soft++
	}
	if said == policies.SpreadStrong && found.pending > 0 {
		p.pending++
	}
}

// withoutZones places pods with soft constraints on hostname and zone on nodes without zones, to which the scheduler
// then gives no score for either constraint.
func (p *predicate) withoutZones(ctx context.Context, t *testing.T, pool []*corev1.Node) error {
	w := scheduledWorkload{kind: "Deployment", name: "without-zones", replicas: 8, template: corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{appLabel: "without-zones"}},
		Spec:       pooledPod(predicateImage, pool),
	}}
	for _, key := range []string{corev1.LabelHostname, corev1.LabelTopologyZone} {
		w.template.Spec.TopologySpreadConstraints = append(
			w.template.Spec.TopologySpreadConstraints,
			corev1.TopologySpreadConstraint{
				MaxSkew: 1, TopologyKey: key, WhenUnsatisfiable: corev1.ScheduleAnyway,
				LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{appLabel: w.name}},
			},
		)
	}
	decided, err := spreadingSaid(ctx, w, pool)
	if err != nil {
		return err
	}
	said := decided.Spreading
	nodes := eligible(pool, w.template.Spec)
	if _, err := p.create(ctx, p.dynamic, predicateNamespace, w); err != nil {
		return err
	}
	found, err := p.await(ctx, predicateNamespace, w, nodes, w.replicas)
	if err != nil {
		return err
	}
	t.Logf(
		"soft constraints on hostname and zone, on nodes without zones: said to be %s, and the pods are %s",
		said,
		found,
	)
	if said != policies.SpreadIneffective || found.skew() <= 1 {
		t.Errorf(
			"soft constraints on hostname and zone, on nodes without zones: said to be %s, and the pods are %s\n%s",
			said,
			found,
			w,
		)
	}
	return nil
}

// attract gives pods a preference for the attractive node that outweighs other preferences.
func attract(pod *corev1.PodSpec) {
	if pod.Affinity == nil {
		pod.Affinity = &corev1.Affinity{}
	}
	pod.Affinity.NodeAffinity = &corev1.NodeAffinity{
		PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{
			Weight: 100,
			Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
				{Key: attractiveLabel, Operator: corev1.NodeSelectorOpExists},
			}},
		}},
	}
}

// spreadReader implements policies.Rules without reasons. It keeps the fact about how the template spreads its pods.
type spreadReader struct{ said policies.Spreading }

func (r *spreadReader) Evaluate(
	_ context.Context,
	document policies.Document,
	_ []policies.AppliedPolicy,
) []policies.Answer {
	// A second question is about the repaired workload.
	if !document.Neighbour && r.said == "" {
		r.said = document.Facts.Spread
	}
	return []policies.Answer{{}}
}

// decidedSpread is what Sourceward decides about a workload behind a Local Service.
type decidedSpread struct {
	policies.Spreading
	// pending is true if a constraint is said to keep all pods Pending.
	pending bool
	// repaired is the template after its repair; nil if it has none.
	repaired *corev1.PodTemplateSpec
}

func (d decidedSpread) kept() bool {
	return d.Spreading == policies.SpreadStrong || d.Spreading == policies.SpreadWeak
}

// spreadingSaid returns how Sourceward says that a workload spreads its pods over nodes. The error is non-nil if the
// findings for the workload behind a Local Service do not agree.
func spreadingSaid(ctx context.Context, w scheduledWorkload, nodes []*corev1.Node) (decidedSpread, error) {
	object, err := policies.NewObject(w.object(predicateNamespace).Object)
	if err != nil {
		return decidedSpread{}, err
	}
	var known []*corev1.Node
	for _, node := range nodes {
		known = append(known, policies.ReducedNode(node))
	}
	var reader spreadReader
	decision, err := policies.Decide(ctx, policies.Input{
		Operation: policies.Create,
		Object:    object,
		Cluster:   policies.Cluster{Known: policies.NewNodes(known)},
		Namespace: policies.Namespace{Name: predicateNamespace, Labels: map[string]string{
			corev1.LabelMetadataName: predicateNamespace, "team": "a",
		}},
		Related: policies.Related{View: policies.ViewCluster, Services: []*corev1.Service{{
			ObjectMeta: metav1.ObjectMeta{Namespace: predicateNamespace, Name: w.name},
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
				Selector: map[string]string{appLabel: w.name},
			},
		}}},
	}, &reader, policies.Settings{Modes: map[string]policies.Mode{"unspread-behind-local": policies.Mutate}})
	if err != nil {
		return decidedSpread{}, err
	}
	said := decidedSpread{Spreading: reader.said}
	var rules []string
	for _, finding := range decision.Findings {
		if finding.Rule == "unspread-behind-local" || finding.Rule == "ineffective-spread" {
			rules = append(rules, finding.Rule)
			said.pending = strings.Contains(finding.Message, "keeps all pods Pending")
		}
	}
	want := map[policies.Spreading][]string{
		policies.SpreadNone: {"unspread-behind-local"}, policies.SpreadIneffective: {"ineffective-spread"},
	}[reader.said]
	if !slices.Equal(rules, want) {
		return decidedSpread{}, fmt.Errorf("said to be %s, and the findings are %q", reader.said, rules)
	}
	if reader.said == "" {
		return decidedSpread{}, errors.New("Rego did not get the fact how it spreads its pods")
	}
	for _, patch := range decision.Patches {
		if patch.Rule != "unspread-behind-local" && patch.Rule != "ineffective-spread" {
			continue
		}
		repaired, err := object.Patched(patch.Operations)
		if err != nil {
			return decidedSpread{}, err
		}
		template, _, err := unstructured.NestedMap(repaired.Content(), "spec", "template")
		if err != nil {
			return decidedSpread{}, err
		}
		text, err := json.Marshal(template)
		if err != nil {
			return decidedSpread{}, err
		}
		said.repaired = &corev1.PodTemplateSpec{}
		if err := json.Unmarshal(text, said.repaired); err != nil {
			return decidedSpread{}, err
		}
	}
	return said, nil
}

// predicateGenerator generates templates of one kind.
type predicateGenerator struct {
	*rand.Rand
	kind string
	own  map[string]string
}

// newPredicateWorkload generates one of the templates, for a pool.
func newPredicateWorkload(i int, pool []*corev1.Node) scheduledWorkload {
	r := rand.New(rand.NewPCG(predicateSeed, uint64(i)))
	name := fmt.Sprintf("web-%03d", i)
	g := predicateGenerator{
		Rand: r,
		kind: oneOf(r, "Deployment", "Deployment", "StatefulSet", "ReplicaSet"),
		own: map[string]string{
			appLabel: name, "tier": fmt.Sprintf("tier-%03d", i), "track": "stable",
		},
	}
	w := scheduledWorkload{kind: g.kind, name: name, replicas: 5 + r.IntN(3), template: corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: g.own},
		Spec:       pooledPod(predicateImage, pool),
	}}
	if g.kind == "StatefulSet" {
		w.spec = map[string]any{"podManagementPolicy": "Parallel"} // a pending pod must not block the ones after it
	}
	things := []func(*corev1.PodSpec){g.addConstraint, g.addConstraint, g.addConstraint, g.addTerm, g.addTerm, g.addPorts}
	if chance(r, 95) {
		oneOf(r, things...)(&w.template.Spec)
	}
	if chance(r, 45) {
		oneOf(r, things...)(&w.template.Spec)
	}
	return w
}

// addConstraint adds a topology spread constraint, unless there is one with the same topologyKey and whenUnsatisfiable.
func (g predicateGenerator) addConstraint(pod *corev1.PodSpec) {
	c := corev1.TopologySpreadConstraint{
		MaxSkew:           oneOf(g.Rand, int32(1), 1, 1, 2, 3),
		TopologyKey:       g.key(absentLabel),
		WhenUnsatisfiable: oneOf(g.Rand, corev1.DoNotSchedule, corev1.ScheduleAnyway),
		NodeTaintsPolicy: oneOf(
			g.Rand,
			nil,
			nil,
			new(corev1.NodeInclusionPolicyHonor),
			new(corev1.NodeInclusionPolicyIgnore),
		),
	}
	c.LabelSelector = g.selector()
	if c.LabelSelector != nil && chance(g.Rand, 30) {
		c.MatchLabelKeys = g.keys(c.LabelSelector, nil)
	}
	onNode := c.TopologyKey == corev1.LabelHostname
	if onNode {
		c.NodeAffinityPolicy = oneOf(
			g.Rand,
			nil,
			nil,
			new(corev1.NodeInclusionPolicyHonor),
			new(corev1.NodeInclusionPolicyIgnore),
		)
	}
	if c.WhenUnsatisfiable == corev1.DoNotSchedule && chance(g.Rand, 20) {
		most := 2
		if onNode {
			most = 6
		}
		c.MinDomains = new(int32(1 + g.IntN(most)))
	}
	for _, other := range pod.TopologySpreadConstraints {
		if other.TopologyKey == c.TopologyKey && other.WhenUnsatisfiable == c.WhenUnsatisfiable {
			return
		}
	}
	pod.TopologySpreadConstraints = append(pod.TopologySpreadConstraints, c)
}

// addTerm adds an anti-affinity term.
func (g predicateGenerator) addTerm(pod *corev1.PodSpec) {
	term := corev1.PodAffinityTerm{
		TopologyKey:   g.key(absentLabel, partialLabel),
		LabelSelector: g.selector(),
		Namespaces: oneOf(g.Rand, nil, nil, nil, nil, []string{predicateNamespace}, []string{predicateElsewhere},
			[]string{predicateNamespace, predicateElsewhere}),
	}
	if chance(g.Rand, 30) {
		term.NamespaceSelector = oneOf(
			g.Rand,
			&metav1.LabelSelector{},
			&metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}},
			&metav1.LabelSelector{MatchLabels: map[string]string{"team": "b"}},
			&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: []string{predicateNamespace}},
			}},
			&metav1.LabelSelector{
				MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: metav1.LabelSelectorOpDoesNotExist}},
			},
		)
	}
	if term.LabelSelector != nil && chance(g.Rand, 25) {
		term.MatchLabelKeys = g.keys(term.LabelSelector, nil)
	}
	if term.LabelSelector != nil && chance(g.Rand, 25) {
		term.MismatchLabelKeys = g.keys(term.LabelSelector, term.MatchLabelKeys)
	}
	if pod.Affinity == nil {
		pod.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{}}
	}
	anti := pod.Affinity.PodAntiAffinity
	if chance(g.Rand, 50) {
		anti.RequiredDuringSchedulingIgnoredDuringExecution = append(
			anti.RequiredDuringSchedulingIgnoredDuringExecution,
			term,
		)
		return
	}
	anti.PreferredDuringSchedulingIgnoredDuringExecution = append(anti.PreferredDuringSchedulingIgnoredDuringExecution,
		corev1.WeightedPodAffinityTerm{Weight: int32(1 + g.IntN(100)), PodAffinityTerm: term})
}

// addPorts adds host ports, or something similar that does not reserve a port of the node.
func (g predicateGenerator) addPorts(pod *corev1.PodSpec) {
	port := corev1.ContainerPort{Name: "web", ContainerPort: 8080}
	switch g.IntN(6) {
	case 0: // only a container port
	case 1:
		pod.HostNetwork = true
	case 2:
		pod.HostNetwork = true
		return
	case 3:
		port.HostPort = port.ContainerPort
		port.Protocol = oneOf(g.Rand, corev1.ProtocolUDP, corev1.ProtocolTCP)
	case 4:
		port.HostPort = port.ContainerPort
		port.HostIP = "192.0.2.1"
	default:
		init := corev1.Container{
			Name:  "first",
			Image: predicateImage,
			Ports: []corev1.ContainerPort{{ContainerPort: 9090, HostPort: 9090}},
		}
		if chance(g.Rand, 50) {
			init.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
		}
		pod.InitContainers = []corev1.Container{init}
		return
	}
	pod.Containers[0].Ports = []corev1.ContainerPort{port}
}

// key returns the label of a constraint or term: one that all nodes have, or sometimes one that nodes lack.
func (g predicateGenerator) key(lacking ...string) string {
	if chance(g.Rand, 15) {
		return oneOf(g.Rand, lacking...)
	}
	return oneOf(
		g.Rand,
		corev1.LabelHostname,
		corev1.LabelHostname,
		corev1.LabelHostname,
		corev1.LabelTopologyZone,
		rackLabel,
	)
}

// added returns labels that are not in the template; controllers add most of them to the pods.
func (g predicateGenerator) added() []string {
	return map[string][]string{
		"Deployment":  {"pod-template-hash"},
		"StatefulSet": {"controller-revision-hash", "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"},
		"ReplicaSet":  {"role"}, // its pods do not have it
	}[g.kind]
}

// selector returns a selector that may or may not select the pods.
func (g predicateGenerator) selector() *metav1.LabelSelector {
	labels := func(keys ...string) *metav1.LabelSelector {
		selector := &metav1.LabelSelector{MatchLabels: map[string]string{}}
		for _, key := range keys {
			selector.MatchLabels[key] = g.own[key]
		}
		return selector
	}
	expression := func(key string, operator metav1.LabelSelectorOperator, values ...string) *metav1.LabelSelector {
		return &metav1.LabelSelector{
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: operator, Values: values}},
		}
	}
	switch g.IntN(20) {
	case 0, 1:
		return nil
	case 2, 3:
		return &metav1.LabelSelector{}
	case 4, 5, 6:
		return labels(appLabel)
	case 7:
		return labels("tier", "track")
	case 8:
		return expression(appLabel, metav1.LabelSelectorOpIn, g.own[appLabel], "other")
	case 9:
		return expression("track", metav1.LabelSelectorOpNotIn, "canary")
	case 10:
		return expression("tier", metav1.LabelSelectorOpExists)
	case 11:
		return expression("role", metav1.LabelSelectorOpDoesNotExist)
	case 12, 13:
		return expression(
			oneOf(g.Rand, g.added()...),
			oneOf(g.Rand, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist),
		)
	case 14, 15:
		return &metav1.LabelSelector{MatchLabels: map[string]string{appLabel: "other"}}
	case 16:
		selector := labels("tier")
		selector.MatchLabels["track"] = "canary"
		return selector
	case 17:
		return expression(appLabel, metav1.LabelSelectorOpNotIn, g.own[appLabel])
	case 18:
		return expression("track", metav1.LabelSelectorOpDoesNotExist)
	default:
		return expression(oneOf(g.Rand, g.added()...), metav1.LabelSelectorOpIn, "5d4f8c7b9")
	}
}

// keys returns keys of labels, some of which the pods have. The API server refuses a key that is in the selector or in
// the other list.
func (g predicateGenerator) keys(selector *metav1.LabelSelector, not []string) []string {
	taken := slices.AppendSeq(slices.Clone(not), maps.Keys(selector.MatchLabels))
	for _, requirement := range selector.MatchExpressions {
		taken = append(taken, requirement.Key)
	}
	candidates := append([]string{appLabel, "tier", "role"}, g.added()...)
	var keys []string
	for range 1 + g.IntN(2) {
		key := oneOf(g.Rand, candidates...)
		if !slices.Contains(taken, key) {
			keys, taken = append(keys, key), append(taken, key)
		}
	}
	return keys
}
