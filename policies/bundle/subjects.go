package bundle

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/sourceward/sourceward/policies"
)

// subjects are what the rows of the provider table match. All built-in modules find what they say in these rows, so
// they say nothing about a Service that has none of them.
type subjects struct {
	annotations, labels, classes, providers map[string]bool
	prefixes                                []string
}

// builtinSubjects returns the subjects of the provider table.
var builtinSubjects = sync.OnceValue(func() subjects {
	t := providerData()
	set := func(parts ...string) map[string]bool {
		keys := map[string]bool{}
		for _, part := range parts {
			for key := range t.entries(part) {
				keys[key] = true
			}
		}
		return keys
	}
	return subjects{
		annotations: set("annotations", "aliases"), labels: set("labels"), classes: set("classes"), providers: set("names"),
		prefixes: slices.Sorted(maps.Keys(t.entries("prefixes"))),
	}
})

// in reports whether the object of a document is a Service with one of the subjects.
func (s subjects) in(document policies.Document) bool {
	service := document.Object.Service
	if service == nil {
		return false
	}
	for annotation := range service.Annotations {
		isPrefix := func(prefix string) bool { return strings.HasPrefix(annotation, prefix) }
		if s.annotations[annotation] || slices.ContainsFunc(s.prefixes, isPrefix) {
			return true
		}
	}
	for label := range service.Labels {
		if s.labels[label] {
			return true
		}
	}
	class := service.Spec.LoadBalancerClass
	return class != nil && s.classes[*class] || s.providers[document.Facts.Provider]
}
