package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
)

// trafficReader collects the traffic of the Services in files.
type trafficReader struct {
	// service is the value of --service.
	service    string
	placements []*givenPlacement

	services []serviceTraffic
	// internal holds the Services that no traffic reaches from outside, with the reasons. workloads are all workloads.
	internal  []skipped
	workloads []policies.Ref
	// isUnknown is true if the number of nodes was not known for a Service.
	isUnknown bool
}

// errNodes says what to do if the number of nodes is not known.
var errNodes = errors.New("the number of nodes is not known; give --nodes NUMBER, or the Nodes of the cluster with " +
	"--context (kubectl get nodes -o yaml)")

// read adds the Services of a world. The report has what is wrong with the files, and what was skipped. The error is
// errReported, or describes a mistake in the command line.
func (t *trafficReader) read(
	ctx context.Context, s streams, w world, outputs []output, progress *progress,
) (*report, error) {
	read, err := w.load(ctx, s, outputs, progress)
	progress.done()
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, errInterrupted
	}
	report := newReport(read.manifests)
	report.addErrors(read.problems)
	report.addErrors(read.manifests.Errors)
	for _, object := range read.manifests.Objects {
		if object.Workload != nil {
			t.workloads = append(t.workloads, object.Ref)
			for _, given := range t.placements {
				if given.matches(object.Ref) {
					given.found = append(given.found, object.Ref)
				}
			}
		}
	}
	for _, object := range read.manifests.Objects {
		if object.Service == nil || !isSelected(t.service, object.Ref) {
			continue
		}
		place := object.Place("")
		why := skipped{File: place.File, Line: place.Line, Object: &object.Ref}
		if why.Reason = notExternal(object.Service, read.cluster.Version); why.Reason != "" {
			why.Environment = w.environment
			t.internal = append(t.internal, why)
			continue
		}
		in := read.manifests.Input(object, read.cluster, time.Now())
		found, fault := newServiceTraffic(ctx, in, read.rules)
		if fault != nil {
			report.Errors = append(report.Errors, reportError{
				File: place.File, Line: place.Line, Message: fmt.Sprintf("%s: %s; fix the policy", object.Ref, faultText(fault)),
			})
		}
		var notes []string
		if why.Reason, notes, err = t.place(found, in); err != nil {
			return nil, err
		}
		if why.Reason != "" {
			report.Skipped = append(report.Skipped, why)
			continue
		}
		found.File, found.Line, found.Environment = place.File, place.Line, w.environment
		t.services = append(t.services, *found)
		for _, text := range notes {
			report.Notes = append(report.Notes, note{
				File: place.File, Line: place.Line, Object: &object.Ref, Message: text,
			})
		}
	}
	return report, nil
}

// notExternal returns why no traffic reaches a Service from outside the cluster through kube-proxy; empty if it does.
func notExternal(service *corev1.Service, version policies.Version) string {
	switch {
	case service.Spec.Type == corev1.ServiceTypeExternalName:
		return fmt.Sprintf("it has no pods: type ExternalName sends clients to %s", service.Spec.ExternalName)
	case service.Spec.ClusterIP == corev1.ClusterIPNone:
		return "it is headless: clients connect to its pods, and no load balancer or kube-proxy shares the traffic"
	case !policies.ExternallyAccessible(service, version):
		return "no traffic reaches it from outside the cluster: type ClusterIP without externalIPs"
	default:
		return ""
	}
}

// newServiceTraffic returns the traffic of the Service in in.Object without placements. The error says which policies
// could not be evaluated; how traffic is shared is then known without them.
func newServiceTraffic(ctx context.Context, in policies.Input, rules *bundle.Set) (*serviceTraffic, error) {
	service := in.Object.Service
	settings := policies.Resolve(rules.Policies, in.Object, in.Namespace)
	found, err := policies.LoadBalancerOf(ctx, in, rules, settings)
	if found.Why == nil {
		found.Why = []policies.Reason{} // no list of the report is null
	}
	isBalanced := service.Spec.Type == corev1.ServiceTypeLoadBalancer
	return &serviceTraffic{
		Service: in.Object.Ref, Type: string(service.Spec.Type), TrafficPolicy: string(service.Spec.ExternalTrafficPolicy),
		LoadBalancer: loadBalancer{found, saysRouting(found.Routing, isBalanced)},
	}, err
}

// place adds the placements of its pods to the traffic of a Service, or returns why there are none. notes are about
// these placements. The error describes a mistake in --placement.
func (t *trafficReader) place(found *serviceTraffic, in policies.Input) (why string, notes []string, err error) {
	service := in.Object.Service
	workloads := in.Related.Workloads
	switch {
	case len(service.Spec.Selector) == 0:
		return "it has no selector, so that files do not show where its pods are", nil, nil
	case len(workloads) == 0:
		return "no workload that was read has the labels of its selector; give the files of its workloads, too", nil, nil
	}
	given, err := t.given(workloads)
	if err != nil {
		return "", nil, err
	}
	nodes, err := places(in, given)
	if err != nil {
		return "", nil, err
	}
	if nodes == nil {
		t.isUnknown = true
		return errNodes.Error(), nil, nil
	}
	routing := found.LoadBalancer.Routing
	fewest, most := bounds(in)
	if why := unplaced(workloads, most); why != "" {
		return why, nil, nil
	}
	if given != nil {
		if notes, err = surplus(in, given, most); err != nil {
			return "", nil, err
		}
		found.add(givenPlacementOf(in, nodes, given, routing))
	}
	numbers := [][]policies.Pods{fewest}
	if !slices.EqualFunc(fewest, most, func(a, b policies.Pods) bool { return a.Count == b.Count }) {
		numbers = append(numbers, most)
	}
	for _, pods := range numbers {
		even := policies.BestPlacement(nodes, routing, pods...)
		best := newPlacement("best", even, even, routing)
		if routing.Sharing == policies.ShareAnnouncer || routing.Distribution != "" && !found.isLocal() {
			best.Name = "even"
		}
		crowded := policies.WorstPlacement(nodes, routing, service.Spec.ExternalTrafficPolicy, pods...)
		worst := newPlacement("worst", crowded, even, routing)
		best.NoneIsWorse = compareFlows(best.Local, worst.Local) == 0 && compareFlows(best.Cluster, worst.Cluster) == 0
		found.add(best)
		if !best.NoneIsWorse {
			found.add(worst)
		}
	}
	for _, workload := range workloads {
		if key := policies.OtherTopology(workload, in.Namespace); key != "" {
			notes = append(notes, fmt.Sprintf("%s has a hard constraint on %s, which is not considered: some placements may be "+
				"impossible", workload.Ref, key))
		}
	}
	if pending := pending(in, found.Placements[len(found.Placements)-1].Pods); pending != "" {
		notes = append(notes, pending)
	}
	for _, workload := range workloads {
		if from, to := in.Related.ReplicasOf(workload); from == 0 && to > 0 {
			notes = append(notes, fmt.Sprintf("%s may be scaled to zero, and is taken to have at least 1 pod, and at most %d",
				workload.Ref, to))
		}
	}
	return "", notes, nil
}

// pending says how many of the most pods of the workloads behind a Service have no node; empty if each has one. placed
// is the number of those that have. A DaemonSet has no other pods.
func pending(in policies.Input, placed int) string {
	wanted := 0
	for _, workload := range in.Related.Workloads {
		if workload.Kind == daemonSet {
			return ""
		}
		from, to := in.Related.ReplicasOf(workload)
		wanted += max(1, from, to)
	}
	if placed >= wanted {
		return ""
	}
	return fmt.Sprintf("only %d of its %s find a node, and the others stay Pending", placed,
		count(wanted, "pod"))
}

// unplaced says of which workload no known node accepts a pod; empty if there is none.
func unplaced(workloads []*policies.Workload, pods []policies.Pods) string {
	for i, of := range pods {
		if of.Nodes != nil && len(of.Nodes) == 0 {
			return fmt.Sprintf("no Node that was read accepts the pods of %s; compare the labels and taints of the Nodes with "+
				"its nodeSelector, affinity, tolerations and topology spread constraints", workloads[i].Ref)
		}
	}
	return ""
}

// surplus returns notes about workloads to which --placement gives more pods than they may have. The error is non-nil
// if it gives a node two pods of a DaemonSet.
func surplus(in policies.Input, given map[int]*givenPlacement, most []policies.Pods) (notes []string, err error) {
	for i, workload := range in.Related.Workloads {
		all := 0
		for _, entry := range given[i].nodes {
			if workload.Kind == daemonSet && entry.pods > 1 {
				return nil, fmt.Errorf("%s: %s is given %d pods, but %s runs one on each node",
					given[i], entry.node, entry.pods, workload.Ref)
			}
			all += entry.pods
		}
		if all > most[i].Count {
			notes = append(notes, fmt.Sprintf("%s has %s, more than the %d that %s may have",
				given[i], count(all, "pod"), most[i].Count, workload.Ref))
		}
	}
	return notes, nil
}

// daemonSet is the kind of workload whose pods are as many as nodes.
const daemonSet = "DaemonSet"

func (s *serviceTraffic) add(p placement) { s.Placements = append(s.Placements, p) }

// given returns the placements of --placement, by the index of the workload; nil if there are none. The error is
// non-nil if some workloads have one and others do not, or if it is not clear which workload is meant.
func (t *trafficReader) given(workloads []*policies.Workload) (map[int]*givenPlacement, error) {
	var found map[int]*givenPlacement
	for i, workload := range workloads {
		for _, given := range t.placements {
			if !given.matches(workload.Ref) {
				continue
			}
			if other := given.ambiguous(); other != nil {
				return nil, fmt.Errorf("%s can mean %s or %s; write NAMESPACE/NAME, or rename one of them",
					given, given.found[0], other)
			}
			if found == nil {
				found = map[int]*givenPlacement{}
			}
			found[i], given.isUsed = given, true
		}
	}
	if found == nil || len(found) == len(workloads) {
		return found, nil
	}
	for i, workload := range workloads {
		if found[i] == nil {
			return nil, fmt.Errorf("--placement does not place the pods of %s, which the same Service selects; place "+
				"them, too: --placement %s=NODE:PODS", workload.Ref, workload.Name)
		}
	}
	return found, nil
}

// ambiguous returns another workload than the first that has the name; nil if there is none.
func (g *givenPlacement) ambiguous() *policies.Ref {
	for i, ref := range g.found {
		first := g.found[0]
		if ref.Kind != first.Kind || ref.Namespace != first.Namespace {
			return &g.found[i]
		}
	}
	return nil
}

// places returns the nodes of the cluster without pods: those that are known, and else those that --placement names,
// with others up to the number of --nodes. It returns nil if there are neither. The error describes a mistake in
// --placement.
func places(in policies.Input, given map[int]*givenPlacement) ([]policies.Place, error) {
	known := in.Cluster.Places(in.Object.Service)
	if given == nil {
		return known, nil
	}
	areNamed := in.Cluster.Nodes == 0 && known != nil // else known has only their number
	var named []policies.Place
	names := map[string]bool{}
	for i := range len(in.Related.Workloads) {
		for _, entry := range given[i].nodes {
			isKnown := slices.ContainsFunc(known, func(p policies.Place) bool { return p.Node == entry.node })
			switch {
			case areNamed && !isKnown:
				var all []string
				for _, place := range known {
					all = append(all, place.Node)
				}
				return nil, fmt.Errorf("%s: there is no Node %s in --context; the nearest are %s",
					given[i], entry.node, nearest(entry.node, all))
			case !names[entry.node]:
				names[entry.node] = true
				named = append(named, policies.Place{Node: entry.node})
			}
		}
	}
	switch {
	case areNamed:
		return known, nil
	case known != nil && len(named) > len(known):
		return nil, fmt.Errorf("--placement names %s, but --nodes is %d; make it at least %d",
			count(len(named), "node"), len(known), len(named))
	}
	for i := 1; len(named) < len(known); i++ {
		if name := "node-" + strconv.Itoa(i); !names[name] {
			named = append(named, policies.Place{Node: name})
		}
	}
	return named, nil
}

// givenPlacementOf returns the placement that --placement gives.
func givenPlacementOf(
	in policies.Input, nodes []policies.Place, given map[int]*givenPlacement, routing policies.Routing,
) placement {
	placed := slices.Clone(nodes)
	var pods []policies.Pods
	for i, workload := range in.Related.Workloads {
		all := 0
		for _, entry := range given[i].nodes {
			at := slices.IndexFunc(placed, func(p policies.Place) bool { return p.Node == entry.node })
			placed[at].Ready += entry.pods
			all += entry.pods
		}
		pods = append(pods, in.Cluster.PodsOf(workload, all, in.Namespace))
	}
	return newPlacement("given", placed, policies.BestPlacement(nodes, routing, pods...), routing)
}

// bounds returns the fewest and the most pods of the workloads behind a Service. A workload that may be scaled to zero
// counts with one pod, since nothing is served without it.
func bounds(in policies.Input) (fewest, most []policies.Pods) {
	for _, workload := range in.Related.Workloads {
		from, to := in.Related.ReplicasOf(workload)
		fewest = append(fewest, in.Cluster.PodsOf(workload, max(1, from), in.Namespace))
		most = append(most, in.Cluster.PodsOf(workload, max(1, from, to), in.Namespace))
	}
	return fewest, most
}

// misplaced returns an error for a --placement that no Service uses; nil if there is none.
func (t *trafficReader) misplaced() error {
	for _, given := range t.placements {
		switch {
		case given.isUsed:
		case len(given.found) > 0:
			return fmt.Errorf("%s: no Service that is shown selects %s", given, given.found[0])
		case len(t.workloads) == 0:
			return fmt.Errorf("%s: no workload was read; give the files of the workloads, too", given)
		default:
			word, names := given.workload, []string{}
			if given.namespace != "" {
				word = given.namespace + "/" + word
			}
			for _, ref := range t.workloads {
				if given.namespace != "" {
					names = append(names, ref.Namespace+"/"+ref.Name)
				} else {
					names = append(names, ref.Name)
				}
			}
			return fmt.Errorf("%s: no workload of this name was read; the nearest are %s", given, nearest(word, names))
		}
	}
	return nil
}

// isExternal ends the message that there is no Service that traffic reaches from outside the cluster.
const isExternal = "is of type LoadBalancer or NodePort, or has externalIPs"

// explainNothing adds errors that say why no Service is shown, if none is.
func (t *trafficReader) explainNothing(report *report) {
	if len(t.services) > 0 {
		return
	}
	add := func(format string, args ...any) {
		report.Errors = append(report.Errors, reportError{Message: fmt.Sprintf(format, args...)})
	}
	var about []skipped
	report.Skipped = slices.DeleteFunc(report.Skipped, func(s skipped) bool {
		isService := s.Object != nil && s.Object.Kind == "Service"
		if isService {
			about = append(about, s)
		}
		return isService
	})
	if t.service != "" {
		about = append(about, t.internal...)
	}
	switch {
	case t.isUnknown:
		add("%s", errNodes)
	case len(about) > 0:
		for _, s := range about {
			report.Errors = append(report.Errors, reportError{
				File: s.File, Line: s.Line, Environment: s.Environment, Message: aboutObject(s.Object, s.Reason),
			})
		}
	case t.service != "":
		add("--service %s: no Service of this name was read; check the name and the paths", t.service)
	case len(t.internal) > 0:
		add("nothing to show: no Service in these files %s", isExternal)
	case len(report.Errors) == 0:
		add("nothing to show: there is no Service in these files")
	}
}
