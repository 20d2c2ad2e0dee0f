package bundle

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/sourceward/sourceward/policies"
)

// TestBuiltinModulesAreSilentWithoutASubject evaluates the built-in modules for random Services around the keys of the
// provider table. Whatever is not asked about must have no answer.
func TestBuiltinModulesAreSilentWithoutASubject(t *testing.T) {
	t.Parallel()
	const services, seed = 100_000, 18
	random := rand.New(rand.NewPCG(seed, 0))
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	near := nearKeys(random)
	annotations := append(near("annotations"), append(near("aliases"), near("prefixes")...)...)
	labels, classes, names := near("labels"), near("classes"), near("names")
	values := []string{
		"", "true", "false", "1", "TRUE", "Local", "OnlyLocal", "pods-per-node", "preserve", "ip", "nlb", "*",
	}
	builtin := NewCompiler(nil).builtin()
	skipped, answered := 0, 0
	for range services {
		metadata := map[string]any{"namespace": "edge", "name": "web"}
		spec := map[string]any{
			"type": pick("LoadBalancer", "LoadBalancer", "NodePort", "ClusterIP"), "selector": map[string]any{"app": "web"},
			"ports": []any{map[string]any{"port": int64(80)}},
		}
		some := func(keys []string, value func() string) map[string]any {
			entries := map[string]any{}
			for range random.IntN(3) {
				entries[pick(keys...)] = value()
			}
			return entries
		}
		metadata["annotations"] = some(annotations, func() string { return pick(values...) })
		metadata["labels"] = some(labels, func() string { return pick("web", "") })
		if random.IntN(3) == 0 {
			spec["loadBalancerClass"] = pick(classes...)
		}
		spec["externalTrafficPolicy"] = pick("Local", "Cluster")
		if random.IntN(4) == 0 {
			spec["allocateLoadBalancerNodePorts"] = false
		}
		document := policies.Document{
			Operation: policies.Create, Neighbour: random.IntN(4) == 0,
			Object: object(t, map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}),
			Facts:  policies.Facts{Local: spec["externalTrafficPolicy"] == "Local", ExternallyAccessible: random.IntN(2) == 0},
		}
		if random.IntN(3) == 0 {
			document.Facts.Provider = pick(names...)
		}
		isAsked := builtinSubjects().in(document)
		if isAsked && random.IntN(20) > 0 {
			continue // only some of them, to see that the modules do answer
		}
		answer := builtin.asked(document).evaluate(t.Context(), inputOf(document, nil))
		if remembered := builtin.evaluateHere(t.Context(), document); !reflect.DeepEqual(remembered, answer) {
			t.Fatalf("%v %v: the answer is %+v, and the remembered one %+v", metadata, spec, answer, remembered)
		}
		isSilent := reflect.DeepEqual(answer, policies.Answer{})
		switch {
		case !isAsked:
			skipped++
			if !isSilent {
				t.Fatalf("%v %v, provider %q, has no subject, but the answer is %+v",
					metadata, spec, document.Facts.Provider, answer)
			}
		case !isSilent:
			answered++
		}
	}
	t.Logf("%d Services (seed %d): %d without a subject; %d of those with one that were asked about have an answer",
		services, seed, skipped, answered)
	if skipped == 0 || answered == 0 {
		t.Error("the Services are all of one sort")
	}
}

// nearKeys returns a function that returns the keys of a part of the provider table, and keys that are nearly the same.
func nearKeys(random *rand.Rand) func(part string) []string {
	return func(part string) []string {
		keys := []string{"example.com/other", fmt.Sprintf("example.com/%d", random.IntN(9))}
		for _, key := range slices.Sorted(maps.Keys(providerData().entries(part))) {
			keys = append(keys, key, key[:len(key)-1], key+"x", strings.ToUpper(key), "x"+key)
		}
		return keys
	}
}
