"""Files are whole or absent, and a full disk is one sentence."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from histobench import files
from histobench.errors import UserError
from histobench.files import read_json, read_results, read_table, write_json, write_table


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


WRITER = """
import sys, time
from histobench.files import atomic_folder, atomic_path
with atomic_path(sys.argv[1]) as file, atomic_folder(sys.argv[2]) as folder:
    file.write_bytes(bytes(10)), (folder / "part").write_bytes(bytes(10))
    print("writing", flush=True)
    time.sleep(60)
"""


def start_writer(folder: Path) -> subprocess.Popen:
    """Start a process that is in the midst of writing a file and a folder."""
    command = [sys.executable, "-c", WRITER, folder / "deep/P1_1.npy", folder / "deep/P1"]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None and writer.stdout.readline() == "writing\n"
    return writer


def test_what_a_killed_writer_left_is_removed_and_what_a_running_one_writes_stays(tmp_path):
    killed, running = start_writer(tmp_path / "killed"), start_writer(tmp_path / "running")
    try:
        killed.kill()
        killed.wait()
        theirs = leftovers(tmp_path / "running/deep")
        assert len(theirs) == 2 == len(leftovers(tmp_path / "killed/deep"))
        removed = files.remove_leftovers(tmp_path)
        assert sorted(path.parent for path in removed) == [tmp_path / "killed/deep"] * 2
        assert leftovers(tmp_path / "killed/deep") == []
        assert leftovers(tmp_path / "running/deep") == theirs
        running.kill()  # dead, but nobody has waited for it: a zombie writes nothing
        while files.process_start(running.pid) is not None:
            pass
        files.remove_leftovers(tmp_path)
        assert leftovers(tmp_path / "running/deep") == []
    finally:
        for writer in (killed, running):
            writer.kill()
            writer.communicate()


def test_a_process_number_that_is_used_again_protects_nobody(tmp_path, monkeypatch):
    """This process has the number of the dead writer, but began at another time."""
    monkeypatch.setattr(files, "process_start", lambda _pid: 1)
    with pytest.raises(KeyError), files.atomic_path(tmp_path / "a.npy") as temporary:
        monkeypatch.undo()
        kept = temporary.rename(tmp_path / f"{temporary.name}.kept")
        raise KeyError
    assert files.remove_leftovers(tmp_path) == [kept]


def test_a_temporary_of_another_machine_goes_when_it_is_old(tmp_path, monkeypatch):
    """A job of a cluster may be writing it; its processes cannot be seen from here."""
    monkeypatch.setattr(files, "_place", lambda: "0123456789ab")
    with files.atomic_folder(tmp_path / "out") as temporary:
        (temporary / "part").write_text("1")
        foreign = temporary.rename(tmp_path / f"{temporary.name}.kept")
        temporary.mkdir()
    monkeypatch.undo()
    assert files.remove_leftovers(tmp_path) == []
    for path in (foreign / "part", foreign):
        os.utime(path, (1e9, 1e9))
    assert files.remove_leftovers(tmp_path) == [foreign]
    assert leftovers(tmp_path) == ["out"]


def test_only_temporaries_of_this_library_are_removed(tmp_path):
    (tmp_path / "target").write_text("kept")
    for name in (
        ".P1_1.abcd1234.npy",
        ".a.writing-now.txt",
        "a.writing-0123456789ab-1-1.x",
        ".gitkeep",
        ".part",
    ):
        (tmp_path / name).write_text("mine")
    (tmp_path / f".link.writing-{files._place()}-1-0.x").symlink_to(tmp_path / "target")
    before = leftovers(tmp_path)
    removed = files.remove_leftovers(tmp_path)
    assert [path.name for path in removed] == [name for name in before if name.startswith(".link")]
    assert (tmp_path / "target").read_text() == "kept"
    assert files.remove_leftovers(tmp_path / "absent") == []


@pytest.mark.parametrize("name", ["a" * 240 + ".tsv", "ü" * 120 + ".tsv", "切" * 80 + ".npy"])
def test_long_names_can_be_written(tmp_path, name):
    with files.atomic_path(tmp_path / name) as temporary:
        temporary.write_text("whole")
    assert leftovers(tmp_path) == [name]


def test_no_room_for_temporary_files_is_one_sentence(tmp_path, monkeypatch):
    files.check_scratch()
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(UserError, match=r"absent: temporary files cannot be written there .* set TMPDIR"):
        files.check_scratch()
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, limit[1]))
    try:
        with pytest.raises(UserError, match="temporary files cannot be written there"):
            files.check_scratch()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("damage", ["emptied", "cut", "noise", "text"])
@pytest.mark.parametrize("kind", ["table.tsv", "table.parquet", "run.json", "section.h5ad"])
def test_a_result_that_was_damaged_is_one_sentence(tmp_path, kind, damage):
    """Outputs that a failing disk or a synchronising tool left behind, newer than what they are made from."""
    path, table = tmp_path / kind, pd.DataFrame({"gene": ["A", "B"] * 50, "value": np.arange(100) / 7})
    if kind == "run.json":
        write_json({"genes": list(table["gene"])}, path)
    elif kind == "section.h5ad":
        anndata.AnnData(np.ones((4, 3), np.float32)).write_h5ad(path)
    else:
        write_table(table, path)
    whole = path.read_bytes()
    changed = {
        "emptied": b"",
        "cut": whole[: len(whole) // 2],
        "noise": b"\xff\x00" + whole[2:][::-1],
        "text": b"<html>\n<body>\nmoved\t\t\there\n",
    }[damage]
    path.write_bytes(changed)
    reader = {".json": read_json, ".h5ad": read_results}.get(path.suffix, read_table)
    if kind == "table.tsv" and damage == "cut":
        return  # a table may end anywhere; the number of rows is checked where it is known
    with pytest.raises(UserError, match=r"is damaged or cut off .*; delete it and run again") as refused:
        reader(path)
    assert str(path) in str(refused.value)


def test_a_result_that_is_missing_stays_missing(tmp_path):
    for reader in (read_json, read_results, read_table):
        with pytest.raises(FileNotFoundError):
            reader(tmp_path / "none.tsv")
