package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func TestNodesRunPods(t *testing.T) {
	t.Parallel()
	c := start(t, Options{Nodes: 3})
	client := kubernetes.NewForConfigOrDie(c.Config())

	labels := map[string]string{"app": "web"}
	replicas := int32(6)
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web"}}},
			},
		},
	}
	deployments := client.AppsV1().Deployments(metav1.NamespaceDefault)
	if _, err := deployments.Create(t.Context(), deployment, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, c, "six ready pods", func(ctx context.Context) (bool, error) {
		got, err := deployments.Get(ctx, "web", metav1.GetOptions{})
		return err == nil && got.Status.ReadyReplicas == replicas, err
	})

	pods, err := client.CoreV1().Pods(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	nodes, addresses := map[string]bool{}, map[string]bool{}
	for _, pod := range pods.Items {
		nodes[pod.Spec.NodeName] = true
		addresses[pod.Status.PodIP] = true
	}
	if len(nodes) != 3 || len(addresses) != 6 {
		t.Errorf("six pods have nodes %v and addresses %v, want three and six", nodes, addresses)
	}
}

func TestEveryVersionServes(t *testing.T) {
	t.Parallel()
	for _, version := range Versions() {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			c := start(t, Options{Version: version})
			checkVersion(t, c, version)
			checkUser(t, c)
		})
	}
}

// checkVersion compares the versions that kubectl and the API server report with the one that go.mod requires.
func checkVersion(t *testing.T, c *Cluster, version Version) {
	t.Helper()
	r, err := find(t.Context(), version)
	if err != nil {
		t.Fatal(err)
	}
	output, err := c.Kubectl(t.Context(), "version", "--output=json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		ClientVersion, ServerVersion struct{ GitVersion string }
	}
	if err := json.Unmarshal(output, &got); err != nil {
		t.Fatal(err)
	}
	if got.ClientVersion.GitVersion != r.kubernetes || got.ServerVersion.GitVersion != r.kubernetes {
		t.Errorf("kubectl version: %+v, want %s twice", got, r.kubernetes)
	}
}

// checkUser checks that a user can do something only after RBAC grants it.
func checkUser(t *testing.T, c *Cluster) {
	t.Helper()
	const user = "system:serviceaccount:default:reader"
	path, err := c.UserKubeconfig(user)
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	services := kubernetes.NewForConfigOrDie(config).CoreV1().Services(metav1.NamespaceAll)
	if _, err := services.List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Fatalf("list Services without a binding: %v, want forbidden", err)
	}
	bind := c.Kubectl(t.Context(), "create", "clusterrolebinding", "reader", "--clusterrole=cluster-admin", "--user="+user)
	if output, err := bind.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	eventually(t, c, "list Services with a binding", func(ctx context.Context) (bool, error) {
		_, err := services.List(ctx, metav1.ListOptions{})
		return err == nil, err
	})
}

func TestErrorsNameAComponentThatDiedAndItsLog(t *testing.T) {
	c := withBinary(t, "etcd", "echo no space left; exit 3")
	if err := c.startEtcd(); err != nil {
		t.Fatal(err)
	}
	const want = "etcd ended by itself, exit status 3"
	err := c.await(t.Context(), "never", func(context.Context) (bool, error) { return false, nil })
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("await() = %v, want an error that contains %q and the log", err, want)
	}
	if logs := c.Logs(); !strings.Contains(logs, want) {
		t.Errorf("Logs() does not contain %q:\n%s", want, logs)
	}
	if err := c.Stop(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Stop() = %v, want an error that contains %q", err, want)
	}
}

func TestStartTriesAnotherPortIfOneIsTaken(t *testing.T) {
	c := withBinary(t, "kube-apiserver", "echo $3 >>ports; echo bind: address already in use; exit 1")
	if err := c.startAPIServer(t.Context(), Options{}); err == nil {
		t.Error("startAPIServer() = nil, want an error after three attempts")
	}
	ports, err := os.ReadFile(filepath.Join(c.Dir, "ports"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(ports), "--secure-port="); got != 3 {
		t.Errorf("kube-apiserver was started with %q, want three ports", ports)
	}
}

// withBinary returns a cluster that is not started, with a shell script as one of its binaries.
func withBinary(t *testing.T, name, script string) *Cluster {
	t.Helper()
	ca, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t.TempDir(), t.TempDir(), ca)
	if err := os.WriteFile(c.Binary(name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestStartWithoutBinariesSaysHowToBuildThem(t *testing.T) {
	t.Setenv("SOURCEWARD_CACHE", t.TempDir())
	_, err := Start(t.Context(), Options{})
	if want := "run `make cluster` once to build it"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Start() = %v, want an error that contains %q", err, want)
	}
}

// start starts a cluster, and stops it when the test ends. It fails the test if a process or a file is left then.
func start(t *testing.T, options Options) *Cluster {
	t.Helper()
	c, err := Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Stop(), c.Stop()); err != nil {
			t.Errorf("Stop() = %v", err)
		}
		for _, p := range c.processes {
			if err := syscall.Kill(p.cmd.Process.Pid, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("after Stop, signal %s: %v, want %v", p.name, err, syscall.ESRCH)
			}
		}
		if _, err := os.Stat(c.Dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after Stop, stat %s: %v, want %v", c.Dir, err, fs.ErrNotExist)
		}
	})
	return c
}

// eventually waits until ask returns true. The timeout of a minute is for machines that are busy.
func eventually(t *testing.T, c *Cluster, what string, ask func(context.Context) (bool, error)) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(
		t.Context(),
		20*time.Millisecond,
		time.Minute,
		true,
		func(ctx context.Context) (yes bool, _ error) {
			yes, last = ask(ctx)
			return yes, nil
		},
	)
	if err != nil {
		t.Fatalf("%s: %v (%v)\n%s", what, err, last, c.Logs())
	}
}

// TestOutages restarts the API server and stops etcd for a moment.
func TestOutages(t *testing.T) {
	t.Parallel()
	c := start(t, Options{})
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.RestartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Namespaces().Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
		t.Errorf("after the restart: %v", err)
	}

	if err := c.Signal("etcd", syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// A signal takes a moment to stop all threads of a process.
	eventually(t, c, "the API server cannot read from an etcd that is stopped", func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := client.CoreV1().Namespaces().Get(ctx, "kept", metav1.GetOptions{})
		return err != nil, nil
	})
	if err := c.Signal("etcd", syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, c, "the API server reads again", func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().Namespaces().Get(ctx, "kept", metav1.GetOptions{})
		return err == nil, err
	})
	if err := c.Signal("kubelet", syscall.SIGSTOP); err == nil {
		t.Error("Signal() = nil for a component that does not exist")
	}
}
