package main

import (
	"fmt"
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/policies"
)

// A drawing shows a client, the load balancer, the nodes and the pods from left to right. Its width is that of a phone,
// so that its text is readable there. All lengths are in CSS pixels.
const (
	drawingWidth = 360
	// The left sides of the columns, and the widths of their boxes.
	clientX, clientWidth     = 1, 44
	balancerX, balancerWidth = 82, 62
	nodeX, nodeWidth         = 178, 94
	podX, podRadius          = 308, 6 // the center of the mark of a pod, and its least radius
	podLabelX                = 321
	// busX is where the ways to all pods meet with Cluster.
	busX, busWidth = 286, 4

	headHeight = 22 // of the names of the columns
	rowHeight  = 18 // of a pod
	nodeHeight = 38 // of a node with few pods
	gap        = 8
	padding    = 5
	// lineWidth is that of all traffic, and thinnest that of a share too small to see.
	lineWidth, thinnest = 20.0, 0.75

	// mostGroups and mostPods bound what is drawn: of further groups of nodes only the number, and of more pods on a
	// node one mark for all.
	mostGroups = 12
	mostPods   = 4
	// nameLength is the most characters of a name in a box.
	nameLength = 13
)

// drawing is a picture of the traffic of a Service with one traffic policy, for the template.
type drawing struct {
	// ID is unique in its page. Title and Description are its text for people who do not see it.
	ID, Title, Description string
	Width, Height          int
	Lines                  []drawnLine
	Boxes                  []drawnBox
	Pods                   []drawnPod
	Labels                 []drawnLabel
}

// drawnLine is a way of traffic: the data of a path, and its width.
type drawnLine struct{ Path, Width string }

// drawnBox is a rectangle with text. A class says how it looks, and IsCrossed that it is crossed out.
type drawnBox struct {
	X, Y, Width, Height int
	Class, Title        string
	IsCrossed           bool
}

// Right and Bottom are the coordinates of the other corner.
func (b drawnBox) Right() int  { return b.X + b.Width }
func (b drawnBox) Bottom() int { return b.Y + b.Height }

// drawnPod is the mark of pods.
type drawnPod struct {
	X, Y, Radius int
	Class        string
}

// drawnLabel is a line of text.
type drawnLabel struct {
	X, Y        int
	Class, Text string
}

// way is traffic that goes from the side of one box to that of another.
type way struct {
	fromX, toX int
	fromY, toY float64
	share      float64
}

func (d *drawing) line(w way) {
	if w.share <= 0 {
		return
	}
	middle := (w.fromX + w.toX) / 2
	d.Lines = append(d.Lines, drawnLine{
		Path: fmt.Sprintf("M%d,%.1f C%d,%.1f %d,%.1f %d,%.1f",
			w.fromX, w.fromY, middle, w.fromY, middle, w.toY, w.toX, w.toY),
		Width: fmt.Sprintf("%.2f", max(w.share*lineWidth, thinnest)),
	})
}

func (d *drawing) label(x, y int, class, format string, args ...any) {
	d.Labels = append(d.Labels, drawnLabel{x, y, class, policies.Printable(fmt.Sprintf(format, args...))})
}

// drawnMark stands for so many pods with one share each.
type drawnMark struct {
	y    int
	pods int
}

// drawnNodes is a group of nodes in a drawing.
type drawnNodes struct {
	group nodeGroup
	share nodeShare
	y     int
	marks []drawnMark
	// suffix is the end that all names of nodes share.
	suffix string
}

func (n drawnNodes) height() int { return max(nodeHeight, len(n.marks)*rowHeight+gap) }
func (n drawnNodes) middle() int { return n.y + n.height()/2 }

// draw returns the drawing of a placement with Local, or with Cluster.
func (s *serviceTraffic) draw(id string, p placement, isLocal bool) *drawing {
	flow, policy := p.flow(isLocal), clusterPolicy
	if isLocal {
		policy = localPolicy
	}
	d := &drawing{
		ID: id, Width: drawingWidth,
		Title:       policies.Printable(fmt.Sprintf("%s with %s, %s", s.Service, policy, p.title())),
		Description: policies.Printable(capitalized(flow.Says)) + ".",
	}
	var nodes []drawnNodes
	y, left := headHeight, 0
	suffix := p.nodeSuffix(nameLength)
	for i, group := range p.Groups {
		if i >= mostGroups {
			left += group.size()
			continue
		}
		share := group.share(isLocal)
		n := drawnNodes{group: group, share: share, y: y, marks: marksOf(group, share), suffix: suffix}
		for j := range n.marks {
			n.marks[j].y = n.middle() + (2*j-len(n.marks)+1)*rowHeight/2
		}
		nodes = append(nodes, n)
		y += n.height() + gap
	}
	if left > 0 {
		d.label(nodeX, y+10, "muted", "and %s, in the table", count(left, "node"))
		y += rowHeight
	}
	d.Height = max(y, headHeight+nodeHeight+gap)
	d.label(nodeX, 12, "muted", "nodes")
	d.label(podX-6, 12, "muted", "each pod")
	d.drawSources(s, nodes)
	for _, n := range nodes {
		d.drawNodes(n)
	}
	if isLocal || s.LoadBalancer.Sharing == policies.SharePods {
		for _, n := range nodes {
			d.drawOwnPods(n)
		}
	} else {
		d.drawBus(nodes)
	}
	return d
}

// marksOf returns the marks of the pods on a group of nodes: one for each pod, or one for all.
func marksOf(group nodeGroup, share nodeShare) []drawnMark {
	switch {
	case share.Serving == 0:
		return nil
	case group.size() > 1 || share.Serving > mostPods:
		return []drawnMark{{pods: share.Serving * group.size()}}
	}
	marks := make([]drawnMark, share.Serving)
	for i := range marks {
		marks[i].pods = 1
	}
	return marks
}

// drawSources draws the client, the load balancer, and the ways to the nodes.
func (d *drawing) drawSources(s *serviceTraffic, nodes []drawnNodes) {
	middle := headHeight + (d.Height-headHeight-gap)/2
	box := func(x, width int, class string, lines ...string) {
		const height = 40
		d.Boxes = append(d.Boxes, drawnBox{X: x, Y: middle - height/2, Width: width, Height: height, Class: class})
		for i, line := range lines {
			d.label(x+width/2, middle+4+(2*i-len(lines)+1)*7, "centered", "%s", line)
		}
	}
	sent := 0.0
	for _, n := range nodes {
		sent += n.share.Share * float64(n.group.size())
	}
	d.line(way{clientX + clientWidth, balancerX, float64(middle), float64(middle), 1})
	from := float64(middle) - sent*lineWidth/2
	for _, n := range nodes {
		share := n.share.Share * float64(n.group.size())
		width := share * lineWidth
		d.line(way{balancerX + balancerWidth, nodeX, from + width/2, float64(n.middle()), share})
		from += width
	}
	box(clientX, clientWidth, "box", "client")
	if s.Type == string(corev1.ServiceTypeLoadBalancer) {
		box(balancerX, balancerWidth, "box", "load", "balancer")
	} else {
		box(balancerX, balancerWidth, "box absent", "no load", "balancer")
	}
}

// drawNodes draws the box of a group of nodes.
func (d *drawing) drawNodes(n drawnNodes) {
	each := ""
	if n.group.size() > 1 {
		each = " each"
	}
	box := drawnBox{X: nodeX, Y: n.y, Width: nodeWidth, Height: n.height(), Class: "box"}
	box.Title = policies.Printable(listed(n.group.Nodes))
	figure, class := percent(n.share.Share)+each, "figure"
	switch {
	case n.group.Untargeted != "":
		figure, class, box.Class = "not a target", "muted", "box absent"
		box.Title += ": " + policies.Printable(n.group.Untargeted)
	case n.share.Lost > 0:
		figure, class, box.Class, box.IsCrossed = "drops "+percent(n.share.Lost), "lost", "box lost", true
	case n.share.Health == unhealthy && n.share.Share == 0:
		figure, class, box.Class, box.IsCrossed = "503", "lost", "box lost", true
	case n.share.Share == 0:
		class, box.Class = "muted", "box absent"
	}
	d.Boxes = append(d.Boxes, box)
	d.label(nodeX+padding, n.middle()-4, "name", "%s", n.group.names(nameLength, " +%d", n.suffix))
	d.label(nodeX+padding, n.middle()+11, class, "%s", figure)
}

// drawOwnPods draws the pods of a group of nodes, and the ways from these nodes.
func (d *drawing) drawOwnPods(n drawnNodes) {
	all := 0.0
	for _, mark := range n.marks {
		all += n.share.PodShare * float64(mark.pods)
	}
	from := float64(n.middle()) - all*lineWidth/2
	for _, mark := range n.marks {
		share := n.share.PodShare * float64(mark.pods)
		width := share * lineWidth
		d.line(way{nodeX + nodeWidth, podX, from + width/2, float64(mark.y), share})
		from += width
		d.drawMark(n, mark)
	}
}

// drawBus draws the pods, and the ways to them from all nodes, which meet in one place.
func (d *drawing) drawBus(nodes []drawnNodes) {
	top, bottom := math.MaxInt, 0
	extend := func(y int, share float64) {
		half := int(math.Ceil(share * lineWidth / 2))
		top, bottom = min(top, y-half), max(bottom, y+half)
	}
	for _, n := range nodes {
		share := (n.share.Share - n.share.Lost) * float64(n.group.size())
		d.line(way{nodeX + nodeWidth, busX, float64(n.middle()), float64(n.middle()), share})
		if share > 0 {
			extend(n.middle(), share)
		}
		for _, mark := range n.marks {
			share := n.share.PodShare * float64(mark.pods)
			d.line(way{busX, podX, float64(mark.y), float64(mark.y), share})
			d.drawMark(n, mark)
			if share > 0 {
				extend(mark.y, share)
			}
		}
	}
	if top < bottom {
		d.Boxes = append(d.Boxes, drawnBox{
			X: busX, Y: top, Width: busWidth, Height: bottom - top, Class: "bus", Title: "any node sends to any pod",
		})
	}
}

// drawMark draws the mark of pods, and the share of each.
func (d *drawing) drawMark(n drawnNodes, mark drawnMark) {
	class, of := "pod", "figure"
	if n.share.PodShare == 0 {
		class, of = "pod idle", "muted"
	}
	width := n.share.PodShare * float64(mark.pods) * lineWidth
	d.Pods = append(d.Pods, drawnPod{podX, mark.y, max(podRadius, int(math.Ceil(width/2))), class})
	if mark.pods == 1 {
		d.label(podLabelX, mark.y+4, of, "%s", percent(n.share.PodShare))
		return
	}
	d.label(podLabelX, mark.y-2, of, "%s", percent(n.share.PodShare))
	d.label(podLabelX, mark.y+11, "muted", "×%d", mark.pods)
}

// drawingColumns is the number of columns in the width of a drawing, in the font of the text below it.
const drawingColumns = 58

// sentence returns a text in lines of at most so many columns.
func sentence(text string, columns int) []string {
	return strings.Split(strings.TrimSpace(wrap(text, "", columns)), "\n")
}
