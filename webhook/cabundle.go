package webhook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	admissioninformers "k8s.io/client-go/informers/admissionregistration/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

const (
	// caCommonName is the whole subject of our CAs. It tells them from those that others put into a caBundle.
	caCommonName = "sourceward-ca"

	// leafLife is how long a serving certificate lives; it is renewed after two thirds.
	leafLife = 7 * 24 * time.Hour

	// caRetention is how long a CA stays in caBundle after it has a successor. No leaf of the former CA is taken into
	// use once the successor is in the Secret (see issue), so that leafLife is enough; the day is for clocks that differ.
	caRetention = leafLife + 24*time.Hour
)

// parseBundle reads the certificates that an API server would find in a caBundle, and counts the PEM blocks in which it
// would find none. Text outside of blocks is a comment. A bundle that is not PEM at all counts as one such block.
func parseBundle(bundle []byte) (cas []*x509.Certificate, garbage int) {
	rest := bundle
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		ca, err := x509.ParseCertificate(block.Bytes)
		// A block with headers is none to x509.CertPool.
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

// unionCAs is what a caBundle has to hold at the time now, newest first: every CA of live, which is what it held, and of
// serving, which are those that the caller serves or is about to. Left out is what nobody can be serving: a CA that has
// expired, and one of ours in live, not in serving, that has had a successor of ours for longer than caRetention.
// CAs that others put into live stay until they expire or are taken out.
//
// The answer does not depend on the order of the arguments, nor on duplicates. Replicas that see the same live agree on it
// as soon as live holds what each of them serves.
func unionCAs(now time.Time, live, serving []*x509.Certificate) []*x509.Certificate {
	union := slices.Concat(live, serving)
	slices.SortFunc(union, func(a, b *x509.Certificate) int {
		return cmp.Or(b.NotBefore.Compare(a.NotBefore), bytes.Compare(a.Raw, b.Raw))
	})
	union = slices.CompactFunc(union, (*x509.Certificate).Equal)

	ours := func(ca *x509.Certificate) bool { return ca.Subject.String() == "CN="+caCommonName }
	var successor time.Time // the birth of the newest of ours that has been there for caRetention
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

// encodeBundle is the PEM of cas, in their order.
func encodeBundle(cas []*x509.Certificate) []byte {
	var bundle []byte
	for _, ca := range cas {
		bundle = append(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})...)
	}
	return bundle
}

// configuration is one webhook configuration, watched by its name so that RBAC can name it.
type configuration struct {
	kind, name string
	informer   cache.SharedIndexInformer
	patch      func(ctx context.Context, patch []byte) error
}

func newConfigurations(client kubernetes.Interface, mutatingName, validatingName string) []configuration {
	only := func(name string) func(*metav1.ListOptions) {
		return func(list *metav1.ListOptions) {
			list.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
		}
	}
	const noResync = 0
	options := metav1.PatchOptions{FieldManager: caCommonName}
	registrations := client.AdmissionregistrationV1()
	return []configuration{
		{
			kind: "MutatingWebhookConfiguration", name: mutatingName,
			informer: admissioninformers.NewFilteredMutatingWebhookConfigurationInformer(client, noResync, nil, only(mutatingName)),
			patch: func(ctx context.Context, patch []byte) error {
				_, err := registrations.MutatingWebhookConfigurations().Patch(ctx, mutatingName, types.StrategicMergePatchType, patch, options)
				return err
			},
		},
		{
			kind: "ValidatingWebhookConfiguration", name: validatingName,
			informer: admissioninformers.NewFilteredValidatingWebhookConfigurationInformer(client, noResync, nil, only(validatingName)),
			patch: func(ctx context.Context, patch []byte) error {
				_, err := registrations.ValidatingWebhookConfigurations().Patch(ctx, validatingName, types.StrategicMergePatchType, patch, options)
				return err
			},
		},
	}
}

// read returns what the configuration makes API servers trust, as of the last event of its watch.
// One that does not exist has no webhooks.
func (c configuration) read() (trust, error) {
	object, exists, err := c.informer.GetStore().GetByKey(c.name)
	if err != nil || !exists {
		return trust{}, err
	}
	var t trust
	add := func(name string, config admissionregistrationv1.WebhookClientConfig) {
		w := webhookTrust{name: name, bundle: config.CABundle}
		w.cas, w.garbage = parseBundle(w.bundle)
		t.webhooks = append(t.webhooks, w)
	}
	switch object := object.(type) {
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		t.resourceVersion = object.ResourceVersion
		for i := range object.Webhooks {
			add(object.Webhooks[i].Name, object.Webhooks[i].ClientConfig)
		}
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		t.resourceVersion = object.ResourceVersion
		for i := range object.Webhooks {
			add(object.Webhooks[i].Name, object.Webhooks[i].ClientConfig)
		}
	default:
		return trust{}, fmt.Errorf("read %s %q: unexpected %T", c.kind, c.name, object)
	}
	return t, nil
}

// trust is what one version of a configuration makes API servers trust.
type trust struct {
	resourceVersion string
	webhooks        []webhookTrust
}

type webhookTrust struct {
	name    string
	bundle  []byte
	cas     []*x509.Certificate
	garbage int // blocks of bundle that are no certificate
}

// includes is whether every webhook trusts ca. Where there is no webhook nobody needs to.
func (t trust) includes(ca *x509.Certificate) bool {
	return !slices.ContainsFunc(t.webhooks, func(w webhookTrust) bool { return !slices.ContainsFunc(w.cas, ca.Equal) })
}

// announcement returns the patch after which every webhook trusts the union of what any of them trusted before and of
// serving; nil if that is so already.
//
// It is a strategic merge patch and not server-side apply, because whoever applies a part of an entry owns the entry: when
// it later leaves the manifests of somebody who also applies on the server, a stub of it stays behind, nothing but its name
// and our caBundle, and their apply is refused as invalid. An update owns caBundle and nothing else. The resourceVersion
// makes it fail with a conflict if the configuration is no longer the one that the union was made from.
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
		// All of them and in their order, because the order of a patch becomes the order of the list.
		patch.Webhooks = append(patch.Webhooks, webhook{Name: w.name, ClientConfig: clientConfig{CABundle: bundle}})
	}
	return json.Marshal(patch)
}
