package policies

import (
	"cmp"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	kjson "sigs.k8s.io/json"

	"github.com/sourceward/sourceward/api/v1alpha1"
)

func TestNewObjectRejectsWhatTheAPIServerCannotDecode(t *testing.T) {
	service := func(spec map[string]any) map[string]any {
		return map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "web"}, "spec": spec}
	}
	deployment := func(replicas any) map[string]any {
		return map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "web"},
			"spec": map[string]any{"replicas": replicas}}
	}
	rollout := func(spec map[string]any) map[string]any {
		return map[string]any{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
			"metadata": map[string]any{"name": "web"}, "spec": spec}
	}
	resources := func(resources map[string]any) map[string]any {
		return map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "web"},
			"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{
				map[string]any{"name": "web"}, map[string]any{"name": "log", "resources": resources},
			}}}}}
	}
	tests := map[string]struct {
		content map[string]any
		want    FieldError
	}{
		"a number in quotes in a custom kind": {
			rollout(map[string]any{"replicas": "3"}),
			FieldError{"/spec/replicas", "want a whole number, got a string; write digits without quotes"},
		},
		"a number that would overflow to 1": {
			deployment(int64(4294967297)),
			FieldError{"/spec/replicas", "want a whole number of 32 bits, got 4294967297"},
		},
		"a number that would overflow to a negative one": {
			deployment(int64(2147483649)),
			FieldError{"/spec/replicas", "want a whole number of 32 bits, got 2147483649"},
		},
		"a number of more than 64 bits": {
			deployment(9223372036854775808.0),
			FieldError{"/spec/replicas", "want a whole number of 32 bits, got 9223372036854776000"},
		},
		"a negative number of more than 64 bits": {
			deployment(-9223372036854777856.0),
			FieldError{"/spec/replicas", "want a whole number of 32 bits, got -9223372036854778000"},
		},
		"a number with a large exponent": {
			deployment(1e21),
			FieldError{"/spec/replicas", "want a whole number of 32 bits, got 1e+21"},
		},
		"a number of 33 bits that was read as a float": {
			deployment(4294967296.0),
			FieldError{"/spec/replicas", "want a whole number of 32 bits, got 4294967296"},
		},
		"a number of more than 64 bits in a field of 64 bits": {
			map[string]any{"apiVersion": "apps/v1", "kind": "Deployment",
				"metadata": map[string]any{"name": "web", "generation": 9223372036854775808.0}},
			FieldError{"/metadata/generation", "want a whole number of 64 bits, got 9223372036854776000"},
		},
		"a number of more than 64 bits in a custom kind": {
			rollout(map[string]any{"replicas": 18446744073709551616.0}),
			FieldError{"/spec/replicas", "want a whole number of 32 bits, got 18446744073709552000"},
		},
		"a number in quotes": {
			deployment("3"),
			FieldError{"/spec/replicas", "want a whole number, got a string; write digits without quotes"},
		},
		"a list in a struct that is embedded in a struct": {
			map[string]any{
				"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "web"},
				"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{
					map[string]any{"readinessProbe": map[string]any{"httpGet": []any{}}},
				}}}},
			},
			FieldError{"/spec/template/spec/containers/0/readinessProbe/httpGet", "want an object, got a list"},
		},
		"a port in quotes in the second element": {
			service(map[string]any{"ports": []any{map[string]any{"port": int64(80)}, map[string]any{"port": "443"}}}),
			FieldError{"/spec/ports/1/port", "want a whole number, got a string; write digits without quotes"},
		},
		"an annotation that is not a string": {
			map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{
				"name": "web", "annotations": map[string]any{"a": "1", "example.com/b": true, "example.com/c": true},
			}},
			FieldError{"/metadata/annotations/example.com~1b", "want a string, got a boolean; quote it"},
		},
		"a quantity that is none": {
			resources(map[string]any{"requests": map[string]any{"cpu": "1x"}}),
			FieldError{
				"/spec/template/spec/containers/1/resources/requests/cpu",
				`want a quantity such as 500m or 64Mi, got "1x"`,
			},
		},
		"a quantity that is a boolean": {
			resources(map[string]any{"limits": map[string]any{"memory": true}}),
			FieldError{
				"/spec/template/spec/containers/1/resources/limits/memory",
				"want a quantity such as 500m or 64Mi, got a boolean",
			},
		},
		"a quantity that is a list": {
			resources(map[string]any{"limits": map[string]any{"example.com/gpu": []any{}}}),
			FieldError{
				"/spec/template/spec/containers/1/resources/limits/example.com~1gpu",
				"want a quantity such as 500m or 64Mi, got a list",
			},
		},
		"a time that is none": {
			map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{
				"name": "web", "creationTimestamp": "yesterday",
			}},
			FieldError{"/metadata/creationTimestamp", `want a time such as 2027-03-31T12:00:00Z, got "yesterday"`},
		},
		"a number or a string that is neither": {
			service(map[string]any{"ports": []any{map[string]any{"port": int64(80), "targetPort": []any{"http"}}}}),
			FieldError{"/spec/ports/0/targetPort", "want a whole number or a string, got a list"},
		},
		"an element that is no object": {
			service(map[string]any{"ports": []any{int64(80)}}),
			FieldError{"/spec/ports/0", "want an object, got a number"},
		},
		"a key that is also the name of a field elsewhere": {
			map[string]any{
				"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "web"}, "labels": true,
				"": true, "-": true, "spec": map[string]any{"type": true},
			},
			FieldError{"/spec/type", "want a string, got a boolean; quote it"},
		},
		"a fraction": {
			deployment(1.5),
			FieldError{"/spec/replicas", "want a whole number of 32 bits, got 1.5"},
		},
		"a string instead of a list": {
			service(map[string]any{"ports": "http"}),
			FieldError{"/spec/ports", "want a list, got a string"},
		},
		"a boolean instead of a string": {
			service(map[string]any{"type": true}),
			FieldError{"/spec/type", "want a string, got a boolean; quote it"},
		},
		"a list instead of an object": {
			service(map[string]any{"selector": []any{}}),
			FieldError{"/spec/selector", "want an object, got a list"},
		},
		"no name": {
			map[string]any{"apiVersion": "v1", "kind": "Service"},
			FieldError{"/metadata/name", "want a name, got none; set one"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := NewObject(test.content)
			got, ok := errors.AsType[*FieldError](err)
			if !ok {
				t.Fatalf("NewObject() error = %v, want a *FieldError", err)
			}
			if diff := gocmp.Diff(test.want, *got); diff != "" {
				t.Errorf("NewObject() error mismatch (-want +got):\n%s", diff)
			}
			raw, err := json.Marshal(test.content)
			if err != nil {
				t.Fatal(err)
			}
			_, err = ReadObject(test.content["apiVersion"].(string), test.content["kind"].(string), "", raw)
			got, ok = errors.AsType[*FieldError](err)
			if !ok {
				t.Fatalf("ReadObject() error = %v, want a *FieldError", err)
			}
			if diff := gocmp.Diff(test.want, *got); diff != "" {
				t.Errorf("ReadObject() error mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFieldIsWrittenAsAPIServersWriteIt(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/spec/ports/0/port":                      "spec.ports[0].port",
		"/metadata/annotations/example.com~1team": "metadata.annotations[example.com/team]",
		"/metadata/labels/app":                    "metadata.labels.app",
		"/spec/template/spec/containers/10":       "spec.template.spec.containers[10]",
		"/metadata/labels/a~0b":                   "metadata.labels[a~b]",
		"/metadata/labels/\x1b[31m":               `metadata.labels[\x1b[31m]`,
		"/metadata/labels/" + strings.Repeat("a", 200): "metadata.labels." + strings.Repeat("a", 33) + "…" +
			strings.Repeat("a", 48),
	} {
		if got := (&FieldError{Path: path}).Field(); got != want {
			t.Errorf("Field() of %q = %q, want %q", path, got, want)
		}
	}
}

func TestNewObjectAcceptsLargeNumbersInFieldsOf64Bits(t *testing.T) {
	object, err := NewObject(map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"name": "web", "generation": int64(1) << 40},
		"spec":     map[string]any{"replicas": int64(3)},
	})
	if err != nil || *object.Workload.Replicas != 3 {
		t.Errorf("NewObject() = %v, %v; want 3 replicas", object, err)
	}
}

func TestOnlyAKeyThatIsSetTwiceIsSaidToBe(t *testing.T) {
	t.Parallel()
	if err := unambiguous([]byte(`{"a": 1, "b": {"a": 2}}`)); err != nil {
		t.Errorf("unambiguous() of an object without such a key = %v", err)
	}
	err := unambiguous([]byte(`{"a": {"b": 1, "b": 2}}`))
	if want := `key "a.b" is set twice; remove one`; err == nil || err.Error() != want {
		t.Errorf("unambiguous() of an object with one = %v, want %s", err, want)
	}
	for _, raw := range []string{`{"a": 1,}`, `{"a"`, `{"a": 1} x`} {
		if err := unambiguous([]byte(raw)); err == nil || strings.Contains(err.Error(), "set twice") {
			t.Errorf("unambiguous(%s) = %v, want a syntax error", raw, err)
		}
	}
}

// TestKeysAreCaseSensitive: a key in another case is an unknown field, also where the converter leaves the decoding to
// the JSON decoder, as for an object with a large number.
func TestKeysAreCaseSensitive(t *testing.T) {
	t.Parallel()
	content := func() map[string]any {
		return map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment",
			"metadata": map[string]any{"name": "web", "generation": int64(1) << 40, "Labels": "x"},
			"spec":     map[string]any{"Replicas": "x", "template": map[string]any{"Spec": []any{}}},
		}
	}
	decoded, err := NewObject(content())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(content())
	if err != nil {
		t.Fatal(err)
	}
	read, err := ReadObject("apps/v1", "Deployment", "", raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range []*Object{decoded, read} {
		if object.Workload.Replicas != nil || object.labels() != nil {
			t.Errorf("%d replicas and labels %v, want none", *object.Workload.Replicas, object.labels())
		}
	}
}

// TestDecodedAtOnceIsDecodedAlike changes values, keys and bytes of objects. Whatever is decoded at once must be what
// the decoder of API servers makes of it, without a key that is set twice.
func TestDecodedAtOnceIsDecodedAlike(t *testing.T) {
	t.Parallel()
	const metadata = `"metadata":{"name":"web","labels":{"app":"web"},"annotations":{"a/b":"1"},"generation":3,` +
		`"creationTimestamp":"2026-11-21T10:00:00Z",` +
		`"ownerReferences":[{"kind":"Rollout","name":"web","controller":true}],` +
		`"managedFields":[{"manager":"kubectl","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:replicas":{}}}}]}`
	const template = `"template":{"metadata":{"labels":{"app":"web"}},"spec":{"hostNetwork":false,` +
		`"nodeSelector":{"a":"b"},"terminationGracePeriodSeconds":30,"tolerations":[{"key":"a","tolerationSeconds":5}],` +
		`"topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"a","whenUnsatisfiable":"DoNotSchedule",` +
		`"labelSelector":{"matchExpressions":[{"key":"app","operator":"In","values":["web"]}]}}],` +
		`"containers":[{"name":"web","ports":[{"containerPort":80}],"resources":{"requests":{"cpu":"100m","memory":1024}},` +
		`"readinessProbe":{"httpGet":{"port":"http"}},"lifecycle":{"preStop":{"sleep":{"seconds":5}}}}]}}`
	seeds := []struct {
		raw  string
		into func() any
	}{
		{
			`{"apiVersion":"v1","kind":"Service",` + metadata + `,"spec":{"type":"LoadBalancer","selector":{"app":"web"},` +
				`"ports":[{"port":80,"targetPort":"http","nodePort":30080},{"port":443,"targetPort":8443}],` +
				`"sessionAffinityConfig":{"clientIP":{"timeoutSeconds":10}},"externalTrafficPolicy":"Local"},` +
				`"status":{"conditions":[{"lastTransitionTime":null}]}}`,
			func() any { return new(corev1.Service) },
		},
		{
			`{` + metadata + `,"spec":{"replicas":3,"selector":{"matchLabels":{"app":"web"}},` + template + `,` +
				`"strategy":{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":1}}}}`,
			func() any { return new(appsv1.Deployment) },
		},
		{
			`{` + metadata + `,"spec":{"replicas":3,"workloadRef":{"name":"web"},` + template + `,` +
				`"strategy":{"canary":{"maxSurge":"25%","trafficRouting":{}}}}}`,
			func() any { return new(rollout) },
		},
		{
			`{` + metadata + `,"spec":{"match":{"namespaceSelector":{}},"parameters":{"a":[1,null,{"b":1.5}]},` +
				`"rules":[{"id":"unspread-behind-local","mode":"Mutate"}]}}`,
			func() any { return new(v1alpha1.SourceIPPolicy) },
		},
		{
			`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","dryRun":false,` +
				`"operation":"UPDATE","object":{` + metadata + `},"oldObject":null,"options":{"fieldManager":"kubectl"}}}`,
			func() any { return new(admissionv1.AdmissionReview) },
		},
	}
	const seed, changes = 18, 20_000
	random := rand.New(rand.NewPCG(seed, 0))
	values := []string{
		`"x"`, `""`, `null`, `true`, `0`, `-1`, `1.0`, `1.5`, `1e3`, `1E400`, `-0`, `4294967297`, `9223372036854775808`,
		strings.Repeat("9", 301), `{}`, `[]`, `[null]`, `{"a":null}`, `{"a":1,"a":2}`, `"2026-11-21T10:00:00Z"`, `"1e400"`,
		`"\ud800"`, "\"\xff\"", `"Ki"`, `"100m"`,
	}
	for _, s := range seeds {
		tokens := jsonToken.FindAllString(s.raw, -1)
		if strings.Join(tokens, "") != s.raw || !decodedAtOnce([]byte(s.raw), s.into()) {
			t.Fatalf("%s is not decoded at once", s.raw)
		}
		same := 0
		for range changes {
			changed := slices.Clone(tokens)
			for range 1 + random.IntN(2) {
				i := random.IntN(len(changed))
				switch random.IntN(5) {
				case 0:
					changed[i] = ""
				case 1:
					changed[i] += changed[i]
				case 2:
					changed[i] = strings.ToUpper(changed[i])
				case 3:
					changed[i] = tokens[random.IntN(len(tokens))]
				default:
					changed[i] = values[random.IntN(len(values))]
				}
			}
			raw := []byte(strings.Join(changed, ""))
			got, want := s.into(), s.into()
			if !decodedAtOnce(raw, got) {
				if !reflect.ValueOf(got).Elem().IsZero() {
					t.Fatalf("%s: something of it is decoded", raw)
				}
				continue
			}
			same++
			err := cmp.Or(unambiguous(raw), kjson.UnmarshalCaseSensitivePreserveInts(raw, want))
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%s: decoded at once, but otherwise: %v\n%s", raw, err, gocmp.Diff(want, got))
			}
		}
		t.Logf("seed %d: %d of %d are decoded at once", seed, same, changes)
		if same < changes/20 {
			t.Errorf("%.40s…: only %d of %d are decoded at once", s.raw, same, changes)
		}
	}
}

// jsonToken matches a token of compact JSON.
var jsonToken = regexp.MustCompile(`"[^"]*"|[0-9.]+|[a-z]+|[][{}:,]`)
