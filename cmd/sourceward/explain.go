package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies"
)

// explainFlags holds the flags of explain as they were given.
type explainFlags struct {
	settings string
	files    []string
	policies []string
	exclude  []string
	cluster  clusterFlags

	namespace string
}

func explainCommand(s streams) *cobra.Command {
	var flags explainFlags
	cmd := &cobra.Command{
		Use:   "explain RULE | --settings KIND/NAMESPACE/NAME",
		Short: "Explain a rule, or the settings of an object",
		Long: "Explain a rule: what it finds, why that matters, how to fix it and when to\n" +
			"exempt an object. With --policy, the rule can also be one that a policy declares\n" +
			"in its own Rego.\n\n" +
			"With --settings, explain the settings of a Service or workload instead: which\n" +
			"SourceIPPolicy sets each of them, and why each policy matches the object or does\n" +
			"not. The object, its Namespace and the policies come from manifests (-f and\n" +
			"--policy) or from the cluster of your kubeconfig (--cluster).\n\n" +
			"Exit codes:\n" +
			"  0  explained\n" +
			"  2  could not explain, or could not read everything",
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
			return explainRule(cmd.Context(), s, args[0], flags.policies)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.settings, "settings", "",
		"explain the settings of the object `KIND/NAMESPACE/NAME`; NAMESPACE can be omitted if it is default")
	f.StringArrayVarP(&flags.files, "filename", "f", nil,
		"read the object, its Namespace and policies from `PATH`: a file, directory or -; repeatable")
	f.StringArrayVar(&flags.policies, "policy", nil,
		"read SourceIPPolicy objects from `PATH`, a file or directory; repeatable")
	f.StringArrayVar(&flags.exclude, "exclude", nil, "with -f, skip files and directories that match `GLOB`; repeatable")
	addNamespace(f, &flags.namespace)
	flags.cluster.add(f, "read the object, its Namespace and all policies from the cluster of your kubeconfig")
	return cmd
}

// validate returns an error that describes a mistake in the command line. settings is true if --settings was given.
func (f explainFlags) validate(settings bool, args []string) error {
	_, isRule := policies.RuleByID(strings.Join(args, " "))
	ofFiles, ofCluster := len(f.files)+len(f.exclude) > 0 || f.namespace != "", f.cluster.isSet()
	switch {
	case settings && isRule:
		return fmt.Errorf(
			"--settings explains an object, but %s is a rule; run \"sourceward explain %[1]s\", or remove the rule", args[0])
	case settings && len(args) > 0:
		return fmt.Errorf("--settings reads files from -f; write -f %s", strings.Join(args, " -f "))
	case settings && f.cluster.cluster && (ofFiles || len(f.policies) > 0):
		return errors.New(
			"--cluster reads everything from the cluster; remove -f, -n, --policy and --exclude, or remove --cluster")
	case settings && !ofCluster && len(f.files) == 0:
		return errors.New("--settings needs a place to find the object; add -f PATH with its manifest, or --cluster")
	case !settings && (ofCluster || ofFiles):
		return errors.New("-f, -n, --exclude and --cluster need --settings; add --settings KIND/NAMESPACE/NAME")
	case !settings && len(args) == 0:
		return errors.New(`name a rule, such as unspread-behind-local; "sourceward rules" lists all rules`)
	case !settings && len(args) > 1:
		return fmt.Errorf(`explain takes one rule, not %d; "sourceward rules" lists all rules`, len(args))
	}
	return validNamespace(f.namespace)
}
