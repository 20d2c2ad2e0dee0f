package manifest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/policies"
)

func add(path string, value any) policies.PatchOperation {
	return policies.PatchOperation{Op: "add", Path: path, Value: value}
}

func remove(path string) policies.PatchOperation {
	return policies.PatchOperation{Op: "remove", Path: path}
}

// constraint returns a value like the one that repairs add most often.
func constraint() map[string]any {
	return map[string]any{"maxSkew": int64(1), "topologyKey": "zone"}
}

func TestPatchChangesOnlyWhatIsNamed(t *testing.T) {
	t.Parallel()
	ops := func(o ...policies.PatchOperation) []policies.PatchOperation { return o }
	tests := map[string]struct {
		text       string
		index      int
		at         string
		operations []policies.PatchOperation
		want       string
	}{
		// A text of several lines.
		"lines replace lines, with their indentation and comment": {
			"a:\n- b: | # c\n      old\n\n      # text\n\n  # d\n  e: 1\n", 0, "", ops(add("/a/0/b", "new\n\n\ttext\n")),
			"a:\n- b: | # c\n      new\n\n      \ttext\n\n  # d\n  e: 1\n"},
		"lines replace folded ones": {
			"a:\n  b: >-\n    old\n    text\nc: 1\n",
			0,
			"",
			ops(add("/a/b", "x\ny\n")),
			"a:\n  b: |\n    x\n    y\nc: 1\n",
		},
		"lines replace a quoted text": {
			"a:\n  b: \"old\\ntext\" # c\nd: 1\n",
			0,
			"",
			ops(add("/a/b", "x\ny\n")),
			"a:\n  b: | # c\n    x\n    y\nd: 1\n",
		},
		"lines replace an empty value": {
			"a:\n  b:\nd: 1\n",
			0,
			"",
			ops(add("/a/b", "x\ny\n\n")),
			"a:\n  b: |+\n    x\n    y\n\nd: 1\n",
		},
		"lines in a JSON file": {
			"{\"a\": \"old\"}\n",
			0,
			"",
			ops(add("/a", "x\ny\n")),
			"{\"a\": \"x\\ny\\n\"}\n",
		},
		"lines at the end of a file without a final line break": {
			"a: |\n  old", 0, "", ops(add("/a", "x\ny\n")), "a: |\n  x\n  y\n"},
		"lines in a file with carriage returns": {
			"a: |\r\n  old\r\nb: 1\r\n",
			0,
			"",
			ops(add("/a", "x\ny\n")),
			"a: |\r\n  x\r\n  y\r\nb: 1\r\n",
		},

		// Adding members.
		"a member goes after the last one": {
			"a:\n  b: 1 # one\n  c: 2 # two\nd: 3\n", 0, "", ops(add("/a/x", "z")),
			"a:\n  b: 1 # one\n  c: 2 # two\n  x: z\nd: 3\n"},
		"a member of the root": {"a: 1\n", 0, "", ops(add("/x", true)), "a: 1\nx: true\n"},
		"a mapping is indented by two": {
			"a:\n    b: 1\nd: 3\n", 0, "", ops(add("/a/x", map[string]any{"z": nil, "y": map[string]any{"w": "no"}})),
			"a:\n    b: 1\n    x:\n      \"y\":\n        w: \"no\"\n      z: null\nd: 3\n"},
		"a list has its dashes as the file has them, indented": {
			"a:\n  b:\n    - 1\n", 0, "", ops(add("/a/x", []any{constraint()})),
			"a:\n  b:\n    - 1\n  x:\n    - maxSkew: 1\n      topologyKey: zone\n"},
		"a list has its dashes as the file has them, compact": {
			"a:\n  b:\n  - 1\n", 0, "", ops(add("/a/x", []any{constraint()})),
			"a:\n  b:\n  - 1\n  x:\n  - maxSkew: 1\n    topologyKey: zone\n"},
		"a comment indented as the members stays above": {
			"a:\n  b: 1\n\n  # c: 2\n# d\nd: 3\n", 0, "", ops(add("/a/x", 1.5)),
			"a:\n  b: 1\n\n  # c: 2\n  x: 1.5\n# d\nd: 3\n"},
		"blank lines stay below": {
			"a:\n  b: 1\n\n\nd: 3\n", 0, "", ops(add("/a/x", int64(1))), "a:\n  b: 1\n  x: 1\n\n\nd: 3\n"},
		"a block scalar that ends like a comment stays whole": {
			"a:\n  b: |\n    x\n    # y\n  # z\nd: 3\n", 0, "", ops(add("/a/x", int64(1))),
			"a:\n  b: |\n    x\n    # y\n  # z\n  x: 1\nd: 3\n"},
		"a block scalar that ends like a member stays whole": {
			"a:\n  b: |2\n      x\n    # y: 1\nd: 3\n", 0, "", ops(add("/a/x", int64(1))),
			"a:\n  b: |2\n      x\n    # y: 1\n  x: 1\nd: 3\n"},
		"a block scalar keeps its blank lines": {
			"a:\n  b: |+\n    x\n\n\nd: 3\n", 0, "", ops(add("/a/x", int64(1))),
			"a:\n  b: |+\n    x\n\n\n  x: 1\nd: 3\n"},
		"a folded scalar": {
			"a:\n  b: >-\n    x\n    y\n\n    z\nd: 3\n", 0, "", ops(add("/a/x", int64(1))),
			"a:\n  b: >-\n    x\n    y\n\n    z\n  x: 1\nd: 3\n"},
		"a plain scalar of several lines": {
			"a:\n  b: x\n    y\n\n    z # c\nd: 3\n", 0, "", ops(add("/a/x", int64(1))),
			"a:\n  b: x\n    y\n\n    z # c\n  x: 1\nd: 3\n"},
		"quoted scalars of several lines": {
			"a:\n  b: 'it''s\n    # x'\n  c: \"x\\\"\n    # y\"\nd: 3\n", 0, "", ops(add("/a/x", int64(1))),
			"a:\n  b: 'it''s\n    # x'\n  c: \"x\\\"\n    # y\"\n  x: 1\nd: 3\n"},
		"a member of a list element": {
			"a:\n- b: 1\n- c: 1\n", 0, "", ops(add("/a/0/x", int64(1))), "a:\n- b: 1\n  x: 1\n- c: 1\n"},
		"a member after a compact list": {
			"a:\n  b:\n  - c\n  - d: 1\n    e: 2\nf: 1\n", 0, "", ops(add("/a/x", int64(1))),
			"a:\n  b:\n  - c\n  - d: 1\n    e: 2\n  x: 1\nf: 1\n"},
		"a member after an empty value": {
			"a:\n  b:\nc: 1\n", 0, "", ops(add("/a/x", int64(1))), "a:\n  b:\n  x: 1\nc: 1\n"},
		"a member after an empty element": {
			"a:\n  b:\n  -\nc: 1\n", 0, "", ops(add("/a/x", int64(1))), "a:\n  b:\n  -\n  x: 1\nc: 1\n"},
		"a text of several lines": {
			"a:\n  b: 1\n", 0, "", ops(add("/a/x", "y\nz\n")), "a:\n  b: 1\n  x: |\n    y\n    z\n"},
		"an escaped path": {
			"a:\n  b/c: {}\n", 0, "", ops(add("/a/b~1c/~0", "x")), "a:\n  b/c:\n    \"~\": x\n"},
		"a member next to merged ones": {
			"a: &a {b: 1}\nc:\n  <<: *a\n", 0, "", ops(add("/c/x", int64(1))), "a: &a {b: 1}\nc:\n  <<: *a\n  x: 1\n"},
		"a member of an anchored mapping that nothing refers to": {
			"a: &a\n  b: 1\n", 0, "", ops(add("/a/x", int64(1))), "a: &a\n  b: 1\n  x: 1\n"},

		// Replacing members.
		"a scalar keeps the comment after it": {
			"a: 1   # why\nb: 2\n", 0, "", ops(add("/a", "x: y")), "a: 'x: y'   # why\nb: 2\n"},
		"a quoted scalar":            {"a: \"1\" # why\n", 0, "", ops(add("/a", "2")), "a: \"2\" # why\n"},
		"a tab after the key":        {"a:\t1\t# why\n", 0, "", ops(add("/a", int64(2))), "a:\t2\t# why\n"},
		"a tagged scalar":            {"a: !!str 1 # why\n", 0, "", ops(add("/a", int64(2))), "a: 2 # why\n"},
		"a scalar on the next line":  {"a:\n  1 # why\nb: 2\n", 0, "", ops(add("/a", int64(2))), "a: 2 # why\nb: 2\n"},
		"a block scalar by a scalar": {"a: |\n  x\n  # y\nb: 2\n", 0, "", ops(add("/a", "z")), "a: z\nb: 2\n"},
		"a mapping by a scalar":      {"a: # c\n  b: 1\nc: 2\n", 0, "", ops(add("/a", int64(2))), "a: 2\nc: 2\n"},
		"a value by lines of text":   {"a: x\n", 0, "", ops(add("/a", "y\nz")), "a: \"y\\nz\"\n"},
		"a value by null":            {"a: x\n", 0, "", ops(add("/a", nil)), "a: null\n"},
		"an empty value by a scalar": {"a: # why\nb: 2\n", 0, "", ops(add("/a", "x")), "a: x # why\nb: 2\n"},
		"an empty value by a list":   {"a: # why\nb: 2\n", 0, "", ops(add("/a", []any{"x"})), "a: # why\n  - x\nb: 2\n"},
		"a tilde by a list":          {"a: ~ # why\nb: 2\n", 0, "", ops(add("/a", []any{"x"})), "a: # why\n  - x\nb: 2\n"},
		"an empty list by a list":    {"a: []\nb: 2\n", 0, "", ops(add("/a", []any{"x"})), "a:\n  - x\nb: 2\n"},
		"a list by an empty list":    {"a:\n- x\nb: 2\n", 0, "", ops(add("/a", []any{})), "a: []\nb: 2\n"},
		"a mapping by another": {
			"a: # c\n  b: 1\n  c: 2\nd: 3\n",
			0,
			"",
			ops(add("/a", map[string]any{"x": int64(1)})),
			"a: # c\n  x: 1\nd: 3\n",
		},
		"a literal by a mapping": {
			"a: | # c\n  b: 1\nd: 3\n",
			0,
			"",
			ops(add("/a", map[string]any{"x": int64(1)})),
			"a:\n  x: 1\nd: 3\n",
		},
		"the last line without break": {"a: 1\nb: 2", 0, "", ops(add("/b", []any{"x"})), "a: 1\nb:\n  - x"},
		"a key that YAML reads as a boolean": {
			"y: 1\n", 0, "", ops(add("/true", int64(2))), "y: 2\n"},

		// Lists.
		"an element after the last": {
			"a:\n  b:\n    - x # one\n    # - y\n\n  # c\nd: 3\n", 0, "", ops(add("/a/b/-", "z")),
			"a:\n  b:\n    - x # one\n    # - y\n    - z\n\n  # c\nd: 3\n"},
		"an element of a compact list leaves the comment of the next key": {
			"a:\n- x\n# about b\nb: 1\n", 0, "", ops(add("/a/-", constraint())),
			"a:\n- x\n- maxSkew: 1\n  topologyKey: zone\n# about b\nb: 1\n"},
		"an element of a list of mappings": {
			"a:\n  - b: 1\n    c:\n      - 1\n", 0, "", ops(add("/a/-", constraint())),
			"a:\n  - b: 1\n    c:\n      - 1\n  - maxSkew: 1\n    topologyKey: zone\n"},
		"an element of an empty list": {
			"a: [] # why\n",
			0,
			"",
			ops(add("/a/-", constraint())),
			"a: # why\n  - maxSkew: 1\n    topologyKey: zone\n",
		},
		"an element of a flow list": {
			"a: [x, 'it''s' ] # why\n",
			0,
			"",
			ops(add("/a/-", constraint())),
			"a: [x, 'it''s', {\"maxSkew\":1,\"topologyKey\":\"zone\"} ] # why\n",
		},
		"an element of a list of lists": {
			"a:\n- - 1\n  - 2\n", 0, "", ops(add("/a/0/-", int64(3))), "a:\n- - 1\n  - 2\n  - 3\n"},
		"operations that depend on one another": {
			"a:\n  b: 1\n", 0, "", ops(add("/a/x", []any{}), add("/a/x/-", "y"), add("/a/x/-", "z")),
			"a:\n  b: 1\n  x:\n    - \"y\"\n    - z\n"},

		// Removing.
		"a member with its lines": {
			"a:\n  b: 1 # one\n  c:\n    d: 2\n  # e\n  e: 3\n",
			0,
			"",
			ops(remove("/a/c")),
			"a:\n  b: 1 # one\n  # e\n  e: 3\n",
		},
		"the first member":               {"a: 1\nb: 2\n", 0, "", ops(remove("/a")), "b: 2\n"},
		"the last member":                {"a: 1\nb: 2", 0, "", ops(remove("/b")), "a: 1"},
		"the only member":                {"a:\n  b: 1\nc: 2\n", 0, "", ops(remove("/a/b")), "a: {}\nc: 2\n"},
		"the only member of the root":    {"--- # c\na:\n  b: 1\n", 0, "", ops(remove("/a")), "--- # c\n{}\n"},
		"the first member of an element": {"a:\n- b: 1\n  c: 2\n- d\n", 0, "", ops(remove("/a/0/b")), "a:\n- c: 2\n- d\n"},
		"the first member of an element with comments": {
			"a:\n- b: 1 # b\n  # c\n  c: 2\n", 0, "", ops(remove("/a/0/b")), "a:\n-  # b\n  # c\n  c: 2\n"},
		"the only member of an element": {"a:\n- b: 1\n- d\n", 0, "", ops(remove("/a/0/b")), "a:\n- {}\n- d\n"},
		"an element": {
			"a:\n  - b\n  # c\n  - c: 1\n    d: 2\n  - e\n",
			0,
			"",
			ops(remove("/a/1")),
			"a:\n  - b\n  # c\n  - e\n",
		},
		"the first element":               {"a:\n- b\n- c\n", 0, "", ops(remove("/a/0")), "a:\n- c\n"},
		"the only element":                {"a:\n- b\nc: 1\n", 0, "", ops(remove("/a/0")), "a: []\nc: 1\n"},
		"the first element of an element": {"a:\n- - 1\n  - 2\n", 0, "", ops(remove("/a/0/0")), "a:\n- - 2\n"},
		"a block scalar":                  {"a: |+\n  x\n\nb: 1\n", 0, "", ops(remove("/a")), "b: 1\n"},
		"a member of a flow mapping": {
			"a: {b: 1, c: 2, d: 3} # why\n",
			0,
			"",
			ops(remove("/a/c"), remove("/a/d")),
			"a: {b: 1} # why\n",
		},

		"elements of a flow list": {
			"a: [b, {c: d}, e ] # why\n",
			0,
			"",
			ops(remove("/a/0"), remove("/a/1")),
			"a: [{c: d} ] # why\n",
		},
		"a member of a list of lists": {
			"a:\n-\n  - 1\n  - b: 1\n    c: 2\n  - 3\n",
			0,
			"",
			ops(remove("/a/0/1/c"), remove("/a/0/2")),
			"a:\n-\n  - 1\n  - b: 1\n",
		},

		// Flow style and JSON.
		"a member of indented JSON": {
			"{\n  \"a\": {\n    \"b\": [\n      1\n    ]\n  }\n}\n", 0, "",
			ops(add("/a/c", []any{map[string]any{"d": "<e>"}}), add("/a/b/-", int64(2))),
			"{\n  \"a\": {\n    \"b\": [\n      1,\n      2\n    ],\n    \"c\": [\n      {\n        \"d\": \"<e>\"\n" +
				"      }\n    ]\n  }\n}\n",
		},
		"a member of JSON that is indented by tabs, with lines of Windows": {
			"{\r\n\t\"a\": {\r\n\t\t\"b\": 1\r\n\t}\r\n}\r\n", 0, "", ops(add("/a/c", map[string]any{"d": true})),
			"{\r\n\t\"a\": {\r\n\t\t\"b\": 1,\r\n\t\t\"c\": {\r\n\t\t\t\"d\": true\r\n\t\t}\r\n\t}\r\n}\r\n",
		},
		"a member of a flow mapping at the end": {
			"a: {b: 1, c: x # y\n  }\n",
			0,
			"",
			ops(add("/a/x", "<y>")),
			"a: {b: 1, c: x, \"x\":\"<y>\" # y\n  }\n",
		},
		"a value in a flow mapping": {
			"a: {b: it's, c: 2}\n",
			0,
			"",
			ops(add("/a/b", []any{})),
			"a: {b: [], c: 2}\n",
		},
		"an empty value in a flow mapping": {
			"a: {b: , c}\n",
			0,
			"",
			ops(add("/a/b", int64(1)), add("/a/c", int64(2))),
			"a: {b: 1 , c: 2}\n",
		},
		"a flow mapping with a last comma": {
			"a: {b: [x,],}\n",
			0,
			"",
			ops(add("/a/x", int64(1)), add("/a/b/-", "y")),
			"a: {b: [x, \"y\",], \"x\":1,}\n",
		},
		"a JSON file": {
			"{\n\t\"a\": {\"b\": [1]},\n\t\"c\": {}\n}\n",
			0,
			"",
			ops(add("/a/b/-", int64(2)), add("/c/d", "e"), add("/f", nil), remove("/a")),
			"{\n\t\"c\": {\"d\":\"e\"},\n\t\"f\": null\n}\n",
		},
		"a JSON file with escapes that YAML lacks": {
			`{"a": "\/\ud83d\ude00", "b": {}}`,
			0,
			"",
			ops(add("/b/c", int64(2))),
			`{"a": "\/\ud83d\ude00", "b": {"c":2}}`,
		},
		"one of several JSON objects": {
			"{\"a\": 1}\n{\n\"a\": 1\n}\n{}\n",
			1,
			"",
			ops(add("/b", int64(2))),
			"{\"a\": 1}\n{\n\"a\": 1, \"b\":2\n}\n{}\n",
		},
		"a JSON file on one line": {`{"a":1}`, 0, "", ops(add("/b", int64(2))), `{"a":1, "b":2}`},

		// Documents and files.
		"a document among others": {
			"a: 1\n---\n# c\na: 1\n--- # d\na: 1\n",
			1,
			"",
			ops(add("/b", int64(2))),
			"a: 1\n---\n# c\na: 1\nb: 2\n--- # d\na: 1\n",
		},
		"a document on its marker": {
			"--- {a: 1}\n---\nb: 1\n",
			0,
			"",
			ops(add("/b", int64(2))),
			"--- {a: 1, \"b\":2}\n---\nb: 1\n",
		},
		"a document before dots": {"a: 1\n...\n", 0, "", ops(add("/b", int64(2))), "a: 1\nb: 2\n...\n"},
		"an item of a List": {
			"items:\n- a: 1\n- a: 1\n  b:\n    c: 2\n- a: 1\n",
			0,
			"/items/1",
			ops(add("/b/x", int64(1))),
			"items:\n- a: 1\n- a: 1\n  b:\n    c: 2\n    x: 1\n- a: 1\n",
		},
		"a broken neighbour":  {"a: [\n---\na: 1\n", 1, "", ops(add("/b", int64(2))), "a: [\n---\na: 1\nb: 2\n"},
		"no final line break": {"a:\n  b: 1", 0, "", ops(add("/a/c", int64(2))), "a:\n  b: 1\n  c: 2"},
		"carriage returns": {
			"a:\r\n  b: 1 # c\r\nd: 2\r\n",
			0,
			"",
			ops(add("/a/x", []any{"y z"}), remove("/d")),
			"a:\r\n  b: 1 # c\r\n  x:\r\n    - y z\r\n",
		},
		"a byte order mark": {"\ufeffa: 1\n", 0, "", ops(add("/b", int64(2))), "\ufeffa: 1\nb: 2\n"},
		"characters of many bytes": {
			"ü: {é: ß, x: 'ö'} # ä\n",
			0,
			"",
			ops(add("/ü/x", "z")),
			"ü: {é: ß, x: \"z\"} # ä\n",
		},
		"line breaks that only YAML knows": {
			"a: [1,\u2028 2]\nb: \"x\u0085y\"\nc: 3\n",
			0,
			"",
			ops(add("/c", int64(4)), add("/a/-", int64(3))),
			"a: [1,\u2028 2, 3]\nb: \"x\u0085y\"\nc: 4\n",
		},
		"an unterminated block scalar": {"a: |\n  x", 0, "", ops(add("/b", int64(1))), "a: |\n  x\nb: 1"},
		"a key after a merge key": {
			"a: &a {b: 1}\ne:\n  b: 0\n  <<: *a\nf:\n  <<: *a\n  b: 2 # c\n",
			0,
			"",
			ops(add("/f/b", int64(3)), add("/e/c", int64(1))),
			"a: &a {b: 1}\ne:\n  b: 0\n  <<: *a\n  c: 1\nf:\n  <<: *a\n  b: 3 # c\n",
		},
		"no operations": {"a:   1\n", 0, "", nil, "a:   1\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Patch([]byte(test.text), test.index, test.at, test.operations)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
			documents, _ := Parse("", []byte(test.text))
			for _, d := range documents {
				if d.Index != test.index {
					continue
				}
				source, linesAbove := d.Source()
				patched, err := d.Patch(test.at, test.operations)
				above, below, _ := strings.Cut(test.text, string(source))
				if got := above + string(patched) + below; err != nil || got != test.want {
					t.Errorf("the text with the patched document is %q, %v, want %q", got, err, test.want)
				}
				if lines := strings.Count(above, "\n"); lines != linesAbove {
					t.Errorf("Source() returns %d lines above the document, want %d", linesAbove, lines)
				}
			}
		})
	}
}

func TestPatchRefusesWhatItCannotDoSafely(t *testing.T) {
	t.Parallel()
	const shared = " is shared through a YAML anchor; write the value out to edit it"
	const anchors = "a: &a\n  b: {c: 1}\nd: *a\ne:\n  <<: *a\n  f: 1\n"
	tests := map[string]struct {
		text      string
		index     int
		operation policies.PatchOperation
		want      string
	}{
		"through an alias":    {anchors, 0, add("/d/x", int64(1)), "/d/x" + shared},
		"an alias itself":     {anchors, 0, add("/d", int64(1)), "/d" + shared},
		"through a merge key": {anchors, 0, add("/e/b/x", int64(1)), "/e/b/x" + shared},
		"a merged key itself": {anchors, 0, remove("/e/b"), "/e/b" + shared},
		"a key that a merge key after it sets": {
			"a: &a {b: 1}\ne:\n  b: 2\n  <<: *a\n", 0, add("/e/b", int64(3)), "/e/b" + shared,
		},
		"a key that a merge key before it sets, too": {
			"a: &a {b: 1}\ne:\n  <<: *a\n  b: 2\n", 0, remove("/e/b"),
			"/e/b is written in a way that cannot be edited safely; edit it by hand",
		},
		"an anchored mapping":        {anchors, 0, add("/a/x", int64(1)), "/a/x" + shared},
		"within an anchored mapping": {anchors, 0, remove("/a/b/c"), "/a/b/c" + shared},
		"an anchored value":          {anchors, 0, add("/a", int64(1)), "/a" + shared},
		"no such document": {
			"a: 1\n",
			1,
			add("/b", int64(1)),
			"the file has no document 1 (counted from 0): it has 1; read the file again",
		},
		"a document that is a list": {"- a\n", 0, add("/0/b", int64(1)), "the document is not an object; choose another"},
		"an empty document": {
			"---\n---\n",
			0,
			add("/b", int64(1)),
			"the document is not an object; choose another",
		},
		"a broken document": {
			"a: [\n",
			0,
			add("/b", int64(1)),
			"1: did not find expected node content; fix the YAML on or just above this line",
		},
		"the whole document": {
			"a: 1\n",
			0,
			add("", map[string]any{}),
			"an operation applies to the whole document; name one of its members",
		},
		"an element in the middle": {
			"a: [1]\n",
			0,
			add("/a/0", int64(1)),
			"add /a/0 is not supported in files; edit the file by hand",
		},
		"another operation": {
			"a: 1\n",
			0,
			policies.PatchOperation{Op: "replace", Path: "/a"},
			"replace /a is not supported in files; edit the file by hand",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Patch([]byte(test.text), test.index, "", []policies.PatchOperation{test.operation})
			if err == nil {
				t.Fatalf("got no error and the text\n%s", got)
			}
			if err.Error() != test.want || got != nil {
				t.Errorf("got %q and the error\n%v, want none and\n%s", got, err, test.want)
			}
		})
	}
	for _, path := range []string{"/none/x", "/a/x/y"} {
		_, err := Patch([]byte("a: {}\n"), 0, "", []policies.PatchOperation{remove(path)})
		if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
			t.Errorf("the error for %s is %v, want one line that names the path", path, err)
		}
	}
}

func TestVerificationSeesEveryOtherChange(t *testing.T) {
	t.Parallel()
	old, want := chunk{text: []byte("---\nb: 1\n")}, map[string]any{"b": int64(2)}
	for text, safe := range map[string]bool{
		"---\nb: 2\n":            true,
		"---\nb: 3\n":            false,
		"---\n- b\n":             false,
		"---\nb: [\n":            false,
		"---\n\n":                false,
		"---\nb: 2":              false,
		"---\nb: 2\n---\nc: 1\n": false,
		"---\nb: 2\n...\n":       false,
		"...\n---\nb: 2\n":       false,
	} {
		if got := old.becomes([]byte(text), want); got != safe {
			t.Errorf("becomes(%q) = %v, want %v", text, got, safe)
		}
	}
}

func TestPatchAllLeavesNoTraceOfChangesThatFail(t *testing.T) {
	t.Parallel()
	const text = "\ufeff# a\na: 1\n...\n# b\n---\nb: &b {c: 1}\nd: *b\nitems:\n" +
		"- {}\n- e: 1\n---\n{\"e\": 1}\n"
	const want = "\ufeff# a\nx: 1\n...\n# b\n---\nb: &b {c: 1}\nd: *b\nitems:\n" +
		"- {\"x\":[1, 2]}\n- e: 1\n  x: 3\nf: 2\n---\n{\"e\": 1, \"f\":2}\n"
	type operations = []policies.PatchOperation
	changes := []*Change{
		{Index: 2, Operations: operations{add("/f", int64(2))}},
		{Index: 1, Operations: operations{add("/e", int64(1)), add("/d/x", int64(1))}},
		{Index: 1, At: "/items/0", Operations: operations{add("/x", []any{})}},
		{Index: 1, At: "/items/1", Operations: operations{add("/x", int64(3))}},
		{Index: 1, At: "/items/0", Operations: operations{add("/x/-", int64(1)), add("/x/-", int64(2))}},
		{Index: 1, At: "/items/2", Operations: operations{add("/x", int64(1))}},
		{Index: 0, Operations: operations{add("/x", int64(1))}},
		{Index: 3, Operations: operations{add("/x", int64(1))}},
		{Index: -1},
		{Index: 1, Operations: operations{add("/f", int64(2))}},
		{Index: 1},
		{Index: 0, Operations: operations{remove("/a")}},
	}
	if diff := cmp.Diff(want, string(PatchAll([]byte(text), changes))); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	var failed []int
	for i, change := range changes {
		if change.Err != nil {
			failed = append(failed, i)
		}
	}
	if diff := cmp.Diff([]int{1, 5, 7, 8}, failed); diff != "" {
		t.Errorf("changes with an Err (-want +got):\n%s", diff)
	}
}

// A writer writes a random mapping in all styles of YAML, and records the paths of the mappings in it.
type writer struct {
	*rand.Rand
	text     strings.Builder
	mappings []string
}

func (w *writer) pick(texts ...string) string { return texts[w.IntN(len(texts))] }

func (w *writer) mapping(path string, indent int, dash string) {
	w.mappings = append(w.mappings, path)
	for i := range 1 + w.IntN(3) {
		prefix := strings.Repeat(" ", indent)
		if i == 0 && dash != "" {
			prefix = dash
		} else if w.IntN(5) == 0 {
			w.text.WriteString(w.pick(prefix+"# c: d\n", "\n", "#\n", prefix+"  # e\n"))
		}
		key := string(rune('a' + i))
		w.text.WriteString(prefix + w.pick(key, "'"+key+"'", `"`+key+`"`) + ":")
		w.value(path+"/"+key, indent)
	}
}

func (w *writer) value(path string, indent int) {
	inner := strings.Repeat(" ", indent+1+w.IntN(4))
	choice := w.IntN(9)
	if len(inner) > 16 {
		choice = w.IntN(7)
	}
	switch choice {
	case 0, 1:
		w.text.WriteString(
			w.pick(" 1", " x # y", " \t'it''s'", ` "\\" #"`, " [x, 'y' ] # z", " {x: y}", " !!str 1", " é") + "\n",
		)
	case 2:
		w.text.WriteString(" |" + w.pick("", "-", "+", "- # d") + "\n" + inner + "x: y\n" + w.pick("", "\n") +
			inner + w.pick("  # z\n", "# z\n") + w.pick("", "\n\n"))
	case 3:
		w.text.WriteString(" >" + w.pick("", "-", "+") + "\n" + inner + "x\n" + inner + "- y\n" + w.pick("", "\n"))
	case 4:
		w.text.WriteString(" x\n" + inner + "y\n\n" + inner + w.pick("- z", "z # d") + "\n")
	case 5:
		w.text.WriteString(w.pick("", " # e", " ~") + "\n" + w.pick("", inner+"# f\n"))
	case 6:
		w.text.WriteString(" [x,\n" + inner + "{y: z}, # g\n" + inner + "]\n")
	case 7:
		w.text.WriteString("\n")
		w.mapping(path, len(inner), "")
	case 8:
		w.text.WriteString("\n")
		column := indent + w.IntN(3)
		dash := strings.Repeat(" ", column) + "-" + w.pick(" ", "   ")
		w.text.WriteString(dash + "x\n" + strings.Repeat(" ", w.IntN(3)) + "# h\n")
		w.mapping(path+"/1", len(dash), dash)
	}
}

// isInsertion reports whether after is before with one piece of text inserted.
func isInsertion(before, after string) bool {
	n := 0
	for n < len(before) && n < len(after) && before[n] == after[n] {
		n++
	}
	return len(after) >= len(before) && strings.HasSuffix(after, before[n:])
}

func TestAddToAnyMappingKeepsAllLines(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3000) {
		w := &writer{Rand: rand.New(rand.NewPCG(seed, 0))}
		w.mapping("", 0, "")
		text := w.text.String()
		if w.IntN(4) == 0 {
			text = strings.ReplaceAll(text, "\n", "\r\n")
		}
		value := []any{"x\ny", nil, int64(1), []any{}, []any{constraint()}, map[string]any{"b": []any{"c"}}}[w.IntN(6)]
		for _, path := range w.mappings {
			got, err := Patch([]byte(text), 0, path, []policies.PatchOperation{add("/new", value)})
			if err != nil {
				t.Fatalf("seed %d: %v in\n%s", seed, err, text)
			}
			if !isInsertion(text, string(got)) {
				t.Fatalf("seed %d: not only %s/new changed (-before +after):\n%s", seed, path, cmp.Diff(text, string(got)))
			}
			back, err := Patch(got, 0, path, []policies.PatchOperation{remove("/new")})
			if err != nil {
				t.Fatalf("seed %d: %v in\n%s", seed, err, got)
			}
			if diff := cmp.Diff(text, string(back)); diff != "" {
				t.Fatalf("seed %d: removing %s/new does not restore the text (-before +after):\n%s", seed, path, diff)
			}
		}
	}
}

func FuzzPatch(f *testing.F) {
	for _, seed := range []struct{ text, path, value string }{
		{"a:\n  b: 1\n", "/a", "x"}, {"a: {b: [1, 2]}\n", "/a", "y: z"}, {"{\"a\": {}}", "/a", ""},
		{"a:\n- b: |+\n    x\n\n- &x c: *x\n", "/a/0", "x\ny"}, {"a: 'b\n\n  c'\n# d\n", "", "#"},
		{"? a\n: b: >1\n   c\n", "/a", "-"}, {"a: |1 # b\n   c\n\nd: e\n", "", "x\n\n y\n"},
	} {
		f.Add(seed.text, seed.path, seed.value)
	}
	f.Fuzz(func(t *testing.T, text, path, value string) {
		if strings.ContainsFunc(path, unicode.IsControl) {
			return // errors quote the path, so they would not be one line
		}
		for _, value := range []any{value, []any{value}, map[string]any{value: value}} {
			for _, name := range []string{"/new", "/-", "/a", "/0"} {
				for _, operation := range []policies.PatchOperation{add(path+name, value), remove(path + name)} {
					got, err := Patch([]byte(text), 0, "", []policies.PatchOperation{operation})
					if err != nil {
						if got != nil || strings.Contains(err.Error(), "\n") {
							t.Errorf("error %q is not one line, or Patch also returns a text", err)
						}
						continue
					}
					before, _ := Parse("", []byte(text))
					after, _ := Parse("", got)
					if len(before) != len(after) {
						t.Errorf("%v changed the number of documents from %d to %d:\n%s",
							operation, len(before), len(after), got)
					}
				}
			}
		}
		// To add a member to a mapping that is not empty must only insert text.
		document, _ := Parse("", []byte(text))
		if len(document) == 0 || document[0].Index > 0 {
			return
		}
		if m, ok := valueOf(document[0].Content, path).(map[string]any); ok && len(m) > 0 && m["new"] == nil {
			got, err := Patch([]byte(text), 0, path, []policies.PatchOperation{add("/new", value)})
			if _, exists := m["new"]; err == nil && !exists && !isInsertion(text, string(got)) {
				t.Errorf("not only %s/new changed (-before +after):\n%s", path, cmp.Diff(text, string(got)))
			}
		}
	})
}

// valueOf returns the value at a JSON Pointer, or nil if there is none.
func valueOf(value any, pointer string) any {
	for _, token := range tokens(pointer) {
		switch v := value.(type) {
		case map[string]any:
			value = v[token]
		case []any:
			var i int
			if _, err := fmt.Sscan(token, &i); err != nil || i < 0 || i >= len(v) {
				return nil
			}
			value = v[i]
		default:
			return nil
		}
	}
	return value
}
