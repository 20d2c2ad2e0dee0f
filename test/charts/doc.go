// Command charts judges the manifests that well-known Go modules bring along, and holds what the rules find in them against what a
// person thinks of it, in judgements.yaml. It is how a rule earns the trust that nobody mutes it.
//
// It fails on a finding that nobody judged, on a judgement that nothing found, and on a finding that was judged wrong. It writes
// to the module cache and to a temporary folder only.
package main
