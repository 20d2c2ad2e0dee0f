package webhook

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sourceward/sourceward/policies"
)

func TestLookUpsAreBounded(t *testing.T) {
	t.Parallel()
	t.Run("in time", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			n, registry := newTestNeighbours(t, &fakeReader{}, &fakeReader{hang: true})
			start := time.Now()
			related := n.Related(t.Context(), policies.Input{Operation: policies.Create, Object: workloadObject("web")}, nil)
			if took := time.Since(start); related.View != policies.ViewNone || took != lookupTimeout {
				t.Errorf("a look-up that hangs gives view %q after %s, want none after %s", related.View, took, lookupTimeout)
			}
			countLookups(t, registry, "failed")
		})
	})
	t.Run("in number", func(t *testing.T) {
		t.Parallel()
		live := &fakeReader{}
		n, registry := newTestNeighbours(t, &fakeReader{}, live)
		for range maxLookups {
			n.lookups <- struct{}{}
		}
		related := n.Related(t.Context(), policies.Input{Operation: policies.Create, Object: workloadObject("web")}, nil)
		if related.View != policies.ViewNone || live.asked > 0 {
			t.Errorf("a look-up beyond the limit gives view %q and asks %d times, want none and 0", related.View, live.asked)
		}
		countLookups(t, registry, "busy")
	})
}

func countLookups(t *testing.T, registry *prometheus.Registry, outcome string) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "sourceward_lookups_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "outcome" && label.GetValue() == outcome && metric.GetCounter().GetValue() == 1 {
					return
				}
			}
		}
	}
	t.Errorf("no look-up is counted as %s", outcome)
}
