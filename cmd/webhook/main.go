// Command sourceward-webhook answers an API server's admission requests for Services, the workloads behind them, and
// SourceIPPolicies.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sourceward/sourceward/policies/child"
	"github.com/sourceward/sourceward/webhook"
)

// version is set by the linker.
var version = "devel"

func main() {
	if code, isChild := child.Main(os.Stdin, os.Stdout, child.Compile); isChild {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx))
}

// run runs the command and returns the exit code.
func run(ctx context.Context) int {
	level := zap.NewAtomicLevel()
	logger, err := newLogger(level)
	if err != nil {
		panic(err) // the configuration is a constant
	}
	defer logger.Sync() //nolint:errcheck // There is nowhere left to report the error.
	// net/http reports failed handshakes to the standard logger.
	defer zap.RedirectStdLog(logger.Named("net-http"))()
	if err := command(zapr.NewLogger(logger), level).ExecuteContext(ctx); err != nil {
		logger.Error("stopped", zap.Error(err))
		return 1
	}
	return 0
}

// command returns the command, which logs to log and sets the level.
func command(log logr.Logger, level zap.AtomicLevel) *cobra.Command {
	var options webhook.Options
	var kubeconfig string
	var verbosity int8
	cmd := &cobra.Command{
		Use:   "sourceward-webhook",
		Short: "Admission webhook for externalTrafficPolicy: Local, and for the workloads behind it",
		Long: "sourceward-webhook serves /mutate, /validate and /validate-policy over TLS to an API server.\n" +
			"It also serves /metrics, and /healthz and /readyz. On SIGTERM it answers for another second and then stops.",
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&kubeconfig, "kubeconfig", "",
		"kubeconfig `FILE` of the cluster (default: the service account of the pod)")
	flags.StringVar(&options.BindAddress, "bind-address", ":9443",
		"`HOST:PORT` of /mutate, /validate and /validate-policy")
	flags.StringVar(&options.MetricsBindAddress, "metrics-bind-address", ":8080",
		"`HOST:PORT` of /metrics; 0 disables it")
	flags.StringVar(&options.ProbeBindAddress, "health-probe-bind-address", ":8081",
		"`HOST:PORT` of /healthz and /readyz")
	flags.StringVar(&options.CertDir, "cert-dir", "",
		"`DIR` with tls.crt and tls.key, read again when they change (default: self-managed certificates)")
	flags.StringVar(&options.ClientCAFile, "client-ca-file", "",
		"`FILE` with the CAs of the clients that may connect, read again when it changes (default: any client may)")
	flags.StringVar(&options.ClientName, "client-name", "",
		"common `NAME` of the certificate of the API server (default: any that the client CA signed)")
	flags.StringVar(&options.Namespace, "namespace", "sourceward-system",
		"`NAMESPACE` of the Secret that holds the CA")
	flags.StringVar(&options.CASecret, "ca-secret", "sourceward-ca",
		"`NAME` of the Secret that holds the CA, shared by all replicas")
	flags.StringSliceVar(&options.DNSNames, "dns-name", nil,
		"DNS `NAME` by which the API server calls the webhook (default: sourceward-webhook.NAMESPACE.svc)")
	flags.StringVar(&options.MutatingConfiguration, "mutating-configuration", "sourceward",
		"`NAME` of the MutatingWebhookConfiguration")
	flags.StringVar(&options.ValidatingConfiguration, "validating-configuration", "sourceward",
		"`NAME` of the ValidatingWebhookConfiguration")
	flags.Int8VarP(&verbosity, "verbosity", "v", 1,
		"log `LEVEL` of requests: 0 those that fail, 1 also those that are denied, mutated or warned about, 2 all;\n"+
			"3 to 9 also what the client libraries do")
	// With --cert-dir the webhook issues no certificates.
	for _, flag := range []string{"dns-name", "ca-secret"} {
		cmd.MarkFlagsMutuallyExclusive("cert-dir", flag)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if verbosity < 0 || verbosity > 9 {
			return fmt.Errorf("--verbosity %d: want 0 to 9", verbosity)
		}
		if cmd.Flags().Changed("client-ca-file") && options.ClientCAFile == "" {
			return errors.New("--client-ca-file is empty; name a file, or leave the flag out to let any client connect")
		}
		if options.ClientName != "" && options.ClientCAFile == "" {
			return errors.New("--client-name needs --client-ca-file: without a CA, any client can have any name")
		}
		if options.DNSNames == nil {
			options.DNSNames = []string{"sourceward-webhook." + options.Namespace + ".svc"}
		}
		// logr's V(n) is zap's level -n.
		level.SetLevel(zapcore.Level(-verbosity))
		options.Log = log
		options.Version = version
		logf.SetLogger(log)
		klog.SetLogger(log.WithName("client-go"))

		config, err := loadConfig(kubeconfig)
		if err != nil {
			return fmt.Errorf("load cluster configuration: %w", err)
		}
		config.UserAgent = "sourceward-webhook/" + version
		// The API server limits our requests by priority and fairness. A second limit would only delay look-ups until they
		// are of no more use.
		config.QPS = -1
		// To compress what goes over the cluster's own network costs both sides more time than it saves. API servers would
		// even compress each event of a watch (k8s.io/apiserver v0.37.0, feature WatchListCompression).
		config.DisableCompression = true
		options.Config = config

		options.Log.Info("starting", "version", version)
		if err := webhook.Run(cmd.Context(), options); err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		options.Log.Info("stopped")
		return nil
	}
	return cmd
}

// loadConfig returns how to reach the API server: by a kubeconfig, or as a pod if that is empty.
func loadConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig != "" {
		return clientcmd.BuildConfigFromFlags("", kubeconfig)
	}
	config, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, errors.New("this process is not in a pod; set --kubeconfig")
	}
	return config, err
}

// newLogger returns a logger that writes one JSON object per line to standard error.
func newLogger(level zap.AtomicLevel) (*zap.Logger, error) {
	config := zap.NewProductionConfig()
	config.Level = level
	config.EncoderConfig.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	config.EncoderConfig.EncodeLevel = levelName
	// Libraries add a value "logger" of their own. A key that a line has twice is lost, or an error, for its readers.
	config.EncoderConfig.NameKey = "component"
	config.EncoderConfig.NewReflectedEncoder = func(to io.Writer) zapcore.ReflectedEncoder { return reflectedEncoder{to} }
	config.DisableStacktrace = true // the error says what failed
	// No sampling: a request whose line is dropped cannot be found again.
	config.Sampling = nil
	return config.Build()
}

// reflectedEncoder writes values as JSON, and those that JSON shows no fields of as text.
type reflectedEncoder struct{ to io.Writer }

// Encode implements zapcore.ReflectedEncoder.
func (e reflectedEncoder) Encode(value any) error {
	text, err := json.Marshal(value)
	if err == nil && bytes.Contains(text, []byte("{}")) {
		text, err = json.Marshal(fmt.Sprintf("%+v", value))
	}
	if err != nil {
		return err
	}
	_, err = e.to.Write(append(text, '\n'))
	return err
}

// levelName writes info for every level of verbosity, because readers of the log need no other distinction.
func levelName(level zapcore.Level, to zapcore.PrimitiveArrayEncoder) {
	zapcore.LowercaseLevelEncoder(max(level, zapcore.InfoLevel), to)
}
