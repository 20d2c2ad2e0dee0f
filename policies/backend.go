package policies

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// backend is the workloads whose pods a selector selects, with the answers that rules need about all of them at once.
// Hundreds of Services may have the same selector, and each of thousands of workloads behind them asks: nothing is done
// for each pair of two workloads. A backend does not change.
type backend struct {
	selector map[string]string
	// workloads is sorted. idle holds those that have no pods.
	workloads []*Workload
	idle      map[*Workload]bool
	// common holds the labels that the pods of all workloads have in common, commonRunning those that the pods of all
	// that are not idle have in common. Each is nil if there are no such workloads.
	common, commonRunning map[string]string
	// users and autoscalers are those of the workloads that are scaled to zero. Only an Index sets them.
	users       []*Workload
	autoscalers []Autoscaler
}

// newBackend returns the backend with these workloads, which must be sorted.
func newBackend(selector map[string]string, workloads []*Workload, isIdle func(*Workload) bool) *backend {
	b := &backend{selector: selector, workloads: slices.Clip(workloads)}
	for _, w := range workloads {
		b.common = inCommon(b.common, w.Template.Labels)
		if !isIdle(w) {
			b.commonRunning = inCommon(b.commonRunning, w.Template.Labels)
			continue
		}
		if b.idle == nil {
			b.idle = map[*Workload]bool{}
		}
		b.idle[w] = true
	}
	return b
}

// inCommon returns those of the labels in common that labels have as well. A nil common stands for all labels.
func inCommon(common, labels map[string]string) map[string]string {
	switch {
	case common == nil:
		return labels // not nil: it has the pairs of a selector
	case hasAll(labels, common):
		return common
	}
	fewer := map[string]string{}
	for key, value := range common {
		if got, ok := labels[key]; ok && got == value {
			fewer[key] = value
		}
	}
	return fewer
}

// covers reports whether the selector of b selects all workloads of another backend.
func (b *backend) covers(other *backend) bool {
	return len(other.workloads) == 0 || holds(other.common, b.selector)
}

// union returns a backend with the workloads of all these: the first that covers all others or, if there is none, a new
// one without a selector.
func union(backends []*backend) *backend {
	if b := widest(backends); b != nil {
		return b
	}
	var workloads, users []*Workload
	var autoscalers []Autoscaler
	for _, b := range backends {
		workloads, users = append(workloads, b.workloads...), append(users, b.users...)
		autoscalers = append(autoscalers, b.autoscalers...)
	}
	united := newBackend(nil, sortedSet(workloads, compareWorkloads), func(w *Workload) bool {
		return slices.ContainsFunc(backends, func(b *backend) bool { return b.idle[w] })
	})
	united.users = sortedSet(users, compareWorkloads)
	united.autoscalers = sortedSet(autoscalers, compareAutoscalers)
	return united
}

// widest returns the first backend that covers all others; nil if there is none.
func widest(backends []*backend) *backend {
	for _, b := range backends {
		if !slices.ContainsFunc(backends, func(other *backend) bool { return !b.covers(other) }) {
			return b
		}
	}
	return nil
}

// sortedSet returns the different elements of a list, sorted.
func sortedSet[T comparable](list []T, compare func(a, b T) int) []T {
	set := map[T]bool{}
	for _, element := range list {
		set[element] = true
	}
	return slices.Clip(slices.SortedFunc(maps.Keys(set), compare))
}

// index returns the index of the object in workloads; -1 if it is not one of them.
func (b *backend) index(object *Object) int {
	compare := func(w *Workload, ref Ref) int {
		return cmp.Or(strings.Compare(w.Namespace, ref.Namespace), strings.Compare(w.Name, ref.Name),
			strings.Compare(w.Kind, ref.Kind))
	}
	i, _ := slices.BinarySearchFunc(b.workloads, object.Ref, compare)
	for ; i < len(b.workloads) && compare(b.workloads[i], object.Ref) == 0; i++ {
		if object.is(b.workloads[i]) {
			return i
		}
	}
	return -1
}

// without returns the workloads other than the object, in a new list.
func (b *backend) without(object *Object) []*Workload {
	if i := b.index(object); i >= 0 {
		return slices.Concat(b.workloads[:i], b.workloads[i+1:])
	}
	return slices.Clone(b.workloads)
}

// backends holds the backend of each Service in front of a workload, or of a Service itself.
type backends map[*corev1.Service]*backend

// backendsOf returns the backends of Services, which find returns for each different podSelector.
func backendsOf(services []*corev1.Service, find func(selector map[string]string) *backend) backends {
	all := make(backends, len(services))
	var different []*backend
	for _, service := range services {
		selector := podSelector(service)
		i := slices.IndexFunc(different, func(b *backend) bool { return maps.Equal(b.selector, selector) })
		if i < 0 {
			i = len(different)
			different = append(different, find(selector))
		}
		all[service] = different[i]
	}
	return all
}

// different returns the different backends of some of the Services, in their order.
func (b backends) different(services []*corev1.Service) []*backend {
	var found []*backend
	for _, service := range services {
		if backend := b[service]; !slices.Contains(found, backend) {
			found = append(found, backend)
		}
	}
	return found
}

// neighbourhood is what rules read of a Related.
type neighbourhood struct {
	// backends holds the backends of the Services that select the object, or of the object itself, and all is their union.
	backends backends
	all      *backend
	// behind holds the workloads in all other than the object, sorted.
	behind []*Workload
	// scaling is about the object and, for a Service, about the workloads behind it.
	scaling scaling
}

// neighbourhood returns the neighbourhood of an object.
func (r Related) neighbourhood(services []*corev1.Service, object *Object) neighbourhood {
	if r.found != nil && r.found.isOf(r, object) {
		return r.found.neighbourhood
	}
	n := neighbourhood{scaling: r.scaling()}
	workloads := slices.DeleteFunc(slices.Clone(r.Workloads), func(w *Workload) bool {
		return w.Namespace != object.Namespace || object.is(w)
	})
	slices.SortFunc(workloads, compareWorkloads)
	n.backends = backendsOf(services, func(selector map[string]string) *backend {
		return newBackend(selector, slices.DeleteFunc(slices.Clone(workloads), func(w *Workload) bool {
			return !holds(w.Template.Labels, selector)
		}), n.scaling.idle)
	})
	n.all = union(n.backends.different(services))
	n.behind = n.all.workloads
	return n
}

// found is the neighbourhood that an Index has found for an object. It spares each decision about one of thousands of
// workloads behind a Service to look at all the others.
type found struct {
	neighbourhood
	object *Object
	// services, users and autoscalers are those of the Related. Its workloads are those behind.
	services    []*corev1.Service
	users       []*Workload
	autoscalers []Autoscaler
}

func newFound(n neighbourhood, object *Object, related Related) *found {
	return &found{n, object, slices.Clone(related.Services), related.Users, related.Autoscalers}
}

// isOf reports whether f was found for the object and belongs to r, whose fields may have been changed since.
func (f *found) isOf(r Related, object *Object) bool {
	return f.object == object && slices.Equal(f.services, r.Services) && slices.Equal(f.behind, r.Workloads) &&
		isSame(f.users, r.Users) && isSame(f.autoscalers, r.Autoscalers)
}

// isSame reports whether two lists are the same.
func isSame[T any](a, b []T) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// others returns the number of workloads in a backend other than the object.
func (r *run) others(b *backend) int {
	if b.index(r.Object) >= 0 {
		return len(b.workloads) - 1
	}
	return len(b.workloads)
}

// union returns a backend with the workloads behind any of the Services.
func (r *run) union(services []*corev1.Service) *backend {
	of := r.backends.different(services)
	if slices.Equal(of, r.backends.different(r.selecting)) {
		return r.all
	}
	return union(of)
}

// aloneBehind returns those of the Services that select no workload other than the object.
func (r *run) aloneBehind(services []*corev1.Service) []*corev1.Service {
	isAlone := map[*backend]bool{}
	for _, b := range r.backends.different(services) {
		isAlone[b] = r.others(b) == 0
	}
	return slices.DeleteFunc(slices.Clone(services), func(s *corev1.Service) bool { return !isAlone[r.backends[s]] })
}
