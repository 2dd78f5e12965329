# What a fresh machine with Go and Python needs is set up by the targets themselves: tools in .tools, Python
# environments in .venvs, the test binary in .cache.

SHELL := /bin/bash -o pipefail
GO ?= go
PYTHON ?= python3
GOLANGCI_LINT_VERSION := v2.15.0
GOLANGCI_LINT := .tools/golangci-lint-$(GOLANGCI_LINT_VERSION)
VERSITYGW_VERSION := v1.8.0
VERSITYGW := .tools/versitygw-$(VERSITYGW_VERSION)
NEWEST := 3.17.2
GOTESTFLAGS ?=
PYTESTFLAGS ?=
BENCHFLAGS ?=
export GREENROOM_TEST_S3_SERVER ?= $(CURDIR)/$(VERSITYGW)

.PHONY: build check fmt unit reliability compat compat-all test test-all bench s3-server clean fuzz

## build: one static binary, ./greenroom; without what gin has for MessagePack, which are 6 MiB of it
build:
	CGO_ENABLED=0 $(GO) build -trimpath -tags nomsgpack -ldflags "-s -w" -o greenroom ./cmd/greenroom

## check: formatting, linters, vet
check: $(GOLANGCI_LINT)
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(GOLANGCI_LINT) run --allow-parallel-runners ./...

## fmt: rewrite the Go files as check wants them
fmt: $(GOLANGCI_LINT)
	$(GOLANGCI_LINT) fmt ./...

# The race detector needs a C compiler. CI must have one.
RACE = $(if $(shell command -v "$$($(GO) env CC)"),-race,$(if $(CI),$(error CI needs a C compiler for the race detector),$(warning no C compiler: the race detector is off)))

# A package's tests are ended after this, because they hang. On a slow disk some take minutes.
UNITTIMEOUT := 40m

## unit: the Go tests, with one PostgreSQL for all of them; none from the cache, which does not know what binary they start
unit: s3-server
	python=$$($(PYTHON) compat_tests/venvs.py $(NEWEST)) && \
	CGO_ENABLED= $$python compat_tests/postgres.py $(GO) test -count=1 -timeout $(UNITTIMEOUT) $(RACE) $(GOTESTFLAGS) ./...

# Such as "-seed 7 -run R1".
RELIABILITYFLAGS ?=
export GREENROOM_RELIABILITY_REPORT ?= $(CURDIR)/.cache/reliability.txt

## fuzz: every fuzz target, one after the other, FUZZTIME each. What Go takes to make an input smaller is bounded, or it does
## nothing else for a minute each
FUZZTIME ?= 30s
FUZZPARALLEL ?= 2
fuzz:
	@set -e; for package in $$($(GO) list -f '{{.Dir}}' ./...); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\).*/\1/p' $$package/*.go); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x -parallel $(FUZZPARALLEL) $$package; \
		done; \
	done

## reliability: the Go tests that break things, in their full sizes, four at a time, as most of them wait most of the time; the figures are
## printed in the end
reliability: s3-server
	rm -f $(GREENROOM_RELIABILITY_REPORT)
	python=$$($(PYTHON) compat_tests/venvs.py $(NEWEST)) && \
	$$python compat_tests/postgres.py $(GO) test ./reliability -count=1 -timeout 3h -parallel 4 -v -full $(RELIABILITYFLAGS)
	cat $(GREENROOM_RELIABILITY_REPORT)

## compat: Python, over HTTP, newest client, on SQLite and PostgreSQL
compat: s3-server
	python=$$($(PYTHON) compat_tests/venvs.py $(NEWEST)) && cd compat_tests && $$python -m pytest $(PYTESTFLAGS)

## compat-all: the same with every client version
compat-all:
	$(PYTHON) compat_tests/venvs.py all
	$(MAKE) compat PYTESTFLAGS="--clients=all $(PYTESTFLAGS)"

## test: everything, with the newest client
test: check unit compat

## test-all: everything, with every client, fuzzed and in full sizes
test-all: check unit fuzz reliability compat-all

## bench: this server, genuine MLflow, FastTrackML and the databases' limit in one table (BENCHFLAGS='-only log-metric -rounds 1')
bench:
	$(GO) run ./bench $(BENCHFLAGS)

## s3-server: the real S3 server that the tests start
s3-server: $(VERSITYGW)

clean:
	rm -rf greenroom .cache .tools .venvs

$(GOLANGCI_LINT):
	GOBIN=$(CURDIR)/.tools $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv .tools/golangci-lint $@

$(VERSITYGW):
	GOBIN=$(CURDIR)/.tools CGO_ENABLED=0 $(GO) install github.com/versity/versitygw/cmd/versitygw@$(VERSITYGW_VERSION)
	mv .tools/versitygw $@
