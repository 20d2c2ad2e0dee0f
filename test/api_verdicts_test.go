package test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/api/v1alpha1"
)

const crdFile = "../config/crd/bases/sourceward.dev_sourceippolicies.yaml"

const (
	verdictsFile = "testdata/sourceippolicy-verdicts.txt"
	verdictsSeed = 20260317
	// verdictsOf is the number of generated objects. The first validObjects of them have no fault.
	verdictsOf   = 200
	validObjects = 30
)

// TestVerdicts validates generated SourceIPPolicy objects as the API server does, and compares the results with
// a golden file. An API change that must not change validation, such as a new description, leaves the file as it is.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	t.Logf("seed %d", verdictsSeed)
	schema := newPolicySchema(t)
	var got strings.Builder
	fmt.Fprintf(&got, "# %d generated SourceIPPolicy objects, and the result of validating each. Seed %d.\n",
		verdictsOf, verdictsSeed)
	if len(faults) > verdictsOf-validObjects {
		t.Fatalf("%d faults need an object each, but only %d objects are generated for them",
			len(faults), verdictsOf-validObjects)
	}
	accepted := 0
	for i := range verdictsOf {
		name, object := generatePolicy(i)
		verdict, ok := schema.verdict(t, object)
		if ok {
			accepted++
		}
		fmt.Fprintf(&got, "\n%03d %s\n%s", i, name, verdict)
	}
	t.Logf("%d accepted, %d rejected", accepted, verdictsOf-accepted)

	if *update {
		if err := os.WriteFile(verdictsFile, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(verdictsFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s mismatch; if the change is intended, run make generate (-want +got):\n%s", verdictsFile, diff)
	}
}

// TestGoWritesWhatTheSchemaAccepts encodes every accepted object, and the zero value, from the Go type: a controller
// that reads a policy and writes it back must not be refused.
func TestGoWritesWhatTheSchemaAccepts(t *testing.T) {
	t.Parallel()
	schema := newPolicySchema(t)
	check := func(name string, policy *v1alpha1.SourceIPPolicy) {
		verdict, ok := schema.verdict(t, decoded[map[string]any](policy))
		if !ok || strings.Contains(verdict, "dropped") {
			t.Errorf("%s: Go writes %+v:\n%s", name, policy, verdict)
		}
	}
	check("zero", &v1alpha1.SourceIPPolicy{})
	for i := range verdictsOf {
		name, object := generatePolicy(i)
		if _, ok := schema.verdict(t, object); !ok {
			continue
		}
		var policy v1alpha1.SourceIPPolicy
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object, &policy); err != nil {
			t.Errorf("%s: decode what the schema accepts: %v", name, err)
			continue
		}
		check(name, &policy)
	}
}

// policySchema validates objects as the API server does.
type policySchema struct {
	structural *structuralschema.Structural
	openAPI    validation.SchemaValidator
	cel        *cel.Validator
}

// readCRD returns the CustomResourceDefinition of SourceIPPolicy.
func readCRD(t testing.TB) apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	text, err := os.ReadFile(crdFile)
	if err != nil {
		t.Fatal(err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &crd); err != nil {
		t.Fatal(err)
	}
	return crd
}

func newPolicySchema(t testing.TB) policySchema {
	t.Helper()
	root := readCRD(t).Spec.Versions[0].Schema.OpenAPIV3Schema
	var internal apiextensions.JSONSchemaProps
	err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(root, &internal, nil)
	if err != nil {
		t.Fatal(err)
	}
	structural, err := structuralschema.NewStructural(&internal)
	if err != nil {
		t.Fatal(err)
	}
	if errs := structuralschema.ValidateStructural(nil, structural); len(errs) > 0 {
		t.Fatal(errs.ToAggregate())
	}
	openAPI, _, err := validation.NewSchemaValidator(&internal)
	if err != nil {
		t.Fatal(err)
	}
	rules := cel.NewValidator(structural, true, celconfig.PerCallLimit)
	if rules == nil {
		t.Fatal("the schema has no x-kubernetes-validations")
	}
	return policySchema{structural, openAPI, rules}
}

// verdict returns what the API server does with an object: the unknown fields that it drops, and either a digest of
// what it stores or the field and type of each error. The steps and their order are those of
// k8s.io/apiextensions-apiserver: pkg/apiserver/customresource_handler.go and pkg/registry/customresource/strategy.go.
func (s policySchema) verdict(t testing.TB, object map[string]any) (verdict string, accepted bool) {
	t.Helper()
	defaulting.Default(object, s.structural)
	unknown := pruning.PruneWithOptions(object, s.structural, true,
		structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	defaulting.PruneNonNullableNullsWithoutDefaults(object, s.structural)

	errs := validation.ValidateCustomResource(nil, object, s.openAPI)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, s.structural, object)...)
	if !slices.ContainsFunc(errs, blocksRules) {
		failed, _ := s.cel.Validate(t.Context(), nil, s.structural, object, nil, celconfig.RuntimeCELCostBudget)
		errs = append(errs, failed...)
	}

	var lines []string
	for _, path := range unknown {
		lines = append(lines, "dropped "+path)
	}
	if len(errs) == 0 {
		stored, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("accepted, stored as %.6x", sha256.Sum256(stored)))
	}
	var rejections []string
	for _, err := range errs {
		rejections = append(rejections, fmt.Sprintf("rejected %s: %s", err.Field, err.Type))
	}
	slices.Sort(rejections)
	lines = append(lines, slices.Compact(rejections)...)
	return "    " + strings.Join(lines, "\n    ") + "\n", len(errs) == 0
}

// blocksRules reports whether an error keeps the API server from evaluating x-kubernetes-validations.
func blocksRules(err *field.Error) bool {
	switch err.Type {
	case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany,
		field.ErrorTypeTypeInvalid:
		return true
	default:
		return false
	}
}

// generatePolicy returns object number i, decoded from JSON, and the names of its faults. The valid objects come first,
// then one object for each fault. Each of the others has two to four faults.
func generatePolicy(i int) (name string, object map[string]any) {
	g := policyGenerator{rand.New(rand.NewPCG(verdictsSeed, uint64(i)))}
	object = g.valid()
	var names []string
	switch alone := i - validObjects; {
	case alone < 0:
		names = []string{"no fault"}
	case alone < len(faults):
		names = []string{faults[alone].String()}
		faults[alone].apply(object)
	default:
		for _, j := range g.Perm(len(faults))[:2+g.IntN(3)] {
			names = append(names, faults[j].String())
			faults[j].apply(object)
		}
	}
	return strings.Join(names, " + "), decoded[map[string]any](object)
}

type policyGenerator struct{ *rand.Rand }

func (g policyGenerator) either(of ...any) any { return of[g.IntN(len(of))] }

// some returns an object with a random half of the fields.
func (g policyGenerator) some(fields map[string]func() any) map[string]any {
	object := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if g.IntN(2) == 0 {
			object[name] = fields[name]()
		}
	}
	return object
}

func (g policyGenerator) valid() map[string]any {
	object := map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": v1alpha1.Kind, "metadata": map[string]any{"name": "edge"},
	}
	if g.IntN(8) > 0 {
		object["spec"] = g.spec()
	}
	if g.IntN(4) == 0 {
		object["status"] = g.status()
	}
	return object
}

func (g policyGenerator) spec() map[string]any {
	return g.some(map[string]func() any{
		"priority": func() any { return g.either(-1, 0, 1, 1000, math.MaxInt32, math.MinInt32) },
		"match":    g.match,
		"rules": func() any {
			ids := []string{
				"source-ip-needs-local", "unspread-behind-local", "ineffective-spread", "local-on-cluster-ip", "corp",
			}
			const mutable = 3 // of them, the first
			var rules []any
			for _, i := range g.Perm(len(ids))[:g.IntN(len(ids)+1)] {
				modes := []any{"Off", "Audit", "Warn", "Deny"}
				if i < mutable {
					modes = append(modes, "Mutate")
				}
				rules = append(rules, rule(ids[i], g.either(modes...)))
			}
			return rules
		},
		"spread": func() any {
			return g.some(map[string]func() any{
				"strategy":          func() any { return g.either("TopologySpread", "PodAntiAffinity") },
				"whenUnsatisfiable": func() any { return g.either("ScheduleAnyway", "DoNotSchedule") },
				"maxSkew":           func() any { return g.either(1, 2, 100) },
			})
		},
		"parameters": func() any {
			return g.some(map[string]func() any{
				"probeWindowSeconds": func() any { return g.either(0, 30, 12.5) },
				"corp": func() any {
					return g.either(nil, true, []any{1, "a", nil}, map[string]any{"deep": map[string]any{}})
				},
			})
		},
		"rego": func() any {
			var modules []any
			for i := range g.IntN(3) {
				modules = append(modules, module(fmt.Sprintf("corp%d.rego", i), "package sourceward.custom.corp"))
			}
			return modules
		},
		"evaluationFailure": func() any { return g.either("Deny", "Warn", "Ignore") },
		"exemptions":        func() any { return g.either("Objects", "Namespaces", "None") },
		"loadBalancers": func() any {
			return g.some(map[string]func() any{
				"default": func() any { return g.either("metallb-l2", "none") },
				"classes": func() any {
					return g.either(map[string]any{}, map[string]any{"example.com/lb": "metallb-l2"})
				},
			})
		},
	})
}

func (g policyGenerator) match() any {
	selector := func() any {
		return g.some(map[string]func() any{
			"matchLabels": func() any { return g.either(map[string]any{}, map[string]any{"team": "edge"}) },
			"matchExpressions": func() any {
				return g.either([]any{}, []any{
					map[string]any{"key": "team", "operator": "In", "values": []any{"edge", "mail"}},
					map[string]any{"key": "team", "operator": "Exists"},
				})
			},
		})
	}
	return g.some(map[string]func() any{
		"namespaceSelector": selector,
		"objectSelector":    selector,
		"excludeNamespaces": func() any { return g.either([]any{}, []any{"mail"}, []any{"mail", "edge", "a-1"}) },
	})
}

func (g policyGenerator) status() any {
	return g.some(map[string]func() any{
		"observedGeneration": func() any { return g.either(0, 1, math.MaxInt64) },
		"rules":              func() any { return g.either([]any{}, []any{"corp", "other"}) },
		"conditions": func() any {
			return []any{condition("Ready", "True"), condition("Degraded", "False")}[:g.IntN(3)]
		},
	})
}

func rule(id string, mode any) map[string]any { return map[string]any{"id": id, "mode": mode} }

func module(name, text string) map[string]any { return map[string]any{"name": name, "module": text} }

func condition(kind, status string) map[string]any {
	return map[string]any{
		"type": kind, "status": status, "reason": "Compiled", "message": "", "lastTransitionTime": "2026-03-17T12:00:00Z",
	}
}

// many returns a list of the given length; of returns the item at an index.
func many(count int, of func(i int) any) []any {
	list := make([]any, count)
	for i := range list {
		list[i] = of(i)
	}
	return list
}

// fault is one change to a valid object: a value at a path such as spec.match. Some faults are valid too: they are just
// inside a bound.
type fault struct {
	path, what string
	value      any
}

func (f fault) String() string { return f.path + " " + f.what }

// apply sets a copy of the value, and creates the objects above it if they are missing.
func (f fault) apply(object map[string]any) {
	parts := strings.Split(f.path, ".")
	last := len(parts) - 1
	for _, part := range parts[:last] {
		below, ok := object[part].(map[string]any)
		if !ok {
			below = map[string]any{}
			object[part] = below
		}
		object = below
	}
	object[parts[last]] = decoded[any](f.value)
}

// decoded returns a copy of a value, with the Go types that the JSON of a request is decoded to.
func decoded[T any](value any) (result T) {
	text, err := json.Marshal(value)
	if err == nil {
		err = utiljson.Unmarshal(text, &result)
	}
	if err != nil {
		panic(err)
	}
	return result
}

var (
	longest63  = strings.Repeat("a", 63)
	longest253 = strings.Repeat("a", 253)
	manyRules  = func(i int) any { return rule(fmt.Sprintf("rule-%d", i), "Warn") }
	manyNames  = func(i int) any { return fmt.Sprintf("edge-%d", i) }
	manyFiles  = func(i int) any { return module(fmt.Sprintf("corp%d.rego", i), "package sourceward.custom.corp") }
	classes    = func(count int) map[string]any {
		m := map[string]any{}
		for i := range count {
			m[fmt.Sprintf("example.com/%d", i)] = "metallb-l2"
		}
		return m
	}
)

var faults = []fault{
	{"spec", "null", nil},
	{"spec", "empty", map[string]any{}},
	{"spec", "a list", []any{}},
	{"spec", "a string", "all"},
	{"spec.modes", "unknown", map[string]any{"a": "Deny"}},
	{"spec.Priority", "in another case", 1},
	{"rules", "at the root", []any{}},

	{"spec.priority", "null", nil},
	{"spec.priority", "a string", "high"},
	{"spec.priority", "a fraction", 1.5},
	{"spec.priority", "more than 32 bits", math.MaxInt32 + 1},

	{"spec.match", "null", nil},
	{"spec.match", "a list", []any{}},
	{"spec.match.namespaces", "unknown", []any{"edge"}},
	{"spec.match.namespaceSelector", "null", nil},
	{"spec.match.namespaceSelector", "of numbers", map[string]any{"matchLabels": map[string]any{"a": 1}}},
	{"spec.match.namespaceSelector", "without an operator",
		map[string]any{"matchExpressions": []any{map[string]any{"key": "a"}}}},
	{"spec.match.objectSelector", "of an unknown operator",
		map[string]any{"matchExpressions": []any{map[string]any{"key": "a", "operator": "Equals"}}}},
	{"spec.match.objectSelector", "without values",
		map[string]any{"matchExpressions": []any{map[string]any{"key": "a", "operator": "In", "values": nil}}}},
	{"spec.match.objectSelector", "twice the same expression", map[string]any{"matchExpressions": []any{
		map[string]any{"key": "a", "operator": "Exists"}, map[string]any{"key": "a", "operator": "Exists"},
	}}},
	{"spec.match.objectSelector", "a string", "app=web"},
	{"spec.match.excludeNamespaces", "null", nil},
	{"spec.match.excludeNamespaces", "a string", "edge"},
	{"spec.match.excludeNamespaces", "twice the same", []any{"edge", "mail", "edge"}},
	{"spec.match.excludeNamespaces", "with null", []any{"edge", nil}},
	{"spec.match.excludeNamespaces", "a number", []any{1}},
	{"spec.match.excludeNamespaces", "empty name", []any{""}},
	{"spec.match.excludeNamespaces", "capitals", []any{"edge", "Kube"}},
	{"spec.match.excludeNamespaces", "ends with a dash", []any{"edge-"}},
	{"spec.match.excludeNamespaces", "63 characters", []any{longest63}},
	{"spec.match.excludeNamespaces", "64 characters", []any{longest63 + "a"}},
	{"spec.match.excludeNamespaces", "1000 items", many(1000, manyNames)},
	{"spec.match.excludeNamespaces", "1001 items", many(1001, manyNames)},

	{"spec.rules", "null", nil},
	{"spec.rules", "a map", map[string]any{"local-on-cluster-ip": "Deny"}},
	{"spec.rules", "with null", []any{nil}},
	{"spec.rules", "twice the same", []any{rule("a", "Deny"), rule("b", "Warn"), rule("a", "Deny")}},
	{"spec.rules", "one id in two modes", []any{rule("a", "Deny"), rule("a", "Warn")}},
	{"spec.rules", "without id", []any{map[string]any{"mode": "Deny"}}},
	{"spec.rules", "without mode", []any{map[string]any{"id": "a"}}},
	{"spec.rules", "empty id", []any{rule("", "Deny")}},
	{"spec.rules", "id of 63 characters", []any{rule(longest63, "Deny")}},
	{"spec.rules", "id of 64 characters", []any{rule(longest63+"a", "Deny")}},
	{"spec.rules", "id of 63 characters and more bytes", []any{rule(longest63[1:]+"é", "Deny")}},
	{"spec.rules", "unknown mode", []any{rule("a", "Refuse")}},
	{"spec.rules", "mode in lower case", []any{rule("a", "deny")}},
	{"spec.rules", "Off as YAML reads it", []any{rule("a", false)}},
	{"spec.rules", "mode null", []any{rule("a", nil)}},
	{"spec.rules", "with a reason", []any{map[string]any{"id": "a", "mode": "Off", "reason": "noise"}}},
	{"spec.rules", "a mutable rule in mode Mutate", []any{rule("ineffective-spread", "Mutate")}},
	{"spec.rules", "another rule in mode Mutate",
		[]any{rule("unspread-behind-local", "Mutate"), rule("local-on-cluster-ip", "Mutate")}},
	{"spec.rules", "policy-not-evaluated", []any{rule("policy-not-evaluated", "Warn")}},
	{"spec.rules", "policy-not-evaluated in mode Mutate", []any{rule("policy-not-evaluated", "Mutate")}},
	{"spec.rules", "128 items", many(128, manyRules)},
	{"spec.rules", "129 items", many(129, manyRules)},

	{"spec.spread", "null", nil},
	{"spec.spread", "empty", map[string]any{}},
	{"spec.spread.strategy", "unknown", "Even"},
	{"spec.spread.strategy", "empty", ""},
	{"spec.spread.whenUnsatisfiable", "unknown", "Never"},
	{"spec.spread.whenUnsatisfiable", "null", nil},
	{"spec.spread.maxSkew", "0", 0},
	{"spec.spread.maxSkew", "-1", -1},
	{"spec.spread.maxSkew", "a string", "1"},
	{"spec.spread.maxSkew", "more than 32 bits", math.MaxInt32 + 1},
	{"spec.spread.topologyKey", "unknown", "kubernetes.io/hostname"},

	{"spec.parameters", "null", nil},
	{"spec.parameters", "a list", []any{1}},
	{"spec.parameters", "a string", "a: 1"},
	{"spec.parameters", "of nulls", map[string]any{"a": nil, "b": []any{nil}}},
	{"spec.parameters", "with a negative probe window", map[string]any{"probeWindowSeconds": -1}},

	{"spec.rego", "null", nil},
	{"spec.rego", "a string", "package sourceward.custom.corp"},
	{"spec.rego", "one name twice", []any{module("a.rego", "package a"), module("a.rego", "package b")}},
	{"spec.rego", "one text twice", []any{module("a.rego", "package a"), module("b.rego", "package a")}},
	{"spec.rego", "without a name", []any{map[string]any{"module": "package a"}}},
	{"spec.rego", "without a text", []any{map[string]any{"name": "a.rego"}}},
	{"spec.rego", "empty name", []any{module("", "package a")}},
	{"spec.rego", "empty text", []any{module("a.rego", "")}},
	{"spec.rego", "only white space", []any{module("a.rego", " \n")}},
	{"spec.rego", "name of 253 characters", []any{module(longest253, "package a")}},
	{"spec.rego", "name of 254 characters", []any{module(longest253+"a", "package a")}},
	{"spec.rego", "text of 131072 characters", []any{module("a.rego", strings.Repeat("a", v1alpha1.MaxRegoModule))}},
	{"spec.rego", "text of 131073 characters", []any{module("a.rego", strings.Repeat("a", v1alpha1.MaxRegoModule+1))}},
	{"spec.rego", "32 items", many(32, manyFiles)},
	{"spec.rego", "33 items", many(33, manyFiles)},

	{"spec.evaluationFailure", "null", nil},
	{"spec.evaluationFailure", "empty", ""},
	{"spec.evaluationFailure", "unknown", "Fail"},
	{"spec.existingViolations", "null", nil},
	{"spec.existingViolations", "empty", ""},
	{"spec.existingViolations", "unknown", "Ignore"},
	{"spec.exemptions", "null", nil},
	{"spec.exemptions", "empty", ""},
	{"spec.exemptions", "unknown", "All"},
	{"spec.exemptions", "a list", []any{"Objects"}},

	{"spec.loadBalancers", "null", nil},
	{"spec.loadBalancers", "a list", []any{"metallb-l2"}},
	{"spec.loadBalancers.default", "empty", ""},
	{"spec.loadBalancers.default", "a number", 1},
	{"spec.loadBalancers.classes", "null", nil},
	{"spec.loadBalancers.classes", "a list", []any{}},
	{"spec.loadBalancers.classes", "of numbers", map[string]any{"example.com/lb": 1}},
	{"spec.loadBalancers.classes", "of an empty name", map[string]any{"": ""}},
	{"spec.loadBalancers.classes", "256 entries", classes(256)},
	{"spec.loadBalancers.classes", "257 entries", classes(257)},

	{"status", "null", nil},
	{"status", "a string", "Ready"},
	{"status.phase", "unknown", "Ready"},
	{"status.observedGeneration", "a string", "1"},
	{"status.rules", "twice the same", []any{"corp", "corp"}},
	{"status.rules", "a number", []any{1}},
	{"status.conditions", "null", nil},
	{"status.conditions", "one type twice", []any{condition("Ready", "True"), condition("Ready", "True")}},
	{"status.conditions", "without fields", []any{map[string]any{"type": "Ready"}}},
	{"status.conditions", "unknown status", []any{condition("Ready", "Yes")}},
	{"status.conditions", "invalid values", []any{map[string]any{
		"type": "", "status": "True", "reason": "", "message": "", "lastTransitionTime": "noon", "observedGeneration": -1,
	}}},
}
