# `make run` and `make test` are all that a fresh clone needs.

# rustup's programs, also in a shell that has not read its profile since they were installed.
export PATH := $(PATH):$(HOME)/.cargo/bin

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## Build, and run everything on a private database and Redis (Ctrl-C stops it)
	@scripts/setup.sh
	cargo build --release --locked
	target/release/taskrunnerx dev

.PHONY: test
test: setup ## Run all tests; they start their own database and Redis
	cargo test --workspace --locked

.PHONY: setup
setup: ## Check what is needed, and install what is missing where apt can
	@scripts/setup.sh --tests

.PHONY: build
build: ## Build the release binary, target/release/taskrunnerx
	cargo build --release --locked

.PHONY: fmt
fmt: ## Format the code
	cargo fmt

.PHONY: lint
lint: ## Check the formatting and the lints, as .ci/run does
	cargo fmt --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: mutants
mutants: setup ## Take out each guard of the protocol in turn, and see that the tests fail
	cargo test --locked --test mutants -- --ignored --nocapture

.PHONY: bench
bench: setup ## Measure the limit of this machine, and the daemon against it
	cargo bench --locked --bench micro
	cargo bench --locked --bench load

.PHONY: scale
scale: setup ## Measure an empty table against one of 11 million rows, and 100,000 schedules
	cargo bench --locked --bench load -- --scale
	cargo test --release --locked --test it schedules::scale -- --ignored --nocapture --test-threads 1

.PHONY: chaos
chaos: setup ## Break everything for half an hour, and see that no promise is broken
	CHAOS=long cargo test --release --locked --test chaos

.PHONY: fuzz
fuzz: setup ## Try the API in ten thousand ways, and see that each answer is as specified
	SCHEMATHESIS=long cargo test --locked --test it -- --nocapture openapi::schemathesis

.PHONY: docs
docs: ## Build the documentation of the code, target/doc/taskrunnerx
	cargo doc --no-deps --locked

.PHONY: reference
reference: ## Write docs/reference, the dashboard and the alerts anew, from the code
	UPDATE=1 cargo test --locked --test it reference::
