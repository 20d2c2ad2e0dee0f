package main

import (
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

// docsDir is the folder of make docs. A test writes it: nothing else can import package main, and the library that
// renders man pages stays out of the binary.
var docsDir = flag.String("docs", "", "write the man pages and completion scripts into this folder, for make docs")

// TestDocs writes the man pages and the completion scripts, and checks them.
func TestDocs(t *testing.T) {
	t.Parallel()
	dir, date := t.TempDir(), sourceDate(t)
	if *docsDir != "" {
		dir = *docsDir
	}
	writeManPages(t, filepath.Join(dir, "man"), date)
	writeCompletion(t, filepath.Join(dir, "completion"))

	again := t.TempDir()
	writeManPages(t, filepath.Join(again, "man"), date)
	writeCompletion(t, filepath.Join(again, "completion"))
	if diff := cmp.Diff(texts(t, again), texts(t, dir)); diff != "" {
		t.Errorf("two runs write different files (-second +first):\n%s", diff)
	}
}

// sourceDate returns the date of the source, by the variable that reproducible builds set, or 1970 without it. The time
// zone of the machine does not change it.
func sourceDate(t *testing.T) time.Time {
	t.Helper()
	var seconds int64
	if text := os.Getenv("SOURCE_DATE_EPOCH"); text != "" {
		var err error
		if seconds, err = strconv.ParseInt(text, 10, 64); err != nil {
			t.Fatal("SOURCE_DATE_EPOCH: ", err)
		}
	}
	return time.Unix(seconds, 0).UTC()
}

var (
	anyDate = regexp.MustCompile(`\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[ -](\d{1,2}, )?\d{4}\b`)
	// roff matches what a page has in place of plain text: fonts, and a backslash before a character.
	roff = regexp.MustCompile(`\\f[A-Z]|\\`)
)

// writeManPages writes a page for each command, and checks that it has the name, the flags and the subcommands of the
// command, and no other date.
func writeManPages(t *testing.T, dir string, date time.Time) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	commands := everyCommand(rootCommand(streams{}))
	for _, cmd := range commands {
		cmd.Long = markdown(cmd.Long)
		cmd.DisableAutoGenTag = true // it has the date of today
	}
	header := &doc.GenManHeader{Section: "1", Date: &date, Source: "Sourceward", Manual: "Sourceward"}
	if err := doc.GenManTree(commands[0], header, dir); err != nil {
		t.Fatal(err)
	}
	pages := texts(t, dir)
	if len(pages) != len(commands) {
		t.Errorf("there are %d man pages for %d commands", len(pages), len(commands))
	}
	for _, cmd := range commands {
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
		page := roff.ReplaceAllString(pages[name+".1"], "")
		want := []string{name + " - " + cmd.Short, "Sourceward", date.Format("Jan 2006")}
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				want = append(want, name+"-"+sub.Name()+"(1)")
			}
		}
		cmd.NonInheritedFlags().VisitAll(func(flag *pflag.Flag) { want = append(want, "--"+flag.Name) })
		for _, text := range want {
			if !strings.Contains(page, text) {
				t.Errorf("the man page of %s does not have %q:\n%s", name, text, page)
			}
		}
		for _, got := range anyDate.FindAllString(page, -1) {
			if got != date.Format("Jan 2006") {
				t.Errorf("the man page of %s has the date %s", name, got)
			}
		}
	}
}

// everyCommand returns a command and all below it that a user can run, the first one first.
func everyCommand(root *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{root}
	for i := 0; i < len(all); i++ {
		for _, sub := range all[i].Commands() {
			if sub.IsAvailableCommand() {
				all = append(all, sub)
			}
		}
	}
	return all
}

var markdownMarker = regexp.MustCompile("[\\\\`*_<>\\[\\]]")

// markdown returns the help of a command as the library of the man pages reads it: indented lines as code, so that they
// stay lines, and everything else as plain text.
func markdown(help string) string {
	var text strings.Builder
	code := false
	for line := range strings.Lines(help) {
		if indented := strings.HasPrefix(line, "  ") || strings.HasPrefix(line, "\t"); indented != code && line != "\n" {
			text.WriteString("\n```\n\n")
			code = indented
		}
		if !code {
			line = markdownMarker.ReplaceAllString(line, `\$0`)
		}
		text.WriteString(line)
	}
	if code {
		text.WriteString("\n```\n")
	}
	return text.String()
}

// writeCompletion writes the completion scripts of four shells under the names by which these find them. It checks that
// they are scripts for sourceward, and that what they call completes every command.
func writeCompletion(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var completed strings.Builder
	line := []string{"sourceward", cobra.ShellCompNoDescRequestCmd, ""}
	run(t.Context(), line, streams{out: &completed, err: io.Discard})
	root := rootCommand(streams{})
	for _, cmd := range everyCommand(root)[1:] {
		if cmd.Parent() == root && !slices.Contains(strings.Split(completed.String(), "\n"), cmd.Name()) {
			t.Errorf("%s is not among the completed commands:\n%s", cmd.Name(), &completed)
		}
	}
	for name, write := range map[string]func(io.Writer) error{
		"sourceward.bash": func(w io.Writer) error { return root.GenBashCompletionV2(w, true) },
		"_sourceward":     root.GenZshCompletion,
		"sourceward.fish": func(w io.Writer) error { return root.GenFishCompletion(w, true) },
		"sourceward.ps1":  root.GenPowerShellCompletionWithDesc,
	} {
		var script strings.Builder
		if err := write(&script); err != nil {
			t.Fatal(err)
		}
		if text := script.String(); !strings.Contains(text, "sourceward") || !strings.Contains(text, "__complete") {
			t.Errorf("%s does not complete sourceward:\n%s", name, text)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	bash := exec.CommandContext(t.Context(), "bash", "-n", filepath.Join(dir, "sourceward.bash"))
	if output, err := bash.CombinedOutput(); err != nil {
		t.Errorf("bash cannot read the script: %v\n%s", err, output)
	}
}

// texts returns the texts of the files in a folder, by their path in it.
func texts(t *testing.T, dir string) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil {
			path, err = filepath.Rel(dir, path)
			texts[path] = string(text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}
