package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/pages"
)

// liveReader is a user with the permissions of the ClusterRole for people and pipelines.
const liveReader = "jane"

// TestCommandsOnACluster runs the commands that read a cluster as a user who has only our ClusterRole for readers. What
// check finds and repairs is that of an export of the same cluster, traffic and explain know where the scheduler has
// placed the pods, the API server's audit log shows that all of them only read, and kubectl runs them as a plugin. How
// an API server pages lists, returns only metadata, refuses and omits, only it knows; which EndpointSlices a Service
// gets, only a controller does.
func TestCommandsOnACluster(t *testing.T) {
	t.Parallel()
	binary, err := commandBinary()
	if err != nil {
		t.Fatal(err)
	}
	e := newBareEnvironment(t, cluster.Options{Nodes: 4})
	l := &liveCommands{environment: e, binary: binary, dir: t.TempDir()}
	e.must(t, "", "apply", "-k", "../../config/rbac/reader")
	l.kubeconfig, err = e.UserKubeconfig(liveReader, "readers")
	if err != nil {
		t.Fatal(err)
	}

	refused := l.check(t)
	want := fmt.Sprintf("error: cannot list namespaces in the cluster at %s: namespaces is forbidden: User %q cannot "+
		"list resource \"namespaces\" in API group \"\" at the cluster scope; "+
		"the ClusterRole sourceward-reader in config/rbac/reader allows it\n", e.APIServerURL, liveReader)
	if diff := cmp.Diff(answer{stderr: want, code: 2}, refused, cmp.AllowUnexported(answer{})); diff != "" {
		t.Errorf("check by a user without permissions mismatch (-want +got):\n%s", diff)
	}
	blocks, err := pages.RunBy("../../cmd/sourceward/README.md", t.Name())
	if err != nil || len(blocks) != 9 {
		t.Errorf("the page has %d blocks (%v), want one that grants, and four that run, each with its output",
			len(blocks), err)
	}
	e.runBlock(t, l.dir, blocks[0])

	without := l.check(t)
	note := fmt.Sprintf("the cluster at %s does not serve the kind SourceIPPolicy, so that there are no policies; "+
		"config/crd installs it\n", e.APIServerURL)
	if strings.Count(without.stdout, note) != 1 || without.stderr != "" || without.code != 0 {
		t.Errorf("check without our CRD gives %+v", without)
	}

	l.fill(t)
	l.compareWithExport(t)
	l.comparePaths(t)
	l.checkTraffic(t)
	l.checkExplanations(t)
	l.checkPlugin(t, blocks[1:])
	l.checkRequests(t)
	l.checkBrokenPolicy(t)
}

// liveCommands runs the binary on a cluster.
type liveCommands struct {
	*environment
	binary, dir, kubeconfig string
}

// check runs `sourceward check --cluster`.
func (l *liveCommands) check(t *testing.T, args ...string) answer {
	t.Helper()
	return l.run(t, append([]string{"check", "--cluster", "--kubeconfig", l.kubeconfig}, args...)...)
}

func (l *liveCommands) run(t *testing.T, args ...string) answer {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), l.binary, args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = l.dir, &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return answer{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// liveServices are the Services of the cluster, each with a trap, by namespace and name. Those with a name in
// liveWorkloads have pods.
var liveServices = map[string]map[string]string{
	"edge": {
		"web":  local("web"),
		"api":  local("api"),
		"door": `{type: NodePort, externalTrafficPolicy: Local, selector: {app: door}, ports: [{port: 80}]}`,
		"game": `{type: LoadBalancer, selector: {app: game}, ports: [{port: 80}]}`,
		"mail": `{type: LoadBalancer, selector: {app: mail}, ports: [{port: 25}]}`,
	},
	"shop": {
		"cart": local("cart"),
		"pay":  local("pay"),
		"db":   `{type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 5432}]}`,
		"far":  `{type: ExternalName, externalName: far.example.com}`,
		"both": `{type: LoadBalancer, externalTrafficPolicy: Local, selector: {tier: front}, ports: [{port: 80}]}`,
	},
	"infra": {
		"dns":   local("dns"),
		"twin":  local("twin"),
		"alone": local("alone"),
		"roll":  local("roll"),
		"queue": `{type: LoadBalancer, externalTrafficPolicy: Local, publishNotReadyAddresses: true, ` +
			`selector: {app: queue}, ports: [{port: 80}]}`,
	},
	"tools": {
		"inside": `{selector: {app: inside}, ports: [{port: 80}]}`,
		"pinned": `{type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 32123, ` +
			`selector: {app: pinned}, ports: [{port: 80}]}`,
		"address": `{externalIPs: [192.0.2.1], externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80}]}`,
		"closed":  `{type: LoadBalancer, externalTrafficPolicy: Local, internalTrafficPolicy: Local, ports: [{port: 80}]}`,
		"old":     `{type: LoadBalancer, selector: {app: old}, ports: [{port: 80}]}`,
	},
}

// liveAnnotations are the annotations of Services.
var liveAnnotations = map[string]string{
	"edge/door":  `"exempt.sourceward.dev/node-port-local": a proxy checks each node`,
	"edge/game":  `"networking.gke.io/weighted-load-balancing": pods-per-node`,
	"edge/mail":  `"sourceward.dev/source-ip": preserve`,
	"infra/twin": `"metallb.io/allow-shared-ip": twins`,
	"shop/cart":  `"metallb.io/allow-shared-ip": twins`,
	"tools/old":  `"service.beta.kubernetes.io/external-traffic": OnlyLocal`,
}

// fill creates Namespaces, workloads of all kinds that are read, Services, autoscalers and policies. It leaves the
// scheduler one node at a time, so that it is known where the pods are: on node-2, but the last pod of Deployment web
// on node-3, and a pod of the DaemonSet on each node.
func (l *liveCommands) fill(t *testing.T) {
	t.Helper()
	l.must(t, "", "apply", "-k", "../../config/crd")
	l.must(t, existingRollout.fakeCRD(), "create", "-f", "-")
	l.must(t, "", "wait", "--for=condition=Established", "crd", "--all")
	l.must(t, "", "cordon", "node-1", "node-3", "node-4")
	for _, namespace := range slices.Sorted(maps.Keys(liveServices)) {
		l.must(t, fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s, labels: {team: %[1]s}}}", namespace),
			"create", "-f", "-")
		var manifests []string
		for _, name := range slices.Sorted(maps.Keys(liveServices[namespace])) {
			manifests = append(manifests,
				service(namespace, name, liveServices[namespace][name], liveAnnotations[namespace+"/"+name]))
		}
		l.must(t, strings.Join(manifests, "\n---\n"), "create", "-f", "-")
	}
	l.must(t, strings.Join([]string{
		deployment("edge", "web", 3), deployment("edge", "api", 1),
		deployment("shop", "cart", 3), deployment("shop", "pay", 1),
		strings.ReplaceAll(deployment("shop", "left", 2), "{app: left}", "{app: left, tier: front}"),
		strings.ReplaceAll(deployment("shop", "right", 2), "{app: right}", "{app: right, tier: front}"),
		strings.Replace(workload("apps/v1", "DaemonSet", "infra", "dns", 0), "replicas: 0, ", "", 1),
		workload("apps/v1", "StatefulSet", "infra", "queue", 2),
		workload("apps/v1", "ReplicaSet", "infra", "alone", 3), workload("v1", "ReplicationController", "infra", "twin", 2),
		workload(existingRollout.group+"/"+existingRollout.version, "Rollout", "infra", "roll", 2),
		`{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {namespace: shop, name: cart}, spec: {` +
			`scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: cart}, minReplicas: 3, maxReplicas: 9}}`,
		`{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, ports: [{port: 5432}], metadata: {` +
			`namespace: shop, name: db-1, labels: {kubernetes.io/service-name: db}}, endpoints: [{addresses: [192.0.2.7]}]}`,
		`{apiVersion: sourceward.dev/v1alpha1, kind: SourceIPPolicy, metadata: {name: edge}, spec: {match: ` +
			`{namespaceSelector: {matchLabels: {team: edge}}}, rules: [{id: unspread-behind-local, mode: Deny}]}}`,
		`{apiVersion: sourceward.dev/v1alpha1, kind: SourceIPPolicy, metadata: {name: shop}, spec: {match: ` +
			`{namespaceSelector: {matchLabels: {team: shop}}}, rules: [{id: unspread-behind-local, mode: Mutate}]}}`,
	}, "\n---\n"), "create", "-f", "-")
	l.must(t, "", "apply", "-f", "../../config/samples/load-balancers-only/policy.yaml")
	l.must(t, "", "label", "node", "node-1", "node.kubernetes.io/exclude-from-external-load-balancers=")
	applied := service("edge", "applied", `{type: LoadBalancer, externalTrafficPolicy: Cluster, `+
		`selector: {app: applied}, ports: [{port: 80}]}`, `"sourceward.dev/source-ip": preserve`)
	l.must(t, applied, "apply", "--server-side", "-f", "-")
	l.readyPods(t, 23)
	l.must(t, "", "cordon", "node-2")
	l.must(t, "", "uncordon", "node-3")
	l.must(t, "", "-n", "edge", "scale", "deployment", "web", "--replicas=4")
	l.readyPods(t, 24)
	l.must(t, "", "uncordon", "node-1", "node-2", "node-4")
}

// readyPods waits until a number of pods is ready, and there are no others.
func (l *liveCommands) readyPods(t *testing.T, want int) {
	t.Helper()
	const states = `jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status} {end}`
	l.eventually(t, fmt.Sprintf("%d pods are ready", want), func() (bool, string) {
		pods := l.must(t, "", "get", "pods", "-A", "-o", states).stdout
		return strings.Count(pods, "=") == want && strings.Count(pods, "=True") == want, pods
	})
}

// liveReport is the part of a report that does not depend on where the objects come from.
type liveReport struct {
	Summary  struct{ Services, Workloads, Deny, Mutate, Warn, Audit, Exempt int }
	Findings []map[string]any
	Patches  []map[string]any
	Errors   []any
}

// report reads a report. It removes places, and sorts by object, rule and path.
func (l *liveCommands) report(t *testing.T, run answer) liveReport {
	t.Helper()
	var r liveReport
	if err := json.Unmarshal([]byte(run.stdout), &r); err != nil {
		t.Fatalf("%v: %+v", err, run)
	}
	for _, list := range [][]map[string]any{r.Findings, r.Patches} {
		for _, entry := range list {
			for _, key := range []string{"file", "line", "column"} {
				delete(entry, key)
			}
		}
		slices.SortFunc(list, func(a, b map[string]any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	return r
}

// export writes what check --cluster reads into files, and returns the arguments with which check reads them.
func (l *liveCommands) export(t *testing.T, flags ...string) []string {
	t.Helper()
	for file, kinds := range map[string]string{
		"nodes.yaml": "nodes", "policies.yaml": "sourceippolicies",
		"objects.yaml": "namespaces,services,endpointslices,deployments,statefulsets,daemonsets,replicasets," +
			"replicationcontrollers,podtemplates,horizontalpodautoscalers," + existingRollout.name(),
	} {
		text := l.must(t, "", append([]string{"get", kinds, "-A", "-o", "yaml"}, flags...)...).stdout
		if err := os.WriteFile(filepath.Join(l.dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"check", "-o", "json", "--policy", "policies.yaml", "--context", "nodes.yaml", "objects.yaml"}
}

// compareWithExport compares the report of the cluster with that of an export. kubectl leaves out of an export which
// client set which field, unless it is told not to. That matters only for a traffic policy that was applied by the
// server, and for a health check port that a client chose.
func (l *liveCommands) compareWithExport(t *testing.T) {
	t.Helper()
	got := l.report(t, l.check(t, "-o", "json"))
	want := l.report(t, l.run(t, l.export(t, "--show-managed-fields")...))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("check --cluster mismatch (-export +cluster):\n%s", diff)
	}
	t.Logf("%+v, %d repairs", got.Summary, len(got.Patches))
	counts := got.Summary
	for what, n := range map[string]int{
		"deny": counts.Deny, "mutate": counts.Mutate, "warn": counts.Warn, "audit": counts.Audit, "exempt": counts.Exempt,
		"repairs": len(got.Patches), "Services": counts.Services - 20, "workloads": counts.Workloads - 10,
	} {
		if n < 1 {
			t.Errorf("there are too few to compare: %s", what)
		}
	}
	rules := map[any]bool{}
	for _, f := range got.Findings {
		rules[f["rule"]] = true
	}
	if len(rules) < 12 {
		t.Errorf("only %d rules have findings: %v", len(rules), rules)
	}

	want = l.report(t, l.run(t, l.export(t)...))
	others := func(r liveReport) (findings []map[string]any) {
		for _, f := range r.Findings {
			name := f["object"].(map[string]any)["name"]
			if name != "applied" && name != "pinned" {
				findings = append(findings, f)
			}
		}
		return findings
	}
	if diff := cmp.Diff(others(want), others(got)); diff != "" {
		t.Errorf("check --cluster mismatch without managed fields (-export +cluster):\n%s", diff)
	}
}

// comparePaths checks a file beside the cluster: a Service that becomes Local, and the workload behind it only there.
func (l *liveCommands) comparePaths(t *testing.T) {
	t.Helper()
	file := filepath.Join(l.dir, "game.yaml")
	game := service("edge", "game", local("web"))
	if err := os.WriteFile(file, []byte(game), 0o600); err != nil {
		t.Fatal(err)
	}
	got := l.check(t, "game.yaml")
	if !strings.Contains(got.stdout, "deny  unspread-behind-local  Service edge/game\n") || got.stderr != "" ||
		!strings.HasSuffix(got.stdout, "\n1 file, 1 object (1 Service, 0 workloads): 1 deny\n") || got.code != 1 {
		t.Errorf("check of a file beside the cluster gives %+v", got)
	}
}

// checkPlugin runs blocks of the page, in which kubectl runs the binary, and compares their output with the block after
// each. It also completes the command line of the plugin.
func (l *liveCommands) checkPlugin(t *testing.T, blocks []string) {
	t.Helper()
	bin := filepath.Join(l.dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kubectl-sourceward", "kubectl_complete-sourceward"} {
		if err := os.Symlink(l.binary, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	kubectl := func(line string) answer {
		shell := exec.CommandContext(t.Context(), "bash", "-c", line)
		shell.Dir = l.dir
		for _, variable := range l.environ(t) {
			if path, ok := strings.CutPrefix(variable, "PATH="); ok {
				variable = "PATH=" + bin + ":" + path
			}
			if strings.HasPrefix(variable, "KUBECONFIG=") {
				variable = "KUBECONFIG=" + l.kubeconfig
			}
			shell.Env = append(shell.Env, variable)
		}
		var stdout, stderr bytes.Buffer
		shell.Stdout, shell.Stderr = &stdout, &stderr
		if err := shell.Run(); err != nil && shell.ProcessState == nil {
			t.Fatal(err)
		}
		return answer{stdout.String(), stderr.String(), shell.ProcessState.ExitCode()}
	}
	// The API server chooses the port, and the page shows one of those that it may choose.
	port := l.must(t, "", "get", "service", "web", "-n", "edge", "-o", "jsonpath={.spec.healthCheckNodePort}").stdout
	for i := 0; i < len(blocks); i += 2 {
		got, code := kubectl(blocks[i]), 0
		got.stdout = strings.ReplaceAll(got.stdout, "healthCheckNodePort "+port, "healthCheckNodePort 30912")
		if strings.HasPrefix(blocks[i], "kubectl sourceward check ") {
			code = 1 // It finds what a policy denies.
		}
		diff := cmp.Diff(strings.Split(blocks[i+1], "\n"), strings.Split(got.stdout, "\n"))
		if diff != "" || got.stderr != "" || got.code != code {
			t.Errorf("%s has the exit code %d, and %q on stderr; the output mismatches the page (-page +got):\n%s",
				blocks[i], got.code, got.stderr, diff)
		}
	}
	if got := kubectl("kubectl sourceward check --cluster --kube-context prod"); !strings.HasSuffix(got.stderr,
		`--kube-context "prod" is not one of cluster; see kubectl sourceward check --help`+"\n") || got.code != 2 {
		t.Errorf("kubectl sourceward with an unknown context gives %+v", got)
	}
	got := kubectl("kubectl __complete sourceward check --fail-on ''")
	if !strings.HasPrefix(got.stdout, "deny\nmutate\n") {
		t.Errorf("kubectl completes the plugin with %+v", got)
	}
}

// liveTraffic holds figures of a Service in the placement that it has. Shares are those of each pod on node-1, node-2
// and so on with the traffic policy of the Service.
type liveTraffic struct {
	Pods, Nodes                    int
	Overload, Usable, Lost, Shares string
}

// checkTraffic compares what traffic shows of each Service. The load balancer does not target node-1, which has a label
// that excludes it, but clients reach a NodePort on every node.
func (l *liveCommands) checkTraffic(t *testing.T) {
	t.Helper()
	none := func(nodes int) liveTraffic {
		return liveTraffic{Nodes: nodes, Overload: "0.00", Usable: "0.00", Lost: "1.00", Shares: "- - - -"}
	}
	onNode2 := func(pods int, share string) liveTraffic {
		return liveTraffic{
			Pods: pods, Nodes: 3, Overload: "1.00", Usable: "1.00", Lost: "0.00", Shares: "- " + share + " - -",
		}
	}
	notOnANode := none(3) // its endpoint has no nodeName
	notOnANode.Pods = 1
	want := map[string]liveTraffic{
		"edge/api":      onNode2(1, "1.00"),
		"edge/applied":  none(3),
		"edge/door":     none(4),
		"edge/game":     none(3),
		"edge/mail":     none(3),
		"edge/web":      {Pods: 4, Nodes: 3, Overload: "2.00", Usable: "0.50", Lost: "0.00", Shares: "- 0.17 0.50 -"},
		"infra/alone":   onNode2(3, "0.33"),
		"infra/dns":     {Pods: 4, Nodes: 3, Overload: "1.33", Usable: "0.75", Lost: "0.00", Shares: "- 0.33 0.33 0.33"},
		"infra/queue":   onNode2(2, "0.50"),
		"infra/roll":    none(3), // nothing here makes pods of a Rollout
		"infra/twin":    onNode2(2, "0.50"),
		"shop/both":     onNode2(4, "0.25"),
		"shop/cart":     onNode2(3, "0.33"),
		"shop/db":       notOnANode,
		"shop/pay":      onNode2(1, "1.00"),
		"tools/address": none(4),
		"tools/closed":  none(3),
		"tools/old":     none(3),
		"tools/pinned":  none(3),
	}
	if diff := cmp.Diff(want, l.traffic(t)); diff != "" {
		t.Errorf("traffic --cluster mismatch (-want +got):\n%s", diff)
	}
}

// traffic runs traffic with -o json.
func (l *liveCommands) traffic(t *testing.T) map[string]liveTraffic {
	t.Helper()
	type figures struct{ Overload, Usable, Lost float64 }
	type node struct {
		Serving  int
		PodShare float64
	}
	var report struct {
		Services []struct {
			Service       struct{ Namespace, Name string }
			TrafficPolicy string
			Placements    []struct {
				Pods, Nodes    int
				Local, Cluster figures
				Groups         []struct {
					Nodes          []string
					Local, Cluster node
				}
			}
		}
	}
	ran := l.run(t, "traffic", "--cluster", "--kubeconfig", l.kubeconfig, "-o", "json")
	if err := json.Unmarshal([]byte(ran.stdout), &report); err != nil || ran.stderr != "" || ran.code != 0 {
		t.Fatalf("%v: %+v", err, ran)
	}
	found := map[string]liveTraffic{}
	for _, s := range report.Services {
		p := s.Placements[0]
		of, shares := p.Local, []string{"-", "-", "-", "-"}
		if s.TrafficPolicy == "Cluster" {
			of = p.Cluster
		}
		for _, group := range p.Groups {
			on := group.Local
			if s.TrafficPolicy == "Cluster" {
				on = group.Cluster
			}
			for _, name := range group.Nodes {
				if on.PodShare > 0 {
					shares[name[len("node-")]-'1'] = fmt.Sprintf("%.2f", on.PodShare)
				}
			}
		}
		found[s.Service.Namespace+"/"+s.Service.Name] = liveTraffic{
			Pods: p.Pods, Nodes: p.Nodes, Overload: fmt.Sprintf("%.2f", of.Overload),
			Usable: fmt.Sprintf("%.2f", of.Usable), Lost: fmt.Sprintf("%.2f", of.Lost), Shares: strings.Join(shares, " "),
		}
	}
	return found
}

// checkExplanations compares what explain advises for each Service.
func (l *liveCommands) checkExplanations(t *testing.T) {
	t.Helper()
	want := map[string]string{
		"edge/game": "Local",
		"edge/mail": "Local",
		// They share an address, which MetalLB does not allow with Local.
		"infra/twin": "Cluster",
		"shop/cart":  "Cluster",
		"shop/far": "error: Service shop/far has type ExternalName: clients connect to far.example.com, and there is no " +
			"traffic policy; explain the Service behind that name",
		"tools/inside": "it makes no difference",
		"tools/old":    "Local",
	}
	got := map[string]string{}
	for namespace, services := range liveServices {
		for name := range services {
			of := namespace + "/" + name
			if want[of] == "" {
				want[of] = "Cluster, unless pods need the client's address"
			}
			ran := l.run(t, "explain", "Service/"+of, "--cluster", "--kubeconfig", l.kubeconfig)
			_, advice, isAdvised := strings.Cut(ran.stdout, "\nChoose: ")
			if !isAdvised {
				advice = ran.stderr
			}
			got[of], _, _ = strings.Cut(advice, "\n")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("explain --cluster mismatch (-want +got):\n%s", diff)
	}
}

// checkRequests reads in the audit log what the binary has sent, after a first request that was refused.
func (l *liveCommands) checkRequests(t *testing.T) {
	t.Helper()
	sent := map[string]int{}
	err := readAuditLog(filepath.Join(l.Dir, cluster.AuditLog), liveReader, func(event auditv1.Event) {
		if event.User.Username != liveReader {
			return
		}
		what, _, _ := strings.Cut(event.RequestURI, "?")
		if on := event.ObjectRef; on != nil {
			what = strings.Trim(fmt.Sprintf("%s.%s/%s", on.Resource, on.APIGroup, on.Subresource), "./")
		}
		sent[event.Verb+" "+what]++
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"get /apis/apps.kruise.io/v1alpha1", "get /apis/apps.kruise.io/v1beta1", "get /apis/argoproj.io/v1alpha1",
		"get /apis/keda.sh/v1alpha1", "get /apis/sourceward.dev/v1alpha1", "get /version", "get namespaces",
		"get replicasets.apps", "get replicationcontrollers", "get services",
		"list daemonsets.apps", "list deployments.apps", "list endpointslices.discovery.k8s.io",
		"list horizontalpodautoscalers.autoscaling", "list namespaces", "list nodes", "list podtemplates",
		"list replicasets.apps", "list replicationcontrollers", "list rollouts.argoproj.io", "list services",
		"list sourceippolicies.sourceward.dev", "list statefulsets.apps",
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(sent))); diff != "" {
		t.Errorf("the binary sends other requests (-want +got):\n%s", diff)
	}
	t.Logf("requests: %v", sent)
}

// checkBrokenPolicy stores a policy that does not compile, which no webhook refuses here.
func (l *liveCommands) checkBrokenPolicy(t *testing.T) {
	t.Helper()
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"rules":[{"id":"no-such-rule","mode":"Deny"}]}}`))
	policy := read(t, `{apiVersion: sourceward.dev/v1alpha1, kind: SourceIPPolicy, metadata: {name: edge}}`)
	if err := l.objects.Patch(t.Context(), policy, patch); err != nil {
		t.Fatal(err)
	}
	got := l.check(t, "-n", "edge")
	if !strings.HasPrefix(got.stderr, "error: SourceIPPolicy edge: spec.rules[0].id: ") || got.code != 2 ||
		!strings.Contains(got.stdout, "warn  unspread-behind-local  Deployment edge/web\n") {
		t.Errorf("check with a policy that does not compile gives %+v", got)
	}
}
