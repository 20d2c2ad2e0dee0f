package review

import (
	"fmt"
	"strings"

	"github.com/sourceward/sourceward/policies"
)

// maxAudit bounds the values of all audit annotations of one response, in bytes. Both endpoints together then add at
// most a third of what an API server that truncates its audit log writes of one event (k8s.io/apiserver v0.37.1,
// pkg/server/options/audit.go: 100 KiB).
const maxAudit = 16 << 10

// auditAnnotations returns findings in the form in which an API server adds them to the audit event of a request: a key
// for each rule, which is its id, and a value with a line for each finding of that rule, in their order, for example
//
//	audit /spec/healthCheckNodePort: healthCheckNodePort 32500 is pinned: creation fails with error 500 if it is taken
//	deny /spec/type: type NodePort is not allowed in production (exempt until 2027-03-31: moves to LoadBalancer)
//
// A line holds the mode, the path unless it is empty, the message, and the exemption if there is one. The object is
// that of the event. The API server puts the name of the webhook before the key, as in
// services.validate.sourceward.dev/node-port-local. Each rule has an equal part of maxAudit; the middle of a longer
// value is left out. Without findings, the result is nil.
func auditAnnotations(found []policies.Finding) map[string]string {
	if len(found) == 0 {
		return nil
	}
	lines := map[string][]string{}
	for _, f := range found {
		lines[f.Rule] = append(lines[f.Rule], auditLine(f))
	}
	annotations := map[string]string{}
	for rule, of := range lines {
		annotations[rule] = policies.Shorten(strings.Join(of, "\n"), max(minWord, maxAudit/len(lines)))
	}
	return annotations
}

func auditLine(f policies.Finding) string {
	line := string(f.Mode)
	if f.Path != "" {
		line += " " + f.Path
	}
	line += ": " + f.Message
	if f.Exempt != nil {
		until := ""
		if f.Exempt.Until != "" {
			until = " until " + f.Exempt.Until
		}
		line += fmt.Sprintf(" (exempt%s: %s)", until, policies.Printable(f.Exempt.Reason))
	}
	return line
}
