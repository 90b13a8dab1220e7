# HistoBench: everything a user types. `make` alone prints this list.
# Needs Python 3.11 or newer and make; all packages go into .venv, nothing is installed globally.

PYTHON ?= python3
CORES  ?= 2
BIN    := .venv/bin
PIP    := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps
RUN    := $(BIN)/snakemake --cores $(CORES)

.PHONY: help setup demo test test-fast test-slurm test-gpu bench lint lock docs clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  CORES=8 make demo uses eight cores; see README.md for the full benchmark."

setup: .venv/ready  ## install the locked packages into .venv

# The lock is complete, so pip must not resolve anything (--no-deps) and must check every file (--require-hashes).
.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("HistoBench needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; set PYTHON=/path/to/python3.11" if sys.version_info < (3, 11) else 0)'
	@echo "Installing packages into .venv (some minutes, about 6 GB) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-build-isolation --editable .
	@$(BIN)/python -c "import histobench, snakemake, torch, torchvision"
	@touch $@

demo: setup  ## run the demo on the simulated cohort; ends in results/report/index.html
	$(RUN) --configfile config/demo.yaml
	@echo "Open results/report/index.html"

test: setup  ## run every check and test
	@./tests/run.sh all

test-fast: setup  ## run the checks and the fast tests
	@./tests/run.sh fast

test-slurm: setup  ## test the cluster profile on a SLURM of its own (root, Debian packages)
	@./tests/slurm/run.sh

test-gpu: setup  ## run the tests that need a CUDA device
	$(BIN)/pytest -m gpu

bench: setup  ## time each stage against the usual tools (BENCH="--only patches", "--device cuda"); into results/bench
	PYTHONPATH=tests:workflow/lib $(BIN)/python -m bench $(BENCH)

lint: setup  ## check formatting, types and the workflow
	@./tests/run.sh lint

lock: setup  ## pin the newest allowed versions in requirements.lock
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --fork-strategy fewest --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --upgrade --output-file requirements.lock
	$(BIN)/histobench document-config

docs: setup  ## regenerate config/README.md, docs/methods.md, docs/results.md, envs/*.yaml
	$(BIN)/histobench document-config

clean:  ## remove results (not the packages)
	rm -rf results .snakemake
