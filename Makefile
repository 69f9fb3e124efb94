# Everything is installed into one virtual environment, .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: train check test lint format reference-systems benchmark clean

train: $(VENV)/installed
	$(BIN)/tfmnist train

test: lint
	$(BIN)/python -m pytest -n auto

# checks the types in parallel with the tests of what changed since the last commit
check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(BIN)/pyright --pythonpath $(BIN)/python & types=$$!; \
	$(BIN)/python -m pytest -q $$($(BIN)/python tests/changed.py); tests=$$?; \
	wait $$types && exit $$tests

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

reference-systems: $(VENV)/installed
	$(BIN)/python experiments/reference_systems.py

benchmark: $(VENV)/installed-benchmark
	$(BIN)/python experiments/benchmarks/run.py

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tfmnist needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(BIN)/python
	@echo "installing TensorFlow and the rest into $(VENV): a minute or two, once"
	$(PIP) --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/installed

# PyTorch and JAX are large, so only the benchmark installs them
$(VENV)/installed-benchmark: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[benchmark]'
	@touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
