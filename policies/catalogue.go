package policies

import (
	"slices"
	"sync"
)

// catalogue lists all rules. Its order is that of the patches in a decision, and a rule may only yield to one before
// it.
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
		misplacedField,
		unspreadBehindLocal,
		ineffectiveSpread,
		hardSpreadIgnoresTaints,
		spreadDecaysOnRollout,
		antiAffinityDeadlock,
		recreateBehindLocal,
		singleReplicaLocal,
		unevenReplicas,
		missingReadiness,
		noDrainWindow,
		sharedSelector,
		excludedNodes,
	},
	regoRules,
	[]Rule{
		unknownExemption,
		neighboursUnknown,
		policyNotEvaluated, // last: it reports the faults of all others
	},
)

// ruleIDs returns the ids of all rules, which the caller must not change.
var ruleIDs = sync.OnceValue(func() []string {
	ids := make([]string, len(catalogue))
	for i, rule := range catalogue {
		ids[i] = rule.ID
	}
	return ids
})

// Catalogue returns all rules, in the order of their patches. The caller may change the result.
func Catalogue() []Rule { return slices.Clone(catalogue) }

// ruleOf returns the rule with an id: one of the catalogue, or one in the Rego of a policy, of which only the id is
// known.
func ruleOf(id string) Rule {
	if rule, ok := RuleByID(id); ok {
		return rule
	}
	return Rule{ID: id}
}

// RuleByID returns the rule with an id, and whether the catalogue has one.
func RuleByID(id string) (Rule, bool) {
	i := slices.IndexFunc(catalogue, func(r Rule) bool { return r.ID == id })
	if i < 0 {
		return Rule{}, false
	}
	return catalogue[i], true
}
