package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// policy is a traffic policy; empty if a manifest has none.
type policy = corev1.ServiceExternalTrafficPolicy

const (
	refusedByUs     = "local-on-cluster-ip: Service "
	refusedByServer = "is invalid: spec."
)

// testTruthTable creates a Service for every combination of type, addresses and policy, and compares what is stored, or
// who refuses it, with what Kubernetes allows.
func testTruthTable(t *testing.T, e *environment) {
	const ns = "truth-table"
	e.namespace(t, ns)
	const accessible, inaccessible = true, false
	rows := map[string]struct {
		spec string
		may  bool // may have a traffic policy
	}{
		"LoadBalancer":                 {"type: LoadBalancer", accessible},
		"LoadBalancer and externalIPs": {"type: LoadBalancer, externalIPs: [192.0.2.1]", accessible},
		"NodePort":                     {"type: NodePort", accessible},
		"NodePort and externalIPs":     {"type: NodePort, externalIPs: [192.0.2.2]", accessible},
		"ClusterIP":                    {"type: ClusterIP", inaccessible},
		"no type":                      {"selector: {app: web}", inaccessible},
		"headless":                     {"clusterIP: None", inaccessible},
		"ClusterIP and externalIPs":    {"type: ClusterIP, externalIPs: [192.0.2.3]", accessible},
		"headless and externalIPs":     {"clusterIP: None, externalIPs: [192.0.2.4]", accessible},
		"ExternalName":                 {"type: ExternalName, externalName: example.com", inaccessible},
		"ExternalName and externalIPs": {
			"type: ExternalName, externalName: example.com, externalIPs: [192.0.2.5]",
			inaccessible,
		},
	}
	i := 0
	for name, row := range rows {
		for _, policy := range []policy{"", "Cluster", "Local"} {
			i++
			object := fmt.Sprintf("row-%d", i)
			t.Run(fmt.Sprintf("%s with %q", name, policy), func(t *testing.T) {
				spec := fmt.Sprintf("{%s, externalTrafficPolicy: %q, ports: [{port: 80}]}", row.spec, policy)
				err := e.objects.Create(t.Context(), read(t, service(ns, object, spec)))
				if !row.may && policy != "" {
					want := refusedByUs + ns + "/" + object + " /spec/externalTrafficPolicy: externalTrafficPolicy " +
						string(policy) + " is invalid on type "
					if err == nil || !strings.Contains(err.Error(), want) ||
						!strings.Contains(err.Error(), "fix: remove externalTrafficPolicy, or set type LoadBalancer") {
						t.Errorf("Create() error is %v; want …%s…", err, want)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				want := policy
				if row.may && policy == "" {
					want = "Cluster"
				}
				got := get[corev1.Service](t, e, ns, object).Spec
				if got.ExternalTrafficPolicy != want {
					t.Errorf("stored with %q, want %q", got.ExternalTrafficPolicy, want)
				}
				checked := got.Type == corev1.ServiceTypeLoadBalancer && want == "Local"
				if (got.HealthCheckNodePort != 0) != checked {
					t.Errorf("health check node port %d; want one: %t", got.HealthCheckNodePort, checked)
				}
			})
		}
	}
	for _, policy := range []string{"local", "bogus"} {
		t.Run("LoadBalancer with "+policy, func(t *testing.T) {
			a := e.kubectl(
				t,
				service(
					ns,
					"spelling",
					fmt.Sprintf("{type: LoadBalancer, externalTrafficPolicy: %s, ports: [{port: 80}]}", policy),
				),
				"create",
				"-f",
				"-",
			)
			want := "unknown-traffic-policy: Service " + ns + "/spelling"
			if a.code == 0 || !strings.Contains(a.stderr, want) {
				t.Errorf("kubectl exits with %d and prints %s; want …%s…", a.code, a.stderr, want)
			}
		})
	}
}

// testTransitions changes stored Services. A policy that the API server drops by itself is not a reason to refuse the
// change.
func testTransitions(t *testing.T, e *environment) {
	const ns = "transitions"
	e.namespace(t, ns)
	const (
		port         = "selector: {app: web}, ports: [{port: 80}]"
		balancer     = "{type: LoadBalancer, externalTrafficPolicy: Local, " + port + "}"
		shared       = "{type: LoadBalancer, externalTrafficPolicy: Cluster, " + port + "}"
		inside       = "{type: ClusterIP, " + port + "}"
		leftBehind   = "{type: ClusterIP, externalTrafficPolicy: Local, " + port + "}"
		withAddress  = "{type: ClusterIP, externalIPs: [192.0.2.9], externalTrafficPolicy: Local, " + port + "}"
		nodePort     = "{type: NodePort, externalTrafficPolicy: Local, " + port + "}"
		pinned       = "{type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 31500, " + port + "}"
		pinnedAside  = "{type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 31501, " + port + "}"
		replace      = "replace"
		patch        = "patch"
		apply        = "apply"
		refused      = "refused"
		healthCheck  = "has a health check node port"
		noHealthPort = "has no health check node port"
	)
	tests := map[string]struct {
		before, how, after string
		policy             policy
		says               string // the refusal, if it is refused
		port               string
	}{
		"only the type of a Local Service is patched: the server drops the policy": {
			balancer,
			patch,
			"{spec: {type: ClusterIP}}",
			"",
			"",
			noHealthPort,
		},
		"a Local Service is replaced by one inside the cluster that is still Local: dropped as well": {
			balancer,
			replace,
			leftBehind,
			"",
			"",
			noHealthPort,
		},
		"a Service inside the cluster that is still Local is applied: dropped as well": {
			balancer,
			apply,
			leftBehind,
			"",
			"",
			noHealthPort,
		},
		"a Service inside the cluster becomes Local": {
			inside,
			replace,
			leftBehind,
			refused,
			refusedByUs,
			noHealthPort,
		},
		"the type and the policy change in one step": {
			shared,
			replace,
			leftBehind,
			refused,
			refusedByUs,
			noHealthPort,
		},
		"Cluster becomes Local: the server allocates the port": {
			shared,
			patch,
			"{spec: {externalTrafficPolicy: Local}}",
			"Local",
			"",
			healthCheck,
		},
		"Local becomes Cluster: the port is released": {
			balancer,
			patch,
			"{spec: {externalTrafficPolicy: Cluster}}",
			"Cluster",
			"",
			noHealthPort,
		},
		"a Local load balancer becomes a NodePort and stays Local": {
			balancer,
			patch,
			"{spec: {type: NodePort}}",
			"Local",
			"",
			noHealthPort,
		},
		"a Local NodePort becomes a load balancer": {
			nodePort,
			patch,
			"{spec: {type: LoadBalancer}}",
			"Local",
			"",
			healthCheck,
		},
		"the addresses of a Local ClusterIP Service are removed: dropped": {
			withAddress,
			patch,
			"{spec: {externalIPs: null}}",
			"",
			"",
			noHealthPort,
		},
		"the type of a Local Service becomes ExternalName": {
			balancer,
			patch,
			"{spec: {type: ExternalName, externalName: example.com, ports: null, clusterIP: null, clusterIPs: null}}",
			"",
			"",
			noHealthPort,
		},
		"nothing changes": {balancer, replace, balancer, "Local", "", healthCheck},
		"the policy is misspelt": {
			balancer,
			patch,
			"{spec: {externalTrafficPolicy: local}}",
			refused,
			"unknown-traffic-policy: Service ",
			healthCheck,
		},
		"the health check node port changes": {pinned, replace, pinnedAside, refused, "health", healthCheck},
	}
	i := 0
	for name, test := range tests {
		i++
		object := fmt.Sprintf("service-%d", i)
		t.Run(name, func(t *testing.T) {
			if test.how == apply {
				e.must(t, service(ns, object, test.before), apply, "-f", "-")
			} else {
				e.create(t, service(ns, object, test.before))
			}
			var a answer
			if test.how == patch {
				a = e.kubectl(t, "", "patch", "service", "-n", ns, object, "--type=merge", "-p", yamlToJSON(t, test.after))
			} else {
				a = e.kubectl(t, service(ns, object, test.after), test.how, "-f", "-")
			}
			if test.policy == refused {
				if a.code == 0 || !strings.Contains(a.stderr, test.says) {
					t.Errorf("kubectl exits with %d and prints %s; want …%s…", a.code, a.stderr, test.says)
				}
				return
			}
			if a.code != 0 {
				t.Fatalf("refused: %s", a.stderr)
			}
			got := get[corev1.Service](t, e, ns, object).Spec
			if got.ExternalTrafficPolicy != test.policy || (got.HealthCheckNodePort != 0) != (test.port == healthCheck) {
				t.Errorf(
					"stored with %q and health check node port %d; want %q that %s",
					got.ExternalTrafficPolicy,
					got.HealthCheckNodePort,
					test.policy,
					test.port,
				)
			}
			for _, line := range warnings(a.stderr) {
				// The change itself deserves no warning, but its result may.
				becomes := got.Type == corev1.ServiceTypeNodePort && strings.HasPrefix(line, "node-port-local: ")
				if !becomes && !strings.Contains(line, "deprecated") {
					t.Errorf("a legal change gets a warning: %s", a.stderr)
				}
			}
		})
	}
	t.Run("a policy that was dropped is refused when it is sent again", func(t *testing.T) {
		e.must(t, service(ns, "again", balancer), "create", "-f", "-")
		e.must(t, service(ns, "again", leftBehind), "replace", "-f", "-")
		if a := e.kubectl(t, service(ns, "again", leftBehind), "replace", "-f", "-"); a.code == 0 ||
			!strings.Contains(a.stderr, refusedByUs) {
			t.Errorf("kubectl exits with %d and prints %s", a.code, a.stderr)
		}
	})
}

// testPinnedPorts checks that only health check node ports that a client chose get a warning, not those that the API
// server allocated. A webhook sees both; only the records that the API server keeps of fields and their owners differ.
func testPinnedPorts(t *testing.T, e *environment) {
	const ns = "pinned-ports"
	e.namespace(t, ns)
	e.policy(
		t,
		ns,
		fmt.Sprintf(
			"{match: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %s}}}, "+
				"rules: [{id: pinned-health-check-node-port, mode: Warn}]}",
			ns,
		),
	)
	const (
		cluster = "{type: LoadBalancer, selector: {app: web}, ports: [{port: 80}]}"
		free    = "{type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80}]}"
		pinned  = "{type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: %d, " +
			"selector: {app: web}, ports: [{port: 80}]}"
		later = "{spec: {sessionAffinity: ClientIP}}"
	)
	tests := map[string]struct {
		spec  string
		how   []string
		patch string // a change of the stored Service, if any
		warns bool
	}{
		"created without":                            {free, []string{"create"}, "", false},
		"created with one":                           {pinned, []string{"create"}, "", true},
		"applied without":                            {free, []string{"apply"}, "", false},
		"applied with one":                           {pinned, []string{"apply"}, "", true},
		"applied by the server without":              {free, []string{"apply", "--server-side"}, "", false},
		"applied by the server with one":             {pinned, []string{"apply", "--server-side"}, "", true},
		"created without, and changed":               {free, []string{"create"}, later, false},
		"created with one, and changed":              {pinned, []string{"create"}, later, true},
		"applied without, and changed":               {free, []string{"apply"}, later, false},
		"applied by the server without, and changed": {free, []string{"apply", "--server-side"}, later, false},
		"made Local without": {
			cluster,
			[]string{"create"},
			"{spec: {externalTrafficPolicy: Local}}",
			false,
		},
		"made Local with one": {
			cluster,
			[]string{"create"},
			"{spec: {externalTrafficPolicy: Local, healthCheckNodePort: %d}}",
			true,
		},
		"applied without, and made Local with one by a patch": {
			cluster,
			[]string{"apply"},
			"{spec: {externalTrafficPolicy: Local, healthCheckNodePort: %d}}",
			false,
		},
	}
	i := 0
	for name, test := range tests {
		i++
		object, port := fmt.Sprintf("service-%d", i), fmt.Sprint(31_700+i)
		t.Run(name, func(t *testing.T) {
			write := func(text string) string { return strings.ReplaceAll(text, "%d", port) }
			a := e.must(t, service(ns, object, write(test.spec)), append(test.how, "-f", "-")...)
			if test.patch != "" {
				a = e.must(t, "", "patch", "service", "-n", ns, object, "--type=merge", "-p", yamlToJSON(t, write(test.patch)))
			}
			if got := get[corev1.Service](t, e, ns, object).Spec.HealthCheckNodePort; got == 0 {
				t.Error("it is stored without a health check node port")
			}
			said := warnings(a.stderr)
			if (len(said) > 0) != test.warns ||
				test.warns && said[0] != "pinned-health-check-node-port: healthCheckNodePort "+port+
					" is pinned: creation fails with error 500 if it is taken" {
				t.Errorf("kubectl shows %q, want a warning: %t", said, test.warns)
			}
		})
	}
}

// testAnnotations checks that an annotation that asks for the source IP makes a Service Local unless a client wrote the
// policy, which is never overridden.
func testAnnotations(t *testing.T, e *environment) {
	const ns = "annotations"
	e.namespace(t, ns)
	const (
		preserve = "sourceward.dev/source-ip: preserve"
		hard     = "networking.gke.io/weighted-load-balancing: pods-per-node"
		unset    = "{type: LoadBalancer, selector: {app: web}, ports: [{port: 80}]}"
		written  = "{type: LoadBalancer, externalTrafficPolicy: Cluster, selector: {app: web}, ports: [{port: 80}]}"
	)
	tests := map[string]struct {
		annotation, spec string
		args             []string
		policy           policy // the stored one; empty if the Service is refused
		warns            string
	}{
		"our annotation sets Local where kubectl apply shows that the policy is not written": {
			preserve,
			unset,
			[]string{"apply"},
			"Local",
			"source-ip-needs-local: repaired: ",
		},
		"a hard reason sets Local too": {
			hard,
			unset,
			[]string{"apply"},
			"Local",
			"source-ip-needs-local: repaired: ",
		},
		"our annotation sets Local where a server-side applier does not own the policy": {
			preserve,
			unset,
			[]string{"apply", "--server-side"},
			"Local",
			"source-ip-needs-local: repaired: ",
		},
		"our annotation sets Local where a Service is created without a policy": {
			preserve,
			unset,
			[]string{"create"},
			"Local",
			"source-ip-needs-local: repaired: ",
		},
		"a written Cluster with our annotation gets a warning and stays": {
			preserve,
			written,
			[]string{"apply"},
			"Cluster",
			"source-ip-needs-local: ",
		},
		"a Cluster that is applied on the server counts as written, and stays": {
			preserve,
			written,
			[]string{"apply", "--server-side"},
			"Cluster",
			"source-ip-needs-local: ",
		},
		"a written Cluster with a hard reason is refused, not overridden": {
			hard,
			written,
			[]string{"apply"},
			"",
			"",
		},
		"our annotation with the value ignore wins over a hard reason": {
			"sourceward.dev/source-ip: ignore, " + hard,
			unset,
			[]string{"apply"},
			"Cluster",
			"",
		},
		"an exemption wins over a hard reason": {
			`exempt.sourceward.dev/source-ip-needs-local: "known", kube-vip.io/egress: "true"`,
			written,
			[]string{"apply"},
			"Cluster",
			"",
		},
		"our annotation on a Service that is not reachable from outside gets a warning only": {
			preserve,
			"{type: ClusterIP, ports: [{port: 80}]}",
			[]string{"apply"},
			"",
			"source-ip-needs-local: ",
		},
	}
	i := 0
	for name, test := range tests {
		i++
		object := fmt.Sprintf("service-%d", i)
		t.Run(name, func(t *testing.T) {
			a := e.kubectl(t, service(ns, object, test.spec, test.annotation), append(test.args, "-f", "-")...)
			if strings.Contains(name, "refused") {
				want := "source-ip-needs-local: Service " + ns + "/" + object
				if a.code == 0 || !strings.Contains(a.stderr, want) {
					t.Errorf("kubectl exits with %d and prints %s; want …%s…", a.code, a.stderr, want)
				}
				if e.isStored(t, ns, object) {
					t.Error("it is stored")
				}
				return
			}
			if a.code != 0 {
				t.Fatalf("refused: %s", a.stderr)
			}
			if got := get[corev1.Service](t, e, ns, object).Spec.ExternalTrafficPolicy; got != test.policy {
				t.Errorf("stored with %q, want %q", got, test.policy)
			}
			said := warnings(a.stderr)
			if (len(said) > 0) != (test.warns != "") || len(said) > 0 && !strings.HasPrefix(said[0], test.warns) {
				t.Errorf("kubectl shows %q, want %s…", said, test.warns)
			}
		})
	}

	t.Run("applied twice by the server, nothing changes and nothing is repaired again", func(t *testing.T) {
		manifest := service(ns, "twice", unset, preserve)
		e.must(t, manifest, "apply", "--server-side", "-f", "-")
		first := get[corev1.Service](t, e, ns, "twice")
		again := e.must(t, manifest, "apply", "--server-side", "-f", "-")
		second := get[corev1.Service](t, e, ns, "twice")
		if diff := cmp.Diff(first, second); diff != "" || len(warnings(again.stderr)) > 0 {
			t.Errorf("the second apply prints %q and changes (-first +second):\n%s", again.stderr, diff)
		}
	})
	t.Run("a dry run shows the repair and stores nothing", func(t *testing.T) {
		a := e.must(
			t,
			service(ns, "dry", unset, preserve),
			"apply",
			"--dry-run=server",
			"-o",
			"jsonpath={.spec.externalTrafficPolicy}",
			"-f",
			"-",
		)
		if a.stdout != "Local" || len(warnings(a.stderr)) != 2 {
			t.Errorf("a dry run prints %q and %q", a.stdout, a.stderr)
		}
		if e.isStored(t, ns, "dry") {
			t.Error("it is stored")
		}
	})
}
