package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
)

// FileCertificates provides a serving certificate from files that others write, such as cert-manager or an operator.
// They also write caBundle of the webhook configurations, which FileCertificates reads and never writes.
//
// A new certificate in the files does not interrupt calls. While every webhook trusts the former certificate, that one
// is served, until every webhook has trusted the new one for caGrace. So caBundle may get a new CA before the files do,
// or any time after them.
//
// This needs a caBundle that has the former CA beside the new one, as cert-manager's CA injector writes it from version
// 1.19. If caBundle loses the former CA, webhooks cannot be called until the files have the new certificate, and the
// kubelet updates a mounted Secret only about a minute after a change. No replica can close that gap. There is none if
// the new CA has the subject and the key of the former one, because each of the two then verifies the certificates of
// both.
type FileCertificates struct {
	watcher        *certwatcher.CertWatcher
	configurations *Configurations
	log            logr.Logger
	now            func() time.Time

	// changed is notified when the files or a configuration have changed. synced reports whether the first state of the
	// configurations was read.
	changed chan struct{}
	synced  []cache.InformerSynced

	served atomic.Pointer[tls.Certificate]
	// untrusted is why API servers cannot call this replica although its certificate is valid; nil if they can.
	untrusted atomic.Pointer[error]

	// Only the goroutine of keep uses the fields below.

	// trusted is true once every webhook has trusted a certificate of this replica.
	trusted bool
	// next is the certificate in the files. nextSince is since when it could have been served, without a gap; zero if it
	// is served or cannot be served yet.
	next      *tls.Certificate
	nextSince time.Time
	// logged is the last state that was logged.
	logged string
}

// isTrusted is the state that is logged only after another one.
const isTrusted = "API servers can verify the serving certificate"

// errNotRead is the error of Ready before the configurations have been read.
var errNotRead = errors.New("the webhook configurations have not been read yet; " +
	"if this lasts, check that the ServiceAccount may list and watch them")

// NewFileCertificates reads tls.crt and tls.key in directory, the file names of a mounted Secret of type
// kubernetes.io/tls. The error is non-nil if they cannot be read or do not match. A kubelet mounts both before it
// starts the container, so a missing file is a mistake, and waiting would not help.
//
// configurations are the webhook configurations. The caller starts them, after NewFileCertificates. log receives all
// messages except those of the watch of the files, which controller-runtime logs.
func NewFileCertificates(
	directory string, configurations *Configurations, log logr.Logger,
) (*FileCertificates, error) {
	certificate, key := filepath.Join(directory, corev1.TLSCertKey), filepath.Join(directory, corev1.TLSPrivateKeyKey)
	watcher, err := certwatcher.New(certificate, key)
	if err != nil {
		return nil, filesError(certificate, key, err)
	}
	c := &FileCertificates{
		watcher: watcher, configurations: configurations, log: log, now: time.Now, logged: isTrusted,
		// Buffered, because notify drops what it cannot send: one pending notification is enough.
		changed: make(chan struct{}, 1),
	}
	c.untrusted.Store(&errNotRead)
	c.serve(c.newest())
	watcher.RegisterCallback(func(tls.Certificate) { notify(c.changed) })
	for _, configuration := range configurations.all {
		handler, err := configuration.informer.AddEventHandler(onChange(c.changed))
		if err != nil {
			return nil, fmt.Errorf("watch %s %q: %w", configuration.kind, configuration.name, err)
		}
		c.synced = append(c.synced, handler.HasSynced)
	}
	return c, nil
}

// filesError says what to do about an error of certwatcher.New.
func filesError(certificate, key string, err error) error {
	// An error that names no file is one of inotify.
	if errors.As(err, new(syscall.Errno)) && !errors.As(err, new(*fs.PathError)) {
		return fmt.Errorf("watch %s and %s: %w; raise fs.inotify.max_user_instances of the node", certificate, key, err)
	}
	return fmt.Errorf("read %s and %s: %w; use a Secret of type %s, whose tls.key is the key of its tls.crt",
		certificate, key, err, corev1.SecretTypeTLS)
}

// Start implements manager.Runnable. It reads the files again when they change, and compares the certificate with the
// webhook configurations, until ctx ends. It may be called once. If the files cannot be parsed or do not match, this is
// logged and the former certificate stays. The error is non-nil if the files cannot be watched.
func (c *FileCertificates) Start(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.watcher.Start(ctx) })
	group.Go(func() error {
		c.keep(ctx)
		return nil
	})
	return group.Wait()
}

// NeedLeaderElection implements manager.LeaderElectionRunnable. It returns false, because every replica serves.
func (c *FileCertificates) NeedLeaderElection() bool { return false }

// GetCertificate is a callback for tls.Config. It reads one atomic pointer; the error is always nil.
func (c *FileCertificates) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.served.Load(), nil
}

// Ready is a healthz.Checker. The error is nil while the certificate is valid and API servers can verify it:
//
//   - At first, every webhook of the two configurations must trust it. So a rollout stops at a mistake.
//   - Once all of them have trusted a certificate of this replica, it is enough that one does. The replica can still
//     answer the calls of that one, and a mistake in a configuration would otherwise take all replicas out of service.
//     A replica that no webhook trusts can answer no call. Out of service, it leaves the calls to replicas that can,
//     since the kubelets update the files of each at another time.
//
// A configuration that does not exist has no webhooks to wait for, so that the configurations may be installed before,
// with or after the replicas. Webhooks without caBundle count as trusting the certificate, because API servers then use
// their own trust store.
func (c *FileCertificates) Ready(*http.Request) error {
	if err := validity(c.served.Load().Leaf, c.now()); err != nil {
		return err
	}
	if err := c.untrusted.Load(); err != nil {
		return *err
	}
	return nil
}

// NotAfter returns when the certificate that is served expires.
func (c *FileCertificates) NotAfter() time.Time { return c.served.Load().Leaf.NotAfter }

// keep calls look after each notification, and when time alone may have changed something.
func (c *FileCertificates) keep(ctx context.Context) {
	// As in SelfManaged, these intervals replace a timer for the exact time of the next change.
	const waiting, idle = time.Second, time.Minute
	// A replica does not know whether it is trusted until the configurations are cached.
	if !cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.changed:
		case <-timer.C:
		}
		c.look()
		if c.nextSince.IsZero() {
			timer.Reset(idle)
		} else {
			timer.Reset(waiting)
		}
	}
}

// look serves the certificate in the files if its time has come, and notes whether API servers can verify what is
// served.
func (c *FileCertificates) look() {
	now := c.now()
	served, next := c.judge(c.served.Load(), now), c.judge(c.newest(), now)
	if c.due(served, next, now) {
		c.serve(next.certificate)
		served = next
	}

	if served.webhooks > 0 && served.err == nil {
		c.trusted = true
	}
	if served.err != nil && (!c.trusted || len(served.faults) == served.webhooks) {
		c.untrusted.Store(&served.err)
	} else {
		c.untrusted.Store(nil)
	}

	switch {
	case served.err != nil:
		c.report("API servers cannot verify the serving certificate", served.err)
	case next.err != nil:
		c.report("serving the former certificate, because API servers cannot verify the new one", next.err)
	case served.unknown > 0:
		c.report("caBundle is empty, so API servers verify the serving certificate with their own trust store", nil)
	default:
		c.report(isTrusted, nil)
	}
}

// judged is a certificate and what API servers make of it.
type judged struct {
	certificate *tls.Certificate
	verification
	// err is why they cannot verify it for all webhooks; nil if they can.
	err error
}

// judge returns what API servers make of certificate at the time now.
func (c *FileCertificates) judge(certificate *tls.Certificate, now time.Time) judged {
	j := judged{certificate: certificate, verification: c.configurations.verify(certificate, now)}
	j.err = validity(certificate.Leaf, now) // which does not depend on webhooks, so that its message names none
	if j.err == nil {
		j.err = j.verification.err()
	}
	return j
}

// due reports whether next, the certificate in the files, is to be served from now on instead of served.
func (c *FileCertificates) due(served, next judged, now time.Time) bool {
	if next.certificate != c.next {
		c.next, c.nextSince = next.certificate, time.Time{}
	}
	switch {
	case next.certificate == served.certificate, len(next.faults) > len(served.faults),
		next.err != nil && served.err == nil: // without webhooks there are no faults, but it may have expired
		c.nextSince = time.Time{}
		return false
	case served.err != nil:
		return true
	case c.nextSince.IsZero():
		c.nextSince = now
	}
	return now.Sub(c.nextSince) >= caGrace
}

// report logs a state, unless it was the last one that was logged. err is its reason, or nil if nothing is wrong.
func (c *FileCertificates) report(state string, err error) {
	text := state
	if err != nil {
		text += ": " + err.Error()
	}
	if text == c.logged {
		return
	}
	c.logged = text
	if err != nil {
		c.log.Error(err, state)
	} else {
		c.log.Info(state)
	}
}

// newest returns the certificate that was read last.
func (c *FileCertificates) newest() *tls.Certificate {
	certificate, _ := c.watcher.GetCertificate(nil) // the error is always nil, and certwatcher.New has read a certificate
	return certificate
}

// serve makes GetCertificate return certificate.
func (c *FileCertificates) serve(certificate *tls.Certificate) {
	c.served.Store(certificate)
	c.log.Info("serving a new certificate",
		"serial", certificate.Leaf.SerialNumber, "notAfter", certificate.Leaf.NotAfter)
}
