package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/sourceward/sourceward/policies/manifest"
)

// output is one value of --output.
type output struct {
	format string
	// file is empty for standard output.
	file string
}

// parseOutputs parses the values of --output, each FORMAT or FORMAT=FILE.
func parseOutputs(values []string, formats ...string) ([]output, error) {
	if len(values) == 0 {
		return nil, fmt.Errorf("--output names no format; want one of %s", strings.Join(formats, ", "))
	}
	var outputs []output
	for _, value := range values {
		format, file, named := strings.Cut(value, "=")
		if file == manifest.Stdin { // - is a standard stream here, as it is for a path
			file, named = "", false
		}
		switch {
		case !slices.Contains(formats, format):
			return nil, notOneOf("--output", format, formats)
		case named && file == "":
			return nil, fmt.Errorf("--output %q has no file name; write %s=FILE, or %[2]s alone", value, format)
		case slices.ContainsFunc(outputs, func(o output) bool { return o.file == file }):
			return nil, fmt.Errorf("--output %q writes to the same place as another report; write %s=FILE", value, format)
		}
		outputs = append(outputs, output{format, file})
	}
	return outputs, nil
}

// notInputs returns an error if a report would replace one of the files that were read.
func notInputs(outputs []output, inputs []string) error {
	for _, output := range outputs {
		report, err := os.Stat(output.file)
		if output.file == "" || err != nil {
			continue // It is not there yet, or write reports what is wrong with it.
		}
		for _, name := range inputs {
			if input, err := os.Stat(name); err == nil && os.SameFile(report, input) {
				return fmt.Errorf("--output %[1]s=%[2]s would replace a file that was read; name another file or, if it is a "+
					"former report, leave it out with --exclude %[2]s", output.format, output.file)
			}
		}
	}
	return nil
}

// has reports whether a report is written in one of the formats.
func has(outputs []output, formats ...string) bool {
	return slices.ContainsFunc(outputs, func(o output) bool { return slices.Contains(formats, o.format) })
}

// write writes a report to the file of the output, or to stdout.
func (o output) write(stdout io.Writer, report func(io.Writer) error) (err error) {
	w := stdout
	if o.file != "" {
		file, err := os.Create(o.file)
		if err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		w = file
	}
	return report(w)
}

// encodeJSON writes a value as indented JSON. It does not escape <, > and &, which messages contain.
func encodeJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
