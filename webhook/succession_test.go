package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"
)

func TestSuccession(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	first := newCA(t, key, caCommonName, 1, epoch)
	second := newCA(t, key, caCommonName, 2, epoch.Add(day))
	third := newCA(t, key, caCommonName, 3, epoch.Add(2*day))
	// born returns a leaf of a CA that is valid from epoch plus at.
	born := func(ca *x509.Certificate, at time.Duration) *leaf {
		return &leaf{
			ca:          ca,
			certificate: &tls.Certificate{Leaf: &x509.Certificate{NotBefore: epoch.Add(at), NotAfter: epoch.Add(at + leafLife)}},
		}
	}
	a, a2, b, b2, c := born(first, 0), born(first, 5*day), born(second, day), born(second, 6*day), born(third, 2*day)
	names := map[*leaf]string{a: "a", a2: "a2", b: "b", b2: "b2", c: "c", nil: ""}

	// event is an offer or a call of advance, and the leaf that is served from then on.
	type event struct {
		at      time.Duration
		offer   *leaf
		trusted bool // without offer
		want    *leaf
	}
	const s = time.Second
	tests := map[string][]event{
		"the first leaf is served at once": {
			{at: 0, trusted: true},
			{at: 0, offer: a, want: a},
		},
		"a leaf of the same CA is served at once": {
			{at: 0, offer: a, want: a},
			{at: 5 * day, offer: a2, want: a2},
		},
		"a leaf of a new CA waits until it is trusted, and for the grace": {
			{offer: a, want: a},
			{at: day, offer: b, want: a},
			{at: day + s, want: a},
			{at: day + 2*s, trusted: true, want: a},
			{at: day + 12*s - 1, trusted: true, want: a},
			{at: day + 12*s, trusted: true, want: b},
		},
		"a leaf of a CA that is not trusted waits for days": {
			{offer: a, want: a},
			{at: day, offer: b, want: a},
			{at: 6 * day, want: a},
		},
		"a gap in the trust restarts the grace": {
			{offer: a, want: a},
			{at: day, offer: b, want: a},
			{at: day, trusted: true, want: a},
			{at: day + 9*s, want: a},
			{at: day + 11*s, trusted: true, want: a},
			{at: day + 20*s, trusted: true, want: a},
			{at: day + 21*s, trusted: true, want: b},
		},
		"an expired leaf is replaced by one that is not trusted yet": {
			{offer: a, want: a},
			{at: day, offer: b, want: a},
			{at: leafLife, want: a},
			{at: leafLife + s, want: b},
		},
		"an expired leaf is replaced at once by a new one": {
			{offer: a, want: a},
			{at: leafLife + s, offer: b2, want: b2},
		},
		"a second rotation replaces the leaf that waits, and waits for its own trust": {
			{offer: a, want: a},
			{at: day, offer: b, want: a},
			{at: day, trusted: true, want: a},
			{at: day + 9*s, offer: c, want: a},
			{at: day + 10*s, trusted: true, want: a},
			{at: day + 19*s, trusted: true, want: a},
			{at: day + 20*s, trusted: true, want: c},
		},
		"a second rotation after the first is over waits as well": {
			{offer: a, want: a},
			{at: day, offer: b, want: a},
			{at: day, trusted: true, want: a},
			{at: day + 10*s, trusted: true, want: b},
			{at: 2 * day, offer: c, want: b},
			{at: 2 * day, want: b},
		},
		"a renewed leaf of a CA that waits keeps the grace that has passed": {
			{offer: a, want: a},
			{at: day, offer: b, want: a},
			{at: 6 * day, trusted: true, want: a},
			{at: 6*day + 9*s, offer: b2, want: a},
			{at: 6*day + 10*s, trusted: true, want: b2},
		},
		"the former CA comes back before its successor was served": {
			{offer: a, want: a},
			{at: day, offer: b, want: a},
			{at: day, trusted: true, want: a},
			{at: 5 * day, offer: a2, want: a2},
			{at: 6 * day, trusted: true, want: a2},
		},
		"a clock that was set back only makes the wait longer": {
			{offer: a, want: a},
			{at: day, offer: b, want: a},
			{at: day, trusted: true, want: a},
			{at: 0, trusted: true, want: a},
			{at: day + 10*s, trusted: true, want: b},
		},
	}
	for sentence, events := range tests {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			var got succession
			for i, e := range events {
				if e.offer != nil {
					got.offer(e.offer, epoch.Add(e.at))
				} else {
					got.advance(epoch.Add(e.at), e.trusted)
				}
				if got.served != e.want {
					t.Fatalf("after event %d leaf %q is served, want %q", i, names[got.served], names[e.want])
				}
			}
		})
	}
}

func TestRenewalDue(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	first, second := newCA(t, key, caCommonName, 1, epoch), newCA(t, key, caCommonName, 2, epoch)
	born := func(ca *x509.Certificate, at time.Duration) *leaf {
		return &leaf{
			ca:          ca,
			certificate: &tls.Certificate{Leaf: &x509.Certificate{NotBefore: epoch.Add(at), NotAfter: epoch.Add(at + leafLife)}},
		}
	}
	tests := map[string]struct {
		succession succession
		at         time.Duration
		want       bool
	}{
		"without a leaf nothing is due": {at: 10 * day},
		"a leaf is renewed after two thirds": {
			succession: succession{served: born(first, 0)},
			at:         leafLife / 3 * 2,
			want:       true,
		},
		"a leaf is not renewed earlier": {
			succession: succession{served: born(first, 0)},
			at:         leafLife/3*2 - 1,
		},
		"a leaf that has a successor is not renewed": {
			succession: succession{served: born(first, 0), next: born(second, 5*day)},
			at:         6 * day,
		},
		"a leaf that has waited for too long is renewed as well": {
			succession: succession{served: born(first, 0), next: born(second, day)},
			at:         6 * day,
			want:       true,
		},
	}
	for sentence, tt := range tests {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			if got := tt.succession.renewalDue(epoch.Add(tt.at)); got != tt.want {
				t.Errorf("renewalDue() = %t, want %t", got, tt.want)
			}
		})
	}
}
