// Package webhook is the cluster side of Sourceward: it answers an API server's admission requests with the decisions
// of package policies.
//
// Run starts a replica. A Handler answers the requests of one endpoint. It takes the neighbours of an object from
// caches (file neighbours.go) and the policies in force from a policySource, which compiles them when they change
// (file policies.go). A statusWriter reports the result in the status of the policies and in Events. The endpoints
// are served with SelfManaged certificates, or with FileCertificates.
//
// Everything that a decision needs is kept in memory and updated by watches; only an object that the caches do not
// have yet is looked up at the API server, within bounds. Package webhook makes no decisions itself, and changes
// objects only through its answers. It writes the Secret of its own CA, caBundle of its own configurations, the
// status of policies, and Events.
package webhook
