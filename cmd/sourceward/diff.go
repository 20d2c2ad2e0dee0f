package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/manifest"
)

// diff adds to the report a unified diff of all files that the webhook's patches would change. A change that cannot be
// made in the text of its file becomes an error of the report.
func (c *checkRun) diff(r *report) {
	var diffs strings.Builder
	of := map[string][]patch{} // by the text that they change: that of a file, or what is rendered
	for _, p := range r.Patches {
		if p.Mode == policies.Mutate {
			of[p.source.Document.File] = append(of[p.source.Document.File], p)
		}
	}
	for _, file := range slices.Sorted(maps.Keys(of)) {
		patches := of[file]
		var changes []*manifest.Change
		for _, p := range patches {
			changes = append(changes, &manifest.Change{
				Index: p.source.Document.Index, At: p.source.At, Operations: p.Operations,
			})
		}
		before := c.manifests.Text(file)
		after := manifest.PatchAll(before, changes)
		for i, change := range changes {
			if p := patches[i]; change.Err != nil {
				r.addErrors([]*manifest.Error{p.source.Place(p.Operations[0].Path).Error(
					fmt.Sprintf("the change to %s cannot be shown: %s", p.Object, change.Err))})
			}
		}
		shown := file
		if patches[0].source.Document.RenderedBy() != "" {
			shown += " (rendered)"
		}
		diffs.WriteString(udiff.Unified(shown, shown, string(before), string(after)))
	}
	r.diff = diffs.String()
}
