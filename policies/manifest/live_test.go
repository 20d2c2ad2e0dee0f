package manifest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/policies"
)

// newLive returns the objects in a text as those of a cluster.
func newLive(t *testing.T, text string) *Live {
	t.Helper()
	live := NewLive(policies.Newest)
	documents, errs := Parse("cluster.yaml", []byte(text))
	if errs != nil {
		t.Fatal(errs[0])
	}
	for _, document := range documents {
		live.Add(document.Content)
	}
	return live
}

const liveObjects = `
{apiVersion: v1, kind: Namespace, metadata: {name: edge, labels: {team: a}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: edge, name: web, uid: "1"},
 spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: web, uid: "2"}, spec: {ports: [{port: 80}]}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {namespace: edge, name: web, uid: "3", managedFields: [{manager: a}]},
 spec: {template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web}]}}}}
---
{apiVersion: v1, kind: Node, metadata: {name: a, labels: {kubernetes.io/hostname: a}}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {namespace: edge, name: web}}
`

// TestLiveObjectsAreJudgedWithoutPaths loads the same objects twice: all of them, and those of a namespace.
func TestLiveObjectsAreJudgedWithoutPaths(t *testing.T) {
	t.Parallel()
	live := newLive(t, liveObjects)
	for namespace, want := range map[string][]string{
		"":     {"Service edge/web", "Service shop/web", "Deployment edge/web"},
		"shop": {"Service shop/web"},
	} {
		m, err := Load(Options{Live: live, Namespace: namespace, Version: policies.Newest})
		if err != nil || m.Errors != nil || m.Notes != nil || m.Skipped != nil {
			t.Fatal(err, m.Errors, m.Notes, m.Skipped)
		}
		var got []string
		for _, object := range m.Objects {
			got = append(got, object.String())
			if object.Place("/spec") != (Place{}) {
				t.Errorf("%s has the place %v", object, object.Place("/spec"))
			}
			if metadata := object.Content()["metadata"].(map[string]any); metadata["managedFields"] != nil {
				t.Errorf("%s has managed fields: %v", object, metadata)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("objects of namespace %q mismatch (-want +got):\n%s", namespace, diff)
		}
		in := m.Input(m.Objects[0], policies.Cluster{}, time.Time{})
		if in.Related.View != policies.ViewFiles || in.Namespace.Assumed || in.Cluster.Known == nil {
			t.Errorf("the input of %s is %+v", m.Objects[0], in)
		}
		if n := len(in.Related.Workloads); namespace == "" && n != 1 {
			t.Errorf("%s has %d workloads, want 1", m.Objects[0], n)
		}
	}
}

// TestFilesReplaceLiveObjects judges files beside a cluster, and gives one of its objects as context.
func TestFilesReplaceLiveObjects(t *testing.T) {
	t.Parallel()
	const web = "{apiVersion: v1, kind: Service, metadata: {namespace: edge, name: web}, " +
		"spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80}]}}"
	dir := tree{files: map[string]string{
		"service/a.yaml": web,
		"workload/a.yaml": "{apiVersion: apps/v1, kind: Deployment, metadata: {namespace: edge, name: web}, " +
			"spec: {replicas: 7, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web}]}}}}",
		"context/a.yaml": "{apiVersion: v1, kind: Namespace, metadata: {name: edge, labels: {team: b}}}",
	}}.make(t)
	for name, test := range map[string]struct {
		paths []string
		view  policies.View
		least int32 // the replicas of the workload behind the Service
	}{
		"the workload is only in the cluster": {[]string{"service"}, policies.ViewCluster, 1},
		"the workload is in a file, too":      {[]string{"service", "workload"}, policies.ViewFiles, 7},
	} {
		var paths []string
		for _, path := range test.paths {
			paths = append(paths, dir+"/"+path)
		}
		m, err := Load(Options{
			Paths: paths, Context: []string{dir + "/context"}, Live: newLive(t, liveObjects), Version: policies.Newest,
		})
		if err != nil || m.Errors != nil || len(m.Objects) != len(paths) {
			t.Fatal(name, err, m.Errors, m.Objects)
		}
		in := m.Input(m.Objects[0], policies.Cluster{}, time.Time{})
		if in.Related.View != test.view || len(in.Related.Workloads) != 1 || in.Namespace.Labels["team"] != "b" {
			t.Errorf("%s: the input is %+v", name, in)
		} else if got := *in.Related.Workloads[0].Replicas; got != test.least {
			t.Errorf("%s: it has %d replicas, want %d", name, got, test.least)
		}
		if without, remarks := m.UncheckedPods(); without != nil || remarks != nil {
			t.Errorf("%s: %v, %v", name, without, remarks)
		}
	}
}

func TestLiveObjectsThatCannotBeReadAreErrors(t *testing.T) {
	t.Parallel()
	m, err := Load(Options{Version: policies.Newest, Live: newLive(t, `
{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {namespace: edge, name: text}, spec: {replicas: many,
  template: {spec: {containers: [{name: web}]}}}}
---
{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {namespace: edge, name: empty}, spec: {replicas: 1}}
`)})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range m.Errors {
		got = append(got, e.Error())
	}
	want := []string{
		"Rollout edge/text cannot be read: spec.replicas: want a whole number, got a string; write digits without quotes",
		"Rollout edge/empty cannot be read: spec.template: it is missing",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("errors mismatch (-want +got):\n%s", diff)
	}
}

func TestLiveChildrenAreNotJudged(t *testing.T) {
	t.Parallel()
	live := NewLive(policies.Newest)
	set := func(owner string) map[string]any {
		return map[string]any{"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": map[string]any{
			"namespace": "edge", "name": "web-1", "ownerReferences": []any{map[string]any{
				"apiVersion": "apps/v1", "kind": owner, "name": "web", "uid": "1", "controller": true,
			}},
		}}
	}
	if live.AddChild(set("Operator")) || !live.AddChild(set("Deployment")) {
		t.Error("want only the ReplicaSet of a Deployment to be a child")
	}
	m, err := Load(Options{Live: live, Version: policies.Newest})
	if err != nil || len(m.Children) != 1 || m.Children[0].Workload.Controller.Name != "web" || m.Objects != nil {
		t.Errorf("%v; children %v, objects %v", err, m.Children, m.Objects)
	}
}
