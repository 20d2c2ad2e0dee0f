package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies"
)

// version is set by the linker; see the Makefile.
var version = "devel"

func versionCommand(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of sourceward, Kubernetes, OPA and Go",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(s.out, "sourceward %s (Kubernetes up to %s, OPA %s, %s)\n",
				version, policies.Newest, moduleVersion("github.com/open-policy-agent/opa"), runtime.Version())
			return err
		},
	}
}

// moduleVersion returns the version of a module that is built into the binary.
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, module := range info.Deps {
			if module.Path == path {
				return module.Version
			}
		}
	}
	return "unknown"
}
