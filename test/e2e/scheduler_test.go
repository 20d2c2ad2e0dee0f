package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"sigs.k8s.io/yaml"
)

const (
	// placementPatience bounds every wait for pods. It is long because many workloads are placed at the same time.
	placementPatience = 3 * time.Minute

	// poolLabel is the label of nodes that names their pool; appLabel is the label of pods that names their workload.
	poolLabel = "example.com/pool"
	appLabel  = "app"
	// revisionAnnotation is the annotation that a rollout changes. It is in the template, so pods have it too.
	revisionAnnotation = "example.com/revision"
)

// schedulerKinds maps the kinds of workloads to their resources.
var schedulerKinds = map[string]schema.GroupVersionResource{
	"Deployment":  {Group: "apps", Version: "v1", Resource: "deployments"},
	"StatefulSet": {Group: "apps", Version: "v1", Resource: "statefulsets"},
	"ReplicaSet":  {Group: "apps", Version: "v1", Resource: "replicasets"},
}

// scheduledWorkload is a generated workload.
type scheduledWorkload struct {
	kind, name string
	replicas   int
	// spec holds the fields of the spec that only its kind has.
	spec     map[string]any
	template corev1.PodTemplateSpec
}

// object returns the manifest of the workload in a Namespace.
func (w scheduledWorkload) object(namespace string) *unstructured.Unstructured {
	template, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&w.template)
	if err != nil {
		panic(err) // a typed object always converts
	}
	spec := map[string]any{
		"replicas": int64(w.replicas),
		"selector": map[string]any{"matchLabels": map[string]any{appLabel: w.name}},
		"template": template,
	}
	maps.Copy(spec, w.spec)
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": w.kind,
		"metadata": map[string]any{"namespace": namespace, "name": w.name},
		"spec":     spec,
	}}
}

// String returns the manifest as YAML, for messages about failures.
func (w scheduledWorkload) String() string {
	text, err := yaml.Marshal(w.object(metav1.NamespaceDefault).Object)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// pooledPod returns the spec of a pod with an image that runs on a pool. Without a grace period it is gone as soon as
// it is deleted, although no kubelet runs.
func pooledPod(image string, pool []*corev1.Node) corev1.PodSpec {
	return corev1.PodSpec{
		NodeSelector:                  map[string]string{poolLabel: pool[0].Labels[poolLabel]},
		TerminationGracePeriodSeconds: new(int64(0)),
		Containers:                    []corev1.Container{{Name: "web", Image: image}},
	}
}

// scheduler is a control plane whose scheduler places the pods of many generated workloads at the same time, each on a
// pool of nodes that no other workload uses.
type scheduler struct {
	dynamic dynamic.Interface
	client  kubernetes.Interface
	pods    cache.Indexer
}

// newScheduler returns a scheduler that watches the pods of a cluster until the test ends.
func newScheduler(t *testing.T, config *rest.Config) *scheduler {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	dynamicClient, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	informer := factory.Core().V1().Pods().Informer()
	err = informer.AddIndexers(cache.Indexers{appLabel: func(object any) ([]string, error) {
		pod, ok := object.(*corev1.Pod)
		if !ok {
			return nil, fmt.Errorf("%T is not a Pod", object)
		}
		return []string{pod.Namespace + "/" + pod.Labels[appLabel]}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	factory.Start(t.Context().Done())
	if !cache.WaitForCacheSync(t.Context().Done(), informer.HasSynced) {
		t.Fatal("the informer of pods did not sync")
	}
	return &scheduler{dynamicClient, client, informer.GetIndexer()}
}

// createNodes creates nodes, and waits until the taints for nodes of unknown health are gone and the cordoned ones have
// their taint.
func (s *scheduler) createNodes(t *testing.T, nodes []*corev1.Node) {
	t.Helper()
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(8)
	for _, node := range nodes {
		group.Go(func() error {
			_, err := s.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes {
		err := poll(t.Context(), func() (done bool, err error) {
			now, err := s.client.CoreV1().Nodes().Get(t.Context(), node.Name, metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			return slices.EqualFunc(taintsOf(node), taintsOf(now), func(a, b corev1.Taint) bool { return a.MatchTaint(&b) }) &&
				len(now.Spec.Taints) == len(taintsOf(node)), nil
		})
		if err != nil {
			t.Fatalf("node %s: %v", node.Name, err)
		}
	}
}

// taintsOf returns the taints of a node, including the one that the node controller adds if the node is cordoned.
func taintsOf(node *corev1.Node) []corev1.Taint {
	taints := slices.DeleteFunc(
		slices.Clone(node.Spec.Taints),
		func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeUnschedulable },
	)
	if node.Spec.Unschedulable {
		taints = append(taints, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
	}
	return taints
}

// eligible returns the nodes that a pod selects and whose taints it tolerates.
func eligible(nodes []*corev1.Node, pod corev1.PodSpec) []*corev1.Node {
	chosen := nodeaffinity.NewRequiredNodeAffinity(pod.NodeSelector, pod.Affinity)
	var found []*corev1.Node
	for _, node := range nodes {
		keptAway := slices.ContainsFunc(taintsOf(node), func(taint corev1.Taint) bool {
			return taint.Effect != corev1.TaintEffectPreferNoSchedule &&
				!slices.ContainsFunc(pod.Tolerations, func(toleration corev1.Toleration) bool {
					return toleration.ToleratesTaint(logr.Discard(), &taint, false)
				})
		})
		if match, err := chosen.Match(node); err == nil && match && !keptAway {
			found = append(found, node)
		}
	}
	return found
}

// create creates a workload, and returns the stored object.
func (s *scheduler) create(
	ctx context.Context,
	client dynamic.Interface,
	namespace string,
	w scheduledWorkload,
) (*unstructured.Unstructured, error) {
	return client.Resource(schedulerKinds[w.kind]).
		Namespace(namespace).
		Create(ctx, w.object(namespace), metav1.CreateOptions{})
}

// remove deletes a workload, and waits until its pods are gone, so that the nodes are empty for the next workload.
func (s *scheduler) remove(ctx context.Context, namespace string, w scheduledWorkload) error {
	err := s.dynamic.Resource(schedulerKinds[w.kind]).Namespace(namespace).Delete(ctx, w.name,
		metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)})
	if err != nil {
		return err
	}
	return poll(ctx, func() (bool, error) {
		pods, err := s.of(namespace, w.name)
		return len(pods) == 0, err
	})
}

// of returns the pods of a workload.
func (s *scheduler) of(namespace, app string) ([]*corev1.Pod, error) {
	objects, err := s.pods.ByIndex(appLabel, namespace+"/"+app)
	if err != nil {
		return nil, err
	}
	pods := make([]*corev1.Pod, len(objects))
	for i, object := range objects {
		pod, ok := object.(*corev1.Pod)
		if !ok {
			return nil, fmt.Errorf("%T is not a Pod", object)
		}
		pods[i] = pod
	}
	return pods, nil
}

// placement is the number of pods of a workload on each node, in the order of the nodes, and the number of pending
// pods.
type placement struct {
	perNode []int
	pending int
}

func (p placement) String() string {
	text := strings.Trim(strings.ReplaceAll(fmt.Sprint(p.perNode), " ", "/"), "[]")
	if p.pending > 0 {
		text += fmt.Sprintf(" and %d pending", p.pending)
	}
	return text
}

// skew returns how many more pods the fullest node has than the emptiest one.
func (p placement) skew() int { return slices.Max(p.perNode) - slices.Min(p.perNode) }

// bound returns the number of pods that are on nodes.
func (p placement) bound() int {
	sum := 0
	for _, n := range p.perNode {
		sum += n
	}
	return sum
}

// settled returns the placement of pods, and whether it is final: no pod is being deleted, all have the newest
// revision, and each is on a node or was marked as unschedulable.
func settled(pods []*corev1.Pod, w scheduledWorkload, nodes []*corev1.Node) (placement, bool) {
	p := placement{perNode: make([]int, len(nodes))}
	if len(pods) != w.replicas {
		return p, false
	}
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil || pod.Annotations[revisionAnnotation] != w.template.Annotations[revisionAnnotation] {
			return p, false
		}
		i := slices.IndexFunc(nodes, func(node *corev1.Node) bool { return node.Name == pod.Spec.NodeName })
		refused := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse &&
				c.Reason == corev1.PodReasonUnschedulable
		})
		switch {
		case i >= 0:
			p.perNode[i]++
		case pod.Spec.NodeName == "" && refused:
			p.pending++
		default:
			return p, false
		}
	}
	return p, true
}

// await waits until the pods of a workload are settled and at least the wanted number of them are on nodes: a pod may
// have been marked as unschedulable while former pods still filled the nodes. The error is non-nil if this does not
// happen.
func (s *scheduler) await(
	ctx context.Context,
	namespace string,
	w scheduledWorkload,
	nodes []*corev1.Node,
	wanted int,
) (placement, error) {
	var p placement
	err := poll(ctx, func() (bool, error) {
		pods, err := s.of(namespace, w.name)
		if err != nil {
			return false, err
		}
		var ok bool
		p, ok = settled(pods, w, nodes)
		return ok && p.bound() >= wanted, nil
	})
	if err != nil {
		err = fmt.Errorf("%s %s/%s on %d nodes: of %d pods %d should run, and they are %s: %w",
			w.kind, namespace, w.name, len(nodes), w.replicas, wanted, p, err)
	}
	return p, err
}

// roll changes the template of a workload, and returns the changed workload.
func (s *scheduler) roll(
	ctx context.Context,
	client dynamic.Interface,
	namespace string,
	w scheduledWorkload,
) (scheduledWorkload, error) {
	w.template = *w.template.DeepCopy()
	w.template.Annotations = map[string]string{revisionAnnotation: "2"}
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{%q:"2"}}}}}`, revisionAnnotation)
	_, err := client.Resource(schedulerKinds[w.kind]).
		Namespace(namespace).
		Patch(ctx, w.name, "application/merge-patch+json", []byte(patch), metav1.PatchOptions{})
	return w, err
}

// removePods deletes pods. Their controllers may create new ones.
func (s *scheduler) removePods(ctx context.Context, pods []*corev1.Pod) error {
	for _, pod := range pods {
		err := s.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// poll calls a cheap function until it returns true. The error is non-nil if the function returns one, or still returns
// false after placementPatience.
func poll(ctx context.Context, ask func() (bool, error)) error {
	err := wait.PollUntilContextTimeout(
		ctx,
		10*time.Millisecond,
		placementPatience,
		true,
		func(context.Context) (bool, error) { return ask() },
	)
	if ctx.Err() != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	return err
}

// chance returns true with a probability in percent.
func chance(r *rand.Rand, percent int) bool { return r.IntN(100) < percent }
