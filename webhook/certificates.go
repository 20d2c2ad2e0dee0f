package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
)

var errNoCertificate = errors.New("no serving certificate yet")

// SelfManagedOptions say where the CA is kept, whom its certificates name, and who is to trust it. All are required.
type SelfManagedOptions struct {
	// Config is how the API server is reached. It is copied; its limits of requests are replaced by smaller ones.
	Config *rest.Config
	// Log takes the log, the authority's and the watches' included. The zero Logger discards it.
	Log logr.Logger

	// SecretNamespace and SecretName are the Secret of the CA, which all replicas share. It is created if it is absent.
	SecretNamespace, SecretName string

	// DNSNames are what API servers call the webhook: "<service>.<namespace>.svc", or the host of a URL.
	DNSNames []string

	// MutatingName and ValidatingName are the webhook configurations whose caBundle is written, in all of their webhooks.
	// Either may come, go and come back at any time.
	MutatingName, ValidatingName string
}

// SelfManaged is a serving certificate that needs nobody. (The body is about to come.)
type SelfManaged struct{}

// NewSelfManaged returns what serves once it is started.
// The error is non-nil if an option is missing or Config is unusable; no request is made yet.
func NewSelfManaged(_ SelfManagedOptions) (*SelfManaged, error) { return &SelfManaged{}, nil }

// NeedLeaderElection is false: every replica serves, and every replica writes caBundle.
func (s *SelfManaged) NeedLeaderElection() bool { return false }

// Start keeps the certificate and caBundle until ctx ends. It may be called once.
func (s *SelfManaged) Start(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// GetCertificate is for tls.Config. It reads one atomic pointer.
func (s *SelfManaged) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return nil, errNoCertificate
}

// Ready is a healthz.Checker.
func (s *SelfManaged) Ready(*http.Request) error { return errNoCertificate }

// NotAfter is when the certificate now served expires; zero if there is none.
func (s *SelfManaged) NotAfter() time.Time { return time.Time{} }
