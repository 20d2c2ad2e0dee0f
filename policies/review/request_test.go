package review_test

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/review"
)

var (
	serviceKind    = metav1.GroupVersionKind{Version: "v1", Kind: "Service"}
	deploymentKind = metav1.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	deployments    = metav1.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
)

func TestJudges(t *testing.T) {
	t.Parallel()
	scale := metav1.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"}
	tests := map[string]struct {
		request admissionv1.AdmissionRequest
		want    bool
	}{
		"a Service that is created": {
			admissionv1.AdmissionRequest{Kind: serviceKind, Operation: admissionv1.Create},
			true,
		},
		"a Deployment that is updated": {
			admissionv1.AdmissionRequest{Kind: deploymentKind, Operation: admissionv1.Update},
			true,
		},
		"a Deployment that is scaled": {
			admissionv1.AdmissionRequest{
				Kind:        scale,
				Resource:    deployments,
				SubResource: "scale",
				Operation:   admissionv1.Update,
			},
			true,
		},
		"a Service that is deleted": {
			admissionv1.AdmissionRequest{Kind: serviceKind, Operation: admissionv1.Delete},
			false,
		},
		"a connection to a Service": {
			admissionv1.AdmissionRequest{Kind: serviceKind, Operation: admissionv1.Connect},
			false,
		},
		"the status of a Deployment": {
			admissionv1.AdmissionRequest{
				Kind:        deploymentKind,
				Resource:    deployments,
				SubResource: "status",
				Operation:   admissionv1.Update,
			},
			false,
		},
		"the scale of another workload": {
			admissionv1.AdmissionRequest{
				Kind:        scale,
				Resource:    metav1.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"},
				SubResource: "scale",
				Operation:   admissionv1.Update,
			},
			false,
		},
		"a Pod": {
			admissionv1.AdmissionRequest{
				Kind:      metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
				Operation: admissionv1.Create,
			},
			false,
		},
		"an older version of Deployment": {
			admissionv1.AdmissionRequest{
				Kind:      metav1.GroupVersionKind{Group: "apps", Version: "v1beta1", Kind: "Deployment"},
				Operation: admissionv1.Create,
			},
			false,
		},
		"an empty request": {admissionv1.AdmissionRequest{}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := review.Judges(&test.request); got != test.want {
				t.Errorf("Judges() is %t, want %t", got, test.want)
			}
		})
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	const service = `{"metadata":{"name":"web"},` +
		`"spec":{"type":"LoadBalancer","unknown":{"field":1},"healthCheckNodePort":32500}}`
	tests := map[string]struct {
		request     admissionv1.AdmissionRequest
		object, old string
		wantErr     string
	}{
		"a creation": {
			request: admissionv1.AdmissionRequest{Kind: serviceKind, Operation: admissionv1.Create},
			object:  service,
		},
		"an update": {
			request: admissionv1.AdmissionRequest{Kind: serviceKind, Operation: admissionv1.Update},
			object:  service,
			old:     service,
		},
		"an update without the old object": {
			request: admissionv1.AdmissionRequest{Kind: serviceKind, Operation: admissionv1.Update},
			object:  service,
			wantErr: "read oldObject: ",
		},
		"no object": {
			request: admissionv1.AdmissionRequest{Kind: serviceKind, Operation: admissionv1.Create},
			wantErr: "read object: ",
		},
		"null": {
			request: admissionv1.AdmissionRequest{Kind: serviceKind, Operation: admissionv1.Create},
			object:  "null",
			wantErr: "read object: want an object, got nothing",
		},
		"a list": {
			request: admissionv1.AdmissionRequest{Kind: serviceKind, Operation: admissionv1.Create},
			object:  "[]",
			wantErr: "read object: ",
		},
		"a field of the wrong type": {
			request: admissionv1.AdmissionRequest{Kind: serviceKind, Operation: admissionv1.Create},
			object:  `{"metadata":{"name":"web"},"spec":{"type":7}}`,
			wantErr: "read object: /spec/type: want a string",
		},
		"an object that has no name, nor will be had": {
			request: admissionv1.AdmissionRequest{Kind: serviceKind, Operation: admissionv1.Create},
			object:  `{"spec":{}}`,
			wantErr: "read object: /metadata/name: ",
		},
		"a Deployment with a null template": {
			request: admissionv1.AdmissionRequest{Kind: deploymentKind, Operation: admissionv1.Create},
			object:  `{"metadata":{"name":"web"},"spec":{"template":null}}`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.request.Namespace = "edge"
			test.request.Object.Raw, test.request.OldObject.Raw = []byte(test.object), []byte(test.old)
			in, err := review.Read(&test.request)
			if test.wantErr != "" {
				if err == nil || !strings.HasPrefix(err.Error(), test.wantErr) {
					t.Fatalf("Read() error is %v, want %s…", err, test.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := policies.Ref{Namespace: "edge", Name: "web", Kind: test.request.Kind.Kind, APIVersion: in.Object.APIVersion}
			if in.Object.Ref != want || string(in.Operation) != string(test.request.Operation) ||
				(in.Old != nil) != (test.old != "") {
				t.Errorf("Read() is %s of %s, old: %t; want %s", in.Operation, in.Object.Ref, in.Old != nil, want)
			}
		})
	}
}

// FuzzRead feeds a review of anything to the whole way from bytes to a response.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"metadata":{"name":"web"},"spec":{"type":"ClusterIP","externalTrafficPolicy":"Local"}}`), true, false)
	f.Add([]byte(`{"metadata":{"generateName":"web-"},"spec":{"template":null}}`), false, true)
	f.Add([]byte(`{"metadata":null}`), false, false)
	rules, problems := bundle.Compile(nil)
	if problems != nil {
		f.Fatal(problems)
	}
	f.Fuzz(func(t *testing.T, raw []byte, service, update bool) {
		request := &admissionv1.AdmissionRequest{Kind: deploymentKind, Operation: admissionv1.Create, Namespace: "edge"}
		if service {
			request.Kind = serviceKind
		}
		request.Object.Raw = raw
		if update {
			request.Operation, request.OldObject.Raw = admissionv1.Update, raw
		}
		in, err := review.Read(request)
		if err != nil {
			return
		}
		decision, _ := policies.Decide(t.Context(), in, rules, policies.Settings{})
		for _, endpoint := range review.ObjectEndpoints {
			if _, _, err := review.Respond(endpoint, decision); err != nil {
				t.Error(err)
			}
		}
	})
}
