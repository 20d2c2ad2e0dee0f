package policies

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// container is one of a workload's, and where it stands.
type container struct {
	corev1.Container
	// path is its JSON Pointer in the workload.
	path string
}

// injectedImage stands in the place of the image of a container that Istio's injector completes: of a gateway, with the image, the
// arguments and a readinessProbe, but by default with no preStop.
// Source: istio, manifests/charts/istio-control/istio-discovery/files/gateway-injection-template.yaml.
const injectedImage = "auto"

// keepsRunning tells of an init container whether it runs beside the containers, as a sidecar does.
func keepsRunning(c corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// ends tells of a Pod that it is meant to end, such as the test of a chart: it serves nothing, though its labels be those of the pods that
// it tests. The pods of all other kinds are started again.
func (w *Workload) ends() bool {
	return w.Template.Spec.RestartPolicy != "" && w.Template.Spec.RestartPolicy != corev1.RestartPolicyAlways
}

// running are the containers that run beside each other, the sidecars last.
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

// servingWithout returns the containers that serve a port of the Services and lack something.
//
// A named targetPort is served by the containers that declare a port of that name and protocol; by none, it is no port of the
// endpoints. A number is served by those that declare it. But a container may serve what it does not declare: where none declares the
// number, any may serve it, and they lack something only if all do.
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

// declares tells whether a container declares the port to which a port of a Service leads.
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

// targetName is the name of a targetPort; empty for a number, and where it is left to be the port itself.
func targetName(port corev1.ServicePort) string {
	if port.TargetPort.Type == intstr.String {
		return port.TargetPort.StrVal
	}
	return ""
}
