package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
)

// explainFlags holds the flags of explain as they were given.
type explainFlags struct {
	settings string
	files    []string
	policies []string
	exclude  []string
	cluster  clusterFlags
	nodes    int
	provider string
	// kubeVersion is empty for the version of the cluster or, without one, the newest that is known.
	kubeVersion string

	namespace string
}

func explainCommand(s streams) *cobra.Command {
	var flags explainFlags
	cmd := &cobra.Command{
		Use:   "explain RULE | KIND/NAMESPACE/NAME | --settings KIND/NAMESPACE/NAME",
		Short: "Explain a rule, an object, or the settings of an object",
		Long: "Explain a rule: what it finds, why that matters, how to fix it and when to\n" +
			"exempt an object. With --policy, the rule can also be one that a policy declares\n" +
			"in its own Rego.\n\n" +
			"Explain a Service: the way of a packet from a client to a pod with Local and with\n" +
			"Cluster, which address the pod sees, the health check, and which of the two to\n" +
			"choose. Explain a workload: what to choose for each Service in front of it, and\n" +
			"how its pods are spread. The object, its neighbours and the policies come from\n" +
			"manifests (-f and --policy) or from the cluster of your kubeconfig (--cluster).\n\n" +
			"With --settings, explain the settings of a Service or workload instead: which\n" +
			"SourceIPPolicy sets each of them, and why each policy matches the object or does\n" +
			"not.\n\n" +
			"Exit codes:\n" +
			"  0  explained\n" +
			"  2  could not explain, or could not read everything",
		Example: "  sourceward explain unspread-behind-local\n" +
			"  sourceward explain no-node-port --policy policies/\n" +
			"  sourceward explain Service/edge/web -f deploy/ --nodes 3\n" +
			"  sourceward explain Deployment/edge/web --cluster\n" +
			"  sourceward explain --settings Deployment/edge/web -f deploy/ --policy policies/",
		Args: func(cmd *cobra.Command, args []string) error {
			return flags.validate(cmd.Flags().Changed("settings"), args)
		},
		ValidArgsFunction: cobra.FixedCompletions(ruleIDs(), cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case cmd.Flags().Changed("settings"):
				return explainSettings(cmd.Context(), s, flags)
			case isObject(args[0]):
				return explainObject(cmd.Context(), s, flags, cmd.Root().DisplayName(), args[0])
			default:
				return explainRule(cmd.Context(), s, args[0], flags.policies)
			}
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.settings, "settings", "",
		"explain the settings of the object `KIND/NAMESPACE/NAME`; NAMESPACE can be omitted if it is default")
	f.StringArrayVarP(&flags.files, "filename", "f", nil,
		"read the object, its neighbours, Nodes and policies from `PATH`: a file, directory or -; repeatable")
	f.StringArrayVar(&flags.policies, "policy", nil,
		"read SourceIPPolicy objects from `PATH`, a file or directory; repeatable")
	f.StringArrayVar(&flags.exclude, "exclude", nil, "with -f, skip files and directories that match `GLOB`; repeatable")
	addNamespace(f, &flags.namespace)
	f.Lookup("namespace").Usage = "`NAME` of the namespace of KIND/NAME and, with -f, of objects that name none"
	f.IntVar(&flags.nodes, "nodes", 0,
		"with -f, the `NUMBER` of nodes that can run the pods; 0 means the Nodes in the files")
	f.StringVar(&flags.provider, "provider", "",
		"`PROVIDER` of the load balancers, unless a policy names another for their class; see check --help")
	f.StringVar(&flags.kubeVersion, "kube-version", "",
		"explain it for an API server of this `VERSION`; by default that of the cluster, or "+policies.Newest.String())
	flags.cluster.add(f, "read the object, its neighbours and all policies from the cluster of your kubeconfig")
	complete(cmd, "provider", bundle.Providers()...)
	flags.cluster.complete(cmd)
	return cmd
}

// isObject reports whether an argument names an object and not a rule.
func isObject(arg string) bool { return strings.Contains(arg, "/") }

// validate returns an error that describes a mistake in the command line. settings is true if --settings was given.
func (f explainFlags) validate(settings bool, args []string) error {
	_, isRule := policies.RuleByID(strings.Join(args, " "))
	object := !settings && slices.ContainsFunc(args, isObject)
	ofFiles, ofCluster := len(f.files)+len(f.exclude) > 0, f.cluster.isSet()
	ofObject := f.nodes != 0 || f.provider != "" || f.kubeVersion != ""
	switch {
	case settings && isRule:
		return fmt.Errorf(
			"--settings explains an object, but %s is a rule; run \"sourceward explain %[1]s\", or remove the rule", args[0])
	case settings && len(args) > 0:
		return fmt.Errorf("--settings reads files from -f; write -f %s", strings.Join(args, " -f "))
	case settings && ofObject:
		return errors.New(
			"--nodes, --provider and --kube-version do not change settings; remove them, or remove --settings")
	case settings && f.cluster.cluster && (ofFiles || len(f.policies) > 0):
		return errors.New(
			"--cluster reads everything from the cluster; remove -f, --policy and --exclude, or remove --cluster")
	case settings && !ofCluster && len(f.files) == 0:
		return errors.New("say where the object of --settings is: add -f PATH with its manifest, or --cluster")
	case len(args) > 1:
		return fmt.Errorf(`explain takes one rule or object, not %d; "sourceward rules" lists all rules`, len(args))
	case object && f.cluster.cluster && (ofFiles || f.nodes != 0):
		return errors.New(
			"--cluster reads the objects and the nodes from the cluster; remove -f, --nodes and --exclude, or remove " +
				"--cluster")
	case object && !ofCluster && len(f.files) == 0:
		return fmt.Errorf("say where %s is: add -f PATH with its manifest, or --cluster", args[0])
	case !settings && !object && (ofCluster || ofFiles || ofObject || f.namespace != ""):
		return errors.New("-f, -n, --exclude, --nodes, --provider, --kube-version and --cluster need an object; " +
			"name one as KIND/NAMESPACE/NAME, or add --settings")
	case !settings && len(args) == 0:
		return errors.New(`name a rule, such as unspread-behind-local, or an object, such as Service/edge/web; ` +
			`"sourceward rules" lists all rules`)
	}
	return f.checkFlags().validate()
}

// checkFlags returns the flags of check that do the same.
func (f explainFlags) checkFlags() checkFlags {
	var flags checkFlags
	newFlags(&flags) // sets the others to their defaults
	flags.policies, flags.exclude, flags.namespace = f.policies, f.exclude, f.namespace
	flags.nodes, flags.provider = f.nodes, f.provider
	flags.kubeVersion = cmp.Or(f.kubeVersion, flags.kubeVersion)
	return flags
}

// version returns the version of the API server if there is no cluster. The flags are valid.
func (f explainFlags) version() policies.Version {
	cluster, _ := f.checkFlags().cluster()
	return cluster.Version
}

// given returns a flag with each of the values that is not empty, as arguments, each after a space.
func given(flag string, values ...string) string {
	var args strings.Builder
	for _, value := range values {
		if value != "" {
			args.WriteString(" --" + flag + " " + value)
		}
	}
	return args.String()
}
