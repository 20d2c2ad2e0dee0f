package webhook

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	// lookupTimeout and maxLookups bound what look-ups may cost a request and the API server. A look-up normally takes a
	// few milliseconds; one that takes longer than lookupTimeout is not worth the wait.
	lookupTimeout = 300 * time.Millisecond
	maxLookups    = 8
)

// What is looked up, and what becomes of it.
const (
	resourceNamespaces = "namespaces"
	resourceServices   = "services"
	resourceEndpoints  = "endpointslices"

	lookupFound  = "found"
	lookupAbsent = "absent"
	lookupFailed = "failed"
	lookupBusy   = "busy"
)

var (
	lookupResources = []string{resourceNamespaces, resourceServices, resourceEndpoints}
	lookupOutcomes  = []string{lookupFound, lookupAbsent, lookupFailed, lookupBusy}
)

// lookup calls ask within these bounds and counts the outcome. ask must request what the API server holds in memory
// (resourceVersion 0): a read that waits for etcd takes up to 100 ms. The error is the one that ask returns, or
// non-nil if maxLookups look-ups are in flight.
func (n *neighbours) lookup(
	ctx context.Context, resource string, ask func(context.Context) (found bool, err error),
) error {
	select {
	case n.lookups <- struct{}{}:
		defer func() { <-n.lookups }()
	default:
		n.metrics.lookups.WithLabelValues(resource, lookupBusy).Inc()
		return fmt.Errorf("%d look-ups are already in flight", maxLookups)
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	found, err := ask(ctx)
	outcome := lookupAbsent
	switch {
	case err != nil && !apierrors.IsNotFound(err):
		outcome = lookupFailed
	case found:
		outcome = lookupFound
	}
	n.metrics.lookups.WithLabelValues(resource, outcome).Inc()
	return err
}
