package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Kind is the kind of a SourceIPPolicy.
const Kind = "SourceIPPolicy"

// Annotations that users set on Services, workloads and Namespaces, and their values.
const (
	// AnnotationSourceIP on a Service says whether its pods need the client's address. The value is SourceIPPreserve
	// or SourceIPIgnore.
	AnnotationSourceIP = "sourceward.dev/source-ip"

	// SourceIPPreserve: the pods must see the client's address.
	SourceIPPreserve = "preserve"
	// SourceIPIgnore: Sourceward never asks for Local on this Service.
	SourceIPIgnore = "ignore"

	// AnnotationExemptPrefix, followed by a rule id, is the annotation that exempts an object, or every object in a
	// Namespace, from that rule. The value is "<reason>" or "<reason>; until=2027-03-31".
	AnnotationExemptPrefix = "exempt.sourceward.dev/"
)

// Conditions of a SourceIPPolicy, and their reasons.
const (
	// ConditionReady is True if the observed generation is in force.
	ConditionReady = "Ready"
	// ConditionDegraded is True if the observed generation is not in force, because it does not compile.
	ConditionDegraded = "Degraded"

	// ReasonCompiled: the observed generation compiles.
	ReasonCompiled = "Compiled"
	// ReasonCompileFailed: the observed generation does not compile. The message has the module, line and column.
	ReasonCompileFailed = "CompileFailed"
	// ReasonFormerInForce: the observed generation does not compile, and an earlier one is still in force.
	ReasonFormerInForce = "FormerInForce"
	// ReasonNotInForce: the observed generation does not compile, and no generation of the policy is in force.
	ReasonNotInForce = "NotInForce"
)

// Bounds of a policy. Validate checks all of them. The API server checks them too, by the schema of the kind, except
// for MaxRego and MaxParameters.
const (
	MaxRules = 128
	// MaxRuleID and MaxModuleName count characters in the schema, and bytes in Validate.
	MaxRuleID            = 63
	MaxModuleName        = 253
	MaxExcludeNamespaces = 1000
	MaxClasses           = 256
	MaxRegoModules       = 32
	// MaxRegoModule counts characters.
	MaxRegoModule = 128 * 1024
	// MaxRego counts the bytes of all modules together. It keeps a policy, with the compressed spec in its status, below
	// the 1.5 MiB that etcd accepts for an object.
	MaxRego = 512 * 1024
	// MaxParameters counts bytes of JSON.
	MaxParameters = 64 * 1024
)

// ParameterProbeWindowSeconds is the key of spec.parameters that the rule no-drain-window reads: how many seconds a
// load balancer takes to stop sending traffic to a node without pods. The value is a number, at least 0. If no policy
// sets it, it is DefaultProbeWindowSeconds.
const (
	ParameterProbeWindowSeconds = "probeWindowSeconds"
	DefaultProbeWindowSeconds   = 30
)

// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName=sip
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name=Priority,type=integer,JSONPath=`.spec.priority`,description="Order among the policies that match an object: higher first, then by name."
// +kubebuilder:printcolumn:name=Ready,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="True if the observed generation is in force."
// +kubebuilder:printcolumn:name=Reason,type=string,JSONPath=`.status.conditions[?(@.type=="Degraded")].reason`,description="Compiled, or why the observed generation is not in force: FormerInForce or NotInForce."
// +kubebuilder:printcolumn:name=Generation,type=integer,JSONPath=`.metadata.generation`,description="Number of the current spec."
// +kubebuilder:printcolumn:name=Observed,type=integer,JSONPath=`.status.observedGeneration`,description="Generation that Ready and Reason describe. If it is not Generation, no replica of the webhook has looked at the current spec yet."
// +kubebuilder:printcolumn:name=Own-Rules,type=string,JSONPath=`.status.rules`,priority=1,description="Ids of the rules that the policy's own Rego declares."
// +kubebuilder:printcolumn:name=Message,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1,description="Message of the condition Ready: the generation in force, or the compile errors."
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`,description="Time since the policy was created."

// SourceIPPolicy configures the rules of Sourceward for the objects that it matches, and can add rules written in
// Rego. It is cluster-scoped. The webhook and the dry-run binary read the same YAML.
type SourceIPPolicy struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard metadata of an object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is the configuration. An empty spec matches every object and sets nothing.
	//
	// If several policies match an object, each setting comes from the first policy that sets it, in order of priority
	// and then name. The settings are: the mode of each rule, each field of spread, each top-level key of parameters,
	// exemptions, loadBalancers.default and each key of loadBalancers.classes. The Rego of every matching policy runs.
	// +optional
	Spec SourceIPPolicySpec `json:"spec"` // written even if empty, since defaults are set only in a spec that exists

	// status is written by the webhook. It is empty until the webhook has seen the policy.
	// +optional
	Status SourceIPPolicyStatus `json:"status,omitzero"`
}

// +kubebuilder:object:root=true

// SourceIPPolicyList is a list of SourceIPPolicy objects.
type SourceIPPolicyList struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard metadata of a list.
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`

	// items are the policies.
	// +required
	Items []SourceIPPolicy `json:"items"`
}

// SourceIPPolicySpec is the configuration of a policy. The zero value matches every object and sets nothing.
type SourceIPPolicySpec struct {
	// priority orders the policies that match the same object: higher first, then by name. The default is 0.
	// +kubebuilder:default=0
	// +optional
	Priority int32 `json:"priority,omitempty"`

	// match selects the objects this policy applies to: those that match all of its fields. If omitted, the policy
	// applies to all objects.
	// +optional
	Match *Match `json:"match,omitempty"`

	// rules sets the modes of at most 128 rules. A rule that is not listed keeps the mode that it has without this
	// policy.
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=128
	// +optional
	Rules []RuleMode `json:"rules,omitempty"`

	// spread sets how Sourceward spreads the pods of a workload behind a Local Service when it repairs the workload. A
	// field that is omitted is not set by this policy. A spread that Rego asks for takes precedence.
	// +optional
	Spread *Spread `json:"spread,omitempty"`

	// parameters is a free-form object of at most 65536 bytes of JSON. This policy's own Rego reads it as
	// input.parameters. The built-in rule no-drain-window reads probeWindowSeconds: how many seconds a load balancer
	// takes to stop sending traffic to a node without pods, a number of at least 0. If no matching policy sets it, it
	// is 30.
	// +kubebuilder:pruning:PreserveUnknownFields
	// +optional
	Parameters *runtime.RawExtension `json:"parameters,omitempty"`

	// rego lists this policy's own Rego modules: at most 32, and at most 524288 bytes together. They are compiled
	// together, separately from the modules of other policies, and run only for objects that this policy matches.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	// +optional
	Rego []RegoModule `json:"rego,omitempty"`

	// evaluationFailure is what happens to a request for an object if this policy's Rego cannot be evaluated for it.
	// Deny refuses the request, Warn allows it with a warning, and Ignore allows it without one. "sourceward check"
	// always reports the failure, as a finding of the rule policy-not-evaluated. If it is not set, it is Deny for a policy
	// that has a rule in mode Deny, by a set deny of its Rego or by rules, and Warn for all others.
	// +optional
	EvaluationFailure EvaluationFailure `json:"evaluationFailure,omitempty"`

	// existingViolations is what happens to a request for an object that had a finding before the request. Warn allows
	// it with a warning, so that only requests that bring a finding are refused or repaired. Deny refuses or repairs it
	// like a new object; a pod template is repaired only if the request changes it. It applies to the rules whose mode
	// this policy sets, and to this policy's own Rego. The default is Warn.
	// +kubebuilder:default=Warn
	// +optional
	ExistingViolations ExistingViolations `json:"existingViolations,omitempty"`

	// exemptions sets which exemption annotations count: Objects means those on the object and on its Namespace,
	// Namespaces only those on the Namespace, and None ignores all of them. If no matching policy sets it, it is
	// Objects.
	// +optional
	Exemptions Exemptions `json:"exemptions,omitempty"`

	// loadBalancers names the providers of the cluster's load balancers, for Services whose annotations do not show
	// the provider.
	// +optional
	LoadBalancers *LoadBalancers `json:"loadBalancers,omitempty"`
}

// Match selects the objects that match all of its fields. A field that is omitted matches every object.
type Match struct {
	// namespaceSelector selects objects by the labels of their Namespace. If omitted, it selects all objects.
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	// objectSelector selects objects by their own labels. If omitted, it selects all objects.
	// +optional
	ObjectSelector *metav1.LabelSelector `json:"objectSelector,omitempty"`
	// excludeNamespaces lists the names of the Namespaces this policy does not apply to, at most 1000.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +optional
	ExcludeNamespaces []string `json:"excludeNamespaces,omitempty"`
}

// RuleMode sets the mode of one rule.
// +kubebuilder:validation:XValidation:rule="self.mode != 'Mutate' || self.id in ['source-ip-needs-local', 'unspread-behind-local', 'ineffective-spread']",message="this rule cannot be repaired at admission; use Off, Audit, Warn or Deny"
// +kubebuilder:validation:XValidation:rule="self.id != 'policy-not-evaluated'",message="the mode of policy-not-evaluated is spec.evaluationFailure; set that"
type RuleMode struct {
	// id is the id of a built-in rule, as listed by "sourceward rules", or of a rule that this policy's own Rego
	// declares: 1 to 63 characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	ID string `json:"id"`
	// mode is what a finding of the rule does. Off: the rule does not run. Audit: clients do not see the finding; the
	// audit log, the metrics and "sourceward check" show it. Warn: the client sees a warning. Deny: the request is
	// refused. Mutate: the object is repaired; only for rules that can be repaired at admission.
	// +required
	Mode Mode `json:"mode"`
}

// +kubebuilder:validation:Enum=Off;Audit;Warn;Deny;Mutate

// Mode is what a finding does to the request that caused it.
type Mode string

// The modes.
const (
	// ModeOff: the rule does not run.
	ModeOff Mode = "Off"
	// ModeAudit: clients do not see the finding.
	ModeAudit Mode = "Audit"
	// ModeWarn: the client sees a warning.
	ModeWarn Mode = "Warn"
	// ModeDeny: the request is refused.
	ModeDeny Mode = "Deny"
	// ModeMutate: the object is repaired. Only the rules that the catalogue calls mutable can have this mode.
	ModeMutate Mode = "Mutate"
)

// Modes lists all modes.
var Modes = []Mode{ModeOff, ModeAudit, ModeWarn, ModeDeny, ModeMutate}

// Spread sets how the pods of a workload are spread over nodes. A field with its zero value is not set; the built-in
// values are TopologySpread, ScheduleAnyway and 1.
type Spread struct {
	// strategy is how the pods are kept apart: TopologySpread adds a topology spread constraint on
	// kubernetes.io/hostname, and PodAntiAffinity adds a pod anti-affinity term on it. If no matching policy sets it,
	// it is TopologySpread.
	// +optional
	Strategy SpreadStrategy `json:"strategy,omitempty"`
	// whenUnsatisfiable is what the scheduler does with a pod that would break the spread: ScheduleAnyway schedules it
	// all the same, and DoNotSchedule leaves it Pending. For PodAntiAffinity, ScheduleAnyway means a preferred term of
	// weight 100, and DoNotSchedule a required term. If no matching policy sets it, it is ScheduleAnyway.
	// +optional
	WhenUnsatisfiable WhenUnsatisfiable `json:"whenUnsatisfiable,omitempty"`
	// maxSkew is the largest allowed difference between the numbers of pods on two nodes, at least 1. PodAntiAffinity
	// ignores it. If no matching policy sets it, it is 1.
	// +kubebuilder:validation:Minimum=1
	// +optional
	MaxSkew int32 `json:"maxSkew,omitempty"`
}

// +kubebuilder:validation:Enum=TopologySpread;PodAntiAffinity

// SpreadStrategy is how pods are spread over nodes.
type SpreadStrategy string

// The spread strategies.
const (
	// StrategyTopologySpread is a topology spread constraint on kubernetes.io/hostname.
	StrategyTopologySpread SpreadStrategy = "TopologySpread"
	// StrategyPodAntiAffinity is a pod anti-affinity term on kubernetes.io/hostname.
	StrategyPodAntiAffinity SpreadStrategy = "PodAntiAffinity"
)

// SpreadStrategies lists all strategies.
var SpreadStrategies = []SpreadStrategy{StrategyTopologySpread, StrategyPodAntiAffinity}

// +kubebuilder:validation:Enum=ScheduleAnyway;DoNotSchedule

// WhenUnsatisfiable is what the scheduler does with a pod that would break the spread.
type WhenUnsatisfiable string

// The values are those of whenUnsatisfiable in a topology spread constraint.
const (
	// ScheduleAnyway: the pod is scheduled; the spread is only a preference.
	ScheduleAnyway WhenUnsatisfiable = "ScheduleAnyway"
	// DoNotSchedule: the pod stays Pending.
	DoNotSchedule WhenUnsatisfiable = "DoNotSchedule"
)

// WhenUnsatisfiables lists all values.
var WhenUnsatisfiables = []WhenUnsatisfiable{ScheduleAnyway, DoNotSchedule}

// RegoModule is one Rego file.
type RegoModule struct {
	// name is the file name that messages show, for example corp.rego: 1 to 253 characters, unique in this policy.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
	// module is the source of the module, in Rego v1: 1 to 131072 characters. Its package is
	// sourceward.custom.<name>.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=131072
	// +required
	Module string `json:"module"`
}

// +kubebuilder:validation:Enum=Deny;Warn;Ignore

// EvaluationFailure is what happens to a request if a policy's Rego cannot be evaluated for its object. The failure
// is always a finding of the rule policy-not-evaluated; EvaluationFailure sets the mode of that finding.
type EvaluationFailure string

// The values of EvaluationFailure.
const (
	// FailureDeny: the request is refused.
	FailureDeny EvaluationFailure = "Deny"
	// FailureWarn: the client sees a warning.
	FailureWarn EvaluationFailure = "Warn"
	// FailureIgnore: the finding is reported by the dry-run binary, and only counted at admission.
	FailureIgnore EvaluationFailure = "Ignore"
)

// EvaluationFailures lists all values.
var EvaluationFailures = []EvaluationFailure{FailureDeny, FailureWarn, FailureIgnore}

// +kubebuilder:validation:Enum=Warn;Deny

// ExistingViolations is what happens to a request for an object that had a finding before the request.
type ExistingViolations string

// The values of ExistingViolations.
const (
	// ExistingWarn: the client sees a warning.
	ExistingWarn ExistingViolations = "Warn"
	// ExistingDeny: the request is refused or the object repaired, as if it were new.
	ExistingDeny ExistingViolations = "Deny"
)

// ExistingViolationsValues lists all values.
var ExistingViolationsValues = []ExistingViolations{ExistingWarn, ExistingDeny}

// +kubebuilder:validation:Enum=Objects;Namespaces;None

// Exemptions is which exemption annotations count.
type Exemptions string

// The scopes of exemptions.
const (
	// ExemptionsObjects: annotations on the object and on its Namespace count.
	ExemptionsObjects Exemptions = "Objects"
	// ExemptionsNamespaces: only annotations on the Namespace count.
	ExemptionsNamespaces Exemptions = "Namespaces"
	// ExemptionsNone: no annotation counts.
	ExemptionsNone Exemptions = "None"
)

// ExemptionScopes lists all scopes.
var ExemptionScopes = []Exemptions{ExemptionsObjects, ExemptionsNamespaces, ExemptionsNone}

// LoadBalancers names the providers of the load balancers of a cluster.
type LoadBalancers struct {
	// default is the provider of Services of type LoadBalancer whose spec.loadBalancerClass is empty or not in
	// classes. "sourceward check --help" lists the names of the providers.
	// +optional
	Default string `json:"default,omitempty"`
	// classes maps a spec.loadBalancerClass to a provider, for at most 256 classes. "sourceward check --help" lists the
	// names of the providers.
	// +kubebuilder:validation:MaxProperties=256
	// +optional
	Classes map[string]string `json:"classes,omitempty"`
}

// SourceIPPolicyStatus is what the webhook reports about a policy. It is empty until the webhook has seen the policy.
type SourceIPPolicyStatus struct {
	// observedGeneration is the metadata.generation that the conditions describe.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// rules lists the ids of the rules that this policy's own Rego declares, in the generation that is in force.
	// +listType=set
	// +optional
	Rules []string `json:"rules,omitempty"`
	// lastCompiled is the newest generation that has compiled. It is in force, also while a newer generation does not
	// compile: every replica of the webhook reads it then.
	// +optional
	LastCompiled *Revision `json:"lastCompiled,omitempty"`
	// conditions lists the latest conditions of the policy by type. Ready is True if the observed generation is in
	// force; its message says if spec.match selects no existing Namespace. Degraded is True if the observed generation
	// is not in force, because it does not compile.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Revision is one generation of a SourceIPPolicy.
type Revision struct {
	// generation is the metadata.generation of the policy when it had this spec.
	// +required
	Generation int64 `json:"generation"`
	// spec is the JSON of the spec, compressed with gzip.
	// +required
	Spec []byte `json:"spec"`
}
