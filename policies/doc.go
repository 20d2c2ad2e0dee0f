/*
Package policies decides what is wrong with a Service, or with a workload behind it, where the client's source IP is
concerned, and how to repair it.

It reads nothing but the arguments of its functions: no API server, no file, no clock, no environment. It logs nothing
and changes none of its arguments. The admission webhook and the dry-run binary both call [Decide], so they cannot
disagree.

# Objects

An [Object] is a Service or a [Workload], decoded once by [NewObject] or [ReadObject]. Workloads of all kinds have the
same form; [WorkloadKinds] is the table of their kinds (workload_kinds.go), and workload_read.go reads each of them.
The numbers of their pods come from the workload and from its [Autoscaler] (replicas.go).

# Neighbours

A rule about a workload needs the Services in front of it, and a rule about a Service the workloads behind it. An
[Index] holds the objects of a cluster or of a set of files and finds both: [Index.Related] returns what [Input] calls
Related. If the look-up failed, the View of Related is [ViewNone], and the decision says what could not be seen.

# Settings

A SourceIPPolicy sets the modes of rules, and how workloads are spread. [Resolve] merges all policies that match an
object into its [Settings]; [Explain] says which policy set what.

# The decision

[Decide] takes an [Input], [Rules] and [Settings], and returns a [Decision]: findings, and the patches that repair
them. Calls go in one direction:

	Decide           decide.go      repairs what a webhook may repair, and decides about what is left
	the ratchet      ratchet.go     what an update brings, by a run over the stored object
	a repair         repair.go      what is set, and a trial run over the object with it, which may speak against it
	the catalogue    catalogue.go   every rule, in order
	a check          check_*.go     one rule: its page, and the function that finds what is wrong
	a run            run.go         the object under review and its neighbours; unspread.go and rollout.go hold what
	                                several checks compute, message.go the words that they share
	Rego             ask.go         the questions to Rules, and its answers
	the objects      service.go, workload.go, container.go, spread.go, node.go, written.go, …

A check uses nothing of another check. Three calls go the other way. The check of misplaced-health-check-node-port
asks whether repairs of other rules set Local (repairsToLocal in repair.go runs their checks), since that decides
whether removing the port is right. Two checks at the end of the catalogue report on the run itself:
neighbours-unknown on what other checks could not see, and policy-not-evaluated on Rego that failed.

# Traffic

[ShareTraffic] computes which share of a Service's external traffic each node and pod gets under Local and under Cluster
(traffic.go). It reads where the pods run, a list of [Place]: [PlacesOf] makes one from EndpointSlices and Nodes, and
[BestPlacement] and [WorstPlacement] make those that pod templates allow (placement.go). It also reads the [Routing],
how the load balancer finds nodes, which [LoadBalancerOf] returns (load_balancer.go). Figures in the messages of rules
come from these functions. [Advise] answers the decision guide, the table [Guide], for one Service (guide.go).

# Rego

What an organization or a provider decides is Rego. This package knows only the interface [Rules] and its documents
(rules.go); the package bundle implements it. The rules of the catalogue that are Rego modules are in rego_rules.go,
which is generated from their METADATA. Decide itself asks ask.go for the findings of policies' own rules.

# Adding a rule

"make rule NAME=foo" writes the files to start from. CONTRIBUTING.md names every place to touch.
*/
package policies
