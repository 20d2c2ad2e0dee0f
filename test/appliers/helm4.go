package main

import (
	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/cli"
	"helm.sh/helm/v4/pkg/kube"
)

// helm4 installs or upgrades the release with Helm 4.
func (r release) helm4() error {
	kube.ManagedFieldsManager = manager
	settings := cli.New()
	settings.SetNamespace(r.namespace)
	config := action.NewConfiguration()
	if err := config.Init(settings.RESTClientGetter(), r.namespace, "secret"); err != nil {
		return err
	}
	c := &chart.Chart{Metadata: &chart.Metadata{APIVersion: chart.APIVersionV2, Name: r.name, Version: "0.1.0"}}
	for name, data := range r.templates {
		c.Templates = append(c.Templates, &common.File{Name: name, Data: data})
	}
	// HookOnlyStrategy is what the commands use without --wait (pkg/cmd/flags.go); the zero value is an error.
	if r.install {
		install := action.NewInstall(config)
		install.Namespace, install.ReleaseName = r.namespace, r.name
		install.WaitStrategy, install.ServerSideApply = kube.HookOnlyStrategy, r.serverSide
		_, err := install.Run(c, nil)
		return err
	}
	upgrade := action.NewUpgrade(config)
	upgrade.Namespace, upgrade.WaitStrategy = r.namespace, kube.HookOnlyStrategy
	_, err := upgrade.Run(r.name, c, nil)
	return err
}
