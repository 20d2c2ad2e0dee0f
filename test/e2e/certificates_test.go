package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/webhook"
)

// The names that config/ uses.
const (
	caNamespace, caSecret = "sourceward-system", "sourceward-ca"
	caConfiguration       = "sourceward"
)

// TestCertificates rotates the CA while two replicas run. Only a real API server has conflicts between their writes,
// ownership of fields, watches by name under RBAC by name, and Secrets as the authority of cert-manager uses them.
func TestCertificates(t *testing.T) {
	t.Parallel()
	c := startCluster(t, cluster.Options{})
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		t.Fatal(err)
	}
	e := &certificatesTest{cluster: c, client: client}
	e.kubectl(t, "", "create", "namespace", caNamespace)
	e.kubectl(t, "", "apply", "-k", "../../config/rbac")
	const selfManaged = "../../config/components/self-managed/"
	e.kubectl(t, "", "apply", "-f", selfManaged+"role.yaml", "-f", selfManaged+"role_binding.yaml")
	// The replicas have these permissions only.
	path, err := c.UserKubeconfig("system:serviceaccount:" + caNamespace + ":sourceward-webhook")
	if err != nil {
		t.Fatal(err)
	}
	restricted, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		configurations, err := webhook.NewConfigurations(
			restricted, caConfiguration, caConfiguration, webhook.NewWatches(logr.Discard()))
		if err != nil {
			t.Fatal(err)
		}
		s, err := webhook.NewSelfManaged(webhook.SelfManagedOptions{
			Config: restricted, SecretNamespace: caNamespace, SecretName: caSecret, DNSNames: []string{"localhost"},
			Configurations: configurations,
		})
		if err != nil {
			t.Fatal(err)
		}
		e.replicas = append(e.replicas, startReplica(t, s, configurations))
	}

	started := time.Now()
	e.eventually(t, "replicas are ready while there is no configuration", e.ready)
	t.Logf("both replicas have a leaf of the new CA %s after the start", time.Since(started))
	started = time.Now()
	e.install(t, caConfiguration, "a", "b")
	e.eventually(t, "every webhook trusts both replicas", e.trusted(t))
	t.Logf("announced %s after the installation", time.Since(started))
	if bundles := e.bundles(t); !allEqual(bundles) || len(parse(t, bundles[0])) != 1 {
		t.Errorf("the %d bundles do not all hold the same CA: %q", len(bundles), bundles)
	}

	t.Run("a client that lags by two seconds can call the replicas during every rotation", func(t *testing.T) {
		stop := e.watch(t)
		deleted := func() error {
			return client.CoreV1().Secrets(caNamespace).Delete(t.Context(), caSecret, metav1.DeleteOptions{})
		}
		emptied := func() error {
			_, err := client.CoreV1().
				Secrets(caNamespace).
				Patch(t.Context(), caSecret, types.MergePatchType, []byte(`{"data": {"tls.crt": ""}}`), metav1.PatchOptions{})
			return err
		}
		for name, changes := range map[string][]func() error{
			"the Secret is deleted":                     {deleted},
			"the Secret is deleted, then emptied":       {deleted, emptied},
			"the Secret is emptied, then deleted twice": {emptied, deleted, deleted},
		} {
			former := e.serials()
			started := time.Now()
			for _, change := range changes {
				ca := e.ca(t)
				if err := change(); err != nil {
					t.Fatal(err)
				}
				e.eventually(t, "there is a new CA", func() error {
					if now := e.ca(t); now == "" || now == ca {
						return errors.New("there is no new CA")
					}
					return nil
				})
				t.Logf("%s: new CA after %s", name, time.Since(started))
				e.eventually(t, "the CA is announced", func() error {
					for _, bundle := range e.bundles(t) {
						if !strings.Contains(bundle, e.ca(t)) {
							return fmt.Errorf("%q lacks %q", bundle, e.ca(t))
						}
					}
					return nil
				})
				t.Logf("%s: announced after %s", name, time.Since(started))
			}
			for i := range e.replicas {
				e.eventually(t, "the replica serves a leaf of the new CA", func() error {
					if e.serials()[i] == former[i] {
						return errors.New("it serves the former leaf")
					}
					return e.replicas[i].call(pool([]byte(e.ca(t))))
				})
				t.Logf("%s: replica %d serves the new leaf after %s", name, i, time.Since(started))
			}
		}
		stop()
		bundles := e.bundles(t)
		if !allEqual(bundles) || len(parse(t, bundles[0])) != 7 {
			t.Errorf("the bundles do not all hold the same seven CAs: %q", bundles)
		}
	})

	t.Run("a configuration that is replaced or installed again gets the CA", func(t *testing.T) {
		for name, change := range map[string]func(){
			"deleted and installed again": func() {
				e.kubectl(t, "", "delete", "mutatingwebhookconfiguration,validatingwebhookconfiguration", caConfiguration)
				e.install(t, caConfiguration, "a", "b")
			},
			"replaced without caBundle":   func() { e.kubectl(t, manifests(caConfiguration, "a"), "replace", "-f", "-") },
			"applied with one more entry": func() { e.install(t, caConfiguration, "a", "b", "c") },
			"garbage in caBundle": func() {
				e.kubectl(t, "", "patch", "mutatingwebhookconfiguration", caConfiguration, "--type=json", "-p",
					`[{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "Z2FyYmFnZQ=="}]`)
			},
		} {
			change()
			started := time.Now()
			e.eventually(t, "every webhook trusts both replicas: "+name, e.trusted(t))
			t.Logf("%s: trusted again after %s", name, time.Since(started))
		}
	})

	t.Run("a client that uses server-side apply can remove an entry", func(t *testing.T) {
		e.kubectl(t, "", "delete", "mutatingwebhookconfiguration,validatingwebhookconfiguration", caConfiguration)
		for _, names := range [][]string{{"a", "b"}, {"a"}, {"a", "c"}} {
			e.kubectl(t, manifests(caConfiguration, names...), "apply", "--server-side", "-f", "-")
			e.eventually(t, "every webhook trusts both replicas", e.trusted(t))
			if got := len(e.bundles(t)); got != 2*len(names) {
				t.Errorf("there are %d webhooks, want %d", got, 2*len(names))
			}
		}
	})

	t.Run("we own caBundle and no other field", func(t *testing.T) {
		object, err := client.AdmissionregistrationV1().
			MutatingWebhookConfigurations().
			Get(t.Context(), caConfiguration, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, fields := range object.ManagedFields {
			if fields.Manager != "sourceward-ca" {
				continue
			}
			want := `{"f:webhooks":{"k:{\"name\":\"a.sourceward.dev\"}":{"f:clientConfig":{"f:caBundle":{}}},` +
				`"k:{\"name\":\"c.sourceward.dev\"}":{"f:clientConfig":{"f:caBundle":{}}}}}`
			if diff := cmp.Diff(want, fields.FieldsV1.GetRawString()); diff != "" {
				t.Errorf("fields that we own mismatch (-want +got):\n%s", diff)
			}
			return
		}
		t.Error("we own no field")
	})
}

// certificatesTest is a cluster with replicas that manage the certificates of its webhooks.
type certificatesTest struct {
	cluster  *cluster.Cluster
	client   kubernetes.Interface
	replicas []*certificateReplica
}

// certificateReplica serves TLS with a self-managed certificate.
type certificateReplica struct {
	certificate *webhook.SelfManaged
	address     string
}

func startReplica(
	t *testing.T, s *webhook.SelfManaged, configurations *webhook.Configurations,
) *certificateReplica {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler:  http.NotFoundHandler(),
		ErrorLog: log.New(io.Discard, "", 0), // the clients report what fails
	}
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(tls.NewListener(listener, &tls.Config{GetCertificate: s.GetCertificate}))
	}()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 2)
	go func() { ended <- configurations.Start(ctx) }()
	go func() { ended <- s.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, <-ended); err != nil {
			t.Errorf("Start() = %v", err)
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return &certificateReplica{certificate: s, address: listener.Addr().String()}
}

// call makes a TLS handshake as an API server that trusts these CAs.
func (r *certificateReplica) call(cas *x509.CertPool) error {
	connection, err := tls.Dial("tcp", r.address, &tls.Config{RootCAs: cas, ServerName: "localhost"})
	if err != nil {
		return err
	}
	return connection.Close()
}

// install applies a mutating and a validating configuration with these webhooks.
func (e *certificatesTest) install(t *testing.T, name string, webhooks ...string) {
	t.Helper()
	e.kubectl(t, manifests(name, webhooks...), "apply", "-f", "-")
}

func manifests(name string, webhooks ...string) string {
	var b strings.Builder
	for _, kind := range []string{"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"} {
		fmt.Fprintf(
			&b,
			"---\napiVersion: admissionregistration.k8s.io/v1\nkind: %s\nmetadata: {name: %s}\nwebhooks:\n",
			kind,
			name,
		)
		for _, w := range webhooks {
			fmt.Fprintf(
				&b,
				"- {name: %s.sourceward.dev, clientConfig: {url: 'https://localhost:9443/'}, sideEffects: None, "+
					"admissionReviewVersions: [v1], failurePolicy: Ignore}\n",
				w,
			)
		}
	}
	return b.String()
}

// kubectl runs kubectl, and fails the test if kubectl fails.
func (e *certificatesTest) kubectl(t *testing.T, stdin string, args ...string) {
	t.Helper()
	cmd := e.cluster.Kubectl(t.Context(), args...)
	cmd.Stdin = strings.NewReader(stdin)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, output)
	}
}

// eventually polls until ask returns no error.
func (e *certificatesTest) eventually(t *testing.T, what string, ask func() error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(
		t.Context(),
		5*time.Millisecond,
		time.Minute,
		true,
		func(context.Context) (bool, error) {
			last = ask()
			return last == nil, nil
		},
	)
	if err != nil {
		t.Fatalf("%s: %v; last: %v", what, err, last)
	}
}

func (e *certificatesTest) ready() error {
	var errs []error
	for _, r := range e.replicas {
		errs = append(errs, r.certificate.Ready(nil))
	}
	return errors.Join(errs...)
}

// serials returns the serial numbers of the leaves that the replicas serve.
func (e *certificatesTest) serials() []string {
	var serials []string
	for _, r := range e.replicas {
		if c, err := r.certificate.GetCertificate(nil); err == nil {
			serials = append(serials, c.Leaf.SerialNumber.String())
		}
	}
	return serials
}

// ca returns the CA in the Secret, or "" if there is none.
func (e *certificatesTest) ca(t *testing.T) string {
	t.Helper()
	secret, err := e.client.CoreV1().Secrets(caNamespace).Get(t.Context(), caSecret, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return string(secret.Data["tls.crt"])
}

// bundles returns the caBundle of each webhook of both configurations, if they exist.
func (e *certificatesTest) bundles(t *testing.T) []string {
	t.Helper()
	return caBundles(t, e.client)
}

// caBundles returns the caBundle of each webhook of both configurations, if they exist.
func caBundles(t *testing.T, client kubernetes.Interface) []string {
	t.Helper()
	var bundles []string
	m, err := client.AdmissionregistrationV1().
		MutatingWebhookConfigurations().
		Get(t.Context(), caConfiguration, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Error(err)
	}
	for i := range m.Webhooks {
		bundles = append(bundles, string(m.Webhooks[i].ClientConfig.CABundle))
	}
	v, err := client.AdmissionregistrationV1().
		ValidatingWebhookConfigurations().
		Get(t.Context(), caConfiguration, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Error(err)
	}
	for i := range v.Webhooks {
		bundles = append(bundles, string(v.Webhooks[i].ClientConfig.CABundle))
	}
	return bundles
}

// trusted returns a function that returns nil if a client with any one of the bundles can call both replicas, and they
// are ready.
func (e *certificatesTest) trusted(t *testing.T) func() error {
	return func() error {
		errs := []error{e.ready()}
		bundles := e.bundles(t)
		if len(bundles) == 0 {
			errs = append(errs, errors.New("there are no webhooks"))
		}
		for _, bundle := range bundles {
			for _, r := range e.replicas {
				errs = append(errs, r.call(pool([]byte(bundle))))
			}
		}
		return errors.Join(errs...)
	}
}

// watch calls both replicas every 20 ms, with the caBundle that each webhook had two seconds ago, until stop is called
// or the test ends. It fails the test if a call fails.
func (e *certificatesTest) watch(t *testing.T) (stop func()) {
	t.Helper()
	const lag, period = 2 * time.Second, 20 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		type view struct {
			at      time.Time
			bundles []string
		}
		var views []view // oldest first
		calls := 0
		var failed []error
		wait.UntilWithContext(ctx, func(context.Context) {
			views = append(views, view{time.Now(), e.bundles(t)})
			for len(views) > 1 && time.Since(views[1].at) > lag {
				views = views[1:]
			}
			if time.Since(views[0].at) < lag {
				return
			}
			for _, bundle := range slices.Compact(slices.Sorted(slices.Values(views[0].bundles))) {
				for _, r := range e.replicas {
					calls++
					if err := r.call(pool([]byte(bundle))); err != nil {
						failed = append(failed, err)
					}
				}
			}
		}, period)
		t.Logf("%d calls, %d failed", calls, len(failed))
		if len(failed) > 0 || calls == 0 {
			t.Errorf("%d of %d calls failed, first: %v", len(failed), calls, failed)
		}
	})
	stop = func() {
		cancel()
		group.Wait()
	}
	t.Cleanup(stop)
	return stop
}

func pool(bundle []byte) *x509.CertPool {
	cas := x509.NewCertPool()
	cas.AppendCertsFromPEM(bundle)
	return cas
}

func parse(t *testing.T, bundle string) (cas []*x509.Certificate) {
	t.Helper()
	for block, rest := pem.Decode([]byte(bundle)); block != nil; block, rest = pem.Decode(rest) {
		ca, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		cas = append(cas, ca)
	}
	return cas
}

func allEqual(values []string) bool {
	return len(slices.Compact(slices.Clone(values))) == 1
}
