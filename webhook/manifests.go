package webhook

// The markers below are what the API server is told of this package. `make generate` turns them into
// config/webhook/manifests.yaml and config/rbac/role.yaml; what markers cannot say well (which namespaces, and
// which requests never matter) is patched in config/webhook, by the names that are given here. The rules and permissions of
// workloads are patched, too: they are generated from policies.WorkloadKinds, and here stands one of them.
//
// Each resource has an entry of its own, because its requests matter on other conditions, and because
// config/fail-closed makes Services wait for the webhook and never a workload. Rules name each resource;
// Pods are not among them: a webhook on Pods that is down stops the cluster, and so its own recovery.
//
// Failure policy Ignore: a cluster without Sourceward is worth more than one that nobody can deploy to, and
// audit finds what was missed. Three seconds are the longest that a user is kept waiting for a replica that
// hangs; an answer takes milliseconds. Side effects None lets dry runs be judged as well.
//
// +kubebuilder:webhookconfiguration:mutating=true,name=sourceward
// +kubebuilder:webhookconfiguration:mutating=false,name=sourceward
//
// Mutating entries are asked again when a webhook after them has changed the object: the patch must fit the
// object that is stored.
//
// +kubebuilder:webhook:mutating=true,name=services.mutate.sourceward.dev,path=/mutate,groups="",versions=v1,resources=services,verbs=create;update,failurePolicy=ignore,matchPolicy=Equivalent,reinvocationPolicy=IfNeeded,sideEffects=None,timeoutSeconds=3,admissionReviewVersions=v1,serviceName=sourceward-webhook,serviceNamespace=sourceward-system
// +kubebuilder:webhook:mutating=true,name=workloads.mutate.sourceward.dev,path=/mutate,groups=apps,versions=v1,resources=deployments,verbs=create;update,failurePolicy=ignore,matchPolicy=Equivalent,reinvocationPolicy=IfNeeded,sideEffects=None,timeoutSeconds=3,admissionReviewVersions=v1,serviceName=sourceward-webhook,serviceNamespace=sourceward-system
//
// Scaling goes past the workload to its subresource, and is only ever warned about.
//
// +kubebuilder:webhook:mutating=false,name=services.validate.sourceward.dev,path=/validate,groups="",versions=v1,resources=services,verbs=create;update,failurePolicy=ignore,matchPolicy=Equivalent,sideEffects=None,timeoutSeconds=3,admissionReviewVersions=v1,serviceName=sourceward-webhook,serviceNamespace=sourceward-system
// +kubebuilder:webhook:mutating=false,name=workloads.validate.sourceward.dev,path=/validate,groups=apps,versions=v1,resources=deployments,verbs=create;update,failurePolicy=ignore,matchPolicy=Equivalent,sideEffects=None,timeoutSeconds=3,admissionReviewVersions=v1,serviceName=sourceward-webhook,serviceNamespace=sourceward-system
// +kubebuilder:webhook:mutating=false,name=scale.validate.sourceward.dev,path=/validate,groups=apps,versions=v1,resources=deployments/scale,verbs=update,failurePolicy=ignore,matchPolicy=Equivalent,sideEffects=None,timeoutSeconds=3,admissionReviewVersions=v1,serviceName=sourceward-webhook,serviceNamespace=sourceward-system
//
// Policies are refused where they would not compile, for which there are a few seconds more. Of one that gets past us the last good
// generation stays.
//
// +kubebuilder:webhook:mutating=false,name=policies.validate.sourceward.dev,path=/validate-policy,groups=sourceward.dev,versions=v1alpha1,resources=sourceippolicies,verbs=create;update,failurePolicy=ignore,matchPolicy=Equivalent,sideEffects=None,timeoutSeconds=10,admissionReviewVersions=v1,serviceName=sourceward-webhook,serviceNamespace=sourceward-system
//
// The caches list and watch. A Namespace that the cache does not know yet is fetched, and the Services of one
// namespace are listed.
//
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=services;nodes,verbs=list;watch
// +kubebuilder:rbac:groups=sourceward.dev,resources=sourceippolicies,verbs=list;watch
//
// What became of a policy is written into its status, and told in Events. Those of cluster-scoped objects are in default, and a Role
// there would follow whoever moves Sourceward to another namespace.
//
// +kubebuilder:rbac:groups=sourceward.dev,resources=sourceippolicies/status,verbs=update
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
//
// The authority keeps its CA in one Secret. A create cannot be limited by name, and is limited by namespace.
//
// +kubebuilder:rbac:groups="",namespace=sourceward-system,resources=secrets,verbs=create
// +kubebuilder:rbac:groups="",namespace=sourceward-system,resources=secrets,resourceNames=sourceward-ca,verbs=get;list;watch;update
//
// It tells the API server of that CA in these two configurations and can neither make nor remove any.
//
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=mutatingwebhookconfigurations;validatingwebhookconfigurations,resourceNames=sourceward,verbs=list;watch;patch
