package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/manifest"
)

// baseline holds the findings of an earlier report, which do not fail a run. The zero value has none.
type baseline struct {
	// findings are those that are not exempt, in the order of the report.
	findings []finding
	// left holds the indexes of the findings that were not found again yet, in order, by fingerprint.
	left map[string][]int
}

// goneFinding is a finding of the baseline that was not found again.
type goneFinding struct {
	// Rule, Object, Path, File and Fingerprint are those of the finding, as the baseline has them.
	Rule        string       `json:"rule"`
	Object      policies.Ref `json:"object"`
	Path        string       `json:"path"`
	File        string       `json:"file"`
	Fingerprint string       `json:"fingerprint"`
	// Environment is that of the finding.
	Environment string `json:"environment,omitempty"`
}

// text returns the finding in one line.
func (g goneFinding) text() string {
	return at(g.File, 0) + g.Rule + "  " + inEnvironment(g.Object.String(), g.Environment)
}

// readBaseline reads the report that --baseline names. The baseline is empty if the name is, or if the run renews the
// file, which then need not exist. The error says why the file is not a baseline, and what to do.
func readBaseline(file string, renewed bool) (*baseline, error) {
	if file == "" {
		return &baseline{}, nil
	}
	remedy := fmt.Sprintf("add -o json=%s --fail-on %s", file, never)
	data, err := os.ReadFile(file)
	switch {
	case renewed && errors.Is(err, fs.ErrNotExist):
		return &baseline{}, nil
	case err != nil:
		return nil, fmt.Errorf("read --baseline: %w; %s to write it", err, remedy)
	}
	var read report
	if err := decodeReport(data, &read); err != nil { // not even to be renewed: it may be a manifest
		return nil, fmt.Errorf("--baseline %s is not a report of check -o json: %w; name one or, if it was one, remove it "+
			"and %s to write a new one", file, err, remedy)
	}
	if renewed {
		return &baseline{}, nil
	}
	b := &baseline{left: map[string][]int{}}
	for _, f := range read.Findings {
		switch {
		case f.Fingerprint == "":
			return nil, fmt.Errorf("--baseline %s has findings without a fingerprint, as reports of old versions have; "+
				"%s to renew it", file, remedy)
		case f.Exempt != nil:
			continue
		}
		f.Baseline = false // it says what the baseline of that report had
		b.left[f.Fingerprint] = append(b.left[f.Fingerprint], len(b.findings))
		b.findings = append(b.findings, f)
	}
	return b, nil
}

// decodeReport decodes what writeJSON writes. The error says why it is something else.
func decodeReport(data []byte, r *report) error {
	if err := json.Unmarshal(data, r); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok { // its text names types of Go
			return fmt.Errorf("%s cannot be of type %s", cmp.Or(wrong.Field, "the document"), wrong.Value)
		}
		return err
	}
	if want := emptyReport(); r.APIVersion != want.APIVersion || r.Kind != want.Kind {
		return fmt.Errorf("it has apiVersion %q and kind %q, want %s and %s",
			r.APIVersion, r.Kind, want.APIVersion, want.Kind)
	}
	for i, f := range r.Findings {
		if !slices.Contains(policies.Modes, f.Mode) {
			return fmt.Errorf("findings/%d has the mode %q, want one of %s", i, f.Mode, strings.Join(modeNames(), ", "))
		}
	}
	return nil
}

// renews reports whether one of the outputs is a JSON report that becomes the baseline. The file need not exist.
func renews(outputs []output, baseline string) bool {
	return slices.ContainsFunc(outputs, func(o output) bool {
		if o.format != "json" || o.file == "" {
			return false
		}
		written, errWritten := os.Stat(o.file)
		read, errRead := os.Stat(baseline)
		if errWritten == nil && errRead == nil {
			return os.SameFile(written, read)
		}
		return filepath.Clean(o.file) == filepath.Clean(baseline)
	})
}

// isKnown reports whether the finding that a patch repairs is in the baseline, and each finding like it.
func (r *report) isKnown(p patch) bool {
	known := false
	for _, f := range r.Findings {
		if f.Rule == p.Rule && f.Object == p.Object && f.Path == p.path {
			if !f.Baseline {
				return false
			}
			known = true
		}
	}
	return known
}

// isBuilt reports whether a kustomization builds the object. Each is for another place, so that equal findings of two
// of them are two.
func (f finding) isBuilt() bool {
	return strings.HasPrefix(strings.ToLower(filepath.Base(f.RenderedBy)), "kustomization")
}

// compare marks the findings of a report that are in the baseline, and adds those of the baseline that are gone.
//
// A finding of the baseline stands for one finding with its fingerprint, preferably one in the same file. For one in an
// object that a kustomization builds, it stands only if the same kustomization does. If there are more than in the
// baseline, the others are new. A finding that fails the run stands for none that did not, by the same failOn, so that
// a mode that has become stricter is noticed. An exempt finding is never in the baseline: it fails no run, and is new
// when its exemption ends.
//
// What is gone is a finding for which isJudged returns true, and is found neither in another mode nor as exempt. If
// the report has errors, nothing is gone: it may be in what could not be read.
func (b *baseline) compare(r *report, failOn string, isJudged func(finding) bool) {
	for _, fails := range []bool{true, false} { // those that do not fail can stand for both
		for _, inFile := range []bool{true, false} {
			for i := range r.Findings {
				f := &r.Findings[i]
				if f.Exempt != nil || f.Baseline || f.fails(failOn) != fails {
					continue
				}
				isKnown := b.take(f.Fingerprint, func(known finding) bool {
					isMoved := !inFile && (known.RenderedBy == f.RenderedBy || !f.isBuilt())
					return (known.File == f.File || isMoved) && (known.fails(failOn) || !fails)
				})
				if isKnown {
					*r.count(*f)--
					f.Baseline = true
					*r.count(*f)++
				}
			}
		}
	}
	if len(r.Errors) > 0 {
		return
	}
	for _, inFile := range []bool{true, false} {
		for _, f := range r.Findings {
			if !f.Baseline {
				b.take(f.Fingerprint, func(known finding) bool { return known.File == f.File || !inFile })
			}
		}
	}
	var gone []int
	for _, left := range b.left {
		gone = append(gone, left...)
	}
	slices.Sort(gone)
	for _, i := range gone {
		if f := b.findings[i]; isJudged(f) {
			r.Gone = append(r.Gone, goneFinding{f.Rule, f.Object, f.Path, f.File, f.Fingerprint, f.Environment})
		}
	}
}

// take takes the first finding out of the baseline that has a fingerprint and matches. It reports whether there is one.
func (b *baseline) take(fingerprint string, matches func(known finding) bool) bool {
	left := b.left[fingerprint]
	at := slices.IndexFunc(left, func(i int) bool { return matches(b.findings[i]) })
	if at < 0 {
		return false
	}
	b.left[fingerprint] = slices.Delete(left, at, at+1)
	return true
}

// isJudged returns a function that reports whether the file of a finding is, or lies in, what worlds judge, or did
// before it was removed. If that includes the standard input, every file may have come from there. A finding without a
// file was in a cluster.
func (c *config) isJudged(worlds []world) func(finding) bool {
	return func(f finding) bool {
		return slices.ContainsFunc(worlds, func(w world) bool {
			if f.File == "" {
				return len(w.paths) == 0 && (w.flags.namespace == "" || w.flags.namespace == f.Object.Namespace)
			}
			return slices.ContainsFunc(w.paths, func(path string) bool {
				return path == manifest.Stdin || c.isIn(path, f.File)
			})
		})
	}
}
