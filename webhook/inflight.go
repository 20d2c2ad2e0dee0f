package webhook

import (
	"errors"
	"net/http"

	"golang.org/x/sync/semaphore"
)

const (
	// maxInFlight bounds the memory that all requests in flight take, as it is estimated from their bodies. One body of
	// maxBody bytes with as many objects as an API server can send fits, and a thousand bodies of ordinary size.
	maxInFlight = 256 << 20
	// perByte and perObject estimate what a request takes for each byte of its body, and for each JSON object in it: an
	// empty container is two bytes in JSON and about 400 in memory.
	perByte   = 20
	perObject = 450
)

// InFlight bounds the memory that the requests in flight take together.
type InFlight struct{ bytes *semaphore.Weighted }

// NewInFlight returns an InFlight that admits about 256 MiB.
func NewInFlight() *InFlight { return &InFlight{semaphore.NewWeighted(maxInFlight)} }

// request is the share of one request.
type request struct {
	of    *InFlight
	taken int64
}

func (f *InFlight) new() *request { return &request{of: f} }

// take adds to the share. The error is non-nil if it is too large for the other requests in flight, or by itself; it is
// a *failure.
func (r *request) take(bytes int64) error {
	if r.taken+bytes > maxInFlight {
		return &failure{http.StatusRequestEntityTooLarge, errors.New("body has too many objects")}
	}
	if !r.of.bytes.TryAcquire(bytes) {
		return &failure{http.StatusServiceUnavailable, errors.New("too many requests are in flight")}
	}
	r.taken += bytes
	return nil
}

// end gives the share back.
func (r *request) end() { r.of.bytes.Release(r.taken) }
