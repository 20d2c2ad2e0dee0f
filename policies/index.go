package policies

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Index finds the Services that select a pod and the workloads that a Service selects, at the cost
// of the labels of one pod and not of all the objects in its namespace.
//
// Of an object it keeps the Service or the Workload, and not its Content. The zero value is not
// usable; NewIndex makes one. It is not safe for concurrent use.
type Index struct {
	view       View
	namespaces map[string]*namespaceIndex
}

// NewIndex returns an empty index whose look-ups have the given view.
func NewIndex(view View) *Index {
	return &Index{view: view, namespaces: map[string]*namespaceIndex{}}
}

// namespaceIndex is the index of one namespace.
type namespaceIndex struct {
	services map[string]*indexedService
	// servicesBy holds each Service under one pair of its selector: a pod that lacks that pair is
	// not selected, whatever the others are.
	servicesBy map[labelPair]map[string]*corev1.Service
	workloads  map[workloadKey]*Workload
	// workloadsBy holds each workload under every label of its pods.
	workloadsBy map[labelPair]map[workloadKey]*Workload
	// autoscalers and autoscalersOf hold each autoscaler by its own name and by what it scales.
	autoscalers   map[string]Autoscaler
	autoscalersOf map[scaleTarget]map[string]Autoscaler
}

type indexedService struct {
	service *corev1.Service
	under   labelPair
}

type labelPair struct{ key, value string }

type scaleTarget struct{ kind, name string }

type workloadKey struct{ apiVersion, kind, name string }

// Put adds an object, in the place of the one with the same name. One that is still to be named takes
// nobody's place.
func (x *Index) Put(object *Object) {
	n := x.namespace(object.Namespace)
	name := object.Name
	if isGenerated(object.Ref) {
		name = fmt.Sprintf("%s%d", name, len(n.services)+len(n.workloads))
	}
	if object.Service != nil {
		n.putService(name, object.Service)
	} else {
		n.putWorkload(workloadKey{object.APIVersion, object.Kind, name}, object.Workload)
	}
}

// PutAutoscaler adds an autoscaler, in the place of the one with the same kind and name.
func (x *Index) PutAutoscaler(autoscaler Autoscaler) {
	n := x.namespace(autoscaler.Ref.Namespace)
	key := autoscaler.Ref.Kind + "/" + autoscaler.Ref.Name
	if former, ok := n.autoscalers[key]; ok {
		delete(n.autoscalersOf[former.target()], key)
	}
	n.autoscalers[key] = autoscaler
	put(n.autoscalersOf, autoscaler.target(), key, autoscaler)
}

// Related returns the neighbours of an object, which need not be in the index itself.
func (x *Index) Related(object *Object) Related {
	related := Related{View: x.view}
	n, ok := x.namespaces[object.Namespace]
	if !ok {
		return related
	}
	if object.Service != nil {
		related.Workloads = n.selected(object.Service)
	} else {
		others := map[*Workload]bool{}
		related.Services = n.selecting(object.Workload.Template.Labels)
		for _, service := range related.Services {
			for _, workload := range n.selected(service) {
				if !object.is(workload) {
					others[workload] = true
				}
			}
		}
		related.Workloads = sortedWorkloads(maps.Keys(others))
	}
	scaled := related.Workloads
	if object.Workload != nil {
		scaled = append([]*Workload{object.Workload}, scaled...)
	}
	for _, workload := range scaled {
		target := scaleTarget{workload.Kind, workload.Name}
		related.Autoscalers = slices.AppendSeq(related.Autoscalers, maps.Values(n.autoscalersOf[target]))
	}
	slices.SortFunc(related.Autoscalers, func(a, b Autoscaler) int { return a.Ref.compare(b.Ref) })
	return related
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
			autoscalersOf: map[scaleTarget]map[string]Autoscaler{},
		}
		x.namespaces[name] = n
	}
	return n
}

func (n *namespaceIndex) putService(name string, service *corev1.Service) {
	if former, ok := n.services[name]; ok {
		delete(n.servicesBy[former.under], name)
		delete(n.services, name)
	}
	selector := podSelector(service)
	if selector == nil {
		return
	}
	under := n.rarestServicePair(selector)
	n.services[name] = &indexedService{service: service, under: under}
	put(n.servicesBy, under, name, service)
}

// rarestServicePair is the pair of a selector under which the fewest Services are, so that a pair
// that all of a namespace's Services share does not collect them all.
func (n *namespaceIndex) rarestServicePair(selector map[string]string) labelPair {
	return rarest(selector, func(pair labelPair) int { return len(n.servicesBy[pair]) })
}

func (n *namespaceIndex) putWorkload(key workloadKey, workload *Workload) {
	if former, ok := n.workloads[key]; ok {
		for k, v := range former.Template.Labels {
			delete(n.workloadsBy[labelPair{k, v}], key)
		}
	}
	n.workloads[key] = workload
	for k, v := range workload.Template.Labels {
		put(n.workloadsBy, labelPair{k, v}, key, workload)
	}
}

// selecting returns the Services that select pods with these labels, by name.
func (n *namespaceIndex) selecting(labels map[string]string) []*corev1.Service {
	var services []*corev1.Service
	for k, v := range labels {
		for _, service := range n.servicesBy[labelPair{k, v}] {
			if selects(service, labels) {
				services = append(services, service)
			}
		}
	}
	slices.SortFunc(services, func(a, b *corev1.Service) int { return strings.Compare(a.Name, b.Name) })
	return services
}

// selected returns the workloads whose pods a Service selects, by name.
func (n *namespaceIndex) selected(service *corev1.Service) []*Workload {
	selector := podSelector(service)
	if selector == nil {
		return nil
	}
	pair := rarest(selector, func(pair labelPair) int { return len(n.workloadsBy[pair]) })
	var workloads []*Workload
	for _, workload := range n.workloadsBy[pair] {
		if selects(service, workload.Template.Labels) {
			workloads = append(workloads, workload)
		}
	}
	return sortedWorkloads(slices.Values(workloads))
}

// rarest returns the pair of a non-empty selector with the least count, the first by key among equals.
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

func sortedWorkloads(workloads func(yield func(*Workload) bool)) []*Workload {
	return slices.SortedFunc(workloads, func(a, b *Workload) int { return a.Ref.compare(b.Ref) })
}

func (a Autoscaler) target() scaleTarget { return scaleTarget{a.TargetKind, a.TargetName} }
