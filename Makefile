# One target per purpose; CI runs the same ones. They need Python 3.11 or newer, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
REFERENCE ?= .venv-reference
WORKERS ?= 2
COMPILE_FAST := --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false
unexport PYTHONDONTWRITEBYTECODE # modules are compiled once, not in every process
# uv takes a third of pip's time; where it cannot reach the package index (it does not read pip.conf), pip installs the same.
# Without --no-compile, pip compiles 25,000 modules for a minute, of which few are imported. The pip of Python 3.11 takes a
# minute more than the one of constraints.txt.
PIP := python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
UV := python -m uv pip install --quiet --system-certs --constraint constraints.txt
install_into = $(1)/$(PIP) pip uv && { $(1)/$(UV) --python $(1)/python --editable $(2) || $(1)/$(PIP) --editable $(2); }

# The layers of tests: `test` contains `test-quick`; what each of the others runs is in no other one.
.PHONY: help install test test-quick campaigns faults real-weights test-install fuzz lint docs demo bench bench-smoke docker clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(READY) ## create .venv with everything that development needs

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Longreel needs Python 3.11 or newer, but this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(call install_into,$(BIN),'.[dev]')
	touch $@

test: install ## run the tests of every change, WORKERS=2 at a time
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-quick: install ## run those of them that neither compile models, run whole jobs nor take half a second
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m 'not slow and not campaign and not install and not faults and not real'

campaigns: install ## run the tests of many kills, processes, engines, stores or variants, of which `test` runs one each
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m campaign

fuzz: install ## run the property tests with new random examples, and many more of them
	HYPOTHESIS_PROFILE=fuzz $(BIN)/pytest -n $(WORKERS) --dist worksteal -m hypothesis

faults: install ## run the campaigns of faults as a whole and print what was tried; this takes many minutes
	$(BIN)/pytest -n 0 -m faults tests/faults

real-weights: $(REFERENCE)/.ready ## compare published weights with transformers and llama.cpp, and fine-tune them
	$(REFERENCE)/bin/python -m pytest -n 0 -s -m real tests/trainer/published

$(REFERENCE)/.ready: pyproject.toml constraints.txt # an environment of its own, as torch takes several GB
	test -x $(REFERENCE)/bin/python || $(PYTHON) -m venv $(REFERENCE)
	$(call install_into,$(REFERENCE)/bin,'.[dev,reference]')
	touch $@

test-install: install ## build wheel and sdist, install them in clean environments and run each extra there
	$(BIN)/pytest -n 0 -m install tests/installation

lint: install ## check style, types, the layers of the packages, and the Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	! test -x $(BIN)/hadolint || $(BIN)/hadolint Dockerfile

docs: install ## build the documentation site in site/, without network; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

demo: install ## run the whole pipeline on sample material and train a small model
	PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/demo.sh

bench: install ## run all benchmarks in full; this takes hours
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

bench-smoke: install ## run all benchmarks on tiny inputs, WORKERS=2 at a time
	ls benchmarks/*.py | XLA_FLAGS="$(COMPILE_FAST)" OPENBLAS_NUM_THREADS=1 xargs -P $(WORKERS) -I{} sh -c \
	  'if out=$$($(BIN)/python {} --smoke 2>&1); then echo "{}: OK"; else echo "$$out"; echo "{}: FAILED"; exit 1; fi'

docker: ## build the image of the Beam workers
	docker build --tag longreel-worker .

clean: ## remove .venv, the demo and all caches
	rm -rf $(VENV) $(REFERENCE) demo site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
