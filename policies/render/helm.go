package render

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"unicode"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	"helm.sh/helm/v4/pkg/ignore"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"
	"helm.sh/helm/v4/pkg/strvals"

	"github.com/sourceward/sourceward/policies"
)

const (
	// maxRendered is how many bytes the templates of a chart may render to.
	maxRendered = 8 << 20
	// maxError is how many bytes of an error of helm are kept. It may quote a template.
	maxError = 1 << 10
)

// render renders the chart as `helm template` of helm v4.3 does, but always in the same way: what depends on chance or
// on the clock is constant, and dictionaries are sorted.
func (c *Chart) render() (Result, error) {
	log.SetOutput(io.Discard) // The library logs what it doubts, which would hide why a child ends.

	plain, err := c.execute(func(source string) string { return source }, constant())
	if err != nil || plain.skipped != "" {
		return Result{Skipped: plain.skipped}, err
	}
	size := 0
	for _, text := range plain.texts {
		size += len(text)
	}
	if size > maxRendered {
		return Result{}, fmt.Errorf("it renders more than %d MiB; render it with helm template and give the result",
			maxRendered>>20)
	}
	functions := constant()
	maps.Copy(functions, markers())
	// It may fail where a chart depends on the text of its own templates. Then only the lines are not known.
	marked, _ := c.execute(markTemplate, functions)

	names := slices.SortedFunc(maps.Keys(plain.texts), func(a, b string) int {
		return cmp.Or(cmp.Compare(plain.files[a], plain.files[b]), cmp.Compare(a, b))
	})
	var result Result
	for _, name := range names {
		text := plain.texts[name]
		from := traced(text, marked.texts[name])
		for i, document := range split(text) {
			object := Object{File: plain.files[name], Lines: from.lines(document.offset, document.text)}
			isPrinted, err := document.isPrinted()
			if err != nil {
				at, reason := inTemplate(err.Error(), object)
				return Result{}, fmt.Errorf("%s: document %d that it renders is not valid: %s", at, i+1, reason)
			}
			if !isPrinted {
				continue
			}
			if archive := plain.archives[name]; archive != "" {
				object.File, object.Lines = archive, make([]int, len(object.Lines))
			}
			if keptBreaks.MatchString(document.text) && strings.HasSuffix(document.text, "\n") {
				document.text += "\n" // as helm does after each document
				object.Lines = append(object.Lines, 0)
			}
			object.Text = []byte(document.text)
			result.Objects = append(result.Objects, object)
		}
	}
	return result, nil
}

// rendered is what the templates of a chart render to.
type rendered struct {
	// skipped is Result.Skipped.
	skipped string
	// texts are the texts and files the paths, both by the names that the library gives to templates. archives holds the
	// names in the request of the archives in which templates are; the path of such a template goes on inside.
	texts, files, archives map[string]string
}

// templatePlace is where a template is: its path and, if it is in an archive, the path of that.
type templatePlace struct{ path, archive string }

// execute renders the templates of the chart after edit has changed them. The library changes charts and values, also
// while it renders; so nothing is shared between two calls.
func (c *Chart) execute(edit func(string) string, functions template.FuncMap) (rendered, error) {
	files, err := c.files()
	if err != nil {
		return rendered{}, err
	}
	loaded, places, err := load(files, edit)
	if err != nil {
		return rendered{}, lineError(err.Error())
	}
	if skipped := whySkipped(loaded); skipped != "" {
		return rendered{skipped: skipped}, nil
	}
	if err := c.Check(); err != nil {
		return rendered{}, err
	}
	values, err := c.values()
	if err != nil {
		return rendered{}, err
	}
	capabilities, err := c.capabilities()
	if err != nil {
		return rendered{}, err
	}
	if err := chartutil.ProcessDependencies(loaded, values); err != nil {
		return rendered{}, lineError(err.Error())
	}
	const withoutSchema = true // it would fetch what the schema refers to
	release := common.ReleaseOptions{Name: c.ReleaseName, Namespace: c.Namespace, Revision: 1, IsInstall: true}
	top, err := util.ToRenderValuesWithSchemaValidation(loaded, values, release, capabilities, withoutSchema)
	if err != nil {
		return rendered{}, lineError(err.Error())
	}
	coalesced, err := top.Table("Values")
	if err != nil {
		return rendered{}, lineError(err.Error())
	}
	if err := validate(loaded, coalesced, ""); err != nil {
		return rendered{}, err
	}
	kube := &capabilities.KubeVersion
	if want := loaded.Metadata.KubeVersion; want != "" && !chartutil.IsCompatibleRange(want, kube.String()) {
		return rendered{}, fmt.Errorf("kubeVersion %q of Chart.yaml does not allow Kubernetes %s", want, kube.Version)
	}

	r := rendered{files: map[string]string{}, archives: map[string]string{}}
	r.name(loaded, places)
	r.texts, err = engine.Engine{CustomTemplateFuncs: functions}.RenderWithContext(context.Background(), loaded, top)
	if err != nil {
		return rendered{}, r.readable(err)
	}
	const notes = "NOTES.txt" // also at the end of a longer name, as in the library
	maps.DeleteFunc(r.texts, func(name, _ string) bool { return strings.HasSuffix(name, notes) })
	return r, nil
}

// name fills r.files and r.archives with the templates of a chart and of those that it depends on.
func (r *rendered) name(c *chart.Chart, places map[*common.File]templatePlace) {
	for _, file := range c.Templates {
		name, at := path.Join(c.ChartFullPath(), file.Name), places[file]
		r.files[name], r.archives[name] = at.path, at.archive
	}
	for _, dependency := range c.Dependencies() {
		r.name(dependency, places)
	}
}

// whySkipped returns why nothing is rendered for a chart, or "". `helm template` ends with an error for both reasons.
func whySkipped(c *chart.Chart) string {
	if c.Metadata.Type == "library" {
		return "it is a library chart, which renders nothing itself"
	}
	var missing []string
	for _, dependency := range c.Metadata.Dependencies {
		isThere := slices.ContainsFunc(c.Dependencies(), func(c *chart.Chart) bool { return c.Name() == dependency.Name })
		if !isThere && !slices.Contains(missing, dependency.Name) {
			missing = append(missing, dependency.Name)
		}
	}
	if len(missing) == 0 {
		return ""
	}
	const help = "run helm dependency build"
	if len(missing) == 1 {
		return fmt.Sprintf("its dependency %s is missing in charts/; %s", missing[0], help)
	}
	return fmt.Sprintf("its dependencies %s are missing in charts/; %s", strings.Join(missing, ", "), help)
}

// files returns the files that belong to the chart: those that no rule of .helmignore excludes.
func (c *Chart) files() ([]*archive.BufferedFile, error) {
	rules := ignore.Empty()
	for _, file := range c.Files {
		if file.Name == ignore.HelmIgnore {
			var err error
			if rules, err = ignore.Parse(bytes.NewReader(file.Data)); err != nil {
				return nil, fmt.Errorf("%s: %w", file.Name, err)
			}
		}
	}
	rules.AddDefaults()
	var files []*archive.BufferedFile
	for _, file := range c.Files {
		if !isIgnored(rules, file.Name) {
			const byteOrderMark = "\ufeff"
			data := bytes.TrimPrefix(file.Data, []byte(byteOrderMark))
			files = append(files, &archive.BufferedFile{Name: file.Name, Data: data})
		}
	}
	return files, nil
}

// isIgnored reports whether rules exclude a file or a folder that holds it.
func isIgnored(rules *ignore.Rules, name string) bool {
	for i := range len(name) {
		if name[i] == '/' && rules.Ignore(name[:i], fileInfo{isDir: true}) {
			return true
		}
	}
	return rules.Ignore(name, fileInfo{})
}

// fileInfo is what rules want to know of a file.
type fileInfo struct {
	fs.FileInfo
	isDir bool
}

// IsDir implements fs.FileInfo.
func (f fileInfo) IsDir() bool { return f.isDir }

// load loads a chart with those that it depends on, in the order of their folders and archives, and edits all
// templates. It also returns the places of these, in whose paths the folder of a chart in an archive has the name of
// the chart. The library can load charts with dependencies, but in no certain order, and it forgets their folders.
func load(
	files []*archive.BufferedFile, edit func(string) string,
) (c *chart.Chart, places map[*common.File]templatePlace, err error) {
	const folder, packed = "charts/", ".tgz"
	var own []*archive.BufferedFile
	parts := map[string][]*archive.BufferedFile{} // of dependencies, by the names of their folders or archives
	isPacked := map[string]bool{}
	for _, file := range files {
		name, isPart := strings.CutPrefix(file.Name, folder)
		if !isPart || path.Ext(name) == ".prov" {
			own = append(own, file)
			continue
		}
		first, inside, isFolder := strings.Cut(name, "/")
		switch {
		case strings.HasPrefix(first, "_"), strings.HasPrefix(first, "."):
		case path.Ext(first) == packed && !isFolder:
			unpacked, err := archive.LoadArchiveFiles(bytes.NewReader(file.Data))
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", file.Name, err)
			}
			parts[first], isPacked[first] = unpacked, true
		default:
			parts[first] = append(parts[first], &archive.BufferedFile{Name: inside, Data: file.Data})
		}
	}
	if c, err = loader.LoadFiles(own); err != nil {
		return nil, nil, err
	}
	places = map[*common.File]templatePlace{}
	for _, file := range c.Templates {
		file.Data = []byte(edit(string(file.Data)))
		places[file] = templatePlace{path: file.Name}
	}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		dependency, templates, err := load(parts[name], edit)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", folder+name, err)
		}
		c.AddDependency(dependency)
		inside := name
		if isPacked[name] {
			inside = dependency.Name()
		}
		for file, at := range templates {
			at.path = folder + inside + "/" + at.path
			if isPacked[name] {
				at.archive = folder + name
			} else if at.archive != "" {
				at.archive = folder + name + "/" + at.archive
			}
			places[file] = at
		}
	}
	return c, places, nil
}

// Check returns an error if the Values, Set or ReleaseName of a chart are not valid, whatever its Files are.
func (c *Chart) Check() error {
	if _, err := c.values(); err != nil {
		return err
	}
	if err := chartutil.ValidateReleaseName(c.ReleaseName); err != nil {
		return fmt.Errorf("release name %q: %w", c.ReleaseName, err)
	}
	return nil
}

// values returns the values that are given beside those of the chart.
func (c *Chart) values() (map[string]any, error) {
	values := map[string]any{}
	for _, file := range c.Values {
		more, err := loader.LoadValues(bytes.NewReader(file.Data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file.Name, lineError(err.Error()))
		}
		values = loader.MergeMaps(values, more)
	}
	for _, set := range c.Set {
		if err := strvals.ParseInto(set, values); err != nil {
			return nil, fmt.Errorf("%q is not in the form of --set: %w", set, lineError(err.Error()))
		}
	}
	return values, nil
}

// capabilities returns what a template can know of the cluster.
func (c *Chart) capabilities() (*common.Capabilities, error) {
	version, err := common.ParseKubeVersion(c.KubeVersion)
	if err != nil {
		return nil, fmt.Errorf("%q is not a version of Kubernetes", c.KubeVersion)
	}
	capabilities := common.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *version
	capabilities.APIVersions = slices.Concat(capabilities.APIVersions, c.APIVersions)
	slices.Sort(capabilities.APIVersions) // they come in the order of a map
	return capabilities, nil
}

// validate returns an error for values that violate the schema of a chart, which is at prefix in values, or of one that
// it depends on.
func validate(c *chart.Chart, values map[string]any, prefix string) error {
	if c.Schema != nil {
		if err := validateOne(c.Schema, values, prefix); err != nil {
			return err
		}
	}
	for _, dependency := range c.Dependencies() {
		switch of := values[dependency.Name()].(type) {
		case nil:
		case map[string]any:
			if err := validate(dependency, of, prefix+dependency.Name()+"."); err != nil {
				return err
			}
		default:
			return fmt.Errorf("the value %s is not an object", prefix+dependency.Name())
		}
	}
	return nil
}

func validateOne(schema []byte, values map[string]any, prefix string) error {
	const name = "values.schema.json"
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return fmt.Errorf("%s is not valid JSON: %w", name, err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(offline{})
	const url = "file:///" + name
	if err := compiler.AddResource(url, document); err != nil {
		return fmt.Errorf("%s: %w", name, lineError(err.Error()))
	}
	compiled, err := compiler.Compile(url)
	if refused, isRefused := errors.AsType[*jsonschema.LoadURLError](err); isRefused {
		return fmt.Errorf("%s refers to %s, which is not fetched; copy it into the schema", name, refused.URL)
	} else if invalid, isInvalid := errors.AsType[*jsonschema.SchemaValidationError](err); isInvalid {
		return lineError(name + " is not a valid schema: " + violations(invalid.Err, ""))
	} else if err != nil {
		return fmt.Errorf("%s: %w", name, lineError(err.Error()))
	}
	if err := compiled.Validate(values); err != nil {
		return lineError(name + ": " + violations(err, prefix))
	}
	return nil
}

// violations returns what err, an error of a schema, says of the values that are at prefix. The library says it in the
// order of a map.
func violations(err error, prefix string) string {
	violation, isViolation := errors.AsType[*jsonschema.ValidationError](err)
	if !isViolation {
		return err.Error()
	}
	var reasons []string
	var add func(*jsonschema.ValidationError)
	add = func(violation *jsonschema.ValidationError) {
		for _, cause := range violation.Causes {
			add(cause)
		}
		if additional, isAdditional := violation.ErrorKind.(*kind.AdditionalProperties); isAdditional {
			slices.Sort(additional.Properties)
		}
		if reason := violation.BasicOutput().Error; reason != nil && len(violation.Causes) == 0 {
			at := strings.TrimSuffix(prefix+strings.Join(violation.InstanceLocation, "."), ".")
			reasons = append(reasons, fmt.Sprintf("%s: %s", cmp.Or(at, "the top level"), reason))
		}
	}
	add(violation)
	slices.Sort(reasons)
	return strings.Join(slices.Compact(reasons), "; ")
}

// offline is what schemas refer to: nothing is fetched. A name instead of an address stands for a schema that allows
// everything, as it does in helm.
type offline struct{}

// Load implements jsonschema.URLLoader.
func (offline) Load(url string) (any, error) {
	if strings.HasPrefix(url, "urn:") {
		return true, nil
	}
	return nil, errors.New("not fetched")
}

// document is one YAML document of a text, without the spaces before it, and where it is there.
type document struct {
	text   string
	offset int
}

// keptBreaks matches the beginning of a text in YAML that keeps all line breaks at its end.
var keptBreaks = regexp.MustCompile(`[|>][1-9]?\+`)

// separator is what the library takes for one. It need not be a whole line.
var separator = regexp.MustCompile(`(?m)^---[ \t]*`)

// split splits text into the documents that are not empty, in the same way as the library, which does not say where
// they are.
func split(text string) []document {
	trimmed := strings.TrimLeftFunc(text, unicode.IsSpace)
	skipped := len(text) - len(trimmed)
	var documents []document
	add := func(begin, end int) {
		if kept := strings.TrimLeftFunc(trimmed[begin:end], unicode.IsSpace); kept != "" {
			documents = append(documents, document{kept, skipped + end - len(kept)})
		}
	}
	begin := 0
	for _, found := range separator.FindAllStringIndex(trimmed, -1) {
		add(begin, found[0])
		begin = found[1]
	}
	add(begin, len(trimmed))
	return documents
}

// isPrinted reports whether `helm template` prints a document: it leaves out hooks that it does not know. The error is
// not nil if it fails on the document.
func (d document) isPrinted() (bool, error) {
	hooks, manifests, err := releaseutil.SortManifests(map[string]string{"": d.text}, nil, nil)
	if err == nil {
		return len(hooks)+len(manifests) > 0, nil
	}
	if mismatch, isMismatch := errors.AsType[*json.UnmarshalTypeError](err); isMismatch {
		return false, fmt.Errorf("helm cannot use a value of type %s as %s",
			mismatch.Value, cmp.Or(mismatch.Field, "an object"))
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner // without the name of the file, which is not given
	}
	return false, lineError(strings.TrimPrefix(err.Error(), "yaml: "))
}

var lineOfText = regexp.MustCompile(`^line (\d+): `)

// inTemplate returns the template of an object and, if it is known, the line in it that an error about the text of the
// object is about; and the error, with the line of the text if that of the template is not known.
func inTemplate(text string, object Object) (at, reason string) {
	match := lineOfText.FindStringSubmatch(text)
	if match == nil {
		return object.File, text
	}
	number, err := strconv.Atoi(match[1])
	if err != nil || number < 1 || number > len(object.Lines) || object.Lines[number-1] == 0 {
		return object.File, text
	}
	return fmt.Sprintf("%s:%d", object.File, object.Lines[number-1]), text[len(match[0]):]
}

var (
	parseErrorAt = regexp.MustCompile(`^(?:parse|execution) error (?:at|in) \(([^()]*)\): `)
	// hop is where a template runs another one or fails, in either form that the library gives to it.
	hop = regexp.MustCompile(
		`(?:template: )?(\S+?):? executing "[^"]*" at (<.*?>): (?:error calling (?:include|tpl): ?)?`)
	tplExecution = regexp.MustCompile(`error during tpl function execution for "(?:[^"\\]|\\.)*": `)
	noTemplate   = regexp.MustCompile(`(?:template: )?(no template ".*?") associated with template "gotpl"`)
)

// readable returns an error of the library in one line, with the names of templates in the request:
//
//	templates/web.yaml:3:4: <include "demo.port" .>: templates/_helpers.tpl:2:9: <.Values.a.b>: nil pointer …
func (r *rendered) readable(err error) error {
	text := strings.Join(strings.Fields(err.Error()), " ")
	text = parseErrorAt.ReplaceAllString(text, "$1: ")
	text = tplExecution.ReplaceAllString(text, "")
	text = noTemplate.ReplaceAllString(text, "$1")
	seen := map[string]bool{} // so that each turn of an endless recursion is only there once
	text = hop.ReplaceAllStringFunc(text, func(found string) string {
		short := hop.ReplaceAllString(found, "$1: $2: ")
		if seen[short] {
			return ""
		}
		seen[short] = true
		return short
	})
	// The longest names first, since one may begin with another.
	names := slices.SortedFunc(maps.Keys(r.files), func(a, b string) int {
		return cmp.Or(len(b)-len(a), cmp.Compare(a, b))
	})
	var replacements []string
	for _, name := range names {
		replacements = append(replacements, name, r.files[name])
	}
	return lineError(strings.NewReplacer(replacements...).Replace(text))
}

// lineError returns text as an error in one line that is not too long.
func lineError(text string) error {
	return errors.New(policies.Shorten(strings.Join(strings.Fields(text), " "), maxError))
}
