# Everything a developer needs, from a fresh clone: `make demo`, `make test`, `make bench`, `make lint`.
# `make setup` (done by all of them) builds .venv from the lock files; `make lock` renews those; `make docs` the pages.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
PYTHON ?=
ARGS ?=

LOCKS := requirements-build.lock requirements.lock requirements-dev.lock
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PIP_TOOLS := pip-tools==7.6.2
PIP_COMPILE = $(VENV)/lock/bin/pip-compile --quiet --no-config --generate-hashes --strip-extras --allow-unsafe \
	--no-header --annotation-style=line --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	--no-emit-options

.PHONY: help setup demo test bench lint format lock docs clean

help:
	@echo 'make demo    start a whole simulated contact centre and watch a campaign run (ARGS="--seconds 120 ...")'
	@echo 'make test    lint, then every test (ARGS="-k name ..." goes to pytest)'
	@echo 'make bench   measure this machine, figures also in bench.json (ARGS=--quick: three minutes)'
	@echo 'make lint    ruff, mypy --strict, import contracts'
	@echo 'make format  let ruff format and fix'
	@echo 'make setup   only build $(VENV)'
	@echo 'make lock    renew the lock files from pyproject.toml'
	@echo 'make docs    renew generated pages'
	@echo 'make clean   remove $(VENV) and caches'

setup: $(STAMP)

$(STAMP): pyproject.toml $(LOCKS) .ci/prepare
	VENV='$(VENV)' PYTHON='$(PYTHON)' .ci/prepare
	@# The build backend comes first: a source distribution among the rest is built with it, not with one from anywhere.
	$(PIP) install --require-hashes -r requirements-build.lock
	$(PIP) install --require-hashes --no-build-isolation --use-pep517 -r requirements.lock -r requirements-dev.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: setup
	$(BIN)/ocsd demo $(ARGS)

# More processes than processors: many tests wait, for a disk, a clock or a call, and the end-to-end ones mostly. Those
# have sites of processes of their own, so they come after the others. 5: ARGS selects no test of this half.
test: lint
	$(BIN)/python -m pytest -m 'not e2e' --numprocesses=3 --dist=worksteal $(ARGS) || [ $$? -eq 5 ]
	$(BIN)/python -m pytest -m e2e --numprocesses=3 --dist=loadfile --no-loadscope-reorder $(ARGS) || [ $$? -eq 5 ]

bench: setup
	$(BIN)/python -m bench $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup
	$(BIN)/python -m ocsd.config.options_page > docs/options.md.new
	mv docs/options.md.new docs/options.md
	$(BIN)/python -m ocsd.http.openapi > docs/openapi.json.new
	mv docs/openapi.json.new docs/openapi.json
	$(BIN)/python -m tests.units > docs/units.md.new
	mv docs/units.md.new docs/units.md

# Hashes of every file of a release are written down, so one lock serves all supported Pythons. `make lock ARGS=--upgrade`
# takes the newest versions; without it only what pyproject.toml demands changes.
lock: setup
	[ -x $(VENV)/lock/bin/pip-compile ] || $(BIN)/python -m venv $(VENV)/lock
	$(VENV)/lock/bin/python -m pip --disable-pip-version-check --quiet install '$(PIP_TOOLS)'
	$(MAKE) --no-print-directory lock-files

.PHONY: lock-files
lock-files:
	$(call compile,requirements-build.lock,['build-system']['requires'],)
	$(call compile,requirements.lock,['project']['dependencies'],)
	$(call compile,requirements-dev.lock,['dependency-groups']['dev'],--constraint requirements.lock)

# $(call compile,file,key path in pyproject.toml,more options)
define compile
	$(VENV)/lock/bin/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))$(2), sep='\n')" \
		| $(PIP_COMPILE) $(ARGS) $(3) --output-file $(1) -
	sed -i -e '1i # Made by `make lock` from pyproject.toml; do not edit.' -e 's/# via -r -/# via pyproject.toml/' \
		-e '/are considered to be unsafe/d' $(1)
endef

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
