package bundle

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBuiltins lists the functions that modules can call, so that an upgrade of OPA shows which ones it adds.
func TestBuiltins(t *testing.T) {
	t.Parallel()
	c := capabilities()
	var names []string
	for _, builtin := range c.Builtins {
		names = append(names, builtin.Name)
		if builtin.IsNondeterministic() {
			t.Errorf("%s is not deterministic", builtin.Name)
		}
	}
	slices.Sort(names)
	golden(t, "testdata/builtins.txt", strings.Join(names, "\n")+"\n")

	// A nil list would allow every host.
	if diff := cmp.Diff([]string{}, c.AllowNet); diff != "" {
		t.Errorf("AllowNet mismatch (-want +got):\n%s", diff)
	}
}
