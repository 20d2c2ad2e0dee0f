package manifest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/policies/bundle"
)

func TestPlaceholdersAreRecognized(t *testing.T) {
	t.Parallel()
	tests := map[string]bool{
		"${VAR}": true, "${VAR:-Local}": true, "${VAR:=x}": true, "$(VAR)": true, "<path:secret/data/lb#class>": true,
		"{{ .Values.policy }}": true, "%%policy%%": true, "REPLACE_ME": true,
		"__NAME__": true, "<POLICY>": true, "__a__": false, "LB_CLASS_2": true, "lb-${ENV}": true,
		"REGIONAL_NETWORK": false, "Local": false, "LOCAL": false, "$VAR": true, "a@B.c@": true, "CHANGEME": true,
		"$request_uri": false, "$5": false, "a@b": false, "ME": false, "a_B": false, "100%": false, "%a%": false,
		"": false, "LOAD_balancer": false, "<a>": false, "{}": false,
	}
	got := map[string]bool{}
	for text := range tests {
		got[text] = isPlaceholder(text)
	}
	if diff := cmp.Diff(tests, got); diff != "" {
		t.Errorf("isPlaceholder() mismatch (-want +got):\n%s", diff)
	}
}

// TestRulesAreSilentAboutPlaceholders checks the findings and notes of one file.
func TestRulesAreSilentAboutPlaceholders(t *testing.T) {
	t.Parallel()
	web := deployment("web")
	in := func(text, old, changed string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("%q is not in %q", old, text)
		}
		return strings.Replace(text, old, changed, 1)
	}
	const note = "not judged by %s: the result depends on the placeholders in %s"
	unspread := "Deployment default/web unspread-behind-local"
	of := func(object, rules, fields string) string { return object + ": " + fmt.Sprintf(note, rules, fields) }
	tests := map[string]struct {
		documents []string
		want      []string
	}{
		"no placeholder": {
			documents: []string{balanced("Local"), web},
			want:      []string{unspread},
		},
		"the traffic policy": {
			documents: []string{balanced(`"${POLICY}"`), web},
			want: []string{
				of("Service default/web", "unknown-traffic-policy", "spec.externalTrafficPolicy"),
				of("Deployment default/web", "missing-readiness, no-drain-window, unspread-behind-local",
					"spec.externalTrafficPolicy of Service default/web"),
			},
		},
		"the traffic policy with a default": {
			documents: []string{balanced(`"${POLICY:-Local}"`)},
			want:      []string{of("Service default/web", "unknown-traffic-policy", "spec.externalTrafficPolicy")},
		},
		"the type of a ClusterIP Service that would be denied": {
			documents: []string{in(balanced("Local"), "LoadBalancer", `"{{ .Values.type }}"`)},
			want: []string{
				of("Service default/web", "local-on-cluster-ip, node-port-local", "spec.type"),
			},
		},
		"replicas": {
			documents: []string{balanced("Local"), in(web, "replicas: 2", `replicas: "${REPLICAS}"`)},
			want: []string{
				of("Deployment default/web", "single-replica-local, unspread-behind-local", "spec.replicas"),
			},
		},
		"replicas beside a name": {
			documents: []string{
				balanced("Local"), in(in(web, "{name: web}", `{name: "${APP}"}`), "replicas: 2", `replicas: "${REPLICAS}"`),
			},
			want: []string{
				of("Deployment default/${APP}", "single-replica-local, unspread-behind-local", "spec.replicas"),
			},
		},
		"spread constraints": {
			documents: []string{
				balanced("Local"), in(web, "containers", `topologySpreadConstraints: "%%spread%%", containers`),
			},
			want: []string{
				of("Deployment default/web", "ineffective-spread, unspread-behind-local",
					"spec.template.spec.topologySpreadConstraints"),
			},
		},
		"the label of a spread constraint": {
			documents: []string{
				strings.ReplaceAll(balanced("Local"), "{app: web}", `{app: "${APP}"}`),
				strings.ReplaceAll(in(web, "containers", "topologySpreadConstraints: [{maxSkew: 1, topologyKey: "+
					"kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}], "+
					"containers"),
					"{app: web}", `{app: "${APP}"}`),
			},
			want: []string{
				"Deployment default/web hard-spread-ignores-taints", "Deployment default/web spread-decays-on-rollout",
			},
		},
		"the label of a spread constraint in a PodTemplate": {
			documents: []string{
				strings.ReplaceAll(balanced("Local"), "{app: web}", `{app: "${APP}"}`),
				"apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: web}\nspec: {replicas: 2, " +
					"workloadRef: {apiVersion: v1, kind: PodTemplate, name: web}, strategy: {canary: {}}}\n",
				"apiVersion: v1\nkind: PodTemplate\nmetadata: {name: web}\ntemplate:\n  metadata: {labels: {app: \"${APP}\"}}\n" +
					"  spec:\n    topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, " +
					"whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: \"${APP}\"}}}]\n" +
					"    containers: [{name: web}]\n",
			},
			want: []string{
				"PodTemplate default/web hard-spread-ignores-taints", "PodTemplate default/web spread-decays-on-rollout",
			},
		},
		"another label of a spread constraint": {
			documents: []string{
				strings.ReplaceAll(balanced("Local"), "{app: web}", `{app: "${APP}"}`),
				in(strings.ReplaceAll(in(web, "containers", "topologySpreadConstraints: [{maxSkew: 1, topologyKey: "+
					"kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: OTHER}}}], "+
					"containers"),
					"{app: web}", `{app: "${APP}"}`), "OTHER", `"${OTHER}"`),
			},
			want: []string{
				of("Deployment default/web", "hard-spread-ignores-taints, ineffective-spread, spread-decays-on-rollout",
					"spec.template.spec.topologySpreadConstraints[0].labelSelector.matchLabels.app"),
			},
		},
		"a label that a spread constraint has as a plain text": {
			documents: []string{
				balanced("Local"),
				in(in(web, "containers", "topologySpreadConstraints: [{maxSkew: 1, topologyKey: "+
					"kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {env: prod}}}], "+
					"containers"), "{labels: {app: web}}", `{labels: {app: web, env: "${ENV}"}}`),
			},
			want: []string{
				of("Deployment default/web", "ineffective-spread, spread-decays-on-rollout", "spec.template.metadata.labels.env"),
			},
		},
		"a label that an anti-affinity term has as a plain text": {
			documents: []string{
				balanced("Local"),
				in(in(web, "containers", "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "+
					"[{topologyKey: kubernetes.io/hostname, "+
					"labelSelector: {matchExpressions: [{key: env, operator: In, values: [prod]}]}}]}}, containers"),
					"{labels: {app: web}}", `{labels: {app: web, env: "${ENV}"}}`),
			},
			want: []string{
				of("Deployment default/web", "anti-affinity-deadlock, ineffective-spread", "spec.template.metadata.labels.env"),
			},
		},
		"the label of an anti-affinity term": {
			documents: []string{
				strings.ReplaceAll(balanced("Local"), "{app: web}", `{app: "${APP}"}`),
				strings.ReplaceAll(in(web, "containers", "affinity: {podAntiAffinity: "+
					"{requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, "+
					"labelSelector: {matchExpressions: [{key: app, operator: In, values: [x, \"${APP}\"]}]}}]}}, containers"),
					"{app: web}", `{app: "${APP}"}`),
			},
			want: []string{"Deployment default/web anti-affinity-deadlock"},
		},
		"the traffic policy and the type": {
			documents: []string{in(balanced(`"${POLICY}"`), "LoadBalancer", `"${TYPE}"`), web},
			want: []string{
				of("Service default/web", "local-on-cluster-ip, node-port-local, unknown-traffic-policy",
					"spec.externalTrafficPolicy, spec.type"),
				of("Deployment default/web", "missing-readiness, no-drain-window, unspread-behind-local",
					"spec.externalTrafficPolicy of Service default/web, spec.type of Service default/web"),
			},
		},
		"the node of an endpoint": {
			documents: []string{
				in(balanced("Local"), "selector: {app: web}, ", ""),
				"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n" +
					"metadata: {name: x, labels: {kubernetes.io/service-name: web}}\nendpoints: [{nodeName: \"${NODE}\"}]\n",
			},
			want: []string{
				of("Service default/web", "selectorless-local", "endpoints[0].nodeName of EndpointSlice default/x"),
			},
		},
		"a quantity, and a list of variables": {
			documents: []string{
				balanced("Local"), in(web, "{name: web}]", `{name: web, resources: {limits: {cpu: "${CPU}"}}, env: "${ENV}"}]`),
			},
			want: []string{unspread},
		},
		"containers": {
			documents: []string{in(web, "[{name: web}]", `"${CONTAINERS}"`), in(web, "[{name: web}]", `["${CONTAINER}"]`)},
			want: []string{
				"Deployment default/web: spec.template.spec.containers is a placeholder; check what replaces it",
				"Deployment default/web: spec.template.spec.containers[0] is a placeholder; check what replaces it",
			},
		},
		"ports": {
			documents: []string{in(balanced("Local"), "[{port: 80}]", `"${PORTS}"`)},
		},
		"more than rules can try": {
			documents: []string{
				in(balanced("Local"), "[{port: 80}]", "["+strings.Repeat(`{port: 80, nodePort: "${P}"}, `, 17)+"]"),
			},
			want: []string{
				"Service default/web: rules may read more than 16 placeholders in it; check what replaces them",
			},
		},
		"an image": {
			documents: []string{balanced("Local"), in(web, "{name: web}]", `{name: web, image: "registry/web:${TAG}"}]`)},
			want:      []string{unspread},
		},
		"a host name in an annotation that no rule reads": {
			documents: []string{in(balanced("Local"), "{name: web}",
				`{name: web, annotations: {external-dns.alpha.kubernetes.io/hostname: "web.${DOMAIN}"}}`), web},
			want: []string{unspread},
		},
		"an annotation that rules read": {
			documents: []string{in(balanced("Local"), "{name: web}",
				`{name: web, annotations: {service.beta.kubernetes.io/aws-load-balancer-nlb-target-type: "$(TYPE)"}}`)},
			want: []string{
				of("Service default/web", "local-has-no-effect",
					"metadata.annotations[service.beta.kubernetes.io/aws-load-balancer-nlb-target-type]"),
			},
		},
		"equal names, namespaces, labels and selectors": {
			documents: []string{
				strings.ReplaceAll(in(balanced("Local"), "{name: web}", `{name: "${APP}", namespace: "${NS}"}`),
					"{app: web}", `{app: "${APP}"}`),
				strings.ReplaceAll(in(web, "{name: web}", `{name: "${APP}", namespace: "${NS}"}`), "{app: web}", `{app: "${APP}"}`),
			},
			want: []string{"Deployment ${NS}/${APP} unspread-behind-local"},
		},
		"a spec": {
			documents: []string{in(balanced("Local"), "spec: {", `spec: "${SPEC}" # {`), web},
			want:      []string{"Service default/web: spec is a placeholder; check what replaces it"},
		},
		"a pod template": {
			documents: []string{balanced("Local"), in(web, "{replicas: 2, template: {", `{replicas: 2, template: "${T}"} # {`)},
			want:      []string{"Deployment default/web: spec.template is a placeholder; check what replaces it"},
		},
		"the maximum of an autoscaler": {
			documents: []string{
				balanced("Local"), web, "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\n" +
					"spec: {maxReplicas: \"${MAX}\", scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}\n",
			},
			want: []string{
				of("Deployment default/web", "single-replica-local, unspread-behind-local",
					"spec.maxReplicas of HorizontalPodAutoscaler default/web"),
			},
		},
	}
	rules := builtIn()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.Join(test.documents, "---\n")
			m, err := Load(Options{Paths: []string{Stdin}, Stdin: strings.NewReader(text), Reads: bundle.ReadsAnnotation})
			if err != nil || len(m.Errors) > 0 {
				t.Fatal(err, m.Errors)
			}
			var got []string
			for _, skipped := range m.Skipped {
				got = append(got, skipped.Object.String()+": "+skipped.Text)
			}
			for _, o := range m.Objects {
				on := Bench{Rules: rules, Policies: rules.Policies, Now: time.Unix(0, 0)}
				decision, notes, err := m.Decide(t.Context(), o, on)
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range decision.Findings {
					if f.Mode != "audit" {
						got = append(got, f.Object.String()+" "+f.Rule)
					}
				}
				for _, note := range notes {
					got = append(got, note.Object.String()+": "+note.Text)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("findings and notes mismatch (-want +got):\n%s\nof\n%s", diff, text)
			}
		})
	}
}
