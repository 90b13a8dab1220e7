#!/usr/bin/env bash
# Test the cluster profile on a real SLURM: installed from Debian packages where it is missing, started on loopback in
# namespaces of its own, so that nothing else of this machine sees it and nothing of it stays. Skips, with the reason,
# where that is not possible.
set -euo pipefail
cd "$(dirname "$0")/../.."

skip() {
  echo "SLURM tests skipped: $1"
  exit 0
}

[ "$(id -u)" = 0 ] || skip "starting SLURM's daemons and namespaces needs root"
if ! command -v slurmctld slurmd munged sbatch > /dev/null; then
  command -v apt-get > /dev/null || skip "SLURM is not installed and there is no apt-get to install it"
  echo "installing SLURM from packages ..."
  export DEBIAN_FRONTEND=noninteractive
  { apt-get -qq update && apt-get -qq install -y --no-install-recommends slurmctld slurmd slurm-client munge; } \
    > /dev/null 2>&1 < /dev/null || skip "its packages (slurmctld slurmd slurm-client munge) cannot be installed"
fi
private=(unshare --net --uts --mount --pid --fork --kill-child --mount-proc)
"${private[@]}" true 2> /dev/null || skip "this machine does not allow namespaces of one's own"

mkdir -p /etc/slurm  # the test's configuration is mounted over it, in its own namespace only
HISTOBENCH_SLURM=private exec "${private[@]}" bash -c '.venv/bin/pytest -m slurm tests/slurm "$@"; exit $?' bash "$@"
