package webhook

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sourceward/sourceward/policies"
)

const (
	// versionInterval is how often the version of the API server is read again: it may be upgraded. discoveryInterval is how
	// often it is asked which custom kinds it has; an answer takes it no time.
	versionInterval   = time.Hour
	discoveryInterval = 10 * time.Second
	// customPatience is how long a replica that starts waits for the objects of a custom kind.
	customPatience = 30 * time.Second
)

// NeedLeaderElection implements manager.LeaderElectionRunnable: every replica decides.
func (*neighbours) NeedLeaderElection() bool { return false }

// Start reads now and then what the API server is and what it has, until ctx ends.
func (n *neighbours) Start(ctx context.Context) error {
	var versionRead time.Time
	for {
		interval := discoveryInterval
		err := n.discoverCustom(ctx)
		if err != nil {
			n.log.Error(err, "kinds of the API server not read")
		}
		n.discovered.Store(n.discovered.Load() || err == nil)
		if time.Since(versionRead) >= versionInterval {
			versionErr := n.readVersion()
			if versionErr != nil {
				n.log.Error(versionErr, "version of the API server not read")
			} else {
				versionRead = time.Now()
			}
			err = errors.Join(err, versionErr)
		}
		if err != nil {
			interval = time.Second
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
		}
	}
}

// discoverCustom watches the custom kinds that the cluster has by now, and no longer those that it has no more. The error is
// non-nil when the API server does not tell.
func (n *neighbours) discoverCustom(ctx context.Context) error {
	var errs []error
	for _, w := range n.kinds {
		if w.versions == nil {
			continue
		}
		if err := n.follow(ctx, w); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", w.name, err))
		}
	}
	return errors.Join(errs...)
}

// follow watches a custom kind in the version in which the cluster has it.
func (n *neighbours) follow(ctx context.Context, w *watched) error {
	served, err := n.served(w)
	if err != nil {
		return err
	}
	if w.object != nil && (served == nil || *served != w.object.GetObjectKind().GroupVersionKind()) {
		n.log.Info("kind is gone", "kind", w.name)
		if err := n.informers.RemoveInformer(ctx, w.object); err != nil {
			return err
		}
		// Nobody tells of the objects that went with it, and what was told of them before may be on its way.
		w.end()
		w.synced.Store(nil)
		w.object = nil
		w.count.Store(0)
		n.index.DeleteKind(w.versions[0].Group, w.kind)
	}
	if served == nil || w.object != nil {
		return nil
	}
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(*served)
	w.object = object
	w.until.Store(new(time.Now().Add(customPatience)))
	if err := n.watch(ctx, w); err != nil {
		w.object = nil
		return err
	}
	n.log.Info("kind is watched", "kind", w.name, "apiVersion", served.GroupVersion().String())
	return nil
}

// served is the first of its versions in which the cluster has a kind; nil if it has none of them.
func (n *neighbours) served(w *watched) (*schema.GroupVersionKind, error) {
	for _, version := range w.versions {
		resources, err := n.discovery.ServerResourcesForGroupVersion(version.String())
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, resource := range resources.APIResources {
			if resource.Kind == w.kind && !strings.Contains(resource.Name, "/") {
				return new(version.WithKind(w.kind)), nil
			}
		}
	}
	return nil, nil
}

func (n *neighbours) readVersion() error {
	info, err := n.discovery.ServerVersion()
	if err != nil {
		return err
	}
	version, err := policies.ParseVersion(info.GitVersion)
	if err != nil {
		// One that was built without saying what it is.
		n.log.Error(err, "version of the API server not understood: taken to be the newest that is known", "newest", policies.Newest.String())
		version = policies.Newest
	}
	n.version.Store(&version)
	return nil
}
