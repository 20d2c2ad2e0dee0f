package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/manifest"
)

// never is the --fail-on with which nothing fails.
const never = "never"

// checkFlags are the flags of check as they are given.
type checkFlags struct {
	outputs     []string
	policies    []string
	context     []string
	exclude     []string
	nodes       int
	kubeVersion string
	provider    string
	failOn      string
	diff        bool
	color       string
	quiet       bool
}

func checkCommand(s streams) *cobra.Command {
	var flags checkFlags
	cmd := &cobra.Command{
		Use:   "check [PATH|-]...",
		Short: "Judge manifests",
		Long: "Judge the Services and workloads in files and directories (by default the current one; - is the standard\n" +
			"input) as the webhook would if they were created, with all that is given as their neighbours.\n\n" +
			"Exit codes: 0 clean, 1 findings at or above --fail-on, 2 could not run, or not all of it.",
		Example: "  sourceward check deploy/\n" +
			"  sourceward check --policy policies/ --context cluster-wide/ -o text -o json=report.json apps/\n" +
			"  helm template . | sourceward check -",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			return check(cmd.Context(), s, flags, args)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&flags.outputs, "output", "o", []string{"text"}, "`FORMAT[=FILE]` of the report: text or json; repeatable")
	f.StringArrayVar(&flags.policies, "policy", nil, "file or directory with SourceIPPolicy objects; repeatable")
	f.StringArrayVar(&flags.context, "context", nil, "file or directory whose objects are neighbours but not judged; repeatable")
	f.StringArrayVar(&flags.exclude, "exclude", nil, "`GLOB` of files and directories to leave out; repeatable")
	f.IntVar(&flags.nodes, "nodes", 0, "number of nodes that may run the pods; 0 if not known")
	f.StringVar(&flags.kubeVersion, "kube-version", policies.Newest.String(), "version of the API server")
	f.StringVar(&flags.provider, "provider", "", "load balancer of Services that do not tell: "+strings.Join(bundle.Providers(), ", "))
	f.StringVar(&flags.failOn, "fail-on", string(policies.Deny), "fail on findings of this mode or above: deny, mutate, warn, audit or never")
	f.BoolVar(&flags.diff, "diff", false, "show what the webhook would change, as a unified diff")
	f.StringVar(&flags.color, "color", colorAuto, "colour in text: auto, always or never")
	f.BoolVarP(&flags.quiet, "quiet", "q", false, "print findings and errors only: no summary, no notes")
	complete(cmd, "output", "text", "json")
	complete(cmd, "provider", bundle.Providers()...)
	complete(cmd, "fail-on", append(modeNames(), never)...)
	complete(cmd, "color", colorAuto, colorAlways, colorNever)
	return cmd
}

// complete lets the shell complete a flag by fixed words.
func complete(cmd *cobra.Command, flag string, words ...string) {
	// The error is non-nil only for a flag that the command does not have.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

func modeNames() []string {
	names := make([]string, len(policies.Modes))
	for i, mode := range policies.Modes {
		names[i] = string(mode)
	}
	return names
}

// check runs the command. Its error is errFindings, errReported, or a mistake in the command line.
func check(ctx context.Context, s streams, flags checkFlags, paths []string) error {
	outputs, err := parseOutputs(flags.outputs, "text", "json")
	if err != nil {
		return err
	}
	if flags.diff && !slices.ContainsFunc(outputs, func(o output) bool { return o.format == "text" }) {
		return errors.New("--diff goes with --output text; the JSON report holds the patches")
	}
	cluster, err := flags.cluster()
	if err != nil {
		return err
	}
	if err := flags.validate(); err != nil {
		return err
	}
	progress := newProgress(s.err)
	rules, problems := loadPolicies(flags.policies, flags.provider)
	manifests, err := manifest.Load(manifest.Options{
		Paths:    paths,
		Context:  flags.context,
		Exclude:  flags.exclude,
		Stdin:    s.in,
		Version:  cluster.Version,
		Progress: progress.read,
	})
	if err != nil {
		return fmt.Errorf("--exclude: %w", err)
	}

	run := &checkRun{
		rules:     rules,
		manifests: manifests,
		cluster:   cluster,
		now:       time.Now(),
	}
	report, err := run.report(ctx, progress)
	progress.done()
	if err != nil {
		fmt.Fprintln(s.err, "error: interrupted; nothing is reported")
		return err
	}
	report.addErrors(problems)
	report.addErrors(manifests.Errors)
	if len(report.Errors) == 0 && manifests.Documents+manifests.Partial == 0 {
		report.addErrors([]*manifest.Error{{Message: fmt.Sprintf(
			"no Kubernetes object found in %s; give files or directories with manifests", strings.Join(paths, ", "))}})
	}

	if flags.diff {
		run.diff(report)
	}

	for _, e := range report.Errors {
		fmt.Fprintf(s.err, "error: %s\n", printable(e.String()))
	}
	if !flags.quiet {
		for _, note := range append(manifests.Notes, run.unknownNamespaces()...) {
			fmt.Fprintf(s.err, "note: %s\n", printable(note))
		}
	}
	for _, output := range outputs {
		write := report.writeJSON
		if output.format == "text" {
			write = func(w io.Writer) error { return report.writeText(w, useColor(flags.color, w), flags.quiet) }
		}
		if err := output.write(s.out, write); err != nil {
			return err
		}
	}
	switch {
	case len(report.Errors) > 0:
		return errReported
	case report.fails(flags.failOn):
		return errFindings
	default:
		return nil
	}
}

func (f checkFlags) cluster() (policies.Cluster, error) {
	version, err := policies.ParseVersion(f.kubeVersion)
	if err != nil {
		return policies.Cluster{}, fmt.Errorf("--kube-version: %w", err)
	}
	if f.nodes < 0 {
		return policies.Cluster{}, fmt.Errorf("--nodes %d is less than 0", f.nodes)
	}
	return policies.Cluster{Nodes: f.nodes, Version: version}, nil
}

func (f checkFlags) validate() error {
	for _, flag := range []struct {
		name, value string
		allowed     []string
	}{
		{"--fail-on", f.failOn, append(modeNames(), never)},
		{"--color", f.color, []string{colorAuto, colorAlways, colorNever}},
		{"--provider", f.provider, append([]string{""}, bundle.Providers()...)},
	} {
		if !slices.Contains(flag.allowed, flag.value) {
			return fmt.Errorf("%s %q is not one of %s", flag.name, flag.value, strings.TrimPrefix(strings.Join(flag.allowed, ", "), ", "))
		}
	}
	return nil
}

// loadPolicies reads and compiles policies. Those that are wrong are left out and told of. A provider
// that is named is the word of one more policy, which comes before all others.
func loadPolicies(paths []string, provider string) (*bundle.Set, []*manifest.Error) {
	loaded, problems := manifest.LoadPolicies(paths)
	rules, wrong := compile(loaded)
	if provider != "" {
		var err error
		rules.Policies, err = policies.NewPolicies(slices.AppendSeq([]v1alpha1.SourceIPPolicy{{Spec: v1alpha1.SourceIPPolicySpec{
			Priority:      math.MaxInt32,
			LoadBalancers: &v1alpha1.LoadBalancers{Default: provider},
		}}}, rules.Policies.All()))
		if err != nil {
			panic(err) // They were ready before.
		}
	}
	for _, w := range wrong {
		problems = append(problems, placed(loaded, w))
	}
	return rules, problems
}

// compile is bundle.Compile of policies that were read from files.
func compile(loaded []*manifest.Policy) (*bundle.Set, []*bundle.Error) {
	list := make([]v1alpha1.SourceIPPolicy, len(loaded))
	for i, policy := range loaded {
		list[i] = policy.SourceIPPolicy
	}
	return bundle.Compile(list)
}

// placed is what compile found wrong, with its place in a file.
func placed(loaded []*manifest.Policy, wrong *bundle.Error) *manifest.Error {
	policy := loaded[wrong.Index]
	return &manifest.Error{File: policy.File(), Position: policy.Position(wrong.Path, wrong.Row), Message: wrong.Error()}
}

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

// output is one -o.
type output struct {
	format string
	// file is empty for the standard output.
	file string
}

// parseOutputs reads the values of -o, each FORMAT or FORMAT=FILE.
func parseOutputs(values []string, formats ...string) ([]output, error) {
	var outputs []output
	for _, value := range values {
		format, file, named := strings.Cut(value, "=")
		switch {
		case !slices.Contains(formats, format):
			return nil, fmt.Errorf("--output %q is not one of %s", format, strings.Join(formats, ", "))
		case named && file == "":
			return nil, fmt.Errorf("--output %q names no file; write %s=FILE, or %[2]s alone", value, format)
		case slices.ContainsFunc(outputs, func(o output) bool { return o.file == file }):
			return nil, fmt.Errorf("--output %q goes where another report goes; write %s=FILE", value, format)
		}
		outputs = append(outputs, output{format, file})
	}
	return outputs, nil
}

// write writes a report to where the output goes.
func (o output) write(stdout io.Writer, report func(io.Writer) error) (err error) {
	w := stdout
	if o.file != "" {
		file, err := os.Create(o.file)
		if err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		w = file
	}
	return report(w)
}
