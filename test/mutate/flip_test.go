package main

import (
	"os"
	"path/filepath"
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
	flips, err := flipsOf("p.go", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range flips {
		got = append(got, f.String())
		flipped := string(f.apply([]byte(source)))
		if len(flipped) != len(source)-len(f.from)+len(f.to) || flipped[f.offset:f.offset+len(f.to)] != f.to {
			t.Errorf("%s gives\n%s", f, flipped)
		}
	}
	want := []string{
		`p.go:4: "<=" instead of "<" in: for a < 3 {`,
		`p.go:5: "" instead of "!" in: if !is && a == b {`,
		`p.go:5: "||" instead of "&&" in: if !is && a == b {`,
		`p.go:5: "!=" instead of "==" in: if !is && a == b {`,
		`p.go:6: "break" instead of "continue" in: continue`,
		`p.go:8: "continue" instead of "break" in: break`,
		`p.go:10: ">" instead of ">=" in: return a >= b || true`,
		`p.go:10: "&&" instead of "||" in: return a >= b || true`,
		`p.go:10: "false" instead of "true" in: return a >= b || true`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("flipsOf() mismatch (-want +got):\n%s", diff)
	}
	if _, err := flipsOf("p.go", []byte("package")); err == nil {
		t.Error("flipsOf() of a file that does not parse: error = nil")
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
	flips, err := flipsIn(dir)
	if err != nil || len(flips) != 1 || filepath.Base(flips[0].file) != "a.go" {
		t.Errorf("flipsIn() = %v, %v; want one flip in a.go", flips, err)
	}
}

func TestChosenDependsOnlyOnTheSeed(t *testing.T) {
	t.Parallel()
	flips := make([]flip, 100)
	for i := range flips {
		flips[i].offset = i
	}
	order := func(n int, seed uint64) (offsets []int) {
		for _, f := range chosen(flips, n, seed) {
			offsets = append(offsets, f.offset)
		}
		return offsets
	}
	if diff := cmp.Diff(order(200, 1)[:10], order(10, 1)); diff != "" {
		t.Errorf("chosen() of one seed mismatch:\n%s", diff)
	}
	if cmp.Equal(order(10, 1), order(10, 2)) {
		t.Error("two seeds choose the same flips")
	}
}
