package e2e

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/review"
	"github.com/sourceward/sourceward/test/cluster"
)

const (
	differentialSeed = 20261121
	// differentialCreated and differentialUpdated are the numbers of creations and of updates on each version. A Service
	// that is updated is updated differentialChain times, so that an update also meets the result of another one.
	differentialCreated   = 2_000
	differentialUpdated   = 2_000
	differentialChain     = 4
	differentialClients   = 4
	differentialNamespace = "differential"
)

// TestDifferential compares Decide with the API server itself. Sourceward is not installed: a recorder that allows
// everything records the request that a webhook would receive, and Decide judges that request. If the API server
// responds 422 for the traffic policy or the health check node port, Decide denies for the same field; if it accepts
// the request, Decide does not deny.
func TestDifferential(t *testing.T) {
	t.Parallel()
	for _, version := range cluster.Versions() {
		t.Run(string(version), func(t *testing.T) {
			t.Logf("seed %d", differentialSeed)
			d := newDifferential(t, version)
			start := time.Now()
			results := d.run(t)
			duration := time.Since(start)

			creations, updates := differentialTally{}, differentialTally{}
			for _, result := range results {
				tally := &updates
				if result.operation == admissionv1.Create {
					tally = &creations
				}
				tally.count(result)
				if problem := result.disagreement(); problem != "" {
					tally.disagreements++
					if creations.disagreements+updates.disagreements <= 20 {
						t.Errorf("seed %d, %s %s: %s\nobject %s\nold %s", differentialSeed, result.operation, result.name,
							problem, result.object, result.old)
					}
				}
			}
			t.Logf("%s, %v requests a second", duration.Round(time.Second), int(float64(len(results))/duration.Seconds()))
			t.Logf("creations: %s", creations)
			t.Logf("updates: %s", updates)
			creations.wantAll(t, "creations", differentialCreated)
			updates.wantAll(t, "updates", differentialUpdated)
		})
	}
}

// differentialTally counts responses.
type differentialTally struct {
	all, accepted, dryRun, trafficPolicy, healthCheckNodePort, otherField, otherCode, disagreements int
}

func (d *differentialTally) count(r differentialResult) {
	d.all++
	if r.dryRun {
		d.dryRun++
	}
	switch refused := r.refused(); {
	case r.code == http.StatusOK:
		d.accepted++
	case r.code != http.StatusUnprocessableEntity:
		d.otherCode++
	case len(refused) == 0:
		d.otherField++
	default:
		if slices.Contains(refused, "spec.externalTrafficPolicy") {
			d.trafficPolicy++
		}
		if slices.Contains(refused, "spec.healthCheckNodePort") {
			d.healthCheckNodePort++
		}
	}
}

func (d differentialTally) String() string {
	return fmt.Sprintf(
		"%d (%d of them dry runs): %d accepted, 422 for the traffic policy %d, for the health check node port %d, "+
			"for neither %d, another code %d; %d disagreements",
		d.all,
		d.dryRun,
		d.accepted,
		d.trafficPolicy,
		d.healthCheckNodePort,
		d.otherField,
		d.otherCode,
		d.disagreements,
	)
}

// wantAll checks that a tally is large enough to prove something: many of each kind of response, and few that cannot be
// compared.
func (d differentialTally) wantAll(t *testing.T, what string, atLeast int) {
	t.Helper()
	if d.all < atLeast {
		t.Errorf("%d %s, want at least %d", d.all, what, atLeast)
	}
	for name, n := range map[string]int{
		"accepted":                           d.accepted,
		"422 for the traffic policy":         d.trafficPolicy,
		"422 for the health check node port": d.healthCheckNodePort,
	} {
		if n < d.all/10 {
			t.Errorf("%s: %s %d of %d times, want at least a tenth", what, name, n, d.all)
		}
	}
	if d.otherCode > d.all/20 {
		t.Errorf("%s: %d of %d responses are not compared, want at most a twentieth", what, d.otherCode, d.all)
	}
}

// differentialFields are the fields that the compared rules check, as the API server names them.
var differentialFields = []string{"spec.externalTrafficPolicy", "spec.healthCheckNodePort"}

// differentialResult is one request, with the response of the API server and the decision of Decide.
type differentialResult struct {
	name      string
	operation admissionv1.Operation
	dryRun    bool
	// object and old are the objects that a webhook receives.
	object, old string
	// code, fields and message are the status code, the fields and the reason of the response.
	code    int32
	fields  []string
	message string
	// denied holds the fields for which Decide denies.
	denied []string
}

// refused returns the differentialFields for which the API server responds 422.
func (r differentialResult) refused() []string {
	if r.code != http.StatusUnprocessableEntity {
		return nil
	}
	return slices.DeleteFunc(
		slices.Clone(differentialFields),
		func(f string) bool { return !slices.Contains(r.fields, f) },
	)
}

// disagreement describes how the API server and Decide differ. It is empty if they agree, or if the response says
// nothing about the two fields, such as one about a port that is taken. A 422 for other fields means that these two are
// valid, since the API server lists all invalid fields.
func (r differentialResult) disagreement() string {
	refused := r.refused()
	compared := r.code == http.StatusOK || r.code == http.StatusUnprocessableEntity
	if !compared || slices.Equal(refused, r.denied) {
		return ""
	}
	return fmt.Sprintf("the API server responds %d for %q (%s), Decide denies for %q",
		r.code, refused, r.message, r.denied)
}

// differential sends requests to an API server without Sourceward.
type differential struct {
	version  policies.Version
	services dynamic.ResourceInterface
	recorder *admissionRecorder
}

func newDifferential(t *testing.T, version cluster.Version) *differential {
	t.Helper()
	c := startCluster(t, cluster.Options{Version: version})
	config := c.Config()
	config.WarningHandlerWithContext = rest.NoWarnings{}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	info, err := client.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	d := &differential{
		services: objects.Resource(schema.GroupVersionResource{Version: "v1", Resource: "services"}).
			Namespace(differentialNamespace),
	}
	if d.version, err = policies.ParseVersion(info.GitVersion); err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: differentialNamespace}}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	d.record(t, client)
	return d
}

// record registers the recorder for Services, and returns once the API server calls it.
func (d *differential) record(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	d.recorder = &admissionRecorder{last: map[string]*admissionv1.AdmissionRequest{}}
	server := httptest.NewTLSServer(d.recorder)
	t.Cleanup(server.Close)
	configuration := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "recorder"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "recorder.example.com",
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL:      new(server.URL),
				CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
			},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{
					admissionregistrationv1.Create, admissionregistrationv1.Update,
				},
				Rule: admissionregistrationv1.Rule{
					APIGroups:   []string{""},
					APIVersions: []string{"v1"},
					Resources:   []string{"services"},
				},
			}},
			NamespaceSelector: &metav1.LabelSelector{
				MatchLabels: map[string]string{corev1.LabelMetadataName: differentialNamespace},
			},
			FailurePolicy:           new(admissionregistrationv1.Fail), // a request that is not recorded must not pass
			SideEffects:             new(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
		}},
	}
	_, err := client.AdmissionregistrationV1().
		MutatingWebhookConfigurations().
		Create(t.Context(), configuration, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	probe := differentialService("probe", map[string]any{"ports": []any{map[string]any{"port": int64(80)}}})
	var last error
	err = wait.PollUntilContextTimeout(
		t.Context(),
		20*time.Millisecond,
		patience,
		true,
		func(ctx context.Context) (bool, error) {
			_, last = d.services.Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			_, asked := d.recorder.take("probe")
			return last == nil && asked, nil
		},
	)
	if err != nil {
		t.Fatalf("wait for the API server to call the recorder: %v (%v)", err, last)
	}
}

// run sends all requests. Each Service has its own random numbers, so that the requests do not depend on the order of
// the clients. The results are in the order of the Services.
func (d *differential) run(t *testing.T) []differentialResult {
	t.Helper()
	results := make([][]differentialResult, differentialCreated+differentialUpdated/differentialChain)
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(differentialClients)
	for i := range results {
		group.Go(func() error {
			g := newServiceGenerator(differentialSeed, i)
			s := &differentialSequence{differential: d, serviceGenerator: g, name: fmt.Sprintf("web-%d", i)}
			err := s.created(ctx, i >= differentialCreated)
			if err == nil && i >= differentialCreated {
				err = s.updated(ctx)
			}
			if err := errors.Join(err, s.deleted(ctx)); err != nil {
				return fmt.Errorf("seed %d, Service %s: %w", differentialSeed, s.name, err)
			}
			results[i] = s.results
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	return slices.Concat(results...)
}

// differentialSequence sends the requests about one Service.
type differentialSequence struct {
	*differential
	*serviceGenerator
	name string
	// written is the spec as an author would have it in a file. stored is the stored object; nil if there is none.
	written map[string]any
	stored  *unstructured.Unstructured
	results []differentialResult
}

// created creates the Service, a valid one or any.
func (s *differentialSequence) created(ctx context.Context, valid bool) error {
	if valid {
		s.written = s.valid()
	} else {
		s.written = s.any()
	}
	dryRun := s.dryRun() && !valid
	_, err := s.ask(ctx, admissionv1.Create, dryRun, func(dryRun []string) (*unstructured.Unstructured, error) {
		return s.services.Create(ctx, differentialService(s.name, s.written), metav1.CreateOptions{DryRun: dryRun})
	})
	if err == nil && valid && s.stored == nil {
		return fmt.Errorf("the API server refuses a Service that should be valid: %+v", s.results)
	}
	return err
}

// updated updates the Service differentialChain times. An accepted update changes the file too, unless it is a patch or
// a dry run.
func (s *differentialSequence) updated(ctx context.Context) error {
	var before map[string]any
	for range differentialChain {
		edits := s.edits(s.stored)
		spec, dryRun := s.written, s.dryRun()
		var request func(dryRun []string) (*unstructured.Unstructured, error)
		replace := func(content map[string]any) {
			spec = editedSpec(content, edits)
			service := differentialService(s.name, spec)
			request = func(dryRun []string) (*unstructured.Unstructured, error) {
				return s.services.Update(ctx, service, metav1.UpdateOptions{DryRun: dryRun})
			}
		}
		switch way := s.IntN(10); {
		case way < 5:
			mergePatch, err := json.Marshal(map[string]any{"spec": edits})
			if err != nil {
				return err
			}
			request = func(dryRun []string) (*unstructured.Unstructured, error) {
				return s.services.Patch(ctx, s.name, types.MergePatchType, mergePatch, metav1.PatchOptions{DryRun: dryRun})
			}
		case way < 7: // kubectl edit, or a client that writes back what it read
			stored, _, err := unstructured.NestedMap(s.stored.Object, "spec")
			if err != nil {
				return err
			}
			replace(stored)
		case way < 9 || before == nil: // the file, without what the API server allocated
			replace(s.written)
		default: // the last file again, which may have been accepted only because a field had not changed
			edits = nil
			replace(before)
		}
		accepted, err := s.ask(ctx, admissionv1.Update, dryRun, request)
		if err != nil {
			return err
		}
		if before = spec; accepted && !dryRun {
			s.written = spec
		}
	}
	return nil
}

func (s *differentialSequence) deleted(ctx context.Context) error {
	if s.stored == nil {
		return nil
	}
	return s.services.Delete(ctx, s.name, metav1.DeleteOptions{})
}

// ask sends one request, and calls Decide for the recorded review. The error is non-nil if there was no response,
// nothing was recorded, or Decide could not judge it.
func (s *differentialSequence) ask(ctx context.Context, operation admissionv1.Operation, dryRun bool,
	request func(dryRun []string) (*unstructured.Unstructured, error),
) (accepted bool, err error) {
	result := differentialResult{name: s.name, operation: operation, dryRun: dryRun, code: http.StatusOK}
	var options []string
	if dryRun {
		options = []string{metav1.DryRunAll}
	}
	stored, err := request(options)
	if err != nil {
		refusal, ok := errors.AsType[*apierrors.StatusError](err)
		if !ok {
			return false, err
		}
		result.code, result.message = refusal.ErrStatus.Code, refusal.ErrStatus.Message
		if details := refusal.ErrStatus.Details; details != nil {
			for _, cause := range details.Causes {
				result.fields = append(result.fields, cause.Field)
			}
		}
	} else if !dryRun {
		s.stored = stored
	}
	asked, ok := s.recorder.take(s.name)
	if !ok {
		return false, fmt.Errorf("%s was not recorded; the response is %d %s", operation, result.code, result.message)
	}
	result.object, result.old = string(asked.Object.Raw), string(asked.OldObject.Raw)
	if asked.Operation != operation || *asked.DryRun != dryRun {
		return false, fmt.Errorf("%s was recorded as %s, dry run %t", operation, asked.Operation, *asked.DryRun)
	}
	if result.denied, err = s.decide(ctx, asked); err != nil {
		return false, err
	}
	s.results = append(s.results, result)
	return result.code == http.StatusOK, nil
}

// decide returns the fields for which Decide denies, as the API server names them.
func (d *differential) decide(ctx context.Context, request *admissionv1.AdmissionRequest) ([]string, error) {
	in, err := review.Read(request)
	if err != nil {
		return nil, err
	}
	in.Cluster.Version = d.version
	decision, err := policies.Decide(ctx, in, noRego{}, policies.Settings{})
	if err != nil {
		return nil, err
	}
	var denied []string
	for _, f := range decision.Findings {
		if field := strings.ReplaceAll(strings.TrimPrefix(f.Path, "/"), "/", "."); f.Mode == policies.Deny &&
			!slices.Contains(denied, field) {
			denied = append(denied, field)
		}
	}
	slices.Sort(denied)
	return denied, nil
}

// noRego implements policies.Rules without reasons: denials by Rego have reasons that the API server does not know.
type noRego struct{}

func (noRego) Evaluate(context.Context, policies.Document, []policies.AppliedPolicy) []policies.Answer {
	return nil
}

// admissionRecorder is an admission server that allows everything, and keeps the last request about each object. An API
// server calls again if it finds that its cache had an old object.
type admissionRecorder struct {
	mu   sync.Mutex
	last map[string]*admissionv1.AdmissionRequest
}

// ServeHTTP implements http.Handler.
func (r *admissionRecorder) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	var asked admissionv1.AdmissionReview
	if err := json.NewDecoder(request.Body).Decode(&asked); err != nil || asked.Request == nil {
		http.Error(w, fmt.Sprint("not an AdmissionReview: ", err), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	r.last[asked.Request.Name] = asked.Request
	r.mu.Unlock()
	asked.Response = &admissionv1.AdmissionResponse{UID: asked.Request.UID, Allowed: true}
	asked.Request = nil
	_ = json.NewEncoder(w).Encode(asked) // without the response the request fails
}

// take returns the last request about an object, and forgets it.
func (r *admissionRecorder) take(name string) (*admissionv1.AdmissionRequest, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	request, ok := r.last[name]
	delete(r.last, name)
	return request, ok
}

func differentialService(name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": name}, "spec": spec,
	}}
}

// editedSpec returns a spec with a merge patch applied to its fields.
func editedSpec(spec, edits map[string]any) map[string]any {
	spec = maps.Clone(spec)
	for key, value := range edits {
		if value == nil {
			delete(spec, key)
		} else {
			spec[key] = value
		}
	}
	return spec
}

// serviceGenerator generates specs of Services and changes of them, in JSON types: absent, null, empty and 0 can
// differ.
type serviceGenerator struct {
	*rand.Rand
	// port is a node port that no other Service requests at the same time. The API server reserves the first 128 ports of
	// its range for requests (kubernetes v1.37.1, pkg/registry/core/service/portallocator: calculateRangeOffset).
	port int64
}

func newServiceGenerator(seed uint64, i int) *serviceGenerator {
	const first, static, each = 20_000, 128, 2 // test/cluster sets the range
	return &serviceGenerator{rand.New(rand.NewPCG(seed, uint64(i))), first + int64(i%(static/each))*each}
}

func (g *serviceGenerator) percent(n int) bool { return g.IntN(100) < n }

// dryRun decides whether a request is a dry run, for which the API server does not allocate the port.
func (g *serviceGenerator) dryRun() bool { return g.percent(20) }

func oneOf[T any](g *rand.Rand, from ...T) T { return from[g.IntN(len(from))] }

// any returns a spec in which the two fields have any value, and the other fields are mostly valid.
func (g *serviceGenerator) any() map[string]any {
	spec := g.of(
		oneOf(g.Rand, "", "ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer", "LoadBalancer", "ExternalName"),
	)
	setField(spec, "externalTrafficPolicy", g.trafficPolicy())
	setField(spec, "healthCheckNodePort", g.healthCheckNodePort())
	switch g.IntN(50) {
	case 0:
		spec["allocateLoadBalancerNodePorts"] = g.percent(50)
	case 1:
		spec["loadBalancerClass"] = "example.com/lb"
	case 2:
		spec["internalTrafficPolicy"] = "local"
	case 3:
		spec["type"] = "clusterIP"
	}
	return spec
}

// valid returns a spec that every API server accepts.
func (g *serviceGenerator) valid() map[string]any {
	spec := g.of(
		oneOf(g.Rand, "", "ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer", "LoadBalancer", "ExternalName"),
	)
	accessible := spec["type"] == "LoadBalancer" || spec["type"] == "NodePort" ||
		spec["type"] != "ExternalName" && spec["externalIPs"] != nil
	if accessible {
		setField(spec, "externalTrafficPolicy", oneOf(g.Rand, any(nil), "Cluster", "Local", "Local", "Local"))
	}
	if spec["type"] == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local" && g.percent(50) {
		spec["healthCheckNodePort"] = g.port
	}
	return spec
}

// of returns a valid spec of a type, without the two fields.
func (g *serviceGenerator) of(serviceType string) map[string]any {
	port := map[string]any{"name": "web", "port": int64(80)}
	spec := map[string]any{"ports": []any{port}}
	if serviceType != "" || g.percent(20) {
		spec["type"] = serviceType
	}
	if g.percent(30) {
		spec["ports"] = []any{port, map[string]any{"name": "tls", "port": int64(443)}}
	}
	if g.percent(80) {
		spec["selector"] = map[string]any{"app": "web"}
	}
	if g.percent(30) {
		spec["externalIPs"] = g.externalIPs()
	}
	if g.percent(20) {
		spec["internalTrafficPolicy"] = oneOf(g.Rand, "Cluster", "Local")
	}
	if g.percent(20) {
		spec["sessionAffinity"] = oneOf(g.Rand, "None", "ClientIP")
	}
	if g.percent(10) {
		spec["publishNotReadyAddresses"] = true
	}
	switch serviceType {
	case "ExternalName":
		spec["externalName"] = "web.example.com"
	case "LoadBalancer":
		if g.percent(30) {
			spec["allocateLoadBalancerNodePorts"] = g.percent(50)
		}
		if g.percent(20) {
			spec["loadBalancerClass"] = "example.com/lb"
		}
	case "", "ClusterIP":
		if g.percent(20) {
			spec["clusterIP"] = "None"
		}
	}
	return spec
}

func (g *serviceGenerator) externalIPs() []any {
	return oneOf(g.Rand, []any{"192.0.2.1"}, []any{"192.0.2.1", "198.51.100.7"})
}

// absentField stands for a field that is not written; nil stands for null.
type absentField struct{}

var absent any = absentField{}

func setField(spec map[string]any, key string, value any) {
	if value != absent {
		spec[key] = value
	}
}

func (g *serviceGenerator) trafficPolicy() any {
	return oneOf[any](
		g.Rand,
		absent,
		absent,
		absent,
		nil,
		"",
		"Cluster",
		"Cluster",
		"Local",
		"Local",
		"Local",
		"Local",
		"Local",
		oneOf(g.Rand, "local", "LOCAL", "cluster", " Local", "OnlyLocal", "bogus"),
	)
}

// healthCheckNodePort returns absent, a free node port, another port, one outside the range of node ports, or an
// invalid number.
func (g *serviceGenerator) healthCheckNodePort() any {
	return oneOf[any](g.Rand, absent, absent, absent, absent, absent, nil, int64(0), g.port, g.port, g.port, g.port+1,
		oneOf(g.Rand, int64(80), 65_535, 65_536, 70_000, -1, -2_147_483_648, 2_147_483_647))
}

// edits returns a merge patch of the spec of a stored Service: of the type, the policy, both, the addresses, the port,
// several of these, or only of other fields.
func (g *serviceGenerator) edits(stored *unstructured.Unstructured) map[string]any {
	edits := map[string]any{}
	editType := func() {
		serviceType := oneOf(g.Rand, "ClusterIP", "ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer", "ExternalName")
		if edits["type"] = serviceType; serviceType == "ExternalName" {
			edits["externalName"] = "web.example.com"
			if g.percent(30) {
				edits["clusterIP"], edits["clusterIPs"] = nil, nil
			}
		}
	}
	editPolicy := func() { edits["externalTrafficPolicy"] = nilIfAbsent(g.trafficPolicy()) }
	editPort := func() {
		port := nilIfAbsent(g.healthCheckNodePort())
		if had, found, _ := unstructured.NestedInt64(stored.Object, "spec", "healthCheckNodePort"); found && g.percent(30) {
			port = oneOf(g.Rand, had, had+1)
		}
		edits["healthCheckNodePort"] = port
	}
	editAddresses := func() {
		edits["externalIPs"] = nil
		if g.percent(50) {
			edits["externalIPs"] = oneOf(g.Rand, []any{}, g.externalIPs(), g.externalIPs())
		}
	}
	switch g.IntN(20) {
	case 0, 1, 2:
		editType()
	case 3, 4, 5:
		editPolicy()
	case 6, 7, 8:
		editType()
		editPolicy()
	case 9, 10:
		editAddresses()
	case 11, 12, 13:
		editPort()
	case 14, 15:
		editPolicy()
		editPort()
	case 16:
		editType()
		editPort()
	case 17, 18:
		for _, edit := range []func(){editType, editPolicy, editPort, editAddresses} {
			if g.percent(70) {
				edit()
			}
		}
	default:
		edits["selector"] = map[string]any{"app": fmt.Sprint("web-", g.IntN(100))}
	}
	return edits
}

func nilIfAbsent(value any) any {
	if value == absent {
		return nil
	}
	return value
}
