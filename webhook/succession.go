package webhook

import (
	"time"
)

// caGrace is how long a CA has been in the configurations before a leaf of it is served. API servers learn of
// configurations by watches like ours, which normally lag by milliseconds; the rest is for one that is busy or restarts.
const caGrace = 10 * time.Second

// succession is the leaf that is served and the one that will be. The zero value has neither.
type succession struct {
	served *leaf
	// next has another CA than served, and waits until that is trusted; nil if nothing waits.
	next *leaf
	// trustedSince is when the CA of next was seen to be trusted, without a gap since; zero if it is not.
	trustedSince time.Time
}

// offer makes l the newest leaf. It is served at once if its CA is that of the leaf now served, or if there is none or
// only an expired one: then nothing better exists.
func (s *succession) offer(l *leaf, now time.Time) {
	if s.served == nil || s.served.expired(now) || s.served.ca.Equal(l.ca) {
		*s = succession{served: l}
		return
	}
	if s.next == nil || !s.next.ca.Equal(l.ca) {
		s.trustedSince = time.Time{}
	}
	s.next = l
}

// advance serves what waits, if its time has come. trusted is whether API servers are told to trust its CA.
func (s *succession) advance(now time.Time, trusted bool) {
	switch {
	case s.next == nil:
	case s.served.expired(now):
		*s = succession{served: s.next}
	case !trusted:
		s.trustedSince = time.Time{}
	case s.trustedSince.IsZero():
		s.trustedSince = now
	case now.Sub(s.trustedSince) >= caGrace:
		*s = succession{served: s.next}
	}
}

// newest returns the leaf that was offered last; nil if none was.
func (s *succession) newest() *leaf {
	if s.next != nil {
		return s.next
	}
	return s.served
}

// renewalDue is whether two thirds of the newest leaf's life are over. Without a leaf nothing is due.
func (s *succession) renewalDue(now time.Time) bool {
	newest := s.newest()
	if newest == nil {
		return false
	}
	x := newest.certificate.Leaf
	return !now.Before(x.NotAfter.Add(-x.NotAfter.Sub(x.NotBefore) / 3))
}
