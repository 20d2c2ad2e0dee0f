package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
)

// clusterTimeout bounds each request of --cluster: a person waits for it.
const clusterTimeout = 30 * time.Second

// What --cluster reads beside the objects that are judged.
var (
	namespaceResource = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	policyResource    = v1alpha1.GroupVersion.WithResource("sourceippolicies")
)

// judgedResource is the resource of one of policies.Kinds. Of kinds with the same name it is the one that Kubernetes brings.
func judgedResource(kind string) schema.GroupVersionResource {
	i := slices.IndexFunc(policies.WorkloadKinds, func(k policies.WorkloadKind) bool { return k.Kind == kind })
	if i < 0 {
		return schema.GroupVersionResource{Version: "v1", Resource: "services"}
	}
	k := policies.WorkloadKinds[i]
	return schema.GroupVersionResource{Group: k.Group, Version: k.Versions[0], Resource: k.Resource}
}

// cluster is the cluster of a kubeconfig.
type cluster struct {
	dynamic.Interface
	// host is its address, for messages.
	host string
}

// kubeconfigCluster is the cluster that kubectl would talk to. Nothing is asked of it yet.
// The error is non-nil when there is no kubeconfig that names one.
func kubeconfigCluster() (*cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.WarnIfAllMissing = false // The error tells, in a line of ours.
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, fmt.Errorf("--cluster finds no cluster in %s; set KUBECONFIG, or choose a context",
			strings.Join(rules.Precedence, ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("--cluster: %w", err)
	}
	config.Timeout = clusterTimeout
	config.WarningHandler = rest.NoWarnings{} // Standard error is for what is wrong with the user's objects.
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("--cluster: %w", err)
	}
	return &cluster{client, config.Host}, nil
}

// subjectInCluster finds the object in the cluster of the kubeconfig. The error is that of kubeconfigCluster.
func subjectInCluster(ctx context.Context, ref policies.Ref) (*subject, error) {
	cluster, err := kubeconfigCluster()
	if err != nil {
		return nil, err
	}
	found := &subject{}
	if err := cluster.read(ctx, ref, found); err != nil {
		found.object = nil // It could only be explained by halves.
		found.add(err)
	}
	return found, nil
}

// read reads the object, its Namespace and all policies. The error is non-nil when one of them could not be read; a
// policy that does not compile is a problem of the subject.
func (c *cluster) read(ctx context.Context, ref policies.Ref, found *subject) error {
	object, err := c.Resource(judgedResource(ref.Kind)).Namespace(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("%s is not in the cluster at %s; check its kind, namespace and name, and the kubeconfig", ref, c.host)
	}
	if err != nil {
		return fmt.Errorf("read %s from the cluster at %s: %w", ref, c.host, err)
	}
	if found.object, err = policies.NewObject(object.Object); err != nil {
		return fmt.Errorf("read %s from the cluster at %s: %w", ref, c.host, err)
	}
	namespace, err := c.Resource(namespaceResource).Get(ctx, ref.Namespace, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read Namespace %s from the cluster at %s: %w", ref.Namespace, c.host, err)
	}
	found.namespace = policies.Namespace{
		Name: ref.Namespace, Labels: namespace.GetLabels(), Annotations: namespace.GetAnnotations(),
	}
	return c.readPolicies(ctx, found)
}

func (c *cluster) readPolicies(ctx context.Context, found *subject) error {
	items, err := c.Resource(policyResource).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("the cluster at %s does not have the kind %s; install config/crd, or choose another cluster",
			c.host, v1alpha1.Kind)
	}
	if err != nil {
		return fmt.Errorf("list %s objects in the cluster at %s: %w", v1alpha1.Kind, c.host, err)
	}
	list := make([]v1alpha1.SourceIPPolicy, len(items.Items))
	for i, item := range items.Items {
		if err := policies.Decode(item.Object, &list[i]); err != nil {
			return fmt.Errorf("read %s %s from the cluster at %s: %w", v1alpha1.Kind, item.GetName(), c.host, err)
		}
	}
	set, wrong := bundle.Compile(list)
	found.policies = set.Policies
	for _, w := range wrong {
		found.addPolicy(w, w)
	}
	for _, policy := range list {
		if note := notInForce(policy); note != "" {
			found.notes = append(found.notes, fmt.Sprintf("%s %s: %s", v1alpha1.Kind, policy.Name, note))
		}
	}
	return nil
}

// notInForce tells why what is explained of a policy is not what the webhook does; empty if the webhook says that it is.
func notInForce(policy v1alpha1.SourceIPPolicy) string {
	ready := meta.FindStatusCondition(policy.Status.Conditions, v1alpha1.ConditionReady)
	switch degraded := meta.FindStatusCondition(policy.Status.Conditions, v1alpha1.ConditionDegraded); {
	case ready == nil || ready.ObservedGeneration < policy.Generation:
		return fmt.Sprintf("no webhook has told yet that generation %d is in force", policy.Generation)
	case ready.Status == metav1.ConditionTrue:
		return ""
	case degraded != nil:
		return fmt.Sprintf("the webhook says that %s; what is told here may not be what it does", degraded.Message)
	default:
		return "the webhook says that it is not in force: " + ready.Reason
	}
}
