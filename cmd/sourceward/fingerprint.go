package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/sourceward/sourceward/policies"
)

// fingerprint returns a text that identifies the finding in other reports: the SHA-256, as 64 lower-case hexadecimal
// digits, of its environment, its rule, its path, its object and the objects in Because. Every version of the program
// returns the same one.
//
// The message, the fix, the mode and the severity are not included, since policies and new versions change them.
// Neither are the file, the line and the column, so that documents can be moved, nor RenderedBy, since a problem of a
// chart is one problem, however often the chart is rendered. Copies of an object therefore have findings with the same
// fingerprint: compare reports by fingerprint and count.
func (f finding) fingerprint() string {
	hash := sha256.New()
	// Each text has its length before it: no two lists of texts are joined to the same text.
	add := func(texts ...string) {
		for _, text := range texts {
			fmt.Fprintf(hash, "%d:%s", len(text), text)
		}
	}
	add(f.Environment, f.Rule, f.Path)
	for _, ref := range append([]policies.Ref{f.Object}, f.Because...) { // Because is sorted
		add(ref.APIVersion, ref.Kind, ref.Namespace, ref.Name)
	}
	return hex.EncodeToString(hash.Sum(nil))
}
