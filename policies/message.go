package policies

import (
	"fmt"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
)

// serviceNames is "Service edge/a" or "Services edge/a and 3 more".
func serviceNames(services []*corev1.Service) string {
	noun := "Service "
	if len(services) > 1 {
		noun = "Services "
	}
	return noun + firstOf(len(services), func(i int) string {
		return services[i].Namespace + "/" + nameOf(services[i].ObjectMeta)
	})
}

// firstOf names the first of n things, and tells how many more there are: messages stay short.
func firstOf(n int, name func(int) string) string {
	if n == 1 {
		return name(0)
	}
	return fmt.Sprintf("%s and %d more", name(0), n-1)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// pointer is the JSON Pointer with these parts.
func pointer(parts ...string) string {
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	var path strings.Builder
	for _, part := range parts {
		path.WriteString("/" + escape.Replace(part))
	}
	return path.String()
}

// trafficPolicy is the policy as messages show it: quoted unless it is one of the two that exist.
func trafficPolicy(service *corev1.Service) string {
	switch policy := service.Spec.ExternalTrafficPolicy; policy {
	case corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal:
		return string(policy)
	default:
		return fmt.Sprintf("%.40q", string(policy))
	}
}

func serviceType(service *corev1.Service) string {
	switch t := service.Spec.Type; t {
	case "":
		return string(corev1.ServiceTypeClusterIP)
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeExternalName:
		return string(t)
	default:
		return fmt.Sprintf("%.40q", string(t))
	}
}

// containerNames is "container web has" or "container web and 1 more have".
func containerNames(containers []container) string {
	verb := "has"
	if len(containers) > 1 {
		verb = "have"
	}
	return "container " + firstOf(len(containers), func(i int) string { return containers[i].Name }) + " " + verb
}

// printable keeps control characters, which an annotation may bring, out of what people read: they would reach a terminal,
// and a client drops a warning that has any.
func printable(r rune) rune {
	if unicode.IsControl(r) {
		return ' '
	}
	return r
}
