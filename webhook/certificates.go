package webhook

import (
	"crypto/tls"
	"net/http"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// certificates are what the endpoints are served with.
type certificates interface {
	manager.Runnable
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Ready tells why the API server cannot call yet.
	Ready(*http.Request) error
	// NotAfter is the end of the certificate that is served, or zero.
	NotAfter() time.Time
}

func newCertificates(options Options) (certificates, error) {
	if options.CertDir != "" {
		return NewFileCertificates(options.CertDir)
	}
	return NewSelfManaged(SelfManagedOptions{
		Config: options.Config, Log: options.Log.WithName("certificates"),
		SecretNamespace: options.Namespace, SecretName: options.CASecret,
		DNSNames:     options.DNSNames,
		MutatingName: options.MutatingConfiguration, ValidatingName: options.ValidatingConfiguration,
	})
}
