package policies

import corev1 "k8s.io/api/core/v1"

// missingReadiness finds containers behind a Local Service that are taken for ready as soon as they run.
//
// Fields: of the Services, spec.ports and what makes them Local; of the workload, ports, image, readinessProbe and startupProbe of the
// containers of spec.template. Which of them serve is servingWithout's to say.
var missingReadiness = Rule{
	ID:           "missing-readiness",
	Title:        "Container behind a Local Service without a readiness probe",
	Severity:     SeverityWarning,
	DefaultMode:  Audit,
	Kinds:        workloadKinds,
	NeedsRelated: true,
	What: "A container serves a port of a Local Service and has neither a readinessProbe nor a startupProbe, before whose success it is " +
		"not ready either. It serves a port that it declares, by number or by the name in targetPort. Of a number that no container " +
		"declares, this is said only if none of them has a probe. A container with the image auto is Istio's to complete, with a probe.",
	Why: "Without a probe a container is ready when it runs. The load balancer asks each node whether it has ready pods, and from then on " +
		"sends the node its share: to a process that may not listen yet, or no longer answers. With Local no pod on another node " +
		"takes over.",
	Remedy: "Give the container a readinessProbe that asks what clients ask: httpGet, tcpSocket or grpc; for UDP an exec, or a port " +
		"for health of its own.",
	Exempt: "When the process exits as soon as it cannot serve, and serves as soon as it runs; or when readinessGates tell.",
	Since:  "All versions; sidecars, which are init containers that keep running, from 1.28 on.",
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
	without := r.Object.Workload.servingWithout(services, func(c corev1.Container) bool {
		return c.ReadinessProbe != nil || c.StartupProbe != nil || c.Image == injectedImage
	})
	if len(without) == 0 {
		return nil
	}
	return []result{{Finding: Finding{
		Path:    without[0].path + "/readinessProbe",
		Message: containerNames(without) + " no readinessProbe, behind Local " + serviceNames(services),
		Fix:     "add a readinessProbe that asks what clients ask",
		Because: serviceRefs(services),
	}}}
}
