package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/util/cert"

	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/sandbox"
)

// TestFileCertificates serves a certificate from files, and replaces it while the webhook runs. Alerts report that the
// new one expires soon, that the files do not match, and that a webhook configuration is missing, although the webhook
// does not write it.
func TestFileCertificates(t *testing.T) {
	dir := t.TempDir()
	former, formerKey := selfSigned(t)
	next, nextKey, err := cert.GenerateSelfSignedCertKeyWithOptions(cert.SelfSignedCertKeyOptions{
		Host: "localhost", MaxAge: 24 * time.Hour, // it begins an hour ago
	})
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) {
		t.Helper()
		// Atomically, as the kubelet updates a mounted Secret.
		if err := os.WriteFile(filepath.Join(dir, name+".new"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, name+".new"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	write("ca.crt", slices.Concat(former, next))
	write("tls.crt", former)
	write("tls.key", formerKey)
	e := newEnvironment(t, cluster.Options{}, sandbox.Options{CertDir: dir})
	e.namespace(t, "edge")
	refused := func() (bool, string) {
		a := e.kubectl(
			t,
			service("edge", "web", "{type: ClusterIP, externalTrafficPolicy: Local, ports: [{port: 80}]}"),
			"create",
			"-f",
			"-",
		)
		return strings.Contains(a.stderr, refusedByUs), a.stderr
	}

	m := newMonitor(t, e)
	before := serials(t, e)
	write("tls.key", nextKey)
	write("tls.crt", next)
	e.eventually(t, "the new certificate is served", func() (bool, string) {
		after := serials(t, e)
		return after[0] != before[0], fmt.Sprint(before, after)
	})
	if ok, now := refused(); !ok {
		t.Errorf("the API server does not call a webhook with the new certificate: %s", now)
	}
	m.fires(t, "SourcewardCertificateExpiring")

	e.eventually(t, "a metric reports that the files do not match", func() (bool, string) {
		write("tls.key", formerKey) // each time, since the files are otherwise read only every ten seconds
		got := metric(t, e.Replicas[0], "certwatcher_read_certificate_errors_total")
		return got > 20, fmt.Sprint(got) // the alert leaves out the first ones
	})
	m.fires(t, "SourcewardCertificateUnreadable")
	if a := e.kubectl(t, "", "get", "secret", "-n", sandbox.Namespace, "sourceward-ca"); a.code == 0 {
		t.Error("there is a Secret with a CA, though certificates come from files")
	}

	const sample = `sourceward_webhook_configuration_webhooks{kind="MutatingWebhookConfiguration",name="sourceward"}`
	if got := metric(t, e.Replicas[0], sample); got != 2 {
		t.Errorf("%s = %v, want 2", sample, got)
	}
	e.must(t, "", "delete", "mutatingwebhookconfiguration", "sourceward")
	e.eventually(t, "a metric reports that the configuration is missing", func() (bool, string) {
		got := metric(t, e.Replicas[0], sample)
		return got == 0, fmt.Sprint(got)
	})
	m.fires(t, "SourcewardConfigurationMissing")
}

// selfSigned returns a new certificate for localhost that is its own CA.
func selfSigned(t *testing.T) (certPEM, keyPEM []byte) {
	t.Helper()
	certPEM, keyPEM, err := cert.GenerateSelfSignedCertKey("localhost", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return certPEM, keyPEM
}
