package webhook

import (
	"errors"
	"io"
	"net/http"

	"golang.org/x/sync/semaphore"
)

// maxInFlight bounds the memory that all requests in flight take, as it is estimated from their bodies. It leaves a
// third of the container's memory to the caches and to what is not collected yet.
const maxInFlight = 320 << 20

// What a body takes in memory until it is answered, by its size and by what it has outside of strings. An empty
// container is two bytes of JSON, takes 408 bytes, and is held three times while the list of them grows and is reduced.
// A body that holds nothing but small objects exceeds maxInFlight by itself if it is larger than 3 MiB.
const (
	perByte   = 6
	perValue  = 40   // a comma or an opening bracket
	perObject = 1400 // an opening brace, or a null, which may stand for an object
)

// InFlight bounds the memory that the requests in flight take together.
type InFlight struct{ bytes *semaphore.Weighted }

// NewInFlight returns an InFlight that admits about 320 MiB.
func NewInFlight() *InFlight { return &InFlight{semaphore.NewWeighted(maxInFlight)} }

// share is what one request takes.
type share struct {
	of    *InFlight
	taken int64
}

// take adds to the share. The error is non-nil if it is too large by itself, or beside the other requests in flight; it
// is a *failure. The share is then given back at once, so that not all requests fail that arrive together.
func (s *share) take(bytes int64) error {
	if s.taken+bytes > maxInFlight {
		s.end()
		return &failure{http.StatusRequestEntityTooLarge, errors.New("body has too many values")}
	}
	if !s.of.bytes.TryAcquire(bytes) {
		s.end()
		return &failure{http.StatusServiceUnavailable, errors.New("too many requests are in flight")}
	}
	s.taken += bytes
	return nil
}

// end gives the share back. The second call does nothing.
func (s *share) end() {
	s.of.bytes.Release(s.taken)
	s.taken = 0
}

// reader returns a reader of a body that takes memory for each byte as it arrives: a caller that announces a large body
// and does not send it keeps no other request out.
func (s *share) reader(body io.Reader) io.Reader { return &takingReader{body, s} }

type takingReader struct {
	body  io.Reader
	share *share
}

// Read implements io.Reader.
func (r *takingReader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	if full := r.share.take(int64(n) * perByte); full != nil {
		return n, full
	}
	return n, err
}

// takeValues adds what the values in a body take.
func (s *share) takeValues(body []byte) error {
	var values, objects int64
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '"':
			for i++; i < len(body) && body[i] != '"'; i++ {
				if body[i] == '\\' {
					i++
				}
			}
		case ',', '[':
			values++
		case '{', 'n':
			objects++
		}
	}
	return s.take(values*perValue + objects*perObject)
}
