package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/policies"
)

// workloadPage returns the explanation of the workload.
func (e *explained) workloadPage(ctx context.Context) string {
	w, in := e.object.Workload, e.manifests.Input(e.object, e.cluster, time.Now())
	_, most := in.Related.ReplicasOf(w)
	page := &sheet{}
	page.WriteString(wrapped(policies.Printable(fmt.Sprintf("%s (%s)", w.Ref, podsText(w, in.Related))), "", "  ", nil))
	if place := e.object.Place("").String(); place != "" {
		page.say("%s", place)
	}

	page.section("Services in front")
	var front []advised
	for _, object := range e.manifests.Objects {
		if object.Service != nil && policies.Selects(object.Service, w) {
			front = append(front, e.advise(ctx, object))
		}
	}
	for _, a := range front[:min(len(front), maxNames)] {
		page.item(fmt.Sprintf("%s: %s", a.title(), a.choice()))
	}
	switch {
	case len(front) > maxNames:
		page.item(fmt.Sprintf("%d more", len(front)-maxNames))
	case front == nil:
		page.say("None: no Service that was read selects its pods.")
	}

	page.section("How its pods are spread")
	page.say("%s", e.spreadText(in, most))
	for _, a := range front {
		nodes, routing := in.Cluster.Places(a.service), a.traffic.LoadBalancer.Routing
		if nodes == nil || a.Local.Hops == nil {
			continue
		}
		_, pods := bounds(a.in)
		if why := unplaced(a.in.Related.Workloads, pods); why != "" {
			page.say("%s.", capitalized(why))
			break
		}
		best := policies.BestPlacement(nodes, routing, pods...)
		crowded := policies.WorstPlacement(nodes, routing, corev1.ServiceExternalTrafficPolicyLocal, pods...)
		worst := newPlacement("worst", crowded, best, routing)
		page.say("Behind %s with Local, %s on %s: at worst %s.",
			a.in.Object.Ref, count(worst.Pods, "pod"), count(worst.Nodes, "node"), worst.Local.Says)
		break
	}

	page.section("To see more")
	if front != nil {
		page.command("%s explain %s %s", e.program, named(front[0].in.Object.Ref), e.source)
	}
	page.command("%s explain --settings %s %s", e.program, named(w.Ref), e.settings)
	if front != nil {
		page.command("%s traffic %s", e.program, e.traffic)
	}
	return page.String()
}

// named returns the argument of explain for an object.
func named(ref policies.Ref) string {
	return fmt.Sprintf("%s/%s/%s", ref.Kind, ref.Namespace, ref.Name)
}

// choice says what to choose and why, for a list of Services.
func (a advised) choice() string {
	row := a.decisive()
	since := ", since " + row.When
	switch {
	case a.Says == policies.ChooseEither:
		return "no difference" + since
	case a.Change == "":
		return fmt.Sprintf("keep %s", a.Says) + since
	case row.ID == "not-asked":
		return "choose Cluster, unless pods need the client's address"
	default:
		return fmt.Sprintf("choose %s", a.Says) + since
	}
}

// podsText says how many pods a workload has.
func podsText(w *policies.Workload, related policies.Related) string {
	least, most := related.ReplicasOf(w)
	switch {
	case w.Kind == daemonSet:
		return "a pod on each node"
	case least == most:
		return count(most, "pod")
	default:
		return fmt.Sprintf("%d to %s", least, count(most, "pod"))
	}
}

// spreadText says what keeps the pods of the workload in in.Object on different nodes. most is the largest number of
// them.
func (e *explained) spreadText(in policies.Input, most int) string {
	w := in.Object.Workload
	spreading, pods := in.Cluster.SpreadingOf(w, in.Namespace), in.Cluster.PodsOf(w, most, in.Namespace)
	switch {
	case w.Kind == daemonSet:
		return "It runs one pod on each node."
	case most == 1:
		return "There is only one pod, so there is nothing to spread."
	case spreading == policies.SpreadPinned:
		return "All pods must run on the same node."
	case spreading == policies.SpreadIneffective:
		return fmt.Sprintf("Nothing keeps the pods on different nodes, although the template seems to: see %s explain "+
			"ineffective-spread.", e.program)
	case spreading == policies.SpreadNone:
		return fmt.Sprintf("Nothing keeps the pods on different nodes: see %s explain unspread-behind-local.", e.program)
	case pods.Alone:
		return "Guaranteed: no two pods share a node. Pods without a node of their own stay Pending."
	case pods.MaxSkew > 0:
		return fmt.Sprintf("Guaranteed when pods are scheduled: the numbers of pods on two nodes differ by at most %d.",
			pods.MaxSkew)
	default:
		return "They are spread if possible, which guarantees nothing."
	}
}
