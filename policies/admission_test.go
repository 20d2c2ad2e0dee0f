package policies_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4" // with which API servers apply patches
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/review"
)

// admittedKinds are kinds of which each is repaired or decoded in another way.
var admittedKinds = []metav1.GroupVersionKind{
	{Version: "v1", Kind: "Service"},
	{Group: "apps", Version: "v1", Kind: "Deployment"},
	{Group: "argoproj.io", Version: "v1alpha1", Kind: "Rollout"},
	{Group: "apps.kruise.io", Version: "v1alpha1", Kind: "CloneSet"},
}

// admission is one request and its surroundings, made from a few bytes.
type admission struct {
	request *admissionv1.AdmissionRequest
	in      policies.Input // without what the request holds
	index   *policies.Index
	// settings has every mutable rule in mode Mutate and all others in mode Deny.
	settings policies.Settings
}

// variantBits is the number of bits that newAdmission uses.
const variantBits = 9

// newAdmission returns a CREATE of object, or an UPDATE if old is not empty. The bits of variant select the kind and
// the surroundings.
func newAdmission(t testing.TB, object, old []byte, variant uint16) admission {
	t.Helper()
	bits := func(n int) int {
		value := int(variant) & (1<<n - 1)
		variant >>= n
		return value
	}
	a := admission{
		request: &admissionv1.AdmissionRequest{
			Operation: admissionv1.Create, Namespace: "edge", Kind: admittedKinds[bits(2)],
		},
		in: policies.Input{
			Namespace: policies.Namespace{Name: "edge"},
			Final:     bits(1) == 1,
			Now:       time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC),
		},
		index:    policies.NewIndex(policies.ViewCluster),
		settings: policies.Settings{Modes: map[string]policies.Mode{}},
	}
	a.request.Object.Raw = object
	if len(old) > 0 {
		a.request.Operation, a.request.OldObject.Raw = admissionv1.Update, old
	}
	for _, rule := range policies.Catalogue() {
		a.settings.Modes[rule.ID] = policies.Deny
		if rule.Mutable {
			a.settings.Modes[rule.ID] = policies.Mutate
		}
	}
	if bits(1) == 1 {
		a.settings.Spread.Strategy = v1alpha1.StrategyPodAntiAffinity
	}
	if bits(1) == 1 {
		a.settings.Spread.WhenUnsatisfiable = v1alpha1.DoNotSchedule
	}
	a.in.Cluster.Version = []policies.Version{{}, {Major: 1, Minor: 25}}[bits(1)]

	put := func(content string) {
		decoded, err := policies.ReadObject(contentKind(t, content))
		if err != nil {
			t.Fatal(err)
		}
		a.index.Put(decoded)
	}
	const service = `{"apiVersion":"v1","kind":"Service","metadata":{"name":"%s"},` +
		`"spec":{"type":"LoadBalancer","externalTrafficPolicy":"%s","selector":{%s}}}`
	put(fmt.Sprintf(service, "front", "Local", `"app":"web"`))
	if bits(1) == 1 {
		put(fmt.Sprintf(service, "other", "Local", `"app":"web","track":"stable"`))
	}
	if bits(1) == 1 {
		put(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"behind"},"spec":{"replicas":3,` +
			`"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web","track":"stable"}},` +
			`"spec":{"containers":[{"name":"web"}]}}}}`)
	}
	if bits(1) == 1 {
		a.index.PutAutoscaler(policies.Autoscaler{
			Ref: policies.Ref{
				APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler", Namespace: "edge", Name: "web",
			},
			Target:      policies.WorkloadRef{Group: a.request.Kind.Group, Kind: a.request.Kind.Kind, Name: "web"},
			MaxReplicas: 4,
		})
	}
	return a
}

// contentKind returns the arguments of ReadObject for an object in namespace edge.
func contentKind(t testing.TB, content string) (apiVersion, kind, namespace string, raw []byte) {
	t.Helper()
	var meta metav1.TypeMeta
	if err := json.Unmarshal([]byte(content), &meta); err != nil {
		t.Fatal(err)
	}
	return meta.APIVersion, meta.Kind, "edge", []byte(content)
}

// decide reads the request and decides. The error is that of review.Read.
func (a admission) decide(t testing.TB) (policies.Decision, error) {
	t.Helper()
	in, err := review.Read(a.request)
	if err != nil {
		return policies.Decision{}, err
	}
	in.Namespace, in.Final, in.Now, in.Cluster = a.in.Namespace, a.in.Final, a.in.Now, a.in.Cluster
	in.Related = a.index.Related(in.Object)
	decision, err := policies.Decide(t.Context(), in, rules(), a.settings)
	if err != nil {
		t.Fatalf("Decide() error: %v", err)
	}
	return decision, nil
}

// check checks what must be true of every request: it is rejected with an error of one line, or gets the same decision
// each time, with repairs that an API server can apply, after which there is nothing more to repair. It returns the
// decision, and the error of review.Read.
func (a admission) check(t testing.TB) (policies.Decision, error) {
	t.Helper()
	decision, err := a.decide(t)
	if err != nil {
		return decision, err
	}
	again, err := a.decide(t)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(decision, again); diff != "" {
		t.Fatalf("Decide() differs the second time (-first +second):\n%s", diff)
	}
	for _, endpoint := range review.ObjectEndpoints {
		if _, _, err := review.Respond(endpoint, decision); err != nil {
			t.Fatal(err)
		}
	}
	mutations := decision.Mutations()
	if len(mutations) == 0 {
		return decision, nil
	}
	repaired := a
	repaired.request = a.request.DeepCopy()
	repaired.request.Object.Raw = applied(t, a.request.Object.Raw, mutations)
	after, err := repaired.decide(t)
	if err != nil {
		t.Fatalf("the repaired object cannot be read: %v\n%s", err, repaired.request.Object.Raw)
	}
	if more := after.Mutations(); len(more) > 0 {
		t.Fatalf("the repaired object is repaired again: %+v\nfirst: %+v\nobject: %s",
			more, mutations, repaired.request.Object.Raw)
	}
	return decision, nil
}

// applied returns the object after a patch, as the API server applies it.
func applied(t testing.TB, object []byte, operations []policies.PatchOperation) []byte {
	t.Helper()
	text, err := json.Marshal(operations)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		t.Fatalf("the API server cannot read the patch: %v\n%s", err, text)
	}
	patched, err := patch.Apply(object)
	if err != nil {
		t.Fatalf("the patch does not apply: %v\npatch: %s\nobject: %s", err, text, object)
	}
	return patched
}

// content returns an object of a kind that the generator makes, as an API server would send it.
func (g generator) content(kind metav1.GroupVersionKind) map[string]any {
	if kind.Kind == "Service" {
		return g.service("web")
	}
	content := g.deployment("web")
	spec := content["spec"].(map[string]any)
	if kind.Kind != "Deployment" {
		delete(spec, "strategy")
	}
	if kind.Kind == "Rollout" {
		spec["strategy"] = pick(g,
			map[string]any{"canary": map[string]any{"maxSurge": "25%"}}, map[string]any{"blueGreen": map[string]any{}})
	}
	content["apiVersion"] = metav1.GroupVersion{Group: kind.Group, Version: kind.Version}.String()
	content["kind"] = kind.Kind
	return content
}

// unusual holds objects whose repairs need care, and parts of which are null, empty or out of range. API servers send
// few of these.
var unusual = slices.Concat(
	deploymentsOf(
		`"containers":null`, `"containers":[]`, `"containers":[null]`,
		`"affinity":null`, `"affinity":{"podAntiAffinity":{}}`,
		`"containers":[{"name":"web","resources":{"requests":{"cpu":1e999,"memory":0.1}}}]`,
		`"containers":[{"name":"web"}],"topologySpreadConstraints":[null]`,
		`"containers":[{"name":"web"}],"affinity":{"podAntiAffinity":{`+
			`"requiredDuringSchedulingIgnoredDuringExecution":[null],`+
			`"preferredDuringSchedulingIgnoredDuringExecution":[null]}}`,
	),
	[]string{
		`{"metadata":{"name":"web"},"spec":{"replicas":2147483647,"selector":{"matchExpressions":[null]},"template":null,` +
			`"strategy":{"rollingUpdate":{"maxSurge":"99999999999999999999%","maxUnavailable":-2147483648}}}}`,
		`{"metadata":{"name":"web","annotations":{"networking.gke.io/weighted-load-balancing":"pods-per-node","a":null}},` +
			`"spec":{"type":"LoadBalancer","ports":[null],"selector":{"app":null},"healthCheckNodePort":2147483647}}`,
		`{"metadata":{"name":"web","annotations":{"networking.gke.io/weighted-load-balancing":"pods-per-node",` +
			`"kubectl.kubernetes.io/last-applied-configuration":"{\"spec\":[]}"},"ownerReferences":[null],` +
			`"managedFields":[null,{"operation":"Apply","fieldsV1":null},{"operation":"Apply","fieldsV1":{"f:spec":[]}}]},` +
			`"spec":{"type":"LoadBalancer"}}`,
		`{"metadata":{"name":"web","annotations":{"sourceward.dev/source-ip":"preserve","\u0000":"\ud800"}},` +
			`"spec":{"type":"NodePort","Type":1,"externalTrafficPolicy":null}}`,
	})

// deploymentsOf returns workloads of any kind with these pods.
func deploymentsOf(pods ...string) []string {
	for i, pod := range pods {
		pods[i] = `{"metadata":{"name":"web"},"spec":{"replicas":3,"selector":{"matchLabels":{"app":"web"}},` +
			`"template":{"metadata":{"labels":{"app":"web"}},"spec":{` + pod + `}}}}`
	}
	return pods
}

// TestUnusualObjects checks each of them as each kind and in many surroundings, created and updated.
func TestUnusualObjects(t *testing.T) {
	objects, repaired := 0, 0
	for _, object := range unusual {
		for variant := uint16(0); variant < 1<<variantBits; variant += 5 {
			for _, old := range []string{"", object, `{"metadata":{"name":"web"}}`} {
				objects++
				log := &quiet{TB: t}
				log.Logf("variant %d, object: %s, old: %s", variant, object, old)
				if decision, err := newAdmission(log, []byte(object), []byte(old), variant).check(log); err == nil {
					repaired += min(1, len(decision.Mutations()))
				}
			}
		}
	}
	if repaired == 0 {
		t.Error("no object is repaired")
	}
	t.Logf("%d objects, %d repaired", objects, repaired)
}

// FuzzAdmission judges any bytes as an object of each kind.
func FuzzAdmission(f *testing.F) {
	for i, object := range unusual {
		f.Add([]byte(object), []byte(nil), uint16(i%len(admittedKinds)))
	}
	g := newGenerator(2)
	for i := range 40 {
		kind := admittedKinds[i%len(admittedKinds)]
		object, err := json.Marshal(g.content(kind))
		if err != nil {
			f.Fatal(err)
		}
		old, err := json.Marshal(g.content(kind))
		if err != nil {
			f.Fatal(err)
		}
		if i%3 == 0 {
			old = nil
		}
		f.Add(object, old, uint16(g.Uint32())&^3|uint16(i%len(admittedKinds)))
	}
	f.Fuzz(func(t *testing.T, object, old []byte, variant uint16) {
		_, _ = newAdmission(t, object, old, variant).check(t)
	})
}

// A breaker writes JSON that disagrees with its type, or with itself.
type breaker struct {
	generator
	bytes.Buffer
	// left is how many changes may still be made.
	left int
	// duplicates are the keys that were written twice in one object.
	duplicates []string
}

// change reports whether to make the next change here.
func (b *breaker) change() bool {
	if b.left == 0 || b.IntN(30) > 0 {
		return false
	}
	b.left--
	return true
}

func (b *breaker) write(value any) {
	if b.change() {
		value = pick[any](b.generator, nil, nil, nil, nil, "", "x", true, []any{}, []any{nil}, []any{map[string]any{}},
			map[string]any{}, map[string]any{"x": json.Number("1e400")}, json.Number("0"), json.Number("-1"),
			json.Number("1e2"), json.Number("2147483647"), json.Number("4294967297"),
			json.Number("9223372036854775808"), json.Number("1e400"))
	}
	switch value := value.(type) {
	case map[string]any:
		b.WriteByte('{')
		first := true
		member := func(key string, value any) {
			if !first {
				b.WriteByte(',')
			}
			first = false
			text, _ := json.Marshal(key)
			b.Write(text)
			b.WriteByte(':')
			b.write(value)
		}
		for _, key := range slices.Sorted(maps.Keys(value)) {
			switch {
			case !b.change():
				member(key, value[key])
			case b.IntN(2) == 0:
				b.duplicates = append(b.duplicates, key)
				member(key, pick[any](b.generator, value[key], nil, map[string]any{}, "x"))
				member(key, value[key])
			default:
				// One of them is unknown; which one comes first does not matter.
				keys := []string{key, pick(b.generator, strings.ToUpper(key), strings.ToUpper(key[:1])+key[1:])}
				b.Shuffle(2, func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
				for _, key := range keys[b.IntN(2):] {
					member(key, value[key])
				}
			}
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, element := range value {
			if i > 0 {
				b.WriteByte(',')
			}
			b.write(element)
		}
		b.WriteByte(']')
	default:
		text, _ := json.Marshal(value)
		b.Write(text)
	}
}

// broken returns an object with a few changes, and the keys that it has twice.
func (g generator) broken(kind metav1.GroupVersionKind) (object []byte, duplicates []string) {
	b := breaker{generator: g, left: g.IntN(3)}
	b.write(g.content(kind))
	return b.Bytes(), b.duplicates
}

// checkBroken judges an object that was valid before it was broken. It returns the decision and the error of
// review.Read.
func checkBroken(t testing.TB, seed uint64) (policies.Decision, error) {
	t.Helper()
	g := newGenerator(seed)
	variant := uint16(g.Uint32())
	kind := admittedKinds[variant&3]
	object, duplicates := g.broken(kind)
	var old []byte
	if g.IntN(2) == 0 {
		var more []string
		old, more = g.broken(kind)
		// The stored object may have a field that does not decode, and then counts as unknown.
		apiVersion := metav1.GroupVersion{Group: kind.Group, Version: kind.Version}.String()
		_, err := policies.ReadObject(apiVersion, kind.Kind, "", old)
		if _, unreadable := errors.AsType[*policies.FieldError](err); !unreadable {
			duplicates = append(duplicates, more...)
		}
	}
	t.Logf("seed %d, variant %d, object: %s, old: %s", seed, variant, object, old)
	decision, err := newAdmission(t, object, old, variant).check(t)
	if err == nil && len(duplicates) > 0 {
		t.Fatalf("an object with the duplicate keys %q was judged", duplicates)
	}
	if err != nil && strings.ContainsAny(err.Error(), "\r\n") {
		t.Fatalf("the error has more than one line: %v", err)
	}
	return decision, err
}

// TestBrokenObjects checks objects that disagree with their types or with themselves.
func TestBrokenObjects(t *testing.T) {
	const objects = 3_000
	repaired, duplicate, wrong := 0, 0, 0
	for seed := range uint64(objects) {
		decision, err := checkBroken(&quiet{TB: t}, seed)
		switch {
		case err == nil && len(decision.Mutations()) > 0:
			repaired++
		case err != nil && strings.Contains(err.Error(), "is set twice"):
			duplicate++
		case err != nil:
			wrong++
		}
	}
	t.Logf("%d objects, %d repaired, %d with a duplicate key, %d that cannot be read, seeds 0 to %d",
		objects, repaired, duplicate, wrong, objects-1)
	if min(repaired, duplicate, wrong) < objects/20 {
		t.Error("each must be at least one of 20")
	}
}

// quiet keeps what a test logs until it fails.
type quiet struct {
	testing.TB
	logged []string
}

func (q *quiet) Logf(format string, args ...any) {
	q.logged = append(q.logged, fmt.Sprintf(format, args...))
}

func (q *quiet) Fatalf(format string, args ...any) {
	q.Helper()
	q.TB.Fatalf("%s\n%s", strings.Join(q.logged, "\n"), fmt.Sprintf(format, args...))
}

// FuzzBrokenObjects does the same with any seed.
func FuzzBrokenObjects(f *testing.F) {
	f.Add(uint64(0))
	f.Fuzz(func(t *testing.T, seed uint64) { _, _ = checkBroken(t, seed) })
}
