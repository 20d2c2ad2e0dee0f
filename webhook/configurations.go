package webhook

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"sync"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/prometheus/client_golang/prometheus"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Configurations watches the two webhook configurations that make API servers call Sourceward. Either of them may be
// created, deleted and created again at any time.
type Configurations struct {
	all []configuration
}

// NewConfigurations returns the configurations with these names, which are read once Start is called. watches observes
// them. The error is non-nil if config cannot be used or if a name is empty; no request is made yet.
func NewConfigurations(
	config *rest.Config, mutatingName, validatingName string, watches *Watches,
) (*Configurations, error) {
	if mutatingName == "" || validatingName == "" {
		return nil, errors.New("the names of the two webhook configurations are required")
	}
	client, err := kubernetes.NewForConfig(limited(config))
	if err != nil {
		return nil, fmt.Errorf("create a client: %w", err)
	}
	return newConfigurations(client, mutatingName, validatingName, watches), nil
}

// limited returns a copy of config with client-go's default rate limits, which controller-runtime removes. Two managers
// that write the same caBundle would overwrite each other forever, and the limits protect the API server from that.
func limited(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst, config.RateLimiter = rest.DefaultQPS, rest.DefaultBurst, nil
	return config
}

func newConfigurations(
	client kubernetes.Interface, mutatingName, validatingName string, watches *Watches,
) *Configurations {
	registrations := client.AdmissionregistrationV1()
	mutating, validating := registrations.MutatingWebhookConfigurations(), registrations.ValidatingWebhookConfigurations()
	return &Configurations{[]configuration{
		newConfiguration(client, mutating, &admissionregistrationv1.MutatingWebhookConfiguration{},
			"MutatingWebhookConfiguration", mutatingName, watches),
		newConfiguration(client, validating, &admissionregistrationv1.ValidatingWebhookConfiguration{},
			"ValidatingWebhookConfiguration", validatingName, watches),
	}}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable. It returns false, because every replica reads the
// configurations.
func (*Configurations) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable. It watches the configurations until ctx ends, and may be called once. The error is
// always nil: requests that fail are logged and retried.
func (c *Configurations) Start(ctx context.Context) error {
	var group sync.WaitGroup
	for _, configuration := range c.all {
		group.Go(func() { configuration.informer.RunWithContext(ctx) })
	}
	group.Wait()
	return nil
}

// observe registers the metrics of the configurations. serving is the certificates that API servers have to verify.
func (c *Configurations) observe(metrics *Metrics, serving certificates) error {
	var errs []error
	for _, configuration := range c.all {
		labels := prometheus.Labels{"kind": configuration.kind, "name": configuration.name}
		errs = append(errs,
			metrics.observe("sourceward_webhook_configuration_webhooks",
				"Webhooks in each of our webhook configurations; 0 if it does not exist, NaN until it has been read.",
				labels, configuration.webhooks),
			metrics.observe("sourceward_webhook_configuration_untrusting_webhooks",
				"Webhooks whose caBundle is empty or does not verify the serving certificate; NaN until both are known.",
				labels, func() float64 { return configuration.untrusting(serving, time.Now()) }))
	}
	return errors.Join(errs...)
}

// configuration is one webhook configuration. It is watched by name, so that RBAC can be limited to that name.
type configuration struct {
	kind, name string
	informer   cache.SharedIndexInformer
	patch      func(ctx context.Context, patch []byte) error
}

// configurationClient is the client of one kind of configuration.
type configurationClient[Object any, List runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (List, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
	Patch(context.Context, string, types.PatchType, []byte, metav1.PatchOptions, ...string) (Object, error)
}

func newConfiguration[Object, List runtime.Object](
	clientset kubernetes.Interface, client configurationClient[Object, List], empty Object, kind, name string,
	watches *Watches,
) configuration {
	byName := func(options metav1.ListOptions) metav1.ListOptions {
		options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
		return options
	}
	// A replica answers without the configurations.
	const needed = false
	observed := watches.observe(kind, needed, &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return client.List(ctx, byName(options))
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return client.Watch(ctx, byName(options))
		},
	})
	return configuration{
		kind: kind, name: name,
		informer: cache.NewSharedIndexInformerWithOptions(
			cache.ToListWatcherWithWatchListSemantics(observed, clientset), empty, cache.SharedIndexInformerOptions{}),
		patch: func(ctx context.Context, patch []byte) error {
			_, err := client.Patch(
				ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: caCommonName})
			return err
		},
	}
}

// webhooks returns the number of webhooks in the configuration: 0 if it does not exist, and NaN if it has not been read
// yet.
func (c configuration) webhooks() float64 {
	t, err := c.read()
	if err != nil || !c.informer.HasSynced() {
		return math.NaN()
	}
	return float64(len(t.webhooks))
}

// untrusting returns the number of webhooks for which API servers cannot verify the serving certificate at the time
// now: 0 if the configuration does not exist, and NaN if it has not been read yet or if there is no certificate. A
// webhook without caBundle counts: the trust store of an API server seldom has a CA that signs names of Services.
func (c configuration) untrusting(serving certificates, now time.Time) float64 {
	certificate, err := serving.GetCertificate(nil)
	if err != nil || !c.informer.HasSynced() {
		return math.NaN()
	}
	v := c.verify(certificate, now)
	return float64(len(v.faults) + v.unknown)
}

// read returns what the configuration makes API servers trust, as of the last event of its watch. A configuration
// that does not exist has no webhooks.
func (c configuration) read() (trust, error) {
	object, exists, err := c.informer.GetStore().GetByKey(c.name)
	if err != nil || !exists {
		return trust{}, err
	}
	var t trust
	add := func(name string, config admissionregistrationv1.WebhookClientConfig) {
		w := webhookTrust{name: name, host: calledHost(config), bundle: config.CABundle}
		w.cas, w.garbage = parseBundle(w.bundle)
		t.webhooks = append(t.webhooks, w)
	}
	switch object := object.(type) {
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		t.resourceVersion, t.injectFrom = object.ResourceVersion, object.Annotations[cmapi.WantInjectAnnotation]
		for i := range object.Webhooks {
			add(object.Webhooks[i].Name, object.Webhooks[i].ClientConfig)
		}
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		t.resourceVersion, t.injectFrom = object.ResourceVersion, object.Annotations[cmapi.WantInjectAnnotation]
		for i := range object.Webhooks {
			add(object.Webhooks[i].Name, object.Webhooks[i].ClientConfig)
		}
	default:
		return trust{}, fmt.Errorf("read %s %q: unexpected %T", c.kind, c.name, object)
	}
	return t, nil
}

// calledHost returns the name for which API servers verify the certificate of a webhook (k8s.io/apiserver v0.37.1,
// pkg/util/webhook/client.go). It is empty for a URL without a host, which API servers neither store nor call.
func calledHost(config admissionregistrationv1.WebhookClientConfig) string {
	if config.Service != nil {
		return config.Service.Name + "." + config.Service.Namespace + ".svc"
	}
	if config.URL == nil {
		return ""
	}
	u, err := url.Parse(*config.URL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}
