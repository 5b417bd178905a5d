# `make demo` and `make test` need a Python 3.11 or newer and nothing else.
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help demo test test-fast mutants lint docs bench

help:
	@echo "make demo      install into $(VENV) and run the embedded example; the last line is the path of the page"
	@echo "make test      install into $(VENV) and run the checks and tests"
	@echo "make test-fast the same without the slow tests"
	@echo "make mutants   make mistakes in every method and see that a test notices"
	@echo "make bench     time a step, an evaluation and their growth against the peers' way (ten minutes) into runs/bench"
	@echo "make lint      formatting, lint and types alone"
	@echo "make docs      build the documentation into docs/_build/html"

demo: $(VENV)/.installed
	@$(BIN)/mllmu-med run recipes/phantom.yaml

# One thread per test process: two processes on two cores do not wait for each other.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS)

test-fast: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) -m "not slow"

mutants: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutation.run --markdown docs/reference/mutations.md

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/bench.py -o runs/bench

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed-docs
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs docs/_build/html
	@echo docs/_build/html/index.html

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)

# A stamp per set of packages: nothing is installed again until what it depends on changes.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e ".[dev]"
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e ".[docs]"
	@touch $@ $(VENV)/.installed
