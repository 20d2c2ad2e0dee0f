// Package fakekubelet runs pods of a control plane of test/cluster as processes of this machine, as much like a kubelet
// and a container runtime as tests of an installation need: with the command, arguments, environment and volumes of the
// pod, with a token of its ServiceAccount, with the user and the privileges that its securityContext says, in an
// unpacked image, with an address, process IDs and mounts of its own. It asks the readiness probe, writes the status of
// the pod, waits for preStop, and restarts a container that ends.
//
// It is not a kubelet: only the first container of a pod runs, without limits of memory and CPU, without liveness and
// startup probes, and with the capabilities of its user, which are none for all users but root. Services have no
// cluster IP: the API server calls pods directly, and pods reach nothing but the API server.
package fakekubelet
