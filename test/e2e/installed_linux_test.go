package e2e

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/cert"

	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/fakekubelet"
	"github.com/sourceward/sourceward/test/pages"
	"github.com/sourceward/sourceward/test/sandbox"
)

// serverAddress is the address of the API server in the network namespace of a test that runs pods.
const serverAddress = "192.0.2.1"

// installed is a control plane on which the webhook is installed as users do it: the API server calls the pods of the
// Deployment through the Service, and nothing of what config/ renders is changed.
type installed struct {
	*environment
	kubelet *fakekubelet.Kubelet
}

// newInstalled starts a control plane with two nodes, on which the pods of Sourceward run. images has the root file
// system of each image that they may have. The test must run in a network namespace of its own, with serverAddress.
func newInstalled(t *testing.T, images map[string]string) *installed {
	t.Helper()
	const ours = "app.kubernetes.io/name=sourceward"
	e := newBareEnvironment(t, cluster.Options{
		Nodes: 2, Address: netip.MustParseAddr(serverAddress), Unmanaged: ours,
	})
	kubelet, err := fakekubelet.Start(t.Context(), fakekubelet.Options{
		Config: e.Config(), Selector: ours, Images: images, Dir: t.TempDir(), Pods: netip.MustParsePrefix("192.0.2.128/25"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, pod := range kubelet.Pods() {
			if t.Failed() {
				t.Logf("the log of pod %s ends with\n%s", pod.Name, end(pod.Log()))
			}
		}
		if err := kubelet.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &installed{e, kubelet}
}

// end returns the end of a log.
func end(log string) string { return log[max(0, len(log)-2<<10):] }

// imageFolder is set by inNetwork, so that the image is built once and not by each process.
var imageFolder = flag.String("image", "", "the root file system of the image, instead of building it")

// buildImage builds the image of the tree with the program of make image, and unpacks it.
var buildImage = sync.OnceValues(func() (string, error) {
	command, layout, root := filepath.Join(binaries, "image"), filepath.Join(binaries, "layout"),
		filepath.Join(binaries, "root")
	for _, args := range [][]string{
		{"go", "build", "-C", "../../test/tools", "-o", command, "./image"},
		{command, "build", "-platforms", "linux/" + runtime.GOARCH, "-o", layout},
		{command, "unpack", layout, root},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		if args[0] == command {
			cmd.Dir = "../.."
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%q: %w\n%s", args, err, out)
		}
	}
	return root, nil
})

// releaseImage returns the root file system of the image of the tree.
func releaseImage(t *testing.T) string {
	t.Helper()
	if *imageFolder != "" {
		return *imageFolder
	}
	root, err := buildImage()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// apply applies an overlay in config/, and waits until its Deployment is rolled out.
func (e *installed) apply(t *testing.T, overlay string) {
	t.Helper()
	rendered := e.must(t, "", "kustomize", overlay).stdout
	e.must(t, rendered, "apply", "--server-side", "-f", "-")
	e.must(t, "", "rollout", "status", "--timeout=120s", "--namespace="+sandbox.Namespace,
		"deployment/sourceward-webhook")
}

// ready waits until the API server calls the webhook, and checks that the webhook runs as its pod template says.
func (e *installed) ready(t *testing.T, namespace string) {
	t.Helper()
	e.untilCalled(t)
	e.must(t, "", "delete", "namespace", "until-called")
	e.runsAsItsTemplate(t, namespace)
}

// runsAsItsTemplate checks that the pods of the Deployment run, and as its pod template says.
func (e *installed) runsAsItsTemplate(t *testing.T, namespace string) {
	t.Helper()
	pods := e.kubelet.Pods()
	deployment := get[appsv1.Deployment](t, e.environment, namespace, "sourceward-webhook")
	if len(pods) != int(*deployment.Spec.Replicas) {
		t.Fatalf("%d pods run, want %d", len(pods), *deployment.Spec.Replicas)
	}
	container := deployment.Spec.Template.Spec.Containers[0]
	want := strings.ReplaceAll(strings.Join(append(container.Command, container.Args...), " "),
		"$(POD_NAMESPACE)", namespace)
	for _, pod := range pods {
		cmdline := procfs(t, pod, "cmdline")
		if got := strings.ReplaceAll(strings.TrimRight(cmdline, "\x00"), "\x00", " "); got != want {
			t.Errorf("pod %s runs %q, want %q", pod.Name, got, want)
		}
		e.hasEnvironment(t, pod, container.Env, namespace)
		e.hasFiles(t, pod, namespace)
		status := procfs(t, pod, "status")
		for _, line := range []string{
			"Uid:\t65532\t65532\t65532\t65532\n", "NoNewPrivs:\t1\n", "CapEff:\t0000000000000000\n",
		} {
			if !strings.Contains(status, line) {
				t.Errorf("the status of pod %s has no line %q:\n%s", pod.Name, line, status)
			}
		}
		if root := mountOptions(procfs(t, pod, "mounts"), "/"); !slices.Contains(root, "ro") {
			t.Errorf("the root file system of pod %s is mounted with %q, want read-only", pod.Name, root)
		}
	}
}

// hasEnvironment checks that a pod has the environment variables of its template, and beside them only those of every
// pod.
func (e *installed) hasEnvironment(t *testing.T, pod *fakekubelet.Pod, variables []corev1.EnvVar, namespace string) {
	t.Helper()
	want := map[string]string{}
	for _, env := range variables {
		want[env.Name] = env.Value
		if env.ValueFrom == nil {
			continue
		}
		if env.ValueFrom.FieldRef == nil || env.ValueFrom.FieldRef.FieldPath != "metadata.namespace" {
			t.Fatalf("the test does not know the value of %s", env.Name)
		}
		want[env.Name] = namespace
	}
	got := map[string]string{}
	for variable := range strings.SplitSeq(strings.TrimRight(procfs(t, pod, "environ"), "\x00"), "\x00") {
		name, value, _ := strings.Cut(variable, "=")
		if !slices.Contains([]string{"PATH", "HOSTNAME", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"}, name) {
			got[name] = value
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment of pod %s (-template +process):\n%s", pod.Name, diff)
	}
}

// hasFiles checks that a pod has the files of the Secrets that it mounts, and a token.
func (e *installed) hasFiles(t *testing.T, pod *fakekubelet.Pod, namespace string) {
	t.Helper()
	object := get[corev1.Pod](t, e.environment, namespace, pod.Name)
	folder := func(volume string) string {
		for _, mount := range object.Spec.Containers[0].VolumeMounts {
			if mount.Name == volume {
				return fmt.Sprintf("/proc/%d/root%s", pod.PID(), mount.MountPath)
			}
		}
		t.Fatalf("pod %s does not mount %s", pod.Name, volume)
		return ""
	}
	for _, volume := range object.Spec.Volumes {
		want := []string{"ca.crt", "namespace", "token"}
		if volume.Secret != nil {
			secret := get[corev1.Secret](t, e.environment, namespace, volume.Secret.SecretName)
			want = slices.Sorted(maps.Keys(secret.Data))
			for name, data := range secret.Data {
				if file, err := os.ReadFile(filepath.Join(folder(volume.Name), name)); err != nil || !bytes.Equal(file, data) {
					t.Errorf("pod %s has no file %s with the content in Secret %s (%v)", pod.Name, name, secret.Name, err)
				}
			}
		}
		files, err := filepath.Glob(filepath.Join(folder(volume.Name), "[a-z]*"))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, file := range files {
			got = append(got, filepath.Base(file))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("files of volume %s of pod %s (-want +got):\n%s", volume.Name, pod.Name, diff)
		}
	}
}

// procfs returns a file that describes the process of a pod.
func procfs(t *testing.T, pod *fakekubelet.Pod, name string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pod.PID(), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// mountOptions returns the options of the last mount at a point.
func mountOptions(mounts, point string) []string {
	var options []string
	for line := range strings.Lines(mounts) {
		if fields := strings.Fields(line); len(fields) > 3 && fields[1] == point {
			options = strings.Split(fields[3], ",")
		}
	}
	return options
}

// TestInstalledByKustomize installs config/default as the operator's page says, checks that what the pages promise
// happens, and uninstalls it.
func TestInstalledByKustomize(t *testing.T) {
	t.Parallel()
	image := releaseImage(t)
	if !inNetwork(t, []string{serverAddress}, "-image="+image) {
		return
	}
	blocks, err := pages.RunBy("../../config/README.md", t.Name())
	if err != nil || len(blocks) < 4 {
		t.Fatalf("the page has %d blocks (%v), want those that install, clean up and uninstall, and others", len(blocks), err)
	}
	install, cleanUp, uninstall, addCA, troubleshooting := blocks[0], blocks[1], blocks[2], blocks[3], blocks[4:]
	const pushed = "registry.example.com/sourceward:dev"
	e := newInstalled(t, map[string]string{pushed: image})
	e.runBlock(t, "../..", install)
	e.ready(t, sandbox.Namespace)
	e.judgesSamples(t)
	e.noneRefused(t)
	e.testTroubleshooting(t, troubleshooting)

	// With the failure policy Fail, a mistake in the order would show.
	rendered := e.must(t, "", "kustomize", "../../config/fail-closed").stdout
	e.must(t, strings.ReplaceAll(rendered, "sourceward:devel", pushed), "apply", "--server-side", "-f", "-")
	for command := range strings.Lines(strings.ReplaceAll(uninstall, "\\\n", "")) {
		e.runBlock(t, "../..", command)
		// Whatever is left, nothing waits for it.
		e.must(t, service("default", "after", local("after")), "create", "--dry-run=server", "-f", "-")
		e.must(t, deployment("default", "after", 2), "create", "--dry-run=server", "-f", "-")
	}
	e.noneLeft(t, sandbox.Namespace)
	if out := e.must(t, "", "get", "sourceippolicies", "-o", "name").stdout; out == "" {
		t.Error("the policies are gone")
	}

	e.runBlock(t, "../..", install)
	e.ready(t, sandbox.Namespace)
	e.testOwnCertificate(t, pushed, addCA, cleanUp)
}

// testTroubleshooting runs the blocks of the page about troubleshooting, and checks that they show or do what the page
// says. The last one deletes the webhook configurations.
func (e *installed) testTroubleshooting(t *testing.T, blocks []string) {
	t.Helper()
	if len(blocks) != 4 {
		t.Fatalf("the page has %d blocks about troubleshooting, want 4", len(blocks))
	}
	denied := func() bool {
		a := e.kubectl(t, strings.ReplaceAll(deployment("edge", "web", 3), "name: web,", "name: another,"),
			"create", "--dry-run=server", "-f", "-")
		return strings.Contains(a.stderr, "denied the request: unspread-behind-local: ")
	}
	for i, shows := range [][]string{
		{"unspread-behind-local: Pods behind a Local Service may share a node", "Deny            rollout"},
		{"deployment.apps/web annotated"},
		{"Running", " certificate: ok", " caches: ok", " policies: ok", " watches: ok"},
		{"deleted"},
	} {
		out := e.runBlock(t, "../..", blocks[i])
		for _, text := range shows {
			if !strings.Contains(out, text) {
				t.Errorf("%s: want %q in the output:\n%s", blocks[i], text, out)
			}
		}
		if isDenied := denied(); isDenied != (i < 3) {
			t.Errorf("after %s: a Deployment is denied: %t", blocks[i], isDenied)
		}
	}
}

// testOwnCertificate changes from self-managed certificates to the sample with a certificate that the user provides, as
// the page says and while requests go through the API server.
func (e *installed) testOwnCertificate(t *testing.T, image, addCA, cleanUp string) {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS("../../config")); err != nil {
		t.Fatal(err)
	}
	certificate, key, err := cert.GenerateSelfSignedCertKey("sourceward-webhook."+sandbox.Namespace+".svc", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	sample := filepath.Join(root, "samples", "own-certificate")
	for name, content := range map[string][]byte{"tls.crt": certificate, "tls.key": key, "ca.crt": certificate} {
		if err := os.WriteFile(filepath.Join(sample, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e.runBlock(t, sample, addCA)
	rendered := strings.ReplaceAll(e.must(t, "", "kustomize", sample).stdout, "sourceward:devel", image)
	e.prepareTraffic(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	requests := startTraffic(ctx, t, e.environment)
	e.must(t, rendered, "apply", "--server-side", "--force-conflicts", "-f", "-")
	e.must(t, "", "rollout", "status", "--timeout=120s", "--namespace="+sandbox.Namespace,
		"deployment/sourceward-webhook")
	e.runBlock(t, "../..", cleanUp)
	e.eventually(t, "only the new replicas run", func() (bool, string) {
		pods := e.kubelet.Pods()
		return len(pods) == 2, fmt.Sprint(len(pods))
	})
	requests.finish(t, e.environment, stop)
	e.runsAsItsTemplate(t, sandbox.Namespace)
	if a := e.kubectl(t, "", "get", "secret", "-n", sandbox.Namespace, "sourceward-ca"); a.code == 0 {
		t.Error("there is a Secret with a CA, though the certificate is provided")
	}
}

// TestInstalledByChart installs the chart as the operator's page says, but into another namespace, checks that what the
// pages promise happens, and uninstalls it.
func TestInstalledByChart(t *testing.T) {
	t.Parallel()
	image := releaseImage(t)
	if !inNetwork(t, []string{serverAddress}, "-image="+image) {
		return
	}
	blocks, err := pages.RunBy("../../config/README.md", t.Name())
	if err != nil || len(blocks) != 3 {
		t.Fatalf("the page has %d blocks (%v), want those that install, upgrade and uninstall", len(blocks), err)
	}
	helm, err := helmCommands[4]()
	if err != nil {
		t.Fatal(err)
	}
	err = os.Symlink(helm, filepath.Join(binaries, "helm"))
	if err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	const namespace = "admission"
	for i := range blocks {
		blocks[i] = strings.ReplaceAll(blocks[i], sandbox.Namespace, namespace)
	}
	e := newInstalled(t, map[string]string{
		"registry.example.com/sourceward:dev": image, "registry.example.com/sourceward:NEW": image,
	})
	e.runBlock(t, "../..", blocks[0])
	e.ready(t, namespace)
	e.judgesSamples(t)
	e.noneRefused(t)

	// With the failure policy Fail, a mistake in the order would show.
	e.runBlock(t, "../..", strings.TrimSpace(blocks[1])+
		" --set webhooks.services.failurePolicy=Fail,webhooks.workloads.failurePolicy=Fail --wait")
	for _, pod := range e.kubelet.Pods() {
		if object := get[corev1.Pod](t, e.environment, namespace, pod.Name); object.DeletionTimestamp == nil &&
			object.Spec.Containers[0].Image != "registry.example.com/sourceward:NEW" {
			t.Errorf("pod %s still has image %s", pod.Name, object.Spec.Containers[0].Image)
		}
	}
	e.runBlock(t, "../..", blocks[2])
	e.must(t, service("default", "after", local("after")), "create", "--dry-run=server", "-f", "-")
	e.must(t, deployment("default", "after", 2), "create", "--dry-run=server", "-f", "-")
	e.noneLeft(t, namespace)
	if out := e.must(t, "", "get", "sourceippolicies", "-o", "name").stdout; out == "" {
		t.Error("the policies are gone")
	}
}

// judgesSamples applies the samples, and checks that the webhook makes of each what README shows, and that a policy has
// its effect.
func (e *installed) judgesSamples(t *testing.T) {
	t.Helper()
	const samples = "../../config/samples/"
	e.namespace(t, "edge")
	if a := e.kubectl(t, "", "apply", "-f", samples+"edge/admin.yaml"); a.code == 0 ||
		!strings.Contains(a.stderr, refusedByUs) {
		t.Errorf("the Service admin gets %q, want a refusal of ours", a.stderr)
	}
	e.must(t, "", "apply", "-f", samples+"edge/game.yaml")
	if got := get[corev1.Service](t, e.environment, "edge", "game").Spec.ExternalTrafficPolicy; got != "Local" {
		t.Errorf("the Service game is stored with %s, want Local", got)
	}
	const warning = "Warning: unspread-behind-local: pods of Service edge/web"
	if a := e.must(t, "", "apply", "-f", samples+"edge/web.yaml"); !strings.Contains(a.stderr, warning) {
		t.Errorf("the Deployment web gets %q, want a warning that its pods may share a node", a.stderr)
	}

	policy, err := os.ReadFile(samples + "rollout/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	e.must(t, strings.ReplaceAll(string(policy), "Audit", "Deny"), "apply", "-f", "-")
	another := strings.ReplaceAll(deployment("edge", "web", 3), "name: web,", "name: another,")
	e.eventually(t, "a policy in mode Deny is in force", func() (bool, string) {
		a := e.kubectl(t, another, "create", "--dry-run=server", "-f", "-")
		return strings.Contains(a.stderr, "denied the request: unspread-behind-local: "), a.stderr
	})
}

// noneLeft checks that no object of Sourceward is left but its CRD, and that the namespace is gone with all that was in
// it. The pods end a few seconds after their Deployment.
func (e *installed) noneLeft(t *testing.T, namespace string) {
	t.Helper()
	kinds := "mutatingwebhookconfigurations,validatingwebhookconfigurations,clusterroles,clusterrolebindings,roles," +
		"rolebindings,deployments,pods,services,secrets,serviceaccounts,poddisruptionbudgets,resourcequotas," +
		"networkpolicies,validatingadmissionpolicies,validatingadmissionpolicybindings"
	e.eventually(t, "nothing is left", func() (bool, string) {
		out := e.must(t, "", "get", kinds, "-A", "-o", "name", "-l", "app.kubernetes.io/name=sourceward").stdout
		return out == "", out
	})
	if a := e.kubectl(t, "", "get", "namespace", namespace); !strings.Contains(a.stderr, "(NotFound)") {
		t.Errorf("the namespace is left: %s%s", a.stdout, a.stderr)
	}
}
