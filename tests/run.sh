#!/usr/bin/env bash
# The test tiers, fast ones first: lint | fast | all. The last includes the cluster profile on a real SLURM.
set -euo pipefail
cd "$(dirname "$0")/.."
tier=${1:-all}
bin=.venv/bin
export PATH="$PWD/$bin:$PATH"
export MPLBACKEND=Agg
unset PYTHONDONTWRITEBYTECODE  # some hundred processes import the library

step() { printf '\n== %s\n' "$1"; }

# What waits more than it computes, or takes one core, goes on beside other steps; what it says stands where it ended. A test
# that measures time has the machine for itself.
beside='' said=$(mktemp)
trap '[ -z "$beside" ] || kill "$beside" 2> /dev/null || true; rm -f "$said"' EXIT
start() {
  "$@" > "$said" 2>&1 &
  beside=$!
}
ended() {
  [ -n "$beside" ] || return 0
  local status=0
  wait "$beside" || status=$?
  beside=''
  cat "$said"
  return "$status"
}

# The tests of a tier in as many processes as there are cores, each of one thread; then those that measure time, alone.
tests() {
  local cores timed rest=("${@:2}")
  cores=$(env -u OMP_NUM_THREADS nproc)
  OMP_NUM_THREADS=1 pytest -m "$1 and not alone and not gpu and not slurm" -n "$((cores > 1 ? cores : 0))" \
    --dist loadgroup --no-loadscope-reorder "${rest[@]}"
  ended
  mapfile -t timed < <(grep -rl --include='test_*.py' 'pytest\.mark\.alone' tests)
  pytest -m "$1 and alone and not gpu and not slurm" "${timed[@]}" "${rest[@]}"
}

step "ruff"
ruff check .
ruff format --check --quiet .
step "mypy (beside what follows)"
start mypy --no-error-summary workflow/lib/histobench
step "snakefmt"
snakefmt --check --compact-diff Snakefile workflow
step "snakemake --lint"
snakemake --lint --configfile config/demo.yaml > /dev/null
if [ "$tier" = lint ]; then
  ended
  exit 0
fi

step "fast tests"
tests "not slow" --durations=20
[ "$tier" = fast ] && exit 0

# three fifths of the time of the cluster's tests is waiting
step "slow tests, and the cluster's beside them"
start tests/slurm/run.sh
tests slow --durations=20
