package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSourceAroundAColumn(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789", 30)
	tests := map[string]struct {
		line   string
		column int
		want   *sourceLine
	}{
		"a short line":             {"  type: ClusterIP", 3, &sourceLine{"  type: ClusterIP", 3}},
		"the last column":          {"abc", 3, &sourceLine{"abc", 3}},
		"the begin of a long line": {long, 1, &sourceLine{long[:100] + "…", 1}},
		"the middle of it":         {long, 101, &sourceLine{"…" + long[40:140] + "…", 62}},
		"its end":                  {long, 300, &sourceLine{"…" + long[239:], 62}},
		"characters, not bytes":    {"äöü: x", 6, &sourceLine{"äöü: x", 6}},
		"a tab":                    {"\ta: x", 2, &sourceLine{" a: x", 2}},
		"what a terminal obeys":    {"\x1b[2J: x", 7, &sourceLine{`\x1b[2J: x`, 10}},
		"a carriage return":        {"a: x\r", 1, &sourceLine{"a: x", 1}},
		"a byte order mark":        {"\ufeffa: x", 1, &sourceLine{"a: x", 1}},
		"not UTF-8":                {"a\xff: x", 1, &sourceLine{"a\ufffd: x", 1}},
		"no column":                {"a: x", 0, nil},
		"a column behind the line": {"a: x", 5, nil},
		"an empty line":            {"", 1, nil},
		"the line of a program":    {strings.Repeat(long, 10), 1_001, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := sourceAround([]byte(test.line), test.column)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(sourceLine{})); diff != "" {
				t.Errorf("sourceAround() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOnlyTheLineOfAFieldIsShown(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		line   string
		column int
		path   string
		want   bool
	}{
		"a key":                 {"  type: ClusterIP", 3, "/spec/type", true},
		"a key in quotes":       {`  "type": "ClusterIP"`, 3, "/spec/type", true},
		"a key with a slash":    {"    a.b/c~d: x", 5, "/metadata/annotations/a.b~1c~0d", true},
		"an element":            {"  - 192.0.2.1", 5, "/spec/externalIPs/0", true},
		"the parent of a key":   {"spec:", 1, "/spec/externalTrafficPolicy", false},
		"the parent in a list":  {"  - name: web", 5, "/spec/containers/0/readinessProbe", false},
		"the object as a whole": {"apiVersion: v1", 1, "", false},
	}
	for name, test := range tests {
		if got := sourceAround([]byte(test.line), test.column).isField(test.path); got != test.want {
			t.Errorf("%s: isField(%q) = %t for column %d of %q", name, test.path, got, test.column, test.line)
		}
	}
}
