// Command demo shows what Sourceward does, on a real API server: `make demo` tells a story in steps, `make run` leaves
// everything running. It fails when an answer is not the one that the story is about.
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
	// However often it is told to end, it stops what it has started: that takes a moment.
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
		Short:         "Show what Sourceward does, on a local control plane; from the root of the repository",
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
	cmd.PersistentFlags().StringVar(&bin, "bin", "bin", "`DIR` of sourceward and sourceward-webhook, as make build leaves it")
	cmd.Flags().StringVar(&when, "color", "auto", "colour: auto, always or never")
	cmd.AddCommand(&cobra.Command{
		Use:   "run",
		Short: "Leave it running until Ctrl-C",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return on(cmd.Context(), bin, cmd.ErrOrStderr(), func(ctx context.Context, s *stage) error {
				return keep(ctx, s, cmd.OutOrStdout())
			})
		},
	})
	return cmd
}

// useColor tells whether to colour what is written to w, as sourceward does.
// The error is non-nil for a value that --color has not.
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

// keep installs Sourceward, says how to use it, and waits for the end of ctx.
func keep(ctx context.Context, s *stage, out io.Writer) error {
	if err := s.install(ctx); err != nil {
		return err
	}
	replica := s.sandbox.Replicas[0]
	_, err := fmt.Fprintf(out, `
Sourceward runs beside a real API server, with three nodes whose pods are only played.

  API server  %s
  webhook     https://%s, metrics at %s
  files       %s, with the logs of all

In another terminal, in this folder:

  export KUBECONFIG=%s
  export PATH=%s:%s:$PATH
  kubectl apply -f test/demo/manifests/admin.yaml               # is refused
  kubectl apply -f test/demo/manifests/web.yaml                 # is warned about
  kubectl apply -f test/demo/policy.yaml                        # from now on it is repaired
  kubectl rollout restart --namespace demo deployment/web

kubectl is %s.
Ctrl-C stops all of it and removes its files.
`, s.cluster.APIServerURL, replica.Address, replica.MetricsURL, s.cluster.Dir,
		s.cluster.Kubeconfig(), s.bin, s.binaries(), s.cluster.Binary("kubectl"))
	if err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
