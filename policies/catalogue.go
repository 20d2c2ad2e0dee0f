package policies

import "slices"

// Rule is one rule of the catalogue: all that is known of it, and how it is checked.
type Rule struct {
	// ID is kebab-case and never changes once released.
	ID string `json:"id"`
	// Title is a few words.
	Title string `json:"title"`
	// Severity is how bad a finding is.
	Severity Severity `json:"severity"`
	// DefaultMode is what a finding does where no policy says otherwise; DefaultModeNote tells when
	// it is another.
	DefaultMode     Mode   `json:"defaultMode"`
	DefaultModeNote string `json:"defaultModeNote,omitempty"`
	// Kinds are the kinds of objects that it has findings on.
	Kinds []string `json:"kinds"`
	// NeedsRelated tells that it looks at neighbours.
	NeedsRelated bool `json:"needsRelated"`
	// NeedsReplicas tells that a finding depends on how many pods there are to be, so that a request
	// to scale is judged by it.
	NeedsReplicas bool `json:"needsReplicas"`
	// Fixable tells that findings may carry a repair, Mutable that a webhook may apply it.
	Fixable bool `json:"fixable"`
	Mutable bool `json:"mutable"`

	// What tells what is found, Why what happens to the packets, Remedy how to mend it, Exempt when
	// an exemption is right, and Since from which server version this holds. One paragraph each.
	What   string `json:"what"`
	Why    string `json:"why"`
	Remedy string `json:"remedy"`
	Exempt string `json:"exempt"`
	Since  string `json:"since"`
	// Sources are where it can be read up.
	Sources []string `json:"sources"`

	// follows is the id of the rule whose mode it has where policies set that one and not its own; empty for none.
	follows string
	// yieldsTo is the id of the rule before it that says all there is to say of a field of which both find something; empty for
	// none.
	yieldsTo string
	check    func(*review) []result
}

// catalogue lists all rules in the order of their patches.
var catalogue = slices.Concat(
	[]Rule{
		localOnClusterIP,
		sourceIPNeedsLocal,
		unknownTrafficPolicy,
		misplacedHealthCheckNodePort,
		externalIPsLocal,
		pinnedHealthCheckNodePort,
		nodePortLocal,
		publishesNotReady,
		selectorlessLocal,
		internalLocal,
		distributionIgnored,
		unspreadBehindLocal,
		ineffectiveSpread,
	},
	regoRules,
	[]Rule{
		neighboursUnknown,
		policyNotEvaluated, // last: it tells of the faults of those before
	},
)

// Catalogue returns all rules in their order. The caller may change the result.
func Catalogue() []Rule { return slices.Clone(catalogue) }

// RuleByID returns the rule with an id of the catalogue.
func RuleByID(id string) (Rule, bool) {
	i := slices.IndexFunc(catalogue, func(r Rule) bool { return r.ID == id })
	if i < 0 {
		return Rule{}, false
	}
	return catalogue[i], true
}

const kindService = "Service"

// workloadKinds are the kinds of workloads, Kinds those of all objects that are judged, and spreadKinds those whose pods may share a
// node unless something keeps them apart.
var (
	workloadKinds = kindNames(func(WorkloadKind) bool { return true })
	Kinds         = append(slices.Clip(workloadKinds), kindService)
	spreadKinds   = kindNames(func(k WorkloadKind) bool { return k.Kind != daemonSetKind && k.Kind != podKind })
)
