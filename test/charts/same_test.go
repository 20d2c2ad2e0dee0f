package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/policies/render"
)

func TestCompareRenderings(t *testing.T) {
	t.Parallel()
	const (
		web = "kind: Service\nmetadata: {name: web}\nspec: {ports: [80, {}]}\n"
		db  = "kind: Service\nmetadata: {name: db}\n"
	)
	always := func(documents ...string) func(time.Duration) ([]string, error) {
		return func(time.Duration) ([]string, error) { return documents, nil }
	}
	fails := func(time.Duration) ([]string, error) { return nil, fmt.Errorf("exit status 1") }
	// dated returns a document with the time in it.
	dated := func(format string) func(time.Duration) ([]string, error) {
		return func(later time.Duration) ([]string, error) { return []string{fmt.Sprintf(format, later)}, nil }
	}
	tests := map[string]struct {
		ours   []string
		failed string
		theirs func(later time.Duration) ([]string, error)
		want   string
	}{
		"another order, and a document without an object": {
			ours: []string{web, db}, theirs: always("# nothing\n", db, web), want: "equal: 2 objects",
		},
		"another value": {
			ours: []string{web}, theirs: always("kind: Service\nmetadata: {name: web}\nspec: {ports: [80, []]}\n"),
			want: "different: 1 values: Service web/spec/ports/1 is {}, want []",
		},
		"a value of another type": {
			ours: []string{"a: 1\n"}, theirs: always("a: '1'\n"), want: `different: 1 values: /a is 1, want "1"`,
		},
		"an object that is missing": {
			ours: []string{web}, theirs: always(web, db),
			want: `different: 2 values: Service of another name (1)/kind is missing, want "Service"; ` +
				`Service of another name (1)/metadata/name is missing, want "db"`,
		},
		"an object too many": {
			ours: []string{"a: 1\n", "a: 1\n"}, theirs: always("a: 1\n"),
			want: "different: 1 values: of another name (1)/a is 1, want none",
		},
		"the time": {
			ours: []string{"a: 0\nb: 1\n"}, theirs: dated("a: %s\nb: 1\n"), want: "equal but for chance: /a",
		},
		"the time, and another value": {
			ours: []string{"a: 0\nb: 1\n"}, theirs: dated("a: %s\nb: 2\n"), want: "different: 1 values: /b is 1, want 2",
		},
		"the time in a name": {
			ours: []string{"kind: Pod\nmetadata: {name: web-x}\n"}, theirs: dated("kind: Pod\nmetadata: {name: web-%s}\n"),
			want: "equal but for chance: Pod of another name (1)/metadata/name",
		},
		"both fail":      {failed: "it is remote", theirs: fails, want: "both fail: it is remote"},
		"only we fail":   {failed: "it is remote", theirs: always(web), want: "only we fail: it is remote"},
		"only they fail": {ours: []string{web}, theirs: fails, want: "only they fail: exit status 1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rendering{ours: render.Result{Error: test.failed}}
			for _, text := range test.ours {
				r.ours.Objects = append(r.ours.Objects, render.Object{Text: []byte(text)})
			}
			c, err := r.compare(test.theirs)
			if err != nil {
				t.Fatal(err)
			}
			got := c.outcome + ": " + c.reason
			if c.outcome == equal {
				got = fmt.Sprintf("%s: %d objects", c.outcome, c.objects)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("compare() mismatch (-want +got):\n%s", diff)
			}
			if want := slices.Contains([]string{different, onlyOurs, onlyTheirs}, c.outcome); c.isFault() != want {
				t.Errorf("isFault() = %v for %s", c.isFault(), c.outcome)
			}
		})
	}
}
