package webhook

import (
	"crypto/tls"
	"net/http"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// certificates provides the serving certificate of the endpoints.
type certificates interface {
	manager.Runnable
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Ready returns an error while API servers cannot call the endpoints.
	Ready(*http.Request) error
	// NotAfter returns when the certificate that is served expires; zero if there is none.
	NotAfter() time.Time
}

// newCertificates returns the certificates in options.CertDir, or self-managed ones, whose CA is written into
// configurations, if it is empty. The caller starts configurations afterwards.
func newCertificates(options Options, configurations *Configurations) (certificates, error) {
	log := options.Log.WithName("certificates")
	if options.CertDir != "" {
		return NewFileCertificates(options.CertDir, configurations, log)
	}
	return NewSelfManaged(SelfManagedOptions{
		Config: options.Config, Log: log,
		SecretNamespace: options.Namespace, SecretName: options.CASecret,
		DNSNames:       options.DNSNames,
		Configurations: configurations,
	})
}
