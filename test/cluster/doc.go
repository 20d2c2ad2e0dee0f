// Package cluster runs a real Kubernetes control plane on loopback: etcd, kube-apiserver and, with nodes,
// kube-controller-manager, kube-scheduler and kwok, which plays the kubelets. It never downloads a binary: each is
// built from the Go module proxy, at the versions in the go.mod files of the folders beside this one, which are
// modules of their own and hold nothing else. It has no network between pods, so no request ever reaches one.
//
// `make cluster` builds, once; Start runs. Linux and macOS only.
package cluster
