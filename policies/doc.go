// Package policies decides what is wrong with a Service or a workload behind it, where the client's
// source IP is concerned, and how to repair it.
//
// It reads nothing but the arguments of its functions: no API server, no file, no clock, no
// environment; it logs nothing and changes none of its arguments. The admission webhook, the dry-run
// binary and the audit all call [Decide], so that they cannot disagree.
package policies
