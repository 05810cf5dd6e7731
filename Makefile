# Needs Python >= 3.11, pip and make. `make help` lists the targets.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
READY := $(VENV)/.ready
# torch is named with its exact version, so that no other build of it is ever considered.
TORCH := $(shell grep '^torch==' constraints.txt)

.DEFAULT_GOAL := help
.PHONY: help run test lint wheel

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Variables: PYTHON=$(PYTHON) VENV=$(VENV) ARGS=\"flags of the main job\""

run: $(READY)  ## Set up, then train HCRNN on the embedded data set; flags: make run ARGS="--data movielens"
	$(BIN)/python -m experiments.svi $(ARGS)

test: lint  ## Set up, then ruff, mypy and pytest, a process for each core
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: $(READY)  ## Set up, then ruff and mypy
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

wheel: $(READY)  ## Set up, then build a wheel into dist/
	rm -rf build
	$(BIN)/python -m build --wheel

# The environment is ready once the last line has run; an interrupted set-up is taken up again by the next make.
# Debian splits ensurepip from Python: where it is missing, the pip at hand fills the new environment.
$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python >= 3.11 or say make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else \
	"hcrnn_pyro needs Python >= 3.11, but $(PYTHON) is %d.%d: say make PYTHON=... to name another." % v[:2])'
	@rm -f $@
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv $(VENV); \
	else $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install pip; fi
	$(BIN)/python -m pip install --constraint constraints.txt $(TORCH) --editable '.[dev]'
	@touch $@
