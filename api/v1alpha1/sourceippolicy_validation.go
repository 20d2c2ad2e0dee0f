package v1alpha1

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Default sets the fields whose default depends neither on other policies nor on the policy's Rego. Settings stay
// unset: a setting that this policy does not set comes from the next policy that matches, or is built in.
func (p *SourceIPPolicy) Default() {
	if p.Spec.ExistingViolations == "" {
		p.Spec.ExistingViolations = ExistingWarn
	}
}

// Validate returns the errors in the form of a defaulted policy, in the order of its fields, or nil if there are none.
// It does not check that rule ids exist or that Rego compiles; the package policies/bundle does.
func (p *SourceIPPolicy) Validate() field.ErrorList {
	var errs field.ErrorList

	metadata := field.NewPath("metadata")
	if p.Name == "" {
		errs = append(errs, field.Required(metadata.Child("name"), "name the policy"))
	} else {
		for _, problem := range validation.IsDNS1123Subdomain(p.Name) {
			errs = append(errs, field.Invalid(metadata.Child("name"), p.Name, problem))
		}
	}
	if p.Namespace != "" {
		errs = append(errs, field.Forbidden(metadata.Child("namespace"),
			"a SourceIPPolicy is cluster-scoped; remove the namespace"))
	}

	spec := field.NewPath("spec")
	errs = append(errs, p.Spec.Match.validate(spec.Child("match"))...)
	errs = append(errs, atMost(spec.Child("rules"), len(p.Spec.Rules), MaxRules)...)
	errs = append(errs, validateRuleModes(p.Spec.Rules, spec.Child("rules"))...)
	errs = append(errs, p.Spec.Spread.validate(spec.Child("spread"))...)
	if p.Spec.Parameters != nil {
		var object map[string]any
		if err := json.Unmarshal(p.Spec.Parameters.Raw, &object); err != nil || object == nil {
			errs = append(errs, field.Invalid(spec.Child("parameters"), string(p.Spec.Parameters.Raw),
				"must be an object"))
		}
		if window, ok := object[ParameterProbeWindowSeconds]; ok {
			if seconds, ok := window.(float64); !ok || seconds < 0 {
				errs = append(errs, field.Invalid(spec.Child("parameters", ParameterProbeWindowSeconds), window,
					"must be a number of seconds, at least 0"))
			}
		}
		if len(p.Spec.Parameters.Raw) > MaxParameters {
			errs = append(errs, field.TooLong(spec.Child("parameters"), "", MaxParameters))
		}
	}
	errs = append(errs, atMost(spec.Child("rego"), len(p.Spec.Rego), MaxRegoModules)...)
	errs = append(errs, validateRego(p.Spec.Rego, spec.Child("rego"))...)
	if p.Spec.EvaluationFailure != "" {
		errs = append(errs, oneOf(spec.Child("evaluationFailure"), p.Spec.EvaluationFailure, EvaluationFailures)...)
	}
	errs = append(errs,
		oneOf(spec.Child("existingViolations"), p.Spec.ExistingViolations, ExistingViolationsValues)...)
	if p.Spec.Exemptions != "" {
		errs = append(errs, oneOf(spec.Child("exemptions"), p.Spec.Exemptions, ExemptionScopes)...)
	}
	if balancers := p.Spec.LoadBalancers; balancers != nil {
		errs = append(errs, atMost(spec.Child("loadBalancers", "classes"), len(balancers.Classes), MaxClasses)...)
	}
	return errs
}

func atMost(path *field.Path, count, most int) field.ErrorList {
	if count <= most {
		return nil
	}
	return field.ErrorList{field.TooMany(path, count, most)}
}

func (m *Match) validate(path *field.Path) field.ErrorList {
	if m == nil {
		return nil
	}
	var errs field.ErrorList
	options := metav1validation.LabelSelectorValidationOptions{}
	errs = append(errs, metav1validation.ValidateLabelSelector(m.NamespaceSelector, options,
		path.Child("namespaceSelector"))...)
	errs = append(errs, metav1validation.ValidateLabelSelector(m.ObjectSelector, options,
		path.Child("objectSelector"))...)
	errs = append(errs, atMost(path.Child("excludeNamespaces"), len(m.ExcludeNamespaces), MaxExcludeNamespaces)...)
	for i, name := range m.ExcludeNamespaces {
		for _, problem := range validation.IsDNS1123Label(name) {
			errs = append(errs, field.Invalid(path.Child("excludeNamespaces").Index(i), name, problem))
		}
	}
	return errs
}

func validateRuleModes(rules []RuleMode, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, rule := range rules {
		at := path.Index(i)
		switch {
		case rule.ID == "":
			errs = append(errs, field.Required(at.Child("id"), `set the id of a rule; "sourceward rules" lists them`))
		case len(rule.ID) > MaxRuleID:
			errs = append(errs, field.TooLong(at.Child("id"), "", MaxRuleID))
		case seen[rule.ID]:
			errs = append(errs, duplicate(at.Child("id"), rule.ID, "list each rule once"))
		}
		seen[rule.ID] = true
		errs = append(errs, oneOf(at.Child("mode"), rule.Mode, Modes)...)
	}
	return errs
}

func (s *Spread) validate(path *field.Path) field.ErrorList {
	if s == nil {
		return nil
	}
	var errs field.ErrorList
	if s.Strategy != "" {
		errs = append(errs, oneOf(path.Child("strategy"), s.Strategy, SpreadStrategies)...)
	}
	if s.WhenUnsatisfiable != "" {
		errs = append(errs, oneOf(path.Child("whenUnsatisfiable"), s.WhenUnsatisfiable, WhenUnsatisfiables)...)
	}
	if s.MaxSkew < 0 {
		errs = append(errs, field.Invalid(path.Child("maxSkew"), s.MaxSkew, "must be at least 1"))
	}
	return errs
}

func validateRego(modules []RegoModule, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	total := 0
	for i, module := range modules {
		total += len(module.Module)
		at := path.Index(i)
		switch {
		case module.Name == "":
			errs = append(errs, field.Required(at.Child("name"), "name the module, for example corp.rego"))
		case len(module.Name) > MaxModuleName:
			errs = append(errs, field.TooLong(at.Child("name"), "", MaxModuleName))
		case seen[module.Name]:
			errs = append(errs, duplicate(at.Child("name"), module.Name, "give each module its own name"))
		}
		seen[module.Name] = true
		if strings.TrimSpace(module.Module) == "" {
			errs = append(errs, field.Required(at.Child("module"), "write a Rego module in a package sourceward.custom.<name>"))
		}
		if utf8.RuneCountInString(module.Module) > MaxRegoModule {
			errs = append(errs, field.TooLong(at.Child("module"), "", MaxRegoModule))
		}
	}
	if total > MaxRego {
		errs = append(errs, field.TooLong(path, "", MaxRego))
	}
	return errs
}

func oneOf[T ~string](path *field.Path, value T, allowed []T) field.ErrorList {
	if slices.Contains(allowed, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, value, allowed)}
}

// duplicate returns the error field.Duplicate with a fix.
func duplicate(at *field.Path, value, fix string) *field.Error {
	err := field.Duplicate(at, value)
	err.Detail = fix
	return err
}
