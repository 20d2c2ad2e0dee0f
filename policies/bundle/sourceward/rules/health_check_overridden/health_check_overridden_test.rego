package sourceward.rules.health_check_overridden_test

import data.sourceward.rules.health_check_overridden as rule

test_an_open_port_tells_nothing_of_pods if {
	rule.warn == {{
		"path": "/metadata/annotations/service.beta.kubernetes.io~1aws-load-balancer-healthcheck-protocol",
		"message": concat(" ", [
			"nodes without pods may get traffic, and drop it: annotation service.beta.kubernetes.io/aws-load-balancer-healthcheck-protocol=TCP",
			"only sees that a port is open, which Local's health port always is",
		]),
		"fix": "remove the annotation",
	}} with input as _service(true, "", {"service.beta.kubernetes.io/aws-load-balancer-healthcheck-protocol": "TCP"})
}

test_a_check_that_is_off_is_turned_on if {
	rule.warn == {{
		"path": "/metadata/annotations/loadbalancer.openstack.org~1enable-health-monitor",
		"message": concat(" ", [
			"nodes without pods may get traffic, and drop it:",
			"annotation loadbalancer.openstack.org/enable-health-monitor=false leaves nodes unchecked",
		]),
		"fix": `set it to "true"`,
		"want": "true",
	}} with input as _service(true, "", {"loadbalancer.openstack.org/enable-health-monitor": "false"})
}

test_a_check_that_is_missing_is_one_finding_for_all_annotations_that_tell_of_it if {
	findings := rule.warn with input as _service(true, "octavia", {
		"loadbalancer.openstack.org/proxy-protocol": "true",
		"loadbalancer.openstack.org/keep-floatingip": "true",
	})
	findings == {{
		"path": "/metadata/annotations/loadbalancer.openstack.org~1enable-health-monitor",
		"message": concat(" ", [
			"nodes without pods may get traffic, and drop it: annotation loadbalancer.openstack.org/keep-floatingip=true is Octavia's,",
			"which checks nodes only if annotation loadbalancer.openstack.org/enable-health-monitor or the cloud's create-monitor says so",
		]),
		"fix": `add annotation loadbalancer.openstack.org/enable-health-monitor: "true"`,
		"want": "true",
	}}
}

test_nothing_is_found_otherwise[sentence] if {
	protocol := "service.beta.kubernetes.io/aws-load-balancer-healthcheck-protocol"
	port := "service.beta.kubernetes.io/aws-load-balancer-healthcheck-port"
	some sentence, document in {
		"it is not Local": _service(false, "octavia", {protocol: "tcp"}),
		"the value is another": _service(true, "", {protocol: "http"}),
		"the value is no text": _service(true, "", {protocol: ["tcp"]}),
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
