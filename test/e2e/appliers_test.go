package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sourceward/sourceward/policies/review"
	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/sandbox"
)

// helmBinary is the program of test/appliers.
var helmBinary = moduleBinary("appliers")

// applier is a program that applies manifests.
type applier struct {
	// title is its name in the table, and namespace that of the objects that it applies.
	title, namespace string
	// helm holds the flags for the program of test/appliers. If it is empty, kubectl is run.
	helm []string
	// create and update are the commands of kubectl for new and for existing objects. An empty create means update.
	create, update []string
	// diff is the command of kubectl whose dry run shows the applier a difference between the manifests and the stored
	// objects. If it is empty, the applier shows none.
	diff []string
	// locally means that the applier computes the difference itself, without the webhooks of the cluster.
	locally bool
	// onlyDifferent means that the applier applies only the objects that the dry run would change.
	onlyDifferent bool
}

// These commands of kubectl apply manifests, and show with a dry run what would change.
var (
	clientSide = []string{"apply"}
	serverSide = []string{"apply", "--server-side"}
	argoServer = []string{"apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller"}
	flux       = []string{"apply", "--server-side", "--force-conflicts", "--field-manager=kustomize-controller"}
)

// appliers are played as follows.
//
// Argo CD calls the packages of these commands of kubectl (v3.6, gitops-engine/pkg/utils/kube/resource_ops.go and
// gitops-engine/pkg/sync/sync_context.go). By default it computes the difference itself
// (gitops-engine/pkg/diff/diff.go), with the same merge as kubectl and the API server but without webhooks: a dry run
// while the webhook is stopped gives the same. Objects that it replaces have no last-applied annotation; it then
// compares as kubectl apply does on such an object.
//
// Flux compares each object with the result of a dry run, and applies those that differ (github.com/fluxcd/pkg,
// ssa/manager_apply.go).
var appliers = []applier{
	{title: "`kubectl apply`", namespace: "kubectl", update: clientSide, diff: clientSide},
	{title: "`kubectl apply --server-side`", namespace: "kubectl-server", update: serverSide, diff: serverSide},
	{title: "Helm 3", namespace: "helm-3", helm: []string{"-helm=3"}},
	{title: "Helm 4", namespace: "helm-4", helm: []string{"-helm=4"}},
	{
		title: "Helm 4 with `--server-side=false`", namespace: "helm-4-client",
		helm: []string{"-helm=4", "-server-side=false"},
	},
	{
		title: "Argo CD", namespace: "argo-cd", update: []string{"apply", "--field-manager=argocd-controller"},
		diff: clientSide, locally: true,
	},
	{
		title: "Argo CD with `ServerSideApply=true`", namespace: "argo-cd-server", update: argoServer,
		diff: argoServer, locally: true,
	},
	{
		title: "Argo CD with `Replace=true`", namespace: "argo-cd-replace",
		create: []string{"create"}, update: []string{"replace"}, diff: clientSide, locally: true,
	},
	{
		title: "Argo CD with `Force=true,Replace=true`", namespace: "argo-cd-force",
		create: []string{"create"}, update: []string{"replace", "--force"}, diff: clientSide, locally: true,
	},
	{title: "Flux", namespace: "flux", update: flux, diff: flux, onlyDifferent: true},
}

// appliedObject is an object that every applier applies.
type appliedObject struct {
	title, name string
	kind        schema.GroupVersionKind
	// manifest returns the object as it is in Git. Every version has another pod template or another port.
	manifest func(namespace, name string, version int) string
	// list is the path of the list that a repair adds or appends to. It is nil for a Service, whose traffic policy a
	// repair sets.
	list []string
}

var (
	serviceKind    = schema.GroupVersionKind{Version: "v1", Kind: "Service"}
	deploymentKind = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	rolloutKind    = schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Rollout"}
	cloneSetKind   = schema.GroupVersionKind{Group: "apps.kruise.io", Version: "v1alpha1", Kind: "CloneSet"}

	constraints = []string{"spec", "template", "spec", "topologySpreadConstraints"}
	preferred   = []string{
		"spec", "template", "spec", "affinity", "podAntiAffinity", "preferredDuringSchedulingIgnoredDuringExecution",
	}
)

const (
	zoneConstraint = "topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, " +
		"whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: %s}}}]"
	// uselessConstraint has the key of a repair, but counts no pods.
	uselessConstraint = "topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, " +
		"whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: not-%s}}}]"
	zoneTerm = "affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, " +
		"podAffinityTerm: {topologyKey: topology.kubernetes.io/zone, labelSelector: {matchLabels: {app: %s}}}}]}}"
)

var appliedObjects = []appliedObject{
	{
		"A Service with `source-ip: preserve` and no traffic policy", "unset", serviceKind,
		preserved(""), nil,
	},
	{
		"A Service with `source-ip: preserve` and the policy `Cluster`", "written", serviceKind,
		preserved("externalTrafficPolicy: Cluster, "), nil,
	},
	{
		"A Deployment without constraints", "deployment", deploymentKind,
		placed(deploymentKind, ""), constraints,
	},
	{
		"A Deployment with a constraint on the zone", "deployment-zone", deploymentKind,
		placed(deploymentKind, zoneConstraint), constraints,
	},
	{
		"A Deployment with a constraint on `kubernetes.io/hostname` that counts no pods", "deployment-useless",
		deploymentKind, placed(deploymentKind, uselessConstraint), constraints,
	},
	{
		"A Deployment without anti-affinity", "affinity", deploymentKind,
		placed(deploymentKind, ""), preferred,
	},
	{
		"A Deployment with an anti-affinity term for the zone", "affinity-zone", deploymentKind,
		placed(deploymentKind, zoneTerm), preferred,
	},
	{
		"A Rollout without constraints", "rollout", rolloutKind,
		placed(rolloutKind, ""), constraints,
	},
	{
		"A Rollout with a constraint on the zone", "rollout-zone", rolloutKind,
		placed(rolloutKind, zoneConstraint), constraints,
	},
	{
		"A CloneSet with a constraint on the zone", "clone-set-zone", cloneSetKind,
		placed(cloneSetKind, zoneConstraint), constraints,
	},
}

// preserved returns the manifest of a Service whose owner wants the address of the client.
func preserved(policy string) func(namespace, name string, version int) string {
	return func(namespace, name string, version int) string {
		spec := fmt.Sprintf("{type: LoadBalancer, %sselector: {app: %s}, ports: [{port: %d}]}", policy, name, 8000+version)
		return service(namespace, name, spec, "sourceward.dev/source-ip: preserve")
	}
}

// placed returns the manifest of a workload with a field in the spec of its pods. A label selects the policy that
// repairs with anti-affinity.
func placed(kind schema.GroupVersionKind, field string) func(namespace, name string, version int) string {
	return func(namespace, name string, version int) string {
		text := workload(kind.GroupVersion().String(), kind.Kind, namespace, name, 3)
		text = strings.Replace(text, "image: web", fmt.Sprintf("image: web:%d", version), 1)
		if strings.HasPrefix(name, "affinity") {
			text = strings.Replace(text, "metadata: {", "metadata: {labels: {strategy: affinity}, ", 1)
		}
		if field == "" {
			return text
		}
		return strings.Replace(text, "{containers:", "{"+fmt.Sprintf(field, name)+", containers:", 1)
	}
}

// version returns the version of the manifest that was applied last, as the stored object shows it.
func (o appliedObject) version(stored *unstructured.Unstructured) string {
	if o.list == nil {
		ports, _, _ := unstructured.NestedSlice(stored.Object, "spec", "ports")
		port, _, _ := unstructured.NestedInt64(ports[0].(map[string]any), "port")
		return fmt.Sprint(port - 8000)
	}
	containers, _, _ := unstructured.NestedSlice(stored.Object, "spec", "template", "spec", "containers")
	image, _, _ := unstructured.NestedString(containers[0].(map[string]any), "image")
	return strings.TrimPrefix(image, "web:")
}

// isRepaired reports whether the stored object is as the webhook wants it. The error is non-nil if what its owner wrote
// is missing.
func (o appliedObject) isRepaired(stored *unstructured.Unstructured) (bool, error) {
	if o.list == nil {
		policy, _, err := unstructured.NestedString(stored.Object, "spec", "externalTrafficPolicy")
		return policy == string(corev1.ServiceExternalTrafficPolicyLocal), err
	}
	list, _, err := unstructured.NestedSlice(stored.Object, o.list...)
	if err != nil {
		return false, err
	}
	own, ours := 0, 0
	for _, element := range list {
		text, err := json.Marshal(element)
		if err != nil {
			return false, err
		}
		if bytes.Contains(text, []byte(corev1.LabelHostname)) && !bytes.Contains(text, []byte("not-"+o.name)) {
			ours++
		} else {
			own++
		}
	}
	wanted := strings.Count(o.manifest("", o.name, 1), "topologyKey")
	if own != wanted || ours > 1 {
		err = fmt.Errorf("%d elements of the owner, want %d, and %d of repairs", own, wanted, ours)
	}
	return ours > 0, err
}

// answered is the strongest answer of the webhook to the requests of a step for one object.
type answered int

const (
	saidNothing answered = iota
	saidWarning
	saidRepaired
	saidRefused
)

// outcome is what one step did to one object.
type outcome struct {
	// repaired is true if the object is as the webhook wants it after the step.
	repaired bool
	// recreated is true if the object was deleted and created again.
	recreated bool
	// rewritten is true if the object was written, with whatever change.
	rewritten bool
	// configured is true if kubectl prints that the object was configured.
	configured bool
	answered   answered
}

// cell describes the outcome of a step. before is the outcome of the step before it, and nil for the first one.
// sameFiles is true if the manifests have not changed since then.
func (o outcome) cell(before *outcome, sameFiles bool) string {
	var parts []string
	if o.recreated {
		parts = append(parts, "created anew")
	}
	switch was := before != nil && before.repaired; {
	case o.answered == saidRefused:
		parts = append(parts, "refused")
	case o.answered == saidRepaired && was:
		parts = append(parts, "repaired again")
	case o.answered == saidRepaired:
		parts = append(parts, "repaired")
	case o.repaired:
		parts = append(parts, "kept")
	case was:
		parts = append(parts, "**lost**")
	case o.answered == saidNothing:
		parts = append(parts, "as in Git")
	}
	if o.answered == saidWarning {
		parts = append(parts, "warned")
	}
	if before == nil || !sameFiles {
		return strings.Join(parts, ", ")
	}
	if o.rewritten && !o.recreated && before.repaired == o.repaired {
		parts = append(parts, "written")
	}
	if o.configured {
		parts = append(parts, "`configured`")
	}
	return strings.Join(parts, ", ")
}

// applierStep is a step of TestAppliers: all appliers apply a version of the manifests.
type applierStep struct {
	title   string
	version int
	// away means that the webhook does not run.
	away bool
}

var applierSteps = []applierStep{
	{"first apply", 1, false},
	{"same files", 1, false},
	{"new template", 2, false},
	{"webhook away, same files", 2, true},
	{"webhook away, new template", 3, true},
	{"webhook back, same files", 3, false},
	{"webhook back, new template", 4, false},
}

// applierRun is the run of all appliers on one control plane.
type applierRun struct {
	*environment
	helm, dir string
	// outcomes holds the outcomes by object and then by step. differs holds the objects that differ from their
	// manifests.
	outcomes map[objectKey][]outcome
	differs  map[objectKey]bool
	// read is the length of the part of the webhook's log that has been read.
	read int
}

// objectKey is a reference to an object as the webhook logs it, for example "Service edge/web".
type objectKey string

func keyOf(kind, namespace, name string) objectKey {
	return objectKey(fmt.Sprintf("%s %s/%s", kind, namespace, name))
}

// TestAppliers compares the table in config/appliers.md with what the appliers do to repaired objects; with
// -update-pages it writes the table.
func TestAppliers(t *testing.T) {
	t.Parallel()
	helm, err := helmBinary()
	if err != nil {
		t.Fatal(err)
	}
	r := &applierRun{
		environment: newEnvironment(t, cluster.Options{}, sandbox.Options{}), helm: helm, dir: t.TempDir(),
		outcomes: map[objectKey][]outcome{}, differs: map[objectKey]bool{},
	}
	r.prepare(t)
	for i, step := range applierSteps {
		if i > 0 && applierSteps[i-1].away && !step.away {
			r.start(t)
		}
		r.step(t, step, i == 0)
		if lastBeforeAway(i) {
			r.compare(t, false)
			r.stop(t)
			r.compare(t, true)
		}
	}
	r.checkTable(t)
}

// prepare installs the custom kinds and the policies, and creates the Local Services in front of the workloads.
func (r *applierRun) prepare(t *testing.T) {
	t.Helper()
	rollout := customKind{rolloutKind.Group, rolloutKind.Version, rolloutKind.Kind, "rollouts"}
	cloneSet := customKind{cloneSetKind.Group, cloneSetKind.Version, cloneSetKind.Kind, "clonesets"}
	r.installCRDs(t, []string{withMergedConstraints(rollout.fakeCRD()), cloneSet.fakeCRD()}, rollout, cloneSet)
	r.policy(t, "repair", "{rules: [{id: unspread-behind-local, mode: Mutate}, {id: ineffective-spread, mode: Mutate}]}")
	r.policy(
		t,
		"affinity",
		"{match: {objectSelector: {matchLabels: {strategy: affinity}}}, spread: {strategy: PodAntiAffinity}}",
	)
	for _, a := range appliers {
		r.namespace(t, a.namespace)
		for _, o := range appliedObjects {
			if o.list != nil {
				r.create(t, service(a.namespace, "front-"+o.name, local(o.name)))
			}
		}
	}
}

// withMergedConstraints adds to a fakeCRD how a server-side apply merges the constraints of the template. The CRD of
// Argo Rollouts declares it like the API of Deployments (v1.9, manifests/crds/rollout-crd.yaml). That of CloneSets
// declares no field of the template (OpenKruise, config/crd/bases/apps.kruise.io_clonesets.yaml), like a fakeCRD.
func withMergedConstraints(crd string) string {
	const open = "{type: object, x-kubernetes-preserve-unknown-fields: true"
	schema := open + ", required: [topologyKey, whenUnsatisfiable], " +
		"properties: {topologyKey: {type: string}, whenUnsatisfiable: {type: string}}}"
	schema = "{type: array, x-kubernetes-list-type: map, " +
		"x-kubernetes-list-map-keys: [topologyKey, whenUnsatisfiable], items: " + schema + "}"
	for _, field := range slices.Backward(constraints) {
		schema = open + ", properties: {" + field + ": " + schema + "}}"
	}
	return strings.Replace(crd, open+"}", schema, 1)
}

// stop stops the webhook.
func (r *applierRun) stop(t *testing.T) {
	t.Helper()
	for _, replica := range r.Replicas {
		if err := replica.StopReplica(); err != nil {
			t.Fatal(err)
		}
	}
}

// start starts the webhook again, and waits until the API server calls it.
func (r *applierRun) start(t *testing.T) {
	t.Helper()
	for _, replica := range r.Replicas {
		if err := r.StartReplica(t.Context(), replica); err != nil {
			t.Fatal(err)
		}
	}
	refused := read(
		t,
		service("default", "web", "{type: ClusterIP, externalTrafficPolicy: Local, ports: [{port: 80}]}"),
	)
	r.eventually(t, "the webhook is called again", func() (bool, string) {
		err := r.objects.Create(t.Context(), refused.DeepCopy(), client.DryRunAll)
		return err != nil && strings.Contains(err.Error(), refusedByUs), fmt.Sprint(err)
	})
}

// folder returns the folder of the manifest of an object, which is also the name of its Helm release.
func (r *applierRun) folder(a applier, o appliedObject) string {
	return filepath.Join(r.dir, a.namespace, o.name)
}

// step lets all appliers apply a version of the manifests, and records the outcomes.
func (r *applierRun) step(t *testing.T, step applierStep, first bool) {
	t.Helper()
	for _, a := range appliers {
		for _, o := range appliedObjects {
			folder := r.folder(a, o)
			if err := os.MkdirAll(folder, 0o755); err != nil {
				t.Fatal(err)
			}
			manifest := o.manifest(a.namespace, o.name, step.version)
			if err := os.WriteFile(filepath.Join(folder, "object.yaml"), []byte(manifest), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := r.stored(t)
	r.answers(t)
	outputs := make([]answer, len(appliers))
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(4) // the processes mostly wait for the API server
	for i, a := range appliers {
		group.Go(func() (err error) {
			outputs[i], err = r.apply(ctx, a, first)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	after, answers := r.stored(t), r.answers(t)
	for i, a := range appliers {
		// kubectl and Helm print the warnings of webhooks.
		if first && !strings.Contains(outputs[i].stderr, "unspread-behind-local: repaired: ") {
			t.Errorf("%s does not print that an object was repaired: %s", a.title, outputs[i].stderr)
		}
		isRefused := false
		for _, o := range appliedObjects {
			key := keyOf(o.kind.Kind, a.namespace, o.name)
			was, now := before[key], after[key]
			if now == nil {
				t.Fatalf("%s, %s: %s is not stored: %s", a.title, step.title, key, outputs[i].stderr)
			}
			repaired, err := o.isRepaired(now)
			if err != nil {
				t.Errorf("%s, %s: %s: %v", a.title, step.title, key, err)
			}
			found := outcome{
				repaired:   repaired,
				recreated:  was != nil && was.GetUID() != now.GetUID(),
				rewritten:  was == nil || was.GetResourceVersion() != now.GetResourceVersion(),
				configured: strings.Contains(outputs[i].stdout, "/"+o.name+" configured\n"),
				answered:   answers[key],
			}
			r.outcomes[key] = append(r.outcomes[key], found)
			isRefused = isRefused || found.answered == saidRefused
			if got, want := o.version(now), fmt.Sprint(step.version); got != want && found.answered != saidRefused {
				t.Errorf("%s, %s: %s is stored with version %s, want %s", a.title, step.title, key, got, want)
			}
		}
		if failed := outputs[i].code != 0; failed != isRefused {
			t.Errorf("%s, %s: exit code %d; the webhook has refused an object: %v; stderr: %s",
				a.title, step.title, outputs[i].code, isRefused, outputs[i].stderr)
		}
	}
}

// stored returns all objects of the kinds that are applied.
func (r *applierRun) stored(t *testing.T) map[objectKey]*unstructured.Unstructured {
	t.Helper()
	found := map[objectKey]*unstructured.Unstructured{}
	for _, kind := range []schema.GroupVersionKind{serviceKind, deploymentKind, rolloutKind, cloneSetKind} {
		var list unstructured.UnstructuredList
		list.SetGroupVersionKind(kind)
		if err := r.objects.List(t.Context(), &list); err != nil {
			t.Fatal(err)
		}
		for _, object := range list.Items {
			found[keyOf(object.GetKind(), object.GetNamespace(), object.GetName())] = &object
		}
	}
	return found
}

// answers returns the strongest answer for each object in the part of the webhook's log that has not been read, except
// for dry runs.
func (r *applierRun) answers(t *testing.T) map[objectKey]answered {
	t.Helper()
	log, err := r.Replicas[0].Log()
	if err != nil {
		t.Fatal(err)
	}
	strongest := map[objectKey]answered{}
	for line := range bytes.Lines(log[r.read:]) {
		var entry struct {
			Object  objectKey
			DryRun  bool
			Outcome review.Outcome
			// Findings are texts such as "warn: unspread-behind-local: pods of …".
			Findings []string
		}
		if !bytes.Contains(line, []byte(`"msg":"request answered"`)) {
			continue
		}
		if err := json.Unmarshal(line, &entry); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		isOurs := slices.ContainsFunc(entry.Findings, func(finding string) bool {
			_, finding, _ = strings.Cut(finding, ": ")
			rule, _, _ := strings.Cut(finding, ": ")
			return slices.Contains([]string{"source-ip-needs-local", "unspread-behind-local", "ineffective-spread"}, rule)
		})
		if entry.DryRun || !isOurs {
			continue
		}
		said := map[review.Outcome]answered{
			review.Warned: saidWarning, review.Mutated: saidRepaired, review.Denied: saidRefused,
		}[entry.Outcome]
		strongest[entry.Object] = max(strongest[entry.Object], said)
	}
	r.read = len(log)
	return strongest
}

// apply runs an applier on its manifests. first is true if the objects do not exist yet. The error is non-nil if the
// applier could not be run.
func (r *applierRun) apply(ctx context.Context, a applier, first bool) (answer, error) {
	var folders []string
	for _, o := range appliedObjects {
		folders = append(folders, r.folder(a, o))
	}
	if a.helm != nil {
		args := append(slices.Clone(a.helm), "-namespace="+a.namespace, fmt.Sprintf("-install=%v", first))
		cmd := exec.CommandContext(ctx, r.helm, append(args, folders...)...)
		cmd.Env = r.Kubectl(ctx).Env
		return finish(cmd)
	}
	if a.onlyDifferent && !first {
		var err error
		if folders, err = r.different(ctx, a); err != nil || len(folders) == 0 {
			return answer{}, err
		}
	}
	args := a.update
	if first && a.create != nil {
		args = a.create
	}
	return finish(r.Kubectl(ctx, withFiles(args, folders)...))
}

// withFiles adds the flags for folders of manifests to a command of kubectl.
func withFiles(args, folders []string) []string {
	args = slices.Clone(args)
	for _, folder := range folders {
		args = append(args, "-f", folder)
	}
	return args
}

// finish runs a command to its end. The error is non-nil if it could not be run.
func finish(cmd *exec.Cmd) (answer, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		return answer{}, err
	}
	return answer{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}, nil
}

// compare records for the appliers that compare locally, or for the others, which objects differ from the manifests.
func (r *applierRun) compare(t *testing.T, locally bool) {
	t.Helper()
	for _, a := range appliers {
		if a.diff == nil || a.locally != locally {
			continue
		}
		folders, err := r.different(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range appliedObjects {
			r.differs[keyOf(o.kind.Kind, a.namespace, o.name)] = slices.Contains(folders, r.folder(a, o))
		}
	}
}

// different returns the folders of the objects that a dry run of the applier would change.
func (r *applierRun) different(ctx context.Context, a applier) (folders []string, err error) {
	for _, o := range appliedObjects {
		folders = append(folders, r.folder(a, o))
	}
	args := append(slices.Clone(a.diff), "--dry-run=server", "-o", "json")
	got, err := finish(r.Kubectl(ctx, withFiles(args, folders)...))
	if err != nil {
		return nil, err
	}
	var list unstructured.UnstructuredList
	if err := json.Unmarshal([]byte(got.stdout), &list); err != nil {
		return nil, errors.Join(err, errors.New(got.stderr))
	}
	// An object whose dry run is refused is not in the list.
	for _, dry := range list.Items {
		stored := &unstructured.Unstructured{}
		stored.SetGroupVersionKind(dry.GroupVersionKind())
		if err := r.objects.Get(ctx, client.ObjectKeyFromObject(&dry), stored); err != nil {
			return nil, err
		}
		if reflect.DeepEqual(stored.Object["spec"], dry.Object["spec"]) {
			folder := filepath.Join(r.dir, a.namespace, dry.GetName())
			folders = slices.DeleteFunc(folders, func(different string) bool { return different == folder })
		}
	}
	return folders, nil
}

// checkTable compares the table in the page with the outcomes.
func (r *applierRun) checkTable(t *testing.T) {
	t.Helper()
	const path, begin, end = "../../config/appliers.md", "<!-- appliers: TestAppliers -->\n", "<!-- end of appliers -->\n"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(page), begin)
	shown, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no %q … %q", path, begin, end)
	}
	table := r.table()
	if *updatePages {
		if err := os.WriteFile(path, []byte(before+begin+table+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(table, shown); diff != "" {
		t.Errorf("%s shows another table; if the new one is right, run go test ./test/e2e -run %s -update-pages "+
			"(-want +got):\n%s", path, t.Name(), diff)
	}
}

// table returns a table for each object. Objects with the same rows share a table, and appliers with the same outcomes
// share a row.
func (r *applierRun) table() string {
	head, rule := "| applied by |", "|---|"
	for i, step := range applierSteps {
		head += " " + step.title + " |"
		rule += "---|"
		if lastBeforeAway(i) {
			head += " difference |"
			rule += "---|"
		}
	}
	titles := map[string][]string{}
	var tables []string
	for _, o := range appliedObjects {
		table := head + "\n" + rule + "\n" + r.rows(o)
		if titles[table] == nil {
			tables = append(tables, table)
		}
		titles[table] = append(titles[table], o.title)
	}
	var text strings.Builder
	for _, table := range tables {
		for _, title := range titles[table] {
			fmt.Fprintf(&text, "- %s\n", title)
		}
		fmt.Fprintf(&text, "\n%s\n", table)
	}
	return text.String()
}

// rows returns the rows of an object.
func (r *applierRun) rows(o appliedObject) string {
	titles := map[string][]string{}
	var rows []string
	for _, a := range appliers {
		row := r.row(a, keyOf(o.kind.Kind, a.namespace, o.name))
		if titles[row] == nil {
			rows = append(rows, row)
		}
		titles[row] = append(titles[row], a.title)
	}
	var text strings.Builder
	for _, row := range rows {
		fmt.Fprintf(&text, "| %s |%s\n", strings.Join(titles[row], "; "), row)
	}
	return text.String()
}

// lastBeforeAway reports whether the webhook stops after a step. The differences are read then.
func lastBeforeAway(step int) bool {
	return step+1 < len(applierSteps) && !applierSteps[step].away && applierSteps[step+1].away
}

// row returns the cells of an object.
func (r *applierRun) row(a applier, key objectKey) string {
	var text strings.Builder
	var before *outcome
	for i, step := range applierSteps {
		found := r.outcomes[key][i]
		sameFiles := i > 0 && step.version == applierSteps[i-1].version
		fmt.Fprintf(&text, " %s |", found.cell(before, sameFiles))
		before = &found
		if lastBeforeAway(i) {
			fmt.Fprintf(&text, " %s |", r.difference(a, key))
		}
	}
	return text.String()
}

// difference describes what the applier shows as different from its manifests.
func (r *applierRun) difference(a applier, key objectKey) string {
	switch {
	case a.diff == nil:
		return "–"
	case r.differs[key]:
		return "**yes**"
	default:
		return "no"
	}
}
