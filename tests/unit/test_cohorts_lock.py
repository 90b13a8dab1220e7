"""The data lock: parsing, refusals, checksums, and agreement with the cohorts that use it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from histobench.cohorts.fetch.lock import (
    COLUMNS,
    LockedFile,
    Missing,
    checksum_of,
    load_lock,
    missing,
    split_checksum,
)
from histobench.errors import UserError

ROW = ["her2st", "data/a.tsv.gz", "https://a.org/x https://b.org/x", "12", "0" * 64, "CC-BY-4.0", "Someone"]


def write(path: Path, *rows: list[str]) -> Path:
    path.write_text("".join("\t".join(row) + "\n" for row in [list(COLUMNS), *rows]))
    return path


def changed(**fields: str) -> list[str]:
    row = dict(zip(COLUMNS, ROW, strict=True)) | fields
    return list(row.values())


def test_row(tmp_path: Path) -> None:
    lock = load_lock(write(tmp_path / "lock.tsv", ROW))
    assert lock == {
        ("her2st", "data/a.tsv.gz"): LockedFile(
            "her2st",
            "data/a.tsv.gz",
            ("https://a.org/x", "https://b.org/x"),
            12,
            "0" * 64,
            "CC-BY-4.0",
            "Someone",
        )
    }


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (ROW[:-1], "has 6 fields"),
        (changed(size="12 MB"), 'size is "12 MB"'),
        (changed(sha256="abc"), 'checksum "abc" is malformed'),
        (changed(sha256="md5:" + "0" * 64), "malformed"),
        (changed(urls="ftp://a.org/x"), "no http"),
        (changed(file="../../etc/passwd"), "inside the source"),
        (changed(file="/etc/passwd"), "inside the source"),
        (changed(source=""), "must be given"),
    ],
)
def test_bad_row_names_file_and_line(tmp_path: Path, row: list[str], says: str) -> None:
    path = write(tmp_path / "lock.tsv", ROW, row)
    with pytest.raises(UserError, match=says) as caught:
        load_lock(path)
    assert f"{path}: line 3" in str(caught.value)


def test_repeated_row(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 3.*occurs twice"):
        load_lock(write(tmp_path / "lock.tsv", ROW, ROW))


def test_missing_and_headless_lock(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing"):
        load_lock(tmp_path / "lock.tsv")
    with pytest.raises(UserError, match="name the file itself"):
        load_lock(tmp_path)
    (tmp_path / "lock.tsv").write_bytes(b"source\tf\xfcr\n")
    with pytest.raises(UserError, match="line 1"):
        load_lock(tmp_path / "lock.tsv")
    (tmp_path / "lock.tsv").write_text("\t".join(ROW))
    with pytest.raises(UserError, match="line 1"):
        load_lock(tmp_path / "lock.tsv")


def test_checksums_agree_with_the_tools_that_define_them(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"hello\n")
    # git hash-object of "hello\n" is a well-known constant; the others come from hashlib
    assert checksum_of(path, "git") == "git:ce013625030ba8dba906f756967f9e9ca394464a"
    assert checksum_of(path, "md5") == "md5:" + hashlib.md5(b"hello\n").hexdigest()
    assert checksum_of(path) == hashlib.sha256(b"hello\n").hexdigest()
    assert split_checksum("unknown") == ("unknown", "")
    assert split_checksum("sha256:" + "a" * 64) == ("sha256", "a" * 64)


def test_missing_counts_files_and_bytes(tmp_path: Path) -> None:
    entries = [
        LockedFile("s", "here.gz", (), 5, "unknown", "", ""),
        LockedFile("s", "short.gz", (), 50, "unknown", "", ""),
        LockedFile("s", "absent.gz", (), 7, "unknown", "", ""),
        LockedFile("s", "sizeless.jpg", (), None, "unknown", "", ""),
    ]
    raw = tmp_path / "s" / "raw"
    raw.mkdir(parents=True)
    (raw / "here.gz").write_bytes(b"12345")
    (raw / "short.gz").write_bytes(b"12345")
    found = missing(entries, tmp_path)
    assert found == Missing(files=3, bytes=57, unknown_size=1)
    assert str(found) == "3 files are missing: 0.0 MB, and 1 of them of unknown size"
    assert str(missing(entries[:1], tmp_path)) == "nothing is missing"


def test_import_is_light() -> None:
    """The lock is read while the workflow graph is built, for every call of the engine."""
    code = (
        "import sys, histobench.cohorts.fetch.lock; "
        "sys.exit(bool({'numpy', 'pandas', 'requests', 'scipy'} & set(sys.modules)))"
    )
    paths = [path for path in sys.path if path]
    assert (
        subprocess.run([sys.executable, "-c", f"import sys; sys.path[:] = {paths!r}; {code}"]).returncode == 0
    )


@pytest.mark.parametrize("cohort", ["her2st", "her2st_counts"])
def test_lock_covers_every_file_of_the_cohort(project: Path, cohort: str) -> None:
    lock = load_lock(project / "resources" / "data_lock.tsv")
    config = yaml.safe_load((project / "config" / "cohorts" / f"{cohort}.yaml").read_text())
    assert len(config["sections"]) == 36
    assert config.keys() >= {"title", "reader", "pitch_um", "spot_um", "licence", "citation"}
    used = set()
    for section, record in config["sections"].items():
        kinds = set()
        for kind, template in config["files"].items():
            try:
                used.add(template.format(section=section, **record))
            except KeyError:
                continue
            kinds.add(kind)
        own = {"labels"} if record.get("labels") == section else {"reference_spots", "reference_labels"}
        image = {"image"} if cohort == "her2st" else set()
        assert kinds == {"counts", "spots", "warp"} | own | image
        assert record["patient"] == section[0]
    assert {("her2st", file) for file in used} <= set(lock)
    # 3 tables per section, 8 annotations, and the images
    assert len(used) == 3 * 36 + 8 + (36 if cohort == "her2st" else 0)
    for file in used:
        entry = lock[("her2st", file)]
        assert len(entry.urls) >= 2 and entry.checksum != "unknown"


def test_every_row_can_be_fetched_and_cited(project: Path) -> None:
    for entry in load_lock(project / "resources" / "data_lock.tsv").values():
        assert entry.urls and entry.licence and entry.citation, entry
