package policies

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/api/v1alpha1"
)

// ask evaluates Rego for the object of the run. newRun says what former is.
func (r *run) ask(former *run) {
	if former != nil {
		r.faults = slices.Clone(former.faults)
	}
	r.answers = r.rules.Evaluate(r.ctx, r.document(), r.sound(r.settings.Applied))
	if former != nil {
		for _, answer := range former.answers {
			if answer.Policy != "" && r.failed(answer.Policy) {
				r.answers = append(r.answers, answer)
			}
		}
	}
	for _, answer := range r.answers {
		if answer.Err != nil {
			r.fault(answer, r.settings)
		}
	}
}

// askNeighbour evaluates Rego for a Service in front of the workload under review.
func (r *run) askNeighbour(service *corev1.Service) []Answer {
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

// sound returns the policies that have not failed in this run, for the object or for a neighbour.
func (r *run) sound(applied []AppliedPolicy) []AppliedPolicy {
	if len(r.faults) == 0 {
		return applied
	}
	return slices.DeleteFunc(slices.Clone(applied), func(a AppliedPolicy) bool { return r.failed(a.Name) })
}

func (r *run) failed(policy string) bool {
	return slices.ContainsFunc(r.faults, func(f fault) bool { return f.Policy == policy })
}

// fault is an answer with an error, and the mode that its policy sets for that case.
type fault struct {
	Answer
	mode Mode
}

// fault records an answer with an error, unless its policy has failed before in this run.
func (r *run) fault(answer Answer, settings Settings) {
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

// document returns the input of Rego for the object under review.
func (r *run) document() Document {
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
	} else if r.Object.Workload.TemplateOf != (WorkloadRef{}) {
		// These are the neighbours of the workload with the template, for which the rules of the catalogue judge it.
		document.Related.Services = slices.SortedFunc(slices.Values(r.Related.Services), compareServices)
		document.Related.Workloads = slices.SortedFunc(slices.Values(r.Related.Workloads), compareWorkloads)
	} else {
		document.Facts.Spread = r.spreading(r.Object.Workload).Spreading
		document.Related.Services = r.selecting
	}
	return document
}

// neighbourDocument returns the input of Rego for a Service in front of the workload under review. It describes the
// creation of that Service, without related objects.
func (r *run) neighbourDocument(service *corev1.Service, settings Settings) Document {
	return Document{
		Operation: Create,
		Object:    &Object{Ref: serviceRef(service), Service: service, content: serviceContent(service)},
		Namespace: r.namespaceDocument(),
		Facts:     r.serviceFacts(service, settings, ExplicitUnknown),
		Cluster:   r.clusterDocument(),

		Parameters: settings.Parameters,
		Neighbour:  true,
	}
}

// serviceContent returns the content of a reduced Service. Its values are not JSON types yet: most modules read few of
// them, and those are converted on first use.
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

func (r *run) namespaceDocument() NamespaceDocument {
	return NamespaceDocument{Name: r.Namespace.Name, Labels: r.Namespace.Labels, Annotations: r.Namespace.Annotations}
}

func (r *run) clusterDocument() ClusterDocument {
	return ClusterDocument{Nodes: r.Cluster.schedulable(), Version: r.Cluster.Version.orNewest().String()}
}

func (r *run) serviceFacts(service *corev1.Service, settings Settings, explicit Explicit) Facts {
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

// verdict returns the first answer that has one of the verdicts, and whether there is one.
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

// reasonsForLocal returns all reasons why the Service should be Local, the hard ones first.
func (r *run) reasonsForLocal() []RequireLocal {
	var reasons []RequireLocal
	for _, answer := range r.answers {
		for _, reason := range answer.RequireLocal {
			if answer.Policy != "" {
				reason.Message += fmt.Sprintf(" (module %s of policy %s)", reason.Module, answer.Policy)
			}
			reasons = append(reasons, reason)
		}
	}
	slices.SortStableFunc(reasons, func(a, b RequireLocal) int {
		// Our own annotation comes before other soft reasons, since it decides the mode.
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)),
			strings.Compare(a.Annotation, b.Annotation),
			strings.Compare(a.Message, b.Message),
		)
	})
	return reasons
}

func rank(reason RequireLocal) int {
	switch {
	case reason.Strength == StrengthHard:
		return 0
	case reason.Annotation == v1alpha1.AnnotationSourceIP:
		return 1
	default:
		return 2
	}
}

func (r *run) spreadWishes() []SpreadWish {
	var wishes []SpreadWish
	for _, answer := range r.answers {
		wishes = append(wishes, answer.Spread...)
	}
	return wishes
}

// houseFindings returns the findings of the rules that policies bring in their own Rego.
func (r *run) houseFindings() []result {
	n := 0
	for _, answer := range r.answers {
		n += len(answer.Deny) + len(answer.Warn)
	}
	results := make([]result, 0, n) // to grow it would copy the results of many policies several times
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
			if mode == off {
				continue
			}
			results = append(results, result{
				Finding: Finding{
					Rule: f.Rule, Mode: mode, Severity: f.Severity, Message: f.Message, Fix: f.Fix, Path: f.Path,
				},
				policy: policy, unpatchable: true,
			})
		}
	}
	for _, answer := range r.answers {
		if answer.Policy == "" {
			continue // checkRego reports these, as rules of the catalogue
		}
		add(answer.Policy, answer.Deny, Deny, SeverityError)
		add(answer.Policy, answer.Warn, Warn, SeverityWarning)
	}
	return results
}

// policyName returns the words by which messages name a policy. The empty name stands for the built-in modules.
func policyName(policy string) string {
	if policy == "" {
		return "built-in rules"
	}
	return "SourceIPPolicy " + policy
}

// Faults lists the policies whose Rego could not be evaluated, each at most once.
type Faults []Fault

// Fault is the failure to evaluate the Rego of one policy.
type Fault struct {
	// Policy is the name of the SourceIPPolicy; empty for the built-in modules.
	Policy string
	// Err says why, with the name of the module.
	Err error
}

// Error returns one line for each fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fmt.Sprintf("%s: %v", policyName(fault.Policy), fault.Err)
	}
	return strings.Join(lines, "\n")
}
