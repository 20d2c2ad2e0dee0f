//go:build linux

package bench

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/sourceward/sourceward/test/sandbox"
)

const (
	memoryNamespaces  = 100
	memoryDeployments = 10_000
	// oldReplicaSets is the number of old ReplicaSets that each Deployment keeps.
	oldReplicaSets = 5
)

// BenchmarkMemory starts the webhook for an API server without workloads, with Deployments, and with Deployments and
// their old ReplicaSets. It reports the resident memory of the process, the live heap, and the live heap for each
// Deployment.
func BenchmarkMemory(b *testing.B) {
	ctx := b.Context()
	c := startCluster(b)
	binary, err := sandbox.Build(ctx, b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	s, err := sandbox.Install(ctx, c, binary, sandbox.Options{CertDir: certificates(b)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Stop(); err != nil {
			b.Error(err)
		}
	})
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		b.Fatal(err)
	}
	// Measure the memory for caches, not that for requests.
	api := client.AdmissionregistrationV1()
	if err := api.MutatingWebhookConfigurations().Delete(ctx, "sourceward", metav1.DeleteOptions{}); err != nil {
		b.Fatal(err)
	}
	if err := api.ValidatingWebhookConfigurations().Delete(ctx, "sourceward", metav1.DeleteOptions{}); err != nil {
		b.Fatal(err)
	}
	for i := range memoryNamespaces {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: team(i)}}
		if _, err := client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
	}

	var none float64
	for _, step := range []struct {
		name   string
		create func(ctx context.Context, i int) error
	}{
		{"none", nil},
		{
			fmt.Sprintf("deployments=%d", memoryDeployments),
			func(ctx context.Context, i int) error { return createDeployment(ctx, client, i) },
		},
		{
			fmt.Sprintf("deployments=%d/replicasets=%d", memoryDeployments, memoryDeployments*oldReplicaSets),
			func(ctx context.Context, i int) error { return createReplicaSets(ctx, client, i) },
		},
	} {
		if step.create != nil {
			group, ctx := errgroup.WithContext(ctx)
			group.SetLimit(8)
			for i := range memoryDeployments {
				group.Go(func() error { return step.create(ctx, i) })
			}
			if err := group.Wait(); err != nil {
				b.Fatal(err)
			}
		}
		replica := s.Replicas[0]
		if err := replica.StopReplica(); err != nil {
			b.Fatal(err)
		}
		if err := s.StartReplica(ctx, replica); err != nil {
			b.Fatal(err)
		}
		alive := heapAlive(b, replica)
		cached, err := replica.Metric(ctx, `sourceward_cache_objects{kind="Deployment"}`)
		if err != nil || step.create != nil && cached != memoryDeployments {
			b.Fatalf("%v Deployments are cached, want %d: %v", cached, memoryDeployments, err)
		}
		if step.create == nil {
			none = alive
		}
		b.Run(step.name, func(b *testing.B) {
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(processMemory(b, replica.PID(), resident), "MiB")
			b.ReportMetric(alive/(1<<20), "heap-MiB")
			if step.create != nil {
				b.ReportMetric((alive-none)/memoryDeployments, "heap-B/Deployment")
			}
		})
	}
}

// heapAlive returns the size of the live heap in bytes. It derives the size from the heap size at which Go collects
// garbage next, which is twice the live heap after the last collection. It waits for several collections and returns
// the smallest value, because a request may be in flight during a collection.
func heapAlive(b *testing.B, replica *sandbox.Replica) float64 {
	least := 0.0
	collected := -1.0
	for collections := 0; collections < 4; {
		done, err1 := replica.Metric(b.Context(), "go_gc_duration_seconds_count")
		next, err2 := replica.Metric(b.Context(), "go_memstats_next_gc_bytes")
		if err1 != nil || err2 != nil {
			b.Fatal(err1, err2)
		}
		if done != collected {
			collected = done
			collections++
			if alive := next / 2; least == 0 || alive < least {
				least = alive
			}
		}
		// The scrapes create the garbage. If they create too little for a long time, Go collects it anyway.
		time.Sleep(time.Millisecond)
	}
	return least
}

func team(i int) string { return fmt.Sprintf("team-%d", i%memoryNamespaces) }

// memoryTemplate returns a typical pod template. The webhook does not need most of it.
func memoryTemplate(i int) corev1.PodTemplateSpec {
	probe := &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("web")}},
	}
	resources := corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi"),
	}}
	container := func(name string, port int32) corev1.Container {
		return corev1.Container{
			Name: name, Image: "registry.example.com/" + name + ":1.2.3", Resources: resources,
			ReadinessProbe: probe, LivenessProbe: probe,
			Env: []corev1.EnvVar{
				{Name: "LOG_LEVEL", Value: "info"},
				{Name: "REGION", Value: "eu-1"},
				{Name: "PEERS", Value: "peers.example.com"},
			},
			Ports: []corev1.ContainerPort{{Name: name, ContainerPort: port}},
		}
	}
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{
			Labels: memoryLabels(i),
			Annotations: map[string]string{
				"prometheus.io/scrape": "true",
				"checksum/config":      "1f40fc92da241694750979ee6cf582f2d5d7d28e18335de05abc54d0560e0f53",
			},
		},
		Spec: corev1.PodSpec{
			ServiceAccountName: "web",
			Containers:         []corev1.Container{container("web", 8080), container("proxy", 15001)},
		},
	}
}

func memoryLabels(i int) map[string]string {
	return map[string]string{
		appLabel:                     app(i),
		"app.kubernetes.io/instance": app(i),
		"app.kubernetes.io/part-of":  team(i),
		"app.kubernetes.io/version":  "1.2.3",
	}
}

func createDeployment(ctx context.Context, client kubernetes.Interface, i int) error {
	_, err := client.AppsV1().Deployments(team(i)).Create(ctx, memoryDeployment(i), metav1.CreateOptions{})
	return err
}

// memoryDeployment returns a Deployment with the annotations that kubectl and the Deployment controller add.
func memoryDeployment(i int) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: app(i), Labels: memoryLabels(i), Annotations: map[string]string{
			"deployment.kubernetes.io/revision": "6", corev1.LastAppliedConfigAnnotation: strings.Repeat("x", 2000),
		}},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(3)), Template: memoryTemplate(i),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{appLabel: app(i)}},
		},
	}
}

func createReplicaSets(ctx context.Context, client kubernetes.Interface, i int) error {
	for revision := range oldReplicaSets {
		template := memoryTemplate(i)
		hash := fmt.Sprintf("%d", revision)
		template.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
		_, err := client.AppsV1().ReplicaSets(team(i)).Create(ctx, &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{
				Name:   app(i) + "-" + hash,
				Labels: template.Labels,
				OwnerReferences: []metav1.OwnerReference{{
					APIVersion: "apps/v1", Kind: "Deployment", Name: app(i),
					UID: "00000000-0000-0000-0000-000000000000", Controller: new(true),
				}},
			},
			Spec: appsv1.ReplicaSetSpec{
				Replicas: new(int32(0)), Template: template,
				Selector: &metav1.LabelSelector{
					MatchLabels: map[string]string{appLabel: app(i), appsv1.DefaultDeploymentUniqueLabelKey: hash},
				},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
	}
	return nil
}
