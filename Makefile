# Targets for people. What they do lies in scripts/ and in `cargo xtask`; nothing here is needed at run time.

BINARY := target/release/mainstay
ROOT   ?= /var/lib/mainstay
# sudo, unless we are root already.
SUDO   := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: help up down status build profile packages test lint bench fuzz clean

help: ## Show this list.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

up: packages build ## Install what is needed, build, and start a cluster with a demo workload.
	$(SUDO) $(BINARY) up --root $(ROOT)

down: ## Stop the cluster and remove all that belongs to it.
	$(SUDO) $(BINARY) down --root $(ROOT)

status: ## Show what runs.
	$(SUDO) $(BINARY) status --root $(ROOT)

build: ## Build the release binary.
	@scripts/rust.sh
	scripts/build.sh

profile: ## Renew the profile by which release builds are optimised (docs/performance.md).
	@scripts/rust.sh
	scripts/profile.sh

packages: ## Install the Debian or Ubuntu packages that building and running need.
	@$(SUDO) scripts/packages.sh run

test: ## Install what the tests need, and run all checks and tests.
	@$(SUDO) scripts/packages.sh test
	@scripts/rust.sh
	scripts/test.sh

lint: ## Formatting, lints, house rules and licences, without tests.
	@scripts/rust.sh
	scripts/lint.sh

bench: build ## Measure our API server and print a table.
	scripts/bench.sh $(BINARY)

fuzz: ## Fuzz the parsers of untrusted input (FUZZ_TARGETS, FUZZ_RUNS, FUZZ_SECONDS; see docs/fuzzing.md).
	@scripts/rust.sh
	scripts/fuzz.sh $(FUZZ_TARGETS)

clean: ## Remove what was built.
	cargo clean
