package main

import (
	"strings"

	"sigs.k8s.io/yaml"
)

// exposedReplicas is how many pods a workload has at least where Services are exposed.
const exposedReplicas = 3

// expose changes manifests, by file, as one who exposes all that is in them: each Service becomes a load balancer
// with externalTrafficPolicy Local, and workloads get some more pods. What cannot be read is left as it is.
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

// exposeSpec tells whether it changed the spec of an object. Where anything is autoscaled, a workload that does
// not write how many pods it has may be what is.
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
