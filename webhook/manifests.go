package webhook

// The markers below declare which requests the API server sends to this package, and which permissions it needs.
// `make generate` turns them into config/webhook/manifests.yaml and config/rbac/role.yaml. What markers cannot
// express well, such as the excluded namespaces and the requests that never matter, is patched in config/webhook, by
// the names that are given here. The rules and permissions for workloads are patched, too: they are generated from
// policies.WorkloadKinds, and only the rules for Deployments appear here.
//
// Each resource has its own entry, because its requests matter under different conditions, and because
// config/fail-closed makes Services depend on the webhook, but never workloads. Rules name each resource. Pods are
// not among them: a webhook on Pods that is down stops the cluster, and with it its own recovery.
//
// Failure policy Ignore: a cluster without Sourceward is better than one to which nothing can be deployed, and
// `sourceward check` finds what was missed. Side effects None allows dry runs to be judged as well.
//
// Timeout three seconds: an answer takes milliseconds, but two seconds must be left for policies that are slow (see
// timeoutOf). A replica that hangs costs a request three seconds at each endpoint, six in all, until its readiness
// probe has failed and no API server calls it any more.
//
// +kubebuilder:webhookconfiguration:mutating=true,name=sourceward
// +kubebuilder:webhookconfiguration:mutating=false,name=sourceward
//
// Mutating entries are called again when a later webhook has changed the object, because the patch must fit the
// object that is stored.
//
// +kubebuilder:webhook:mutating=true,name=services.mutate.sourceward.dev,path=/mutate,groups="",versions=v1,resources=services,verbs=create;update,failurePolicy=ignore,matchPolicy=Equivalent,reinvocationPolicy=IfNeeded,sideEffects=None,timeoutSeconds=3,admissionReviewVersions=v1,serviceName=sourceward-webhook,serviceNamespace=sourceward-system
// +kubebuilder:webhook:mutating=true,name=workloads.mutate.sourceward.dev,path=/mutate,groups=apps,versions=v1,resources=deployments,verbs=create;update,failurePolicy=ignore,matchPolicy=Equivalent,reinvocationPolicy=IfNeeded,sideEffects=None,timeoutSeconds=3,admissionReviewVersions=v1,serviceName=sourceward-webhook,serviceNamespace=sourceward-system
//
// Scaling changes the scale subresource and not the workload itself, and so does an autoscaler. Both only ever get
// warnings.
//
// +kubebuilder:webhook:mutating=false,name=services.validate.sourceward.dev,path=/validate,groups="",versions=v1,resources=services,verbs=create;update,failurePolicy=ignore,matchPolicy=Equivalent,sideEffects=None,timeoutSeconds=3,admissionReviewVersions=v1,serviceName=sourceward-webhook,serviceNamespace=sourceward-system
// +kubebuilder:webhook:mutating=false,name=workloads.validate.sourceward.dev,path=/validate,groups=apps,versions=v1,resources=deployments,verbs=create;update,failurePolicy=ignore,matchPolicy=Equivalent,sideEffects=None,timeoutSeconds=3,admissionReviewVersions=v1,serviceName=sourceward-webhook,serviceNamespace=sourceward-system
// +kubebuilder:webhook:mutating=false,name=scale.validate.sourceward.dev,path=/validate,groups=apps,versions=v1,resources=deployments/scale,verbs=update,failurePolicy=ignore,matchPolicy=Equivalent,sideEffects=None,timeoutSeconds=3,admissionReviewVersions=v1,serviceName=sourceward-webhook,serviceNamespace=sourceward-system
// +kubebuilder:webhook:mutating=false,name=autoscalers.validate.sourceward.dev,path=/validate,groups=autoscaling,versions=v2,resources=horizontalpodautoscalers,verbs=create;update,failurePolicy=ignore,matchPolicy=Equivalent,sideEffects=None,timeoutSeconds=3,admissionReviewVersions=v1,serviceName=sourceward-webhook,serviceNamespace=sourceward-system
//
// Policies that would not compile are rejected. The timeout allows a few more seconds, for compiling. If a policy
// gets past the webhook, the last generation that compiled stays in force.
//
// +kubebuilder:webhook:mutating=false,name=policies.validate.sourceward.dev,path=/validate-policy,groups=sourceward.dev,versions=v1alpha1,resources=sourceippolicies,verbs=create;update,failurePolicy=ignore,matchPolicy=Equivalent,sideEffects=None,timeoutSeconds=10,admissionReviewVersions=v1,serviceName=sourceward-webhook,serviceNamespace=sourceward-system
//
// The caches list and watch. Look-ups get a Namespace that is not cached yet, and list the Services of one namespace,
// or the EndpointSlices of one Service.
//
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=services;nodes,verbs=list;watch
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=list
// +kubebuilder:rbac:groups=sourceward.dev,resources=sourceippolicies,verbs=list;watch
//
// The result of compiling a policy is written into its status, with the last spec that compiled, and recorded in
// Events. Events of cluster-scoped objects are in the namespace default. They are not permitted by a Role in that
// namespace, because an overlay that moves Sourceward to another namespace would move the Role as well. They are never
// patched: client-go does that for a series of equal Events (v0.37.1, tools/events), and each of ours is about another
// resourceVersion of a policy.
//
// +kubebuilder:rbac:groups=sourceward.dev,resources=sourceippolicies/status,verbs=update
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create
//
// These two configurations are watched, to report one that does not exist. What self-managed certificates need
// too is in config/components/self-managed, so that other certificates come without it.
//
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=mutatingwebhookconfigurations;validatingwebhookconfigurations,resourceNames=sourceward,verbs=list;watch
