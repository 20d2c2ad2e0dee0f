package policies

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
)

// matches reports whether a label selector selects a set of labels. Texts that no label may have are compared like all
// others: in files they may be placeholders, which will be the same value wherever they are the same text. The error is
// non-nil when an operator is unknown or has values that it does not take.
func matches(selector *metav1.LabelSelector, set labels.Set) (bool, error) {
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err == nil {
		return s.Matches(set), nil
	}
	valid := metav1.LabelSelector{MatchLabels: validLabels(selector.MatchLabels)}
	for _, of := range selector.MatchExpressions {
		of.Key, of.Values = validText(of.Key, validation.IsQualifiedName), slices.Clone(of.Values)
		for i, value := range of.Values {
			of.Values[i] = validText(value, validation.IsValidLabelValue)
		}
		valid.MatchExpressions = append(valid.MatchExpressions, of)
	}
	if s, err = metav1.LabelSelectorAsSelector(&valid); err != nil {
		return false, err
	}
	return s.Matches(labels.Set(validLabels(set))), nil
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
