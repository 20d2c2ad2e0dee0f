package policies

import "slices"

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
