package webhook

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"slices"
	"time"
)

const (
	// caCommonName is the whole subject of our CAs. It distinguishes them from CAs that others put into a caBundle.
	caCommonName = "sourceward-ca"

	// leafLife is the lifetime of a serving certificate, which is renewed after two thirds of it.
	leafLife = 7 * 24 * time.Hour

	// caRetention is how long a CA stays in caBundle after it has a successor. No leaf of the former CA is accepted once
	// the successor is in the Secret (see issue), so leafLife would be enough; the extra day allows for clocks that
	// differ.
	caRetention = leafLife + 24*time.Hour
)

// parseBundle returns the certificates that an API server would find in a caBundle, and the number of PEM blocks in
// which it would find none. Text outside of blocks is a comment. A bundle that is not empty and has no block counts
// as one such block.
func parseBundle(bundle []byte) (cas []*x509.Certificate, garbage int) {
	rest := bundle
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		ca, err := x509.ParseCertificate(block.Bytes)
		// x509.CertPool skips blocks with headers.
		if err != nil || block.Type != "CERTIFICATE" || len(block.Headers) != 0 {
			garbage++
			continue
		}
		cas = append(cas, ca)
	}
	if len(cas)+garbage == 0 && len(bundle) != 0 {
		garbage = 1
	}
	return cas, garbage
}

// unionCAs returns what a caBundle must contain at the time now, newest first. live is what the caBundle contains;
// serving is the CAs whose leaves the caller serves or is about to serve. The union of both leaves out the CAs that
// no replica can be serving: CAs that have expired, and each of our CAs in live, but not in serving, that has had a
// successor of ours for longer than caRetention. CAs that others put into live stay until they expire or are removed.
//
// The result depends neither on the order of the arguments nor on duplicates. Replicas that see the same live agree
// on the result as soon as live contains what each of them serves.
func unionCAs(now time.Time, live, serving []*x509.Certificate) []*x509.Certificate {
	union := slices.Concat(live, serving)
	slices.SortFunc(union, func(a, b *x509.Certificate) int {
		return cmp.Or(b.NotBefore.Compare(a.NotBefore), bytes.Compare(a.Raw, b.Raw))
	})
	union = slices.CompactFunc(union, (*x509.Certificate).Equal)

	ours := func(ca *x509.Certificate) bool { return ca.Subject.String() == "CN="+caCommonName }
	var successor time.Time // NotBefore of our newest CA that is older than caRetention
	for _, ca := range union {
		if ours(ca) && now.Sub(ca.NotBefore) > caRetention && ca.NotBefore.After(successor) {
			successor = ca.NotBefore
		}
	}
	return slices.DeleteFunc(union, func(ca *x509.Certificate) bool {
		retired := ours(ca) && ca.NotBefore.Before(successor) && !slices.ContainsFunc(serving, ca.Equal)
		return retired || now.After(ca.NotAfter)
	})
}

// encodeBundle returns cas in PEM, in the same order.
func encodeBundle(cas []*x509.Certificate) []byte {
	var bundle []byte
	for _, ca := range cas {
		bundle = append(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})...)
	}
	return bundle
}

// trust is what one version of a configuration makes API servers trust.
type trust struct {
	resourceVersion string
	webhooks        []webhookTrust
	// injectFrom is the Certificate, as NAMESPACE/NAME, whose CA cert-manager's CA injector writes into every caBundle;
	// empty if the configuration does not ask for that.
	injectFrom string
}

type webhookTrust struct {
	name string
	// host is the name for which API servers verify the serving certificate.
	host    string
	bundle  []byte
	cas     []*x509.Certificate
	garbage int // blocks of bundle that are not certificates
}

// includes reports whether every webhook trusts ca. It is true if there are no webhooks.
func (t trust) includes(ca *x509.Certificate) bool {
	return !slices.ContainsFunc(t.webhooks, func(w webhookTrust) bool { return !slices.ContainsFunc(w.cas, ca.Equal) })
}

// announcement returns the patch that makes every webhook trust the union of serving and of what any webhook trusted
// before; nil if every caBundle is that union already.
//
// The patch is a strategic merge patch and not server-side apply, because a manager that applies a part of a list
// entry owns the entry. When the entry later disappears from the manifests of another manager that also uses
// server-side apply, a stub with nothing but its name and our caBundle stays behind, and the apply of that manager is
// rejected as invalid. An update owns caBundle and nothing else. The resourceVersion makes the patch fail with a
// conflict if the configuration has changed since the union was computed.
func (t trust) announcement(now time.Time, serving []*x509.Certificate) ([]byte, error) {
	var live []*x509.Certificate
	for _, w := range t.webhooks {
		live = append(live, w.cas...)
	}
	bundle := encodeBundle(unionCAs(now, live, serving))
	if !slices.ContainsFunc(t.webhooks, func(w webhookTrust) bool { return !bytes.Equal(w.bundle, bundle) }) {
		return nil, nil
	}

	type clientConfig struct {
		CABundle []byte `json:"caBundle"`
	}
	type webhook struct {
		Name         string       `json:"name"`
		ClientConfig clientConfig `json:"clientConfig"`
	}
	var patch struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
		Webhooks []webhook `json:"webhooks"`
	}
	patch.Metadata.ResourceVersion = t.resourceVersion
	for _, w := range t.webhooks {
		// The patch has all webhooks in their order, because its order becomes the order of the list.
		patch.Webhooks = append(patch.Webhooks, webhook{Name: w.name, ClientConfig: clientConfig{CABundle: bundle}})
	}
	return json.Marshal(patch)
}
