# METADATA
# title: Local alone does not show the client's address
# description: |
#   A Service is Local behind a load balancer that ends the client's connection, and nothing is enabled that
#   tells pods the client's address.
# related_resources:
#   - ref: https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt
#     description: The PROXY protocol.
# custom:
#   severity: warning
#   mode: Warn
#   kinds: [Service]
#   why: |
#     Local keeps the source address of packets, and these come from the load balancer: the client's
#     connection ends there. Only a header that the load balancer adds can tell the client's address.
#   remedy: |
#     Enable the PROXY protocol by the annotation that the finding names, and in what listens in the pods; or
#     set externalTrafficPolicy: Cluster, if the address is not needed.
#   exempt: When Local is meant to save a hop, or the PROXY protocol is enabled for all load balancers at once.
#   since: All versions.
package sourceward.rules.local_hides_source_ip

import data.sourceward.lib.rows

# METADATA
# description: One finding for each way to have the address told, where no annotation makes the load balancer tell it.
warn contains finding if {
	input.facts.local
	not rows.ignored
	count(_told) == 0
	some reveal_by, sentences in _hidden
	finding := {
		"path": "/spec/externalTrafficPolicy",
		"message": sprintf("Local alone does not show pods the client's address: %s", [rows.one_of(sentences)]),
		"fix": sprintf("enable the PROXY protocol, by %s and in the pods; or set externalTrafficPolicy: Cluster", [reveal_by]),
	}
}

# What is said of load balancers that end connections, by what would make them tell the address.
_hidden[match.row.says.reveal_by] contains rows.sentence(match) if {
	some match in rows.saying("reveal_by")
	rows.in_effect(match)
}

# What tells the client's address in a header.
_told contains match.row.id if {
	some match in rows.judging({"proxy"})
	rows.in_effect(match)
	not match.row.says.reveal_by
}
