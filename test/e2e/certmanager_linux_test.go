package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sourceward/sourceward/test/fakekubelet"
	"github.com/sourceward/sourceward/test/sandbox"
)

// certManager is the program of test/certmanager, for the process of a test in a network namespace, from which it could
// not be built.
var certManager = flag.String("cert-manager", "", "the program of test/certmanager; empty builds it")

// buildCertManager returns the program of test/certmanager. Go's build cache has its packages after the first build,
// which takes minutes.
func buildCertManager(t *testing.T) string {
	t.Helper()
	if *certManager != "" {
		return *certManager
	}
	binary := filepath.Join(binaries, "certmanager")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", binary, ".")
	cmd.Dir, cmd.Env = "../certmanager", append(os.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build test/certmanager: %v\n%s", err, out)
	}
	return binary
}

// The objects of config/certmanager.
const (
	servingCertificate, caCertificate = "sourceward-webhook", "sourceward-ca"
	servingSecret                     = "sourceward-webhook-tls"
)

// TestCertManager installs config/certmanager beside cert-manager's own controllers and CA injector, and renews
// certificates while requests go through the API server, each of which the webhook refuses or warns about. Then it adds
// replicas with certificates that they cannot use, and checks that each says why, and that the others go on.
func TestCertManager(t *testing.T) {
	t.Parallel()
	image, program := releaseImage(t), buildCertManager(t)
	if !inNetwork(t, []string{serverAddress}, "-image="+image, "-cert-manager="+program) {
		return
	}
	e := newInstalled(t, map[string]string{"sourceward:devel": image})
	stopCertManager := e.startCertManager(t, program)

	rendered := e.must(t, "", "kustomize", "../../config/certmanager").stdout
	start := time.Now()
	e.must(t, rendered, "apply", "--server-side", "-f", "-")
	e.eventually(t, "the Certificate is Ready", func() (bool, string) {
		return e.isIssued(t)
	})
	issued := time.Since(start)
	e.eventually(t, "caBundle is written", func() (bool, string) {
		bundles := caBundles(t, e.client)
		return !slices.Contains(bundles, ""), fmt.Sprintf("%q", bundles)
	})
	injected := time.Since(start)
	e.apply(t, "../../config/certmanager")
	t.Logf("after kubectl apply, the Certificate is Ready after %s, caBundle is written after %s, and both replicas are "+
		"Ready after %s", issued.Round(time.Millisecond), injected.Round(time.Millisecond),
		time.Since(start).Round(time.Millisecond))
	e.ready(t, sandbox.Namespace)

	t.Run("renewals", e.testRenewals)
	// cert-manager would replace what the rest of the test writes.
	stopCertManager()
	t.Run("certificates that cannot be used", e.testUnusable)
	e.noneRefused(t)
}

// testRenewals renews the certificate three times, and then together with its CA.
func (e *installed) testRenewals(t *testing.T) {
	e.prepareTraffic(t)
	var logged []int
	for _, pod := range e.kubelet.Pods() {
		logged = append(logged, len(pod.Log()))
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	requests := startTraffic(ctx, t, e.environment)
	renew := func(what string) {
		t.Helper()
		start, sent := time.Now(), requests.sent.Load()
		former := e.served(t)
		e.renew(t, servingCertificate)
		e.eventually(t, what+" is served by both replicas", func() (bool, string) {
			now := e.served(t)
			for pod, serial := range now {
				if former[pod] == serial {
					return false, fmt.Sprint(former, now)
				}
			}
			return true, ""
		})
		t.Logf("%s: served by both replicas after %s and %d requests",
			what, time.Since(start).Round(time.Millisecond), requests.sent.Load()-sent)
	}
	for i := range 3 {
		renew(fmt.Sprintf("renewal %d", i+1))
	}

	before := caBundles(t, e.client)
	start := time.Now()
	ca := get[corev1.Secret](t, e.environment, sandbox.Namespace, "sourceward-webhook-ca").Data
	e.renew(t, caCertificate)
	e.eventually(t, "there is a new CA", func() (bool, string) {
		now := get[corev1.Secret](t, e.environment, sandbox.Namespace, "sourceward-webhook-ca").Data
		return !bytes.Equal(ca[corev1.TLSCertKey], now[corev1.TLSCertKey]) &&
			!bytes.Equal(ca[corev1.TLSPrivateKeyKey], now[corev1.TLSPrivateKeyKey]), ""
	})
	t.Logf("there is a new CA after %s", time.Since(start).Round(time.Millisecond))
	renew("a certificate of the new CA")
	if after := caBundles(t, e.client); slices.Equal(before, after) {
		t.Error("caBundle has not changed: the certificate is not of the new CA")
	}
	requests.finish(t, e.environment, stop)
	e.noFailedCalls(t)
	for i, pod := range e.kubelet.Pods() {
		for line := range strings.Lines(pod.Log()[logged[i]:]) {
			if strings.Contains(line, `"level":"error"`) && !strings.Contains(line, "serving the former certificate") {
				t.Errorf("pod %s logs %s", pod.Name, line)
			}
		}
	}
}

// testUnusable adds a replica to which the Secret has a certificate that it cannot use.
func (e *installed) testUnusable(t *testing.T) {
	secrets := e.client.CoreV1().Secrets(sandbox.Namespace)
	good, err := secrets.Get(t.Context(), servingSecret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ca, err := secrets.Get(t.Context(), "sourceward-webhook-ca", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	write := func(secretType corev1.SecretType, data map[string][]byte) {
		t.Helper()
		// The type of a Secret is immutable.
		if err := secrets.Delete(t.Context(), servingSecret, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: servingSecret}, Type: secretType, Data: data}
		if _, err := secrets.Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	const spec = "{type: ClusterIP, externalTrafficPolicy: Local, ports: [{port: 80}]}"
	invalid := read(t, service("rotation", "invalid", spec))
	tests := map[string]struct {
		secretType corev1.SecretType
		data       map[string][]byte
		ready      string // what /readyz/certificate says; empty if the container does not run
		log        string // what the new replica logs
		former     string // what the others log
	}{
		"a certificate that has expired": {
			corev1.SecretTypeTLS, issueServing(t, ca.Data, time.Now().Add(-48*time.Hour)),
			"the serving certificate expired at ", "the serving certificate expired at ",
			"serving the former certificate, because API servers cannot verify the new one",
		},
		"a CA that is not in caBundle": {
			corev1.SecretTypeTLS, issueServing(t, nil, time.Now()),
			": no CA in clientConfig.caBundle",
			"cert-manager writes it: check that Certificate sourceward-system/sourceward-webhook is Ready",
			"serving the former certificate, because API servers cannot verify the new one",
		},
		"a Secret without a key": {
			corev1.SecretTypeOpaque, map[string][]byte{corev1.TLSCertKey: good.Data[corev1.TLSCertKey]},
			"", "open /etc/sourceward/tls/tls.key: no such file or directory; use a Secret of type kubernetes.io/tls, " +
				"whose tls.key is the key of its tls.crt",
			"/etc/sourceward/tls/tls.key: no such file or directory",
		},
		"a key of another certificate": {
			corev1.SecretTypeTLS, map[string][]byte{
				corev1.TLSCertKey:       good.Data[corev1.TLSCertKey],
				corev1.TLSPrivateKeyKey: issueServing(t, nil, time.Now())[corev1.TLSPrivateKeyKey],
			},
			"", "read /etc/sourceward/tls/tls.crt and /etc/sourceward/tls/tls.key: tls: private key does not match public " +
				"key; use a Secret of type kubernetes.io/tls",
			"private key does not match public key",
		},
	}
	for sentence, tt := range tests {
		t.Run(sentence, func(t *testing.T) {
			former := e.kubelet.Pods()
			logged := map[string]int{}
			for _, pod := range former {
				logged[pod.Name] = len(pod.Log())
			}
			write(tt.secretType, tt.data)
			e.scale(t, 3)
			defer write(corev1.SecretTypeTLS, good.Data)
			defer e.eventually(t, "the new replica is gone", func() (bool, string) {
				now := e.kubelet.Pods()
				return slices.EqualFunc(former, now, func(a, b *fakekubelet.Pod) bool { return a.Name == b.Name }), ""
			})
			defer e.scale(t, 2)
			e.eventually(t, "the new replica says what is wrong", func() (bool, string) {
				for _, pod := range e.kubelet.Pods() {
					if _, isFormer := logged[pod.Name]; isFormer {
						continue
					}
					said := readyz(t, pod)
					if strings.Contains(said, tt.ready) && strings.Contains(pod.Log(), tt.log) {
						t.Logf("/readyz/certificate: %s\nlog: %s", said, lineWith(pod.Log(), tt.log))
						return true, ""
					}
					return false, said + "\n" + pod.Log()
				}
				return false, "there is no new pod"
			})
			for _, pod := range former {
				e.eventually(t, "a former replica says why it keeps its certificate", func() (bool, string) {
					now := pod.Log()[logged[pod.Name]:]
					return strings.Contains(now, tt.former), now
				})
				if said := readyz(t, pod); said != "ok" {
					t.Errorf("a former replica is not ready: %s", said)
				}
			}
			// The API server calls the former replicas, and only them: none of many calls fails.
			for range 20 {
				err := e.objects.Create(t.Context(), invalid.DeepCopy(), client.DryRunAll)
				if !strings.Contains(fmt.Sprint(err), refusedByUs) {
					t.Errorf("a call fails: %v", err)
				}
			}
		})
	}
	e.noFailedCalls(t)
}

// startCertManager installs cert-manager's CRDs and starts its controllers. The function that it returns stops them;
// the end of the test does so too.
func (e *installed) startCertManager(t *testing.T, program string) (stop func()) {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-m", "-f={{.Dir}}", "github.com/cert-manager/cert-manager")
	list.Dir, list.Env = "../certmanager", append(os.Environ(), "GOWORK=off")
	module, err := list.Output()
	if err != nil {
		t.Fatalf("find the module of cert-manager: %v", err)
	}
	cmd := exec.Command(program, "--kubeconfig="+e.Kubeconfig(),
		"--crds="+filepath.Join(strings.TrimSpace(string(module)), "deploy", "crds"))
	var log bytes.Buffer
	cmd.Stderr = &log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var stopped bool
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
		if err := cmd.Wait(); err != nil {
			t.Errorf("cert-manager: %v\n%s", err, end(log.String()))
		}
	}
	t.Cleanup(stop)
	ready := make(chan error, 1)
	go func() {
		_, err := bufio.NewReader(stdout).ReadString('\n')
		ready <- err
	}()
	select {
	case err := <-ready:
		if err != nil {
			t.Fatalf("cert-manager does not become ready: %v", err) // its log follows
		}
	case <-time.After(patience):
		t.Fatal("cert-manager does not become ready")
	}
	t.Logf("cert-manager is ready after %s", time.Since(start).Round(time.Millisecond))
	return stop
}

// renew renews a Certificate as `cmctl renew` does: by the condition Issuing in its status.
func (e *installed) renew(t *testing.T, name string) {
	t.Helper()
	var certificate unstructured.Unstructured
	certificate.SetAPIVersion("cert-manager.io/v1")
	certificate.SetKind("Certificate")
	key := client.ObjectKey{Namespace: sandbox.Namespace, Name: name}
	if err := e.objects.Get(t.Context(), key, &certificate); err != nil {
		t.Fatal(err)
	}
	patch, err := json.Marshal([]map[string]any{
		// Nothing is lost if a controller has changed the list in the meantime.
		{"op": "test", "path": "/metadata/resourceVersion", "value": certificate.GetResourceVersion()},
		{"op": "add", "path": "/status/conditions/-", "value": map[string]any{
			"type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "renewed by a test",
			"lastTransitionTime": metav1.Now(), "observedGeneration": certificate.GetGeneration(),
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = e.objects.Status().Patch(t.Context(), &certificate, client.RawPatch(types.JSONPatchType, patch))
	if err != nil {
		t.Fatal(err)
	}
}

// isIssued reports whether the serving Certificate is Ready, and returns its conditions.
func (e *installed) isIssued(t *testing.T) (bool, string) {
	t.Helper()
	status := e.kubectl(t, "", "get", "certificate", servingCertificate, "--namespace="+sandbox.Namespace,
		`-o=jsonpath={.status.conditions}`).stdout
	var conditions []metav1.Condition
	if err := json.Unmarshal([]byte(status), &conditions); err != nil {
		return false, status
	}
	return slices.ContainsFunc(conditions, func(c metav1.Condition) bool {
		return c.Type == "Ready" && c.Status == metav1.ConditionTrue
	}), status
}

// scale sets the number of replicas.
func (e *installed) scale(t *testing.T, replicas int) {
	t.Helper()
	e.must(t, "", "scale", "--namespace="+sandbox.Namespace, "deployment/sourceward-webhook",
		fmt.Sprint("--replicas=", replicas))
}

// served returns the serial numbers of the certificates that the pods serve, by the names of the pods.
func (e *installed) served(t *testing.T) map[string]string {
	t.Helper()
	serials := map[string]string{}
	for _, pod := range e.kubelet.Pods() {
		address := netip.AddrPortFrom(pod.IP, 9443).String()
		connection, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		serials[pod.Name] = connection.ConnectionState().PeerCertificates[0].SerialNumber.String()
		if err := connection.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return serials
}

// readyz returns what a pod says about its certificate, or why it says nothing.
func readyz(t *testing.T, pod *fakekubelet.Pod) string {
	t.Helper()
	url := fmt.Sprintf("http://%s/readyz/certificate", netip.AddrPortFrom(pod.IP, 8081))
	response, err := http.Get(url)
	if err != nil {
		return ""
	}
	defer response.Body.Close() //nolint:errcheck // only read from
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(body))
}

// lineWith returns the first line of a log that contains text.
func lineWith(log, text string) string {
	for line := range strings.Lines(log) {
		if strings.Contains(line, text) {
			return line
		}
	}
	return ""
}

// issueServing returns the content of a Secret with a certificate for the Service. ca is the content of the Secret of
// its CA; nil means a new one. The certificate is valid for a day.
func issueServing(t *testing.T, ca map[string][]byte, notBefore time.Time) map[string][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(notBefore.UnixNano()), Subject: pkix.Name{CommonName: "another CA"},
		DNSNames:  []string{"sourceward-webhook." + sandbox.Namespace + ".svc"},
		NotBefore: notBefore, NotAfter: notBefore.Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	issuer, issuerKey := template, any(key)
	if ca != nil {
		pair, err := tls.X509KeyPair(ca[corev1.TLSCertKey], ca[corev1.TLSPrivateKeyKey])
		if err != nil {
			t.Fatal(err)
		}
		issuer, issuerKey = pair.Leaf, pair.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), issuerKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
}
