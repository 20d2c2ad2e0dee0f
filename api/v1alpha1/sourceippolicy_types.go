package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Kind is the kind of a SourceIPPolicy.
const Kind = "SourceIPPolicy"

// Annotations on other people's objects, and their values.
const (
	// AnnotationSourceIP on a Service says what its owner wants: "preserve" (the pods must see the
	// client's address) or "ignore" (Sourceward never asks for Local here).
	AnnotationSourceIP = "sourceward.dev/source-ip"

	// SourceIPPreserve and SourceIPIgnore are the two values of AnnotationSourceIP.
	SourceIPPreserve = "preserve"
	SourceIPIgnore   = "ignore"

	// AnnotationExemptPrefix and a rule id make the annotation that exempts an object, or a whole
	// Namespace, from that rule: "<reason>" or "<reason>; until=2027-03-31".
	AnnotationExemptPrefix = "exempt.sourceward.dev/"
)

// Conditions of a SourceIPPolicy, and their reasons.
const (
	// ConditionReady: the observed generation is in force.
	ConditionReady = "Ready"
	// ConditionDegraded: it is not, because it does not compile.
	ConditionDegraded = "Degraded"

	// ReasonCompiled: it compiles.
	ReasonCompiled = "Compiled"
	// ReasonCompileFailed: it does not; the message says why, with module, line and column.
	ReasonCompileFailed = "CompileFailed"
	// ReasonFormerInForce: a former generation is in force in its place.
	ReasonFormerInForce = "FormerInForce"
	// ReasonNotInForce: nothing of the policy is in force.
	ReasonNotInForce = "NotInForce"
)

// Bounds of a policy. Validate holds them, and so does the API server, by the schema of the kind, but for those in bytes.
const (
	MaxRules = 128
	// MaxRuleID and MaxModuleName are in characters.
	MaxRuleID            = 63
	MaxModuleName        = 253
	MaxExcludeNamespaces = 1000
	MaxClasses           = 256
	MaxRegoModules       = 32
	// MaxRegoModule is in characters.
	MaxRegoModule = 128 * 1024
	// MaxRego is in bytes, of all modules together: etcd takes 1.5 MiB of an object.
	MaxRego = 512 * 1024
	// MaxParameters is in bytes of JSON.
	MaxParameters = 64 * 1024
)

// ParameterProbeWindowSeconds is the parameter that the rule no-drain-window reads: how many seconds, as a number of at least 0, a load
// balancer takes to leave a node without pods. Where no policy sets it, it is DefaultProbeWindowSeconds.
const (
	ParameterProbeWindowSeconds = "probeWindowSeconds"
	DefaultProbeWindowSeconds   = 30
)

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName=sip
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name=Priority,type=integer,JSONPath=`.spec.priority`
// +kubebuilder:printcolumn:name=Ready,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name=Reason,type=string,JSONPath=`.status.conditions[?(@.type=="Degraded")].reason`
// +kubebuilder:printcolumn:name=Own-Rules,type=string,JSONPath=`.status.rules`,priority=1
// +kubebuilder:printcolumn:name=Message,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`

// SourceIPPolicy steers the rules of Sourceward for the objects that it matches, and may bring
// rules of its own in Rego. It is cluster-scoped. The dry-run binary reads the same YAML.
type SourceIPPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +optional
	Spec SourceIPPolicySpec `json:"spec,omitzero"`

	// +optional
	Status SourceIPPolicyStatus `json:"status,omitzero"`
}

// +kubebuilder:object:root=true

// SourceIPPolicyList is what the API server answers to a list of SourceIPPolicy objects.
type SourceIPPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`

	// +required
	Items []SourceIPPolicy `json:"items"`
}

// SourceIPPolicySpec is what its author wants. The empty spec matches everything and sets nothing.
//
// Where several policies match an object, each setting comes from the first policy that sets it, by
// priority and then by name. A setting is: the mode of one rule, each field of spread, each
// top-level key of parameters, exemptions, and each entry of loadBalancers. Rego is additive.
type SourceIPPolicySpec struct {
	// Priority orders policies that match the same object: higher first, then by name. The default is 0.
	// +kubebuilder:default=0
	// +optional
	Priority int32 `json:"priority,omitempty"`

	// Match says which objects the policy is about. Omitted, it is about all.
	// +optional
	Match *Match `json:"match,omitempty"`

	// Rules sets the modes of rules. A rule that is not listed keeps its mode.
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=128
	// +optional
	Rules []RuleMode `json:"rules,omitempty"`

	// Spread says how workloads behind a Local Service are to be spread when Sourceward repairs them.
	// +optional
	Spread *Spread `json:"spread,omitempty"`

	// Parameters is a free-form object that Rego reads as input.parameters. The rule no-drain-window reads probeWindowSeconds of it:
	// a number of at least 0, the default is 30.
	// +kubebuilder:pruning:PreserveUnknownFields
	// +optional
	Parameters *runtime.RawExtension `json:"parameters,omitempty"`

	// Rego lists the policy's own modules. They are compiled together, apart from those of other
	// policies, and run only for objects that the policy matches.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	// +optional
	Rego []RegoModule `json:"rego,omitempty"`

	// EvaluationFailure is what happens to an object for which this policy's Rego could not be
	// evaluated. The default is Warn.
	// +kubebuilder:default=Warn
	// +optional
	EvaluationFailure EvaluationFailure `json:"evaluationFailure,omitempty"`

	// Exemptions says whose exemption annotations count. Where no policy sets it, Objects.
	// +optional
	Exemptions Exemptions `json:"exemptions,omitempty"`

	// LoadBalancers names the load balancers of the cluster where no annotation tells.
	// +optional
	LoadBalancers *LoadBalancers `json:"loadBalancers,omitempty"`
}

// Match selects objects. Its parts are ANDed; a part that is omitted selects all.
type Match struct {
	// NamespaceSelector selects by the labels of the object's Namespace.
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	// ObjectSelector selects by the labels of the object itself.
	// +optional
	ObjectSelector *metav1.LabelSelector `json:"objectSelector,omitempty"`
	// ExcludeNamespaces are names of Namespaces that the policy is not about.
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +listType=atomic
	// +optional
	ExcludeNamespaces []string `json:"excludeNamespaces,omitempty"`
}

// RuleMode sets the mode of one rule.
// +kubebuilder:validation:XValidation:rule="self.mode != 'Mutate' || self.id in ['source-ip-needs-local', 'unspread-behind-local', 'ineffective-spread']",message="this rule cannot be repaired at admission; use Off, Audit, Warn or Deny"
// +kubebuilder:validation:XValidation:rule="self.id != 'policy-not-evaluated'",message="the mode of policy-not-evaluated is spec.evaluationFailure; set that"
type RuleMode struct {
	// ID is a rule of the catalogue ("sourceward rules" lists them) or one that this policy's own
	// Rego declares.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	ID string `json:"id"`
	// Mode is what a finding of that rule does.
	// +required
	Mode Mode `json:"mode"`
}

// +kubebuilder:validation:Enum=Off;Audit;Warn;Deny;Mutate

// Mode is what a finding does to the request that caused it.
type Mode string

// The modes, from none to all.
const (
	// ModeOff: the rule does not run.
	ModeOff Mode = "Off"
	// ModeAudit: the finding is reported by audit and check, and not at admission.
	ModeAudit Mode = "Audit"
	// ModeWarn: the author of the request sees a warning.
	ModeWarn Mode = "Warn"
	// ModeDeny: the request is refused.
	ModeDeny Mode = "Deny"
	// ModeMutate: the request is repaired. Only for rules that the catalogue calls mutable.
	ModeMutate Mode = "Mutate"
)

// Modes lists all modes.
var Modes = []Mode{ModeOff, ModeAudit, ModeWarn, ModeDeny, ModeMutate}

// Spread says how a workload is to be spread over nodes. A field that is omitted is not set by this
// policy; the built-in values are TopologySpread, ScheduleAnyway and 1.
type Spread struct {
	// Strategy is the means.
	// +optional
	Strategy SpreadStrategy `json:"strategy,omitempty"`
	// WhenUnsatisfiable is how hard it is meant, in the words of a topology spread constraint. For
	// PodAntiAffinity, ScheduleAnyway makes a preferred term of weight 100, DoNotSchedule a required one.
	// +optional
	WhenUnsatisfiable WhenUnsatisfiable `json:"whenUnsatisfiable,omitempty"`
	// MaxSkew is the difference in pods that two nodes may have, at least 1. PodAntiAffinity has no
	// use for it.
	// +kubebuilder:validation:Minimum=1
	// +optional
	MaxSkew int32 `json:"maxSkew,omitempty"`
}

// +kubebuilder:validation:Enum=TopologySpread;PodAntiAffinity

// SpreadStrategy is the means by which pods are spread over nodes.
type SpreadStrategy string

// The spread strategies.
const (
	// StrategyTopologySpread: a topology spread constraint on kubernetes.io/hostname.
	StrategyTopologySpread SpreadStrategy = "TopologySpread"
	// StrategyPodAntiAffinity: a pod anti-affinity term on kubernetes.io/hostname.
	StrategyPodAntiAffinity SpreadStrategy = "PodAntiAffinity"
)

// SpreadStrategies lists all strategies.
var SpreadStrategies = []SpreadStrategy{StrategyTopologySpread, StrategyPodAntiAffinity}

// +kubebuilder:validation:Enum=ScheduleAnyway;DoNotSchedule

// WhenUnsatisfiable is what the scheduler does when the spread cannot be kept.
type WhenUnsatisfiable string

// The values are those of a topology spread constraint.
const (
	// ScheduleAnyway: the spread is a preference.
	ScheduleAnyway WhenUnsatisfiable = "ScheduleAnyway"
	// DoNotSchedule: a pod that would break the spread stays Pending.
	DoNotSchedule WhenUnsatisfiable = "DoNotSchedule"
)

// WhenUnsatisfiables lists all values.
var WhenUnsatisfiables = []WhenUnsatisfiable{ScheduleAnyway, DoNotSchedule}

// RegoModule is one Rego file.
type RegoModule struct {
	// Name is the file name in messages, for example corp.rego; unique in its policy.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
	// Module is the text, in Rego v1, of a package below sourceward.custom.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=131072
	// +required
	Module string `json:"module"`
}

// +kubebuilder:validation:Enum=Deny;Warn;Ignore

// EvaluationFailure is what a fault of a policy's Rego does to the object under review. It is always
// a finding of the rule policy-not-evaluated; this is that finding's mode.
type EvaluationFailure string

// The evaluation failures.
const (
	// FailureDeny refuses the request.
	FailureDeny EvaluationFailure = "Deny"
	// FailureWarn warns its author.
	FailureWarn EvaluationFailure = "Warn"
	// FailureIgnore leaves it to audit and check to report.
	FailureIgnore EvaluationFailure = "Ignore"
)

// EvaluationFailures lists all values.
var EvaluationFailures = []EvaluationFailure{FailureDeny, FailureWarn, FailureIgnore}

// +kubebuilder:validation:Enum=Objects;Namespaces;None

// Exemptions says whose exemption annotations count.
type Exemptions string

// The scopes of exemptions.
const (
	// ExemptionsObjects: an annotation on the object or on its Namespace.
	ExemptionsObjects Exemptions = "Objects"
	// ExemptionsNamespaces: only an annotation on the Namespace.
	ExemptionsNamespaces Exemptions = "Namespaces"
	// ExemptionsNone: no annotation exempts anything.
	ExemptionsNone Exemptions = "None"
)

// ExemptionScopes lists all scopes.
var ExemptionScopes = []Exemptions{ExemptionsObjects, ExemptionsNamespaces, ExemptionsNone}

// LoadBalancers names providers ("sourceward" ships their data) where a Service does not tell.
type LoadBalancers struct {
	// Default is the provider of LoadBalancer Services whose class is not in Classes.
	// +optional
	Default string `json:"default,omitempty"`
	// Classes maps spec.loadBalancerClass to a provider.
	// +kubebuilder:validation:MaxProperties=256
	// +optional
	Classes map[string]string `json:"classes,omitempty"`
}

// SourceIPPolicyStatus is what the webhook makes of a policy. It is empty until it has seen it.
type SourceIPPolicyStatus struct {
	// ObservedGeneration is the generation that the conditions speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Rules are the ids of the rules that the policy's own Rego declares, as far as it is in force.
	// +listType=set
	// +optional
	Rules []string `json:"rules,omitempty"`
	// Conditions are the policy's latest conditions, by type: Ready and Degraded.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
