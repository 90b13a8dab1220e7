"""A job's log gets everything; a user's mistake is one sentence on the terminal."""

from __future__ import annotations

import errno
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from histobench import runtime
from histobench.cli import command as cli
from histobench.errors import UserError


def run(code, tmp_path):
    library = Path(runtime.__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(library)!r})\n{code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )


def test_output_of_python_and_of_child_processes_goes_to_the_log(tmp_path):
    done = run(
        "import os\n"
        "from histobench.runtime import job_log\n"
        "with job_log('logs/a.log'):\n"
        "    print('from python')\n"
        "    sys.stderr.write('to stderr\\n')\n"
        "    os.system('echo from a child')\n"
        "print('afterwards')",
        tmp_path,
    )
    text = (tmp_path / "logs/a.log").read_text()
    assert all(line in text for line in ("from python", "to stderr", "from a child"))
    assert done.stdout == "afterwards\n" and done.stderr == ""


def test_a_users_mistake_is_one_sentence_without_traceback(tmp_path):
    done = run(
        "from histobench.runtime import job_log\nfrom histobench.errors import UserError\n"
        "with job_log('a.log'):\n    raise UserError('counts.tsv: row 3 is empty; remove it.')",
        tmp_path,
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "Error: counts.tsv: row 3 is empty; remove it."
    assert "Traceback" not in (tmp_path / "a.log").read_text()


def test_any_other_error_keeps_its_traceback_in_the_log(tmp_path):
    done = run(
        "from histobench.runtime import job_log\nwith job_log('a.log'):\n    raise KeyError('oops')", tmp_path
    )
    assert done.returncode == 1
    assert "Traceback" in (tmp_path / "a.log").read_text()


def test_packages_of_another_environment_are_forgotten(monkeypatch):
    foreign = "/somewhere/else/lib/python3.11/site-packages"
    own = f"{sys.prefix}/lib/python3.11/site-packages"
    monkeypatch.setattr(sys, "path", [foreign, own, "/a/library"])
    runtime.prune_foreign_packages()
    assert sys.path == [own, "/a/library"]


@pytest.mark.parametrize("command", [["--help"], ["document-config", "--check"]])
def test_the_command_line_works(command):
    from histobench.cli.command import main

    if command == ["--help"]:
        with pytest.raises(SystemExit) as caught:
            main(command)
        assert caught.value.code == 0
    else:
        assert main(command) == 0


def test_jobs_import_this_library_before_an_installed_one(monkeypatch, tmp_path):
    other = tmp_path / "other" / "histobench"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(other.parent))
    runtime.prefer_this_library()
    runtime.prefer_this_library()
    done = subprocess.run(
        [sys.executable, "-c", "import histobench.runtime; print(histobench.runtime.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()) == Path(runtime.__file__).resolve()
    assert os.environ["PYTHONPATH"].split(os.pathsep)[1:] == [str(other.parent)]


def test_an_interrupted_job_leaves_no_traceback(tmp_path):
    done = run(
        "import os, signal\n"
        "from histobench.runtime import job_log\n"
        "with job_log('a.log'):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n",
        tmp_path,
    )
    assert done.returncode == 130
    assert done.stdout == done.stderr == ""
    text = (tmp_path / "a.log").read_text()
    assert "the job was interrupted" in text and "Traceback" not in text


HOLD = (
    "import sys, time\n"
    "from histobench.runtime import begin_run\n"
    "held = begin_run('results')\n"
    "print('held', flush=True)\n"
    "sys.stdin.readline()\n"
)


def hold(folder):
    library = Path(runtime.__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(library)!r})\n{HOLD}"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def two_ways(tmp_path):
    """Two folders to run in whose results are one: a folder, and a link to it."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    (tmp_path / "first/results").mkdir()
    (tmp_path / "second/results").symlink_to(tmp_path / "first/results")
    return tmp_path / "first", tmp_path / "second"


def test_a_second_run_on_the_same_results_is_refused_until_the_first_has_ended(two_ways):
    first, second = two_ways
    process = hold(first)
    with pytest.raises(UserError) as caught:
        runtime.begin_run(second / "results")
    for part in (
        "another run",
        f"process {process.pid}",
        platform.node(),
        str(first),
        "since 20",
        "wait until",
    ):
        assert part in str(caught.value)
    process.communicate("\n")
    assert not list((first / "results").iterdir()), "a run that ended leaves no lock"
    held = runtime.begin_run(second / "results")
    assert held is not None
    runtime._release(second / "results" / runtime.LOCK, held, os.getpid())


def test_the_lock_of_a_killed_run_is_taken_over(two_ways):
    first, second = two_ways
    process = hold(first)
    process.kill()
    process.communicate()
    assert (first / "results" / runtime.LOCK).exists()
    again = hold(second)
    again.communicate("\n")
    assert again.returncode == 0


def test_children_of_a_run_hold_nothing(two_ways):
    """A job that outlives a killed run does not keep the next run from beginning."""
    first, second = two_ways
    code = HOLD.replace("sys.stdin", "import subprocess; subprocess.Popen(['sleep', '30']); sys.stdin")
    library = Path(runtime.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(library)!r})\n{code}\nimport os; os._exit(9)"],
        cwd=first, input="\n", text=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 9
    hold(second).communicate("\n")


def test_results_that_cannot_be_written_or_locked_stop_nobody(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert runtime.begin_run(tmp_path / "file") is None

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(runtime.fcntl, "flock", no_locks)
    assert runtime.begin_run(tmp_path / "results") is None


def test_the_command_says_its_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert re.fullmatch(r"histobench \d+\.\d+\.\d+\S*\n", said), said
