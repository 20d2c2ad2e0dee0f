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

// Resources that --cluster reads in addition to those of the judged kinds.
var (
	namespaceResource = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	policyResource    = v1alpha1.GroupVersion.WithResource("sourceippolicies")
)

// judgedResource returns the resource of one of policies.Kinds. Of several kinds with the same name it returns the one
// that is part of Kubernetes.
func judgedResource(kind string) schema.GroupVersionResource {
	i := slices.IndexFunc(policies.WorkloadKinds, func(k policies.WorkloadKind) bool { return k.Kind == kind })
	if i < 0 {
		return schema.GroupVersionResource{Version: "v1", Resource: "services"}
	}
	k := policies.WorkloadKinds[i]
	return schema.GroupVersionResource{Group: k.Group, Version: k.Versions[0], Resource: k.Resource}
}

// cluster is a client for the cluster of a kubeconfig.
type cluster struct {
	dynamic.Interface
	// host is the address of the API server, for messages.
	host string
}

// kubeconfigCluster returns the cluster that kubectl would use, without sending a request to it. The error is non-nil
// when no kubeconfig names a cluster.
func kubeconfigCluster() (*cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.WarnIfAllMissing = false // The error below says so.
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, fmt.Errorf("--cluster: no cluster found in %s; set KUBECONFIG, or select a context",
			strings.Join(rules.Precedence, ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("--cluster: %w", err)
	}
	config.Timeout = clusterTimeout
	config.WarningHandler = rest.NoWarnings{} // Standard error is for problems of the user's objects.
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("--cluster: %w", err)
	}
	return &cluster{client, config.Host}, nil
}

// subjectInCluster reads the object from the cluster of the kubeconfig. The error is that of kubeconfigCluster.
func subjectInCluster(ctx context.Context, ref policies.Ref) (*subject, error) {
	cluster, err := kubeconfigCluster()
	if err != nil {
		return nil, err
	}
	found := &subject{}
	if err := cluster.read(ctx, ref, found); err != nil {
		found.object = nil // An explanation would be incomplete.
		found.add(err)
	}
	return found, nil
}

// read fills in the object, its Namespace and all policies. The error is non-nil when one of them cannot be read. A
// policy that does not compile becomes a problem of the subject instead.
func (c *cluster) read(ctx context.Context, ref policies.Ref, found *subject) error {
	object, err := c.Resource(judgedResource(ref.Kind)).Namespace(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("%s is not in the cluster at %s; check its kind, namespace and name, and the kubeconfig",
			ref, c.host)
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
		return fmt.Errorf("the cluster at %s does not serve the kind %s; install config/crd, or select another cluster",
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
	found.compile(ctx, list, func(wrong *bundle.Error) error { return wrong })
	for _, policy := range list {
		if note := notInForce(policy); note != "" {
			found.notes = append(found.notes, fmt.Sprintf("%s %s: %s", v1alpha1.Kind, policy.Name, note))
		}
	}
	return nil
}

// notInForce says why the webhook may not use this generation of a policy, so that the explanation may differ from what
// the webhook does. It returns "" if the status says that this generation is in force.
func notInForce(policy v1alpha1.SourceIPPolicy) string {
	ready := meta.FindStatusCondition(policy.Status.Conditions, v1alpha1.ConditionReady)
	switch degraded := meta.FindStatusCondition(policy.Status.Conditions, v1alpha1.ConditionDegraded); {
	case ready == nil || ready.ObservedGeneration < policy.Generation:
		return fmt.Sprintf("no webhook has reported yet that generation %d is in force", policy.Generation)
	case ready.Status == metav1.ConditionTrue:
		return ""
	case degraded != nil:
		return fmt.Sprintf("the webhook reports that %s; it may use other settings than these", degraded.Message)
	default:
		return "the webhook reports that it is not in force: " + ready.Reason
	}
}
