# Everything here also works by hand; .ci/run is what a change has to pass.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev-build)
LDFLAGS  = -s -w -X main.version=$(VERSION)
KILLS   ?= 1000
CUTS    ?= 2000
MEMORY  ?= 3m

.PHONY: help check test race 386 emulated lint bench compare compare-full growth build fuzz crash powercut memory uplink-test uplink-chaos deb repo package-test disk soak generate clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

check: ## all that a change has to pass (.ci/run), half an hour on two cores
	.ci/run

test: ## all tests, as in the README
	$(GO) test ./...

race: ## tests with the race detector; needs a C compiler
	$(GO) test -race -short ./...

386: ## tests as a 32-bit program, on amd64
	.ci/run 386

emulated: ## all tests of the engine and its stores as programs of ARMv6 and arm64; an hour or more
	EMULATED=all .ci/run emulated

lint: ## gofmt, vet and golangci-lint
	.ci/run format vet lint

bench: ## benchmarks of the packages
	$(GO) test -run '^$$' -bench . -benchmem ./...

compare: ## beside beanstalkd, Redis (if installed), NATS and the raw disk, under 10 minutes; bin/compare.{json,svg}
	@mkdir -p bin
	$(GO) run ./cmd/compare -json bin/compare.json -svg bin/compare.svg

compare-full: ## the same with more rounds and payloads, and all with a million items waiting; takes hours
	@mkdir -p bin
	$(GO) run ./cmd/compare -full -rounds 5 -length 5s -sizes 256,4096 -json bin/compare-full.json -svg bin/compare-full.svg

growth: ## what the agent costs as backlog, queues, clients and payloads grow; bin/growth.{json,svg}
	@mkdir -p bin
	$(GO) run ./cmd/compare -growth -json bin/growth.json -svg bin/growth.svg

build: ## bin/querator-linux-{amd64,arm64,armv6}
	VERSION='$(VERSION)' .ci/run build

fuzz: ## every fuzz target for FUZZTIME (default 1m)
	FUZZTIME=$${FUZZTIME:-1m} .ci/run fuzz

crash: ## the long kill test: KILLS (default 1000) times SIGKILL under load
	QUERATOR_KILLS=$(KILLS) $(GO) test -count=1 -timeout 60m -v -run TestKill ./agent/crashtest

uplink-test: ## the uplink with older servers, and the form of its events
	.ci/run uplink

uplink-chaos: ## the uplink under all faults for CHAOS (default 10m)
	QUERATOR_CHAOS=$${CHAOS:-10m} $(GO) test -count=1 -timeout 60m -v -run TestChaos ./uplink

.PHONY: uplink-rate uplink-backlog uplink-drain
uplink-drain: ## 100,000 events to a server on this machine: time, processor time, memory
	QUERATOR_DRAIN=1 $(GO) test -count=1 -v -run 'TestCost$$' ./uplink

uplink-rate: ## completing with an uplink beside without one: PAIRS (default 20) turns each, and the store alone
	QUERATOR_PAIRS=$${PAIRS:-20} $(GO) test -count=1 -timeout 60m -v -run TestUplinkRate ./agent/crashtest
	$(GO) test -run '^$$' -bench CompleteEvents -benchtime $${PAIRS:-20}x ./badgerstore

uplink-backlog: ## EVENTS (default 1000000) events that wait: memory, start, store, drain
	QUERATOR_EVENTS=$${EVENTS:-1000000} $(GO) test -count=1 -timeout 60m -v -run TestEventBacklog ./agent/crashtest

deb: ## dist/querator_*.deb for amd64, arm64 and armhf (ARMv6), or for ARCHES; the same bytes each time
	VERSION='$(if $(filter command line environment,$(origin VERSION)),$(VERSION))' packaging/build.sh $(ARCHES)

repo: ## dist/repo, an apt repository of the packages in dist, which are built if there are none; signed with KEY
	ls dist/*.deb >/dev/null 2>&1 || $(MAKE) deb
	packaging/repo.sh dist/repo dist/*.deb

package-test: ## all tests of the packages: a container, emulated Debians, a whole arm64 machine; root, on Debian
	packaging/test/all.sh

powercut: ## the long power-cut test: CUTS (default 2000) cuts, some 0.5 s each; as root, with FUSE
	QUERATOR_CUTS=$(CUTS) $(GO) test -count=1 -timeout 10h -v -run 'TestPowerCut$$' ./agent/crashtest

soak: ## all faults at once, for SOAK (default 30m): power cuts, kills, failing calls, a full disk; takes root and FUSE; SEED repeats one
	SOAK=$${SOAK:-30m} .ci/run soak

disk: ## an agent on a small ext4 that others fill, for DISK (default 10m); takes root
	DISK=$${DISK:-10m} .ci/run disk

memory: ## the whole load in a memory cgroup of 64 and 32 MiB, MEMORY (default 3m) at each; needs root
	QUERATOR_MEMORY=$(MEMORY) $(GO) test -count=1 -timeout 60m -v -run TestMemory ./agent/memtest

generate: ## agent/pb from the .proto files; needs protoc
	.ci/run generate

clean: ## what the build left
	rm -rf bin dist
