package e2e

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/component-helpers/auth/rbac/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/sandbox"
)

// TestRights installs Sourceward with each kind of certificates, and makes the webhook do everything that it needs a
// right for. Then it compares the requests in the audit log of the API server with the rights of its ServiceAccount. It
// fails on a right that was not used, on a request that was refused, and on one that no role of ours permits.
func TestRights(t *testing.T) {
	t.Parallel()
	overlays := []string{"default", "certmanager", "secret"}
	used := make([]map[right]int, len(overlays))
	t.Run("with", func(t *testing.T) {
		for i, overlay := range overlays {
			t.Run(overlay, func(t *testing.T) {
				t.Parallel()
				used[i] = rightsUsed(t, overlay)
			})
		}
	})

	all := map[right][]string{}
	for i := range overlays {
		for r, times := range used[i] {
			if all[r] == nil {
				all[r] = slices.Repeat([]string{"-"}, len(overlays))
			}
			all[r][i] = fmt.Sprint(times)
		}
	}
	var table strings.Builder
	columns := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintf(columns, "resource\tname\tverb\t%s\n", strings.Join(overlays, "\t"))
	for _, r := range slices.SortedFunc(maps.Keys(all), right.compare) {
		fmt.Fprintf(columns, "%s\t%s\t%s\t%s\n", r.resource, r.name, r.verb, strings.Join(all[r], "\t"))
	}
	if err := columns.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("requests for which each right was used, by overlay; - is not granted\n%s", &table)
}

// right is the permission to use one verb on one resource.
type right struct {
	// resource has its group, and a subresource, such as "sourceippolicies.sourceward.dev/status".
	resource, verb string
	// namespace and name limit the right. Empty means all.
	namespace, name string
}

// compare sorts rights by resource.
func (r right) compare(other right) int {
	return cmp.Or(strings.Compare(r.resource, other.resource), strings.Compare(r.name, other.name),
		strings.Compare(r.verb, other.verb))
}

// permits reports whether the right permits a request.
func (r right) permits(request auditv1.Event) bool {
	on := request.ObjectRef
	return r.resource == resourceOf(on.APIGroup, on.Resource, on.Subresource) && r.verb == request.Verb &&
		(r.namespace == "" || r.namespace == on.Namespace) && (r.name == "" || r.name == on.Name)
}

func resourceOf(group, resource, subresource string) string {
	name := schema.GroupResource{Group: group, Resource: resource}.String()
	if subresource != "" {
		name += "/" + subresource
	}
	return name
}

// rights returns what the roles that are bound to the ServiceAccount of the webhook permit.
func (e *environment) rights(t *testing.T) []right {
	t.Helper()
	var granted []right
	add := func(namespace string, rules []rbacv1.PolicyRule) {
		for _, rule := range rules {
			for _, one := range validation.BreakdownRule(rule) {
				if len(one.NonResourceURLs) > 0 {
					t.Errorf("the webhook may %s %s, and needs no such right", one.Verbs[0], one.NonResourceURLs[0])
					continue
				}
				resource, subresource, _ := strings.Cut(one.Resources[0], "/")
				granted = append(granted, right{
					resource: resourceOf(one.APIGroups[0], resource, subresource), verb: one.Verbs[0],
					namespace: namespace, name: strings.Join(one.ResourceNames, ""), // one at most
				})
			}
		}
	}
	isBound := func(subjects []rbacv1.Subject) bool {
		return slices.Contains(subjects, rbacv1.Subject{
			Kind: rbacv1.ServiceAccountKind, Name: "sourceward-webhook", Namespace: sandbox.Namespace,
		})
	}
	roles := e.client.RbacV1()
	everywhere, err := roles.ClusterRoleBindings().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, binding := range everywhere.Items {
		if isBound(binding.Subjects) {
			role, err := roles.ClusterRoles().Get(t.Context(), binding.RoleRef.Name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			add("", role.Rules)
		}
	}
	inNamespaces, err := roles.RoleBindings(metav1.NamespaceAll).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, binding := range inNamespaces.Items {
		if isBound(binding.Subjects) {
			role, err := roles.Roles(binding.Namespace).Get(t.Context(), binding.RoleRef.Name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			add(binding.Namespace, role.Rules)
		}
	}
	return granted
}

// rightsUsed installs an overlay, makes the webhook use all its rights, and returns for how many requests it used each.
func rightsUsed(t *testing.T, overlay string) map[right]int {
	t.Helper()
	// Without this gate, as by default in Kubernetes 1.31 and 1.33, an API server does not send the existing objects to a
	// watch. Clients then list them first.
	e := newBareEnvironment(t, cluster.Options{FeatureGates: "WatchList=false"})
	kinds := customKinds()
	install := sandbox.Options{Overlay: overlay}
	if overlay != "default" {
		install.CertDir = t.TempDir()
		certificate, key := selfSigned(t)
		for name, content := range map[string][]byte{"ca.crt": certificate, "tls.crt": certificate, "tls.key": key} {
			if err := os.WriteFile(filepath.Join(install.CertDir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if overlay == "certmanager" {
		kinds = append(kinds, customKind{"cert-manager.io", "v1", "Issuer", "issuers"},
			customKind{"cert-manager.io", "v1", "Certificate", "certificates"})
	}
	e.install(t, kinds...)
	e.installSourceward(t, install)
	granted := e.rights(t)

	// The status of a policy, and an Event about it.
	e.policy(t, "rights", "{rules: [{id: internal-local, mode: Warn}]}")
	// Look-ups: the Services in front of a new workload, and the endpoints of a Service without a selector.
	e.create(t, deployment("default", "unspread", 3))
	const bare = "{type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 80}]}"
	e.create(t, service("default", "selectorless", bare))
	// The look-up of a Namespace that is not cached. This one does not exist, so that no watch is faster.
	object := `{"metadata": {"namespace": "edge", "name": "web"}, "spec": {"ports": [{"port": 80}]}}`
	response, err := e.Replicas[0].Client().Post("https://"+e.Replicas[0].Address+"/validate", "application/json",
		strings.NewReader(admissionReview("", "Service", "CREATE", object)))
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
	if overlay == "default" {
		// A CA that cannot be used is replaced, like one that expires.
		e.must(t, "", "patch", "secret", "sourceward-ca", "--namespace="+sandbox.Namespace, "--type=json",
			`--patch=[{"op": "remove", "path": "/data/ca.crt"}]`)
	}

	var used map[right]int
	e.eventually(t, "each right is used", func() (bool, string) {
		requests, err := e.ownRequests()
		if err != nil {
			t.Fatal(err)
		}
		used = map[right]int{}
		for _, r := range granted {
			used[r] = 0
		}
		for _, request := range requests {
			if request.ObjectRef == nil || isRefused(request) {
				continue // Everyone may discover what the API server serves, and noneRefused reports what is refused.
			}
			isPermitted := false
			for r := range used {
				if r.permits(request) {
					used[r]++
					isPermitted = true
				}
			}
			if !isPermitted {
				t.Fatalf("no role of ours permits %s %s", request.Verb, request.RequestURI)
			}
		}
		var unused []string
		for r, times := range used {
			if times == 0 {
				unused = append(unused, fmt.Sprintf("%s %s %s", r.verb, r.resource, r.name))
			}
		}
		slices.Sort(unused)
		return len(unused) == 0, fmt.Sprintf("never used: %q", unused)
	})
	return used
}

// testRightsOnPolicies checks what the ClusterRoles of Kubernetes permit on policies.
func testRightsOnPolicies(t *testing.T, e *environment) {
	subject := func(user string) []rbacv1.Subject {
		return []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}}
	}
	roleRef := func(name string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
	}
	bindings := []client.Object{&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "tenant"},
		Subjects:   subject("tenant"), RoleRef: roleRef("admin"),
	}}
	for _, role := range []string{"view", "edit", "admin"} {
		bindings = append(bindings, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "everywhere-" + role}, Subjects: subject(role), RoleRef: roleRef(role),
		})
	}
	for _, binding := range bindings {
		if err := e.objects.Create(t.Context(), binding); err != nil {
			t.Fatal(err)
		}
	}
	const none, see, change = "", "get list watch", "get list watch create delete deletecollection patch update"
	for user, want := range map[string]string{"view": see, "edit": change, "admin": change, "tenant": none} {
		t.Run(user, func(t *testing.T) {
			may := func(subresource string) string {
				t.Helper()
				var verbs []string
				for verb := range strings.FieldsSeq(change) {
					review, err := e.client.AuthorizationV1().SubjectAccessReviews().Create(t.Context(),
						&authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
							User: user, ResourceAttributes: &authorizationv1.ResourceAttributes{
								Group: "sourceward.dev", Resource: "sourceippolicies", Subresource: subresource, Verb: verb,
							},
						}}, metav1.CreateOptions{})
					if err != nil {
						t.Fatal(err)
					}
					if review.Status.Allowed {
						verbs = append(verbs, verb)
					}
				}
				return strings.Join(verbs, " ")
			}
			e.eventually(t, "the rules are added to the ClusterRole", func() (bool, string) {
				got := may("")
				return got == want, fmt.Sprintf("%s may %q, want %q", user, got, want)
			})
			if got := may("status"); got != "" {
				t.Errorf("%s may %s the status, which only the webhook writes", user, got)
			}

			config := e.Config()
			config.Impersonate.UserName = user
			as, err := client.New(config, client.Options{Mapper: e.objects.RESTMapper()})
			if err != nil {
				t.Fatal(err)
			}
			policies := read(t, "{apiVersion: sourceward.dev/v1alpha1, kind: SourceIPPolicyList}")
			listed := as.List(t.Context(), &unstructured.UnstructuredList{Object: policies.Object})
			if isPermitted := want != none; isPermitted != (listed == nil) {
				t.Errorf("%s lists policies: %v", user, listed)
			}
			policy := read(t, "{apiVersion: sourceward.dev/v1alpha1, kind: SourceIPPolicy, metadata: {name: rights}}")
			created := as.Create(t.Context(), policy, client.DryRunAll)
			if isPermitted := want == change; isPermitted != (created == nil) {
				t.Errorf("%s creates a policy: %v", user, created)
			}
		})
	}
}
