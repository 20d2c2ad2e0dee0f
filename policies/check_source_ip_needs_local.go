package policies

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/api/v1alpha1"
)

// sourceIPNeedsLocal finds a Service for which an annotation or a policy asks for the source IP, and which is not
// Local.
//
// Fields: metadata.annotations, read by Rego; spec.type, spec.externalTrafficPolicy. The first of these decides: our
// own opt-out; a load balancer that Local would break; a hard reason; a load balancer that keeps or hides the source IP
// whatever the traffic policy; a soft reason.
var sourceIPNeedsLocal = Rule{
	ID:          "source-ip-needs-local",
	Title:       "A Service asks for the source IP, but its traffic policy is Cluster",
	Severity:    SeverityWarning,
	DefaultMode: Warn,
	DefaultModeNote: "mutate if Local is required, or asked for by our own annotation; deny if it is required and " +
		"cannot be set",
	Kinds:        []string{kindService},
	NeedsRelated: true, // Services that share its address
	Fixable:      true,
	Mutable:      true,
	What: "An annotation on a LoadBalancer or NodePort Service, or a require_local rule of a policy, asks for something " +
		"that works only with externalTrafficPolicy Local, and the traffic policy is Cluster, written or by default.",
	Why: "With Cluster, the node that receives a packet may forward it to a pod on another node. It then replaces the " +
		"client's address with its own, so that the reply takes the same way back. The pod sees the address of a node. " +
		"With Local, the pod sees the client's address and replies to the client directly.",
	Remedy: "Set externalTrafficPolicy: Local and spread the pods over nodes, or remove the annotation. If the Service " +
		"should stay as it is, set the annotation sourceward.dev/source-ip: ignore.",
	Exempt: "When something that Sourceward does not know about keeps the source IP, such as a load balancer in DSR " +
		"mode. It is better to say so once, in a keeps_source_ip rule.",
	Since: "All versions. A traffic policy that is written in a manifest is never overridden. It causes a warning or a " +
		"denial instead.",
	Sources: []string{
		"https://kubernetes.io/docs/tutorials/services/source-ip/",
		"https://kubernetes.io/docs/reference/networking/virtual-ips/#external-traffic-policy",
	},
	check: checkSourceIPNeedsLocal,
}

func checkSourceIPNeedsLocal(r *run) []result {
	service := r.Object.Service
	if service == nil {
		return nil
	}
	wish, wished := service.Annotations[v1alpha1.AnnotationSourceIP]
	switch {
	case wish == v1alpha1.SourceIPIgnore:
		return nil
	case wished && wish != v1alpha1.SourceIPPreserve:
		return []result{{
			Finding: Finding{
				Path:    pointer("metadata", "annotations", v1alpha1.AnnotationSourceIP),
				Message: fmt.Sprintf("annotation %s has the invalid value %s", v1alpha1.AnnotationSourceIP, quoted(wish)),
				Fix:     fmt.Sprintf("set it to %s or %s", v1alpha1.SourceIPPreserve, v1alpha1.SourceIPIgnore),
			},
			mode: Warn,
		}}
	case wished && !ExternallyAccessible(service, r.Cluster.Version):
		return []result{{
			Finding: Finding{
				Path: pointer("metadata", "annotations", v1alpha1.AnnotationSourceIP),
				Message: fmt.Sprintf("annotation %s=%s has no effect on type %s",
					v1alpha1.AnnotationSourceIP, wish, serviceType(service)),
				Fix: "set type LoadBalancer or NodePort, or remove the annotation",
			},
			mode: Warn,
		}}
	}

	external := service.Spec.Type == corev1.ServiceTypeLoadBalancer || service.Spec.Type == corev1.ServiceTypeNodePort
	policy := service.Spec.ExternalTrafficPolicy
	if !external || policy != "" && policy != corev1.ServiceExternalTrafficPolicyCluster {
		return nil
	}
	reasons := r.reasonsForLocal()
	if _, forbidden := verdict(r.answers, VerdictForbidden); forbidden || len(reasons) == 0 {
		return nil
	}
	reason := reasons[0]
	hard := reason.Strength == StrengthHard
	veto, vetoed := verdict(r.answers, VerdictPreserved, VerdictProxy, VerdictUseless)
	if vetoed && !hard {
		return nil
	}

	found := result{
		Finding: Finding{
			Path:    trafficPolicyPath,
			Message: reasonMessage(reasons) + ", but the Service is Cluster",
			Fix:     "set externalTrafficPolicy: Local",
		},
	}
	switch {
	case hard:
		found.mode, found.weight = Mutate, weightHard
	case reason.Annotation == v1alpha1.AnnotationSourceIP:
		found.mode, found.weight = Mutate, weightOrdered
	}
	if reason.Annotation != "" {
		found.Fix += ", or remove annotation " + reason.Annotation
	}
	switch {
	case vetoed:
		found.Fix += notRepaired + veto.Message
	case r.explicit == ExplicitWritten:
		found.Fix += notRepaired + "Cluster was set explicitly"
	default:
		found.repair = []PatchOperation{{Op: "add", Path: trafficPolicyPath, Value: local}}
		found.done = "externalTrafficPolicy set to " + local
	}
	return []result{found}
}

func reasonMessage(reasons []RequireLocal) string {
	if len(reasons) == 1 {
		return reasons[0].Message
	}
	return fmt.Sprintf("%s (and %d more)", reasons[0].Message, len(reasons)-1)
}
