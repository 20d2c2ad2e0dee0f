package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/pages"
	"github.com/sourceward/sourceward/test/sandbox"
)

// TestFindingsAreVisible checks the ways in which an operator sees findings that clients do not, which config/README.md
// lists. What the API server makes of audit annotations, only the API server knows.
func TestFindingsAreVisible(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t, cluster.Options{}, sandbox.Options{})
	e.must(t, "", "create", "namespace", "edge")
	e.must(t, service("edge", "web", "{type: LoadBalancer, externalTrafficPolicy: Local, internalTrafficPolicy: Local, "+
		"selector: {app: web}, ports: [{port: 80}]}"), "create", "-f", "-")
	e.must(t, service("edge", "door", "{type: NodePort, externalTrafficPolicy: Local, selector: {app: door}, "+
		"ports: [{port: 80}]}", "exempt.sourceward.dev/node-port-local: a proxy checks each node; until=2999-12-31"),
		"create", "-f", "-")
	refused := e.kubectl(t, service("edge", "inside", "{externalTrafficPolicy: Local, ports: [{port: 80}]}"),
		"create", "-f", "-")
	if refused.code == 0 {
		t.Error("a ClusterIP Service with Local was created")
	}
	e.must(t, deployment("edge", "web", 0), "create", "-f", "-")
	scaled := e.must(t, "", "scale", "--namespace", "edge", "deployment", "web", "--replicas", "1")
	if scaled.stderr != "" {
		t.Errorf("the client sees %q of a finding in mode audit", scaled.stderr)
	}

	const (
		validate = "services.validate.sourceward.dev/"
		mutate   = "services.mutate.sourceward.dev/"
		workload = "workloads.validate.sourceward.dev/"
	)
	want := map[string]map[string]string{
		"create services/web": {
			validate + "internal-local": "audit /spec/internalTrafficPolicy: internalTrafficPolicy is Local too: " +
				"from nodes without its pods the cluster IP is unreachable",
		},
		"create services/door": {
			validate + "node-port-local": "warn /spec/externalTrafficPolicy: Local on type NodePort has no health check: " +
				"nodes without pods drop their traffic (exempt until 2999-12-31: a proxy checks each node)",
		},
		"create services/inside": {
			mutate + "local-on-cluster-ip": "deny /spec/externalTrafficPolicy: " +
				"externalTrafficPolicy Local is invalid on type ClusterIP without externalIPs",
		},
		"create deployments/web": {
			workload + "unspread-behind-local": "warn /spec/template/spec/topologySpreadConstraints: " +
				"pods of Service edge/web may share a node",
			workload + "missing-readiness": "audit /spec/template/spec/containers/0/readinessProbe: " +
				"container web of Service edge/web has no readinessProbe",
			workload + "no-drain-window": "audit /spec/template/spec/containers/0/lifecycle/preStop: " +
				"container web of Service edge/web has no preStop (want 30s)",
		},
		"patch deployments/web/scale": {
			"scale.validate.sourceward.dev/single-replica-local": "audit /spec/replicas: " +
				"Local Service edge/web has one pod: moving it can cause an outage",
		},
	}
	e.eventually(t, "the audit log has the findings", func() (bool, string) {
		got, err := audited(filepath.Join(e.Dir, cluster.AuditLog), "edge")
		if err != nil {
			return false, err.Error()
		}
		diff := cmp.Diff(want, got)
		return diff == "", diff
	})
	counted := `sourceward_decisions_total{endpoint="validate",mode="audit",rule="internal-local"}`
	if got := metric(t, e.Replicas[0], counted); got != 1 {
		t.Errorf("%s is %v, want 1", counted, got)
	}

	blocks, err := pages.RunBy("../../config/README.md", t.Name())
	if err != nil || len(blocks) != 2 {
		t.Fatalf("the page has %d blocks (%v), want one that reads the cluster and one that exports it", len(blocks), err)
	}
	dir := t.TempDir()
	report := e.runBlock(t, dir, blocks[0])
	for _, finding := range []string{
		"audit  internal-local  Service edge/web", "audit  single-replica-local  Deployment edge/web",
		"exempt  node-port-local  Service edge/door",
	} {
		if !strings.Contains(report, finding) {
			t.Errorf("check of the cluster does not report %q:\n%s", finding, report)
		}
	}

	e.must(t, `{apiVersion: sourceward.dev/v1alpha1, kind: SourceIPPolicy, metadata: {name: edge}, spec: {match: `+
		`{namespaceSelector: {matchLabels: {team: edge}}}, rules: [{id: internal-local, mode: Warn}]}}`, "create", "-f", "-")
	e.must(t, "", "label", "namespace", "edge", "team=edge")
	for _, block := range blocks {
		report = e.runBlock(t, dir, block)
		if finding := "warn  internal-local  Service edge/web"; !strings.Contains(report, finding) {
			t.Errorf("%s with policies does not report %q:\n%s", block, finding, report)
		}
	}
}

// audited returns the annotations of our webhooks in an audit log, by the request, for requests in a Namespace.
func audited(path, namespace string) (found map[string]map[string]string, err error) {
	found = map[string]map[string]string{}
	err = readAuditLog(path, namespace, func(event auditv1.Event) {
		on := event.ObjectRef
		if on == nil || on.Namespace != namespace {
			return
		}
		request := strings.TrimSuffix(fmt.Sprintf("%s %s/%s/%s", event.Verb, on.Resource, on.Name, on.Subresource), "/")
		for key, value := range event.Annotations {
			if !strings.Contains(key, ".sourceward.dev/") {
				continue
			}
			if found[request] == nil {
				found[request] = map[string]string{}
			}
			found[request][key] = value
		}
	})
	return found, err
}

// readAuditLog calls use for each event in an audit log whose line contains text. It leaves out a last line that is
// still being written.
func readAuditLog(path, text string, use func(auditv1.Event)) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	for lines := bufio.NewReader(file); ; {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !bytes.Contains(line, []byte(text)) {
			continue // Most lines are the requests of others.
		}
		var event auditv1.Event
		if err := json.Unmarshal(line, &event); err != nil {
			return fmt.Errorf("%w: %s", err, line)
		}
		use(event)
	}
}

// ownRequests returns the requests that the webhook has made to the API server.
func (e *environment) ownRequests() ([]auditv1.Event, error) {
	const user = ":sourceward-webhook"
	requests := map[types.UID]auditv1.Event{} // A watch has an event when it begins, and one when it ends.
	err := readAuditLog(filepath.Join(e.Dir, cluster.AuditLog), user, func(event auditv1.Event) {
		if by := event.User.Username; strings.HasPrefix(by, "system:serviceaccount:") && strings.HasSuffix(by, user) {
			requests[event.AuditID] = event
		}
	})
	return slices.Collect(maps.Values(requests)), err
}

// isRefused reports whether the API server has refused a request because of who made it.
func isRefused(request auditv1.Event) bool {
	status := request.ResponseStatus
	return status != nil && (status.Code == http.StatusUnauthorized || status.Code == http.StatusForbidden ||
		strings.Contains(status.Message, "sourceward-cabundle")) // whose refusals are 422
}

// noneRefused checks that the API server has refused no request of the webhook.
func (e *environment) noneRefused(t *testing.T) {
	t.Helper()
	requests, err := e.ownRequests()
	if err != nil {
		t.Error(err)
	}
	if len(requests) == 0 {
		t.Error("the audit log has no request of the webhook")
	}
	refused := map[string]int{}
	for _, request := range requests {
		if isRefused(request) {
			refused[request.Verb+" "+request.RequestURI+": "+request.ResponseStatus.Message]++
		}
	}
	for request, times := range refused {
		t.Errorf("the webhook was refused, %d times: %s", times, request)
	}
}
