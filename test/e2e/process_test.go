package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/test/sandbox"
)

// testBadRequests sends requests to a running replica that no API server sends. A crash would end the other tests too.
func testBadRequests(t *testing.T, e *environment) {
	replica := e.Replicas[0]
	client := replica.Client()
	pid := replica.PID()
	tests := map[string]struct {
		body string
		code int
		says string
	}{
		"not JSON": {"hello", http.StatusBadRequest, "read AdmissionReview"},
		"empty":    {"", http.StatusBadRequest, "body is empty"},
		"a wrong kind": {
			`{"apiVersion":"v1","kind":"Pod"}`,
			http.StatusBadRequest,
			"want AdmissionReview",
		},
		"29 MiB": {strings.Repeat("x", 29<<20), http.StatusRequestEntityTooLarge, "larger than"},
		"a Deployment without a template": {
			admissionReview("apps", "Deployment", "CREATE", `{"metadata":{"name":"web"},"spec":{"template":null}}`),
			http.StatusOK,
			`"allowed":true`,
		},
		"an unknown field": {
			admissionReview("", "Service", "CREATE", `{"metadata":{"name":"web"},"spec":{"shape":"round"}}`),
			http.StatusOK,
			`"allowed":true`,
		},
		"names without end": {
			strings.Replace(admissionReview("", "Service", "DELETE", `null`), `"uid":"u"`,
				`"uid":"`+strings.Repeat("u", 100_000)+`"`, 1),
			http.StatusBadRequest,
			"uid, namespace or name has 100000 bytes",
		},
		"a user whose name has no end": {
			strings.Replace(admissionReview("", "Service", "DELETE", `null`), `"uid":"u"`,
				`"uid":"u","userInfo":{"username":"`+strings.Repeat("n", 100_000)+`"}`, 1),
			http.StatusOK,
			`"allowed":true`,
		},
		"a DELETE": {
			admissionReview("", "Service", "DELETE", `null`),
			http.StatusOK,
			`"allowed":true`,
		},
	}
	for _, endpoint := range []string{"/mutate", "/validate"} {
		for name, test := range tests {
			t.Run(endpoint+" "+name, func(t *testing.T) {
				response, err := client.Post("https://"+replica.Address+endpoint, "application/json", strings.NewReader(test.body))
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close() //nolint:errcheck // it was only read
				body, err := io.ReadAll(response.Body)
				if err != nil || response.StatusCode != test.code || !bytes.Contains(body, []byte(test.says)) {
					t.Errorf("got %d %s (%v), want %d …%s…", response.StatusCode, body, err, test.code, test.says)
				}
			})
		}
	}
	if err := replica.Ready(t.Context()); err != nil || replica.PID() != pid {
		t.Errorf("the replica is no longer ready: %v", err)
	}
}

// checkLog checks that every line in the log of a replica is a JSON object without duplicate keys or empty values, and
// that no panic is logged.
func checkLog(t *testing.T, replica *sandbox.Replica) {
	t.Helper()
	log, err := replica.Log()
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(log) {
		var fields map[string]any
		if !jsontext.Value(line).IsValid() || json.Unmarshal(line, &fields) != nil {
			t.Errorf("the line is not JSON, or has a key twice: %s", line)
		}
		if bytes.Contains(line, []byte("{}")) {
			t.Errorf("a value is empty: %s", line)
		}
		if bytes.Contains(line, []byte("panic")) {
			t.Errorf("a panic is logged: %s", line)
		}
		if duration, ok := fields["duration"]; ok && reflect.TypeOf(duration) != reflect.TypeFor[float64]() {
			t.Errorf("the duration is not a number: %s", line)
		}
	}
}

func admissionReview(group, kind, operation, object string) string {
	return `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","kind":{"group":"` + group +
		`","version":"v1","kind":"` + kind + `"},"namespace":"edge","name":"web","operation":"` + operation +
		`","object":` + object + `}}`
}

// testFailOpen checks that the API server admits objects as if there were no webhook while no replica runs. Last, it
// checks that all that an alert or the dashboard names exists in the metrics of this environment.
func testFailOpen(t *testing.T, e *environment) {
	const ns = "fail-open"
	e.namespace(t, ns)
	e.must(t, service(ns, "exempt", "{type: NodePort, externalTrafficPolicy: Local, ports: [{port: 80}]}",
		"exempt.sourceward.dev/node-port-local: a proxy checks each node"), "create", "-f", "-")
	m := newMonitor(t, e)
	for _, replica := range e.Replicas {
		if err := replica.StopReplica(); err != nil {
			t.Fatal(err)
		}
	}
	e.must(
		t,
		service(ns, "web", local("web"), "networking.gke.io/weighted-load-balancing: pods-per-node"),
		"create",
		"-f",
		"-",
	)
	e.must(t, deployment(ns, "web", 3), "create", "-f", "-")
	e.must(
		t,
		service(ns, "shared", "{type: LoadBalancer, ports: [{port: 80}]}", "sourceward.dev/source-ip: preserve"),
		"create",
		"-f",
		"-",
	)
	if got := get[corev1.Service](t, e, ns, "shared").Spec.ExternalTrafficPolicy; got != "Cluster" {
		t.Errorf("stored with %q, though no webhook was running to repair it", got)
	}
	invalid := service(ns, "invalid", "{type: ClusterIP, externalTrafficPolicy: Local, ports: [{port: 80}]}")
	if a := e.kubectl(t, invalid, "create", "-f", "-"); a.code == 0 ||
		!strings.Contains(a.stderr, "may only be set for externally-accessible services") {
		t.Errorf("the API server's own refusal is %q", a.stderr)
	}
	m.fires(t, "SourcewardAbsent", "SourcewardFailOpen")

	fail := func(policy string) {
		e.must(t, "", "patch", "validatingwebhookconfigurations", "sourceward", "--patch",
			`{"webhooks": [{"name": "services.validate.sourceward.dev", "failurePolicy": "`+policy+`"}]}`)
	}
	fail("Fail")
	e.eventually(t, "Services are refused", func() (bool, string) {
		a := e.kubectl(t, service(ns, "refused", local("web")), "create", "--dry-run=server", "-f", "-")
		return strings.Contains(a.stderr, "failed calling webhook"), a.stderr
	})
	fail("Ignore")
	m.fires(t, "SourcewardFailClosed")
	for _, replica := range e.Replicas {
		if err := e.StartReplica(t.Context(), replica); err != nil {
			t.Fatal(err)
		}
	}
	e.eventually(t, "the webhook is called again", func() (bool, string) {
		a := e.kubectl(t, invalid, "create", "-f", "-")
		return strings.Contains(a.stderr, refusedByUs), a.stderr
	})
	m.scrape(t)
	for _, unknown := range m.run(t, "-names") {
		t.Error(unknown)
	}
}
