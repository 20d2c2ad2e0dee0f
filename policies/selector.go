package policies

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
)

// matcher is a label selector, ready to be compared with sets of labels. Texts that no label may have are compared like
// all others: in files they may be placeholders, which will be the same value wherever they are the same text.
type matcher struct {
	labels.Selector
	// isValid is false if the selector has such texts. Selector then has validLabels instead.
	isValid bool
}

// newMatcher returns the matcher of a selector. The error is non-nil when an operator is unknown or has values that it
// does not take.
func newMatcher(of *metav1.LabelSelector) (matcher, error) {
	s, err := metav1.LabelSelectorAsSelector(of)
	if err == nil {
		return matcher{s, true}, nil
	}
	valid := metav1.LabelSelector{MatchLabels: validLabels(of.MatchLabels)}
	for _, requirement := range of.MatchExpressions {
		requirement.Key = validText(requirement.Key, validation.IsQualifiedName)
		requirement.Values = slices.Clone(requirement.Values)
		for i, value := range requirement.Values {
			requirement.Values[i] = validText(value, validation.IsValidLabelValue)
		}
		valid.MatchExpressions = append(valid.MatchExpressions, requirement)
	}
	s, err = metav1.LabelSelectorAsSelector(&valid)
	return matcher{s, false}, err
}

// selects reports whether the selector selects a set of labels.
func (m matcher) selects(set labels.Set) bool {
	if !m.isValid {
		set = validLabels(set)
	}
	return m.Matches(set)
}

// validLabels returns labels of which each key and value may be one, except unknownValue, which no selector matches.
func validLabels(of map[string]string) map[string]string {
	valid := map[string]string{}
	for key, value := range of {
		if value != unknownValue {
			value = validText(value, validation.IsValidLabelValue)
		}
		valid[validText(key, validation.IsQualifiedName)] = value
	}
	return valid
}

// validText returns a text itself if it has no problems, and else one that no other text gives and that has none.
func validText(text string, problems func(string) []string) string {
	if len(problems(text)) == 0 {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}
