package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sourceward/sourceward/policies"
)

func TestGitLabFingerprintsDiffer(t *testing.T) {
	t.Parallel()
	known := strings.Repeat("ab", 32)
	r := emptyReport()
	for _, fingerprint := range []string{known, "", known, "", known} {
		r.Findings = append(r.Findings, finding{Mode: policies.Warn, File: "web.yaml", Fingerprint: fingerprint})
	}
	r.Errors = []reportError{{Message: "a"}, {Message: "a"}, {File: "web.yaml", Message: "a"}}
	var text strings.Builder
	if err := r.writeGitLab(&text, checkFlags{}); err != nil {
		t.Fatal(err)
	}
	var issues []gitlabIssue
	if err := json.Unmarshal([]byte(text.String()), &issues); err != nil {
		t.Fatal(err)
	}
	fingerprints := map[string]bool{}
	for _, issue := range issues {
		fingerprints[issue.Fingerprint] = true
	}
	if want := len(r.Findings) + len(r.Errors); len(fingerprints) != want || !fingerprints[known] {
		t.Errorf("there are %d fingerprints, want %d, one of which is %s:\n%s", len(fingerprints), want, known, text.String())
	}
}
