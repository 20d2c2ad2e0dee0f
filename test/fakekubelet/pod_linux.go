package fakekubelet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// tick is how often to look whether a pod has been deleted or has ended.
	tick = 50 * time.Millisecond
	// refresh is how often volumes of some pods are read again, and those of others half or a third as often: the kubelets
	// of several nodes do not update a Secret at the same time. A kubelet takes up to a minute and a half.
	refresh = 500 * time.Millisecond
	// backoff is how long a container that has ended is not restarted. A kubelet begins with ten seconds.
	backoff = time.Second
)

// Pod is a pod that was started.
type Pod struct {
	Name string
	IP   netip.Addr

	kubelet *Kubelet
	object  *corev1.Pod
	dir     string
	pid     atomic.Int64

	// Only the goroutine of run uses the fields below.

	volumes  map[string]string // the folder of each volume, by its name
	restarts int
	isReady  bool
	failed   int32 // how often the readiness probe has failed since it succeeded
	written  string
}

// Log returns what the containers of the pod have written. Before the first is started it is empty.
func (p *Pod) Log() string {
	text, err := os.ReadFile(p.logFile())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	return string(text)
}

// PID returns the process ID of the container, or 0 if it does not run.
func (p *Pod) PID() int { return int(p.pid.Load()) }

func (p *Pod) logFile() string { return filepath.Join(p.dir, "log") }

// run runs the pod until it is deleted and has stopped, or until ctx ends.
func (p *Pod) run(ctx context.Context) error {
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	for {
		// A volume may have to wait for its Secret.
		err := p.readVolumes(ctx)
		if err == nil {
			break
		}
		if stopped, err := p.wait(ctx, refresh, err.Error()); stopped {
			return err
		}
	}
	for {
		c, err := p.start()
		if err != nil {
			return err
		}
		p.pid.Store(int64(c.cmd.Process.Pid))
		stopped, err := p.watch(ctx, c)
		p.pid.Store(0)
		if stopped {
			return err
		}
		p.restarts++
		p.isReady, p.failed = false, 0
		if stopped, err := p.wait(ctx, backoff, "the container has ended: "+c.state()); stopped {
			return err
		}
	}
}

// wait waits, and reports whether the pod has been deleted or ctx has ended in the meantime.
func (p *Pod) wait(ctx context.Context, duration time.Duration, why string) (stopped bool, err error) {
	if err := p.writeStatus(ctx, why); err != nil {
		return true, err
	}
	end := time.After(duration)
	for {
		select {
		case <-ctx.Done():
			return true, nil
		case <-end:
			return false, nil
		case <-time.After(tick):
			if p.kubelet.isDeleted(p.object) {
				return true, p.remove(ctx)
			}
		}
	}
}

// watch asks the probe and keeps volumes and status up to date until the container has ended. It ends the container if
// the pod is deleted or if ctx ends, and then reports that it has stopped.
func (p *Pod) watch(ctx context.Context, c *container) (stopped bool, err error) {
	probe := p.object.Spec.Containers[0].ReadinessProbe
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var probed, read time.Time
	for {
		select {
		case <-ctx.Done():
			c.kill()
			return true, nil
		case <-c.done:
			return false, nil
		case now := <-ticker.C:
			if p.kubelet.isDeleted(p.object) {
				return true, errors.Join(p.terminate(ctx, c), p.remove(ctx))
			}
			if now.Sub(read) >= refresh*time.Duration(1+p.IP.As4()[3]%3) {
				read = now
				// The former files stay if the object is gone.
				if err := p.readVolumes(ctx); err != nil && !apierrors.IsNotFound(err) {
					c.kill()
					return true, err
				}
			}
			// A kubelet, too, asks at once after the start, and then every period.
			if probe == nil || now.Sub(probed) < time.Duration(probe.PeriodSeconds)*time.Second {
				break
			}
			probed = now
			if err := p.ask(ctx, probe); err == nil {
				p.isReady, p.failed = true, 0
			} else if p.failed++; p.failed >= probe.FailureThreshold {
				p.isReady = false
			}
			if err := p.writeStatus(ctx, ""); err != nil {
				c.kill()
				return true, err
			}
		}
	}
}

// ask asks the readiness probe. The error is non-nil if it fails.
func (p *Pod) ask(ctx context.Context, probe *corev1.Probe) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(probe.TimeoutSeconds)*time.Second)
	defer cancel()
	port := probe.HTTPGet.Port.IntVal
	if probe.HTTPGet.Port.Type == intstr.String {
		for _, named := range p.object.Spec.Containers[0].Ports {
			if named.Name == probe.HTTPGet.Port.StrVal {
				port = named.ContainerPort
			}
		}
	}
	url := fmt.Sprintf("http://%s%s", netip.AddrPortFrom(p.IP, uint16(port)), probe.HTTPGet.Path)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	// A kubelet too makes a new connection for each probe.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // nothing is read
	if response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s", response.Status)
	}
	return nil
}

// terminate ends the container as a kubelet does: after preStop, by SIGTERM, and at the end of the grace period by
// SIGKILL. Meanwhile the pod is not ready.
func (p *Pod) terminate(ctx context.Context, c *container) error {
	const defaultGrace = 30 * time.Second
	grace := time.After(defaultGrace)
	if seconds := p.object.Spec.TerminationGracePeriodSeconds; seconds != nil {
		grace = time.After(time.Duration(*seconds) * time.Second)
	}
	var preStop time.Duration
	if lifecycle := p.object.Spec.Containers[0].Lifecycle; lifecycle != nil && lifecycle.PreStop != nil &&
		lifecycle.PreStop.Sleep != nil {
		preStop = time.Duration(lifecycle.PreStop.Sleep.Seconds) * time.Second
	}
	select {
	case <-time.After(preStop):
	case <-ctx.Done():
	}
	err := c.cmd.Process.Signal(syscall.SIGTERM)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	select {
	case <-c.done:
	case <-grace:
		c.kill()
		err = errors.Join(err, errors.New("the container did not end in its grace period"))
	case <-ctx.Done():
		c.kill()
	}
	return err
}

// remove removes a deleted pod from the API server.
func (p *Pod) remove(ctx context.Context) error {
	err := p.kubelet.client.CoreV1().Pods(p.object.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{
		GracePeriodSeconds: new(int64), Preconditions: metav1.NewUIDPreconditions(string(p.object.UID)),
	})
	if ctx.Err() != nil {
		return nil //nolint:nilerr // Nothing matters to a kubelet that has been stopped.
	}
	if apierrors.IsConflict(err) {
		err = nil // Another pod has the name.
	}
	return client.IgnoreNotFound(err)
}

// writeStatus writes the status of the pod if it has changed. why says why the container does not run; empty means that
// it does.
func (p *Pod) writeStatus(ctx context.Context, why string) error {
	now := metav1.Now()
	ready := corev1.ConditionFalse
	if p.isReady {
		ready = corev1.ConditionTrue
	}
	state := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}
	phase, started := corev1.PodRunning, true
	if why != "" {
		state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "NotRunning", Message: why}}
		started = false
	}
	if !started && p.restarts == 0 {
		phase = corev1.PodPending
	}
	key := fmt.Sprint(p.isReady, why, p.restarts)
	if key == p.written {
		return nil
	}
	spec := p.object.Spec.Containers[0]
	patch, err := json.Marshal(map[string]any{"status": corev1.PodStatus{
		Phase: phase, PodIP: p.IP.String(), PodIPs: []corev1.PodIP{{IP: p.IP.String()}},
		HostIP: p.kubelet.server.Addr().String(),
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodInitialized, Status: corev1.ConditionTrue, LastTransitionTime: now},
			{Type: corev1.ContainersReady, Status: ready, LastTransitionTime: now},
			{Type: corev1.PodReady, Status: ready, LastTransitionTime: now},
		},
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: spec.Name, Image: spec.Image, ImageID: spec.Image, State: state, Ready: p.isReady, Started: &started,
			RestartCount: int32(p.restarts),
		}},
	}})
	if err != nil {
		return err
	}
	_, err = p.kubelet.client.CoreV1().Pods(p.object.Namespace).
		Patch(ctx, p.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if ctx.Err() != nil {
		return nil //nolint:nilerr // as in remove
	}
	if err == nil {
		p.written = key
	}
	return client.IgnoreNotFound(err)
}
