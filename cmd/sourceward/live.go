package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/manifest"
)

// fileFlags are the flags of check that have no effect on what a cluster holds.
var fileFlags = []string{
	"context", "exclude", "diff", "kustomize", "values", "set", "release-name", "api-versions", "show-config",
}

// namedForFiles returns a flag that is for files, as a subject. Users of kubectl expect another --context.
func namedForFiles(flag string) string {
	if flag == "context" {
		return "--context, unlike --kube-context,"
	}
	return "--" + flag
}

// checkCluster runs check for what a cluster holds. The error is that of check.
func checkCluster(cmd *cobra.Command, s streams, cluster *cluster) error {
	for _, name := range fileFlags {
		if cmd.Flags().Changed(name) {
			return fmt.Errorf("%s is for files, and --cluster without a PATH checks none; remove one of the two, "+
				"or name a PATH", namedForFiles(name))
		}
	}
	working := &config{}
	flags, worlds := working.worlds(cmd.Flags(), nil)
	worlds[0].paths = nil
	if err := cluster.addTo(cmd, s, worlds); err != nil {
		return err
	}
	return check(cmd.Context(), s, flags, working, worlds)
}

// addTo reads what a cluster holds, and adds it to worlds. Those without paths judge it. The error is errReported or
// errInterrupted, or describes a mistake in the command line.
func (c *cluster) addTo(cmd *cobra.Command, s streams, worlds []world) error {
	namespace, options := "", readOptions{isVersionGiven: true}
	for _, w := range worlds {
		if err := w.flags.validate(); err != nil {
			return err
		}
		options.isContext = options.isContext || len(w.paths) > 0
		options.withPolicies = options.withPolicies || len(w.flags.policies) == 0
		options.isVersionGiven = options.isVersionGiven && w.givesVersion(cmd)
	}
	if !options.isContext {
		namespace = worlds[0].flags.namespace
	}
	progress := newProgress(s.err)
	found, err := c.readLive(cmd.Context(), namespace, options, progress)
	progress.done()
	if errors.Is(err, errInterrupted) {
		return err
	}
	if err != nil {
		fmt.Fprintf(s.err, "error: %s\n", policies.Printable(err.Error()))
		return errReported
	}
	for i := range worlds {
		worlds[i].live = found
		if !worlds[i].givesVersion(cmd) {
			worlds[i].flags.kubeVersion = found.version.String()
		}
	}
	return nil
}

// givesVersion reports whether --kube-version or a configuration file gives the version of the API server.
func (w world) givesVersion(cmd *cobra.Command) bool {
	return cmd.Flags().Changed("kube-version") || w.from["--kube-version"] != ""
}

// live is what a cluster holds, as far as check reads it.
type live struct {
	objects  *manifest.Live
	version  policies.Version
	policies []v1alpha1.SourceIPPolicy
	notes    []manifest.Remark
}

// held returns the objects; nil if no cluster was read.
func (l *live) held() *manifest.Live {
	if l == nil {
		return nil
	}
	return l.objects
}

// policies compiles the policies in force: those of --policy or, if none is given, those of the cluster. The results
// are those of loadPolicies.
func (w world) policies(ctx context.Context) ([]*manifest.Policy, *bundle.Set, []*manifest.Error) {
	if w.live == nil || len(w.flags.policies) > 0 {
		return loadPolicies(ctx, w.flags.policies, w.flags.provider)
	}
	rules, wrong := compilePolicies(ctx, w.live.policies, w.flags.provider)
	var problems []*manifest.Error
	for _, w := range wrong {
		problems = append(problems, &manifest.Error{Message: w.Error()})
	}
	return nil, rules, problems
}

// liveReader reads what a cluster holds.
type liveReader struct {
	*cluster
	// namespace restricts what is judged, and is empty for all. isContext is true if files are judged, and what the
	// cluster holds is context.
	namespace string
	isContext bool
	progress  *progress
	live      *live
	read      int // the number of objects
}

// readOptions says what is read from a cluster.
type readOptions struct {
	// isContext is true if files are judged, and what the cluster holds is context.
	isContext bool
	// withPolicies is true if the policies of the cluster are in force, and not those of --policy.
	withPolicies bool
	// isVersionGiven is true if --kube-version gives the version, so that it does not matter that it may be unknown.
	isVersionGiven bool
}

// readLive reads the objects that are judged, their neighbours and the policies. Of workloads that another workload
// makes it reads only the metadata. The error is for people.
func (c *cluster) readLive(
	ctx context.Context, namespace string, options readOptions, progress *progress,
) (*live, error) {
	found, err := c.settings(ctx, options)
	if err != nil {
		return nil, err
	}
	found.objects = manifest.NewLive(found.version)
	r := &liveReader{cluster: c, namespace: namespace, isContext: options.isContext, progress: progress, live: found}
	for _, read := range []func(context.Context) error{
		r.namespaces, r.nodes, r.services, r.workloads, r.autoscalers, r.endpoints,
	} {
		if err := read(ctx); err != nil {
			return nil, err
		}
	}
	return r.live, nil
}

// settings reads the version of a cluster and its policies. The result has no objects. The error is for people.
func (c *cluster) settings(ctx context.Context, options readOptions) (*live, error) {
	version, isKnown, err := c.version(ctx)
	if err != nil {
		return nil, err
	}
	found := &live{version: version}
	note := func(text string) { found.notes = append(found.notes, manifest.Remark{Text: text}) }
	if !isKnown {
		found.version = policies.Newest
	}
	if !isKnown && !options.isVersionGiven {
		note(fmt.Sprintf("the version of the API server is not known; it is taken to be %s, --kube-version sets another",
			policies.Newest))
	}
	if !options.withPolicies {
		return found, nil
	}
	var isServed bool
	if found.policies, isServed, err = c.policies(ctx); err != nil {
		return nil, err
	}
	if !isServed {
		note(c.withoutPolicies())
	}
	return found, nil
}

// namespace reads the Namespace that --namespace selects. The error is for people.
func (c *cluster) namespace(ctx context.Context, name string) (map[string]any, error) {
	content, err := c.get(ctx, namespaceResource, "", name)
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("there is no Namespace %s in the cluster at %s; check --namespace and the kubeconfig",
			name, c.host)
	}
	return content, err
}

// add reads all objects of a resource.
func (r *liveReader) add(ctx context.Context, resource schema.GroupVersionResource, namespace string) error {
	return r.list(ctx, resource, namespace, func(content map[string]any) error {
		r.live.objects.Add(content)
		r.count()
		return nil
	})
}

func (r *liveReader) count() {
	r.read++
	r.progress.listed(r.read)
}

func (r *liveReader) namespaces(ctx context.Context) error {
	if r.namespace == "" {
		return r.add(ctx, namespaceResource, "")
	}
	content, err := r.cluster.namespace(ctx, r.namespace)
	if err != nil {
		return err
	}
	r.live.objects.Add(content)
	return nil
}

func (r *liveReader) nodes(ctx context.Context) error { return r.add(ctx, nodeResource, "") }

// services reads the Services of all namespaces, since some share the address of a load balancer.
func (r *liveReader) services(ctx context.Context) error { return r.add(ctx, serviceResource, "") }

func (r *liveReader) workloads(ctx context.Context) error {
	for _, kind := range policies.WorkloadKinds {
		if kind.Door == policies.FilesOnly {
			continue
		}
		resource, isServed, err := r.resource(ctx, kind.Custom, kind.Group, kind.Versions, kind.Resource)
		switch {
		case err != nil:
		case !isServed:
		case len(kind.Makers) > 0:
			err = r.unlessMade(ctx, kind, resource)
		default:
			err = r.add(ctx, resource, r.namespace)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unlessMade reads the objects of a resource that no other workload makes. Nearly all of them are made: each Deployment
// keeps up to eleven ReplicaSets, with a pod template each.
func (r *liveReader) unlessMade(
	ctx context.Context, kind policies.WorkloadKind, resource schema.GroupVersionResource,
) error {
	return r.listMetadata(ctx, resource, r.namespace, func(content map[string]any) error {
		defer r.count()
		of := unstructured.Unstructured{Object: content}
		of.SetAPIVersion(resource.GroupVersion().String())
		of.SetKind(kind.Kind)
		if r.live.objects.AddChild(content) {
			return nil
		}
		object, err := r.get(ctx, resource, of.GetNamespace(), of.GetName())
		if apierrors.IsNotFound(err) {
			return nil // It was deleted since it was listed.
		}
		if err == nil {
			r.live.objects.Add(object)
		}
		return err
	})
}

func (r *liveReader) autoscalers(ctx context.Context) error {
	for _, kind := range policies.AutoscalerKinds {
		resource, isServed, err := r.resource(ctx, kind.Custom, kind.Group, kind.Versions, kind.Resource)
		if err == nil && isServed {
			err = r.add(ctx, resource, r.namespace)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// resource returns the resource of a kind, and whether the cluster serves it. It asks only for custom kinds.
func (r *liveReader) resource(
	ctx context.Context, isCustom bool, group string, versions []string, name string,
) (schema.GroupVersionResource, bool, error) {
	if isCustom {
		return r.served(ctx, group, versions, name)
	}
	return schema.GroupVersionResource{Group: group, Version: versions[0], Resource: name}, true, nil
}

// endpoints reads the endpoints, unless no Service for which they matter is judged: one without a selector that clients
// outside can reach.
func (r *liveReader) endpoints(ctx context.Context) error {
	matter := r.isContext
	r.live.objects.Services(func(s *corev1.Service) {
		isJudged := r.namespace == "" || s.Namespace == r.namespace
		matter = matter || isJudged && len(s.Spec.Selector) == 0 && policies.ExternallyAccessible(s, r.live.version)
	})
	if !matter {
		return nil
	}
	return r.add(ctx, endpointsResource, r.namespace)
}
