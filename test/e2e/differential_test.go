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
	// differentialCreated and differentialUpdated are how many Services are created, and how many updates of
	// Services are made, on each version. Each of those that are updated is updated differentialChain times, so
	// that an update also meets what another one left.
	differentialCreated   = 2_000
	differentialUpdated   = 2_000
	differentialChain     = 4
	differentialClients   = 4
	differentialNamespace = "differential"
)

// TestDifferential holds Decide against the API server itself. Nothing of ours is in the way of the requests:
// a recorder that allows everything keeps what a webhook would have been asked, and Decide is asked that.
// Where the API server then answers 422 for the traffic policy or the health check node port, Decide denies for
// the same field; where it accepts, Decide does not deny.
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

// differentialTally counts answers.
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

// wantAll wants that a tally is large enough to have found something: much of every answer, and little of those
// that tell nothing.
func (d differentialTally) wantAll(t *testing.T, what string, atLeast int) {
	t.Helper()
	if d.all < atLeast {
		t.Errorf("%d %s, want at least %d", d.all, what, atLeast)
	}
	for name, n := range map[string]int{
		"accepted": d.accepted, "422 for the traffic policy": d.trafficPolicy, "422 for the health check node port": d.healthCheckNodePort,
	} {
		if n < d.all/10 {
			t.Errorf("%s: %s %d of %d times, want at least a tenth", what, name, n, d.all)
		}
	}
	if d.otherCode > d.all/20 {
		t.Errorf("%s: %d of %d answers are not compared, want at most a twentieth", what, d.otherCode, d.all)
	}
}

// differentialFields are the fields that the compared rules stand for, as the API server writes them.
var differentialFields = []string{"spec.externalTrafficPolicy", "spec.healthCheckNodePort"}

// differentialResult is one request: what the API server answered, and what Decide says of what it was asked.
type differentialResult struct {
	name      string
	operation admissionv1.Operation
	dryRun    bool
	// object and old are what a webhook gets.
	object, old string
	// code is the status of the answer, fields are those that it is about, message is why.
	code    int32
	fields  []string
	message string
	// denied are the fields for which Decide denies.
	denied []string
}

// refused are those of differentialFields that the API server answers 422 for.
func (r differentialResult) refused() []string {
	if r.code != http.StatusUnprocessableEntity {
		return nil
	}
	return slices.DeleteFunc(
		slices.Clone(differentialFields),
		func(f string) bool { return !slices.Contains(r.fields, f) },
	)
}

// disagreement is empty if the two agree, or if the answer tells nothing about the two fields, as one about a port
// that is taken. A 422 for other fields tells that these two are right: the API server lists all that is wrong.
func (r differentialResult) disagreement() string {
	refused := r.refused()
	compared := r.code == http.StatusOK || r.code == http.StatusUnprocessableEntity
	if !compared || slices.Equal(refused, r.denied) {
		return ""
	}
	return fmt.Sprintf("the API server answers %d for %q (%s), Decide denies for %q", r.code, refused, r.message, r.denied)
}

// differential asks an API server on which nothing of ours is installed.
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

// record puts the recorder in front of the Services, and returns when the API server asks it.
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
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
				Rule: admissionregistrationv1.Rule{
					APIGroups:   []string{""},
					APIVersions: []string{"v1"},
					Resources:   []string{"services"},
				},
			}},
			NamespaceSelector: &metav1.LabelSelector{
				MatchLabels: map[string]string{corev1.LabelMetadataName: differentialNamespace},
			},
			FailurePolicy:           new(admissionregistrationv1.Fail), // what is not recorded is not compared
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
		t.Fatalf("wait for the API server to ask the recorder: %v (%v)", err, last)
	}
}

// run makes all requests. Each Service has random numbers of its own, so that what is asked does not depend on
// who of the clients was first, and the results are in an order of their own too.
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

// differentialSequence is what happens to one Service.
type differentialSequence struct {
	*differential
	*serviceGenerator
	name string
	// written is the spec as somebody keeps it in a file, and stored what the API server has; nil if it has none.
	written map[string]any
	stored  *unstructured.Unstructured
	results []differentialResult
}

// created creates the Service: one that is valid, or whatever comes.
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
		return fmt.Errorf("the API server refuses a Service that is meant to be valid: %+v", s.results)
	}
	return err
}

// updated updates it, time and again. The file is changed with it, unless the change is made by a patch; what
// was refused, or only a dry run, is not kept.
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
		case way < 7: // kubectl edit, or a client that writes back what it has read
			stored, _, err := unstructured.NestedMap(s.stored.Object, "spec")
			if err != nil {
				return err
			}
			replace(stored)
		case way < 9 || before == nil: // the file, without what the API server allocated
			replace(s.written)
		default: // the last file once more, which may have been accepted only since something had not changed
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

// ask makes one request and asks Decide about what was recorded of it. The error is non-nil when there was no
// answer, nothing was recorded, or Decide could not be asked.
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
		return false, fmt.Errorf("%s was not recorded, and answered %d %s", operation, result.code, result.message)
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

// decide returns the fields for which Decide denies, as the API server writes them.
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

// noRego says nothing: what Rego denies, it denies for reasons of its own, of which the API server knows nothing.
type noRego struct{}

func (noRego) Evaluate(context.Context, policies.Document, []policies.AppliedPolicy) []policies.Answer {
	return nil
}

// admissionRecorder is an admission server that allows everything, and keeps the last request about each object.
// An API server asks again where it finds that it has read an old object from its cache.
type admissionRecorder struct {
	mu   sync.Mutex
	last map[string]*admissionv1.AdmissionRequest
}

// ServeHTTP implements http.Handler.
func (r *admissionRecorder) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	var asked admissionv1.AdmissionReview
	if err := json.NewDecoder(request.Body).Decode(&asked); err != nil || asked.Request == nil {
		http.Error(w, fmt.Sprint("no AdmissionReview: ", err), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	r.last[asked.Request.Name] = asked.Request
	r.mu.Unlock()
	asked.Response = &admissionv1.AdmissionResponse{UID: asked.Request.UID, Allowed: true}
	asked.Request = nil
	_ = json.NewEncoder(w).Encode(asked) // were it lost, the request would fail
}

// take returns the last request about an object, once.
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

// editedSpec is a spec after a merge patch of its members.
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

// serviceGenerator makes the specs of Services, and changes of them, in JSON types: what is absent, null, empty or
// 0 is not the same to everybody.
type serviceGenerator struct {
	*rand.Rand
	// port is a node port that no other Service asks for at the same time. The API server leaves the first 128 of its
	// range to those who ask (kubernetes v1.37.1, pkg/registry/core/service/portallocator: calculateRangeOffset).
	port int64
}

func newServiceGenerator(seed uint64, i int) *serviceGenerator {
	const first, static, each = 20_000, 128, 2 // test/cluster sets the range
	return &serviceGenerator{rand.New(rand.NewPCG(seed, uint64(i))), first + int64(i%(static/each))*each}
}

func (g *serviceGenerator) percent(n int) bool { return g.IntN(100) < n }

// dryRun tells whether a request is a dry run, which is answered without the port being asked for.
func (g *serviceGenerator) dryRun() bool { return g.percent(20) }

func oneOf[T any](g *rand.Rand, from ...T) T { return from[g.IntN(len(from))] }

// any is a spec of which the two fields may be anything, and the others are mostly right.
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

// valid is a spec that every API server accepts.
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

// of is a valid spec of a type, without the two fields.
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

// absentField stands for a field that is not written, where nil is one that is written as null.
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

// healthCheckNodePort is absent, one that can be had, another one, out of the range of node ports, or no port.
func (g *serviceGenerator) healthCheckNodePort() any {
	return oneOf[any](g.Rand, absent, absent, absent, absent, absent, nil, int64(0), g.port, g.port, g.port, g.port+1,
		oneOf(g.Rand, int64(80), 65_535, 65_536, 70_000, -1, -2_147_483_648, 2_147_483_647))
}

// edits is a merge patch of the spec of a stored Service: of the type only, the policy only, both, the addresses, the
// port, several of these, or nothing that matters.
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
