VERSION          ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
SOURCEWARD_CACHE ?= $(HOME)/.cache/sourceward
FUZZTIME         ?= 2m
FLIPS            ?= 300
SEED             ?= 1
COUNT            ?= 10
BENCHTIME        ?= 200ms
FROM             ?= e9c7e38
BENCH            ?= ^Benchmark(Decide|Evaluate|Index|Load|Handler)$$

# One way to compile for lint, tests and builds, so that what one of them has compiled the next finds in Go's cache.
export CGO_ENABLED := 0
export GOFLAGS     := $(strip $(shell go env GOFLAGS) -trimpath)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help build docs test test-long lint fuzz demo run bench bench-quick bench-compare charts mutate cluster generate rule verify \
	image push docker-image dist clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

GO_BUILD := go build -ldflags '-X main.version=$(VERSION)'

build: ## Build bin/sourceward and bin/sourceward-webhook, static and reproducible.
	$(GO_BUILD) -o bin/ ./cmd/sourceward
	$(GO_BUILD) -o bin/sourceward-webhook ./cmd/webhook

# Their date is that of the commit, so that two builds of it are equal. A cached test would write nothing.
docs: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null)
docs: ## Write the man pages, and completion scripts for four shells, into dist/docs.
	rm -rf dist/docs
	go test -count=1 ./cmd/sourceward -run '^TestDocs$$' -args -docs '$(CURDIR)/dist/docs'

# The end-to-end tests start control planes, which take their time where a machine is slow or busy: they are begun first. Nothing
# is cached: Go does not know what the binaries depend on that other processes build. The lines for test/appliers,
# test/certmanager and test/monitoring compile Helm, cert-manager and Prometheus, which takes minutes the first time, before
# an end-to-end test waits for it. To vet cert-manager's controllers would take minutes more, for all that they import.
test: build cluster ## Vet, then run every test: Go, Rego, the cases, both binaries, and real control planes.
	go vet ./...
	go -C test/appliers vet ./...
	go -C test/certmanager build -o /dev/null .
	go -C test/charts vet ./...
	go -C test/tools test -count=1 ./image/...
	go -C test/monitoring test -count=1 -vet=all ./...
	go test -count=1 -timeout 60m ./test/e2e ./...

# The default of FROM is the first version that could be installed.
test-long: build cluster ## Run what takes too long for make test: an upgrade from the commit FROM, more templates and kills, pictures, a large cluster.
	go test -count=1 -timeout 40m -v ./test/e2e -run '^TestUpgrade$$' -args -upgrade-from='$(FROM)'
	go test -count=1 -timeout 40m -v ./test/e2e -run '^TestSpread' -args -predicate-templates=300 -spread-workloads=200
	go test -count=1 -v ./cmd/sourceward -run '^TestFixThatIsKilled$$' -args -kills=200
	go test -count=1 -v ./cmd/sourceward -run '^TestScreenshots$$' -args -screenshots='$(CURDIR)/bin/screenshots'
	go test -timeout 20m ./test/bench -run '^$$' -bench '^BenchmarkTraffic$$' -benchtime 3x

# Tools are pinned in test/tools/go.mod. They are built outside the tree, so that every clone shares one build; their
# folders are named after Go too, since a linter cannot read a newer Go.
tool = $(abspath $(SOURCEWARD_CACHE))/$(1)-$(shell awk '$$1 == "$(2)" {print $$2}' test/tools/go.mod)-$(shell go env GOVERSION)/$(1)
LINT           := $(call tool,golangci-lint,github.com/golangci/golangci-lint/v2)
CONTROLLER_GEN := $(call tool,controller-gen,sigs.k8s.io/controller-tools)
BENCHSTAT      := $(call tool,benchstat,golang.org/x/perf)
CRANE          := $(call tool,crane,github.com/google/go-containerregistry)

$(LINT):
	go build -C test/tools -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(CONTROLLER_GEN):
	go build -C test/tools -o $@ sigs.k8s.io/controller-tools/cmd/controller-gen

$(BENCHSTAT):
	go build -C test/tools -o $@ golang.org/x/perf/cmd/benchstat

$(CRANE):
	go build -C test/tools -o $@ github.com/google/go-containerregistry/cmd/crane

lint: $(LINT) ## Lint; .golangci.yml says what and why.
	$(LINT) run

# Go fuzzes one target of one package at a time. They are found here, so that a new one is not forgotten.
fuzz: ## Run every fuzz target in turn, for FUZZTIME each.
	@grep -rEo --include='*_test.go' '^func Fuzz\w+' . | while IFS=: read -r file func; do \
		echo "$$file $$func"; go test "$$(dirname "$$file")" -run '^$$' -fuzz "^$${func#func }$$" -fuzztime '$(FUZZTIME)' -fuzzminimizetime 10x || exit 1; \
	done

cluster: ## Build the control planes that the tests run, once, outside the tree.
	go run ./test/cluster/build

# Not by go run, which would be ended by Ctrl-C before what it runs has stopped its processes.
DEMO := bin/demo

demo: build ## Show what Sourceward does, on a real control plane on this machine.
	go build -o $(DEMO) ./test/demo
	@$(DEMO)

run: build ## Leave a control plane with Sourceward running, until Ctrl-C.
	go build -o $(DEMO) ./test/demo
	@$(DEMO) run

# Takes about an hour, and the first run builds the programs beside which Sourceward is measured. It is a module of its
# own, and not part of make test, because of its libraries.
bench: cluster ## Run all benchmarks, and write test/bench/RESULTS.md and its plot.
	go -C test/bench/peers test ./...
	@go -C test/bench/peers run .

# Without a control plane.
bench-quick: ## Measure sourceward check beside other programs in a few minutes, and write no files.
	@go -C test/bench/peers run . -quick

# The packages with micro-benchmarks, which are in bench_test.go.
BENCHED := policies policies/bundle policies/manifest webhook

# Both sides run the benchmarks of the tree, so that the base may be older than these. They are built once and run in
# turns, so that other load on the machine slows both alike. benchstat needs 6 runs to call a change significant; more,
# shorter runs even out the load better than longer ones.
bench-compare: $(BENCHSTAT) ## Compare the micro-benchmarks of the tree with those of the commit BASE.
	$(if $(BASE),,$(error BASE is not set: name the commit to compare with, as in make bench-compare BASE=HEAD~3))
	@set -e; work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; trap 'exit 1' HUP INT TERM; \
	fail() { echo "bench-compare: $$*" >&2; exit 1; }; \
	git archive --output="$$work/base.tar" '$(BASE)' || fail '$(BASE) is not a commit of this repository'; \
	mkdir "$$work/base"; tar -xf "$$work/base.tar" -C "$$work/base"; ln -s '$(CURDIR)' "$$work/tree"; \
	for package in $(BENCHED); do \
		cp "$$package/bench_test.go" "$$work/base/$$package/" || fail "$(BASE) is too old: it has no $$package"; \
	done; \
	for side in base tree; do for package in $(BENCHED); do \
		go test -C "$$work/$$side" -c -o "$$work/$$side-$${package##*/}" "./$$package" || \
			fail "$$package/bench_test.go of the tree does not compile in the $$side; is $(BASE) too old?"; \
	done; done; \
	for run in $$(seq $(COUNT)); do \
		echo "run $$run of $(COUNT)" >&2; \
		for package in $(BENCHED); do for side in base tree; do \
			(cd "$$work/$$side/$$package" && "$$work/$$side-$${package##*/}" -test.run '^$$' \
				-test.bench '$(BENCH)' -test.benchtime '$(BENCHTIME)') >> "$$work/$$side.txt" || \
				{ tail -n 20 "$$work/$$side.txt" >&2; fail "a benchmark of $$package fails in the $$side"; }; \
		done; done; \
	done; \
	$(BENCHSTAT) '$(BASE)'="$$work/base.txt" tree="$$work/tree.txt"

# Not part of make test: the modules are 283 MB. The tests beside the command need none of them.
charts: cluster ## Judge and render what well-known modules ship, against test/charts/judgements.yaml, helm and kubectl.
	go -C test/charts test ./...
	@go -C test/charts run .

# Not part of make test: each flip runs the cases, or the tests of the core too.
mutate: ## Flip FLIPS operators of the core, one at a time, and list those that no test notices. SEED chooses them.
	@go run ./test/mutate -n $(FLIPS) -seed $(SEED)

# Only packages with golden files know the flag -update.
GOLDEN = $(filter-out ./policies/bundle/ ./api/v1alpha1/ ./webhook/,$(UPDATED))
UPDATED = $(sort $(dir $(shell grep -rl --include='*_test.go' 'flag.Bool."update"' .)))

# Each line compiles or reads what the lines above it write: policies/bundle writes the part of the catalogue that is Rego,
# api/v1alpha1 the marker that lists the mutable rules, controller-gen the schema with that marker, and webhook the part of
# the kustomization from which test writes a part of the Helm chart.
generate: $(CONTROLLER_GEN) ## Rewrite deepcopy, config and the golden files; read the diff before you commit it.
	$(CONTROLLER_GEN) object paths=./api/...
	$(if $(GOLDEN),go test ./policies/bundle/ -update)
	$(if $(GOLDEN),go test ./api/v1alpha1/ -update)
	$(CONTROLLER_GEN) crd webhook rbac:roleName=sourceward-webhook paths=./api/... paths=./webhook \
		output:crd:artifacts:config=config/crd/bases \
		output:webhook:artifacts:config=config/webhook output:rbac:artifacts:config=config/rbac
	$(if $(GOLDEN),go test ./webhook/ -update)
	$(if $(GOLDEN),go test $(GOLDEN) -update)

rule: ## Write the skeleton of the rule NAME: its Go file, its line in the catalogue and three cases.
	@go run ./test/rule '$(NAME)'

# An index of its own holds the tree as it is, with what is not committed; the copy is checked out of it. An empty GOLDEN
# leaves out what tests write: without -update, they fail if it differs.
verify: ## Fail if `make generate` would change a file that no test compares; it runs in a copy of the tree.
	@set -e; copy=$$(mktemp -d); trap 'rm -rf "$$copy"' EXIT; \
	git() { GIT_INDEX_FILE="$$copy/index" command git "$$@"; }; \
	git add --all; before=$$(git write-tree); git checkout-index --all --prefix="$$copy/tree/"; \
	$(MAKE) --no-print-directory -C "$$copy/tree" generate GOLDEN=; \
	git --work-tree="$$copy/tree" add --all; \
	git --no-pager diff --cached --exit-code "$$before" || \
		{ echo 'The files above are not what their sources say: run `make generate`.' >&2; exit 1; }

# Its date is that of the commit, so that two builds of it have one digest.
image: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null)
image: ## Write the container image for amd64 and arm64 into dist/image, an OCI layout, and its SBOMs beside it.
	go build -C test/tools -o '$(CURDIR)/bin/image' ./image
	@bin/image build -version '$(VERSION)' $(if $(shell git status --porcelain 2>/dev/null),,-revision '$(shell git rev-parse HEAD 2>/dev/null)')

push: $(CRANE) ## Push what make image has written as IMAGE; log in with docker login, or crane auth login.
	$(if $(IMAGE),,$(error IMAGE is not set: name the image, as in make push IMAGE=registry.example.com/sourceward:dev))
	$(if $(wildcard dist/image),,$(error dist/image does not exist: run make image first))
	@$(CRANE) push dist/image '$(IMAGE)'

docker-image: IMAGE ?= sourceward:$(VERSION)
docker-image: ## Build the container image IMAGE with Docker; BASE=scratch builds it on nothing.
	docker build --build-arg VERSION=$(VERSION) $(if $(BASE),--build-arg BASE=$(BASE)) --tag $(IMAGE) .

PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

# The names have no version, so that links to the files of the latest release stay the same. The flags are those of the
# image, so that its sourceward is the one for Linux, and the SBOM has the checksums of both.
dist: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null)
dist: image docs ## Write what users download into dist/release: sourceward for PLATFORMS, SBOMs, docs and checksums.
	rm -rf dist/release
	mkdir dist/release
	@set -e; for platform in $(PLATFORMS); do \
		export GOOS="$${platform%/*}" GOARCH="$${platform#*/}" GOWORK=off GOAMD64=v1 GOARM64=v8.0; \
		binary="dist/release/sourceward-$$GOOS-$$GOARCH$$(go env GOEXE)"; \
		echo "build $$binary"; \
		go build -buildvcs=false -ldflags '-s -w -buildid= -X main.version=$(VERSION)' -o "$$binary" ./cmd/sourceward; \
	done
	@set -e; for sbom in dist/image-*.spdx.json; do cp "$$sbom" "dist/release/sourceward-$${sbom#dist/}"; done
	cp LICENSE dist/release/
	tar --create --file dist/release/sourceward-docs.tar.gz --use-compress-program 'gzip --no-name' --directory dist/docs \
		--sort name --mtime "@$${SOURCE_DATE_EPOCH:-0}" --owner 0 --group 0 --mode u=rwX,go=rX completion man
	cd dist/release && sha256sum LICENSE sourceward-* > checksums.txt

clean: ## Remove bin and dist.
	rm -rf bin dist
