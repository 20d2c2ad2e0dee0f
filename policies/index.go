package policies

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// Index finds the Services that select a pod, the workloads that a Service selects, and the Services that share an
// address with it. The cost of a look-up depends on the labels of one pod, not on the number of objects in its
// namespace.
//
// The index keeps the Service or the Workload of an object, and not its Content. The zero value is not usable: call
// NewIndex. An Index is safe for concurrent use. Callers must not change what it returns.
//
// In a cluster, an object exists once. Files may define it several times; the index keeps each of these copies if they
// are put with different numbers. The number 0 is for objects that exist once.
type Index struct {
	view View

	mu         sync.RWMutex
	namespaces map[string]*namespaceIndex
	// sharers holds the Services of all namespaces that ask to share an address, by the annotation that asks for it.
	sharers map[labelPair]map[sharerKey]*corev1.Service
}

// NewIndex returns an empty index whose look-ups have the given view.
func NewIndex(view View) *Index {
	return &Index{
		view:       view,
		namespaces: map[string]*namespaceIndex{},
		sharers:    map[labelPair]map[sharerKey]*corev1.Service{},
	}
}

type namespaceIndex struct {
	// services holds the Services that select pods or ask to share an address.
	services map[indexKey]indexedService
	// servicesBy holds each Service under one pair of its selector. That is enough: the Service does not select a pod
	// without that pair.
	servicesBy map[labelPair][]*entry[*corev1.Service]
	workloads  map[indexKey]*entry[*Workload]
	// workloadsBy holds each workload under every label of its pods.
	workloadsBy map[labelPair][]*entry[*Workload]
	// backends holds the backends of the selectors, and of sets of selectors, that were looked up since the workloads and
	// autoscalers last changed, by the text of the selectors. Readers add to it, so it has a mutex of its own.
	backendsMu sync.Mutex
	backends   map[string]*backend
	// autoscalersOf holds the autoscalers also by the workload that they scale.
	autoscalers   map[indexKey]*entry[Autoscaler]
	autoscalersOf map[WorkloadRef][]*entry[Autoscaler]
	// usersOf holds the workloads that use the template of another workload, by that other workload.
	usersOf map[WorkloadRef][]*entry[*Workload]
	// endpointsOf holds the objects with endpoints also by their Service.
	endpoints   map[indexKey]*entry[Endpoints]
	endpointsOf map[string][]*entry[Endpoints]
}

// entry is an object in the index. The lists that hold it are told apart by the pointer to it: a cluster has many
// objects, each under several keys, so that a key for each place would take more memory than the objects do.
type entry[V any] struct {
	copy  int // tells the copies of one object apart
	value V
}

type indexedService struct {
	*entry[*corev1.Service]
	// under is the key of the Service in servicesBy; zero if it selects no pods.
	under labelPair
}

type sharerKey struct {
	namespace string
	indexKey
}

type labelPair struct{ key, value string }

// indexKey identifies an object in its namespace. copy tells the copies of one object apart.
type indexKey struct {
	group, kind, name string
	copy              int
}

// Put adds an object, or replaces the one with the same name. An object whose name the API server has not generated
// yet replaces none.
func (x *Index) Put(object *Object) { x.PutCopy(object, 0) }

// PutCopy adds a copy of an object, or replaces the one with the same name and number.
func (x *Index) PutCopy(object *Object, number int) {
	if object.Service != nil {
		x.putService(object.Service, number)
	} else {
		x.putWorkload(object.Workload, number)
	}
}

// PutService adds a Service, or replaces the one with the same name. The index keeps it in memory, so it should be a
// ReducedService.
func (x *Index) PutService(service *corev1.Service) { x.putService(service, 0) }

func (x *Index) putService(service *corev1.Service, number int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.namespace(service.Namespace)
	key := n.key(serviceRef(service), number)
	x.deleteService(n, key)
	pairs := sharingPairs(service)
	indexed := indexedService{entry: &entry[*corev1.Service]{number, service}}
	var selects bool
	indexed.under, selects = n.putService(indexed.entry)
	for _, pair := range pairs {
		if x.sharers[pair] == nil {
			x.sharers[pair] = map[sharerKey]*corev1.Service{}
		}
		x.sharers[pair][sharerKey{service.Namespace, key}] = service
	}
	if selects || len(pairs) > 0 {
		n.services[key] = indexed
	}
}

// deleteService removes a Service of a namespace, if there is one with that key.
func (x *Index) deleteService(n *namespaceIndex, key indexKey) {
	former, ok := n.services[key]
	if !ok {
		return
	}
	remove(n.servicesBy, former.under, former.entry)
	for _, pair := range sharingPairs(former.value) {
		delete(x.sharers[pair], sharerKey{former.value.Namespace, key})
		if len(x.sharers[pair]) == 0 {
			delete(x.sharers, pair)
		}
	}
	delete(n.services, key)
}

// PutWorkload adds a workload, or replaces the one with the same name. If workloads of its kind are not looked up as
// neighbours (see WorkloadDoor), it only removes the one with the same name.
func (x *Index) PutWorkload(workload *Workload) { x.putWorkload(workload, 0) }

func (x *Index) putWorkload(workload *Workload, number int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.namespace(workload.Namespace)
	key := n.key(workload.Ref, number)
	n.deleteWorkload(key)
	if workload.isNeighbour() {
		n.putWorkload(key, &entry[*Workload]{number, workload})
	}
	x.deleteEmpty(workload.Namespace)
}

// PutAutoscaler adds an autoscaler, or replaces the one with the same kind and name.
func (x *Index) PutAutoscaler(autoscaler Autoscaler) { x.PutAutoscalerCopy(autoscaler, 0) }

// PutAutoscalerCopy adds a copy of an autoscaler, or replaces the one with the same kind, name and number.
func (x *Index) PutAutoscalerCopy(autoscaler Autoscaler, number int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.namespace(autoscaler.Ref.Namespace)
	key := keyOf(autoscaler.Ref, number)
	n.deleteAutoscaler(key)
	n.backends = nil
	n.autoscalers[key] = &entry[Autoscaler]{number, autoscaler}
	put(n.autoscalersOf, autoscaler.Target, n.autoscalers[key])
}

// PutEndpointsCopy adds a copy of the endpoints of a Service, or replaces those of the object with the same kind, name
// and number.
func (x *Index) PutEndpointsCopy(endpoints Endpoints, number int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.namespace(endpoints.Ref.Namespace)
	key := n.key(endpoints.Ref, number)
	n.deleteEndpoints(key)
	n.endpoints[key] = &entry[Endpoints]{number, endpoints}
	put(n.endpointsOf, endpoints.Service, n.endpoints[key])
}

// Delete removes the Service, workload, autoscaler or endpoints object that ref names, if the index has it under the
// number 0.
func (x *Index) Delete(ref Ref) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n, ok := x.namespaces[ref.Namespace]
	if !ok {
		return
	}
	switch {
	case ref.APIVersion == serviceVersion && ref.Kind == kindService:
		x.deleteService(n, keyOf(ref, 0))
	case Autoscales(ref.APIVersion, ref.Kind):
		n.deleteAutoscaler(keyOf(ref, 0))
	case HoldsEndpoints(ref.APIVersion, ref.Kind):
		n.deleteEndpoints(keyOf(ref, 0))
	default:
		n.deleteWorkload(keyOf(ref, 0))
	}
	x.deleteEmpty(ref.Namespace)
}

// deleteEmpty removes a namespace that holds nothing.
func (x *Index) deleteEmpty(namespace string) {
	n := x.namespaces[namespace]
	if len(n.services)+len(n.workloads)+len(n.autoscalers)+len(n.endpoints) == 0 {
		delete(x.namespaces, namespace)
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
			refs = append(refs, workload.value.Ref)
		}
		for _, autoscaler := range n.autoscalers {
			refs = append(refs, autoscaler.value.Ref)
		}
	}
	return refs
}

// Workload returns the workload that ref names, in any version, with the number 0, or nil.
func (x *Index) Workload(ref Ref) *Workload {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if n, ok := x.namespaces[ref.Namespace]; ok {
		if workload, ok := n.workloads[keyOf(ref, 0)]; ok {
			return workload.value
		}
	}
	return nil
}

// Related returns the neighbours of an object. The object itself need not be in the index. Those of a workload that
// uses the template of another one are those of the other.
func (x *Index) Related(object *Object) Related { return x.RelatedCopies(object, nil) }

// RelatedCopies returns the neighbours of an object among the copies for whose numbers sees returns true; a nil sees
// stands for all, and makes further look-ups of the same selectors faster. sees must not call the index.
func (x *Index) RelatedCopies(object *Object, sees func(number int) bool) Related {
	x.mu.RLock()
	defer x.mu.RUnlock()
	related := Related{View: x.view}
	if object.Service != nil {
		related.Services = x.sharing(object.Service, sees)
	}
	n, ok := x.namespaces[object.Namespace]
	if !ok {
		return related
	}
	backendOf := func(selector map[string]string) *backend { return n.backend(selector, sees) }
	if object.Service != nil {
		fronts := []*corev1.Service{object.Service}
		of := backendsOf(fronts, backendOf)
		behind := of[object.Service]
		related.Workloads = behind.without(object)
		related.Users, related.Autoscalers = n.scale(behind.workloads, sees)
		if len(object.Service.Spec.Selector) == 0 {
			related.Endpoints = slices.SortedFunc(seen(n.endpointsOf[object.Name], sees),
				func(a, b Endpoints) int { return a.Ref.compare(b.Ref) })
		}
		related.found = newFound(neighbourhood{of, behind, behind.workloads, related.scaling()}, object, related)
		return related
	}
	if owner := n.ownerOf(object.Workload.TemplateOf, sees); owner != nil {
		object = &Object{Ref: owner.Ref, Workload: owner}
	}
	related.Services = n.selecting(object.Workload.Template.Labels, sees)
	of := backendsOf(related.Services, backendOf)
	behind := n.union(of.different(related.Services), sees)
	related.Workloads = behind.without(object)
	related.Users, related.Autoscalers = n.scale([]*Workload{object.Workload}, sees)
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

// ownerOf returns the workload with a template that another one uses; nil if there is none, or if the reference is
// zero.
func (n *namespaceIndex) ownerOf(template WorkloadRef, sees func(number int) bool) *Workload {
	if owner, isKnown := n.workloads[indexKey{template.Group, template.Kind, template.Name, 0}]; isKnown {
		return owner.value
	}
	if template == (WorkloadRef{}) {
		return nil
	}
	for _, workload := range n.workloads {
		if workload.value.asTarget() == template && (sees == nil || sees(workload.copy)) {
			return workload.value
		}
	}
	return nil
}

// scale returns the workloads that use the templates of these workloads, and the autoscalers of both, sorted.
func (n *namespaceIndex) scale(
	workloads []*Workload, sees func(number int) bool,
) (users []*Workload, autoscalers []Autoscaler) {
	for _, workload := range workloads {
		users = slices.AppendSeq(users, seen(n.usersOf[workload.asTarget()], sees))
	}
	slices.SortFunc(users, compareWorkloads)
	for _, workload := range slices.Concat(workloads, users) {
		autoscalers = slices.AppendSeq(autoscalers, seen(n.autoscalersOf[workload.asTarget()], sees))
	}
	slices.SortFunc(autoscalers, compareAutoscalers)
	return users, autoscalers
}

// sharing returns the other Services that ask to share an address with a Service, in a fixed order.
func (x *Index) sharing(service *corev1.Service, sees func(number int) bool) []*corev1.Service {
	sharing := map[*corev1.Service]bool{}
	for _, pair := range sharingPairs(service) {
		for key, other := range x.sharers[pair] {
			if serviceRef(other) != serviceRef(service) && (sees == nil || sees(key.copy)) {
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
			services:      map[indexKey]indexedService{},
			servicesBy:    map[labelPair][]*entry[*corev1.Service]{},
			workloads:     map[indexKey]*entry[*Workload]{},
			workloadsBy:   map[labelPair][]*entry[*Workload]{},
			autoscalers:   map[indexKey]*entry[Autoscaler]{},
			autoscalersOf: map[WorkloadRef][]*entry[Autoscaler]{},
			usersOf:       map[WorkloadRef][]*entry[*Workload]{},
			endpoints:     map[indexKey]*entry[Endpoints]{},
			endpointsOf:   map[string][]*entry[Endpoints]{},
		}
		x.namespaces[name] = n
	}
	return n
}

// key returns the key of an object. An object whose name is not generated yet gets a unique key.
func (n *namespaceIndex) key(ref Ref, number int) indexKey {
	if isGenerated(ref) {
		ref.Name = fmt.Sprintf("%s%d", ref.Name, len(n.services)+len(n.workloads)+len(n.endpoints))
	}
	return keyOf(ref, number)
}

func keyOf(ref Ref, number int) indexKey { return indexKey{ref.group(), ref.Kind, ref.Name, number} }

// putService adds a Service to servicesBy under one pair of its selector, if it selects pods.
func (n *namespaceIndex) putService(service *entry[*corev1.Service]) (under labelPair, selects bool) {
	selector := podSelector(service.value)
	if selector == nil {
		return labelPair{}, false
	}
	under = n.rarestServicePair(selector)
	put(n.servicesBy, under, service)
	return under, true
}

// rarestServicePair returns the pair of a selector that has the fewest Services in servicesBy. A pair that all Services
// of a namespace have in common would otherwise collect all of them.
func (n *namespaceIndex) rarestServicePair(selector map[string]string) labelPair {
	return rarest(selector, func(pair labelPair) int { return len(n.servicesBy[pair]) })
}

func (n *namespaceIndex) putWorkload(key indexKey, workload *entry[*Workload]) {
	n.backends = nil
	n.workloads[key] = workload
	for k, v := range workload.value.Template.Labels {
		put(n.workloadsBy, labelPair{k, v}, workload)
	}
	if template := workload.value.TemplateOf; template != (WorkloadRef{}) {
		put(n.usersOf, template, workload)
	}
}

func (n *namespaceIndex) deleteWorkload(key indexKey) {
	if former, ok := n.workloads[key]; ok {
		n.backends = nil
		for k, v := range former.value.Template.Labels {
			remove(n.workloadsBy, labelPair{k, v}, former)
		}
		remove(n.usersOf, former.value.TemplateOf, former)
		delete(n.workloads, key)
	}
}

func (n *namespaceIndex) deleteAutoscaler(key indexKey) {
	if former, ok := n.autoscalers[key]; ok {
		n.backends = nil
		remove(n.autoscalersOf, former.value.Target, former)
		delete(n.autoscalers, key)
	}
}

func (n *namespaceIndex) deleteEndpoints(key indexKey) {
	if former, ok := n.endpoints[key]; ok {
		remove(n.endpointsOf, former.value.Service, former)
		delete(n.endpoints, key)
	}
}

// selecting returns the Services that select pods with these labels, sorted by name.
func (n *namespaceIndex) selecting(labels map[string]string, sees func(number int) bool) []*corev1.Service {
	var services []*corev1.Service
	for k, v := range labels {
		for service := range seen(n.servicesBy[labelPair{k, v}], sees) {
			if selects(service, labels) {
				services = append(services, service)
			}
		}
	}
	slices.SortFunc(services, compareServices)
	return services
}

// backend returns the backend of a selector, which may be nil. It keeps those of all copies.
func (n *namespaceIndex) backend(selector map[string]string, sees func(number int) bool) *backend {
	if selector == nil || sees != nil {
		return n.newBackend(selector, sees)
	}
	return n.once(textOf(selector), func() *backend { return n.newBackend(selector, nil) })
}

// union returns what the function of that name does.
func (n *namespaceIndex) union(of []*backend, sees func(number int) bool) *backend {
	if b := widest(of); b != nil {
		return b
	}
	if sees != nil {
		return union(of)
	}
	var selectors strings.Builder
	for _, b := range of {
		selectors.WriteString(textOf(b.selector) + "\n")
	}
	return n.once(selectors.String(), func() *backend { return union(of) })
}

// textOf returns a text for a selector, which no other selector has.
func textOf(selector map[string]string) string {
	var text []byte
	for _, key := range slices.Sorted(maps.Keys(selector)) {
		text = strconv.AppendQuote(strconv.AppendQuote(text, key), selector[key])
	}
	return string(text)
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

func (n *namespaceIndex) newBackend(selector map[string]string, sees func(number int) bool) *backend {
	var workloads []*Workload
	if selector != nil {
		pair := rarest(selector, func(pair labelPair) int { return len(n.workloadsBy[pair]) })
		for workload := range seen(n.workloadsBy[pair], sees) {
			if holds(workload.Template.Labels, selector) {
				workloads = append(workloads, workload)
			}
		}
		slices.SortFunc(workloads, compareWorkloads)
	}
	scaledToZero := slices.DeleteFunc(slices.Clone(workloads), func(w *Workload) bool { return !w.isScaledToZero() })
	users, autoscalers := n.scale(scaledToZero, sees)
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

func put[U comparable, V any](m map[U][]*entry[V], under U, e *entry[V]) {
	m[under] = append(m[under], e)
}

// remove undoes put. It looks at each entry under the key, which for thousands takes microseconds.
func remove[U comparable, V any](m map[U][]*entry[V], under U, e *entry[V]) {
	list := m[under]
	i := slices.Index(list, e)
	if i < 0 {
		return
	}
	last := len(list) - 1
	list[i], list[last] = list[last], nil
	if m[under] = list[:last]; last == 0 {
		delete(m, under)
	}
}

// seen returns the objects for whose numbers sees returns true, in any order. A nil sees stands for all.
func seen[V any](entries []*entry[V], sees func(number int) bool) iter.Seq[V] {
	return func(yield func(V) bool) {
		for _, e := range entries {
			if (sees == nil || sees(e.copy)) && !yield(e.value) {
				return
			}
		}
	}
}
