package main

import (
	"fmt"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/manifest"
)

// diff adds to the report a unified diff of all files that the webhook's patches would change. A change that cannot be
// made in the text of its file becomes an error of the report.
func (c *checkRun) diff(r *report) {
	var diffs strings.Builder
	for start := 0; start < len(r.Patches); {
		file := r.Patches[start].File
		var patches []patch
		var changes []*manifest.Change
		for ; start < len(r.Patches) && r.Patches[start].File == file; start++ {
			if p := r.Patches[start]; p.Mode == policies.Mutate {
				patches = append(patches, p)
				changes = append(changes, &manifest.Change{
					Index: p.source.Document.Index, At: p.source.At, Operations: p.Operations,
				})
			}
		}
		before := c.manifests.Text(file)
		after := manifest.PatchAll(before, changes)
		for i, change := range changes {
			if p := patches[i]; change.Err != nil {
				r.addErrors([]*manifest.Error{{
					File:     file,
					Position: p.source.Position(p.Operations[0].Path),
					Message:  fmt.Sprintf("the change to %s cannot be shown: %s", p.Object, change.Err),
				}})
			}
		}
		diffs.WriteString(udiff.Unified(file, file, string(before), string(after)))
	}
	r.diff = diffs.String()
}
