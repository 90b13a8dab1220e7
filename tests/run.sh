#!/usr/bin/env bash
# The test tiers, fast ones first: lint | fast | all. The last includes the cluster profile on a real SLURM.
set -euo pipefail
cd "$(dirname "$0")/.."
tier=${1:-all}
bin=.venv/bin
export PATH="$PWD/$bin:$PATH"
export MPLBACKEND=Agg

step() { printf '\n== %s\n' "$1"; }

step "ruff"
ruff check .
ruff format --check --quiet .
step "snakefmt"
snakefmt --check --compact-diff Snakefile workflow
step "mypy"
mypy --no-error-summary workflow/lib/histobench
step "snakemake --lint"
snakemake --lint --configfile config/demo.yaml > /dev/null
[ "$tier" = lint ] && exit 0

step "fast tests"
pytest -m "not slow and not gpu and not slurm"
[ "$tier" = fast ] && exit 0

step "slow tests"
pytest -m "slow and not gpu and not slurm" --durations=10

step "cluster"
tests/slurm/run.sh
