package main

// source is a Go module that contains charts or manifests.
type source struct {
	// path and version identify the module. sum is the hash of its archive, in the form of go.sum.
	path, version, sum string
	// charts says how to render charts that need more than their defaults, by their folder.
	charts map[string]chart
	// expose are folders and files of plain manifests that are judged a second time, with all Services exposed.
	expose []string
	// skip are folders that are left out.
	skip []string
}

// chart says how to render a chart.
type chart struct {
	// valuesFile is a file next to Chart.yaml with defaults that are not in values.yaml. base are further assignments for
	// every rendering.
	valuesFile string
	base       []string
	// values are the sets of values with which the chart is rendered. It is also rendered with its defaults.
	values []values
}

// values is a set of values.
type values struct {
	name string
	// set are assignments, in the form of helm's --set.
	set []string
	// exposed is true if all Services are exposed after rendering, for charts that have no value for that.
	exposed bool
	// nodes is true if the nodes in nodesFile are known.
	nodes bool
}

var exposed = values{name: "exposed", exposed: true}

// sources are the modules, by path.
var sources = []source{
	{
		path: "github.com/argoproj/argo-cd/v3", version: "v3.5.2", sum: "h1:vYtfW2pEBSL+smt8XdpVZHUg31uERINYH6eXzdiLCY4=",
		expose: []string{"manifests/ha/install.yaml", "manifests/install.yaml"},
		skip:   []string{"reposerver", "util/app", "util/helm", "util/io", "test"},
	},
	{
		path: "github.com/argoproj/argo-rollouts", version: "v1.9.0", sum: "h1:bXgBpwCByXyAUcgBnyP0fxkSW2CEot78InTFjFlag5g=",
		expose: []string{"examples", "examples/istio", "manifests/install.yaml"},
	},
	{
		path: "github.com/cert-manager/cert-manager", version: "v1.21.2",
		sum: "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=",
		charts: map[string]chart{"deploy/charts/cert-manager": {values: []values{
			{name: "exposed", set: []string{"webhook.replicaCount=3"}, exposed: true},
		}}},
	},
	{
		path: "github.com/cilium/cilium", version: "v1.20.2", sum: "h1:dqiEGIcXc+gqCLYG/l7VCFJ8GHyb4HUrwbZOpkX5dL8=",
		charts: map[string]chart{"install/kubernetes/cilium": {values: []values{
			{name: "ingress", set: []string{
				"kubeProxyReplacement=true,ingressController.enabled=true",
				"ingressController.service.externalTrafficPolicy=Local",
			}},
			{name: "cluster mesh", set: []string{
				"clustermesh.useAPIServer=true,clustermesh.apiserver.replicas=3",
				"clustermesh.apiserver.service.type=LoadBalancer,clustermesh.apiserver.service.externalTrafficPolicy=Local",
			}},
			{name: "exposed", set: []string{"hubble.relay.enabled=true,hubble.ui.enabled=true"}, exposed: true},
			{name: "known nodes", set: []string{"hubble.relay.enabled=true,hubble.ui.enabled=true"}, exposed: true, nodes: true},
		}}},
		expose: []string{"examples/kubernetes-istio"},
	},
	{
		path: "github.com/dapr/dapr", version: "v1.14.0", sum: "h1:SIQsNX1kH31JRDIS4k8IZ6eomM/BAcOP844PhQIT+BQ=",
		charts: map[string]chart{"charts/dapr": {values: []values{
			{name: "exposed", set: []string{"global.ha.enabled=true"}, exposed: true},
		}}},
	},
	{
		path: "github.com/envoyproxy/gateway", version: "v1.9.1", sum: "h1:vAVp6/AlBXJ1aOhp1mxL7fNEzVEfjADUguUhm2wzxQY=",
		charts: map[string]chart{"charts/gateway-helm": {valuesFile: "values.tmpl.yaml",
			base: []string{
				"global.images.envoyGateway.image=docker.io/envoyproxy/gateway:v1.9.1",
				"global.images.envoyGateway.pullPolicy=IfNotPresent",
			},
			values: []values{
				exposed, {name: "distribution", set: []string{"service.trafficDistribution=PreferClose"}, exposed: true},
			},
		}},
	},
	{
		path: "github.com/fluxcd/flagger", version: "v1.36.1", sum: "h1:X2PumtNwZz9YSGaOtZLFm2zAKLgHhFkbNv8beg7ifyc=",
		charts: map[string]chart{
			"charts/podinfo":    {values: []values{{name: "exposed", set: []string{"service.enabled=true"}, exposed: true}}},
			"charts/loadtester": {values: []values{exposed}},
			"charts/grafana":    {values: []values{exposed}},
		},
	},
	{
		path: "github.com/grafana/loki/v3", version: "v3.7.8", sum: "h1:bJ0WFWVOjgvG/jYmT9fIX15SYXXDwuEu/IMgTwMA97U=",
		charts: map[string]chart{"production/helm/loki": {
			base: []string{
				"loki.storage.bucketNames.chunks=chunks,loki.storage.bucketNames.ruler=ruler,loki.useTestSchema=true",
			},
			values: []values{
				exposed,
				{name: "known nodes", exposed: true, nodes: true},
				{name: "distributed", set: []string{
					"deploymentMode=Distributed,backend.replicas=0,read.replicas=0,write.replicas=0,ingester.replicas=3",
					"querier.replicas=3,queryFrontend.replicas=2",
					"distributor.replicas=3,compactor.replicas=1,indexGateway.replicas=2,queryFrontend.maxUnavailable=1",
					"ingester.maxUnavailable=1,querier.maxUnavailable=1,distributor.maxUnavailable=1",
					"indexGateway.maxUnavailable=1",
				}, exposed: true},
			},
		}},
	},
	{path: "github.com/kedacore/keda/v2", version: "v2.21.0", sum: "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps="},
	{
		path: "github.com/kyverno/kyverno", version: "v1.19.1", sum: "h1:/MkgFii3/VlQfKR1JpC9tVwNNVNQTt2S4U6qCsafsTU=",
		charts: map[string]chart{"charts/kyverno": {values: []values{
			{name: "exposed", set: []string{"admissionController.replicas=3,backgroundController.replicas=3"}, exposed: true},
		}}},
	},
	{
		path: "github.com/open-policy-agent/gatekeeper/v3", version: "v3.23.1",
		sum:    "h1:njHTm0SJ6ZEhhEgmQTpJKTGQbc99fSs4hGiEp1OIKck=",
		charts: map[string]chart{"charts/gatekeeper": {values: []values{exposed}}},
		skip:   []string{"cmd/build/helmify/static"},
	},
	{
		path: "github.com/projectcontour/contour", version: "v1.33.8", sum: "h1:QoOfwqWws+CVRFpsRC2+f1DmB5IdurtyUtepIsiWfE0=",
		expose: []string{"examples/example-workload/httpproxy", "examples/ratelimit"},
	},
	{
		path: "github.com/prometheus-operator/prometheus-operator", version: "v0.85.0",
		sum:    "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
		expose: []string{"example/user-guides/getting-started"},
	},
	{
		path: "github.com/traefik/traefik/v3", version: "v3.7.13", sum: "h1:T8wy9KuaFzCkmXCqAzDy7t73pBDR1DHrJe3pqXpNXTw=",
		expose: []string{"integration/fixtures/k8s"},
	},
	{path: "go.universe.tf/metallb", version: "v0.16.2", sum: "h1:RCSAGoZmqcvTg0e56+Okbwz8iTuQVX30JpKX5mYEPUM="},
	{
		path: "istio.io/istio", version: "v0.0.0-20260827124520-eed52ebb66ad",
		sum: "h1:ui9TJjRMAV/hb5ehQaZDq7IUGxuQP6dra9lapT/VjHI=",
		charts: map[string]chart{
			"manifests/charts/gateway": {values: []values{
				{name: "local", set: []string{"service.externalTrafficPolicy=Local"}},
				{name: "replicas", set: []string{"service.externalTrafficPolicy=Local,autoscaling.enabled=false,replicaCount=3"}},
				{name: "daemonset", set: []string{"service.externalTrafficPolicy=Local,autoscaling.enabled=false,kind=DaemonSet"}},
			}},
			"manifests/charts/gateways/istio-ingress": {values: []values{
				{name: "local", set: []string{"gateways.istio-ingressgateway.externalTrafficPolicy=Local"}},
				{name: "replicas", set: []string{
					"gateways.istio-ingressgateway.externalTrafficPolicy=Local",
					"gateways.istio-ingressgateway.autoscaleEnabled=false,gateways.istio-ingressgateway.replicaCount=3",
				}},
			}},
			"manifests/charts/istio-control/istio-discovery": {values: []values{exposed}},
		},
		expose: []string{
			"samples/bookinfo/platform/kube/bookinfo.yaml", "samples/addons", "samples/helloworld/helloworld.yaml",
		},
	},
	{path: "k8s.io/cloud-provider-aws", version: "v1.37.0", sum: "h1:PlzT2MSdbNq9b4iJTgnl7C3psBGZzSj3Ga8A6FpZS7Y="},
	{path: "k8s.io/ingress-gce", version: "v1.34.0", sum: "h1:oUgK4lAmg3DCLzHsfjza86BOMD4vIfGHk23HKFjoNTk="},
	{
		path: "k8s.io/ingress-nginx", version: "v0.0.0-20240708192948-52c50467d67d",
		sum: "h1:tZui5g6S4GO1hxLm6yrEoIXLkl4QfeGytlmZqZ+DmdQ=",
		charts: map[string]chart{"charts/ingress-nginx": {values: []values{
			{name: "local", set: []string{"controller.service.externalTrafficPolicy=Local"}},
			{name: "replicas", set: []string{
				"controller.service.externalTrafficPolicy=Local,controller.replicaCount=3,defaultBackend.enabled=true",
			}},
			{name: "autoscaled", set: []string{
				"controller.service.externalTrafficPolicy=Local,controller.autoscaling.enabled=true",
			}},
			{name: "daemonset", set: []string{"controller.service.externalTrafficPolicy=Local,controller.kind=DaemonSet"}},
			{name: "host network", set: []string{
				"controller.service.externalTrafficPolicy=Local,controller.replicaCount=3,controller.hostNetwork=true",
			}},
			{name: "node port", set: []string{
				"controller.service.externalTrafficPolicy=Local,controller.service.type=NodePort",
				"controller.replicaCount=3",
			}},
			{name: "external IPs", set: []string{
				"controller.service.externalTrafficPolicy=Local,controller.service.type=ClusterIP",
				"controller.service.externalIPs={192.0.2.1}",
			}},
			{name: "internal too", set: []string{
				"controller.service.externalTrafficPolicy=Local,controller.replicaCount=3",
				"controller.service.internal.enabled=true,controller.service.internal.externalTrafficPolicy=Local",
				"controller.service.internal.annotations.cloud\\.google\\.com/load-balancer-type=Internal",
			}},
			{name: "AWS", set: []string{
				"controller.service.externalTrafficPolicy=Local,controller.replicaCount=3",
				"controller.service.annotations.service\\.beta\\.kubernetes\\.io/aws-load-balancer-type=nlb",
			}},
			{name: "spread", set: []string{
				"controller.service.externalTrafficPolicy=Local,controller.replicaCount=3",
				"controller.topologySpreadConstraints[0].maxSkew=1",
				"controller.topologySpreadConstraints[0].topologyKey=kubernetes.io/hostname",
				"controller.topologySpreadConstraints[0].whenUnsatisfiable=DoNotSchedule",
				"controller.topologySpreadConstraints[0].labelSelector.matchLabels.app\\.kubernetes\\.io/instance=ingress-nginx",
			}},
			{name: "AWS addresses of pods", set: []string{
				"controller.service.externalTrafficPolicy=Local",
				"controller.service.annotations.service\\.beta\\.kubernetes\\.io/aws-load-balancer-type=external",
				"controller.service.annotations.service\\.beta\\.kubernetes\\.io/aws-load-balancer-nlb-target-type=ip",
			}},
			{name: "Hetzner and proxy protocol", set: []string{
				"controller.service.externalTrafficPolicy=Local,controller.config.use-proxy-protocol=true",
				"controller.service.annotations.load-balancer\\.hetzner\\.cloud/location=fsn1",
				"controller.service.annotations.load-balancer\\.hetzner\\.cloud/uses-proxyprotocol=true",
			}},
			{name: "metrics too", set: []string{
				"controller.metrics.enabled=true,controller.metrics.service.type=NodePort",
				"controller.metrics.service.externalTrafficPolicy=Local,controller.replicaCount=3",
			}},
			{name: "known nodes", set: []string{
				"controller.service.externalTrafficPolicy=Local,controller.replicaCount=7",
				"controller.topologySpreadConstraints[0].maxSkew=1",
				"controller.topologySpreadConstraints[0].topologyKey=kubernetes.io/hostname",
				"controller.topologySpreadConstraints[0].whenUnsatisfiable=ScheduleAnyway",
				"controller.topologySpreadConstraints[0].matchLabelKeys={pod-template-hash}",
				"controller.topologySpreadConstraints[0].labelSelector.matchLabels.app\\.kubernetes\\.io/instance=ingress-nginx",
			}, nodes: true},
			{name: "known nodes and autoscaler", set: []string{
				"controller.service.externalTrafficPolicy=Local,controller.autoscaling.enabled=true",
				"controller.topologySpreadConstraints[0].maxSkew=1",
				"controller.topologySpreadConstraints[0].topologyKey=kubernetes.io/hostname",
				"controller.topologySpreadConstraints[0].whenUnsatisfiable=DoNotSchedule",
				"controller.topologySpreadConstraints[0].matchLabelKeys={pod-template-hash}",
				"controller.topologySpreadConstraints[0].labelSelector.matchLabels.app\\.kubernetes\\.io/instance=ingress-nginx",
			}, nodes: true},
			{name: "known nodes and daemonset", set: []string{
				"controller.service.externalTrafficPolicy=Local,controller.kind=DaemonSet",
				"controller.tolerations[0].key=node-role.kubernetes.io/control-plane,controller.tolerations[0].operator=Exists",
			}, nodes: true},
			{name: "pinned port", set: []string{
				"controller.service.externalTrafficPolicy=Local,controller.service.healthCheckNodePort=32000",
			}},
		}}},
		expose: []string{
			"deploy/static/provider/aws", "deploy/static/provider/cloud", "deploy/static/provider/do",
			"deploy/static/provider/oracle", "deploy/static/provider/scw",
		},
	},
	{
		path: "k8s.io/kubernetes", version: "v1.37.1", sum: "h1:LTUzSbp9n0W7649oVKBYfC48zcoD3vCk++1PZQn28q8=",
		expose: []string{
			"test/e2e/testing-manifests/statefulset/cassandra", "test/e2e/testing-manifests/statefulset/etcd",
		},
	},
	{
		path: "knative.dev/serving", version: "v0.51.0", sum: "h1:yN2Q7eYqJgoPfZkATjoBZyGbZ2P1Qhns9HIMU4mF+to=",
		expose: []string{"third_party/contour-latest", "third_party/kourier-latest"},
	},
	{
		path: "sigs.k8s.io/aws-load-balancer-controller", version: "v1.1.9",
		sum: "h1:nD0YIJIJJGq666QUFJF61H6deTOAroKpf1XZcyjLHPw=",
	},
	{
		path: "sigs.k8s.io/external-dns", version: "v0.21.0", sum: "h1:YAC7ERW32eZAjSdhu44taaZGII6nwz2/wteT+BtpFzM=",
		charts: map[string]chart{"charts/external-dns": {values: []values{exposed}}},
	},
	{path: "sigs.k8s.io/gateway-api", version: "v1.6.0", sum: "h1:735YBRj5NXFrOGX0GoSjwzUIzbz8kiEOfADsqHFmHgE="},
	{
		path: "sigs.k8s.io/metrics-server", version: "v0.9.0", sum: "h1:nlqqZ2H0Xfko8eJC/1qaNVVT17hu4rxndkOi22KTZ4w=",
		charts: map[string]chart{"charts/metrics-server": {values: []values{exposed}}},
	},
	{path: "tailscale.com", version: "v1.100.0", sum: "h1:nm/M/dEaW9RaRsGUjW2HsSDpsZ60Jwd9k4gNW9tTFiE="},
}
