package policies

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// askNeighbour evaluates Rego for a Service behind which the workload under review is.
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

// sound are the policies that have not failed: one that failed for the object, or for a neighbour, is not to be trusted today.
func (r *run) sound(applied []AppliedPolicy) []AppliedPolicy {
	if len(r.faults) == 0 {
		return applied
	}
	return slices.DeleteFunc(slices.Clone(applied), func(a AppliedPolicy) bool { return r.failed(a.Name) })
}

func (r *run) failed(policy string) bool {
	return slices.ContainsFunc(r.faults, func(f fault) bool { return f.Policy == policy })
}

// fault is an answer that could not be had, and what its policy wants done about it.
type fault struct {
	Answer
	mode Mode
}

// fault keeps an answer that could not be had, each policy's once, with the policy's mode for it.
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

// document is what Rego sees of the object under review.
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
func (r *run) neighbourDocument(service *corev1.Service, settings Settings) Document {
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

func (r *run) spreadWishes() []SpreadWish {
	var wishes []SpreadWish
	for _, answer := range r.answers {
		wishes = append(wishes, answer.Spread...)
	}
	return wishes
}

// houseFindings are the findings of policies' own rules.
func (r *run) houseFindings() []result {
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

func policyName(policy string) string {
	if policy == "" {
		return "built-in rules"
	}
	return "SourceIPPolicy " + policy
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
