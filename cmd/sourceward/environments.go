package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sourceward/sourceward/policies/manifest"
)

// The keys of a configuration file that are not flags.
const (
	keyEnvironments = "environments"
	keyName         = "name"
	keyPaths        = "paths"
)

// reportFlags are the flags of the report. It is one for all environments, and so are they. Any other flag can be set
// for a single environment.
var reportFlags = []string{"output", "fail-on", "baseline", "show", "diff", "color", "quiet"}

// environment is an entry of environments in a configuration file.
type environment struct {
	name string
	// paths are relative to the working directory.
	paths           []string
	line, pathsLine int
	settings        settings
}

// environments returns the environments that the file lists.
func (r *configReader) environments(content map[string]any) []environment {
	value, isSet := content[keyEnvironments]
	list, isList := value.([]any)
	if isSet && !isList {
		r.wrongType("/"+keyEnvironments, keyEnvironments, value, "a list of mappings, each with a name and paths")
	}
	var found []environment
	for i, element := range list {
		at := fmt.Sprintf("/%s/%d", keyEnvironments, i)
		content, isMapping := element.(map[string]any)
		if !isMapping {
			r.wrongType(at, "environment", element, "a mapping with a name and paths")
			continue
		}
		found = append(found, r.environment(at, content, found))
	}
	return found
}

// environment returns the environment at a JSON Pointer. others are those before it.
func (r *configReader) environment(at string, content map[string]any, others []environment) environment {
	e := environment{
		line:      r.document.Position(at).Line,
		pathsLine: r.document.Position(at + "/" + keyPaths).Line,
		settings:  r.settings(at, content, []string{keyName, keyPaths}),
	}
	place := at + "/" + keyName
	value, isSet := content[keyName]
	written, isText := value.(string)
	e.name = strings.TrimSpace(written)
	switch {
	case !isSet:
		r.errorf(at, "this environment has no %s; give each its own", keyName)
	case !isText:
		r.wrongType(place, keyName, value, aText)
	case e.name == "":
		r.errorf(place, "the %s of an environment is empty; give each its own", keyName)
	}
	first := slices.IndexFunc(others, func(other environment) bool { return other.name == e.name })
	if first >= 0 && e.name != "" {
		r.errorf(place, "environment %q is listed twice, first on line %d; rename one", e.name, others[first].line)
	}
	value, isSet = content[keyPaths]
	if isSet {
		e.paths = r.texts(at+"/"+keyPaths, keyPaths, value, func(at, path string) string {
			return r.path(at, keyPaths, path)
		})
	}
	if list, isList := value.([]any); !isSet || isList && len(list) == 0 {
		r.errorf(at+"/"+keyPaths, "this environment has no %s; list its files and folders", keyPaths)
	}
	return e
}

// world is a set of manifests that are judged together, and the flags that apply to them.
type world struct {
	// environment is the name of the environment, or empty.
	environment string
	flags       checkFlags
	paths       []string
	// excludeFrom is the folder from which --exclude matches, or empty. See manifest.Options.
	excludeFrom string
	// texts are judged instead of what files hold, by the real paths of the files.
	texts map[string][]byte
	// allRepairs is true if the repairs of all findings are wanted, and not only those of mode mutate.
	allRepairs bool
	// live is what the cluster of --cluster holds, or nil. It is judged if there are no paths.
	live *live
	// others are the paths of other environments.
	others []string
	// from holds the places in the configuration file that name files and folders, by these, and those that set flags, by
	// their names.
	from map[string]string
}

// worlds returns the flags that apply to the report, and what to judge for the paths on the command line: first those
// that are in no environment, and then each environment that has any of them, or all environments if there are no
// paths.
func (c *config) worlds(given *pflag.FlagSet, paths []string) (flags checkFlags, worlds []world) {
	top := c.world(given, environment{paths: []string{"."}})
	if len(paths) == 0 && len(c.environments) == 0 {
		return top.flags, []world{top}
	}
	outside := slices.DeleteFunc(slices.Clone(paths), func(path string) bool {
		return slices.ContainsFunc(c.environments, func(e environment) bool { return c.holds(e, path) })
	})
	if len(outside) > 0 {
		top.paths = outside
		worlds = append(worlds, top)
	}
	for _, e := range c.environments {
		w := c.world(given, e)
		if len(paths) > 0 {
			w.paths = slices.DeleteFunc(slices.Clone(paths), func(path string) bool { return !c.holds(e, path) })
			related := slices.DeleteFunc(slices.Clone(e.paths), func(path string) bool {
				return slices.ContainsFunc(w.paths, func(judged string) bool { return c.isIn(judged, path) })
			})
			w.flags.context = slices.Concat(w.flags.context, related)
		}
		if len(w.paths) > 0 {
			worlds = append(worlds, w)
		}
	}
	return top.flags, worlds
}

// world returns the world of an environment; that of the top level has no name.
func (c *config) world(given *pflag.FlagSet, e environment) world {
	resolved := c.resolve(given, e.settings, c.settings)
	w := world{environment: e.name, flags: resolved.checkFlags, paths: e.paths, from: map[string]string{}}
	for flag, from := range resolved.from {
		if from != fromFlag {
			w.from["--"+flag] = from
		}
	}
	if w.from["--exclude"] != "" {
		w.excludeFrom = c.folder
	}
	for _, flag := range []string{"policy", "context"} {
		if list, ok := resolved.set.Lookup(flag).Value.(pflag.SliceValue); ok {
			w.named(w.from["--"+flag], list.GetSlice())
		}
	}
	if e.name == "" {
		return w
	}
	w.named(fmt.Sprintf("%s:%d", c.file, e.pathsLine), e.paths)
	for _, other := range c.environments {
		for _, path := range other.paths {
			if !c.holds(e, path) {
				w.others = append(w.others, path)
			}
		}
	}
	return w
}

// named records the place in the configuration file that names paths, if there is one.
func (w world) named(place string, paths []string) {
	for _, path := range paths {
		if place != "" {
			w.from[path] = place
		}
	}
}

// holds reports whether a path on the command line is, or lies in, one of the paths of an environment.
func (c *config) holds(e environment, path string) bool {
	return path != manifest.Stdin &&
		slices.ContainsFunc(e.paths, func(of string) bool { return c.isIn(of, path) })
}

// isIn reports whether a path is a directory or lies in it, by its name or behind symbolic links.
func (c *config) isIn(directory, path string) bool {
	absolute := func(path string) string {
		if filepath.IsAbs(path) {
			return filepath.Clean(path)
		}
		return filepath.Join(c.working, path)
	}
	resolved := func(path string) string {
		if target, err := filepath.EvalSymlinks(absolute(path)); err == nil {
			return target
		}
		return absolute(path)
	}
	for _, form := range []func(string) string{absolute, resolved} {
		if below, err := filepath.Rel(form(directory), form(path)); err == nil && filepath.IsLocal(below) {
			return true
		}
	}
	return false
}

// scope names what is checked without a path.
func (c *config) scope() string {
	if len(c.environments) == 0 {
		return "the current directory"
	}
	return "the environments of " + c.file
}

// judgeAll judges worlds, one after the other, and returns one report. The error is the first one of judge.
func judgeAll(ctx context.Context, s streams, outputs []output, worlds []world) (*report, error) {
	progress := newProgress(s.err)
	input := &replay{from: s.in}
	all := emptyReport()
	for _, w := range worlds {
		if len(worlds) > 1 {
			s.in = input.again()
		}
		report, _, err := w.judge(ctx, s, outputs, progress)
		if err != nil {
			return nil, err
		}
		all.include(w.environment, report)
	}
	return all, nil
}

// replay lets the standard input be read once for each world.
type replay struct {
	from io.Reader
	read bytes.Buffer
}

// again returns a reader that begins at the start. The one that was returned before must not be used any more.
func (r *replay) again() io.Reader {
	return io.MultiReader(bytes.NewReader(r.read.Bytes()), io.TeeReader(r.from, &r.read))
}

// include adds the report of a world to one of all worlds. environment is its name, or empty.
func (r *report) include(environment string, of *report) {
	r.Summary.add(of.Summary)
	r.Findings = appendEach(r.Findings, of.Findings, func(f *finding) {
		f.Environment = environment
		f.Fingerprint = f.fingerprint()
	})
	r.Errors = appendEach(r.Errors, of.Errors, func(e *reportError) { e.Environment = environment })
	r.Skipped = appendEach(r.Skipped, of.Skipped, func(s *skipped) { s.Environment = environment })
	r.Notes = appendEach(r.Notes, of.Notes, func(n *note) { n.Environment = environment })
	r.Patches = appendEach(r.Patches, of.Patches, func(p *patch) {
		p.Environment = environment
		p.source = nil // only for the diff, and it holds the text of the file
	})
	r.groups = append(r.groups, of.groups...)
	r.rules = append(r.rules, of.rules...)
	r.sections = append(r.sections, section{environment, of.diff})
}

// appendEach appends entries to a list, each changed by a function.
func appendEach[E any](list, entries []E, change func(*E)) []E {
	for _, entry := range entries {
		change(&entry)
		list = append(list, entry)
	}
	return list
}

// only returns a report with the entries of a section.
func (r *report) only(s section) *report {
	return &report{
		Findings: of(s, r.Findings, func(f finding) string { return f.Environment }),
		Skipped:  of(s, r.Skipped, func(s skipped) string { return s.Environment }),
		Notes:    of(s, r.Notes, func(n note) string { return n.Environment }),
		diff:     s.diff,
	}
}

func of[E any](s section, entries []E, environment func(E) string) []E {
	return slices.DeleteFunc(slices.Clone(entries), func(entry E) bool { return environment(entry) != s.environment })
}

// add adds the counts of another summary, of a report that was not yet compared with a baseline.
func (s *summary) add(other summary) {
	s.Files += other.Files
	s.Namespaces += other.Namespaces
	s.Objects += other.Objects
	s.Services += other.Services
	s.Workloads += other.Workloads
	s.Skipped += other.Skipped
	s.NotKubernetes += other.NotKubernetes
	s.NotYAML += other.NotYAML
	s.Deny += other.Deny
	s.Mutate += other.Mutate
	s.Warn += other.Warn
	s.Audit += other.Audit
	s.Exempt += other.Exempt
}
