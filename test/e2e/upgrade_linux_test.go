package e2e

import (
	"context"
	"flag"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/test/sandbox"
)

// upgradeFrom is not set by make test: to build another version takes minutes.
var upgradeFrom = flag.String("upgrade-from", "", "the commit that TestUpgrade upgrades from; empty skips it")

// TestUpgrade installs the manifests and the webhook of an older commit, and replaces both by those of the tree while
// requests go through the API server, each of which the webhook refuses or warns about.
func TestUpgrade(t *testing.T) {
	if *upgradeFrom == "" {
		t.Skip("-upgrade-from is not set; make test-long sets it")
	}
	image := releaseImage(t)
	if !inNetwork(t, []string{serverAddress}, "-upgrade-from="+*upgradeFrom, "-image="+image) {
		return
	}
	former := t.TempDir()
	// The image has the only file of the former image that the Deployment uses.
	formerImage := filepath.Join(former, "image")
	for _, command := range [][]string{
		{"git", "-C", "../..", "archive", "--output=" + filepath.Join(former, "tree.tar"), *upgradeFrom},
		{"tar", "-C", former, "-xf", filepath.Join(former, "tree.tar")},
		{"go", "build", "-C", former, "-o", filepath.Join(formerImage, "usr/local/bin/sourceward-webhook"), "./cmd/webhook"},
	} {
		if out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", command, err, out)
		}
	}
	e := newInstalled(t, map[string]string{"sourceward:former": formerImage, "sourceward:devel": image})
	rendered := e.must(t, "", "kustomize", filepath.Join(former, "config/default")).stdout
	rendered = strings.ReplaceAll(rendered, "image: sourceward:devel", "image: sourceward:former")
	e.must(t, rendered, "apply", "--server-side", "-f", "-")
	rollout := []string{
		"rollout", "status", "--timeout=120s", "--namespace=" + sandbox.Namespace, "deployment/sourceward-webhook",
	}
	e.must(t, "", rollout...)
	e.untilCalled(t)

	e.prepareTraffic(t)
	failed := e.failedCalls(t) // from before the former version had written caBundle
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	requests := startTraffic(ctx, t, e.environment)
	e.eventually(t, "requests are sent", func() (bool, string) { return requests.sent.Load() >= trafficPerSecond, "" })
	start := time.Now()
	e.apply(t, "../../config/default")
	t.Logf("the upgrade took %s", time.Since(start).Round(time.Millisecond))
	e.eventually(t, "only the new version runs", func() (bool, string) {
		pods := e.kubelet.Pods()
		return len(pods) == 2, e.must(t, "", "get", "pods", "-n", sandbox.Namespace).stdout
	})
	requests.finish(t, e.environment, stop)
	if diff := cmp.Diff(failed, e.failedCalls(t)); diff != "" {
		t.Errorf("calls that have failed, before and after the upgrade (-before +after):\n%s", diff)
	}
	e.runsAsItsTemplate(t, sandbox.Namespace)
}
