// Command demo shows what Sourceward does on a real API server. `make demo` runs a sequence of commands and explains
// their output. `make run` starts the same setup and leaves it running. The demo fails when the output of a command is
// not as expected.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func main() {
	// To stop everything takes a moment. Further signals do not interrupt that.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		if !errors.Is(err, context.Canceled) {
			fmt.Fprintln(os.Stderr, "demo:", err)
		}
		os.Exit(1) //nolint:forbidigo // this is a main
	}
}

func command() *cobra.Command {
	var bin, when string
	cmd := &cobra.Command{
		Use:           "demo",
		Short:         "Show what Sourceward does on a local control plane; run it from the root of the repository",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			colored, err := useColor(when, out)
			if err != nil {
				return err
			}
			return on(cmd.Context(), bin, cmd.ErrOrStderr(), func(ctx context.Context, s *stage) error {
				return tell(ctx, s, newScreen(out, colored))
			})
		},
	}
	cmd.PersistentFlags().StringVar(&bin, "bin", "bin",
		"`DIR` with the binaries sourceward and sourceward-webhook, which make build creates")
	cmd.Flags().StringVar(&when, "color", "auto", "when to use color: auto, always or never")
	cmd.AddCommand(&cobra.Command{
		Use:   "run",
		Short: "Start the same setup and leave it running until Ctrl-C",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return on(cmd.Context(), bin, cmd.ErrOrStderr(), func(ctx context.Context, s *stage) error {
				return keep(ctx, s, cmd.OutOrStdout())
			})
		},
	})
	return cmd
}

// useColor reports whether to write colors to w. It decides as sourceward does.
// The error is non-nil if when is not a valid value of --color.
func useColor(when string, w io.Writer) (bool, error) {
	switch when {
	case "always":
		return true, nil
	case "never":
		return false, nil
	case "auto":
		file, ok := w.(*os.File)
		return os.Getenv("NO_COLOR") == "" && ok && term.IsTerminal(int(file.Fd())), nil
	default:
		return false, fmt.Errorf("--color %q: want auto, always or never", when)
	}
}

// keep installs Sourceward, prints how to use it, and waits until ctx ends.
func keep(ctx context.Context, s *stage, out io.Writer) error {
	if err := s.install(ctx); err != nil {
		return err
	}
	replica := s.sandbox.Replicas[0]
	_, err := fmt.Fprintf(out, `
Sourceward is running with a real API server. The three nodes and their pods are simulated.

  API server  %s
  webhook     https://%s, metrics at %s
  files       %s, including all logs

Try these commands in another terminal, in this folder:

  export KUBECONFIG=%s
  export PATH=%s:%s:$PATH
  kubectl apply -f test/demo/manifests/admin.yaml               # fails: the webhook denies it
  kubectl apply -f test/demo/manifests/web.yaml                 # prints warnings
  kubectl apply -f test/demo/policy.yaml                        # repair instead of only warning
  kubectl rollout restart --namespace demo deployment/web       # prints what was repaired

kubectl is %s.
Press Ctrl-C to stop everything and remove its files.
`, s.cluster.APIServerURL, replica.Address, replica.MetricsURL, s.cluster.Dir,
		s.cluster.Kubeconfig(), s.bin, s.binaries(), s.cluster.Binary("kubectl"))
	if err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
