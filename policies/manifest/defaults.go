package manifest

import (
	"fmt"
	"maps"
	"math"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/policies"
)

// setDefaults sets the defaults that an API server of this version sets before it calls any webhook. It does so for
// Services and for Kubernetes' own kinds of workloads, so that rules and Rego see the same object in a file and in a
// cluster. It sets neither values that the server allocates, such as clusterIP, nor the defaults of volumes,
// lifecycle hooks and custom resources.
//
// Source: kubernetes v1.37.1, pkg/apis/core/v1/defaults.go and pkg/apis/apps/v1/defaults.go.
func setDefaults(content map[string]any, version policies.Version) {
	spec := map[string]any{}
	if content["kind"] != "PodTemplate" { // it has none
		spec = object(content, "spec")
	}
	switch fmt.Sprint(content["apiVersion"], " ", content["kind"]) {
	case "v1 Service":
		setServiceDefaults(spec, version)
	case "v1 PodTemplate":
		setPodDefaults(object(object(content, "template"), "spec"))
	case "v1 Pod":
		setPodDefaults(spec)
	case "apps/v1 Deployment":
		set(spec, "replicas", int64(1))
		set(spec, "revisionHistoryLimit", int64(10))
		set(spec, "progressDeadlineSeconds", int64(600))
		setStrategyDefaults(object(spec, "strategy"), map[string]any{"maxUnavailable": "25%", "maxSurge": "25%"})
		setPodDefaults(object(object(spec, "template"), "spec"))
	case "apps/v1 StatefulSet":
		set(spec, "replicas", int64(1))
		set(spec, "revisionHistoryLimit", int64(10))
		set(spec, "podManagementPolicy", string(appsv1.OrderedReadyPodManagement))
		setStrategyDefaults(object(spec, "updateStrategy"), map[string]any{"partition": int64(0)})
		retention := object(spec, "persistentVolumeClaimRetentionPolicy")
		set(retention, "whenDeleted", string(appsv1.RetainPersistentVolumeClaimRetentionPolicyType))
		set(retention, "whenScaled", string(appsv1.RetainPersistentVolumeClaimRetentionPolicyType))
		setPodDefaults(object(object(spec, "template"), "spec"))
	case "apps/v1 DaemonSet":
		set(spec, "revisionHistoryLimit", int64(10))
		rolling := map[string]any{"maxUnavailable": int64(1), "maxSurge": int64(0)}
		setStrategyDefaults(object(spec, "updateStrategy"), rolling)
		setPodDefaults(object(object(spec, "template"), "spec"))
	case "v1 ReplicationController":
		set(spec, "replicas", int64(1))
		template := object(spec, "template")
		if labels, ok := valueAt(template, "/metadata/labels").(map[string]any); ok {
			set(spec, "selector", maps.Clone(labels))
		}
		setPodDefaults(object(template, "spec"))
	case "apps/v1 ReplicaSet":
		set(spec, "replicas", int64(1))
		setPodDefaults(object(object(spec, "template"), "spec"))
	}
}

// setStrategyDefaults sets the type of a strategy to RollingUpdate if it has none. If the type is RollingUpdate, it
// sets those of the numbers, keyed by field name, that are absent.
func setStrategyDefaults(strategy, numbers map[string]any) {
	set(strategy, "type", "RollingUpdate")
	if strategy["type"] != "RollingUpdate" {
		return
	}
	rolling := object(strategy, "rollingUpdate")
	for name, number := range numbers {
		set(rolling, name, number)
	}
}

func setServiceDefaults(spec map[string]any, version policies.Version) {
	set(spec, "type", string(corev1.ServiceTypeClusterIP))
	set(spec, "sessionAffinity", string(corev1.ServiceAffinityNone))
	if spec["sessionAffinity"] == string(corev1.ServiceAffinityClientIP) {
		clientIP := object(object(spec, "sessionAffinityConfig"), "clientIP")
		set(clientIP, "timeoutSeconds", int64(corev1.DefaultClientIPServiceAffinitySeconds))
	}
	for _, port := range objects(spec["ports"]) {
		set(port, "protocol", string(corev1.ProtocolTCP))
		number, ok := port["port"].(int64)
		target := port["targetPort"]
		if ok && number <= math.MaxInt32 && (target == nil || target == "" || target == int64(0)) {
			port["targetPort"] = number
		}
	}
	if spec["type"] != string(corev1.ServiceTypeExternalName) {
		set(spec, "internalTrafficPolicy", string(corev1.ServiceInternalTrafficPolicyCluster))
	}
	if spec["type"] == string(corev1.ServiceTypeLoadBalancer) {
		set(spec, "allocateLoadBalancerNodePorts", true)
	}
	if externallyAccessible(spec, version) {
		set(spec, "externalTrafficPolicy", string(corev1.ServiceExternalTrafficPolicyCluster))
	}
}

func externallyAccessible(spec map[string]any, version policies.Version) bool {
	serviceType, _ := spec["type"].(string)
	addresses, _ := spec["externalIPs"].([]any)
	service := &corev1.Service{Spec: corev1.ServiceSpec{
		Type:        corev1.ServiceType(serviceType),
		ExternalIPs: make([]string, len(addresses)),
	}}
	return policies.ExternallyAccessible(service, version)
}

func setPodDefaults(pod map[string]any) {
	set(pod, "restartPolicy", string(corev1.RestartPolicyAlways))
	set(pod, "dnsPolicy", string(corev1.DNSClusterFirst))
	set(pod, "schedulerName", corev1.DefaultSchedulerName)
	set(pod, "terminationGracePeriodSeconds", int64(corev1.DefaultTerminationGracePeriodSeconds))
	object(pod, "securityContext")
	if account := pod["serviceAccount"]; account != nil {
		set(pod, "serviceAccountName", account)
	}
	if account := pod["serviceAccountName"]; account != nil {
		set(pod, "serviceAccount", account)
	}
	for _, list := range []string{"containers", "initContainers"} {
		for _, container := range objects(pod[list]) {
			setContainerDefaults(container)
		}
	}
}

func setContainerDefaults(container map[string]any) {
	image, _ := container["image"].(string)
	set(container, "imagePullPolicy", pullPolicy(image))
	set(container, "terminationMessagePath", corev1.TerminationMessagePathDefault)
	set(container, "terminationMessagePolicy", string(corev1.TerminationMessageReadFile))
	for _, port := range objects(container["ports"]) {
		set(port, "protocol", string(corev1.ProtocolTCP))
	}
	for _, name := range []string{"livenessProbe", "readinessProbe", "startupProbe"} {
		probe, ok := container[name].(map[string]any)
		if !ok {
			continue
		}
		if get, ok := probe["httpGet"].(map[string]any); ok {
			set(get, "path", "/")
			set(get, "scheme", string(corev1.URISchemeHTTP))
		}
		set(probe, "timeoutSeconds", int64(1))
		set(probe, "periodSeconds", int64(10))
		set(probe, "successThreshold", int64(1))
		set(probe, "failureThreshold", int64(3))
	}
}

// pullPolicy returns Always for the tag latest, which is also the default of an image without a tag and a digest, and
// IfNotPresent for any other image.
func pullPolicy(image string) string {
	name := image[strings.LastIndex(image, "/")+1:]
	_, tag, tagged := strings.Cut(name, ":")
	if strings.Contains(image, "@") || tagged && tag != "latest" {
		return string(corev1.PullIfNotPresent)
	}
	return string(corev1.PullAlways)
}

// set sets a member that is absent, or that has a value which the API server treats as absent: null or "".
func set(object map[string]any, key string, value any) {
	switch object[key] {
	case nil, "":
		object[key] = value
	}
}

// object returns the object at a key, and creates it if the key is absent. It does not replace a value of another
// type: decoding reports that one later.
func object(parent map[string]any, key string) map[string]any {
	switch child := parent[key].(type) {
	case map[string]any:
		return child
	case nil:
		made := map[string]any{}
		parent[key] = made
		return made
	default:
		return map[string]any{}
	}
}

// objects returns those elements of a list that are objects.
func objects(list any) []map[string]any {
	elements, _ := list.([]any)
	var found []map[string]any
	for _, element := range elements {
		if o, ok := element.(map[string]any); ok {
			found = append(found, o)
		}
	}
	return found
}
