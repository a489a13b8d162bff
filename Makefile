# make check is what CI runs. Tools come through the Go module proxy, at pinned versions.
GO            ?= go
GOLANGCI_LINT ?= $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOFUMPT       ?= $(GO) run mvdan.cc/gofumpt@v0.12.0

TARGETS = linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64

.PHONY: help build dist test race vet lint fmt fuzz bench torture scale docs man demo check

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

build: ## the static binary ./pyrobundle
	CGO_ENABLED=0 $(GO) build -trimpath -o pyrobundle ./cmd/pyrobundle

dist: ## static binaries of all platforms in dist/, with their checksums
	rm -rf dist && mkdir dist
	@for target in $(TARGETS); do \
	  os=$${target%/*} arch=$${target#*/}; name=pyrobundle-$$os-$$arch; \
	  [ $$os = windows ] && name=$$name.exe; echo $$name; \
	  CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -trimpath -ldflags "-s -w" -o dist/$$name ./cmd/pyrobundle || exit 1; done
	cd dist && sha256sum pyrobundle-* > SHA256SUMS

test: ## all tests
	$(GO) test ./...

race: ## all tests under the race detector (needs a C compiler)
	$(GO) test -race ./...

vet:
	$(GO) vet ./...

lint: ## golangci-lint with .golangci.yml
	$(GOLANGCI_LINT) run

fmt: ## gofumpt in place
	$(GOFUMPT) -l -w .

fuzz: ## each fuzz target for FUZZTIME (20s)
	@for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $${FUZZTIME:-20s} $$pkg || exit 1; \
	  done; done

bench: ## the benchmarks behind docs/performance.md
	$(GO) test -run '^$$' -bench . -benchtime 1x ./...

torture: ## the long reliability tests (hundreds of kills, every damage)
	PYROBUNDLE_TORTURE=1 $(GO) test -timeout 60m ./...

scale: ## memory and time from SCALE (1000,10000) sequences on; nothing else should run beside
	PYROBUNDLE_SCALE=$${SCALE:-1000,10000} $(GO) test -count=1 -run 'TestScale$$' -v -timeout 4h ./internal/torture

docs: ## docs/cli, written by the commands themselves
	$(GO) generate ./cmd/pyrobundle

man: ## manual pages in dist/man
	$(GO) run ./cmd/pyrobundle manual --format man --dir dist/man

demo: ## the main job end to end, offline
	$(GO) run ./cmd/pyrobundle demo

check: vet lint test race demo ## what CI runs
