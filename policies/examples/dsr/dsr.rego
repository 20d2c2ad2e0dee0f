# METADATA
# title: Direct server return
# description: Nodes of this cluster reply to clients directly, so pods see client addresses with either traffic policy.
# related_resources:
#   - ref: https://docs.cilium.io/en/stable/network/kubernetes/kubeproxy-free/#direct-server-return-dsr
# custom:
#   kinds: [Service]
package sourceward.custom.dsr

# METADATA
# description: Applies to every Service.
keeps_source_ip contains {
	"verdict": "preserved",
	"message": "this cluster replies to clients by direct server return",
}
