// Command mutate flips operators of the core one at a time, and reports how many of the flips the tests notice. A flip
// that no test notices is a rule that nobody would miss, or one that changes nothing; `make mutate` lists them.
//
// A flip is noticed if a case fails in the core or the handler, or a test of its package. One binary has all flips that
// compile; a variable of the environment chooses the one that takes effect.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/term"
)

// aboutRules matches the tests of all rules that need no binary.
const aboutRules = "^(TestCases|TestRulesNeedWhatTheyRead|TestFixableRulesAreRepaired|TestReadmeListsTheRules|" +
	"TestGuideListsTheRules|TestSchemaKnowsWhatCanBeRepaired|TestMessagesFitIntoAWarning)$"

// timeout is how long the tests may take with a flip, which may make a loop endless. They take a tenth of it without.
const timeout = "5m"

func main() {
	number := flag.Int("n", 300, "the number of flips")
	seed := flag.Uint64("seed", 1, "chooses the flips: equal seeds choose the same ones in the same source")
	folder := flag.String("folder", "policies", "the folder of the package")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *folder, *number, *seed, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1) //nolint:forbidigo // this is a main
	}
}

// run tries the flips and writes the report. The error is non-nil when the tests cannot be built or run, or fail
// without any flip.
func run(ctx context.Context, folder string, number int, seed uint64, out io.Writer) error {
	all, name, err := flipsIn(folder)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	t := &trial{ctx: ctx, work: work, suites: []testSuite{
		{"test", filepath.Join(work, "cases"), []string{"-test.run", aboutRules, "-in-process"}},
		{folder, filepath.Join(work, "tests"), nil},
	}}
	valid, err := t.build(folder, name, all)
	if err != nil {
		return err
	}
	if noticed, err := t.noticed(flip{}); noticed || err != nil {
		return errors.Join(err, errors.New("the tests fail without a flip"))
	}
	chosen := chosen(valid, seed)
	chosen = chosen[:min(number, len(chosen))]
	survived := 0
	isTerminal := term.IsTerminal(int(os.Stderr.Fd()))
	for i, f := range chosen {
		if isTerminal {
			fmt.Fprintf(os.Stderr, "\r%d of %d flips, %d not noticed ", i, len(chosen), survived)
		}
		noticed, err := t.noticed(f)
		if err != nil {
			return err
		}
		if !noticed {
			survived++
			fmt.Fprintln(out, f) // at once, since the rest may take long
		}
	}
	if isTerminal {
		fmt.Fprint(os.Stderr, "\r\033[K")
	}
	noticed := len(chosen) - survived
	fmt.Fprintf(out, "seed %d: %d of %d flips in %s were noticed (%.1f %%), of %d possible ones; %d do not compile\n",
		seed, noticed, len(chosen), folder, 100*float64(noticed)/float64(max(len(chosen), 1)),
		len(valid), len(all)-len(valid))
	return nil
}

// trial runs tests with a flip.
type trial struct {
	ctx    context.Context //nolint:containedctx // it lives as long as one run
	work   string
	suites []testSuite
}

// testSuite is a package of tests, the binary that is built of it, and the arguments that it needs. The first suite is
// the fastest.
type testSuite struct {
	folder, binary string
	args           []string
}

// build builds the tests with all flips that compile, and returns these. folder is that of the package with the flips,
// and name its name. The error is non-nil when the tests do not compile without a flip.
func (t *trial) build(folder, name string, flips []flip) ([]flip, error) {
	for {
		overlay, err := t.overlay(folder, name, flips)
		if err != nil {
			return nil, err
		}
		var wrong []byte
		for _, tests := range t.suites {
			args := []string{
				"test", "-c", "-overlay", overlay, "-gcflags=./" + folder + "=-e", "-o", tests.binary, "./" + tests.folder,
			}
			if wrong, err = exec.CommandContext(t.ctx, "go", args...).CombinedOutput(); err != nil {
				break
			}
		}
		if err == nil {
			return flips, nil
		}
		kept := slices.Clone(flips)
		for _, match := range compileError.FindAllSubmatch(wrong, -1) {
			line, err := strconv.Atoi(string(match[2]))
			if err == nil {
				kept = without(kept, filepath.Join(folder, filepath.Base(string(match[1]))), line)
			}
		}
		if len(kept) == len(flips) {
			return nil, fmt.Errorf("build the tests: %w\n%s", err, wrong)
		}
		flips = kept
	}
}

// compileError matches the file and the line of an error of the compiler.
var compileError = regexp.MustCompile(`(?m)^(\S+\.go):(\d+):`)

// without returns the flips without those in a line that does not compile. If there are none, a break above it made the
// end of a function reachable: the nearest one is left out.
func without(flips []flip, file string, line int) []flip {
	isThere := func(f flip) bool { return f.file == file && f.line == line }
	if slices.ContainsFunc(flips, isThere) {
		return slices.DeleteFunc(flips, isThere)
	}
	last := -1
	for i, f := range flips {
		if f.file == file && f.line < line && f.to == "break" {
			last = i
		}
	}
	if last < 0 {
		return flips
	}
	return slices.Delete(flips, last, last+1)
}

// overlay writes the source with the flips, and returns the path of a file that lets the go command read it.
func (t *trial) overlay(folder, name string, flips []flip) (string, error) {
	replace := map[string]string{}
	write := func(path string, text []byte) error {
		absolute, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		replace[absolute] = filepath.Join(t.work, filepath.Base(path))
		return os.WriteFile(replace[absolute], text, 0o600)
	}
	files := map[string][]flip{}
	for _, f := range flips {
		files[f.file] = append(files[f.file], f)
	}
	for path, flips := range files {
		source, err := os.ReadFile(path)
		if err == nil {
			err = write(path, apply(source, flips))
		}
		if err != nil {
			return "", err
		}
	}
	if err := write(filepath.Join(folder, "flip_helpers.go"), []byte("package "+name+"\n\n"+helpers)); err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	path := filepath.Join(t.work, "overlay.json")
	return path, errors.Join(err, os.WriteFile(path, text, 0o600))
}

// noticed reports whether a test fails with a flip; the zero flip changes nothing.
func (t *trial) noticed(f flip) (bool, error) {
	for _, tests := range t.suites {
		args := append([]string{"-test.v", "-test.failfast", "-test.timeout", timeout}, tests.args...)
		cmd := exec.CommandContext(t.ctx, tests.binary, args...)
		cmd.Dir, cmd.Env = tests.folder, append(os.Environ(), fmt.Sprintf("%s=%d", flipVariable, f.number))
		if passes, err := t.passes(cmd); !passes || err != nil {
			return true, err
		}
	}
	return false, nil
}

// passes runs a command until it ends or writes that a test has failed. The error is non-nil when it could not be run.
func (t *trial) passes(cmd *exec.Cmd) (bool, error) {
	output, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	failed := false
	for lines := bufio.NewScanner(output); !failed && lines.Scan(); {
		failed = strings.HasPrefix(strings.TrimSpace(lines.Text()), "--- FAIL")
	}
	if failed {
		_ = cmd.Process.Kill() // It may have ended already.
	} else if _, err := io.Copy(io.Discard, output); err != nil { // what is left after a line that is too long
		return false, err
	}
	err = cmd.Wait()
	switch _, isExit := errors.AsType[*exec.ExitError](err); {
	case t.ctx.Err() != nil:
		return false, t.ctx.Err()
	case failed || isExit:
		return false, nil
	}
	return err == nil, err
}
