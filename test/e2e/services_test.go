package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// policy is a traffic policy as a test writes it; empty is none.
type policy = corev1.ServiceExternalTrafficPolicy

const (
	refusedByUs     = "local-on-cluster-ip: Service "
	refusedByServer = "is invalid: spec."
)

// testTruthTable creates a Service for every row of types, addresses and policies, and holds what is stored, or
// who refuses, against what Kubernetes allows.
func testTruthTable(t *testing.T, e *environment) {
	const ns = "truth-table"
	e.namespace(t, ns)
	const accessible, inaccessible = true, false
	rows := map[string]struct {
		spec string
		may  bool // have a traffic policy
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
					want := refusedByUs + ns + "/" + object + " /spec/externalTrafficPolicy: externalTrafficPolicy " + string(
						policy,
					) + " is invalid on type "
					if err == nil || !strings.Contains(err.Error(), want) ||
						!strings.Contains(err.Error(), "fix: remove externalTrafficPolicy, or set type LoadBalancer") {
						t.Errorf("the answer is %v; want …%s…", err, want)
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
			if want := "unknown-traffic-policy: Service " + ns + "/spelling"; a.code == 0 || !strings.Contains(a.stderr, want) {
				t.Errorf("kubectl exits with %d and says %s; want …%s…", a.code, a.stderr, want)
			}
		})
	}
}

// testTransitions changes stored Services. What the API server drops by itself is no fault of who asked for it.
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
		noHealthPort = "has none"
	)
	tests := map[string]struct {
		before, how, after string
		policy             policy
		says               string // if it is refused
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
		"a Local Service is replaced, with the line left in: dropped as well": {
			balancer,
			replace,
			leftBehind,
			"",
			"",
			noHealthPort,
		},
		"a Local Service is applied, with the line left in: dropped as well": {
			balancer,
			apply,
			leftBehind,
			"",
			"",
			noHealthPort,
		},
		"the line is added to a Service inside the cluster": {
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
		"the addresses of a Local ClusterIP are taken away: dropped": {
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
					t.Errorf("kubectl exits with %d and says %s; want …%s…", a.code, a.stderr, test.says)
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
				// That it changes is no fault, though what it becomes may be worth a word.
				becomes := got.Type == corev1.ServiceTypeNodePort && strings.HasPrefix(line, "node-port-local: ")
				if !becomes && !strings.Contains(line, "deprecated") {
					t.Errorf("a legal change is warned about: %s", a.stderr)
				}
			}
		})
	}
	t.Run("the line that was dropped is refused when it comes again", func(t *testing.T) {
		e.must(t, service(ns, "again", balancer), "create", "-f", "-")
		e.must(t, service(ns, "again", leftBehind), "replace", "-f", "-")
		if a := e.kubectl(t, service(ns, "again", leftBehind), "replace", "-f", "-"); a.code == 0 ||
			!strings.Contains(a.stderr, refusedByUs) {
			t.Errorf("kubectl exits with %d and says %s", a.code, a.stderr)
		}
	})
}

// testPinnedPorts tells a health check port that somebody chose from one that the API server did: a webhook sees both, and
// only what the API server records of fields and their owners tells them apart.
func testPinnedPorts(t *testing.T, e *environment) {
	const ns = "pinned-ports"
	e.namespace(t, ns)
	e.policy(
		t,
		ns,
		fmt.Sprintf(
			"{match: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %s}}}, rules: [{id: pinned-health-check-node-port, mode: Warn}]}",
			ns,
		),
	)
	const (
		cluster = "{type: LoadBalancer, selector: {app: web}, ports: [{port: 80}]}"
		free    = "{type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80}]}"
		pinned  = "{type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: %d, selector: {app: web}, ports: [{port: 80}]}"
		later   = "{spec: {sessionAffinity: ClientIP}}"
	)
	tests := map[string]struct {
		spec  string
		how   []string
		patch string // if the Service is there already
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
		"applied without, and made Local with one aside": {
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
					" is pinned: if it is taken, creation fails with error 500" {
				t.Errorf("kubectl shows %q, want a warning: %t", said, test.warns)
			}
		})
	}
}

// testAnnotations asks for the source IP by annotation: Local is set where nobody wrote the policy, and what
// somebody wrote is never overridden.
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
		policy           policy // stored; empty if it is refused
		warns            string
	}{
		"our wish sets Local where kubectl apply shows that nobody wrote the policy": {
			preserve,
			unset,
			[]string{"apply"},
			"Local",
			"source-ip-needs-local: repaired: ",
		},
		"a hard reason sets Local, too": {
			hard,
			unset,
			[]string{"apply"},
			"Local",
			"source-ip-needs-local: repaired: ",
		},
		"a server-side applier owns the policy or does not": {
			preserve,
			unset,
			[]string{"apply", "--server-side"},
			"Local",
			"source-ip-needs-local: repaired: ",
		},
		"on creation, who says nothing of the policy is taken not to mind": {
			preserve,
			unset,
			[]string{"create"},
			"Local",
			"source-ip-needs-local: repaired: ",
		},
		"a written Cluster beside a wish is warned about and stays": {
			preserve,
			written,
			[]string{"apply"},
			"Cluster",
			"source-ip-needs-local: ",
		},
		"a Cluster that is applied by the server is written, and stays": {
			preserve,
			written,
			[]string{"apply", "--server-side"},
			"Cluster",
			"source-ip-needs-local: ",
		},
		"a written Cluster beside a hard reason is refused, not overridden": {
			hard,
			written,
			[]string{"apply"},
			"",
			"",
		},
		"our opt-out is the last word": {
			"sourceward.dev/source-ip: ignore, " + hard,
			unset,
			[]string{"apply"},
			"Cluster",
			"",
		},
		"an exemption is the last word": {
			`exempt.sourceward.dev/source-ip-needs-local: "known", kube-vip.io/egress: "true"`,
			written,
			[]string{"apply"},
			"Cluster",
			"",
		},
		"a wish on a Service that is not reached from outside changes nothing, and says": {
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
				if want := "source-ip-needs-local: Service " + ns + "/" + object; a.code == 0 || !strings.Contains(a.stderr, want) {
					t.Errorf("kubectl exits with %d and says %s; want …%s…", a.code, a.stderr, want)
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
			t.Errorf("the second apply says %q and changes (-first +second):\n%s", again.stderr, diff)
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
		if a.stdout != "Local" || len(warnings(a.stderr)) != 1 {
			t.Errorf("a dry run answers %q and %q", a.stdout, a.stderr)
		}
		if e.isStored(t, ns, "dry") {
			t.Error("it is stored")
		}
	})
}
