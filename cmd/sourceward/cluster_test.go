package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/manifest"
)

// fakeAPIServer serves the objects of files, lists of them in one or all namespaces and of SourceIPPolicies, and its
// version. It serves no custom kinds but SourceIPPolicy. Every other path is not found.
type fakeAPIServer struct {
	objects   map[string]map[string]any // by path
	lists     map[string][]any          // by path
	policies  []any                     // nil if the kind is not served
	forbidden string                    // a path that is forbidden, whether it exists or not
}

const fakePolicies = "/apis/sourceward.dev/v1alpha1/sourceippolicies"

func newFakeAPIServer(t testing.TB, paths ...string) *fakeAPIServer {
	t.Helper()
	server := &fakeAPIServer{objects: map[string]map[string]any{}, lists: map[string][]any{}, policies: []any{}}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		documents, errs := manifest.Parse(path, text)
		if errs != nil {
			t.Fatal(errs[0])
		}
		for _, document := range documents {
			server.add(t, document.Content)
		}
	}
	return server
}

func (s *fakeAPIServer) add(t testing.TB, object map[string]any) {
	t.Helper()
	metadata := object["metadata"].(map[string]any)
	namespace, _ := metadata["namespace"].(string)
	at := fmt.Sprintf("/namespaces/%s/%ss/%s", namespace, strings.ToLower(object["kind"].(string)), metadata["name"])
	switch object["kind"] {
	case "SourceIPPolicy":
		object["status"] = map[string]any{
			"conditions": []any{condition("Ready", "True", "Compiled", "generation 0 is in force")},
		}
		s.policies = append(s.policies, object)
	case "Namespace":
		metadata["labels"].(map[string]any)["kubernetes.io/metadata.name"] = metadata["name"]
		s.objects[fmt.Sprintf("/api/v1/namespaces/%s", metadata["name"])] = object
		s.lists["/api/v1/namespaces"] = append(s.lists["/api/v1/namespaces"], object)
	default:
		apiVersion := object["apiVersion"].(string)
		group := "/apis/"
		if !strings.Contains(apiVersion, "/") {
			group = "/api/"
		}
		s.objects[group+apiVersion+at] = object
		plural := strings.ToLower(object["kind"].(string)) + "s"
		for _, in := range []string{"/", "/namespaces/" + namespace + "/"} {
			list := group + apiVersion + in + plural
			s.lists[list] = append(s.lists[list], object)
		}
	}
}

func condition(kind, status, reason, message string) map[string]any {
	return map[string]any{
		"type":               kind,
		"status":             status,
		"reason":             reason,
		"message":            message,
		"lastTransitionTime": "2026-07-01T08:00:00Z",
	}
}

func (s *fakeAPIServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	code, answer := http.StatusOK, s.objects[r.URL.Path]
	list := func(apiVersion, kind string, items []any) map[string]any {
		if items == nil {
			items = []any{}
		}
		return map[string]any{
			"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{}, "items": items,
		}
	}
	switch isCustom := strings.Contains(r.URL.Path, ".dev/") || strings.Contains(r.URL.Path, "argoproj") ||
		strings.Contains(r.URL.Path, "kruise") || strings.Contains(r.URL.Path, "keda"); {
	case r.URL.Path == "/version":
		answer = map[string]any{"major": "1", "minor": "37", "gitVersion": "v1.37.1"}
	case r.URL.Path == fakePolicies && s.policies != nil:
		answer = list("sourceward.dev/v1alpha1", "SourceIPPolicyList", s.policies)
	case r.URL.Path+"/sourceippolicies" == fakePolicies && s.policies != nil:
		answer = map[string]any{
			"apiVersion": "v1", "kind": "APIResourceList", "groupVersion": "sourceward.dev/v1alpha1",
			"resources": []any{map[string]any{"name": "sourceippolicies", "kind": "SourceIPPolicy"}},
		}
	case strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadataList"):
		answer = list("meta.k8s.io/v1", "PartialObjectMetadataList", s.lists[r.URL.Path])
	case r.URL.Query().Has("limit") && !isCustom:
		answer = list("v1", "List", s.lists[r.URL.Path])
	}
	status := func(number int, reason, message string) {
		code = number
		answer = map[string]any{
			"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": number, "reason": reason, "message": message,
		}
	}
	switch {
	case r.URL.Path == s.forbidden:
		status(http.StatusForbidden, "Forbidden", r.URL.Path+" is forbidden")
		answer["details"] = map[string]any{"kind": "some"}
	case answer == nil:
		status(http.StatusNotFound, "NotFound", r.URL.Path+" not found")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(answer) // The client reports an incomplete answer.
}

// explainInCluster runs explain --settings with a kubeconfig for a server. In the result, HOST replaces its address.
func explainInCluster(t testing.TB, handler http.Handler, settings string) result {
	t.Helper()
	server := httptest.NewServer(handler)
	defer server.Close()
	return explainWithKubeconfig(t, server.URL, settings)
}

func explainWithKubeconfig(t testing.TB, host, settings string) result {
	t.Helper()
	return withKubeconfig(t, t.TempDir(), host, "explain", "--settings", settings, "--cluster")
}

// withKubeconfig runs the binary in a folder, with a kubeconfig for a server. In the result, HOST replaces its address.
func withKubeconfig(t testing.TB, dir, host string, args ...string) result {
	t.Helper()
	home := write(t, map[string]string{"config": fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: fake
contexts: [{name: fake, context: {cluster: fake, user: fake}}]
clusters: [{name: fake, cluster: {server: %q}}]
users: [{name: fake, user: {}}]
`, host)})
	cmd := command(t, dir, args...)
	cmd.Env = []string{"HOME=" + home, "KUBECONFIG=" + filepath.Join(home, "config")}
	got := run(t, cmd)
	got.Stderr = strings.ReplaceAll(got.Stderr, host, "HOST")
	return got
}

func TestExplainShowsTheSameForAClusterAsForFiles(t *testing.T) {
	t.Parallel()
	const dir = "testdata/settings-of-an-object-come-from-several-policies"
	want := result{Stdout: content(t, dir, "stdout")}
	server := newFakeAPIServer(t, dir+"/apps/edge.yaml", dir+"/policies/base.yaml", dir+"/policies/mail.yaml")
	if diff := cmp.Diff(want, explainInCluster(t, server, "deployment/edge/web")); diff != "" {
		t.Errorf("explain --cluster mismatch (-files +cluster):\n%s", diff)
	}
}

func TestExplainReadsEveryJudgedKindFromACluster(t *testing.T) {
	t.Parallel()
	server := newFakeAPIServer(t, "testdata/settings-of-an-object-come-from-several-policies/apps/edge.yaml")
	for _, kind := range policies.Kinds {
		apiVersion := "v1"
		isKind := func(k policies.WorkloadKind) bool { return k.Kind == kind }
		if i := slices.IndexFunc(policies.WorkloadKinds, isKind); i >= 0 {
			apiVersion = policies.WorkloadKinds[i].APIVersion()
		}
		server.add(t, map[string]any{
			"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"namespace": "edge", "name": "any"},
		})
		got := explainInCluster(t, server, kind+"/edge/any")
		if !strings.HasPrefix(got.Stdout, kind+" edge/any (no labels) in Namespace edge (") || got.Stderr != "" ||
			got.Code != 0 {
			t.Errorf("explain --settings %s/edge/any gives %+v", kind, got)
		}
	}
}

// TestNoPoliciesWithoutTheirKind explains an object of a cluster that does not serve SourceIPPolicy.
func TestNoPoliciesWithoutTheirKind(t *testing.T) {
	t.Parallel()
	server := newFakeAPIServer(t, "testdata/settings-of-an-object-come-from-several-policies/apps/edge.yaml")
	server.policies = nil
	got := explainInCluster(t, server, "deployment/edge/web")
	if want := "note: " + notServed + "\n"; got.Stderr != want || got.Code != 0 ||
		!strings.Contains(got.Stdout, "There is no SourceIPPolicy") {
		t.Errorf("explain --cluster gives %+v, want %q", got, want)
	}
}

// What the program says of a request that is forbidden, and of a cluster without our CRD.
const (
	grants    = "the ClusterRole sourceward-reader in config/rbac/reader allows it\n"
	notServed = "the cluster at HOST does not serve the kind SourceIPPolicy, so that there are no policies; " +
		"config/crd installs it"
)

func TestExplainReportsWhatItCannotReadFromACluster(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		settings string
		tweak    func(*fakeAPIServer)
		want     string
	}{
		"an unknown object": {"Deployment/edge/mail", func(*fakeAPIServer) {},
			"error: Deployment edge/mail is not in the cluster at HOST; " +
				"check its kind, namespace and name, and the kubeconfig\n"},
		"an object that may not be read": {
			"Deployment/edge/web", func(s *fakeAPIServer) { s.forbidden = "/apis/apps/v1/namespaces/edge/deployments/web" },
			"error: cannot get deployments edge/web in the cluster at HOST: " +
				"/apis/apps/v1/namespaces/edge/deployments/web is forbidden; " + grants,
		},
		"a Namespace that may not be read": {
			"Deployment/edge/web", func(s *fakeAPIServer) { s.forbidden = "/api/v1/namespaces/edge" },
			"error: cannot get namespaces edge in the cluster at HOST: /api/v1/namespaces/edge is forbidden; " + grants,
		},
		"policies that may not be read": {
			"Deployment/edge/web", func(s *fakeAPIServer) { s.forbidden = fakePolicies },
			"error: cannot list sourceippolicies in the cluster at HOST: " + fakePolicies + " is forbidden; " + grants,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newFakeAPIServer(t, "testdata/settings-of-an-object-come-from-several-policies/apps/edge.yaml")
			test.tweak(server)
			if diff := cmp.Diff(result{Stderr: test.want, Code: 2}, explainInCluster(t, server, test.settings)); diff != "" {
				t.Errorf("explain --cluster mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExplainNotesPoliciesThatAreNotInForce(t *testing.T) {
	t.Parallel()
	const dir = "testdata/settings-leave-out-a-policy-that-does-not-compile"
	const former = "generation 2 does not compile: generation 1 is in force"
	tests := map[string]struct {
		conditions []any
		generation int64
		want       string
	}{
		"an older generation is in force": {
			[]any{
				condition("Ready", "False", "CompileFailed", "why"),
				condition("Degraded", "True", "FormerInForce", former),
			}, 0,
			"the webhook reports that " + former + "; it may use other settings than these",
		},
		"no webhook has seen the policy": {nil, 3, "no webhook has reported yet that generation 3 is in force"},
		"no webhook has seen this generation": {
			[]any{condition("Ready", "True", "Compiled", "generation 2 is in force")},
			3,
			"no webhook has reported yet that generation 3 is in force",
		},
		"a condition is missing": {
			[]any{condition("Ready", "False", "CompileFailed", "why")},
			0,
			"the webhook reports that it is not in force: CompileFailed",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newFakeAPIServer(t, dir+"/web.yaml", dir+"/policies/broken.yaml", dir+"/policies/sound.yaml")
			edge := server.policies[0].(map[string]any)
			edge["status"] = map[string]any{"conditions": test.conditions}
			edge["metadata"].(map[string]any)["generation"] = test.generation
			web := server.objects["/api/v1/namespaces//services/web"]
			web["metadata"].(map[string]any)["namespace"] = "default"
			server.add(t, web)
			server.add(t, map[string]any{
				"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "default", "labels": map[string]any{}},
			})

			fromFiles := run(t, command(t, dir, strings.Fields(content(t, dir, "args"))...))
			want := result{
				Stdout: strings.Replace(
					fromFiles.Stdout,
					"labels unknown; add its manifest with -f",
					"kubernetes.io/metadata.name=default",
					1,
				),
				Stderr: strings.Replace(
					fromFiles.Stderr,
					"policies/broken.yaml:14: ",
					"",
					1,
				) + "note: SourceIPPolicy edge: " + test.want + "\n",
				Code: 2,
			}
			if diff := cmp.Diff(want, explainInCluster(t, server, "Service/web")); diff != "" {
				t.Errorf("explain --cluster mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExplainNeedsACluster(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	got := explainWithKubeconfig(t, closed.URL, "Service/web")
	if !strings.HasPrefix(got.Stderr, "error: cannot reach the cluster at HOST: dial tcp ") ||
		!strings.HasSuffix(
			got.Stderr,
			"connection refused; check the kubeconfig and the network\n",
		) || strings.Count(got.Stderr, "\n") != 1 || got.Stdout != "" || got.Code != 2 {
		t.Errorf("explain --cluster without an API server gives %+v", got)
	}

	cmd := command(t, t.TempDir(), "explain", "--settings", "Service/web", "--cluster")
	cmd.Env = []string{"HOME=" + t.TempDir(), "KUBECONFIG=nowhere"}
	want := result{
		Stderr: "error: --cluster: no cluster found in nowhere; set KUBECONFIG, or select a context with --kube-context; " +
			"see sourceward explain --help\n",
		Code: 2,
	}
	if diff := cmp.Diff(want, run(t, cmd)); diff != "" {
		t.Errorf("explain --cluster without a kubeconfig mismatch (-want +got):\n%s", diff)
	}
}
