package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/pager"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

const (
	// answerTimeout bounds how long it takes to find out that nothing answers at the address of a cluster.
	answerTimeout = 5 * time.Second
	// requestTimeout bounds each request: a person waits for it.
	requestTimeout = 30 * time.Second
	// requestsPerSecond is the limit of kubectl. Few runs send so many.
	requestsPerSecond = 50
)

// The resources that are read in addition to those of workloads and autoscalers.
var (
	namespaceResource = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	nodeResource      = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	serviceResource   = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	endpointsResource = schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}
	policyResource    = v1alpha1.GroupVersion.WithResource("sourceippolicies")
)

// clusterFlags select a cluster, as kubectl does.
type clusterFlags struct {
	cluster                 bool
	kubeconfig, kubeContext string
}

// add adds the flags. use says what --cluster does.
func (f *clusterFlags) add(flags *pflag.FlagSet, use string) {
	flags.BoolVar(&f.cluster, "cluster", false, use)
	flags.StringVar(&f.kubeconfig, "kubeconfig", "",
		"with --cluster, the kubeconfig `FILE`; by default those in KUBECONFIG, or ~/.kube/config")
	flags.StringVar(&f.kubeContext, "kube-context", "",
		"with --cluster, the `NAME` of a context in the kubeconfig; by default its current context")
}

// complete makes the shell complete the names of contexts.
func (f *clusterFlags) complete(cmd *cobra.Command) {
	contexts := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		config, err := f.rules().Load()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return slices.Sorted(maps.Keys(config.Contexts)), cobra.ShellCompDirectiveNoFileComp
	}
	_ = cmd.RegisterFlagCompletionFunc("kube-context", contexts) // The command has the flag.
}

// rules returns where the kubeconfig is.
func (f clusterFlags) rules() *clientcmd.ClientConfigLoadingRules {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.kubeconfig
	rules.WarnIfAllMissing = false // open says so.
	return rules
}

// isSet reports whether any of the flags is given.
func (f clusterFlags) isSet() bool { return f != clusterFlags{} }

// cluster is a client that reads from a cluster.
type cluster struct {
	objects   dynamic.Interface
	metadata  metadata.Interface
	discovery discovery.DiscoveryInterfaceWithContext
	// host is the address of the API server, for messages.
	host string
	// asksUser is true if a program supplies the credentials, which may wait for the user to log in.
	asksUser bool
}

// open returns the cluster that the flags select, without sending a request to it; nil if they select none. The error
// describes a mistake in the command line, or says that no kubeconfig names a cluster.
func (f clusterFlags) open() (*cluster, error) {
	switch {
	case !f.cluster && f.kubeconfig+f.kubeContext != "":
		return nil, errors.New("--kubeconfig and --kube-context select a cluster; add --cluster")
	case !f.cluster:
		return nil, nil
	}
	rules := f.rules()
	read, err := rules.Load()
	if pathError, ok := errors.AsType[*fs.PathError](err); ok && f.kubeconfig != "" {
		return nil, fmt.Errorf("--kubeconfig %s cannot be read: %w; check the path and its permissions",
			f.kubeconfig, pathError.Err)
	}
	if err != nil {
		return nil, fmt.Errorf("--cluster: %w", err)
	}
	if f.kubeContext != "" && read.Contexts[f.kubeContext] == nil {
		if len(read.Contexts) == 0 {
			return nil, fmt.Errorf("--kube-context %q does not exist: no context found in %s",
				f.kubeContext, strings.Join(rules.GetLoadingPrecedence(), ", "))
		}
		return nil, notOneOf("--kube-context", f.kubeContext, slices.Sorted(maps.Keys(read.Contexts)))
	}
	overrides := &clientcmd.ConfigOverrides{CurrentContext: f.kubeContext}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, fmt.Errorf("--cluster: no cluster found in %s; set KUBECONFIG, or select a context with --kube-context",
			strings.Join(rules.GetLoadingPrecedence(), ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("--cluster: %w", err)
	}
	return newCluster(config)
}

// newCluster returns a client for the API server of a configuration, which it changes. The error is non-nil when the
// configuration is not valid, such as a certificate that cannot be read.
func newCluster(config *rest.Config) (*cluster, error) {
	config.Timeout = requestTimeout
	config.Dial = (&net.Dialer{Timeout: answerTimeout}).DialContext
	config.WarningHandler = rest.NoWarnings{} // Standard error is for problems of the user's objects.
	config.QPS, config.Burst = requestsPerSecond, 2*requestsPerSecond
	http, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("--cluster: %w", err)
	}
	objects, err := dynamic.NewForConfigAndClient(config, http)
	if err != nil {
		return nil, fmt.Errorf("--cluster: %w", err)
	}
	ofMetadata, err := metadata.NewForConfigAndClient(config, http)
	if err != nil {
		return nil, fmt.Errorf("--cluster: %w", err)
	}
	discoverer, err := discovery.NewDiscoveryClientForConfigAndClient(config, http)
	if err != nil {
		return nil, fmt.Errorf("--cluster: %w", err)
	}
	return &cluster{objects, ofMetadata, discoverer, config.Host, config.ExecProvider != nil}, nil
}

// version returns the version of the API server, or false if it may not be read or cannot be understood. It is the
// first request of each run, and fails soon if nothing answers. The error is the one of problem.
func (c *cluster) version(ctx context.Context) (version policies.Version, isKnown bool, err error) {
	if !c.asksUser {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, answerTimeout)
		defer cancel()
	}
	info, err := c.discovery.ServerVersionWithContext(ctx)
	switch {
	case apierrors.IsForbidden(err):
		return policies.Version{}, false, nil
	case err != nil:
		return policies.Version{}, false, c.problem("get the version of", err)
	}
	version, err = policies.ParseVersion(info.GitVersion)
	return version, err == nil, nil
}

// served returns the resource in the first of the versions in which the cluster serves it, and false if it does in
// none. The error is the one of problem.
func (c *cluster) served(
	ctx context.Context, group string, versions []string, resource string,
) (schema.GroupVersionResource, bool, error) {
	for _, version := range versions {
		of := schema.GroupVersionResource{Group: group, Version: version, Resource: resource}
		list, err := c.discovery.ServerResourcesForGroupVersionWithContext(ctx, of.GroupVersion().String())
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return of, false, c.problem("get the resources of "+of.GroupVersion().String()+" of", err)
		case slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == resource }):
			return of, true, nil
		}
	}
	return schema.GroupVersionResource{}, false, nil
}

// judgedResource returns the resource of one of policies.Kinds. Of several kinds with the same name it returns the one
// that is part of Kubernetes.
func judgedResource(kind string) schema.GroupVersionResource {
	i := slices.IndexFunc(policies.WorkloadKinds, func(k policies.WorkloadKind) bool { return k.Kind == kind })
	if i < 0 {
		return serviceResource
	}
	k := policies.WorkloadKinds[i]
	return schema.GroupVersionResource{Group: k.Group, Version: k.Versions[0], Resource: k.Resource}
}

// get returns one object. The error is the one of problem; apierrors.IsNotFound reports whether there is no such
// object.
func (c *cluster) get(
	ctx context.Context, resource schema.GroupVersionResource, namespace, name string,
) (map[string]any, error) {
	object, err := c.objects.Resource(resource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		of := strings.TrimPrefix(namespace+"/"+name, "/")
		return nil, c.problem(fmt.Sprintf("get %s %s in", resource.Resource, of), err)
	}
	return object.Object, nil
}

// list calls do with each object of a resource, in a namespace or, if that is empty, in all of them. do owns the
// object. The objects are read in pages. The error is that of do, or the one of problem.
func (c *cluster) list(
	ctx context.Context, resource schema.GroupVersionResource, namespace string, do func(content map[string]any) error,
) error {
	of := c.objects.Resource(resource).Namespace(namespace)
	return c.each(ctx, resource, do, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return of.List(ctx, options)
	})
}

// listMetadata does what list does, but the objects have only their metadata, and not their apiVersion and kind.
func (c *cluster) listMetadata(
	ctx context.Context, resource schema.GroupVersionResource, namespace string, do func(content map[string]any) error,
) error {
	of := c.metadata.Resource(resource).Namespace(namespace)
	return c.each(ctx, resource, do, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return of.List(ctx, options)
	})
}

func (c *cluster) each(
	ctx context.Context, resource schema.GroupVersionResource, do func(content map[string]any) error,
	page pager.ListPageFunc,
) error {
	pages := pager.New(page)
	pages.PageBufferSize = 1 // that is enough to read the next one meanwhile
	var failed error
	err := pages.EachListItem(ctx, metav1.ListOptions{}, func(item runtime.Object) error {
		content, err := contentOf(item)
		if err == nil {
			err = do(content)
		}
		failed = err
		return err
	})
	if err != nil && failed == nil {
		return c.problem("list "+resource.Resource+" in", err)
	}
	return err
}

// contentOf returns the document of an object. The error is non-nil when it cannot be converted.
func contentOf(object runtime.Object) (map[string]any, error) {
	if object, ok := object.(*unstructured.Unstructured); ok {
		return object.Object, nil
	}
	return runtime.DefaultUnstructuredConverter.ToUnstructured(object)
}

// problem returns an error for people. request is what failed, such as "list services in". The error wraps the one that
// the request returned.
func (c *cluster) problem(request string, err error) error {
	status, isStatus := errors.AsType[*apierrors.StatusError](err)
	failed, isUnreachable := errors.AsType[*url.Error](err)
	switch {
	case errors.Is(err, context.Canceled):
		return errInterrupted
	case apierrors.IsForbidden(err):
		grants := "sourceward-reader in config/rbac/reader"
		if on := status.ErrStatus.Details; on == nil || on.Kind == "" { // a path that is not that of a resource
			grants = "system:discovery of Kubernetes"
		}
		return &requestError{err, fmt.Sprintf("cannot %s the cluster at %s: %s; the ClusterRole %s allows it",
			request, c.host, status.ErrStatus.Message, grants)}
	case apierrors.IsUnauthorized(err):
		return &requestError{err, fmt.Sprintf("cannot %s the cluster at %s: it does not accept the credentials in the "+
			"kubeconfig; log in again", request, c.host)}
	case apierrors.IsResourceExpired(err):
		return &requestError{err, fmt.Sprintf("cannot %s the cluster at %s: it took too long; try again", request, c.host)}
	case isUnreachable && !isStatus:
		return &requestError{err, fmt.Sprintf("cannot reach the cluster at %s: %s; check the kubeconfig and the network",
			c.host, failed.Err)}
	default:
		return &requestError{err, fmt.Sprintf("cannot %s the cluster at %s: %s", request, c.host, err)}
	}
}

// requestError is a request that failed.
type requestError struct {
	err  error
	text string
}

func (e *requestError) Error() string { return e.text }
func (e *requestError) Unwrap() error { return e.err }

// policies returns all SourceIPPolicy objects. isServed is false if the cluster does not serve the kind. The error is
// the one of problem, or says which policy cannot be decoded.
func (c *cluster) policies(ctx context.Context) (list []v1alpha1.SourceIPPolicy, isServed bool, err error) {
	version := []string{policyResource.Version}
	if _, isServed, err = c.served(ctx, policyResource.Group, version, policyResource.Resource); !isServed {
		return nil, false, err
	}
	err = c.list(ctx, policyResource, "", func(content map[string]any) error {
		var policy v1alpha1.SourceIPPolicy
		if err := policies.Decode(content, &policy); err != nil {
			return fmt.Errorf("read %s %s: %w", v1alpha1.Kind, (&unstructured.Unstructured{Object: content}).GetName(), err)
		}
		list = append(list, policy)
		return nil
	})
	return list, true, err
}

// withoutPolicies is the note about a cluster that does not serve SourceIPPolicy.
func (c *cluster) withoutPolicies() string {
	return fmt.Sprintf("the cluster at %s does not serve the kind %s, so that there are no policies; "+
		"config/crd installs it", c.host, v1alpha1.Kind)
}
