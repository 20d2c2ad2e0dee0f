package bundle

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// outside lists prefixes of built-in functions that OPA considers deterministic, but that have no place in a decision
// about a Service: they read keys and certificates, sign requests, or treat code as data.
var outside = []string{"io.jwt.", "crypto.x509.", "providers.", "rego.parse_module", "crypto.parse_private_keys"}

// unbounded lists prefixes of built-in functions that make huge results from small arguments in one step, which a
// timeout does not stop: a shift by any number of bits, all addresses of a network, and so on. The functions of graph
// visit a node once for each path to it (OPA v1.22.0, v1/topdown/reachable.go): with two nodes in each of 40 layers
// that is 2⁴⁰ times.
var unbounded = []string{
	"bits.lsh", "net.cidr_expand", "regex.globs_match", "graphql.", "strings.render_template", "graph.",
}

// capabilities returns what modules may use: the built-in functions of this version of OPA whose results depend only on
// their arguments, without those in outside and unbounded, and no network. The compiler reports any other function as
// undefined.
func capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	removed := slices.Concat(outside, unbounded)
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return b.IsNondeterministic() || slices.ContainsFunc(removed, func(prefix string) bool {
			return strings.HasPrefix(b.Name, prefix)
		})
	})
	c.AllowNet = []string{}
	return c
}
