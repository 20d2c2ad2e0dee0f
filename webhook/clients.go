package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"
)

// clients accepts only connections of a client whose certificate is signed by a CA in a file, such as the API server.
type clients struct {
	ca *dynamiccertificates.DynamicFileCAContent
	// name is the common name that the certificate must have; empty for any.
	name string
}

// newClients reads the CAs in file. The error is non-nil if there are none.
func newClients(file, name string) (*clients, error) {
	ca, err := dynamiccertificates.NewDynamicCAContentFromFile("client-ca", file)
	if err != nil {
		return nil, err
	}
	return &clients{ca, name}, nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable. It returns false, because every replica serves.
func (*clients) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable. It reads the file again when it changes, until ctx ends. If the file then has no
// CA, this is logged and the former CAs stay.
func (c *clients) Start(ctx context.Context) error {
	c.ca.Run(ctx, 1)
	return nil
}

// verify is a callback for tls.Config. The error is non-nil if the client is not accepted.
func (c *clients) verify(connection tls.ConnectionState) error {
	options, ok := c.ca.VerifyOptions()
	if !ok {
		return errors.New("no client CA has been read")
	}
	options.Intermediates = x509.NewCertPool()
	for _, intermediate := range connection.PeerCertificates[1:] {
		options.Intermediates.AddCert(intermediate)
	}
	client := connection.PeerCertificates[0]
	if _, err := client.Verify(options); err != nil {
		return fmt.Errorf("client certificate of %q: %w", short(client.Subject.CommonName), err)
	}
	if c.name != "" && client.Subject.CommonName != c.name {
		return fmt.Errorf("client certificate is of %q; want %q", short(client.Subject.CommonName), c.name)
	}
	return nil
}
