package policies

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// noDrainWindow finds pods behind a Local Service that stop serving before the load balancer has left their node.
//
// Fields: of the Services, spec.type, spec.ports and what makes them Local; of the workload, lifecycle.preStop of the
// serving containers in spec.template, and terminationGracePeriodSeconds, whose default is 30. A preStop that runs a
// command or sends a request is assumed to last long enough; for one that sleeps, the seconds are read.
var noDrainWindow = Rule{
	ID:           "no-drain-window",
	Title:        "Pods end before the load balancer leaves their node",
	Severity:     SeverityWarning,
	DefaultMode:  Audit,
	Kinds:        workloadKinds,
	NeedsRelated: true,
	What: "A container that serves a port of a Local Service of type LoadBalancer has no preStop, or one that sleeps " +
		"for less time than the load balancer may take to leave a node without pods; or terminationGracePeriodSeconds is " +
		"less than that. The time is 30 s unless probeWindowSeconds in spec.parameters of a SourceIPPolicy sets another: " +
		"the interval of the load balancer's probes times the failures that it waits for. This is 6 s with GKE's " +
		"subsetting, and with the AWS cloud provider 20 s for an NLB and 60 s for a Classic Load Balancer. 0 means that " +
		"the load balancer leaves at once. Services of other types are not reported, since it is not known what checks " +
		"their nodes.",
	Why: "When the last pod of a node is deleted, the node's health check port reports it at once, but the load " +
		"balancer notices only after its next probes have failed. Until then it sends the node its share of the traffic. " +
		"kube-proxy passes that on to the pod as long as the pod still serves while it terminates; after that, with Local, " +
		"everything is dropped.",
	Remedy: "Make the containers wait in lifecycle.preStop as long as the load balancer takes, with sleep, which needs " +
		"nothing in the image, or with a command. Set terminationGracePeriodSeconds to that time plus the time to finish " +
		"in-flight requests: it counts from before preStop.",
	Exempt: "When the process itself continues to serve for that long after SIGTERM; a preStop that returns at once has " +
		"the same effect.",
	Since: "All versions. Before 1.26, kube-proxy sends nothing new to terminating pods, and nothing can bridge the " +
		"gap. preStop has sleep from 1.30 on.",
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
	if len(services) == 0 {
		return r.noLocalService()
	}
	if workload == nil || window == 0 || workload.ends() {
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
	var problems, paths []string
	add := func(path, subject, problem string) {
		problems = append(problems, fmt.Sprintf("%s of %s %s", subject, serviceNames(services), problem))
		paths = append(paths, path)
	}
	if len(hasNone) > 0 {
		add(hasNone[0].path+"/lifecycle/preStop", containerNames(hasNone), form(len(hasNone), "has", "have")+" no preStop")
	}
	if len(tooShort) > 0 {
		add(tooShort[0].path+"/lifecycle/preStop/sleep/seconds", containerNames(tooShort), fmt.Sprintf("%s preStop %ds",
			form(len(tooShort), "has", "have"), tooShort[0].Lifecycle.PreStop.Sleep.Seconds))
	}
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if written := workload.Template.Spec.TerminationGracePeriodSeconds; written != nil {
		grace = *written
	}
	if float64(grace) < window {
		add(workload.podPath()+"/terminationGracePeriodSeconds", "pods",
			fmt.Sprintf("get %ds to terminate", grace))
	}
	if len(problems) == 0 {
		return nil
	}
	message := problems[0] + fmt.Sprintf(" (want %gs)", window)
	if more := len(problems) - 1; more > 0 {
		message = fmt.Sprintf("%s (and %d more)", problems[0], more)
	}
	return []result{{Finding: Finding{
		Path:    paths[0],
		Message: message,
		Fix: fmt.Sprintf("sleep at least %gs in preStop, and set terminationGracePeriodSeconds higher than that",
			window),
		Because: serviceRefs(services),
	}}}
}

// bridges reports whether the preStop of a container lasts for so many seconds, as far as the manifest says.
func bridges(c corev1.Container, seconds float64) bool {
	if c.Lifecycle == nil {
		return false
	}
	sleep := c.Lifecycle.PreStop.Sleep
	return sleep == nil || float64(sleep.Seconds) >= seconds
}
