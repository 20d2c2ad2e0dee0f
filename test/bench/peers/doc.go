// Command peers measures Sourceward beside other programs that check Kubernetes manifests: kube-score, gator and
// conftest. It measures whole processes on the same files, and compares their verdicts where a peer can express the
// rule. It also runs the benchmarks of the folder above, and compares all figures with the project's goals.
//
// The command writes RESULTS.md and results.svg. With -quick it measures less, and only prints the tables. It fails if
// a program cannot be run, or if two programs disagree about the same rule; a missed goal is only shown. Besides the
// results it writes only to a temporary folder, and to ${SOURCEWARD_CACHE:-~/.cache/sourceward}, where the peers are
// built. It runs on Linux only.
package main
