package policies

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/sourceward/sourceward/api/v1alpha1"
)

// Explanation says which policies match one object, and which of them sets each of its settings.
type Explanation struct {
	// Policies holds all policies, also those that do not match, highest precedence first.
	Policies []ExplainedPolicy
	// Settings holds every setting that has a built-in value or that a matching policy sets, in the order rules, spread,
	// exemptions, loadBalancers, parameters. Rules, classes and parameters are sorted.
	Settings []ExplainedSetting
}

// ExplainedPolicy says whether one policy matches the object, and why.
type ExplainedPolicy struct {
	Name     string
	Priority int32
	// Matches is true if the policy matches the object.
	Matches bool
	// Why lists, in one line, the parts of spec.match that exclude the object or, if there are none, those that select
	// it. For example
	//
	//	namespaceSelector team=mail does not select Namespace edge (team=web)
	Why string
	// Modules lists the names of its Rego modules, in the order of its spec; nil if it has none.
	Modules []string
	// EvaluationFailure says what happens if these modules cannot be evaluated.
	EvaluationFailure v1alpha1.EvaluationFailure
	// DenyExisting is true if the policy has existingViolations: Deny.
	DenyExisting bool
}

// ExplainedSetting is one setting of the object.
type ExplainedSetting struct {
	// Name is the path of the setting in a policy's spec: rules[unspread-behind-local], spread.maxSkew, parameters[KEY].
	// A rule in a policy's own Rego is different from a rule with the same id in another policy, so each of the two is a
	// setting of its own.
	Name string
	// Values holds the value in effect, followed by those that it overrides, highest precedence first; never empty.
	Values []ExplainedValue
	// Note says when a finding has a mode other than the built-in one. It is empty if a policy sets the mode, and for
	// most rules.
	Note string
}

// ExplainedValue is one value of a setting.
type ExplainedValue struct {
	// Value is the value as a policy writes it: Warn, DoNotSchedule, 1. For parameters it is compact JSON with sorted
	// keys. It is empty only if it is a built-in value that is empty, as that of loadBalancers.default.
	Value string
	// Policy is the name of the policy that sets the value; empty for the built-in value.
	Policy string
	// By is the setting from which this one takes the value, if it is a different one, such as
	// rules[unspread-behind-local], or ByRego; else empty.
	By string
}

// ByRego is the By of the default mode of a rule in a policy's own Rego, which depends on whether the finding is in the
// set deny or in the set warn.
const ByRego = "its Rego"

// Explain returns how Resolve merges the settings for an object in a Namespace. The first value of each setting is the
// one that Resolve returns, or the built-in value if Resolve returns none.
func Explain(policies Policies, object *Object, namespace Namespace) Explanation {
	var explanation Explanation
	var matching givers
	for i := range policies.ordered {
		policy := &policies.ordered[i]
		explained := ExplainedPolicy{
			Name:              policy.Name,
			Priority:          policy.Spec.Priority,
			Matches:           policy.matches(object, namespace),
			Why:               policy.why(object, namespace),
			EvaluationFailure: cmp.Or(policy.Spec.EvaluationFailure, v1alpha1.FailureWarn),
			DenyExisting:      policy.applied.DenyExisting,
		}
		for _, module := range policy.Spec.Rego {
			explained.Modules = append(explained.Modules, module.Name)
		}
		explanation.Policies = append(explanation.Policies, explained)
		if explained.Matches {
			var alone Settings
			alone.add(policy)
			matching = append(matching, giver{policy.Name, alone})
		}
	}
	explanation.Settings = slices.Concat(matching.modes(), matching.spread(), []ExplainedSetting{
		matching.setting("exemptions", string(v1alpha1.ExemptionsObjects), func(s Settings) (string, bool) {
			return string(s.Exemptions), s.Exemptions != ""
		}),
	}, matching.loadBalancers(), matching.parameters())
	return explanation
}

// why returns ExplainedPolicy.Why.
func (p *preparedPolicy) why(object *Object, namespace Namespace) string {
	match := p.Spec.Match
	if match == nil {
		return "match is not set: all objects"
	}
	var selects, refuses []string
	part := func(holds bool, format string, args ...any) {
		reasons := &refuses
		if holds {
			reasons = &selects
		}
		*reasons = append(*reasons, fmt.Sprintf(format, args...))
	}
	switch excluded := p.excludes(object.Namespace); {
	case excluded:
		part(false, "excludeNamespaces lists %s", object.Namespace)
	case len(match.ExcludeNamespaces) > 0:
		part(true, "excludeNamespaces does not list %s", object.Namespace)
	}
	if match.NamespaceSelector != nil {
		name := "Namespace " + namespace.Name
		if namespace.knows(match.NamespaceSelector) {
			holds := p.selectsNamespace(namespace)
			part(holds, "namespaceSelector %s", selection(p.namespaces, holds, name, namespace.Labels))
		} else {
			part(false, "namespaceSelector %s: the labels of %s are not known", p.namespaces, name)
		}
	}
	if match.ObjectSelector != nil {
		holds := p.selectsObject(object)
		part(holds, "objectSelector %s", selection(p.objects, holds, object.String(), object.labels()))
	}
	switch {
	case refuses != nil:
		return strings.Join(refuses, "; ")
	case selects != nil:
		return strings.Join(selects, "; ")
	default:
		return "match is empty: all objects"
	}
}

// selection describes whether a selector selects an object and, if not, the values of the labels that it reads.
func selection(selector labels.Selector, holds bool, what string, of map[string]string) string {
	switch {
	case selector.Empty():
		return "is empty and selects all"
	case holds:
		return fmt.Sprintf("%s selects %s", selector, what)
	}
	var found []string
	requirements, _ := selector.Requirements()
	for _, requirement := range requirements {
		key := requirement.Key()
		label := "no " + key
		if value, ok := of[key]; ok {
			label = key + "=" + value
		}
		found = append(found, label)
	}
	slices.Sort(found)
	return fmt.Sprintf("%s does not select %s (%s)", selector, what, strings.Join(slices.Compact(found), ", "))
}

// giver is a policy that matches the object, with the settings that Resolve returns for it alone.
type giver struct {
	policy string
	alone  Settings
}

// givers holds all policies that match, highest precedence first.
type givers []giver

// setting returns a setting that has a built-in value. of reads it from Settings and reports whether it is set there.
func (g givers) setting(name, builtIn string, of func(Settings) (string, bool)) ExplainedSetting {
	return ExplainedSetting{Name: name, Values: append(g.values("", of), ExplainedValue{Value: builtIn})}
}

// values returns the values that the policies set, each with this By.
func (g givers) values(by string, of func(Settings) (string, bool)) []ExplainedValue {
	var values []ExplainedValue
	for _, giver := range g {
		if value, ok := of(giver.alone); ok {
			values = append(values, ExplainedValue{Value: value, Policy: giver.policy, By: by})
		}
	}
	return values
}

func (g givers) modes() []ExplainedSetting {
	of := func(rule string) func(Settings) (string, bool) {
		return func(s Settings) (string, bool) { mode, ok := s.Modes[rule]; return modeWord(mode), ok }
	}
	var settings []ExplainedSetting
	for _, rule := range catalogue {
		setting := ExplainedSetting{Name: ruleSetting(rule.ID), Values: g.values("", of(rule.ID))}
		if rule.follows != "" {
			setting.Values = append(setting.Values, g.values(ruleSetting(rule.follows), of(rule.follows))...)
		}
		if len(setting.Values) == 0 && rule.follows == "" {
			setting.Note = rule.DefaultModeNote
		}
		setting.Values = append(setting.Values, ExplainedValue{Value: modeWord(rule.DefaultMode)})
		settings = append(settings, setting)
	}
	for _, giver := range g {
		for rule, mode := range giver.alone.Modes {
			if _, ok := RuleByID(rule); !ok { // A rule in the policy's own Rego: no other policy can set its mode.
				settings = append(settings, ExplainedSetting{Name: ruleSetting(rule), Values: []ExplainedValue{
					{Value: modeWord(mode), Policy: giver.policy},
					{Value: modeWord(Deny) + " or " + modeWord(Warn), Policy: giver.policy, By: ByRego},
				}})
			}
		}
	}
	// The sort is stable, so that rules with the same id stay in the order of their policies.
	slices.SortStableFunc(settings, func(a, b ExplainedSetting) int { return strings.Compare(a.Name, b.Name) })
	return settings
}

func ruleSetting(id string) string { return "rules[" + id + "]" }

// modeWord returns a mode as policies write it.
func modeWord(mode Mode) string {
	for _, word := range v1alpha1.Modes {
		if strings.EqualFold(string(word), string(mode)) {
			return string(word)
		}
	}
	return string(mode)
}

func (g givers) spread() []ExplainedSetting {
	skew := func(n int32) string { return strconv.Itoa(int(n)) }
	return []ExplainedSetting{
		g.setting("spread.strategy", string(builtInSpread.Strategy), func(s Settings) (string, bool) {
			return string(s.Spread.Strategy), s.Spread.Strategy != ""
		}),
		g.setting("spread.whenUnsatisfiable", string(builtInSpread.WhenUnsatisfiable), func(s Settings) (string, bool) {
			return string(s.Spread.WhenUnsatisfiable), s.Spread.WhenUnsatisfiable != ""
		}),
		g.setting("spread.maxSkew", skew(builtInSpread.MaxSkew), func(s Settings) (string, bool) {
			return skew(s.Spread.MaxSkew), s.Spread.MaxSkew != 0
		}),
	}
}

func (g givers) loadBalancers() []ExplainedSetting {
	byDefault := g.setting("loadBalancers.default", "", func(s Settings) (string, bool) {
		return s.LoadBalancers.Default, s.LoadBalancers.Default != ""
	})
	settings := []ExplainedSetting{byDefault}
	for _, class := range keys(g, func(s Settings) map[string]string { return s.LoadBalancers.Classes }) {
		setting := ExplainedSetting{
			Name: "loadBalancers.classes[" + class + "]",
			Values: g.values("", func(s Settings) (string, bool) {
				provider, ok := s.LoadBalancers.Classes[class]
				return provider, ok
			}),
		}
		// A policy's default applies to classes that it does not list.
		for _, value := range byDefault.Values {
			if value.Policy != "" {
				value.By = byDefault.Name
			}
			setting.Values = append(setting.Values, value)
		}
		settings = append(settings, setting)
	}
	return settings
}

func (g givers) parameters() []ExplainedSetting {
	var settings []ExplainedSetting
	for _, key := range keys(g, func(s Settings) map[string]any { return s.Parameters }) {
		settings = append(settings, ExplainedSetting{
			Name: "parameters[" + key + "]",
			Values: g.values("", func(s Settings) (string, bool) {
				value, ok := s.Parameters[key]
				return compactJSON(value), ok
			}),
		})
	}
	return settings
}

// keys returns the sorted keys of a map in the settings of all policies.
func keys[V any](g givers, of func(Settings) map[string]V) []string {
	all := map[string]bool{}
	for _, giver := range g {
		for key := range of(giver.alone) {
			all[key] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// compactJSON encodes a value that was decoded from JSON.
func compactJSON(value any) string {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // The text is shown in a terminal, not in a browser.
	if err := encoder.Encode(value); err != nil {
		panic(err) // A value decoded from JSON can be encoded.
	}
	return strings.TrimSuffix(text.String(), "\n")
}
