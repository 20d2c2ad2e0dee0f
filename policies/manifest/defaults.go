package manifest

import (
	"fmt"
	"math"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/policies"
)

// setDefaults writes into a Service or a workload of Kubernetes' own kinds what an API server of this version would have
// written before any webhook saw it, so that rules, and Rego, judge the same object in a file and in
// a cluster. Values that the server allocates, such as clusterIP, stay absent, and so do the defaults of
// volumes, of lifecycle hooks and of what CustomResourceDefinitions bring.
//
// Source: kubernetes v1.37.1, pkg/apis/core/v1/defaults.go and pkg/apis/apps/v1/defaults.go.
func setDefaults(content map[string]any, version policies.Version) {
	spec := object(content, "spec")
	switch fmt.Sprint(content["apiVersion"], " ", content["kind"]) {
	case "v1 Service":
		setServiceDefaults(spec, version)
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
		setStrategyDefaults(object(spec, "updateStrategy"), map[string]any{"maxUnavailable": int64(1), "maxSurge": int64(0)})
		setPodDefaults(object(object(spec, "template"), "spec"))
	case "apps/v1 ReplicaSet":
		set(spec, "replicas", int64(1))
		setPodDefaults(object(object(spec, "template"), "spec"))
	}
}

// setStrategyDefaults makes RollingUpdate, with these numbers, of a strategy that names no other.
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
		set(object(object(spec, "sessionAffinityConfig"), "clientIP"), "timeoutSeconds", int64(corev1.DefaultClientIPServiceAffinitySeconds))
	}
	for _, port := range objects(spec["ports"]) {
		set(port, "protocol", string(corev1.ProtocolTCP))
		number, ok := port["port"].(int64)
		if target := port["targetPort"]; ok && number <= math.MaxInt32 && (target == nil || target == "" || target == int64(0)) {
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

// pullPolicy is Always for the tag latest, which is also that of an image without tag and digest.
func pullPolicy(image string) string {
	name := image[strings.LastIndex(image, "/")+1:]
	_, tag, tagged := strings.Cut(name, ":")
	if strings.Contains(image, "@") || tagged && tag != "latest" {
		return string(corev1.PullIfNotPresent)
	}
	return string(corev1.PullAlways)
}

// set gives a member a value where it has none, or one that the API server takes for none.
func set(object map[string]any, key string, value any) {
	switch object[key] {
	case nil, "":
		object[key] = value
	}
}

// object returns the object at a key, which it makes if nothing is there. What is something else
// stays as it is, for decoding to refuse.
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

// objects are the elements of a list that are objects.
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
