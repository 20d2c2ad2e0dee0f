# Reports every Deployment behind a Local Service of its namespace without a spread constraint on the host name.
package main

deny contains failure if {
	some file in input
	deployment := file.contents
	deployment.kind == "Deployment"
	not spread(deployment.spec.template)
	some selector in selectors[deployment.metadata.namespace]
	selects(selector, deployment.spec.template.metadata.labels)
	failure := {
		"msg": "pods may share a node",
		"namespace": deployment.metadata.namespace,
		"name": deployment.metadata.name,
	}
}

# selectors are those of the Local Services of each namespace, so that Services of other namespaces are not tried.
selectors[namespace] contains file.contents.spec.selector if {
	some file in input
	file.contents.kind == "Service"
	file.contents.spec.externalTrafficPolicy == "Local"
	namespace := file.contents.metadata.namespace
}

spread(template) if {
	some constraint in template.spec.topologySpreadConstraints
	constraint.topologyKey == "kubernetes.io/hostname"
}

selects(selector, labels) if {
	count(selector) > 0
	every key, value in selector { labels[key] == value }
}
