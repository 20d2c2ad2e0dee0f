// Command sourceward-webhook answers an API server's admission requests about Services and the workloads
// behind them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/zapr"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sourceward/sourceward/webhook"
)

// version is set by the linker.
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "sourceward-webhook:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var options webhook.Options
	var kubeconfig string
	var verbosity int8
	cmd := &cobra.Command{
		Use:   "sourceward-webhook",
		Short: "Admission webhook for externalTrafficPolicy: Local, and for the workloads behind it",
		Long: "sourceward-webhook serves /mutate and /validate over TLS to an API server, /metrics, and /healthz and /readyz.\n" +
			"It stops on SIGTERM, when what is under way is answered.",
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig `FILE` of the cluster (default: that of the pod)")
	flags.StringVar(&options.BindAddress, "bind-address", ":9443", "`HOST:PORT` of /mutate and /validate")
	flags.StringVar(&options.MetricsBindAddress, "metrics-bind-address", ":8080", "`HOST:PORT` of /metrics; 0 for none")
	flags.StringVar(&options.ProbeBindAddress, "health-probe-bind-address", ":8081", "`HOST:PORT` of /healthz and /readyz")
	flags.StringVar(&options.CertDir, "cert-dir", "", "`DIR` with tls.crt and tls.key, read again when they change (default: certificates of its own making)")
	flags.StringVar(&options.Namespace, "namespace", "sourceward-system", "`NAMESPACE` of the Secret that holds the CA")
	flags.StringVar(&options.CASecret, "ca-secret", "sourceward-ca", "`NAME` of the Secret that holds the CA, shared by all replicas")
	flags.StringSliceVar(&options.DNSNames, "dns-name", nil, "`NAME` by which the API server calls (default: sourceward-webhook.NAMESPACE.svc)")
	flags.StringVar(&options.MutatingConfiguration, "mutating-configuration", "sourceward", "`NAME` of the MutatingWebhookConfiguration")
	flags.StringVar(&options.ValidatingConfiguration, "validating-configuration", "sourceward", "`NAME` of the ValidatingWebhookConfiguration")
	flags.Int8VarP(&verbosity, "verbosity", "v", 1, "log `LEVEL`: 0 faults, 1 also what was denied, mutated or warned about, 2 every request")
	// With files there is nothing to be made.
	for _, flag := range []string{"dns-name", "ca-secret", "mutating-configuration", "validating-configuration"} {
		cmd.MarkFlagsMutuallyExclusive("cert-dir", flag)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if verbosity < 0 || verbosity > 9 {
			return fmt.Errorf("--verbosity %d: want 0 to 9", verbosity)
		}
		if options.DNSNames == nil {
			options.DNSNames = []string{"sourceward-webhook." + options.Namespace + ".svc"}
		}
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return fmt.Errorf("cluster: %w", err)
		}
		config.UserAgent = "sourceward-webhook/" + version
		// The API server's own priority and fairness bounds us; a second limit would only delay a look-up
		// beyond the time that it is worth.
		config.QPS = -1
		options.Config = config

		logger, err := newLogger(verbosity)
		if err != nil {
			return fmt.Errorf("log: %w", err)
		}
		defer logger.Sync() //nolint:errcheck // There is nowhere left to tell it.
		options.Log = zapr.NewLogger(logger)
		logf.SetLogger(options.Log)
		klog.SetLogger(options.Log.WithName("client-go"))

		options.Log.Info("starting", "version", version)
		if err := webhook.Run(cmd.Context(), options); err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		options.Log.Info("stopped")
		return nil
	}
	return cmd
}

// newLogger writes a JSON object for each line to the standard error. logr's V(n) is zap's level -n.
func newLogger(verbosity int8) (*zap.Logger, error) {
	config := zap.NewProductionConfig()
	config.Level = zap.NewAtomicLevelAt(zapcore.Level(-verbosity))
	config.EncoderConfig.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	config.EncoderConfig.EncodeLevel = levelName
	config.DisableStacktrace = true // an error says what was being done
	// A line that is left out is a request that nobody can find again.
	config.Sampling = nil
	return config.Build()
}

// levelName is info for all levels of verbosity: that is what they are to who reads them.
func levelName(level zapcore.Level, to zapcore.PrimitiveArrayEncoder) {
	zapcore.LowercaseLevelEncoder(max(level, zapcore.InfoLevel), to)
}
