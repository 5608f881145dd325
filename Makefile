# Every target installs what it needs into .venv first; a second call finds the stamp and is quick.

RECIPE ?= models/digits/recipe.toml
RUNS ?= runs
PYTHON ?= python3
# An environment installed with GPU=1 stays one until `make install GPU=` asks for the other.
GPU ?= $(wildcard .venv/.installed-gpu)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
BIN := .venv/bin
STAMP := .venv/.installed$(if $(GPU),-gpu)
LOCK := requirements/$(if $(GPU),gpu,train).lock
# Through the environment, so that spaces and quotes come out as typed; the toolchain reads ~.
export DATA RECIPE RUNS FOR
TOOLCHAIN := $(BIN)/toolchain
CHANGES = $(foreach one,$(SET),--set '$(subst ','\'',$(one))')
OPTIONS = $(if $(DATA),--data "$$DATA",--recipe "$$RECIPE") --runs "$$RUNS" $(CHANGES)

.DEFAULT_GOAL := help
# Stages of one run share its folder, which one process holds at a time.
.NOTPARALLEL:

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  RECIPE=$(RECIPE)   which model to make; a folder of several for make run'
	@echo '  DATA=~/photos      your own folder of class folders instead of a recipe'
	@echo '  SET="train.epochs=5 train.seed=2"   recipe keys to change'
	@echo '  RUNS=$(RUNS)  PYTHON=$(PYTHON) (3.11 to 3.13)  GPU=1 (CUDA builds)  TESTS=tests/unit  FOR=web'

.PHONY: data audit preview
data:      $(STAMP) ## photos found, decoded once and split
	@$(TOOLCHAIN) data build $(OPTIONS)
audit:     $(STAMP) ## what is wrong with the photos, as a table and audit.html
	@$(TOOLCHAIN) data check $(if $(DATA),"$$DATA",--recipe "$$RECIPE") $(CHANGES) --html audit.html
preview:   $(STAMP) ## photos as training will see them, in preview.png
	@$(TOOLCHAIN) data preview $(OPTIONS)

STAGES := run train quantize export verify benchmark report
.PHONY: $(STAGES)
run:       ## every stage, from photos to report
train:     ## the float model
quantize:  ## quantization-aware training of it
export:    ## .tflite and .onnx files, and what comes before them
verify:    ## the files against the model they came from
benchmark: ## latency, throughput, memory and size of the files
report:    ## one page with all of it
$(STAGES): $(STAMP)
	@$(TOOLCHAIN) $@ $(OPTIONS)

FOR ?= web
.PHONY: bundle
bundle: $(STAMP) ## files and code for FOR=android, ios, web or server
	@$(TOOLCHAIN) bundle $(OPTIONS) --for "$$FOR"

.PHONY: install
install: $(STAMP) ## the pinned environment in .venv

$(STAMP): pyproject.toml requirements/bootstrap.txt $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo 'error: Python 3.11 to 3.13 is needed, $(PYTHON) is not; set PYTHON=python3.12' >&2; exit 4; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes -r requirements/bootstrap.txt
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes $(LOCK) || \
	  $(BIN)/pip install --require-hashes --no-deps -r $(LOCK)
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@rm -f .venv/.installed .venv/.installed-gpu
	@touch $@

.PHONY: check
check: $(STAMP) ## format, lint, types, version
	$(BIN)/ruff format --diff
	$(BIN)/ruff check
	$(BIN)/mypy
	@changelog=$$(sed -nE 's/^## \[([0-9][^]]*)\].*/\1/p' CHANGELOG.md | head -n 1); \
	  version=$$($(BIN)/python -c 'import toolchain; print(toolchain.__version__)'); \
	  [ "$$changelog" = "$$version" ] || \
	  { echo "error: CHANGELOG.md ends at $$changelog, toolchain is $$version" >&2; exit 1; }

.PHONY: test test-slow
test: $(STAMP) ## the tests; with TOOLCHAIN_DATA set, those on real data too
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder -m 'not slow' $(TESTS)
test-slow: $(STAMP) ## the tests that take minutes each
	$(BIN)/pytest -m slow $(TESTS)

# `make lock UPGRADE=1` takes newer versions; without it the pinned ones stay where they can.
COMPILE = $(BIN)/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 \
  --generate-hashes --no-header -c requirements/constraints.txt --override requirements/overrides.txt $(if $(UPGRADE),--upgrade)
.PHONY: lock
lock: $(STAMP) ## requirements/ anew from pyproject.toml
	$(COMPILE) pyproject.toml --extra train --extra server --extra clients --extra dev -o requirements/train.lock
	$(COMPILE) pyproject.toml -c requirements/train.lock -o requirements/base.lock
	$(COMPILE) pyproject.toml --extra train --extra server --extra clients --extra dev --extra gpu -c requirements/train.lock \
	  --no-emit-package onnxruntime -o requirements/gpu.lock
	echo uv | $(COMPILE) - -o requirements/bootstrap.txt

.PHONY: clean clean-runs
clean: ## remove build outputs and caches; runs and .venv stay
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
clean-runs: ## remove runs/
	rm -rf runs
