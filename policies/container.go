package policies

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// container is a container of a workload.
type container struct {
	corev1.Container
	// path is its JSON Pointer in the workload.
	path string
}

// injectedImage is the placeholder image of a gateway container that Istio's injector completes. The injector adds the
// image, the arguments and a readinessProbe, but by default no preStop.
// Source: istio, manifests/charts/istio-control/istio-discovery/files/gateway-injection-template.yaml.
const injectedImage = "auto"

// keepsRunning reports whether an init container keeps running alongside the main containers, as a sidecar does.
func keepsRunning(c corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// ends reports whether a Pod is meant to run to completion, such as the test of a chart. It serves no traffic, even if
// it has the labels of the pods that it tests. The pods of all other kinds are always restarted.
func (w *Workload) ends() bool {
	return w.Template.Spec.RestartPolicy != "" && w.Template.Spec.RestartPolicy != corev1.RestartPolicyAlways
}

// running returns the containers that run at the same time, the sidecars last.
func (w *Workload) running() []container {
	var found []container
	for i, c := range w.Template.Spec.Containers {
		found = append(found, container{c, fmt.Sprintf("%s/containers/%d", w.podPath(), i)})
	}
	for i, c := range w.Template.Spec.InitContainers {
		if keepsRunning(c) {
			found = append(found, container{c, fmt.Sprintf("%s/initContainers/%d", w.podPath(), i)})
		}
	}
	return found
}

// servingWithout returns the containers that serve a port of the Services and for which has returns false.
//
// A named targetPort is served by the containers that declare a port with that name and protocol. If there are none,
// the endpoints do not have the port. A numeric targetPort is served by the containers that declare the number. Since a
// container can serve a port that it does not declare, any container may serve a number that none declares: all are
// then returned, but only if has returns false for every one.
//
// Source: kubernetes v1.37.1, staging/src/k8s.io/endpointslice/utils.go FindPort.
func (w *Workload) servingWithout(services []*corev1.Service, has func(corev1.Container) bool) []container {
	running := w.running()
	serves := make([]bool, len(running))
	anyMay := false
	for _, service := range services {
		for _, port := range service.Spec.Ports {
			declared := false
			for i, c := range running {
				if declares(c.Container, port) {
					serves[i], declared = true, true
				}
			}
			anyMay = anyMay || !declared && targetName(port) == ""
		}
	}
	var without []container
	for i, c := range running {
		if serves[i] && !has(c.Container) {
			without = append(without, c)
		}
	}
	if anyMay && !slices.ContainsFunc(running, func(c container) bool { return has(c.Container) }) {
		return running
	}
	return without
}

// declares reports whether a container declares the target of a Service port.
func declares(c corev1.Container, port corev1.ServicePort) bool {
	return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool {
		switch name := targetName(port); {
		case cmp.Or(p.Protocol, corev1.ProtocolTCP) != cmp.Or(port.Protocol, corev1.ProtocolTCP):
			return false
		case name != "":
			return p.Name == name
		default:
			return p.ContainerPort == cmp.Or(port.TargetPort.IntVal, port.Port)
		}
	})
}

// targetName returns the name of a named targetPort; empty if targetPort is a number or not set.
func targetName(port corev1.ServicePort) string {
	if port.TargetPort.Type == intstr.String {
		return port.TargetPort.StrVal
	}
	return ""
}
