// Command charts applies the rules to charts and manifests in well-known Go modules, and compares the findings with
// judgements.yaml, in which a person has judged whether each finding is right or wrong. Users mute rules that report
// false alarms; this command keeps the rules free of them.
//
// It also compares what sourceward check renders, for each chart and kustomization there, with what the action behind
// helm template and kubectl kustomize render, value for value. Only what helm renders differently from one time to the
// next may differ: what depends on chance, on the clock or on the order of a map. And each finding in what was rendered
// has to name a file and a line that exist.
//
// The command fails if a finding has no judgement, if a judgement has no finding, if a finding was judged wrong, or if
// anything is rendered differently. It writes only to the module cache and to a temporary folder.
package main
