package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

// sheet is the text of an explanation. Lines of prose have at most textWidth columns.
type sheet struct{ strings.Builder }

// section begins a section, below an empty line.
func (s *sheet) section(title string) {
	s.WriteString("\n" + wrapped(policies.Printable(title), "", "  ", nil))
}

func (s *sheet) say(format string, args ...any) {
	s.WriteString(wrapped(policies.Printable(fmt.Sprintf(format, args...)), "  ", "  ", nil))
}

func (s *sheet) item(text string) {
	s.WriteString(wrapped(policies.Printable(text), "  - ", "    ", nil))
}

// command adds a command line, which is not broken so that it can be copied.
func (s *sheet) command(format string, args ...any) {
	fmt.Fprintf(s, "  %s\n", policies.Printable(fmt.Sprintf(format, args...)))
}

// lines adds lines of YAML as they are.
func (s *sheet) lines(text string) {
	for line := range strings.Lines(text) {
		s.WriteString("    " + line)
	}
}

// servicePage returns the explanation of the Service.
func (e *explained) servicePage(ctx context.Context) string {
	a := e.advise(ctx, e.object)
	if e.isLive && a.now.Pods == 0 {
		e.notes = append(e.notes, fmt.Sprintf("%s has no ready endpoints; look at its pods and its selector with "+
			"\"kubectl get endpointslices -n %s -l kubernetes.io/service-name=%s\"",
			e.object.Ref, e.object.Namespace, e.object.Name))
	}
	page := &sheet{}
	page.WriteString(wrapped(policies.Printable(a.title()), "", "  ", nil))
	if place := e.object.Place("").String(); place != "" {
		page.say("%s", place)
	}
	if a.Local.Hops != nil {
		balancer := a.traffic.LoadBalancer
		says := balancer.Says
		if balancer.Assumed {
			says = "assumed: " + says
		}
		page.say("%s.", capitalized(says))
	}
	a.writeWays(page)
	a.writeHealth(page)
	a.writeSourceIP(page)
	a.writeDecision(page)
	return page.String()
}

// title returns the name, the type and the policy of the Service. The type ClusterIP has no policy.
func (a advised) title() string {
	of := a.traffic.Type
	if policy := a.traffic.TrafficPolicy; policy != "" {
		of += ", " + policy
	}
	return fmt.Sprintf("%s (%s)", a.in.Object.Ref, of)
}

// writeWays writes the way of a packet with either policy, that which the Service has first.
func (a advised) writeWays(page *sheet) {
	if a.Local.Hops == nil {
		page.section("The way of a packet")
		page.say("client in the cluster → any ready pod")
		page.say("Traffic from outside does not reach the Service, so externalTrafficPolicy has no effect.")
		return
	}
	write := func(policy string, way policies.Way, now flow) {
		title := "With " + policy
		if (policy == localPolicy) == a.isLocal() {
			title += ", which it has"
		}
		page.section(title)
		page.say("%s", strings.Join(way.Hops, " → "))
		page.say("%s", way.Sees)
		if a.places != nil {
			page.say("Now %s.", now.Says)
		}
	}
	if a.isLocal() {
		write(localPolicy, a.Local, a.now.Local)
		write(clusterPolicy, a.Cluster, a.now.Cluster)
	} else {
		write(clusterPolicy, a.Cluster, a.now.Cluster)
		write(localPolicy, a.Local, a.now.Local)
	}
}

// writeHealth writes how the load balancer learns which nodes have pods.
func (a advised) writeHealth(page *sheet) {
	if a.Local.Hops == nil {
		return
	}
	page.section("Health check")
	unchecked := a.row("unchecked")
	switch {
	case a.service.Spec.Type != corev1.ServiceTypeLoadBalancer:
		page.say("None, because only type LoadBalancer has one.")
		return
	case a.traffic.LoadBalancer.Sharing == policies.SharePods:
		page.say("The load balancer checks the pods. It does not ask the nodes.")
		return
	case unchecked != nil:
		page.say("The load balancer does not obey that of Local: %s.", unchecked.Detail)
	}
	port := "healthCheckNodePort, which the API server chooses"
	if number := a.service.Spec.HealthCheckNodePort; number > 0 {
		port = fmt.Sprintf("healthCheckNodePort %d", number)
	}
	if a.isLocal() {
		page.say("Each node answers on %s: 200 if it has a ready pod, else 503.", port)
	} else {
		page.say("With Cluster, each node passes. With Local, it answers on %s: 200 if it has a ready pod, else 503.", port)
	}
	for _, status := range []int{http.StatusOK, http.StatusServiceUnavailable} {
		var names []string
		for _, group := range a.now.Groups {
			if group.Local.Health == status {
				names = append(names, group.Nodes...)
			}
		}
		slices.Sort(names)
		if names != nil {
			shown := names[:min(len(names), maxNearest)]
			page.say("%d: %s.", status, andMore(shown, len(names)-len(shown)))
		}
	}
}

// writeSourceIP writes what asks for the client's address, and what else shows it to pods.
func (a advised) writeSourceIP(page *sheet) {
	page.section("The client's address")
	required, asked := a.row("required"), a.row("asked")
	switch {
	case required != nil:
		page.say("Asked for: %s.", required.Detail)
	case asked != nil:
		page.say("Asked for: %s.", asked.Detail)
	case a.row("ignored") != nil:
		page.say("Not needed: annotation %s=%s.", v1alpha1.AnnotationSourceIP, v1alpha1.SourceIPIgnore)
	case a.isLocal():
		page.say("Nothing asks for it but externalTrafficPolicy: Local itself.")
	default:
		page.say("Nothing asks for it: no annotation, and no SourceIPPolicy.")
	}
	if ranges := a.row("source-ranges"); ranges != nil {
		page.say("loadBalancerSourceRanges is set. %s", strings.Replace(ranges.Reason, "They do", "It does", 1))
	}
	for _, id := range []string{"useless", "preserved", "lost", "hidden", "proxy"} {
		if row := a.row(id); row != nil {
			page.say("Known of the load balancer: %s.", row.Detail)
			return
		}
	}
	if a.Local.Hops != nil {
		page.say("No alternative is on: PROXY protocol, X-Forwarded-For of a layer 7 load balancer, direct server return, " +
			"or pods as targets.")
	}
}

// writeDecision writes what to choose, why, what it costs, and what to change.
func (a advised) writeDecision(page *sheet) {
	row := a.decisive()
	switch {
	case a.Says == policies.ChooseEither:
		page.section("Choose: it makes no difference")
	case a.Change == "":
		page.section(fmt.Sprintf("Choose: %s, as it is", a.Says))
	default:
		page.section(fmt.Sprintf("Choose: %s", a.Says))
	}
	page.say("%s. %s", because(row), row.Reason)
	if row.Cost != "" {
		page.say("Cost: %s", row.Cost)
	}
	if a.Local.Hops == nil && a.service.Spec.ExternalTrafficPolicy != "" {
		page.say("Remove spec.externalTrafficPolicy, or set type LoadBalancer or NodePort: the API server rejects it.")
	}
	if a.Change != "" {
		page.say("Change:")
		page.lines(a.Change)
	}
	if row.ID == "not-asked" && a.isLocal() {
		page.say("If the pods need the address, keep Local and set annotation %s: %s.",
			v1alpha1.AnnotationSourceIP, v1alpha1.SourceIPPreserve)
	}
	if a.Local.Hops != nil && a.Says != policies.ChooseEither {
		a.writeRows(page)
	}
}

// because returns when a row applies, as the beginning of a sentence, with its details.
func because(row policies.AnsweredRow) string {
	text := capitalized(row.When)
	if row.Detail != "" {
		text += " (" + row.Detail + ")"
	}
	return text
}

// writeRows writes what else speaks for or against Local, and how to avoid it if Local is the choice.
func (a advised) writeRows(page *sheet) {
	var rows []policies.AnsweredRow
	for _, row := range a.Rows {
		if row.Says == "" && row.ID != "source-ranges" {
			rows = append(rows, row)
		}
	}
	if rows == nil {
		return
	}
	page.section("What matters for Local here")
	var change string
	for _, row := range rows {
		if a.Says != policies.ChooseLocal {
			page.item(because(row) + ".")
			continue
		}
		text := because(row) + ". "
		if row.Cost != "" {
			text += row.Cost
		} else {
			text += row.Reason
		}
		switch setting := settingOf(row.Change); {
		case setting != "":
			text += " Avoid it with " + setting + "."
		case row.Change != "":
			change = row.Change
		}
		page.item(text)
	}
	if change != "" {
		page.say("Spread the pods in each workload:")
		page.lines(change)
	}
}

// settingOf returns lines of YAML as one setting, such as spec.replicas: 2; empty if there is more than one.
func settingOf(lines string) string {
	var value any
	if err := yaml.Unmarshal([]byte(lines), &value); err != nil {
		return ""
	}
	var path []string
	for {
		object, isObject := value.(map[string]any)
		if !isObject {
			break
		}
		if len(object) != 1 {
			return ""
		}
		for key, of := range object {
			path, value = append(path, key), of
		}
	}
	if _, isList := value.([]any); isList || path == nil {
		return ""
	}
	return fmt.Sprintf("%s: %v", strings.Join(path, "."), value)
}
