package bench

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
)

// BenchmarkPolicies measures a decision about a Service with no policy, one policy, and a hundred policies of which all
// match the Service, three, or none. Each policy has ten rules. The variants take short turns, so that they run under
// the same conditions. It reports the time of a decision, and its ratio to the time without a policy.
func BenchmarkPolicies(b *testing.B) {
	document := map[string]any{}
	if err := yaml.Unmarshal(manifests(1)[strings.LastIndex(string(manifests(1)), "---"):], &document); err != nil {
		b.Fatal(err)
	}
	service, err := policies.NewObject(document)
	if err != nil {
		b.Fatal(err)
	}
	in := policies.Input{
		Operation: policies.Create, Object: service, Namespace: policies.Namespace{Name: "edge"},
		Related: policies.Related{View: policies.ViewCluster},
	}
	elsewhere := &v1alpha1.Match{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "mail"}},
		ObjectSelector:    &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "front"}},
	}
	variants := []struct {
		name     string
		policies []v1alpha1.SourceIPPolicy
		findings int
	}{
		{"none", nil, 0},
		{"one", tenRules(1, nil), 10},
		{"hundred", tenRules(100, nil), 1000},
		{"hundred-three", append(tenRules(100, elsewhere)[3:], tenRules(3, nil)...), 30},
		{"hundred-elsewhere", tenRules(100, elsewhere), 0},
	}
	times := make([]time.Duration, len(variants))
	sets := make([]*bundle.Set, len(variants))
	for i, v := range variants {
		start := time.Now()
		set, problems := bundle.Compile(b.Context(), nil, v.policies)
		if problems != nil {
			b.Fatal(problems[0])
		}
		b.Logf("%s: compiled in %s", v.name, time.Since(start).Round(time.Millisecond))
		sets[i] = set
	}
	const turns, size = 40, 5
	order := rand.New(rand.NewPCG(1, 1))
	for range turns {
		for _, i := range order.Perm(len(variants)) {
			runtime.GC() // no variant pays for the garbage of another
			start := time.Now()
			for range size {
				settings := policies.Resolve(sets[i].Policies, in.Object, in.Namespace)
				decision, err := policies.Decide(b.Context(), in, sets[i], settings)
				house := slices.DeleteFunc(
					decision.Findings,
					func(f policies.Finding) bool { return !strings.HasPrefix(f.Rule, "corp-") },
				)
				if err != nil || len(house) != variants[i].findings {
					b.Fatalf("%s: %d findings (%v), want %d", variants[i].name, len(house), err, variants[i].findings)
				}
			}
			times[i] += time.Since(start)
		}
	}
	for i, v := range variants {
		b.Run("policies="+v.name, func(b *testing.B) {
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(times[i].Seconds()*1e6/turns/size, "µs/decision")
			b.ReportMetric(times[i].Seconds()/times[0].Seconds(), "x/none")
		})
	}
}

// tenRules returns policies with ten modules each. Each module has one rule.
func tenRules(count int, match *v1alpha1.Match) []v1alpha1.SourceIPPolicy {
	list := make([]v1alpha1.SourceIPPolicy, count)
	for i := range list {
		list[i] = v1alpha1.SourceIPPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("corp-%d", i)}}
		list[i].Spec.Match = match
		for rule := range 10 {
			list[i].Spec.Rego = append(list[i].Spec.Rego, v1alpha1.RegoModule{
				Name: fmt.Sprintf("corp%d.rego", rule),
				Module: fmt.Sprintf(`package sourceward.custom.corp_%d

deny contains {"message": "port %d is not for us", "path": "/spec/ports"} if {
	input.object.kind == "Service"
	some port in input.object.spec.ports
	port.port != %[2]d
}
`, rule, 1000+rule),
			})
		}
	}
	return list
}
