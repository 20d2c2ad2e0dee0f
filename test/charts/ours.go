package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/sourceward/sourceward/policies"
	rego "github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/manifest"
	"github.com/sourceward/sourceward/policies/render"
)

// rendering is a chart with one set of values, or a kustomization, as sourceward check renders it.
type rendering struct {
	module, root string
	// name is the path of its folder relative to root, which is the folder of the module. values is the name of a set of
	// values, and ci that of a file in the folder ci of the chart; empty for none.
	name, values, ci string
	// chart is what the chart was rendered with, without its files; nil for a kustomization.
	chart *render.Chart
	ours  render.Result
}

func (r rendering) folder() string { return filepath.Join(r.root, filepath.FromSlash(r.name)) }

// kind says what is rendered, with which values.
func (r rendering) kind() string {
	if r.chart == nil {
		return "kustomization"
	}
	return strings.Join(slices.DeleteFunc([]string{"chart", r.values, r.ci}, func(s string) bool { return s == "" }), ", ")
}

// places counts the findings in rendered objects, and those without a line. wrong are the places that do not exist.
type places struct {
	findings, withoutLine int
	wrong                 []string
}

// renderAll renders all charts and kustomizations of modules, and judges what they render to.
func renderAll(ctx context.Context, modules []module, shown *progress) ([]rendering, places, error) {
	rules, _ := rego.Compile(ctx, nil, nil) // without policies there are no errors
	renderings, found := make([][]rendering, len(modules)), make([]places, len(modules))
	step, end := shown.start("rendering", len(modules), "modules")
	defer end()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for i, m := range modules {
		group.Go(func() (err error) {
			renderings[i], found[i], err = m.render(ctx, rules)
			step()
			return err
		})
	}
	err := group.Wait()
	var all places
	for _, f := range found {
		all.findings += f.findings
		all.withoutLine += f.withoutLine
		all.wrong = append(all.wrong, f.wrong...)
	}
	return slices.Concat(renderings...), all, err
}

// render renders everything in a module at once, and then each chart with the sets of values that are known for it.
func (m module) render(ctx context.Context, rules *rego.Set) ([]rendering, places, error) {
	charts, err := m.findCharts()
	if err != nil {
		return nil, places{}, err
	}
	all, found, err := m.renderPath(ctx, rules, ".", charts, "", render.Chart{})
	if err != nil {
		return nil, places{}, err
	}
	for _, name := range charts {
		c, isKnown := m.charts[name]
		if !isKnown {
			continue
		}
		for _, set := range append([]values{{name: "default"}}, c.values...) {
			// With a file of values, a chart is not rendered with those in its folder ci again.
			with := render.Chart{Set: slices.Concat(c.base, set.set), Values: []render.File{{}}}
			if c.valuesFile != "" {
				data, err := os.ReadFile(filepath.Join(m.dir, name, c.valuesFile))
				if err != nil {
					return nil, places{}, err
				}
				with.Values[0].Data = data
			}
			if len(with.Set) == 0 && c.valuesFile == "" {
				continue // rendered above
			}
			inside := slices.DeleteFunc(slices.Clone(charts), func(other string) bool {
				return other != name && !strings.HasPrefix(other, name+"/")
			})
			more, places, err := m.renderPath(ctx, rules, name, inside, set.name, with)
			if err != nil {
				return nil, places, err
			}
			all = append(all, more...)
			found.findings += places.findings
			found.withoutLine += places.withoutLine
			found.wrong = append(found.wrong, places.wrong...)
		}
	}
	slices.SortStableFunc(all, func(a, b rendering) int { return strings.Compare(a.name, b.name) })
	for i := range found.wrong {
		found.wrong[i] = m.path + ": " + strings.ReplaceAll(found.wrong[i], m.dir+string(filepath.Separator), "")
	}
	return all, found, nil
}

// findCharts returns the folders of the charts in a module, in the order in which sourceward check renders them. Those
// in the folder charts of another chart are rendered with it.
func (m module) findCharts() ([]string, error) {
	var charts []string
	err := fs.WalkDir(os.DirFS(m.dir), ".", func(name string, entry fs.DirEntry, err error) error {
		isIn := func(part string) bool {
			return path.Base(name) == part && isFile(filepath.Join(m.dir, path.Dir(name), "Chart.yaml"))
		}
		switch {
		case err != nil:
			return err
		case !entry.IsDir():
		case name != "." && strings.HasPrefix(entry.Name(), "."), isIn("charts"), isIn("templates"):
			return fs.SkipDir
		case isFile(filepath.Join(m.dir, name, "Chart.yaml")):
			charts = append(charts, name)
		}
		return nil
	})
	slices.SortFunc(charts, func(a, b string) int {
		return strings.Compare(filepath.Join(m.dir, a), filepath.Join(m.dir, b))
	})
	return charts, err
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// renderPath renders what is below a path in a module. charts are the charts there, and with are their values, which
// the set has. With a set, only the chart at the path is rendered.
func (m module) renderPath(
	ctx context.Context, rules *rego.Set, below string, charts []string, set string, with render.Chart,
) ([]rendering, places, error) {
	var all []rendering
	own := 0 // charts that were rendered without a file of their folder ci
	with.ReleaseName = "release-name"
	loaded, err := manifest.Load(manifest.Options{
		Paths:   []string{filepath.Join(m.dir, below)},
		Version: policies.Newest,
		Reads:   rego.ReadsAnnotation,
		Rendering: &manifest.Rendering{Kustomize: set == "", Chart: with, All: func(
			requests []render.Request,
		) []render.Result {
			results := render.All(ctx, requests)
			for i, request := range requests {
				r := rendering{module: m.path, root: m.dir, values: set, ours: results[i]}
				if c := request.Chart; c != nil {
					if len(c.Values) == len(with.Values) {
						own++
					} else {
						r.ci = c.Values[len(c.Values)-1].Name
					}
					chart := *c
					chart.Files = nil // so that they can be freed
					r.chart, r.name = &chart, charts[min(own, len(charts))-1]
				} else if name, err := filepath.Rel(m.dir, filepath.FromSlash(request.Kustomization.Folder)); err == nil {
					r.name = filepath.ToSlash(name)
				}
				if set == "" || r.name == below {
					all = append(all, r)
				}
			}
			return results
		}},
	})
	switch {
	case err != nil:
		return nil, places{}, err
	case ctx.Err() != nil:
		return nil, places{}, ctx.Err()
	case own != len(charts):
		return nil, places{}, fmt.Errorf("%s: sourceward check renders %d charts, want %d", m.path, own, len(charts))
	}
	found, err := judgeRendered(ctx, loaded, rules)
	return all, found, err
}

// judgeRendered judges the objects that were rendered, and looks for the places that it would name.
func judgeRendered(ctx context.Context, m *manifest.Manifests, rules *rego.Set) (places, error) {
	var found places
	lines := map[string]int{} // the number of lines of each file
	check := func(at manifest.Place, what string) error {
		if _, isKnown := lines[at.File]; !isKnown {
			text, err := os.ReadFile(at.File)
			lines[at.File] = 1 + bytes.Count(text, []byte("\n"))
			if err != nil {
				lines[at.File] = -1
			}
		}
		if at.Line > lines[at.File] || lines[at.File] < 0 {
			found.wrong = append(found.wrong, fmt.Sprintf("%s is said to be at %s, which does not exist", what, at))
		}
		return ctx.Err()
	}
	for _, object := range m.Objects {
		if object.Document.RenderedBy() == "" {
			continue
		}
		decision, _, err := m.Decide(ctx, object, manifest.Bench{
			Rules: rules, Policies: rules.Policies, Cluster: policies.Cluster{Version: policies.Newest},
		})
		if err != nil {
			return found, fmt.Errorf("judge %s in %s: %w", object.Ref, object.Place(""), err)
		}
		if err := check(object.Place(""), object.Ref.String()); err != nil {
			return found, err
		}
		for _, f := range decision.Findings {
			at := object.Place(f.Path)
			found.findings++
			if at.Line == 0 {
				found.withoutLine++
			}
			if err := check(at, fmt.Sprintf("%s of %s", cmp.Or(f.Path, f.Rule), object.Ref)); err != nil {
				return found, err
			}
		}
	}
	return found, nil
}
