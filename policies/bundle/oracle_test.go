package bundle

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fact is something that an annotation, a class or a name reveals about a load balancer.
type fact string

const (
	hard, soft, ours                         fact = "hard", "soft", "ours" // the reasons for Local
	proxy, terminates                        fact = "proxy", "terminates"  // with and without a header with the address
	preserved, useless, lost, optOut         fact = "preserved", "useless", "lost", "opt-out"
	forbidden, refused, breaksCheck          fact = "forbidden", "refused", "breaks-check"
	mayLackPods                              fact = "may-lack-pods"
	weighted, weightedAlone, weightedUnknown fact = "weighted", "weighted-alone", "weighted-unknown"
	single, overrides, legacy                fact = "single", "overrides", "legacy"

	// The types of Services on which the other facts hold: LoadBalancer, and those that these facts add.
	nodePorts, externalIPs, everyType fact = "node ports", "external IPs", "every type"
	onlyNodePorts                     fact = "only node ports" // not LoadBalancer
)

// oracle holds the provider knowledge a second time. It was written in Go from the documentation of the providers, and
// not from the provider table. Each entry lists the facts about a Service for which it holds.
var oracle = []struct {
	facts []fact
	holds func(someService) bool
}{
	{[]fact{soft, ours, nodePorts}, is("sourceward.dev/source-ip", "preserve")},

	{[]fact{soft, legacy, everyType}, is("service.beta.kubernetes.io/external-traffic", "OnlyLocal")},
	{[]fact{legacy, everyType}, is("service.beta.kubernetes.io/external-traffic", "Global")},
	{[]fact{legacy, everyType}, has("service.beta.kubernetes.io/healthcheck-nodeport")},
	{[]fact{soft, legacy, everyType}, is("service.alpha.kubernetes.io/external-traffic", "OnlyLocal")},
	{[]fact{legacy, everyType}, is("service.alpha.kubernetes.io/external-traffic", "Global")},
	{[]fact{legacy, everyType}, has("service.alpha.kubernetes.io/healthcheck-nodeport")},

	{[]fact{hard}, all(noClass, has(ociPreserve), is(ociType, "nlb"))},
	{[]fact{optOut}, all(noClass, has(ociPreserve), ociNLB, not(truth(ociPreserve)))},
	{[]fact{proxy}, all(noClass, anyCase("oci-network-load-balancer.oraclecloud.com/is-ppv2-enabled", "true"), ociNLB)},
	{
		[]fact{proxy},
		all(noClass, is("service.beta.kubernetes.io/oci-load-balancer-connection-proxy-protocol-version", "1", "2"),
			not(ociNLB)),
	},
	{[]fact{terminates}, all(noClass, anyCase(ociType, "lb"))},
	{[]fact{terminates}, all(noClass, named("oci-lb"), not(ociNLB))},

	{[]fact{proxy, nodePorts}, all(is(aws+"proxy-protocol", "*"), awsController)},
	{[]fact{proxy}, all(is(aws+"proxy-protocol", "*"), not(awsCloudNLB))},
	{
		[]fact{forbidden, breaksCheck},
		all(is(aws+"proxy-protocol", "*"), awsController, not(awsPods), not(filled(aws+"healthcheck-port"))),
	},
	{[]fact{proxy, nodePorts}, all(filled(aws+"proxy-protocol-per-target-group"), awsController)},
	{
		[]fact{forbidden, breaksCheck},
		all(filled(aws+"proxy-protocol-per-target-group"), awsController, not(awsPods), not(filled(aws+"healthcheck-port"))),
	},
	{[]fact{useless, nodePorts}, all(noClass, is(aws+"type", "nlb-ip"))},
	{[]fact{useless, nodePorts}, all(is(aws+"nlb-target-type", "ip"), awsPods)},
	{[]fact{soft}, all(awsTargetGroups, awsAttribute("preserve_client_ip.enabled", parsesTrue), not(awsPods))},
	{[]fact{preserved, nodePorts}, all(awsTargetGroups, awsAttribute("preserve_client_ip.enabled", parsesTrue), awsPods)},
	{[]fact{optOut, nodePorts}, all(awsTargetGroups, awsAttribute("preserve_client_ip.enabled", parsesFalse))},
	{
		[]fact{proxy, nodePorts},
		all(awsTargetGroups, awsAttribute("proxy_protocol_v2.enabled", func(v string) bool { return v == "true" })),
	},
	{
		[]fact{forbidden, breaksCheck},
		all(awsTargetGroups, awsAttribute("proxy_protocol_v2.enabled", func(v string) bool { return v == "true" }),
			not(awsPods), not(filled(aws+"healthcheck-port"))),
	},
	{
		[]fact{overrides},
		all(awsTargetGroups, filled(aws+"healthcheck-port"), not(is(aws+"healthcheck-port", "traffic-port")), not(awsPods)),
	},
	{
		[]fact{overrides},
		all(awsTargetGroups, anyCase(aws+"healthcheck-protocol", "tcp"), not(filled(aws+"healthcheck-port")), not(awsPods)),
	},
	{[]fact{terminates}, all(noClass, named("aws-clb"), not(awsCloudNLB), not(awsController))},
	{[]fact{useless}, all(named("aws-nlb-ip"), not(awsCloudNLB), not(is(aws+"nlb-target-type", "instance")))},

	{[]fact{hard, weighted}, is("networking.gke.io/weighted-load-balancing", "pods-per-node")},
	{
		[]fact{weightedUnknown},
		all(has("networking.gke.io/weighted-load-balancing"),
			not(is("networking.gke.io/weighted-load-balancing", "pods-per-node"))),
	},
	{[]fact{useless, onlyNodePorts}, func(s someService) bool {
		return strings.Contains(s.Annotations["cloud.google.com/neg"], `"ingress": true`)
	}},
	{[]fact{useless, onlyNodePorts}, func(s someService) bool {
		return strings.Contains(s.Annotations["cloud.google.com/neg"], `"exposed_ports"`)
	}},

	{
		[]fact{proxy, overrides},
		all(anyCase("service.beta.kubernetes.io/azure-pls-create", "true"),
			anyCase("service.beta.kubernetes.io/azure-pls-proxy-protocol", "true")),
	},

	{[]fact{single}, named("metallb-l2", "kube-vip-arp", "keepalived")},
	{[]fact{single}, all(noClass, named("cilium-l2"))},
	{[]fact{single}, class("io.cilium/l2-announcer")},
	{[]fact{forbidden, mayLackPods}, named("keepalived")},
	{[]fact{forbidden, mayLackPods}, all(noClass, named("cilium-l2"))},
	{[]fact{forbidden, mayLackPods}, class("io.cilium/l2-announcer")},
	{
		[]fact{forbidden, mayLackPods},
		all(named("kube-vip-arp"), not(is("kube-vip.io/egress", "true")), not(is("kube-vip.io/egress-ipv6", "true")),
			not(filled("kube-vip.io/egress-internal"))),
	},
	{[]fact{useless}, class("tailscale")},
	{[]fact{useless, nodePorts}, labelled("cilium.io/ingress", "io.cilium.gateway/owning-gateway")},
	{[]fact{hard}, is("kubernetes.io/elb.transparent-client-ip", "true")},

	{[]fact{preserved, nodePorts, externalIPs}, anyCase("service.cilium.io/forwarding-mode", "dsr")},
	{[]fact{preserved, externalIPs}, is("service.antrea.io/load-balancer-mode", "dsr")},
	{[]fact{preserved, externalIPs}, is("kube-router.io/service.dsr", "tunnel")},
	{[]fact{hard}, is("kube-router.io/service.local", "true")},

	{[]fact{proxy}, all(noClass, is(openstack+"proxy-protocol", "true", "v1", "v2"))},
	{[]fact{proxy}, all(noClass, is(openstack+"x-forwarded-for", "true"))},
	{[]fact{terminates}, all(noClass, named("octavia"))},
	{[]fact{overrides}, all(noClass, octavia, not(is(openstack+"enable-health-monitor", "true")))},

	{[]fact{terminates}, all(noClass, is(digitalOcean+"type", "REGIONAL"))},
	{[]fact{terminates}, all(noClass, named("digitalocean-regional"), not(is(digitalOcean+"type", "REGIONAL_NETWORK")))},
	{[]fact{proxy}, all(noClass, truth(digitalOcean+"enable-proxy-protocol"))},
	{[]fact{soft}, all(noClass, is(digitalOcean+"sticky-sessions-type", "cookies"))},

	{[]fact{proxy}, all(noClass, truth("load-balancer.hetzner.cloud/uses-proxyprotocol"))},
	{
		[]fact{terminates},
		all(noClass, has("load-balancer.hetzner.cloud/uses-proxyprotocol"),
			not(truth("load-balancer.hetzner.cloud/uses-proxyprotocol"))),
	},
	{[]fact{terminates}, all(noClass, named("hetzner"))},

	{[]fact{proxy}, all(noClass, anyCase(linode+"default-proxy-protocol", "v1", "v2"))},
	{[]fact{terminates}, all(noClass, anyCase(linode+"default-proxy-protocol", "none"))},
	{[]fact{terminates}, all(noClass, named("linode"))},
	{[]fact{proxy}, all(noClass, func(s someService) bool {
		return strings.Contains(s.Annotations[linode+"port-80"], `"v1"`) ||
			strings.Contains(s.Annotations[linode+"port-80"], `"v2"`)
	})},

	{
		[]fact{proxy},
		all(noClass, filled("service.beta.kubernetes.io/scw-loadbalancer-proxy-protocol-v1"),
			not(is("service.beta.kubernetes.io/scw-loadbalancer-proxy-protocol-v1", "false"))),
	},
	{
		[]fact{proxy},
		all(noClass, filled("service.beta.kubernetes.io/scw-loadbalancer-proxy-protocol-v2"),
			not(is("service.beta.kubernetes.io/scw-loadbalancer-proxy-protocol-v2", "false"))),
	},
	{[]fact{terminates}, all(noClass, is("service.beta.kubernetes.io/scw-loadbalancer-proxy-protocol-v1", "false"))},
	{[]fact{terminates}, all(noClass, is("service.beta.kubernetes.io/scw-loadbalancer-proxy-protocol-v2", "false"))},
	{
		[]fact{terminates},
		all(noClass, func(s someService) bool { return strings.Contains(s.Annotations[linode+"port-80"], `"none"`) }),
	},
	{[]fact{terminates}, all(noClass, named("scaleway"))},

	{
		[]fact{proxy},
		all(noClass, is("service.beta.kubernetes.io/ovh-loadbalancer-proxy-protocol", "v1", "v2", "v2-ssl", "v2-ssl-cn")),
	},

	{[]fact{useless}, is("service.beta.kubernetes.io/backend-type", "eni")},
	{[]fact{proxy}, is(alibaba+"proxy-protocol", "on")},
	{
		[]fact{soft},
		all(class("alibabacloud.com/nlb"), anyCase(alibaba+"preserve-client-ip", "on"),
			not(is("service.beta.kubernetes.io/backend-type", "eni"))),
	},
	{
		[]fact{preserved},
		all(class("alibabacloud.com/nlb"), anyCase(alibaba+"preserve-client-ip", "on"),
			is("service.beta.kubernetes.io/backend-type", "eni")),
	},

	{[]fact{useless}, is("service.cloud.tencent.com/direct-access", "true")},
	{[]fact{hard}, is(tencentOnlyNodesWithPods, "true")},
	{[]fact{hard, weighted}, is("service.cloud.tencent.com/local-svc-weighted-balance", "true")},
	{
		[]fact{weightedAlone},
		all(is("service.cloud.tencent.com/local-svc-weighted-balance", "true"), not(is(tencentOnlyNodesWithPods, "true"))),
	},

	{[]fact{proxy}, func(s someService) bool {
		return slices.ContainsFunc(
			strings.Split(s.Annotations["service.kubernetes.io/ibm-load-balancer-cloud-provider-enable-features"], ","),
			func(item string) bool { return strings.TrimSpace(item) == "proxy-protocol" },
		)
	}},
	{[]fact{proxy}, all(noClass, truth(vultr))},
	{[]fact{terminates}, all(noClass, has(vultr), not(truth(vultr)))},
	{[]fact{proxy}, all(noClass, filled("kubernetes.civo.com/loadbalancer-enable-proxy-protocol"))},

	{[]fact{hard}, is("kube-vip.io/egress", "true")},
	{[]fact{hard}, is("kube-vip.io/egress-ipv6", "true")},
	{[]fact{hard}, filled("kube-vip.io/egress-internal")},
	{[]fact{forbidden, refused}, has("kube-vip.io/leaseName")},

	{[]fact{lost}, is("loxilb.io/lbmode", "onearm", "hostonearm", "fullnat", "fullproxy")},
	{[]fact{preserved}, is("loxilb.io/lbmode", "dsr")},
}

const (
	aws                      = "service.beta.kubernetes.io/aws-load-balancer-"
	alibaba                  = "service.beta.kubernetes.io/alibaba-cloud-loadbalancer-"
	digitalOcean             = "service.beta.kubernetes.io/do-loadbalancer-"
	linode                   = "service.beta.kubernetes.io/linode-loadbalancer-"
	ociPreserve              = "oci-network-load-balancer.oraclecloud.com/is-preserve-source"
	ociType                  = "oci.oraclecloud.com/load-balancer-type"
	openstack                = "loadbalancer.openstack.org/"
	tencentOnlyNodesWithPods = "service.kubernetes.io/local-svc-only-bind-node-with-pod"
	vultr                    = "service.beta.kubernetes.io/vultr-loadbalancer-proxy-protocol"
)

func has(key string) func(someService) bool {
	return func(s someService) bool { _, ok := s.Annotations[key]; return ok }
}

func is(key string, values ...string) func(someService) bool {
	return func(s someService) bool { return has(key)(s) && slices.Contains(values, s.Annotations[key]) }
}

func anyCase(key string, values ...string) func(someService) bool {
	return func(s someService) bool { return slices.Contains(values, strings.ToLower(s.Annotations[key])) }
}

func filled(key string) func(someService) bool {
	return func(s someService) bool { return s.Annotations[key] != "" }
}

func truth(key string) func(someService) bool {
	return func(s someService) bool { return parsesTrue(s.Annotations[key]) }
}

func parsesTrue(value string) bool {
	yes, err := strconv.ParseBool(value)
	return yes && err == nil
}

func parsesFalse(value string) bool {
	yes, err := strconv.ParseBool(value)
	return !yes && err == nil
}

func named(names ...string) func(someService) bool {
	return func(s someService) bool { return s.Type == "" && slices.Contains(names, s.Provider) }
}

func labelled(names ...string) func(someService) bool {
	return func(s someService) bool { return slices.Contains(names, s.Label) }
}

func class(name string) func(someService) bool {
	return func(s someService) bool { return s.Class == name }
}

func not(holds func(someService) bool) func(someService) bool {
	return func(s someService) bool { return !holds(s) }
}

func all(holds ...func(someService) bool) func(someService) bool {
	return func(s someService) bool {
		return !slices.ContainsFunc(holds, func(h func(someService) bool) bool { return !h(s) })
	}
}

func noClass(s someService) bool { return s.Class == "" }

func ociNLB(s someService) bool { return anyCase(ociType, "nlb")(s) }

// awsCloudNLB reports whether the cloud controller manager manages a network load balancer.
func awsCloudNLB(s someService) bool { return noClass(s) && is(aws+"type", "nlb")(s) }

// awsController reports whether the AWS Load Balancer Controller manages the Service. Both annotations are necessary
// unless it is of type LoadBalancer, for which the controller's webhook sets the class.
func awsController(s someService) bool {
	if s.Class != "" {
		return s.Class == "service.k8s.aws/nlb" || s.Class == "eks.amazonaws.com/nlb"
	}
	switch kind, typed := s.Annotations[aws+"type"]; {
	case !typed:
		return s.Type == "" && has(aws+"nlb-target-type")(s)
	case kind == "external":
		return is(aws+"nlb-target-type", "ip", "instance")(s)
	default:
		return kind == "nlb-ip"
	}
}

// awsPods reports whether the AWS Load Balancer Controller sends traffic to pods. The default of EKS Auto Mode is not
// documented.
func awsPods(s someService) bool {
	if class("eks.amazonaws.com/nlb")(s) && !has(aws+"nlb-target-type")(s) {
		return true
	}
	return awsController(s) && (noClass(s) && is(aws+"type", "nlb-ip")(s) || is(aws+"nlb-target-type", "ip")(s))
}

// awsTargetGroups reports whether the load balancer has target groups: not if it is a classic one, or not of AWS.
func awsTargetGroups(s someService) bool {
	return awsController(s) || s.Type == "" && (awsCloudNLB(s) || noClass(s) && !has(aws+"type")(s))
}

func awsAttribute(name string, accepts func(string) bool) func(someService) bool {
	return func(s someService) bool {
		for item := range strings.SplitSeq(s.Annotations[aws+"target-group-attributes"], ",") {
			key, value, _ := strings.Cut(item, "=")
			if strings.TrimSpace(key) == name && accepts(strings.TrimSpace(value)) {
				return true
			}
		}
		return false
	}
}

func octavia(s someService) bool {
	for key := range s.Annotations {
		if strings.HasPrefix(key, openstack) {
			return true
		}
	}
	return named("octavia")(s)
}

// holdsOnType reports whether facts hold on the type of the Service.
func holdsOnType(facts []fact, s someService) bool {
	switch s.Type {
	case "":
		return !slices.Contains(facts, onlyNodePorts)
	case "NodePort":
		return slices.ContainsFunc(facts, func(f fact) bool { return f == nodePorts || f == onlyNodePorts || f == everyType })
	default:
		return slices.ContainsFunc(facts, func(f fact) bool { return f == externalIPs || f == everyType })
	}
}

// expected returns the expected findings of the built-in rules for a Service, as "<mode> <rule>", sorted. The
// precedence of reasons for and against Local is: forbidden, hard, a verdict that vetoes Local, soft. A Service that is
// repaired to Local is checked as a Local one.
func expected(s someService, trafficPolicy string) []string {
	local, written := trafficPolicy == "Local", trafficPolicy == "Cluster"
	found := map[fact]bool{}
	for _, entry := range oracle {
		if holdsOnType(entry.facts, s) && entry.holds(s) {
			for _, f := range entry.facts {
				found[f] = true
			}
		}
	}
	var findings []string
	add := func(finding string, when bool) {
		if when {
			findings = append(findings, finding)
		}
	}
	ignored := is("sourceward.dev/source-ip", "ignore")(s)
	veto := found[proxy] || found[terminates] || found[preserved] || found[useless] || found[lost] || found[optOut]
	switch {
	case local || ignored || found[forbidden] || s.Type == "ClusterIP":
	case found[hard] && (veto || written):
		add("deny source-ip-needs-local", true)
	case found[hard] || found[ours] && !veto && !written:
		add("mutate source-ip-needs-local", true)
	case found[soft] && !veto:
		add("warn source-ip-needs-local", true)
	}
	if local || slices.Contains(findings, "mutate source-ip-needs-local") {
		add("audit single-announcer", found[single])
		add("deny local-forbidden", found[refused])
		add("warn local-forbidden", found[mayLackPods] && !found[useless])
		add("deny proxy-protocol-breaks-health-check", found[breaksCheck])
		add("warn health-check-overridden", found[overrides])
		add("warn local-has-no-effect", (found[useless] || found[lost] || found[preserved]) && !found[hard])
		add("warn local-hides-source-ip", found[terminates] && !found[proxy] && !ignored)
		add("warn node-port-local", s.Type == "NodePort")
		add("warn external-ips-local", s.Type == "ClusterIP")
	}
	add("warn legacy-annotation", found[legacy])
	asked := slices.ContainsFunc(findings, func(f string) bool { return strings.HasSuffix(f, " source-ip-needs-local") })
	add(
		"warn weighted-needs-local",
		found[weighted] && !local && !asked && !ignored || found[weightedAlone] || found[weightedUnknown],
	)
	slices.Sort(findings)
	return findings
}

// TestRowsAgainstTheOracle compares the findings for examples of every row of the provider table, and of every two
// rows, with the oracle.
func TestRowsAgainstTheOracle(t *testing.T) {
	t.Parallel()
	table := readProviders(t)
	set, _ := Compile(t.Context(), nil, nil)
	rows := table.all()
	var examples []someService
	var names []string
	for _, row := range rows {
		examples, names = append(examples, row.example(table)), append(names, row.ID)
	}
	// Settings that no row covers, and that affect all rows.
	examples = append(examples, someService{Annotations: map[string]string{"sourceward.dev/source-ip": "ignore"}},
		someService{Class: "example.com/other"}, someService{Type: "NodePort"},
		someService{Type: "ClusterIP", ExternalIPs: true})
	names = append(names, "our opt-out", "a class of another controller", "a node port", "external IPs")
	decided, conflicts, disagreements := 0, 0, 0
	for i := range examples {
		for j := i; j < len(examples); j++ {
			s, ok := examples[i].and(examples[j])
			if !ok {
				conflicts++ // No Service can be an example of both.
				continue
			}
			for _, trafficPolicy := range []string{"", "Cluster", "Local"} {
				decided++
				var got []string
				for _, f := range s.decide(t, set, trafficPolicy).Findings {
					if line := fmt.Sprintf("%s %s", f.Mode, f.Rule); !slices.Contains(got, line) {
						got = append(got, line)
					}
				}
				slices.Sort(got)
				if diff := cmp.Diff(expected(s, trafficPolicy), got); diff != "" {
					disagreements++
					if disagreements <= 10 {
						t.Errorf("%s and %s, policy %q, %s (-oracle +Decide):\n%s", names[i], names[j], trafficPolicy, jsonText(s), diff)
					}
				}
			}
		}
	}
	t.Logf("%d rows: %d decisions about one row or two, %d pairs that exclude each other, %d disagreements",
		len(rows), decided, conflicts, disagreements)
}

// and returns a Service with the settings of both. ok is false if they contradict each other.
func (s someService) and(other someService) (both someService, ok bool) {
	both, ok = someService{Annotations: maps.Clone(s.Annotations)}, true
	one := func(a, b string) string {
		ok = ok && (a == b || a == "" || b == "")
		return a + strings.TrimPrefix(b, a)
	}
	both.Class, both.Label = one(s.Class, other.Class), one(s.Label, other.Label)
	both.Type = serviceType(one(string(s.Type), string(other.Type)))
	both.ExternalIPs = s.ExternalIPs || other.ExternalIPs
	both.Provider = one(s.Provider, other.Provider)
	for key, value := range other.Annotations {
		if former, taken := both.Annotations[key]; taken && former != value {
			return both, false
		}
		both.Annotations[key] = value
	}
	return both, ok
}
