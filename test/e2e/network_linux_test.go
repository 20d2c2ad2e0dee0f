package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/sandbox"
)

// TestService checks what can only be seen where the API server calls the webhook through its Service, as in a real
// cluster, and shows a client certificate: what a replica costs that hangs, and that nobody else can connect.
//
// Endpoints cannot have loopback addresses, so the test runs in a network namespace of its own.
func TestService(t *testing.T) {
	t.Parallel()
	hosts := []string{"192.0.2.10", "192.0.2.11"}
	if !inNetwork(t, hosts) {
		return
	}
	e := newBareEnvironment(t, cluster.Options{})
	e.installSourceward(t, sandbox.Options{
		Replicas: 2, Hosts: hosts,
		Flags: []string{"--client-ca-file=" + e.ClientCA(), "--client-name=" + cluster.WebhookClient},
	})

	// Nothing in this environment takes a replica that hangs out of the Service, as a kubelet does.
	t.Run("a replica that hangs", func(t *testing.T) {
		const services, clients = 16, 8
		if err := syscall.Kill(e.Replicas[1].PID(), syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		var group errgroup.Group
		group.SetLimit(clients)
		took := make([]time.Duration, services)
		for i := range took {
			group.Go(func() error {
				start := time.Now()
				err := e.objects.Create(t.Context(), read(t, service("default", fmt.Sprint("hung-", i), local("web"))))
				took[i] = time.Since(start).Round(10 * time.Millisecond)
				return err
			})
		}
		err := group.Wait()
		if err := syscall.Kill(e.Replicas[1].PID(), syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Errorf("a Service is not admitted: %v", err)
		}
		slices.Sort(took)
		t.Logf("with one of two replicas stopped, creating a Service takes %v", took)
	})

	t.Run("no other client", func(t *testing.T) {
		tests := map[string]struct {
			config *tls.Config
			want   string
		}{
			"without a certificate":              {&tls.Config{}, "bad certificate"},
			"with a certificate of its own":      {clientOf(t, e, "system:serviceaccount:edge:web"), "bad certificate"},
			"with the certificate of another CA": {selfSignedClient(t), "bad certificate"},
			"with the API server's own":          {clientOf(t, e, cluster.WebhookClient), ""},
		}
		refused := metric(t, e.Replicas[0], "sourceward_refused_clients_total")
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				test.config.InsecureSkipVerify = true
				client := &http.Client{Transport: &http.Transport{TLSClientConfig: test.config}}
				defer client.CloseIdleConnections()
				url := "https://" + e.Replicas[0].Address + "/validate"
				response, err := client.Post(url, "application/json", strings.NewReader("{}"))
				if err == nil {
					defer response.Body.Close() //nolint:errcheck // nothing is read
				}
				if got := fmt.Sprint(err); !strings.Contains(got, test.want) || (err == nil) != (test.want == "") {
					t.Errorf("got %s, want %q", got, test.want)
				}
				if err == nil && response.ProtoMajor != 1 {
					t.Errorf("the protocol is %s, want HTTP/1.1", response.Proto)
				}
				t.Logf("%v", err)
			})
		}
		if now := metric(t, e.Replicas[0], "sourceward_refused_clients_total"); now != refused+3 {
			t.Errorf("%v refused clients are counted, want 3", now-refused)
		}
	})
}

// TestRequestsAreShared prints how an API server shares its requests over two replicas, for config/README.md. Before
// Kubernetes 1.37 it chose a replica for each connection, as kube-proxy does, and since then for each request (feature
// WebhookRoundTripLoadBalancing), if it resolves the endpoints of Services itself (--enable-aggregator-routing). The
// mutating and the validating admission plugin have connections of their own.
//
// Source: kubernetes v1.36.4, staging/src/k8s.io/apiserver/pkg/admission/plugin/webhook/generic/webhook.go NewWebhook.
func TestRequestsAreShared(t *testing.T) {
	t.Parallel()
	hosts := []string{"192.0.2.10", "192.0.2.11"}
	if !inNetwork(t, hosts) {
		return
	}
	for _, version := range cluster.Versions() {
		t.Run(string(version), func(t *testing.T) {
			e := newBareEnvironment(t, cluster.Options{Version: version})
			e.installSourceward(t, sandbox.Options{Replicas: 2, Hosts: hosts})
			for _, clients := range []int{1, 8} {
				const services = 200
				before := requests(t, e)
				var group errgroup.Group
				group.SetLimit(clients)
				for i := range services {
					name := fmt.Sprintf("web-%d-%d", clients, i)
					group.Go(func() error { return e.objects.Create(t.Context(), read(t, service("default", name, local("web")))) })
				}
				if err := group.Wait(); err != nil {
					t.Fatal(err)
				}
				for endpoint, got := range requests(t, e) {
					for i := range got {
						got[i] -= before[endpoint][i]
					}
					t.Logf("of %d requests to %s, by clients: %d, the replicas got %v", services, endpoint, clients, got)
					if got[0]+got[1] != services {
						t.Errorf("the replicas got %v requests to %s, want %d together", got, endpoint, services)
					}
					if version == cluster.V136 && clients == 1 && slices.Max(got) != services {
						t.Errorf("the replicas got %v requests to %s, want one to get all: there is one connection", got, endpoint)
					}
					// Fewer than 50 of 200 is 7 standard deviations away.
					if version == cluster.V137 && slices.Min(got) < 50 {
						t.Errorf("the replicas got %v requests to %s, want about the same number", got, endpoint)
					}
				}
			}
		})
	}
}

// inNetwork reports whether the test runs in a network namespace of its own, which has these addresses. Otherwise, it
// runs the test there, in a process of its own with these flags, and reports its result.
func inNetwork(t *testing.T, addresses []string, flags ...string) bool {
	t.Helper()
	const inside = "SOURCEWARD_TEST_NETWORK"
	if os.Getenv(inside) == "" {
		flags = append(flags, "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
		cmd := exec.CommandContext(t.Context(), os.Args[0], flags...)
		cmd.Env = append(os.Environ(), inside+"=yes")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		out, err := cmd.CombinedOutput()
		if errors.Is(err, syscall.EPERM) {
			t.Skip("only root can make a network namespace")
		}
		t.Logf("%s", out)
		if err != nil {
			t.Errorf("the test in its own network namespace: %v", err)
		}
		return false
	}
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		parsed, err := netlink.ParseAddr(address + "/32")
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.AddrAdd(loopback, parsed); err != nil {
			t.Fatal(err)
		}
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		t.Fatal(err)
	}
	return true
}

// requests returns how many requests each replica has answered, by endpoint.
func requests(t *testing.T, e *environment) map[string][]float64 {
	t.Helper()
	answered := map[string][]float64{}
	for _, endpoint := range []string{"mutate", "validate"} {
		answered[endpoint] = make([]float64, len(e.Replicas))
	}
	for i, replica := range e.Replicas {
		samples, err := replica.Metrics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range samples {
			for endpoint, of := range answered {
				if strings.HasPrefix(name, "sourceward_requests_total{") && strings.Contains(name, `endpoint="`+endpoint+`"`) {
					of[i] += value
				}
			}
		}
	}
	return answered
}

// clientOf returns the TLS configuration of a client with a certificate that the CA of the cluster signed.
func clientOf(t *testing.T, e *environment, name string) *tls.Config {
	t.Helper()
	kubeconfig, err := e.UserKubeconfig(name)
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := tls.X509KeyPair(config.CertData, config.KeyData)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{client}}
}

// selfSignedClient returns the TLS configuration of a client with a certificate that no CA has signed.
func selfSignedClient(t *testing.T) *tls.Config {
	t.Helper()
	certificate, key := selfSigned(t)
	client, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{client}}
}
