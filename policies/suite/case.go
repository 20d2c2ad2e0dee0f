package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/sourceward/sourceward/policies"
	"github.com/sourceward/sourceward/policies/manifest"
)

// The files of a case.
const (
	objectFile  = "object.yaml"  // the object under review
	oldFile     = "old.yaml"     // the object before an UPDATE; without it, the case is a CREATE
	relatedFile = "related.yaml" // other existing objects
	clusterFile = "cluster.yaml" // facts about the cluster
	wantFile    = "want.yaml"    // the whole decision
)

// Case holds an object under review and everything else that Decide needs to know.
type Case struct {
	Dir     string
	Cluster Cluster
	Object  *manifest.Object
	// Text is the text of the object's file.
	Text  []byte
	Input policies.Input
}

// Cluster holds the fields of cluster.yaml.
type Cluster struct {
	KubeVersion string `json:"kubeVersion"`
	Nodes       int    `json:"nodes"`
	// Provider is the value of the flag --provider.
	Provider string `json:"provider"`
	// View is Files for an object in a file. For an object that a webhook reviews it is Cluster or, if the look-up of
	// related objects failed, None. The default is Cluster for an UPDATE and Files otherwise.
	View string `json:"view"`
	// Now is the time of the decision, by which exemptions expire.
	Now time.Time `json:"now"`
}

// viewNone is how cluster.yaml writes policies.ViewNone.
const viewNone = "None"

// SomeDay is the time of the decision in cases that do not set one.
var SomeDay = time.Date(2026, time.December, 1, 0, 0, 0, 0, time.UTC)

// ReadCase reads the folder of a case. It ignores files that do not belong to a case. The error is non-nil when the
// folder is not a valid case.
func ReadCase(dir string) (*Case, error) {
	c := &Case{Dir: dir, Cluster: Cluster{KubeVersion: policies.Newest.String(), Now: SomeDay}}
	if c.Has(clusterFile) {
		text, err := readFile(c.Path(clusterFile))
		if err != nil {
			return nil, readError(c.Path(clusterFile), err)
		}
		if err := yaml.UnmarshalStrict(text, &c.Cluster); err != nil {
			return nil, wrong(c.Path(clusterFile),
				"%s; want any of kubeVersion: %q, nodes: 3, provider: NAME, view: %s, now: %s",
				yamlFault(err, text, &Cluster{}), policies.Newest, policies.ViewCluster, SomeDay.Format(time.RFC3339))
		}
	}
	views := []string{"", string(policies.ViewFiles), string(policies.ViewCluster), viewNone}
	if !slices.Contains(views, c.Cluster.View) {
		return nil, wrong(c.Path(clusterFile), "view %q is not one of %s", c.Cluster.View, strings.Join(views[1:], ", "))
	}
	version, err := policies.ParseVersion(c.Cluster.KubeVersion)
	if err != nil {
		return nil, wrong(c.Path(clusterFile), "kubeVersion: %s", err)
	}
	var context []string
	if c.Has(relatedFile) {
		context = []string{c.Path(relatedFile)}
		if _, err := load(version, c.Path(relatedFile)); err != nil {
			return nil, err
		}
	}
	m, err := load(version, c.Path(objectFile), context...)
	if err != nil {
		return nil, err
	}
	if len(m.Objects) != 1 {
		return nil, wrong(c.Path(objectFile),
			"contains %d objects to judge, want 1; keep the Service or workload under review, and put all others into %s",
			len(m.Objects), relatedFile)
	}
	c.Object = m.Objects[0]
	c.Text = m.Text(c.Path(objectFile))
	c.Input = m.Input(c.Object, policies.Cluster{Nodes: c.Cluster.Nodes, Version: version}, c.Cluster.Now)

	if c.Has(oldFile) {
		old, err := load(version, c.Path(oldFile), context...)
		if err != nil {
			return nil, err
		}
		if len(old.Objects) != 1 {
			return nil, wrong(c.Path(oldFile), "contains %d objects to judge, want 1", len(old.Objects))
		}
		c.Input.Operation = policies.Update
		c.Input.Old = old.Objects[0].Object
		c.Input.OldRelated = old.Input(old.Objects[0], c.Input.Cluster, c.Cluster.Now).Related
	}
	if c.Online() {
		c.Input.InFile = policies.InFileUnknown
		c.Input.Related.View, c.Input.OldRelated.View = policies.ViewCluster, policies.ViewCluster
	}
	if c.Cluster.View == viewNone {
		c.Input.Related, c.Input.OldRelated = policies.Related{}, policies.Related{}
	}
	return c, nil
}

// load reads a file of a case. The error is non-nil if any part of the file is not valid.
func load(version policies.Version, path string, context ...string) (*manifest.Manifests, error) {
	m, err := manifest.Load(manifest.Options{Paths: []string{path}, Context: context, Version: version})
	if err != nil {
		return nil, err
	}
	for _, e := range m.Errors {
		return nil, e
	}
	if n := len(m.Skipped) + m.NotKubernetes + m.NotYAML; n > 0 {
		return nil, wrong(path, "documents that are not complete Kubernetes objects: %d; complete or remove them", n)
	}
	return m, nil
}

// Path returns the path of a file of the case.
func (c *Case) Path(file string) string { return filepath.Join(c.Dir, file) }

// Has reports whether the case has a file.
func (c *Case) Has(file string) bool {
	_, err := os.Stat(c.Path(file))
	return err == nil
}

// Online reports whether the object comes from an API server, rather than from a file.
func (c *Case) Online() bool {
	return c.Has(oldFile) || c.Cluster.View == string(policies.ViewCluster) || c.Cluster.View == viewNone
}

// Settings returns the settings for the object, with the provider that the case sets.
func (c *Case) Settings(of policies.Policies) policies.Settings {
	of.Complete = c.Online()
	settings := policies.Resolve(of, c.Object.Object, c.Input.Namespace)
	if c.Cluster.Provider != "" {
		settings.LoadBalancers.Default = c.Cluster.Provider
	}
	return settings
}

// Decide returns the decision for the case. The error is the one of policies.Decide.
func (c *Case) Decide(ctx context.Context, rules policies.Rules, of policies.Policies) (policies.Decision, error) {
	return policies.Decide(ctx, c.Input, rules, c.Settings(of))
}

// Want holds the fields of want.yaml: a decision without the object.
type Want struct {
	Findings []WantFinding    `json:"findings"`
	Patches  []policies.Patch `json:"patches"`
}

// WantFinding is a policies.Finding without its object.
type WantFinding struct {
	Rule           string              `json:"rule"`
	Mode           policies.Mode       `json:"mode"`
	Severity       policies.Severity   `json:"severity"`
	Message        string              `json:"message"`
	Fix            string              `json:"fix,omitempty"`
	Path           string              `json:"path,omitempty"`
	Because        []policies.Ref      `json:"because,omitempty"`
	BecauseOmitted int                 `json:"becauseOmitted,omitempty"`
	Exempt         *policies.Exemption `json:"exempt,omitempty"`
}

// WantOf returns a decision in the form of want.yaml. Its lists are never nil.
func WantOf(decision policies.Decision) Want {
	w := Want{Findings: []WantFinding{}, Patches: append([]policies.Patch{}, decision.Patches...)}
	for _, f := range decision.Findings {
		w.Findings = append(w.Findings, WantFinding{
			f.Rule, f.Mode, f.Severity, f.Message, f.Fix, f.Path, f.Because, f.BecauseOmitted, f.Exempt,
		})
	}
	w.Sort()
	return w
}

// Sort sorts the findings by rule, path and message.
func (w Want) Sort() {
	slices.SortFunc(w.Findings, func(a, b WantFinding) int {
		return strings.Compare(a.Rule+a.Path+a.Message, b.Rule+b.Path+b.Message)
	})
}

// YAML returns the text of want.yaml.
func (w Want) YAML() []byte {
	text, err := yaml.Marshal(w)
	if err != nil {
		panic(err) // cannot happen: all values come from YAML or JSON
	}
	return text
}

// checkFiles returns an error if the folder of a case has a file that does not belong to a case.
func checkFiles(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return readError(dir, err)
	}
	known := []string{objectFile, oldFile, relatedFile, clusterFile, wantFile}
	missing := ""
	if !slices.ContainsFunc(entries, func(entry os.DirEntry) bool { return entry.Name() == objectFile }) {
		missing = ", and " + objectFile + " is missing"
	}
	for _, entry := range entries {
		if !slices.Contains(known, entry.Name()) && !strings.HasPrefix(entry.Name(), ".") {
			return wrong(filepath.Join(dir, entry.Name()),
				"not a file of a case%s; a case consists of %s and optionally %s",
				missing, objectFile, strings.Join(known[1:], ", "))
		}
	}
	return nil
}

// wrong returns an error about a file.
func wrong(file, format string, args ...any) error {
	return &manifest.Error{File: file, Message: fmt.Sprintf(format, args...)}
}

// yamlFault returns the message of an error from decoding a YAML source into a value, without the names of Go types and
// layers.
func yamlFault(err error, source []byte, into any) string {
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		// This decoder does not say which element of a list is wrong.
		var content map[string]any
		if err := yaml.Unmarshal(source, &content); err == nil {
			err = policies.Decode(content, into)
			if wrong, ok := errors.AsType[*policies.FieldError](err); ok {
				return wrong.Error()
			}
		}
	}
	if wrong, ok := errors.AsType[*time.ParseError](err); ok {
		return fmt.Sprintf("%q is not a valid time", wrong.Value)
	}
	text := oneLine(err)
	for _, layer := range []string{
		"error converting YAML to JSON: ", "error unmarshaling JSON: ", "while decoding JSON: ", "yaml: ", "json: ",
	} {
		text = strings.TrimPrefix(text, layer)
	}
	return text
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
