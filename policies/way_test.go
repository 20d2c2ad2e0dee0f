package policies_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/policies"
)

func TestAdviseSaysTheWayOfAPacket(t *testing.T) {
	t.Parallel()
	const (
		client     = "The pod sees the client's address, since no node replaces it."
		node       = "The pod sees the address of a node, which replaces the client's."
		kept       = "The pod sees the client's address, which nodes keep with either policy."
		sent       = "The pod sees the address that the load balancer sends: its own, unless it keeps the client's."
		fromSender = "The pod sees a connection from the load balancer, since no node replaces that address."
		fromNode   = "The pod sees a connection from a node, which replaces the load balancer's address."
	)
	hops := func(hops ...string) []string { return append([]string{"client"}, hops...) }
	direct := hops("load balancer", "any ready pod")
	toPods := func(attribute string) string {
		return "annotations: {service.beta.kubernetes.io/aws-load-balancer-type: external, " +
			"service.beta.kubernetes.io/aws-load-balancer-nlb-target-type: ip, " +
			"service.beta.kubernetes.io/aws-load-balancer-target-group-attributes: " + attribute + "}"
	}
	viaLocal, viaAny := hops("load balancer", "node with a ready pod", "pod on that node"),
		hops("load balancer", "any node", "pod on any node")
	tests := map[string]struct {
		metadata, spec, provider string
		local, cluster           policies.Way
	}{
		"a load balancer": {
			spec: balanced, local: policies.Way{Hops: viaLocal, Sees: client}, cluster: policies.Way{Hops: viaAny, Sees: node},
		},
		"a NodePort": {
			spec:    "type: NodePort",
			local:   policies.Way{Hops: hops("the node that the client chose", "pod on that node, else lost"), Sees: client},
			cluster: policies.Way{Hops: hops("the node that the client chose", "pod on any node"), Sees: node},
		},
		"one announcer": {
			spec: balanced, provider: "metallb-l2",
			local:   policies.Way{Hops: hops("the node that announces the address", "pod on that node"), Sees: client},
			cluster: policies.Way{Hops: hops("the node that announces the address", "pod on any node"), Sees: node},
		},
		"no health check": {
			metadata: "annotations: {loadbalancer.openstack.org/enable-health-monitor: \"false\"}", spec: balanced,
			local:   policies.Way{Hops: hops("load balancer", "any node", "pod on that node, else lost"), Sees: client},
			cluster: policies.Way{Hops: viaAny, Sees: node},
		},
		"pods as targets": {
			metadata: "annotations: {service.beta.kubernetes.io/backend-type: eni}", spec: balanced,
			local: policies.Way{Hops: direct, Sees: sent}, cluster: policies.Way{Hops: direct, Sees: sent},
		},
		"pods as targets, with the client's address": {
			metadata: toPods("preserve_client_ip.enabled=true"), spec: balanced,
			local:   policies.Way{Hops: direct, Sees: "The pod sees the client's address, which the load balancer keeps."},
			cluster: policies.Way{Hops: direct, Sees: "The pod sees the client's address, which the load balancer keeps."},
		},
		"pods as targets, with the PROXY protocol": {
			metadata: toPods("proxy_protocol_v2.enabled=true"), spec: balanced,
			local:   policies.Way{Hops: direct, Sees: "The pod sees a connection from the load balancer."},
			cluster: policies.Way{Hops: direct, Sees: "The pod sees a connection from the load balancer."},
		},
		"direct server return": {
			metadata: "annotations: {service.cilium.io/forwarding-mode: dsr}", spec: balanced,
			local: policies.Way{Hops: viaLocal, Sees: kept}, cluster: policies.Way{Hops: viaAny, Sees: kept},
		},
		"a load balancer that terminates connections": {
			spec: balanced, provider: "hetzner",
			local: policies.Way{Hops: viaLocal, Sees: fromSender}, cluster: policies.Way{Hops: viaAny, Sees: fromNode},
		},
		"a traffic distribution": {
			spec:  balanced + ", trafficDistribution: PreferSameNode",
			local: policies.Way{Hops: viaLocal, Sees: client},
			cluster: policies.Way{
				Hops: hops("load balancer", "any node", "pod, on the same node if it has one"), Sees: node,
			},
		},
		"a traffic distribution by zone": {
			spec:  balanced + ", trafficDistribution: PreferSameZone",
			local: policies.Way{Hops: viaLocal, Sees: client},
			cluster: policies.Way{
				Hops: hops("load balancer", "any node", "pod, in the same zone if it has one"), Sees: node,
			},
		},
		"no traffic from outside": {spec: "type: ClusterIP"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var settings policies.Settings
			settings.LoadBalancers.Default = test.provider
			in := policies.Input{Operation: policies.Create, Object: serviceObject(t, test.metadata, test.spec)}
			got, err := policies.Advise(t.Context(), in, rules(), settings, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.local, got.Local); diff != "" {
				t.Errorf("Advise().Local mismatch (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.cluster, got.Cluster); diff != "" {
				t.Errorf("Advise().Cluster mismatch (-want +got):\n%s", diff)
			}
		})
	}
}
