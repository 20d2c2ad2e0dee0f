package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
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

// startTimeout is generous: Start takes seconds, but CI machines are shared, and a failure is seen without it.
const startTimeout = 3 * time.Minute

// superusers is the group that no authorizer asks.
const superusers = "system:masters"

// Options says what Start starts. The zero value is an API server of the newest version.
type Options struct {
	// Version is one of Versions. Zero means V137.
	Version Version

	// Nodes is how many nodes there are: node-1 in zone-a, node-2 in zone-b, node-3 in zone-c, node-4 in zone-a and
	// so on. Their pods become Ready at once, whatever their image and probes are. Zero means that there are no
	// nodes and no controllers either: the API server stores objects and nothing acts on them, so a Deployment has
	// no pods, and no namespace has a ServiceAccount.
	Nodes int
}

// Cluster is a control plane that runs. Its methods may be called concurrently.
type Cluster struct {
	// APIServerURL is where kube-apiserver serves, such as "https://127.0.0.1:35791".
	APIServerURL string

	// Dir holds all files of the cluster. Stop removes it.
	Dir string

	binaries  string // their folder
	authority *authority
	processes []*process // in the order of their start
	config    *rest.Config
	stop      func() error
}

// Start starts a control plane of its own, which shares nothing with others that run. When it returns, the API server
// is ready; if there are nodes, pods can be created in namespace default and are scheduled. The caller calls Stop.
//
// Ctx ends the start, not the cluster. The error is non-nil when `make cluster` has not been run, when a component
// ended, with the end of its log, or when it took more than three minutes, with all of them. Nothing runs then.
func Start(ctx context.Context, options Options) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	r, err := find(ctx, options.Version)
	if err != nil {
		return nil, err
	}
	if !built(r) {
		return nil, fmt.Errorf("no control plane in %s: `make cluster` builds it, once", r.dir)
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
	if err := c.start(ctx, options.Nodes); err != nil {
		_ = c.Stop() // would say the same
		return nil, err
	}
	return c, nil
}

// newCluster returns a cluster of which nothing runs yet.
func newCluster(dir, binaries string, ca *authority) *Cluster {
	c := &Cluster{Dir: dir, binaries: binaries, authority: ca}
	c.stop = sync.OnceValue(c.end)
	return c
}

func (c *Cluster) start(ctx context.Context, nodes int) error {
	if err := c.startEtcd(); err != nil {
		return err
	}
	if err := c.startAPIServer(ctx); err != nil {
		return err
	}
	if nodes == 0 {
		return nil
	}
	if err := c.startControllers(); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(c.config)
	if err != nil {
		return err
	}
	if err := createNodes(ctx, client, nodes); err != nil {
		return err
	}
	return c.await(ctx, "nodes and ServiceAccount", func(ctx context.Context) (bool, error) {
		return schedulable(ctx, client)
	})
}

// etcd is reached by a socket in Dir, the working directory of all: no port to find, and no one else can reach it.
const etcdURL = "unix://etcd.sock"

func (c *Cluster) startEtcd() error {
	return c.run("etcd",
		"--data-dir=etcd",
		"--unsafe-no-fsync", // nothing is to survive a crash
		// It waits for the votes of peers that it does not have. By default that is a second.
		"--heartbeat-interval=10", "--election-timeout=50",
		"--listen-client-urls="+etcdURL,
		"--advertise-client-urls="+etcdURL,
		"--listen-peer-urls=http://127.0.0.1:0", // it has no peers, but wants to listen
	)
}

// startAPIServer returns when kube-apiserver is ready. It cannot be told to take any free port, so another program
// may take the one that was free a moment ago; then it starts on another.
func (c *Cluster) startAPIServer(ctx context.Context) error {
	loopback := net.IPv4(127, 0, 0, 1)
	ca, err := c.authority.pem()
	if err != nil {
		return err
	}
	cert, key, err := c.authority.server(loopback)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"ca.crt": ca, "apiserver.crt": cert, "apiserver.key": key} {
		if err := os.WriteFile(filepath.Join(c.Dir, name), content, 0o600); err != nil {
			return err
		}
	}

	const attempts = 3
	for attempt := 1; ; attempt++ {
		port, err := freePort()
		if err != nil {
			return err
		}
		c.APIServerURL = "https://" + net.JoinHostPort(loopback.String(), strconv.Itoa(port))
		if c.config, err = c.admin(); err != nil {
			return err
		}
		if err := c.run("kube-apiserver",
			"--etcd-servers="+etcdURL,
			"--bind-address="+loopback.String(),
			"--secure-port="+strconv.Itoa(port),
			"--advertise-address="+loopback.String(),
			"--endpoint-reconciler-type=none", // a loopback address is no valid endpoint
			"--tls-cert-file=apiserver.crt",
			"--tls-private-key-file=apiserver.key",
			"--client-ca-file=ca.crt",
			"--authorization-mode=Node,RBAC",
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=apiserver.key",
			"--service-account-signing-key-file=apiserver.key",
			"--service-cluster-ip-range=10.96.0.0/16",
			// A Local LoadBalancer takes two of these, and tests make thousands. They are numbers: nothing listens.
			"--service-node-port-range=20000-60000",
			"--allow-privileged", // as installers set it
		); err != nil {
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

// freePort returns a port of the loopback address that the kernel has just chosen.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}

func (c *Cluster) startControllers() error {
	// Controllers of a real cluster are a user each; one for all of them saves five seconds of starting.
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
		"--secure-port=0",   // nobody asks it
		"--kube-api-qps=-1", // not throttled: a thousand pods are scheduled in half the time
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
	return c.run("kwok",
		"--kubeconfig="+kwok,
		"--config="+filepath.Join(c.binaries, kwokConfig),
		"--manage-all-nodes",
		"--node-lease-duration-seconds=40",
		"--node-ip=127.0.0.1",
		"--cidr=10.244.0.1/16",
	)
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

// await asks until the answer is yes, ctx ends or a component does.
func (c *Cluster) await(ctx context.Context, what string, ask func(context.Context) (bool, error)) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		for _, p := range c.processes {
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

// Config returns the configuration of a client that may do everything and is never throttled. The caller owns it.
func (c *Cluster) Config() *rest.Config {
	return rest.CopyConfig(c.config)
}

// Kubeconfig returns the path of the kubeconfig of a user who may do everything.
func (c *Cluster) Kubeconfig() string {
	return filepath.Join(c.Dir, "admin.kubeconfig")
}

// UserKubeconfig writes a kubeconfig for a user who may do what RBAC grants to that name, to those groups and to
// system:authenticated, and returns its path. A ServiceAccount is the user system:serviceaccount:NAMESPACE:NAME, in
// the groups system:serviceaccounts and system:serviceaccounts:NAMESPACE.
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

// admin writes the kubeconfig of the one who may do everything, and reads it.
func (c *Cluster) admin() (*rest.Config, error) {
	if err := c.writeKubeconfig(c.Kubeconfig(), "admin", superusers); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return nil, err
	}
	config.QPS = -1 // not throttled
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

// Kubectl returns a command of this version's kubectl, as a user who may do everything; the argument
// --kubeconfig makes it another. The caller runs it.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.Binary("kubectl"), args...)
	// What kubectl remembers of an API server it finds by the port, which was another cluster's yesterday.
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "KUBECACHEDIR="+filepath.Join(c.Dir, "kubectl"))
	return cmd
}

// Binary returns the path of a binary of this cluster's version, such as "kube-apiserver" or "kubectl".
func (c *Cluster) Binary(name string) string {
	return filepath.Join(c.binaries, name)
}

// Logs returns the end of each component's log, and says which components have ended: for the message of a test
// that fails. After Stop there are none.
func (c *Cluster) Logs() string {
	var logs strings.Builder
	for _, p := range c.processes {
		state, _ := p.state()
		fmt.Fprintf(&logs, "== %s %s\n%s\n", p.name, state, p.logEnd())
	}
	return logs.String()
}

// Stop kills every component, waits until they are gone and removes Dir; a second call returns what the first did.
// Nothing of the cluster is to be kept, so none is asked to end by itself: for that kube-apiserver takes ten seconds.
// The error is non-nil when a component had ended before, with the end of its log, or when Dir cannot be removed.
func (c *Cluster) Stop() error {
	return c.stop()
}

func (c *Cluster) end() error {
	var errs []error
	for _, p := range slices.Backward(c.processes) {
		errs = append(errs, p.died())
		p.kill()
	}
	return errors.Join(append(errs, os.RemoveAll(c.Dir))...)
}
