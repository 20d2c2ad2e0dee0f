package manifest

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// TestSkimAgreesWithTheParser puts lines that could mislead a scan into documents at random. The parser must find
// nothing that is read in what is not parsed.
func TestSkimAgreesWithTheParser(t *testing.T) {
	t.Parallel()
	const seed, documents = 18, 20_000
	random := rand.New(rand.NewPCG(seed, 0))
	lines := []string{
		"apiVersion: v1", "kind: ConfigMap", "metadata: {name: a}", "data:", "  a: b", "- a", "- kind: Service", "items:",
		"items: []", "kind: Service", "apiVersion: apps/v1", "kind: Deployment", "\"kind\": Service", "'kind': Service",
		"? kind", ": Service", "<<: *a", "a: &a {kind: Service}", "  kind: Service", "text: |", "  kind: Secret", "text: \"",
		"\"", "  \"", "text: '", "'", "  '", "list: [", "]", "  ]", "map: {", "}", "  }", "# kind: Service", "---", "...",
		"--- # a", "--- !a", "!a", "%YAML 1.1", "\tkind: Service", "a: b\rkind: Service", "a: b\u2028kind: Service",
		"a: b\u0085kind: Service", "kind: &a Secret", "kind: !!str Secret", "kind: \"Secret\"", "kind: Secret # c",
		"kind: Secret#c", "kind:Secret", "kind : Secret", "kind:", "apiVersion:", "kind: Servicee", "", " ", "spec: {}",
		"kind: List", "kind: ConfigMapList", "apiVersion: example.com/v1", "kind: Kustomization", "kind: ${KIND}",
	}
	skimmed := 0
	for range documents {
		text := []string{"apiVersion: v1", "kind: ConfigMap", "metadata: {name: a}", "data:", "  a: b"}
		for range random.IntN(5) {
			at := random.IntN(len(text) + 1)
			text = append(text[:at], append([]string{lines[random.IntN(len(lines))]}, text[at:]...)...)
		}
		data := []byte(strings.Join(text, "\n") + "\n")
		for _, chunk := range split(data) {
			found := chunk.skim(isUnread)
			if found == nil {
				continue
			}
			skimmed++
			room := roomForAliases(len(data))
			document, err := chunk.document(&room, nil)
			if err != nil {
				continue // what is wrong in it does not matter
			}
			apiVersion, kind := typeOf(document.Content)
			isObject := apiVersion != "" && kind != ""
			if document.Content["items"] != nil || embedded(definition{content: document.Content}) != "" ||
				isObject && !isUnread(apiVersion, kind) && !strings.ContainsAny(apiVersion+kind, " \n") { // no kind has spaces
				t.Fatalf("%v was not parsed, but the parser finds %v in\n%s", found, document.Content, data)
			}
		}
	}
	if t.Logf("%d documents (seed %d), %d not parsed", documents, seed, skimmed); skimmed < documents/10 {
		t.Error("nearly all documents are parsed")
	}
}

// TestWhatIsSkimmed lists documents that must be parsed, and some that need not.
func TestWhatIsSkimmed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"apiVersion: v1\nkind: ConfigMap\ndata:\n  a: b\n":                                   true,
		"# a\n---\n# b\nkind: Secret # c\r\napiVersion: v1\r\nstringData:\r\n- a\r\n":        true,
		"apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nrules:\n- verbs: [get]\n":     true,
		"apiVersion: v1\nkind: Service\n":                                                    false,
		"apiVersion: v2\nkind: Service\n":                                                    false,
		"apiVersion: v1\nkind: Namespace\n":                                                  false,
		"apiVersion: v1\nkind: Servicee\n":                                                   false,
		"apiVersion: v1\nkind: ConfigMapList\nitems:\n- kind: ConfigMap\n":                   false,
		"apiVersion: v1\nkind: ConfigMap\nitems:\n- apiVersion: v1\n":                        false,
		"apiVersion: policy.sourceward.dev/v1alpha1\nkind: SourceIPPolicy\n":                 false,
		"apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\n":                         false,
		"apiVersion: example.com/v1\nkind: Wrapper\nspec:\n  a: {kind: Service, spec: {}}\n": false,
		"apiVersion: v1\nkind: ConfigMap\ndata:\n  a: |\n    kind: Deployment\n":             false,
		"{apiVersion: v1, kind: ConfigMap}\n":                                                false,
		"  apiVersion: v1\n  kind: ConfigMap\n":                                              false,
		"kind: ConfigMap\n":                                                                  false,
	} {
		chunks := split([]byte(text))
		if got := len(chunks) == 1 && chunks[0].skim(isUnread) != nil; got != want {
			t.Errorf("not parsed: %t, want %t:\n%s", got, want, text)
		}
	}
}
