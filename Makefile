# `make demo` and `make test` are all that most people need; `make help` lists the rest.
#
# Everything is built in the one profile `release`, so that RocksDB's C++ is compiled once.

CARGO ?= cargo
# More arguments for the demo, as in: make demo ARGS="--masters 2 --replicas 1"
ARGS ?=

# Built in a fifth of the time, where what is built runs for seconds only. Dependencies stay as they are.
UNOPTIMISED = --config 'profile.release.package.syncline.opt-level=0'

# One part of a longer run, with the time that it took.
part = @start=$$(date +%s); echo "== $(1)"; $(2) && echo "== $(1): $$(( $$(date +%s) - start )) s"

.PHONY: help demo test fix setup bench

help:
	@echo "make demo    3 masters and 2 replicas on this machine, with edits to watch"
	@echo "make test    formatting, lints and all tests"
	@echo "make fix     formats, and writes the parts of documents that are made from the sources"
	@echo "make setup   installs what a build needs, or says what to install"
	@echo "make bench   the benchmarks of benches/README.md; ten minutes or more"

setup:
	@sh tests/setup.sh

demo: setup
	$(CARGO) run --release --locked -- demo $(ARGS)

test:
	@sh tests/setup.sh --test
	$(call part,formatting,$(CARGO) fmt --check)
	$(call part,lints,$(CARGO) clippy --release --locked --all-targets -- -D warnings)
	$(call part,tests,$(CARGO) test --release --locked)
	$(call part,schemathesis,$(CARGO) build --release --locked --quiet && sh tests/schemathesis.sh)
	$(call part,client,sh tests/client.sh)
	$(call part,planted bugs,$(CARGO) test --release --locked $(UNOPTIMISED) --features planted-bugs --test sim planted)

fix:
	@sh tests/setup.sh --test
	$(CARGO) fmt
	SYNCLINE_FIX=1 $(CARGO) test --release --locked --quiet --test tidy
	SYNCLINE_FIX=1 $(CARGO) test --release --locked --quiet --lib http::
	! command -v node >/dev/null || node web/client/scripts/types.mjs

bench: setup
	$(CARGO) build --release --locked
	$(CARGO) run --release --locked --quiet -- bench write
	$(CARGO) run --release --locked --quiet -- bench read
	$(CARGO) run --release --locked --quiet -- bench bulk
	$(CARGO) run --release --locked --quiet -- bench ingest
	$(CARGO) run --release --locked --quiet -- bench converge
	$(CARGO) run --release --locked --quiet -- bench reconnect
	$(CARGO) run --release --locked --quiet -- bench store
	$(CARGO) run --release --locked --quiet -- bench fanout
