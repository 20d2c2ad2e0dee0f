package main_test

import (
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// explainLive runs explain with the objects of the file of liveObjects, and of other texts, in a cluster.
func explainLive(t testing.TB, more string, args ...string) result {
	t.Helper()
	files := []string{liveObjects}
	if more != "" {
		files = append(files, filepath.Join(write(t, map[string]string{"more.yaml": more}), "more.yaml"))
	}
	api := httptest.NewServer(newFakeAPIServer(t, files...))
	defer api.Close()
	return withKubeconfig(t, t.TempDir(), api.URL, append([]string{"explain", "--cluster"}, args...)...)
}

// liveWorkload is a Deployment behind the Service edge/web of liveObjects.
const liveWorkload = `
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: edge, name: web, uid: "3"}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web}]}
`

func TestAServiceInAClusterIsExplained(t *testing.T) {
	t.Parallel()
	want := result{Stdout: `Service edge/web (LoadBalancer, Local)
  Assumed: the load balancer gives each node the same share, if it passes the
  health check.

With Local, which it has
  client → load balancer → node with a ready pod → pod on that node
  The pod sees the client's address, since no node replaces it.
  Now the busiest pod gets 50%, 2x its fair share; 50% of the capacity is
  usable; 1 of 3 nodes gets no traffic; a perfect spread of the same pods would
  give 1.33x and 75% usable.

With Cluster
  client → load balancer → any node → pod on any node
  The pod sees the address of a node, which replaces the client's.
  Now each pod gets 25%; all of the capacity is usable.

Health check
  Nodes answer on healthCheckNodePort: 200 with a ready pod, else 503.
  200: node-a, node-b.
  503: node-c.

The client's address
  Only externalTrafficPolicy: Local asks for it.
  No PROXY protocol, X-Forwarded-For, DSR or pod targets were found.

Choose: Cluster, unless pods need the client's address
    spec:
      externalTrafficPolicy: Cluster
  If they do, for logs or rate limits, keep Local, and say so: annotation
  sourceward.dev/source-ip: preserve.
  Nothing asks for the client's address. Any node can reach any pod, so none
  drops traffic, and pods share it evenly unless trafficDistribution is set.
  Cost: Pods see the address of a node, and packets take an extra hop to pods on
  other nodes.

What matters for Local here
  - pods get unequal shares even if spread evenly (1.33x at best with 4 pods)
  - nothing keeps the pods on different nodes (2x at worst)
  - pods are placed unevenly now (2x now)
`}
	got := explainLive(t, liveWorkload, "Service/edge/web")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("explain --cluster mismatch (-want +got):\n%s", diff)
	}
	fitsOnAScreen(t, "explain --cluster", got.Stdout)
}

func TestAWorkloadInAClusterIsExplained(t *testing.T) {
	t.Parallel()
	want := result{Stdout: `Deployment edge/web (4 pods)

Services in front
  - Service edge/web (LoadBalancer, Local): choose Cluster, unless pods need the
    client's address
  - Service edge/api (LoadBalancer, Cluster): keep Cluster, since nothing asks
    for the client's address
  - Service edge/internal (ClusterIP): no difference, since clients outside the
    cluster cannot reach the Service

How its pods are spread
  Nothing keeps the pods on different nodes: see sourceward explain
  unspread-behind-local.
  Behind Service edge/web with Local, 4 pods on 3 nodes: at worst the busiest
  pod gets 50%, 2x its fair share; 50% of the capacity is usable; 1 of 3 nodes
  gets no traffic; a perfect spread of the same pods would give 1.33x and 75%
  usable.

To see more
  sourceward explain Service/edge/web --cluster
  sourceward explain --settings Deployment/edge/web --cluster
  sourceward traffic --cluster -n edge
`}
	if diff := cmp.Diff(want, explainLive(t, liveWorkload, "deployment/edge/web")); diff != "" {
		t.Errorf("explain --cluster mismatch (-want +got):\n%s", diff)
	}
}

// TestWhatCannotBeExplainedInACluster checks that each mistake has one clear line.
func TestWhatCannotBeExplainedInACluster(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ object, want string }{
		"no such object": {
			"Service/edge/wep",
			"Service edge/wep is not in the cluster at HOST; check its kind, namespace and name, and the kubeconfig",
		},
		"a Pod": {
			"Pod/edge/web",
			"Pod edge/web: objects of kind Pod are not read from a cluster; explain the workload that makes it, or give " +
				"its manifest with -f",
		},
		"another namespace than the one that is given": {
			"Service/edge/web -n shop",
			"Service/edge/web is not in Namespace shop of -n; remove one of the two; see sourceward explain --help",
		},
		"settings in another namespace than the one that is given": {
			"--settings Service/edge/web -n shop",
			"--settings Service/edge/web is not in Namespace shop of -n; remove one of the two; see sourceward explain --help",
		},
		"an ExternalName": {
			"Service/edge/db",
			"Service edge/db has type ExternalName: clients connect to db.example.com, and there is no traffic policy; " +
				"explain the Service behind that name",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := result{Stderr: "error: " + test.want + "\n", Code: 2}
			if diff := cmp.Diff(want, explainLive(t, "", strings.Fields(test.object)...)); diff != "" {
				t.Errorf("explain --cluster mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheNamespaceOfAnObjectInAClusterIsGiven(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"", "--settings"} {
		name, short := []string{flag, "Service/edge/web"}, []string{flag, "Service/web", "-n", "edge"}
		if flag == "" {
			name, short = name[1:], short[1:]
		}
		want := explainLive(t, "", name...)
		if want.Code != 0 || want.Stdout == "" {
			t.Fatalf("explain %v gives %+v", name, want)
		}
		if diff := cmp.Diff(want, explainLive(t, "", short...)); diff != "" {
			t.Errorf("explain %v mismatch (-want +got):\n%s", short, diff)
		}
	}
}

// TestAServiceWithoutEndpointsIsExplained checks that a note says where to look, and that all of its traffic is lost.
func TestAServiceWithoutEndpointsIsExplained(t *testing.T) {
	t.Parallel()
	got := explainLive(t, "", "Service/edge/old")
	want := "note: Service edge/old has no ready endpoints; look at its pods and its selector with " +
		"\"kubectl get endpointslices -n edge -l kubernetes.io/service-name=old\"\n"
	if got.Stderr != want || got.Code != 0 || !strings.Contains(got.Stdout, "Now all traffic is lost: no pod is ready.") {
		t.Errorf("explain of a Service without endpoints gives %+v", got)
	}
}

// TestAClusterIsExplainedWithPoliciesOfFiles checks that --policy takes the place of the policies in the cluster.
func TestAClusterIsExplainedWithPoliciesOfFiles(t *testing.T) {
	t.Parallel()
	policy, err := filepath.Abs("testdata/explain-a-policy-that-asks-for-local/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	labelled := liveWorkload + `---
apiVersion: v1
kind: Service
metadata: {namespace: edge, name: door, labels: {waf: "true"}}
spec: {type: NodePort, externalTrafficPolicy: Cluster, selector: {app: web}, ports: [{port: 443}]}
`
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "Choose: Cluster, as it is"},
		{[]string{"--policy", policy}, "Choose: Local\n"},
	} {
		got := explainLive(t, labelled, append([]string{"Service/edge/door"}, test.args...)...)
		if got.Code != 0 || !strings.Contains(got.Stdout, test.want) {
			t.Errorf("explain --cluster %s gives %+v, want %q", test.args, got, test.want)
		}
	}
}

// TestExplanationsFitOnAScreen checks all explanations among the cases, of which the last has as much to say as any.
func TestExplanationsFitOnAScreen(t *testing.T) {
	t.Parallel()
	cases, err := filepath.Glob("testdata/explain-*")
	if err != nil || len(cases) == 0 {
		t.Fatal("no cases: ", err)
	}
	for _, dir := range cases {
		fitsOnAScreen(t, filepath.Base(dir), content(t, dir, "stdout"))
	}
	crowded := strings.Replace(liveWorkload, "replicas: 4", "replicas: 2", 1) + `---
apiVersion: v1
kind: Service
metadata: {namespace: edge, name: busy, annotations: {sourceward.dev/source-ip: preserve}}
spec:
  type: LoadBalancer
  loadBalancerClass: service.k8s.aws/nlb
  loadBalancerSourceRanges: [192.0.2.0/24]
  publishNotReadyAddresses: true
  externalTrafficPolicy: Cluster
  selector: {app: web}
  ports: [{port: 443}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: edge, name: busy-1, labels: {kubernetes.io/service-name: busy}}
addressType: IPv4
ports: [{name: https, port: 8443}]
endpoints:
  - {addresses: [10.0.0.21], nodeName: node-a, conditions: {ready: true}}
  - {addresses: [10.0.0.22], nodeName: node-a, conditions: {ready: true}}
  - {addresses: [10.0.0.23], nodeName: node-b, conditions: {ready: true}}
  - {addresses: [10.0.0.24], nodeName: node-x, conditions: {ready: true}}
`
	got := explainLive(t, crowded, "Service/edge/busy")
	if got.Code != 0 || got.Stderr != "" || !strings.Contains(got.Stdout, "Choose: Local\n") {
		t.Errorf("explain of a Service with many problems gives %+v", got)
	}
	fitsOnAScreen(t, "a Service with many problems", got.Stdout)
}

// fitsOnAScreen checks that a text has at most 40 lines of 80 columns. Command lines may be longer: they are to be
// copied.
func fitsOnAScreen(t testing.TB, name, text string) {
	t.Helper()
	const lines, columns = 40, 80
	if got := strings.Count(text, "\n"); got > lines {
		t.Errorf("%s has %d lines, want at most %d:\n%s", name, got, lines, text)
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if utf8.RuneCountInString(line) > columns && !strings.HasPrefix(line, "  sourceward ") {
			t.Errorf("%s has a line of more than %d columns: %s", name, columns, line)
		}
	}
}
