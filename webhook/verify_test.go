package webhook

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/client-go/transport"
)

// servingHost is the name by which API servers call calledWebhook.
const servingHost = "webhook.ns.svc"

// calledWebhook returns the clientConfig of a webhook that is called by its Service.
func calledWebhook(bundle []byte) admissionregistrationv1.WebhookClientConfig {
	return admissionregistrationv1.WebhookClientConfig{
		Service:  &admissionregistrationv1.ServiceReference{Namespace: "ns", Name: "webhook"},
		CABundle: bundle,
	}
}

// newServing returns a certificate for servingHost that is valid from notBefore for leafLife. ca signs it with key,
// which is also its own key.
func newServing(
	t testing.TB, ca *x509.Certificate, key *ecdsa.PrivateKey, notBefore time.Time, tweaks ...func(*x509.Certificate),
) *tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(notBefore.Unix()), DNSNames: []string{servingHost},
		NotBefore: notBefore, NotAfter: notBefore.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, tweak := range tweaks {
		tweak(template)
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	x, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key, Leaf: x}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	key, otherKey := newKey(t), newKey(t)
	ours, theirs := newCA(t, key, "ours", 1, epoch), newCA(t, key, "theirs", 2, epoch)
	renewed, rekeyed := newCA(t, key, "ours", 3, epoch.Add(day)), newCA(t, otherKey, "ours", 4, epoch.Add(day))
	expiring := newCA(t, key, "ours", 5, epoch.Add(2*day-caLife))
	bundle := func(cas ...*x509.Certificate) []byte { return encodeBundle(cas) }
	intermediate := newServing(t, ours, key, epoch, func(x *x509.Certificate) {
		x.IsCA, x.BasicConstraintsValid, x.KeyUsage, x.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
		x.Subject.CommonName = "intermediate"
	})
	chain := newServing(t, intermediate.Leaf, key, epoch)
	chain.Certificate = append(chain.Certificate, intermediate.Certificate[0])
	serving := newServing(t, ours, key, epoch)

	tests := map[string]struct {
		at          time.Duration // since epoch; a day if 0
		certificate *tls.Certificate
		host        string // servingHost if empty
		bundle      []byte
		injectFrom  string
		want        string // part of the error; empty if the certificate is verified
	}{
		"the CA of the certificate":       {certificate: serving, bundle: bundle(ours)},
		"the former CA and its successor": {certificate: serving, bundle: bundle(theirs, ours)},
		"another CA": {
			certificate: serving,
			bundle:      bundle(theirs),
			want: "no CA in clientConfig.caBundle (1, of which 0 have expired) has signed the certificate; " +
				"set it to the CA of the certificate",
		},
		"another CA that cert-manager has written": {
			certificate: serving,
			bundle:      bundle(theirs),
			injectFrom:  "ns/webhook",
			want: "has signed the certificate; cert-manager writes it: check that Certificate ns/webhook is Ready, " +
				"that its Secret has ca.crt, and that cainjector runs",
		},
		"a CA that was renewed with its key":   {certificate: serving, bundle: bundle(renewed)},
		"a CA that was renewed with a new key": {certificate: serving, bundle: bundle(rekeyed), want: "no CA in"},
		"a CA that has expired": {
			at:          2*day + time.Second,
			certificate: serving,
			bundle:      bundle(expiring, theirs),
			want:        "(2, of which 1 have expired)",
		},
		"a CA in its last second":            {at: 2 * day, certificate: serving, bundle: bundle(expiring)},
		"a chain with an intermediate CA":    {certificate: chain, bundle: bundle(ours)},
		"the certificate itself in caBundle": {certificate: serving, bundle: bundle(serving.Leaf)},
		"text beside the CA":                 {certificate: serving, bundle: append([]byte("# ours\n"), bundle(ours)...)},
		"a caBundle that is not PEM":         {certificate: serving, bundle: []byte("x"), want: "has no certificate in PEM"},
		"a caBundle with nothing but a key": {
			certificate: serving,
			bundle:      pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: ours.Raw}),
			want:        "has no certificate in PEM; set it to the CA",
		},
		"no caBundle": {certificate: serving},
		"no caBundle, and another name": {
			certificate: serving,
			host:        "localhost",
			want: "clientConfig calls localhost: x509: certificate is valid for webhook.ns.svc, not localhost; " +
				"issue the certificate for that name",
		},
		"no caBundle, though cert-manager is to write it": {
			certificate: serving,
			injectFrom:  "ns/webhook",
			want:        "clientConfig.caBundle is empty; cert-manager writes it: check that Certificate ns/webhook is Ready",
		},
		"another name": {
			certificate: serving,
			host:        "webhook.other.svc",
			bundle:      bundle(ours),
			want:        "not webhook.other.svc",
		},
		"a URL with an address": {
			certificate: newServing(t, ours, key, epoch, func(x *x509.Certificate) {
				x.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 1)}
			}),
			host:   "192.0.2.1",
			bundle: bundle(ours),
		},
		"a certificate that has expired": {
			at:          leafLife + time.Second,
			certificate: serving,
			bundle:      bundle(ours),
			want:        "the serving certificate expired at 2027-01-08T00:00:00Z; renew it",
		},
		"a certificate in its last second": {at: leafLife, certificate: serving, bundle: bundle(ours)},
		"a certificate that is not valid yet": {
			at:          -time.Second,
			certificate: serving,
			bundle:      bundle(newCA(t, key, "ours", 6, epoch.Add(-day))),
			want:        "is not valid before 2027-01-01T00:00:00Z; check the clocks",
		},
		"a certificate of a client": {
			certificate: newServing(t, ours, key, epoch, func(x *x509.Certificate) {
				x.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
			}),
			bundle: bundle(ours),
			want:   "incompatible key usage; replace the certificate",
		},
		"a certificate without alternative names": {
			certificate: newServing(t, ours, key, epoch, func(x *x509.Certificate) {
				x.DNSNames, x.Subject.CommonName = nil, servingHost
			}),
			bundle: bundle(ours),
			want:   "issue the certificate for that name",
		},
	}
	for sentence, tt := range tests {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			now, host := epoch.Add(day), servingHost
			if tt.at != 0 {
				now = epoch.Add(tt.at)
			}
			if tt.host != "" {
				host = tt.host
			}
			w := webhookTrust{host: host, bundle: tt.bundle}
			w.cas, w.garbage = parseBundle(w.bundle)
			err := trust{injectFrom: tt.injectFrom}.verify(w, tt.certificate, now)
			if got := errorText(err); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("verify() = %q, want %q", got, tt.want)
			}
			if len(tt.bundle) == 0 {
				return // the result depends on this machine
			}
			if theirs := call(t, tt.certificate, host, tt.bundle, now); (theirs == nil) != (err == nil) {
				t.Errorf("verify() = %v, but the handshake of an API server returns %v", err, theirs)
			}
		})
	}
}

// call makes the handshake of an API server with a webhook, and returns the error of the API server.
func call(t *testing.T, certificate *tls.Certificate, host string, bundle []byte, now time.Time) error {
	t.Helper()
	config, err := transport.TLSConfigFor(
		&transport.Config{TLS: transport.TLSConfig{CAData: bundle, ServerName: host}})
	if err != nil {
		return err
	}
	config.Time = func() time.Time { return now }
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*certificate}})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // its only connection has ended
	served := make(chan struct{})
	go func() {
		defer close(served)
		connection, err := listener.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer connection.Close()               //nolint:errcheck // the client reports what fails
		_, _ = io.Copy(io.Discard, connection) // the client reports what fails
	}()
	connection, err := tls.Dial("tcp", listener.Addr().String(), config)
	if err == nil {
		err = connection.Close()
	}
	<-served
	return err
}

// errorText returns the text of err, or "" if there is none.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestCalledHost(t *testing.T) {
	t.Parallel()
	url := func(text string) admissionregistrationv1.WebhookClientConfig {
		return admissionregistrationv1.WebhookClientConfig{URL: &text}
	}
	for sentence, tt := range map[string]struct {
		config admissionregistrationv1.WebhookClientConfig
		want   string
	}{
		"a Service":                 {calledWebhook(nil), "webhook.ns.svc"},
		"a URL":                     {url("https://webhook.example.com:9443/mutate"), "webhook.example.com"},
		"a URL with an address":     {url("https://[2001:db8::1]:9443/"), "2001:db8::1"},
		"a URL that does not parse": {url("https://%zz"), ""},
		"neither":                   {},
	} {
		if got := calledHost(tt.config); got != tt.want {
			t.Errorf("%s: calledHost() = %q, want %q", sentence, got, tt.want)
		}
	}
}
