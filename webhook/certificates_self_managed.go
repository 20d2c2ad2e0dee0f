package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/cert-manager/cert-manager/pkg/server/tls/authority"
	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// caLife is the lifetime of a CA. The authority creates the next one after two thirds of it.
const caLife = 365 * 24 * time.Hour

// errNoCertificate is the error of GetCertificate and Ready before the first leaf.
var errNoCertificate = errors.New(
	"no serving certificate yet: the Secret of the CA or the webhook configurations have not been read")

// SelfManagedOptions configures SelfManaged: where the CA is kept, the names that its certificates are valid for, and
// the webhook configurations that trust it. All fields except Log are required.
type SelfManagedOptions struct {
	// Config describes how to reach the API server. It is copied, and its rate limits are replaced by lower ones.
	Config *rest.Config
	// Log receives all messages, including those of the authority and the watches. The zero Logger discards them.
	Log logr.Logger

	// SecretNamespace and SecretName name the Secret of the CA, which all replicas share. It is created if it does not
	// exist.
	SecretNamespace, SecretName string

	// DNSNames are the names by which API servers call the webhook: "<service>.<namespace>.svc", or the host of a URL.
	DNSNames []string

	// Configurations are the webhook configurations. caBundle is written in all of their webhooks. The caller starts
	// them, after NewSelfManaged.
	Configurations *Configurations
}

// SelfManaged provides a serving certificate without help from outside: a CA in a Secret, which cert-manager's
// authority stores and rotates, a leaf of that CA for this replica alone, and caBundle in the webhook configurations.
//
// A new CA does not interrupt calls. Each replica adds it to caBundle, which keeps the CAs that may still be in use,
// and continues to serve its former leaf until it has seen the new CA in every webhook of both configurations for
// caGrace. A leaf that has expired is replaced at once, and so is a leaf that is renewed under the same CA.
type SelfManaged struct {
	options   SelfManagedOptions
	client    kubernetes.Interface
	authority certificateAuthority
	now       func() time.Time

	// changed is notified when a configuration has changed. synced reports whether their first state was read.
	changed chan struct{}
	synced  []cache.InformerSynced

	served    atomic.Pointer[leaf]
	announced atomic.Bool

	// Only the goroutine of keep uses the fields below.

	succession succession
	// outdated is true if the CA has changed since the newest leaf was issued.
	outdated bool
}

// NewSelfManaged returns a SelfManaged that serves once it is started. The error is non-nil if an option is missing
// or Config cannot be used; no request is made yet.
func NewSelfManaged(options SelfManagedOptions) (*SelfManaged, error) {
	if options.Config == nil || options.SecretNamespace == "" || options.SecretName == "" || len(options.DNSNames) == 0 ||
		options.Configurations == nil {
		return nil, errors.New(
			"self-managed certificates need an API server, a Secret, a DNS name and the webhook configurations")
	}
	config := limited(options.Config)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("create a client: %w", err)
	}
	s := &SelfManaged{
		options: options,
		client:  client,
		authority: &authority.DynamicAuthority{
			RESTConfig:      config,
			SecretNamespace: options.SecretNamespace,
			SecretName:      options.SecretName,
			CommonName:      caCommonName,
			CADuration:      caLife,
			LeafDuration:    leafLife,
		},
		now: time.Now,
		// Buffered, because notify drops what it cannot send: one pending notification is enough.
		changed: make(chan struct{}, 1),
	}
	for _, c := range options.Configurations.all {
		handler, err := c.informer.AddEventHandler(onChange(s.changed))
		if err != nil {
			return nil, fmt.Errorf("watch %s %q: %w", c.kind, c.name, err)
		}
		s.synced = append(s.synced, handler.HasSynced)
	}
	return s, nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable. It returns false, because every replica serves and
// every replica writes caBundle.
func (s *SelfManaged) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable. It keeps the certificate and caBundle up to date until ctx ends. It may be
// called once. The error is non-nil if a part could not start. Requests that fail are logged and retried.
func (s *SelfManaged) Start(ctx context.Context) error {
	// Buffered, because the authority drops what it cannot send: one pending notification is enough.
	rotated := make(chan struct{}, 1)
	s.authority.WatchRotation(rotated)

	group, ctx := errgroup.WithContext(logr.NewContext(ctx, s.options.Log))
	group.Go(func() error {
		err := s.authority.Run(logr.NewContext(ctx, s.options.Log.WithName("authority")))
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("run the authority: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		// A replica does not know whether it is trusted until the configurations are cached.
		if cache.WaitForCacheSync(ctx.Done(), s.synced...) {
			s.keep(ctx, rotated)
		}
		return nil
	})
	return group.Wait()
}

// GetCertificate is a callback for tls.Config. It reads one atomic pointer. The error is non-nil until there is a
// certificate. A certificate that has expired is still returned, because the error that the client then reports is
// the clearest.
func (s *SelfManaged) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	served := s.served.Load()
	if served == nil {
		return nil, errNoCertificate
	}
	return served.certificate, nil
}

// Ready is a healthz.Checker. The error is nil while an unexpired certificate is served, provided that every webhook
// of the two configurations has trusted a certificate of this replica at least once.
//
// It is enough to have been trusted once. Later certificates are not served before they are trusted, and a
// configuration that breaks later would otherwise take every replica out of service, for the other configuration as
// well. A configuration that does not exist has no webhooks to wait for, so that the configurations may be installed
// before, with or after the replicas.
func (s *SelfManaged) Ready(*http.Request) error {
	served := s.served.Load()
	switch {
	case served == nil:
		return errNoCertificate
	case served.expired(s.now()):
		return fmt.Errorf("the serving certificate expired at %s", served.notAfter().Format(time.RFC3339))
	case !s.announced.Load():
		return errors.New("the CA of the serving certificate is not in the caBundle of every webhook yet")
	}
	return nil
}

// NotAfter returns when the certificate that is served expires; zero if there is none.
func (s *SelfManaged) NotAfter() time.Time {
	served := s.served.Load()
	if served == nil {
		return time.Time{}
	}
	return served.notAfter()
}

// keep calls look after each notification, and when time alone may have changed something.
func (s *SelfManaged) keep(ctx context.Context, rotated <-chan struct{}) {
	// These intervals replace a timer for the exact time of the next change: timers stand still while a machine is
	// suspended, and an interval delays the change by at most its own length.
	const waiting, idle = time.Second, time.Minute
	retry := wait.Backoff{Duration: time.Second, Factor: 2, Steps: 7, Cap: time.Minute}
	backoff := retry

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-rotated:
			s.outdated = true
		case <-s.changed:
		case <-timer.C:
		}
		next := idle
		if s.succession.next != nil {
			next = waiting
		}
		if err := s.look(ctx); err != nil && ctx.Err() == nil {
			s.options.Log.Error(err, "certificates not updated; retrying")
			next = backoff.Step()
		} else {
			backoff = retry
		}
		timer.Reset(next)
	}
}

// look brings the leaf and caBundle up to date. The error is non-nil if a step failed; the other steps are done.
func (s *SelfManaged) look(ctx context.Context) error {
	// A request that hangs must delay neither a leaf that waits nor the replacement of one that expires.
	const timeout = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var errs []error

	now := s.now()
	if s.outdated || s.succession.renewalDue(now) {
		switch l, err := s.issue(ctx); {
		case errors.Is(err, errReplaced):
			// The authority is about to see the new CA, and then sends on rotated.
			s.options.Log.V(2).Info("CA was replaced while a certificate was issued")
		case err != nil:
			errs = append(errs, fmt.Errorf("issue a serving certificate: %w", err))
		default:
			s.outdated = false
			s.succession.offer(l, now)
			s.publish()
		}
	}
	if s.succession.served == nil {
		return errors.Join(errs...)
	}

	announced, nextAnnounced := true, true
	served, newest := s.succession.served.ca, s.succession.newest().ca
	for _, c := range s.options.Configurations.all {
		t, err := c.read()
		if err != nil {
			errs = append(errs, err)
			announced, nextAnnounced = false, false
			continue
		}
		// A patch that is made below counts once the watch delivers its result.
		announced = announced && t.includes(served)
		nextAnnounced = nextAnnounced && t.includes(newest)
		if err := s.announce(ctx, c, t, now, served, newest); err != nil {
			errs = append(errs, err)
		}
	}
	if announced {
		s.announced.Store(true)
	}
	s.succession.advance(now, nextAnnounced)
	s.publish()
	return errors.Join(errs...)
}

// announce makes every webhook of c, whose state is t, trust the CAs in serving.
func (s *SelfManaged) announce(
	ctx context.Context, c configuration, t trust, now time.Time, serving ...*x509.Certificate,
) error {
	patch, err := t.announcement(now, serving)
	if err != nil || patch == nil {
		return err
	}
	for _, w := range t.webhooks {
		if w.garbage != 0 {
			s.options.Log.Info("removing blocks that are not certificates from caBundle",
				"kind", c.kind, "name", c.name, "webhook", w.name, "blocks", w.garbage)
		}
	}
	err = c.patch(ctx, patch)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		// Another client was faster. The watch is about to deliver its change.
		s.options.Log.V(2).Info("configuration was changed by another client", "kind", c.kind, "name", c.name)
		return nil
	}
	if err != nil {
		return fmt.Errorf("write caBundle of %s %q: %w", c.kind, c.name, err)
	}
	s.options.Log.Info("wrote caBundle", "kind", c.kind, "name", c.name)
	return nil
}

// publish makes GetCertificate return the leaf that is to be served.
func (s *SelfManaged) publish() {
	l := s.succession.served
	former := s.served.Swap(l)
	if l == former {
		return
	}
	x := l.certificate.Leaf
	log := s.options.Log.WithValues("serial", x.SerialNumber, "notAfter", x.NotAfter)
	if former != nil {
		x := former.certificate.Leaf
		log = log.WithValues("formerSerial", x.SerialNumber, "formerNotAfter", x.NotAfter, "sameCA", l.ca.Equal(former.ca))
	}
	log.Info("serving a new certificate")
}
