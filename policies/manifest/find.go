package manifest

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/gobwas/glob"
)

// maxFile is the most bytes that are read from one file, pipe or device. To read YAML takes about 50 times its size in
// memory: 6 GiB for a file of that size, which a build machine has.
const maxFile = 128 << 20

var errTooLarge = fmt.Errorf("it is larger than %d MiB", maxFile>>20)

// foundFile is a file to read.
type foundFile struct {
	// name is the path as it is shown. real is the absolute path without symbolic links.
	name, real string
	// folder holds the folders of real, from the root on; nil for standard input and pipes.
	folder  []string
	context bool
	// kustomizations are the real paths of those that list the file as a resource.
	kustomizations []string
	// inContext is true if the file is also given as context.
	inContext bool
	// live is true if it stands for the objects of a cluster, which are in no file.
	live bool
	// rendered is what a kustomization or a chart renders to, if the file stands for that; else nil.
	rendered *rendered
}

// isKustomization reports whether the file is a kustomization, and not what it builds.
func (f *foundFile) isKustomization() bool { return f.rendered == nil && isKustomization(f.name) }

// read returns the content of the file. texts are those of Options. The error is errTooLarge if the content is more
// than maxFile.
func (f *foundFile) read(stdin io.Reader, texts map[string][]byte) ([]byte, error) {
	if f.rendered != nil {
		return f.rendered.text(), nil
	}
	if f.name == Stdin {
		return readAll(stdin, 0)
	}
	if text, ok := texts[f.real]; ok {
		return text, nil
	}
	file, err := os.Open(f.real)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return readAll(file, info.Size())
}

// readAll returns what r holds. size is how much that is, if it is known.
func readAll(r io.Reader, size int64) ([]byte, error) {
	if size > maxFile {
		return nil, errTooLarge
	}
	data := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	if _, err := data.ReadFrom(io.LimitReader(r, maxFile+1)); err != nil {
		return nil, err
	}
	if data.Len() > maxFile {
		return nil, errTooLarge
	}
	return data.Bytes(), nil
}

// finder finds the files in and below paths, each once.
type finder struct {
	exclude []pattern
	// texts are those of Options. ignored is the real path of a file that is left out of directories, or empty.
	texts   map[string][]byte
	ignored string
	found   []*foundFile
	errs    []*Error
	// skipped are the links, devices, kustomizations and charts that are not read, and contextSkipped those in the
	// context. templates are the templates of charts that were found.
	skipped, contextSkipped []Remark
	templates               []chartTemplate
	seen                    map[string]bool
	// kustomizations are those that were found, by their real paths. walked holds the real paths of all directories that
	// were found.
	kustomizations map[string]*kustomization
	walked         map[string]bool
	// roots are the paths in which files are searched.
	roots []*root
	// contextRoots are the real paths of the directories of context, and noContext those of what is left out there.
	contextRoots, noContext []string
	// patchOf holds the files that a kustomization lists as patches, and the name of that kustomization. resourceOf holds
	// the files that kustomizations list as resources, and the real paths of those kustomizations.
	patchOf    map[string]string
	resourceOf map[string][]string
	// hasObjects holds the files with Kubernetes objects, and those in which there may be some that cannot be read. It is
	// filled in while the files are read.
	hasObjects map[string]bool

	// buildsKustomizations and rendersCharts are true if kustomizations are built and charts rendered.
	buildsKustomizations, rendersCharts bool
	// foundCharts are the charts that were found, by their real folders. tried holds the kustomizations that are rendered,
	// by their real paths.
	foundCharts map[string]*foundChart
	tried       map[string]bool
	// tops are the real paths of the directories that were given, and judgedTops those that are no context. isNamed has
	// the real paths of everything that the user named.
	tops, judgedTops []string
	isNamed          map[string]bool
	// readBy holds the real paths of the files that were rendered, and by what. sources has their texts. builders are the
	// labels of the kustomizations that build an object, sorted, and unbuilt has that of one that reads a file and could
	// not be built.
	readBy   map[string]*source
	sources  *sources
	builders map[builtObject][]string
	unbuilt  map[string]string
	// names are the names of the files that were found, by their real paths.
	names map[string]string
}

// root is a directory, standard input or a path of the context, in which there should be objects.
type root struct {
	path    string
	top     string // path without symbolic links, if it is a directory or a file
	context bool
	// files are the real paths of what was found in it.
	files []string
}

func newFinder(exclude []pattern) *finder {
	return &finder{
		exclude: exclude, seen: map[string]bool{}, patchOf: map[string]string{}, resourceOf: map[string][]string{},
		hasObjects: map[string]bool{}, kustomizations: map[string]*kustomization{}, walked: map[string]bool{},
		names: map[string]string{}, foundCharts: map[string]*foundChart{}, tried: map[string]bool{},
		isNamed: map[string]bool{}, readBy: map[string]*source{}, builders: map[builtObject][]string{},
		unbuilt: map[string]string{},
		sources: &sources{texts: map[string][]byte{}, documents: map[string][]*Document{}},
	}
}

func (f *finder) find(paths []string, context bool) {
	for _, path := range paths {
		at := &root{path: path, context: context}
		if path == Stdin {
			f.add(&foundFile{name: Stdin, real: Stdin, context: context}, at)
			f.roots = append(f.roots, at)
			continue
		}
		info, err := os.Stat(path)
		switch {
		case err == nil && info.IsDir():
			f.walk(at, context)
			f.roots = append(f.roots, at)
		case excluded(f.exclude, path):
		case err != nil:
			f.errs = append(f.errs, fileError(path, err))
		case info.Mode().IsRegular():
			f.named(path, context, at)
			if context {
				f.roots = append(f.roots, at)
			}
		default: // a pipe, such as /dev/fd/3: resolving its symbolic links gives no usable path
			f.add(&foundFile{name: path, real: path, context: context}, at)
			f.roots = append(f.roots, at)
		}
	}
}

// named adds a file that the user named. Its symbolic links may lead anywhere. A kustomization in its folder, or in one
// above up to the working directory, may name it as a patch.
func (f *finder) named(path string, context bool, at *root) {
	target, err := realPath(path)
	var folder string
	if err == nil {
		folder, err = realPath(filepath.Dir(path))
	}
	if err == nil {
		err = f.above(folder, path, givenIn(context))
	}
	if err != nil {
		f.errs = append(f.errs, fileError(path, err))
		return
	}
	at.top, f.isNamed[target] = target, true
	if isKustomization(path) { // it stands for its folder
		f.addTop(folder, context)
	}
	if f.isOfChart(path, context) {
		return
	}
	f.add(&foundFile{name: path, real: target, folder: folderOf(target), context: context}, at)
}

// above reads the kustomizations in the folder of a file and in those above it, up to the working directory. The path
// of the file has the form in which to show theirs, and that in its folder is given as the file is. The error is
// non-nil when there is no working directory.
func (f *finder) above(of, path string, given given) error {
	working, err := realPath(".")
	if err != nil {
		return err
	}
	for folder := of; ; folder = filepath.Dir(folder) {
		for _, name := range kustomizations {
			file, err := locate(folder, folder, name)
			if err == nil && isBelow(folder, file) && isRegular(file) {
				f.kustomization(shownAs(filepath.Join(folder, name), path), file, folder, folder, given)
			}
		}
		given = notGiven
		if folder == working || !isBelow(working, folder) {
			return nil
		}
	}
}

func (f *finder) walk(at *root, context bool) {
	top, err := realPath(at.path)
	if working, wrong := realPath("."); err == nil && wrong == nil && top != working && isBelow(working, top) {
		err = f.above(filepath.Dir(top), at.path, notGiven)
	}
	if err != nil {
		f.errs = append(f.errs, fileError(at.path, err))
		return
	}
	if context {
		f.contextRoots = append(f.contextRoots, top)
	}
	at.top, f.isNamed[top] = top, true
	f.addTop(top, context)
	begin := at.path + string(filepath.Separator) // without it, WalkDir does not enter one that is a symbolic link
	// WalkDir always returns nil here: the function below collects the errors.
	_ = filepath.WalkDir(begin, func(path string, entry fs.DirEntry, err error) error {
		isHidden := path != begin && strings.HasPrefix(entry.Name(), ".")
		switch {
		case err != nil:
			f.errs = append(f.errs, fileError(path, err))
			return nil
		case path != begin && excluded(f.exclude, path), isHidden, entry.IsDir() && f.isOfChart(path, context),
			context && path != begin && f.isNoContext(begin, top, path):
			if entry.IsDir() {
				return filepath.SkipDir
			}
		case entry.IsDir():
			if below, err := filepath.Rel(begin, path); err == nil {
				folder := filepath.Join(top, below)
				if f.foundCharts[filepath.Dir(folder)] != nil && entry.Name() == "charts" {
					return filepath.SkipDir // they are rendered with the chart
				}
				f.walked[folder] = true
				f.chart(path, folder, top, context)
			}
		default:
			f.file(path, begin, top, context, at)
		}
		return nil
	})
}

// isNoContext reports whether a path below begin is left out of the context. top is begin without symbolic links.
func (f *finder) isNoContext(begin, top, path string) bool {
	below, err := filepath.Rel(begin, path)
	return err == nil && slices.Contains(f.noContext, filepath.Join(top, below))
}

// addTop records the real path of a directory that was given.
func (f *finder) addTop(directory string, context bool) {
	f.tops = append(f.tops, directory)
	if !context {
		f.judgedTops = append(f.judgedTops, directory)
	}
}

func isManifest(path string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(filepath.Ext(path)))
}

// file adds a file that was found below begin, if it is a manifest and a regular file. top is begin without symbolic
// links. A link out of top is skipped whatever its name, since it may stand for a folder of manifests.
func (f *finder) file(path, begin, top string, context bool, at *root) {
	below, err := filepath.Rel(begin, filepath.Dir(path))
	folder, target := filepath.Join(top, below), ""
	if err == nil {
		target, err = locate(top, folder, filepath.Base(path))
	}
	if err == nil && !isBelow(top, target) {
		f.skip(Place{File: path}, "it is a symbolic link that leads out of the folder", context)
		return
	}
	var info fs.FileInfo
	if err == nil {
		info, err = os.Lstat(target)
	}
	if err == nil && info.IsDir() {
		if f.isLeftOut(begin, top, target) {
			f.skip(Place{File: path}, "it is a symbolic link to a folder that is hidden or excluded", context)
		}
		return // else its files are found below top
	}
	switch {
	case !isManifest(path) && !isKustomization(path):
		return
	case err != nil:
		f.errs = append(f.errs, fileError(path, err))
		return
	case target == f.ignored:
		return
	case !info.Mode().IsRegular():
		f.skip(Place{File: path}, "it is not a regular file", context)
		return
	}
	if isKustomization(path) {
		errs := f.kustomization(path, target, folder, top, givenIn(context))
		if !isManifest(path) { // else they are reported when it is read as a manifest
			f.errs = append(f.errs, errs...)
		}
	}
	if isManifest(path) {
		f.add(&foundFile{name: path, real: target, folder: folderOf(target), context: context}, at)
	}
}

// isLeftOut reports whether a directory below top is not walked, where begin is top as it is shown.
func (f *finder) isLeftOut(begin, top, directory string) bool {
	inside, err := filepath.Rel(top, directory)
	shown := begin
	for part := range strings.SplitSeq(inside, string(filepath.Separator)) {
		shown = filepath.Join(shown, part)
		if err != nil || inside != "." && (strings.HasPrefix(part, ".") || excluded(f.exclude, shown)) {
			return true
		}
	}
	return false
}

// skip records a file that is not read, and the place in it that says why not.
func (f *finder) skip(at Place, reason string, context bool) {
	if context {
		f.contextSkipped = append(f.contextSkipped, Remark{Place: at, Text: reason})
	} else {
		f.skipped = append(f.skipped, Remark{Place: at, Text: reason})
	}
}

// isBelow reports whether a path is a directory or lies in it. Both are absolute.
func isBelow(directory, path string) bool {
	inside, err := filepath.Rel(directory, path)
	return err == nil && inside != ".." && !strings.HasPrefix(inside, ".."+string(filepath.Separator))
}

// locate returns the absolute path without symbolic links of what a name stands for in a folder. top contains the
// folder, and both are without symbolic links. It never looks at anything outside top: if a link leads out of top, it
// returns where to, and follows no further links.
// The error is non-nil when there is no such file in top, or its links do not end.
func locate(top, folder, name string) (string, error) {
	const maxLinks = 40 // as in Linux
	path := folder
	for links := 0; name != ""; {
		if filepath.IsAbs(name) {
			path = filepath.VolumeName(name) + string(filepath.Separator)
			name = strings.TrimPrefix(name, path)
		}
		var first string
		first, name, _ = strings.Cut(name, string(filepath.Separator))
		next := filepath.Join(path, first)
		if isBelow(next, top) { // on the way to top, where there are no links
			path = next
			continue
		}
		if !isBelow(top, next) {
			return filepath.Join(next, name), nil
		}
		info, err := os.Lstat(next)
		if err != nil {
			return "", err
		}
		if info.Mode().Type() != fs.ModeSymlink {
			path = next
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "locate", Path: next, Err: syscall.ELOOP}
		}
		target, err := os.Readlink(next)
		if err != nil {
			return "", err
		}
		name = target + string(filepath.Separator) + name
	}
	return path, nil
}

// isOfChart reports whether a path is, or lies in, the folder templates of a Helm chart. It records the chart.
func (f *finder) isOfChart(path string, context bool) bool {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return false // realPath reports it
	}
	for ; ; absolute = filepath.Dir(absolute) {
		if filepath.Base(absolute) == "templates" && isRegular(filepath.Join(filepath.Dir(absolute), "Chart.yaml")) {
			shown, chart := shownAs(absolute, path), shownAs(filepath.Dir(absolute), path)
			reason := fmt.Sprintf("it holds the templates of a Helm chart; check what it renders: sourceward check %s", chart)
			if context {
				reason = fmt.Sprintf("it holds the templates of a Helm chart; give %s with --context", chart)
			}
			folder, _ := realPath(filepath.Dir(absolute)) // the chart is a regular file in it
			template, _ := realPath(path)
			f.templates = append(f.templates, chartTemplate{folder, template, shown, reason, context})
			return true
		}
		if filepath.Dir(absolute) == absolute {
			return false
		}
	}
}

// shownAs returns an absolute path in the form of another path: relative to the working directory if that one is.
func shownAs(absolute, other string) string {
	directory, err := os.Getwd()
	if err != nil || filepath.IsAbs(other) {
		return absolute
	}
	relative, err := filepath.Rel(directory, absolute)
	if err != nil {
		return absolute
	}
	return relative
}

func isRegular(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// realPath returns the absolute path without symbolic links.
func realPath(path string) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(absolute)
}

func (f *finder) add(file *foundFile, at *root) {
	at.files = append(at.files, file.real)
	if !f.seen[file.real] {
		f.seen[file.real], f.names[file.real] = true, file.name
		f.found = append(f.found, file)
		return
	}
	for i := range f.found {
		f.found[i].inContext = f.found[i].inContext || file.context && f.found[i].real == file.real
	}
}

// withoutObjects returns an error for each root in which there is no complete Kubernetes object, or a note if it is
// context.
func (f *finder) withoutObjects() (errs []*Error, notes []Remark) {
	for _, at := range f.roots {
		switch {
		case slices.ContainsFunc(at.files, func(file string) bool { return f.hasObjects[file] }):
		case at.context:
			notes = append(notes, Remark{
				Place: Place{File: at.path}, Text: "it is given as context, but no complete Kubernetes object was found there",
			})
		default:
			errs = append(errs, &Error{File: at.path, Message: noObjects})
		}
	}
	return errs, notes
}

const noObjects = "no complete Kubernetes object found; name files or directories with manifests, or pipe in what " +
	"helm template or kustomize build writes"

// pattern is one glob of --exclude.
type pattern struct {
	*glob.Pattern
	wholePath bool
	// from is the directory from which a whole path is matched, and working the one from which it is shown, both absolute
	// and without symbolic links. If they are empty, a path is matched as it is shown.
	from, working string
	// matched is true once it has matched a path.
	matched *bool
}

func compileGlobs(texts []string) ([]pattern, error) {
	var patterns []pattern
	for _, text := range texts {
		text = strings.TrimSuffix(text, "/")
		compiled, err := glob.Compile(text, '/')
		if err != nil {
			return nil, fmt.Errorf("%q is not a valid glob: %w", text, err)
		}
		patterns = append(patterns, pattern{
			Pattern: compiled, wholePath: strings.Contains(text, "/"), matched: new(bool),
		})
	}
	return patterns, nil
}

// ValidGlobs returns an error if a text is not valid in Options.Exclude.
func ValidGlobs(texts []string) error {
	_, err := compileGlobs(texts)
	return err
}

// compileExclude compiles the globs of options. The error is non-nil when one is not valid, or when a directory to
// match them from is given and there is no working directory.
func compileExclude(options Options) ([]pattern, error) {
	patterns, err := compileGlobs(options.Exclude)
	if err != nil || options.ExcludeFrom == "" {
		return patterns, err
	}
	working, err := realPath(".")
	for i := range patterns {
		patterns[i].from, patterns[i].working = options.ExcludeFrom, working
	}
	return patterns, err
}

// whole returns the path that a pattern with a slash matches.
func (p pattern) whole(path string) string {
	if p.from == "" {
		return filepath.ToSlash(path)
	}
	absolute := path
	if !filepath.IsAbs(path) {
		absolute = filepath.Join(p.working, path)
	}
	relative, err := filepath.Rel(p.from, absolute)
	if err != nil {
		return filepath.ToSlash(path)
	}
	return filepath.ToSlash(relative)
}

// excluded reports whether a pattern matches a path, and records which ones do.
func excluded(patterns []pattern, path string) bool {
	found := false
	for _, p := range patterns {
		name := filepath.Base(path)
		if p.wholePath {
			name = p.whole(path)
		}
		if p.Match(name) {
			*p.matched, found = true, true
		}
	}
	return found
}

// unmatched returns a note for each glob that matched nothing, unless it is matched from a directory of its own and so
// meant for other paths as well. texts are the globs as they were given.
func (f *finder) unmatched(texts []string) []Remark {
	var notes []Remark
	for i, p := range f.exclude {
		if !*p.matched && p.from == "" {
			notes = append(notes, Remark{Text: fmt.Sprintf("--exclude %s matches no file or directory", texts[i])})
		}
	}
	return notes
}
