package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// startTimeout is generous. Start takes seconds, but CI machines are shared, and most failures end it sooner.
const startTimeout = 3 * time.Minute

// superusers is the group whose members may do everything: no authorizer is called for them.
const superusers = "system:masters"

// Options configures Start. The zero value starts an API server of the newest version, without nodes.
type Options struct {
	// Version is one of Versions. Empty means V137.
	Version Version

	// Nodes is the number of nodes: node-1 in zone-a, node-2 in zone-b, node-3 in zone-c, node-4 in zone-a and so on.
	// Their pods become Ready at once, with any image and any probes. With 0 nodes there are no controllers either: the
	// API server stores objects and nothing acts on them, so a Deployment gets no pods and a namespace no
	// ServiceAccount.
	Nodes int

	// AuditLog is true if the API server writes an audit log: the file AuditLog in Dir, with an event of level Metadata on
	// each line.
	AuditLog bool

	// FeatureGates are those of kube-apiserver that differ from its defaults, such as "WatchList=false". Empty means none.
	FeatureGates string

	// Address is the IP address of kube-apiserver. The zero value means 127.0.0.1, which other network namespaces cannot
	// reach.
	Address netip.Addr

	// Unmanaged is a label selector, such as "app=web". The pods that it selects are scheduled, and then left to the
	// caller: they get no address and do not become Ready by themselves, and are not removed when they are deleted. Empty
	// selects none.
	Unmanaged string
}

// AuditLog is the name of the audit log in Cluster.Dir.
const AuditLog = "audit.log"

// Cluster is a running control plane. Its methods may be called concurrently.
type Cluster struct {
	// APIServerURL is the address of kube-apiserver, such as "https://127.0.0.1:35791".
	APIServerURL string

	// Dir is the folder with all files of the cluster. Stop removes it.
	Dir string

	binaries  string // the folder of the binaries
	authority *authority
	mu        sync.Mutex // guards processes once the cluster is started
	processes []*process // in the order in which they were started
	config    *rest.Config
	stop      func() error
}

// Start starts a control plane, which shares nothing with others that run. When it returns, the API server is ready. If
// there are nodes, pods can be created in the namespace default and are scheduled. The caller must call Stop.
//
// ctx cancels the start, but does not stop a started cluster. The error is non-nil when `make cluster` has not been
// run, when a component ended, or when the start took more than three minutes. It contains the end of the log of the
// component that ended, or of all of them. On error, no process is left running.
func Start(ctx context.Context, options Options) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	r, err := find(ctx, options.Version)
	if err != nil {
		return nil, err
	}
	if !built(r) {
		return nil, r.missing()
	}
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "cluster-")
	if err != nil {
		return nil, err
	}
	c := newCluster(dir, r.dir, ca)
	if err := c.start(ctx, options); err != nil {
		_ = c.Stop() // its error repeats err
		return nil, err
	}
	return c, nil
}

// newCluster returns a cluster that is not started.
func newCluster(dir, binaries string, ca *authority) *Cluster {
	c := &Cluster{Dir: dir, binaries: binaries, authority: ca}
	c.stop = sync.OnceValue(c.end)
	return c
}

func (c *Cluster) start(ctx context.Context, options Options) error {
	if err := c.startEtcd(); err != nil {
		return err
	}
	if err := c.startAPIServer(ctx, options); err != nil {
		return err
	}
	if options.Nodes == 0 {
		return nil
	}
	if err := c.startControllers(options); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(c.config)
	if err != nil {
		return err
	}
	if err := createNodes(ctx, client, options.Nodes); err != nil {
		return err
	}
	return c.await(ctx, "nodes and ServiceAccount", func(ctx context.Context) (bool, error) {
		return schedulable(ctx, client)
	})
}

// etcdURL is a socket in Dir, which is the working directory of all components. A socket needs no free port, and
// processes of other clusters cannot connect to it by mistake.
const etcdURL = "unix://etcd.sock"

func (c *Cluster) startEtcd() error {
	return c.run("etcd",
		"--data-dir=etcd",
		"--unsafe-no-fsync", // no data has to survive a crash
		// At its start, etcd waits for the votes of peers, although it has none. By default it waits for a second.
		"--heartbeat-interval=10", "--election-timeout=50",
		"--listen-client-urls="+etcdURL,
		"--advertise-client-urls="+etcdURL,
		"--listen-peer-urls=http://127.0.0.1:0", // required, although there are no peers
	)
}

// startAPIServer starts kube-apiserver and returns when it is ready. kube-apiserver has no option to choose a free
// port. If another program takes the chosen port in the meantime, startAPIServer tries again with another port.
func (c *Cluster) startAPIServer(ctx context.Context, options Options) error {
	address := options.Address
	if !address.IsValid() {
		address = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	ca, err := c.authority.pem()
	if err != nil {
		return err
	}
	cert, key, err := c.authority.server(net.IP(address.AsSlice()))
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"ca.crt": ca, "apiserver.crt": cert, "apiserver.key": key} {
		if err := os.WriteFile(filepath.Join(c.Dir, name), content, 0o600); err != nil {
			return err
		}
	}

	if err := c.writeAdmission(); err != nil {
		return err
	}
	var flags []string
	if options.FeatureGates != "" {
		flags = append(flags, "--feature-gates="+options.FeatureGates)
	}
	if options.AuditLog {
		const policy = `{"apiVersion":"audit.k8s.io/v1","kind":"Policy","omitStages":["RequestReceived"],` +
			`"rules":[{"level":"Metadata"}]}`
		if err := os.WriteFile(filepath.Join(c.Dir, "audit-policy.json"), []byte(policy), 0o600); err != nil {
			return err
		}
		flags = append(flags, "--audit-policy-file=audit-policy.json", "--audit-log-path="+AuditLog,
			"--audit-log-maxsize=10000") // megabytes, so that it stays one file
	}

	const attempts = 3
	for attempt := 1; ; attempt++ {
		port, err := freePort(address)
		if err != nil {
			return err
		}
		c.APIServerURL = "https://" + net.JoinHostPort(address.String(), strconv.Itoa(port))
		if c.config, err = c.admin(); err != nil {
			return err
		}
		if err := c.run("kube-apiserver", append(flags,
			"--etcd-servers="+etcdURL,
			"--bind-address="+address.String(),
			"--secure-port="+strconv.Itoa(port),
			"--advertise-address="+address.String(),
			// Without kube-proxy, nothing serves the ClusterIP of a Service: webhooks are called at its endpoints.
			"--enable-aggregator-routing",
			"--admission-control-config-file=admission.json",
			"--endpoint-reconciler-type=none", // a loopback address is not a valid endpoint
			"--tls-cert-file=apiserver.crt",
			"--tls-private-key-file=apiserver.key",
			"--client-ca-file=ca.crt",
			"--authorization-mode=Node,RBAC",
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=apiserver.key",
			"--service-account-signing-key-file=apiserver.key",
			"--service-cluster-ip-range=10.96.0.0/16",
			// A Local LoadBalancer takes two node ports, and tests create thousands. Nothing listens on these ports.
			"--service-node-port-range=20000-60000",
			"--allow-privileged", // installers set this too
		)...); err != nil {
			return err
		}
		err = c.await(ctx, "kube-apiserver", c.ready)
		if err == nil || attempt == attempts || !c.processes[len(c.processes)-1].portTaken() {
			return err
		}
		c.processes = c.processes[:len(c.processes)-1]
	}
}

func (c *Cluster) ready(ctx context.Context) (bool, error) {
	client, err := kubernetes.NewForConfig(c.config)
	if err != nil {
		return false, err
	}
	_, err = client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	return err == nil, err
}

// freePort returns a port of an address that was free when it returned.
func freePort(address netip.Addr) (int, error) {
	listener, err := net.Listen("tcp", netip.AddrPortFrom(address, 0).String())
	if err != nil {
		return 0, err
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}

func (c *Cluster) startControllers(options Options) error {
	// In a real cluster each controller has its own user. One user for all of them makes the start five seconds faster.
	controllerManager, err := c.UserKubeconfig("system:kube-controller-manager", superusers)
	if err != nil {
		return err
	}
	scheduler, err := c.UserKubeconfig("system:kube-scheduler")
	if err != nil {
		return err
	}
	kwok, err := c.UserKubeconfig("kwok", superusers)
	if err != nil {
		return err
	}
	if err := c.run("kube-controller-manager",
		"--kubeconfig="+controllerManager,
		"--use-service-account-credentials=false",
		"--leader-elect=false",
		"--secure-port=0",       // nothing connects to it
		"--kube-api-qps=-1",     // no throttling, so that a thousand pods are scheduled in half the time
		"--root-ca-file=ca.crt", // for the ConfigMap that is mounted into each pod, next to the token
	); err != nil {
		return err
	}
	if err := c.run("kube-scheduler",
		"--kubeconfig="+scheduler,
		"--leader-elect=false",
		"--secure-port=0",
		"--kube-api-qps=-1",
	); err != nil {
		return err
	}
	flags := []string{
		"--kubeconfig=" + kwok,
		"--config=" + filepath.Join(c.binaries, kwokConfig),
		"--manage-all-nodes",
		"--node-lease-duration-seconds=40",
		"--node-ip=127.0.0.1",
		"--cidr=10.244.0.1/16",
	}
	if options.Unmanaged != "" {
		flags = append(flags, "--disregard-status-with-label-selector="+options.Unmanaged)
	}
	return c.run("kwok", flags...)
}

// run starts a component.
func (c *Cluster) run(name string, args ...string) error {
	cmd := exec.Command(c.Binary(name), args...)
	cmd.Dir = c.Dir
	p, err := startProcess(name, filepath.Join(c.Dir, name+".log"), cmd)
	if err != nil {
		return err
	}
	c.processes = append(c.processes, p)
	return nil
}

// await polls until ask returns true. The error is non-nil when ctx or a component ends before that.
func (c *Cluster) await(ctx context.Context, what string, ask func(context.Context) (bool, error)) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		for _, p := range c.components() {
			if err := p.died(); err != nil {
				return false, err
			}
		}
		var yes bool
		yes, last = ask(ctx)
		return yes, nil
	})
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("wait for %s: %w\n%s", what, errors.Join(err, last), c.Logs())
	}
	if err != nil {
		return fmt.Errorf("wait for %s: %w", what, err)
	}
	return nil
}

// components returns the processes of the cluster.
func (c *Cluster) components() []*process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.processes)
}

// component returns the process of a component, and its position in processes.
func (c *Cluster) component(name string) (p *process, i int, err error) {
	all := c.components()
	if i = slices.IndexFunc(all, func(p *process) bool { return p.name == name }); i < 0 {
		return nil, i, fmt.Errorf("the cluster has no component %q", name)
	}
	return all[i], i, nil
}

// Signal sends a signal to a component, such as "etcd" or "kube-apiserver". A component that gets SIGSTOP answers
// nothing until it gets SIGCONT. The error is non-nil if the cluster has no such component, or if it has ended.
func (c *Cluster) Signal(name string, signal os.Signal) error {
	p, _, err := c.component(name)
	if err != nil {
		return err
	}
	return p.cmd.Process.Signal(signal)
}

// RestartAPIServer kills kube-apiserver, starts it again with the same flags and address, and waits until it is ready.
// All connections to it end. The error is non-nil when it did not become ready before ctx ended. RestartAPIServer must
// not be called while another call of it runs, or after Stop.
func (c *Cluster) RestartAPIServer(ctx context.Context) error {
	const name = "kube-apiserver"
	former, i, err := c.component(name)
	if err != nil {
		return err
	}
	former.kill()
	cmd := exec.Command(former.cmd.Path, former.cmd.Args[1:]...)
	cmd.Dir = former.cmd.Dir
	p, err := startProcess(name, former.log, cmd)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.processes[i] = p
	c.mu.Unlock()
	return c.await(ctx, name, c.ready)
}

// Config returns the configuration of a client that may do everything and is not throttled. The caller owns it.
func (c *Cluster) Config() *rest.Config {
	return rest.CopyConfig(c.config)
}

// Kubeconfig returns the path of the kubeconfig of a user with all permissions.
func (c *Cluster) Kubeconfig() string {
	return filepath.Join(c.Dir, "admin.kubeconfig")
}

// UserKubeconfig writes a kubeconfig for a user and returns its path. The user has the permissions that RBAC grants to
// that name, to those groups and to system:authenticated. A ServiceAccount is the user
// system:serviceaccount:NAMESPACE:NAME, in the groups system:serviceaccounts and system:serviceaccounts:NAMESPACE.
// The error is non-nil when the file cannot be written.
func (c *Cluster) UserKubeconfig(user string, groups ...string) (string, error) {
	file, err := os.CreateTemp(c.Dir, "user-*.kubeconfig")
	if err != nil {
		return "", err
	}
	if err := file.Close(); err != nil {
		return "", err
	}
	return file.Name(), c.writeKubeconfig(file.Name(), user, groups...)
}

// admin writes the kubeconfig of a user with all permissions, and returns the configuration in it.
func (c *Cluster) admin() (*rest.Config, error) {
	if err := c.writeKubeconfig(c.Kubeconfig(), "admin", superusers); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return nil, err
	}
	config.QPS = -1 // no throttling
	return config, nil
}

func (c *Cluster) writeKubeconfig(name, user string, groups ...string) error {
	ca, err := c.authority.pem()
	if err != nil {
		return err
	}
	cert, key, err := c.authority.client(user, groups)
	if err != nil {
		return err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["cluster"] = &clientcmdapi.Cluster{Server: c.APIServerURL, CertificateAuthorityData: ca}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	config.Contexts["cluster"] = &clientcmdapi.Context{Cluster: "cluster", AuthInfo: user}
	config.CurrentContext = "cluster"
	return clientcmd.WriteToFile(*config, name)
}

// WebhookClient is the common name of the certificate with which kube-apiserver calls webhooks. ClientCA signs it.
const WebhookClient = "kube-apiserver"

// ClientCA returns the path of the CA that signs the certificates of all clients.
func (c *Cluster) ClientCA() string { return filepath.Join(c.Dir, "ca.crt") }

// writeAdmission writes the configuration with which kube-apiserver shows a client certificate to webhooks that ask for
// one.
func (c *Cluster) writeAdmission() error {
	cert, key, err := c.authority.client(WebhookClient, nil)
	if err != nil {
		return err
	}
	users := clientcmdapi.NewConfig()
	users.AuthInfos["*"] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	file := filepath.Join(c.Dir, "webhooks.kubeconfig")
	if err := clientcmd.WriteToFile(*users, file); err != nil {
		return err
	}
	const version = "apiserver.config.k8s.io/v1"
	var plugins []map[string]any
	for _, name := range []string{"MutatingAdmissionWebhook", "ValidatingAdmissionWebhook"} {
		plugins = append(plugins, map[string]any{"name": name, "configuration": map[string]any{
			"apiVersion": version, "kind": "WebhookAdmissionConfiguration", "kubeConfigFile": file,
		}})
	}
	admission, err := json.Marshal(map[string]any{
		"apiVersion": version, "kind": "AdmissionConfiguration", "plugins": plugins,
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.Dir, "admission.json"), admission, 0o600)
}

// Kubectl returns a command that runs the kubectl of this version, as a user with all permissions. To use another user,
// pass --kubeconfig. The caller runs the command.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.Binary("kubectl"), args...)
	// kubectl caches data about an API server by its address. Another cluster may have had the same port before.
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "KUBECACHEDIR="+filepath.Join(c.Dir, "kubectl"))
	return cmd
}

// Binary returns the path of a binary of this cluster's version, such as "kube-apiserver" or "kubectl".
func (c *Cluster) Binary(name string) string {
	return filepath.Join(c.binaries, name)
}

// Logs returns the end of the log of each component, and says which components have ended. It is meant for the messages
// of tests that fail. After Stop there are no logs.
func (c *Cluster) Logs() string {
	var logs strings.Builder
	for _, p := range c.components() {
		state, _ := p.state()
		fmt.Fprintf(&logs, "== %s %s\n%s\n", p.name, state, p.logEnd())
	}
	return logs.String()
}

// Stop kills every component, waits until all have ended, and removes Dir. A second call returns the result of the
// first. Stop does not shut components down gracefully, because none of their data is needed and kube-apiserver would
// take ten seconds. The error is non-nil when a component had ended before, with the end of its log, or when Dir cannot
// be removed.
func (c *Cluster) Stop() error {
	return c.stop()
}

func (c *Cluster) end() error {
	var errs []error
	for _, p := range slices.Backward(c.components()) {
		errs = append(errs, p.died())
		p.kill()
	}
	return errors.Join(append(errs, os.RemoveAll(c.Dir))...)
}
