package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/pflag"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/manifest"
)

const (
	// configName is the name of a configuration file.
	configName = ".sourceward.yaml"
	// maxConfig is the most bytes that are read of it.
	maxConfig = 1 << 20
)

// config is a configuration file. Without a file, it has no settings.
type config struct {
	// file is the path of the file as it is shown, or empty. folder and working are the folder of the file and the working
	// directory, absolute and without symbolic links.
	file, folder, working string
	settings              settings
	environments          []environment
}

// settings holds the values that a file gives to flags, by their names.
type settings map[string]setting

type setting struct {
	// values are the texts for pflag, one unless the flag is repeatable. Paths are relative to the working directory.
	values []string
	line   int
}

// readConfig reads the configuration file that applies in the working directory, if there is one. It writes what is
// wrong with it, and the error is then errReported.
func readConfig(s streams) (*config, error) {
	working, err := filepath.Abs(".")
	if err == nil {
		working, err = filepath.EvalSymlinks(working)
	}
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", configName, err)
	}
	c := &config{working: working, folder: working}
	path := findConfig(working)
	if path == "" {
		return c, nil
	}
	c.folder = filepath.Dir(path)
	c.file = c.shown(configName)
	var errs []*manifest.Error
	data, err := readSmall(path)
	if err != nil {
		errs = []*manifest.Error{{File: c.file, Message: err.Error()}}
	} else {
		errs = c.parse(data)
	}
	for _, e := range errs {
		fmt.Fprintf(s.err, "error: %s\n", policies.Printable(e.Error()))
	}
	if errs != nil {
		return nil, errReported
	}
	return c, nil
}

// findConfig returns the path of the nearest configuration file in a directory or above it, up to the root of the
// repository; empty if there is none. Outside of a repository it looks only in the directory itself.
func findConfig(directory string) string {
	exists := func(path ...string) bool {
		_, err := os.Lstat(filepath.Join(path...))
		return err == nil
	}
	root := directory
	for !exists(root, ".git") {
		above := filepath.Dir(root)
		if above == root {
			root = directory
			break
		}
		root = above
	}
	for ; ; directory = filepath.Dir(directory) {
		if exists(directory, configName) {
			return filepath.Join(directory, configName)
		}
		if directory == root {
			return ""
		}
	}
}

// readSmall returns the content of a configuration file. The error says what is wrong, and what to do.
func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
	case !info.Mode().IsRegular(): // reading a pipe might never end
		return nil, errors.New("is not a regular file; remove or rename it")
	case info.Size() > maxConfig:
		return nil, fmt.Errorf("is larger than %d MiB; make it smaller", maxConfig>>20)
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(path)
	}
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathError.Err
	}
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w; check its permissions and where it leads", err)
	}
	return data, nil
}

// shown returns a path that is relative to the file as one that is relative to the working directory. It returns an
// absolute path as it is.
func (c *config) shown(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	relative, err := filepath.Rel(c.working, filepath.Join(c.folder, path))
	if err != nil {
		return filepath.Join(c.folder, path)
	}
	return relative
}

// parse sets what the text of the file says. It returns all mistakes, in the order of the file.
func (c *config) parse(data []byte) []*manifest.Error {
	documents, errs := manifest.Parse(c.file, data)
	if errs != nil || len(documents) == 0 {
		return errs
	}
	r := &configReader{config: c, document: documents[0]}
	switch {
	case len(documents) > 1:
		r.document = documents[1]
		r.errorf("", "a configuration file has only one document; remove the line with ---, or what is below it")
	case r.document.Content == nil:
		r.errorf("", "a configuration file is a mapping; write a setting such as fail-on: warn")
	default:
		c.settings = r.settings("", r.document.Content, []string{keyEnvironments})
		c.environments = r.environments(r.document.Content)
	}
	slices.SortStableFunc(r.errs, func(a, b *manifest.Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return r.errs
}

// configReader reads a configuration file, and collects the mistakes in it.
type configReader struct {
	*config
	document *manifest.Document
	errs     []*manifest.Error
}

// errorf adds a mistake. at is a JSON Pointer to its place.
func (r *configReader) errorf(at, format string, args ...any) {
	r.errs = append(r.errs, &manifest.Error{
		File: r.file, Position: r.document.Position(at), Message: fmt.Sprintf(format, args...),
	})
}

var escapePointer = strings.NewReplacer("~", "~0", "/", "~1")

// settings returns the values that a mapping gives to flags. at is a JSON Pointer to the mapping, and others are the
// keys that are not flags. A mapping other than the top level is that of an environment.
func (r *configReader) settings(at string, content map[string]any, others []string) settings {
	found := settings{}
	flags := newFlags(&checkFlags{})
	for _, key := range slices.Sorted(maps.Keys(content)) {
		place := at + "/" + escapePointer.Replace(key)
		switch flag := flags.Lookup(key); {
		case slices.Contains(others, key):
		case flag == nil:
			names := slices.Clone(others)
			flags.VisitAll(func(flag *pflag.Flag) {
				if at == "" || !slices.Contains(reportFlags, flag.Name) {
					names = append(names, flag.Name)
				}
			})
			r.errorf(place, "unknown key %q; the nearest are %s", key, nearest(key, names))
		case at != "" && slices.Contains(reportFlags, key):
			r.errorf(place, "%s is not a setting of one environment, since all have one report; set it at the top level", key)
		default:
			if values, ok := r.values(place, flag, content[key]); ok {
				found[key] = setting{values, r.document.Position(place).Line}
			}
		}
	}
	return found
}

// values returns a value of the file as pflag takes it. It returns false if the value is not valid, and adds why.
func (r *configReader) values(at string, flag *pflag.Flag, value any) ([]string, bool) {
	before := len(r.errs)
	var values []string
	if _, isList := flag.Value.(pflag.SliceValue); isList {
		values = r.texts(at, flag.Name, value, func(at, text string) string {
			text = r.value(at, flag, text)
			r.validate(at, flag, text)
			return text
		})
	} else if text, ok := scalar(flag, value); ok {
		values = []string{r.value(at, flag, text)}
	} else {
		r.wrongType(at, flag.Name, value, wanted(flag.Value))
	}
	if len(r.errs) == before {
		r.validate(at, flag, values...) // a list also as a whole
	}
	return values, len(r.errs) == before
}

// texts returns a list of texts, after each has been read by a function. It adds an error if the value is not a list.
func (r *configReader) texts(at, name string, value any, read func(at, text string) string) []string {
	list, ok := value.([]any)
	if !ok {
		example := "[a, b]"
		if text, isText := value.(string); isText && text != "" {
			example = "[" + text + "]"
		}
		r.wrongType(at, name, value, "a list of texts, such as "+example)
	}
	values := []string{}
	for i, element := range list {
		place := fmt.Sprintf("%s/%d", at, i)
		if text, ok := element.(string); ok {
			values = append(values, read(place, text))
		} else {
			r.wrongType(place, name, element, aText)
		}
	}
	return values
}

// scalar returns a value of the file as a text, or false if it does not have the type of the flag.
func scalar(flag *pflag.Flag, value any) (string, bool) {
	ok := false
	switch flag.Value.Type() {
	case "bool":
		_, ok = value.(bool)
	case "int":
		_, ok = value.(int64)
	default:
		_, ok = value.(string)
	}
	return fmt.Sprint(value), ok
}

// wrongType adds an error for a value that does not have the wanted type.
func (r *configReader) wrongType(at, name string, value any, want string) {
	problem := fmt.Sprintf("%v is not valid", value)
	switch value := value.(type) {
	case nil:
		problem = "has no value"
	case string:
		problem = fmt.Sprintf("%q is not valid", value)
	case []any:
		problem = "is a list"
	case map[string]any:
		problem = "is a mapping"
	default:
		if want == aText {
			want += " in quotes"
		}
	}
	r.errorf(at, "%s %s; want %s", name, problem, want)
}

// value returns the text for a flag, in which a path is relative to the working directory.
func (r *configReader) value(at string, flag *pflag.Flag, text string) string {
	format, file, hasFile := strings.Cut(text, "=")
	switch what, _ := pflag.UnquoteUsage(flag); {
	case what == "PATH" || what == "FILE":
		return r.path(at, flag.Name, text)
	case strings.HasSuffix(what, "[=FILE]") && hasFile && file != "" && file != manifest.Stdin:
		return format + "=" + r.shown(file)
	}
	return text
}

// path returns a path in the file as one that is relative to the working directory.
func (r *configReader) path(at, name, path string) string {
	if path == "" || path == manifest.Stdin {
		r.errorf(at, "%s %q is not a path; name a file or folder", name, path)
	}
	return r.shown(path)
}

// validate adds an error if a flag refuses its values.
func (r *configReader) validate(at string, flag *pflag.Flag, values ...string) {
	only := &checkFlags{}
	err := set(newFlags(only), flag.Name, values)
	if err == nil {
		err = only.validate()
	}
	if err != nil {
		r.errorf(at, "%s", strings.TrimPrefix(err.Error(), "--"))
	}
}

// newFlags returns the flags of check, with their defaults in flags.
func newFlags(flags *checkFlags) *pflag.FlagSet {
	f := pflag.NewFlagSet("check", pflag.ContinueOnError)
	addCheckFlags(f, flags)
	return f
}

// set sets a flag to values, as often as they are given for it.
func set(flags *pflag.FlagSet, name string, values []string) error {
	if list, ok := flags.Lookup(name).Value.(pflag.SliceValue); ok {
		return list.Replace(values)
	}
	return flags.Set(name, values[0])
}

// resolved holds the flags that are in force, and where each comes from.
type resolved struct {
	checkFlags
	set *pflag.FlagSet
	// from holds the sources of the flags that do not have their default.
	from map[string]string
}

// fromFlag is the source of a flag that is given on the command line.
const fromFlag = "flag"

// resolve returns the flags that are in force: those that are given on the command line, and of others the value of the
// first layer that has one.
func (c *config) resolve(given *pflag.FlagSet, layers ...settings) *resolved {
	r := &resolved{from: map[string]string{}}
	r.set = newFlags(&r.checkFlags)
	r.set.VisitAll(func(flag *pflag.Flag) {
		if on := given.Lookup(flag.Name); on != nil && on.Changed {
			values := []string{on.Value.String()}
			if list, ok := on.Value.(pflag.SliceValue); ok {
				values = list.GetSlice()
			}
			r.apply(flag.Name, values, fromFlag)
			return
		}
		for _, layer := range layers {
			if setting, ok := layer[flag.Name]; ok {
				r.apply(flag.Name, setting.values, fmt.Sprintf("%s:%d", c.file, setting.line))
				return
			}
		}
	})
	return r
}

func (r *resolved) apply(name string, values []string, from string) {
	if err := set(r.set, name, values); err != nil {
		panic(err) // The command line or the file has set the same values before.
	}
	r.from[name] = from
}

// show writes the settings that are in force, and where each comes from. The error is non-nil when a flag on the
// command line is not valid, or the output cannot be written.
func (c *config) show(w io.Writer, given *pflag.FlagSet) error {
	top := c.resolve(given, c.settings)
	if err := top.validate(); err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row(table, "SETTING", "VALUE", "FROM")
	top.show(table, nil)
	for _, e := range c.environments {
		fmt.Fprintln(table)
		row(table, "ENVIRONMENT", e.name, fmt.Sprintf("%s:%d", c.file, e.line))
		row(table, keyPaths, strings.Join(e.paths, ", "), fmt.Sprintf("%s:%d", c.file, e.pathsLine))
		c.resolve(given, e.settings, c.settings).show(table, reportFlags)
	}
	return table.Flush()
}

// show writes a row for each flag, without those in omitted.
func (r *resolved) show(w io.Writer, omitted []string) {
	r.set.VisitAll(func(flag *pflag.Flag) {
		if slices.Contains(omitted, flag.Name) {
			return
		}
		value := flag.Value.String()
		if list, ok := flag.Value.(pflag.SliceValue); ok {
			value = strings.Join(list.GetSlice(), ", ")
		}
		row(w, flag.Name, orDash(value), cmp.Or(r.from[flag.Name], "default"))
	})
}
