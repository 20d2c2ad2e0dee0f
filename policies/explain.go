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

// Explanation says which policy set what for one object, and why.
type Explanation struct {
	// Policies are all policies, also those that do not match, in the order in which their settings count.
	Policies []ExplainedPolicy
	// Settings are all settings of the object: of everything that has a built-in value, and of whatever else a policy
	// sets. They are in the order of rules, spread, exemptions, loadBalancers and parameters; rules, classes and
	// parameters are sorted.
	Settings []ExplainedSetting
}

// ExplainedPolicy is what one policy has to do with the object.
type ExplainedPolicy struct {
	Name     string
	Priority int32
	// Matches tells whether the policy is about the object.
	Matches bool
	// Why says what of its match selects the object or, if it does not match, what does not, in one line. For example
	//
	//	namespaceSelector team=mail does not select Namespace edge (team=web)
	Why string
	// Modules are the names of its Rego modules, in its own order; nil if it has none.
	Modules []string
	// EvaluationFailure is what a fault of these modules does.
	EvaluationFailure v1alpha1.EvaluationFailure
}

// ExplainedSetting is one setting of the object.
type ExplainedSetting struct {
	// Name is the place of the setting in a policy's spec: rules[unspread-behind-local], spread.maxSkew, parameters[KEY].
	// A rule of a policy's own Rego is another rule than that of the same id in another policy, and a setting of its own.
	Name string
	// Values are the value that counts and, after it, those that would count without the ones before; never empty.
	Values []ExplainedValue
	// Note says, of a mode that is the built-in one, when a finding has another; mostly empty.
	Note string
}

// ExplainedValue is one value of a setting.
type ExplainedValue struct {
	// Value is in the words of a policy: Warn, DoNotSchedule, 1; of parameters it is compact JSON with sorted keys.
	// It is empty only where nothing is the built-in value.
	Value string
	// Policy is the policy that gives it; empty for the built-in value.
	Policy string
	// By is the setting that it was given to, if that is another which this one follows, such as
	// rules[unspread-behind-local], or ByRego; else empty.
	By string
}

// ByRego is the By of a house rule's mode where its policy sets none: that of the set that the finding is in.
const ByRego = "its Rego"

// Explain returns how Resolve comes to the settings of an object in a Namespace. The first of each setting's values is
// what Resolve returns, and its built-in value where Resolve returns none.
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

// why says why a policy matches or does not. All that does not select the object is told, and else all that does.
func (p *preparedPolicy) why(object *Object, namespace Namespace) string {
	match := p.Spec.Match
	if match == nil {
		return "no match: all objects"
	}
	var selects, refuses []string
	part := func(holds bool, format string, args ...any) {
		told := &refuses
		if holds {
			told = &selects
		}
		*told = append(*told, fmt.Sprintf(format, args...))
	}
	switch excluded := p.excludes(object); {
	case excluded:
		part(false, "excludeNamespaces names %s", object.Namespace)
	case len(match.ExcludeNamespaces) > 0:
		part(true, "excludeNamespaces does not name %s", object.Namespace)
	}
	if match.NamespaceSelector != nil {
		who := "Namespace " + namespace.Name
		if namespace.knows(match.NamespaceSelector) {
			holds := p.selectsNamespace(namespace)
			part(holds, "namespaceSelector %s", selection(p.namespaces, holds, who, namespace.Labels))
		} else {
			part(false, "namespaceSelector %s: the labels of %s are not known", p.namespaces, who)
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

// selection says whether a selector selects something and, if it does not, what the labels that it asks for are.
func selection(selector labels.Selector, holds bool, what string, of map[string]string) string {
	switch {
	case selector.Empty():
		return "is empty and selects all"
	case holds:
		return fmt.Sprintf("%s selects %s", selector, what)
	}
	var asked []string
	requirements, _ := selector.Requirements()
	for _, requirement := range requirements {
		key := requirement.Key()
		label := "no " + key
		if value, ok := of[key]; ok {
			label = key + "=" + value
		}
		asked = append(asked, label)
	}
	slices.Sort(asked)
	return fmt.Sprintf("%s does not select %s (%s)", selector, what, strings.Join(slices.Compact(asked), ", "))
}

// giver is a policy that matches, and what Resolve makes of it alone.
type giver struct {
	policy string
	alone  Settings
}

// givers are all of them, in their order.
type givers []giver

// setting is a setting that has a built-in value. of reads it from Settings, and tells whether it is there.
func (g givers) setting(name, builtIn string, of func(Settings) (string, bool)) ExplainedSetting {
	return ExplainedSetting{Name: name, Values: append(g.values("", of), ExplainedValue{Value: builtIn})}
}

// values are what policies give. by is the By of each.
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
			if _, ok := RuleByID(rule); !ok { // It is of the policy's own Rego, and no other policy has a say.
				settings = append(settings, ExplainedSetting{Name: ruleSetting(rule), Values: []ExplainedValue{
					{Value: modeWord(mode), Policy: giver.policy},
					{Value: modeWord(Deny) + " or " + modeWord(Warn), Policy: giver.policy, By: ByRego},
				}})
			}
		}
	}
	// Stable, so that house rules of one id stay in the order of their policies.
	slices.SortStableFunc(settings, func(a, b ExplainedSetting) int { return strings.Compare(a.Name, b.Name) })
	return settings
}

func ruleSetting(id string) string { return "rules[" + id + "]" }

// modeWord is a mode in the words of a policy.
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
		// A class that is not listed has the default.
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

// keys are the keys of a map of all of them, sorted.
func keys[V any](g givers, of func(Settings) map[string]V) []string {
	all := map[string]bool{}
	for _, giver := range g {
		for key := range of(giver.alone) {
			all[key] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// compactJSON writes a value that was read from JSON.
func compactJSON(value any) string {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // It is shown, not served.
	if err := encoder.Encode(value); err != nil {
		panic(err) // What was read can be written.
	}
	return strings.TrimSuffix(text.String(), "\n")
}
