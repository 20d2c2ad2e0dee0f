package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// validity returns an error if x has expired at the time now, or is not valid yet.
func validity(x *x509.Certificate, now time.Time) error {
	switch {
	case now.After(x.NotAfter):
		return fmt.Errorf("the serving certificate expired at %s; renew it", x.NotAfter.Format(time.RFC3339))
	case now.Before(x.NotBefore):
		return fmt.Errorf("the serving certificate is not valid before %s; check the clocks of this node and of its issuer",
			x.NotBefore.Format(time.RFC3339))
	}
	return nil
}

// verification is what API servers make of a certificate.
type verification struct {
	// webhooks is the number of webhooks. A configuration that does not exist has none.
	webhooks int
	// faults has an error for each webhook that API servers cannot call, with what is wrong and what to do.
	faults []error
	// unknown is the number of webhooks without caBundle. API servers then use their own trust store, which is not known
	// here. They are no faults.
	unknown int
}

// err returns the first fault, because faults mostly have one cause, and the number of the others; nil if there are no
// faults.
func (v verification) err() error {
	switch len(v.faults) {
	case 0:
		return nil
	case 1:
		return v.faults[0]
	default:
		return fmt.Errorf("%w (and %d more webhooks)", v.faults[0], len(v.faults)-1)
	}
}

// verify returns what API servers make of certificate at the time now, as of the last events of the watches.
func (c *Configurations) verify(certificate *tls.Certificate, now time.Time) verification {
	var all verification
	for _, configuration := range c.all {
		v := configuration.verify(certificate, now)
		all.webhooks += v.webhooks
		all.faults = append(all.faults, v.faults...)
		all.unknown += v.unknown
	}
	return all
}

func (c configuration) verify(certificate *tls.Certificate, now time.Time) verification {
	t, err := c.read()
	if err != nil {
		return verification{webhooks: 1, faults: []error{err}}
	}
	v := verification{webhooks: len(t.webhooks)}
	for _, w := range t.webhooks {
		if err := t.verify(w, certificate, now); err != nil {
			v.faults = append(v.faults, fmt.Errorf("%s %s, webhook %s: %w", c.kind, c.name, w.name, err))
		} else if len(w.bundle) == 0 {
			v.unknown++
		}
	}
	return v
}

// verify returns an error if API servers cannot verify certificate for w, a webhook of t, at the time now. It does what
// their client does (crypto/tls, verifyServerCertificate), as far as their trust store is known. An empty caBundle is
// an error if cert-manager is to write it.
func (t trust) verify(w webhookTrust, certificate *tls.Certificate, now time.Time) error {
	write := "set it to the CA of the certificate"
	if t.injectFrom != "" {
		write = "cert-manager writes it: check that Certificate " + t.injectFrom +
			" is Ready, that its Secret has ca.crt, and that cainjector runs"
		if len(w.bundle) == 0 {
			return fmt.Errorf("clientConfig.caBundle is empty; %s", write)
		}
	}
	if err := validity(certificate.Leaf, now); err != nil {
		return err
	}
	if err := certificate.Leaf.VerifyHostname(w.host); err != nil {
		return fmt.Errorf("clientConfig calls %s: %w; issue the certificate for that name", w.host, err)
	}
	if len(w.bundle) == 0 {
		return nil
	}
	if len(w.cas) == 0 {
		return fmt.Errorf("clientConfig.caBundle has no certificate in PEM; %s", write)
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now}
	expired := 0
	for _, ca := range w.cas {
		options.Roots.AddCert(ca)
		if now.After(ca.NotAfter) {
			expired++
		}
	}
	for _, der := range certificate.Certificate[1:] {
		intermediate, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("parse the chain of the certificate: %w; replace it", err)
		}
		options.Intermediates.AddCert(intermediate)
	}
	_, err := certificate.Leaf.Verify(options)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(x509.UnknownAuthorityError)), isInvalid && invalid.Reason == x509.Expired:
		// The text of err may contain the current time, and would then be logged each time.
		return fmt.Errorf("no CA in clientConfig.caBundle (%d, of which %d have expired) has signed the certificate; %s",
			len(w.cas), expired, write)
	default:
		return fmt.Errorf("%w; replace the certificate", err)
	}
}
