package policies

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// Index finds the Services that select a pod, the workloads that a Service selects, and the Services that share an
// address with it. The cost of a look-up depends on the labels of one pod, not on the number of objects in its
// namespace.
//
// The index keeps the Service or the Workload of an object, and not its Content. The zero value is not usable: call
// NewIndex. An Index is safe for concurrent use. Callers must not change what it returns.
type Index struct {
	view View

	mu         sync.RWMutex
	namespaces map[string]*namespaceIndex
	// sharers holds the Services of all namespaces that ask to share an address, by the annotation that asks for it.
	sharers map[labelPair]map[serviceKey]*corev1.Service
}

// NewIndex returns an empty index whose look-ups have the given view.
func NewIndex(view View) *Index {
	return &Index{
		view:       view,
		namespaces: map[string]*namespaceIndex{},
		sharers:    map[labelPair]map[serviceKey]*corev1.Service{},
	}
}

type namespaceIndex struct {
	// services holds, by name, the Services that select pods or ask to share an address.
	services map[string]*indexedService
	// servicesBy holds each Service under one pair of its selector. That is enough: the Service does not select a pod
	// without that pair.
	servicesBy map[labelPair]map[string]*corev1.Service
	workloads  map[workloadKey]*Workload
	// workloadsBy holds each workload under every label of its pods.
	workloadsBy map[labelPair]map[workloadKey]*Workload
	// backends holds the backends of the selectors, and of sets of selectors, that were looked up since the workloads and
	// autoscalers last changed, by the text of the selectors. Readers add to it, so it has a mutex of its own.
	backendsMu sync.Mutex
	backends   map[string]*backend
	// autoscalers holds each autoscaler by its kind and name, autoscalersOf by the workload that it scales.
	autoscalers   map[string]Autoscaler
	autoscalersOf map[WorkloadRef]map[string]Autoscaler
	// usersOf holds the workloads that use the template of another workload, by that other workload.
	usersOf map[WorkloadRef]map[workloadKey]*Workload
	// endpoints holds each object with endpoints by its kind and name, endpointsOf by its Service.
	endpoints   map[workloadKey]Endpoints
	endpointsOf map[string]map[workloadKey]Endpoints
}

type indexedService struct {
	service *corev1.Service
	// under is the key of the Service in servicesBy; zero if it selects no pods.
	under labelPair
}

type serviceKey struct{ namespace, name string }

type labelPair struct{ key, value string }

type workloadKey struct{ group, kind, name string }

// Put adds an object, or replaces the one with the same name. An object whose name the API server has not generated
// yet replaces none.
func (x *Index) Put(object *Object) {
	if object.Service != nil {
		x.PutService(object.Service)
	} else {
		x.PutWorkload(object.Workload)
	}
}

// PutService adds or replaces a Service as Put does. The index keeps it in memory, so it should be a ReducedService.
func (x *Index) PutService(service *corev1.Service) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.namespace(service.Namespace)
	key := serviceKey{service.Namespace, n.key(serviceRef(service)).name}
	x.deleteService(n, key)
	pairs := sharingPairs(service)
	under, selects := n.putService(key.name, service)
	for _, pair := range pairs {
		put(x.sharers, pair, key, service)
	}
	if selects || len(pairs) > 0 {
		n.services[key.name] = &indexedService{service: service, under: under}
	}
}

// deleteService removes a Service of a namespace, if there is one with that name.
func (x *Index) deleteService(n *namespaceIndex, key serviceKey) {
	former, ok := n.services[key.name]
	if !ok {
		return
	}
	remove(n.servicesBy, former.under, key.name)
	for _, pair := range sharingPairs(former.service) {
		remove(x.sharers, pair, key)
	}
	delete(n.services, key.name)
}

// PutWorkload adds or replaces a workload as Put does. If workloads of its kind are not looked up as neighbours (see
// WorkloadDoor), it only removes the one with the same name.
func (x *Index) PutWorkload(workload *Workload) {
	if !workload.isNeighbour() {
		x.Delete(workload.Ref)
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.namespace(workload.Namespace)
	n.putWorkload(n.key(workload.Ref), workload)
}

// PutAutoscaler adds an autoscaler, or replaces the one with the same kind and name.
func (x *Index) PutAutoscaler(autoscaler Autoscaler) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.namespace(autoscaler.Ref.Namespace)
	key := autoscalerKey(autoscaler.Ref)
	n.deleteAutoscaler(key)
	n.backends = nil
	n.autoscalers[key] = autoscaler
	put(n.autoscalersOf, autoscaler.Target, key, autoscaler)
}

// PutEndpoints adds the endpoints of a Service, or replaces those of the object with the same kind and name.
func (x *Index) PutEndpoints(endpoints Endpoints) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.namespace(endpoints.Ref.Namespace)
	key := n.key(endpoints.Ref)
	n.deleteEndpoints(key)
	n.endpoints[key] = endpoints
	put(n.endpointsOf, endpoints.Service, key, endpoints)
}

// Delete removes the Service, workload, autoscaler or endpoints object that ref names, if the index has it.
func (x *Index) Delete(ref Ref) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n, ok := x.namespaces[ref.Namespace]
	if !ok {
		return
	}
	switch {
	case ref.APIVersion == serviceVersion && ref.Kind == kindService:
		x.deleteService(n, serviceKey{ref.Namespace, ref.Name})
	case Autoscales(ref.APIVersion, ref.Kind):
		n.deleteAutoscaler(autoscalerKey(ref))
	case HoldsEndpoints(ref.APIVersion, ref.Kind):
		n.deleteEndpoints(keyOf(ref))
	default:
		n.deleteWorkload(keyOf(ref))
	}
	if len(n.services)+len(n.workloads)+len(n.autoscalers)+len(n.endpoints) == 0 {
		delete(x.namespaces, ref.Namespace)
	}
}

// DeleteKind removes all workloads, or all autoscalers, of a kind in any version.
func (x *Index) DeleteKind(group, kind string) {
	for _, ref := range x.refs() {
		if ref.Kind == kind && ref.group() == group {
			x.Delete(ref)
		}
	}
}

// refs returns the workloads and autoscalers in the index.
func (x *Index) refs() []Ref {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var refs []Ref
	for _, n := range x.namespaces {
		for _, workload := range n.workloads {
			refs = append(refs, workload.Ref)
		}
		for _, autoscaler := range n.autoscalers {
			refs = append(refs, autoscaler.Ref)
		}
	}
	return refs
}

// Workload returns the workload that ref names, in any version, or nil.
func (x *Index) Workload(ref Ref) *Workload {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if n, ok := x.namespaces[ref.Namespace]; ok {
		return n.workloads[keyOf(ref)]
	}
	return nil
}

// Related returns the neighbours of an object. The object itself need not be in the index.
func (x *Index) Related(object *Object) Related {
	x.mu.RLock()
	defer x.mu.RUnlock()
	related := Related{View: x.view}
	if object.Service != nil {
		related.Services = x.sharing(object.Service)
	}
	n, ok := x.namespaces[object.Namespace]
	if !ok {
		return related
	}
	if object.Service != nil {
		fronts := []*corev1.Service{object.Service}
		of := backendsOf(fronts, n.backend)
		behind := of[object.Service]
		related.Workloads = behind.without(object)
		related.Users, related.Autoscalers = n.scale(behind.workloads)
		if len(object.Service.Spec.Selector) == 0 {
			related.Endpoints = slices.SortedFunc(maps.Values(n.endpointsOf[object.Name]),
				func(a, b Endpoints) int { return a.Ref.compare(b.Ref) })
		}
		related.found = newFound(neighbourhood{of, behind, behind.workloads, related.scaling()}, object, related)
		return related
	}
	related.Services = n.selecting(object.Workload.Template.Labels)
	of := backendsOf(related.Services, n.backend)
	behind := n.union(of.different(related.Services))
	related.Workloads = behind.without(object)
	related.Users, related.Autoscalers = n.scale([]*Workload{object.Workload})
	scaling := related.scaling()
	former := &Workload{} // the object in the index
	if i := behind.index(object); i >= 0 {
		former = behind.workloads[i]
	}
	if former.isScaledToZero() { // behind has its users and autoscalers, too
		related.Users, related.Autoscalers = behind.users, behind.autoscalers
	} else {
		related.Users = slices.Concat(related.Users, behind.users)
		related.Autoscalers = slices.Concat(related.Autoscalers, behind.autoscalers)
	}
	// The backends count the labels that the object has in the index.
	if former.Name == "" || maps.Equal(former.Template.Labels, object.Workload.Template.Labels) {
		related.found = newFound(neighbourhood{of, behind, slices.Clone(related.Workloads), scaling}, object, related)
	}
	return related
}

// scale returns the workloads that use the templates of these workloads, and the autoscalers of both, sorted.
func (n *namespaceIndex) scale(workloads []*Workload) (users []*Workload, autoscalers []Autoscaler) {
	for _, workload := range workloads {
		users = slices.AppendSeq(users, maps.Values(n.usersOf[workload.asTarget()]))
	}
	slices.SortFunc(users, compareWorkloads)
	for _, workload := range slices.Concat(workloads, users) {
		autoscalers = slices.AppendSeq(autoscalers, maps.Values(n.autoscalersOf[workload.asTarget()]))
	}
	slices.SortFunc(autoscalers, compareAutoscalers)
	return users, autoscalers
}

// sharing returns the other Services that ask to share an address with a Service, in a fixed order.
func (x *Index) sharing(service *corev1.Service) []*corev1.Service {
	sharing := map[*corev1.Service]bool{}
	for _, pair := range sharingPairs(service) {
		for _, other := range x.sharers[pair] {
			if serviceRef(other) != serviceRef(service) {
				sharing[other] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(sharing), compareServices)
}

func (x *Index) namespace(name string) *namespaceIndex {
	n, ok := x.namespaces[name]
	if !ok {
		n = &namespaceIndex{
			services:      map[string]*indexedService{},
			servicesBy:    map[labelPair]map[string]*corev1.Service{},
			workloads:     map[workloadKey]*Workload{},
			workloadsBy:   map[labelPair]map[workloadKey]*Workload{},
			autoscalers:   map[string]Autoscaler{},
			autoscalersOf: map[WorkloadRef]map[string]Autoscaler{},
			usersOf:       map[WorkloadRef]map[workloadKey]*Workload{},
			endpoints:     map[workloadKey]Endpoints{},
			endpointsOf:   map[string]map[workloadKey]Endpoints{},
		}
		x.namespaces[name] = n
	}
	return n
}

// key returns the key of an object. An object whose name is not generated yet gets a unique key.
func (n *namespaceIndex) key(ref Ref) workloadKey {
	if isGenerated(ref) {
		ref.Name = fmt.Sprintf("%s%d", ref.Name, len(n.services)+len(n.workloads)+len(n.endpoints))
	}
	return keyOf(ref)
}

func keyOf(ref Ref) workloadKey { return workloadKey{ref.group(), ref.Kind, ref.Name} }

// putService adds a Service to servicesBy under one pair of its selector, if it selects pods.
func (n *namespaceIndex) putService(name string, service *corev1.Service) (under labelPair, selects bool) {
	selector := podSelector(service)
	if selector == nil {
		return labelPair{}, false
	}
	under = n.rarestServicePair(selector)
	put(n.servicesBy, under, name, service)
	return under, true
}

// rarestServicePair returns the pair of a selector that has the fewest Services in servicesBy. A pair that all Services
// of a namespace have in common would otherwise collect all of them.
func (n *namespaceIndex) rarestServicePair(selector map[string]string) labelPair {
	return rarest(selector, func(pair labelPair) int { return len(n.servicesBy[pair]) })
}

func (n *namespaceIndex) putWorkload(key workloadKey, workload *Workload) {
	n.deleteWorkload(key)
	n.backends = nil
	n.workloads[key] = workload
	for k, v := range workload.Template.Labels {
		put(n.workloadsBy, labelPair{k, v}, key, workload)
	}
	if workload.TemplateOf != (WorkloadRef{}) {
		put(n.usersOf, workload.TemplateOf, key, workload)
	}
}

func (n *namespaceIndex) deleteWorkload(key workloadKey) {
	if former, ok := n.workloads[key]; ok {
		n.backends = nil
		for k, v := range former.Template.Labels {
			remove(n.workloadsBy, labelPair{k, v}, key)
		}
		remove(n.usersOf, former.TemplateOf, key)
		delete(n.workloads, key)
	}
}

func (n *namespaceIndex) deleteAutoscaler(key string) {
	if former, ok := n.autoscalers[key]; ok {
		n.backends = nil
		remove(n.autoscalersOf, former.Target, key)
		delete(n.autoscalers, key)
	}
}

func (n *namespaceIndex) deleteEndpoints(key workloadKey) {
	if former, ok := n.endpoints[key]; ok {
		remove(n.endpointsOf, former.Service, key)
		delete(n.endpoints, key)
	}
}

// selecting returns the Services that select pods with these labels, sorted by name.
func (n *namespaceIndex) selecting(labels map[string]string) []*corev1.Service {
	var services []*corev1.Service
	for k, v := range labels {
		for _, service := range n.servicesBy[labelPair{k, v}] {
			if selects(service, labels) {
				services = append(services, service)
			}
		}
	}
	slices.SortFunc(services, compareServices)
	return services
}

// backend returns the backend of a selector, which may be nil.
func (n *namespaceIndex) backend(selector map[string]string) *backend {
	if selector == nil {
		return n.newBackend(nil, nil)
	}
	return n.once(fmt.Sprintf("%q", selector), func() *backend {
		pair := rarest(selector, func(pair labelPair) int { return len(n.workloadsBy[pair]) })
		var workloads []*Workload
		for _, workload := range n.workloadsBy[pair] {
			if holds(workload.Template.Labels, selector) {
				workloads = append(workloads, workload)
			}
		}
		slices.SortFunc(workloads, compareWorkloads)
		return n.newBackend(selector, workloads)
	})
}

// union returns what the function of that name does.
func (n *namespaceIndex) union(of []*backend) *backend {
	if b := widest(of); b != nil {
		return b
	}
	var selectors []map[string]string
	for _, b := range of {
		selectors = append(selectors, b.selector)
	}
	return n.once(fmt.Sprintf("%q", selectors), func() *backend { return union(of) })
}

// once returns the backend with that text in backends. It creates it if there is none.
func (n *namespaceIndex) once(text string, create func() *backend) *backend {
	n.backendsMu.Lock()
	defer n.backendsMu.Unlock()
	if found, ok := n.backends[text]; ok {
		return found
	}
	if n.backends == nil {
		n.backends = map[string]*backend{}
	}
	n.backends[text] = create()
	return n.backends[text]
}

func (n *namespaceIndex) newBackend(selector map[string]string, workloads []*Workload) *backend {
	scaledToZero := slices.DeleteFunc(slices.Clone(workloads), func(w *Workload) bool { return !w.isScaledToZero() })
	users, autoscalers := n.scale(scaledToZero)
	scaling := Related{Users: users, Autoscalers: autoscalers}.scaling()
	b := newBackend(selector, workloads, scaling.idle)
	b.users, b.autoscalers = slices.Clip(users), slices.Clip(autoscalers)
	return b
}

// rarest returns the pair of a non-empty selector with the smallest count. Among equal counts, the first key wins.
func rarest(selector map[string]string, count func(labelPair) int) labelPair {
	var best labelPair
	least := -1
	for _, key := range slices.Sorted(maps.Keys(selector)) {
		pair := labelPair{key, selector[key]}
		if c := count(pair); least < 0 || c < least {
			best, least = pair, c
		}
	}
	return best
}

func put[U, K comparable, V any](m map[U]map[K]V, under U, key K, value V) {
	if m[under] == nil {
		m[under] = map[K]V{}
	}
	m[under][key] = value
}

// remove deletes what put added.
func remove[U, K comparable, V any](m map[U]map[K]V, under U, key K) {
	delete(m[under], key)
	if len(m[under]) == 0 {
		delete(m, under)
	}
}

func autoscalerKey(ref Ref) string { return ref.Kind + "/" + ref.Name }
