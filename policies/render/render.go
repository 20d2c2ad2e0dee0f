// Package render builds kustomizations and renders Helm charts, in a child process that can open no files and no
// connections: it sees only the files that it is given.
package render

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/sourceward/sourceward/policies/child"
)

// Request is one kustomization to build or one chart to render. Exactly one of its fields is set.
type Request struct {
	Kustomization *Kustomization
	Chart         *Chart
}

// Kustomization is a kustomization to build.
type Kustomization struct {
	// Folder is the absolute path of its folder, with slashes.
	Folder string
	// Files are the files that it may read, by their absolute paths, with slashes.
	Files []File
}

// Chart is a Helm chart to render.
type Chart struct {
	// Files are the files of the chart, by their paths in its folder, with slashes.
	Files []File
	// Values are files with values, each of which takes precedence over those before it and over the chart's own. Set
	// holds values in the form of helm's --set, which take precedence over all files.
	Values []File
	Set    []string
	// ReleaseName and Namespace are those of the release.
	ReleaseName, Namespace string
	// KubeVersion is the version of the cluster, such as 1.37. APIVersions are API versions that it has beside those of
	// Kubernetes.
	KubeVersion string
	APIVersions []string
}

// File is a file and what it holds.
type File struct {
	Name string
	Data []byte
}

// Result is what a request renders to.
type Result struct {
	// Objects are in the order in which the library writes them.
	Objects []Object
	// Read are the names of the files of a kustomization that were read, sorted.
	Read []string
	// Skipped says why nothing is rendered that is no error, as for a library chart; empty if something is.
	Skipped string
	// Error says why it cannot be rendered, in one line; empty if it can.
	Error string
}

// Object is one rendered object, or another YAML document that a chart renders.
type Object struct {
	// Text is one YAML document without separators.
	Text []byte
	// File is the file that the object comes from, by its name in the request: the template of a chart, the archive that
	// holds the template, or the file that a kustomization reads the object from before it changes it. It is empty for
	// what a generator makes; Generator is then the file of the kustomization that has the generator.
	File, Generator string
	// Kind, Name and Namespace are those that the object has in File, if a kustomization reads it from there. Index is its
	// number among the objects in File, from 0 on; the items of a list count one by one.
	Kind, Name, Namespace string
	Index                 int
	// Lines holds for each line of Text the line of the template that writes it, or 0 where that is not known. It is nil
	// for a kustomization.
	Lines []int
}

// Job is what children do for this package.
var Job = child.Job{
	Name:   "render",
	Doing:  "rendering it",
	Advice: "make it smaller, or render it with its own tool and give the result",
	Time:   20 * time.Second,
	Memory: 1 << 30,
	Serve: func(requests *json.Decoder, answers *json.Encoder) error {
		for {
			var request Request
			if err := requests.Decode(&request); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if err := answers.Encode(request.render()); err != nil {
				return err
			}
		}
	},
}

// All renders all requests, and returns the results in their order.
func All(ctx context.Context, requests []Request) []Result {
	results, errs := child.Ask[Request, Result](ctx, Job, requests)
	for i, err := range errs {
		if err != nil {
			results[i] = Result{Error: err.Error()}
		}
	}
	return results
}

func (r Request) render() (result Result) {
	var err error
	if r.Chart != nil {
		result, err = r.Chart.render()
	} else {
		result, err = r.Kustomization.build()
	}
	if err != nil {
		return Result{Error: err.Error()}
	}
	return result
}
