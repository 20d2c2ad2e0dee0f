package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/fatih/color"
	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/policies"
)

const (
	// textWidth is the most columns of a line: a terminal has at least as many.
	textWidth = 80
	// nameWidth and barWidth are the columns of the names of nodes, and of the longest bar.
	nameWidth = 20
	barWidth  = 10
	// serviceWidth is the columns of the names of Services.
	serviceWidth = 32
)

// writeText writes a table for each placement of each Service, with a bar for the share of each pod. The bars of one
// table have the same scale. Below it are the sentences about both traffic policies.
func (r *trafficReport) writeText(w io.Writer, options trafficOptions) error {
	out := bufio.NewWriter(w)
	p := newPalette(useColor(options.color, w))
	above := false // true if there is something above the next part
	begin := func() {
		if above {
			fmt.Fprintln(out)
		}
		above = true
	}
	if len(r.Services) > 1 {
		begin()
		r.writeOverview(out, p)
	}
	for i := range r.Services {
		begin()
		r.Services[i].writeText(out, p)
	}
	if !options.quiet {
		(&report{Skipped: r.Skipped, Notes: r.Notes}).writeRemarks(out, p, begin)
	}
	if len(r.Services) > 0 && !options.quiet {
		begin()
		fmt.Fprint(out, wrapped(r.summary(), "", "  ", nil))
	}
	return out.Flush()
}

// summary returns the last line: how many Services there are, and how many have a problem with the traffic policy that
// they have.
func (r *trafficReport) summary() string {
	losing, overloaded := 0, 0
	isCurrent := false
	for i := range r.Services {
		isCurrent = r.Services[i].Placements[0].Name == currentPlacement
		switch worst := r.Services[i].worst(); {
		case worst.Lost > 0:
			losing++
		case !isSame(worst.Overload, 1):
			overloaded++
		}
	}
	var parts []string
	loses, overloads := "%d can lose traffic", "%d can overload a pod"
	if isCurrent {
		loses, overloads = "%d with lost traffic", "%d with an overloaded pod"
	}
	if losing > 0 {
		parts = append(parts, fmt.Sprintf(loses, losing))
	}
	if overloaded > 0 {
		parts = append(parts, fmt.Sprintf(overloads, overloaded))
	}
	if fair := len(r.Services) - losing - overloaded; fair > 0 {
		parts = append(parts, fmt.Sprintf("%d with a fair share for each pod", fair))
	}
	text := count(len(r.Services), "Service") + ": " + strings.Join(parts, ", ")
	if r.Omitted > 0 {
		text += fmt.Sprintf("; --top leaves out %d more", r.Omitted)
	}
	return text
}

// writeOverview writes a line for each Service, with the figures of its worst placement.
func (r *trafficReport) writeOverview(out io.Writer, p palette) {
	fmt.Fprintln(out, p.dim.Sprintf("  %-*s  %-7s  %6s  %7s  %6s  %s",
		serviceWidth, "SERVICE", "POLICY", "LOST", "BUSIEST", "USABLE", "IDLE NODES"))
	for i := range r.Services {
		s := &r.Services[i]
		worst := s.worst()
		lost, busiest := padded(percent(worst.Lost), -6), padded(worst.busiest(), -7)
		if worst.Lost > 0 {
			lost = p.removed.Sprint(lost)
		} else {
			busiest = p.load(worst.Overload).Sprint(busiest)
		}
		fmt.Fprintf(out, "  %s  %s  %s  %s  %s  %10d\n",
			padded(shortened(policies.Printable(s.name()), serviceWidth), serviceWidth), padded(s.TrafficPolicy, 7), lost,
			busiest, padded(percent(worst.Usable), -6), worst.IdleNodes)
	}
}

// name returns the namespace and the name of the Service.
func (s *serviceTraffic) name() string { return s.Service.Namespace + "/" + s.Service.Name }

// title returns the name, the type and the policy of the Service.
func (s *serviceTraffic) title() string {
	return fmt.Sprintf("%s (%s, %s)", s.Service, s.Type, s.TrafficPolicy)
}

// place returns where the Service is defined; empty for a Service in a cluster.
func (s *serviceTraffic) place() string {
	place := strings.TrimSpace(at(s.File, s.Line))
	if s.Environment != "" {
		place += ", environment " + s.Environment
	}
	return place
}

// busiest returns the overload of the busiest pod; a dash if no pod gets traffic.
func (f flow) busiest() string {
	if f.Overload == 0 {
		return "-"
	}
	return policies.Times(f.Overload)
}

func (s *serviceTraffic) writeText(out io.Writer, p palette) {
	fmt.Fprint(out, wrapped(policies.Printable(s.title()), "", "    ", p.bold))
	fmt.Fprint(out, wrapped(policies.Printable(s.place()), "  ", "  ", p.dim))
	fmt.Fprint(out, wrapped(policies.Printable(s.text()), "  ", "  ", p.dim))
	for _, placement := range s.Placements {
		fmt.Fprintf(out, "\n  %s\n", p.heading.Sprint(capitalized(placement.title())))
		s.writeTable(out, p, placement)
		fmt.Fprint(out, wrapped(policies.Printable("Local: "+placement.Local.Says+"."), "  ", "    ", nil))
		fmt.Fprint(out, wrapped(policies.Printable("Cluster: "+placement.Cluster.Says+"."), "  ", "    ", nil))
	}
}

// text returns how traffic is taken to find the nodes, and whether that is assumed, without a period.
func (b loadBalancer) text() string {
	if b.Assumed {
		return "Assumed: " + b.Says
	}
	return capitalized(b.Says)
}

// text returns how traffic is taken to find the nodes, whether that is assumed, and why, as sentences.
func (s *serviceTraffic) text() string {
	b := s.LoadBalancer
	text := b.text()
	var reasons []string
	for _, reason := range b.Why {
		reasons = append(reasons, reason.Message)
	}
	if reasons != nil {
		text += "; " + strings.Join(reasons, "; ")
	}
	if b.Assumed && s.Type == string(corev1.ServiceTypeLoadBalancer) {
		return text + ". --provider names another load balancer."
	}
	return text + "."
}

// wrapped breaks a text into lines, and colors each if ink is not nil. The first one begins with first, others with
// next.
func wrapped(text, first, next string, ink *color.Color) string {
	var b strings.Builder
	indent := first
	line := ""
	flush := func() {
		if ink != nil {
			line = ink.Sprint(line)
		}
		b.WriteString(indent + line + "\n")
		indent, line = next, ""
	}
	for word := range strings.FieldsSeq(text) {
		for utf8.RuneCountInString(word) > textWidth-len(indent) {
			// A name without a space, longer than a line.
			if line != "" {
				flush()
				continue
			}
			runes, width := []rune(word), textWidth-len(indent)
			line, word = string(runes[:width]), string(runes[width:])
			flush()
		}
		if line != "" && len(indent)+utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > textWidth {
			flush()
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		flush()
	}
	return b.String()
}

// padded fills a text with spaces up to a width: at its end or, if width is negative, at its beginning.
func padded(text string, width int) string {
	fill := strings.Repeat(" ", max(0, max(width, -width)-utf8.RuneCountInString(text)))
	if width < 0 {
		return fill + text
	}
	return text + fill
}

// writeTable writes a row for each group of nodes.
func (s *serviceTraffic) writeTable(out io.Writer, p palette, of placement) {
	most := 0.0 // the largest share of a pod
	for _, group := range of.Groups {
		most = max(most, group.Local.PodShare, group.Cluster.PodShare)
	}
	line := func(cells ...string) { fmt.Fprintln(out, strings.TrimRight(strings.Join(cells, ""), " ")) }
	head := func(text string, isInForce bool) string {
		if isInForce {
			return p.bold.Sprint(padded(text+" (in force)", 24))
		}
		return p.dim.Sprint(padded(text, 24))
	}
	suffix := of.nodeSuffix(nameWidth)
	if suffix != "" {
		fmt.Fprint(out, wrapped("All names of nodes end with "+policies.Printable(suffix), "  ", "  ", p.dim))
	}
	columns := "  " + padded("node", -6) + " " + padded("each pod", 7+barWidth)
	line(padded("", 2+nameWidth+6), "  ", head("LOCAL", s.isLocal()), "  ", head("CLUSTER", !s.isLocal()))
	line("  ", p.dim.Sprint(strings.TrimRight(padded("NODE", nameWidth)+padded("PODS", -6)+columns+columns, " ")))
	for _, group := range of.Groups {
		share := func(s nodeShare) string {
			bar := strings.Repeat(" ", barWidth)
			if s.Lost == 0 {
				bar = p.load(s.PodShare * float64(of.Pods)).Sprint(barOf(s.PodShare, most))
			}
			node, pod := padded(s.nodeFigure(group.Untargeted), -6), padded(s.podFigure(), -6)
			if s.Lost > 0 {
				pod = p.removed.Sprint(pod)
			}
			return "  " + node + " " + pod + " " + bar
		}
		line("  ", padded(group.names(nameWidth, " and %d more", suffix), nameWidth), padded(group.podCount(), -6),
			share(group.Local), share(group.Cluster))
		if group.Zone != "" {
			line("    ", p.dim.Sprint("in zone "+policies.Printable(group.Zone)))
		}
		if group.Untargeted != "" {
			fmt.Fprint(out, wrapped(policies.Printable(group.Untargeted), "    ", "    ", p.dim))
		}
	}
}

// barOf returns a bar for a share, barWidth columns long for the largest share.
func barOf(share, most float64) string {
	if most == 0 {
		return strings.Repeat(" ", barWidth)
	}
	eighths := []rune(" ▏▎▍▌▋▊▉█")
	length := int(math.Round(share / most * barWidth * 8))
	if share > 0 {
		length = max(length, 1)
	}
	bar := strings.Repeat("█", length/8)
	if rest := length % 8; rest > 0 {
		bar += string(eighths[rest])
	}
	return padded(bar, barWidth)
}

// load says how much a pod gets.
type load string

// The loads: a fair share, more than that, and at least twice as much.
const (
	loadFair   load = "good"
	loadMore   load = "warn"
	loadDouble load = "lost"
)

// loadOf returns the load of a pod that gets so many times its fair share.
func loadOf(overload float64) load {
	const much = 2
	switch {
	case overload >= much || isSame(overload, much):
		return loadDouble
	case overload > 1 && !isSame(overload, 1):
		return loadMore
	default:
		return loadFair
	}
}

// load returns the color for a pod that gets so many times its fair share.
func (p palette) load(overload float64) *color.Color {
	switch loadOf(overload) {
	case loadDouble:
		return p.removed
	case loadMore:
		return p.modes[policies.Warn]
	default:
		return p.added
	}
}
