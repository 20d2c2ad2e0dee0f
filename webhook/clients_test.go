package webhook

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/client-go/util/cert"
)

// issuer signs the certificates of a test.
type issuer struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// issue returns a certificate that i signs, or that signs itself if i is nil.
func (i *issuer) issue(t *testing.T, name string, isCA bool, usages ...x509.ExtKeyUsage) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: isCA, BasicConstraintsValid: true, ExtKeyUsage: usages, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if isCA {
		template.KeyUsage |= x509.KeyUsageCertSign
	}
	parent := &issuer{template, key}
	if i != nil {
		parent = i
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.certificate, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{certificate, key}
}

// client returns the certificate for a client to show, followed by those of intermediate CAs.
func (i *issuer) client(intermediates ...*issuer) []tls.Certificate {
	shown := tls.Certificate{Certificate: [][]byte{i.certificate.Raw}, PrivateKey: i.key}
	for _, intermediate := range intermediates {
		shown.Certificate = append(shown.Certificate, intermediate.certificate.Raw)
	}
	return []tls.Certificate{shown}
}

// write writes the certificates of CAs into a file, atomically as a kubelet does.
func write(t *testing.T, file string, cas ...*issuer) {
	t.Helper()
	var certificates []*x509.Certificate
	for _, ca := range cas {
		certificates = append(certificates, ca.certificate)
	}
	text, err := cert.EncodeCertificates(certificates...)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

func TestClients(t *testing.T) {
	t.Parallel()
	const isCA, isClient = true, x509.ExtKeyUsageClientAuth
	ca, other := (*issuer)(nil).issue(t, "ca", isCA), (*issuer)(nil).issue(t, "other-ca", isCA)
	intermediate := ca.issue(t, "intermediate", isCA)
	file := filepath.Join(t.TempDir(), "ca.crt")
	write(t, file, ca)
	refused := prometheus.NewCounter(prometheus.CounterOpts{Name: "refused"})
	accepted, err := newClients(file, "kube-apiserver", refused)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- accepted.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = &tls.Config{}
	accepted.restrict(server.TLS)
	server.StartTLS()
	t.Cleanup(server.Close)
	// A client that connects again resumes its session.
	resumed := tls.NewLRUClientSessionCache(1)
	connect := func(certificates []tls.Certificate, sessions tls.ClientSessionCache) error {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
			InsecureSkipVerify: true, Certificates: certificates, ClientSessionCache: sessions,
		}}}
		defer client.CloseIdleConnections()
		response, err := client.Get(server.URL)
		if err != nil {
			return err
		}
		return response.Body.Close()
	}

	name := "kube-apiserver"
	good := ca.issue(t, name, false, isClient).client()
	wrong := 0.0
	for _, test := range []struct {
		name         string
		certificates []tls.Certificate
		accepted     bool
	}{
		{"none", nil, false},
		{"of the API server", good, true},
		{"of an intermediate CA", intermediate.issue(t, name, false, isClient).client(intermediate), true},
		{"of an intermediate CA that is not shown", intermediate.issue(t, name, false, isClient).client(), false},
		{"with another name", ca.issue(t, "system:node:a", false, isClient).client(), false},
		{"for servers", ca.issue(t, name, false, x509.ExtKeyUsageServerAuth).client(), false},
		{"of another CA", other.issue(t, name, false, isClient).client(), false},
		{"that signs itself", (*issuer)(nil).issue(t, name, false, isClient).client(), false},
	} {
		if err := connect(test.certificates, nil); (err == nil) != test.accepted {
			t.Errorf("a certificate %s: %v, want accepted: %t", test.name, err, test.accepted)
		}
		if !test.accepted {
			wrong++
		}
	}
	if got := testutil.ToFloat64(refused); got != wrong {
		t.Errorf("%v refused clients are counted, want %v", got, wrong)
	}

	if err := connect(good, resumed); err != nil {
		t.Fatal(err)
	}
	write(t, file, other)
	deadline := time.Now().Add(time.Minute)
	for connect(other.issue(t, name, false, isClient).client(), nil) != nil {
		if time.Now().After(deadline) {
			t.Fatal("the new CA in the file is not used")
		}
	}
	if err := connect(good, resumed); err == nil {
		t.Error("a client of the former CA is accepted where it resumes a session")
	}
	// A file without a CA changes nothing.
	if err := os.WriteFile(file, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := connect(other.issue(t, name, false, isClient).client(), nil); err != nil {
		t.Errorf("after the file has become invalid: %v", err)
	}
	if _, err := newClients(file, "", refused); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file without a CA gives %v, want an error that names it", err)
	}
}
