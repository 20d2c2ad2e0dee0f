package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies"
)

// explainFlags are the flags of explain as they are given.
type explainFlags struct {
	settings string
	files    []string
	policies []string
	exclude  []string
	cluster  bool
}

func explainCommand(s streams) *cobra.Command {
	var flags explainFlags
	cmd := &cobra.Command{
		Use:   "explain RULE | --settings KIND/NAMESPACE/NAME",
		Short: "Explain a rule, or which policy set what for an object",
		Long: "Explain a rule: what it finds, why it matters, how to mend it; with --policy also a rule that a policy declares. Or,\n" +
			"with --settings, explain which SourceIPPolicy set what for a Service or workload, and why; the object, its Namespace\n" +
			"and the policies come from manifests (-f) or from the cluster of your kubeconfig (--cluster).\n\n" +
			"Exit codes: 0 explained, 2 could not, or not all of it.",
		Example: "  sourceward explain unspread-behind-local\n" +
			"  sourceward explain no-node-port --policy policies/\n" +
			"  sourceward explain --settings Deployment/edge/web -f deploy/ --policy policies/\n" +
			"  sourceward explain --settings Deployment/edge/web --cluster",
		Args: func(cmd *cobra.Command, args []string) error {
			return flags.validate(cmd.Flags().Changed("settings"), args)
		},
		ValidArgsFunction: cobra.FixedCompletions(ruleIDs(), cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("settings") {
				return explainSettings(cmd.Context(), s, flags)
			}
			return explainRule(s, args[0], flags.policies)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.settings, "settings", "",
		"explain the settings of `KIND/NAMESPACE/NAME`; KIND/NAME is in Namespace default")
	f.StringArrayVarP(&flags.files, "filename", "f", nil,
		"`PATH` of the object, its Namespace and policies: file, directory, or - for the standard input; repeatable")
	f.StringArrayVar(&flags.policies, "policy", nil, "`PATH` of a file or directory with SourceIPPolicy objects; repeatable")
	f.StringArrayVar(&flags.exclude, "exclude", nil, "`GLOB` of files and directories that -f leaves out; repeatable")
	f.BoolVar(&flags.cluster, "cluster", false,
		"read the object, its Namespace and all policies from the cluster of your kubeconfig")
	return cmd
}

// validate tells a mistake in the command line. settings tells whether there is --settings.
func (f explainFlags) validate(settings bool, args []string) error {
	_, isRule := policies.RuleByID(strings.Join(args, " "))
	ofFiles := len(f.files)+len(f.exclude) > 0
	switch {
	case settings && isRule:
		return fmt.Errorf(
			"--settings is about an object, and %s is a rule; write explain %[1]s for its page, or leave it out", args[0])
	case settings && len(args) > 0:
		return fmt.Errorf("--settings takes its files by -f; write -f %s", strings.Join(args, " -f "))
	case settings && f.cluster && (ofFiles || len(f.policies) > 0):
		return errors.New("--cluster reads all from the cluster; leave out -f, --policy and --exclude, or leave out --cluster")
	case settings && !f.cluster && len(f.files) == 0:
		return errors.New("--settings needs the object; write -f PATH with its manifest, or --cluster")
	case !settings && (f.cluster || ofFiles):
		return errors.New("-f, --exclude and --cluster are for --settings; write --settings KIND/NAMESPACE/NAME")
	case !settings && len(args) == 0:
		return errors.New(`name a rule, such as unspread-behind-local; "sourceward rules" lists all rules`)
	case !settings && len(args) > 1:
		return fmt.Errorf(`explain takes one rule, not %d; "sourceward rules" lists all rules`, len(args))
	}
	return nil
}
