package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/manifest"
)

// explained is an object to explain, and what was read together with it.
type explained struct {
	object    *manifest.Object
	manifests *manifest.Manifests
	rules     *bundle.Set
	cluster   policies.Cluster
	// isLive is true if the object is in a cluster. endpoints then holds the EndpointSlices of its namespace.
	isLive    bool
	endpoints []*discoveryv1.EndpointSlice
	// program is how the user runs sourceward. source holds the flags with which explain reads the same again, settings
	// those with which explain --settings does, and traffic the arguments with which traffic does.
	program, source, settings, traffic string
	// problems say what could not be read, and make the exit code 2. notes do not.
	problems []problem
	notes    []string
}

func (e *explained) add(err error) { e.problems = append(e.problems, problem{line: err.Error()}) }

// explainObject runs explain for an object. program is how the user runs sourceward. The error is errReported or
// errInterrupted, or describes a mistake in the command line.
func explainObject(ctx context.Context, s streams, flags explainFlags, program, name string) error {
	ref, err := flags.parseObject(name)
	if err != nil {
		return err
	}
	cluster, err := flags.cluster.open()
	if err != nil {
		return err
	}
	of := &explained{program: program}
	if cluster != nil {
		err = of.readCluster(ctx, s, cluster, flags, ref)
	} else {
		err = of.readFiles(ctx, s, flags, ref)
	}
	switch {
	case errors.Is(err, errInterrupted) || ctx.Err() != nil:
		return errInterrupted
	case err != nil:
		return err
	}
	var text string
	switch {
	case of.object == nil:
	case of.object.Service != nil:
		text = of.servicePage(ctx)
	default:
		text = of.workloadPage(ctx)
	}
	writeRemarks(s, of.problems, of.notes)
	if _, err := io.WriteString(s.out, text); err != nil {
		return err
	}
	if len(of.problems) > 0 {
		return errReported
	}
	return nil
}

// readFiles reads the object and its neighbours from files. The error describes a mistake in the command line.
func (e *explained) readFiles(ctx context.Context, s streams, flags explainFlags, ref policies.Ref) error {
	manifests, err := flags.load(ctx, s)
	if err != nil {
		return err
	}
	loaded, problems := manifests.Policies(flags.policies)
	rules, wrong := compilePolicies(ctx, objects(loaded), flags.provider)
	for _, e := range wrong {
		problems = append(problems, placed(loaded, e))
	}
	for _, problem := range slices.Concat(manifests.Errors, problems) {
		e.add(problem)
	}
	e.manifests, e.rules = manifests, rules
	e.cluster = policies.Cluster{Nodes: flags.nodes, Version: flags.version()}
	shared := given("policy", flags.policies...) + given("exclude", flags.exclude...) + given("namespace", flags.namespace)
	known := given("provider", flags.provider) + given("kube-version", flags.kubeVersion)
	nodes := ""
	if flags.nodes > 0 {
		nodes = given("nodes", strconv.Itoa(flags.nodes))
	}
	e.settings = "-f " + strings.Join(flags.files, " -f ") + shared
	e.source = e.settings + known + nodes
	e.find(ref, flags.notThere(ref))
	if nodes == "" {
		nodes = " --nodes NUMBER"
		if e.object != nil && manifests.Input(e.object, e.cluster, time.Now()).Cluster.Known != nil {
			nodes = given("context", flags.files...)
		}
	}
	e.traffic = strings.Join(flags.files, " ") + shared + known + nodes
	return nil
}

// readCluster reads the object and its neighbours from a cluster. The error is errInterrupted, or describes a mistake
// in the command line.
func (e *explained) readCluster(
	ctx context.Context, s streams, c *cluster, flags explainFlags, ref policies.Ref,
) error {
	e.isLive = true
	e.settings = "--cluster" + given("kubeconfig", flags.cluster.kubeconfig) +
		given("kube-context", flags.cluster.kubeContext)
	e.source = e.settings + given("policy", flags.policies...) + given("provider", flags.provider) +
		given("kube-version", flags.kubeVersion)
	e.traffic = e.source + " -n " + ref.Namespace
	progress := newProgress(s.err)
	defer progress.done()
	isUnread := func(kind policies.WorkloadKind) bool { return kind.Kind == ref.Kind && kind.Door == policies.FilesOnly }
	if slices.ContainsFunc(policies.WorkloadKinds, isUnread) {
		e.add(fmt.Errorf("%s: objects of kind %s are not read from a cluster; explain the workload that makes it, or "+
			"give its manifest with -f", ref, ref.Kind))
		return nil
	}
	_, _, err := c.version(ctx)
	if err == nil {
		_, err = c.get(ctx, judgedResource(ref.Kind), ref.Namespace, ref.Name)
	}
	if apierrors.IsNotFound(err) {
		e.add(c.notThere(ref))
		return nil
	}
	of := world{flags: flags.checkFlags()}
	if err == nil {
		of.live, err = c.readLive(ctx, ref.Namespace, readOptions{
			withPolicies: len(flags.policies) == 0, isVersionGiven: flags.kubeVersion != "",
		}, progress)
	}
	if err == nil {
		err = c.list(ctx, endpointsResource, ref.Namespace, func(content map[string]any) error {
			var slice discoveryv1.EndpointSlice
			if err := policies.Decode(content, &slice); err != nil {
				return fmt.Errorf("read the endpoints in Namespace %s of the cluster at %s: %w", ref.Namespace, c.host, err)
			}
			e.endpoints = append(e.endpoints, &slice)
			return nil
		})
	}
	if errors.Is(err, errInterrupted) {
		return err
	}
	if err != nil {
		e.add(err)
		return nil
	}
	of.flags.namespace, of.flags.kubeVersion = ref.Namespace, cmp.Or(flags.kubeVersion, of.live.version.String())
	read, err := of.load(ctx, s, nil, progress)
	if err != nil {
		return err
	}
	for _, problem := range slices.Concat(read.problems, read.manifests.Errors) {
		e.add(problem)
	}
	for _, note := range of.live.notes {
		e.notes = append(e.notes, note.Text)
	}
	e.manifests, e.rules, e.cluster = read.manifests, read.rules, read.cluster
	e.find(ref, c.notThere(ref))
	return nil
}

// find sets the object, unless there is nothing to explain about it: then it adds why. notThere is the error for an
// object that was not read.
func (e *explained) find(ref policies.Ref, notThere error) {
	object, note := find(e.manifests, ref)
	if object == nil {
		for _, child := range e.manifests.Children {
			if child.Kind == ref.Kind && child.Namespace == ref.Namespace && child.Name == ref.Name {
				notThere = fmt.Errorf("%s is made by %s; explain that instead", ref, child.Workload.Controller)
			}
		}
		e.add(notThere)
		return
	}
	if note != "" {
		e.notes = append(e.notes, note)
	}
	switch service := object.Service; {
	case service == nil:
	case service.Spec.Type == corev1.ServiceTypeExternalName:
		e.add(fmt.Errorf("%s has type ExternalName: clients connect to %s, and there is no traffic policy; explain the "+
			"Service behind that name", ref, service.Spec.ExternalName))
		return
	case service.Spec.ClusterIP == corev1.ClusterIPNone:
		e.add(fmt.Errorf("%s is headless: clients connect to its pods, and there is no traffic policy; explain the Service "+
			"with a cluster IP in front of these pods", ref))
		return
	}
	e.object = object
}

// advised is a Service and the answers of the decision guide.
type advised struct {
	policies.Answered
	service *corev1.Service
	in      policies.Input
	traffic *serviceTraffic
	// places say where the pods are; nil if that is not known. now is the traffic there.
	places []policies.Place
	now    placement
}

// advise answers the decision guide for a Service.
func (e *explained) advise(ctx context.Context, object *manifest.Object) advised {
	in := e.manifests.Input(object, e.cluster, time.Now())
	a := advised{service: object.Service, in: in}
	var faults [2]error
	a.traffic, faults[0] = newServiceTraffic(ctx, in, e.rules)
	routing := a.traffic.LoadBalancer.Routing
	if e.isLive {
		a.places = in.Cluster.PlacesOf(object.Service, e.endpoints)
		even := a.places
		if len(in.Related.Workloads) == 1 {
			pods := policies.ShareTraffic(a.places, routing).Pods
			even = policies.BestPlacement(a.places, routing, in.Cluster.PodsOf(in.Related.Workloads[0], pods, in.Namespace))
		}
		a.now = newPlacement(currentPlacement, a.places, even, routing)
	}
	a.Answered, faults[1] = policies.Advise(
		ctx, in, e.rules, policies.Resolve(e.rules.Policies, in.Object, in.Namespace), a.places)
	if fault := cmp.Or(faults[0], faults[1]); fault != nil {
		e.add(fmt.Errorf("%s: %s; fix the policy", object.Ref, faultText(fault)))
	}
	return a
}

// row returns a row of the guide that applies to the Service; nil if it does not.
func (a advised) row(id string) *policies.AnsweredRow {
	for i, row := range a.Rows {
		if row.ID == id {
			return &a.Rows[i]
		}
	}
	return nil
}

// decisive returns the row that decides.
func (a advised) decisive() policies.AnsweredRow {
	i := slices.IndexFunc(a.Rows, func(r policies.AnsweredRow) bool { return r.Says != "" })
	return a.Rows[i] // The last row that decides applies to every Service.
}

func (a advised) isLocal() bool { return a.traffic.isLocal() }
