package webhook

import (
	"time"
)

// caGrace is how long a CA must have been in the configurations before a leaf of it is served. API servers learn of
// configurations through watches like ours, which normally lag by milliseconds; the rest is for an API server that is
// busy or restarting.
const caGrace = 10 * time.Second

// succession is the leaf that is served and the one that will replace it. The zero value has neither.
type succession struct {
	served *leaf
	// next is signed by another CA than served, and waits until that CA is trusted; nil if no leaf waits.
	next *leaf
	// trustedSince is since when the CA of next has been trusted without a gap; zero if it is not trusted.
	trustedSince time.Time
}

// offer makes l the newest leaf. l is served at once if it is of the same CA as the leaf that is served, or if that
// leaf has expired or does not exist: no better leaf could be served meanwhile.
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

// advance serves next if its time has come. trusted is true if every webhook of the configurations trusts the CA of
// next.
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

// renewalDue reports whether two thirds of the lifetime of the newest leaf are over. It is false without a leaf.
func (s *succession) renewalDue(now time.Time) bool {
	newest := s.newest()
	if newest == nil {
		return false
	}
	x := newest.certificate.Leaf
	return !now.Before(x.NotAfter.Add(-x.NotAfter.Sub(x.NotBefore) / 3))
}
