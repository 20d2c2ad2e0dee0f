package policies

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
)

// Decide finds what is wrong with in.Object and how to repair it.
//
// What a webhook repairs is repaired before anything else is judged, unless in.Object is Final. So the findings are those whose
// repair a webhook applies, and what is wrong with the object that these repairs leave, as who is asked about that one finds it.
//
// It reads nothing but its arguments and changes none of them; equal arguments give equal results,
// whatever the order of the related objects. The error is non-nil when a rule could not be
// evaluated, and then is of type Faults; the Decision then still holds what did run and a finding about what did not.
// A denial is a finding, never an error. A workload that is Controlled has no findings. rules must not be nil.
func Decide(ctx context.Context, in Input, rules Rules, settings Settings) (Decision, error) {
	if in.Object.Workload != nil && in.Object.Workload.Controlled {
		return Decision{}, nil
	}
	r := newReview(ctx, in, rules, settings, nil)
	decision := r.decide()
	if mutations := decision.Mutations(); len(mutations) > 0 && !in.Final {
		repaired, err := in.Object.Patched(mutations)
		if err != nil {
			panic(err) // The repairs of a rule are built on the object.
		}
		in.Object = repaired
		r = newReview(ctx, in, rules, settings, r)
		decision = decision.then(r.decide())
	}
	slices.SortStableFunc(decision.Findings, Finding.compare)
	if len(r.faults) == 0 {
		return decision, nil
	}
	var faults Faults
	for _, fault := range r.faults {
		faults = append(faults, Fault{Policy: fault.Policy, Err: fault.Err})
	}
	return decision, faults
}

// decide is Decide of the object as it is.
func (r *review) decide() Decision {
	var decision Decision
	for _, rule := range catalogue {
		if r.settings.Modes[rule.ID] == off {
			continue
		}
		for _, result := range rule.check(r) {
			if slices.ContainsFunc(decision.Findings, func(f Finding) bool { return f.Rule == rule.yieldsTo && f.Path == result.Path }) {
				continue
			}
			result.Rule = rule.ID
			result.Severity = rule.Severity
			result.mode = r.settings.modeOf(rule, cmp.Or(result.mode, rule.DefaultMode))
			r.settle(&decision, result, rule.Mutable)
		}
	}
	for _, result := range r.houseFindings() {
		r.settle(&decision, result, false)
	}
	return decision
}

// then is the whole decision about an object that d repairs, where after is what was decided about the repaired one.
func (d Decision) then(after Decision) Decision {
	for _, finding := range d.Findings {
		if finding.Mode == Mutate && finding.Exempt == nil {
			after.Findings = append(after.Findings, finding)
		}
	}
	for _, patch := range d.Patches {
		if patch.Mode == Mutate {
			after.Patches = append(after.Patches, patch)
		}
	}
	position := func(p Patch) int {
		return slices.IndexFunc(catalogue, func(rule Rule) bool { return rule.ID == p.Rule })
	}
	slices.SortStableFunc(after.Patches, func(p, q Patch) int { return cmp.Compare(position(p), position(q)) })
	return after
}

// Faults are the policies whose Rego could not be evaluated, each once.
type Faults []Fault

// Fault is Rego that could not be evaluated.
type Fault struct {
	// Policy is the name of the SourceIPPolicy, empty for the built-in modules.
	Policy string
	Err    error
}

func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fmt.Sprintf("%s: %v", policyName(fault.Policy), fault.Err)
	}
	return strings.Join(lines, "\n")
}

// result is a finding before its mode is settled.
type result struct {
	Finding
	// mode is the mode. As a check gives it, it counts where no policy sets one, and empty is the
	// rule's default.
	mode Mode
	// hard tells that the reason is hard: where the repair may not be applied, the request is refused.
	hard bool
	// repair mends it; nil where nothing does.
	repair []PatchOperation
	// unpatchable tells that a webhook may not apply the repair, though a person may.
	unpatchable bool
}

// settle makes the mode one that can be kept, looks for an exemption, and adds the result to the
// decision.
func (r *review) settle(decision *Decision, result result, mutable bool) {
	finding := result.Finding
	finding.Object = r.Object.Ref
	finding.Mode = result.mode
	switch {
	case finding.Mode == off:
		return
	case finding.Mode == Mutate && (!mutable || result.repair == nil || result.unpatchable):
		finding.Mode = Warn
		if result.hard {
			finding.Mode = Deny
		}
	}
	slices.SortFunc(finding.Because, Ref.compare)
	for _, text := range []*string{&finding.Message, &finding.Fix, &finding.Path} {
		*text = strings.Map(printable, *text)
	}

	exempt, problem := exemption(r.Input, r.settings.Exemptions, finding.Rule)
	if problem != "" {
		finding.Message += " (" + problem + ")"
	}
	finding.Exempt = exempt
	decision.Findings = append(decision.Findings, finding)
	if result.repair != nil && exempt == nil {
		decision.Patches = append(decision.Patches, Patch{Rule: finding.Rule, Mode: finding.Mode, Operations: result.repair})
	}
}

// printable keeps control characters, which an annotation may bring, out of what people read: they would reach a terminal,
// and a client drops a warning that has any.
func printable(r rune) rune {
	if unicode.IsControl(r) {
		return ' '
	}
	return r
}

// fault is an answer that could not be had, and what its policy wants done about it.
type fault struct {
	Answer
	mode Mode
}

// review is one run of Decide: its arguments, and what several rules ask of them.
type review struct {
	Input
	ctx      context.Context
	rules    Rules
	settings Settings

	// answers are what Rego says of the object.
	answers []Answer
	// faults are the answers that could not be had, each policy's once.
	faults []fault
	// explicit tells how the traffic policy of a Service came to be.
	explicit Explicit
	// selecting are, for a workload, the Services that select its pods, by name.
	selecting []*corev1.Service
	// sharing are, for a Service, the others that ask to share its address, by namespace and name.
	sharing []*corev1.Service
	// behind are, for a Service, the workloads whose pods it selects, and, for a workload, the others
	// behind the same Services; sorted.
	behind []*Workload
	// replicas is how few and how many pods a workload may have.
	replicas replicaRange
	// even is what evenServices worked out, if evenKnown.
	evenKnown bool
	even      []*corev1.Service
	// missed tells that a rule asked for the Local Services in front of the object when they could not be seen.
	missed bool
	// unspreadFound is what unspread worked out, if unspreadKnown.
	unspreadKnown bool
	unspreadFound *unspread
}

// newReview asks Rego about the object. former is the review of the object before it was repaired, if it was: what failed then
// is not asked again, since it would take all its time once more, and what it answered counts.
func newReview(ctx context.Context, in Input, rules Rules, settings Settings, former *review) *review {
	r := &review{Input: in, ctx: ctx, rules: rules, settings: settings, explicit: ExplicitUnknown}
	if in.Object.Service != nil {
		r.explicit = explicit(in.Object, in.Old, in.InFile)
		r.selecting = []*corev1.Service{in.Object.Service}
		for _, service := range in.Related.Services {
			if AsksToShareAddress(service, in.Object.Service) && serviceRef(service) != in.Object.Ref {
				r.sharing = append(r.sharing, service)
			}
		}
		slices.SortFunc(r.sharing, compareServices)
	} else {
		r.replicas = replicasOf(in.Object.Workload, in.Related)
		for _, service := range in.Related.Services {
			if Selects(service, in.Object.Workload) {
				r.selecting = append(r.selecting, service)
			}
		}
		slices.SortFunc(r.selecting, compareServices)
	}
	r.behind = behind(r.selecting, in.Related.Workloads, in.Object)
	if former != nil {
		r.faults = slices.Clone(former.faults)
	}
	r.answers = rules.Evaluate(ctx, r.document(), r.sound(settings.Applied))
	if former != nil {
		for _, answer := range former.answers {
			if answer.Policy != "" && r.failed(answer.Policy) {
				r.answers = append(r.answers, answer)
			}
		}
	}
	for _, answer := range r.answers {
		if answer.Err != nil {
			r.fault(answer, settings)
		}
	}
	return r
}

// askNeighbour evaluates Rego for a Service behind which the workload under review is.
func (r *review) askNeighbour(service *corev1.Service) []Answer {
	settings := r.settings.forNeighbour(service, r.Namespace)
	answers := r.rules.Evaluate(r.ctx, r.neighbourDocument(service, settings), r.sound(settings.Applied))
	for _, answer := range answers {
		if answer.Err != nil {
			answer.Err = fmt.Errorf("%s: %w", serviceRef(service), answer.Err)
			r.fault(answer, settings)
		}
	}
	return answers
}

// sound are the policies that have not failed: one that failed for the object, or for a neighbour, is not to be trusted today.
func (r *review) sound(applied []AppliedPolicy) []AppliedPolicy {
	if len(r.faults) == 0 {
		return applied
	}
	return slices.DeleteFunc(slices.Clone(applied), func(a AppliedPolicy) bool { return r.failed(a.Name) })
}

func (r *review) failed(policy string) bool {
	return slices.ContainsFunc(r.faults, func(f fault) bool { return f.Policy == policy })
}

// fault keeps an answer that could not be had, each policy's once, with the policy's mode for it.
func (r *review) fault(answer Answer, settings Settings) {
	if r.failed(answer.Policy) {
		return
	}
	mode := Warn
	for _, applied := range settings.Applied {
		if applied.Name == answer.Policy {
			mode = applied.EvaluationFailure
		}
	}
	r.faults = append(r.faults, fault{answer, mode})
}

// document is what Rego sees of the object under review.
func (r *review) document() Document {
	document := Document{
		Operation: r.Operation,
		Object:    r.Object,
		Namespace: r.namespaceDocument(),
		Related:   RelatedDocument{Workloads: r.behind, View: r.Related.View},
		Facts:     Facts{Explicit: r.explicit, Replicas: r.replicas.most},
		Cluster:   r.clusterDocument(),

		Parameters: r.settings.Parameters,
	}
	if r.Old != nil {
		document.Old = r.Old
	}
	if r.Object.Service != nil {
		document.Facts = r.serviceFacts(r.Object.Service, r.settings, r.explicit)
		document.Related.Services = r.sharing
	} else {
		if r.Object.Workload.TemplateOf == (WorkloadRef{}) {
			document.Facts.Spread = spreadingOf(r.Object.Workload, r.Namespace).Spreading
		}
		document.Related.Services = r.selecting
	}
	return document
}

// neighbourDocument is what Rego sees of a Service behind which the workload under review is: as if
// it were created, and alone.
func (r *review) neighbourDocument(service *corev1.Service, settings Settings) Document {
	return Document{
		Operation: Create,
		Object:    &Object{Ref: serviceRef(service), content: serviceContent(service)},
		Namespace: r.namespaceDocument(),
		Facts:     r.serviceFacts(service, settings, ExplicitUnknown),
		Cluster:   r.clusterDocument(),

		Parameters: settings.Parameters,
		Neighbour:  true,
	}
}

// serviceContent is the content of a reduced Service. Its values are not in JSON types yet: most modules look at few of
// them, and what they look at is converted then.
func serviceContent(service *corev1.Service) map[string]any {
	metadata := map[string]any{"namespace": service.Namespace, "name": service.Name}
	if service.GenerateName != "" {
		metadata["generateName"] = service.GenerateName
	}
	if service.Labels != nil {
		metadata["labels"] = service.Labels
	}
	if service.Annotations != nil {
		metadata["annotations"] = service.Annotations
	}
	return map[string]any{
		"apiVersion": service.APIVersion, "kind": service.Kind, "metadata": metadata, "spec": service.Spec,
	}
}

func (r *review) namespaceDocument() NamespaceDocument {
	return NamespaceDocument{Name: r.Namespace.Name, Labels: r.Namespace.Labels, Annotations: r.Namespace.Annotations}
}

func (r *review) clusterDocument() ClusterDocument {
	return ClusterDocument{Nodes: r.Cluster.schedulable(), Version: r.Cluster.Version.orNewest().String()}
}

func (r *review) serviceFacts(service *corev1.Service, settings Settings, explicit Explicit) Facts {
	facts := Facts{
		ExternallyAccessible: ExternallyAccessible(service, r.Cluster.Version),
		Explicit:             explicit,
		Local:                isLocal(service, r.Cluster.Version),
	}
	if service.Spec.Type == corev1.ServiceTypeLoadBalancer {
		facts.Provider = settings.provider(service.Spec.LoadBalancerClass)
	}
	return facts
}

// behind returns the workloads other than the object whose pods one of the Services selects, sorted.
func behind(services []*corev1.Service, workloads []*Workload, object *Object) []*Workload {
	var found []*Workload
	for _, workload := range workloads {
		selected := slices.ContainsFunc(services, func(s *corev1.Service) bool { return Selects(s, workload) })
		if selected && !object.is(workload) {
			found = append(found, workload)
		}
	}
	slices.SortFunc(found, func(a, b *Workload) int { return a.Ref.compare(b.Ref) })
	return found
}

// localServices are, for a workload, the Local Services that select its pods, by name. Rules ask for them last, when all depends on
// them: where they could not be seen, neighboursUnknown tells that somebody asked.
func (r *review) localServices() []*corev1.Service {
	r.missed = r.missed || r.Related.View == ViewNone && r.Object.Workload != nil
	return slices.DeleteFunc(slices.Clone(r.selecting), func(s *corev1.Service) bool { return !isLocal(s, r.Cluster.Version) })
}

// evenServices are those of the localServices whose load balancer shares traffic evenly among nodes: it neither weighs them by their
// pods, nor sends all to one of them, nor goes past them to the pods.
func (r *review) evenServices() []*corev1.Service {
	if !r.evenKnown {
		r.evenKnown = true
		r.even = slices.DeleteFunc(r.localServices(), func(s *corev1.Service) bool {
			_, uneven := verdict(r.askNeighbour(s), VerdictUseless, VerdictWeighted, VerdictSingleAnnouncer)
			return uneven
		})
	}
	return r.even
}

// maker is who makes the pods of the workload under review, and replaces them: who uses its template in the place of its own, else
// itself.
func (r *review) maker() *Workload {
	if users := r.Related.users(r.Object.Workload); len(users) > 0 {
		return users[0]
	}
	return r.Object.Workload
}

// revisionLabel is the label that tells the pods of one revision of the workload from those of another; empty for none.
func (r *review) revisionLabel() string { return r.maker().kind().RevisionLabel }

// makerResult is a finding about a field by which the workload behind Local Services decides how many pods there are, or how they are
// replaced. Where another one uses its template, it is that one's field, and the finding has no path.
func (r *review) makerResult(path, message, fix string, services []*corev1.Service) result {
	found := result{Finding: Finding{Path: path, Message: message, Fix: fix, Because: serviceRefs(services)}}
	if maker := r.maker(); maker != r.Object.Workload {
		found.Path = ""
		found.Fix += " in " + maker.Ref.String()
		found.Because = append(found.Because, maker.Ref)
	}
	return found
}

// verdict returns the first of the answers that has one of the verdicts.
func verdict(answers []Answer, verdicts ...Verdict) (KeepsSourceIP, bool) {
	for _, answer := range answers {
		for _, keeps := range answer.KeepsSourceIP {
			if slices.Contains(verdicts, keeps.Verdict) {
				return keeps, true
			}
		}
	}
	return KeepsSourceIP{}, false
}

// houseFindings are the findings of policies' own rules.
func (r *review) houseFindings() []result {
	var results []result
	add := func(policy string, findings []HouseFinding, mode Mode, severity Severity) {
		for _, f := range findings {
			if f.Severity == "" {
				f.Severity = severity
			}
			mode := mode
			for _, applied := range r.settings.Applied {
				if set, ok := applied.Modes[f.Rule]; ok && applied.Name == policy {
					mode = set
				}
			}
			results = append(results, result{
				Finding: Finding{Rule: f.Rule, Severity: f.Severity, Message: f.Message, Fix: f.Fix, Path: f.Path},
				mode:    mode,
			})
		}
	}
	for _, answer := range r.answers {
		if answer.Policy == "" {
			continue // these are of the catalogue
		}
		add(answer.Policy, answer.Deny, Deny, SeverityError)
		add(answer.Policy, answer.Warn, Warn, SeverityWarning)
	}
	return results
}

// becameLocal tells whether this request is what makes clients of a Service meet a Local policy:
// its creation, its change to Local, or a change of whom it selects.
func (r *review) becameLocal() bool {
	service := r.Object.Service
	if !isLocal(service, r.Cluster.Version) {
		return false
	}
	if r.Old == nil || r.Old.Service == nil {
		return true
	}
	old := r.Old.Service
	return !isLocal(old, r.Cluster.Version) || !reflect.DeepEqual(podSelector(old), podSelector(service))
}

// templateChanged tells whether the request rolls the workload out anyway, so that a repair of its
// template costs no rollout of its own.
func (r *review) templateChanged() bool {
	if r.Operation == Create {
		return true
	}
	if r.Old == nil || r.Old.Workload == nil {
		return false
	}
	return !reflect.DeepEqual(template(r.Object.Content()), template(r.Old.Content()))
}

func template(content map[string]any) any {
	spec, _ := content["spec"].(map[string]any)
	return spec["template"]
}

func policyName(policy string) string {
	if policy == "" {
		return "built-in rules"
	}
	return "SourceIPPolicy " + policy
}
