package pages

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const page = "# A page\n\n" +
	"```console\n$ go build -o bin/ ./cmd/sourceward\n$ bin/sourceward rules\none\n\ntwo\n```\n\n" +
	"```sh\n$ this is not run\n```\n\n" +
	"```console\n$ cat <<'EOF'\n> one\n>\n> two\n> EOF\none\n\ntwo\n$ kubectl get sip\n```\n"

// TestRead reads blocks of both kinds, a command of several lines, and commands without output.
func TestRead(t *testing.T) {
	t.Parallel()
	type command struct{ Line, Output string }
	type block struct {
		Local    bool
		Commands []command
	}
	var got []block
	for _, b := range read(t, page).Blocks {
		commands := make([]command, len(b.Commands))
		for i, c := range b.Commands {
			commands[i] = command{c.Line, c.Output}
		}
		got = append(got, block{b.Local(), commands})
	}
	want := []block{
		{true, []command{{"go build -o bin/ ./cmd/sourceward", ""}, {"bin/sourceward rules", "one\n\ntwo"}}},
		{false, []command{{"cat <<'EOF'\none\n\ntwo\nEOF", "one\n\ntwo"}, {"kubectl get sip", ""}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Read() mismatch (-want +got):\n%s", diff)
	}
}

// TestWrite changes an output, removes one and adds one.
func TestWrite(t *testing.T) {
	t.Parallel()
	p := read(t, page)
	p.Blocks[0].Commands[1].Output = "three"
	p.Blocks[1].Commands[0].Output = ""
	p.Blocks[1].Commands[1].Output = "NAME\nedge"
	want := strings.NewReplacer(
		"rules\none\n\ntwo\n", "rules\nthree\n", "EOF\none\n\ntwo\n", "EOF\n", "get sip\n", "get sip\nNAME\nedge\n",
	).Replace(page)
	if diff := cmp.Diff(want, written(t, p)); diff != "" {
		t.Errorf("Write() mismatch (-want +got):\n%s", diff)
	}
}

func TestWriteChangesNothingByItself(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(page, written(t, read(t, page))); diff != "" {
		t.Errorf("Write() mismatch (-want +got):\n%s", diff)
	}
}

func read(t *testing.T, text string) *Page {
	t.Helper()
	path := filepath.Join(t.TempDir(), "README.md")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func written(t *testing.T, p *Page) string {
	t.Helper()
	if err := p.Write(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(p.path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
