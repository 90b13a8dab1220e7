"""Files out of archives as publishers pack them: wrapped, encrypted, gzipped inside, or damaged."""

from __future__ import annotations

import gzip
import io
import random
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from histobench.cohorts.fetch.archives import split_member, unpack_member
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
    kind = path.suffix[1:] if path.suffix != ".tar" else ""
    with tarfile.open(path, f"w:{kind}") as packed:
        for name, content in FILES.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture(params=["a.zip", "a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2"])
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


def harmed(content: bytes, random_: random.Random) -> bytes:
    """A copy with one bit turned, a piece zeroed, or the end missing."""
    data = bytearray(content)
    at = random_.randrange(len(data))
    kind = random_.randrange(3)
    if kind == 0:
        data[at] ^= 1 << random_.randrange(8)
    elif kind == 1:
        data[at : at + 200] = bytes(len(data[at : at + 200]))
    else:
        del data[at:]
    return bytes(data)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.xz", "a.tar.bz2", "encrypted.zip"])
def test_damage_anywhere_is_one_sentence_or_changes_nothing(name: str, tmp_path: Path) -> None:
    """Checks at the end of a compressed stream count also for a member at its beginning."""
    path, out = tmp_path / name, tmp_path / "out"
    random_ = random.Random(name)
    noisy = random_.randbytes(6000)
    if name.startswith("encrypted"):
        pyzipper = pytest.importorskip("pyzipper")
        with pyzipper.AESZipFile(
            path, "w", compression=zipfile.ZIP_DEFLATED, encryption=pyzipper.WZ_AES
        ) as packed:
            packed.setpassword(b"one")
            packed.writestr("m.bin", noisy)
    elif name.endswith("zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as plain:
            plain.writestr("m.bin", noisy)
            plain.writestr("z.bin", noisy[::-1])
    else:
        with tarfile.open(path, f"w:{path.suffix[1:]}") as tar:
            for member, content in (("m.bin", noisy), ("z.bin", noisy[::-1])):
                entry = tarfile.TarInfo(member)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    intact = path.read_bytes()
    refused = 0
    for _ in range(60):
        content = harmed(intact, random_)
        if content == intact:
            continue
        path.write_bytes(content)
        out.unlink(missing_ok=True)
        try:
            unpack_member(path, "m.bin", out, ["one"])
        except UserError as error:
            refused += 1
            assert str(path) in str(error) and not out.exists()
        else:
            assert out.read_bytes() == noisy
    assert refused > 20


@pytest.mark.parametrize("end", [b"", bytes(512), bytes(10240)])
def test_a_list_that_breaks_off_is_damage_and_a_missing_end_is_not(tmp_path: Path, end: bytes) -> None:
    """A plain tar has no checks but those of its headers; the file asked for comes after the damaged one."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name in ("a", "b", "c"):
            add(tar, name, name.encode() * 400)
        length = tar.offset
    whole = bytearray(stream.getvalue()[:length] + end)
    path = tmp_path / "a.tar"
    path.write_bytes(whole)
    unpack_member(path, "c", tmp_path / "c")
    whole[1024 + 20] ^= 1  # in the header of b
    path.write_bytes(whole)
    with pytest.raises(
        UserError, match=r"because the archive is damaged \(the list of its files breaks off\)"
    ):
        unpack_member(path, "c", tmp_path / "x")


def test_a_gzipped_member_is_read_to_its_check(tmp_path: Path) -> None:
    """Its content is whole and right, but the check after it is not: something was changed."""
    packed = bytearray(gzip.compress(CONTENT))
    packed[-8] ^= 1
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        entry = tarfile.TarInfo("A1.tsv.gz")
        entry.size = len(packed)
        tar.addfile(entry, io.BytesIO(packed))
    with pytest.raises(
        UserError, match=r"A1\.tsv\.gz cannot be unpacked because the archive is damaged \(CRC"
    ):
        unpack_member(tmp_path / "a.tar", "A1.tsv", tmp_path / "A1.tsv")
    assert not (tmp_path / "A1.tsv").exists()


def test_an_unknown_compression_says_what_to_do(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip")
    data = path.read_bytes()
    for signature, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = 0
        while (at := data.find(signature, at)) >= 0:
            data = data[: at + place] + (99).to_bytes(2, "little") + data[at + place + 2 :]
            at += 4
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"cannot be unpacked .* unpack the archive with another program"):
        unpack_member(path, "A1.tsv", tmp_path / "x")


def add(tar: tarfile.TarFile, name: str, content: bytes | None = None, link: str = "") -> None:
    entry = tarfile.TarInfo(name)
    if content is None:
        entry.type, entry.linkname = tarfile.SYMTYPE, link
    entry.size = len(content or b"")
    tar.addfile(entry, io.BytesIO(content or b""))


def test_a_name_that_occurs_twice_is_taken_only_if_both_are_the_same(tmp_path: Path) -> None:
    for name in ("a.tar", "a.zip"):
        for second, same in ((b"first", True), (b"other", False), (b"first, longer", False)):
            if name == "a.tar":
                with tarfile.open(tmp_path / name, "w") as tar:
                    add(tar, "m.bin", b"first"), add(tar, "m.bin", second)
            else:
                with zipfile.ZipFile(tmp_path / name, "w") as packed, pytest.warns(UserWarning, match="Dup"):
                    packed.writestr("m.bin", b"first"), packed.writestr("m.bin", second)
            if same:
                unpack_member(tmp_path / name, "m.bin", tmp_path / "out")
                assert (tmp_path / "out").read_bytes() == b"first"
                (tmp_path / "out").unlink()
                continue
            with pytest.raises(UserError, match=r"holds m\.bin more than once, and not the same"):
                unpack_member(tmp_path / name, "m.bin", tmp_path / "out")


@pytest.mark.parametrize("target", ["m.bin", "absent", "/etc/passwd", "other"])
def test_a_file_and_a_link_of_one_name_are_one_sentence(tmp_path: Path, target: str) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "other", b"other"), add(tar, "m.bin", b"first"), add(tar, "m.bin", link=target)
    with pytest.raises(UserError, match=r"holds m\.bin more than once"):
        unpack_member(tmp_path / "a.tar", "m.bin", tmp_path / "out")
    unpack_member(tmp_path / "a.tar", "other", tmp_path / "out")


def test_more_than_fits_on_the_disk_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_zip(tmp_path / "a.zip")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("", (), {"free": 1000})())
    with pytest.raises(UserError, match=r"is 0 MB unpacked, but only 0 MB are free"):
        unpack_member(path, "A1.tsv", tmp_path / "out" / "x")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_a_mac_adds_is_no_file_of_the_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("study/A1.jpg", b"image")
        packed.writestr("__MACOSX/study/A1.jpg", b"fork")
        packed.writestr("__MACOSX/study/._A1.jpg", b"fork")
        packed.writestr("study/._A1.jpg", b"fork")
    unpack_member(tmp_path / "a.zip", "A1.jpg", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"image"


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
