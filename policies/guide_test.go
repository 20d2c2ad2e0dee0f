package policies_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/policies"
)

// serviceObject returns the Service edge/web with fields of its metadata and spec in YAML.
func serviceObject(t testing.TB, metadata, spec string) *policies.Object {
	t.Helper()
	var content map[string]any
	text := fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {namespace: edge, name: web, %s}, "+
		"spec: {ports: [{port: 80}], %s}}", metadata, spec)
	if err := yaml.Unmarshal([]byte(text), &content); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	object, err := policies.NewObject(content)
	if err != nil {
		t.Fatal(err)
	}
	return object
}

// deploymentOf returns the Deployment edge/web with a number of replicas and fields of its pod spec in YAML.
func deploymentOf(t testing.TB, replicas int, pod string) *policies.Workload {
	t.Helper()
	return workloadFrom(t, fmt.Sprintf("{apiVersion: apps/v1, kind: Deployment, metadata: {namespace: edge, name: web}, "+
		"spec: {replicas: %d, selector: {matchLabels: {app: web}}, "+
		"template: {metadata: {labels: {app: web}}, spec: {%s}}}}", replicas, pod))
}

// policyRules adds what a policy's own Rego says to the answers of the built-in modules.
type policyRules struct{ policies.Answer }

func (p policyRules) Evaluate(
	ctx context.Context, document policies.Document, applied []policies.AppliedPolicy,
) []policies.Answer {
	return append(rules().Evaluate(ctx, document, applied), p.Answer)
}

const (
	balanced     = "type: LoadBalancer, selector: {app: web}"
	awsClass     = balanced + ", loadBalancerClass: service.k8s.aws/nlb"
	asksForLocal = "annotations: {sourceward.dev/source-ip: preserve}"
	crossZone    = "https://docs.aws.amazon.com/elasticloadbalancing/latest/network/target-group-cross-zone.html"
	ofZones      = "load balancer class service.k8s.aws/nlb gives each zone the same share, however many pods it has"
)

func TestLoadBalancerOf(t *testing.T) {
	t.Parallel()
	reason := func(message, source string) []policies.Reason {
		return []policies.Reason{{Message: message, Source: source}}
	}
	tests := map[string]struct {
		metadata, spec, provider string
		rules                    policies.Rules
		want                     policies.LoadBalancer
	}{
		"nothing is known": {spec: balanced, want: policies.LoadBalancer{Assumed: true}},
		"an unknown name":  {spec: balanced, provider: "ovh", want: policies.LoadBalancer{Assumed: true}},
		"evenly, as documented": {
			spec: balanced, provider: "metallb-bgp",
			want: policies.LoadBalancer{Why: reason("load balancer metallb-bgp gives each healthy node the same share",
				"https://github.com/metallb/metallb/blob/v0.16.2/website/content/usage/_index.md")},
		},
		"zones": {
			spec: awsClass,
			want: policies.LoadBalancer{Routing: policies.Routing{Zonal: true}, Why: reason(ofZones, crossZone)},
		},
		"zones, and cross-zone load balancing": {
			metadata: "annotations: {service.beta.kubernetes.io/aws-load-balancer-attributes: " +
				"load_balancing.cross_zone.enabled=true}",
			spec: awsClass,
			want: policies.LoadBalancer{Why: reason(
				"annotation service.beta.kubernetes.io/aws-load-balancer-attributes=load_balancing.cross_zone.enabled=true "+
					"gives each healthy node the same share", crossZone)},
		},
		"pods, zone by zone": {
			spec: balanced, provider: "aws-nlb-ip",
			want: policies.LoadBalancer{
				Routing: policies.Routing{Sharing: policies.SharePods, Zonal: true},
				Why: append(
					reason("load balancer aws-nlb-ip gives each zone the same share, however many pods it has", crossZone),
					reason("load balancer aws-nlb-ip sends traffic directly to pods",
						"https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/service/nlb/")...),
			},
		},
		"weights": {
			spec: balanced, provider: "alibaba-clb",
			want: policies.LoadBalancer{
				Routing: policies.Routing{Sharing: policies.ShareWeighted},
				Why: reason("load balancer alibaba-clb weights nodes by their number of pods with Local",
					"https://github.com/kubernetes/cloud-provider-alibaba-cloud/blob/v2.11.1/pkg/controller/service/clbv1/vgroups.go"+
						"#L972-L1003"),
			},
		},
		"one announcer": {
			spec: balanced, provider: "metallb-l2",
			want: policies.LoadBalancer{
				Routing: policies.Routing{Sharing: policies.ShareAnnouncer},
				Why: reason("load balancer metallb-l2 announces the address from one node: only pods on it get Local traffic",
					"https://metallb.universe.tf/usage/#local-traffic-policy"),
			},
		},
		"one announcer, elected without regard to pods": {
			spec: balanced, provider: "cilium-l2",
			want: policies.LoadBalancer{
				Routing: policies.Routing{Sharing: policies.ShareAnnouncer, Unchecked: true},
				Why: append(
					reason("load balancer cilium-l2 announces the address from one node: only pods on it get Local traffic",
						"https://docs.cilium.io/en/stable/network/l2-announcements/"),
					reason("load balancer cilium-l2 may announce the address from a node without pods",
						"https://github.com/cilium/cilium/issues/27800")...),
			},
		},
		"no health monitor": {
			spec: balanced, provider: "octavia",
			want: policies.LoadBalancer{
				Routing: policies.Routing{Unchecked: true}, Assumed: true,
				Why: reason("load balancer octavia checks nodes only with a health monitor",
					"https://github.com/kubernetes/cloud-provider-openstack/blob/98668a4b734c1f14a20f2bb34dc414ef026ccd94/"+
						"pkg/openstack/loadbalancer.go"),
			},
		},
		"a NodePort Service": {
			spec: "type: NodePort",
			want: policies.LoadBalancer{
				Routing: policies.Routing{Unchecked: true}, Assumed: true,
				Why: reason("type NodePort has no health check that keeps clients away from nodes without pods",
					"https://github.com/kubernetes/kubernetes/blob/v1.37.1/pkg/api/v1/service/util.go#L94-L99"),
			},
		},
		"a traffic distribution": {
			spec: balanced + ", trafficDistribution: PreferSameNode",
			want: policies.LoadBalancer{Routing: policies.Routing{Distribution: "PreferSameNode"}, Assumed: true},
		},
		"a policy's own Rego": {
			spec: balanced,
			rules: policyRules{policies.Answer{Policy: "corp", KeepsSourceIP: []policies.KeepsSourceIP{
				{Message: "the appliance weights nodes", Verdict: policies.VerdictWeighted},
			}}},
			want: policies.LoadBalancer{
				Routing: policies.Routing{Sharing: policies.ShareWeighted},
				Why:     reason("the appliance weights nodes (SourceIPPolicy corp)", ""),
			},
		},
	}
	for name, test := range tests {
		for _, policy := range []string{"", "Local"} {
			t.Run(name+" "+policy, func(t *testing.T) {
				t.Parallel()
				spec := test.spec
				if policy != "" {
					spec += ", externalTrafficPolicy: " + policy
				}
				var settings policies.Settings
				settings.LoadBalancers.Default = test.provider
				in := policies.Input{Operation: policies.Create, Object: serviceObject(t, test.metadata, spec)}
				evaluated := policies.Rules(rules())
				if test.rules != nil {
					evaluated = test.rules
				}
				got, err := policies.LoadBalancerOf(t.Context(), in, evaluated, settings)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("LoadBalancerOf() mismatch (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestRegoThatFailsIsAnErrorOfTheGuide(t *testing.T) {
	t.Parallel()
	failing := policyRules{policies.Answer{Policy: "corp", Err: errors.New("out of time")}}
	in := policies.Input{Operation: policies.Create, Object: serviceObject(t, "", balanced)}
	_, err := policies.LoadBalancerOf(t.Context(), in, failing, policies.Settings{})
	if want := "SourceIPPolicy corp: out of time"; err == nil || err.Error() != want {
		t.Errorf("LoadBalancerOf() error = %v, want %s", err, want)
	}
	answered, err := policies.Advise(t.Context(), in, failing, policies.Settings{}, nil)
	if want := "SourceIPPolicy corp: out of time"; err == nil || err.Error() != want || answered.Says == "" {
		t.Errorf("Advise() = %q and error %v, want a choice and %s", answered.Says, err, want)
	}
}

// TestAdvise has a case for each row of the guide. The name of a case is the id of the row that it is about, and what
// is special about it.
func TestAdvise(t *testing.T) {
	t.Parallel()
	const (
		local   = "spec:\n  externalTrafficPolicy: Local\n"
		cluster = "spec:\n  externalTrafficPolicy: Cluster\n"
		isLocal = ", externalTrafficPolicy: Local"
		soft    = "topologySpreadConstraints: [{topologyKey: kubernetes.io/hostname, maxSkew: 1, " +
			"labelSelector: {matchLabels: {app: web}}, whenUnsatisfiable: ScheduleAnyway}]"
	)
	hard := strings.Replace(soft, "ScheduleAnyway", "DoNotSchedule", 1)
	tests := map[string]struct {
		metadata, spec, provider string
		rules                    policies.Rules
		workloads                []*policies.Workload
		nodes                    int
		places                   []policies.Place

		want policies.Choice
		// rows holds the rows that apply, each with its detail after a colon.
		rows   []string
		change string
	}{
		"not-external": {
			spec: "type: ClusterIP", want: policies.ChooseEither,
			rows: []string{"not-external: type ClusterIP", "not-asked"},
		},
		"not-external, for it is headless": {
			spec: "clusterIP: None, externalIPs: [192.0.2.1]", want: policies.ChooseEither,
			rows: []string{"not-external: clusterIP: None", "not-asked"},
		},
		"forbidden": {
			metadata: "annotations: {kube-vip.io/leaseName: shared, sourceward.dev/source-ip: preserve}",
			spec:     balanced + isLocal, want: policies.ChooseCluster, change: cluster,
			rows: []string{
				"forbidden: annotation kube-vip.io/leaseName=shared is rejected by kube-vip unless the policy is Cluster",
				"asked: annotation sourceward.dev/source-ip=preserve asks for Local", "not-asked",
			},
		},
		"ignored": {
			metadata: "annotations: {sourceward.dev/source-ip: ignore, kube-vip.io/egress: \"true\"}",
			spec:     balanced, want: policies.ChooseCluster,
			rows: []string{"ignored", "required: annotation kube-vip.io/egress=true requires Local", "not-asked"},
		},
		"required": {
			metadata: "annotations: {kube-vip.io/egress: \"true\"}",
			spec:     balanced, want: policies.ChooseLocal, change: local,
			rows: []string{"required: annotation kube-vip.io/egress=true requires Local", "not-asked"},
		},
		"useless": {
			metadata: "annotations: {service.beta.kubernetes.io/backend-type: eni, sourceward.dev/source-ip: preserve}",
			spec:     balanced, want: policies.ChooseEither,
			workloads: []*policies.Workload{deploymentOf(t, 4, "")}, nodes: 3,
			rows: []string{
				"useless: annotation service.beta.kubernetes.io/backend-type=eni sends traffic directly to pods",
				"asked: annotation sourceward.dev/source-ip=preserve asks for Local", "not-asked",
			},
		},
		"preserved": {
			metadata: "annotations: {service.cilium.io/forwarding-mode: dsr, sourceward.dev/source-ip: preserve}",
			spec:     balanced + isLocal, want: policies.ChooseCluster, change: cluster,
			rows: []string{
				"preserved: annotation service.cilium.io/forwarding-mode=dsr uses direct server return",
				"asked: annotation sourceward.dev/source-ip=preserve asks for Local", "not-asked",
			},
		},
		"lost": {
			metadata: "annotations: {loxilb.io/lbmode: fullnat}",
			spec:     balanced, want: policies.ChooseCluster,
			rows: []string{
				"lost: Local has no effect: annotation loxilb.io/lbmode=fullnat replaces the client's address with the load " +
					"balancer's",
				"proxy: annotation loxilb.io/lbmode=fullnat replaces the client's address with the load balancer's", "not-asked",
			},
		},
		"hidden": {
			spec: balanced, provider: "hetzner", want: policies.ChooseCluster,
			rows: []string{
				"hidden: pods do not see the source IP: load balancer hetzner terminates connections; enable the PROXY protocol " +
					"with annotation load-balancer.hetzner.cloud/uses-proxyprotocol and in the pods, or set " +
					"externalTrafficPolicy: Cluster",
				"proxy: load balancer hetzner terminates connections", "not-asked",
			},
		},
		"proxy": {
			metadata: "annotations: {load-balancer.hetzner.cloud/uses-proxyprotocol: \"true\", " +
				"sourceward.dev/source-ip: preserve}",
			spec: balanced, want: policies.ChooseCluster,
			rows: []string{
				"proxy: annotation load-balancer.hetzner.cloud/uses-proxyprotocol=true sends the client's address by PROXY " +
					"protocol",
				"asked: annotation sourceward.dev/source-ip=preserve asks for Local", "not-asked",
			},
		},
		"distribution": {
			spec: balanced + ", trafficDistribution: PreferSameNode", want: policies.ChooseCluster,
			rows: []string{"not-asked", "distribution"},
		},
		"distribution, which may overload a pod": {
			spec: balanced + ", trafficDistribution: PreferSameNode", want: policies.ChooseCluster,
			workloads: []*policies.Workload{deploymentOf(t, 4, hard)}, nodes: 3,
			rows: []string{
				"not-asked", "distribution: 1.33x at worst with Cluster", "uneven: 1.33x at best with 4 pods",
				"spread-guaranteed: 1.33x at worst",
			},
		},
		"spread-bounded": {
			spec: balanced, want: policies.ChooseCluster, nodes: 3,
			workloads: []*policies.Workload{deploymentOf(t, 6, strings.Replace(hard, "maxSkew: 1", "maxSkew: 2", 1))},
			rows:      []string{"not-asked", "spread-bounded: 2x at worst"},
		},
		"session-affinity": {
			spec: balanced + ", sessionAffinity: ClientIP", want: policies.ChooseCluster,
			rows: []string{"not-asked", "session-affinity"},
		},
		"asked": {
			metadata: asksForLocal, spec: balanced, want: policies.ChooseLocal, change: local,
			rows: []string{"asked: annotation sourceward.dev/source-ip=preserve asks for Local", "not-asked"},
		},
		"asked by a policy, of a Service that is Local": {
			spec: balanced + isLocal, want: policies.ChooseLocal,
			rules: policyRules{policies.Answer{Policy: "waf", RequireLocal: []policies.RequireLocal{
				{Module: "waf", Message: "label tier=web asks for the source IP, for the WAF", Strength: policies.StrengthSoft},
			}}},
			rows: []string{
				"asked: label tier=web asks for the source IP, for the WAF (module waf of policy waf)", "not-asked",
			},
		},
		"not-asked": {spec: balanced + isLocal, want: policies.ChooseCluster, rows: []string{"not-asked"}, change: cluster},
		"source-ranges": {
			spec: balanced + ", loadBalancerSourceRanges: [192.0.2.0/24]", want: policies.ChooseCluster,
			rows: []string{"not-asked", "source-ranges"},
		},
		"source-ranges by annotation": {
			metadata: "annotations: {service.beta.kubernetes.io/load-balancer-source-ranges: 192.0.2.0/24}",
			spec:     balanced, want: policies.ChooseCluster, rows: []string{"not-asked", "source-ranges"},
		},
		"weighted": {
			spec: balanced, provider: "alibaba-clb", want: policies.ChooseCluster,
			workloads: []*policies.Workload{deploymentOf(t, 4, "")}, nodes: 3,
			rows: []string{
				"not-asked", "weighted: load balancer alibaba-clb weights nodes by their number of pods with Local",
			},
		},
		"single-announcer": {
			metadata: asksForLocal, spec: balanced, provider: "metallb-l2", want: policies.ChooseLocal, change: local,
			workloads: []*policies.Workload{deploymentOf(t, 4, "")}, nodes: 3,
			rows: []string{
				"asked: annotation sourceward.dev/source-ip=preserve asks for Local", "not-asked",
				"single-announcer: load balancer metallb-l2 announces the address from one node: only pods on it get Local traffic",
			},
		},
		"zonal": {
			spec: awsClass, want: policies.ChooseCluster, rows: []string{"not-asked", "zonal: " + ofZones},
		},
		"no-health-check": {
			metadata: asksForLocal, spec: "type: NodePort, selector: {app: web}", want: policies.ChooseLocal, change: local,
			rows: []string{
				"asked: annotation sourceward.dev/source-ip=preserve asks for Local", "not-asked", "no-health-check: type NodePort",
			},
		},
		"unchecked": {
			metadata: "annotations: {loadbalancer.openstack.org/enable-health-monitor: \"false\"}",
			spec:     balanced, want: policies.ChooseCluster,
			rows: []string{
				"not-asked",
				"unchecked: annotation loadbalancer.openstack.org/enable-health-monitor=false disables the health check of nodes",
			},
		},
		"not-ready": {
			spec: balanced + ", publishNotReadyAddresses: true", want: policies.ChooseCluster,
			rows: []string{"not-asked", "not-ready"},
		},
		"no-selector": {spec: "type: LoadBalancer", want: policies.ChooseCluster, rows: []string{"not-asked", "no-selector"}},
		"single-replica": {
			spec: balanced, want: policies.ChooseCluster, workloads: []*policies.Workload{deploymentOf(t, 1, "")},
			rows: []string{"not-asked", "single-replica"},
		},
		"few-pods": {
			spec: balanced, want: policies.ChooseCluster, workloads: []*policies.Workload{deploymentOf(t, 3, hard)}, nodes: 5,
			rows: []string{"not-asked", "few-pods: 3 pods on 5 nodes", "spread-guaranteed"},
		},
		"uneven": {
			spec: balanced, want: policies.ChooseCluster, workloads: []*policies.Workload{deploymentOf(t, 4, hard)}, nodes: 3,
			rows: []string{"not-asked", "uneven: 1.33x at best with 4 pods", "spread-guaranteed: 1.33x at worst"},
		},
		"unspread": {
			spec: balanced, want: policies.ChooseCluster, workloads: []*policies.Workload{deploymentOf(t, 6, "")}, nodes: 3,
			rows: []string{"not-asked", "unspread: 3x at worst"},
		},
		"unspread, and the number of nodes is not known": {
			spec: balanced, want: policies.ChooseCluster, workloads: []*policies.Workload{deploymentOf(t, 6, "")},
			rows: []string{"not-asked", "unspread: 3x at worst"},
		},
		"spread-preferred": {
			spec: balanced, want: policies.ChooseCluster, workloads: []*policies.Workload{deploymentOf(t, 6, soft)}, nodes: 3,
			rows: []string{"not-asked", "spread-preferred: 3x at worst"},
		},
		"spread-guaranteed": {
			spec: balanced, want: policies.ChooseCluster, workloads: []*policies.Workload{deploymentOf(t, 6, hard)}, nodes: 3,
			rows: []string{"not-asked", "spread-guaranteed"},
		},
		"spread-preferred, since each of two workloads is spread by itself": {
			spec: balanced, want: policies.ChooseCluster, nodes: 3,
			workloads: []*policies.Workload{deploymentOf(t, 3, hard), func() *policies.Workload {
				other := deploymentOf(t, 3, hard)
				other.Name = "web-canary"
				return other
			}()},
			rows: []string{"not-asked", "spread-preferred"},
		},
		"overloaded": {
			spec: balanced, want: policies.ChooseCluster, places: on(3, 1, 0),
			rows: []string{"not-asked", "overloaded: 2x now"},
		},
	}
	covered, decided := map[string]bool{}, map[string]bool{}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var settings policies.Settings
			settings.LoadBalancers.Default = test.provider
			in := policies.Input{
				Operation: policies.Create, Object: serviceObject(t, test.metadata, test.spec),
				Related:   policies.Related{View: policies.ViewFiles, Workloads: test.workloads},
				Cluster:   policies.Cluster{Nodes: test.nodes},
				Namespace: policies.Namespace{Name: "edge", Assumed: true},
			}
			evaluated := policies.Rules(rules())
			if test.rules != nil {
				evaluated = test.rules
			}
			got, err := policies.Advise(t.Context(), in, evaluated, settings, test.places)
			if err != nil {
				t.Fatal(err)
			}
			var rows []string
			for _, row := range got.Rows {
				rows = append(rows, strings.TrimSuffix(row.ID+": "+row.Detail, ": "))
				covered[row.ID] = true
			}
			if diff := cmp.Diff(test.rows, rows); diff != "" {
				t.Errorf("rows mismatch (-want +got):\n%s", diff)
			}
			if got.Says != test.want || got.Change != test.change {
				t.Errorf("Advise() = %q with change %q, want %q with change %q", got.Says, got.Change, test.want, test.change)
			}
			about, _, _ := strings.Cut(name, " ")
			about = strings.TrimSuffix(about, ",")
			if !slices.ContainsFunc(got.Rows, func(r policies.AnsweredRow) bool { return r.ID == about }) {
				t.Errorf("the row %s does not apply", about)
			}
			if first := slices.IndexFunc(got.Rows, func(r policies.AnsweredRow) bool { return r.Says != "" }); first >= 0 {
				decided[got.Rows[first].ID] = true
			}
		})
	}
	for _, row := range policies.Guide {
		if _, ok := tests[row.ID]; !ok || !covered[row.ID] || row.Says != "" && !decided[row.ID] {
			t.Errorf("no case is about the row %s, or none is decided by it", row.ID)
		}
	}
}

// TestGuideIsReadable checks what the printed guide relies on.
func TestGuideIsReadable(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	decides := true
	for _, row := range policies.Guide {
		if seen[row.ID] {
			t.Errorf("%s: another row has this id", row.ID)
		}
		seen[row.ID] = true
		if row.Says != "" && !decides {
			t.Errorf("%s decides, after a row that does not", row.ID)
		}
		decides = row.Says != ""
		if row.When == "" || strings.HasSuffix(row.When, ".") {
			t.Errorf("%s: when %q is not the end of a clause", row.ID, row.When)
		}
		for _, sentence := range []string{row.Reason, row.Cost} {
			if sentence != "" && (!strings.HasSuffix(sentence, ".") || strings.ToUpper(sentence[:1]) != sentence[:1]) &&
				!strings.HasPrefix(sentence, "kube-proxy ") {
				t.Errorf("%s: %q is not a sentence", row.ID, sentence)
			}
		}
		var change map[string]any
		if err := yaml.Unmarshal([]byte(row.Change), &change); err != nil || (row.Change != "") != (change != nil) {
			t.Errorf("%s: change is not YAML: %v\n%s", row.ID, err, row.Change)
		}
		if row.Says == policies.ChooseLocal && !strings.Contains(row.Change, "Local") ||
			row.Says == policies.ChooseCluster && !strings.Contains(row.Change, "Cluster") {
			t.Errorf("%s says %s, and changes %q", row.ID, row.Says, row.Change)
		}
	}
}

// TestAdviseFitsTheWorkloads checks the lines of YAML that add a second pod.
func TestAdviseFitsTheWorkloads(t *testing.T) {
	t.Parallel()
	of := func(text string) *policies.Workload {
		return workloadFrom(t, "{apiVersion: apps/v1, metadata: {namespace: edge, name: web}, "+text+"}")
	}
	const labels = "selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {}}"
	agent := of("kind: DaemonSet, spec: {" + labels + "}")
	single := of("kind: Deployment, spec: {replicas: 1, " + labels + "}")
	scaled := []policies.Autoscaler{{
		Target: policies.WorkloadRef{Group: "apps", Kind: "Deployment", Name: "web"}, MinReplicas: 1, MaxReplicas: 1,
	}}
	scaled[0].Ref.Namespace = "edge"
	for name, test := range map[string]struct {
		row         string
		workloads   []*policies.Workload
		autoscalers []policies.Autoscaler
		want        string
	}{
		"a Deployment":                 {"single-replica", []*policies.Workload{single}, nil, "spec:\n  replicas: 2\n"},
		"one with an autoscaler":       {"single-replica", []*policies.Workload{single}, scaled, "spec:\n  minReplicas: 2\n"},
		"a DaemonSet on a single node": {"single-replica", []*policies.Workload{agent}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := policies.Input{
				Operation: policies.Create, Object: serviceObject(t, "", balanced), Cluster: policies.Cluster{Nodes: 1},
				Related: policies.Related{View: policies.ViewFiles, Workloads: test.workloads, Autoscalers: test.autoscalers},
			}
			answered, err := policies.Advise(t.Context(), in, rules(), policies.Settings{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(answered.Rows, func(r policies.AnsweredRow) bool { return r.ID == test.row })
			if i < 0 {
				t.Fatalf("the row %s does not apply", test.row)
			}
			got := answered.Rows[i].Change
			if !strings.Contains(got, test.want) || (test.want == "") != (got == "") {
				t.Errorf("the change is\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}
