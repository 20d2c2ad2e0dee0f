package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sourceward/sourceward/policies"
)

const (
	// maxListed is the number of values up to which an error lists all of them. A longer list hides what is wrong.
	maxListed = 8
	// maxNearest is the number of values that an error names as the ones that may be meant.
	maxNearest = 3
)

// nearest returns the names that are spelled most like a word, for a message.
func nearest(word string, names []string) string {
	return strings.Join(policies.Nearest(word, names, maxNearest), ", ")
}

// notOneOf returns the error for a flag whose value is not an allowed one. The help of the flag lists all of them.
func notOneOf(flag, value string, allowed []string) error {
	problem := "is not one of " + strings.Join(allowed, ", ")
	if len(allowed) > maxListed {
		problem = "is not a known value"
	}
	if len(allowed) > maxNearest {
		problem += "; the nearest are " + nearest(value, allowed)
	}
	return fmt.Errorf("%s %q %s", flag, value, problem)
}

// refuseUnknownCommands makes each command that has subcommands, and help, refuse the name of a command that does not
// exist, and show their help without one.
func refuseUnknownCommands(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	groups := []*cobra.Command{root}
	for _, cmd := range root.Commands() {
		switch {
		case cmd.HasSubCommands():
			groups = append(groups, cmd)
		case cmd.Name() == "help":
			cmd.Args = func(_ *cobra.Command, args []string) error {
				of, rest, _ := root.Find(args)
				return unknownCommand(of, rest)
			}
		}
	}
	for _, cmd := range groups {
		cmd.Args, cmd.RunE = unknownCommand, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
}

// unknownCommand returns an error for arguments of a command that should be one of its subcommands; nil if there are
// none.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	problem := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
	if names != nil {
		problem += "; the nearest are " + nearest(args[0], names)
	}
	return errors.New(problem)
}

// flagError adds to the error for an unknown flag the flags that it may be a misspelling of, and says what value
// another flag wants. It returns any other error as it is.
func flagError(cmd *cobra.Command, err error) error {
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return fmt.Errorf("--%s %q is not valid; want %s",
			invalid.GetFlag().Name, invalid.GetValue(), wanted(invalid.GetFlag().Value))
	}
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return err
	}
	word := unknown.GetSpecifiedName()
	if letters := unknown.GetSpecifiedShortnames(); letters != "" {
		word = letters // such as policy in -policy, which has one dash too few
	}
	var names []string
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		if !flag.Hidden {
			names = append(names, "--"+flag.Name)
		}
	})
	return fmt.Errorf("%w; the nearest are %s", err, nearest("--"+word, names))
}

// aText is what wanted says of a flag that takes any text.
const aText = "a text"

// wanted says what value a flag takes, for a message.
func wanted(value pflag.Value) string {
	if _, isList := value.(pflag.SliceValue); isList {
		return "a list of texts"
	}
	switch value.Type() {
	case "bool":
		return "true or false"
	case "int":
		return "a whole number"
	default:
		return aText
	}
}
