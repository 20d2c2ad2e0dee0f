// Package fakekubelet runs pods of a control plane of test/cluster as processes of this machine, as much like a kubelet
// and a container runtime as tests of an installation need: with the command, arguments, environment and volumes of the
// pod, with a token of its ServiceAccount, as the user of the image and without privileges, in a read-only root file
// system that is an unpacked image, with an address, process IDs and mounts of its own. It asks the readiness probe,
// writes the status of the pod, waits for preStop, and restarts a container that ends. A pod whose securityContext asks
// for something else does not run.
//
// It is not a kubelet: only the first container of a pod runs, without limits of memory and CPU, and without liveness
// and startup probes. Services have no cluster IP: the API server calls pods directly, and pods reach nothing but the
// API server.
package fakekubelet
