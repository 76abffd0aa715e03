# MultiOS Container System. `make help` lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
SOURCES := core plugins tests scripts/*.py benchmarks src

.PHONY: help install demo test test-vm test-kubernetes test-bases lint format types imports reference bench bench-images bench-networks bench-confinement bench-templates bench-apps bench-clusters clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install:  ## make .venv and install everything into it
	@scripts/install

demo: install  ## a container from a template, from nothing to Python running in it
	@scripts/demo

test:  ## all tests; needs root
	@scripts/install test
	@$(BIN)/python -m pytest $(PYTEST_ARGUMENTS)

test-vm:  ## the tests that need another kernel, systemd, cgroup v2 or AppArmor, in a machine of their own
	@scripts/test-vm $(PYTEST_ARGUMENTS)

test-kubernetes:  ## the tests that want a real cluster, against an API server built from Debian's source package
	@scripts/test-kubernetes $(PYTEST_ARGUMENTS)

test-bases:  ## every template and its lesson on every base that it offers; needs the Internet
	@scripts/install test
	@$(BIN)/python scripts/test-bases $(TEST_BASES_ARGUMENTS)

lint:  ## style
	@scripts/install lint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format:  ## put the style right
	@scripts/install lint
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types:  ## types, strictly
	@scripts/install lint
	@$(BIN)/mypy

imports:  ## who may import whom
	@scripts/install lint
	@$(BIN)/lint-imports

reference:  ## write docs/reference from the code
	@scripts/install
	@$(BIN)/python scripts/generate-reference

bench: install  ## speed and memory beside podman, docker and runc
	@$(BIN)/python benchmarks/run.py $(BENCH_ARGUMENTS)

bench-images: install  ## layers, pulls and builds beside podman, tar, skopeo, umoci and buildah
	@$(BIN)/python benchmarks/images.py $(BENCH_ARGUMENTS)

bench-networks: install  ## what networks add to a start, throughput and look-ups beside podman and docker
	@$(BIN)/python benchmarks/networks.py $(BENCH_ARGUMENTS)

bench-confinement: install  ## what security adds to a start, many containers, every limit measured inside
	@$(BIN)/python benchmarks/confinement.py $(BENCH_ARGUMENTS)

bench-templates: install  ## a template's build and second start, resets, and a class of 200
	@$(BIN)/python benchmarks/templates.py $(BENCH_ARGUMENTS)

bench-apps: install  ## an app of ten services up, up again and down beside docker-compose and podman-compose
	@$(BIN)/python benchmarks/apps.py $(BENCH_ARGUMENTS)

bench-clusters: install  ## a course of 10,000 planned, and one started and wiped on a cluster of the tests' own
	@$(BIN)/python benchmarks/clusters.py $(BENCH_ARGUMENTS)

clean:  ## remove what was installed and cached in this checkout; containers stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
