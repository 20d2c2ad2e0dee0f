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

// fakeAPIServer serves the objects of files, and the list of SourceIPPolicies. Every other path is not found.
type fakeAPIServer struct {
	objects   map[string]map[string]any // by path
	policies  []any                     // nil if the kind is not served
	forbidden string                    // a path that is forbidden, whether it exists or not
}

const fakePolicies = "/apis/sourceward.dev/v1alpha1/sourceippolicies"

func newFakeAPIServer(t testing.TB, paths ...string) *fakeAPIServer {
	t.Helper()
	server := &fakeAPIServer{objects: map[string]map[string]any{}, policies: []any{}}
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
	default:
		apiVersion := object["apiVersion"].(string)
		group := "/apis/"
		if !strings.Contains(apiVersion, "/") {
			group = "/api/"
		}
		s.objects[group+apiVersion+at] = object
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
	if r.URL.Path == fakePolicies && s.policies != nil {
		answer = map[string]any{
			"apiVersion": "sourceward.dev/v1alpha1", "kind": "SourceIPPolicyList",
			"metadata": map[string]any{}, "items": s.policies,
		}
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
	dir := write(t, map[string]string{"config": fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: fake
contexts: [{name: fake, context: {cluster: fake, user: fake}}]
clusters: [{name: fake, cluster: {server: %q}}]
users: [{name: fake, user: {}}]
`, host)})
	cmd := command(t, dir, "explain", "--settings", settings, "--cluster")
	cmd.Env = []string{"HOME=" + dir, "KUBECONFIG=" + filepath.Join(dir, "config")}
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
			"error: read Deployment edge/web from the cluster at HOST: " +
				"/apis/apps/v1/namespaces/edge/deployments/web is forbidden\n",
		},
		"a Namespace that may not be read": {
			"Deployment/edge/web", func(s *fakeAPIServer) { s.forbidden = "/api/v1/namespaces/edge" },
			"error: read Namespace edge from the cluster at HOST: /api/v1/namespaces/edge is forbidden\n",
		},
		"policies that may not be read": {
			"Deployment/edge/web", func(s *fakeAPIServer) { s.forbidden = fakePolicies },
			"error: list SourceIPPolicy objects in the cluster at HOST: " + fakePolicies + " is forbidden\n",
		},
		"a cluster without the kind": {
			"Deployment/edge/web", func(s *fakeAPIServer) { s.policies = nil },
			"error: the cluster at HOST does not serve the kind SourceIPPolicy; install config/crd, or select another cluster\n",
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
	if !strings.HasPrefix(got.Stderr, "error: read Service default/web from the cluster at HOST: ") ||
		!strings.HasSuffix(
			got.Stderr,
			"connection refused\n",
		) || strings.Count(got.Stderr, "\n") != 1 || got.Stdout != "" || got.Code != 2 {
		t.Errorf("explain --cluster without an API server gives %+v", got)
	}

	cmd := command(t, t.TempDir(), "explain", "--settings", "Service/web", "--cluster")
	cmd.Env = []string{"HOME=" + t.TempDir(), "KUBECONFIG=nowhere"}
	want := result{
		Stderr: "error: --cluster: no cluster found in nowhere; set KUBECONFIG, or select a context; " +
			"see sourceward explain --help\n",
		Code: 2,
	}
	if diff := cmp.Diff(want, run(t, cmd)); diff != "" {
		t.Errorf("explain --cluster without a kubeconfig mismatch (-want +got):\n%s", diff)
	}
}
