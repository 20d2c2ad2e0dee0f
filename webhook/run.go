package webhook

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies/review"
)

// Options configures a replica. All fields are required unless their comment says otherwise.
type Options struct {
	// Config describes how to reach the API server.
	Config *rest.Config
	// Log receives all messages.
	Log logr.Logger
	// Version is the version of the binary, which a metric reports. It may be empty.
	Version string

	// BindAddress, MetricsBindAddress and ProbeBindAddress are the host:port of the endpoints, of /metrics, and of
	// /healthz and /readyz. An empty host means all addresses. MetricsBindAddress "0" disables /metrics.
	BindAddress, MetricsBindAddress, ProbeBindAddress string

	// CertDir is a directory with tls.crt and tls.key, which are read again when they change. If it is empty, the
	// webhook issues certificates for DNSNames itself, with the CA in the Secret CASecret in Namespace, and writes that
	// CA into caBundle of the two configurations.
	CertDir             string
	Namespace, CASecret string
	DNSNames            []string
	// ClientCAFile is a file with the CAs of the clients that may call the endpoints, which is read again when it
	// changes. ClientName is the common name that their certificates must have. Empty means any client, or any name.
	ClientCAFile, ClientName string
	// MutatingConfiguration and ValidatingConfiguration are the names of the webhook configurations. They are watched
	// with any certificates, to report one that does not exist or does not trust the certificate.
	MutatingConfiguration, ValidatingConfiguration string
}

const (
	// maxHeader is the number of bytes that the headers of a request may have. An API server sends less than 1 KiB.
	maxHeader = 16 << 10
	// headerTimeout bounds the time for a handshake and the headers of a request; its Handler bounds the rest.
	headerTimeout = 10 * time.Second
	// idleTimeout is how long a connection is kept between requests. An API server closes it after 90 seconds (net/http,
	// DefaultTransport), and is to be the first: it may send a request while the replica closes the connection.
	idleTimeout = 2 * time.Minute
	// drainTime is how long a replica goes on answering requests after it has been told to stop. Its answers make API
	// servers close their connections. Without that, an API server may send a request on an idle connection while the
	// replica closes it, and the failure policy decides that request.
	drainTime = time.Second
)

// Run serves until ctx ends, and then goes on for a second and answers in-flight requests before it returns. The error
// is non-nil if the replica could not start, or if one of its parts failed.
func Run(ctx context.Context, options Options) error {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	counters, err := NewMetrics(ctrlmetrics.Registry)
	if err != nil {
		return err
	}
	if err := counters.observeBuild(options.Version); err != nil {
		return err
	}
	watches := NewWatches(options.Log.WithName("watches"))
	configurations, err := NewConfigurations(
		options.Config, options.MutatingConfiguration, options.ValidatingConfiguration, watches)
	if err != nil {
		return fmt.Errorf("webhook configurations: %w", err)
	}
	certs, err := newCertificates(options, configurations)
	if err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	serving := &tls.Config{
		GetCertificate: certs.GetCertificate,
		MinVersion:     tls.VersionTLS12,
		// An API server uses HTTP/1.1 too, except for a URL on the loopback address (k8s.io/apiserver v0.37.0,
		// pkg/util/webhook/client.go): over HTTP/2 it would send all requests over one connection to one replica.
		NextProtos: []string{"http/1.1"},
	}
	parts := []manager.Runnable{certs}
	if options.ClientCAFile != "" {
		accepted, err := newClients(options.ClientCAFile, options.ClientName, counters.refusedClients)
		if err != nil {
			return fmt.Errorf("client CA: %w", err)
		}
		parts = append(parts, accepted)
		accepted.restrict(serving)
	}
	// The port is bound now, so that no check has to call it later. Connections wait until the server starts.
	listener, err := net.Listen("tcp", options.BindAddress)
	if err != nil {
		return fmt.Errorf("bind address: %w", err)
	}
	defer listener.Close() //nolint:errcheck // closed already if the server was started
	mgr, err := ctrl.NewManager(options.Config, ctrl.Options{
		Scheme:                 scheme,
		Logger:                 options.Log,
		Cache:                  cacheOptions(scheme, watches),
		Metrics:                metricsserver.Options{BindAddress: options.MetricsBindAddress},
		HealthProbeBindAddress: options.ProbeBindAddress,
	})
	if err != nil {
		return fmt.Errorf("create the manager (is the CRD of config/crd installed?): %w", err)
	}
	err = counters.observe("sourceward_certificate_expiry_timestamp_seconds",
		"Expiry of the serving certificate, in Unix time; 0 while there is none.", nil,
		func() float64 {
			if end := certs.NotAfter(); !end.IsZero() {
				return float64(end.Unix())
			}
			return 0
		})
	if err != nil {
		return err
	}

	if err := ctrlmetrics.Registry.Register(watches); err != nil {
		return err
	}
	if err := configurations.observe(counters, certs); err != nil {
		return err
	}

	around, err := newNeighbours(ctx, mgr, options, counters, watches)
	if err != nil {
		return err
	}
	source, err := newPolicySource(ctx, mgr.GetCache(), counters, options.Log.WithName("policies"))
	if err != nil {
		return fmt.Errorf("watch SourceIPPolicies (is the CRD of config/crd installed?): %w", err)
	}
	if err := source.observe(); err != nil {
		return err
	}
	status := &statusWriter{
		source: source, client: mgr.GetClient(), recorder: mgr.GetEventRecorder("sourceward"),
		log: options.Log.WithName("status"),
	}
	for _, part := range append(parts, configurations, around, source, status) {
		if err := mgr.Add(part); err != nil {
			return err
		}
	}

	mux, inFlight := http.NewServeMux(), NewInFlight()
	for _, endpoint := range review.Endpoints {
		mux.Handle("/"+string(endpoint), &Handler{
			Endpoint: endpoint, Neighbours: around, Policies: source, InFlight: inFlight,
			Metrics: counters, Clock: clock.RealClock{}, Log: options.Log.WithName("admission"),
		})
	}
	// The manager's own webhook server would use HTTP/2, and cancel the contexts of requests that it still answers.
	err = mgr.Add(&manager.Server{
		Name:     "webhook",
		Listener: tls.NewListener(listener, serving),
		Server: &http.Server{
			Handler: closing(ctx, mux), MaxHeaderBytes: maxHeader, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		},
	})
	if err != nil {
		return err
	}
	checks := map[string]healthz.Checker{
		"certificate": certs.Ready,
		"caches":      func(*http.Request) error { return around.Ready() },
		"policies":    func(*http.Request) error { return source.Ready() },
		"watches":     watches.Ready,
	}
	for name, check := range checks {
		if err := mgr.AddReadyzCheck(name, check); err != nil {
			return err
		}
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	drained, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	context.AfterFunc(ctx, func() { time.AfterFunc(drainTime, stop) })
	return mgr.Start(drained)
}

// closing returns a handler that answers like handler. Once ctx has ended, its answers ask the client to close the
// connection.
func closing(ctx context.Context, handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ctx.Err() != nil {
			w.Header().Set("Connection", "close")
		}
		handler.ServeHTTP(w, r)
	})
}
