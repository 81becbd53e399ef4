# Recoup's entrances. `make demo` and `make test` install or build what they lack; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PY := .venv/bin/python
PYTEST := $(PY) -m pytest
CODE := operator tests tools

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

.venv/.synced: pyproject.toml uv.lock
	@tests/setup.sh

.PHONY: setup
setup: .venv/.synced  ## the Python environment, from the lock file

.PHONY: check
check: setup  ## format, lint, types, import contracts, CRD, chart and docs consistency
	.venv/bin/ruff format --check $(CODE)
	.venv/bin/ruff check $(CODE)
	.venv/bin/mypy $(CODE)
	.venv/bin/lint-imports
	$(PY) -m tests.cluster.programs build helm glua promtool
	$(PYTEST) -q tests/contract -m "not cluster and not s3"

.PHONY: programs
programs: setup  ## Kubernetes, CSI sidecars and S3 servers for the tests, built once into the cache
	$(PY) -m tests.cluster.system
	$(PY) -m tests.cluster.programs build

.PHONY: image
image: programs  ## the product's image, as localhost/recoup:dev
	$(PY) -m tests.cluster.images build

.PHONY: test
test: programs image  ## every test of the quick selection: those on the cluster, which mostly wait, beside all others
	@$(MAKE) --no-print-directory -j2 test-on-cluster test-elsewhere

.PHONY: test-on-cluster test-elsewhere
test-on-cluster: programs image  ## its tests that need the cluster
	$(PYTEST) tests -m "cluster and not long" | sed -u 's/^/cluster | /'

test-elsewhere: programs image  ## its other tests
	$(PYTEST) tests -m "not cluster and not long" | sed -u 's/^/        | /'

.PHONY: test-long
test-long: programs image  ## what takes longer, in parts that can be run alone: make test-long PART='-k name'
	$(PYTEST) tests -m long --timeout 1500 $(PART)

.PHONY: bench
bench: setup  ## the benchmark table beside restic and kopia; writes docs/benchmarks.md (make bench ARGS=--quick: ten minutes, no file)
	$(PY) -m tests.bench $(ARGS)

.PHONY: demo
demo: programs image  ## the whole product on a local cluster: back up, lose the namespace, restore, compare
	$(PY) -m tests.demo up

.PHONY: demo-down
demo-down: setup  ## remove the demo's cluster and S3 server
	$(PY) -m tests.demo down
