package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/manifest"
)

// checkRun holds the input of one run of check.
type checkRun struct {
	rules     *slowRules
	manifests *manifest.Manifests
	cluster   policies.Cluster
	now       time.Time
	// isLive is true if the neighbours come from a cluster.
	isLive bool
	// mutationsOnly is true if the report shows no repairs but those of mode mutate.
	mutationsOnly bool
}

// report judges all objects and returns the findings. Services come first, so that each workload is judged behind
// Services that already have the changes that the webhook would make. The error is non-nil only when the run was
// interrupted.
func (c *checkRun) report(ctx context.Context, progress *progress) (*report, error) {
	report := newReport(c.manifests)
	judged := 0
	for _, services := range []bool{true, false} {
		for _, object := range c.manifests.Objects {
			if (object.Service != nil) != services {
				continue
			}
			progress.judged(judged, len(c.manifests.Objects))
			judged++
			if ctx.Err() != nil {
				return nil, errReported
			}
			if err := c.judge(ctx, object, report); err != nil {
				report.addErrors([]*manifest.Error{
					object.Place("").Error(fmt.Sprintf("%s: %s; fix the policy", object.Ref, faultText(err))),
				})
			}
		}
	}
	for _, fault := range c.rules.faults() {
		report.addErrors([]*manifest.Error{{Message: fault}})
	}
	report.sort()
	return report, nil
}

// judge adds the decision about an object to the report. The error is non-nil when a rule could not be evaluated.
func (c *checkRun) judge(ctx context.Context, object *manifest.Object, report *report) error {
	decision, notes, err := c.manifests.Decide(ctx, object, manifest.Bench{
		Rules: c.rules, Policies: c.rules.Policies, Cluster: c.cluster, Now: c.now,
		MutationsOnly: c.mutationsOnly,
	})
	c.rules.judged()
	report.add(object, decision)
	report.addNotes(notes)
	if mutations := decision.Mutations(); object.Service != nil && len(mutations) > 0 {
		err = errors.Join(err, c.manifests.Admit(object, mutations))
	}
	return err
}

// unknownNamespaces returns one note if policies select Namespaces by labels that no manifest gives, for example
//
//	policy a selects Namespaces by label, but the labels of Namespace shop are unknown; add its manifest with --context
func (c *checkRun) unknownNamespaces() []manifest.Remark {
	var selecting []string
	for policy := range c.rules.Policies.All() {
		if match := policy.Spec.Match; match != nil && policies.AsksForLabels(match.NamespaceSelector) {
			selecting = append(selecting, policy.Name)
		}
	}
	if selecting == nil {
		return nil
	}
	isMissing := map[string]bool{}
	for _, object := range c.manifests.Objects {
		if !isMissing[object.Namespace] && c.manifests.Namespace(object).Assumed {
			isMissing[object.Namespace] = true
		}
	}
	missing := slices.Sorted(maps.Keys(isMissing))
	if missing == nil {
		return nil
	}
	selects, of, add := "policy %s selects", "Namespace %s", "add its manifest"
	if len(selecting) > 1 {
		selects = "policies %s select"
	}
	if len(missing) > 1 {
		of, add = "Namespaces %s", "add their manifests"
	}
	return []manifest.Remark{{Text: fmt.Sprintf(
		selects+" Namespaces by label, but the labels of "+of+" are unknown; "+add+" with --context",
		listed(selecting), listed(missing))}}
}

// uncheckedPods returns a note about the Local Services without a workload, and one about each whose workloads are only
// context.
func (c *checkRun) uncheckedPods() []manifest.Remark {
	without, remarks := c.manifests.UncheckedPods()
	if len(without) == 0 {
		return remarks
	}
	names := make([]string, len(without))
	for i, service := range without {
		names[i] = service.String()
	}
	why := "no workload that was read in the namespace has the labels of the selector; " +
		"give the files of the workloads, too"
	if c.isLive {
		why = "no workload in the namespace has the labels of the selector; the Pods of a cluster are not read"
	}
	return append(remarks, manifest.Remark{Text: "the pods behind " + listed(names) + " are not checked, since " + why})
}
