package main

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
	"sync"

	"github.com/sourceward/sourceward/policies"
)

// trafficTemplates holds the page, the picture and their colors.
//
//go:embed traffic.tmpl
var trafficTemplates embed.FS

// trafficTemplate parses the templates, which only -o html and -o svg need. They escape what comes from manifests.
var trafficTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.ParseFS(trafficTemplates, "traffic.tmpl"))
})

// trafficPage is what the templates show. All of its texts are printable.
type trafficPage struct {
	Summary                string
	Sections               []trafficSection
	Errors, Skipped, Notes []string
	// Width and Height are those of the picture. All Y are in it.
	Width, Height int
}

// trafficSection is the part about one Service.
type trafficSection struct {
	ID, Name, Heading, Place, Routing, Policy string
	Worst                                     pageFigures
	Y                                         int
	RoutingLines                              []pageLine
	Placements                                []pagePlacement
}

// ShortHeading is the heading for the picture, which does not break lines.
func (s trafficSection) ShortHeading() string { return shortened(s.Heading, 90) }

// pageFigures are those of a Service in the overview. Load is the class of the text of Busiest.
type pageFigures struct {
	IsLosing                    bool
	Lost, Busiest, Usable, Load string
	IdleNodes                   int
}

// pagePlacement is the part about one placement, with a drawing for each traffic policy.
type pagePlacement struct {
	Title    string
	Y        int
	Drawings []pageDrawing
	Rows     []pageRow
}

// pageRow is a row of the table, about a group of nodes.
type pageRow struct {
	Names, Zone, Untargeted, Pods                string
	LocalNode, LocalPod, ClusterNode, ClusterPod string
}

// pageDrawing is a drawing, its place in the picture, and the lines below it.
type pageDrawing struct {
	*drawing
	// Heading names the traffic policy.
	Heading        string
	X, Y, HeadingY int
	Sentence       []pageLine
}

// pageLine is a line of text in the picture.
type pageLine struct {
	Y    int
	Text string
}

const (
	pageMargin     = 16
	pageGap        = 40  // between two drawings in a row
	pageLineHeight = 15  // of text
	pictureColumns = 125 // of text, in the width of the picture
)

// newPage returns the report as the templates show it.
func newPage(r *trafficReport) trafficPage {
	p := trafficPage{Summary: r.summary(), Width: 2*pageMargin + 2*drawingWidth + pageGap, Height: pageMargin}
	for i := range r.Services {
		p.add(&r.Services[i])
	}
	for _, e := range r.Errors {
		p.Errors = append(p.Errors, policies.Printable(e.String()))
	}
	for _, s := range r.Skipped {
		p.Skipped = append(p.Skipped, policies.Printable(at(s.File, s.Line)+aboutObject(s.Object, s.Reason)))
	}
	for _, n := range r.Notes {
		p.Notes = append(p.Notes, policies.Printable(at(n.File, n.Line)+aboutObject(n.Object, n.Message)))
	}
	return p
}

// add adds a Service below those that the page has.
func (p *trafficPage) add(s *serviceTraffic) {
	worst := s.worst()
	section := trafficSection{
		ID: fmt.Sprintf("s%d", len(p.Sections)+1), Name: policies.Printable(s.name()),
		Heading: policies.Printable(s.title()), Place: policies.Printable(s.place()),
		Routing: policies.Printable(s.text()),
		Policy:  s.TrafficPolicy, Y: p.Height + pageLineHeight,
		Worst: pageFigures{
			Lost: percent(worst.Lost), Busiest: worst.busiest(), Usable: percent(worst.Usable),
			IsLosing: worst.Lost > 0, Load: string(loadOf(worst.Overload)), IdleNodes: worst.IdleNodes,
		},
	}
	if worst.Lost > 0 {
		section.Worst.Load = "" // What is lost is not fair.
	}
	p.Height += 2 * pageLineHeight
	for _, line := range sentence(section.Routing, pictureColumns) {
		section.RoutingLines = append(section.RoutingLines, pageLine{p.Height, line})
		p.Height += pageLineHeight
	}
	for _, placement := range s.Placements {
		shown := pagePlacement{Title: capitalized(placement.title()), Y: p.Height + pageLineHeight}
		top := shown.Y + 2*pageLineHeight
		p.Height = top
		for i, policy := range []string{localPolicy, clusterPolicy} {
			d := pageDrawing{
				drawing: s.draw(fmt.Sprintf("%s-%d-%s", section.ID, len(section.Placements)+1, strings.ToLower(policy)),
					placement, policy == localPolicy),
				Heading: policy, HeadingY: top, X: pageMargin + i*(drawingWidth+pageGap), Y: top + gap,
			}
			if policy == s.TrafficPolicy {
				d.Heading += ", which this Service has"
			}
			y := d.Y + d.Height
			for _, line := range sentence(d.Description, drawingColumns) {
				y += pageLineHeight
				d.Sentence = append(d.Sentence, pageLine{y, line})
			}
			p.Height = max(p.Height, y+pageLineHeight)
			shown.Drawings = append(shown.Drawings, d)
		}
		for _, g := range placement.Groups {
			shown.Rows = append(shown.Rows, pageRow{
				Names: g.names(math.MaxInt, " and %d more", ""), Zone: policies.Printable(g.Zone),
				Untargeted: policies.Printable(g.Untargeted), Pods: g.podCount(),
				LocalNode: g.Local.nodeFigure(g.Untargeted), LocalPod: g.Local.podFigure(),
				ClusterNode: g.Cluster.nodeFigure(g.Untargeted), ClusterPod: g.Cluster.podFigure(),
			})
		}
		section.Placements = append(section.Placements, shown)
	}
	p.Height += pageMargin
	p.Sections = append(p.Sections, section)
}

// writeHTML writes one page without scripts, and without anything from elsewhere.
func (r *trafficReport) writeHTML(w io.Writer, _ trafficOptions) error {
	return trafficTemplate().ExecuteTemplate(w, "page", newPage(r))
}

// writeSVG writes one picture of all Services.
func (r *trafficReport) writeSVG(w io.Writer, _ trafficOptions) error {
	return trafficTemplate().ExecuteTemplate(w, "picture", newPage(r))
}
