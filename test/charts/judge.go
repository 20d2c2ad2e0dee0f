package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sourceward/sourceward/policies"
	rego "github.com/sourceward/sourceward/policies/bundle"
	"github.com/sourceward/sourceward/policies/manifest"
)

// These take the role of a rule in findings about files that cannot be read and charts that cannot be rendered.
const (
	unreadable   = "unreadable"
	unrenderable = "unrenderable"
)

// key identifies the findings that a judgement applies to.
type key struct {
	module, bundle, object, rule string
}

// finding is a finding of one rule in one object of a bundle.
type finding struct {
	key
	// values is the name of the set of values of a chart. It is empty for plain manifests.
	values       string
	mode         policies.Mode
	message, fix string
}

// result holds the findings in one or more bundles, and counts.
type result struct {
	findings []finding
	// files and objects are the numbers of files and objects that were read. judged has the number of judged objects, by
	// kind.
	files, objects int
	judged         map[string]int
	// templates are the files that cannot be read because they are templates for tools other than helm.
	templates map[string]bool
}

func newResult() result { return result{judged: map[string]int{}, templates: map[string]bool{}} }

func (r *result) add(other result) {
	r.findings = append(r.findings, other.findings...)
	r.files += other.files
	r.objects += other.objects
	maps.Copy(r.templates, other.templates)
	for kind, n := range other.judged {
		r.judged[kind] += n
	}
}

// judgeAll judges bundles as sourceward check does without a policy. It writes rendered files into the folder rendered.
func judgeAll(ctx context.Context, bundles []bundle, rendered string, shown *progress) (result, error) {
	rules, _ := rego.Compile(ctx, nil, nil) // without policies there are no errors
	results := make([]result, len(bundles))
	step, end := shown.start("judging", len(bundles), "bundles")
	defer end()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for i, b := range bundles {
		group.Go(func() (err error) {
			results[i], err = judge(ctx, b, rendered, rules)
			step()
			return err
		})
	}
	err := group.Wait()
	all := newResult()
	for _, r := range results {
		all.add(r)
	}
	return all, err
}

// judge judges one bundle. It writes the files that it renders or changes into the folder rendered.
func judge(ctx context.Context, b bundle, rendered string, rules *rego.Set) (result, error) {
	if err := ctx.Err(); err != nil {
		return result{}, err
	}
	if b.chart == nil && !b.values.exposed {
		return judgeFiles(ctx, b, b.root, rules)
	}
	var texts map[string]string
	var err error
	if b.chart != nil {
		texts, err = renderChart(*b.chart, b.values, filepath.Join(b.root, b.name))
		if err != nil {
			found := b.finding("chart", unrenderable)
			found.message = strings.ReplaceAll(err.Error(), b.root+string(filepath.Separator), "")
			return result{findings: []finding{found}}, nil
		}
		b.files = slices.Sorted(maps.Keys(texts))
	} else if texts, err = read(b.root, b.files); err != nil {
		return result{}, err
	}
	if b.values.exposed {
		expose(texts)
	}
	dir := filepath.Join(rendered, filepath.FromSlash(b.module), filepath.FromSlash(b.name), b.values.name)
	if err := write(dir, texts); err != nil {
		return result{}, err
	}
	return judgeFiles(ctx, b, dir, rules)
}

// judgeFiles judges the files of a bundle, whose paths are relative to root. It judges them together, unless they are
// plain manifests and two of them define the same object. Then the files are alternatives, and it judges each
// separately.
func judgeFiles(ctx context.Context, b bundle, root string, rules *rego.Set) (result, error) {
	manifests, err := load(root, b.files, b.values.nodes)
	if err != nil {
		return result{}, err
	}
	if b.chart != nil || len(b.files) == 1 || !repeats(manifests) {
		return decide(ctx, b, root, manifests, rules)
	}
	all := newResult()
	for _, name := range b.files {
		one := b
		one.name, one.files = name, []string{name}
		r, err := judgeFiles(ctx, one, root, rules)
		if err != nil {
			return result{}, err
		}
		all.add(r)
	}
	return all, nil
}

func read(root string, files []string) (map[string]string, error) {
	texts := map[string]string{}
	for _, name := range files {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return nil, err
		}
		texts[name] = string(data)
	}
	return texts, nil
}

func write(root string, texts map[string]string) error {
	for name, text := range texts {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// repeats reports whether two files define the same object.
func repeats(m *manifest.Manifests) bool {
	files := map[policies.Ref]string{}
	return slices.ContainsFunc(m.Objects, func(o *manifest.Object) bool {
		former, ok := files[o.Ref]
		files[o.Ref] = o.Document.File
		return ok && former != o.Document.File
	})
}

func load(root string, files []string, nodes bool) (*manifest.Manifests, error) {
	options := manifest.Options{Version: policies.Newest, Reads: rego.ReadsAnnotation}
	for _, name := range files {
		options.Paths = append(options.Paths, filepath.Join(root, name))
	}
	if nodes {
		options.Context = []string{nodesFile}
	}
	return manifest.Load(options)
}

// decide judges the objects that were read. It judges the Services first, so that workloads are judged behind Services
// as a webhook would have changed them.
func decide(ctx context.Context, b bundle, root string, m *manifest.Manifests, rules *rego.Set) (result, error) {
	r := newResult()
	r.files, r.objects = m.Files, m.Documents
	for _, e := range m.Errors {
		if e.File == "" {
			continue // The bundle has only patches, which are skipped.
		}
		if b.chart == nil && strings.Contains(string(m.Text(e.File)), "{{") {
			r.templates[e.File] = true
			continue
		}
		name, err := filepath.Rel(root, e.File)
		if err != nil {
			return r, err
		}
		found := b.finding(filepath.ToSlash(name), unreadable)
		found.message = fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message)
		r.findings = append(r.findings, found)
	}
	now := time.Now()
	for _, services := range []bool{true, false} {
		for _, object := range m.Objects {
			if (object.Service != nil) != services {
				continue
			}
			r.judged[object.Kind]++
			decision, _, err := m.Decide(ctx, object, manifest.Bench{
				Rules: rules, Policies: rules.Policies, Cluster: policies.Cluster{Version: policies.Newest}, Now: now,
			})
			if err != nil {
				return r, fmt.Errorf("judge %s of %s %s: %w", object.Ref, b.module, b.name, err)
			}
			for _, f := range decision.Findings {
				found := b.finding(object.Kind+"/"+object.Namespace+"/"+object.Name, f.Rule)
				found.mode, found.message, found.fix = f.Mode, f.Message, f.Fix
				r.findings = append(r.findings, found)
			}
			if mutations := decision.Mutations(); object.Service != nil && len(mutations) > 0 {
				if err := m.Admit(object, mutations); err != nil {
					return r, fmt.Errorf("repair %s of %s %s: %w", object.Ref, b.module, b.name, err)
				}
			}
		}
	}
	return r, nil
}

func (b bundle) finding(object, rule string) finding {
	return finding{key: key{module: b.module, bundle: b.name, object: object, rule: rule}, values: b.values.name}
}
