package manifest

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestPlainAgreesWithTheParser puts lines and characters that could mislead a reader of lines into documents at random.
// The parser must read what plain reads, and find all values at the same places.
func TestPlainAgreesWithTheParser(t *testing.T) {
	t.Parallel()
	const seed, documents, least = 18, 60_000, 2_000
	random := rand.New(rand.NewPCG(seed, 0))
	parts := []string{
		"a", "b", "kind", "metadata", "app.kubernetes.io/name", "y", "on", "null", "True", "1", "-1", "0x1f", "1.0", "1e3",
		"0o7", "012", "1_000", "2001-01-01", ".5", ".inf", "+1", "~", "9223372036854775807", "123456789012345678",
		"1234567890123456789", "\"a: b # c\"", "'x'", "'it''s'", "\"\\n\"", "\"", "'", "[]", "{}", "[a]", "{a: b}",
		"# c", " # c", "#c", ":", ": ", ":\n", "- ", "-", "- - ", "---", "...", "?", "? ", "&a ", "*a", "!", "!!str ",
		"<<", "<<: ", "|", "|\n", ">-\n", "%", "@", "`", ",", "}", "]", "\t", "\r\n", "\r", "é", "\u2028", "\u00a0", "\x00",
		"=", "$(A)", "${A}", "//a", "/*", "//a\"", "a:b", "a b", "\n", "\n  ", "\n    ", "\n- ", "\n  - ", " ", "  ", "\\",
		strings.Repeat("k", 300), strings.Repeat("k", 1100), "yes", "N", "-.inf", "0", "00", "1:30", "--", "-a", "a#b",
	}
	lines := strings.SplitAfter(plainObject, "\n")
	read := 0
	for range documents {
		text := plainObject
		switch random.IntN(3) {
		case 0: // a manifest in which something is changed
			for range 1 + random.IntN(3) {
				at := random.IntN(len(text))
				text = text[:at] + parts[random.IntN(len(parts))] + text[min(len(text), at+random.IntN(4)):]
			}
		case 1: // the lines of a manifest with other indentations, in another order
			var chosen []string
			for range 1 + random.IntN(8) {
				line := lines[random.IntN(len(lines))]
				if random.IntN(3) == 0 {
					line = strings.Repeat(" ", random.IntN(6)) + strings.TrimLeft(line, " ")
				}
				chosen = append(chosen, line)
			}
			text = strings.Join(chosen, "")
		default: // short texts
			text = ""
			for range 1 + random.IntN(8) {
				text += parts[random.IntN(len(parts))]
			}
		}
		if agreesWithTheParser(t, text) {
			read++
		}
	}
	if read < least {
		t.Errorf("plain has read %d documents, want %d or more", read, least)
	}
}

const plainObject = `# comment
apiVersion: apps/v1 # of Kubernetes
kind: Deployment
metadata:
  name: web
  labels:
    app.kubernetes.io/name: 'web'
  annotations: {}
spec:
  replicas: 3
  paused:
  template:
    spec:

      hostNetwork: false
      tolerations: []
      containers:
      - name: web
        image: "registry.example.com/web:1.2.3"
        ports:
          - containerPort: 8080
          # comment
          - containerPort: 8081
            name: x
        args:
        - -v
        - --level=3
      - name: other
        image: a
`

// FuzzPlain compares plain with the parser.
func FuzzPlain(f *testing.F) {
	for _, text := range []string{
		plainObject, "a: b", "a:\n- b\n-   c: d\n    e:\n", "--- # x\na: 'b' # c\n", "a: -\n", "a: 1\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { agreesWithTheParser(t, text) })
}

// agreesWithTheParser compares what plain and the parser read in the first document of a text. It reports whether plain
// reads it.
func agreesWithTheParser(t *testing.T, text string) bool {
	t.Helper()
	chunks := split([]byte(text))
	if len(chunks) == 0 {
		return false
	}
	c := chunks[0]
	content := c.plain()
	if content == nil {
		return false
	}
	root, err := c.parse()
	if err != nil {
		t.Fatalf("plain reads %q, which the parser rejects: %v", text, err)
	}
	room := roomForAliases(c.size)
	want, err := c.read(root, &room)
	if err != nil || want == nil {
		t.Fatalf("plain reads %q, which the parser does not: %v", text, err)
	}
	if !reflect.DeepEqual(content, want.Content) {
		t.Fatalf("plain reads %q as\n%#v, want\n%#v", text, content, want.Content)
	}
	parsed := &outline{root: root, lines: c.lineStarts()}
	for _, path := range append(pathsOf(content, nil), nil, []string{"none"}) {
		for _, path := range [][]string{path, append(slices.Clip(path), "none"), append(slices.Clip(path), "0")} {
			place, ok := c.plainPlace(path)
			if want := parsed.place(path); !ok || place != want {
				t.Fatalf("plain finds %q of %q at %v, want %v", path, text, place, want)
			}
		}
	}
	return true
}

// pathsOf returns the paths of all values below a value.
func pathsOf(value any, path []string) (paths [][]string) {
	add := func(token string, below any) {
		at := append(slices.Clip(path), token)
		paths = append(append(paths, at), pathsOf(below, at)...)
	}
	switch value := value.(type) {
	case map[string]any:
		for key, below := range value {
			add(key, below)
		}
	case []any:
		for i, below := range value {
			add(strconv.Itoa(i), below)
		}
	}
	return paths
}
