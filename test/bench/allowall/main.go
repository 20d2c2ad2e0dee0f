// Command allowall is the floor for measurements of the webhook: a server that uses controller-runtime's handler to
// read each review, and allows it.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // this is a main
	}
}

func serve() error {
	port := flag.Int("port", 9443, "`PORT` for /mutate and /validate")
	metricsAddress := flag.String("metrics-bind-address", ":8080", "`HOST:PORT` for /metrics")
	certDir := flag.String("cert-dir", "", "`DIR` with tls.crt and tls.key")
	flag.Parse()
	logf.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	allow := admission.HandlerFunc(func(context.Context, admission.Request) admission.Response {
		return admission.Allowed("")
	})
	server := webhook.NewServer(webhook.Options{
		Host: "127.0.0.1", Port: *port, CertDir: *certDir,
		// As in Sourceward, and as API servers do except on the loopback address, where they would use HTTP/2.
		TLSOpts: []func(*tls.Config){func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }},
	})
	server.Register("/mutate", &admission.Webhook{Handler: allow})
	server.Register("/validate", &admission.Webhook{Handler: allow})

	failed := make(chan error, 2)
	go func() {
		failed <- http.ListenAndServe(*metricsAddress, promhttp.HandlerFor(metrics.Registry, promhttp.HandlerOpts{}))
	}()
	go func() { failed <- server.Start(ctx) }()
	return <-failed
}
