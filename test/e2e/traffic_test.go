package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/test/cluster"
)

// TestTrafficOfACluster runs `sourceward traffic --cluster` as a user who has only our ClusterRole for readers, on pods
// that run. Which EndpointSlices a Service gets, and which Nodes a pod, only controllers know.
func TestTrafficOfACluster(t *testing.T) {
	t.Parallel()
	binary, err := commandBinary()
	if err != nil {
		t.Fatal(err)
	}
	e := newBareEnvironment(t, cluster.Options{Nodes: 4})
	l := &liveCheck{environment: e, binary: binary, dir: t.TempDir()}
	e.must(t, "", "apply", "-k", "../../config/rbac/reader")
	e.must(t, "", "create", "clusterrolebinding", "sourceward-readers",
		"--clusterrole=sourceward-reader", "--group=readers")
	if l.kubeconfig, err = e.UserKubeconfig(liveReader, "readers"); err != nil {
		t.Fatal(err)
	}

	e.namespace(t, "edge")
	manifests := []string{
		service("edge", "web", local("web")),
		service("edge", "door", strings.Replace(local("web"), "LoadBalancer", "NodePort", 1)),
		service("edge", "old", local("old")),
		service("edge", "far", `{type: ExternalName, externalName: far.example.com}`),
	}
	for node, pods := range map[string]int{"node-1": 3, "node-2": 1} {
		of := strings.ReplaceAll(deployment("edge", "web", pods), "{app: web}", "{app: web, on: "+node+"}")
		of = strings.Replace(of, "name: web}, spec: {replicas", "name: web-"+node+"}, spec: {replicas", 1)
		manifests = append(manifests, strings.Replace(of, "containers:", "nodeName: "+node+", containers:", 1))
	}
	e.must(t, strings.Join(manifests, "\n---\n"), "create", "-f", "-")
	e.must(t, "", "label", "node", "node-4", "node.kubernetes.io/exclude-from-external-load-balancers=")

	var got map[string]liveTraffic
	e.eventually(t, "four pods are ready", func() (bool, string) {
		ran := l.run(t, "traffic", "--cluster", "--kubeconfig", l.kubeconfig, "--namespace", "edge", "-o", "json")
		got = trafficOf(t, ran)
		return got["web"].Pods == 4 && got["door"].Pods == 4, ran.stdout
	})
	want := map[string]liveTraffic{
		"web":  {Pods: 4, Nodes: 3, Overload: "2.00", Usable: "0.50", Lost: "0.00", Shares: "0.17 0.50 - -"},
		"door": {Pods: 4, Nodes: 4, Overload: "1.00", Usable: "0.50", Lost: "0.50", Shares: "0.08 0.25 - -"},
		"old":  {Nodes: 3, Overload: "0.00", Usable: "0.00", Lost: "1.00", Shares: "- - - -"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("traffic --cluster mismatch (-want +got):\n%s", diff)
	}
	text := l.run(t, "traffic", "--cluster", "--kubeconfig", l.kubeconfig, "--top", "2")
	if text.code != 0 || text.stderr != "" || !strings.HasSuffix(text.stdout, "2 Services: 2 can lose traffic; "+
		"--top leaves out 1 more\n") {
		t.Errorf("traffic --cluster --top 2 gives %+v", text)
	}
}

// liveTraffic holds figures of a Service with Local. Shares are those of each pod on node-1, node-2 and so on.
type liveTraffic struct {
	Pods, Nodes                    int
	Overload, Usable, Lost, Shares string
}

// trafficOf reads -o json of traffic.
func trafficOf(t *testing.T, ran answer) map[string]liveTraffic {
	t.Helper()
	var report struct {
		Services []struct {
			Service    struct{ Name string }
			Placements []struct {
				Pods, Nodes int
				Local       struct{ Overload, Usable, Lost float64 }
				Groups      []struct {
					Nodes []string
					Local struct {
						Serving  int
						PodShare float64
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(ran.stdout), &report); err != nil || ran.stderr != "" || ran.code != 0 {
		t.Fatalf("%v: %+v", err, ran)
	}
	found := map[string]liveTraffic{}
	for _, s := range report.Services {
		p := s.Placements[0]
		shares := []string{"-", "-", "-", "-"}
		for _, group := range p.Groups {
			for _, node := range group.Nodes {
				if group.Local.Serving > 0 {
					shares[node[len("node-")]-'1'] = fmt.Sprintf("%.2f", group.Local.PodShare)
				}
			}
		}
		found[s.Service.Name] = liveTraffic{
			Pods: p.Pods, Nodes: p.Nodes, Overload: fmt.Sprintf("%.2f", p.Local.Overload),
			Usable: fmt.Sprintf("%.2f", p.Local.Usable), Lost: fmt.Sprintf("%.2f", p.Local.Lost),
			Shares: strings.Join(shares, " "),
		}
	}
	return found
}
