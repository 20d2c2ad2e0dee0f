package test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const monitoring = "../config/components/monitoring"

// TestRunbooks checks that the page has a section for each alert, with its severity, and that the alert links to it.
func TestRunbooks(t *testing.T) {
	t.Parallel()
	var object struct {
		Spec struct {
			Groups []struct {
				Rules []struct {
					Alert               string
					Labels, Annotations map[string]string
				}
			}
		}
	}
	if err := yaml.Unmarshal(readFile(t, filepath.Join(monitoring, "prometheus_rule.yaml")), &object); err != nil {
		t.Fatal(err)
	}
	page := content(t, operating)
	severity := map[string]string{}
	section := regexp.MustCompile(`(?m)^### (Sourceward\w+)\n\n\*\*(\w+)\.\*\* `)
	for _, match := range section.FindAllStringSubmatch(page, -1) {
		severity[match[1]] = strings.ToLower(match[2])
	}
	want := map[string]string{}
	for _, group := range object.Spec.Groups {
		for _, rule := range group.Rules {
			want[rule.Alert] = rule.Labels["severity"]
			const base = "https://github.com/sourceward/sourceward/blob/main/config/README.md#"
			anchor, ok := strings.CutPrefix(rule.Annotations["runbook_url"], base)
			if !ok || anchor != strings.ToLower(rule.Alert) || !headings(page)[anchor] {
				t.Errorf("runbook_url of %s is %s, want the section of the alert on %s",
					rule.Alert, rule.Annotations["runbook_url"], operating)
			}
		}
	}
	if diff := cmp.Diff(want, severity); diff != "" {
		t.Errorf("severities of the alerts and on %s (-alerts +page):\n%s", operating, diff)
	}
}

// TestMetricsOfThePage checks that the page explains the metrics of the dashboard and the alerts, and no others.
// TestAdmission checks that these exist, with their labels.
func TestMetricsOfThePage(t *testing.T) {
	t.Parallel()
	metrics := func(pattern, text string) []string {
		var names []string
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			names = append(names, strings.TrimSuffix(match[1], "_bucket"))
		}
		slices.Sort(names)
		return slices.Compact(names)
	}
	const ours = `((?:sourceward|apiserver|certwatcher)_[a-z_]+)`
	got := metrics("(?m)^\\| `"+ours, content(t, operating))
	want := metrics(ours, content(t, filepath.Join(monitoring, "dashboard.json"))+
		content(t, filepath.Join(monitoring, "prometheus_rule.yaml")))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics of %s and on %s (-want +got):\n%s", monitoring, operating, diff)
	}
}

// TestOverlayWithMonitoring builds the overlay of the operator's page.
func TestOverlayWithMonitoring(t *testing.T) {
	t.Parallel()
	objects := overlayOfPage(t)
	for name, labels := range map[string]map[string]string{
		"PodMonitor sourceward-system/sourceward-webhook":  {"release": "prometheus"},
		"PrometheusRule sourceward-system/sourceward":      {"release": "prometheus"},
		"ConfigMap sourceward-system/sourceward-dashboard": {"grafana_dashboard": "1"},
	} {
		object := objects[name]
		if object == nil {
			t.Errorf("there is no %s", name)
			continue
		}
		labels["app.kubernetes.io/name"], labels["app.kubernetes.io/component"] = "sourceward", "webhook"
		if diff := cmp.Diff(labels, object.GetLabels()); diff != "" {
			t.Errorf("labels of %s (-want +got):\n%s", name, diff)
		}
	}
}
