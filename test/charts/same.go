package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"
	"helm.sh/helm/v4/pkg/chart/common"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/policies"
)

// The outcomes of a comparison. All but the first three are faults.
const (
	equal      = "equal"
	chance     = "equal but for chance"
	neither    = "both fail"
	different  = "different"
	onlyOurs   = "only they fail"
	onlyTheirs = "only we fail"
)

var outcomes = []string{equal, chance, neither, different, onlyTheirs, onlyOurs}

// comparison says how what we render differs from what helm or kubectl renders.
type comparison struct {
	rendering
	objects         int
	outcome, reason string
}

func (c comparison) isFault() bool {
	return slices.Index(outcomes, c.outcome) > slices.Index(outcomes, neither)
}

// compareAll renders each chart with helm and each kustomization with kubectl, and compares that with what we render.
func compareAll(ctx context.Context, renderings []rendering, kubectl string, shown *progress) ([]comparison, error) {
	all := make([]comparison, len(renderings))
	step, end := shown.start("comparing", len(renderings), "renderings")
	defer end()
	slices.Sort(common.DefaultCapabilities.APIVersions) // which helm collects in the order of a map
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for i, r := range renderings {
		group.Go(func() (err error) {
			all[i], err = r.compare(func(later time.Duration) ([]string, error) {
				if r.chart == nil {
					return kustomize(ctx, kubectl, r.folder())
				}
				return helm(ctx, r.folder(), *r.chart, later)
			})
			step()
			return err
		})
	}
	return all, group.Wait()
}

// tries is how often a chart is rendered by helm to find what it renders differently each time. This must also find the
// order of the smallest map.
const tries = 16

// compare compares what we render with what theirs returns. theirs renders some time later than it is.
func (r rendering) compare(theirs func(later time.Duration) ([]string, error)) (comparison, error) {
	c := comparison{rendering: r}
	documents, failed := theirs(0)
	reason := r.ours.Error + r.ours.Skipped
	switch {
	case failed != nil && reason != "":
		c.outcome, c.reason = neither, reason
		return c, nil
	case failed != nil:
		c.outcome, c.reason = onlyOurs, failed.Error()
		return c, nil //nolint:nilerr // that they fail is what was found out
	case reason != "":
		c.outcome, c.reason = onlyTheirs, reason
		return c, nil
	}
	var texts []string
	for _, object := range r.ours.Objects {
		texts = append(texts, string(object.Text))
	}
	ours, err := objects(texts)
	if err != nil {
		return c, fmt.Errorf("%s: %s: what we render: %w", r.module, r.name, err)
	}
	want, err := objects(documents)
	if err != nil {
		return c, fmt.Errorf("%s: %s: what they render: %w", r.module, r.name, err)
	}
	c.objects = len(ours)
	differing := differences(ours, want)
	if len(differing) == 0 {
		c.outcome = equal
		return c, nil
	}
	byChance := map[string]bool{}
	for try := range tries {
		documents, err := theirs(time.Duration(try+1) * 400 * 24 * time.Hour)
		if err != nil {
			return c, err
		}
		other, err := objects(documents)
		if err != nil {
			return c, err
		}
		for _, d := range differences(want, other) {
			byChance[d.name] = true
		}
	}
	c.outcome = chance
	var names, reasons []string
	for _, d := range differing {
		names = append(names, d.name)
		if !byChance[d.name] {
			reasons = append(reasons, fmt.Sprintf("%s is %s, want %s", d.name, cmp.Or(d.a, "missing"), cmp.Or(d.b, "none")))
		}
	}
	c.reason = strings.Join(names, "; ")
	if len(reasons) > 0 {
		c.outcome = different
		c.reason = fmt.Sprintf("%d values: %s", len(reasons), strings.Join(reasons, "; "))
	}
	return c, nil
}

// object is a rendered object. kind is what identifies it but for its name.
type object struct {
	kind    string
	content any
}

// objects returns the objects in documents, by what identifies them.
func objects(documents []string) (map[string]object, error) {
	all := map[string]object{}
	seen := map[string]int{}
	for _, document := range documents {
		var value any
		if err := yaml.Unmarshal([]byte(document), &value); err != nil {
			return nil, err
		}
		if value == nil {
			continue // only comments
		}
		content, _ := value.(map[string]any)
		metadata, _ := content["metadata"].(map[string]any)
		kind := join(content["apiVersion"], content["kind"], metadata["namespace"])
		name := join(kind, metadata["name"])
		if seen[name]++; seen[name] > 1 {
			name = fmt.Sprintf("%s (%d)", name, seen[name])
		}
		all[name] = object{kind, value}
	}
	return all, nil
}

// join joins those values that are texts.
func join(values ...any) string {
	var texts []string
	for _, value := range values {
		if text, ok := value.(string); ok && text != "" {
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, " ")
}

// fields returns all values in objects that are no lists and no maps, or are empty ones, in JSON, by the object and the
// path in it. Objects that are not in others, whose names may be chance, are numbered instead.
func fields(objects, others map[string]object) map[string]string {
	values := map[string]string{}
	numbers := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(objects)) {
		o := objects[name]
		if _, isThere := others[name]; !isThere {
			numbers[o.kind]++
			name = join(o.kind, fmt.Sprintf("of another name (%d)", numbers[o.kind]))
		}
		addFields(values, name, o.content)
	}
	return values
}

func addFields(values map[string]string, name string, value any) {
	switch value := value.(type) {
	case map[string]any:
		for key, member := range value {
			addFields(values, name+"/"+key, member)
		}
		if len(value) > 0 {
			return
		}
	case []any:
		for i, element := range value {
			addFields(values, fmt.Sprintf("%s/%d", name, i), element)
		}
		if len(value) > 0 {
			return
		}
	}
	text, _ := json.Marshal(value) // it was read from JSON
	values[name] = string(text)
}

// difference is a value that differs between two sets of objects, in JSON; empty where it is missing.
type difference struct{ name, a, b string }

// differences returns the values that differ, sorted by name.
func differences(a, b map[string]object) []difference {
	inA, inB := fields(a, b), fields(b, a)
	names := maps.Clone(inA)
	maps.Copy(names, inB)
	var differing []difference
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if inA[name] != inB[name] {
			differing = append(differing, difference{name, inA[name], inB[name]})
		}
	}
	return differing
}

// writeComparisons writes a table of what was compared, and how often there was which outcome.
func writeComparisons(w io.Writer, comparisons []comparison) {
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "MODULE\tFOLDER\tRENDERED\tOBJECTS\tOUTCOME")
	charts, kustomizations := map[string]int{}, map[string]int{}
	objects := 0
	for _, c := range comparisons {
		text := c.outcome
		if c.reason != "" {
			text += ": " + c.shownReason()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\n", c.module, c.name, c.kind(), c.objects, text)
		objects += c.objects
		if c.chart != nil {
			charts[c.outcome]++
		} else {
			kustomizations[c.outcome]++
		}
	}
	_ = table.Flush() // w keeps the first error
	fmt.Fprintln(w)
	table = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "OUTCOME\tCHARTS\tKUSTOMIZATIONS")
	for _, outcome := range outcomes {
		fmt.Fprintf(table, "%s\t%d\t%d\n", outcome, charts[outcome], kustomizations[outcome])
	}
	_ = table.Flush()
	fmt.Fprintf(w, "\n%d renderings with %d objects\n", len(comparisons), objects)
}

// shownReason returns the reason in one line, without the folder of the module.
func (c comparison) shownReason() string {
	const longest = 300
	reason := strings.ReplaceAll(strings.Join(strings.Fields(c.reason), " "), c.root+"/", "")
	return policies.Shorten(reason, longest)
}

// faults returns the comparisons that are faults, as complaints.
func faults(comparisons []comparison) []string {
	var complaints []string
	for _, c := range comparisons {
		if c.isFault() {
			complaints = append(complaints,
				fmt.Sprintf("%s: %s: %s: %s: %s", c.outcome, c.module, c.name, c.kind(), c.shownReason()))
		}
	}
	return complaints
}
