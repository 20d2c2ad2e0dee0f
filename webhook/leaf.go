package webhook

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// leaf is a serving certificate and the CA that signed it.
type leaf struct {
	certificate *tls.Certificate // with its Leaf set
	ca          *x509.Certificate
}

func (l *leaf) notAfter() time.Time { return l.certificate.Leaf.NotAfter }

func (l *leaf) expired(now time.Time) bool { return now.After(l.notAfter()) }

// certificateAuthority is the part of authority.DynamicAuthority that is used here.
type certificateAuthority interface {
	Run(ctx context.Context) error
	// WatchRotation registers a channel on which the authority sends whenever it sees a new CA, the first one included.
	// It does not send if the channel is full.
	WatchRotation(chan<- struct{})
	// Sign sets the validity of template and returns the certificate, signed with the CA that the authority saw last.
	Sign(template *x509.Certificate) (*x509.Certificate, error)
}

// errReplaced is returned by issue if the authority does not know the CA in the Secret yet.
var errReplaced = errors.New("the CA that signed the certificate is no longer in the Secret")

// issue returns a new leaf of the CA that is in the Secret. The error is errReplaced if the authority does not know
// that CA yet.
//
// The authority signs with the CA that it saw last, and does not say which one that was. The Secret, which is read
// after signing, says which CA is the current one; a leaf of any other CA is rejected. So the lifetime of a leaf
// never begins after its CA has been replaced, which caRetention relies on.
func (s *SelfManaged) issue(ctx context.Context) (*leaf, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	signed, err := s.authority.Sign(&x509.Certificate{
		PublicKeyAlgorithm: x509.ECDSA,
		PublicKey:          key.Public(),
		DNSNames:           s.options.DNSNames,
		KeyUsage:           x509.KeyUsageDigitalSignature,
		ExtKeyUsage:        []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return nil, err
	}
	secrets := s.client.CoreV1().Secrets(s.options.SecretNamespace)
	secret, err := secrets.Get(ctx, s.options.SecretName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, errReplaced
	}
	if err != nil {
		return nil, fmt.Errorf("read the CA: %w", err)
	}
	cas, _ := parseBundle(secret.Data[corev1.TLSCertKey])
	if len(cas) == 0 || signed.CheckSignatureFrom(cas[0]) != nil {
		return nil, errReplaced
	}
	return &leaf{
		certificate: &tls.Certificate{Certificate: [][]byte{signed.Raw}, PrivateKey: key, Leaf: signed},
		ca:          cas[0],
	}, nil
}
