package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

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
	} {
		if !slices.Contains(flag.allowed, flag.value) {
			return notOneOf(flag.name, flag.value, flag.allowed)
		}
	}
	if providers := bundle.Providers(); f.provider != "" && !slices.Contains(providers, f.provider) {
		return notOneOf("--provider", f.provider, providers)
	}
	return nil
}
