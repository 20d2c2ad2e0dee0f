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
	// placementPatience bounds every wait for pods. Many workloads are placed at a time.
	placementPatience = 3 * time.Minute

	// poolLabel is the label by which nodes belong to one pool, and appLabel the one by which pods belong to their workload.
	poolLabel = "example.com/pool"
	appLabel  = "app"
	// revisionAnnotation is changed by a rollout. It is in the template, so pods have it too.
	revisionAnnotation = "example.com/revision"
)

// schedulerKinds are the resources of the kinds whose pods are placed.
var schedulerKinds = map[string]schema.GroupVersionResource{
	"Deployment":  {Group: "apps", Version: "v1", Resource: "deployments"},
	"StatefulSet": {Group: "apps", Version: "v1", Resource: "statefulsets"},
	"ReplicaSet":  {Group: "apps", Version: "v1", Resource: "replicasets"},
}

// scheduledWorkload is a generated workload.
type scheduledWorkload struct {
	kind, name string
	replicas   int
	// spec are the fields of the spec that its kind alone has.
	spec     map[string]any
	template corev1.PodTemplateSpec
}

// object is the manifest, in a Namespace.
func (w scheduledWorkload) object(namespace string) *unstructured.Unstructured {
	template, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&w.template)
	if err != nil {
		panic(err) // a typed object has a form in JSON
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

// String is the manifest as a reader of a failure wants it.
func (w scheduledWorkload) String() string {
	text, err := yaml.Marshal(w.object(metav1.NamespaceDefault).Object)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// pooledPod is that of a pod with an image, on a pool. It goes as soon as it is deleted: nobody has to see it off.
func pooledPod(image string, pool []*corev1.Node) corev1.PodSpec {
	return corev1.PodSpec{
		NodeSelector:                  map[string]string{poolLabel: pool[0].Labels[poolLabel]},
		TerminationGracePeriodSeconds: new(int64(0)),
		Containers:                    []corev1.Container{{Name: "web", Image: image}},
	}
}

// scheduler is a control plane whose scheduler places the pods of generated workloads, of which many are there at a time,
// each on a pool of nodes that it has for itself.
type scheduler struct {
	dynamic dynamic.Interface
	client  kubernetes.Interface
	pods    cache.Indexer
}

// newScheduler begins to watch the pods of a cluster, until the test ends.
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
			return nil, fmt.Errorf("a %T is no Pod", object)
		}
		return []string{pod.Namespace + "/" + pod.Labels[appLabel]}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	factory.Start(t.Context().Done())
	if !cache.WaitForCacheSync(t.Context().Done(), informer.HasSynced) {
		t.Fatal("the pods are not listed")
	}
	return &scheduler{dynamicClient, client, informer.GetIndexer()}
}

// createNodes creates nodes and waits until the taints that they are created with, while nobody knows how they are, are gone, and
// those that are cordoned have theirs.
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

// taintsOf are the taints of a node, with the one that a cordon will bring.
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

// eligible are the nodes on which pods may be: those that they choose, and whose taints they tolerate.
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

// create creates a workload and returns it as it is stored.
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

// remove deletes a workload and waits until its pods are gone, so that the next one finds the nodes empty.
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

// of are the pods of a workload.
func (s *scheduler) of(namespace, app string) ([]*corev1.Pod, error) {
	objects, err := s.pods.ByIndex(appLabel, namespace+"/"+app)
	if err != nil {
		return nil, err
	}
	pods := make([]*corev1.Pod, len(objects))
	for i, object := range objects {
		pod, ok := object.(*corev1.Pod)
		if !ok {
			return nil, fmt.Errorf("a %T is no Pod", object)
		}
		pods[i] = pod
	}
	return pods, nil
}

// placement is how many pods of a workload are on each node, by their order, and how many are nowhere.
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

// skew is how many pods more the fullest node has than the emptiest.
func (p placement) skew() int { return slices.Max(p.perNode) - slices.Min(p.perNode) }

// bound are the pods that are on nodes.
func (p placement) bound() int {
	sum := 0
	for _, n := range p.perNode {
		sum += n
	}
	return sum
}

// settled tells how pods are placed once the scheduler has had its say on each: none is on its way out, all are of one
// revision, and each is on a node or was told that it fits none.
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

// await waits until the pods of a workload are settled and at least as many as wanted are on these nodes. One that was told that
// it fits none may have been told so before those before it were gone. The error is non-nil when that does not come to be.
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
		err = fmt.Errorf("%s %s/%s on %d nodes: of %d pods %d are to run, and they are %s: %w",
			w.kind, namespace, w.name, len(nodes), w.replicas, wanted, p, err)
	}
	return p, err
}

// roll changes the template of a workload, and returns it as it is now.
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

// removePods deletes pods, whoever makes new ones.
func (s *scheduler) removePods(ctx context.Context, pods []*corev1.Pod) error {
	for _, pod := range pods {
		err := s.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// poll asks what costs little until the answer is yes. The error is non-nil when there is one, or the answer stays no.
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

// chance is true in so many of a hundred cases.
func chance(r *rand.Rand, percent int) bool { return r.IntN(100) < percent }
