"""A job's log gets everything; a user's mistake is one sentence on the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from histobench import runtime


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
    from histobench.cli import main

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
