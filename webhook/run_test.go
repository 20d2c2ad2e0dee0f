package webhook

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestClosing checks that a replica which stops answers, and makes clients close their connections.
func TestClosing(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	server := httptest.NewServer(closing(ctx, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
	})))
	defer server.Close()
	for _, stopped := range []bool{false, true} {
		if stopped {
			stop()
		}
		response, err := server.Client().Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil {
			t.Error(err)
		}
		if response.StatusCode != http.StatusAccepted || response.Close != stopped {
			t.Errorf("stopped: %t: got %d, close: %t; want %d, close: %[1]t",
				stopped, response.StatusCode, response.Close, http.StatusAccepted)
		}
	}
	stop()
}
