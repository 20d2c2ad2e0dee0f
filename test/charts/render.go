package main

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	release "helm.sh/helm/v4/pkg/release/v1/util"
	"helm.sh/helm/v4/pkg/strvals"

	"github.com/sourceward/sourceward/policies"
)

// renderChart renders a chart. It returns the text of each template by its name. It leaves out subcharts that the
// module does not contain.
func renderChart(c chart, set values, dir string) (map[string]string, error) {
	loaded, err := loader.LoadDir(dir)
	if err != nil {
		return nil, err
	}
	given := map[string]any{}
	if c.valuesFile != "" {
		file, err := common.ReadValuesFile(filepath.Join(dir, c.valuesFile))
		if err != nil {
			return nil, err
		}
		given = file
	}
	for _, assignment := range slices.Concat(c.base, set.set) {
		if err := strvals.ParseInto(assignment, given); err != nil {
			return nil, fmt.Errorf("set %s: %w", assignment, err)
		}
	}
	if err := chartutil.ProcessDependencies(loaded, given); err != nil {
		return nil, err
	}
	server, err := common.ParseKubeVersion("v" + policies.Newest.String() + ".0")
	if err != nil {
		return nil, err
	}
	capabilities := *common.DefaultCapabilities
	capabilities.KubeVersion = *server
	options := common.ReleaseOptions{Name: loaded.Name(), Namespace: "default", Revision: 1, IsInstall: true}
	rendered, err := util.ToRenderValues(loaded, given, options, &capabilities)
	if err != nil {
		return nil, err
	}
	texts, err := engine.Render(loaded, rendered)
	if err != nil {
		return nil, err
	}
	for name, text := range texts {
		if isYAML(name) {
			texts[name] = strings.Join(split(text), "\n---\n")
		} else {
			delete(texts, name) // notes and template helpers
		}
	}
	return texts, nil
}

func isYAML(name string) bool { return slices.Contains([]string{".yaml", ".yml"}, path.Ext(name)) }

// split splits a text into documents as helm does, which accepts more separators than YAML.
func split(text string) []string {
	documents := release.SplitManifests(text)
	var names release.BySplitManifestsOrder
	for name := range documents {
		names = append(names, name)
	}
	sort.Sort(names)
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = documents[name]
	}
	return texts
}
