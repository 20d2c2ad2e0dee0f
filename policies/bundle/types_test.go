package bundle

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sourceward/sourceward/policies"
)

// shapes holds a Service of each type, and the special cases of ClusterIP, by name.
var shapes = map[string]someService{
	"ClusterIP":                  {Type: "ClusterIP"},
	"ClusterIP with externalIPs": {Type: "ClusterIP", ExternalIPs: true},
	"headless":                   {Type: "ClusterIP", Headless: true},
	"NodePort":                   {Type: "NodePort"},
	"LoadBalancer":               {},
	"ExternalName":               {Type: "ExternalName"},
}

// onShape returns an example of the row as a Service of this shape. ok is false if another row of the same annotations
// applies to the type, or if a condition of the row requires another type.
func (r row) onShape(table providerTable, shape someService) (s someService, ok bool) {
	s = r.example(table)
	if r.Says.RequireLocal == policies.StrengthHard && r.Value.Anything {
		s.Annotations[r.annotation] = "true" // Every other value of is-preserve-source also opts out.
	}
	s.Type, s.ExternalIPs, s.Headless = shape.Type, shape.ExternalIPs, shape.Headless
	if s.Type != "" {
		s.Class, s.Provider = "", "" // The API server and the facts know them only of a LoadBalancer.
	}
	others := slices.DeleteFunc(table.all(), func(other row) bool {
		_, mentioned := s.Annotations[exampleKey(table, other.annotation)]
		return other.ID == r.ID || !mentioned
	})
	return s, !slices.ContainsFunc(others, func(other row) bool { return slices.Contains(other.types(), s.serviceType()) })
}

// TestRowsDoNothingOnOtherTypes compares, for each row and each type of Service to which it does not apply, the
// decision about a Service with the row's annotations with the decision about one without. Only our own annotation may
// add a finding: that it has no effect.
func TestRowsDoNothingOnOtherTypes(t *testing.T) {
	t.Parallel()
	set, _ := Compile(t.Context(), nil, nil)
	table := readProviders(t)
	compared := map[string]int{}
	for name, shape := range shapes {
		for _, trafficPolicy := range []string{"", "Cluster", "Local"} {
			want := shape.decide(t, set, trafficPolicy)
			for _, row := range table.all() {
				s, alone := row.onShape(table, shape)
				if slices.Contains(row.types(), s.serviceType()) || !alone {
					continue
				}
				compared[row.ID]++
				got := s.decide(t, set, trafficPolicy)
				if row.ID == "sourceward-preserve" {
					got.Findings = slices.DeleteFunc(got.Findings, func(f policies.Finding) bool {
						return strings.Contains(f.Message, "preserve has no effect on type "+string(s.Type))
					})
				}
				if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("%s on %s, policy %q: the decision differs from that without annotations (-want +got):\n%s",
						row.ID, name, trafficPolicy, diff)
				}
			}
		}
	}
	for _, row := range table.all() {
		want := 0
		for _, shape := range shapes {
			if !slices.Contains(row.types(), shape.serviceType()) {
				want += 3
			}
		}
		if row.Says.RequireLocal == policies.StrengthHard && compared[row.ID] != want {
			t.Errorf("%s: %d decisions compared, want %d", row.ID, compared[row.ID], want)
		}
	}
	t.Logf("%d rows compared", len(compared))
}

// TestHardRowsOnTheirTypes checks that a hard row makes a Service of each of its types Local, and that no finding about
// the repaired Service asks to undo that.
func TestHardRowsOnTheirTypes(t *testing.T) {
	t.Parallel()
	set, _ := Compile(t.Context(), nil, nil)
	table := readProviders(t)
	wantOperation := policies.PatchOperation{Op: "add", Path: "/spec/externalTrafficPolicy", Value: "Local"}
	for _, row := range table.all() {
		if row.Says.RequireLocal != policies.StrengthHard {
			continue
		}
		for name, shape := range shapes {
			if !slices.Contains(row.types(), shape.serviceType()) {
				continue
			}
			s, _ := row.onShape(table, shape)
			decision := s.decide(t, set, "")
			repaired := slices.ContainsFunc(decision.Patches, func(p policies.Patch) bool {
				return p.Rule == "source-ip-needs-local" && p.Mode == policies.Mutate &&
					slices.Equal(p.Operations, []policies.PatchOperation{wantOperation})
			})
			if !repaired {
				t.Errorf("%s on %s: patches are %v, want externalTrafficPolicy set to Local", row.ID, name, decision.Patches)
			}
			for _, f := range slices.Concat(decision.Findings, s.decide(t, set, "Local").Findings) {
				if f.Mode == policies.Deny || strings.Contains(f.Fix, "externalTrafficPolicy: Cluster") {
					t.Errorf("%s on %s: the repaired Service has the finding %s: %s; %s", row.ID, name, f.Rule, f.Message, f.Fix)
				}
			}
		}
	}
}
