VERSION          ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LINT_VERSION     := $(shell awk '$$1 == "github.com/golangci/golangci-lint/v2" {print $$2}' test/tools/go.mod)
SOURCEWARD_CACHE ?= $(HOME)/.cache/sourceward
FUZZTIME         ?= 2m
IMAGE            ?= sourceward:$(VERSION)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help build test lint fuzz bench generate image clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build bin/sourceward, static and reproducible.
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/ ./cmd/sourceward

test: build ## Vet, then run every test: Go, Rego, the cases and the binary itself.
	go vet ./...
	go test ./...

# Outside the tree, so that every clone shares one build; named after Go too, since a linter cannot read a newer Go.
LINT := $(abspath $(SOURCEWARD_CACHE))/golangci-lint-$(LINT_VERSION)-$(shell go env GOVERSION)/golangci-lint

$(LINT):
	go build -C test/tools -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

lint: $(LINT) ## Lint; .golangci.yml says what and why.
	$(LINT) run

# Go fuzzes one target of one package at a time. They are found here, so that a new one is not forgotten.
fuzz: ## Run every fuzz target in turn, for FUZZTIME each.
	@grep -rEo --include='*_test.go' '^func Fuzz\w+' . | while IFS=: read -r file func; do \
		echo "$$file $$func"; go test "$$(dirname "$$file")" -run '^$$' -fuzz "^$${func#func }$$" -fuzztime '$(FUZZTIME)' || exit 1; \
	done

bench: ## Run the benchmarks.
	go test ./test/bench -run '^$$' -bench . -benchmem

# Only packages with golden files know the flag -update.
generate: ## Rewrite the golden files; read the diff before you commit it.
	go test $(sort $(dir $(shell grep -rl --include='*_test.go' 'flag.Bool."update"' .))) -update

image: ## Build the container image IMAGE; BASE=scratch builds it on nothing.
	docker build --build-arg VERSION=$(VERSION) $(if $(BASE),--build-arg BASE=$(BASE)) --tag $(IMAGE) .

clean: ## Remove what build made.
	rm -rf bin
