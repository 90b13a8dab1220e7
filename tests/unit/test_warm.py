"""Scripts that a process which has imported packages forks for: they see and tell what a process of their own would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from histobench import warm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends forks with who forked them")

TELL = """\
import json, os, random, signal, sys, threading
loaded = "numpy" in sys.modules
import numpy as np
json.dump({
    "loaded": loaded, "library": any(name.split(".")[0] == "histobench" for name in sys.modules), "name": __name__,
    "argv": sys.argv, "path": sys.path, "folder": os.getcwd(), "environment": dict(os.environ), "file": __file__,
    "threads": threading.active_count(), "files": sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")),
    "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)],
    "drawn": [random.random(), np.random.rand()], "group": os.getpgrp(), "nice": os.nice(0),
}, open("told.json", "w"))
"""  # fmt: skip


@pytest.fixture
def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "TOLD": "this"}


@pytest.fixture
def starter(environment):
    made = warm.Starter(["numpy", "no_such_package"], environment)
    yield made
    made.close()


def script(folder: Path, text: str) -> str:
    path = folder / "tmp1.script.py"
    path.write_text(text)
    return str(path)


def told(folder: Path) -> dict:
    return json.loads((folder / "told.json").read_text())


def test_a_script_sees_what_it_sees_in_a_process_of_its_own(starter, environment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = script(tmp_path, TELL)
    subprocess.run([sys.executable, path], env=environment, check=True)
    alone = told(tmp_path)
    monkeypatch.setenv("LATER", "set after the first was made")
    assert starter.start(path, {**environment, "MORE": "2"}).wait() == 0
    forked = told(tmp_path)
    assert forked.pop("loaded") and not alone.pop("loaded")
    assert forked["environment"].pop("MORE") == "2"
    assert forked.pop("drawn") != alone.pop("drawn")
    assert not forked["library"]
    assert forked == alone


def test_two_scripts_draw_different_numbers_and_the_same_with_a_seed(
    starter, environment, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path, drawn = script(tmp_path, TELL), []
    for _ in range(2):
        assert starter.start(path, environment).wait() == 0
        drawn.append(told(tmp_path)["drawn"])
    assert len({*drawn[0], *drawn[1]}) == 4
    seeded = script(
        tmp_path, "import numpy as np\nnp.random.seed(3)\nopen('told.json', 'w').write(str(np.random.rand()))"
    )
    assert starter.start(seeded, environment).wait() == 0
    assert told(tmp_path) == 0.5507979025745755


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("raise SystemExit(3)", 3),
        ("raise SystemExit('a sentence')", 1),
        ("raise ValueError('no')", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("import os; os.abort()", -signal.SIGABRT),
        ("import sys; sys.exit()", 0),
        ("syntax error", 1),
    ],
)
def test_an_exit_status_is_that_of_the_script(starter, environment, tmp_path, text, status):
    path = script(tmp_path, text)
    assert (
        subprocess.run([sys.executable, path], env=environment, stderr=subprocess.DEVNULL).returncode
        == status
    )
    running = starter.start(path, environment)
    assert running.wait() == running.wait() == running.returncode == status
    assert starter.start(script(tmp_path, "pass"), environment).wait() == 0, "the next one begins as well"


def test_what_is_registered_for_the_end_happens(starter, environment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = script(tmp_path, "import atexit\natexit.register(lambda: open('told.json', 'w').write('1'))")
    assert starter.start(path, environment).wait() == 0
    assert told(tmp_path) == 1


def test_it_can_be_ended(starter, environment, tmp_path):
    path = script(tmp_path, "import time\ntime.sleep(60)")
    for end, status in (("terminate", -signal.SIGTERM), ("kill", -signal.SIGKILL)):
        running = starter.start(path, environment)
        getattr(running, end)()
        assert running.wait() == status
        getattr(running, end)()  # once more does no harm


def test_many_at_a_time_are_told_apart(starter, environment, tmp_path):
    paths = [tmp_path / f"{status}.py" for status in range(20)]
    for status, path in enumerate(paths):
        path.write_text(f"import time\ntime.sleep({(20 - status) / 100})\nraise SystemExit({status})")
    running = [starter.start(str(path), environment) for path in paths]
    assert [each.wait() for each in running] == list(range(20))


def gone(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


def soon(what) -> bool:
    for _ in range(100):
        if what():
            return True
        time.sleep(0.05)
    return False


def test_scripts_end_with_the_process_that_forked_them(environment, tmp_path):
    starter = warm.Starter([], environment)
    running = starter.start(script(tmp_path, "import time\ntime.sleep(60)"), environment)
    starter._process.kill()
    assert running.wait() == -signal.SIGKILL
    assert soon(lambda: gone(running.pid))
    starter._process.wait()
    assert starter.start(script(tmp_path, "pass"), environment) is None, "who asks starts it otherwise"


def test_all_ends_with_the_run(environment, tmp_path):
    """Killed, it can tell nobody."""
    path = script(tmp_path, "import time\ntime.sleep(60)")
    text = f"""
import os, signal
from histobench import warm
starter = warm.Starter([], dict(os.environ))
print(starter._process.pid, starter.start({path!r}, dict(os.environ)).pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", text], env=environment, stdout=subprocess.PIPE, text=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    for pid in map(int, done.stdout.split()):
        assert soon(lambda pid=pid: gone(pid)), pid


def test_a_request_that_is_too_long_is_refused(starter, environment, tmp_path):
    assert starter.start(script(tmp_path, "pass"), {**environment, "LONG": "x" * (1 << 21)}) is None
    assert starter.start(script(tmp_path, "pass"), environment).wait() == 0


def test_threads_are_those_of_a_process_of_its_own(environment, tmp_path, monkeypatch):
    """Libraries of linear algebra read their number when they are imported."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tmp1.check_spots.py"
    path.write_text(
        "import json, numpy, threadpoolctl\n"
        "json.dump([[each['user_api'], each['num_threads']] for each in threadpoolctl.threadpool_info()], open('told.json', 'w'))"
    )
    starters, found = warm.Starters(), []
    for threads in ("1", "2"):
        given = {**environment, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)}
        subprocess.run([sys.executable, str(path)], env=given, check=True)
        alone = told(tmp_path)
        assert starters.popen(f"set -euo pipefail; {sys.executable} {path}", given).wait() == 0
        found.append(told(tmp_path))
        assert {(api, number) for api, number in alone} <= {(api, number) for api, number in found[-1]}
    assert found[0] != found[1]
    assert len(starters._made) == 2
    processes = [starter._process for starter in starters._made.values()]
    starters.close()
    assert [process.returncode for process in processes] == [0, 0]


@pytest.mark.parametrize(
    "command",
    [
        "set -euo pipefail; {python} {script} more",
        "set -euo pipefail; {python} -c {script}",
        "set -euo pipefail; python {script}",
        "set -euo pipefail; source activate here; {python} {script}",
        "set -euo pipefail; {python} {script}; touch made",
        "module load python; {python} {script}",
        "{python} {script}",
        "set -euo pipefail; {python} 'a folder/{script}'",
        "",
    ],
)
def test_a_command_that_is_more_than_a_script_is_left_to_the_shell(environment, command):
    starters = warm.Starters()
    assert (
        starters.popen(command.format(python=sys.executable, script="tmp1.check_spots.py"), environment)
        is None
    )
    assert not starters._made


def test_it_can_be_switched_off(environment, tmp_path):
    starters = warm.Starters()
    command = f"set -euo pipefail; {sys.executable} {script(tmp_path, 'pass')}"
    assert starters.popen(command, {**environment, "HISTOBENCH_FORK": "0"}) is None
    assert starters.popen(command, {**environment, "HISTOBENCH_FORK": "1"}).wait() == 0
    starters.close()


@pytest.mark.parametrize("network", [False, True])
def test_what_is_imported_ahead_is_what_jobs_need(environment, tmp_path, monkeypatch, network):
    monkeypatch.chdir(tmp_path)
    path = script(tmp_path, "import json, sys\njson.dump(sorted(sys.modules), open('told.json', 'w'))")
    starters = warm.Starters()
    assert starters.popen(f"set -euo pipefail; {sys.executable} {path}", environment, network).wait() == 0
    starters.close()
    found = set(told(tmp_path))
    assert {"numpy", "pandas", "anndata"} <= found
    assert ("torch" in found) == network
    assert not any(name.partition(".")[0] in ("histobench", "snakemake") for name in found)
