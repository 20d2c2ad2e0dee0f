package main_test

import (
	"fmt"
	"net"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// liveManifests are the objects of a cluster with a Local Service, a workload behind it and a ClusterIP Service. The
// server allocates what else there would be.
const liveManifests = `
apiVersion: v1
kind: Namespace
metadata: {name: edge, labels: {team: edge}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {}}
---
apiVersion: v1
kind: Service
metadata: {namespace: edge, name: web, uid: "1"}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: door, uid: "2"}
spec: {type: NodePort, externalTrafficPolicy: Local, selector: {app: door}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: edge, name: web, uid: "3"}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web, readinessProbe: {tcpSocket: {port: 80}}}]}
`

// newLive starts a server with liveManifests, and returns it and its address.
func newLive(t testing.TB) (server *fakeAPIServer, host string) {
	t.Helper()
	dir := write(t, map[string]string{"objects.yaml": liveManifests})
	server = newFakeAPIServer(t, filepath.Join(dir, "objects.yaml"))
	started := httptest.NewServer(server)
	t.Cleanup(started.Close)
	return server, started.URL
}

// TestCheckOfAClusterNamesObjects checks what each format has where it would have a file and a line.
func TestCheckOfAClusterNamesObjects(t *testing.T) {
	t.Parallel()
	_, host := newLive(t)
	got := withKubeconfig(t, t.TempDir(), host, "check", "--cluster", "--show", "audit", "--quiet")
	want := result{Stdout: `Namespace edge
  audit  no-drain-window  Deployment edge/web
      container web of Service edge/web has no preStop (want 30s)
      because of Service edge/web
      fix: sleep at least 30s in preStop, and set terminationGracePeriodSeconds higher than that
  warn  unspread-behind-local  Deployment edge/web
      pods of Service edge/web may share a node: 2x load
      because of Service edge/web
      fix: add a spread constraint on kubernetes.io/hostname for the pods' own labels

Namespace shop
  warn  node-port-local  Service shop/door
      Local on type NodePort has no health check: nodes without pods drop their traffic
      fix: set type LoadBalancer or externalTrafficPolicy: Cluster, unless a load balancer in front checks the nodes
`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("check --cluster mismatch (-want +got):\n%s", diff)
	}
	for format, want := range map[string][]string{
		"json": {`"file": "",`, `"line": 0,`, `"namespaces": 2,`, `"files": 0,`},
		"junit": {
			`<testsuite name="Namespace edge"`, `<testsuite name="Namespace shop"`,
			`name="node-port-local: Service shop/door" classname="Namespace shop"`,
		},
		"github": {"::warning title=node-port-local::Service shop/door: "},
		"gitlab": {`"path": "Service/shop/door"`, `"begin": 1`},
		"markdown": {
			"| mode | rule | object | message | fix |\n|---|---|---|---|---|\n", " | Service shop/door | Local on type NodePort",
		},
		"sarif": {`"fullyQualifiedName": "Service shop/door"`},
	} {
		got := withKubeconfig(t, t.TempDir(), host, "check", "--cluster", "-o", format)
		for _, text := range want {
			if !strings.Contains(got.Stdout, text) {
				t.Errorf("-o %s of a cluster does not have %q:\n%s", format, text, got.Stdout)
			}
		}
		if got.Stderr != "" || got.Code != 0 || strings.Contains(got.Stdout, "artifactLocation") {
			t.Errorf("-o %s of a cluster gives %+v", format, got)
		}
	}
}

func TestNamespaceSelectsWhatIsCheckedInACluster(t *testing.T) {
	t.Parallel()
	_, host := newLive(t)
	got := withKubeconfig(t, t.TempDir(), host, "check", "--cluster", "-n", "shop")
	if !strings.HasPrefix(got.Stdout, "Namespace shop\n") || strings.Contains(got.Stdout, "edge") ||
		!strings.HasSuffix(got.Stdout, "\n1 namespace, 2 objects (1 Service, 0 workloads): 1 warn\n") {
		t.Errorf("check --cluster -n shop gives %+v", got)
	}
	want := result{Stderr: "error: there is no Namespace nowhere in the cluster at HOST; " +
		"check --namespace and the kubeconfig\n", Code: 2}
	if diff := cmp.Diff(want, withKubeconfig(t, t.TempDir(), host, "check", "--cluster", "-n", "nowhere")); diff != "" {
		t.Errorf("check --cluster of an unknown Namespace mismatch (-want +got):\n%s", diff)
	}
}

// TestFilesAreCheckedBesideACluster gives a Service whose workload is only in the cluster, and a workload that replaces
// the one there.
func TestFilesAreCheckedBesideACluster(t *testing.T) {
	t.Parallel()
	server, host := newLive(t)
	service := server.objects["/api/v1/namespaces/edge/services/web"]
	service["spec"].(map[string]any)["externalTrafficPolicy"] = "Cluster"
	dir := write(t, map[string]string{
		"service.yaml": `
apiVersion: v1
kind: Service
metadata: {namespace: edge, name: web}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80}]}
`,
		"workload.yaml": `
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: edge, name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web}]}
`,
	})
	got := withKubeconfig(t, dir, host, "check", "--cluster", "service.yaml")
	want := result{Stdout: `service.yaml
  5:28  warn  unspread-behind-local  Service edge/web
      5 | spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80}]}
        |                            ^
      pods of Deployment edge/web behind this Service may share a node
      because of Deployment edge/web
      fix: add a spread constraint on kubernetes.io/hostname to its pod template

1 file, 1 object (1 Service, 0 workloads): 1 warn
`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("check --cluster of a Service mismatch (-want +got):\n%s", diff)
	}
	got = withKubeconfig(t, dir, host, "check", "--cluster", "workload.yaml")
	want = result{Stdout: "\n1 file, 1 object (0 Services, 1 workload): no findings\n"}
	if got.Stdout = "\n" + got.Stdout; cmp.Diff(want, got) != "" {
		t.Errorf("check --cluster of a workload behind a Cluster Service gives %+v, want %+v", got, want)
	}
	got = withKubeconfig(t, dir, host, "check", "--cluster", "--show", "audit", "--quiet", ".")
	if strings.Contains(got.Stdout, "unspread-behind-local") ||
		!strings.Contains(got.Stdout, "audit  single-replica-local  Deployment edge/web") {
		t.Errorf("check --cluster of both sees the Deployment of the cluster: %+v", got)
	}
}

func TestPoliciesComeFromTheCluster(t *testing.T) {
	t.Parallel()
	server, host := newLive(t)
	const policy = `{apiVersion: sourceward.dev/v1alpha1, kind: SourceIPPolicy, metadata: {name: edge}, ` +
		`spec: {match: {namespaceSelector: {matchLabels: {team: edge}}}, rules: [{id: unspread-behind-local, mode: %s}]}}`
	dir := write(t, map[string]string{
		"deny.yaml": fmt.Sprintf(policy, "Deny"), "audit.yaml": fmt.Sprintf(policy, "Audit"),
		"broken.yaml": `{apiVersion: sourceward.dev/v1alpha1, kind: SourceIPPolicy, metadata: {name: broken}, ` +
			`spec: {rules: [{id: no-such-rule, mode: Deny}]}}`,
	})
	server.policies = newFakeAPIServer(t, filepath.Join(dir, "deny.yaml")).policies
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "2 namespaces, 5 objects (2 Services, 1 workload): 1 deny, 1 warn, 1 audit\n"},
		{[]string{"--policy", "audit.yaml"}, "2 namespaces, 5 objects (2 Services, 1 workload): 1 warn, 2 audit\n"},
	} {
		got := withKubeconfig(t, dir, host, append([]string{"check", "--cluster", "--fail-on", "never"}, test.args...)...)
		if !strings.HasSuffix(got.Stdout, "\n"+test.want) || got.Stderr != "" {
			t.Errorf("check --cluster %q gives %+v, want %q", test.args, got, test.want)
		}
	}

	server.policies = append(server.policies, newFakeAPIServer(t, filepath.Join(dir, "broken.yaml")).policies...)
	got := withKubeconfig(t, dir, host, "check", "--cluster")
	if !strings.HasPrefix(got.Stderr, "error: SourceIPPolicy broken: spec.rules[0].id: ") || got.Code != 2 ||
		!strings.Contains(got.Stdout, "deny  unspread-behind-local  Deployment edge/web") {
		t.Errorf("check --cluster with a policy that does not compile gives %+v", got)
	}

	server.policies = nil
	got = withKubeconfig(t, dir, host, "check", "--cluster")
	if n := strings.Count(strings.ReplaceAll(got.Stdout, host, "HOST"), notServed); n != 1 || got.Code != 0 {
		t.Errorf("check --cluster without our CRD says so %d times: %+v", n, got)
	}
}

// TestAVersionThatIsNotKnownIsGiven checks that --kube-version answers the note that asks for it.
func TestAVersionThatIsNotKnownIsGiven(t *testing.T) {
	t.Parallel()
	server := newFakeAPIServer(t, liveObjects)
	server.forbidden = "/version"
	api := httptest.NewServer(server)
	defer api.Close()
	const note = "the version of the API server is not known; it is taken to be 1.37, --kube-version sets another"
	for _, args := range []string{"check --cluster", "traffic --cluster", "explain Service/edge/web --cluster"} {
		got := withKubeconfig(t, t.TempDir(), api.URL, strings.Fields(args)...)
		if !strings.Contains(got.Stdout+got.Stderr, note) {
			t.Errorf("%s does not say that the version is not known: %+v", args, got)
		}
		got = withKubeconfig(t, t.TempDir(), api.URL, strings.Fields(args+" --kube-version 1.33")...)
		if got.Code == 2 || strings.Contains(got.Stdout+got.Stderr, "--kube-version") {
			t.Errorf("%s --kube-version 1.33 gives %+v", args, got)
		}
	}
}

func TestContextsAreCompleted(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"check", "traffic", "explain"} {
		got := withKubeconfig(t, t.TempDir(), "https://192.0.2.1", "__complete", name, "--cluster", "--kube-context", "")
		if !strings.HasPrefix(got.Stdout, "fake\n:") {
			t.Errorf("the contexts of %s are completed as %+v", name, got)
		}
	}
}

// TestWhatKeepsAClusterFromBeingChecked is about mistakes in the command line and in the kubeconfig.
func TestWhatKeepsAClusterFromBeingChecked(t *testing.T) {
	t.Parallel()
	_, host := newLive(t)
	const help = "; see sourceward check --help\n"
	for args, want := range map[string]string{
		"--cluster --kube-context prod": `error: --kube-context "prod" is not one of fake` + help,
		"--kube-context fake": "error: --kubeconfig and --kube-context select a cluster; add --cluster" +
			help,
		"--cluster --kubeconfig nowhere": "error: --kubeconfig nowhere cannot be read: no such file or directory; " +
			"check the path and its permissions" + help,
		"--cluster --context .": "error: --context, unlike --kube-context, is for files, and --cluster without a PATH " +
			"checks none; remove one of the two, or name a PATH" + help,
		"--cluster --diff": "error: --diff is for files, and --cluster without a PATH checks none; " +
			"remove one of the two, or name a PATH" + help,
	} {
		got := withKubeconfig(t, t.TempDir(), host, append([]string{"check"}, strings.Fields(args)...)...)
		if diff := cmp.Diff(result{Stderr: want, Code: 2}, got); diff != "" {
			t.Errorf("check %s mismatch (-want +got):\n%s", args, diff)
		}
	}
	cmd := command(t, t.TempDir(), "check", "--cluster")
	cmd.Env = []string{"HOME=" + t.TempDir(), "KUBECONFIG=nowhere"}
	want := result{Stderr: "error: --cluster: no cluster found in nowhere; set KUBECONFIG, or select a context with " +
		"--kube-context" + help, Code: 2}
	if diff := cmp.Diff(want, run(t, cmd)); diff != "" {
		t.Errorf("check --cluster without a kubeconfig mismatch (-want +got):\n%s", diff)
	}
}

// TestAnUnreachableClusterIsReportedSoon connects to a socket from which no one reads. It does not measure the time:
// only the first request has a deadline of its own, and so another message than the later ones, which take longer.
func TestAnUnreachableClusterIsReportedSoon(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	want := result{Stderr: "error: cannot reach the cluster at HOST: context deadline exceeded; " +
		"check the kubeconfig and the network\n", Code: 2}
	for _, args := range []string{
		"check", "traffic", "explain Service/edge/web", "explain --settings Service/edge/web",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			got := withKubeconfig(t, t.TempDir(), "https://"+silent.Addr().String(),
				append(strings.Fields(args), "--cluster")...)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s --cluster mismatch (-want +got):\n%s", args, diff)
			}
		})
	}
}
