package webhook

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	// lookupTimeout and maxLookups bound what a look-up may cost a request and the API server. One takes
	// a few milliseconds; one that takes longer is better given up.
	lookupTimeout = 300 * time.Millisecond
	maxLookups    = 8
)

// lookup asks the API server, within bounds, for what it holds in memory: a read that waits for etcd
// takes up to 100 ms.
func (n *neighbours) lookup(ctx context.Context, resource string, ask func(context.Context) (found bool, err error)) error {
	select {
	case n.lookups <- struct{}{}:
		defer func() { <-n.lookups }()
	default:
		n.metrics.lookups.WithLabelValues(resource, "busy").Inc()
		return fmt.Errorf("%d look-ups are under way", maxLookups)
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	found, err := ask(ctx)
	outcome := "absent"
	switch {
	case err != nil && !apierrors.IsNotFound(err):
		outcome = "failed"
	case found:
		outcome = "found"
	}
	n.metrics.lookups.WithLabelValues(resource, outcome).Inc()
	return err
}
