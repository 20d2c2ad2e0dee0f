package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/policies"
)

// TestBaselineIsComparedByFingerprintAndCount writes a finding as its mode, file and fingerprint.
func TestBaselineIsComparedByFingerprintAndCount(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		failOn          string
		baseline, found []string
		unread          bool
		// known and fresh are those of found, gone those of the baseline.
		known, fresh, gone []string
	}{
		"what is known stays known": {
			baseline: []string{"deny a.yaml 1"}, found: []string{"deny a.yaml 1"}, known: []string{"deny a.yaml 1"},
		},
		"another fingerprint is new, and the old one is gone": {
			baseline: []string{"deny a.yaml 1"}, found: []string{"deny a.yaml 2"},
			fresh: []string{"deny a.yaml 2"}, gone: []string{"deny a.yaml 1"},
		},
		"a document that moved to another file is known": {
			baseline: []string{"deny a.yaml 1"}, found: []string{"deny b.yaml 1"}, known: []string{"deny b.yaml 1"},
		},
		"a copy in another file is new, also if it comes first": {
			baseline: []string{"deny b.yaml 1"}, found: []string{"deny a.yaml 1", "deny b.yaml 1"},
			known: []string{"deny b.yaml 1"}, fresh: []string{"deny a.yaml 1"},
		},
		"a second finding in one file is new": {
			baseline: []string{"deny a.yaml 1"}, found: []string{"deny a.yaml 1", "deny a.yaml 1"},
			known: []string{"deny a.yaml 1"}, fresh: []string{"deny a.yaml 1"},
		},
		"of two copies, the one that was repaired is gone": {
			baseline: []string{"deny a.yaml 1", "deny b.yaml 1"}, found: []string{"deny b.yaml 1"},
			known: []string{"deny b.yaml 1"}, gone: []string{"deny a.yaml 1"},
		},
		"a mode that has become stricter and fails is new": {
			baseline: []string{"audit a.yaml 1"}, found: []string{"deny a.yaml 1"}, fresh: []string{"deny a.yaml 1"},
		},
		"a mode that has become stricter and does not fail is known": {
			baseline: []string{"audit a.yaml 1"}, found: []string{"warn a.yaml 1"}, known: []string{"warn a.yaml 1"},
		},
		"a mode that has become stricter and failed before is known": {
			failOn: "warn", baseline: []string{"warn a.yaml 1"}, found: []string{"deny a.yaml 1"},
			known: []string{"deny a.yaml 1"},
		},
		"a mode that has become milder is known": {
			baseline: []string{"deny a.yaml 1"}, found: []string{"audit a.yaml 1"}, known: []string{"audit a.yaml 1"},
		},
		"where nothing fails, every mode is known": {
			failOn: never, baseline: []string{"audit a.yaml 1"}, found: []string{"deny a.yaml 1"},
			known: []string{"deny a.yaml 1"},
		},
		"one that fails comes before one that does not": {
			baseline: []string{"deny a.yaml 1", "warn b.yaml 1"}, found: []string{"warn a.yaml 1", "deny b.yaml 1"},
			known: []string{"warn a.yaml 1", "deny b.yaml 1"},
		},
		"an exempt finding is in no baseline, and nothing is gone": {
			baseline: []string{"deny a.yaml 1"}, found: []string{"exempt a.yaml 1"}, fresh: []string{"exempt a.yaml 1"},
		},
		"nothing is gone from a file that is not checked": {
			baseline: []string{"deny elsewhere.yaml 1"},
		},
		"nothing is gone if something could not be read": {
			unread: true, baseline: []string{"deny a.yaml 1", "deny b.yaml 1"}, found: []string{"deny b.yaml 1"},
			known: []string{"deny b.yaml 1"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &baseline{left: map[string][]int{}}
			for i, text := range test.baseline {
				f := findingOf(text)
				b.findings = append(b.findings, f)
				b.left[f.Fingerprint] = append(b.left[f.Fingerprint], i)
			}
			r := emptyReport()
			for _, text := range test.found {
				f := findingOf(text)
				r.Findings = append(r.Findings, f)
				*r.count(f)++
			}
			if test.unread {
				r.Errors = []reportError{{File: "a.yaml", Message: "it cannot be read"}}
			}
			failOn := test.failOn
			if failOn == "" {
				failOn = string(policies.Deny)
			}
			b.compare(r, failOn, func(f finding) bool { return f.File != "elsewhere.yaml" })
			var known, fresh, gone []string
			for i, f := range r.Findings {
				if f.Baseline {
					known = append(known, test.found[i])
				} else {
					fresh = append(fresh, test.found[i])
				}
			}
			for _, g := range r.Gone {
				gone = append(gone, "deny "+g.File+" "+g.Fingerprint)
			}
			for what, lists := range map[string][2][]string{
				"known findings": {test.known, known}, "new findings": {test.fresh, fresh}, "gone": {test.gone, gone},
			} {
				if diff := cmp.Diff(lists[0], lists[1]); diff != "" {
					t.Errorf("%s mismatch (-want +got):\n%s", what, diff)
				}
			}
			s := r.Summary
			if s.Baseline != len(known) || s.Deny+s.Mutate+s.Warn+s.Audit+s.Exempt != len(fresh) {
				t.Errorf("the summary counts %+v, want %d in the baseline and %d others", s, len(known), len(fresh))
			}
		})
	}
}

// findingOf returns the finding that a text such as deny a.yaml 1 stands for.
func findingOf(text string) finding {
	words := strings.Fields(text)
	f := finding{Mode: policies.Mode(words[0]), File: words[1], Fingerprint: words[2]}
	if words[0] == "exempt" {
		f.Mode, f.Exempt = policies.Deny, &policies.Exemption{Reason: "known"}
	}
	return f
}
