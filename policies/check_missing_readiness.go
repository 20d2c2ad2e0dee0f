package policies

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// missingReadiness finds containers behind a Local Service that count as ready as soon as they run.
//
// Fields: of the Services, spec.ports and what makes them Local; of the workload, ports, image, readinessProbe and
// startupProbe of the containers in spec.template. servingWithout decides which of them serve.
var missingReadiness = Rule{
	ID:           "missing-readiness",
	Title:        "Container behind a Local Service without a readiness probe",
	Severity:     SeverityWarning,
	DefaultMode:  Audit,
	Kinds:        workloadKinds,
	NeedsRelated: true,
	What: "A container serves a port of a Local Service and has neither a readinessProbe nor a startupProbe (a " +
		"container is not ready until that succeeds). A container serves the ports that it declares, by number or by the " +
		"name in targetPort. If no container declares the number, a finding is reported only if none of them has a probe. " +
		"A container with the image auto is not reported: Istio completes it, with a probe.",
	Why: "Without a probe a container is ready as soon as it runs. The load balancer asks each node whether it has " +
		"ready pods, and then sends the node its share of the traffic: to a process that may not listen yet, or that no " +
		"longer answers. With Local, no pod on another node takes over.",
	Remedy: "Give the container a readinessProbe that sends the requests that clients send: httpGet, tcpSocket or grpc; " +
		"for UDP, exec or a separate health port.",
	Exempt: "When the process serves as soon as it runs and exits as soon as it cannot serve, or when readinessGates " +
		"report it.",
	Since: "All versions; sidecars, which are init containers that keep running, from 1.28 on.",
	Sources: []string{
		"https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#container-probes",
		"https://github.com/kubernetes/kubernetes/blob/v1.37.1/pkg/kubelet/prober/prober_manager.go",
		"https://github.com/kubernetes/kubernetes/blob/v1.37.1/staging/src/k8s.io/endpointslice/utils.go",
		"https://istio.io/latest/docs/setup/additional-setup/gateway/",
	},
	check: checkMissingReadiness,
}

func checkMissingReadiness(r *run) []result {
	if r.Object.Workload == nil || r.Object.Workload.ends() {
		return nil
	}
	services := r.localServices()
	if len(services) == 0 {
		return r.noLocalService()
	}
	without := r.Object.Workload.servingWithout(services, func(c corev1.Container) bool {
		return c.ReadinessProbe != nil || c.StartupProbe != nil || c.Image == injectedImage
	})
	if len(without) == 0 {
		return nil
	}
	return []result{{Finding: Finding{
		Path: without[0].path + "/readinessProbe",
		Message: fmt.Sprintf("%s of %s %s no readinessProbe", containerNames(without), serviceNames(services),
			form(len(without), "has", "have")),
		Fix:     "add a readinessProbe that sends the requests that clients send",
		Because: serviceRefs(services),
	}}}
}
