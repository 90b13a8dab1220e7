"""A SLURM of two virtual nodes on this machine, with two devices that pretend to be GPUs.

For use in namespaces of one's own (tests/slurm/run.sh): it takes the machine's name and /etc/slurm. All daemons listen
on loopback only.
"""

from __future__ import annotations

import fcntl
import re
import secrets
import socket
import struct
import subprocess
import time
from pathlib import Path

CONFIGURATION = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={base}/munge/socket
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool/%n
SlurmctldPidFile={base}/slurmctld.pid
SlurmdPidFile={base}/slurmd-%n.pid
SlurmctldLogFile={base}/log/slurmctld.log
SlurmdLogFile={base}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
MailProg=/bin/true
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
# memory is watched, and a job that exceeds what it asked for is killed
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
MinJobAge=3000
KillWait=2
CompleteWait=0
InactiveLimit=0
SlurmctldTimeout=30
SlurmdTimeout=30
ReturnToService=2
JobRequeue=0
SlurmdParameters=config_overrides
NodeName=DEFAULT State=UNKNOWN Sockets=1 ThreadsPerCore=1 TmpDisk=0 CoresPerSocket=4 RealMemory=64000
NodeName=cpu1 NodeAddr=127.0.0.1 NodeHostname=localhost Port=16818
NodeName=gpu1 NodeAddr=127.0.0.1 NodeHostname=localhost Port=16819 Gres=gpu:2
PartitionName=cpu Nodes=cpu1 Default=YES MaxTime=INFINITE DefMemPerCPU=200 State=UP
PartitionName=gpu Nodes=gpu1 Default=NO MaxTime=INFINITE DefMemPerCPU=200 State=UP
"""
DEVICES = """\
AutoDetect=off
NodeName=gpu1 Name=gpu File=/dev/null
NodeName=gpu1 Name=gpu File=/dev/zero
"""


class Cluster:
    """The daemons; jobs are looked at with SLURM's own commands."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.daemons: list[subprocess.Popen] = []

    def start(self) -> None:
        """Start everything and wait until both nodes are idle."""
        _private_machine()
        for name in ("state", "spool/cpu1", "spool/gpu1", "log", "etc"):
            (self.base / name).mkdir(parents=True)
        (self.base / "munge").mkdir(mode=0o755)
        key = self.base / "munge" / "key"
        key.touch(mode=0o400)
        key.chmod(0o600)
        key.write_bytes(secrets.token_bytes(128))
        etc = self.base / "etc"
        (etc / "slurm.conf").write_text(CONFIGURATION.format(base=self.base))
        (etc / "gres.conf").write_text(DEVICES)
        (etc / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        subprocess.run(["mount", "--bind", str(etc), "/etc/slurm"], check=True)
        # There is no accounting. When SLURM once answers slowly, the plugin asks sacct, and then waits for ever
        # (docs/cluster.md tells users); so here it says at once that it knows nothing. It must exist: the plugin also
        # asks it for an account, and stands still if it cannot be started.
        if Path("/usr/bin/sacct").exists():
            silent = self.base / "sacct"
            silent.write_text("#!/bin/sh\necho 'accounting is off' >&2\nexit 1\n")
            silent.chmod(0o755)
            subprocess.run(["mount", "--bind", str(silent), "/usr/bin/sacct"], check=True)
        files = {name: f"{self.base}/munge/{name}" for name in ("socket", "pid", "log", "seed")}
        self._daemon(
            "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={files['socket']}",
            f"--pid-file={files['pid']}", f"--log-file={files['log']}", f"--seed-file={files['seed']}",
        )  # fmt: skip
        self._wait(lambda: Path(files["socket"]).exists(), "munged")
        self._daemon("slurmctld", "-D", "-c", "-i")
        for node in ("cpu1", "gpu1"):
            self._daemon("slurmd", "-D", "-N", node)
        self._wait(lambda: self._ask("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * 2, "SLURM")

    def stop(self) -> None:
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            daemon.wait(timeout=20)
        subprocess.run(["umount", "/etc/slurm"], check=True)

    def waiting_or_running(self) -> list[str]:
        """Numbers of the jobs that have not ended."""
        return self._ask("squeue", "-h", "-o", "%i").split()

    def jobs(self) -> list[dict[str, str]]:
        """Every job since the start, as ``scontrol show jobs`` tells of it."""
        text = self._ask("scontrol", "-o", "show", "jobs")
        return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.splitlines() if "JobId=" in line]

    def cancel(self, number: str) -> None:
        subprocess.run(["scancel", number], check=True)

    def _daemon(self, *command: str) -> None:
        with (self.base / f"{command[0]}.out").open("ab") as out:
            self.daemons.append(subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL))

    def _ask(self, *command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True).stdout

    def _wait(self, ready, what: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                logs = [*(self.base / "log").glob("*"), *self.base.glob("*.out")]
                told = "\n".join(f"{file}:\n{file.read_text()[-1500:]}" for file in logs)
                raise RuntimeError(f"{what} did not start:\n{told}")
            time.sleep(0.2)


def _private_machine() -> None:
    """Give the namespace its name and its loopback device.

    The device gets a second address, because the C library takes a machine that has 127.0.0.1 and nothing else for
    one without network, and resolves no name for SLURM.
    """
    socket.sethostname("localhost")
    set_flags, set_address, up, running = 0x8914, 0x8916, 0x1, 0x40
    with socket.socket() as link:
        fcntl.ioctl(link, set_flags, struct.pack("16sH14x", b"lo", up | running))
        address = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton("127.0.0.2"))
        fcntl.ioctl(link, set_address, struct.pack("16s16s", b"lo:1", address))
