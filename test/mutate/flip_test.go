package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFlipsOf(t *testing.T) {
	t.Parallel()
	const source = `package p

func f(a, b int, is bool) bool {
	for a < 3 {
		if !is && a == b {
			continue
		}
		break
	}
	return a >= b || true
}
`
	flips, name, err := flipsOf("p.go", []byte(source), 1)
	if err != nil || name != "p" {
		t.Fatalf("flipsOf() = package %q, %v", name, err)
	}
	var got []string
	for i, f := range flips {
		got = append(got, f.String())
		if f.number != i+1 {
			t.Errorf("%s has the number %d, want %d", f, f.number, i+1)
		}
	}
	want := []string{
		`p.go:4:8: "<=" instead of "<" in: for a < 3 {`,
		`p.go:5:10: "||" instead of "&&" in: if !is && a == b {`,
		`p.go:5:6: "" instead of "!" in: if !is && a == b {`,
		`p.go:5:15: "!=" instead of "==" in: if !is && a == b {`,
		`p.go:6:4: "break" instead of "continue" in: continue`,
		`p.go:8:3: "continue" instead of "break" in: break`,
		`p.go:10:16: "&&" instead of "||" in: return a >= b || true`,
		`p.go:10:11: ">" instead of ">=" in: return a >= b || true`,
		`p.go:10:19: "false" instead of "true" in: return a >= b || true`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("flipsOf() mismatch (-want +got):\n%s", diff)
	}
	if _, _, err := flipsOf("p.go", []byte("package"), 1); err == nil {
		t.Error("flipsOf() of a file that does not parse: error = nil")
	}
}

// TestEachFlipChangesOneResult builds a program with all flips, and runs it once for each.
func TestEachFlipChangesOneResult(t *testing.T) {
	t.Parallel()
	const source = `package main

const limit = 3 < 4

func either(a, b bool) bool {
	return a && !b ||
		b && !(a == b)
}

func main() {
	a, b := 1, 1
	println(a < b, a <= b, a > b, a >= b)
	println(either(a > 1, b > 1), either(a > 1, limit), either(limit, b > 1), either(limit, limit))
	for i := 0; i != 3; i++ {
		if i == 1 {
			continue
		}
		println(i)
	}
}
`
	dir := t.TempDir()
	flips, name, err := flipsOf("main.go", []byte(source), 1)
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "program")
	for file, text := range map[string]string{
		"go.mod": "module p\n\ngo 1.26\n", "main.go": string(apply([]byte(source), flips)),
		"helpers.go": "package " + name + "\n\n" + helpers,
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".")
	build.Dir = dir
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, output, apply([]byte(source), flips))
	}
	run := func(number int) string {
		cmd := exec.CommandContext(t.Context(), binary)
		cmd.Env = []string{fmt.Sprintf("%s=%d", flipVariable, number)}
		output, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatal(err)
		}
		return string(output)
	}
	const without = "false true false true\nfalse true true false\n0\n2\n"
	if got := run(0); got != without {
		t.Errorf("without a flip, the program writes\n%s", got)
	}
	var got []string
	for _, f := range flips {
		output := run(f.number)
		if output == without {
			t.Errorf("%s changes nothing", f)
		}
		got = append(got, fmt.Sprintf("%s:%d: %q: %s", f.file, f.line, f.to, strings.Join(strings.Fields(output), " ")))
	}
	want := []string{
		`main.go:6: "&&": false true false true false false false false 0 2`,
		`main.go:6: "||": false true false true true true true true 0 2`,
		`main.go:6: "": false true false true false true false true 0 2`,
		`main.go:7: "||": false true false true false true true true 0 2`,
		`main.go:7: "": false true false true false false true true 0 2`,
		`main.go:7: "!=": false true false true false false true true 0 2`,
		`main.go:12: "<=": true true false true false true true false 0 2`,
		`main.go:12: "<": false false false true false true true false 0 2`,
		`main.go:12: ">=": false true true true false true true false 0 2`,
		`main.go:12: ">": false true false false false true true false 0 2`,
		`main.go:13: ">=": false true false true true true true false 0 2`,
		`main.go:13: ">=": false true false true true true true false 0 2`,
		`main.go:13: ">=": false true false true false false true false 0 2`,
		`main.go:13: ">=": false true false true false true false false 0 2`,
		`main.go:14: "==": false true false true false true true false`,
		`main.go:15: "!=": false true false true false true true false 1`,
		`main.go:16: "break": false true false true false true true false 0`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("results mismatch (-want +got):\n%s", diff)
	}
}

func TestFlipsInLeavesOutTests(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"a.go", "a_test.go", "b.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("package p\n\nvar x = true\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flips, _, err := flipsIn(dir)
	if err != nil || len(flips) != 1 || filepath.Base(flips[0].file) != "a.go" {
		t.Errorf("flipsIn() = %v, %v; want one flip in a.go", flips, err)
	}
}

func TestChosenDependsOnlyOnTheSeed(t *testing.T) {
	t.Parallel()
	flips := make([]flip, 100)
	for i := range flips {
		flips[i].number = i
	}
	order := func(seed uint64) (numbers []int) {
		for _, f := range chosen(flips, seed) {
			numbers = append(numbers, f.number)
		}
		return numbers
	}
	if diff := cmp.Diff(order(1), order(1)); diff != "" {
		t.Errorf("chosen() of one seed mismatch:\n%s", diff)
	}
	if cmp.Equal(order(1), order(2)) {
		t.Error("two seeds choose the same flips")
	}
}
