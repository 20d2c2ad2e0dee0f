# METADATA
# title: Local alone does not show the client's address
# description: |
#   A Service is Local behind a load balancer that terminates the client's connection, and no annotation makes the
#   load balancer send the client's address to the pods.
# related_resources:
#   - ref: https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt
#     description: The PROXY protocol.
# custom:
#   severity: warning
#   mode: Warn
#   kinds: [Service]
#   why: |
#     Local keeps the source address of packets. But the client's connection ends at the load balancer, so the
#     packets come from there. Pods can see the client's address only in a header that the load balancer adds.
#   remedy: |
#     Enable the PROXY protocol with the annotation that the finding names, and in the server in the pods. If the
#     address is not needed, set externalTrafficPolicy: Cluster.
#   exempt: When Local is meant to save a hop, or the PROXY protocol is enabled for all load balancers at once.
#   since: All versions.
package sourceward.rules.local_hides_source_ip

import data.sourceward.lib.rows

# METADATA
# description: One finding for each annotation that would make the load balancer send the address, unless one does.
warn contains finding if {
	input.facts.local
	not rows.ignored
	count(_revealed) == 0
	some reveal_by, sentences in _hidden
	finding := {
		"path": "/spec/externalTrafficPolicy",
		"message": sprintf("pods do not see the source IP: %s", [rows.one_of(sentences)]),
		"fix": sprintf("enable the PROXY protocol with %s and in the pods, or set externalTrafficPolicy: Cluster", [reveal_by]),
	}
}

# The sentences about load balancers that terminate connections, by what would make them send the address.
_hidden[match.row.says.reveal_by] contains rows.sentence(match) if {
	some match in rows.saying("reveal_by")
}

# The rows whose load balancer sends the client's address in a header.
_revealed contains match.row.id if {
	some match in rows.judging({"proxy"})
	not match.row.says.reveal_by
}
