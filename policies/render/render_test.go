package render

import (
	"os"
	"testing"

	"github.com/sourceward/sourceward/policies/child"
)

// TestMain is what main does in a program that uses this package.
func TestMain(m *testing.M) {
	if code, isChild := child.Main(os.Stdin, os.Stdout, Job); isChild {
		os.Exit(code) //nolint:forbidigo // this is what main does
	}
	m.Run()
}
