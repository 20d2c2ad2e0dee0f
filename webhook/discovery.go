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
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/sourceward/sourceward/policies"
)

const (
	// versionInterval is how often the version of the API server is read again, since it may be upgraded.
	// discoveryInterval is how often the API server is asked which custom kinds it serves, which costs it next to
	// nothing.
	versionInterval   = time.Hour
	discoveryInterval = 10 * time.Second
	// customPatience is how long a replica that starts waits for the objects of a custom kind.
	customPatience = 30 * time.Second
)

// NeedLeaderElection implements manager.LeaderElectionRunnable. It returns false, because every replica answers
// requests.
func (*neighbours) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable. It reads the version and the custom kinds of the API server at intervals until
// ctx ends.
func (n *neighbours) Start(ctx context.Context) error {
	var versionRead time.Time
	// logged is the last error since a success: one that lasts is logged once.
	var logged string
	for {
		err := n.discoverCustom(ctx)
		n.discovered.Store(n.discovered.Load() || err == nil)
		if time.Since(versionRead) >= versionInterval {
			versionErr := n.readVersion()
			if versionErr == nil {
				versionRead = time.Now()
			}
			err = errors.Join(err, versionErr)
		}
		interval, text := discoveryInterval, ""
		if err != nil {
			interval, text = time.Second, err.Error()
			if text != logged {
				n.log.Error(err, "the API server was not discovered; retrying")
			}
		}
		logged = text
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
		}
	}
}

// discoverCustom watches the custom kinds that the cluster serves, and stops watching those that it no longer serves.
// The error is non-nil if this failed for some kinds; it is done for the others.
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

// follow watches a custom kind in the version that the cluster serves, and stops watching any other version.
func (n *neighbours) follow(ctx context.Context, w *watched) error {
	served, err := n.served(w)
	if err != nil {
		return err
	}
	if w.object != nil && (served == nil || *served != w.object.GetObjectKind().GroupVersionKind()) {
		n.log.Info("kind is no longer served; stopped watching it", "kind", w.name)
		if err := n.informers.RemoveInformer(ctx, w.object); err != nil {
			return err
		}
		n.watches.forget(w.name)
		// No watch delivers the deletion of the objects of this kind, and earlier events may not be handled yet.
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
	n.log.Info("started watching kind", "kind", w.name, "apiVersion", served.GroupVersion().String())
	return nil
}

// served returns the first of w.versions in which the cluster serves the kind; nil if it serves none of them.
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

// versionOf returns the version that an API server reports. Vendors append what they like to the numbers.
func versionOf(reported string) (policies.Version, error) {
	v, err := version.ParseMajorMinor(reported)
	if err != nil {
		return policies.Version{}, err
	}
	return policies.ParseVersion(v.String())
}

func (n *neighbours) readVersion() error {
	info, err := n.discovery.ServerVersion()
	if err != nil {
		return fmt.Errorf("read the version: %w", err)
	}
	served, err := versionOf(info.GitVersion)
	if err != nil {
		// The API server was built without version information.
		n.log.Error(err, "version of the API server not understood; assuming the newest known version",
			"newest", policies.Newest.String())
		served = policies.Newest
	}
	n.version.Store(&served)
	return nil
}
