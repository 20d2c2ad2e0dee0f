package render

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/provider"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/openapi"
	"sigs.k8s.io/kustomize/kyaml/openapi/kubernetesapi"
	"sigs.k8s.io/kustomize/kyaml/resid"
	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/policies"
)

// sourceMarker is the annotation with which the second build follows objects from their files to the result. A JSON
// patch that replaces all annotations keeps those with this prefix, and replaces kustomize's own origin annotation.
const sourceMarker = "internal.config.kubernetes.io/source"

const (
	// maxValue bounds a value of a kustomization in an error, and maxReason what kustomize itself says, in bytes.
	maxValue  = 100
	maxReason = 400
)

// build builds the kustomization as "kustomize build" does by default, and refuses what would need a network, a plugin
// or another program.
//
// It builds twice. The first build is kustomize's own, so that nothing of ours can change an object or hide an error.
// The second one has an annotation in each object, which says where it comes from.
func (k *Kustomization) build() (Result, error) {
	defer silence()()
	defer forgetSchema()
	result, err := k.buildTwice()
	if err != nil {
		return Result{}, errors.New(policies.Printable(err.Error()))
	}
	return result, nil
}

func (k *Kustomization) buildTwice() (Result, error) {
	files := newFiles(k.Files)
	sources := &sources{files: files, seen: map[[2]string]bool{}, marked: map[string][]byte{}}
	if err := sources.addKustomization(k.Folder, nil); err != nil {
		return Result{}, err
	}
	built, err := files.build(k.Folder)
	if err != nil {
		return Result{}, files.explain(k.Folder, err)
	}
	result := Result{Objects: make([]Object, len(built)), Read: slices.Sorted(maps.Keys(files.read))}
	for i, object := range built {
		if result.Objects[i].Text, err = object.AsYAML(); err != nil {
			return Result{}, fmt.Errorf("%s: %s %s: %s", files.kustomizations(k.Folder)[0],
				object.GetKind(), object.GetName(), inText.ReplaceAllString(reason(err.Error()), ""))
		}
	}
	// Objects may stay without a source: a patch may test for there being no annotation.
	if marked, err := sources.markedFiles(k.Folder).build(k.Folder); err == nil {
		index := make(map[resid.ResId]int, len(built))
		for i, object := range built {
			index[object.CurId()] = i
		}
		for _, object := range marked {
			if i, isBuilt := index[object.CurId()]; isBuilt {
				sources.find(k.Folder, object, &result.Objects[i])
			}
		}
	}
	return result, nil
}

// silence discards what the libraries write to standard error, such as warnings of deprecated fields, until restore is
// called. Standard error of a child is for the reason of its death, and only its beginning is kept.
func silence() (restore func()) {
	stderr, logged := os.Stderr, log.Writer()
	os.Stderr = nil // which may be written to: it returns an error
	log.SetOutput(io.Discard)
	return func() {
		os.Stderr = stderr
		log.SetOutput(logged)
	}
}

// forgetSchema forgets the OpenAPI schema that a kustomization has set with its field openapi. It is a global variable
// of kustomize, which would otherwise hold for the next request too. To parse the default one again takes 40 ms.
func forgetSchema() {
	if openapi.GetSchemaVersion() != kubernetesapi.DefaultOpenAPI {
		openapi.ResetOpenAPI()
	}
}

// files is the file system of a build. Those of kustomize that are in memory accept only some characters in names.
type files struct {
	filesys.FileSystem // is empty: a build without remote bases calls no other methods than those below
	data               map[string][]byte
	folders            map[string]bool
	read               map[string]bool
}

func newFiles(list []File) *files {
	f := &files{filesys.MakeFsInMemory(), map[string][]byte{}, map[string]bool{}, map[string]bool{}}
	for _, file := range list {
		f.data[file.Name] = file.Data
		for dir := path.Dir(file.Name); !f.folders[dir]; dir = path.Dir(dir) {
			f.folders[dir] = true
		}
	}
	return f
}

// CleanedAbs implements filesys.FileSystem.
func (f *files) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	name = filepath.Clean(name)
	slashed := filepath.ToSlash(name)
	if f.folders[slashed] {
		return filesys.ConfirmedDir(name), "", nil
	}
	if _, isFile := f.data[slashed]; isFile {
		return filesys.ConfirmedDir(filepath.Dir(name)), filepath.Base(name), nil
	}
	return "", "", fmt.Errorf("%s: %w", name, fs.ErrNotExist)
}

// ReadFile implements filesys.FileSystem.
func (f *files) ReadFile(name string) ([]byte, error) {
	name = filepath.ToSlash(name)
	data, isFile := f.data[name]
	if !isFile {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	f.read[name] = true
	return data, nil
}

func (f *files) build(folder string) ([]*resource.Resource, error) {
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionUnspecified // the default of the command, unlike that of the library
	built, err := krusty.MakeKustomizer(options).Run(f, filepath.FromSlash(folder))
	if err != nil {
		return nil, err
	}
	return built.Resources(), nil
}

// kustomizations returns the kustomization files in a folder.
func (f *files) kustomizations(folder string) []string {
	var names []string
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		if _, isFile := f.data[path.Join(folder, name)]; isFile {
			names = append(names, path.Join(folder, name))
		}
	}
	return names
}

// decode decodes a kustomization file.
func (f *files) decode(name string) (*types.Kustomization, error) {
	var k types.Kustomization
	err := k.Unmarshal(f.data[name])
	if err == nil {
		return &k, nil
	}
	if syntax := syntaxError(name, f.data[name]); syntax != nil {
		return nil, syntax
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return nil, fmt.Errorf("%s: %s: a %s is not valid here",
			inLine(name, f.data[name], wrong.Field), wrong.Field, wrong.Value)
	}
	text := reason(err.Error())
	if unknown := unknownField.FindStringSubmatch(text); unknown != nil {
		name = inLine(name, f.data[name], unknown[1])
	}
	return nil, fmt.Errorf("%s: %s", name, text)
}

// sources are the objects that a kustomization reads, and the files that it reads them from.
type sources struct {
	files *files
	// seen are the folders of the kustomizations that were added, each with the file whose plugins they configure, if any.
	seen map[[2]string]bool
	// objects are those in all files. marked holds the files with a marker in each object, which is its index in objects.
	objects []Object
	marked  map[string][]byte
	// generates is true if a kustomization has generators.
	generates bool
}

// addKustomization adds what the kustomization in a folder reads. The error says why it is not built. If its objects
// configure plugins, of is where a kustomization names it as such.
func (s *sources) addKustomization(folder string, of *place) error {
	key := [2]string{folder}
	if of != nil {
		key[1] = of.file
	}
	if s.seen[key] {
		return nil // kustomize itself finds cycles
	}
	s.seen[key] = true
	names := s.files.kustomizations(folder)
	switch len(names) {
	case 0:
		return fmt.Errorf("%s: it has no kustomization.yaml; add one, or name a folder that has one", folder)
	case 1:
	default:
		return fmt.Errorf("%s: it has both %s and %s; keep one of them",
			folder, path.Base(names[0]), path.Base(names[1]))
	}
	k, err := s.files.decode(names[0])
	if err != nil {
		return err
	}
	return s.entries(names[0], k, of).check()
}

// place is where in a kustomization file a value is. text is what the file holds.
type place struct {
	file, field, value string
	text               []byte
}

func (p place) errorf(format string, args ...any) error {
	value := policies.Shorten(p.value, maxValue)
	return fmt.Errorf("%s: %s: %s",
		inLine(p.file, p.text, p.field), strings.TrimSpace(p.field+" "+value), fmt.Sprintf(format, args...))
}

var fieldPart = regexp.MustCompile(`[^.\[\] ]+`)

// inLine returns the name of a file with the line of a field such as patches[0].path, or with that of the nearest field
// around it. It returns the name alone if that is not known.
func inLine(file string, text []byte, field string) string {
	var document yamlv3.Node
	if err := yamlv3.Unmarshal(text, &document); err != nil || len(document.Content) == 0 {
		return file
	}
	node, line := document.Content[0], 0
	for _, part := range fieldPart.FindAllString(field, -1) {
		var next *yamlv3.Node
		if i, err := strconv.Atoi(part); err == nil && node.Kind == yamlv3.SequenceNode && i < len(node.Content) {
			next = node.Content[i]
			line = next.Line
		}
		for i := 0; node.Kind == yamlv3.MappingNode && i < len(node.Content); i += 2 {
			if node.Content[i].Value == part {
				next, line = node.Content[i+1], node.Content[i].Line
			}
		}
		if next == nil {
			break
		}
		node = next
	}
	if line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}

// entries are the values of one kustomization file that say what else it reads. text is what the file holds.
type entries struct {
	file string
	text []byte
	list []entry
}

type entry struct {
	place
	check func(place) error
}

func (e *entries) add(field, value string, check func(place) error) {
	if value != "" {
		e.list = append(e.list, entry{place{e.file, field, value, e.text}, check})
	}
}

func (e *entries) addEach(field string, values []string, check func(place) error) {
	for i, value := range values {
		e.add(fmt.Sprintf("%s[%d]", field, i), value, check)
	}
}

// check checks the values in their order.
func (e *entries) check() error {
	for _, entry := range e.list {
		if err := entry.check(entry.place); err != nil {
			return err
		}
	}
	return nil
}

// addPairs adds what a generator reads.
func (e *entries) addPairs(generator string, pairs types.KvPairSources, check func(place) error) {
	for i, value := range pairs.FileSources {
		if strings.Count(value, "=") < 2 { // kustomize says that others are not valid
			e.add(fmt.Sprintf("%s.files[%d]", generator, i), value[strings.Index(value, "=")+1:], check)
		}
	}
	e.addEach(generator+".envs", pairs.EnvSources, check)
	e.add(generator+".env", pairs.EnvSource, check)
}

func (s *sources) entries(file string, k *types.Kustomization, of *place) *entries {
	e := &entries{file: file, text: s.files.data[file]}
	s.generates = s.generates || len(k.ConfigMapGenerator)+len(k.SecretGenerator)+len(k.Generators) > 0
	e.addHelm(k)
	resource := func(at place) error { return s.addResource(at, of) }
	e.addEach("resources", k.Resources, resource)
	e.addEach("bases", k.Bases, resource) //nolint:staticcheck // users still have it
	e.addEach("components", k.Components, func(at place) error { return s.addComponent(at, of) })
	e.addEach("crds", k.Crds, s.checkFile)
	e.addEach("configurations", k.Configurations, s.checkFile)
	e.add("openapi.path", k.OpenAPI["path"], s.checkFile)
	for i, args := range k.ConfigMapGenerator {
		e.addPairs(fmt.Sprintf("configMapGenerator[%d]", i), args.KvPairSources, s.checkFile)
	}
	for i, args := range k.SecretGenerator {
		e.addPairs(fmt.Sprintf("secretGenerator[%d]", i), args.KvPairSources, s.checkFile)
	}
	for i, patch := range k.PatchesStrategicMerge { //nolint:staticcheck // users still have it
		e.add(fmt.Sprintf("patchesStrategicMerge[%d]", i), string(patch), s.checkPatch)
	}
	for i, patch := range k.PatchesJson6902 { //nolint:staticcheck // users still have it
		e.add(fmt.Sprintf("patchesJson6902[%d].path", i), patch.Path, s.checkPatchFile)
	}
	for i, patch := range k.Patches {
		e.add(fmt.Sprintf("patches[%d].path", i), patch.Path, s.checkPatchFile)
	}
	for i, replacement := range k.Replacements {
		e.add(fmt.Sprintf("replacements[%d].path", i), replacement.Path, s.checkFile)
	}
	e.addEach("generators", k.Generators, s.addPlugins)
	e.addEach("transformers", k.Transformers, s.addPlugins)
	e.addEach("validators", k.Validators, s.addPlugins)
	return e
}

func (e *entries) addHelm(k *types.Kustomization) {
	for i, chart := range k.HelmCharts {
		e.add(fmt.Sprintf("helmCharts[%d]", i), cmp.Or(chart.Name, " "), refuseHelm)
	}
	for i, chart := range k.HelmChartInflationGenerator {
		e.add(fmt.Sprintf("helmChartInflationGenerator[%d]", i), cmp.Or(chart.ChartName, " "), refuseHelm)
	}
	if k.HelmGlobals != nil {
		e.add("helmGlobals", " ", refuseHelm)
	}
}

func refuseHelm(at place) error {
	return at.errorf("charts in a kustomization are not rendered; " +
		"give the output of kustomize build --enable-helm instead")
}

// addResource adds a file with objects, or another kustomization. The order of its checks is kustomize's own.
func (s *sources) addResource(at place, of *place) error {
	file, folder, err := s.resolve(at, true)
	switch {
	case err != nil:
		return err
	case folder != "":
		return s.addKustomization(folder, of)
	}
	return s.addFile(file, of)
}

func (s *sources) addComponent(at place, of *place) error {
	_, folder, err := s.resolve(at, false)
	if err != nil || folder == "" {
		return err
	}
	return s.addKustomization(folder, of)
}

func (s *sources) checkFile(at place) error {
	_, _, err := s.resolve(at, true)
	return err
}

// checkPatch checks a patch that is given inline or as the path of a file.
func (s *sources) checkPatch(at place) error {
	if _, isInline, err := at.inline(); isInline {
		return err
	}
	return s.checkPatchFile(at)
}

// checkPatchFile checks a file with patches in YAML, of which kustomize does not say what is wrong.
func (s *sources) checkPatchFile(at place) error {
	file, _, err := s.resolve(at, true)
	if err != nil || file == "" {
		return err
	}
	return syntaxError(file, s.files.data[file])
}

// resolve returns the path of the file or the folder that a value names. Files are not looked for where kustomize takes
// only folders.
func (s *sources) resolve(at place, mayBeFile bool) (file, folder string, err error) {
	name, root := path.Clean(at.value), path.Dir(at.file)
	if !path.IsAbs(name) {
		name = path.Join(root, name)
	}
	_, isFile := s.files.data[name]
	isFile = isFile && mayBeFile
	isInside := strings.HasPrefix(name, strings.TrimSuffix(root, "/")+"/")
	switch {
	case isFetched(at.value), !isFile && isCloned(at.value):
		return "", "", at.errorf("it is remote, and nothing is fetched; " +
			"name a local copy instead, or give the output of kustomize build")
	case isFile && !isInside:
		return "", "", at.errorf("kustomize reads no file outside of the folder of the kustomization; move it there")
	case isFile:
		return name, "", nil
	case s.files.folders[name]:
		return "", name, nil
	case isInside:
		return "", "", at.errorf(
			"it does not exist, or is a link out of the folders that were given; correct the path, or add it")
	}
	return "", "", at.errorf(
		"it does not exist, or lies outside of the folders that were given; correct the path, or give that folder too")
}

// isFetched reports whether kustomize loads a file by HTTP, as FileLoader.Load decides.
func isFetched(entry string) bool {
	u, err := url.Parse(entry)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https")
}

var clonePrefix = regexp.MustCompile(`^(?i:git::)?([a-zA-Z][a-zA-Z0-9-]*@)?`)

// isCloned reports whether kustomize takes an entry for a Git repository, as its NewRepoSpecFromURL decides. That has
// precedence over folders, but not over files. It reports true also for entries with a scheme that kustomize rejects.
func isCloned(entry string) bool {
	entry, _, _ = strings.Cut(entry, "?")
	if strings.Contains(entry, "://") {
		return true
	}
	prefix := clonePrefix.FindStringSubmatch(entry)
	entry = entry[len(prefix[0]):]
	lower := strings.ToLower(entry)
	if prefix[1] == "" && !strings.HasPrefix(lower, "github.com/") && !strings.HasPrefix(lower, "github.com:") {
		return false
	}
	end := strings.Index(entry, "/")
	if colon := strings.Index(entry, ":"); end < 0 || colon > 0 && colon < end {
		end = colon
	}
	if end < 0 {
		return false
	}
	entry = entry[end+1:]
	var inside string
	if _, after, isAzure := strings.Cut(entry, "_git/"); isAzure {
		_, inside, _ = strings.Cut(after, "/")
	} else if before, after, isSplit := strings.Cut(entry, "//"); isSplit {
		if before == "" {
			return false
		}
		inside = after
	} else if _, after, hasSuffix := strings.Cut(entry, ".git"); hasSuffix {
		inside = after
	} else if parts := strings.SplitN(entry, "/", 3); len(parts) == 1 {
		return false
	} else if len(parts) == 3 {
		inside = parts[2]
	}
	first, _, _ := strings.Cut(path.Clean(strings.TrimPrefix(inside, "/")), "/")
	return first != ".."
}

// addFile adds the objects of a file.
func (s *sources) addFile(name string, of *place) error {
	if _, isDone := s.marked[name]; isDone && of == nil {
		return nil
	}
	list, err := resourcesIn(s.files.data[name])
	if err != nil {
		return cmp.Or(syntaxError(name, s.files.data[name]), fmt.Errorf("%s: %s", name, reason(err.Error())))
	}
	if of != nil {
		return s.checkPlugins(*of, list)
	}
	var marked []byte
	for i, object := range list {
		annotations := object.GetAnnotations()
		annotations[sourceMarker] = strconv.Itoa(len(s.objects))
		s.objects = append(s.objects, Object{
			File: name, Kind: object.GetKind(), Name: object.GetName(), Namespace: object.GetNamespace(),
			Index: i,
		})
		if err := object.SetAnnotations(annotations); err != nil {
			return nil //nolint:nilerr // kustomize says what is wrong, if anything
		}
		text, err := object.AsYAML()
		if err != nil {
			return nil //nolint:nilerr // as above
		}
		marked = append(append(marked, "---\n"...), text...)
	}
	s.marked[name] = marked
	return nil
}

func resourcesIn(data []byte) ([]*resource.Resource, error) {
	return provider.NewDefaultDepProvider().GetResourceFactory().SliceFromBytes(data)
}

// inline returns the objects in a value that may also be a path.
func (p place) inline() (list []*resource.Resource, isInline bool, err error) {
	list, err = resourcesIn([]byte(p.value))
	if err == nil {
		return list, true, nil
	}
	if !strings.Contains(p.value, "\n") {
		return nil, false, nil
	}
	p.value = "(inline)"
	return nil, true, p.errorf("%s", reason(err.Error()))
}

// addPlugins adds what the configuration of plugins reads, which is given inline, as a file or as a kustomization.
func (s *sources) addPlugins(at place) error {
	if list, isInline, err := at.inline(); err != nil {
		return err
	} else if isInline {
		at.value = "(inline)"
		return s.checkPlugins(at, list)
	}
	file, folder, err := s.resolve(at, true)
	switch {
	case err != nil:
		return err
	case folder != "":
		return s.addKustomization(folder, &at)
	}
	return s.addFile(file, &at)
}

// checkPlugins returns an error if plugins are not builtin ones, or need what is not there.
func (s *sources) checkPlugins(at place, configs []*resource.Resource) error {
	for _, config := range configs {
		kind, gvk := config.GetKind(), config.GetGvk()
		if gvk.Group != "" || gvk.Version != konfig.BuiltinPluginApiVersion {
			what := "needs the plugin " + kind + ", and only builtin plugins are run"
			for _, annotation := range []string{"config.kubernetes.io/function", "config.k8s.io/function"} {
				if config.GetAnnotations()[annotation] != "" {
					what = "has " + kind + " with the annotation " + annotation + ", and functions are not run"
				}
			}
			return at.errorf("it %s; give the output of kustomize build instead", what)
		}
		if kind == "HelmChartInflationGenerator" {
			return refuseHelm(at)
		}
		var reads struct {
			types.KvPairSources `json:",inline"`

			Path           string                      `json:"path"`
			Paths          []types.PatchStrategicMerge `json:"paths"`
			TargetFilePath string                      `json:"targetFilePath"`
			Replacements   []types.ReplacementField    `json:"replacements"`
		}
		text, err := config.AsYAML()
		if err != nil || yaml.Unmarshal(text, &reads) != nil {
			continue // kustomize says what is wrong
		}
		e := &entries{file: at.file, text: at.text}
		field := at.field + " " + kind
		e.addPairs(field, reads.KvPairSources, s.checkFile)
		e.add(field+".path", reads.Path, s.checkFile)
		for i, patch := range reads.Paths {
			e.add(fmt.Sprintf("%s.paths[%d]", field, i), string(patch), s.checkPatch)
		}
		e.add(field+".targetFilePath", reads.TargetFilePath, s.checkFile)
		for i, replacement := range reads.Replacements {
			e.add(fmt.Sprintf("%s.replacements[%d].path", field, i), replacement.Path, s.checkFile)
		}
		if err := e.check(); err != nil {
			return err
		}
	}
	return nil
}

// markedFiles returns the files with a marker in each object and, if anything is generated, the kustomization in a
// folder with an option by which kustomize says where generated objects come from. With it, the time of a build grows
// with the square of the number of objects.
func (s *sources) markedFiles(folder string) *files {
	marked := &files{s.files.FileSystem, maps.Clone(s.files.data), s.files.folders, map[string]bool{}}
	maps.Copy(marked.data, s.marked)
	name := s.files.kustomizations(folder)[0]
	k, err := marked.decode(name)
	if err != nil || !s.generates {
		return marked
	}
	k.BuildMetadata = append(k.BuildMetadata, types.OriginAnnotations)
	if text, err := yaml.Marshal(k); err == nil {
		marked.data[name] = text
	}
	return marked
}

// find sets in object where a marked one comes from.
func (s *sources) find(folder string, marked *resource.Resource, object *Object) {
	i, err := strconv.ParseUint(marked.GetAnnotations()[sourceMarker], 10, 0)
	if err == nil && i < uint64(len(s.objects)) {
		text := object.Text
		*object = s.objects[i]
		object.Text = text
	} else if origin, err := marked.GetOrigin(); err == nil && origin != nil && origin.ConfiguredIn != "" {
		object.Generator = path.Join(folder, filepath.ToSlash(origin.ConfiguredIn))
	}
}

// syntaxError returns an error of the YAML in a file with its line, or nil if there is none. Lines in an error of
// kustomize begin anew with each document.
func syntaxError(name string, data []byte) error {
	lines := &lineReader{text: data}
	for documents := yamlv3.NewDecoder(lines); ; {
		var document yamlv3.Node
		err := documents.Decode(&document)
		if errors.Is(err, io.EOF) {
			return nil
		} else if err == nil {
			continue
		}
		line, reason := lines.read, strings.TrimPrefix(err.Error(), "yaml: ")
		var number int
		if _, err := fmt.Sscanf(reason, "line %d: ", &number); err == nil {
			_, reason, _ = strings.Cut(reason, ": ")
			// If a token is missing, the parser reports the line before the one on which the enclosing block begins.
			if !strings.HasPrefix(reason, "did not find expected") {
				line = min(line, number)
			}
		}
		return fmt.Errorf("%s:%d: %s; fix the YAML on or just above this line", name, line, oneLine(reason))
	}
}

// A lineReader returns at most one line per read. It therefore knows how far a parser has read.
type lineReader struct {
	text []byte
	read int
}

// Read implements io.Reader.
func (r *lineReader) Read(p []byte) (int, error) {
	line, _, _ := bytes.Cut(r.text, []byte("\n"))
	line = r.text[:min(len(line)+1, len(r.text))]
	if len(line) == 0 {
		return 0, io.EOF
	}
	n := copy(p, line)
	r.text = r.text[n:]
	if n == len(line) {
		r.read++
	}
	return n, nil
}

var (
	unknownField = regexp.MustCompile(`unknown field "([^"]*)"`)
	// kustomize says on which way it came to the place of the error, and that a file is no folder or a folder no file.
	// What is from a component is quoted, once for each component on the way.
	recursed   = regexp.MustCompile(`(?s)^.*?recursed accumulation of path '([^']*)': `)
	components = regexp.MustCompile(`(?s)^(?:accumulating components: )?(?:accumulateDirectory|loader\.New):? (".*")$`)
	attempts   = regexp.MustCompile(`(?s)^accumulating resources: accumulation err='(.*)': must build at directory: .*$`)
	asFolder   = regexp.MustCompile(`(?s)^accumulating resources: accumulation err='.*?must resolve to a file': (.*)$`)
	// It also says several times that no object matches, and prints values of Go and whole objects.
	noise = regexp.MustCompile("(?s)" +
		"(?::|;) (?:no matches for Id|failed to find unique target for patch) [^ ;]+|" +
		"^merging from generator &\\{.*\\}: |^trouble configuring builtin \\w+ with config: `.*`: |" +
		`literal sources \[.*\]: | in object \{\{.*|\s+\*\*\*\* .*|\s+in\napiVersion: .*|` +
		`(?:invalid Kustomization|error converting YAML to JSON|MalformedYAMLError): (?:(?:yaml|json): )?`)
	goID = regexp.MustCompile(
		`resid\.ResId\{Gvk:resid\.Gvk\{.*?Version:"([^"]*)", Kind:"([^"]*)".*?\}, Name:"([^"]*)", Namespace:"[^"]*"\}`)
	// inText is in an error about the text of an object, the lines of which are those of no file.
	inText = regexp.MustCompile(`^yaml: unmarshal errors: line \d+: | at line \d+`)
	unset  = strings.NewReplacer(".[noGrp]", "", ".[noVer]", "", ".[noNs]", "")
)

// explain returns what an error of kustomize says, in one line after the kustomization file that it occurs in.
func (f *files) explain(folder string, err error) error {
	text := err.Error()
	for before := ""; text != before; {
		before = text
		if m := components.FindStringSubmatch(text); m != nil {
			if unquoted, err := strconv.Unquote(m[1]); err == nil {
				text = unquoted
			}
		} else if m := recursed.FindStringSubmatch(text); m != nil {
			folder, text = filepath.ToSlash(m[1]), text[len(m[0]):]
		}
	}
	text = attempts.ReplaceAllString(text, "$1")
	text = asFolder.ReplaceAllString(text, "$1")
	return fmt.Errorf("%s: %s", append(f.kustomizations(folder), folder)[0], reason(text))
}

// reason returns what kustomize says in one line, without what only those who know its source can read.
func reason(text string) string {
	text = noise.ReplaceAllString(text, "")
	text = goID.ReplaceAllString(text, "$2.$1/$3")
	return oneLine(unset.Replace(text))
}

func oneLine(text string) string {
	return policies.Shorten(strings.Join(strings.Fields(text), " "), maxReason)
}
