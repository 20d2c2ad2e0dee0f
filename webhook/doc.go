// Package webhook is the cluster side of Sourceward: it answers an API server's admission requests with
// the decision of package policies.
//
// It keeps what a decision needs in memory, fed by watches: neighbours in a policies.Index, policies
// compiled, certificates rotated. It decides nothing itself, and changes no object but through its
// answers; what it writes are its own Secret and the caBundle of its own configurations.
package webhook
