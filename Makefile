# What people and machines do with this project. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
# Kills of `make crash`.
KILLS ?= 200
# Histories of `make sim`.
SEEDS ?= 20000
# `cargo nextest` when it is there, `cargo test` otherwise; both run the same tests.
NEXTEST := $(shell command -v cargo-nextest >/dev/null 2>&1 && echo yes)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: start
start: ## build and serve on http://127.0.0.1:8000, data in ./data
	@echo "Building without optimisation, which is the fastest way to a first start (a few minutes the first time)."
	$(CARGO) run --quiet --features server --bin agent-runner -- serve

.PHONY: test
test: format lint layering units test-s3 ## the gate: formatting, lints, layering, every test

.PHONY: verify
verify: test docs features ## everything that `test` checks, the documentation and each feature alone; writes nothing

.PHONY: fix
fix: ## format, and apply what clippy can mend
	$(CARGO) fmt --all
	$(CARGO) clippy --fix --allow-dirty --allow-staged --workspace --all-features --all-targets
	$(CARGO) fmt --all

.PHONY: bench
bench: ## measure
	$(CARGO) bench --features server,testing,_bench --bench runs --bench scale --bench streams --bench hands
	$(CARGO) bench -p agent-runner-tools --all-features --bench git

.PHONY: crash
crash: ## kill a working server KILLS times (default 200) and audit it from outside
ifeq ($(NEXTEST),yes)
	AGENT_RUNNER_KILLS=$(KILLS) $(CARGO) nextest run --features server --test it --no-capture -E 'test(/^crash/)'
else
	AGENT_RUNNER_KILLS=$(KILLS) $(CARGO) test --features server --test it crash -- --nocapture
endif

.PHONY: sim
sim: ## live through SEEDS histories (default 20000) of failing workers, stores and services
	AGENT_RUNNER_SIM_SEEDS=$(SEEDS) $(CARGO) test --release --all-features --test it sim:: -- --nocapture

.PHONY: e2e-model
e2e-model: ## agents with a real small model, over each wire that its server speaks
	tests/e2e_model/run

.PHONY: test-s3
test-s3: ## artifacts on a real server that speaks S3 (moto, installed under target/)
	tests/s3/run

.PHONY: test-api
test-api: ## send the API collection to a started server
	tests/api/run

# The parts of the gate.

.PHONY: format
format:
	$(CARGO) fmt --all --check

.PHONY: lint
lint:
	$(CARGO) clippy --workspace --all-features --all-targets -- -D warnings

.PHONY: layering
layering:
	tests/layering.sh

# Without a choice of targets cargo builds the examples too, which the command line's tests start.
.PHONY: units
units:
ifeq ($(NEXTEST),yes)
	$(CARGO) nextest run --workspace --all-features
	$(CARGO) test --workspace --all-features --doc
else
	$(CARGO) test --workspace --all-features
endif

.PHONY: docs
docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --all-features

.PHONY: features
features:
	tests/features.sh
