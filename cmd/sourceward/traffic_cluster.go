package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/manifest"
)

// offlineFlags are the flags of traffic that have no effect on what a cluster holds.
var offlineFlags = []string{
	"placement", "nodes", "context", "exclude", "kustomize", "values", "set", "release-name", "api-versions",
}

// trafficOfCluster runs traffic for what a cluster holds. The error is errReported or errInterrupted, or describes a
// mistake in the command line.
func trafficOfCluster(cmd *cobra.Command, args []string, s streams, flags trafficFlags, c *cluster) error {
	if len(args) > 0 {
		return fmt.Errorf("--cluster shows what a cluster holds, and %s is a file or folder; remove one of the two", args[0])
	}
	for _, name := range offlineFlags {
		if cmd.Flags().Changed(name) {
			return fmt.Errorf("%s is for files, and --cluster reads none; remove one of the two", namedForFiles(name))
		}
	}
	outputs, err := parseOutputs(flags.outputs, trafficFormatNames()...)
	if err != nil {
		return err
	}
	of, _ := (&config{}).worlds(cmd.Flags(), nil)
	if err := errors.Join(flags.validate(), of.validate()); err != nil {
		return err
	}
	progress := newProgress(s.err)
	reader := &clusterTraffic{
		cluster: c, namespace: of.namespace, service: flags.service, progress: progress,
		endpoints: map[policies.Ref][]*discoveryv1.EndpointSlice{},
	}
	if cmd.Flags().Changed("kube-version") {
		given, err := of.cluster()
		if err != nil {
			return err
		}
		reader.version = given.Version
	}
	err = reader.readAll(cmd.Context(), of, outputs)
	progress.done()
	if errors.Is(err, errInterrupted) {
		return err
	}
	if err != nil {
		fmt.Fprintf(s.err, "error: %s\n", policies.Printable(err.Error()))
		return errReported
	}
	report := emptyReport()
	report.addErrors(reader.problems)
	report.addNotes(reader.notes)
	traffic := &trafficReport{Services: reader.shown()}
	if len(traffic.Services) == 0 {
		report.Errors = append(report.Errors, reportError{Message: reader.nothing()})
	}
	return concludeTraffic(s, flags, of, outputs, traffic, report)
}

// clusterTraffic holds what determines the traffic of the Services in a cluster.
type clusterTraffic struct {
	*cluster
	// namespace and service restrict what is shown, and are empty for all.
	namespace, service string
	progress           *progress
	read               int // the number of objects

	// version is that of --kube-version or, if it is not given, of the cluster.
	version    policies.Version
	rules      *bundle.Set
	namespaces map[string]policies.Namespace
	nodes      []*corev1.Node
	services   []clusterService
	// problems are those of policies. notes are about the cluster.
	problems []*manifest.Error
	notes    []manifest.Remark
	// endpoints holds the EndpointSlices by their Service.
	endpoints map[policies.Ref][]*discoveryv1.EndpointSlice
	// open holds the names of the nodes that accept pods without tolerations.
	open map[string]bool
}

// clusterService is a Service that the flags select. traffic is nil if none reaches it from outside the cluster.
type clusterService struct {
	*corev1.Service
	traffic *serviceTraffic
}

// readAll reads the version, the policies and the objects. The error is for people.
func (c *clusterTraffic) readAll(ctx context.Context, flags checkFlags, outputs []output) error {
	found, err := c.settings(ctx, readOptions{
		withPolicies: len(flags.policies) == 0, isVersionGiven: c.version != policies.Version{},
	})
	if err != nil {
		return err
	}
	if c.version == (policies.Version{}) {
		c.version = found.version
	}
	c.notes = found.notes
	of := world{flags: flags, live: found}
	var given []*manifest.Policy
	given, c.rules, c.problems = of.policies(ctx)
	if err := notInputs(outputs, policyFiles(given)); err != nil {
		return err
	}
	for _, read := range []func(context.Context) error{
		c.readNamespaces, c.readNodes, c.readServices, c.readEndpoints,
	} {
		if err := read(ctx); err != nil {
			return err
		}
	}
	return nil
}

// listEach decodes each object of a resource and calls do with it.
func listEach[T any](
	ctx context.Context, c *clusterTraffic, resource schema.GroupVersionResource, namespace string, do func(*T),
) error {
	return c.list(ctx, resource, namespace, func(content map[string]any) error {
		object := new(T)
		if err := policies.Decode(content, object); err != nil {
			name := (&unstructured.Unstructured{Object: content}).GetName()
			return fmt.Errorf("read %s %s in the cluster at %s: %w", resource.Resource, name, c.host, err)
		}
		do(object)
		c.count()
		return nil
	})
}

func (c *clusterTraffic) count() {
	c.read++
	c.progress.listed(c.read)
}

func (c *clusterTraffic) readNamespaces(ctx context.Context) error {
	c.namespaces = map[string]policies.Namespace{}
	add := func(namespace *corev1.Namespace) {
		c.namespaces[namespace.Name] = policies.Namespace{
			Name: namespace.Name, Labels: namespace.Labels, Annotations: namespace.Annotations,
		}
	}
	if c.namespace == "" {
		return listEach(ctx, c, namespaceResource, "", add)
	}
	content, err := c.cluster.namespace(ctx, c.namespace)
	if err != nil {
		return err
	}
	var namespace corev1.Namespace
	if err := policies.Decode(content, &namespace); err != nil {
		return fmt.Errorf("read namespaces %s in the cluster at %s: %w", c.namespace, c.host, err)
	}
	add(&namespace)
	return nil
}

func (c *clusterTraffic) readNodes(ctx context.Context) error {
	c.open = map[string]bool{}
	return listEach(ctx, c, nodeResource, "", func(node *corev1.Node) {
		isOpen := !slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool {
			return taint.Effect != corev1.TaintEffectPreferNoSchedule
		})
		c.open[node.Name] = isOpen && !node.Spec.Unschedulable
		node.ManagedFields, node.Status = nil, corev1.NodeStatus{} // most of its size
		c.nodes = append(c.nodes, node)
	})
}

// readServices also finds out how each Service is balanced, so that their documents need not be kept.
func (c *clusterTraffic) readServices(ctx context.Context) error {
	return c.list(ctx, serviceResource, c.namespace, func(content map[string]any) error {
		object, err := policies.NewObject(content)
		if err != nil {
			name := (&unstructured.Unstructured{Object: content}).GetName()
			return fmt.Errorf("read services %s in the cluster at %s: %w", name, c.host, err)
		}
		if !isSelected(c.service, object.Ref) {
			return nil
		}
		found := clusterService{Service: object.Service}
		if notExternal(object.Service, c.version) == "" {
			var fault error
			found.traffic, fault = newServiceTraffic(ctx, policies.Input{
				Operation: policies.Create, Object: object, Namespace: c.namespaceOf(object.Service),
				Related: policies.Related{View: policies.ViewCluster}, Cluster: policies.Cluster{Version: c.version},
				Now: time.Now(),
			}, c.rules)
			if fault != nil {
				c.problems = append(c.problems, &manifest.Error{
					Message: fmt.Sprintf("%s: %s; fix the policy", object.Ref, faultText(fault)),
				})
			}
		}
		c.services = append(c.services, found)
		c.count()
		return nil
	})
}

// namespaceOf returns the Namespace of a Service. It is assumed to have no labels if it was created since they were
// listed.
func (c *clusterTraffic) namespaceOf(service *corev1.Service) policies.Namespace {
	if namespace, ok := c.namespaces[service.Namespace]; ok {
		return namespace
	}
	return policies.Namespace{
		Name: service.Namespace, Labels: map[string]string{corev1.LabelMetadataName: service.Namespace}, Assumed: true,
	}
}

func (c *clusterTraffic) readEndpoints(ctx context.Context) error {
	isShown := map[policies.Ref]bool{}
	for _, service := range c.services {
		isShown[serviceRef(service.Namespace, service.Name)] = true
	}
	return listEach(ctx, c, endpointsResource, c.namespace, func(slice *discoveryv1.EndpointSlice) {
		if of := serviceRef(slice.Namespace, slice.Labels[discoveryv1.LabelServiceName]); isShown[of] {
			slice.ManagedFields = nil
			c.endpoints[of] = append(c.endpoints[of], slice)
		}
	})
}

func serviceRef(namespace, name string) policies.Ref {
	return policies.Ref{APIVersion: "v1", Kind: "Service", Namespace: namespace, Name: name}
}

// shown returns the traffic of the Services that traffic reaches from outside the cluster.
func (c *clusterTraffic) shown() []serviceTraffic {
	shown := []serviceTraffic{}
	for _, service := range c.services {
		if service.traffic == nil {
			continue
		}
		found, routing := service.traffic, service.traffic.LoadBalancer.Routing
		places := policies.PlacesOf(
			service.Service, c.endpoints[serviceRef(service.Namespace, service.Name)], c.nodes, c.version)
		even := policies.BestPlacement(places, routing, c.pods(policies.ShareTraffic(places, routing).Pods, places))
		found.add(newPlacement(currentPlacement, places, even, routing))
		shown = append(shown, *found)
	}
	return shown
}

// pods returns a number of pods that may run where some of them do, and on nodes that accept any pod. Where else the
// pods may run depends on their workload, which is not read.
func (c *clusterTraffic) pods(number int, places []policies.Place) policies.Pods {
	nodes := maps.Clone(c.open)
	for _, place := range places {
		nodes[place.Node] = nodes[place.Node] || place.Ready > 0
	}
	return policies.Pods{Count: number, Nodes: nodes}
}

// nothing says why no Service is shown.
func (c *clusterTraffic) nothing() string {
	in := "the cluster at " + c.host
	if c.namespace != "" {
		in = fmt.Sprintf("Namespace %s of %s", c.namespace, in)
	}
	switch {
	case c.service != "" && len(c.services) == 0:
		return fmt.Sprintf("--service %s: there is no Service of this name in %s; check the name, and --namespace",
			c.service, in)
	case c.service != "":
		service := c.services[0]
		return fmt.Sprintf("%s: %s", serviceRef(service.Namespace, service.Name), notExternal(service.Service, c.version))
	default:
		return fmt.Sprintf("nothing to show: no Service in %s %s", in, isExternal)
	}
}
