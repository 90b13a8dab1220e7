"""Files out of archives as publishers pack them: wrapped, encrypted, gzipped inside, or damaged."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from histobench.cohorts.archives import split_member, unpack_member
from histobench.errors import UserError

CONTENT = b"10x14\t3\n" * 5000
FILES = {
    "wrap/counts/A1.tsv": CONTENT,
    "wrap/counts/A2.tsv": b"second",
    "wrap/images/P2.jpg.gz": gzip.compress(b"\xff\xd8\xff pixels"),
    "wrap/old/A2.tsv": b"older",
}


def make_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in FILES.items():
            packed.writestr(name, content)
    return path


def make_tar(path: Path) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as packed:
        for name, content in FILES.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture(params=["a.zip", "a.tar", "a.tar.gz"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    return (make_zip if request.param.endswith("zip") else make_tar)(folder / request.param)


def test_member_is_found_with_and_without_its_wrapping_folders(archive: Path, tmp_path: Path) -> None:
    for member in ("wrap/counts/A1.tsv", "counts/A1.tsv", "A1.tsv"):
        unpack_member(archive, member, tmp_path / "out" / "A1.tsv")
        assert (tmp_path / "out" / "A1.tsv").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["A1.tsv"]


def test_gzipped_member_is_unpacked_if_asked_for_without_its_suffix(archive: Path, tmp_path: Path) -> None:
    unpack_member(archive, "P2.jpg", tmp_path / "P2.jpg")
    assert (tmp_path / "P2.jpg").read_bytes() == b"\xff\xd8\xff pixels"
    unpack_member(archive, "P2.jpg.gz", tmp_path / "P2.jpg.gz")
    assert (tmp_path / "P2.jpg.gz").read_bytes() == FILES["wrap/images/P2.jpg.gz"]


def test_absent_and_ambiguous_members(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no wrap/counts/A3.tsv \(did you mean wrap/counts/A"):
        unpack_member(archive, "wrap/counts/A3.tsv", tmp_path / "x")
    with pytest.raises(UserError, match=r"A2.tsv may mean wrap/counts/A2.tsv or wrap/old/A2.tsv"):
        unpack_member(archive, "A2.tsv", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_missing_archive_and_other_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such archive"):
        unpack_member(tmp_path / "a.zip", "x", tmp_path / "x")
    (tmp_path / "a.zip").write_text("<html>")
    with pytest.raises(UserError, match="neither a zip nor a tar"):
        unpack_member(tmp_path / "a.zip", "x", tmp_path / "x")


def test_damaged_zip_member_leaves_nothing(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    at = data.find(b"wrap/counts/A1.tsv") + len("wrap/counts/A1.tsv") + 10
    data[at : at + 4] = b"\xaa\x55\xaa\x55"
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        unpack_member(path, "A1.tsv", tmp_path / "out" / "A1.tsv")
    assert list((tmp_path / "out").iterdir()) == []


def test_truncated_tar_leaves_nothing(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar.gz")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match="damaged"):
        unpack_member(path, "counts/A2.tsv", tmp_path / "out" / "A2.tsv")
    assert not (tmp_path / "out").exists()


def test_encrypted_zip(tmp_path: Path) -> None:
    pyzipper = pytest.importorskip("pyzipper")
    path = tmp_path / "counts.zip"
    with pyzipper.AESZipFile(
        path, "w", compression=zipfile.ZIP_DEFLATED, encryption=pyzipper.WZ_AES
    ) as packed:
        packed.setpassword(b"one")
        packed.writestr("counts/A1.tsv", CONTENT)
        packed.setpassword(b"two")
        packed.writestr("counts/A2.tsv", b"second")
    unpack_member(path, "A1.tsv", tmp_path / "A1.tsv", ["one", "two"])
    unpack_member(path, "A2.tsv", tmp_path / "A2.tsv", ["one", "two"])
    assert (tmp_path / "A1.tsv").read_bytes() == CONTENT and (tmp_path / "A2.tsv").read_bytes() == b"second"
    with pytest.raises(UserError, match=r"none of the 1 configured passwords opens counts/A2\.tsv"):
        unpack_member(path, "A2.tsv", tmp_path / "x", ["one"])
    with pytest.raises(UserError, match="is encrypted; give the published password"):
        unpack_member(path, "A2.tsv", tmp_path / "x")
    data = bytearray(path.read_bytes())
    at = data.find(b"counts/A1.tsv") + 60  # inside the ciphertext, after salt and verifier
    data[at] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        unpack_member(path, "A1.tsv", tmp_path / "x", ["one"])
    assert not (tmp_path / "x").exists()


def test_split_member() -> None:
    assert split_member("images.zip!/images/HE/A1.jpg") == ("images.zip", "images/HE/A1.jpg")
    assert split_member("data/A1.tsv.gz") == ("data/A1.tsv.gz", "")
