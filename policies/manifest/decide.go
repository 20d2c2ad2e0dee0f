package manifest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/policies"
)

// Bench is what decisions depend on, apart from the objects.
type Bench struct {
	Rules    policies.Rules
	Policies policies.Policies
	Cluster  policies.Cluster
	Now      time.Time
	// MutationsOnly is that of policies.Input.
	MutationsOnly bool
}

// Decide decides about the creation of an object with the Input of Input. If the object or a neighbour has placeholders
// that rules may read, it tries the values that they may have: see policies.Decision.Common. If files define a
// neighbour more than once, equally near to the object, it tries each of these definitions in the same way, and returns
// what is certain: see policies.Decision.Certain. If there are many combinations, it varies one at a time, so that the
// cost grows with their number.
//
// The remarks name the rules that are silent because of a placeholder. The error is that of the decision about the
// object as it is written, or about another definition of a neighbour.
func (m *Manifests) Decide(ctx context.Context, o *Object, on Bench) (policies.Decision, []Remark, error) {
	j := &judgement{ctx: ctx, m: m, o: o, on: on, seen: m.sight(o)}
	decision, in, settings, err := j.decide(o, j.seen)
	copies := map[identity][]choice{} // of each neighbour with more than one definition
	nearest := world{}
	for _, of := range j.seen.ambiguous() {
		copies[of] = j.choices(of)
		nearest[of] = copies[of][0]
	}
	found := j.vary(decision, nearest)
	remarks := found.remarks
	var doubts []policies.Doubt
	for _, of := range slices.SortedFunc(maps.Keys(copies), identity.compare) {
		doubt := policies.Doubt{Neighbour: m.copies[j.seen.candidates[of][0]].object}
		for i, choice := range copies[of] {
			doubt.Places = append(doubt.Places, m.copies[j.seen.candidates[of][choice[0]]].place())
			if i == 0 {
				continue
			}
			changed := maps.Clone(nearest)
			changed[of] = choice
			alternative, _, _, wrong := j.decide(o, j.sight(o, changed, 0))
			err = cmp.Or(err, wrong)
			other := j.vary(alternative, changed)
			doubt.Others = append(doubt.Others, other.certain)
			remarks = append(remarks, other.remarks...)
		}
		slices.Sort(doubt.Places)
		if len(doubt.Others) > 0 {
			doubts = append(doubts, doubt)
		}
	}
	slices.SortStableFunc(remarks, func(a, b Remark) int { return strings.Compare(a.Text, b.Text) })
	return found.certain.Certain(in, settings, doubts), slices.Compact(remarks), err
}

// judgement is the decision about one object.
type judgement struct {
	ctx  context.Context //nolint:containedctx // it lives as long as one call of Decide
	m    *Manifests
	o    *Object
	on   Bench
	seen *sight
}

// choice is one definition of a neighbour and what it may be if it has placeholders, by their indices among the
// candidates. The definition as it is written comes first.
type choice []int

// world holds the definition that exists of each neighbour that has several.
type world map[identity]choice

// choices returns the definitions of a neighbour, in the order of its candidates.
func (j *judgement) choices(of identity) []choice {
	var found []choice
	at := map[int]int{} // the index in found of a definition
	for i, number := range j.seen.candidates[of] {
		if written := j.m.copies[number].variantOf; written != 0 {
			found[at[written]] = append(found[at[written]], i)
			continue
		}
		at[number] = len(found)
		found = append(found, choice{i})
	}
	return found
}

// sight returns what a variant of the object sees if each neighbour in a world is its nth variant, or its last.
func (j *judgement) sight(o *Object, in world, n int) *sight {
	s := &sight{m: j.m, from: o.number, chosen: map[identity]int{}, candidates: maps.Clone(j.seen.candidates)}
	for of, c := range in {
		s.chosen[of] = c[min(n, len(c)-1)]
	}
	return s
}

func (j *judgement) decide(o *Object, s *sight) (policies.Decision, policies.Input, policies.Settings, error) {
	in := s.input(o, j.on.Cluster, j.on.Now)
	// Whether several definitions come to the same result depends on all of its repairs.
	in.MutationsOnly = j.on.MutationsOnly && len(s.ambiguous()) == 0 && len(j.o.variants) == 0
	settings := policies.Resolve(j.on.Policies, o.Object, in.Namespace)
	decision, err := policies.Decide(j.ctx, in, j.on.Rules, settings)
	return decision, in, settings, err
}

// outcome is what is certain in one world, and which rules are silent there.
type outcome struct {
	certain policies.Decision
	remarks []Remark
}

// vary tries the values of the placeholders of the object and of its neighbours in a world. decision is the one about
// all of them as they are written.
func (j *judgement) vary(decision policies.Decision, in world) outcome {
	most := 0
	for _, c := range in {
		most = max(most, len(c)-1)
	}
	var alternatives []policies.Decision
	var because [][]string // the placeholders that have values in the alternatives
	isCombined := (most+1)*(len(j.o.variants)+1) <= maxCombined
	for n := range most + 1 {
		// All neighbours with placeholders have their next values at once, so that the cost does not grow with their number.
		var ofNeighbours []string
		for _, of := range slices.SortedFunc(maps.Keys(in), identity.compare) {
			copied := j.m.copies[j.seen.candidates[of][in[of][min(n, len(in[of])-1)]]]
			for _, path := range copied.placeholders {
				ofNeighbours = append(ofNeighbours, fmt.Sprintf("%s of %s", fieldOf(path), copied.object))
			}
		}
		for i, v := range append([]*Object{j.o}, j.o.variants...) {
			if i == 0 && n == 0 || i > 0 && n > 0 && !isCombined {
				continue
			}
			alternative, _, _, _ := j.decide(v, j.sight(v, in, n)) //nolint:dogsled // only the decision differs from the others
			alternatives = append(alternatives, alternative)
			var of []string
			for _, path := range j.m.copies[v.number].placeholders {
				of = append(of, fieldOf(path))
			}
			because = append(because, append(of, ofNeighbours...))
		}
	}
	certain, silent := decision.Common(alternatives, j.o.placeholders)
	if len(silent) == 0 {
		return outcome{certain: certain}
	}
	var reasons []string
	for _, most := range []int{1, math.MaxInt} { // more than one placeholder only if no one of them makes a difference
		for i, alternative := range alternatives {
			if len(because[i]) > most || alternative.Agrees(decision) {
				continue
			}
			for _, reason := range because[i] {
				if !slices.Contains(reasons, reason) {
					reasons = append(reasons, reason)
				}
			}
		}
		if reasons != nil {
			break
		}
	}
	text := fmt.Sprintf("not judged by %s: the result depends on the placeholders in %s",
		strings.Join(silent, ", "), strings.Join(reasons, ", "))
	return outcome{certain, []Remark{j.o.remark(text)}}
}

// UncheckedPods returns what to know about the judged Services that are Local and have no judged workload behind them:
// those without any workload, in the order of Objects, and a remark about each whose workloads are only context, or
// belong to another definition of the Service. Call it after the decisions, since a repair may have made a Service
// Local.
func (m *Manifests) UncheckedPods() (without []policies.Ref, remarks []Remark) {
	others := m.otherWorkloads()
	for _, o := range m.Objects {
		if o.Service == nil || len(o.Service.Spec.Selector) == 0 ||
			o.Service.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal ||
			!policies.ExternallyAccessible(o.Service, m.version) {
			continue
		}
		isChecked := slices.ContainsFunc(others[pairOf(o.Service.Namespace, o.Service.Spec.Selector)],
			func(w *policies.Workload) bool { return policies.Selects(o.Service, w) })
		var context, others []definition // what it selects that is not checked as behind it
		for _, workload := range m.index.Related(o.Object).Workloads {
			number := m.numbers[workload]
			switch copied := m.copies[number]; {
			case copied.replaced:
			case copied.file.live: // what is wrong with the two is a finding of the Service
				isChecked = true
			case m.belongsToAnother(o.number, number) || m.belongsToAnother(number, o.number):
				others = append(others, copied)
			case copied.file.context:
				context = append(context, copied)
			default:
				isChecked = true
			}
		}
		switch {
		case isChecked:
		case len(context) > 0:
			remarks = append(remarks, o.remark(fmt.Sprintf(
				"its pods are not checked, since their workload is only context; check %s, too", firstPlace(context))))
		case len(others) > 0:
			remarks = append(remarks, o.remark(fmt.Sprintf(
				"its pods are not checked: the workload in %s is nearer to other definitions", firstPlace(others))))
		default:
			without = append(without, o.Ref)
		}
	}
	return without, remarks
}

// firstPlace returns the place that comes first in the order of the files.
func firstPlace(list []definition) string {
	return slices.MinFunc(list, func(a, b definition) int { return cmp.Compare(a.order, b.order) }).place()
}

// otherWorkloads returns the judged workloads that are never looked up as neighbours, by a namespace and the pair of
// one of their labels.
func (m *Manifests) otherWorkloads() map[string][]*policies.Workload {
	found := map[string][]*policies.Workload{}
	for _, o := range m.Objects {
		if kind, ok := policies.WorkloadKindOf(o.APIVersion, o.Kind); ok && kind.Door != policies.Everywhere {
			for key, value := range o.Workload.Template.Labels {
				pair := pairOf(o.Namespace, map[string]string{key: value})
				found[pair] = append(found[pair], o.Workload)
			}
		}
	}
	return found
}

// pairOf returns a text for a namespace and the first pair of a selector.
func pairOf(namespace string, selector map[string]string) string {
	key := slices.Min(slices.Collect(maps.Keys(selector)))
	return namespace + " " + key + " " + selector[key]
}

func (o *Object) remark(text string) Remark {
	return Remark{Place: o.Place(""), Object: o.Ref, Text: text}
}

// fieldOf returns a path as it is written in messages.
func fieldOf(path string) string { return (&policies.FieldError{Path: path}).Field() }
