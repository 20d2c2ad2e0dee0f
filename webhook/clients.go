package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
)

// clients accepts only connections of a client whose certificate is signed by a CA in a file, such as the API server.
type clients struct {
	ca *dynamiccertificates.DynamicFileCAContent
	// name is the common name that the certificate must have; empty for any.
	name    string
	refused prometheus.Counter
}

// newClients reads the CAs in file. The error is non-nil if there are none.
func newClients(file, name string, refused prometheus.Counter) (*clients, error) {
	ca, err := dynamiccertificates.NewDynamicCAContentFromFile("client-ca", file)
	if err != nil {
		return nil, err
	}
	return &clients{ca, name, refused}, nil
}

// restrict makes a server refuse the handshake of clients that are not accepted.
func (c *clients) restrict(server *tls.Config) {
	// The certificate is asked for here and checked by VerifyConnection, with the CAs that the file has at that moment.
	server.ClientAuth = tls.RequestClientCert
	server.VerifyConnection = func(connection tls.ConnectionState) error {
		err := c.verify(connection.PeerCertificates)
		if err != nil {
			c.refused.Inc()
		}
		return err
	}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable. It returns false, because every replica serves.
func (*clients) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable. It reads the file again when it changes, until ctx ends. If the file then has no
// CA, this is logged and the former CAs stay.
func (c *clients) Start(ctx context.Context) error {
	c.ca.Run(ctx, 1)
	return nil
}

// verify checks the certificate of a client and those of its intermediate CAs. The error is non-nil if the client is
// not accepted.
func (c *clients) verify(certificates []*x509.Certificate) error {
	if len(certificates) == 0 {
		return errors.New("the client has no certificate")
	}
	options, ok := c.ca.VerifyOptions()
	if !ok {
		return errors.New("no client CA has been read")
	}
	options.Intermediates = x509.NewCertPool()
	for _, intermediate := range certificates[1:] {
		options.Intermediates.AddCert(intermediate)
	}
	client := certificates[0]
	if _, err := client.Verify(options); err != nil {
		return fmt.Errorf("client certificate of %q: %w", short(client.Subject.CommonName), err)
	}
	if c.name != "" && client.Subject.CommonName != c.name {
		return fmt.Errorf("client certificate is of %q; want %q", short(client.Subject.CommonName), c.name)
	}
	return nil
}
