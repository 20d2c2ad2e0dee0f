package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/child"
	"github.com/sourceward/sourceward/policies/manifest"
)

// shortNames are the short names of kinds that kubectl knows.
var shortNames = map[string]string{
	"deploy": "Deployment", "ds": "DaemonSet", "po": "Pod", "rs": "ReplicaSet", "sts": "StatefulSet", "svc": "Service",
}

// parseObject parses KIND/NAMESPACE/NAME into a Ref without APIVersion. KIND/NAME is for the namespace of -n or,
// without it, for default.
func (f explainFlags) parseObject(text string) (policies.Ref, error) {
	parts := strings.Split(text, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return policies.Ref{}, fmt.Errorf(
			"%q does not name an object; write KIND/NAMESPACE/NAME, such as Deployment/edge/web", text)
	}
	named := cmp.Or(shortNames[strings.ToLower(parts[0])], parts[0])
	i := slices.IndexFunc(policies.Kinds, func(kind string) bool { return strings.EqualFold(kind, named) })
	if i < 0 {
		return policies.Ref{}, fmt.Errorf("%q: Sourceward does not check kind %s; want one of %s",
			text, parts[0], strings.Join(policies.Kinds, ", "))
	}
	ref := policies.Ref{Kind: policies.Kinds[i], Namespace: cmp.Or(f.namespace, "default"), Name: parts[len(parts)-1]}
	if len(parts) == 3 {
		ref.Namespace = parts[1]
	}
	// With files, -n is for those objects that name no namespace.
	if f.cluster.cluster && f.namespace != "" && f.namespace != ref.Namespace {
		return policies.Ref{}, fmt.Errorf("%s is not in Namespace %s of -n; remove one of the two", text, f.namespace)
	}
	return ref, nil
}

// subject is the object to explain, together with everything that determines its settings.
type subject struct {
	object    *policies.Object // nil if it was not found
	namespace policies.Namespace
	policies  policies.Policies
	// written holds the names of the policies that set evaluationFailure themselves.
	written map[string]bool
	// problems say what is missing from the explanation and why; they make the exit code 2. notes do not.
	problems []problem
	notes    []string
}

// problem is an error of one line. An error in Rego has the lines of code below it as detail.
type problem struct{ line, detail string }

// compile compiles policies and adds their settings. placed returns a problem of one with its place in a file, if any.
func (s *subject) compile(ctx context.Context, list []v1alpha1.SourceIPPolicy, placed func(*bundle.Error) error) {
	set, wrong := bundle.Compile(ctx, child.Try, list)
	s.policies, s.written = set.Policies, map[string]bool{}
	for _, policy := range list {
		s.written[policy.Name] = policy.Spec.EvaluationFailure != ""
	}
	for _, w := range wrong {
		s.problems = append(s.problems, problem{placed(w).Error(), strings.TrimPrefix(w.Detail(), w.Error())})
	}
}

func (s *subject) add(err error) { s.problems = append(s.problems, problem{line: err.Error()}) }

// explainSettings runs explain --settings. The error is errReported, or describes a mistake in the command line.
func explainSettings(ctx context.Context, s streams, flags explainFlags) error {
	ref, err := flags.parseObject(flags.settings)
	if err != nil {
		return fmt.Errorf("--settings %w", err)
	}
	cluster, err := flags.cluster.open()
	if err != nil {
		return err
	}
	var of *subject
	if cluster != nil {
		of = cluster.subject(ctx, ref)
	} else {
		of, err = subjectInFiles(ctx, s, flags, ref)
	}
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errInterrupted
	}
	writeRemarks(s, of.problems, of.notes)
	if of.object != nil {
		if err := writeSettings(s.out, of, policies.Explain(of.policies, of.object, of.namespace)); err != nil {
			return err
		}
	}
	if len(of.problems) > 0 {
		return errReported
	}
	return nil
}

// writeRemarks writes problems and notes to the standard error.
func writeRemarks(s streams, problems []problem, notes []string) {
	for _, p := range problems {
		fmt.Fprintf(s.err, "error: %s\n", policies.Printable(p.line))
		writeDetail(s.err, strings.TrimPrefix(p.detail, "\n"))
	}
	for _, note := range notes {
		fmt.Fprintf(s.err, "note: %s\n", policies.Printable(note))
	}
}

// subject reads the object from the cluster, with its Namespace and all policies. If one of them cannot be read, that
// is a problem, and the object is nil: the explanation would be incomplete.
func (c *cluster) subject(ctx context.Context, ref policies.Ref) *subject {
	found := &subject{}
	if err := c.readSubject(ctx, ref, found); err != nil {
		found.object = nil
		found.add(err)
	}
	return found
}

func (c *cluster) readSubject(ctx context.Context, ref policies.Ref, found *subject) error {
	if _, _, err := c.version(ctx); err != nil {
		return err
	}
	object, err := c.get(ctx, judgedResource(ref.Kind), ref.Namespace, ref.Name)
	if apierrors.IsNotFound(err) {
		return c.notThere(ref)
	}
	if err != nil {
		return err
	}
	if found.object, err = policies.NewObject(object); err != nil {
		return fmt.Errorf("read %s from the cluster at %s: %w", ref, c.host, err)
	}
	content, err := c.get(ctx, namespaceResource, "", ref.Namespace)
	if err != nil {
		return err
	}
	namespace := unstructured.Unstructured{Object: content}
	found.namespace = policies.Namespace{
		Name: ref.Namespace, Labels: namespace.GetLabels(), Annotations: namespace.GetAnnotations(),
	}
	list, isServed, err := c.policies(ctx)
	if err != nil {
		return err
	}
	if !isServed {
		found.notes = append(found.notes, c.withoutPolicies())
	}
	found.compile(ctx, list, func(wrong *bundle.Error) error { return wrong })
	for _, policy := range list {
		if note := notInForce(policy); note != "" {
			found.notes = append(found.notes, fmt.Sprintf("%s %s: %s", v1alpha1.Kind, policy.Name, note))
		}
	}
	return nil
}

// notThere returns the error for an object that the cluster does not have.
func (c *cluster) notThere(ref policies.Ref) error {
	return fmt.Errorf("%s is not in the cluster at %s; check its kind, namespace and name, and the kubeconfig",
		ref, c.host)
}

// notInForce says why the webhook may not use this generation of a policy, so that the explanation may differ from what
// the webhook does. It returns "" if the status says that this generation is in force.
func notInForce(policy v1alpha1.SourceIPPolicy) string {
	ready := meta.FindStatusCondition(policy.Status.Conditions, v1alpha1.ConditionReady)
	switch degraded := meta.FindStatusCondition(policy.Status.Conditions, v1alpha1.ConditionDegraded); {
	case ready == nil || ready.ObservedGeneration < policy.Generation:
		return fmt.Sprintf("no webhook has reported yet that generation %d is in force", policy.Generation)
	case ready.Status == metav1.ConditionTrue:
		return ""
	case degraded != nil:
		return fmt.Sprintf("the webhook reports that %s; it may use other settings than these", degraded.Message)
	default:
		return "the webhook reports that it is not in force: " + ready.Reason
	}
}

// subjectInFiles reads the object from files. The error is non-nil only for a mistake in the command line.
func subjectInFiles(ctx context.Context, s streams, flags explainFlags, ref policies.Ref) (*subject, error) {
	manifests, err := flags.load(ctx, s)
	if err != nil {
		return nil, err
	}
	found := &subject{}
	loaded, problems := manifests.Policies(flags.policies)
	for _, e := range slices.Concat(manifests.Errors, problems) {
		found.add(e)
	}
	found.compile(ctx, objects(loaded), func(wrong *bundle.Error) error { return placed(loaded, wrong) })

	object, note := find(manifests, ref)
	if object == nil {
		found.add(flags.notThere(ref))
		return found, nil
	}
	found.object, found.namespace = object.Object, manifests.Namespace(object)
	if note != "" {
		found.notes = append(found.notes, note)
	}
	return found, nil
}

// load reads the files. The error describes a mistake in the command line.
func (f explainFlags) load(ctx context.Context, s streams) (*manifest.Manifests, error) {
	manifests, err := manifest.Load(manifest.Options{
		Paths: f.files, Nodes: true, Exclude: f.exclude, Stdin: s.in, Namespace: f.namespace,
		Version: f.version(), Rendering: defaultRendering(ctx),
	})
	if err != nil {
		return nil, fmt.Errorf("--exclude: %w", err)
	}
	return manifests, nil
}

// find returns the last definition of an object, or nil. The note says that there are several; otherwise it is empty.
func find(manifests *manifest.Manifests, ref policies.Ref) (found *manifest.Object, note string) {
	var places []string
	for _, object := range manifests.Objects {
		if object.Kind == ref.Kind && object.Namespace == ref.Namespace && object.Name == ref.Name {
			found = object
			places = append(places, object.Place("").String())
		}
	}
	if len(places) > 1 {
		note = fmt.Sprintf("%s is defined more than once, in %s; the last definition is "+
			"explained, and -f with its file alone explains another", ref, listed(places))
	}
	return found, note
}

// notThere returns the error for an object that the files do not define.
func (f explainFlags) notThere(ref policies.Ref) error {
	return fmt.Errorf("%s is not in %s; check its kind, namespace and name, or add its file with -f",
		ref, strings.Join(f.files, ", "))
}

// writeSettings writes an explanation as tables.
func writeSettings(w io.Writer, of *subject, explanation policies.Explanation) error {
	out := bufio.NewWriter(w)
	namespace, own := labelText(of.namespace.Labels), ""
	if of.object.Service != nil {
		own = labelText(of.object.Service.Labels)
	} else {
		own = labelText(of.object.Workload.Labels)
	}
	if of.namespace.Assumed {
		namespace = "labels unknown; add its manifest with -f"
	}
	fmt.Fprintf(out, "%s (%s) in Namespace %s (%s)\n\n", policies.Printable(of.object.String()), policies.Printable(own),
		policies.Printable(of.namespace.Name), policies.Printable(namespace))

	if len(explanation.Policies) == 0 {
		fmt.Fprintln(out, "There is no SourceIPPolicy: all settings are built-in.")
	} else if err := writePolicies(out, explanation.Policies, of.written); err != nil {
		return err
	}
	fmt.Fprintln(out)

	var notes []string
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SETTING\tVALUE\tFROM\tINSTEAD OF")
	for _, setting := range explanation.Settings {
		value, instead := setting.Values[0], []string{}
		for _, other := range setting.Values[1:] {
			instead = append(instead, fmt.Sprintf("%s (%s)", valueText(other), from(other)))
		}
		row(table, setting.Name, valueText(value), from(value), orDash(strings.Join(instead, ", ")))
		if setting.Note != "" {
			notes = append(notes, fmt.Sprintf("%s: %s; %s", setting.Name, value.Value, setting.Note))
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if notes != nil {
		fmt.Fprintln(out, "\nBuilt-in modes that depend on the finding:")
	}
	for _, note := range notes {
		fmt.Fprintf(out, "  %s\n", note)
	}
	if rego := withRego(explanation.Policies); rego != nil && of.object.Workload != nil {
		fmt.Fprintf(out, "\nIf the Rego of %s asks for a spread, that overrides spread.* above.\n",
			policies.Printable(strings.Join(rego, ", ")))
	}
	if strict := denyExisting(explanation.Policies); strict != nil {
		fmt.Fprintf(out, "\nThe rules of %s deny or repair also what was there before (existingViolations Deny).\n",
			policies.Printable(strings.Join(strict, ", ")))
	}
	return out.Flush()
}

func writePolicies(w io.Writer, explained []policies.ExplainedPolicy, written map[string]bool) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "POLICY\tPRIORITY\tMATCHES\tWHY\tREGO")
	for _, policy := range explained {
		matches, rego := "no", "-"
		if policy.Matches {
			matches = "yes"
		}
		if policy.Modules != nil {
			source := "the default"
			if written[policy.Name] {
				source = "as written"
			}
			rego = fmt.Sprintf("%s (evaluationFailure %s, %s)",
				strings.Join(policy.Modules, ", "), policy.EvaluationFailure, source)
		}
		row(table, policy.Name, strconv.Itoa(int(policy.Priority)), matches, policy.Why, rego)
	}
	return table.Flush()
}

// withRego returns the names of the policies that match and have modules.
func withRego(explained []policies.ExplainedPolicy) []string {
	var names []string
	for _, policy := range explained {
		if policy.Matches && policy.Modules != nil {
			names = append(names, policy.Name)
		}
	}
	return names
}

// denyExisting returns the names of the policies that match and have existingViolations: Deny.
func denyExisting(explained []policies.ExplainedPolicy) []string {
	var names []string
	for _, policy := range explained {
		if policy.Matches && policy.DenyExisting {
			names = append(names, policy.Name)
		}
	}
	return names
}

func valueText(value policies.ExplainedValue) string {
	if value.Value == "" {
		return "none"
	}
	return value.Value
}

// from returns the source of a value: built-in, or the name of a policy.
func from(value policies.ExplainedValue) string {
	switch {
	case value.Policy == "":
		return "built-in"
	case value.By != "":
		return value.Policy + ", by " + value.By
	default:
		return value.Policy
	}
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func labelText(of map[string]string) string {
	if len(of) == 0 {
		return "no labels"
	}
	return labels.FormatLabels(of)
}
