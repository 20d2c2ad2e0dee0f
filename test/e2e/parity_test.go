package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sync/errgroup"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/review"
	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/sandbox"
)

const (
	paritySeed = 20261121
	// parityBundles is the number of bundles, each in its own Namespace. A bundle has at most parityMost Services and at
	// most parityMost Deployments. One kubectl applies parityBatch bundles, because it takes longer to start than to apply
	// one; parityClients of them run at the same time.
	parityBundles = 500
	parityMost    = 3
	parityBatch   = 10
	parityClients = 3
	// parityLabel is the label of Namespaces that names their policy.
	parityLabel = "parity.example.com/policy"
)

// TestParity applies bundles of Services and Deployments with kubectl, the Services first, and compares the responses
// of the webhook with the report of the dry-run binary for the same files: the same findings, by rule and object, in
// the same mode and with the same text; the same patches, byte for byte; and the API server stores the result.
//
// The two may differ only for these reasons, and only in this way:
//
//   - Clients of the webhook do not see exempt findings and those in mode audit. The audit annotations hold them.
//   - The API server calls only /mutate for an object that it refuses by itself, and /mutate denies it.
//   - A refused Service is not stored, so the Deployments behind it are judged without it. The same is true of a
//     Deployment that was refused or comes later in the file. The binary knows the whole file. Deployments for which
//     this matters are compared with its report for a file with the objects that were stored at that time.
//   - A Service that becomes Local gets warnings about existing Deployments behind it, which a file cannot show. Here
//     no Deployment exists yet.
func TestParity(t *testing.T) {
	t.Parallel()
	t.Logf("seed %d", paritySeed)
	p := newParity(t)
	bundles := make([]*parityBundle, parityBundles)
	for i := range bundles {
		bundles[i] = newParityBundle(i, p.annotations)
	}
	p.prepare(t, bundles)
	offline := p.check(t, "bundles", bundles, func(b *parityBundle) []parityObject { return b.objects })
	p.apply(t, bundles)
	p.read(t, bundles)
	// One run for the first Deployments that saw less than the whole file, one for the second ones, and so on, because the
	// Deployments of a bundle are in files with the same Services.
	var seen []parityReport
	for i := range parityMost {
		seen = append(seen, p.check(t, fmt.Sprint("seen-", i), bundles, func(b *parityBundle) []parityObject {
			objects, _ := b.seenBy(i)
			return objects
		}))
	}

	tally := parityTally{sawLess: map[sawLess]int{}}
	for batch := range slices.Chunk(bundles, parityBatch) {
		var warned []string
		for _, b := range batch {
			warned = append(warned, p.compare(t, b, offline, seen, &tally)...)
		}
		compareShown(t, batch, warned)
	}
	t.Logf("%d bundles: %s", len(bundles), tally)
	tally.wantSome(t)
}

// parityTally counts the comparisons.
type parityTally struct {
	objects, patched, refused, refusedByServer, answers int
	deny, mutate, warn, audit, exempt                   int
	// sawLess counts the Deployments that were judged with less than the whole file, and differ those for which this
	// changed the decision.
	sawLess map[sawLess]int
	differ  int
}

func (p *parityTally) count(objectFindings []parityFinding) {
	p.objects++
	for _, f := range objectFindings {
		switch {
		case f.Exempt != nil:
			p.exempt++
		case f.Mode == policies.Deny:
			p.deny++
		case f.Mode == policies.Mutate:
			p.mutate++
		case f.Mode == policies.Warn:
			p.warn++
		default:
			p.audit++
		}
	}
}

func (p parityTally) String() string {
	return fmt.Sprintf(
		"%d objects, %d findings (deny %d, mutate %d, warn %d, audit %d, exempt %d), %d objects patched, %d refused "+
			"(%d of them by the API server if we did not), %d responses of the webhook; Deployments that saw less than "+
			"the whole file: %v, with another decision: %d",
		p.objects,
		p.deny+p.mutate+p.warn+p.audit+p.exempt,
		p.deny,
		p.mutate,
		p.warn,
		p.audit,
		p.exempt,
		p.patched,
		p.refused,
		p.refusedByServer,
		p.answers,
		p.sawLess,
		p.differ,
	)
}

// wantSome checks that there was enough to compare.
func (p parityTally) wantSome(t *testing.T) {
	t.Helper()
	for what, n := range map[string]int{
		"deny": p.deny, "mutate": p.mutate, "warn": p.warn, "audit": p.audit, "exempt": p.exempt, "patched": p.patched,
		"refused by the API server": p.refusedByServer, "another decision on a Deployment that saw less": p.differ,
	} {
		if n < parityBundles/20 {
			t.Errorf("%s: %d, want at least %d", what, n, parityBundles/20)
		}
	}
	less := 0
	for _, n := range p.sawLess {
		less += n
	}
	// It has to stay the exception.
	if less > p.objects/3 {
		t.Errorf("%d of %d objects saw less than the whole file", less, p.objects)
	}
}

// parity is a cluster with Sourceward. It records all responses of the webhook.
type parity struct {
	*environment
	binary string
	dir    string
	// annotations holds the annotations of load balancers that Sourceward knows, and some similar ones.
	annotations []map[string]string

	// silent makes the webhook allow every request without a look at it.
	silent atomic.Bool

	mu      sync.Mutex
	answers map[string][]parityAnswer
}

// parityAnswer is one response of the webhook.
type parityAnswer struct {
	endpoint  review.Endpoint
	operation admissionv1.Operation
	response  *admissionv1.AdmissionResponse
}

func newParity(t *testing.T) *parity {
	t.Helper()
	// Go reuses the result of a test until a file changes that the test itself has opened. Other processes read what the
	// binaries are built from, so open it here too.
	for _, source := range []string{"api", "cmd", "config", "policies", "webhook"} {
		err := filepath.WalkDir(
			filepath.Join("..", "..", source),
			func(_ string, _ fs.DirEntry, err error) error { return err },
		)
		if err != nil {
			t.Fatal(err)
		}
	}
	binary, err := commandBinary()
	if err != nil {
		t.Fatal(err)
	}
	p := &parity{binary: binary, dir: t.TempDir(), answers: map[string][]parityAnswer{}}

	text, err := os.ReadFile("../../policies/bundle/testdata/rows.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rows map[string]struct {
		Service struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"service"`
	}
	if err := yaml.Unmarshal(text, &rows); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		if given := rows[name].Service.Annotations; given != nil {
			p.annotations = append(p.annotations, given)
		}
	}

	certificates := t.TempDir()
	crt, key := selfSigned(t)
	for name, data := range map[string][]byte{"ca.crt": crt, "tls.crt": crt, "tls.key": key} {
		if err := os.WriteFile(filepath.Join(certificates, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.environment = newEnvironment(t, cluster.Options{}, sandbox.Options{CertDir: certificates})
	p.listen(t, crt, key)
	return p
}

// listen makes the API server call the webhook through a server that records the responses and has the same
// certificate.
func (p *parity) listen(t *testing.T, crt, key []byte) {
	t.Helper()
	pair, err := tls.X509KeyPair(crt, key)
	if err != nil {
		t.Fatal(err)
	}
	client := p.Replicas[0].Client()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := p.forward(w, r, client); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}

	registration := p.client.AdmissionregistrationV1()
	mutating, err := registration.MutatingWebhookConfigurations().Get(t.Context(), "sourceward", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range mutating.Webhooks {
		mutating.Webhooks[i].ClientConfig.URL = new("https://localhost:" + port + "/" + string(review.Mutate))
	}
	_, err = registration.MutatingWebhookConfigurations().Update(t.Context(), mutating, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	validating, err := registration.ValidatingWebhookConfigurations().Get(t.Context(), "sourceward", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range validating.Webhooks {
		if validating.Webhooks[i].Name == "policies.validate.sourceward.dev" {
			continue
		}
		validating.Webhooks[i].ClientConfig.URL = new("https://localhost:" + port + "/" + string(review.Validate))
	}
	_, err = registration.ValidatingWebhookConfigurations().Update(t.Context(), validating, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, probe := range []string{
		service("until-called", "probe", `{ports: [{port: 80}]}`), deployment("until-called", "probe", 1),
	} {
		p.eventually(t, "the API server calls the webhook through the recording server", func() (bool, string) {
			kind, _, _ := strings.Cut(strings.TrimPrefix(probe, "{apiVersion: "), ", metadata")
			p.must(t, probe, "create", "--dry-run=server", "-f", "-")
			_, kind, _ = strings.Cut(kind, "kind: ")
			answers := p.take(kind + " until-called/probe")
			return len(answers) == len(review.ObjectEndpoints), fmt.Sprint(len(answers), " calls")
		})
	}
}

// forward sends a request to the webhook, and records the response. The error is non-nil if there is none.
func (p *parity) forward(w http.ResponseWriter, r *http.Request, client *http.Client) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if p.silent.Load() {
		var asked admissionv1.AdmissionReview
		if err := json.Unmarshal(body, &asked); err != nil {
			return err
		}
		asked.Response, asked.Request = &admissionv1.AdmissionResponse{UID: asked.Request.UID, Allowed: true}, nil
		return json.NewEncoder(w).Encode(asked)
	}
	request, err := http.NewRequestWithContext(
		r.Context(),
		r.Method,
		"https://"+p.Replicas[0].Address+r.URL.Path,
		bytes.NewReader(body),
	)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", r.Header.Get("Content-Type"))
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	answered, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	var asked, answer admissionv1.AdmissionReview
	if err := errors.Join(json.Unmarshal(body, &asked), json.Unmarshal(answered, &answer)); err != nil {
		return fmt.Errorf("%d %s: %w", response.StatusCode, answered, err)
	}
	key := fmt.Sprintf("%s %s/%s", asked.Request.Kind.Kind, asked.Request.Namespace, asked.Request.Name)
	p.mu.Lock()
	p.answers[key] = append(
		p.answers[key],
		parityAnswer{review.Endpoint(path.Base(r.URL.Path)), asked.Request.Operation, answer.Response},
	)
	p.mu.Unlock()
	w.Header().Set("Content-Type", response.Header.Get("Content-Type"))
	w.WriteHeader(response.StatusCode)
	_, err = w.Write(answered)
	return err
}

// take returns the responses about an object, and forgets them.
func (p *parity) take(key string) []parityAnswer {
	p.mu.Lock()
	defer p.mu.Unlock()
	answers := p.answers[key]
	delete(p.answers, key)
	return answers
}

// The names of files in the folder of the test.
const (
	parityNamespaces = "namespaces.yaml"
	parityPolicies   = "policies.yaml"
)

// prepare creates the policies and the Namespaces, and waits until the webhook has them in its caches.
func (p *parity) prepare(t *testing.T, bundles []*parityBundle) {
	t.Helper()
	var namespaces []parityObject
	for _, b := range bundles {
		namespaces = append(namespaces, b.namespace)
	}
	p.write(t, parityNamespaces, namespaces)
	if err := os.WriteFile(filepath.Join(p.dir, parityPolicies), []byte(paritySourceIPPolicies), 0o600); err != nil {
		t.Fatal(err)
	}
	before := metric(t, p.Replicas[0], cachedSample("Namespace"))
	for _, name := range []string{parityPolicies, parityNamespaces} {
		p.must(t, "", "create", "-f", filepath.Join(p.dir, name))
	}
	want := map[string]float64{
		`sourceward_policies{state="ready"}`: float64(strings.Count(paritySourceIPPolicies, "kind: SourceIPPolicy")),
		cachedSample("Namespace"):            before + float64(len(bundles)),
	}
	p.eventually(t, "the webhook has the policies and Namespaces", func() (bool, string) {
		now := map[string]float64{}
		for sample := range want {
			now[sample] = metric(t, p.Replicas[0], sample)
		}
		return maps.Equal(now, want), fmt.Sprint(now, ", want ", want)
	})
}

// write writes objects into a file.
func (p *parity) write(t *testing.T, name string, objects []parityObject) {
	t.Helper()
	var text bytes.Buffer
	for _, object := range objects {
		document, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "---\n%s", document)
	}
	file := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// parityReport is the report of the binary, by object.
type parityReport struct {
	findings map[string][]parityFinding
	patches  map[string][]parityPatch
}

type parityFinding struct {
	Rule    string
	Mode    policies.Mode
	Message string
	Fix     string
	Path    string
	Object  parityRef
	Exempt  *policies.Exemption
}

func (f parityFinding) denies() bool { return f.Mode == policies.Deny && f.Exempt == nil }

// refusedByServer reports whether the API server itself refuses an object with this finding, after it has called
// /mutate.
func (f parityFinding) refusedByServer() bool {
	rule, _ := policies.RuleByID(f.Rule)
	return rule.RefusedByServer
}

type parityPatch struct {
	Mode       policies.Mode
	Object     parityRef
	Operations []json.RawMessage
}

type parityRef struct{ Kind, Namespace, Name string }

func (r parityRef) String() string { return fmt.Sprintf("%s %s/%s", r.Kind, r.Namespace, r.Name) }

// check writes a file for each bundle for which of returns objects, and runs the dry-run binary on the folder.
func (p *parity) check(
	t *testing.T,
	folder string,
	bundles []*parityBundle,
	of func(*parityBundle) []parityObject,
) parityReport {
	t.Helper()
	for _, b := range bundles {
		if objects := of(b); len(objects) > 0 {
			p.write(t, b.file(folder), objects)
		}
	}
	cmd := exec.CommandContext(
		t.Context(),
		p.binary,
		"check",
		"-q",
		"-o",
		"json",
		"--kube-version",
		strings.TrimPrefix(string(cluster.V137), "v"),
		"--policy",
		parityPolicies,
		"--context",
		parityNamespaces,
		folder,
	)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil || stderr.Len() > 0 {
		t.Fatalf("check %s: %v\n%s", folder, err, &stderr)
	}
	var printed struct {
		Findings []parityFinding
		Patches  []parityPatch
	}
	if err := json.Unmarshal(stdout.Bytes(), &printed); err != nil {
		t.Fatal(err)
	}
	wantCode := 0
	if slices.ContainsFunc(printed.Findings, parityFinding.denies) {
		wantCode = 1
	}
	if code := cmd.ProcessState.ExitCode(); code != wantCode {
		t.Errorf("check %s exits with %d, want %d", folder, code, wantCode)
	}
	report := parityReport{map[string][]parityFinding{}, map[string][]parityPatch{}}
	for _, f := range printed.Findings {
		report.findings[f.Object.String()] = append(report.findings[f.Object.String()], f)
	}
	for _, patch := range printed.Patches {
		report.patches[patch.Object.String()] = append(report.patches[patch.Object.String()], patch)
	}
	return report
}

// apply applies every bundle.
func (p *parity) apply(t *testing.T, bundles []*parityBundle) {
	t.Helper()
	start := time.Now()
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(parityClients)
	for batch := range slices.Chunk(bundles, parityBatch) {
		group.Go(func() error {
			args := []string{"apply"}
			for _, b := range batch {
				args = append(args, "-f", filepath.Join(p.dir, b.file("bundles")))
			}
			cmd := p.Kubectl(ctx, args...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			if cmd.ProcessState == nil || ctx.Err() != nil {
				return errors.Join(err, context.Cause(ctx))
			}
			for _, b := range batch {
				b.kubectl = answer{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("applied in %s", time.Since(start).Round(time.Second))
}

// read reads the stored objects.
func (p *parity) read(t *testing.T, bundles []*parityBundle) {
	t.Helper()
	services, err := p.client.CoreV1().Services(metav1.NamespaceAll).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	deployments, err := p.client.AppsV1().Deployments(metav1.NamespaceAll).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]any{}
	for _, s := range services.Items {
		stored[parityRef{"Service", s.Namespace, s.Name}.String()] = serviceFields(s)
	}
	for _, d := range deployments.Items {
		stored[parityRef{"Deployment", d.Namespace, d.Name}.String()] = templateFields(d.Spec.Template)
	}
	for _, b := range bundles {
		b.stored = stored
	}
}

// repairedFields returns the fields of an object that Sourceward may repair, in the form in which the API server stores
// them, or the error if the object does not decode.
func repairedFields(object map[string]any) any {
	if object["kind"] == "Service" {
		var s corev1.Service
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object, &s); err != nil {
			return err
		}
		return serviceFields(s)
	}
	template, err := templateOf(object)
	if err != nil {
		return err
	}
	return templateFields(template)
}

func serviceFields(s corev1.Service) any {
	if s.Spec.ExternalTrafficPolicy == "" && policies.ExternallyAccessible(&s, policies.Newest) {
		return corev1.ServiceExternalTrafficPolicyCluster
	}
	return s.Spec.ExternalTrafficPolicy
}

func templateFields(template corev1.PodTemplateSpec) any {
	pod := template.Spec
	if len(pod.TopologySpreadConstraints) == 0 {
		pod.TopologySpreadConstraints = nil // an empty list is not stored
	}
	return corev1.PodSpec{TopologySpreadConstraints: pod.TopologySpreadConstraints, Affinity: pod.Affinity}
}

// compare compares the webhook with the binary for the objects of one bundle. It returns the warnings of the webhook.
func (p *parity) compare(
	t *testing.T,
	b *parityBundle,
	offline parityReport,
	seen []parityReport,
	tally *parityTally,
) (warned []string) {
	t.Helper()
	deployments := 0
	for _, object := range b.objects {
		key := object.ref().String()
		want := offline
		if object["kind"] == "Deployment" {
			if _, less := b.seenBy(deployments); less != "" {
				want = seen[deployments]
				tally.sawLess[less]++
				if !cmp.Equal(offline.findings[key], want.findings[key]) ||
					!cmp.Equal(offline.patches[key], want.patches[key]) {
					tally.differ++
				}
			}
			deployments++
		}
		answers := p.take(key)
		tally.answers += len(answers)
		tally.count(want.findings[key])
		c := parityComparison{object: object, findings: want.findings[key], patches: want.patches[key], answers: answers}
		c.stored, c.isStored = b.stored[key]
		if !c.isStored {
			tally.refused++
		}
		if c.refusedByServer() {
			tally.refusedByServer++
		}
		if len(c.patch()) > 0 && c.isStored {
			tally.patched++
		}
		for _, problem := range c.problems(b.kubectl) {
			t.Errorf("seed %d, %s, %s: %s", paritySeed, b.file("bundles"), key, problem)
		}
		for _, a := range answers {
			warned = append(warned, a.response.Warnings...)
		}
	}
	return warned
}

// compareShown compares what kubectl prints for a batch with the stored objects and the warnings of the webhook.
func compareShown(t *testing.T, batch []*parityBundle, warned []string) {
	t.Helper()
	kubectl, files := batch[0].kubectl, batch[0].file("bundles")+" and those after it"
	var created []string
	wantCode := 0
	for _, b := range batch {
		for _, object := range b.objects {
			switch _, isStored := b.stored[object.ref().String()]; {
			case !isStored:
				wantCode = 1
			case object["kind"] == "Service":
				created = append(created, "service/"+object.ref().Name+" created")
			default:
				created = append(created, "deployment.apps/"+object.ref().Name+" created")
			}
		}
	}
	if diff := cmp.Diff(created, strings.Split(strings.TrimSpace(kubectl.stdout), "\n")); diff != "" ||
		kubectl.code != wantCode {
		t.Errorf("seed %d, %s: kubectl exits with %d, want %d; it does not list what is stored (-stored +kubectl):\n%s%s",
			paritySeed, files, kubectl.code, wantCode, diff, kubectl.stderr)
	}
	// kubectl shows equal warnings once. Those of the API server itself begin with a field, ours with a rule.
	shown := slices.DeleteFunc(
		warnings(kubectl.stderr),
		func(line string) bool { return strings.HasPrefix(line, "spec.") },
	)
	slices.Sort(warned)
	slices.Sort(shown)
	if diff := cmp.Diff(slices.Compact(warned), shown, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf(
			"seed %d, %s: warnings mismatch (-webhook +kubectl):\n%s",
			paritySeed,
			files,
			diff,
		)
	}
}

// parityComparison is one object with the report of the binary, the responses of the webhook, and the stored fields.
type parityComparison struct {
	object   parityObject
	findings []parityFinding
	patches  []parityPatch
	answers  []parityAnswer
	stored   any
	isStored bool
}

// refusedByServer reports whether the API server itself would refuse the object, which does not depend on the mode of
// the finding or on an exemption.
func (c parityComparison) refusedByServer() bool {
	return slices.ContainsFunc(c.findings, parityFinding.refusedByServer)
}

// wanted returns the findings that an endpoint should return, and whether the API server calls it at all. /mutate does
// not repair what it refuses.
func (c parityComparison) wanted(endpoint review.Endpoint) (wanted []parityFinding, called bool) {
	for _, f := range c.findings {
		early := f.refusedByServer() || f.Mode == policies.Mutate
		if f.Exempt == nil && f.Mode != policies.Audit && early == (endpoint == review.Mutate) {
			wanted = append(wanted, f)
		}
	}
	if endpoint == review.Validate && c.refusedByServer() {
		return nil, false
	}
	if endpoint == review.Mutate && slices.ContainsFunc(wanted, parityFinding.denies) {
		wanted = slices.DeleteFunc(wanted, func(f parityFinding) bool { return f.Mode == policies.Mutate })
	}
	return wanted, true
}

// audited returns the audit annotations that an endpoint should return: the findings of every mode, exempt ones too.
// What /mutate has repaired is not in the object that /validate sees.
func (c parityComparison) audited(endpoint review.Endpoint) map[string]string {
	audited := map[string]string{}
	for _, f := range c.findings {
		isRepair := f.Mode == policies.Mutate
		if endpoint == review.Mutate && !isRepair && !f.refusedByServer() ||
			endpoint == review.Validate && isRepair && f.Exempt == nil {
			continue
		}
		line := strings.TrimSuffix(fmt.Sprintf("%s %s", f.Mode, f.Path), " ") + ": " + f.Message
		if f.Exempt != nil {
			until := ""
			if f.Exempt.Until != "" {
				until = " until " + f.Exempt.Until
			}
			line += fmt.Sprintf(" (exempt%s: %s)", until, f.Exempt.Reason)
		}
		if before, ok := audited[f.Rule]; ok {
			line = before + "\n" + line
		}
		audited[f.Rule] = line
	}
	return audited
}

// patch returns the operations that a webhook applies, as JSON without white space.
func (c parityComparison) patch() []byte {
	var operations [][]byte
	for _, patch := range c.patches {
		if patch.Mode != policies.Mutate {
			continue
		}
		for _, operation := range patch.Operations {
			var compact bytes.Buffer
			_ = json.Compact(&compact, operation) // valid JSON, since it was decoded from JSON
			operations = append(operations, compact.Bytes())
		}
	}
	if operations == nil {
		return nil
	}
	return slices.Concat([]byte("["), bytes.Join(operations, []byte(",")), []byte("]"))
}

// problems returns all differences.
func (c parityComparison) problems(kubectl answer) []string {
	var problems []string
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	denied := false
	var called []review.Endpoint
	for _, endpoint := range review.ObjectEndpoints {
		wanted, isCalled := c.wanted(endpoint)
		if !isCalled {
			continue
		}
		called = append(called, endpoint)
		var response *admissionv1.AdmissionResponse
		for _, a := range c.answers {
			if a.endpoint == endpoint && a.operation == admissionv1.Create {
				response = a.response
			}
		}
		if response == nil {
			problem("/%s was not called", endpoint)
			continue
		}
		denies := slices.ContainsFunc(wanted, parityFinding.denies)
		denied = denied || denies
		if response.Allowed == denies {
			problem("/%s allows: %t, want %t", endpoint, response.Allowed, !denies)
		}
		if diff := cmp.Diff(rulesOf(wanted), rulesAnswered(endpoint, response)); diff != "" {
			problem("/%s findings mismatch (-check +webhook):\n%s", endpoint, diff)
		}
		if diff := cmp.Diff(c.audited(endpoint), response.AuditAnnotations, cmpopts.EquateEmpty()); diff != "" {
			problem("/%s audit annotations mismatch (-check +webhook):\n%s", endpoint, diff)
		}
		for _, line := range response.Warnings {
			if !slices.ContainsFunc(wanted, func(f parityFinding) bool { return f.says(line) }) {
				problem("/%s warns %q, which is the text of no finding: %+v", endpoint, line, wanted)
			}
		}
		var patch []byte
		if endpoint == review.Mutate && !denies {
			patch = c.patch()
		}
		if !bytes.Equal(response.Patch, patch) {
			problem("/%s patch is %s, want %s", endpoint, response.Patch, patch)
		}
		if denies {
			problems = append(problems, c.refusal(wanted, response, kubectl)...)
			break // the API server makes no further call
		}
	}
	if len(c.answers) != len(called) {
		problem("the webhook was called %d times, want %s", len(c.answers), called)
	}
	invalid := fmt.Sprintf("%s %q is invalid: spec.", c.object["kind"], c.object.ref().Name)
	switch wantStored := !denied && !c.refusedByServer(); {
	case wantStored != c.isStored:
		problem("it is stored: %t, want %t: %s", c.isStored, wantStored, kubectl.stderr)
	case wantStored:
		if diff := cmp.Diff(c.want(), c.stored); diff != "" {
			problem("stored object mismatch (-check +stored):\n%s", diff)
		}
	case !denied && !strings.Contains(kubectl.stderr, invalid):
		problem("the API server does not say why it refuses: %s", kubectl.stderr)
	}
	return problems
}

// refusal compares the wanted denials with the response of a webhook and the output of kubectl.
func (c parityComparison) refusal(
	wanted []parityFinding,
	response *admissionv1.AdmissionResponse,
	kubectl answer,
) []string {
	var problems []string
	var want []metav1.StatusCause
	for _, f := range wanted {
		if !f.denies() {
			continue
		}
		text := f.Message
		if f.Fix != "" {
			text += "; fix: " + f.Fix
		}
		want = append(want, metav1.StatusCause{Type: metav1.CauseType(f.Rule), Message: text, Field: f.Path})
		place := strings.TrimSuffix(fmt.Sprintf("%s %s", c.object.ref(), f.Path), " ")
		if line := fmt.Sprintf("%s: %s: %s", f.Rule, place, text); !strings.Contains(kubectl.stderr, line) {
			problems = append(problems, fmt.Sprintf("kubectl does not show %q: %s", line, kubectl.stderr))
		}
	}
	var got []metav1.StatusCause
	if response.Result != nil && response.Result.Details != nil {
		got = response.Result.Details.Causes
	}
	byRule := func(a, b metav1.StatusCause) int {
		return strings.Compare(string(a.Type)+a.Field, string(b.Type)+b.Field)
	}
	slices.SortFunc(want, byRule)
	got = slices.SortedFunc(slices.Values(got), byRule)
	if diff := cmp.Diff(want, got); diff != "" {
		problems = append(problems, fmt.Sprintf("denial mismatch (-check +webhook):\n%s", diff))
	}
	return problems
}

// want returns the stored fields of the object after the patches of the binary.
func (c parityComparison) want() any {
	text, err := json.Marshal(c.object)
	if operations := c.patch(); err == nil && operations != nil {
		var patch jsonpatch.Patch
		if patch, err = jsonpatch.DecodePatch(operations); err == nil {
			text, err = patch.Apply(text)
		}
	}
	if err != nil {
		return err
	}
	var repaired map[string]any
	if err := json.Unmarshal(text, &repaired); err != nil {
		return err
	}
	return repairedFields(repaired)
}

// rulesOf returns each rule of some findings, with its mode.
func rulesOf(findings []parityFinding) []string {
	rules := []string{}
	for _, f := range findings {
		rules = append(rules, fmt.Sprintf("%s %s", f.Rule, f.Mode))
	}
	slices.Sort(rules)
	return slices.Compact(rules)
}

// rulesAnswered returns each rule that a response names, with the mode that the response implies.
func rulesAnswered(endpoint review.Endpoint, response *admissionv1.AdmissionResponse) []string {
	rules := []string{}
	if response.Result != nil && response.Result.Details != nil {
		for _, cause := range response.Result.Details.Causes {
			rules = append(rules, fmt.Sprintf("%s %s", cause.Type, policies.Deny))
		}
	}
	for _, line := range response.Warnings {
		rule, _, _ := strings.Cut(line, ": ")
		mode := policies.Warn
		// What asked for a repair may be in a line of its own.
		isRepair := func(line string) bool { return strings.HasPrefix(line, rule+": repaired: ") }
		if endpoint == review.Mutate && slices.ContainsFunc(response.Warnings, isRepair) {
			mode = policies.Mutate
		}
		rules = append(rules, fmt.Sprintf("%s %s", rule, mode))
	}
	slices.Sort(rules)
	return slices.Compact(rules)
}

// says reports whether a warning shows the text of a finding: in full or, if it is longer than a warning may be, one
// line of it, in which an ellipsis may stand for the middle of a word or for the text of other lines.
func (f parityFinding) says(line string) bool {
	const longest = 120
	texts := []string{f.Message, f.Message + "; fix: " + f.Fix, "fix: " + f.Fix}
	shown, ok := strings.CutPrefix(line, f.Rule+": ")
	if f.Mode == policies.Mutate {
		texts = []string{f.Message}
		if repaired, isRepair := strings.CutPrefix(shown, "repaired: "); isRepair {
			done, message, both := strings.Cut(repaired, "; ")
			isKnown := done == "externalTrafficPolicy set to Local" ||
				strings.HasPrefix(done, "added a ") && strings.HasSuffix(done, " on kubernetes.io/hostname")
			return ok && isKnown && (!both || message == f.Message)
		}
	}
	return ok && slices.ContainsFunc(texts, func(text string) bool {
		return shown == text || len(f.Rule+": "+text) > longest && hasInOrder(text, strings.Split(shown, "…"))
	})
}

// hasInOrder reports whether a text contains all parts, one after the other.
func hasInOrder(text string, parts []string) bool {
	for _, part := range parts {
		_, rest, ok := strings.Cut(text, strings.TrimSpace(part))
		if !ok {
			return false
		}
		text = rest
	}
	return true
}

// parityObject is an object as decoded JSON.
type parityObject map[string]any

func (o parityObject) ref() parityRef {
	kind, _ := o["kind"].(string)
	metadata, _ := o["metadata"].(map[string]any)
	namespace, _ := metadata["namespace"].(string)
	name, _ := metadata["name"].(string)
	return parityRef{kind, namespace, name}
}

// unstructured returns a copy, which a client may change.
func (o parityObject) unstructured() *unstructured.Unstructured {
	return (&unstructured.Unstructured{Object: o}).DeepCopy()
}

// parityBundle is a Namespace with its objects, which are in one file.
type parityBundle struct {
	*rand.Rand
	name      string
	namespace parityObject
	// objects holds the Services, followed by the Deployments.
	objects []parityObject
	// kubectl is the output of kubectl for the whole batch. stored holds the stored fields by object.
	kubectl answer
	stored  map[string]any
}

func (b *parityBundle) file(folder string) string { return filepath.Join(folder, b.name+".yaml") }

// sawLess is the reason why a Deployment was judged without neighbours that are in its file.
type sawLess string

const (
	serviceRefused  sawLess = "a Service in front was refused"
	deploymentLater sawLess = "another Deployment came later, or was refused"
)

// seenBy returns Deployment i, the objects that were stored when it was created, and the reason why neighbours are
// missing. It returns nothing if no neighbour is missing, or if there are fewer Deployments.
func (b *parityBundle) seenBy(i int) (seen []parityObject, less sawLess) {
	isService := func(o parityObject) bool { return o["kind"] == "Service" }
	isStored := func(o parityObject) bool { _, ok := b.stored[o.ref().String()]; return ok }
	first := slices.IndexFunc(b.objects, func(o parityObject) bool { return !isService(o) })
	services, deployments := b.objects[:first], b.objects[first:]
	if i >= len(deployments) {
		return nil, ""
	}
	for j, d := range deployments {
		inFront := func(s parityObject) bool { return selectsPods(s, d) && selectsPods(s, deployments[i]) }
		switch {
		case j == i, j < i && isStored(d):
			seen = append(seen, d)
		case slices.ContainsFunc(services, inFront):
			less = deploymentLater
		}
	}
	for _, s := range services {
		switch {
		case isStored(s):
			seen = append(seen, s)
		case selectsPods(s, deployments[i]):
			less = serviceRefused
		}
	}
	if less == "" {
		return nil, ""
	}
	return seen, less
}

// selectsPods reports whether a Service selects the pods of a Deployment.
func selectsPods(service, deployment parityObject) bool {
	spec, _ := service["spec"].(map[string]any)
	selector, _ := spec["selector"].(map[string]any)
	template, _ := deployment["spec"].(map[string]any)["template"].(map[string]any)
	labels, _ := template["metadata"].(map[string]any)["labels"].(map[string]any)
	for key, value := range selector {
		if labels[key] != value {
			return false
		}
	}
	return len(selector) > 0 && spec["type"] != "ExternalName"
}

// newParityBundle generates a bundle from its own random numbers.
func newParityBundle(i int, annotations []map[string]string) *parityBundle {
	b := &parityBundle{Rand: rand.New(rand.NewPCG(paritySeed, uint64(i))), name: fmt.Sprintf("parity-%03d", i)}
	labels, exemptions := map[string]any{}, map[string]any{}
	if b.percent(75) {
		labels[parityLabel] = oneOf(b.Rand, parityPolicyNames...)
	}
	if b.percent(5) {
		exemptions["exempt.sourceward.dev/unspread-behind-local"] = "one node pool of two"
	}
	b.namespace = parityObject{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{
		"name": b.name, "labels": labels, "annotations": exemptions,
	}}
	for j := range 1 + b.IntN(parityMost) {
		b.objects = append(b.objects, b.service(i, j, annotations))
	}
	for j := range 1 + b.IntN(parityMost) {
		b.objects = append(b.objects, b.deployment(i, j))
	}
	return b
}

func (b *parityBundle) percent(n int) bool { return b.IntN(100) < n }

// app and tier return labels of pods. There are few, so that Services select Deployments.
func (b *parityBundle) app() string  { return oneOf(b.Rand, "web", "web", "web", "api") }
func (b *parityBundle) tier() string { return oneOf(b.Rand, "edge", "core") }

func (b *parityBundle) service(i, j int, annotations []map[string]string) parityObject {
	spec := map[string]any{"ports": []any{map[string]any{"name": "web", "port": int64(80), "targetPort": int64(8080)}}}
	switch b.IntN(20) {
	case 0:
	case 1, 2:
		spec["selector"] = map[string]any{"tier": b.tier()}
	case 3, 4:
		spec["selector"] = map[string]any{"app": b.app(), "tier": b.tier()}
	default:
		spec["selector"] = map[string]any{"app": b.app()}
	}
	serviceType := "LoadBalancer"
	if b.percent(45) {
		serviceType = oneOf(b.Rand, "", "ClusterIP", "NodePort", "NodePort", "ExternalName")
	}
	if serviceType != "" {
		spec["type"] = serviceType
	}
	accessible := serviceType == "LoadBalancer" || serviceType == "NodePort"
	switch serviceType {
	case "ExternalName":
		spec["externalName"] = "web.example.com"
	case "LoadBalancer":
		if b.percent(20) {
			spec["loadBalancerClass"] = "example.com/lb"
		}
	case "", "ClusterIP":
		if b.percent(40) {
			spec["externalIPs"], accessible = []any{"192.0.2.1"}, true
		}
	}
	if accessible || b.percent(10) {
		setField(
			spec,
			"externalTrafficPolicy",
			oneOf[any](
				b.Rand,
				absent,
				absent,
				absent,
				oneOf[any](b.Rand, nil, ""),
				"Cluster",
				"Cluster",
				"Local",
				"Local",
				"Local",
				"Local",
				"Local",
				"Local",
				"Local",
				"Local",
				oneOf(b.Rand, "local", "Cluster ", "OnlyLocal"),
			),
		)
	}
	if accessible {
		switch b.IntN(16) {
		case 0:
			spec["publishNotReadyAddresses"] = true
		case 1:
			spec["internalTrafficPolicy"] = oneOf(b.Rand, "Cluster", "Local")
		case 2:
			spec["trafficDistribution"] = oneOf(b.Rand, "PreferClose", "PreferSameZone", "PreferSameNode")
		}
	}
	given := map[string]any{}
	switch b.IntN(16) {
	case 0, 1, 2, 3, 4, 5:
		for key, value := range oneOf(b.Rand, annotations...) {
			// Services that share an address, across Namespaces, are judged together, but bundles must not affect each other.
			if strings.Contains(key, "allow-shared") || strings.Contains(key, "sharing-key") {
				value = b.name
			}
			given[key] = value
		}
	case 6, 7, 8:
		given["sourceward.dev/source-ip"] = oneOf(b.Rand, "preserve", "preserve", "preserve", "ignore", "yes")
	case 9:
		// The first 128 node ports are reserved for requests, and only one Service may have each.
		port := int64(20_000 + i*parityMost + j)
		reserved := port < 20_128
		if reserved || !accessible || spec["externalTrafficPolicy"] != "Local" || serviceType != "LoadBalancer" {
			spec["healthCheckNodePort"] = port
		}
		// A repair to Local makes a port that is not reserved valid, and another Service may have it already.
		if b.percent(30) && (reserved || serviceType != "LoadBalancer") {
			given["sourceward.dev/source-ip"] = "preserve"
		}
	case 10, 11:
		given["sourceward.dev/source-ip"] = "preserve"
		rule := oneOf(
			b.Rand,
			"local-on-cluster-ip",
			"source-ip-needs-local",
			"source-ip-needs-local",
			"unknown-traffic-policy",
		)
		given["exempt.sourceward.dev/"+rule] = oneOf(
			b.Rand,
			"it is meant",
			"it is meant; until=2999-12-31",
			"it was meant; until=2020-01-31",
			"",
		)
	}
	if serviceType == "NodePort" && b.percent(40) {
		given["exempt.sourceward.dev/node-port-local"] = "the proxy in front checks each node"
	}
	return parityObject{"apiVersion": "v1", "kind": "Service", "spec": spec, "metadata": map[string]any{
		"name": fmt.Sprintf("service-%d-%d", i, j), "namespace": b.name, "annotations": given,
	}}
}

func (b *parityBundle) deployment(i, j int) parityObject {
	app, tier := b.app(), b.tier()
	selector := map[string]any{"matchLabels": map[string]any{"app": app}}
	if b.percent(30) {
		selector = map[string]any{
			"matchLabels":      map[string]any{"tier": tier},
			"matchExpressions": []any{map[string]any{"key": "app", "operator": "In", "values": []any{app, "other"}}},
		}
	}
	other := map[string]any{"matchLabels": map[string]any{"app": "other"}}
	container := map[string]any{
		"name":  "web",
		"image": "example.com/web:1",
		"ports": []any{map[string]any{"containerPort": int64(8080)}},
	}
	pod := map[string]any{"containers": []any{container}}
	constraint := func(key string, selector any) map[string]any {
		c := map[string]any{
			"maxSkew":           int64(1),
			"topologyKey":       key,
			"whenUnsatisfiable": oneOf(b.Rand, "ScheduleAnyway", "DoNotSchedule"),
		}
		if selector != nil {
			c["labelSelector"] = selector
		}
		return c
	}
	const host, zone = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
	term := func(key string, selector map[string]any) map[string]any {
		t := map[string]any{"topologyKey": key, "labelSelector": selector}
		if b.percent(50) {
			return map[string]any{"podAntiAffinity": map[string]any{
				"requiredDuringSchedulingIgnoredDuringExecution": []any{t},
			}}
		}
		return map[string]any{"podAntiAffinity": map[string]any{"preferredDuringSchedulingIgnoredDuringExecution": []any{
			map[string]any{"weight": int64(10), "podAffinityTerm": t},
		}}}
	}
	switch b.IntN(24) {
	case 0:
		pod["topologySpreadConstraints"] = []any{constraint(host, selector)}
	case 1:
		pod["topologySpreadConstraints"] = []any{constraint(host, other)}
	case 2:
		pod["topologySpreadConstraints"] = []any{constraint(host, nil)}
	case 3:
		pod["topologySpreadConstraints"] = []any{constraint(zone, selector)}
	case 4:
		pod["topologySpreadConstraints"] = []any{}
	case 5:
		pod["affinity"] = term(host, selector)
	case 6:
		pod["affinity"] = term(host, other)
	case 7:
		pod["affinity"] = term(zone, selector)
	case 8:
		pod["affinity"] = map[string]any{
			"nodeAffinity": map[string]any{"requiredDuringSchedulingIgnoredDuringExecution": map[string]any{
				"nodeSelectorTerms": []any{
					map[string]any{"matchExpressions": []any{map[string]any{"key": "pool", "operator": "Exists"}}},
				},
			}},
		}
	case 9:
		pod["nodeSelector"] = map[string]any{host: "node-1"}
	case 10:
		container["ports"] = []any{map[string]any{"containerPort": int64(8080), "hostPort": int64(8080)}}
	}
	spec := map[string]any{"selector": selector, "template": map[string]any{
		"metadata": map[string]any{"labels": map[string]any{"app": app, "tier": tier}}, "spec": pod,
	}}
	if b.percent(95) {
		spec["replicas"] = oneOf[int64](b.Rand, 0, 1, 2, 2, 3, 3, 3, 4, 6)
	}
	given, labels := map[string]any{}, map[string]any{}
	if b.percent(20) {
		rule := oneOf(b.Rand, "unspread-behind-local", "unspread-behind-local", "ineffective-spread")
		given["exempt.sourceward.dev/"+rule] = oneOf(
			b.Rand,
			"it is meant",
			"it was meant; until=2020-01-31",
			"it is meant until 2999-12-31",
		)
	}
	if b.percent(20) {
		labels["parity.example.com/stage"] = oneOf(b.Rand, "live", "draft")
	}
	return parityObject{"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec, "metadata": map[string]any{
		"name": fmt.Sprintf("deployment-%d-%d", i, j), "namespace": b.name, "annotations": given, "labels": labels,
	}}
}

// parityPolicyNames holds the values of parityLabel. No policy has the name "unknown".
var parityPolicyNames = []string{
	"repair", "repair", "repair", "repair", "repair-hard", "repair-apart", "repair-apart-hard", "strict", "lenient",
	"lenient", "house", "house", "announcer", "not-exempt", "exempt-by-namespace", "unknown",
}

// paritySourceIPPolicies apply to the Namespaces that name them, except the last one, which applies to all.
const paritySourceIPPolicies = `
apiVersion: sourceward.dev/v1alpha1
kind: SourceIPPolicy
metadata: {name: repair}
spec:
  match: {namespaceSelector: {matchLabels: {parity.example.com/policy: repair}}}
  rules:
    - {id: unspread-behind-local, mode: Mutate}
    - {id: source-ip-needs-local, mode: Mutate}
    - {id: pinned-health-check-node-port, mode: Warn}
    - {id: internal-local, mode: Warn}
    - {id: distribution-ignored, mode: Warn}
---
apiVersion: sourceward.dev/v1alpha1
kind: SourceIPPolicy
metadata: {name: repair-hard}
spec:
  match: {namespaceSelector: {matchLabels: {parity.example.com/policy: repair-hard}}}
  rules: [{id: unspread-behind-local, mode: Warn}, {id: ineffective-spread, mode: Mutate}]
  spread: {whenUnsatisfiable: DoNotSchedule, maxSkew: 2}
---
apiVersion: sourceward.dev/v1alpha1
kind: SourceIPPolicy
metadata: {name: repair-apart}
spec:
  match: {namespaceSelector: {matchLabels: {parity.example.com/policy: repair-apart}}}
  rules: [{id: unspread-behind-local, mode: Mutate}]
  spread: {strategy: PodAntiAffinity}
---
apiVersion: sourceward.dev/v1alpha1
kind: SourceIPPolicy
metadata: {name: repair-apart-hard}
spec:
  match: {namespaceSelector: {matchLabels: {parity.example.com/policy: repair-apart-hard}}}
  rules: [{id: unspread-behind-local, mode: Mutate}]
  spread: {strategy: PodAntiAffinity, whenUnsatisfiable: DoNotSchedule}
---
apiVersion: sourceward.dev/v1alpha1
kind: SourceIPPolicy
metadata: {name: strict}
spec:
  match: {namespaceSelector: {matchLabels: {parity.example.com/policy: strict}}}
  rules:
    - {id: unspread-behind-local, mode: Deny}
    - {id: source-ip-needs-local, mode: Deny}
    - {id: ineffective-spread, mode: Audit}
---
apiVersion: sourceward.dev/v1alpha1
kind: SourceIPPolicy
metadata: {name: lenient}
spec:
  match: {namespaceSelector: {matchLabels: {parity.example.com/policy: lenient}}}
  rules:
    - {id: unspread-behind-local, mode: Audit}
    - {id: source-ip-needs-local, mode: "Off"}
    - {id: local-on-cluster-ip, mode: Warn}
---
apiVersion: sourceward.dev/v1alpha1
kind: SourceIPPolicy
metadata: {name: house}
spec:
  priority: 10
  match: {namespaceSelector: {matchLabels: {parity.example.com/policy: house}}}
  rules: [{id: unspread-behind-local, mode: Mutate}, {id: pinned-health-check-node-port, mode: Warn}]
  rego:
    - name: house.rego
      module: |
        package sourceward.custom.house

        deny contains {"message": "type NodePort is refused", "path": "/spec/type", "fix": "set type LoadBalancer"} if {
          input.object.kind == "Service"
          input.object.spec.type == "NodePort"
        }

        warn contains {"message": message, "path": "/metadata/labels"} if {
          message := sprintf("%d replicas are a draft", [input.facts.replicas])
          input.object.metadata.labels["parity.example.com/stage"] == "draft"
        }

        spread contains {"message": "live workloads are kept apart", "whenUnsatisfiable": "DoNotSchedule"} if {
          input.object.metadata.labels["parity.example.com/stage"] == "live"
        }

        require_local contains {"message": "the class asks for it", "strength": "hard"} if {
          input.object.spec.loadBalancerClass == "example.com/lb"
        }
---
apiVersion: sourceward.dev/v1alpha1
kind: SourceIPPolicy
metadata: {name: announcer}
spec:
  match: {namespaceSelector: {matchLabels: {parity.example.com/policy: announcer}}}
  loadBalancers: {default: metallb-l2, classes: {example.com/lb: aws-nlb-instance}}
---
apiVersion: sourceward.dev/v1alpha1
kind: SourceIPPolicy
metadata: {name: not-exempt}
spec:
  match: {namespaceSelector: {matchLabels: {parity.example.com/policy: not-exempt}}}
  exemptions: None
---
apiVersion: sourceward.dev/v1alpha1
kind: SourceIPPolicy
metadata: {name: exempt-by-namespace}
spec:
  match: {namespaceSelector: {matchLabels: {parity.example.com/policy: exempt-by-namespace}}}
  exemptions: Namespaces
---
apiVersion: sourceward.dev/v1alpha1
kind: SourceIPPolicy
metadata: {name: all}
spec:
  priority: -10
  match: {objectSelector: {matchLabels: {parity.example.com/stage: draft}}}
  rules: [{id: unspread-behind-local, mode: Audit}]
`
