// Command appliers installs or upgrades Helm releases with Helm 3 or Helm 4. Each argument is a folder: its name is the
// name of the release, and its *.yaml are the templates of the chart. The cluster is that of $KUBECONFIG. The end-to-end
// tests run it, to see what Helm does with the repairs of the webhook. It is a module of its own, so that Sourceward does
// not depend on Helm.
//
// The helm commands of both versions are tools of the module, for the tests of the chart. They start once for each
// release, which would take the tests of the repairs several minutes.
package main
