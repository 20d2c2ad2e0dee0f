package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sourceward/sourceward/policies"
)

// trafficFlags holds the flags of traffic that check does not have, as they were given.
type trafficFlags struct {
	outputs    []string
	placements []string
	service    string
	top        int
}

func trafficCommand(s streams) *cobra.Command {
	var flags trafficFlags
	var from clusterFlags
	shared := sharedFlags()
	cmd := &cobra.Command{
		Use:   "traffic [PATH|-]...",
		Short: "Show where the external traffic of Services goes",
		Long: "Show how much of its external traffic each pod of a Service gets, with the\n" +
			"traffic policy Local and with Cluster, and how much is lost on nodes without a\n" +
			"pod. Services that no traffic reaches from outside the cluster are left out.\n\n" +
			"A PATH is as for check. For each Service there is the best placement of its pods,\n" +
			"and the worst one that their templates allow, for the fewest pods and for the\n" +
			"most if an autoscaler sets their number. --placement adds one. The nodes are the\n" +
			"Nodes in --context, or as many as --nodes says. The worst Service comes first.\n\n" +
			"How a load balancer shares traffic depends on its provider. What is not known is\n" +
			"assumed, and the output says so.\n\n" +
			"The settings in .sourceward.yaml apply that check and traffic have in common.\n\n" +
			"With --cluster, traffic shows the current places of the pods of all Services in\n" +
			"the cluster of your kubeconfig, or in one namespace. It changes nothing, and reads\n" +
			"no files.\n\n" +
			"Exit codes:\n" +
			"  0  shown\n" +
			"  2  could not show anything, or could not read everything",
		Example: "  sourceward traffic --nodes 3 deploy/\n" +
			"  sourceward traffic --placement web=node-a:3,node-b:1,node-c:0 web.yaml\n" +
			"  sourceward traffic --context nodes.yaml -o text -o html=traffic.html deploy/\n" +
			"  sourceward traffic --cluster --namespace edge    # what a cluster holds",
		RunE: func(cmd *cobra.Command, args []string) error {
			cluster, err := from.open()
			if err != nil {
				return err
			}
			if cluster != nil {
				return trafficOfCluster(cmd, args, s, flags, cluster)
			}
			config, err := readConfig(s)
			if err != nil {
				return err
			}
			of, worlds := config.worlds(shared, args)
			noteUnreadPipe(s, args, of, config)
			return trafficOfFiles(cmd.Context(), s, flags, of, config, worlds)
		},
	}
	f := cmd.Flags()
	f.AddFlagSet(shared)
	f.StringArrayVarP(&flags.outputs, "output", "o", []string{"text"},
		"write `FORMAT[=FILE]`, where FORMAT is text, json, svg or html; repeatable")
	f.StringArrayVar(&flags.placements, "placement", nil,
		"also show the pods of a workload in these places: `WORKLOAD=NODE:PODS,...`, where\n"+
			"WORKLOAD is NAME or NAMESPACE/NAME; repeatable")
	f.StringVar(&flags.service, "service", "", "show only Services of this `NAME`, which can be NAMESPACE/NAME")
	f.IntVar(&flags.top, "top", 0, "show only this `NUMBER` of Services, the worst; 0 means all")
	from.add(f, "show what the cluster of your kubeconfig holds")
	from.complete(cmd)
	complete(cmd, "output", trafficFormatNames()...)
	completeShared(cmd)
	return cmd
}

// sharedFlags returns those flags of check that mean the same for traffic.
func sharedFlags() *pflag.FlagSet {
	shared := pflag.NewFlagSet("traffic", pflag.ContinueOnError)
	newFlags(&checkFlags{}).VisitAll(func(flag *pflag.Flag) {
		isOfText := flag.Name == "color" || flag.Name == "quiet"
		if isOfText || !slices.Contains(reportFlags, flag.Name) {
			shared.AddFlag(flag)
		}
	})
	shared.Lookup("context").Usage = "read Nodes and related objects from `PATH`, a file or directory, without showing\n" +
		"the Services in it; repeatable"
	shared.Lookup("kube-version").Usage = "show it for an API server of this `VERSION`"
	shared.Lookup("quiet").Usage = "print no notes, and nothing that was skipped"
	return shared
}

// isSelected reports whether --service selects a Service.
func isSelected(flag string, ref policies.Ref) bool {
	return flag == "" || flag == ref.Name || flag == ref.Namespace+"/"+ref.Name
}

// validate returns an error if the value of a flag is not valid. The error begins with the name of the flag.
func (f trafficFlags) validate() error {
	if f.top < 0 {
		return fmt.Errorf("--top %d is negative; want 0 or more", f.top)
	}
	return nil
}

// trafficOfFiles runs traffic for files, with flags for all worlds together. The error is errReported, or describes a
// mistake in the command line.
func trafficOfFiles(
	ctx context.Context, s streams, flags trafficFlags, of checkFlags, config *config, worlds []world,
) error {
	outputs, err := parseOutputs(flags.outputs, trafficFormatNames()...)
	if err != nil {
		return err
	}
	placements, err := parsePlacements(flags.placements)
	if err := errors.Join(err, flags.validate(), of.validate()); err != nil {
		return err
	}
	if err := notInputs(outputs, []string{config.file}); err != nil {
		return err
	}
	reader := &trafficReader{service: flags.service, placements: placements}
	progress := newProgress(s.err)
	input := &replay{from: s.in}
	all := emptyReport()
	for _, w := range worlds {
		if len(worlds) > 1 {
			s.in = input.again()
		}
		report, err := reader.read(ctx, s, w, outputs, progress)
		if err != nil {
			return err
		}
		all.include(w.environment, report)
	}
	if err := reader.misplaced(); err != nil {
		return err
	}
	reader.explainNothing(all)
	return concludeTraffic(s, flags, of, outputs, &trafficReport{Services: reader.services}, all)
}

// concludeTraffic writes the Services, and the errors and remarks of a report. The error is errReported, or says why an
// output could not be written.
func concludeTraffic(
	s streams, flags trafficFlags, of checkFlags, outputs []output, traffic *trafficReport, remarks *report,
) error {
	traffic.APIVersion, traffic.Kind = remarks.APIVersion, trafficKind
	traffic.Errors, traffic.Skipped, traffic.Notes = remarks.Errors, remarks.Skipped, remarks.Notes
	traffic.sort(flags.top)
	remarks.writeErrors(s.err)
	options := trafficOptions{quiet: of.quiet, color: of.color}
	for _, output := range outputs {
		err := output.write(s.out, func(w io.Writer) error { return traffic.write(w, output.format, options) })
		if err != nil {
			return err
		}
	}
	if len(traffic.Errors) > 0 {
		return errReported
	}
	return nil
}

// trafficKind is the kind of a trafficReport.
const trafficKind = "Traffic"
