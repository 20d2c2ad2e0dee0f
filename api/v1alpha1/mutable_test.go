package v1alpha1_test

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/sourceward/sourceward/policies"
)

var update = flag.Bool("update", false, "write the marker of RuleMode anew")

// TestMarkerListsMutableRules writes the ids of the rules that may have mode Mutate into the marker of RuleMode, from
// which the schema of the kind is made. The catalogue has them; this package cannot import it.
func TestMarkerListsMutableRules(t *testing.T) {
	// Not parallel: with -update it writes a file that other tests read.
	const file = "sourceippolicy_types.go"
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var mutable []string
	for _, rule := range policies.Catalogue() {
		if rule.Mutable {
			mutable = append(mutable, "'"+rule.ID+"'")
		}
	}
	list := regexp.MustCompile(`self\.mode != 'Mutate' \|\| self\.id in \[[^]]*\]`)
	want := list.ReplaceAllLiteralString(string(source),
		"self.mode != 'Mutate' || self.id in ["+strings.Join(mutable, ", ")+"]")
	switch {
	case !list.MatchString(string(source)):
		t.Fatalf("%s has no marker with the rules that may have mode Mutate", file)
	case want == string(source):
	case *update:
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s does not list the mutable rules %s; run make generate", file, strings.Join(mutable, ", "))
	}
}
