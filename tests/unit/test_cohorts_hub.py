"""Weights from a hub: fetched, continued, verified, refused in one sentence, and never with the token in it."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from unit.loopback_hub import Repository, running_hub, sha256

from histobench.cohorts.fetch import hub as hub_module
from histobench.cohorts.fetch.download import download
from histobench.cohorts.fetch.lock import LockedFile
from histobench.cohorts.fetch.publishers import Publishers, refresh_lock
from histobench.cohorts.fetch.transfer import Patience
from histobench.errors import UserError

FIRST, SECOND, THIRD = "a" * 40, "b" * 40, "c" * 40
WEIGHTS = bytes(range(256)) * 4000
NEWER = WEIGHTS[::-1]
TOKEN = "hf_ThisIsTheSecretOfSomebody"
QUICK = Patience(connect_s=2, stall_s=2, backoff_s=0.01, longest_wait_s=0.05)


@pytest.fixture
def hub(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with running_hub() as running:
        running.accounts = {TOKEN, "hf_another"}
        running.repositories = {
            "who/open": Repository({FIRST: {"model.bin": WEIGHTS}}, {"main": FIRST}),
            "who/gated": Repository(
                {FIRST: {"model.bin": WEIGHTS}}, {"main": FIRST}, gated=True, allowed={TOKEN}
            ),
        }
        monkeypatch.setenv("HF_ENDPOINT", running.base)
        yield running


def address(model: str, revision: str = "main", file: str = "model.bin") -> str:
    """As resources/data_lock.tsv writes it, whatever the endpoint is."""
    return f"https://huggingface.co/{model}/resolve/{revision}/{file}"


def get(target, url, **options):
    download(target, urls=[url], patience=QUICK, source="weights", keep_checksum=True, **options)


def refused(target, url, **options) -> str:
    with pytest.raises(UserError) as error:
        get(target, url, **options)
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and not target.exists()
    return text


def test_the_hub_answers_as_its_own_client_expects(hub, tmp_path):
    """Otherwise these tests would only repeat what we think of the real one."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    def fetched(model, token=False, revision=None, file="model.bin"):
        return hf_hub_download(
            model, file, revision=revision, token=token, endpoint=hub.base, cache_dir=tmp_path / "cache"
        )

    assert Path(fetched("who/open")).read_bytes() == WEIGHTS
    assert fetched("who/gated", token=TOKEN)
    for error, options in (
        (GatedRepoError, {"model": "who/gated", "file": "other.bin", "token": False}),
        (GatedRepoError, {"model": "who/gated", "file": "other.bin", "token": "hf_another"}),
        (RevisionNotFoundError, {"model": "who/open", "revision": THIRD}),
        (EntryNotFoundError, {"model": "who/open", "file": "none.bin"}),
        (RepositoryNotFoundError, {"model": "who/nobody"}),
    ):
        with pytest.raises(error):
            fetched(**options)
    told = HfApi(endpoint=hub.base, token=False).model_info("who/open", files_metadata=True)
    assert told.sha == FIRST and told.siblings[0].lfs.sha256 == sha256(WEIGHTS)


def test_weights_are_fetched_verified_and_their_checksum_and_commit_kept(hub, tmp_path):
    target = tmp_path / "weights" / "raw" / "mine.bin"
    get(target, address("who/open"))
    assert target.read_bytes() == WEIGHTS
    assert target.with_name("mine.bin.sha256").read_text().split()[0] == sha256(WEIGHTS)
    assert target.with_name("mine.bin.revision").read_text().strip() == FIRST
    assert any(f"/api/models/who/open/tree/{FIRST}" in path for _, path, _ in hub.requests)
    # what is there is not asked for again
    hub.requests.clear()
    get(target, address("who/open"))
    assert hub.requests == []


def test_a_broken_transfer_goes_on_where_it_was_cut(hub, tmp_path):
    hub.cut_after = [300_000, 200_000]
    get(tmp_path / "mine.bin", address("who/open"))
    assert (tmp_path / "mine.bin").read_bytes() == WEIGHTS
    starts = [int(headers.get("Range", "bytes=0-")[6:-1]) for _, headers in hub.stored]
    assert len(starts) == 3 and starts[0] == 0 and 0 < starts[1] < starts[2]


def test_gated_weights_come_with_a_token_that_the_storage_never_sees(hub, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\n")  # as `export HF_TOKEN="$(cat file)"` would not leave it
    get(tmp_path / "mine.bin", address("who/gated"))
    assert (tmp_path / "mine.bin").read_bytes() == WEIGHTS
    assert any(headers.get("Authorization") == f"Bearer {TOKEN}" for _, _, headers in hub.requests)
    assert hub.stored and all("Authorization" not in headers for _, headers in hub.stored)
    assert TOKEN not in caplog.text
    for file in tmp_path.rglob("*"):
        assert TOKEN.encode() not in file.read_bytes()


def test_no_other_address_is_sent_the_token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert hub_module.authorisation("https://huggingface.co/who/gated/resolve/main/model.bin") is not None
    for url in (
        "https://download.pytorch.org/models/a.pth",
        "https://huggingface.co.evil.example/who/gated/resolve/main/model.bin",
        "https://zenodo.org/records/1/files/a",
    ):
        assert hub_module.authorisation(url) is None


REFUSED = {
    "gated, without a token": (
        "who/gated", "main", "model.bin", None,
        r"who/gated is gated and HF_TOKEN is not set\); ask for access at https://huggingface.co/who/gated and "
        "set HF_TOKEN in the environment to your token",
    ),
    "gated, another account": (
        "who/gated", "main", "model.bin", "hf_another",
        r"the account of HF_TOKEN has no access\); ask for access at https://huggingface.co/who/gated",
    ),
    "a token that is none": ("who/open", "main", "model.bin", "hf_wrong", "HF_TOKEN is not accepted"),
    "a token with a space": ("who/open", "main", "model.bin", "hf_wrong wrong", "HF_TOKEN holds characters"),
    "a revision that has gone": (
        "who/open", THIRD, "model.bin", None,
        f"who/open has no revision {THIRD} any more.*look at https://huggingface.co/who/open what took its place",
    ),
    "a file that has gone": ("who/open", FIRST, "other.bin", None, "who/open has no file other.bin"),
    "a repository that has gone": ("who/none", FIRST, "model.bin", None, "who/none does not exist, or is private"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_is_one_sentence_with_the_remedy_and_without_the_token(
    hub, tmp_path, monkeypatch, caplog, case
):
    caplog.set_level(logging.DEBUG)
    model, revision, file, token, said = REFUSED[case]
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    for checksum in ("unknown", sha256(WEIGHTS)):
        text = refused(tmp_path / "mine.bin", address(model, revision, file), checksum=checksum)
        assert re.search(said, text), text
        assert not token or token not in text + caplog.text


def test_another_file_than_the_hub_or_the_lock_states_is_refused(hub, tmp_path):
    hub.served[sha256(WEIGHTS)] = NEWER  # the storage gives other bytes than the hub promises
    assert "sha256 checksum" in refused(tmp_path / "mine.bin", address("who/open"))
    hub.served.clear()
    text = refused(tmp_path / "mine.bin", address("who/open", FIRST), checksum=sha256(NEWER))
    assert f"its sha256 checksum is {sha256(WEIGHTS)}, expected {sha256(NEWER)}" in text
    assert "update resources/data_lock.tsv" in text
    text = refused(tmp_path / "mine.bin", address("who/open", FIRST), checksum="sha256-prefix:00000000")
    assert "expected 00000000" in text


def test_a_branch_that_moved_still_gives_the_commit_of_the_first_download(hub, tmp_path):
    target, repository = tmp_path / "mine.bin", hub.repositories["who/open"]
    get(target, address("who/open"))
    repository.commits[SECOND], repository.branches["main"] = {"model.bin": NEWER}, SECOND
    target.unlink()
    get(target, address("who/open"))
    assert target.read_bytes() == WEIGHTS
    # and once that commit has gone, no other takes its place in silence
    del repository.commits[FIRST]
    target.unlink()
    assert f"has no revision {FIRST} any more" in refused(target, address("who/open"))
    target.with_name("mine.bin.revision").unlink()
    assert "its sha256 checksum is" in refused(target, address("who/open"))


def test_offline_nothing_is_asked(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    text = refused(tmp_path / "mine.bin", address("who/open"))
    assert "HF_HUB_OFFLINE is set" in text and "snakemake --cores 1 data" in text
    assert hub.requests == []
    mirror = tmp_path / "mirror.bin"
    mirror.write_bytes(WEIGHTS)
    get(tmp_path / "mine.bin", address("who/open"), mirrors=[mirror], checksum=sha256(WEIGHTS))
    assert (tmp_path / "mine.bin").read_bytes() == WEIGHTS and hub.requests == []


def test_known_digits_are_completed_by_the_first_download(hub, tmp_path):
    target = tmp_path / "mine.bin"
    known = f"sha256-prefix:{sha256(WEIGHTS)[:8]}"
    get(target, address("who/open", FIRST), checksum=known)
    assert target.with_name("mine.bin.sha256").read_text().split()[0] == sha256(WEIGHTS)
    target.with_name("mine.bin.sha256").write_text(f"{sha256(NEWER)}  mine.bin\n")
    with pytest.raises(UserError, match="holds another checksum than resources/data_lock"):
        get(target, address("who/open", FIRST), checksum=known)


def test_the_lock_asks_the_hub_and_pins_what_it_says(hub, tmp_path):
    lock = tmp_path / "lock.tsv"
    header = "source\tfile\turls\tsize\tsha256\tlicence\tcitation\tstated\n"
    rows = [
        LockedFile("weights", "a.bin", (address("who/open"),), None, "unknown", "MIT", "We"),
        LockedFile("weights", "b.bin", (address("who/open", THIRD),), None, "unknown", "MIT", "We"),
    ]
    lock.write_text(
        header + "".join(f"{r.source}\t{r.file}\t{r.urls[0]}\tunknown\tunknown\tMIT\tWe\t\n" for r in rows)
    )
    found = refresh_lock(lock, "weights", "2026-11-29", Publishers())
    first, second = (line.split("\t") for line in lock.read_text().splitlines()[1:])
    assert first[2] == address("who/open", FIRST) and first[3:5] == [str(len(WEIGHTS)), sha256(WEIGHTS)]
    assert second[2] == address("who/open", THIRD) and second[3] == "unknown"
    assert any("has no revision" in line for line in found.told)
