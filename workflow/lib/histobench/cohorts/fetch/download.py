"""Fetching raw files: from a mirror folder or the web, verified before they get their name.

Where the data lock knows no checksum, the publisher is asked for one before anything is trusted.
"""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from histobench.cohorts.fetch import hub
from histobench.cohorts.fetch.lock import PREFIX, UNKNOWN, WEIGHTS, agrees, split_checksum
from histobench.cohorts.fetch.publishers import Publishers, Silence, is_collection
from histobench.cohorts.fetch.transfer import Patience, Problem, Wanted, assemble, fetch, verify
from histobench.errors import UserError
from histobench.files import atomic_path, explain_storage_error, sha256

log = logging.getLogger(__name__)


def download_file(
    settings: Mapping[str, Any], output: str | Path, mirrors: Sequence[str | Path] = ()
) -> None:
    """Fetch one file of the data lock; the workflow's entry.

    Parameters
    ----------
    settings
        ``source``, ``file``, ``urls``, ``sha256`` (any checksum of the data lock) and ``size``.
    output
        Where the file belongs.
    mirrors
        Folders that may hold ``file`` in its published layout.
    """
    download(
        output,
        urls=settings["urls"],
        checksum=settings["sha256"],
        size=settings["size"],
        mirrors=[Path(folder) / settings["file"] for folder in mirrors],
        source=settings["source"],
        keep_checksum=settings["source"] == WEIGHTS,
    )


def download(
    destination: str | Path,
    *,
    urls: Sequence[str],
    checksum: str = UNKNOWN,
    size: int | None = None,
    mirrors: Sequence[str | Path] = (),
    source: str = "SOURCE",
    patience: Patience | None = None,
    publishers: Publishers | None = None,
    keep_checksum: bool = False,
) -> None:
    """Bring a verified file to ``destination``: keep what is there, else copy a mirror's, else download.

    A download grows in ``destination.part``, continues there after an interruption, and is renamed only
    when its size and checksum are right. Proxies are taken from the usual environment variables. If the
    checksum is "unknown", what the publisher states of the addresses is demanded instead; where nobody states
    anything, one line says so. The checksum of the first download is recorded in ``destination.sha256`` and
    demanded ever after. Of a branch on Hugging Face's hub the commit is recorded likewise.

    Parameters
    ----------
    urls
        Addresses in order of preference.
    mirrors
        Paths where a local copy of the file may lie; they are tried before the addresses.
    source
        Name of the source, for the advice in messages.
    patience, publishers
        How long to wait for servers, and whom to ask what they state; the usual ones if None.
    keep_checksum
        Record the checksum also where the lock knows it, for those who read the file.

    Raises
    ------
    UserError
        No mirror and no address gave the right file, or it cannot be stored.
    """
    wanted = Wanted(Path(destination), checksum.lower(), size)
    split_checksum(wanted.checksum)
    whole = split_checksum(wanted.checksum)[0] not in (UNKNOWN, PREFIX)
    if not whole and wanted.record.is_file():
        wanted = replace(wanted, checksum=_recorded(wanted))
    publishers = publishers or Publishers()
    urls = [hub.at_endpoint(url) for url in urls]
    problems: list[Problem] = []
    if wanted.destination.is_dir():
        raise explain_storage_error(IsADirectoryError(errno.EISDIR, ""), wanted.destination)
    try:
        wanted.destination.parent.mkdir(parents=True, exist_ok=True)
        if wanted.checksum == UNKNOWN:
            urls = [_at_commit(url, wanted, publishers) for url in urls]
            wanted = _as_stated(wanted, urls, publishers)
        if not (_is_there(wanted) or _from_mirrors(wanted, mirrors, problems)):
            urls = [_at_commit(url, wanted, publishers) for url in urls]
            _from_web(wanted, urls, patience or Patience(), problems)
    except OSError as error:
        raise explain_storage_error(error, wanted.destination) from error
    if not wanted.destination.is_file():
        _give_up(wanted, mirrors, source, problems)
    wanted.discard_part()
    if (not whole or keep_checksum) and not wanted.record.is_file():
        found = sha256(wanted.destination)
        with atomic_path(wanted.record) as temporary:
            temporary.write_text(f"{found}  {wanted.destination.name}\n", encoding="utf-8")
        log.info("%s: recorded its sha256, %s", wanted.destination, found)


def _recorded(wanted: Wanted) -> str:
    """Return the checksum of the first download of a file."""
    told = wanted.record.read_bytes().decode("ascii", "replace").split()
    try:
        split_checksum(told[0])
    except (IndexError, ValueError):
        raise UserError(
            f"{wanted.record}: holds no sha256 checksum; delete it and {wanted.destination.name} and run "
            "again to fetch the file anew."
        ) from None
    if not agrees(told[0], wanted.checksum):
        raise UserError(
            f"{wanted.record}: holds another checksum than resources/data_lock.tsv begins with; delete it "
            f"and {wanted.destination.name} and run again to fetch the file anew."
        )
    return told[0]


def _at_commit(url: str, wanted: Wanted, publishers: Publishers) -> str:
    """Return an address of a branch of the hub at a commit: that of the first download, or today's."""
    found = hub.file_at(url)
    if found is None or hub.is_commit(found["revision"]) or hub.is_offline():
        return url
    if wanted.commit.is_file():
        commit = wanted.commit.read_text(encoding="utf-8").strip()
    else:
        try:
            commit = publishers.commit(found["repository"], found["revision"])
        except Silence as silence:
            log.warning("%s: %s", url, silence)
            return url
    return url.replace(f"/resolve/{found['revision']}/", f"/resolve/{commit}/", 1)


def _as_stated(wanted: Wanted, urls: Sequence[str], publishers: Publishers) -> Wanted:
    """Demand what publishers state of a file that the lock does not know; say so where nobody states it."""
    reasons: list[str] = []
    urls = [url for url in urls if not (hub.is_hub(url) and hub.is_offline())]
    for url in urls:
        try:
            if members := publishers.files(url):
                log.info("%s: its publisher states the sha256 of each of its files", wanted.destination)
                return replace(wanted, members=members)
        except Silence as silence:
            reasons.append(str(silence))
    for url in urls:
        try:
            stated = publishers.states(url)
        except Silence as silence:
            reasons.append(str(silence))
            continue
        if stated is None:
            continue
        if wanted.size is None:
            wanted = replace(wanted, size=stated.size)
        if stated.checksum != UNKNOWN:
            log.info("%s: %s states %s", wanted.destination, stated.who, stated.checksum)
            return replace(wanted, checksum=stated.checksum)
        reasons.append(f"{stated.who} states the size alone")
    log.warning(
        "%s: no publisher states its checksum (%s), so the one that is recorded now is trusted from now on",
        wanted.destination,
        "; ".join(dict.fromkeys(reasons)) or "none of its addresses is of one that does",
    )
    return wanted


def _is_there(wanted: Wanted) -> bool:
    """Whether the destination already holds the right file; a wrong one is replaced."""
    if not wanted.destination.is_file():
        return False
    try:
        verify(wanted.destination, wanted)
    except Problem as problem:
        log.warning("%s: fetching it again, as %s", wanted.destination, problem)
        wanted.destination.unlink()
        return False
    log.info("%s: already there and intact", wanted.destination)
    return True


def _from_mirrors(wanted: Wanted, mirrors: Sequence[str | Path], problems: list[Problem]) -> bool:
    """Copy the file from the first mirror that has it intact."""
    for mirror in map(Path, mirrors):
        if not mirror.is_file():
            log.info("%s: not in this mirror", mirror)
            continue
        try:
            with atomic_path(wanted.destination) as temporary:
                shutil.copyfile(mirror, temporary)
                verify(temporary, wanted)  # the copy, so that a failing disk is noticed too
        except Problem as problem:
            problems.append(problem.at(str(mirror)))
            log.warning("%s: not used, as %s", mirror, problem)
            continue
        log.info("%s: copied from %s", wanted.destination, mirror)
        return True
    return False


def _from_web(wanted: Wanted, urls: Sequence[str], patience: Patience, problems: list[Problem]) -> None:
    """Download from the first address that gives the right file."""
    import requests

    with requests.Session() as session:
        session.headers["Accept-Encoding"] = "identity"  # the stored bytes, and ranges that count them
        session.headers["User-Agent"] = "histobench"
        for url in urls:
            try:
                if hub.is_hub(url) and hub.is_offline():
                    raise Problem(
                        "HF_HUB_OFFLINE is set",
                        remedy="fetch it where there is a network, with `snakemake --cores 1 data`",
                    )
                if is_collection(url):
                    if not wanted.members:
                        raise Problem("it does not tell its files", unreachable=True)
                    assemble(session, wanted, patience)
                else:
                    fetch(session, url, wanted, patience)
            except Problem as problem:
                log.warning("%s: %s", url, problem)
                problems.append(problem.at(url))
                continue
            found = hub.file_at(url)
            if found and hub.is_commit(found["revision"]):
                with atomic_path(wanted.commit) as temporary:
                    temporary.write_text(f"{found['revision']}\n", encoding="utf-8")
            wanted.part.replace(wanted.destination)
            log.info("%s: downloaded from %s", wanted.destination, url)
            return


def _give_up(
    wanted: Wanted, mirrors: Sequence[str | Path], source: str, problems: Sequence[Problem]
) -> NoReturn:
    """Raise the one sentence that says what was tried, why it failed and what helps."""
    tried = "; ".join(str(problem) for problem in problems)
    web = [problem for problem in problems if not problem.differs]
    if any(problem.differs for problem in problems) and not web:
        raise UserError(
            f"{wanted.destination}: no intact copy was found ({tried}); replace a damaged copy in a mirror, "
            "or, if the publisher has replaced the file, check it and update resources/data_lock.tsv."
        )
    if web and all(problem.no_room for problem in web):
        raise UserError(
            f"{wanted.destination}: there is no room for it ({tried}); free some space and run again."
        )
    if remedies := dict.fromkeys(problem.remedy for problem in problems if problem.remedy):
        raise UserError(
            f"{wanted.destination}: could not be fetched ({tried}); {', or '.join(remedies)}, or name a "
            f"folder that holds the file under mirrors: {source}: in the configuration."
        )
    where = "in none of the mirrors" if mirrors else "in no mirror (none is configured)"
    absent = [str(Path(mirror).absolute()) for mirror in mirrors if not Path(mirror).is_file()]
    if absent:  # whole, since a relative path may start elsewhere than was thought
        where += f" (there is no {' and no '.join(absent)})"
    offline = bool(web) and all(problem.unreachable for problem in web)
    reason = "no server could be reached" if offline else "it could not be downloaded"
    raise UserError(
        f"{wanted.destination}: {reason} and the file is {where} ({tried or 'no address is known'}); "
        "connect to the network (HTTPS_PROXY is honoured), or name a folder that holds the source's files "
        f"under mirrors: {source}: in the configuration."
    )
