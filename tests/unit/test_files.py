"""Files are whole or absent, and a full disk is one sentence."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from histobench import files
from histobench.errors import UserError


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_failed_block_leaves_nothing_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text("old")
    with pytest.raises(RuntimeError), files.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == ["table.tsv"]


def test_a_failed_folder_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), files.atomic_folder(tmp_path / "out") as temporary:
        (temporary / "one").write_text("1")
        raise RuntimeError
    assert leftovers(tmp_path) == []


def test_a_folder_replaces_the_old_one(tmp_path):
    for name in ("one", "two"):
        with files.atomic_folder(tmp_path / "out") as temporary:
            (temporary / name).write_text(name)
    assert leftovers(tmp_path / "out") == ["two"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    """The error arrives when the data reach the disk, after everything was written."""
    path = tmp_path / "out" / "table.tsv"

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UserError, match="the disk is full; free some space") as caught:
        files.write_table(pd.DataFrame({"a": [1]}), path)
    assert str(path) in str(caught.value)
    assert leftovers(path.parent) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_the_full_device_of_the_system_is_recognised():
    with pytest.raises(OSError) as caught, Path("/dev/full").open("w") as stream:
        stream.write("x")
        stream.flush()
    assert isinstance(files.explain_storage_error(caught.value, Path("x")), UserError)


def test_an_unwritable_folder_is_one_sentence(tmp_path):
    """Run as another user, because root may write anywhere."""
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    code = (
        "import os, sys; from histobench.files import write_json; from histobench.errors import UserError\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "try: write_json({}, sys.argv[1])\n"
        "except UserError as error: print(error)\n"
    )
    for parent in [tmp_path, *tmp_path.parents][:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    environment = {**os.environ, "PYTHONPATH": str(Path(files.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / "a.json")], env=environment, capture_output=True, text=True
    )
    assert "not writable" in done.stdout, done.stderr
    assert leftovers(folder) == []


def test_a_file_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(UserError, match="results"):
        files.write_json({}, tmp_path / "results" / "x" / "a.json")


def test_folders_are_looked_at_before_the_first_job(tmp_path, monkeypatch):
    files.check_writable([tmp_path / "a" / "b" / "c.tsv", tmp_path / "a" / "b" / "d.tsv", tmp_path / "e.tsv"])
    (tmp_path / "full").write_text("")
    with pytest.raises(UserError, match="full: cannot be written because a file stands where a folder"):
        files.check_writable([tmp_path / "x.tsv", tmp_path / "full" / "b" / "c.tsv"])
    monkeypatch.setattr(files.os, "access", lambda path, _: path != tmp_path / "locked")
    (tmp_path / "locked").mkdir()
    with pytest.raises(UserError, match="locked: cannot be written because the folder is not writable"):
        files.check_writable([tmp_path / "locked" / "b" / "c.tsv"])
    assert leftovers(tmp_path) == ["full", "locked"]


def test_tables_come_back_as_they_were(tmp_path):
    table = pd.DataFrame({"gene": ["NA", "nan", "TP53"], "value": [1.5, None, -2.0]})
    for suffix in (".tsv", ".parquet"):
        files.write_table(table, tmp_path / f"t{suffix}")
        pd.testing.assert_frame_equal(files.read_table(tmp_path / f"t{suffix}"), table)


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "abc").write_text("abc")
    assert files.sha256(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223")
