package webhook

import (
	"testing"

	"github.com/sourceward/sourceward/policies"
)

// TestVersionOf: what vendors append to the numbers of a version does not matter.
func TestVersionOf(t *testing.T) {
	t.Parallel()
	for reported, want := range map[string]policies.Version{
		"v1.30.4": {Major: 1, Minor: 30}, "v1.30.4+k3s1": {Major: 1, Minor: 30}, "v1.29.5-eks-1234": {Major: 1, Minor: 29},
		"v1.28.3_vendor.1": {Major: 1, Minor: 28}, "v1.31foo": {Major: 1, Minor: 31}, "v1.30.4.1": {Major: 1, Minor: 30},
		"": {}, "v1": {}, "v0.0.0-master+$Format:%H$": {}, "v2.0.0": {},
	} {
		got, err := versionOf(reported)
		if got != want || (err != nil) != (want == policies.Version{}) {
			t.Errorf("versionOf(%q) = %v, %v; want %v", reported, got, err, want)
		}
	}
}
