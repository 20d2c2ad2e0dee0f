// Package pages reads the console blocks of Markdown pages, so that tests can run the commands in them and compare what
// they print with the page. It runs nothing itself.
package pages

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// OnCluster lists the pages, by their path in the repository, whose console blocks need a cluster. The blocks of one
// page, except those that are Local, are one session, which test/e2e runs from the first command to the last.
var OnCluster = []string{"api/README.md", "policies/README.md"}

const (
	prompt       = "$ "
	continuation = ">"
)

// Page is a Markdown page with its console blocks.
type Page struct {
	Blocks []Block

	path, text string
}

// Block is one console block.
type Block struct{ Commands []*Command }

// Command is a command of a console block.
type Command struct {
	// Line is the command, without its prompt. It has more lines if lines that begin with > follow it in the page.
	Line string
	// Output is what the page shows below the command, without the last newline. A test may change it and then call
	// Page.Write.
	Output string

	// begin and end are where the output is in the page.
	begin, end int
}

var fence = regexp.MustCompile("(?ms)^```console\n(.*?)^```$")

// Read reads a page. The error is non-nil when the file cannot be read.
func Read(path string) (*Page, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	page := &Page{path: path, text: string(text)}
	for _, at := range fence.FindAllStringSubmatchIndex(page.text, -1) {
		page.Blocks = append(page.Blocks, readBlock(page.text[at[2]:at[3]], at[2]))
	}
	return page, nil
}

// readBlock reads the lines between the fences, which begin at an offset of the page. Lines above the first prompt
// belong to no command.
func readBlock(text string, offset int) Block {
	var block Block
	var command *Command
	atCommand := false
	for line := range strings.Lines(text) {
		begin := offset
		offset += len(line)
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, prompt):
			command = &Command{Line: strings.TrimPrefix(line, prompt), begin: offset, end: offset}
			block.Commands = append(block.Commands, command)
			atCommand = true
		case command == nil:
		case atCommand && strings.HasPrefix(line, continuation):
			command.Line += "\n" + strings.TrimPrefix(strings.TrimPrefix(line, continuation), " ")
			command.begin, command.end = offset, offset
		default:
			if atCommand {
				command.begin = begin
			} else {
				command.Output += "\n"
			}
			command.Output += line
			command.end = offset
			atCommand = false
		}
	}
	return block
}

// Local reports whether the block runs only what `go build -o bin/ ./cmd/sourceward` makes, in the root of the
// repository and without a cluster.
func (b Block) Local() bool {
	return slices.ContainsFunc(b.Commands, func(c *Command) bool { return strings.HasPrefix(c.Line, "bin/sourceward ") })
}

// Write writes the page with the outputs that its commands have now. It leaves a page that is the same untouched.
// The error is non-nil when the file cannot be written.
func (p *Page) Write() error {
	var text strings.Builder
	written := 0
	for _, block := range p.Blocks {
		for _, command := range block.Commands {
			text.WriteString(p.text[written:command.begin])
			if command.Output != "" {
				text.WriteString(command.Output + "\n")
			}
			written = command.end
		}
	}
	text.WriteString(p.text[written:])
	if text.String() == p.text {
		return nil
	}
	return os.WriteFile(p.path, []byte(text.String()), 0o644)
}

// List returns the paths of all Markdown pages below a folder, sorted, except those in testdata, bin and hidden
// folders. The error is non-nil when a folder cannot be read.
func List(root string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin"):
			return filepath.SkipDir
		case filepath.Ext(name) == ".md":
			found = append(found, path)
		}
		return nil
	})
	return found, err
}

// Marked is a block of code of any language, and what a comment on the line above it says of tests: "run by" and the
// name of the test that uses the block, or "not run:" and a reason. The marker is empty if there is none.
type Marked struct{ Marker, Language, Text string }

var marked = regexp.MustCompile("(?ms)(?:^ *<!-- (run by \\w+|not run: [^\n]+) -->\n)?^ *```(\\w+)\n(.*?)^ *```$")

// ReadMarked returns all blocks of a page. The error is non-nil when the file cannot be read, or when a block has no
// language.
func ReadMarked(path string) ([]Marked, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var blocks []Marked
	for _, match := range marked.FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, Marked{match[1], match[2], match[3]})
	}
	if fences := bytes.Count(text, []byte("```")); fences != 2*len(blocks) {
		return nil, fmt.Errorf("%s has %d fences, and %d blocks with a language", path, fences, len(blocks))
	}
	return blocks, nil
}

// RunBy returns the texts of the blocks of a page that a test runs. The error is non-nil when there are none.
func RunBy(path, test string) ([]string, error) {
	blocks, err := ReadMarked(path)
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, block := range blocks {
		if block.Marker == "run by "+test {
			texts = append(texts, block.Text)
		}
	}
	if texts == nil {
		return nil, fmt.Errorf("%s has no block below <!-- run by %s -->", path, test)
	}
	return texts, nil
}
