package main

import (
	"fmt"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/manifest"
)

// diff gives the report a unified diff of all files that the webhook's patches would change. A change
// that cannot be shown in the text of its file is one of the report's errors.
func (c *checkRun) diff(r *report) {
	var diffs strings.Builder
	for start := 0; start < len(r.Patches); {
		file := r.Patches[start].File
		before := c.manifests.Text(file)
		after := before
		for ; start < len(r.Patches) && r.Patches[start].File == file; start++ {
			p := r.Patches[start]
			if p.Mode != policies.Mutate {
				continue
			}
			changed, err := manifest.Patch(after, p.source.Document.Index, p.source.At, p.Operations)
			if err != nil {
				r.addErrors([]*manifest.Error{{
					File:     file,
					Position: p.source.Position(p.Operations[0].Path),
					Message:  fmt.Sprintf("the change of %s cannot be shown: %s", p.Object, err),
				}})
				continue
			}
			after = changed
		}
		diffs.WriteString(udiff.Unified(file, file, string(before), string(after)))
	}
	r.diff = diffs.String()
}
