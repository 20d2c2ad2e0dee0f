package test

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/test/pages"
)

const (
	root   = ".."
	readme = "../README.md"
)

// markdown returns the Markdown pages of the repository.
func markdown(t *testing.T) []string {
	t.Helper()
	list, err := pages.List(root)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(list, readme) {
		t.Fatalf("%s is not among the pages %q", readme, list)
	}
	return list
}

// TestConsoleBlocks runs the console blocks of all pages that need no cluster, in the root of the repository, and
// compares what they print with the page; with -update it writes the page. All other blocks must be on a page that
// test/e2e runs.
func TestConsoleBlocks(t *testing.T) {
	const build, binary = "go build -o bin/ ./cmd/sourceward", "bin/sourceward "
	for _, path := range markdown(t) {
		page, err := pages.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range page.Blocks {
			if len(block.Commands) == 0 {
				t.Errorf("%s has a console block without a command", path)
				continue
			}
			if !block.Local() {
				if name, _ := filepath.Rel(root, path); !slices.Contains(pages.OnCluster, filepath.ToSlash(name)) {
					t.Errorf("%s: no test runs the block that begins with %q; begin its commands with %q, "+
						"or add the page to OnCluster in test/pages", path, block.Commands[0].Line, binary)
				}
				continue
			}
			for _, command := range block.Commands {
				switch {
				case command.Line == build:
					continue // TestMain has done it.
				case !strings.HasPrefix(command.Line, binary):
					t.Errorf("%s: %q is in a block that runs %q, and no test runs it", path, command.Line, binary)
					continue
				}
				got := runShell(t, strings.ReplaceAll(command.Line, binary, sourceward+" "))
				if *update {
					command.Output = got
				} else if diff := cmp.Diff(command.Output, got); diff != "" {
					t.Errorf("%s shows another output of %s; if the new one is right, run make generate "+
						"(-page +command):\n%s", path, command.Line, diff)
				}
			}
		}
		if err := page.Write(); err != nil {
			t.Error(err)
		}
	}
}

// runShell runs a command in the root of the repository and returns its standard output without the last newline. The
// command may fail, and must write nothing to the standard error.
func runShell(t *testing.T, line string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	shell := exec.CommandContext(t.Context(), "bash", "-o", "pipefail", "-c", line)
	shell.Dir, shell.Stdout, shell.Stderr = root, &stdout, &stderr
	if err := shell.Run(); err != nil && shell.ProcessState == nil {
		t.Fatal(err)
	}
	if stderr.Len() > 0 {
		t.Errorf("%s writes to the standard error: %s", line, &stderr)
	}
	return strings.TrimSuffix(stdout.String(), "\n")
}

// TestReadmeListsTheRules compares the table of README with the catalogue; with -update it writes the table.
func TestReadmeListsTheRules(t *testing.T) {
	var want strings.Builder
	want.WriteString("| rule | default mode | finds |\n|---|---|---|\n")
	for _, rule := range policies.Catalogue() {
		mode := string(rule.DefaultMode)
		if rule.DefaultModeNote != "" {
			mode += " \\*"
		}
		fmt.Fprintf(&want, "| [`%s`](policies/README.md#%[1]s) | %s | %s |\n", rule.ID, mode, rule.Title)
	}
	generated(t, readme, "rules", want.String()+"\n")
}

// TestReadmeIsAFrontPage keeps README at 150 lines with some forty rules: a detail belongs on the page that is about
// it.
func TestReadmeIsAFrontPage(t *testing.T) {
	t.Parallel()
	const limit = 110
	before, rest, _ := strings.Cut(content(t, readme), "<!-- rules: make generate -->\n")
	_, after, _ := strings.Cut(rest, "<!-- end of rules -->\n")
	if lines := strings.Count(before+after, "\n"); lines > limit {
		t.Errorf("README has %d lines without the table of rules, want at most %d", lines, limit)
	}
}

// target is where a Markdown link leads, or an address in angle brackets.
var target = regexp.MustCompile(`\]\([^)\s]*\)|<https?://[^>\s]*>`)

// TestProse holds the prose of all pages to 120 columns: not tables and code, and not the targets of links.
func TestProse(t *testing.T) {
	t.Parallel()
	const limit = 120
	for _, path := range markdown(t) {
		for number, line := range prose(content(t, path)) {
			if strings.HasPrefix(line, "|") {
				continue
			}
			if columns := utf8.RuneCountInString(target.ReplaceAllString(line, "]")); columns > limit {
				t.Errorf("%s:%d has %d columns, want at most %d", path, number, columns, limit)
			}
		}
	}
}

// prose yields the lines of a page that are outside of code blocks, with their numbers.
func prose(page string) func(yield func(number int, line string) bool) {
	return func(yield func(number int, line string) bool) {
		code, number := false, 0
		for line := range strings.Lines(page) {
			number++
			if strings.HasPrefix(line, "```") {
				code = !code
				continue
			}
			if !code && !yield(number, strings.TrimSuffix(line, "\n")) {
				return
			}
		}
	}
}

// TestLinks follows the links of all pages to files of the repository, and to headings in them.
func TestLinks(t *testing.T) {
	t.Parallel()
	for _, path := range markdown(t) {
		for number, line := range prose(content(t, path)) {
			for _, link := range target.FindAllString(line, -1) {
				link = strings.TrimSuffix(strings.TrimPrefix(link, "]("), ")")
				if strings.Contains(link, "://") {
					continue
				}
				file, heading, _ := strings.Cut(link, "#")
				to := path
				if file != "" {
					to = filepath.Join(filepath.Dir(path), file)
				}
				if matches, err := filepath.Glob(to); err != nil || matches == nil {
					t.Errorf("%s:%d: %s is not a file or folder", path, number, to)
				} else if heading != "" && !headings(content(t, to))[heading] {
					t.Errorf("%s:%d: %s has no heading #%s", path, number, to, heading)
				}
			}
		}
	}
}

var notInAnchor = regexp.MustCompile(`[^a-z0-9 _-]`)

// headings returns the anchors that GitHub gives to the headings of a page.
func headings(page string) map[string]bool {
	anchors := map[string]bool{}
	for _, line := range prose(page) {
		if text := strings.TrimLeft(line, "#"); text != line && strings.HasPrefix(text, " ") {
			text = notInAnchor.ReplaceAllString(strings.ToLower(strings.TrimSpace(text)), "")
			anchors[strings.ReplaceAll(text, " ", "-")] = true
		}
	}
	return anchors
}
