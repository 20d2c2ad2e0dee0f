// Command monitoring evaluates the alerts and the dashboard of config/components/monitoring on what replicas and API
// servers expose. Each argument is a folder with one scrape of all targets, a minute after the scrape before it. A file
// in it holds the /metrics of one target: apiserver that of the API server, and other names those of replicas.
//
// By default it prints the alerts that fire a few minutes after the last scrape, one on each line. With -names it
// prints every metric and label that a rule or a panel uses and that no scrape has.
//
// The end-to-end tests run it. It is a module of its own, so that Sourceward does not depend on Prometheus.
package main
