// Package review converts between AdmissionReviews and decisions: it reads a request into a policies.Input, and makes a
// response of a policies.Decision.
//
// It has no access to a cluster. The caller fills in neighbours, Namespace, version and time.
package review
