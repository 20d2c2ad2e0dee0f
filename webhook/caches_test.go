package webhook

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sourceward/sourceward/policies"
)

// TestReductions checks that a cached object holds what the rules read and nothing else.
func TestReductions(t *testing.T) {
	t.Parallel()
	meta := metav1.ObjectMeta{
		Namespace: "edge", Name: "web", UID: "u", ResourceVersion: "7", Labels: map[string]string{"a": "b"},
		Annotations:   map[string]string{corev1.LastAppliedConfigAnnotation: "{}", "c": "d"},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
	}
	wantMeta := metav1.ObjectMeta{
		Namespace: "edge", Name: "web", UID: "u", ResourceVersion: "7",
		Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"},
	}
	deployment := &appsv1.Deployment{ObjectMeta: meta, Status: appsv1.DeploymentStatus{Replicas: 3}}
	deployment.Spec.Template.Spec.Containers = []corev1.Container{
		{Name: "web", Image: "web", Env: []corev1.EnvVar{{Name: "SECRET"}}},
	}
	wantWorkload := policies.NewWorkload(deployment)
	wantTemplate := corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web"}}}}
	got, err := reduced(deployment)
	held, _ := got.(*cached)
	ignored := cmpopts.IgnoreUnexported(policies.UpdateStrategy{})
	if err != nil || held == nil || held.Name != "web" || held.UID != "u" || held.ResourceVersion != "7" ||
		held.ManagedFields != nil {
		t.Errorf("Deployment is cached as %+v, error %v", got, err)
	} else if diff := cmp.Diff(any(wantWorkload), held.neighbour, ignored); diff != "" {
		t.Errorf("Deployment mismatch (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantTemplate, wantWorkload.Template); diff != "" {
		t.Errorf("template mismatch (-want +got):\n%s", diff)
	}
	service := &corev1.Service{
		ObjectMeta: meta,
		Status: corev1.ServiceStatus{
			LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}},
		},
	}
	wantService := &corev1.Service{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: wantMeta}
	got, err = reduced(service)
	if diff := cmp.Diff(any(wantService), got); err != nil || diff != "" {
		t.Errorf("Service mismatch (-want +got), error %v:\n%s", err, diff)
	}
}
