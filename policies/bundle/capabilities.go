package bundle

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// outside are prefixes of built-in functions that OPA calls deterministic and that have no place in
// a decision about a Service: keys and certificates, signed requests, and code as data.
var outside = []string{"io.jwt.", "crypto.x509.", "providers.", "rego.parse_module", "crypto.parse_private_keys"}

// unbounded are built-in functions that make much of little, at once and without a look at the time: a shift by as many
// bits as one likes, all addresses of a network, and the like.
var unbounded = []string{"bits.lsh", "net.cidr_expand", "regex.globs_match", "graphql.", "strings.render_template"}

// capabilities are what modules may use: the built-in functions of this version of OPA that answer
// from their arguments alone, and no network. What is not in it does not exist for the compiler.
func capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	left := slices.Concat(outside, unbounded)
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return b.IsNondeterministic() || slices.ContainsFunc(left, func(prefix string) bool {
			return strings.HasPrefix(b.Name, prefix)
		})
	})
	c.AllowNet = []string{}
	return c
}
