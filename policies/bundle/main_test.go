package bundle

import (
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// isSecondRun is set in the environment of the second of two runs with -update.
const isSecondRun = "SOURCEWARD_SECOND_RUN"

// TestMain runs the tests. With -update it compiles and runs them once more if they rewrote a file that they are
// compiled from: the first run may have written other golden files from the old schema, module or catalogue.
func TestMain(m *testing.M) {
	flag.Parse()
	if !*update || os.Getenv(isSecondRun) != "" {
		m.Run()
		return
	}
	before := compiledFiles()
	code := m.Run()
	if !maps.Equal(before, compiledFiles()) {
		code = runAgain()
	}
	os.Exit(code) //nolint:forbidigo // the last run decides
}

// compiledFiles returns the text of each file that -update may rewrite and that is compiled into the tests.
func compiledFiles() map[string]string {
	texts := map[string]string{}
	for _, root := range []string{"providers.json", "schema", "sourceward", "../rego_rules.go"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			texts[path] = string(text)
			return err
		})
		if err != nil {
			panic(err)
		}
	}
	return texts
}

// runAgain compiles the tests again, runs those that this process ran, and returns the exit code.
func runAgain() int {
	cmd := exec.Command("go", "test", ".", "-update", "-run", flag.Lookup("test.run").Value.String())
	cmd.Env = append(os.Environ(), isSecondRun+"=true")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "run the tests again:", err)
		return 1
	}
	return 0
}
