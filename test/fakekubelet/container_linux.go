package fakekubelet

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// imageUser is the user and the group of the image, as its Dockerfile has them.
const imageUser = "65532:65532"

// container is a process that was started.
type container struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// kill kills the process, and waits until it has ended.
func (c *container) kill() {
	_ = c.cmd.Process.Kill() // fails only if it has ended
	<-c.done
}

// state describes how a process has ended.
func (c *container) state() string { return c.cmd.ProcessState.String() }

// start starts the container of the pod.
func (p *Pod) start() (*container, error) {
	spec := p.object.Spec.Containers[0]
	image := p.kubelet.options.Images[spec.Image]
	if image == "" {
		return nil, fmt.Errorf("there is no image %q", spec.Image)
	}
	if len(spec.Command) == 0 {
		return nil, errors.New("the entry point of the image is not known: the container needs a command")
	}
	own := spec.SecurityContext
	if pod := p.object.Spec.SecurityContext; pod == nil || pod.RunAsUser != nil || own == nil || own.RunAsUser != nil ||
		!ptr.Deref(own.ReadOnlyRootFilesystem, false) || ptr.Deref(own.AllowPrivilegeEscalation, true) {
		return nil, errors.New("securityContext: only the user of the image, a read-only root file system and no privilege " +
			"escalation are supported")
	}
	root := filepath.Join(p.dir, fmt.Sprint("root-", p.restarts))
	// Hard links, since mount points have to be added.
	if out, err := exec.Command("cp", "-al", image, root).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copy the image: %w: %s", err, out)
	}
	script := []string{
		"set -e",
		"mount --make-rprivate /",
		fmt.Sprintf("mount --bind '%s' '%[1]s'", root),
		fmt.Sprintf("mount -t proc proc '%s/proc'", root),
	}
	points := []string{filepath.Join(root, "proc")}
	for _, mount := range spec.VolumeMounts {
		point := filepath.Join(root, mount.MountPath)
		points = append(points, point)
		script = append(script,
			fmt.Sprintf("mount --bind '%s' '%s'", p.volumes[mount.Name], point),
			fmt.Sprintf("mount -o remount,bind,ro,nosuid,nodev '%s'", point))
	}
	for _, point := range points {
		if err := os.MkdirAll(point, 0o755); err != nil {
			return nil, err
		}
	}
	script = append(script,
		fmt.Sprintf("mount -o remount,bind,ro,nosuid,nodev '%s'", root),
		// A line says that the network is there.
		"read -r line",
		"unset PWD", // which the shell sets
		fmt.Sprintf(`exec setpriv --no-new-privs chroot --userspec=%s --groups= '%s' "$@" </dev/null`, imageUser, root))

	environment, err := p.environment()
	if err != nil {
		return nil, err
	}
	args := append([]string{"-c", strings.Join(script, "\n"), "sh"}, expand(spec.Command, environment)...)
	cmd := exec.Command("/bin/sh", append(args, expand(spec.Args, environment)...)...)
	for name, value := range environment {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	// What container runtimes set.
	cmd.Env = append(cmd.Env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	log, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the process has its own handle
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	line, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	c := &container{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Pdeathsig is about the thread that starts the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // state says how it ended
			close(c.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	if err := p.connect(cmd.Process.Pid); err != nil {
		c.kill()
		return nil, fmt.Errorf("connect the pod: %w", err)
	}
	if _, err := fmt.Fprintln(line); err != nil {
		c.kill()
		return nil, err
	}
	return c, nil
}

// connect gives the network namespace of a process the address of the pod, and connects it to ours.
func (p *Pod) connect(pid int) error {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return err
	}
	defer ns.Close() //nolint:errcheck // only read from
	const inside = "eth0"
	// The length of a name is limited to 15. The former interface of a container that was restarted disappears with its
	// namespace, a little later.
	outside := fmt.Sprintf("pod%d", pid)
	err = netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: outside}, PeerName: inside, PeerNamespace: netlink.NsFd(ns),
	})
	if err != nil {
		return err
	}
	ours, err := netlink.LinkByName(outside)
	if err != nil {
		return err
	}
	one := func(ip net.IP) *net.IPNet { return &net.IPNet{IP: ip, Mask: net.CIDRMask(8*len(ip), 8*len(ip))} }
	pod, server := net.IP(p.IP.AsSlice()), net.IP(p.kubelet.server.Addr().AsSlice())
	if err := netlink.LinkSetUp(ours); err != nil {
		return err
	}
	err = netlink.RouteReplace(&netlink.Route{
		LinkIndex: ours.Attrs().Index, Dst: one(pod), Src: server, Scope: netlink.SCOPE_LINK,
	})
	if err != nil {
		return err
	}
	handle, err := netlink.NewHandleAt(ns)
	if err != nil {
		return err
	}
	defer handle.Close()
	for _, name := range []string{"lo", inside} {
		link, err := handle.LinkByName(name)
		if err != nil {
			return err
		}
		if err := handle.LinkSetUp(link); err != nil {
			return err
		}
		if name != inside {
			continue
		}
		if err := handle.AddrAdd(link, &netlink.Addr{IPNet: one(pod)}); err != nil {
			return err
		}
		err = handle.RouteAdd(&netlink.Route{
			LinkIndex: link.Attrs().Index, Dst: one(server), Src: pod, Scope: netlink.SCOPE_LINK,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// environment returns the environment of the container, by name.
func (p *Pod) environment() (map[string]string, error) {
	environment := map[string]string{
		"KUBERNETES_SERVICE_HOST": p.kubelet.server.Addr().String(),
		"KUBERNETES_SERVICE_PORT": fmt.Sprint(p.kubelet.server.Port()),
		"HOSTNAME":                p.Name,
	}
	for _, env := range p.object.Spec.Containers[0].Env {
		switch {
		case env.ValueFrom == nil:
			environment[env.Name] = strings.Join(expand([]string{env.Value}, environment), "")
		case env.ValueFrom.FieldRef != nil:
			value, err := p.field(env.ValueFrom.FieldRef)
			if err != nil {
				return nil, err
			}
			environment[env.Name] = value
		default:
			return nil, fmt.Errorf("env %s: only values and fields are supported", env.Name)
		}
	}
	return environment, nil
}

// field returns the value of a field of the pod.
func (p *Pod) field(ref *corev1.ObjectFieldSelector) (string, error) {
	switch ref.FieldPath {
	case "metadata.name":
		return p.object.Name, nil
	case "metadata.namespace":
		return p.object.Namespace, nil
	case "status.podIP":
		return p.IP.String(), nil
	default:
		return "", fmt.Errorf("field %s is not supported", ref.FieldPath)
	}
}

var reference = regexp.MustCompile(`\$\([A-Za-z_][A-Za-z0-9_]*\)`)

// expand replaces $(NAME) by the value of NAME, as the API says for command, args and env. A name that has no value
// stays.
func expand(texts []string, environment map[string]string) []string {
	var expanded []string
	for _, text := range texts {
		expanded = append(expanded, reference.ReplaceAllStringFunc(text, func(match string) string {
			if value, ok := environment[match[2:len(match)-1]]; ok {
				return value
			}
			return match
		}))
	}
	return expanded
}
