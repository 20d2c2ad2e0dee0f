package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

// kubectl reads a document as kubectl does. It is strict: it returns an error where kubectl's strict and lenient modes
// differ.
func kubectl(text string) (map[string]any, error) {
	var content map[string]any
	data, err := yaml.YAMLToJSONStrict([]byte(text))
	if object := []byte(strings.TrimPrefix(text, "---")); err != nil && json.Valid(object) {
		data, err = object, nil
	}
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(strings.TrimSpace(string(data)), "{") {
		return nil, errors.New("not a mapping")
	}
	return content, utiljson.Unmarshal(data, &content)
}

func TestDocumentIsReadAsKubectlReadsIt(t *testing.T) {
	t.Parallel()
	texts := []string{
		"a:", "a: ~", "a: null", "a: Null", "a: NULL", "a: nULL", "a: ''", `a: ""`,
		"a: true", "a: True", "a: TRUE", "a: tRUE", "a: 'true'",
		"a: [y, Y, yes, Yes, YES, yES, on, On, ON, oN]",
		"a: [n, N, no, No, NO, nO, off, Off, OFF, oFF]",
		"a: ['y', \"no\", !!str on, !!bool yes, !!bool \"no\"]",
		"a: [0, -0, +1, 007, 08, 0x1F, -0x1F, 0b101, -0b101, 0o14, 1_000, 0b-1, 1__0]",
		"a: [9223372036854775807, 9223372036854775808, -9223372036854775808, -9223372036854775809, 18446744073709551616]",
		"a: [1.0, 1.5, -0.0, .5, 5., 1e3, 1E3, 1e-3, 1e21, 1e400, +.5, 1_0.5, 9007199254740993.0, 123456789012345678.0]",
		"a: [2001-12-14, 2001-12-14t21:59:43.10-05:00, 2001-12-14 21:59:43, !!timestamp 2001-12-14]",
		"a: [190:20:30, 12:30, 1.2.3, 10Gi, 100m, 0.5, 1e3m, =, -, +, ., .., '<<', ?x, -x, ':x', a:b]",
		"a: !!binary aGVsbG8=", "a: !!binary /w==", "a: !!binary //8=",
		"a: [!!int 12, !!int '12', !!float 1, !!float '1.5', !!str 12, !!null '', !custom x, !custom 12]",
		"1: a\n1.5: b\ntrue: c\n0x10: d\n1e3: e\n", "y: 1", "no: 1", "on: push\n", "'y': 1",
		"2001-12-14: a", "!!str 1: a", "!!binary aGVsbG8=: a", "1000000.0: a", "0.1: a\n123456789.5: b",
		"? a\n: b\n", "? a\n", "{a, b: 1}", "{a: [b: c]}", `{"a":1,"b":[true,null,1.5e2]}`,
		"a: &x {b: 1}\nc: *x\n", "a: &x 1\n*x : 2\n", "a: &x [1]\nb: [*x, *x]\n", "&k a: 1\nb: *k\n",
		"a: &x {b: 1}\nc:\n  <<: *x\n  d: 2\n", "a: &x {b: 1}\nc: &y {b: 2, e: 3}\nd:\n  <<: [*y, {f: 4}]\n",
		"<<: {a: 1}\nb: 2\n", "'<<': {a: 1}\n", "a: <<\n", "!!merge '<<': {a: 1}\n",
		"a: |\n  x\n\n  # y\n\n\nb: 1", "a: |+\n  x\n\n", "a: |-\n  x\n", "a: >\n  x\n  y\n\n  z\n", "a: |2\n    x\n   y\n",
		"a: x\n  y\n\n  z\nb: 1\n", "a: 'it''s'\n", `a: "\x41\u00e9\U0001F600\t\n\e"`, "a: \"x\n  y\\\n  z\"\n",
		"%YAML 1.1\n---\na: b\n", "--- {a: b}\n", "--- # c\na: b\n...\n", "# c\n--- !!map\na: b\n",
		`{"a\/b": "\/\\/", "c": ["\ud83d\uDE00 \u00e9", "\ud83d", "\ude00\ud83d", "\ud83d\u0041", "\\ud83d"]}`,
		"---\n{\"a\": \"b\\/c\"}\n",
		"a:\n- b\n- - c\n  - d\n-\n  e: f\n- g: h\n  i: j\n", "a:\r\n  - b\r\n", "a: b # c\n", "a: b#c\n", "\ufeffa: b\n",
		"a: ünï\u00a0x\n", "a:\tb\n", "{\n\t\"a\": 1\n}\n", "a: [b,\n  c,]\n",
	}
	for _, text := range texts {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			want, err := kubectl(text)
			if err != nil {
				t.Fatal(err)
			}
			documents, errs := Parse("", []byte(text))
			if len(errs) > 0 || len(documents) != 1 {
				t.Fatalf("got %d documents and the errors %v", len(documents), errs)
			}
			if diff := cmp.Diff(want, documents[0].Content); diff != "" {
				t.Errorf("content (-kubectl +ours):\n%s", diff)
			}
		})
	}
}

func TestStreamIsSplitIntoDocuments(t *testing.T) {
	t.Parallel()
	type at struct {
		Index, Line int
	}
	tests := map[string]struct {
		text string
		want []at
	}{
		"the first marker begins document 0": {"---\na: 1\n---\nb: 1\n", []at{{0, 2}, {1, 4}}},
		"comments before the first marker":   {"# c\n\n---\na: 1\n", []at{{0, 4}}},
		"an empty document counts":           {"a: 1\n---\n# none\n---\nb: 1\n", []at{{0, 1}, {2, 5}}},
		"a null document is empty":           {"a: 1\n---\nnull\n---\nb: 1\n", []at{{0, 1}, {2, 5}}},
		"a last marker adds nothing":         {"a: 1\n---\n", []at{{0, 1}}},
		"content on the marker line":         {"--- {a: 1}\n---\tb: {c: 1}\n", []at{{0, 1}}},
		"a comment on the marker line":       {"a: 1\n--- # c\nb: 1\n", []at{{0, 1}, {1, 3}}},
		"dots end a document": {
			"a: 1\n...\n# c\n...\n---\nb: 1\n...\nc: 1\n",
			[]at{{0, 1}, {1, 6}, {2, 8}},
		},
		"carriage returns":                                {"a: 1\r\n---\r\nb: 1\r\n", []at{{0, 1}, {1, 3}}},
		"a byte order mark":                               {"\ufeff---\na: 1\n", []at{{0, 2}}},
		"a mark after a marker":                           {"a: 1\n---\n\ufeffb: 1\n", []at{{0, 1}, {1, 3}}},
		"a mark after two markers":                        {"---\n\ufeff#\na: 1\n---\r\n\ufeffb: 1\n", []at{{0, 3}, {1, 5}}},
		"a directive after dots":                          {"a: 1\n...\n%YAML 1.1\n---\nb: 1\n", []at{{0, 1}, {1, 5}}},
		"dashes within a text":                            {"a: |\n  ---\n ----\n", nil},
		"four dashes are not a marker":                    {"----: 1\n", []at{{0, 1}}},
		"nothing":                                         {"", nil},
		"only comments":                                   {"# a\n---\n# b\n", nil},
		"a list and a text are documents without content": {"- a\n---\nb\n", []at{{0, 1}, {1, 3}}},
		"JSON objects follow one another": {
			"{\"a\": 1}\n\n  {\n\"b\": 1}\n{}\n---\nc: 1\n---\n{\"d\": 1}\n",
			[]at{{0, 1}, {1, 4}, {2, 5}, {3, 7}, {4, 9}},
		},
		"a broken document between others": {"a: 1\n---\nb: [\n---\nc: 1\n", []at{{0, 1}, {2, 5}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			documents, _ := Parse("", []byte(test.text))
			var got []at
			for _, d := range documents {
				got = append(got, at{d.Index, d.Position("").Line})
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("documents (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRootThatIsNotAMappingHasNoContent(t *testing.T) {
	t.Parallel()
	documents, errs := Parse("", []byte("- a\n---\nb\n---\n{}\n"))
	if len(documents) != 3 || len(errs) != 0 {
		t.Fatalf("got %d documents and the errors %v, want 3 and none", len(documents), errs)
	}
	if documents[0].Content != nil || documents[1].Content != nil || documents[2].Content == nil {
		t.Errorf("content is %v, %v, %v; want nil, nil and an empty mapping",
			documents[0].Content, documents[1].Content, documents[2].Content)
	}
}

func TestErrorNamesPlaceAndFix(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ text, want string }{
		"a key set twice": {
			"a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n",
			`f:5:3: key "c" is set twice, first on line 3; remove one`,
		},
		"a key set twice in document 2": {
			"a: 1\n---\nb: 1\nb: 2\n",
			`f:4:1: key "b" is set twice, first on line 3; remove one`,
		},
		"a key set twice in two spellings": {"1: a\n'1': b\n", `f:2:1: key "1" is set twice, first on line 1; remove one`},
		"a key set twice beside a merge key": {
			"<<: {a: 1}\na: 2\na: 3\n",
			`f:3:1: key "a" is set twice, first on line 2; remove one`,
		},
		"a key set twice in a merged mapping": {
			"<<: {a: 1, a: 2}\n",
			`f:1:12: key "a" is set twice, first on line 1; remove one`,
		},
		"bad indentation": {
			"x: 1\n---\na: 1\nb:\n  c: 2\n d: 3\ne: 4\n",
			"f:6: did not find expected key; fix the YAML on or just above this line",
		},
		"a list in the middle of a mapping": {
			"a: 1\nb: 2\n- x\nc: 3\n",
			"f:4: did not find expected key; fix the YAML on or just above this line",
		},
		"an open bracket": {
			"a: 1\nb: [1, 2\nc: 3\nd: 4\ne: 5\n",
			"f:4: did not find expected ',' or ']'; fix the YAML on or just above this line",
		},
		"an open quote": {
			"a: 1\nb: \"x\nc: 3\nd: 4\n",
			"f:2: found unexpected end of stream; fix the YAML on or just above this line",
		},
		"two colons": {
			"a: 1\nb: x: y\nc: 3\n",
			"f:2: mapping values are not allowed in this context; fix the YAML on or just above this line",
		},
		"a tab": {
			"a: 1\n\tb: 2\nc: 3\n",
			"f:2: found a tab character that violates indentation; fix the YAML on or just above this line",
		},
		"a reserved character": {
			"a: 1\nb: @x\nc: 3\nd: 3\n",
			"f:2: found character that cannot start any token; fix the YAML on or just above this line",
		},
		"a control character": {
			"a: 1\nb: \x01\nc: 3\nd: 3\n",
			"f:2: control characters are not allowed; fix the YAML on or just above this line",
		},
		"an unknown anchor": {
			"a: 1\nb: *x\nc: 3\nd: 3\n",
			"f:3: unknown anchor 'x' referenced; fix the YAML on or just above this line",
		},
		"a key without a colon": {
			"a: 1\nb: 2\nfoo\nd: 3\n",
			"f:3: could not find expected ':'; fix the YAML on or just above this line",
		},
		"a template directive": {
			"{{- if x }}\na: 1\n{{- end }}\n",
			"f:2: did not find expected node content; fix the YAML on or just above this line",
		},
		"a template value": {
			"a: 1\nb: {{ .Values.x }}\n",
			"f:2:5: a key must be a string, not a list or a mapping; quote it",
		},
		"a null key": {"~: 1\n", `f:1:1: key "~" is not a string; quote it`},
		"a huge key": {
			"18446744073709551615: 1\n",
			`f:1:1: key "18446744073709551615" is not a string; quote it`,
		},
		"infinity": {
			"a: -.inf\n",
			"f:1:4: -.inf is not a JSON number; write a finite number, or quote it",
		},
		"not a number":         {"a: .nan\n", "f:1:4: .nan is not a JSON number; write a finite number, or quote it"},
		"a wrong tag":          {"a: !!int x\n", "f:1:4: cannot decode !!str `x` as a !!int"},
		"a wrong tag on lines": {"a: !!int \"x\\ny\"\n", "f:1:4: cannot decode !!str `x y` as a !!int"},
		"a wrong tag on a key": {"!!int x: 1\n", "f:1:1: cannot decode !!str `x` as a !!int"},
		"a merge of something else": {
			"a: 1\n<<: b\n",
			"f:2:5: a merge key takes a mapping or a list of mappings; correct its value",
		},
		"a merge of lists of lists": {
			"<<: [{a: 1}, [{b: 1}]]\n",
			"f:1:14: a merge key takes a mapping or a list of mappings; correct its value",
		},
		"an anchor within itself": {"a: &x [*x]\n", `f:1:8: anchor "x" contains itself; write the value out`},
		"a merge of itself":       {"a: &x\n  <<: *x\n", `f:2:7: anchor "x" contains itself; write the value out`},
		"two JSON objects on one line": {
			"\n{\"a\": 1} {\"b\": 1}\n",
			"f:2: text after the end of the document; put a line with --- between documents",
		},
		"a JSON object and a key after a comment": {
			"{\"a\": 1} # c\rb: 1\n",
			"f:1: text after the end of the document; put a line with --- between documents",
		},
		"a text in UTF-16": {"\xff\xfea\x00:\x00", "f: this file is not in UTF-8; save it in UTF-8"},
		"a JSON object and another value": {
			"{\"a\": 1}\n[]\n",
			"f:2: text after the end of the document; put a line with --- between documents",
		},
		"two flow mappings": {
			"{a: 1}\n{b: 1}\n",
			"f:2: text after the end of the document; put a line with --- between documents",
		},
		"deep nesting": {
			"a: &x " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + "\n" +
				"b: " + strings.Repeat("[", 2000) + "*x" + strings.Repeat("]", 2000) + "\n",
			"f:1:8006: values are nested deeper than 10000 levels; flatten them",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, errs := Parse("f", []byte(test.text))
			if len(errs) != 1 {
				t.Fatalf("got the errors %v, want one", errs)
			}
			if got := errs[0].Error(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestAliasesMayAddTenTimesTheFileOr64MiB(t *testing.T) {
	t.Parallel()
	// nested makes nine levels, each of ten aliases to the level below.
	nested := func(first, format string) string {
		text := "a0: &a0 " + first + "\n"
		for i := range 9 {
			aliases := strings.Repeat(fmt.Sprintf("*a%d, ", i), 10)
			text += fmt.Sprintf("a%d: &a%[1]d "+format+"\n", i+1, aliases)
		}
		return text
	}
	long := func(size int) string { return strings.Repeat("x", size) }
	many := func(n int, entry string) string { return "b:\n" + strings.Repeat("- "+entry+"\n", n) }
	const refused = "the aliases of this file expand to more than 64 MiB; write the values out"
	tests := map[string]struct{ text, want string }{
		"lists of lists":                  {nested("[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]", "[%s]"), "f:7:10: " + refused},
		"empty lists":                     {nested("[]", "[%s]"), "f:7:55: " + refused},
		"mappings":                        {nested("{a: 1}", "[%s]"), "f:7:10: " + refused},
		"merge keys":                      {nested("{a: 1}", "{<<: [%s]}"), "f:7:60: " + refused},
		"merge keys of empty mappings":    {nested("{}", "{<<: [%s]}"), "f:7:40: " + refused},
		"a long text":                     {"a: &a " + long(1e6) + "\n" + many(100, "*a"), "f:70:3: " + refused},
		"a long key":                      {"? &a " + long(1e6) + "\n: 1\n" + many(100, "{*a : 1}"), "f:71:4: " + refused},
		"a long key within an alias":      {"a: &a\n  ? " + long(1e6) + "\n  : 1\n" + many(100, "*a"), "f:72:3: " + refused},
		"a long text that merge keys add": {"a: &a {b: " + long(1e6) + "}\n" + many(100, "<<: *a"), "f:70:7: " + refused},
		"many documents": {
			strings.Repeat("---\na: &a "+long(1e5)+"\n"+many(100, "*a"), 7),
			"f:692:3: " + refused,
		},
		"a file of 7 MB that expands to 70 MB": {"a: &a " + long(7e6) + "\n" + many(9, "*a"), ""},
		"a file of 7 MB that expands to 80 MB": {
			"a: &a " + long(7e6) + "\n" + many(11, "*a"),
			"f:13:3: the aliases of this file expand to more than 66 MiB; write the values out",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, errs := Parse("f", []byte(test.text))
			var got string
			if len(errs) > 0 {
				got = errs[0].Error()
			}
			if got != test.want || len(errs) > 1 {
				t.Errorf("got  %s\nwant %s\nof %d errors", got, test.want, len(errs))
			}
		})
	}
}

func TestErrorOmitsWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	tests := []struct {
		err  Error
		want string
	}{
		{Error{Message: "m"}, "m"},
		{Error{File: "f", Message: "m"}, "f: m"},
		{Error{File: "f", Position: Position{Line: 3}, Message: "m"}, "f:3: m"},
		{Error{File: "f", Position: Position{Line: 3, Column: 5}, Message: "m"}, "f:3:5: m"},
		{Error{Position: Position{Line: 3, Column: 5}, Message: "m"}, "3:5: m"},
	}
	for _, test := range tests {
		if got := test.err.Error(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

func TestPositionIsWhereTheValueIsWritten(t *testing.T) {
	t.Parallel()
	const text = `# a comment
---
base: &base
  shared: 1
  ports: &ports
  - a
  - b: 1
    c: 2
own:
  <<: *base
  "quo/ted~": ü
  list: *ports
  ü: {f: 1, g: [1, 2]}
items:
- spec: {x: 1}
merged:
  <<: [{z: 1}, *base]
y: 1
twice: {shared: 1, <<: *base, list: 1, <<: {list: 2, z: 1}, z: 2}
`
	documents, errs := Parse("", []byte(text))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for pointer, want := range map[string]Position{
		"":                    {3, 1},
		"/base":               {3, 1},
		"/base/ports/0":       {6, 5},
		"/base/ports/1/c":     {8, 5},
		"/own/shared":         {4, 3},
		"/own/ports/1/b":      {7, 5},
		"/own/quo~1ted~0":     {11, 3},
		"/own/list":           {12, 3},
		"/own/list/0":         {6, 5},
		"/own/ü/g":            {13, 13},
		"/own/ü/g/1":          {13, 20},
		"/items/0/spec/x":     {15, 10},
		"/merged/z":           {17, 9},
		"/merged/shared":      {4, 3},
		"/true":               {18, 1}, // y is a boolean
		"/twice/shared":       {4, 3},
		"/twice/list":         {19, 45},
		"/twice/z":            {19, 61},
		"/own/none":           {9, 1},
		"/own/none/0":         {9, 1},
		"/base/ports/7":       {5, 3},
		"/base/ports/01":      {5, 3},
		"/base/ports/-":       {5, 3},
		"/none":               {3, 1},
		"none":                {3, 1},
		"/base/shared/deeper": {4, 3},
	} {
		if got := documents[0].Position(pointer); got != want {
			t.Errorf("Position(%q) is %v, want %v", pointer, got, want)
		}
	}
	if got := new(Document).Position("/a"); got != (Position{}) {
		t.Errorf("the position in no document is %v", got)
	}
}

func TestPositionCountsLinesAsEditorsDo(t *testing.T) {
	t.Parallel()
	documents, errs := Parse("", []byte("a: \"x\u2028y\u0085\"\r\nb: 1\r\n"))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if got, want := documents[0].Position("/b"), (Position{2, 1}); got != want {
		t.Errorf("the position is %v, want %v", got, want)
	}
}

func TestEscapesThatYAMLLacksDoNotChangePositions(t *testing.T) {
	t.Parallel()
	documents, errs := Parse("", []byte(`{"a\/b": "\ud83d\ude00", "c": "\/\/", "d": 1}`))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for pointer, want := range map[string]Position{"/a~1b": {1, 2}, "/c": {1, 26}, "/d": {1, 39}} {
		if got := documents[0].Position(pointer); got != want {
			t.Errorf("Position(%q) is %v, want %v", pointer, got, want)
		}
	}
}

func TestOnlyTheOutlineOfTheLastDocumentIsCached(t *testing.T) {
	documents, errs := Parse("", []byte("items:\n"+strings.Repeat("- a: 1\n", 1000)+"---\nb: [1]\n"))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	documents[0].Position("")
	if allocs := testing.AllocsPerRun(10, func() { documents[0].Position("/items/999/a") }); allocs > 100 {
		t.Errorf("one more position takes %v allocations", allocs)
	}
	documents[1].Position("")
	if kept := documents[0].last.Load().document; kept != documents[1] {
		t.Errorf("the nodes of document %d are kept", kept.Index)
	}
}

func TestLineCountsFromTheStartOfTheFile(t *testing.T) {
	t.Parallel()
	documents, _ := Parse("", []byte("a: 1\n---\nb: |\r\n  c\n---\nd: 1"))
	for number, want := range []string{"", "", "---", "b: |", "  c", ""} {
		if got := documents[1].line(number); got != want {
			t.Errorf("line %d is %q, want %q", number, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"a: 1\n---\nb: [x, y]\n", "a: &x {b: 1}\nc: {<<: *x, d: *x}\n", "a: |+\n  x\n\n", "{\"a\": [1, 1.5, null]}",
		`{"a\/": "\ud83d\ude00\ud83d"}`, "{\"a\": 1}\n{\"b\": \"\\/\"}\n",
		"a: !!binary aGVsbG8=\n", "? a\n: - b\n  - c\n", "%YAML 1.1\n--- # c\na: 0b1\n...\n", "a: &x [*x]\n",
		"y: 0o14\n", "# c\n\na:\n  # d\n  - b\n  # e\n",
		"\"a\r\rb", "\r: 1", "\xc5" + strings.Repeat("0", 600), "a: !!int \"x\\ny\"\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		documents, errs := Parse("f", []byte(text))
		for _, err := range errs {
			if strings.ContainsAny(err.Error(), "\n") || err.Line < 0 || err.Line > strings.Count(text, "\n")+1 {
				t.Errorf("error %q is not one line, or its line is not in the file", err)
			}
		}
		for _, d := range documents {
			if d.Position("/a/b").Line < 1 {
				t.Errorf("document %d has no line", d.Index)
			}
		}
	})
}
