package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sourceward/sourceward/policies"
)

// percent returns a fraction in percent with at most one digit after the point, such as 16.7% and 50%.
func percent(fraction float64) string {
	return strconv.FormatFloat(math.Round(fraction*1000)/10, 'f', -1, 64) + "%"
}

// percentInTable returns a fraction in percent with one digit after the point, so that the points in a column are below
// each other.
func percentInTable(fraction float64) string { return fmt.Sprintf("%.1f%%", fraction*100) }

// isSame reports whether two figures look the same to a reader.
func isSame(a, b float64) bool { return math.Abs(a-b) < 0.005 }

// says returns a flow as a sentence, such as
//
//	the busiest pod gets 50%, 2x its fair share; 50% of the capacity is usable; 1 of 3 nodes gets no traffic
func (p placement) says(isLocal bool, routing policies.Routing) string {
	f := p.flow(isLocal)
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch {
	case p.Nodes == 0 && routing.Sharing != policies.SharePods:
		return "all traffic is lost: there is no node to send it to"
	case p.Pods == 0:
		return "all traffic is lost: no pod is ready"
	}
	if f.Announcer != "" {
		certain := ""
		if routing.Announcer == "" {
			certain = ", if it is the one that announces the address"
		}
		add("%s gets all traffic%s", f.Announcer, certain)
	}
	switch {
	case isSame(f.Lost, 1):
		add("all traffic is lost: no node that gets any has a pod")
	case f.Lost > 0:
		add("%s of the traffic is lost, on nodes without a pod", percent(f.Lost))
	}
	busiest := f.Overload / float64(p.Pods)
	switch {
	case f.Overload == 0:
	case p.Pods == 1:
		add("the only pod gets %s", percent(busiest))
	case f.IdlePods == 0 && p.isUniform(isLocal):
		add("each pod gets %s", percent(busiest))
	default:
		add("the busiest pod gets %s, %s its fair share", percent(busiest), policies.Times(f.Overload))
	}
	switch {
	case f.Overload == 0:
	case f.Lost > 0 && isSame(f.Usable, 1): // It would sound as if all were well.
	case isSame(f.Usable, 1):
		add("all of the capacity is usable")
	default:
		add("%s of the capacity is usable", percent(f.Usable))
	}
	if f.IdlePods > 0 {
		add("%s", getNoTraffic(f.IdlePods, p.Pods, "pod"))
	}
	if f.IdleNodes > 0 {
		add("%s", getNoTraffic(f.IdleNodes, p.Nodes, "node"))
	}
	return strings.Join(parts, "; ")
}

// isUniform reports whether all pods that get traffic get the same share: that of the busiest.
func (p placement) isUniform(isLocal bool) bool {
	overload := p.flow(isLocal).Overload
	return !slices.ContainsFunc(p.Groups, func(g nodeGroup) bool {
		share := g.share(isLocal).PodShare
		return share > 0 && !isSame(share*float64(p.Pods), overload)
	})
}

// capitalized returns a sentence with a capital letter at its beginning.
func capitalized(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[size:]
}

func getNoTraffic(idle, all int, noun string) string {
	verb := "get"
	if idle == 1 {
		verb = "gets"
	}
	return fmt.Sprintf("%d of %s %s no traffic", idle, count(all, noun), verb)
}

// saysEven returns what Local would give if the same pods were spread perfectly; empty if that is no better.
func (p placement) saysEven() string {
	even, begin := p.EvenSpread, "; a perfect spread of the same pods would "
	give := fmt.Sprintf("give %s and %s usable", policies.Times(even.Overload), percent(even.Usable))
	switch {
	case even.Overload == 0 || even.Lost > p.Local.Lost && !isSame(even.Lost, p.Local.Lost):
		return ""
	case isSame(even.Lost, p.Local.Lost) && (even.Overload >= p.Local.Overload || isSame(even.Overload, p.Local.Overload)):
		return ""
	case even.Lost > 0:
		return begin + "lose " + percent(even.Lost)
	case p.Local.Lost > 0:
		return begin + "lose nothing, and " + give
	default:
		return begin + give
	}
}

// title returns the name of the placement for a heading, such as "worst placement of 4 pods on 3 nodes".
func (p placement) title() string {
	text := fmt.Sprintf("%s placement of %s on %s", p.Name, count(p.Pods, "pod"), count(p.Nodes, "node"))
	if p.NoneIsWorse {
		text += "; none is worse"
	}
	return text
}

// saysRouting returns how a load balancer shares traffic, as a sentence. isBalanced is false for a Service without a
// load balancer, whose clients choose a node.
func saysRouting(r policies.Routing, isBalanced bool) string {
	to := "each node the same share"
	switch {
	case r.Sharing == policies.ShareWeighted:
		to = "each node a share in proportion to its pods with Local, and the same share with Cluster"
	case r.Sharing == policies.ShareAnnouncer:
		return "one node announces the address and gets all traffic"
	case r.Sharing == policies.SharePods:
		to = "each pod the same share, past kube-proxy"
	case !isBalanced:
		return "clients reach each node equally often"
	}
	subject := "the load balancer gives "
	if r.Zonal {
		to = "each zone the same share, and in it " + to
	}
	if r.Sharing == policies.SharePods {
		return subject + to
	}
	if r.Unchecked {
		return subject + to + ", without a health check"
	}
	return subject + to + ", if it passes the health check"
}

// nodeSuffix returns the end that the names of all nodes share, from a point on; empty if all names have at most so
// many characters, or if there is only one.
func (p placement) nodeSuffix(most int) string {
	var names []string
	isLong := false
	for _, g := range p.Groups {
		for _, name := range g.Nodes {
			names = append(names, name)
			isLong = isLong || len(name) > most
		}
	}
	if !isLong || len(names) < 2 {
		return ""
	}
	_, suffix, _ := strings.Cut(names[0], ".")
	isShared := func(suffix string) bool {
		return !slices.ContainsFunc(names, func(name string) bool { return !strings.HasSuffix(name, "."+suffix) })
	}
	for suffix != "" && !isShared(suffix) {
		_, suffix, _ = strings.Cut(suffix, ".")
	}
	if suffix == "" {
		return ""
	}
	return "." + suffix
}

// names returns the nodes of a group in at most so many characters, without the end that all names share: the first
// one, and how many more there are. others is how that is said, such as " and %d more".
func (g nodeGroup) names(most int, others, suffix string) string {
	if len(g.Nodes) == 0 {
		return "(no node)"
	}
	more := ""
	if len(g.Nodes) > 1 {
		more = fmt.Sprintf(others, len(g.Nodes)-1)
	}
	return shortened(policies.Printable(strings.TrimSuffix(g.Nodes[0], suffix)), most-utf8.RuneCountInString(more)) + more
}

// shortened returns a name with at most so many characters. The middle is left out, since names of nodes begin and end
// with what tells them apart.
func shortened(name string, most int) string {
	text := []rune(name)
	if len(text) <= most {
		return name
	}
	end := most / 2
	return string(text[:most-1-end]) + "…" + string(text[len(text)-end:])
}

// podCount returns the number of pods on each node of a group, such as 2, or 2+1 if one more terminates.
func (g nodeGroup) podCount() string {
	if g.Draining == 0 {
		return strconv.Itoa(g.Ready)
	}
	return fmt.Sprintf("%d+%d", g.Ready, g.Draining)
}

// nodeFigure returns what a node gets: its share, or why it gets none.
func (s nodeShare) nodeFigure(untargeted string) string {
	switch {
	case untargeted != "":
		return "-"
	case s.Health == unhealthy && s.Share == 0:
		return "503"
	default:
		return percentInTable(s.Share)
	}
}

// podFigure returns what each pod of a node gets, "lost" if the node drops what it gets, and "-" if it has no pod.
func (s nodeShare) podFigure() string {
	switch {
	case s.Lost > 0:
		return "lost"
	case s.Serving == 0:
		return "-"
	default:
		return percentInTable(s.PodShare)
	}
}

// unhealthy is what the health check of a node without ready pods answers.
const unhealthy = 503
