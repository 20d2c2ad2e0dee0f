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

// caLife is how long a CA lives; the authority makes the next after two thirds.
const caLife = 365 * 24 * time.Hour

// errNoCertificate is what a client and a readiness probe are told before the first leaf.
var errNoCertificate = errors.New("no serving certificate yet: the Secret of the CA or the webhook configurations have not been read")

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

// SelfManaged is a serving certificate that needs nobody: a CA in a Secret, kept and rotated by cert-manager's authority, a
// leaf of it for this replica alone, and caBundle in the webhook configurations.
//
// A new CA does not interrupt calls. Each replica adds it to caBundle, where those that may still be in use stay, and goes
// on serving its former leaf until it has seen the new CA in every webhook of both configurations for caGrace. A leaf
// that has expired is replaced at once, and so is one by another of the same CA.
type SelfManaged struct {
	options        SelfManagedOptions
	client         kubernetes.Interface
	authority      certificateAuthority
	configurations []configuration
	now            func() time.Time

	served    atomic.Pointer[leaf]
	announced atomic.Bool

	// What follows belongs to the goroutine of keep.

	succession succession
	// outdated is whether the CA is no longer that of the newest leaf.
	outdated bool
}

// NewSelfManaged returns what serves once it is started.
// The error is non-nil if an option is missing or Config is unusable; no request is made yet.
func NewSelfManaged(options SelfManagedOptions) (*SelfManaged, error) {
	if options.Config == nil || options.SecretNamespace == "" || options.SecretName == "" || len(options.DNSNames) == 0 ||
		options.MutatingName == "" || options.ValidatingName == "" {
		return nil, errors.New("self-managed certificates need an API server, a Secret, a DNS name and two webhook configurations")
	}
	config := rest.CopyConfig(options.Config)
	// Two managers of one caBundle would answer each other for ever. These are client-go's defaults, which
	// controller-runtime lifts: such a quarrel must not become the API server's.
	config.QPS, config.Burst, config.RateLimiter = rest.DefaultQPS, rest.DefaultBurst, nil
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	return &SelfManaged{
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
		configurations: newConfigurations(client, options.MutatingName, options.ValidatingName),
		now:            time.Now,
	}, nil
}

// NeedLeaderElection is false: every replica serves, and every replica writes caBundle.
func (s *SelfManaged) NeedLeaderElection() bool { return false }

// Start keeps the certificate and caBundle until ctx ends. It may be called once.
// The error is non-nil if a part could not start. Requests that fail are logged and made again.
func (s *SelfManaged) Start(ctx context.Context) error {
	// Buffered, because both drop what they cannot send: one unread word that there is news is enough.
	rotated, changed := make(chan struct{}, 1), make(chan struct{}, 1)
	s.authority.WatchRotation(rotated)
	var synced []cache.InformerSynced
	for _, c := range s.configurations {
		handler, err := c.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { notify(changed) },
			UpdateFunc: func(any, any) { notify(changed) },
			DeleteFunc: func(any) { notify(changed) },
		})
		if err != nil {
			return fmt.Errorf("watch %s %q: %w", c.kind, c.name, err)
		}
		synced = append(synced, handler.HasSynced)
	}

	group, ctx := errgroup.WithContext(logr.NewContext(ctx, s.options.Log))
	group.Go(func() error {
		err := s.authority.Run(logr.NewContext(ctx, s.options.Log.WithName("authority")))
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("run the authority: %w", err)
		}
		return nil
	})
	for _, c := range s.configurations {
		group.Go(func() error {
			c.informer.RunWithContext(ctx)
			return nil
		})
	}
	group.Go(func() error {
		// Before it knows what the configurations say, a replica cannot tell whether it is trusted.
		if cache.WaitForCacheSync(ctx.Done(), synced...) {
			s.keep(ctx, rotated, changed)
		}
		return nil
	})
	return group.Wait()
}

// GetCertificate is for tls.Config. It reads one atomic pointer.
// The error is non-nil until there is a certificate. One that has expired is still returned: the client says it best.
func (s *SelfManaged) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	served := s.served.Load()
	if served == nil {
		return nil, errNoCertificate
	}
	return served.certificate, nil
}

// Ready is a healthz.Checker. The error is nil while an unexpired certificate is served, once every webhook of the two
// configurations has trusted it.
//
// That it was trusted is asked once: of the certificates that follow it is a condition, and a configuration that
// somebody breaks later would take every replica out of service, for the other configuration as well. One that does not
// exist has no webhook to wait for, so that the configurations may be installed before, with or after the replicas.
func (s *SelfManaged) Ready(*http.Request) error {
	served := s.served.Load()
	switch {
	case served == nil:
		return errNoCertificate
	case served.expired(s.now()):
		return fmt.Errorf("the serving certificate expired at %s", served.notAfter().Format(time.RFC3339))
	case !s.announced.Load():
		return errors.New("the CA of the serving certificate is not yet in caBundle of every webhook")
	}
	return nil
}

// NotAfter is when the certificate now served expires; zero if there is none.
func (s *SelfManaged) NotAfter() time.Time {
	served := s.served.Load()
	if served == nil {
		return time.Time{}
	}
	return served.notAfter()
}

// keep looks after the certificates at each piece of news, and when time alone changes something.
func (s *SelfManaged) keep(ctx context.Context, rotated, changed <-chan struct{}) {
	// Not exact, so that a machine that was suspended, whose timers stood still, is not late by more than the longest wait.
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
		case <-changed:
		case <-timer.C:
		}
		next := idle
		if s.succession.next != nil {
			next = waiting
		}
		if err := s.look(ctx); err != nil && ctx.Err() == nil {
			s.options.Log.Error(err, "Certificates are not as they should be, trying again")
			next = backoff.Step()
		} else {
			backoff = retry
		}
		timer.Reset(next)
	}
}

// look brings leaf and caBundle up to date. The error is non-nil if a part of that failed; the others are done.
func (s *SelfManaged) look(ctx context.Context) error {
	// A request that hangs must not put off a leaf that waits, or one that expires.
	const timeout = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var errs []error

	now := s.now()
	if s.outdated || s.succession.renewalDue(now) {
		switch l, err := s.issue(ctx); {
		case errors.Is(err, errReplaced):
			// The authority is about to learn of it, and to tell.
			s.options.Log.V(2).Info("The CA has been replaced meanwhile")
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
	for _, c := range s.configurations {
		t, err := c.read()
		if err != nil {
			errs = append(errs, err)
			announced, nextAnnounced = false, false
			continue
		}
		// What is written below counts when the watch brings it back.
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

// announce lets every webhook of c, whose state is t, trust the CAs in serving.
func (s *SelfManaged) announce(ctx context.Context, c configuration, t trust, now time.Time, serving ...*x509.Certificate) error {
	patch, err := t.announcement(now, serving)
	if err != nil || patch == nil {
		return err
	}
	for _, w := range t.webhooks {
		if w.garbage != 0 {
			s.options.Log.Info("Dropping from caBundle what is no certificate", "kind", c.kind, "name", c.name, "webhook", w.name, "blocks", w.garbage)
		}
	}
	err = c.patch(ctx, patch)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		// Somebody was faster. The watch is about to say what they did.
		s.options.Log.V(2).Info("The configuration has changed meanwhile", "kind", c.kind, "name", c.name)
		return nil
	}
	if err != nil {
		return fmt.Errorf("write caBundle of %s %q: %w", c.kind, c.name, err)
	}
	s.options.Log.Info("Wrote caBundle", "kind", c.kind, "name", c.name)
	return nil
}

// publish lets handshakes have the leaf that is to be served.
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
	log.Info("Serving a new certificate")
}
