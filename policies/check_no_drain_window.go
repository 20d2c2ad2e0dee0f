package policies

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// noDrainWindow finds pods behind a Local Service that are gone before the load balancer knows.
//
// Fields: of the Services, spec.type, spec.ports and what makes them Local; of the workload, lifecycle.preStop of the containers of spec.template
// that serve, and its terminationGracePeriodSeconds, of which the API server makes 30. A preStop that runs a command or sends a request
// is taken to last long enough; of one that sleeps, the seconds are read.
var noDrainWindow = Rule{
	ID:           "no-drain-window",
	Title:        "Pods end before the load balancer leaves their node",
	Severity:     SeverityWarning,
	DefaultMode:  Audit,
	Kinds:        workloadKinds,
	NeedsRelated: true,
	What: "A container that serves a port of a Local Service of type LoadBalancer has no preStop, or one that sleeps for less than the " +
		"load balancer may take to leave a node without pods; or terminationGracePeriodSeconds is less than that. It is taken to be " +
		"30 s, where spec.parameters of a SourceIPPolicy says nothing else by probeWindowSeconds: the interval of its probes times the " +
		"failures that it waits for. These are 6 s with GKE's subsetting, and with the AWS cloud provider 20 s of an NLB and 60 s of a " +
		"Classic Load Balancer. 0 means that it leaves at once. Of other types nobody knows what checks the nodes.",
	Why: "When the last pod of a node is deleted, the health check port of the node says so at once, and the load balancer hears of it only " +
		"by its next failed probes. Until then it sends the node its share. kube-proxy hands that to the pod for as long as it still " +
		"serves while it ends; after that, with Local, everything is dropped.",
	Remedy: "Let the containers wait in lifecycle.preStop for as long as the load balancer takes, by sleep, which needs nothing in the " +
		"image, or by a command; and let terminationGracePeriodSeconds be that and the time to finish what is under way: it counts from " +
		"before preStop.",
	Exempt: "When the process itself serves on after SIGTERM for as long; a preStop that returns at once says the same.",
	Since: "All versions. Before 1.26 kube-proxy sends nothing new to pods that end, and nothing bridges the gap. preStop can sleep by " +
		"itself from 1.30 on.",
	Sources: []string{
		"https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination",
		"https://github.com/kubernetes/enhancements/tree/master/keps/sig-network/1669-proxy-terminating-endpoints",
		"https://github.com/kubernetes/kubernetes/issues/85643",
		"https://github.com/kubernetes/kubernetes/blob/v1.37.1/pkg/kubelet/kuberuntime/kuberuntime_container.go",
		"https://github.com/kubernetes/ingress-gce/blob/v1.34.0/pkg/healthchecksl4/healthchecksl4.go#L44-L50",
		"https://github.com/kubernetes/cloud-provider-aws/blob/v1.37.0/pkg/providers/v1/aws.go#L2182-L2192",
		"https://github.com/kubernetes/cloud-provider-aws/blob/v1.37.0/pkg/providers/v1/aws_loadbalancer.go#L67-L69",
	},
	check: checkNoDrainWindow,
}

func checkNoDrainWindow(r *run) []result {
	workload, window := r.Object.Workload, r.settings.probeWindow()
	services := balancedServices(r.localServices())
	if workload == nil || len(services) == 0 || window == 0 || workload.ends() {
		return nil
	}
	var hasNone, tooShort []container
	for _, c := range workload.servingWithout(services, func(c corev1.Container) bool { return bridges(c, window) }) {
		if c.Lifecycle == nil {
			hasNone = append(hasNone, c)
		} else {
			tooShort = append(tooShort, c)
		}
	}
	var missing, paths []string
	if len(hasNone) > 0 {
		missing = append(missing, containerNames(hasNone)+" no preStop")
		paths = append(paths, hasNone[0].path+"/lifecycle/preStop")
	}
	if len(tooShort) > 0 {
		missing = append(missing, fmt.Sprintf("%s too short a preStop (%d s)", containerNames(tooShort), tooShort[0].Lifecycle.PreStop.Sleep.Seconds))
		paths = append(paths, tooShort[0].path+"/lifecycle/preStop/sleep/seconds")
	}
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if written := workload.Template.Spec.TerminationGracePeriodSeconds; written != nil {
		grace = *written
	}
	if float64(grace) < window {
		missing = append(missing, fmt.Sprintf("terminationGracePeriodSeconds is %d", grace))
		paths = append(paths, workload.podPath()+"/terminationGracePeriodSeconds")
	}
	if len(missing) == 0 {
		return nil
	}
	return []result{{Finding: Finding{
		Path: paths[0],
		Message: fmt.Sprintf("%s, and the load balancer of Local %s may take %g s to leave a node",
			strings.Join(missing, ", "), serviceNames(services), window),
		Fix:     fmt.Sprintf("let preStop wait %g s, and terminationGracePeriodSeconds be no less", window),
		Because: serviceRefs(services),
	}}}
}

// bridges tells whether a container goes on serving for so many seconds after its pod was deleted, as far as can be seen.
func bridges(c corev1.Container, seconds float64) bool {
	if c.Lifecycle == nil {
		return false
	}
	sleep := c.Lifecycle.PreStop.Sleep
	return sleep == nil || float64(sleep.Seconds) >= seconds
}
