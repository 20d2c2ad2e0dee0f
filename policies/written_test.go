package policies

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestExplicit(t *testing.T) {
	managed := func(operation metav1.ManagedFieldsOperationType, subresource, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Operation: operation, Subresource: subresource, FieldsV1: metav1.NewFieldsV1(fields)}
	}
	const withPolicy, withPorts = `{"f:spec":{"f:externalTrafficPolicy":{},"f:ports":{}}}`, `{"f:spec":{"f:ports":{}}}`
	tests := map[string]struct {
		meta   metav1.ObjectMeta
		inFile InFile
		want   Explicit
	}{
		"online without any record":                  {metav1.ObjectMeta{}, InFileUnknown, ExplicitUnknown},
		"a file that sets it":                        {metav1.ObjectMeta{}, InFileWritten, ExplicitWritten},
		"a file that does not set it":                {metav1.ObjectMeta{}, InFileAbsent, ExplicitDefaulted},
		"an export of a live object, which sets all": {metav1.ObjectMeta{UID: "1"}, InFileWritten, ExplicitUnknown},
		"last-applied sets it": {
			metav1.ObjectMeta{
				Annotations: map[string]string{lastApplied: `{"spec":{"externalTrafficPolicy":"Cluster"}}`},
			}, InFileUnknown, ExplicitWritten},
		"last-applied does not set it": {
			metav1.ObjectMeta{
				Annotations: map[string]string{lastApplied: `{"spec":{"ports":[]}}`},
			}, InFileWritten, ExplicitDefaulted},
		"last-applied sets it to null": {
			metav1.ObjectMeta{
				Annotations: map[string]string{lastApplied: `{"spec":{"externalTrafficPolicy":null}}`},
			}, InFileUnknown, ExplicitDefaulted},
		"last-applied sets another value, which something has changed since": {
			metav1.ObjectMeta{
				Annotations: map[string]string{lastApplied: `{"spec":{"externalTrafficPolicy":"Local"}}`},
			}, InFileUnknown, ExplicitUnknown},
		"last-applied sets a value of another type": {
			metav1.ObjectMeta{
				Annotations: map[string]string{lastApplied: `{"spec":{"externalTrafficPolicy":7}}`},
			}, InFileUnknown, ExplicitUnknown},
		"last-applied does not set it, and a change beside the record did": {
			metav1.ObjectMeta{
				Annotations:   map[string]string{lastApplied: `{"spec":{}}`},
				ManagedFields: []metav1.ManagedFieldsEntry{managed(metav1.ManagedFieldsOperationUpdate, "", withPolicy)},
			}, InFileUnknown, ExplicitDefaulted},
		"last-applied is older than a server-side apply that sets it": {
			metav1.ObjectMeta{
				Annotations:   map[string]string{lastApplied: `{"spec":{}}`},
				ManagedFields: []metav1.ManagedFieldsEntry{managed(metav1.ManagedFieldsOperationApply, "", withPolicy)},
			}, InFileUnknown, ExplicitWritten},
		"last-applied sets it under keys in another case": {
			metav1.ObjectMeta{
				Annotations: map[string]string{lastApplied: `{"Spec":{"externalTrafficPolicy":"Cluster"}}`},
			}, InFileUnknown, ExplicitDefaulted},
		"an applier owns it under keys in another case": {
			metav1.ObjectMeta{
				ManagedFields: []metav1.ManagedFieldsEntry{
					managed(metav1.ManagedFieldsOperationApply, "", `{"F:spec":{"f:externalTrafficPolicy":{}}}`),
				},
			}, InFileUnknown, ExplicitUnknown},
		"last-applied is not valid JSON, so the next source counts": {
			metav1.ObjectMeta{Annotations: map[string]string{lastApplied: `{`}}, InFileWritten, ExplicitWritten},
		"an applier owns it": {
			metav1.ObjectMeta{
				ManagedFields: []metav1.ManagedFieldsEntry{managed(metav1.ManagedFieldsOperationApply, "", withPolicy)},
			}, InFileUnknown, ExplicitWritten},
		"an update comes before an applier that owns it": {
			metav1.ObjectMeta{
				ManagedFields: []metav1.ManagedFieldsEntry{
					managed(metav1.ManagedFieldsOperationUpdate, "", withPolicy), managed(metav1.ManagedFieldsOperationApply, "", `{`),
					managed(metav1.ManagedFieldsOperationApply, "", withPolicy),
				},
			}, InFileUnknown, ExplicitWritten},
		"an applier owns the spec without it": {
			metav1.ObjectMeta{
				ManagedFields: []metav1.ManagedFieldsEntry{managed(metav1.ManagedFieldsOperationApply, "", withPorts)},
			}, InFileUnknown, ExplicitDefaulted},
		"an applier of annotations proves nothing": {
			metav1.ObjectMeta{
				ManagedFields: []metav1.ManagedFieldsEntry{managed(metav1.ManagedFieldsOperationApply, "", `{"f:metadata":{}}`)},
			}, InFileUnknown, ExplicitUnknown},
		"an applier of the status proves nothing": {
			metav1.ObjectMeta{
				ManagedFields: []metav1.ManagedFieldsEntry{managed(metav1.ManagedFieldsOperationApply, "status", withPolicy)},
			}, InFileUnknown, ExplicitUnknown},
		"an update proves nothing: it holds the defaults": {
			metav1.ObjectMeta{
				ManagedFields: []metav1.ManagedFieldsEntry{managed(metav1.ManagedFieldsOperationUpdate, "", withPolicy)},
			}, InFileUnknown, ExplicitUnknown},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object := &Object{meta: &test.meta, Service: &corev1.Service{Spec: corev1.ServiceSpec{
				ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyCluster,
			}}}
			if got := explicit(object, test.inFile); got != test.want {
				t.Errorf("explicit() = %s, want %s", got, test.want)
			}
		})
	}
}

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]Version{
		"1.28": {1, 28}, "v1.28": {1, 28}, "1.28.3": {1, 28},
		"v1.30.4+k3s1": {1, 30}, "1.31.0-rc.1": {1, 31}, "v1.29.5-eks-1234": {1, 29}, "1.30.4-gke.100": {1, 30},
	} {
		if got, err := ParseVersion(text); err != nil || got != want {
			t.Errorf("ParseVersion(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "1", "latest", "v", "1.x", "0.0", "2.0", "1.28foo", "1.28.x", "1.28.3.4", "1.28.", "1.28.3-", "1.28-gke.1",
		"1.28,1.29",
		"1..28", "01.28", "1.28 1.29", "1.-28", "1.28.3foo",
	} {
		if got, err := ParseVersion(text); err == nil {
			t.Errorf("ParseVersion(%q) = %v, want an error", text, got)
		}
	}
}

func TestExternallyAccessible(t *testing.T) {
	address := []string{"192.0.2.1"}
	for _, test := range []struct {
		serviceType corev1.ServiceType
		addresses   []string
		minor       uint
		want        bool
	}{
		{corev1.ServiceTypeLoadBalancer, nil, 20, true},
		{corev1.ServiceTypeNodePort, nil, 20, true},
		{corev1.ServiceTypeClusterIP, nil, 37, false},
		{corev1.ServiceTypeClusterIP, address, 29, true},
		{corev1.ServiceTypeClusterIP, address, 28, false},
		{"", address, 29, true},
		{"", nil, 29, false},
		{corev1.ServiceTypeExternalName, address, 37, false},
	} {
		service := &corev1.Service{Spec: corev1.ServiceSpec{Type: test.serviceType, ExternalIPs: test.addresses}}
		if got := ExternallyAccessible(service, Version{1, test.minor}); got != test.want {
			t.Errorf("ExternallyAccessible(%q, %v, 1.%d) = %v, want %v",
				test.serviceType, test.addresses, test.minor, got, test.want)
		}
	}
}

func TestPodSelector(t *testing.T) {
	tests := map[string]struct {
		spec corev1.ServiceSpec
		pods map[string]string
		want bool
	}{
		"equal labels": {
			corev1.ServiceSpec{Selector: map[string]string{"app": "web"}},
			map[string]string{"app": "web", "x": "y"},
			true,
		},
		"another value": {
			corev1.ServiceSpec{Selector: map[string]string{"app": "web"}},
			map[string]string{"app": "api"},
			false,
		},
		"a label that the pods lack": {
			corev1.ServiceSpec{Selector: map[string]string{"app": ""}},
			map[string]string{},
			false,
		},
		"an empty selector selects no pod": {
			corev1.ServiceSpec{Selector: map[string]string{}},
			map[string]string{"app": "web"},
			false,
		},
		"no selector selects no pod": {corev1.ServiceSpec{}, map[string]string{"app": "web"}, false},
		"an ExternalName selects no pod": {
			corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, Selector: map[string]string{"app": "web"}},
			map[string]string{"app": "web"},
			false,
		},
		"a label that a rollout added": {
			corev1.ServiceSpec{Selector: map[string]string{"app": "web", "rollouts-pod-template-hash": "1"}},
			map[string]string{"app": "web"},
			true,
		},
		"only labels that controllers set": {
			corev1.ServiceSpec{Selector: map[string]string{"pod-template-hash": "1"}},
			map[string]string{"app": "web"},
			false,
		},
		"one pod of a StatefulSet": {
			corev1.ServiceSpec{Selector: map[string]string{"app": "web", "statefulset.kubernetes.io/pod-name": "web-0"}},
			map[string]string{"app": "web"},
			false,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := test.spec.DeepCopy()
			if got := selects(&corev1.Service{Spec: test.spec}, test.pods); got != test.want {
				t.Errorf("selects() = %v, want %v", got, test.want)
			}
			if diff := cmp.Diff(*before, test.spec); diff != "" {
				t.Errorf("selects() changed the Service (-before +after):\n%s", diff)
			}
		})
	}
}
