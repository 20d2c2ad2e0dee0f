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
	certificate *tls.Certificate // its Leaf is set
	ca          *x509.Certificate
}

func (l *leaf) notAfter() time.Time { return l.certificate.Leaf.NotAfter }

func (l *leaf) expired(now time.Time) bool { return now.After(l.notAfter()) }

// certificateAuthority is what is used of authority.DynamicAuthority.
type certificateAuthority interface {
	Run(ctx context.Context) error
	// WatchRotation makes it send on the channel, unless that is full, whenever the CA is another; the first is one, too.
	WatchRotation(chan<- struct{})
	// Sign sets the life of the template and returns the certificate, signed with the CA that the authority last saw.
	Sign(template *x509.Certificate) (*x509.Certificate, error)
}

// errReplaced is why a leaf of the CA that the authority knows is of no use.
var errReplaced = errors.New("the CA that signed is no longer in the Secret")

// issue makes a leaf of the CA that is in the Secret. The error is errReplaced if the authority does not know that one yet.
//
// The authority signs with the CA that it last saw, and does not tell which one that was. The Secret is read after the
// signature: it names the CA, and a leaf of one that is no longer there is refused. So no leaf begins to live later than
// the successor of its CA, which is what caRetention counts on.
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
	secret, err := s.client.CoreV1().Secrets(s.options.SecretNamespace).Get(ctx, s.options.SecretName, metav1.GetOptions{})
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
