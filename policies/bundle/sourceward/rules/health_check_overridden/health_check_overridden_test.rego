package sourceward.rules.health_check_overridden_test

import data.sourceward.rules.health_check_overridden as rule

test_a_tcp_check_does_not_see_pods if {
	rule.warn == {{
		"path": "/metadata/annotations/service.beta.kubernetes.io~1aws-load-balancer-healthcheck-protocol",
		"message": concat(" ", [
			"annotation service.beta.kubernetes.io/aws-load-balancer-healthcheck-protocol=TCP",
			"only checks that the port is open",
		]),
		"fix": "remove the annotation",
	}} with input as _service(true, "", {"service.beta.kubernetes.io/aws-load-balancer-healthcheck-protocol": "TCP"})
}

test_a_disabled_check_is_enabled if {
	rule.warn == {{
		"path": "/metadata/annotations/loadbalancer.openstack.org~1enable-health-monitor",
		"message": concat(" ", [
			"annotation loadbalancer.openstack.org/enable-health-monitor=false disables the health check of nodes",
		]),
		"fix": `set it to "true"`,
		"want": "true",
	}} with input as _service(true, "", {"loadbalancer.openstack.org/enable-health-monitor": "false"})
}

test_a_missing_check_is_one_finding_for_all_annotations if {
	findings := rule.warn with input as _service(true, "octavia", {
		"loadbalancer.openstack.org/proxy-protocol": "true",
		"loadbalancer.openstack.org/keep-floatingip": "true",
	})
	findings == {{
		"path": "/metadata/annotations/loadbalancer.openstack.org~1enable-health-monitor",
		"message": concat(" ", [
			"annotation loadbalancer.openstack.org/keep-floatingip=true is for Octavia,",
			"which checks nodes only with a health monitor",
		]),
		"fix": concat(" ", [
			`add annotation loadbalancer.openstack.org/enable-health-monitor: "true",`,
			"or set create-monitor in the cloud's configuration",
		]),
		"want": "true",
	}}
}

test_nothing_is_found_otherwise[sentence] if {
	protocol := "service.beta.kubernetes.io/aws-load-balancer-healthcheck-protocol"
	port := "service.beta.kubernetes.io/aws-load-balancer-healthcheck-port"
	some sentence, document in {
		"the Service is not Local": _service(false, "octavia", {protocol: "tcp"}),
		"the value is another": _service(true, "", {protocol: "http"}),
		"the value is not a string": _service(true, "", {protocol: ["tcp"]}),
		"no annotation": _service(true, "", {}),
		"the monitor is on": _service(true, "octavia", {"loadbalancer.openstack.org/enable-health-monitor": "true"}),
		"the traffic's own port is checked": _service(true, "", {protocol: "tcp", port: "traffic-port"}),
		"Local's own port is named": object.union(_service(true, "", {port: "30123"}), {"object": {"spec": {"healthCheckNodePort": 30123}}}),
		"no port is named": _service(true, "", {port: ""}),
		"there is no load balancer": object.union(_service(true, "", {protocol: "tcp"}), {"object": {"spec": {"type": "NodePort"}}}),
	}
	rule.warn == set() with input as document
}

_service(local, provider, annotations) := {
	"object": {"kind": "Service", "metadata": {"annotations": annotations}, "spec": {"type": "LoadBalancer"}},
	"facts": {"local": local, "provider": provider},
}
