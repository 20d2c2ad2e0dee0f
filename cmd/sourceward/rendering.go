package main

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/sourceward/sourceward/policies/manifest"
	"github.com/sourceward/sourceward/policies/render"
)

// The values of --kustomize.
const (
	kustomizeAuto  = "auto"
	kustomizeNever = "never"
)

var kustomizeModes = []string{kustomizeAuto, kustomizeNever}

// renderFlags holds the flags that say how kustomizations are built and charts are rendered, as they were given.
type renderFlags struct {
	kustomize   string
	values, set []string
	releaseName string
	apiVersions []string
}

func (f *renderFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.kustomize, "kustomize", kustomizeAuto,
		"build kustomizations: `WHEN` is auto, or never to check their files as they are")
	flags.StringArrayVar(&f.values, "values", nil,
		"render Helm charts with the values in `FILE`, and not with those in their folder ci; repeatable")
	flags.StringArrayVar(&f.set, "set", nil, "render Helm charts with `KEY=VALUE`, as helm does; repeatable")
	flags.StringVar(&f.releaseName, "release-name", "release-name", "render Helm charts as the release of this `NAME`")
	flags.StringArrayVar(&f.apiVersions, "api-versions", nil,
		"API `VERSION` that the cluster has beside those of Kubernetes, for Helm charts; repeatable")
}

// defaultRendering returns how to render where there are no flags for it.
func defaultRendering(ctx context.Context) *manifest.Rendering {
	var flags renderFlags
	flags.add(pflag.NewFlagSet("", pflag.ContinueOnError))
	rendering, _ := flags.rendering(ctx, &progress{}) // an error needs a file with values
	return rendering
}

// rendering returns how to render. The error is non-nil when a file with values cannot be read.
func (f renderFlags) rendering(ctx context.Context, progress *progress) (*manifest.Rendering, error) {
	rendering := &manifest.Rendering{
		All:       func(requests []render.Request) []render.Result { return render.All(ctx, requests) },
		Kustomize: f.kustomize == kustomizeAuto,
		Chart:     render.Chart{Set: f.set, ReleaseName: f.releaseName, APIVersions: f.apiVersions},
		Progress:  progress.rendered,
	}
	for _, name := range f.values {
		data, err := readSmall(name)
		if err != nil {
			return nil, fmt.Errorf("--values: %s %w", name, err)
		}
		rendering.Chart.Values = append(rendering.Chart.Values, render.File{Name: name, Data: data})
	}
	if err := rendering.Chart.Check(); err != nil {
		return nil, fmt.Errorf("--values, --set or --release-name: %w", err)
	}
	return rendering, nil
}
