package sourceward.rules.traffic_shares_test

import data.sourceward.rules.traffic_shares as rule

test_a_network_load_balancer_shares_among_zones if {
	rule.shares_traffic == {_of_zones} with input as _service({"spec": {"loadBalancerClass": "service.k8s.aws/nlb"}})
}

test_cross_zone_load_balancing_is_said_beside_it if {
	service := _service({
		"metadata": {"annotations": {_aws_attributes: "load_balancing.cross_zone.enabled=true"}},
		"spec": {"loadBalancerClass": "service.k8s.aws/nlb"},
	})
	rule.shares_traffic == {
		_of_zones,
		{
			"how": "nodes",
			"message": concat("", [
				"annotation ", _aws_attributes,
				"=load_balancing.cross_zone.enabled=true gives each healthy node the same share",
			]),
			"source": _cross_zone,
		},
	} with input as service
}

test_a_provider_shares_among_nodes[provider] if {
	some provider in ["azure", "digitalocean-regional", "gke", "hetzner", "linode", "oci-lb", "scaleway"]
	{reason.how | some reason in rule.shares_traffic} == {"nodes"} with input as _named(provider)
}

test_a_verdict_takes_precedence_over_the_provider if {
	service := _service({
		"metadata": {"annotations": {"networking.gke.io/weighted-load-balancing": "pods-per-node"}},
		"spec": {"loadBalancerClass": "networking.gke.io/l4-regional-external"},
	})
	{reason.how | some reason in rule.shares_traffic} == {"weighted"} with input as service
}

test_a_verdict_says_it[verdict] if {
	some verdict, [provider, how] in {
		"weighted": ["alibaba-clb", "weighted"],
		"single-announcer": ["metallb-l2", "announcer"],
	}
	{reason.how | some reason in rule.shares_traffic} == {how} with input as _named(provider)
}

test_pods_are_targets_zone_by_zone if {
	{reason.how | some reason in rule.shares_traffic} == {"pods", "zones"} with input as _named("aws-nlb-ip")
}

test_an_election_without_regard_to_pods if {
	{reason.how | some reason in rule.shares_traffic} == {"announcer", "unchecked"} with input as _named("cilium-l2")
}

test_a_check_that_is_replaced if {
	rule.shares_traffic == {{
		"how": "unchecked",
		"message": "load balancer octavia checks nodes only with a health monitor",
		"source": concat("", [
			"https://github.com/kubernetes/cloud-provider-openstack/blob/98668a4b734c1f14a20f2bb34dc414ef026ccd94/",
			"pkg/openstack/loadbalancer.go",
		]),
	}} with input as _named("octavia")
}

test_proxy_protocol_makes_all_nodes_fail_the_check if {
	service := _service({
		"metadata": {"annotations": {"service.beta.kubernetes.io/aws-load-balancer-proxy-protocol": "*"}},
		"spec": {"loadBalancerClass": "service.k8s.aws/nlb"},
	})
	{reason.how | some reason in rule.shares_traffic} == {"zones", "unchecked"} with input as service
}

test_nothing_is_said_otherwise[sentence] if {
	some sentence, document in {
		"no name": _named(""),
		"an unknown name": _named("example"),
		"a name about which nothing is known": _named("ovh"),
		"a Service of another type": _service({"spec": {"type": "NodePort", "loadBalancerClass": "service.k8s.aws/nlb"}}),
		"an annotation that is not a string": _service({"metadata": {"annotations": {_aws_attributes: true}}}),
	}
	rule.shares_traffic == set() with input as document
}

_of_zones := {
	"how": "zones",
	"message": "load balancer class service.k8s.aws/nlb gives each zone the same share, however many pods it has",
	"source": _cross_zone,
}

_cross_zone := "https://docs.aws.amazon.com/elasticloadbalancing/latest/network/target-group-cross-zone.html"

_aws_attributes := "service.beta.kubernetes.io/aws-load-balancer-attributes"

_named(provider) := _service({"facts": {"provider": provider}})

_service(parts) := {
	"object": object.union(
		{"kind": "Service", "metadata": {}, "spec": {"type": "LoadBalancer"}},
		object.remove(parts, ["facts"]),
	),
	"facts": object.union({"local": true, "provider": ""}, object.get(parts, "facts", {})),
}
