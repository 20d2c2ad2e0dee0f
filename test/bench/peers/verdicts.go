package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// agreement compares the Deployments that a peer reports as not spread behind a Local Service with those that
// Sourceward reports.
type agreement struct {
	peer string
	// both and neither are numbers of Deployments. ours and theirs are the Deployments that only one of the two
	// reports, each as namespace/name.
	both, neither int
	ours, theirs  []string
}

// verdictCorpus is the name of the corpus on which verdicts are compared.
const verdictCorpus = "pairs-1000"

var errDisagree = errors.New("programs disagree about the same rule; see the verdicts above")

// verdicts compares what Sourceward and the peers report about the Deployments of a corpus. kube-score has no such
// rule.
func (b *bench) verdicts(ctx context.Context, c corpus) ([]agreement, error) {
	b.shown.show("comparing the verdicts")
	ours, err := b.reported(ctx, []string{"sourceward", "check", "-o", "json", c.name}, bySourceward)
	if err != nil {
		return nil, err
	}
	deployments := 0
	for _, file := range c.files {
		deployments += bytes.Count(file, []byte("\nkind: Deployment\n"))
	}
	read := map[string]func([]byte) (map[string]bool, error){gator: byGator, conftest: byConftest}
	var agreements []agreement
	for _, p := range programs() {
		if read[p.name] == nil {
			continue
		}
		theirs, err := b.reported(ctx, append(p.command(c), "-o", "json"), read[p.name])
		if err != nil {
			return nil, err
		}
		agreements = append(agreements, compare(p.name, deployments, ours, theirs))
	}
	return agreements, nil
}

// reported runs a command and reads the Deployments that it reports.
func (b *bench) reported(
	ctx context.Context, command []string, read func(report []byte) (map[string]bool, error),
) (map[string]bool, error) {
	out, err := b.output(ctx, b.binaries[command[0]], command[1:], 0, 1)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(command, " "), err)
	}
	deployments, err := read(out)
	if err != nil {
		return nil, fmt.Errorf("read the report of %s: %w", strings.Join(command, " "), err)
	}
	return deployments, nil
}

// compare compares two sets of Deployments, out of a number of them.
func compare(peer string, deployments int, ours, theirs map[string]bool) agreement {
	a := agreement{peer: peer}
	for _, name := range slices.Sorted(maps.Keys(ours)) {
		if theirs[name] {
			a.both++
		} else {
			a.ours = append(a.ours, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(theirs)) {
		if !ours[name] {
			a.theirs = append(a.theirs, name)
		}
	}
	a.neither = deployments - a.both - len(a.ours) - len(a.theirs)
	return a
}

// agree reports whether there is no difference.
func (a agreement) agree() bool { return len(a.ours)+len(a.theirs) == 0 }

// object is what all reports contain about an object.
type object struct {
	Kind, Namespace, Name string
}

func (o object) key() string { return o.Namespace + "/" + o.Name }

// bySourceward reads a report of sourceward check.
func bySourceward(report []byte) (map[string]bool, error) {
	var content struct {
		Findings []struct {
			Rule   string
			Object object
		}
	}
	if err := json.Unmarshal(report, &content); err != nil {
		return nil, err
	}
	deployments := map[string]bool{}
	for _, f := range content.Findings {
		if f.Object.Kind == "Deployment" && (f.Rule == "unspread-behind-local" || f.Rule == "ineffective-spread") {
			deployments[f.Object.key()] = true
		}
	}
	return deployments, nil
}

// byGator reads a report of gator test. Only the referential rule reports Deployments.
func byGator(report []byte) (map[string]bool, error) {
	var content []struct {
		ViolatingObject struct {
			Kind     string
			Metadata object
		}
	}
	if err := json.Unmarshal(report, &content); err != nil {
		return nil, err
	}
	deployments := map[string]bool{}
	for _, violation := range content {
		if violation.ViolatingObject.Kind == "Deployment" {
			deployments[violation.ViolatingObject.Metadata.key()] = true
		}
	}
	return deployments, nil
}

// byConftest reads a report of conftest test. The rule adds the Deployment to the metadata of each failure.
func byConftest(report []byte) (map[string]bool, error) {
	var content []struct {
		Failures []struct{ Metadata object }
	}
	if err := json.Unmarshal(report, &content); err != nil {
		return nil, err
	}
	deployments := map[string]bool{}
	for _, result := range content {
		for _, failure := range result.Failures {
			deployments[failure.Metadata.key()] = true
		}
	}
	return deployments, nil
}
