package manifest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/render"
)

// Rendering says how kustomizations are built and Helm charts are rendered.
type Rendering struct {
	// All renders requests, as render.All does.
	All func([]render.Request) []render.Result
	// Kustomize is false if kustomizations are not built: their files are then read as they are written.
	Kustomize bool
	// Chart holds the values and the names with which charts are rendered. If it has Values, a chart is not rendered with
	// those in its folder ci. Its Files, Namespace and KubeVersion are not used.
	Chart render.Chart
	// Progress, if not nil, is called while kustomizations and charts are rendered, with the number of those that are and
	// the number of all.
	Progress func(rendered, all int)
}

// A source is a kustomization or a Helm chart that is rendered. What it renders to is read like one file.
type source struct {
	// name is the kustomization or the folder of the chart as it is shown, and file the real path of the kustomization or
	// of Chart.yaml.
	name, file string
	context    bool
	// isNamed is true if the user named it, so that a failure is an error.
	isNamed bool
	// kustomization is nil for a chart. values is the name of a file in the folder ci of a chart with whose values it is
	// rendered; empty for none.
	kustomization *kustomization
	values        string
	// real holds the real paths of the files in a request for a kustomization, by their names there.
	real map[string]string
	// judged holds the real paths of the files of a context whose objects are judged.
	judged map[string]bool
	// failed is true if nothing was rendered.
	failed bool
}

// label returns the name of the source with that of the values in the folder ci, if it has any.
func (s *source) label() string {
	if s.values == "" {
		return s.name
	}
	return fmt.Sprintf("%s with %s", s.name, s.values)
}

const (
	// maxSource is the most bytes of the files of one kustomization or chart, and maxEntries the most files and folders in
	// a chart, of which links may make more than there are.
	maxSource  = 64 << 20
	maxEntries = 20_000
	// together is how many sources one child process renders, one after the other.
	together = 16
)

// render renders all kustomizations and charts that were found, and replaces their files by the results.
func (f *finder) render(options Options) {
	sources := slices.Concat(f.kustomizationSources(), f.chartSources(options))
	for len(sources) > 0 {
		slices.SortFunc(sources, func(a, b *source) int {
			return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.values, b.values))
		})
		f.renderAll(sources, options)
		sources = f.basesOfFailed(sources)
	}
	f.found = slices.DeleteFunc(f.found, func(file *foundFile) bool {
		by := f.readBy[file.real]
		return by != nil && file.rendered == nil && (file.context || !by.context || by.judged[file.real])
	})
}

// skipTemplates records the templates of charts that are not rendered.
func (f *finder) skipTemplates() {
	for _, t := range f.templates {
		if f.foundCharts[t.chart] == nil && !f.seen[t.shown] {
			f.seen[t.shown] = true
			f.skip(Place{File: t.shown}, t.reason, t.context)
		}
	}
}

// renderAll renders sources, some of them at a time, so that not all of their files are in memory.
func (f *finder) renderAll(sources []*source, options Options) {
	for start := 0; start < len(sources); start += together {
		if options.Rendering.Progress != nil {
			options.Rendering.Progress(start, len(sources))
		}
		var asked []*source
		var requests []render.Request
		for _, s := range sources[start:min(start+together, len(sources))] {
			request, err := f.request(s, options)
			if err != nil {
				f.record(s, request, render.Result{Error: err.Error()})
				continue
			}
			asked, requests = append(asked, s), append(requests, request)
		}
		if requests == nil {
			continue
		}
		for i, result := range options.Rendering.All(requests) {
			f.record(asked[i], requests[i], result)
		}
	}
}

// request returns the request that renders a source.
func (f *finder) request(s *source, options Options) (render.Request, error) {
	if s.kustomization != nil {
		g := gathering{finder: f, files: map[string][]byte{}, real: s.real}
		g.kustomization(s.kustomization.folder)
		request := &render.Kustomization{Folder: filepath.ToSlash(s.kustomization.folder)}
		for _, name := range slices.Sorted(maps.Keys(g.files)) {
			request.Files = append(request.Files, render.File{Name: name, Data: g.files[name]})
		}
		return render.Request{Kustomization: request}, nil
	}
	chart := options.Rendering.Chart
	chart.Namespace = cmp.Or(options.Namespace, corev1.NamespaceDefault)
	chart.KubeVersion = options.Version.String()
	var err error
	if chart.Files, err = f.chartFiles(filepath.Dir(s.file), s); err != nil {
		return render.Request{}, err
	}
	for _, file := range chart.Files {
		if s.values == file.Name {
			chart.Values = []render.File{file}
		}
	}
	return render.Request{Chart: &chart}, nil
}

// basesOfFailed returns sources for what those that failed refer to, unless others have read it: it is judged by
// itself.
func (f *finder) basesOfFailed(sources []*source) []*source {
	var bases []*source
	for _, s := range sources {
		if !s.failed || s.kustomization == nil {
			continue
		}
		for _, file := range slices.Sorted(maps.Keys(f.kustomizations)) {
			k := f.kustomizations[file]
			by := f.readBy[file]
			isBase := f.bases(s.kustomization)[k.folder] && k.folder != s.kustomization.folder && f.builds(k)
			if isBase && (by == nil || by.failed) && !f.tried[file] && k.content["kind"] != "Component" {
				bases = append(bases, f.kustomizationSource(file, k))
			}
		}
	}
	return bases
}

// record records what a source renders to, or why it does not.
func (f *finder) record(s *source, request render.Request, result render.Result) {
	at, reason := Place{File: s.label()}, result.Skipped
	if result.Error != "" {
		at, reason = s.failure(result.Error)
	}
	s.failed = reason != ""
	isOrigin := map[string]bool{}
	for _, object := range result.Objects {
		isOrigin[object.File] = true
	}
	changed := f.changed(s, request, result.Read, isOrigin)
	switch {
	case !s.failed:
	case result.Error != "" && changed != nil, s.isNamed && !s.context:
		f.hasObjects[s.file] = true // the error is enough
		f.errs = append(f.errs, at.Error(reason))
	default:
		f.skip(at, reason, s.context && changed == nil)
	}
	read := map[string]bool{s.file: true}
	for _, name := range result.Read {
		read[s.real[name]] = true
	}
	if result.Error != "" {
		for _, real := range s.real {
			read[real] = true
			f.unbuilt[real] = s.label()
		}
	}
	if k := request.Kustomization; k != nil {
		for _, object := range result.Objects {
			key := builtObject{s.real[object.File], object.Index}
			f.builders[key] = append(f.builders[key], s.label())
		}
		for _, file := range k.Files {
			if isOrigin[file.Name] || isKustomization(file.Name) || f.patchOf[s.real[file.Name]] != "" {
				f.sources.texts[file.Name] = file.Data
			}
		}
	} else {
		for name := range isOrigin {
			read[s.realOf(name)] = true
		}
	}
	for _, real := range changed {
		read[real], s.judged[real] = true, true
	}
	f.markRead(s, read)
	if !s.failed {
		f.addRendered(s, result.Objects, changed != nil)
	}
}

// failure returns the place and the reason of an error, which begins with the name of a file if it is about one.
func (s *source) failure(text string) (Place, string) {
	text = policies.Printable(s.shown(text))
	at := Place{File: s.label()}
	of, isOwn := strings.CutPrefix(text, s.name+":")
	if !isOwn {
		return at, text
	}
	if line, reason, ok := strings.Cut(of, ": "); ok {
		if number, err := strconv.Atoi(line); err == nil {
			at.Line, of = number, reason
		}
	}
	return at, strings.TrimSpace(of)
}

// changed returns the real paths of the files that the user named beside a context, and on which more than the objects
// in them depends: a kustomization, a patch, the values of a chart. If the source failed, these are all of its files.
// readFiles are the names of the files that a kustomization has read, and isOrigin has those of the files from which
// objects come.
func (f *finder) changed(s *source, of render.Request, readFiles []string, isOrigin map[string]bool) []string {
	names := readFiles
	switch {
	case !s.context:
		return nil
	case of.Chart != nil:
		for _, file := range of.Chart.Files {
			folder, name := path.Split(file.Name)
			isOther := folder == "ci/" && file.Name != s.values
			isTemplate := slices.Contains(strings.Split(folder, "/"), "templates") && !strings.HasPrefix(name, "_")
			if !isOther && (s.failed || !isTemplate) {
				names = append(names, file.Name)
			}
		}
	case s.failed:
		names = slices.Sorted(maps.Keys(s.real))
	}
	var changed []string
	for _, name := range names {
		if file := s.realOf(name); !isOrigin[name] && f.isJudged(file) {
			changed = append(changed, file)
		}
	}
	return changed
}

// markRead records that a source has read files, so that they are not judged as they stand.
func (f *finder) markRead(s *source, files map[string]bool) {
	for real := range files {
		f.hasObjects[real] = f.hasObjects[real] || !s.failed
		if by := f.readBy[real]; by == nil || by.failed || by.context && !s.context {
			f.readBy[real] = s
		}
	}
}

// realOf returns the real path of a file in a request.
func (s *source) realOf(name string) string {
	if s.kustomization != nil {
		return s.real[name]
	}
	return filepath.Join(filepath.Dir(s.file), filepath.FromSlash(name))
}

// renderedFiles returns the files from which something was rendered.
func (f *finder) renderedFiles() []*foundFile {
	var files []*foundFile
	for _, real := range slices.Sorted(maps.Keys(f.readBy)) {
		by := f.readBy[real]
		files = append(files, &foundFile{
			name: f.shown(real, by.name), real: real, context: by.context && !by.judged[real],
		})
	}
	return files
}

// addRendered adds the objects of a source as a file. Those that come from a file that the user named beside a context
// are judged in the context of the others, or all if isChanged is true.
func (f *finder) addRendered(s *source, objects []render.Object, isChanged bool) {
	file := &foundFile{name: s.label(), real: s.file, folder: folderOf(s.file), context: s.context}
	if s.values != "" {
		file.real += "#" + s.values
	}
	var judged, others []render.Object
	for _, object := range objects {
		switch file := s.realOf(object.File); {
		case object.File != "" && excluded(f.exclude, f.shownFile(s, object.File)):
		case s.context && (isChanged || f.isJudged(file)):
			judged = append(judged, object)
			s.judged[file] = s.judged[file] || f.isJudged(file)
		default:
			others = append(others, object)
		}
	}
	file.rendered = &rendered{source: s, objects: others, finder: f}
	f.found = append(f.found, file)
	if judged != nil {
		beside := *file
		beside.context, beside.rendered = false, &rendered{source: s, objects: judged, finder: f}
		file.name += " (context)" // a file is known by its name
		f.found = append(f.found, &beside)
	}
	for _, at := range f.roots {
		if isBelow(at.top, s.file) {
			at.files = append(at.files, file.real)
		}
	}
}

// isJudged reports whether a file is to be judged as it stands, unless a kustomization reads it.
func (f *finder) isJudged(path string) bool {
	isTemplate := slices.ContainsFunc(f.templates, func(t chartTemplate) bool { return t.real == path && !t.context })
	return isTemplate || slices.ContainsFunc(f.found, func(file *foundFile) bool {
		return file.real == path && !file.context && file.rendered == nil
	})
}

// rendered is what a source renders to.
type rendered struct {
	source  *source
	objects []render.Object
	finder  *finder
}

// text returns all objects, each after a marker.
func (r *rendered) text() []byte {
	var text bytes.Buffer
	for _, object := range r.objects {
		text.WriteString("---\n")
		text.Write(object.Text)
		if !bytes.HasSuffix(object.Text, []byte("\n")) {
			text.WriteByte('\n')
		}
	}
	return text.Bytes()
}

// origin returns where the document with an index in the text comes from.
func (r *rendered) origin(index int) origin {
	object := r.objects[index]
	name := r.finder.shownFile(r.source, object.File)
	if r.source.kustomization == nil {
		return templateOrigin{name, object.Lines}
	}
	kustomization := r.source.name
	if object.Generator != "" {
		kustomization = r.finder.shownFile(r.source, object.Generator)
	}
	return kustomizeOrigin{r.finder, r.source, object, name, kustomization}
}

// place returns the place of a line of the text, in a document that cannot be read.
func (r *rendered) place(line int) Place {
	for i, object := range r.objects {
		lines := 1 + bytes.Count(bytes.TrimSuffix(object.Text, []byte("\n")), []byte("\n")) + 1
		if line > lines {
			line -= lines
			continue
		}
		if of, isTemplate := r.origin(i).(templateOrigin); isTemplate {
			place := Place{File: of.file}
			if n := line - 2; n >= 0 && n < len(of.lines) {
				place.Line = of.lines[n]
			}
			return place
		}
		break
	}
	return Place{File: r.source.name}
}

// shownFile returns a file in a request of a source as it is shown.
func (f *finder) shownFile(s *source, name string) string {
	if s.kustomization == nil {
		return filepath.Join(s.name, filepath.FromSlash(name))
	}
	return f.shown(filepath.FromSlash(name), s.name)
}

// shown returns a path as it is shown: by the name under which it was found, or in the form of another path.
func (f *finder) shown(path, other string) string {
	if name, isKnown := f.names[path]; isKnown {
		return name
	}
	return shownAs(path, other)
}

// shown returns a message about a source with the paths in it as they are shown.
func (s *source) shown(message string) string {
	if s.kustomization == nil {
		return message
	}
	isPath := map[string]bool{}
	for name := range s.real {
		isPath[name], isPath[path.Dir(name)] = true, true
	}
	const least = 2 // slashes: a path like /src may be a part of any text
	folder := filepath.ToSlash(s.kustomization.folder)
	for ; strings.Count(folder, "/") >= least; folder = path.Dir(folder) {
		isPath[folder] = true
	}
	longestFirst := slices.SortedFunc(maps.Keys(isPath), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b))
	})
	var pairs []string
	for _, path := range longestFirst {
		pairs = append(pairs, path, filepath.ToSlash(shownAs(filepath.FromSlash(path), s.name)))
	}
	return strings.NewReplacer(pairs...).Replace(message)
}

// kustomizationSources returns the kustomizations to build: those that no other one refers to.
func (f *finder) kustomizationSources() []*source {
	isUsed := map[string]bool{}
	for _, k := range f.kustomizations {
		for folder := range f.bases(k) {
			isUsed[folder] = isUsed[folder] || folder != k.folder
		}
	}
	var sources []*source
	isPart := map[string]bool{} // of a source, by folder
	collect := func(isRoot func(*kustomization) bool) {
		for _, file := range slices.Sorted(maps.Keys(f.kustomizations)) {
			if k := f.kustomizations[file]; f.builds(k) && isRoot(k) {
				sources = append(sources, f.kustomizationSource(file, k))
				f.reach(k, isPart)
			}
		}
	}
	isComponent := func(k *kustomization) bool { return k.content["kind"] == "Component" }
	collect(func(k *kustomization) bool { return !isUsed[k.folder] && !isComponent(k) })
	// Those that refer to each other in a circle are used, and yet part of none.
	collect(func(k *kustomization) bool { return !isPart[k.folder] && !isComponent(k) })
	for _, file := range slices.Sorted(maps.Keys(f.kustomizations)) {
		k := f.kustomizations[file]
		if !f.builds(k) || !isComponent(k) || isPart[k.folder] {
			continue
		}
		s := f.kustomizationSource(file, k)
		s.failed = true
		f.skip(Place{File: k.path}, "it is a component that no kustomization here uses", s.context)
		g := gathering{finder: f, files: map[string][]byte{}, real: s.real}
		g.kustomization(k.folder)
		read := map[string]bool{}
		for _, real := range s.real {
			read[real], f.hasObjects[real] = true, true
		}
		f.markRead(s, read)
	}
	return sources
}

// reach adds the folder of a kustomization and those that it refers to, directly or not.
func (f *finder) reach(k *kustomization, folders map[string]bool) {
	if folders[k.folder] {
		return
	}
	folders[k.folder] = true
	bases := f.bases(k)
	for _, other := range f.kustomizations {
		if bases[other.folder] {
			f.reach(other, folders)
		}
	}
}

// builds reports whether a kustomization is built, if any is: its folder was given, and it is one of kustomize, not of
// Flux.
func (f *finder) builds(k *kustomization) bool {
	apiVersion, _ := typeOf(k.content)
	isOfKustomize := apiVersion == "" || strings.HasPrefix(apiVersion, "kustomize.config.k8s.io/")
	_, _, isInGiven := f.allowed(k.folder)
	return f.buildsKustomizations && k.given != notGiven && isOfKustomize && isInGiven
}

// bases returns the real folders that a kustomization refers to.
func (f *finder) bases(k *kustomization) map[string]bool {
	folders := map[string]bool{}
	for _, field := range []string{"resources", "bases", "components"} {
		entries, _ := k.content[field].([]any)
		for _, entry := range entries {
			if name, isText := entry.(string); isText && !strings.Contains(name, "\n") {
				if target, isFolder, ok := f.allowed(filepath.Join(k.folder, filepath.FromSlash(name))); ok && isFolder {
					folders[target] = true
				}
			}
		}
	}
	return folders
}

// allowed returns the real path of a file or folder that lies in what the user gave, and false for any other.
func (f *finder) allowed(path string) (target string, isFolder, ok bool) {
	for _, top := range f.tops {
		if !isBelow(top, path) {
			continue
		}
		below, err := filepath.Rel(top, path)
		if err != nil {
			continue
		}
		target, err = locate(top, top, below)
		if err != nil || !isBelow(top, target) {
			continue
		}
		switch {
		case isRegular(target):
			return target, false, true
		case isFolderAt(target):
			return target, true, true
		}
	}
	return "", false, false
}

// kustomizationSource returns the source for a kustomization.
func (f *finder) kustomizationSource(file string, k *kustomization) *source {
	f.tried[file] = true
	return &source{
		name: k.path, file: file, kustomization: k, isNamed: f.isNamed[k.folder] || f.isNamed[file],
		context: !slices.ContainsFunc(f.judgedTops, func(top string) bool { return isBelow(top, k.folder) }),
		real:    map[string]string{}, judged: map[string]bool{},
	}
}

// gathering collects the files that a kustomization may read. Which of its many fields, and of those of its plugins,
// hold a path is for kustomize to know: every text that is the path of a file is taken for one.
type gathering struct {
	*finder
	files map[string][]byte
	real  map[string]string
	size  int
}

// kustomization adds the kustomization in a folder, and everything that it refers to.
func (g *gathering) kustomization(folder string) {
	for _, name := range kustomizations {
		path := filepath.Join(folder, name)
		if data, isNew := g.add(path); isNew {
			g.references(folder, path, data)
		}
	}
}

// references adds the files to which the texts in a file refer, relative to a folder.
func (g *gathering) references(folder, path string, data []byte) {
	documents, _ := Parse(path, data)
	var walk func(value any, inPlugins bool)
	walk = func(value any, inPlugins bool) {
		switch value := value.(type) {
		case map[string]any:
			for key, member := range value {
				walk(member, inPlugins || slices.Contains(plugins, key))
			}
		case []any:
			for _, element := range value {
				walk(element, inPlugins)
			}
		case string:
			names := []string{value}
			if _, after, isPair := strings.Cut(value, "="); isPair { // a key of a generator, and its file
				names = append(names, after)
			}
			for _, name := range names {
				g.reference(folder, name, inPlugins)
			}
		}
	}
	for _, document := range documents {
		walk(document.Content, false)
	}
}

// plugins are the fields of a kustomization that list files which may refer to other files.
var plugins = []string{"generators", "transformers", "validators"}

func (g *gathering) reference(folder, name string, isPlugin bool) {
	if name == "" || strings.ContainsAny(name, "\n\x00") || len(name) > 4096 {
		return
	}
	path := filepath.Join(folder, filepath.FromSlash(name))
	target, isFolder, ok := g.allowed(path)
	switch {
	case !ok:
	case isFolder && path != folder:
		g.kustomization(path)
	case isFolder:
	default:
		if data, isNew := g.add(path); isNew && isPlugin && isManifest(target) {
			g.references(folder, path, data)
		}
	}
}

// add adds a file, and reports whether it was not there yet.
func (g *gathering) add(path string) (data []byte, isNew bool) {
	name := filepath.ToSlash(path)
	if _, known := g.files[name]; known {
		return nil, false
	}
	target, isFolder, ok := g.allowed(path)
	if !ok || isFolder {
		return nil, false
	}
	data, err := (&foundFile{real: target}).read(nil, g.texts)
	if err != nil || g.size+len(data) > maxSource {
		return nil, false // kustomize says that it is missing
	}
	g.files[name], g.real[name] = data, target
	g.size += len(data)
	return data, true
}

// foundChart is the folder of a Helm chart, by its name as it is shown.
type foundChart struct {
	name             string
	context, isNamed bool
}

// chart records the chart in a folder below top, if there is one. path is its name as it is shown.
func (f *finder) chart(path, folder, top string, context bool) {
	if !f.rendersCharts || !isRegular(filepath.Join(folder, "Chart.yaml")) {
		return
	}
	found := f.foundCharts[folder]
	if found == nil {
		found = &foundChart{name: filepath.Clean(path), context: context}
		f.foundCharts[folder] = found
	}
	found.context = found.context && context
	found.isNamed = found.isNamed || folder == top
}

// chartSources returns the charts to render, each with its own values and with each file of values in its folder ci.
func (f *finder) chartSources(options Options) []*source {
	var sources []*source
	for _, folder := range slices.Sorted(maps.Keys(f.foundCharts)) {
		found := f.foundCharts[folder]
		values := []string{""}
		if len(options.Rendering.Chart.Values) == 0 {
			files, _ := filepath.Glob(filepath.Join(literal(folder), "ci", "*-values.yaml")) // an error is about the pattern
			for _, file := range files {
				values = append(values, path.Join("ci", filepath.Base(file)))
			}
		}
		for _, name := range values {
			sources = append(sources, &source{
				name: found.name, file: filepath.Join(folder, "Chart.yaml"), context: found.context, isNamed: found.isNamed,
				values: name, judged: map[string]bool{},
			})
		}
	}
	return sources
}

// literal returns a pattern of package filepath that matches nothing but a path.
func literal(path string) string {
	return strings.NewReplacer("*", "[*]", "?", "[?]", "[", "[[]").Replace(path)
}

// chartFiles returns all files in the folder of a chart. The error is non-nil when one cannot be read: a part of a
// chart is another chart.
func (f *finder) chartFiles(chart string, s *source) ([]render.File, error) {
	var files []render.File
	entered := map[string]bool{} // the folders on the way to the present one: links may make a circle
	size, count := 0, 0
	var walk func(folder, inside string) error
	walk = func(folder, inside string) error {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return chartError(inside, err)
		}
		entered[folder] = true
		defer delete(entered, folder)
		for _, entry := range entries {
			name := path.Join(inside, entry.Name())
			target, isFolder, ok := f.allowed(filepath.Join(folder, entry.Name()))
			if count++; count > maxEntries {
				return fmt.Errorf("the chart has more than %d files and folders; render it with helm template", maxEntries)
			}
			switch {
			case !ok && s.values == "":
				f.skip(Place{File: f.shownFile(s, name)},
					"it is a symbolic link that leads out of the folder, or not a regular file", s.context)
				continue
			case !ok, isFolder && (entry.Name() == ".git" || entered[target]):
				continue
			case isFolder:
				if err := walk(target, name); err != nil {
					return err
				}
				continue
			}
			data, err := (&foundFile{real: target}).read(nil, f.texts)
			if err != nil {
				return chartError(name, err)
			}
			if size += len(data); size > maxSource {
				return fmt.Errorf("the chart is larger than %d MiB; render it with helm template", maxSource>>20)
			}
			files = append(files, render.File{Name: name, Data: data})
		}
		return nil
	}
	return files, walk(chart, "")
}

func chartError(name string, err error) error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathError.Err
	}
	return fmt.Errorf("%s cannot be read: %w; check its permissions", cmp.Or(name, "the folder"), err)
}

func isFolderAt(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// chartTemplate is a folder of templates of a chart, or a template in it, that the user named.
type chartTemplate struct {
	// chart is the real folder of the chart, and real the path of the template.
	chart, real string
	// shown and reason say that it is skipped if the chart is not rendered.
	shown, reason string
	context       bool
}
