package main

import (
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/cli"
	"helm.sh/helm/v3/pkg/kube"
)

// helm3 installs or upgrades the release with Helm 3.
func (r release) helm3() error {
	kube.ManagedFieldsManager = manager
	settings := cli.New()
	settings.SetNamespace(r.namespace)
	config := &action.Configuration{}
	silent := func(string, ...any) {}
	if err := config.Init(settings.RESTClientGetter(), r.namespace, "secret", silent); err != nil {
		return err
	}
	c := &chart.Chart{Metadata: &chart.Metadata{APIVersion: chart.APIVersionV2, Name: r.name, Version: "0.1.0"}}
	for name, data := range r.templates {
		c.Templates = append(c.Templates, &chart.File{Name: name, Data: data})
	}
	if r.install {
		install := action.NewInstall(config)
		install.Namespace, install.ReleaseName = r.namespace, r.name
		_, err := install.Run(c, nil)
		return err
	}
	upgrade := action.NewUpgrade(config)
	upgrade.Namespace = r.namespace
	_, err := upgrade.Run(r.name, c, nil)
	return err
}
