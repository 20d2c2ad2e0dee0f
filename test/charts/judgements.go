package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// judgement is a person's judgement of a finding.
type judgement struct {
	// Values are the sets of values with which a chart has the finding. There are none for plain manifests.
	Values []string `json:"values,omitempty"`
	// Right is the reason why the finding is useful. Wrong is the reason why it is a false alarm. Exactly one is set.
	Right string `json:"right,omitempty"`
	Wrong string `json:"wrong,omitempty"`
}

// readJudgements reads a file of judgements, which is a tree of modules, bundles, objects and rules. The error is
// non-nil when the file cannot be parsed or a judgement does not have exactly one of right and wrong.
func readJudgements(file string) (map[key]judgement, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var tree map[string]map[string]map[string]map[string]judgement
	if err := yaml.UnmarshalStrict(data, &tree); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	judgements := map[key]judgement{}
	var errs []error
	for module, bundles := range tree {
		for bundle, objects := range bundles {
			for object, rules := range objects {
				for rule, j := range rules {
					k := key{module, bundle, object, rule}
					if (j.Right == "") == (j.Wrong == "") {
						errs = append(errs, fmt.Errorf("read %s: %s: set either right or wrong to the reason", file, k))
					}
					judgements[k] = j
				}
			}
		}
	}
	return judgements, errors.Join(errs...)
}

// row holds all findings of one key and their judgement, which is nil if there is none.
type row struct {
	key
	findings  []finding
	judgement *judgement
}

// values returns the names of the sets of values with which the findings occur.
func (r row) values() []string {
	var names []string
	for _, f := range r.findings {
		if f.values != "" && !slices.Contains(names, f.values) {
			names = append(names, f.values)
		}
	}
	return names
}

// compare combines findings and judgements. The complaints say where they differ.
func compare(findings []finding, judgements map[key]judgement) (rows []row, complaints []string) {
	byKey := map[key][]finding{}
	for _, f := range findings {
		byKey[f.key] = append(byKey[f.key], f)
	}
	for _, k := range slices.SortedFunc(maps.Keys(byKey), key.compare) {
		r := row{key: k, findings: byKey[k]}
		j, ok := judgements[k]
		if ok {
			r.judgement = &j
		}
		switch {
		case !ok:
			complaints = append(complaints, "not judged: "+k.String()+in(r.values()))
		case j.Wrong != "":
			complaints = append(complaints, fmt.Sprintf("wrong: %s%s: %s", k, in(r.values()), j.Wrong))
		case !slices.Equal(slices.Sorted(slices.Values(j.Values)), slices.Sorted(slices.Values(r.values()))):
			complaints = append(complaints, fmt.Sprintf("found%s, but judged%s: %s", in(r.values()), in(j.Values), k))
		}
		rows = append(rows, r)
	}
	for _, k := range slices.SortedFunc(maps.Keys(judgements), key.compare) {
		if byKey[k] == nil {
			complaints = append(complaints, "judged, but not found: "+k.String())
		}
	}
	return rows, complaints
}

func in(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return " with values " + strings.Join(values, ", ")
}

func (k key) String() string {
	return fmt.Sprintf("%s: %s: %s: %s", k.module, k.bundle, k.object, k.rule)
}

func (k key) compare(other key) int {
	return cmp.Or(
		strings.Compare(k.module, other.module), strings.Compare(k.bundle, other.bundle),
		strings.Compare(k.object, other.object), strings.Compare(k.rule, other.rule),
	)
}
