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
	"github.com/spf13/pflag"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/manifest"
)

// never is the value of --fail-on with which no finding fails the run.
const never = "never"

// checkFlags holds the flags of check as they were given.
type checkFlags struct {
	outputs     []string
	policies    []string
	context     []string
	exclude     []string
	namespace   string
	show        []string
	nodes       int
	kubeVersion string
	provider    string
	failOn      string
	baseline    string
	diff        bool
	color       string
	quiet       bool
	render      renderFlags
}

func checkCommand(s streams) *cobra.Command {
	var showConfig bool
	var from clusterFlags
	cmd := &cobra.Command{
		Use:   "check [PATH|-]...",
		Short: "Check the Services and workloads in manifests or in a cluster",
		Long: "Check the Services and workloads in manifests. Each object gets the findings\n" +
			"that it would get from the webhook if it were created in a cluster that holds\n" +
			"all other objects in the manifests.\n\n" +
			"A PATH is a YAML or JSON file, a directory, or - for standard input. The default\n" +
			"is the current directory. In a directory, check reads all .yaml, .yml and .json\n" +
			"files at any depth, except hidden ones. If files define an object several times,\n" +
			"the nearest definition is the neighbour of an object.\n\n" +
			"Kustomizations in a directory are built, and Helm charts are rendered. A finding\n" +
			"names the file and line to change. Nothing is fetched, and no plugin is run.\n\n" +
			"\"skipped\" in the report lists what was not checked and may reach a cluster, such\n" +
			"as a kustomization that cannot be built.\n\n" +
			"A file .sourceward.yaml, in the current directory or above it up to the root of\n" +
			"the repository, sets flags by their names. Flags on the command line override it.\n" +
			"It can also list environments, each with paths and settings of its own. Without\n" +
			"a PATH, check then checks all of them, each apart from the others. A PATH in the\n" +
			"paths of an environment is checked in that environment.\n\n" +
			"With --cluster and without a PATH, check judges what the cluster of your\n" +
			"kubeconfig holds, with the SourceIPPolicy objects there unless you give --policy.\n" +
			"It changes nothing, and reads no .sourceward.yaml. With a PATH, the objects in the\n" +
			"cluster are neighbours of those in the manifests.\n\n" +
			"Exit codes:\n" +
			"  0  no findings at or above --fail-on\n" +
			"  1  findings at or above --fail-on\n" +
			"  2  could not run, or could not check everything",
		Example: "  sourceward check --fail-on warn deploy/\n" +
			"  sourceward check --fail-on warn --context . changed.yaml\n" +
			"  helm template . | sourceward check -\n" +
			"  sourceward check --cluster --namespace edge    # what a cluster holds\n" +
			"  sourceward check --policy policies/ --context cluster-wide/ -o text -o json=report.json apps/",
		RunE: func(cmd *cobra.Command, args []string) error {
			cluster, err := from.open()
			if err != nil {
				return err
			}
			if cluster != nil && len(args) == 0 {
				return checkCluster(cmd, s, cluster)
			}
			config, err := readConfig(s)
			if err != nil {
				return err
			}
			if showConfig {
				return config.show(s.out, cmd.Flags())
			}
			flags, worlds := config.worlds(cmd.Flags(), args)
			if cluster != nil {
				if err := cluster.addTo(cmd, s, worlds); err != nil {
					return err
				}
			}
			noteUnreadPipe(s, args, flags, config)
			return check(cmd.Context(), s, flags, config, worlds)
		},
	}
	addCheckFlags(cmd.Flags(), &checkFlags{}) // config.worlds reads their values
	cmd.Flags().Lookup("namespace").Usage += ";\nwith --cluster and without a PATH, the only one that is checked"
	cmd.Flags().BoolVar(&showConfig, "show-config", false,
		"print the settings in force and where each comes from, and check nothing")
	from.add(cmd.Flags(), "check what the cluster of your kubeconfig holds or, with a PATH, use it as context")
	from.complete(cmd)
	completeCheck(cmd)
	return cmd
}

// noteUnreadPipe writes a note if another program may write to the standard input, and no path names that.
func noteUnreadPipe(s streams, args []string, flags checkFlags, config *config) {
	if len(args) == 0 && isPipe(s.in) && !flags.quiet {
		fmt.Fprintf(s.err, "note: checking %s; standard input is a pipe that was not read, write - to check it\n",
			config.scope())
	}
}

// completeCheck makes the shell complete the flags of addCheckFlags.
func completeCheck(cmd *cobra.Command) {
	complete(cmd, "output", formatNames()...)
	complete(cmd, "show", string(policies.Audit))
	complete(cmd, "fail-on", append(modeNames(), never)...)
	completeShared(cmd)
}

// completeShared makes the shell complete those of the flags that traffic has, too.
func completeShared(cmd *cobra.Command) {
	complete(cmd, "kustomize", kustomizeModes...)
	complete(cmd, "provider", bundle.Providers()...)
	complete(cmd, "color", colorAuto, colorAlways, colorNever)
}

// addCheckFlags adds the flags that a configuration file can set, too. In the file, the value of a flag that the help
// calls PATH, FILE or FORMAT[=FILE] is relative to the file.
func addCheckFlags(f *pflag.FlagSet, flags *checkFlags) {
	f.StringArrayVarP(&flags.outputs, "output", "o", []string{"text"},
		"write the report as `FORMAT[=FILE]`, where FORMAT is text, json, sarif, junit,\n"+
			"github, gitlab or markdown; repeatable")
	f.StringArrayVar(&flags.show, "show", nil, "also list each finding of this `MODE`, which the text only counts: audit")
	f.BoolVar(&flags.diff, "diff", false, "also show the changes that the webhook would make, as a unified diff")
	f.StringVar(&flags.baseline, "baseline", "",
		"fail only on findings that are new since the report in `FILE`, which -o json=FILE writes and renews")
	f.StringArrayVar(&flags.policies, "policy", nil,
		"apply the SourceIPPolicy objects in `PATH`, a file or directory; repeatable")
	f.StringArrayVar(&flags.context, "context", nil,
		"read related objects from `PATH`, a file or directory, without checking them; repeatable")
	f.StringArrayVar(&flags.exclude, "exclude", nil, "skip files and directories that match `GLOB`; repeatable")
	addNamespace(f, &flags.namespace)
	flags.render.add(f)
	f.IntVar(&flags.nodes, "nodes", 0,
		"`NUMBER` of nodes that can run the pods; 0 means the Nodes in --context, if any")
	f.StringVar(&flags.kubeVersion, "kube-version", policies.Newest.String(), "check for an API server of this `VERSION`")
	f.StringVar(&flags.provider, "provider", "",
		"`PROVIDER` of the load balancers, unless a policy names another for their class; one of\n"+
			strings.TrimSpace(wrap(strings.Join(bundle.Providers(), ", "), "", 80)))
	f.StringVar(&flags.failOn, "fail-on", string(policies.Deny),
		"exit with 1 on findings at or above this `MODE`: deny, mutate, warn, audit; or never")
	f.StringVar(&flags.color, "color", colorAuto, "color the text: `WHEN` is auto, always or never")
	f.BoolVarP(&flags.quiet, "quiet", "q", false,
		"print only findings, errors, and that nothing was judged: no notes, nothing that was skipped")
}

// check runs the command, with flags for all worlds together. The error is errFindings, errReported, or describes a
// mistake in the command line.
func check(ctx context.Context, s streams, flags checkFlags, config *config, worlds []world) error {
	outputs, err := parseOutputs(flags.outputs, formatNames()...)
	if err != nil {
		return err
	}
	if flags.diff && !has(outputs, "text", "markdown") {
		return errors.New("--diff needs --output text or markdown; the JSON report lists the patches")
	}
	if err := flags.validate(); err != nil {
		return err
	}
	inputs, renewed := []string{config.file}, renews(outputs, flags.baseline)
	if !renewed {
		inputs = append(inputs, flags.baseline)
	}
	if err := notInputs(outputs, inputs); err != nil {
		return err
	}
	baseline, err := readBaseline(flags.baseline, renewed)
	if err != nil {
		return err
	}
	for i := range worlds {
		worlds[i].allRepairs = has(outputs, "json", "sarif")
	}
	report, err := judgeAll(ctx, s, outputs, worlds)
	if err != nil {
		return err
	}
	baseline.compare(report, flags.failOn, config.isJudged(worlds))
	return conclude(s, flags, outputs, report)
}

// judge judges one world, and returns what was read too. The error is errReported, or describes a mistake in the
// command line.
func (w world) judge(
	ctx context.Context, s streams, outputs []output, progress *progress,
) (*report, *manifest.Manifests, error) {
	flags := w.flags
	read, err := w.load(ctx, s, outputs, progress)
	if err != nil {
		return nil, nil, err
	}
	manifests, rules := read.manifests, read.rules
	run := &checkRun{
		rules:     newSlowRules(rules),
		manifests: manifests,
		cluster:   read.cluster,
		now:       time.Now(),
		isLive:    w.live != nil,

		mutationsOnly: !w.allRepairs,
	}
	report, err := run.report(ctx, progress)
	progress.done()
	if err != nil {
		fmt.Fprintln(s.err, "error: interrupted; no report was written")
		return nil, nil, err
	}
	report.addErrors(read.problems)
	report.addErrors(manifests.Errors)
	for i, e := range report.Errors {
		if place := w.from[e.File]; place != "" && e.Line == 0 {
			report.Errors[i].Message += fmt.Sprintf(" (named in %s)", place)
		}
	}
	if w.live != nil {
		report.addNotes(w.live.notes)
	}
	report.addNotes(run.unknownNamespaces())
	report.addNotes(run.uncheckedPods())

	if flags.diff {
		run.diff(report)
	}
	if has(outputs, "text") && !flags.quiet {
		report.addSources(manifests)
	}
	if has(outputs, "sarif") {
		report.rules = rules.Catalogue()
		report.addReplacements()
	}
	return report, manifests, nil
}

// loaded is what was read for a world.
type loaded struct {
	manifests *manifest.Manifests
	rules     *bundle.Set
	cluster   policies.Cluster
	// problems are those of policies that are left out.
	problems []*manifest.Error
}

// load reads the policies and the manifests of a world. The error describes a mistake in the command line.
func (w world) load(ctx context.Context, s streams, outputs []output, progress *progress) (*loaded, error) {
	flags := w.flags
	cluster, err := flags.cluster()
	if err != nil {
		return nil, err
	}
	rendering, err := flags.render.rendering(ctx, progress)
	if err != nil {
		for _, flag := range []string{"--values", "--set", "--release-name"} {
			if from := w.from[flag]; from != "" {
				err = fmt.Errorf("%w (%s of %s)", err, strings.TrimPrefix(flag, "--"), from)
			}
		}
		return nil, err
	}
	given, rules, problems := w.policies(ctx)
	manifests, err := manifest.Load(manifest.Options{
		Paths:     w.paths,
		Context:   flags.context,
		Exclude:   flags.exclude,
		Ignore:    flags.baseline,
		Stdin:     s.in,
		Namespace: flags.namespace,
		Version:   cluster.Version,
		Reads:     bundle.ReadsAnnotation,
		Rendering: rendering,
		Progress:  progress.read,

		ExcludeFrom: w.excludeFrom,
		Texts:       w.texts,
		NoContext:   w.others,
		Live:        w.live.held(),
	})
	if err != nil {
		return nil, fmt.Errorf("--exclude: %w", err)
	}
	if err := notInputs(outputs, append(manifests.FilesRead(), policyFiles(given)...)); err != nil {
		return nil, err
	}
	return &loaded{manifests, rules, cluster, problems}, nil
}

// conclude writes the report. The error is errFindings or errReported, or says why a report could not be written.
func conclude(s streams, flags checkFlags, outputs []output, report *report) error {
	report.writeErrors(s.err)
	for _, output := range outputs {
		if err := output.write(s.out, func(w io.Writer) error { return report.write(w, output.format, flags) }); err != nil {
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

// maxNodes bounds --nodes: twenty times what Kubernetes supports
// (https://kubernetes.io/docs/setup/best-practices/cluster-large/).
const maxNodes = 100_000

func (f checkFlags) cluster() (policies.Cluster, error) {
	version, err := policies.ParseVersion(f.kubeVersion)
	if err != nil {
		return policies.Cluster{}, fmt.Errorf("--kube-version: %w", err)
	}
	if f.nodes < 0 {
		return policies.Cluster{}, fmt.Errorf("--nodes %d is negative; want 0 or more", f.nodes)
	}
	if f.nodes > maxNodes {
		return policies.Cluster{}, fmt.Errorf("--nodes %d is too large; want %d at most", f.nodes, maxNodes)
	}
	return policies.Cluster{Nodes: f.nodes, Version: version}, nil
}

// validate returns an error if the value of a flag is not valid, whatever the other flags are: a configuration file is
// validated flag by flag. The error begins with the name of the flag.
func (f checkFlags) validate() error {
	if _, err := parseOutputs(f.outputs, formatNames()...); err != nil {
		return err
	}
	if _, err := f.cluster(); err != nil {
		return err
	}
	if err := manifest.ValidGlobs(f.exclude); err != nil {
		return fmt.Errorf("--exclude: %w", err)
	}
	for _, flag := range []struct {
		name, value string
		allowed     []string
	}{
		{"--fail-on", f.failOn, append(modeNames(), never)},
		{"--kustomize", f.render.kustomize, kustomizeModes},
		{"--color", f.color, []string{colorAuto, colorAlways, colorNever}},
	} {
		if !slices.Contains(flag.allowed, flag.value) {
			return notOneOf(flag.name, flag.value, flag.allowed)
		}
	}
	for _, mode := range f.show {
		if mode != string(policies.Audit) {
			return notOneOf("--show", mode, []string{string(policies.Audit)})
		}
	}
	if err := validNamespace(f.namespace); err != nil {
		return err
	}
	if providers := bundle.Providers(); f.provider != "" && !slices.Contains(providers, f.provider) {
		return notOneOf("--provider", f.provider, providers)
	}
	return nil
}
