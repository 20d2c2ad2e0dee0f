package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/manifest"
)

// checkRun is what a check decides by.
type checkRun struct {
	rules     *bundle.Set
	manifests *manifest.Manifests
	cluster   policies.Cluster
	now       time.Time
}

// report judges all objects: the Services first, so that workloads are judged behind Services as a
// webhook would have changed them. The error is non-nil only when the run was interrupted.
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
				report.addErrors([]*manifest.Error{{
					File:     object.Document.File,
					Position: object.Position(""),
					Message:  fmt.Sprintf("%s: %s; mend the policy", object.Ref, strings.ReplaceAll(err.Error(), "\n", "; ")),
				}})
			}
		}
	}
	report.sort()
	return report, nil
}

// judge adds the decision about an object to the report. The error is non-nil when a rule could not be
// evaluated.
func (c *checkRun) judge(ctx context.Context, object *manifest.Object, report *report) error {
	settings := policies.Resolve(c.rules.Policies, object.Object, c.manifests.Namespace(object.Namespace))
	decision, err := policies.Decide(ctx, c.manifests.Input(object, c.cluster, c.now), c.rules, settings)
	report.add(object, decision)
	if mutations := decision.Mutations(); object.Service != nil && len(mutations) > 0 {
		err = errors.Join(err, c.manifests.Admit(object, mutations))
	}
	return err
}

// unknownNamespaces tells, once, of policies that select Namespaces by labels that no file gave.
func (c *checkRun) unknownNamespaces() []string {
	var selecting []string
	for policy := range c.rules.Policies.All() {
		if match := policy.Spec.Match; match != nil && policies.AsksForLabels(match.NamespaceSelector) {
			selecting = append(selecting, policy.Name)
		}
	}
	if selecting == nil {
		return nil
	}
	var missing []string
	for _, object := range c.manifests.Objects {
		if !c.manifests.HasNamespace(object.Namespace) && !slices.Contains(missing, object.Namespace) {
			missing = append(missing, object.Namespace)
		}
	}
	if missing == nil {
		return nil
	}
	slices.Sort(missing)
	who := fmt.Sprintf("policy %s selects", selecting[0])
	if len(selecting) > 1 {
		who = fmt.Sprintf("policies %s select", strings.Join(selecting, ", "))
	}
	return []string{fmt.Sprintf("%s by labels of Namespaces, and no manifest gives those of %s; add it with --context",
		who, strings.Join(missing, ", "))}
}
