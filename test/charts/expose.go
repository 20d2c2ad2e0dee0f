package main

import (
	"strings"

	"sigs.k8s.io/yaml"
)

// exposedReplicas is the minimum number of replicas of a workload when Services are exposed.
const exposedReplicas = 3

// expose changes manifests, keyed by file, so that everything in them is exposed: each Service becomes a load balancer
// with externalTrafficPolicy Local, and workloads get more replicas. It does not change documents that cannot be
// parsed.
func expose(texts map[string]string) {
	autoscaled := false
	for _, text := range texts {
		autoscaled = autoscaled || strings.Contains(text, "kind: HorizontalPodAutoscaler")
	}
	for name, text := range texts {
		documents := split(text)
		for i, document := range documents {
			var object map[string]any
			if err := yaml.Unmarshal([]byte(document), &object); err != nil {
				continue
			}
			spec, ok := object["spec"].(map[string]any)
			if !ok || !exposeSpec(object["kind"], spec, autoscaled) {
				continue
			}
			if changed, err := yaml.Marshal(object); err == nil {
				documents[i] = string(changed)
			}
		}
		texts[name] = strings.Join(documents, "\n---\n")
	}
}

// exposeSpec changes the spec of an object, and reports whether it did. If there is an autoscaler, it does not set the
// replicas of a workload that omits them, because the autoscaler may belong to that workload.
func exposeSpec(kind any, spec map[string]any, autoscaled bool) bool {
	switch kind {
	case "Service":
		if spec["clusterIP"] == "None" || spec["type"] == "ExternalName" {
			return false
		}
		spec["type"], spec["externalTrafficPolicy"] = "LoadBalancer", "Local"
		return true
	case "Deployment", "StatefulSet", "Rollout":
		replicas, written := spec["replicas"].(float64)
		if written && replicas < exposedReplicas || !written && !autoscaled {
			spec["replicas"] = exposedReplicas
			return true
		}
	}
	return false
}
