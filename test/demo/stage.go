package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/sandbox"
)

const (
	// namespace is the namespace of the manifests.
	namespace = "demo"
	// patience is the timeout of every wait. What is waited for usually takes milliseconds.
	patience = time.Minute
)

// stage is a control plane with three nodes and, after install, Sourceward.
type stage struct {
	bin     string // the folder of sourceward and sourceward-webhook
	cluster *cluster.Cluster
	sandbox *sandbox.Sandbox
}

// on sets up a stage, calls play with it, and always stops everything afterwards. It writes its progress in
// human-readable form. The error is non-nil when the setup fails, when play fails, or when a process ended with an
// error. After an interrupt it is the error of ctx.
func on(ctx context.Context, bin string, progress io.Writer, play func(context.Context, *stage) error) error {
	s := &stage{}
	err := s.set(ctx, bin, progress)
	if err == nil {
		err = play(ctx, s)
	}
	stopped := s.stop(ctx)
	switch {
	case ctx.Err() == nil:
		return errors.Join(err, stopped)
	case stopped != nil:
		return stopped
	case err != nil:
		return ctx.Err() // an interrupt causes many different errors
	}
	return nil
}

// set starts the control plane. If it has not been built yet, set builds it first, which takes minutes.
func (s *stage) set(ctx context.Context, bin string, progress io.Writer) (err error) {
	if s.bin, err = filepath.Abs(bin); err != nil {
		return err
	}
	if err := cluster.Build(ctx, cluster.V137, progress); err != nil {
		return err
	}
	fmt.Fprintln(progress, "start etcd, kube-apiserver, kube-controller-manager, kube-scheduler and three nodes")
	if s.cluster, err = cluster.Start(ctx, cluster.Options{Version: cluster.V137, Nodes: 3}); err != nil {
		return err
	}
	if answer, err := s.shell(ctx, "kubectl create namespace "+namespace); err != nil {
		return fmt.Errorf("%w\n%s", err, answer)
	}
	return nil
}

// install installs the webhook and waits until the API server calls it.
func (s *stage) install(ctx context.Context) (err error) {
	s.sandbox, err = sandbox.Install(ctx, s.cluster, filepath.Join(s.bin, "sourceward-webhook"), sandbox.Options{})
	if err != nil {
		return err
	}
	// The API server watches the two webhook configurations separately. The first Service below shows that it calls
	// /mutate, which denies the Service. The second one shows that it calls /validate, which warns.
	const probe = "kubectl create --dry-run=server -f test/demo/manifests/admin.yaml; " +
		"kubectl create service clusterip probe --namespace demo --tcp=80 --dry-run=client --output yaml | " +
		"kubectl annotate --local --filename - --output yaml sourceward.dev/source-ip=probe | " +
		"kubectl create --dry-run=server --filename -"
	return s.until(ctx, "the API server calls the webhook", func() (bool, string) {
		answer, _ := s.shell(ctx, probe)
		denied, warned := strings.Contains(answer, "local-on-cluster-ip"), strings.Contains(answer, "source-ip-needs-local")
		return denied && warned, answer
	})
}

// ready waits until the webhook has loaded a number of policies.
func (s *stage) ready(ctx context.Context, policies float64) error {
	return s.until(ctx, "the policy is in force", func() (bool, string) {
		ready, err := s.sandbox.Replicas[0].Metric(ctx, `sourceward_policies{state="ready"}`)
		return err == nil && ready == policies, fmt.Sprintf("%v policies (%v)", ready, err)
	})
}

// binaries returns the folder of kubectl.
func (s *stage) binaries() string { return filepath.Dir(s.cluster.Binary("kubectl")) }

// shell runs a command line in a shell and returns its standard output and standard error, interleaved as they were
// written. The error is non-nil when the command fails.
func (s *stage) shell(ctx context.Context, line string) (string, error) {
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	// Kill the commands that the shell has started too: else kubectl would wait for an API server that is stopping.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = append(s.cluster.Kubectl(ctx).Env, "PATH="+s.bin+":"+s.binaries()+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return string(out), err
}

// until polls until ask returns true. The error is non-nil when that takes too long, and contains the last answer.
func (s *stage) until(ctx context.Context, what string, ask func() (yes bool, answer string)) error {
	var last string
	poll := func(context.Context) (yes bool, _ error) {
		yes, last = ask()
		return yes, nil
	}
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, patience, true, poll)
	if err != nil {
		return fmt.Errorf("wait until %s: %w\n%s", what, err, last)
	}
	return nil
}

// stop stops all processes. After an interrupt it does not wait for a graceful shutdown, because no data has to be
// kept. An interrupt from a terminal reaches all processes, so it is not an error then that they have ended.
func (s *stage) stop(ctx context.Context) error {
	if s.cluster == nil {
		return nil
	}
	var err error
	if s.sandbox != nil && ctx.Err() == nil {
		err = s.sandbox.Stop()
	} else if s.sandbox != nil {
		s.sandbox.Kill()
	}
	err = errors.Join(err, s.cluster.Stop())
	if _, stat := os.Stat(s.cluster.Dir); ctx.Err() != nil && errors.Is(stat, fs.ErrNotExist) {
		return nil
	}
	return err
}
