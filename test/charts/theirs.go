package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"text/template"
	"time"

	"helm.sh/helm/v4/pkg/action"
	helmchart "helm.sh/helm/v4/pkg/chart"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/loader"
	v2loader "helm.sh/helm/v4/pkg/chart/v2/loader"
	release "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/strvals"

	"github.com/sourceward/sourceward/policies/render"
)

// helm renders the chart in a folder as helm template does, and returns the documents. later is how much later than it
// is the chart is made to believe that it is.
func helm(ctx context.Context, folder string, with render.Chart, later time.Duration) ([]string, error) {
	values := map[string]any{}
	for _, file := range with.Values {
		more, err := v2loader.LoadValues(bytes.NewReader(file.Data))
		if err != nil {
			return nil, err
		}
		values = v2loader.MergeMaps(values, more)
	}
	for _, set := range with.Set {
		if err := strvals.ParseInto(set, values); err != nil {
			return nil, err
		}
	}
	loaded, err := loader.Load(folder)
	if err != nil {
		return nil, err
	}
	// The command looks at these before it runs the action.
	accessor, err := helmchart.NewAccessor(loaded)
	if err != nil {
		return nil, err
	}
	if accessor.IsLibraryChart() {
		return nil, errors.New("library charts are not installable")
	}
	if err := action.CheckDependencies(loaded, accessor.MetaDependencies()); err != nil {
		return nil, err
	}
	configuration := action.NewConfiguration()
	if later > 0 {
		configuration.CustomTemplateFuncs = template.FuncMap{"now": func() time.Time { return time.Now().Add(later) }}
	}
	install := action.NewInstall(configuration)
	install.DryRunStrategy, install.Replace = action.DryRunClient, true
	install.ReleaseName, install.Namespace = with.ReleaseName, with.Namespace
	install.APIVersions = with.APIVersions
	if install.KubeVersion, err = common.ParseKubeVersion(with.KubeVersion); err != nil {
		return nil, err
	}
	released, err := install.RunWithContext(ctx, loaded, values)
	if err != nil {
		return nil, err
	}
	of, ok := released.(*release.Release)
	if !ok {
		return nil, fmt.Errorf("helm returned a %T", released)
	}
	documents := split(of.Manifest)
	for _, hook := range of.Hooks {
		documents = append(documents, hook.Manifest+"\n") // as the command prints it
	}
	return documents, nil
}

// kustomize builds the kustomization in a folder with kubectl, and returns the documents. It has no network and no git.
func kustomize(ctx context.Context, kubectl, folder string) ([]string, error) {
	cmd := exec.CommandContext(ctx, kubectl, "kustomize", folder)
	const nowhere = "http://127.0.0.1:9"
	cmd.Env = []string{"HOME=" + os.DevNull, "PATH=", "TMPDIR=" + os.TempDir(),
		"HTTP_PROXY=" + nowhere, "HTTPS_PROXY=" + nowhere}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return split(string(output)), nil
}
