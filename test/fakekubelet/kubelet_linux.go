package fakekubelet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Options configures Start. All fields are required.
type Options struct {
	// Config is how to reach the API server, as a user who may do everything. Its host is an IP address, which the calling
	// process has in its network namespace: pods are connected to that namespace.
	Config *rest.Config
	// Selector is the label selector of the pods to run. It is the Unmanaged of cluster.Options.
	Selector string
	// Images has the folder of the root file system of each image.
	Images map[string]string
	// Dir is an empty folder for logs and volumes. It must be on the file system of the images.
	Dir string
	// Pods is the network of the pods' addresses, such as 192.0.2.128/25. Its addresses must not be in use.
	Pods netip.Prefix
}

// Kubelet runs pods. Its methods may be called concurrently.
type Kubelet struct {
	options Options
	client  kubernetes.Interface
	server  netip.AddrPort
	pods    cache.Store
	ctx     context.Context // ends when the kubelet stops
	stop    func() error

	mu      sync.Mutex
	address netip.Addr // the last that was given to a pod
	running map[string]*Pod
	errs    []error
	group   sync.WaitGroup
}

// Start returns a Kubelet that runs all selected pods that are bound to any node, and those that will be. The caller
// must call Stop. The error is non-nil if Config cannot be used, or if ctx ends before the pods are known. ctx does not
// stop a Kubelet that was started.
func Start(ctx context.Context, options Options) (*Kubelet, error) {
	client, err := kubernetes.NewForConfig(options.Config)
	if err != nil {
		return nil, err
	}
	host, err := url.Parse(options.Config.Host)
	if err != nil {
		return nil, err
	}
	server, err := netip.ParseAddrPort(host.Host)
	if err != nil {
		return nil, fmt.Errorf("address of the API server: %w", err)
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0,
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = options.Selector }))
	informer := factory.Core().V1().Pods().Informer()
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	k := &Kubelet{
		options: options, client: client, server: server, pods: informer.GetStore(), ctx: running,
		address: options.Pods.Addr(), running: map[string]*Pod{},
	}
	k.stop = sync.OnceValue(func() error {
		cancel()
		factory.Shutdown()
		k.group.Wait()
		return errors.Join(k.errs...)
	})
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { k.see(object.(*corev1.Pod)) },
		UpdateFunc: func(_, object any) { k.see(object.(*corev1.Pod)) },
	})
	if err != nil {
		return nil, errors.Join(err, k.stop())
	}
	factory.StartWithContext(running)
	if !cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		return nil, errors.Join(context.Cause(ctx), k.stop())
	}
	return k, nil
}

// Stop kills all containers, and leaves their pods as they are. A second call returns the result of the first. The
// error is non-nil if a pod could not be run, or its status not be written.
func (k *Kubelet) Stop() error { return k.stop() }

// Pods returns the pods that were started and have not been removed, by their names.
func (k *Kubelet) Pods() []*Pod {
	k.mu.Lock()
	defer k.mu.Unlock()
	var pods []*Pod
	for _, pod := range k.running {
		pods = append(pods, pod)
	}
	slices.SortFunc(pods, func(a, b *Pod) int { return strings.Compare(a.Name, b.Name) })
	return pods
}

// see starts a pod that is bound to a node, once.
func (k *Kubelet) see(object *corev1.Pod) {
	uid := string(object.UID)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.running[uid] != nil || object.Spec.NodeName == "" || object.DeletionTimestamp != nil || k.ctx.Err() != nil {
		return
	}
	k.address = k.address.Next()
	pod := &Pod{
		Name: object.Name, IP: k.address, kubelet: k, object: object, dir: filepath.Join(k.options.Dir, uid),
	}
	k.running[uid] = pod
	k.group.Go(func() {
		err := pod.run(k.ctx)
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.running, uid)
		if err != nil && k.ctx.Err() == nil {
			k.errs = append(k.errs, fmt.Errorf("pod %s: %w", pod.Name, err))
		}
	})
}

// isDeleted reports whether a pod was deleted, or removed.
func (k *Kubelet) isDeleted(pod *corev1.Pod) bool {
	object, exists, err := k.pods.GetByKey(pod.Namespace + "/" + pod.Name)
	if err != nil || !exists {
		return true
	}
	now, ok := object.(*corev1.Pod)
	return !ok || now.UID != pod.UID || now.DeletionTimestamp != nil
}
