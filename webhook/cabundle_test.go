package webhook

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
)

const day = 24 * time.Hour

// epoch is NotBefore of the first CA of a test.
var epoch = time.Date(2027, time.January, 1, 0, 0, 0, 0, time.UTC)

// newKey returns a key that all CAs of a test may share: nothing distinguishes CAs by their keys.
func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newCA returns a CA with this subject that is valid for caLife from notBefore.
func newCA(
	t testing.TB, key *ecdsa.PrivateKey, commonName string, serial int64, notBefore time.Time,
) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: commonName},
		NotBefore: notBefore, NotAfter: notBefore.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestUnionCAs(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	cas := map[string]*x509.Certificate{
		"first":  newCA(t, key, caCommonName, 1, epoch),
		"second": newCA(t, key, caCommonName, 2, epoch.Add(100*day)),
		"third":  newCA(t, key, caCommonName, 3, epoch.Add(101*day)),
		"twin":   newCA(t, key, caCommonName, 4, epoch.Add(101*day)),
		"theirs": newCA(t, key, "example.com", 5, epoch.Add(-day)),
		"later":  newCA(t, key, "example.com", 6, epoch.Add(50*day)),
	}
	if bytes.Compare(cas["third"].Raw, cas["twin"].Raw) > 0 {
		cas["third"], cas["twin"] = cas["twin"], cas["third"]
	}
	// Ages of the second CA.
	const second, retained, retired = 100 * day, 100*day + caRetention, 100*day + caRetention + time.Second

	tests := map[string]struct {
		at                  time.Duration // since epoch
		live, serving, want string        // names of cas
	}{
		"an empty bundle gets the CA that is served": {at: 0, serving: "first", want: "first"},
		"a new CA is added before the former one": {
			at:      second,
			live:    "first",
			serving: "second",
			want:    "second first",
		},
		"the CA that another replica serves stays": {
			at:      second,
			live:    "first",
			serving: "second second",
			want:    "second first",
		},
		"a replica that knows only the former CA does not remove the new one": {
			at:      second,
			live:    "second first",
			serving: "first",
			want:    "second first",
		},
		"two rotations in a row keep all three CAs": {
			at:      101 * day,
			live:    "second first",
			serving: "third first",
			want:    "third second first",
		},
		"duplicates are removed": {
			at:      second,
			live:    "first second first",
			serving: "second first",
			want:    "second first",
		},
		"a former CA stays as long as a leaf of it may be valid": {
			at:      second + leafLife,
			live:    "second first",
			serving: "second",
			want:    "second first",
		},
		"a former CA stays until its retention is over": {
			at:      retained,
			live:    "second first",
			serving: "second",
			want:    "second first",
		},
		"a former CA is removed after its retention": {
			at:      retired,
			live:    "second first",
			serving: "second",
			want:    "second",
		},
		"a former CA is removed even if its successor is not in the bundle yet": {
			at:      retired,
			live:    "first",
			serving: "second",
			want:    "second",
		},
		"a former CA that this replica serves stays after its retention": {
			at:      retired,
			live:    "second first",
			serving: "first",
			want:    "second first",
		},
		"the newest CA does not prolong the retention of older ones": {
			at:      retired,
			live:    "third second first",
			serving: "third",
			want:    "third second",
		},
		"of two CAs with the same NotBefore neither is the successor": {
			at:      200 * day,
			live:    "twin third",
			serving: "third",
			want:    "third twin",
		},
		"an expired CA is removed": {
			at:      caLife + time.Second,
			live:    "first",
			serving: "second",
			want:    "second",
		},
		"an expired CA is removed even if it is served": {at: caLife + time.Second, serving: "first"},
		"a CA is not expired in its last second":        {at: caLife, live: "first", want: "first"},
		"a CA that is not valid yet stays, since clocks differ": {
			at:      second - time.Hour,
			live:    "second",
			serving: "first",
			want:    "second first",
		},
		"a foreign CA stays, however old ours are": {
			at:      50 * day,
			live:    "theirs",
			serving: "first",
			want:    "first theirs",
		},
		"a foreign CA is not a successor of ours": {
			at:   80 * day,
			live: "later first",
			want: "later first",
		},
		"a foreign CA is removed when it has expired": {
			at:      caLife,
			live:    "theirs",
			serving: "second",
			want:    "second",
		},
		"without any CA the bundle is empty": {},
	}
	for sentence, tt := range tests {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			pick := func(names string) (picked []*x509.Certificate) {
				for name := range strings.FieldsSeq(names) {
					picked = append(picked, cas[name])
				}
				return picked
			}
			union := unionCAs(epoch.Add(tt.at), pick(tt.live), pick(tt.serving))
			got := ""
			for _, ca := range union {
				for name := range cas {
					if ca.Equal(cas[name]) {
						got += " " + name
					}
				}
			}
			if diff := cmp.Diff(tt.want, strings.TrimSpace(got)); diff != "" {
				t.Errorf("unionCAs() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseBundle(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	first, second := newCA(t, key, caCommonName, 1, epoch), newCA(t, key, caCommonName, 2, epoch)
	block := func(kind string, headers map[string]string, content []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Headers: headers, Bytes: content})
	}
	tests := map[string]struct {
		bundle  []byte
		want    []*x509.Certificate
		garbage int
	}{
		"an absent bundle is not garbage": {},
		"certificates are returned in the order of the bundle": {
			bundle: encodeBundle([]*x509.Certificate{second, first}),
			want:   []*x509.Certificate{second, first},
		},
		"comments between certificates are not garbage": {
			bundle: slices.Concat([]byte("# ours\n"), encodeBundle([]*x509.Certificate{first}), []byte("\n# end\n")),
			want:   []*x509.Certificate{first},
		},
		"text that is not PEM is garbage": {bundle: []byte("to be injected"), garbage: 1},
		"a certificate that does not parse does not hide the next one": {
			bundle:  slices.Concat(block("CERTIFICATE", nil, []byte("x")), encodeBundle([]*x509.Certificate{first})),
			want:    []*x509.Certificate{first},
			garbage: 1,
		},
		"a private key is garbage": {bundle: block("PRIVATE KEY", nil, first.Raw), garbage: 1},
		"an API server skips a block with headers": {
			bundle:  block("CERTIFICATE", map[string]string{"a": "b"}, first.Raw),
			garbage: 1,
		},
	}
	for sentence, tt := range tests {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			got, garbage := parseBundle(tt.bundle)
			if !slices.EqualFunc(tt.want, got, (*x509.Certificate).Equal) || garbage != tt.garbage {
				t.Errorf("parseBundle() = %d certificates, %d garbage; want %d, %d", len(got), garbage, len(tt.want), tt.garbage)
			}
			// API servers read the bundle with x509.CertPool.
			theirs := x509.NewCertPool()
			theirs.AppendCertsFromPEM(tt.bundle)
			ours := x509.NewCertPool()
			for _, ca := range got {
				ours.AddCert(ca)
			}
			if !ours.Equal(theirs) {
				t.Error("parseBundle() finds other certificates than x509.CertPool does")
			}
		})
	}
}

func TestAnnouncement(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	first, second := newCA(t, key, caCommonName, 1, epoch), newCA(t, key, caCommonName, 2, epoch.Add(day))
	bundle := func(cas ...*x509.Certificate) string { return string(encodeBundle(cas)) }
	type bundles map[string]string // by webhook
	tests := map[string]struct {
		live    bundles
		serving *x509.Certificate
		want    bundles // nil for no patch
	}{
		"every webhook gets the bundle": {
			live:    bundles{"a": "", "b": ""},
			serving: first,
			want:    bundles{"a": bundle(first), "b": bundle(first)},
		},
		"nothing is written if every bundle is complete": {
			live:    bundles{"a": bundle(second, first), "b": bundle(second, first)},
			serving: first,
		},
		"a webhook that was added gets the bundle": {
			live:    bundles{"a": bundle(second, first), "b": ""},
			serving: second,
			want:    bundles{"a": bundle(second, first), "b": bundle(second, first)},
		},
		"webhooks that differ get the union": {
			live:    bundles{"a": bundle(second), "b": bundle(first)},
			serving: first,
			want:    bundles{"a": bundle(second, first), "b": bundle(second, first)},
		},
		"another order is corrected": {
			live:    bundles{"a": bundle(first, second)},
			serving: second,
			want:    bundles{"a": bundle(second, first)},
		},
		"garbage is removed": {
			live:    bundles{"a": bundle(first) + "Cg==\n-----BEGIN X-----\n-----END X-----\n"},
			serving: first,
			want:    bundles{"a": bundle(first)},
		},
		"a configuration that does not exist gets no patch": {serving: first},
	}
	for sentence, tt := range tests {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			state := trust{resourceVersion: "7"}
			for _, name := range slices.Sorted(maps.Keys(tt.live)) {
				w := webhookTrust{name: name, bundle: []byte(tt.live[name])}
				w.cas, w.garbage = parseBundle(w.bundle)
				state.webhooks = append(state.webhooks, w)
			}
			patch, err := state.announcement(epoch.Add(day), []*x509.Certificate{tt.serving})
			if err != nil {
				t.Fatal(err)
			}
			var got bundles
			if patch != nil {
				// The API's own type decodes the patch, so that a misspelt field fails the test.
				var c admissionregistrationv1.ValidatingWebhookConfiguration
				if err := json.Unmarshal(patch, &c); err != nil {
					t.Fatal(err)
				}
				if c.ResourceVersion != "7" {
					t.Errorf("the patch is for version %q, want 7", c.ResourceVersion)
				}
				got = bundles{}
				for _, w := range c.Webhooks {
					got[w.Name] = string(w.ClientConfig.CABundle)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("announcement() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzCABundle checks that for every bundle nothing panics, no CA is lost whose leaf may be served, the result does
// not depend on the order, and a bundle that was written is not written again.
func FuzzCABundle(f *testing.F) {
	key := newKey(f)
	pool := []*x509.Certificate{
		newCA(f, key, caCommonName, 1, epoch),
		newCA(f, key, caCommonName, 2, epoch.Add(day)),
		newCA(f, key, caCommonName, 3, epoch.Add(10*day)),
		newCA(f, key, caCommonName, 4, epoch.Add(10*day)),
		newCA(f, key, caCommonName, 5, epoch.Add(300*day)),
		newCA(f, key, "example.com", 6, epoch.Add(5*day)),
	}
	f.Add([]byte{0, 1, 2}, []byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), uint16(11), uint8(2))
	f.Add([]byte{5, 4, 3, 2, 1, 0}, []byte("\x00"), uint16(366), uint8(0))
	f.Fuzz(func(t *testing.T, held, garbage []byte, days uint16, served uint8) {
		now := epoch.Add(time.Duration(days) * day)
		serving := []*x509.Certificate{pool[int(served)%len(pool)]}
		var live []*x509.Certificate
		for _, i := range held {
			live = append(live, pool[int(i)%len(pool)])
		}
		before := slices.Clone(live)

		got := unionCAs(now, live, serving)
		if !slices.Equal(before, live) {
			t.Error("unionCAs() has changed its argument")
		}
		for _, ca := range slices.Concat(live, serving) {
			// The last leaf of one of our CAs was signed before its successor came. Nothing is known about foreign CAs.
			succeeded := slices.ContainsFunc(slices.Concat(live, serving), func(other *x509.Certificate) bool {
				return other.Subject.String() == ca.Subject.String() && other.NotBefore.After(ca.NotBefore) &&
					now.Sub(other.NotBefore) > leafLife
			})
			mayServe := ca.Subject.CommonName != caCommonName || !succeeded || slices.ContainsFunc(serving, ca.Equal)
			if mayServe && !now.After(ca.NotAfter) && !slices.ContainsFunc(got, ca.Equal) {
				t.Errorf("CA %d is lost", ca.SerialNumber)
			}
		}
		slices.Reverse(live)
		if reversed := unionCAs(now, live, serving); !bytes.Equal(encodeBundle(got), encodeBundle(reversed)) {
			t.Error("the order of the bundle matters")
		}

		w := webhookTrust{name: "a", bundle: append(encodeBundle(live), garbage...)}
		w.cas, w.garbage = parseBundle(w.bundle)
		theirs := x509.NewCertPool()
		theirs.AppendCertsFromPEM(w.bundle)
		ours := x509.NewCertPool()
		for _, ca := range w.cas {
			ours.AddCert(ca)
		}
		if !ours.Equal(theirs) {
			t.Error("parseBundle() finds other certificates than x509.CertPool does")
		}
		w.cas = unionCAs(now, w.cas, serving)
		w.bundle = encodeBundle(w.cas)
		if patch, err := (trust{webhooks: []webhookTrust{w}}).announcement(now, serving); err != nil || patch != nil {
			t.Errorf("a bundle that was written is written again: %s, %v", patch, err)
		}
	})
}
