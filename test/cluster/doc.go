// Package cluster runs a real Kubernetes control plane on the loopback interface: etcd, kube-apiserver and, if there
// are nodes, kube-controller-manager, kube-scheduler and kwok, which simulates the kubelets. It never downloads a
// binary: it builds each of them from source from the Go module proxy. The versions are in the go.mod files of the
// subfolders, which are modules of their own and contain nothing else. There is no network between pods, so no request
// reaches one.
//
// `make cluster` builds the binaries once, and Start runs them. The package supports Linux and macOS only.
package cluster
