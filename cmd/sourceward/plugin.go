package main

import (
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// The names by which kubectl runs the binary: as a plugin, and to complete the command line of that plugin.
// Source: kubernetes v1.37.1, staging/src/k8s.io/kubectl/pkg/cmd/plugin.
const (
	pluginName         = "kubectl-sourceward"
	pluginCompleteName = "kubectl_complete-sourceward"
)

// plugin returns the arguments of the command for a whole command line, and whether kubectl runs it as a plugin.
func plugin(line []string) (args []string, isPlugin bool) {
	switch strings.TrimSuffix(filepath.Base(line[0]), ".exe") {
	case pluginName:
		return line[1:], true
	case pluginCompleteName:
		return append([]string{cobra.ShellCompRequestCmd}, line[1:]...), true
	}
	return line[1:], false
}

// asPlugin makes a command and its help say kubectl sourceward, and returns what does so in another text. The command
// completion is hidden, since kubectl has its own.
func asPlugin(root *cobra.Command) *strings.Replacer {
	root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl " + root.Name()}
	var names []string
	for _, cmd := range root.Commands() {
		names = append(names, root.Name()+" "+cmd.Name(), "kubectl "+root.Name()+" "+cmd.Name())
		cmd.Hidden = cmd.Hidden || cmd.Name() == "completion"
	}
	named := strings.NewReplacer(names...)
	rename(root, named)
	return named
}

func rename(cmd *cobra.Command, named *strings.Replacer) {
	cmd.Example, cmd.Long = named.Replace(cmd.Example), named.Replace(cmd.Long)
	for _, sub := range cmd.Commands() {
		rename(sub, named)
	}
}
