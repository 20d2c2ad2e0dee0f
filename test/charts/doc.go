// Command charts applies the rules to charts and manifests in well-known Go modules, and compares the findings with
// judgements.yaml, in which a person has judged whether each finding is right or wrong. Users mute rules that report
// false alarms; this command keeps the rules free of them.
//
// The command fails if a finding has no judgement, if a judgement has no finding, or if a finding was judged wrong. It
// writes only to the module cache and to a temporary folder.
package main
