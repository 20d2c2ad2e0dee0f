# METADATA
# title: Shares of traffic
# description: |
#   Determines how the load balancer of a Service shares traffic with Local, from the rows of the provider table that
#   match the Service.
# related_resources:
#   - ref: https://docs.aws.amazon.com/elasticloadbalancing/latest/network/target-group-cross-zone.html
#     description: A load balancer that shares traffic among zones first.
# custom:
#   severity: info
#   kinds: [Service]
package sourceward.rules.traffic_shares

import data.sourceward.lib.rows

# METADATA
# description: One reason for each row that says what gets the same share of the traffic.
shares_traffic contains reason if {
	some match in rows.saying("shares")
	shares := match.row.says.shares
	not _overruled(shares.among)
	reason := {
		"how": shares.among,
		"message": concat(" ", [rows.subject(match), _sentences[shares.among]]),
		"source": shares.source,
	}
}

# What the load balancers of a provider do for every Service is not said where a verdict says otherwise for this one.
_overruled("nodes") if count(rows.judging(object.keys(_ways))) > 0

# METADATA
# description: One reason for each row whose verdict says that shares depend on something else than nodes.
shares_traffic contains reason if {
	some match in rows.judging(object.keys(_ways))
	reason := _reason(match, _ways[match.row.says.verdict])
}

# METADATA
# description: One reason for each row because of which no health check keeps traffic away from nodes without pods.
shares_traffic contains _reason(match, "unchecked") if some match in rows.replacing_check

# METADATA
# description: |
#   One reason for each row because of which all nodes fail the health check. A load balancer of AWS then sends traffic to
#   all of them.
# related_resources:
#   - ref: https://docs.aws.amazon.com/elasticloadbalancing/latest/network/target-group-health-checks.html
shares_traffic contains _reason(match, "unchecked") if some match in rows.saying("breaks_health_check")

# METADATA
# description: One reason for each row because of which a node may be elected that has no pods.
shares_traffic contains _reason(match, "unchecked") if some match in rows.saying("works_with")

_reason(match, how) := {"how": how, "message": rows.sentence(match), "source": match.row.source}

_sentences := {
	"nodes": "gives each healthy node the same share",
	"zones": "gives each zone the same share, however many pods it has",
}

_ways := {
	"weighted": "weighted",
	"single-announcer": "announcer",
	"useless": "pods",
}
