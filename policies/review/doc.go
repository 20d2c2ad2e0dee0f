// Package review is the way between an AdmissionReview and a decision: it reads a request into
// policies.Input and writes a policies.Decision into a response.
//
// It calls nothing and knows no cluster: neighbours, Namespace, version and time are its caller's to
// fill in. The webhook and the replay of recorded reviews share it.
package review
