package main

import (
	"cmp"
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

// maxLines is the largest number of lines of an explanation, so that it fits on a screen, unless messages are very
// long.
const maxLines = 40

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
		page.say("%s.", a.traffic.LoadBalancer.text())
	}
	a.writeWays(page)
	a.writeHealth(page)
	a.writeSourceIP(page)
	a.writeDecision(page, e.program)
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
		internal := a.service.Spec.InternalTrafficPolicy
		if internal != nil && *internal == corev1.ServiceInternalTrafficPolicyLocal {
			page.say("client in the cluster → ready pod on the client's node, else lost")
		} else {
			page.say("client in the cluster → any ready pod")
		}
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
	switch {
	case a.service.Spec.Type != corev1.ServiceTypeLoadBalancer:
		page.say("None, because only type LoadBalancer has one.")
		return
	case a.traffic.LoadBalancer.Sharing == policies.SharePods:
		page.say("The load balancer checks the pods. It does not ask the nodes.")
		return
	}
	port := "healthCheckNodePort"
	if number := a.service.Spec.HealthCheckNodePort; number > 0 {
		port = fmt.Sprintf("healthCheckNodePort %d", number)
	}
	if a.isLocal() {
		page.say("Nodes answer on %s: 200 with a ready pod, else 503.", port)
	} else {
		page.say("With Cluster, all nodes pass. With Local, they answer on %s: 200 with a ready pod, else 503.", port)
	}
	if unchecked := a.row("unchecked"); unchecked != nil {
		page.say("The load balancer does not obey that: %s.", unchecked.Detail)
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
	switch asked := cmp.Or(a.row("required"), a.row("asked")); {
	case asked != nil:
		page.say("%s.", capitalized(asked.Detail))
	case a.row("ignored") != nil:
		page.say("Annotation %s=%s says that it is not needed.", v1alpha1.AnnotationSourceIP, v1alpha1.SourceIPIgnore)
	case a.isLocal():
		page.say("Only externalTrafficPolicy: Local asks for it.")
	default:
		page.say("Nothing asks for it: no annotation, and no SourceIPPolicy.")
	}
	if ranges := a.row("source-ranges"); ranges != nil {
		page.say("loadBalancerSourceRanges is set. %s", ranges.Reason)
	}
	direct := a.row("useless")
	if direct != nil {
		page.say("%s.", capitalized(direct.Detail))
	}
	other := cmp.Or(a.row("preserved"), a.row("lost"), a.row("hidden"), a.row("proxy"))
	if other != nil {
		page.say("%s.", capitalized(other.Detail))
	} else if direct == nil && a.service.Spec.Type == corev1.ServiceTypeLoadBalancer {
		page.say("No PROXY protocol, X-Forwarded-For, DSR or pod targets were found.")
	}
}

// writeDecision writes what to choose, why, what it costs, and what to change.
func (a advised) writeDecision(page *sheet, program string) {
	row := a.decisive()
	switch {
	case a.Says == policies.ChooseEither:
		page.section("Choose: it makes no difference")
	case a.Change == "":
		page.section(fmt.Sprintf("Choose: %s, as it is", a.Says))
	case row.ID == "not-asked":
		page.section("Choose: Cluster, unless pods need the client's address")
	default:
		page.section(fmt.Sprintf("Choose: %s", a.Says))
	}
	page.lines(a.Change)
	if row.ID == "not-asked" && a.isLocal() {
		page.say("If they do, for logs or rate limits, keep Local, and say so: annotation %s: %s.",
			v1alpha1.AnnotationSourceIP, v1alpha1.SourceIPPreserve)
	}
	why := capitalized(row.When)
	if row.ID == "forbidden" || row.ID == "not-external" { // The sections above have the details of other rows.
		why = capitalized(because(row))
	}
	page.say("%s. %s", why, row.Reason)
	if row.Cost != "" {
		page.say("Cost: %s", row.Cost)
	}
	if a.Local.Hops == nil && a.service.Spec.ExternalTrafficPolicy != "" {
		page.say("Remove spec.externalTrafficPolicy, or set type LoadBalancer or NodePort: the API server rejects it.")
	}
	if a.Local.Hops != nil && a.Says != policies.ChooseEither {
		a.writeRows(page, program)
	}
}

// because returns when a row applies, with its details.
func because(row policies.AnsweredRow) string {
	if row.Detail == "" {
		return row.When
	}
	return row.When + " (" + row.Detail + ")"
}

// writeRows writes what else speaks for or against Local, and how to avoid it if Local is the choice.
func (a advised) writeRows(page *sheet, program string) {
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
	var items []string
	for _, row := range rows {
		text := because(row)
		if a.Says == policies.ChooseLocal {
			follows := strings.TrimPrefix(cmp.Or(row.Cost, row.Reason), "With Local, ")
			text += ": " + strings.ToLower(follows[:1]) + strings.TrimSuffix(follows[1:], ".")
			if setting := settingOf(row.Change); setting != "" {
				text += "; " + setting + " avoids it"
			}
		}
		items = append(items, wrapped(policies.Printable(text), "  - ", "    ", nil))
	}
	left := maxLines - strings.Count(page.String(), "\n")
	for i, item := range items {
		if left -= strings.Count(item, "\n"); left < 1 && i < len(items)-1 {
			also, ids := "also, ", []string(nil)
			if i == 0 {
				also = ""
			}
			for _, row := range rows[i:] {
				ids = append(ids, row.ID)
			}
			page.item(also + "in the decision guide: " + strings.Join(ids, ", "))
			return
		}
		page.WriteString(item)
	}
	if a.Says == policies.ChooseLocal && left > 0 && a.row("unspread") != nil {
		when := ""
		if !a.isLocal() {
			when = ", once it is Local"
		}
		page.say("To spread the pods%s, run %s fix on the files of their workloads.", when, program)
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
