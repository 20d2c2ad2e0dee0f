package manifest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/sourceward/sourceward/policies"
)

// content returns the content of a text that holds one document.
func content(t testing.TB, text string) map[string]any {
	t.Helper()
	documents, errs := Parse("", []byte(text))
	if len(documents) != 1 || errs != nil {
		t.Fatalf("%d documents and the errors %v in %s", len(documents), errs, text)
	}
	return documents[0].Content
}

func TestServiceGetsTheDefaultsOfTheAPIServer(t *testing.T) {
	t.Parallel()
	newest := policies.Newest
	// Defaults of every Service but those of type ExternalName, unless it sets the fields itself.
	const common = "sessionAffinity: None, internalTrafficPolicy: Cluster"
	tests := map[string]struct {
		version    policies.Version
		spec, want string
	}{
		"no type is ClusterIP": {
			newest, "{}", "{type: ClusterIP, " + common + "}",
		},
		"an empty value counts as absent": {
			newest, "{type: '', sessionAffinity: '', internalTrafficPolicy: null}", "{type: ClusterIP, " + common + "}",
		},
		"NodePort has a traffic policy": {
			newest, "{type: NodePort}", "{type: NodePort, " + common + ", externalTrafficPolicy: Cluster}",
		},
		"LoadBalancer has node ports too": {
			newest, "{type: LoadBalancer}",
			"{type: LoadBalancer, " + common + ", externalTrafficPolicy: Cluster, allocateLoadBalancerNodePorts: true}",
		},
		"ExternalName has no traffic policy at all": {
			newest, "{type: ExternalName, externalName: a.example, externalIPs: [192.0.2.1]}",
			"{type: ExternalName, externalName: a.example, externalIPs: [192.0.2.1], sessionAffinity: None}",
		},
		"a headless Service is like any ClusterIP": {
			newest, "{clusterIP: None}", "{clusterIP: None, type: ClusterIP, " + common + "}",
		},
		"ClusterIP with externalIPs has a traffic policy from 1.29 on": {
			policies.Version{Major: 1, Minor: 29}, "{externalIPs: [192.0.2.1]}",
			"{externalIPs: [192.0.2.1], type: ClusterIP, " + common + ", externalTrafficPolicy: Cluster}",
		},
		"ClusterIP with externalIPs has none on 1.28": {
			policies.Version{Major: 1, Minor: 28}, "{externalIPs: [192.0.2.1]}",
			"{externalIPs: [192.0.2.1], type: ClusterIP, " + common + "}",
		},
		"ClusterIP with an empty list of externalIPs has none": {
			newest, "{externalIPs: []}", "{externalIPs: [], type: ClusterIP, " + common + "}",
		},
		"ClientIP has a timeout": {
			newest, "{sessionAffinity: ClientIP}",
			"{type: ClusterIP, sessionAffinity: ClientIP, " +
				"sessionAffinityConfig: {clientIP: {timeoutSeconds: 10800}}, internalTrafficPolicy: Cluster}",
		},
		"a port has a protocol, and its own number as target": {
			newest, "{ports: [{port: 80}, {port: 53, protocol: UDP, targetPort: dns}, " +
				"{port: 1, targetPort: 0}, {port: 2, targetPort: ''}]}",
			"{ports: [{port: 80, protocol: TCP, targetPort: 80}, {port: 53, protocol: UDP, targetPort: dns}, " +
				"{port: 1, protocol: TCP, targetPort: 1}, {port: 2, protocol: TCP, targetPort: 2}], " +
				"type: ClusterIP, " + common + "}",
		},
		"values that are set stay": {
			newest, "{type: LoadBalancer, sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 10}}, " +
				"internalTrafficPolicy: Local, externalTrafficPolicy: Local, allocateLoadBalancerNodePorts: false}",
			"{type: LoadBalancer, sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 10}}, " +
				"internalTrafficPolicy: Local, externalTrafficPolicy: Local, allocateLoadBalancerNodePorts: false}",
		},
		"a traffic policy stays where it is not allowed": {
			newest, "{type: ClusterIP, externalTrafficPolicy: Local}",
			"{type: ClusterIP, externalTrafficPolicy: Local, " + common + "}",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := content(t, "{apiVersion: v1, kind: Service, spec: "+test.spec+"}")
			setDefaults(got, test.version)
			if diff := cmp.Diff(content(t, "{apiVersion: v1, kind: Service, spec: "+test.want+"}"), got); diff != "" {
				t.Errorf("setDefaults() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

const wholeDeployment = `
kind: Deployment
spec:
  replicas: 0
  revisionHistoryLimit: 0
  progressDeadlineSeconds: 1
  strategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  template:
    spec:
      restartPolicy: Never
      dnsPolicy: None
      schedulerName: mine
      terminationGracePeriodSeconds: 0
      securityContext: {runAsNonRoot: true}
      serviceAccountName: a
      serviceAccount: b
      containers:
      - name: c
        image: web
        imagePullPolicy: Never
        terminationMessagePath: /d
        terminationMessagePolicy: FallbackToLogsOnError
        ports: [{containerPort: 53, protocol: UDP}]
        readinessProbe:
          httpGet: {port: 1, path: /r, scheme: HTTPS}
          timeoutSeconds: 2
          periodSeconds: 2
          successThreshold: 2
          failureThreshold: 2
`

const wholeService = `
kind: Service
spec:
  type: LoadBalancer
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 10}}
  internalTrafficPolicy: Local
  externalTrafficPolicy: Local
  allocateLoadBalancerNodePorts: false
  externalIPs: [192.0.2.1]
  ports: [{port: 80, protocol: UDP, targetPort: dns}]
`

func TestDeploymentGetsTheDefaultsOfTheAPIServer(t *testing.T) {
	t.Parallel()
	const defaulted = "replicas: 1, revisionHistoryLimit: 10, progressDeadlineSeconds: 600"
	const rolling = "strategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 25%, maxSurge: 25%}}"
	const pod = "restartPolicy: Always, dnsPolicy: ClusterFirst, schedulerName: default-scheduler, " +
		"terminationGracePeriodSeconds: 30, securityContext: {}"
	const message = "terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File"
	const probe = "{httpGet: {port: 1, path: /, scheme: HTTP}, " +
		"timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3}"
	const template = "template: {spec: {" + pod + "}}"
	const deployment = "apiVersion: apps/v1, kind: Deployment"
	tests := map[string]struct{ text, want string }{
		"an empty template": {
			"{" + deployment + ", spec: {template: {}}}",
			"{" + deployment + ", spec: {" + defaulted + ", " + rolling + ", " + template + "}}",
		},
		"Recreate has no rolling update": {
			"{" + deployment + ", spec: {strategy: {type: Recreate}, template: {}}}",
			"{" + deployment + ", spec: {" + defaulted + ", strategy: {type: Recreate}, " + template + "}}",
		},
		"a service account has its old name too": {
			"{" + deployment + ", spec: {template: {spec: {serviceAccountName: a}}}}",
			"{" + deployment + ", spec: {" + defaulted + ", " + rolling + ", " +
				"template: {spec: {" + pod + ", serviceAccountName: a, serviceAccount: a}}}}",
		},
		"a service account by its old name has the new one": {
			"{" + deployment + ", spec: {template: {spec: {serviceAccount: a}}}}",
			"{" + deployment + ", spec: {" + defaulted + ", " + rolling + ", " +
				"template: {spec: {" + pod + ", serviceAccountName: a, serviceAccount: a}}}}",
		},
		"containers of both kinds, their ports and probes": {
			"{" + deployment + ", spec: {template: {spec: {containers: [{name: a, ports: [{containerPort: 80}], " +
				"startupProbe: {httpGet: {port: 1}}}], initContainers: [{name: b}]}}}}",
			"{" + deployment + ", spec: {" + defaulted + ", " + rolling + ", template: {spec: {" + pod + ", " +
				"containers: [{name: a, ports: [{containerPort: 80, protocol: TCP}], startupProbe: " + probe + ", " +
				"imagePullPolicy: Always, " + message + "}], " +
				"initContainers: [{name: b, imagePullPolicy: Always, " + message + "}]}}}}",
		},
		"values that are set stay": {wholeDeployment, wholeDeployment},
		"a StatefulSet has a rolling update": {
			"{apiVersion: apps/v1, kind: StatefulSet, spec: {template: {}}}",
			"{apiVersion: apps/v1, kind: StatefulSet, " +
				"spec: {replicas: 1, revisionHistoryLimit: 10, podManagementPolicy: OrderedReady, " +
				"updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 0}}, " +
				"persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Retain}, " + template + "}}",
		},
		"a DaemonSet has a rolling update": {
			"{apiVersion: apps/v1, kind: DaemonSet, spec: {template: {}}}",
			"{apiVersion: apps/v1, kind: DaemonSet, spec: {revisionHistoryLimit: 10, " +
				"updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 1, maxSurge: 0}}, " + template + "}}",
		},
		"a DaemonSet with OnDelete has no rolling update": {
			"{apiVersion: apps/v1, kind: DaemonSet, spec: {updateStrategy: {type: OnDelete}, template: {}}}",
			"{apiVersion: apps/v1, kind: DaemonSet, " +
				"spec: {revisionHistoryLimit: 10, updateStrategy: {type: OnDelete}, " + template + "}}",
		},
		"a ReplicaSet": {
			"{apiVersion: apps/v1, kind: ReplicaSet, spec: {template: {}}}",
			"{apiVersion: apps/v1, kind: ReplicaSet, spec: {replicas: 1, " + template + "}}",
		},
		"a ReplicationController": {
			"{apiVersion: v1, kind: ReplicationController, spec: {template: {metadata: {labels: {app: web}}}}}",
			"{apiVersion: v1, kind: ReplicationController, spec: {replicas: 1, selector: {app: web}, " +
				strings.Replace(template, "template: {", "template: {metadata: {labels: {app: web}}, ", 1) + "}}",
		},
		"a ReplicationController with a selector": {
			"{apiVersion: v1, kind: ReplicationController, spec: {replicas: 2, selector: {app: api}, template: {}}}",
			"{apiVersion: v1, kind: ReplicationController, spec: {replicas: 2, selector: {app: api}, " + template + "}}",
		},
		"a PodTemplate": {
			"{apiVersion: v1, kind: PodTemplate, template: {}}", "{apiVersion: v1, kind: PodTemplate, " + template + "}",
		},
		"a Pod": {"{apiVersion: v1, kind: Pod, spec: {}}", "{apiVersion: v1, kind: Pod, spec: {" + pod + "}}"},
		"other kinds stay": {
			"{apiVersion: batch/v1, kind: Job, spec: {template: {}}}",
			"{apiVersion: batch/v1, kind: Job, spec: {template: {}}}",
		},
		"other versions stay": {
			"{apiVersion: apps/v2, kind: DaemonSet, spec: {}}",
			"{apiVersion: apps/v2, kind: DaemonSet, spec: {}}",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := content(t, test.text)
			setDefaults(got, policies.Newest)
			if diff := cmp.Diff(content(t, test.want), got); diff != "" {
				t.Errorf("setDefaults() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPullPolicyIsAlwaysForLatest(t *testing.T) {
	t.Parallel()
	for image, want := range map[string]string{
		"nginx":                                 "Always",
		"nginx:latest":                          "Always",
		"nginx:1.27":                            "IfNotPresent",
		"registry.example.com:5000/web":         "Always",
		"registry.example.com:5000/web:1.2":     "IfNotPresent",
		"registry.example.com/web@sha256:0123":  "IfNotPresent",
		"registry.example.com/web:1.2@sha256:0": "IfNotPresent",
	} {
		if got := pullPolicy(image); got != want {
			t.Errorf("pullPolicy(%q) = %s, want %s", image, got, want)
		}
	}
}

// TestDefaultsNeverReplaceAValueOfAnyType puts values of all types in all places.
func TestDefaultsNeverReplaceAValueOfAnyType(t *testing.T) {
	t.Parallel()
	values := []any{
		nil, "", "text", int64(7), 1.5, true, []any{}, []any{nil, "text"}, map[string]any{}, map[string]any{"a": "b"},
	}
	for name, text := range map[string]string{"Service": wholeService, "Deployment": wholeDeployment} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := content(t, text)
			for _, odd := range values {
				everywhere(whole, odd, func() {
					got := runtime.DeepCopyJSON(whole)
					setDefaults(got, policies.Newest)
					if !holds(got, whole) {
						t.Errorf("setDefaults() replaces a value (-before +after):\n%s", cmp.Diff(whole, got))
					}
					again := runtime.DeepCopyJSON(got)
					setDefaults(again, policies.Newest)
					if diff := cmp.Diff(got, again); diff != "" {
						t.Errorf("a second setDefaults() changes the object (-once +twice):\n%s", diff)
					}
				})
			}
		})
	}
}

// everywhere replaces each value below another one by odd, one at a time, and calls visit each time.
func everywhere(value, odd any, visit func()) {
	switch value := value.(type) {
	case map[string]any:
		for key, member := range value {
			value[key] = odd
			visit()
			value[key] = member
			everywhere(member, odd, visit)
		}
	case []any:
		for i, element := range value {
			value[i] = odd
			visit()
			value[i] = element
			everywhere(element, odd, visit)
		}
	}
}

// holds reports whether a value has everything that is in part. Null and the empty string match anything.
func holds(value, part any) bool {
	switch part := part.(type) {
	case nil:
		return true
	case map[string]any:
		object, ok := value.(map[string]any)
		for key, member := range part {
			ok = ok && holds(object[key], member)
		}
		return ok
	case []any:
		list, ok := value.([]any)
		if !ok || len(list) != len(part) {
			return false
		}
		for i, element := range part {
			ok = ok && holds(list[i], element)
		}
		return ok
	default:
		return part == "" || part == value
	}
}
