package policies

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// The ratchet: on an update, only findings that the request brings are denied or repaired. A finding that the stored
// object has already becomes a warning, or else an install of Sourceward, or a stricter policy, would stop every
// controller that writes a label or an annotation.

// weight orders the reasons of findings of the same kind. A request that leaves a finding, but gives it a weightier
// reason, brings it.
type weight int

const (
	// weightSoft is a wish. It is the zero value.
	weightSoft weight = iota
	// weightOrdered is what the owner of the object asks for by our own annotation.
	weightOrdered
	// weightHard is a reason for which the object does not work as it is. The request is denied if the repair may not be
	// made.
	weightHard
)

// kind is what findings are counted by. Two findings of the same kind cannot be told apart.
type kind struct {
	// policy is the name of the policy whose Rego made the finding, or failed; empty for the catalogue.
	policy, rule string
	// path has no list indices: an element that is prepended to a list must not make the others look new.
	path string
	// failed is the part of a policy that could not be evaluated; empty for other findings.
	failed FailedSet
}

func (r *run) kind(found result) kind {
	k := kind{policy: found.policy, rule: found.Rule, path: withoutIndices(r.Object, found.Path)}
	switch found.Rule {
	case unspreadBehindLocal.ID, ineffectiveSpread.ID:
		k = unspreadKind
	case policyNotEvaluated.ID:
		k.failed = found.failed
	}
	return k
}

// unspreadKind is the kind of the findings of unspread-behind-local and ineffective-spread. An object has at most one
// of the two, and they point to different fields.
var unspreadKind = kind{rule: unspreadBehindLocal.ID}

// withoutIndices returns a JSON Pointer into the object without the indices of lists.
func withoutIndices(object *Object, path string) string {
	if !strings.ContainsAny(path, "0123456789") {
		return path
	}
	var at any = object.Content()
	var kept []string
	for part := range strings.SplitSeq(path, "/") {
		switch value := at.(type) {
		case []any:
			at = nil
			if i, err := strconv.Atoi(part); err == nil && i >= 0 && i < len(value) {
				at = value[i]
			}
			continue
		case map[string]any:
			if len(kept) > 0 { // before the first slash there is nothing
				at = value[unescaped.Replace(part)]
			}
		}
		kept = append(kept, part)
	}
	return strings.Join(kept, "/")
}

// unescaped undoes the escapes of a JSON Pointer.
var unescaped = strings.NewReplacer("~1", "/", "~0", "~")

// count is the number of findings of one kind, by weight.
type count [weightHard + 1]int

// atLeast returns the number of findings of this weight or a greater one.
func (c count) atLeast(w weight) int {
	sum := 0
	for _, n := range c[w:] {
		sum += n
	}
	return sum
}

func (r *run) counted(results []result) map[kind]count {
	counts := map[kind]count{}
	for _, found := range results {
		of := r.kind(found)
		c := counts[of]
		c[found.weight]++
		counts[of] = c
	}
	return counts
}

// brings reports whether the request brings a finding: the object has more findings of its kind and weight than the
// stored object. now returns the counts of the findings of the object; counting them may need the whole document.
func (r *run) brings(found result, now func() map[kind]count) bool {
	if r.Operation != Update || r.Old == nil || r.settings.deniesExisting(found) {
		return true
	}
	// A module that fails may hide any finding about what the request changes.
	if found.Rule == policyNotEvaluated.ID && !reflect.DeepEqual(spec(r.Object), spec(r.Old)) {
		return true
	}
	// What could not be asked, for lack of time, is not known to be the same.
	if found.Rule == policyNotEvaluated.ID && found.policy != "" && found.failed == (FailedSet{}) {
		return true
	}
	// While pods are not spread, these rules are silent. Who spreads them does not bring what that reveals.
	hidden := found.Rule == unevenReplicas.ID || found.Rule == spreadDecaysOnRollout.ID
	if hidden && r.stored()[unspreadKind] != (count{}) {
		return false
	}
	of := r.kind(found)
	more := now()[of]
	for w := weightSoft; w <= found.weight; w++ {
		if more.atLeast(w) > r.stored()[of].atLeast(w) {
			return true
		}
	}
	return false
}

func spec(o *Object) any { return o.Content()["spec"] }

// stored returns the findings of the stored object. It is judged as an update that changes nothing, even if it is the
// child of another workload now, with the settings of this request: a label that brings the object under a policy is no
// reason to deny what exists. Exempt findings count, so that the end of an exemption denies nothing either.
func (r *run) stored() map[kind]count {
	if *r.before == nil {
		in := r.Input
		in.Object, in.Related = r.Old, r.OldRelated
		stored := newRun(r.ctx, in, r.rules, r.settings, nil)
		stored.isStored = true
		*r.before = stored.counted(slices.Concat(stored.results(), stored.faultResults()))
	}
	return *r.before
}
