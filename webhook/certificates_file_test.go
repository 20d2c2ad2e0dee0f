package webhook

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestFileCertificates(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	key := newKey(t)
	write := func(ca *x509.Certificate) {
		t.Helper()
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string][]byte{
			"tls.crt": encodeBundle([]*x509.Certificate{ca}),
			"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		} {
			if err := os.WriteFile(filepath.Join(directory, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := NewFileCertificates(directory); err == nil {
		t.Error("NewFileCertificates() of an empty directory returns no error")
	}

	first, second := newCA(t, key, "first", 1, epoch), newCA(t, key, "second", 2, epoch.Add(day))
	write(first)
	c, err := NewFileCertificates(directory)
	if err != nil {
		t.Fatal(err)
	}
	c.now = func() time.Time { return first.NotAfter }
	if err := c.Ready(nil); err != nil || !c.NotAfter().Equal(first.NotAfter) {
		t.Errorf("Ready() = %v, NotAfter() = %v, want ready until %v", err, c.NotAfter(), first.NotAfter)
	}
	c.now = func() time.Time { return first.NotAfter.Add(time.Second) }
	if err := c.Ready(nil); err == nil {
		t.Error("Ready() = nil after the certificate has expired")
	}

	write(second)
	// Start does this when the files change, which certwatcher tests itself.
	if err := c.watcher.ReadCertificate(); err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(nil); err != nil {
		t.Errorf("Ready() = %v after the certificate was renewed", err)
	}
	got, err := c.GetCertificate(nil)
	if err != nil || !got.Leaf.Equal(second) {
		t.Errorf("GetCertificate() = %v, %v, want the new one", got, err)
	}
}
