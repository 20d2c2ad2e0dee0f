package webhook

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
)

// FileCertificates provides a serving certificate from files that others write, such as cert-manager or an operator.
// They also write caBundle, which FileCertificates neither reads nor writes.
type FileCertificates struct {
	watcher *certwatcher.CertWatcher
	now     func() time.Time
}

// NewFileCertificates reads tls.crt and tls.key in directory, the file names of a mounted Secret of type
// kubernetes.io/tls. The error is non-nil if they cannot be read or do not match. A kubelet mounts both before it
// starts the container, so a missing file is a mistake, and waiting would not help.
func NewFileCertificates(directory string) (*FileCertificates, error) {
	watcher, err := certwatcher.New(
		filepath.Join(directory, corev1.TLSCertKey), filepath.Join(directory, corev1.TLSPrivateKeyKey))
	if err != nil {
		return nil, fmt.Errorf("read the serving certificate: %w", err)
	}
	return &FileCertificates{watcher: watcher, now: time.Now}, nil
}

// Start implements manager.Runnable. It reads the files again when they change, until ctx ends. If they cannot be
// parsed or do not match, this is logged and the former certificate stays. The error is non-nil if the files cannot
// be watched.
func (c *FileCertificates) Start(ctx context.Context) error { return c.watcher.Start(ctx) }

// NeedLeaderElection implements manager.LeaderElectionRunnable. It returns false, because every replica serves.
func (c *FileCertificates) NeedLeaderElection() bool { return false }

// GetCertificate is a callback for tls.Config. It costs one read lock; the error is always nil.
func (c *FileCertificates) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.watcher.GetCertificate(hello)
}

// Ready is a healthz.Checker. The error is non-nil if the certificate has expired.
func (c *FileCertificates) Ready(*http.Request) error {
	if notAfter := c.NotAfter(); c.now().After(notAfter) {
		return fmt.Errorf("the serving certificate expired at %s", notAfter.Format(time.RFC3339))
	}
	return nil
}

// NotAfter returns when the certificate that is served expires.
func (c *FileCertificates) NotAfter() time.Time {
	certificate, err := c.watcher.GetCertificate(nil)
	if err != nil || certificate.Leaf == nil { // neither happens: see certwatcher and tls.X509KeyPair
		return time.Time{}
	}
	return certificate.Leaf.NotAfter
}
