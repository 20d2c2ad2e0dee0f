package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sourceward/sourceward/policies"
)

// maxNearest is the number of values up to which an error lists all of them, and that it names of more. A longer list
// hides what is wrong.
const maxNearest = 3

// nearest returns the names that are spelled most like a word, for a message.
func nearest(word string, names []string) string {
	return strings.Join(policies.Nearest(word, names, maxNearest), ", ")
}

// notOneOf returns the error for a flag whose value is not an allowed one. The help of the flag lists all of them.
func notOneOf(flag, value string, allowed []string) error {
	if len(allowed) > maxNearest {
		return fmt.Errorf("%s %q is not a known value; the nearest are %s", flag, value, nearest(value, allowed))
	}
	return fmt.Errorf("%s %q is not one of %s", flag, value, strings.Join(allowed, ", "))
}

// noUnknownCommand is the Args of a command that does nothing without one of its subcommands.
func noUnknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return fmt.Errorf("unknown command %q for %q; the nearest are %s", args[0], cmd.CommandPath(), nearest(args[0], names))
}

// unknownFlag adds to the error for an unknown flag the flags that it may be a misspelling of. It returns any other
// error as it is.
func unknownFlag(cmd *cobra.Command, err error) error {
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
