package manifest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/bundle"
)

// builtIn returns the built-in rules.
var builtIn = sync.OnceValue(func() *bundle.Set {
	rules, wrong := bundle.Compile(context.Background(), nil, nil)
	if wrong != nil {
		panic(wrong[0])
	}
	return rules
})

// balanced returns a LoadBalancer Service that selects the pods of deployment.
func balanced(policy string) string {
	return "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n" +
		"spec: {type: LoadBalancer, externalTrafficPolicy: " + policy + ", selector: {app: web}, ports: [{port: 80}]}\n"
}

// exempting is a Namespace that exempts its objects from unspread-behind-local.
const exempting = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: default\n" +
	"  annotations: {exempt.sourceward.dev/unspread-behind-local: one node}\n"

// findings returns "file:line rule" for each finding with a rule of interest, sorted. Paths are relative to dir.
func findings(t testing.TB, dir string, options Options) []string {
	t.Helper()
	rules := builtIn()
	m, _ := load(t, dir, options)
	for _, e := range m.Errors {
		t.Error(e)
	}
	found := []string{}
	for _, o := range m.Objects {
		decision, _, err := m.Decide(t.Context(), o, Bench{Rules: rules, Policies: rules.Policies, Now: time.Unix(0, 0)})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range decision.Findings {
			if !slices.Contains([]string{"unspread-behind-local", "neighbours-unknown", "shared-selector"}, f.Rule) {
				continue
			}
			line := strings.TrimPrefix(o.Place("").String(), dir+string(filepath.Separator)) + " " + f.Rule
			if f.Exempt != nil {
				line += " exempt"
			}
			if f.Rule == "neighbours-unknown" {
				_, candidates, _ := strings.Cut(f.Message, "exists, ")
				line += ": " + strings.ReplaceAll(candidates, dir+string(filepath.Separator), "")
			}
			found = append(found, line)
		}
	}
	slices.Sort(found)
	return found
}

// TestPlaceholdersInAnyOfTheCopiesAreNoted checks that a rule is not silent without a note if only the second of two
// equally near definitions has a placeholder on which it depends.
func TestPlaceholdersInAnyOfTheCopiesAreNoted(t *testing.T) {
	t.Parallel()
	for _, policies := range [][]string{{"Cluster", `"${P}"`}, {`"${P}"`, "Cluster"}, {`"${P}"`, `"${Q}"`}} {
		m, _ := load(t, tree{files: map[string]string{
			"a/s.yaml": balanced(policies[0]), "b/s.yaml": balanced(policies[1]), "w/web.yaml": deployment("web"),
		}}.make(t), Options{})
		for _, o := range m.Objects {
			if o.Workload == nil {
				continue
			}
			decision, notes, err := m.Decide(t.Context(), o, Bench{Rules: builtIn(), Policies: builtIn().Policies})
			if len(decision.Findings) > 0 || len(notes) != 1 || !strings.Contains(notes[0].Text, "unspread-behind-local") ||
				err != nil {
				t.Errorf("%q: the findings are %v, the notes %v (%v); want one note about unspread-behind-local",
					policies, decision.Findings, notes, err)
			}
		}
	}
}

// TestUncheckedPods checks which Local Services have no judged workload behind them.
func TestUncheckedPods(t *testing.T) {
	t.Parallel()
	controller := "apiVersion: v1\nkind: ReplicationController\nmetadata: {name: web}\n" +
		"spec:\n  selector: {app: web}\n" +
		"  template: {metadata: {labels: {app: web, tier: a}}, spec: {containers: [{name: web}]}}\n"
	tests := map[string]struct {
		files   map[string]string
		without []string
		remarks []string
	}{
		"a workload": {files: map[string]string{"a.yaml": deployment("web")}},
		"a workload in the context": {
			files: map[string]string{"context/a.yaml": deployment("web")}, remarks: []string{
				"its pods are not checked, since their workload is only context; check context/a.yaml:1, too",
			},
		},
		"a workload in both": {
			files: map[string]string{"a.yaml": deployment("web"), "context/a.yaml": deployment("web")},
		},
		"no workload": {without: []string{"Service default/web"}},
		"a workload that does not exist twice, beside one that does": {
			files: map[string]string{
				"a.yaml": strings.ReplaceAll(deployment("api"), "app: web", "app: api"),
				"b.yaml": strings.ReplaceAll(deployment("api"), "app: web", "app: api"),
			},
			without: []string{"Service default/web"},
		},
		"a copy of the workload that has other labels, nearer to the Service": {
			files: map[string]string{
				"s.yaml": service("other"), "c/s.yaml": balanced("Local"),
				"c/a.yaml": strings.ReplaceAll(deployment("web"), "app: web", "app: api"), "b/a.yaml": deployment("web"),
			},
			remarks: []string{"its pods are not checked: the workload in b/a.yaml:1 is nearer to other definitions"},
		},
		"a copy of the workload that has other labels": {
			files: map[string]string{
				"a/a.yaml": strings.ReplaceAll(deployment("web"), "app: web", "app: api"), "b/a.yaml": deployment("web"),
			},
		},
		"a copy in the context that is replaced by one with other labels": {
			files: map[string]string{
				"a.yaml":         strings.ReplaceAll(deployment("web"), "app: web", "app: api"),
				"context/a.yaml": deployment("web"),
			},
			without: []string{"Service default/web"},
		},
		"a workload that is nearer to another definition, and a copy with other labels": {
			files: map[string]string{
				"aaa/a.yaml":  strings.ReplaceAll(deployment("web"), "app: web", "app: api"),
				"prod/a.yaml": deployment("web"), "prod/s.yaml": balanced("Cluster"),
			},
			remarks: []string{
				"its pods are not checked: the workload in prod/a.yaml:1 is nearer to other definitions",
			},
		},
		"a workload that is nearer to another definition of the Service": {
			files: map[string]string{"prod/a.yaml": deployment("web"), "prod/s.yaml": balanced("Cluster")},
			remarks: []string{
				"its pods are not checked: the workload in prod/a.yaml:1 is nearer to other definitions",
			},
		},
		"a workload of a kind that is never looked up": {files: map[string]string{"a.yaml": controller}},
		"a workload with other labels": {
			files:   map[string]string{"a.yaml": strings.ReplaceAll(deployment("api"), "app: web", "app: api")},
			without: []string{"Service default/web"},
		},
		"a workload in another namespace": {
			files:   map[string]string{"a.yaml": strings.Replace(controller, "{name: web}", "{name: web, namespace: edge}", 1)},
			without: []string{"Service default/web"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"s.yaml": balanced("Local"), "context/none.yaml": service("other")}
			maps.Copy(files, test.files)
			dir := tree{files: files}.make(t)
			var paths []string
			for file := range files {
				if !strings.HasPrefix(file, "context/") {
					paths = append(paths, file)
				}
			}
			m, _ := load(t, dir, Options{Paths: paths, Context: []string{"context"}})
			refs, remarks := m.UncheckedPods()
			var without, texts []string
			for _, ref := range refs {
				without = append(without, ref.String())
			}
			for _, remark := range remarks {
				texts = append(texts, strings.ReplaceAll(remark.Text, dir+string(filepath.Separator), ""))
			}
			if diff := cmp.Diff([2][]string{test.without, test.remarks}, [2][]string{without, texts}); diff != "" {
				t.Errorf("UncheckedPods() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNeighboursAreTheNearestCopies(t *testing.T) {
	t.Parallel()
	local, cluster, web := balanced("Local"), balanced("Cluster"), deployment("web")
	pair := func(service string) string { return service + "---\n" + web }
	other := func(name string) string {
		return strings.Replace(web, "metadata: {name: web", "metadata: {name: "+name, 1)
	}
	tier := strings.NewReplacer("name: web", "name: tier", "{app: web}", "{tier: a}").Replace(local)
	ofBoth := strings.Replace(web, "labels: {app: web}", "labels: {app: web, tier: a}", 1)
	ofTier := strings.Replace(other("z"), "labels: {app: web}", "labels: {app: api, tier: a}", 1)
	idle := func(workload string) string { return strings.Replace(workload, "replicas: 2", "replicas: 0", 1) }
	tests := map[string]struct {
		files   map[string]string
		options Options
		want    []string
	}{
		"two environments with the same names": {
			files: map[string]string{"e/prod/all.yaml": pair(local), "e/staging/all.yaml": pair(cluster)},
			want:  []string{"e/prod/all.yaml:6 unspread-behind-local"},
		},
		"two environments, of which the other one comes last": {
			files: map[string]string{"e/prod/all.yaml": pair(local), "e/dev/all.yaml": pair(cluster)},
			want:  []string{"e/prod/all.yaml:6 unspread-behind-local"},
		},
		"two environments of several files": {
			files: map[string]string{
				"e/prod/web.yaml": web, "e/prod/net/service.yaml": local, "e/dev/web.yaml": web, "e/dev/net/service.yaml": cluster,
			},
			want: []string{"e/prod/web.yaml:1 unspread-behind-local"},
		},
		"a Service of another environment that has no copy here": {
			files: map[string]string{"e/prod/all.yaml": web, "e/dev/all.yaml": pair(local)},
			want:  []string{"e/dev/all.yaml:6 unspread-behind-local"},
		},
		"a Service of another environment is nearer than the common one": {
			files: map[string]string{"base/service.yaml": local, "e/prod/web.yaml": web, "e/dev/all.yaml": pair(cluster)},
			want:  []string{"e/prod/web.yaml:1 unspread-behind-local"},
		},
		"one workload behind two copies of its Service": {
			files: map[string]string{"base/web.yaml": web, "e/a/service.yaml": local, "e/b/service.yaml": cluster},
			want:  []string{"base/web.yaml:1 neighbours-unknown: e/a/service.yaml:1 or e/b/service.yaml:1"},
		},
		"one workload behind two copies of two Services": {
			files: map[string]string{
				"base/web.yaml": web, "e/a/service.yaml": local, "e/b/service.yaml": cluster,
				"e/a/api.yaml": strings.Replace(local, "name: web", "name: api", 1),
				"e/b/api.yaml": strings.Replace(cluster, "name: web", "name: api", 1),
			},
			want: []string{
				"base/web.yaml:1 neighbours-unknown: e/a/api.yaml:1 or e/b/api.yaml:1",
				"base/web.yaml:1 neighbours-unknown: e/a/service.yaml:1 or e/b/service.yaml:1",
			},
		},
		"one workload behind two copies that lead to the same": {
			files: map[string]string{"base/web.yaml": web, "e/a/service.yaml": local, "e/b/service.yaml": local},
			want:  []string{"base/web.yaml:1 unspread-behind-local"},
		},
		"one workload behind four copies": {
			files: map[string]string{
				"base/web.yaml": web, "e/a/service.yaml": local, "e/b/service.yaml": local, "e/c/service.yaml": local,
				"e/d/service.yaml": cluster,
			},
			want: []string{"base/web.yaml:1 neighbours-unknown: e/a/service.yaml:1, e/b/service.yaml:1 or 2 more"},
		},
		"two copies in one file, which differ": {
			files: map[string]string{"a.yaml": pair(local), "b.yaml": web, "c.yaml": local + "---\n" + cluster},
			want: []string{
				"a.yaml:6 unspread-behind-local", "b.yaml:1 neighbours-unknown: c.yaml:1 or c.yaml:6",
			},
		},
		"files of one kustomization are nearer than those of one folder": {
			files: map[string]string{
				"apps/web/kustomization.yaml": "resources: [../../shared/service.yaml, web.yaml]\n",
				"apps/web/web.yaml":           web, "shared/service.yaml": local, "apps/service.yaml": cluster,
			},
			want: []string{"apps/web/web.yaml:1 unspread-behind-local"},
		},
		"two kustomizations in one folder": {
			files: map[string]string{
				"a/kustomization.yaml": "resources: [../all/web-a.yaml, ../all/service-a.yaml]\n",
				"b/kustomization.yaml": "resources: [../all/web-b.yaml, ../all/service-b.yaml]\n",
				"all/web-a.yaml":       web, "all/service-a.yaml": cluster, "all/web-b.yaml": web, "all/service-b.yaml": local,
			},
			want: []string{"all/web-b.yaml:1 unspread-behind-local"},
		},
		"two kustomizations of one workload": {
			files: map[string]string{
				"a/kustomization.yaml": "resources: [../web.yaml, service.yaml]\n", "a/service.yaml": local,
				"b/kustomization.yaml": "resources: [../web.yaml, service.yaml]\n", "b/service.yaml": cluster, "web.yaml": web,
			},
			want: []string{"web.yaml:1 neighbours-unknown: a/service.yaml:1 or b/service.yaml:1"},
		},
		"a file is nearer than its kustomization": {
			files: map[string]string{
				"kustomization.yaml": "resources: [all.yaml, service.yaml]\n", "all.yaml": pair(local), "service.yaml": cluster,
			},
			want: []string{"all.yaml:6 unspread-behind-local"},
		},
		"another workload behind another copy of the Service": {
			files: map[string]string{
				"dev/service.yaml": local, "dev/web.yaml": other("dev"),
				"prod/service.yaml": cluster, "prod/web.yaml": other("prod"),
			},
			want: []string{"dev/web.yaml:1 unspread-behind-local"},
		},
		"two Services in front of a workload, and others behind each that have pods in one environment": {
			files: map[string]string{
				"dev/all.yaml":  local + "---\n" + tier + "---\n" + ofBoth + "---\n" + other("x") + "---\n" + ofTier,
				"prod/all.yaml": local + "---\n" + tier + "---\n" + ofBoth + "---\n" + idle(other("x")) + "---\n" + idle(ofTier),
			},
			want: []string{
				"dev/all.yaml:11 shared-selector", "dev/all.yaml:11 unspread-behind-local",
				"dev/all.yaml:16 shared-selector", "dev/all.yaml:16 unspread-behind-local",
				"dev/all.yaml:21 shared-selector", "dev/all.yaml:21 unspread-behind-local",
				"prod/all.yaml:11 unspread-behind-local", "prod/all.yaml:16 unspread-behind-local",
				"prod/all.yaml:21 unspread-behind-local",
			},
		},
		"a Service with a generated name beside a repeated object": {
			files: map[string]string{
				"all.yaml": strings.Replace(local, "{name: web", "{generateName: web-", 1) + "---\n" + other("a") + "---\n" +
					other("b") + "---\n" + exempting + "---\n" + exempting,
			},
			want: []string{
				"all.yaml:11 shared-selector", "all.yaml:11 unspread-behind-local exempt",
				"all.yaml:6 shared-selector", "all.yaml:6 unspread-behind-local exempt",
			},
		},
		"workloads with generated names behind another copy of the Service": {
			files: map[string]string{
				"dev/service.yaml": local, "dev/web.yaml": other("dev"), "prod/service.yaml": cluster,
				"prod/web.yaml": strings.Repeat(strings.Replace(web, "{name: web", "{generateName: w-", 1)+"---\n", 2),
			},
			want: []string{"dev/web.yaml:1 unspread-behind-local"},
		},
		"another workload behind the same copy of the Service": {
			files: map[string]string{
				"dev/service.yaml": local, "dev/a.yaml": other("a"), "dev/b.yaml": other("b"), "prod/service.yaml": cluster,
			},
			want: []string{
				"dev/a.yaml:1 shared-selector", "dev/a.yaml:1 unspread-behind-local",
				"dev/b.yaml:1 shared-selector", "dev/b.yaml:1 unspread-behind-local",
			},
		},
		"a kustomization of the context": {
			files: map[string]string{
				"live/kustomization.yaml": "resources: [../shared/service.yaml, web.yaml]\n", "live/web.yaml": web,
				"shared/service.yaml": local, "live/other/service.yaml": cluster,
			},
			options: Options{Paths: []string{"live/web.yaml"}, Context: []string{"."}},
			want:    []string{"live/web.yaml:1 unspread-behind-local"},
		},
		"a Namespace of each environment": {
			files: map[string]string{
				"e/prod/all.yaml": pair(local), "e/prod/namespace.yaml": exempting,
				"e/dev/all.yaml":       pair(local),
				"e/dev/namespace.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: default}\n",
			},
			want: []string{"e/dev/all.yaml:6 unspread-behind-local", "e/prod/all.yaml:6 unspread-behind-local exempt"},
		},
		"one environment without a Namespace of its own": {
			files: map[string]string{
				"e/prod/all.yaml": pair(local), "e/prod/namespace.yaml": exempting, "e/dev/all.yaml": pair(local),
			},
			want: []string{"e/dev/all.yaml:6 unspread-behind-local", "e/prod/all.yaml:6 unspread-behind-local exempt"},
		},
		"a changed file stands in for its copy in the context": {
			files:   map[string]string{"live/all.yaml": pair(local), "changed.yaml": web},
			options: Options{Paths: []string{"changed.yaml"}, Context: []string{"live"}},
			want:    []string{"changed.yaml:1 unspread-behind-local"},
		},
		"a changed Service stands in for its copy in the context": {
			files:   map[string]string{"live/all.yaml": pair(cluster), "changed.yaml": pair(local)},
			options: Options{Paths: []string{"changed.yaml"}, Context: []string{"live"}},
			want:    []string{"changed.yaml:6 unspread-behind-local"},
		},
		"a file in the context is judged among the others": {
			files: map[string]string{
				"e/prod/web.yaml": web, "e/prod/service.yaml": local, "e/dev/web.yaml": web, "e/dev/service.yaml": cluster,
			},
			options: Options{Paths: []string{"e/prod/web.yaml"}, Context: []string{"."}},
			want:    []string{"e/prod/web.yaml:1 unspread-behind-local"},
		},
		"a file in the context, in the other environment": {
			files: map[string]string{
				"e/prod/web.yaml": web, "e/prod/service.yaml": local, "e/dev/web.yaml": web, "e/dev/service.yaml": cluster,
			},
			options: Options{Paths: []string{"e/dev/web.yaml"}, Context: []string{"."}},
			want:    []string{},
		},
		"a Namespace that is given stands in for its copy in the context": {
			files: map[string]string{
				"live/all.yaml": pair(local), "live/namespace.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: default}\n",
				"new.yaml": exempting + "---\n" + web,
			},
			options: Options{Paths: []string{"new.yaml"}, Context: []string{"live"}},
			want:    []string{"new.yaml:7 unspread-behind-local exempt"},
		},
		"of two copies, the second has a placeholder": {
			files: map[string]string{"a/s.yaml": local, "b/s.yaml": balanced(`"${P}"`), "w/web.yaml": web},
			want:  []string{"w/web.yaml:1 neighbours-unknown: a/s.yaml:1 or b/s.yaml:1"},
		},
		"of two copies, the first has a placeholder": {
			files: map[string]string{"a/s.yaml": balanced(`"${P}"`), "b/s.yaml": local, "w/web.yaml": web},
			want:  []string{"w/web.yaml:1 neighbours-unknown: a/s.yaml:1 or b/s.yaml:1"},
		},
		"two copies have placeholders": {
			files: map[string]string{"a/s.yaml": balanced(`"${P}"`), "b/s.yaml": balanced(`"${Q}"`), "w/web.yaml": web},
			want:  []string{},
		},
		"two copies, one of them with a placeholder that does not matter": {
			files: map[string]string{
				"a/s.yaml": local, "b/s.yaml": strings.Replace(local, "port: 80", `port: "${PORT}"`, 1), "w/web.yaml": web,
			},
			want: []string{"w/web.yaml:1 unspread-behind-local"},
		},
		"standard input stands in for its copies in the context": {
			files:   map[string]string{"e/prod/all.yaml": pair(local), "e/dev/all.yaml": pair(cluster)},
			options: Options{Paths: []string{Stdin}, Context: []string{"e"}, Stdin: strings.NewReader(web)},
			want:    []string{"-:1 neighbours-unknown: e/dev/all.yaml:1 or e/prod/all.yaml:1"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, findings(t, tree{files: test.files}.make(t), test.options)); diff != "" {
				t.Errorf("findings mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// TestOrderDoesNotMatter judges random trees, each with its paths and the documents of its files in several orders.
func TestOrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	const trees, orders = 40, 4
	for seed := range uint64(trees) {
		random := rand.New(rand.NewPCG(seed, 16))
		objects := []string{
			balanced("Local"), balanced("Cluster"), deployment("web"), deployment("web"), exempting,
			"apiVersion: v1\nkind: Namespace\nmetadata: {name: default}\n",
		}
		contents := map[string][]string{}
		for range 3 + random.IntN(8) {
			folder := []string{"base", "e/a", "e/b", "e/b/c"}[random.IntN(4)]
			file := fmt.Sprintf("%s/%d.yaml", folder, random.IntN(2))
			contents[file] = append(contents[file], objects[random.IntN(len(objects))])
		}
		kustomization := fmt.Sprintf("resources: [../base/%d.yaml, ../e/a/%d.yaml, ../e/b/%d.yaml]\n",
			random.IntN(2), random.IntN(2), random.IntN(2))
		var want []string
		for order := range orders {
			files := map[string]string{"k/kustomization.yaml": kustomization}
			for name, documents := range contents {
				documents = slices.Clone(documents)
				random.Shuffle(len(documents), func(i, j int) { documents[i], documents[j] = documents[j], documents[i] })
				files[name] = strings.Join(documents, "---\n")
			}
			paths := slices.Collect(maps.Keys(files)) // in any order
			got := findings(t, tree{files: files}.make(t), Options{Paths: paths})
			for i, line := range got { // The lines differ by the order of documents.
				line = strings.Split(line, ": ")[0]
				file, rest, _ := strings.Cut(line, ":")
				_, rule, _ := strings.Cut(rest, " ")
				got[i] = file + " " + rule
			}
			slices.Sort(got)
			if order == 0 {
				want = got
			} else if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("findings of tree %d depend on the order (-first +other):\n%s\n%v", seed, diff, contents)
			}
		}
	}
}

// TestObjectsWithoutANamespace loads one file, a.yaml.
func TestObjectsWithoutANamespace(t *testing.T) {
	t.Parallel()
	const note = "objects without a namespace are taken to be in db, the only one that this file names; " +
		"-n NAMESPACE sets another"
	in := func(namespace, object string) string {
		return strings.Replace(object, "{name", "{namespace: "+namespace+", name", 1)
	}
	autoscaler := "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\n" +
		"spec: {maxReplicas: 7, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}\n"
	tests := map[string]struct {
		documents []string
		namespace string
		want      loaded
	}{
		"a Service beside a workload with a namespace": {
			documents: []string{balanced("Local"), in("db", deployment("web"))},
			want: loaded{
				Objects: []string{"a.yaml:1 Service db/web", "a.yaml:6 Deployment db/web"},
				Notes:   []string{"a.yaml:1: Service db/web: " + note},
			},
		},
		"a workload beside an autoscaler with a namespace": {
			documents: []string{in("db", autoscaler), deployment("web")},
			want: loaded{
				Objects: []string{"a.yaml:6 Deployment db/web"}, Notes: []string{"a.yaml:6: Deployment db/web: " + note},
			},
		},
		"two namespaces": {
			documents: []string{balanced("Local"), in("db", deployment("web")), in("shop", deployment("web"))},
			want: loaded{
				Objects: []string{"a.yaml:1 Service default/web", "a.yaml:6 Deployment db/web", "a.yaml:11 Deployment shop/web"},
				Notes: []string{"a.yaml:1: Service default/web: objects without a namespace are taken to be in default, since " +
					"this file names several; -n NAMESPACE sets another"},
			},
		},
		"a namespace of another kind": {
			documents: []string{in("db", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"), deployment("web")},
			want:      loaded{Objects: []string{"a.yaml:5 Deployment default/web"}},
		},
		"all with a namespace": {
			documents: []string{in("db", balanced("Local")), in("db", deployment("web"))},
			want:      loaded{Objects: []string{"a.yaml:1 Service db/web", "a.yaml:6 Deployment db/web"}},
		},
		"a namespace that is given": {
			documents: []string{balanced("Local"), in("db", deployment("web"))},
			namespace: "shop",
			want:      loaded{Objects: []string{"a.yaml:1 Service shop/web", "a.yaml:6 Deployment db/web"}},
		},
		"an item of a list": {
			documents: []string{
				"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n" +
					"  spec: {ports: [{port: 80}]}\n", in("db", deployment("web")),
			},
			want: loaded{
				Objects: []string{"a.yaml:4 Service db/a", "a.yaml:9 Deployment db/web"},
				Notes:   []string{"a.yaml:4: Service db/a: " + note},
			},
		},
		"metadata that is missing is an error": {
			documents: []string{"apiVersion: v1\nkind: Service\nspec: {ports: [{port: 80}]}\n", in("db", deployment("web"))},
			want: loaded{
				Objects: []string{"a.yaml:5 Deployment db/web"},
				Errors:  []string{"a.yaml:1:1: metadata.name of this Service: want a name, got none; set one"},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.Join(test.documents, "---\n")
			_, got := load(t, tree{files: map[string]string{"a.yaml": text}}.make(t), Options{Namespace: test.namespace})
			test.want.Files, test.want.Documents = 1, len(test.documents)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Load() mismatch (-want +got):\n%s\nof\n%s", diff, text)
			}
		})
	}
}

// TestFilesOfAKustomizationHaveOneNamespace checks in which namespace objects are that name none, if a kustomization
// lists their file as a resource.
func TestFilesOfAKustomizationHaveOneNamespace(t *testing.T) {
	t.Parallel()
	const taken = "objects without a namespace are taken to be in "
	in := func(namespace, object string) string {
		return strings.Replace(object, "{name", "{namespace: "+namespace+", name", 1)
	}
	tests := map[string]struct {
		files map[string]string
		want  loaded
	}{
		"one namespace": {
			files: map[string]string{
				"a.yaml": balanced("Local"), "b.yaml": in("db", deployment("web")),
				"kustomization.yaml": "resources: [a.yaml, b.yaml]\n",
			},
			want: loaded{
				Objects: []string{"a.yaml:1 Service db/web", "b.yaml:1 Deployment db/web"},
				Notes: []string{"a.yaml:1: Service db/web: " + taken +
					"db, the only one that the files of its kustomization name; -n NAMESPACE sets another"},
			},
		},
		"a file between them that is no resource": {
			files: map[string]string{
				"a.yaml": in("db", deployment("web")), "b.yaml": deployment("b"), "c.yaml": balanced("Local"),
				"kustomization.yaml": "resources: [a.yaml, c.yaml]\n",
			},
			want: loaded{
				Objects: []string{"a.yaml:1 Deployment db/web", "b.yaml:1 Deployment default/b", "c.yaml:1 Service db/web"},
				Notes: []string{"c.yaml:1: Service db/web: " + taken +
					"db, the only one that the files of its kustomization name; -n NAMESPACE sets another"},
			},
		},
		"each file names another one": {
			files: map[string]string{
				"a.yaml": in("shop", balanced("Local")) + "---\n" + deployment("web"), "b.yaml": in("db", deployment("web")),
				"kustomization.yaml": "resources: [a.yaml, b.yaml]\n",
			},
			want: loaded{
				Objects: []string{"a.yaml:1 Service shop/web", "a.yaml:6 Deployment default/web", "b.yaml:1 Deployment db/web"},
				Notes: []string{"a.yaml:6: Deployment default/web: " + taken +
					"default, since the files of its kustomization name several; -n NAMESPACE sets another"},
			},
		},
		"two kustomizations of one file": {
			files: map[string]string{
				"a.yaml": in("db", deployment("web")), "b.yaml": balanced("Local"), "c.yaml": in("shop", deployment("web")),
				"kustomization.yaml":   "resources: [a.yaml, b.yaml]\n",
				"k/kustomization.yaml": "resources: [../b.yaml, ../c.yaml]\n",
			},
			want: loaded{
				Objects: []string{"a.yaml:1 Deployment db/web", "b.yaml:1 Service default/web", "c.yaml:1 Deployment shop/web"},
				Notes: []string{"b.yaml:1: Service default/web: " + taken +
					"default, since the files of its kustomization name several; -n NAMESPACE sets another"},
			},
		},
		"a patch names another one": {
			files: map[string]string{
				"a.yaml": balanced("Local"), "b.yaml": in("db", deployment("web")), "c.yaml": in("shop", deployment("web")),
				"k/kustomization.yaml": "resources: [../a.yaml, ../b.yaml]\npatches: [{path: ../c.yaml}]\n",
			},
			want: loaded{
				Objects: []string{"a.yaml:1 Service db/web", "b.yaml:1 Deployment db/web"},
				Skipped: []string{"c.yaml:1: Deployment shop/web: it is a patch of k/kustomization.yaml; check that instead"},
				Notes: []string{
					"a.yaml:1: Service db/web: " + taken +
						"db, the only one that the files of its kustomization name; -n NAMESPACE sets another",
					notBuilt("k/kustomization.yaml", "patches", "k"),
				},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, got := load(t, tree{files: test.files}.make(t), Options{})
			got.Files, got.Documents = 0, 0 // other tests count
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Load() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRelatedWorkloadsAreThoseOfTheEnvironment has two environments, each with two Services in front of a workload and
// one more workload behind each Service.
func TestRelatedWorkloadsAreThoseOfTheEnvironment(t *testing.T) {
	t.Parallel()
	local, web := balanced("Local"), deployment("web")
	text := strings.Join([]string{
		local, strings.NewReplacer("name: web", "name: tier", "{app: web}", "{tier: a}").Replace(local),
		strings.Replace(web, "labels: {app: web}", "labels: {app: web, tier: a}", 1), deployment("x"),
		strings.Replace(deployment("z"), "labels: {app: web}", "labels: {app: api, tier: a}", 1),
	}, "---\n")
	m, _ := load(t, tree{files: map[string]string{
		"dev/all.yaml": text, "prod/all.yaml": strings.ReplaceAll(text, "replicas: 2", "replicas: 5"),
	}}.make(t), Options{})
	checked := 0
	for _, o := range m.Objects {
		if o.Workload == nil || o.Name != "web" {
			continue
		}
		for _, workload := range m.Input(o, policies.Cluster{}, time.Time{}).Related.Workloads {
			checked++
			if *workload.Replicas != *o.Workload.Replicas {
				t.Errorf("%s has %d replicas, and its neighbour %s %d",
					o.Place("").String(), *o.Workload.Replicas, workload.Name, *workload.Replicas)
			}
		}
	}
	if checked != 4 {
		t.Errorf("%d neighbours, want 4", checked)
	}
}
