// Command sourceward checks Kubernetes manifests before they are merged. It makes the same decisions as the admission
// webhook makes in a cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/child"
	"github.com/sourceward/sourceward/policies/render"
)

// The exit codes are part of the interface: they never change.
const (
	exitClean    = 0 // nothing at or above --fail-on
	exitFindings = 1 // findings at or above --fail-on
	exitFault    = 2 // could not run, or could not check everything
)

func main() {
	if code, isChild := child.Main(os.Stdin, os.Stdout, child.Compile, render.Job); isChild {
		os.Exit(code)
	}
	if os.Getenv("GOGC") == "" {
		collectSeldom()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args, streams{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}

// collectSeldom makes Go collect garbage each time that the heap has grown by some headroom, or by half of its size if
// that is more. A run holds nearly everything that it reads until it ends. Go's default, to let the heap double,
// collects too often while it is small, where memory does not matter, and too seldom while it is large.
func collectSeldom() {
	const headroom, least = 48 << 20, 50
	// GOGC is a percentage of all of these.
	of := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/globals:bytes"}, {Name: "/gc/scan/stack:bytes"},
	}
	metrics.Read(of)
	var scanned uint64
	for _, sample := range of {
		scanned += sample.Value.Uint64()
	}
	grow := headroom * 100 / max(scanned, 4<<20) // Go takes at least 4 MiB
	debug.SetGCPercent(int(max(grow, least)))
	runtime.AddCleanup(new([16]byte), func(struct{}) { collectSeldom() }, struct{}{}) // after the next collection
}

// streams holds the standard streams of a command. Only the report goes to out; errors, notes and progress go to err.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

var (
	// errFindings is returned by a command that ran and reported something to fail on.
	errFindings = errors.New("findings")
	// errReported is returned by a command that has already written its errors.
	errReported = errors.New("reported")
	// errInterrupted is returned by a command that the user has ended, so that what it found is not complete.
	errInterrupted = errors.New("interrupted")
)

// rootCommand returns the command sourceward with all of its subcommands.
func rootCommand(s streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "sourceward",
		Short: "Check externalTrafficPolicy on Services, and the workloads behind them",
		Long: "Sourceward checks externalTrafficPolicy on Kubernetes Services, and the\n" +
			"workloads behind them. It reports where Local is refused, has no effect or\n" +
			"shares traffic unevenly, and where the client's source IP needs Local.\n\n" +
			"Exit codes:\n" +
			"  0  no findings that fail the command (see --fail-on of check)\n" +
			"  1  such findings\n" +
			"  2  could not run, or could not check everything",
		Example: "  sourceward check deploy/                   # check the manifests in a directory\n" +
			"  sourceward explain unspread-behind-local   # read about a rule\n" +
			"  sourceward policy new no-node-port         # write a rule of your own",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetHelpFunc(help)
	root.SetFlagErrorFunc(flagError)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.AddCommand(
		checkCommand(s), fixCommand(s), trafficCommand(s), rulesCommand(s), explainCommand(s), policyCommand(s),
		versionCommand(s),
	)
	refuseUnknownCommands(root)
	return root
}

// run executes a command line, which begins with the name of the binary, and returns its exit code.
func run(ctx context.Context, line []string, s streams) int {
	root, named := rootCommand(s), strings.NewReplacer()
	args, isPlugin := plugin(line)
	if isPlugin {
		named = asPlugin(root)
	}
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	switch {
	case errors.Is(err, errInterrupted):
		fmt.Fprintln(s.err, "error: interrupted")
		return exitFault
	case err == nil:
		return exitClean
	case errors.Is(err, errFindings):
		return exitFindings
	case errors.Is(err, errReported):
		return exitFault
	default:
		problem := policies.Printable(named.Replace(err.Error()))
		fmt.Fprintf(s.err, "error: %s; see %s --help\n", problem, command.CommandPath())
		return exitFault
	}
}
