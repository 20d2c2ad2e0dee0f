package review_test

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
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
			wantErr: "read object: spec.type: want a string",
		},
		"a duplicate key": {
			request: admissionv1.AdmissionRequest{Kind: serviceKind, Operation: admissionv1.Create},
			object:  `{"metadata":{"name":"web"},"spec":{"type":"LoadBalancer"},"spec":null}`,
			wantErr: `read object: key "spec" is set twice; remove one`,
		},
		"a duplicate key that is written in another way": {
			request: admissionv1.AdmissionRequest{Kind: serviceKind, Operation: admissionv1.Create},
			object:  `{"metadata":{"name":"web"},"spec":{"selector":{"app":"web","\u0061pp":"api"}}}`,
			wantErr: `read object: key "spec.selector.app" is set twice; remove one`,
		},
		"a duplicate key in a list": {
			request: admissionv1.AdmissionRequest{Kind: deploymentKind, Operation: admissionv1.Create},
			object: `{"metadata":{"name":"web"},` +
				`"spec":{"template":{"spec":{"containers":[{"name":"web"},{"name":"a","name":"b"}]}}}}`,
			wantErr: `read object: key "spec.template.spec.containers[1].name" is set twice; remove one`,
		},
		"a duplicate key in an unknown field": {
			request: admissionv1.AdmissionRequest{Kind: serviceKind, Operation: admissionv1.Create},
			object:  `{"metadata":{"name":"web"},"spec":{"shape":[{"round":{"a":1,"a":1}}]}}`,
			wantErr: `read object: key "spec.shape[0].round.a" is set twice; remove one`,
		},
		"a duplicate key that is unknown": {
			request: admissionv1.AdmissionRequest{Kind: serviceKind, Operation: admissionv1.Create},
			object:  `{"metadata":{"name":"web"},"spec":{},"shape":1,"shape":1}`,
			wantErr: `read object: key "shape" is set twice; remove one`,
		},
		"a duplicate key in managedFields": {
			request: admissionv1.AdmissionRequest{Kind: serviceKind, Operation: admissionv1.Create},
			object: `{"metadata":{"name":"web","managedFields":[{},` +
				`{"operation":"Apply","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{},"f:spec":{}}}]}}`,
			wantErr: `read object: key "metadata.managedFields[1].fieldsV1[f:spec]" is set twice; remove one`,
		},
		"a duplicate key of the old object": {
			request: admissionv1.AdmissionRequest{Kind: serviceKind, Operation: admissionv1.Update},
			object:  service,
			old:     `{"metadata":{"name":"web"},"metadata":null}`,
			wantErr: `read oldObject: key "metadata" is set twice; remove one`,
		},
		"a long duplicate key": {
			request: admissionv1.AdmissionRequest{Kind: serviceKind, Operation: admissionv1.Create},
			object: `{"metadata":{"name":"web"},"` + strings.Repeat("a", 1000) + `":1,"` +
				strings.Repeat("a", 1000) + `":1}`,
			wantErr: `read object: key "aaa`,
		},
		"a key in another case is an unknown field": {
			request: admissionv1.AdmissionRequest{Kind: deploymentKind, Operation: admissionv1.Create},
			object:  `{"metadata":{"name":"web"},"spec":{"Replicas":"x","minReadySeconds":1},"Spec":[]}`,
		},
		"an object that has no name, nor will be had": {
			request: admissionv1.AdmissionRequest{Kind: serviceKind, Operation: admissionv1.Create},
			object:  `{"spec":{}}`,
			wantErr: "read object: metadata.name: ",
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
				if err == nil || !strings.HasPrefix(err.Error(), test.wantErr) || len(err.Error()) > 200 {
					t.Fatalf("Read() error is %v, want %s…, in at most 200 bytes", err, test.wantErr)
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

// TestReadPolicyAndScale checks that both are read as the objects under review are.
func TestReadPolicyAndScale(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		policy, scale string
		wantErr       string
		wantReplicas  int32
		wantParameter string
	}{
		"both": {
			policy:       `{"metadata":{"name":"p"},"spec":{"parameters":{"a":1}}}`,
			scale:        `{"metadata":{"name":"web"},"spec":{"replicas":3}}`,
			wantReplicas: 3, wantParameter: `{"a":1}`,
		},
		"keys in another case": {
			policy: `{"metadata":{"name":"p"},"Spec":[],"spec":{"Parameters":{"a":1}}}`,
			scale:  `{"metadata":{"name":"web"},"Spec":[],"spec":{"Replicas":3}}`,
		},
		"a duplicate key": {
			policy:  `{"metadata":{"name":"p"},"spec":{},"spec":{}}`,
			scale:   `{"metadata":{"name":"web"},"spec":{"replicas":3},"spec":{"replicas":4}}`,
			wantErr: `key "spec" is set twice; remove one`,
		},
		"a duplicate key in a field that is not typed": {
			policy:  `{"metadata":{"name":"p"},"spec":{"parameters":{"a":[{"b":1,"b":1}]}}}`,
			scale:   `{"metadata":{"name":"web"},"spec":{"parameters":{"a":[{"b":1,"b":1}]}}}`,
			wantErr: `key "spec.parameters.a[0].b" is set twice; remove one`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request := &admissionv1.AdmissionRequest{
				Kind: metav1.GroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.Kind)), Operation: admissionv1.Create,
			}
			request.Object.Raw = []byte(test.policy)
			policy, policyErr := review.ReadPolicy(request)
			request.Object.Raw, request.OldObject.Raw = []byte(test.scale), []byte(test.scale)
			in, scaleErr := review.ReadScale(request, &policies.Workload{
				Ref: policies.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "edge", Name: "web"},
			})
			if test.wantErr != "" {
				for _, err := range []error{policyErr, scaleErr} {
					if err == nil || err.Error() != "read object: "+test.wantErr {
						t.Errorf("error is %v, want read object: %s", err, test.wantErr)
					}
				}
				return
			}
			if policyErr != nil || scaleErr != nil {
				t.Fatal(policyErr, scaleErr)
			}
			parameters := ""
			if policy.Spec.Parameters != nil {
				parameters = string(policy.Spec.Parameters.Raw)
			}
			if got := *in.Object.Workload.Replicas; got != test.wantReplicas || parameters != test.wantParameter {
				t.Errorf("got %d replicas and parameters %q, want %d and %q",
					got, parameters, test.wantReplicas, test.wantParameter)
			}
		})
	}
}
