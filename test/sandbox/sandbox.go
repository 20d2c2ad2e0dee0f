// Package sandbox runs Sourceward on a local control plane. It installs the manifests of config/ as they are, except
// that it runs the webhook as local processes instead of as pods of the Deployment. They have the permissions of its
// ServiceAccount.
package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"github.com/sourceward/sourceward/test/cluster"
)

const (
	// Namespace is the namespace that config/ installs into.
	Namespace = "sourceward-system"

	// servicePort is the port of all replicas if they are called through the Service.
	servicePort = 9443

	serviceAccount = "system:serviceaccount:" + Namespace + ":sourceward-webhook"
	startTimeout   = 2 * time.Minute
)

// Options configures Install.
type Options struct {
	// Replicas is the number of webhook processes. Zero means one. The API server sends workloads to the last replica
	// and everything else to the first, so that tests notice knowledge that replicas do not share.
	Replicas int
	// Hosts are the addresses of the replicas, one for each. The API server then calls all of them through the Service of
	// the manifests. They must not be loopback addresses, which endpoints cannot have. Empty means that each replica has
	// an URL on the loopback address.
	Hosts []string
	// Overlay is a folder in config/, such as fail-closed. Empty means default.
	Overlay string
	// CertDir is a folder with tls.crt and tls.key for localhost, which all replicas use, and the ca.crt that the API
	// server trusts. Empty means that the replicas create their own certificates and write the CA into the webhook
	// configurations.
	CertDir string
	// Flags are additional flags for the replicas, such as "--verbosity=1". They override those that the sandbox sets.
	Flags []string
}

// Sandbox is an installation of Sourceward on a control plane. The control plane belongs to the caller.
type Sandbox struct {
	*cluster.Cluster
	Replicas []*Replica

	// MemoryLimit is the memory limit of a container of the webhook, in bytes. It is not enforced here.
	MemoryLimit int64

	root   string
	binary string
	// env holds the environment that the Deployment gives to a container, as NAME=VALUE.
	env []string
}

// Replica is one process of the webhook.
type Replica struct {
	// Address is the host:port of /mutate and /validate, with TLS.
	Address string
	// MetricsURL and ProbeURL are the addresses of /metrics, /healthz and /readyz.
	MetricsURL, ProbeURL string

	args []string
	log  string
	cmd  *exec.Cmd
	done chan error
}

// Build builds the webhook into a folder and returns the path of the binary.
// The error is non-nil when it does not compile, and contains the output of the compiler.
func Build(ctx context.Context, dir string) (string, error) {
	const pkg = "github.com/sourceward/sourceward/cmd/webhook"
	binary := filepath.Join(dir, "sourceward-webhook")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, pkg).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the webhook: %w\n%s", err, out)
	}
	return binary, nil
}

// Install installs the manifests, starts replicas of the webhook from a binary, and waits until all are ready.
// ctx cancels the start, but does not stop started replicas. The error is non-nil when the API server refused an object
// or when a replica did not become ready within two minutes, and then contains its log. On error, no replica is left
// running.
func Install(ctx context.Context, c *cluster.Cluster, binary string, options Options) (*Sandbox, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	root, err := repository()
	if err != nil {
		return nil, err
	}
	s := &Sandbox{Cluster: c, root: root, binary: binary}
	for range max(options.Replicas, 1) {
		replica, err := s.newReplica(options)
		if err != nil {
			return nil, err
		}
		s.Replicas = append(s.Replicas, replica)
	}
	overlay := options.Overlay
	if overlay == "" {
		overlay = "default"
	}
	if err := s.apply(ctx, filepath.Join(root, "config", overlay), options); err != nil {
		return nil, err
	}
	for _, replica := range s.Replicas {
		if err := s.StartReplica(ctx, replica); err != nil {
			return nil, errors.Join(err, s.Stop())
		}
	}
	return s, nil
}

// repository returns the root of this repository. It searches from the working directory upwards.
func repository() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, e := os.Stat(filepath.Join(dir, "config", "default", "kustomization.yaml")); e == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			err = errors.New("find config/default: the working directory is outside the repository")
		}
		dir = parent
	}
	return "", err
}

// apply installs an overlay, with the webhook configurations or the Service pointed at the replicas.
func (s *Sandbox) apply(ctx context.Context, overlay string, options Options) error {
	rendered, err := s.Kubectl(ctx, "kustomize", overlay).Output()
	if err != nil {
		return fmt.Errorf("render %s: %w", overlay, withStderr(err))
	}
	var stream bytes.Buffer
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(rendered), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("render %s: %w", overlay, err)
		}
		switch object.GetKind() {
		case "Deployment":
			if err := s.readContainer(object); err != nil {
				return err
			}
			continue
		case "PodDisruptionBudget":
			continue // replicas are local processes here
		case "Service":
			if len(options.Hosts) == 0 {
				continue
			}
			if err := write(&stream, s.endpoints(object, options.Hosts)); err != nil {
				return err
			}
		case "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
			if len(options.Hosts) > 0 {
				break
			}
			if err := s.pointAtReplicas(object, options.CertDir); err != nil {
				return err
			}
		}
		if err := write(&stream, object.Object); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"apply", "--server-side", "-f", "-"},
		{"wait", "--for=condition=Established", "--timeout=60s", "crd/sourceippolicies.sourceward.dev"},
	} {
		cmd := s.Kubectl(ctx, args...)
		cmd.Stdin = bytes.NewReader(stream.Bytes())
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("kubectl %s: %w\n%s", args[0], err, out)
		}
	}
	return nil
}

// write appends an object to a stream of documents.
func write(stream *bytes.Buffer, object map[string]any) error {
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	fmt.Fprintf(stream, "---\n%s\n", text)
	return nil
}

// endpoints returns the EndpointSlice of the Service, with the replicas.
func (s *Sandbox) endpoints(service *unstructured.Unstructured, hosts []string) map[string]any {
	var endpoints []map[string]any
	for _, host := range hosts {
		endpoints = append(endpoints, map[string]any{"addresses": []string{host}})
	}
	return map[string]any{
		"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
		"metadata": map[string]any{
			"namespace": service.GetNamespace(), "name": service.GetName(),
			"labels": map[string]string{discoveryv1.LabelServiceName: service.GetName()},
		},
		"ports": []map[string]any{{"name": "https", "port": servicePort}}, "endpoints": endpoints,
	}
}

// readContainer reads from the Deployment what also concerns a local process.
func (s *Sandbox) readContainer(object *unstructured.Unstructured) error {
	var deployment appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &deployment); err != nil {
		return err
	}
	container := deployment.Spec.Template.Spec.Containers[0]
	s.MemoryLimit = container.Resources.Limits.Memory().Value()
	for _, env := range container.Env {
		if env.ValueFrom == nil {
			s.env = append(s.env, env.Name+"="+env.Value)
		}
	}
	return nil
}

// pointAtReplicas replaces each reference to a Service with the URL of a replica.
func (s *Sandbox) pointAtReplicas(configuration *unstructured.Unstructured, certDir string) error {
	var ca []byte
	if certDir != "" {
		var err error
		if ca, err = os.ReadFile(filepath.Join(certDir, "ca.crt")); err != nil {
			return err
		}
	}
	webhooks, _, err := unstructured.NestedSlice(configuration.Object, "webhooks")
	if err != nil {
		return err
	}
	for _, item := range webhooks {
		webhook, _ := item.(map[string]any)
		path, _, _ := unstructured.NestedString(webhook, "clientConfig", "service", "path")
		name, _, _ := unstructured.NestedString(webhook, "name")
		replica := s.Replicas[0]
		if strings.HasPrefix(name, "workloads.") {
			replica = s.Replicas[len(s.Replicas)-1]
		}
		_, port, err := net.SplitHostPort(replica.Address)
		if err != nil {
			return err
		}
		clientConfig := map[string]any{"url": "https://localhost:" + port + path}
		if ca != nil {
			clientConfig["caBundle"] = base64.StdEncoding.EncodeToString(ca)
		}
		webhook["clientConfig"] = clientConfig
	}
	return unstructured.SetNestedSlice(configuration.Object, webhooks, "webhooks")
}

// newReplica returns a replica with ports of its own. It does not start the replica.
func (s *Sandbox) newReplica(options Options) (*Replica, error) {
	kubeconfig, err := s.UserKubeconfig(serviceAccount, "system:serviceaccounts", "system:serviceaccounts:"+Namespace)
	if err != nil {
		return nil, err
	}
	var addresses []string
	for range 3 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		// Keep all listeners open until the last port is chosen, so that no two ports are the same.
		defer listener.Close() //nolint:errcheck // nothing was written
		addresses = append(addresses, listener.Addr().String())
	}
	certificates := "--dns-name=localhost"
	if len(options.Hosts) > 0 {
		addresses[0] = net.JoinHostPort(options.Hosts[len(s.Replicas)], strconv.Itoa(servicePort))
		certificates = "--dns-name=sourceward-webhook." + Namespace + ".svc"
	}
	if options.CertDir != "" {
		certificates = "--cert-dir=" + options.CertDir
	}
	log := filepath.Join(s.Dir, fmt.Sprintf("webhook-%d.log", len(s.Replicas)+1))
	return &Replica{
		Address: addresses[0], MetricsURL: "http://" + addresses[1] + "/metrics", ProbeURL: "http://" + addresses[2],
		log: log,
		args: append([]string{
			"--kubeconfig=" + kubeconfig, "--bind-address=" + addresses[0], "--metrics-bind-address=" + addresses[1],
			"--health-probe-bind-address=" + addresses[2], certificates, "--verbosity=2",
		}, options.Flags...),
	}, nil
}

// StartReplica starts a replica that is not running and waits until it is ready. It keeps its addresses.
func (s *Sandbox) StartReplica(ctx context.Context, r *Replica) error {
	log, err := os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the process has its own handle
	r.cmd = exec.Command(s.binary, r.args...)
	r.cmd.Env = append(os.Environ(), s.env...)
	r.cmd.Stdout, r.cmd.Stderr = log, log
	if err := r.cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	r.done = done
	go func(cmd *exec.Cmd) { done <- cmd.Wait() }(r.cmd)
	var last error
	err = wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		select {
		case err := <-done:
			done <- err
			return false, fmt.Errorf("the process ended: %w", err)
		default:
			last = r.Ready(ctx)
			return last == nil, nil
		}
	})
	if err != nil {
		return fmt.Errorf("start the webhook: %w: %w\n%s", err, last, r.LogEnd())
	}
	return nil
}

// Ready checks whether a replica is ready. If it is not, it returns an error with the answer of /readyz.
func (r *Replica) Ready(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.ProbeURL+"/readyz", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // only read from
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s (%w)", body, err)
	}
	return nil
}

// PID returns the process ID of a running replica.
func (r *Replica) PID() int { return r.cmd.Process.Pid }

// StopReplica interrupts a replica and waits until it has ended. The error is non-nil when it exits with an error, and
// contains the end of its log. StopReplica does nothing if the replica is not running.
func (r *Replica) StopReplica() error {
	if r.cmd == nil {
		return nil
	}
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	err := <-r.done
	r.cmd = nil
	if err != nil {
		return fmt.Errorf("webhook: %w\n%s", err, r.LogEnd())
	}
	return nil
}

// Log returns the whole log of a replica.
func (r *Replica) Log() ([]byte, error) { return os.ReadFile(r.log) }

// LogEnd returns the last lines of the log, for use in messages.
func (r *Replica) LogEnd() string {
	text, err := r.Log()
	if err != nil {
		return err.Error()
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-30):], nil))
}

// Client returns an HTTP client that does not verify the certificate of a replica.
func (r *Replica) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
}

// Stop stops all replicas. The error is non-nil when one of them exits with an error.
func (s *Sandbox) Stop() error {
	errs := make([]error, len(s.Replicas))
	var group sync.WaitGroup
	for i, replica := range s.Replicas {
		group.Go(func() { errs[i] = replica.StopReplica() })
	}
	group.Wait()
	return errors.Join(errs...)
}

// Kill kills all replicas, as if their node had died.
func (s *Sandbox) Kill() {
	for _, replica := range s.Replicas {
		replica.Kill()
	}
}

// Kill kills a replica, as if its node had died. Kill does nothing if the replica is not running.
func (r *Replica) Kill() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill() // fails only if the process has ended
	<-r.done                 //nolint:errcheck // the error is that it was killed
	r.cmd = nil
}

func withStderr(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return fmt.Errorf("%w\n%s", err, exit.Stderr)
	}
	return err
}

// Metric returns the value of one sample of a replica, or 0 if there is none. The name of the sample includes its
// labels, such as sourceward_policies{state="ready"}. The error is non-nil when the metrics cannot be read.
func (r *Replica) Metric(ctx context.Context, sample string) (float64, error) {
	samples, err := r.Metrics(ctx)
	return samples[sample], err
}

// Metrics returns the values of all samples of a replica from one scrape, by their names as in Metric.
// The error is non-nil when the metrics cannot be read.
func (r *Replica) Metrics(ctx context.Context) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.MetricsURL, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // only read from
	samples := map[string]float64{}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		line := lines.Text()
		// The value is the last field of the line: the webhook writes no timestamps.
		i := strings.LastIndexByte(line, ' ')
		if i < 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if samples[line[:i]], err = strconv.ParseFloat(line[i+1:], 64); err != nil {
			return nil, err
		}
	}
	return samples, lines.Err()
}
