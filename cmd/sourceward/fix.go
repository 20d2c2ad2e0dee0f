package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/manifest"
)

// fixFlags holds the flags of fix that check does not have, as they were given.
type fixFlags struct {
	rules []string
	mode  string
	diff  bool
}

func fixCommand(s streams) *cobra.Command {
	var flags fixFlags
	cmd := &cobra.Command{
		Use:   "fix [PATH]...",
		Short: "Write repairs into manifests",
		Long: "Write the repairs of findings into the files that hold the objects. All other\n" +
			"text stays as it is, byte for byte: comments, order, quotes, indentation.\n\n" +
			"Findings are those of check with the same flags and configuration file; the\n" +
			"report is about the files with the repairs. A baseline does not change what is\n" +
			"repaired; what is left out of its findings does not count. A repair\n" +
			"that cannot be written safely is left out, and shown with the lines to paste: in\n" +
			"a template of a Helm chart, in a value that is shared through a YAML anchor, in\n" +
			"what a kustomization sets or builds for others as well, in a file of --context.\n\n" +
			"If anything could not be read or judged, no file is written. Without a PATH, fix\n" +
			"repairs the environments of .sourceward.yaml.\n\n" +
			"Exit codes:\n" +
			"  0  no repair is left, and no findings at or above --fail-on\n" +
			"  1  a repair was left out, or findings at or above --fail-on remain; never with\n" +
			"     --fail-on never\n" +
			"  2  could not run, or could not write a file",
		Example: "  sourceward fix deploy/\n" +
			"  sourceward fix --diff deploy/                  # show what would change\n" +
			"  sourceward fix --mode mutate --policy policies/ deploy/\n" +
			"  sourceward fix --rule unspread-behind-local --context . changed.yaml",
		Args: func(_ *cobra.Command, args []string) error {
			if slices.Contains(args, manifest.Stdin) {
				return errors.New("the standard input cannot be repaired; name files, or see the diff of " +
					"sourceward check --diff")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := readConfig(s)
			if err != nil {
				return err
			}
			if len(args) == 0 && len(config.environments) == 0 {
				return errors.New("name the files and folders to repair")
			}
			if flags.diff, err = cmd.Flags().GetBool("diff"); err != nil { // never that of the file
				return err
			}
			of, worlds := config.worlds(cmd.Flags(), args)
			if err := errors.Join(of.validate(), flags.validate()); err != nil {
				return err
			}
			f := newFixer(flags, worlds)
			return f.run(cmd.Context(), s, of, config)
		},
	}
	addCheckFlags(cmd.Flags(), &checkFlags{}) // config.worlds reads their values
	cmd.Flags().Lookup("output").Usage = "write what was repaired as text, or what check finds after it, as\n" +
		"`FORMAT[=FILE]`, where FORMAT is text, json, sarif, junit, github, gitlab or\nmarkdown; repeatable"
	cmd.Flags().Lookup("diff").Usage = "show the changes as a unified diff, and write nothing"
	cmd.Flags().StringArrayVar(&flags.rules, "rule", nil, "write only repairs of the `RULE`; repeatable")
	cmd.Flags().StringVar(&flags.mode, "mode", "",
		"write only repairs of findings of this `MODE`; those of mutate are what the webhook would write")
	complete(cmd, "rule", ruleIDs()...)
	complete(cmd, "mode", modeNames()...)
	completeCheck(cmd)
	return cmd
}

// validate returns an error if the value of a flag is not valid. The error begins with the name of the flag.
func (f fixFlags) validate() error {
	for _, rule := range f.rules {
		if ids := ruleIDs(); !slices.Contains(ids, rule) {
			return fmt.Errorf("--rule %q is not a rule; the nearest are %s", rule, nearest(rule, ids))
		}
	}
	if f.mode != "" && !slices.Contains(modeNames(), f.mode) {
		return notOneOf("--mode", f.mode, modeNames())
	}
	return nil
}

// fixer repairs the files of worlds. It judges them again after each round of repairs, since a repair may call for
// another one, until none is left that can be written. Only then are the files written.
type fixer struct {
	flags  fixFlags
	worlds []world
	// files are those that repairs change, by their real paths.
	files map[string]*fixedFile
	// written are the repairs in the files, and done has their keys.
	written []*fix
	done    map[fixKey]bool
	// refused are the repairs that cannot be written, with the reasons. waiting are those that the others of their round
	// do not allow, which a later round may.
	refused, waiting map[fixKey]string
	// places are where repairs were found to be needed first, before others moved the lines.
	places map[fixKey]manifest.Place
}

// fixedFile is a file, by its name as it is shown, with its text as it was read and as it is with the repairs.
type fixedFile struct {
	name          string
	before, after []byte
}

// fix is a repair of one object.
type fix struct {
	patch
	place  manifest.Place
	target *manifest.Target
	// err says why the repair cannot be written. target is nil if the repair belongs in no file.
	err error
	// by holds what builds the object, for each time that the repair is needed, and builders what builds it in all.
	// failed is what builds it and could not be built.
	by, builders []string
	failed       string
}

// fixKey is what is equal for a repair in each round. An object in no file is known only by the place.
type fixKey struct {
	fixedObject

	rule string
	// of is the path of the first operation: a rule may find several things in one object.
	of string
}

// fixedObject is an object in a file.
type fixedObject struct {
	path  string
	index int
	at    string
}

func newFixer(flags fixFlags, worlds []world) *fixer {
	return &fixer{
		flags: flags, worlds: worlds, files: map[string]*fixedFile{}, done: map[fixKey]bool{}, refused: map[fixKey]string{},
		places: map[fixKey]manifest.Place{},
	}
}

func (f *fix) key() fixKey {
	if f.target == nil {
		return fixKey{fixedObject{f.place.String(), 0, f.Object.String()}, f.Rule, f.Operations[0].Path}
	}
	return fixKey{
		fixedObject{f.target.Path, f.target.Index, f.target.At}, f.Rule, f.target.Operations[0].Path,
	}
}

// run repairs the files and writes what it did. of are the flags that apply to all worlds. The error is errFindings,
// errReported, or describes a mistake in the command line.
func (f *fixer) run(ctx context.Context, s streams, of checkFlags, config *config) error {
	outputs, err := parseOutputs(of.outputs, formatNames()...)
	if err != nil {
		return err
	}
	if err := notInputs(outputs, []string{config.file, of.baseline}); err != nil {
		return err
	}
	baseline, err := readBaseline(of.baseline, false)
	if err != nil {
		return err
	}
	progress := newProgress(s.err)
	var all *report
	var left []*fix
	for before := -1; ; {
		var needed []*fix
		if all, needed, err = f.judge(ctx, s, outputs, progress); err != nil {
			return err
		}
		if before < 0 {
			before = len(all.Skipped)
		}
		if len(all.Skipped) > before {
			last := all.Skipped[len(all.Skipped)-1]
			all.Errors = append(all.Errors, reportError{File: last.File, Line: last.Line,
				Message: "a repair would keep it from being read: " + last.Reason})
		}
		if len(all.Errors) > 0 {
			if !of.quiet {
				out := bufio.NewWriter(s.out)
				all.writeRemarks(out, newPalette(useColor(of.color, s.out)), func() {})
				if err := out.Flush(); err != nil {
					return err
				}
			}
			all.writeErrors(s.err)
			fmt.Fprintln(s.err, "error: no file was changed; correct what is wrong, or leave it out with --exclude")
			return errReported
		}
		changed, err := f.round(needed)
		if err != nil {
			return err
		}
		if !changed {
			left = needed
			slices.SortStableFunc(left, func(a, b *fix) int { return a.place.Compare(b.place) })
			break
		}
	}
	baseline.compare(all, of.failOn, config.isJudged(f.worlds))
	var failed error
	if !f.flags.diff {
		failed = f.write(s)
	}
	for _, output := range outputs {
		err := output.write(s.out, func(w io.Writer) error {
			if output.format == "text" {
				return f.report(w, all, left, of)
			}
			return all.write(w, output.format, of)
		})
		if err != nil {
			return err
		}
	}
	left = slices.DeleteFunc(left, func(one *fix) bool { return all.isKnown(one.patch) })
	switch {
	case failed != nil:
		return failed
	case len(left) > 0 && of.failOn != never, all.fails(of.failOn):
		return errFindings
	default:
		return nil
	}
}

// judge returns the report of all worlds with the repairs that were made, and the repairs that are still needed. Those
// of one object are in the order of their rules.
func (f *fixer) judge(
	ctx context.Context, s streams, outputs []output, progress *progress,
) (*report, []*fix, error) {
	all := emptyReport()
	texts := map[string][]byte{}
	for path, file := range f.files {
		texts[path] = file.after
	}
	var needed []*fix
	var read []*manifest.Manifests
	same := map[fixKey]*fix{}
	for _, w := range f.worlds {
		w.texts, w.allRepairs, w.flags.diff = texts, true, false
		of, manifests, err := w.judge(ctx, s, outputs, progress)
		if err != nil {
			return nil, nil, err
		}
		needed = append(needed, f.needed(of, w.environment, same)...)
		read = append(read, manifests)
		all.include(w.environment, of)
	}
	for _, one := range needed {
		for i, manifests := range read {
			if one.target == nil {
				continue
			}
			environment := f.worlds[i].environment
			builders, failed := manifests.Builders(one.target)
			for _, by := range builders {
				one.builders = append(one.builders, builder(by, environment))
			}
			if environment != "" && manifests.Judges(one.target) {
				one.builders = append(one.builders, builder("", environment))
			}
			one.failed = cmp.Or(one.failed, failed)
		}
	}
	for _, one := range needed {
		key := one.key()
		first, isKnown := f.places[key]
		if !isKnown {
			f.places[key] = one.place
		} else if f.flags.diff { // nothing is written, so that the lines of the files stay
			one.place = first
		}
	}
	return all, needed, nil
}

// builder names a kustomization in an environment or, if it is empty, the environment.
func builder(kustomization, environment string) string {
	if kustomization == "" {
		return "environment " + environment
	}
	return inEnvironment(kustomization, environment)
}

// needed returns the repairs of the report of an environment that the flags ask for, and that are not yet among the
// same ones.
func (f *fixer) needed(of *report, environment string, same map[fixKey]*fix) []*fix {
	var needed []*fix
	for _, p := range of.Patches {
		isWanted := (f.flags.mode == "" || string(p.Mode) == f.flags.mode) &&
			(len(f.flags.rules) == 0 || slices.Contains(f.flags.rules, p.Rule))
		if !isWanted {
			continue
		}
		one := &fix{patch: p, place: p.source.Place(p.Operations[0].Path)}
		one.target, one.err = p.source.Target(p.Operations)
		by := p.source.Document.RenderedBy()
		if by != "" || environment != "" {
			by = builder(by, environment)
		}
		first := same[one.key()]
		switch {
		case first == nil:
			same[one.key()] = one
			needed = append(needed, one)
			one.by = []string{by}
		case one.target == nil:
		case reflect.DeepEqual(one.target.Operations, first.target.Operations):
			first.by = append(first.by, by)
		default:
			first.err = errors.New("two kustomizations or environments need different repairs of it")
		}
	}
	return needed
}

// round makes the first repair of each object that can be written, and reports whether there are any, or whether the
// repairs must begin anew. The error is non-nil when a file cannot be read.
func (f *fixer) round(needed []*fix) (changed bool, err error) {
	of := map[string][]*fix{}
	f.waiting = map[fixKey]string{}
	isBegun := map[fixedObject]bool{} // what else the object needs may be different after its first repair
	for _, one := range needed {
		switch key := one.key(); {
		case f.refused[key] != "":
		case f.done[key]:
			// Without it, other repairs may be different.
			f.refused[key] = "the finding remains after the repair"
			f.files, f.written, f.done = map[string]*fixedFile{}, nil, map[fixKey]bool{}
			return true, nil
		case f.reason(one) != "":
			f.waiting[key] = f.reason(one)
		case isBegun[key.fixedObject]:
		default:
			isBegun[key.fixedObject] = true
			of[one.target.Path] = append(of[one.target.Path], one)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(of)) {
		file := f.files[path]
		if file == nil {
			text, err := os.ReadFile(path)
			if err != nil {
				return false, err
			}
			file = &fixedFile{name: of[path][0].target.File, before: text, after: text}
		}
		var changes []*manifest.Change
		for _, one := range of[path] {
			changes = append(changes, &manifest.Change{
				Index: one.target.Index, At: one.target.At, Operations: one.target.Operations,
			})
		}
		text := manifest.PatchAll(file.after, changes)
		for i, change := range changes {
			one := of[path][i]
			if change.Err != nil {
				f.refused[one.key()] = change.Err.Error()
				continue
			}
			f.done[one.key()], changed = true, true
			f.written = append(f.written, one)
			f.files[path] = file
		}
		file.after = text
	}
	return changed, nil
}

// reason returns why a repair belongs in no file, or "".
func (f *fixer) reason(one *fix) string {
	if one.err != nil {
		return one.err.Error()
	}
	if one.failed != "" {
		return one.failed + " reads the file, and cannot be built"
	}
	for _, by := range one.builders {
		if !slices.Contains(one.by, by) {
			reason := by + " has it from the same file, and does not need the repair"
			if one.source.Document.RenderedBy() != "" {
				reason += "; patch it in " + strings.Join(one.by, " and ")
			}
			return reason
		}
	}
	return ""
}

// write writes the files. It writes an error for each that it cannot write, and the error is then errReported.
func (f *fixer) write(s streams) error {
	var failed error
	for _, path := range slices.Sorted(maps.Keys(f.files)) {
		file := f.files[path]
		if err := replaceFile(path, file.before, file.after); err != nil {
			fmt.Fprintf(s.err, "error: %s\n",
				policies.Printable(fmt.Sprintf("%s cannot be written: %s", file.name, err)))
			failed = errReported
			delete(f.files, path)
			f.written = slices.DeleteFunc(f.written, func(one *fix) bool { return one.target.Path == path })
		}
	}
	return failed
}

// replaceFile replaces the content of a file, so that whoever reads it at any time sees the old or the new one as a
// whole. Its permissions, its owner and its group stay. The error is non-nil if the file does not have the content
// before.
func replaceFile(path string, before, after []byte) (err error) {
	pending, err := newPendingFile(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pending.Cleanup()) }()
	if _, err := pending.Write(after); err != nil {
		return err
	}
	if now, err := os.ReadFile(path); err != nil {
		return err
	} else if !bytes.Equal(now, before) {
		return errors.New("it has changed since it was read; run the command again")
	}
	return pending.CloseAtomicallyReplace()
}
