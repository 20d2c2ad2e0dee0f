package main_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// traffic is what these tests read of -o json of traffic.
type traffic struct {
	Services []struct {
		Service    ref `json:"service"`
		Placements []struct {
			Local   trafficFlow `json:"local"`
			Cluster trafficFlow `json:"cluster"`
			Groups  []struct {
				Nodes          []string
				Ready          int
				Local, Cluster struct {
					Share, PodShare, Lost float64
					Health, Serving       int
				}
			} `json:"groups"`
		} `json:"placements"`
	} `json:"services"`
}

type trafficFlow struct {
	Overload, Usable, Lost float64
	IdleNodes              int
	Says                   string
}

func decodeTraffic(t testing.TB, text string) traffic {
	t.Helper()
	validReport(t, text)
	var decoded traffic
	if err := json.Unmarshal([]byte(text), &decoded); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return decoded
}

// figures returns the figures of all groups of nodes as the tables show them.
func (d traffic) figures() [][]string {
	var rows [][]string
	for _, service := range d.Services {
		for _, placement := range service.Placements {
			for _, group := range placement.Groups {
				name := group.Nodes[0]
				if more := len(group.Nodes) - 1; more > 0 {
					name += fmt.Sprintf(" and %d more", more)
				}
				row := []string{name, fmt.Sprint(group.Ready)}
				for _, share := range []struct {
					Share, PodShare, Lost float64
					Health, Serving       int
				}{group.Local, group.Cluster} {
					node, pod := fmt.Sprintf("%.1f%%", 100*share.Share), fmt.Sprintf("%.1f%%", 100*share.PodShare)
					if share.Health == http.StatusServiceUnavailable {
						node = "503"
					}
					if share.Serving == 0 {
						pod = "-"
					}
					if share.Lost > 0 {
						pod = "lost"
					}
					row = append(row, node, pod)
				}
				rows = append(rows, row)
			}
		}
	}
	return rows
}

// element is an element of a page.
type element struct {
	name, text string
	attributes map[string]string
	children   []*element
}

// all returns the elements of a name below an element, in their order.
func (e *element) all(name string) []*element {
	var found []*element
	for _, child := range e.children {
		if child.name == name {
			found = append(found, child)
		}
		found = append(found, child.all(name)...)
	}
	return found
}

// parse parses a page or a picture. It fails the test unless all elements are closed, so that no text of a manifest
// opens or closes one.
func parse(t testing.TB, text string) *element {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(text))
	open := []*element{{}}
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return open[0]
		}
		if err != nil {
			t.Fatalf("%v:\n%s", err, text)
		}
		top := open[len(open)-1]
		switch token := token.(type) {
		case xml.StartElement:
			child := &element{name: token.Name.Local, attributes: map[string]string{}}
			for _, a := range token.Attr {
				child.attributes[a.Name.Local] = a.Value
			}
			top.children = append(top.children, child)
			open = append(open, child)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			for _, e := range open {
				e.text += string(token)
			}
		}
	}
}

// seeds are the examples whose figures are known: three pods on one node, one on another and none on a third.
var seeds = map[string]struct {
	dir  string
	want [][]string
	says string
}{
	"with a health check": {
		dir: "testdata/traffic-of-a-given-placement-as-html",
		want: [][]string{
			{"node-a", "3", "50.0%", "16.7%", "33.3%", "25.0%"},
			{"node-b", "1", "50.0%", "50.0%", "33.3%", "25.0%"},
			{"node-c", "0", "503", "-", "33.3%", "-"},
		},
		says: "the busiest pod gets 50%, 2x its fair share; 50% of the capacity is usable; 1 of 3 nodes gets no traffic; " +
			"a perfect spread of the same pods would give 1.33x and 75% usable",
	},
	"without one": {
		dir: "testdata/traffic-of-node-ports-is-lost",
		want: [][]string{
			{"node-a", "3", "33.3%", "11.1%", "33.3%", "25.0%"},
			{"node-b", "1", "33.3%", "33.3%", "33.3%", "25.0%"},
			{"node-c", "0", "33.3%", "lost", "33.3%", "-"},
		},
		says: "33.3% of the traffic is lost, on nodes without a pod; the busiest pod gets 33.3%, 1.33x its fair share; " +
			"50% of the capacity is usable; a perfect spread of the same pods would lose nothing, and give 1.33x and 75% usable",
	},
	"of two pods": {
		dir: "testdata/traffic-of-two-pods-is-fair",
		want: [][]string{
			{"node-a and 1 more", "1", "50.0%", "50.0%", "33.3%", "50.0%"},
			{"node-c", "0", "503", "-", "33.3%", "-"},
		},
		says: "each pod gets 50%; all of the capacity is usable; 1 of 3 nodes gets no traffic",
	},
}

// TestPageHasTheFiguresOfTheJSON reads the figures back from the tables and the drawings of the page.
func TestPageHasTheFiguresOfTheJSON(t *testing.T) {
	t.Parallel()
	for name, test := range seeds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := outputArgs(t, test.dir)
			report := decodeTraffic(t, runCase(t, test.dir, append(args, "-o", "json")...).Stdout)
			figures := report.figures()
			if diff := cmp.Diff(test.want, figures[:len(test.want)]); diff != "" {
				t.Errorf("figures of the given placement mismatch (-want +got):\n%s", diff)
			}
			first := report.Services[0].Placements[0]
			if diff := cmp.Diff(test.says, first.Local.Says); diff != "" {
				t.Errorf("sentence mismatch (-want +got):\n%s", diff)
			}

			page := parse(t, runCase(t, test.dir, append(args, "-o", "html")...).Stdout)
			var rows [][]string
			for _, body := range page.all("tbody") {
				for _, tr := range body.all("tr") {
					var cells []string
					for _, cell := range tr.children {
						cells = append(cells, cell.text)
					}
					rows = append(rows, cells)
				}
			}
			if diff := cmp.Diff(figures, rows); diff != "" {
				t.Errorf("tables mismatch (-json +page):\n%s", diff)
			}

			drawings := page.all("svg")
			if want := 2 * len(report.Services[0].Placements); len(drawings) != want {
				t.Fatalf("there are %d drawings, want %d", len(drawings), want)
			}
			local := drawings[0]
			for _, name := range []string{"title", "desc"} {
				label := local.all(name)[0]
				if id := label.attributes["id"]; id == "" || label.text == "" ||
					!strings.Contains(local.attributes["aria-labelledby"], id) {
					t.Errorf("the %s %q of the drawing is not its label", name, label.text)
				}
			}
			for _, row := range test.want { // without a digit that is 0
				for _, figure := range row[2:4] {
					figure = strings.Replace(figure, ".0%", "%", 1)
					if !strings.Contains(local.text, figure) && figure != "-" && figure != "lost" {
						t.Errorf("the drawing does not show %s:\n%s", figure, local.text)
					}
				}
			}
			crossed := 0
			for _, row := range test.want {
				if row[2] == "503" || row[3] == "lost" {
					crossed++
				}
			}
			if got := len(local.all("line")) / 2; got != crossed {
				t.Errorf("%d nodes are crossed out, want %d", got, crossed)
			}
		})
	}
}

// outputArgs returns the arguments of a case, without the format of its output.
func outputArgs(t testing.TB, dir string) []string {
	t.Helper()
	args := strings.Fields(content(t, dir, "args"))
	if i := slices.Index(args, "-o"); i >= 0 {
		args = slices.Delete(args, i, i+2)
	}
	return args
}

// TestLinesAreAsWideAsTheirShares adds up the widths of the lines between the columns of the drawings of a Service that
// loses nothing.
func TestLinesAreAsWideAsTheirShares(t *testing.T) {
	t.Parallel()
	const dir = "testdata/traffic-of-a-given-placement-as-html"
	for i, drawing := range parse(t, runCase(t, dir, append(outputArgs(t, dir), "-o", "html")...).Stdout).all("svg") {
		widths := map[string]float64{} // by where a line begins
		for _, path := range drawing.all("path") {
			from, _, _ := strings.Cut(path.attributes["d"], ",")
			var width float64
			if _, err := fmt.Sscanf(path.attributes["stroke-width"], "%f", &width); err != nil {
				t.Fatal(err)
			}
			widths[from] += width
		}
		if len(widths) < 3 {
			t.Errorf("drawing %d has lines from %d columns, want at least 3", i, len(widths))
		}
		for from, width := range widths {
			if width < 19.95 || width > 20.05 {
				t.Errorf("drawing %d: the lines from %s are %.2f wide together, want 20", i, from, width)
			}
		}
	}
}

// TestPageIsSelfContained looks for anything that a browser would fetch or run.
func TestPageIsSelfContained(t *testing.T) {
	t.Parallel()
	const dir = "testdata/traffic-of-a-given-placement-as-html"
	for _, format := range []string{"html", "svg"} {
		text := runCase(t, dir, append(outputArgs(t, dir), "-o", format)...).Stdout
		for _, outside := range []string{"<script", "<link", "<img", "@import", "url(", "src=", "javascript:"} {
			if strings.Contains(text, outside) {
				t.Errorf("-o %s has %q", format, outside)
			}
		}
		if strings.Contains(strings.ReplaceAll(text, `xmlns="http://www.w3.org/2000/svg"`, ""), "://") {
			t.Errorf("-o %s has an address", format)
		}
	}
}

// TestNamesDoNotChangeThePage has markup in each text that comes from a manifest or a flag.
func TestNamesDoNotChangeThePage(t *testing.T) {
	t.Parallel()
	const attack = `"'></title></text></svg></style><script>alert(1)</script><img src=x onerror=alert(1)>`
	manifests := func(name string) map[string]string {
		quoted, err := json.Marshal(name)
		if err != nil {
			t.Fatal(err)
		}
		return map[string]string{"web.yaml": fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: %[1]s}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 443}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: %[1]s}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web}]}}
`, quoted)}
	}
	for _, format := range []string{"html", "svg"} {
		args := []string{"traffic", "-o", format, "--placement"}
		harmless := run(t, command(t, write(t, manifests("web")), append(args, "web=node-a:1,node-b:1", "web.yaml")...))
		got := run(t, command(t, write(t, manifests(attack)), append(args, "web="+attack+":1,node-b:1", "web.yaml")...))
		if got.Code != 0 || !strings.Contains(got.Stdout, "alert(1)") {
			t.Fatalf("-o %s exits with %d and does not show the names: %s", format, got.Code, got.Stderr)
		}
		if diff := cmp.Diff(shape(parse(t, harmless.Stdout)), shape(parse(t, got.Stdout))); diff != "" {
			t.Errorf("-o %s has other elements (-harmless +attack):\n%s", format, diff)
		}
	}
}

// shape returns the names of the elements and of their attributes.
func shape(e *element) []string {
	names := []string{e.name}
	for name := range e.attributes {
		names = append(names, e.name+" "+name)
	}
	slices.Sort(names)
	for _, child := range e.children {
		names = append(names, shape(child)...)
	}
	return names
}

// TestTrafficFitsATerminal measures the lines of all cases of traffic, but for notes, which lead to files.
func TestTrafficFitsATerminal(t *testing.T) {
	t.Parallel()
	measured := 0
	for _, dir := range cases(t) {
		args := strings.Fields(content(t, dir, "args"))
		if args[0] != "traffic" || slices.Contains(args, "--help") {
			continue
		}
		got := runCase(t, dir, append(outputArgs(t, dir), "--quiet", "--color", "never", "-o", "text")...)
		for line := range strings.Lines(got.Stdout) {
			measured++
			if columns := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); columns > 80 {
				t.Errorf("%s: a line has %d columns, want at most 80: %s", dir, columns, line)
			}
		}
	}
	if measured < 100 {
		t.Errorf("only %d lines were measured", measured)
	}
}

// TestTrafficDoesNotDependOnOrder shows the documents of files in another order, twice.
func TestTrafficDoesNotDependOnOrder(t *testing.T) {
	t.Parallel()
	const dir = "testdata/traffic-shows-the-worst-first"
	var files []string
	names, err := filepath.Glob(dir + "/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for document := range strings.SplitSeq(string(text), "---\n") {
			files = append(files, document)
		}
	}
	for _, format := range []string{"text", "svg", "html"} {
		var outputs []string
		for range 2 {
			cmd := command(t, dir, "traffic", "--nodes", "3", "-o", format, "-")
			cmd.Stdin = strings.NewReader(strings.Join(files, "---\n"))
			text := run(t, cmd).Stdout
			for line := range 200 { // the only difference that there may be
				text = strings.ReplaceAll(text, fmt.Sprintf("-:%d\n", line), "-\n")
				text = strings.ReplaceAll(text, fmt.Sprintf("-:%d<", line), "-<")
			}
			outputs = append(outputs, text)
			slices.Reverse(files)
		}
		if diff := cmp.Diff(outputs[0], outputs[1]); diff != "" || outputs[0] == "" {
			t.Errorf("-o %s depends on the order of documents (-first +second):\n%s", format, diff)
		}
	}
}

// trafficInCluster runs traffic --cluster with the objects of a file in a cluster.
func trafficInCluster(t testing.TB, server *fakeAPIServer, args ...string) result {
	t.Helper()
	api := httptest.NewServer(server)
	defer api.Close()
	return withKubeconfig(t, t.TempDir(), api.URL, append([]string{"traffic", "--cluster"}, args...)...)
}

const liveObjects = "testdata/traffic-of-a-cluster/objects.yaml"

func TestTrafficShowsTheCurrentPlacesInACluster(t *testing.T) {
	t.Parallel()
	got := trafficInCluster(t, newFakeAPIServer(t, liveObjects))
	golden(t, filepath.Dir(liveObjects), "all", got.Stdout)
	if got.Code != 0 || got.Stderr != "" {
		t.Errorf("traffic --cluster exits with %d: %s", got.Code, got.Stderr)
	}
	var shares [][]string
	report := decodeTraffic(t, trafficInCluster(t, newFakeAPIServer(t, liveObjects),
		"--namespace", "edge", "--service", "web", "-o", "json").Stdout)
	for _, row := range report.figures() {
		shares = append(shares, row[:4])
	}
	want := [][]string{
		{"control-plane-1", "0", "0.0%", "-"},
		{"node-a", "3", "50.0%", "16.7%"},
		{"node-b", "1", "50.0%", "50.0%"},
		{"node-c", "0", "503", "-"},
	}
	if diff := cmp.Diff(want, shares); diff != "" {
		t.Errorf("traffic --cluster --service web mismatch (-want +got):\n%s", diff)
	}

	server := newFakeAPIServer(t, liveObjects)
	server.policies = nil
	got = trafficInCluster(t, server)
	if n := strings.Count(got.Stdout, "does not serve the kind SourceIPPolicy"); n != 1 || got.Code != 0 {
		t.Errorf("traffic --cluster without our CRD says so %d times: %+v", n, got)
	}
}

// TestTrafficOfAClusterObeysTheVersion asks about a Service that traffic reaches from outside since Kubernetes 1.29.
func TestTrafficOfAClusterObeysTheVersion(t *testing.T) {
	t.Parallel()
	const service = "apiVersion: v1\nkind: Service\nmetadata: {namespace: edge, name: web}\n" +
		"spec: {type: ClusterIP, externalIPs: [192.0.2.1], externalTrafficPolicy: Local, ports: [{port: 80}]}\n"
	path := filepath.Join(write(t, map[string]string{"service.yaml": service}), "service.yaml")
	for version, code := range map[string]int{"1.28": 2, "1.29": 0} {
		if got := trafficInCluster(t, newFakeAPIServer(t, path), "--kube-version", version); got.Code != code {
			t.Errorf("traffic --cluster --kube-version %s exits with %d, want %d: %+v", version, got.Code, code, got)
		}
	}
}

func TestTrafficOfAClusterSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	const grants = "; the ClusterRole sourceward-reader in config/rbac/reader allows it\n"
	tests := map[string]struct {
		args      []string
		forbidden string
		want      string
	}{
		"a namespace that does not exist": {
			args: []string{"-n", "shop"},
			want: "error: there is no Namespace shop in the cluster at HOST; check --namespace and the kubeconfig\n",
		},
		"a Service that does not exist": {
			args: []string{"-n", "edge", "--service", "wep"},
			want: "error: --service wep: there is no Service of this name in Namespace edge of the cluster at HOST; " +
				"check the name, and --namespace\n",
		},
		"an ExternalName": {
			args: []string{"--service", "db"},
			want: "error: Service edge/db: it has no pods: type ExternalName sends clients to db.example.com\n",
		},
		"no right to list nodes": {
			forbidden: "/api/v1/nodes",
			want:      "error: cannot list nodes in the cluster at HOST: /api/v1/nodes is forbidden" + grants,
		},
		"no right to list EndpointSlices": {
			forbidden: "/apis/discovery.k8s.io/v1/endpointslices",
			want: "error: cannot list endpointslices in the cluster at HOST: /apis/discovery.k8s.io/v1/endpointslices " +
				"is forbidden" + grants,
		},
		"a path": {
			args: []string{"web.yaml"},
			want: "error: --cluster shows what a cluster holds, and web.yaml is a file or folder; remove one of the two; " +
				"see sourceward traffic --help\n",
		},
		"a placement": {
			args: []string{"--placement", "web=node-a:1"},
			want: "error: --placement is for files, and --cluster reads none; remove one of the two; " +
				"see sourceward traffic --help\n",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newFakeAPIServer(t, liveObjects)
			server.forbidden = test.forbidden
			got := trafficInCluster(t, server, test.args...)
			if diff := cmp.Diff(result{Stderr: test.want, Code: 2}, got); diff != "" {
				t.Errorf("traffic --cluster mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTrafficIsWrittenToSeveralOutputs(t *testing.T) {
	t.Parallel()
	const source = "testdata/traffic-of-two-pods-is-fair"
	dir := write(t, map[string]string{"web.yaml": content(t, source, "web.yaml")})
	args := []string{"traffic", "--nodes", "3", "-o", "text", "-o", "html=page.html", "-o", "svg=picture.svg", "web.yaml"}
	text := run(t, command(t, dir, args...))
	for format, file := range map[string]string{"html": "page.html", "svg": "picture.svg"} {
		want := run(t, command(t, dir, "traffic", "--nodes", "3", "-o", format, "web.yaml")).Stdout
		if diff := cmp.Diff(want, content(t, dir, file)); diff != "" || want == "" {
			t.Errorf("-o %s=%s mismatch (-standard output +file):\n%s", format, file, diff)
		}
	}
	if want := run(t, command(t, dir, "traffic", "--nodes", "3", "web.yaml")); text != want {
		t.Errorf("-o text beside others gives %+v, want %+v", text, want)
	}
	got := run(t, command(t, dir, "traffic", "--nodes", "3", "-o", "html=web.yaml", "web.yaml"))
	if got.Code != 2 || !strings.Contains(got.Stderr, "would replace a file that was read") {
		t.Errorf("an output that is an input exits with %d: %s", got.Code, got.Stderr)
	}
}
