# METADATA
# title: Direct server return
# description: Nodes of this cluster answer the client themselves, so pods see its address whatever the traffic policy.
# related_resources:
#   - ref: https://docs.cilium.io/en/stable/network/kubernetes/kubeproxy-free/#direct-server-return-dsr
# custom:
#   kinds: [Service]
package sourceward.custom.dsr

# METADATA
# description: Holds for every Service.
keeps_source_ip contains {
	"verdict": "preserved",
	"message": "this cluster answers clients by direct server return",
}
