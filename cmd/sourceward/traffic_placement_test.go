package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParsePlacements(t *testing.T) {
	t.Parallel()
	const want = "; want WORKLOAD=NODE:PODS,..., such as web=node-a:3,node-b:1"
	tests := map[string]struct {
		values []string
		want   []*givenPlacement
		err    string
	}{
		"none": {},
		"a workload of any namespace": {
			values: []string{"web=node-a:3,node-b:0"},
			want:   []*givenPlacement{{workload: "web", nodes: []nodePods{{"node-a", 3}, {"node-b", 0}}}},
		},
		"one of a namespace, and another": {
			values: []string{"edge/web=a:1", "web=a:2"},
			want: []*givenPlacement{
				{namespace: "edge", workload: "web", nodes: []nodePods{{"a", 1}}},
				{workload: "web", nodes: []nodePods{{"a", 2}}},
			},
		},
		"an empty text": {values: []string{""}, err: `--placement "" has no places` + want},
		"no places":     {values: []string{"web="}, err: `--placement "web=" has no places` + want},
		"no workload":   {values: []string{"=a:1"}, err: `--placement "=a:1" does not name a workload` + want},
		"an empty namespace": {
			values: []string{"/web=a:1"}, err: `--placement "/web=a:1" does not name a workload` + want,
		},
		"a name with two slashes": {
			values: []string{"a/b/c=a:1"}, err: `--placement "a/b/c=a:1" does not name a workload` + want,
		},
		"no number":         {values: []string{"web=a"}, err: `--placement "web=a" has the place "a"` + want},
		"a negative number": {values: []string{"web=a:-1"}, err: `--placement "web=a:-1" has the place "a:-1"` + want},
		"no node":           {values: []string{"web=:1"}, err: `--placement "web=:1" has the place ":1"` + want},
		"an empty place":    {values: []string{"web=a:1,"}, err: `--placement "web=a:1," has the place ""` + want},
		"more pods than a cluster has": {
			values: []string{"web=a:1000001"}, err: `--placement "web=a:1000001" has the place "a:1000001"` + want,
		},
		"a node twice": {
			values: []string{"web=a:1,a:2"}, err: `--placement "web=a:1,a:2" names the node a twice; add up its pods`,
		},
		"no pod at all": {
			values: []string{"web=a:0"}, err: `--placement "web=a:0" places no pod; give at least one node a pod`,
		},
		"a workload twice": {
			values: []string{"web=a:1", "web=b:1"},
			err:    `--placement "web=b:1" gives a second placement of the same workload; remove one`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parsePlacements(test.values)
			text := ""
			if err != nil {
				text = err.Error()
			}
			if diff := cmp.Diff(test.err, text); diff != "" {
				t.Errorf("error mismatch (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(givenPlacement{}, nodePods{})); diff != "" {
				t.Errorf("parsePlacements() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}
