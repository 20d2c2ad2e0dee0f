package main

import (
	"fmt"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/manifest"
)

// diff is a unified diff of all files that the webhook's patches would change. A change that cannot
// be shown in the text of its file is one of the report's errors.
func (c *checkRun) diff(r *report) (string, error) {
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
				return "", fmt.Errorf("show the change of %s in %s: %w", p.Object, file, err)
			}
			after = changed
		}
		diffs.WriteString(udiff.Unified(file, file, string(before), string(after)))
	}
	return diffs.String(), nil
}
