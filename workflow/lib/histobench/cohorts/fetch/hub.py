"""Hugging Face's hub: where it is, with whose token it is asked, and what its refusals mean.

The token of gated models is taken from the environment alone (``HF_TOKEN``), is sent to the hub alone, and is
part of no message.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from histobench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests

HUB = "https://huggingface.co"
_YES = {"1", "ON", "YES", "TRUE"}


def endpoint() -> str:
    """Return where the hub is asked: ``HF_ENDPOINT`` if it is set, as that of a mirror."""
    return os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or HUB


def is_offline() -> bool:
    """Whether ``HF_HUB_OFFLINE`` forbids to ask the hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().upper() in _YES


def at_endpoint(url: str) -> str:
    """Return an address of the hub as one of the endpoint; any other as it is."""
    return endpoint() + url.removeprefix(HUB) if url.startswith(f"{HUB}/") else url


def is_hub(url: str) -> bool:
    """Whether an address is one of the hub."""
    return url.startswith((f"{HUB}/", f"{endpoint()}/"))


def file_at(url: str) -> re.Match[str] | None:
    """Divide the address of a file of a model on the hub into ``repository``, ``revision`` and ``file``."""
    if not is_hub(url):
        return None
    pattern = r"/(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>[^?#]+)"
    return re.match(pattern, at_endpoint(url).removeprefix(endpoint()))


def is_commit(revision: str) -> bool:
    """Whether a revision is a commit, which stays what it is, and no branch."""
    return bool(re.fullmatch("[0-9a-f]{40}", revision))


def has_token() -> bool:
    """Whether the environment holds a token."""
    return bool(os.environ.get("HF_TOKEN", "").strip())


def authorisation(url: str) -> Callable[[Any], Any] | None:
    """Return what adds the token to a request to the hub; None for other addresses, or without a token.

    Raises
    ------
    UserError
        The variable holds what no token can be; the sentence does not repeat it.
    """
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token or not is_hub(url):
        return None
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise UserError(
            "HF_TOKEN holds characters that no token has, such as a space; set the variable anew, or remove "
            "it."
        )

    def add_token(request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return add_token


def without_token(text: str) -> str:
    """Return a text without the token, should a server have repeated it."""
    token = os.environ.get("HF_TOKEN", "").strip()
    return text.replace(token, "...") if token else text


def refusal(url: str, answer: requests.Response) -> tuple[str, str] | None:
    """Say in words what a refusal of the hub means, and what helps; None where it is no refusal of the hub.

    The hub tells the reason in the header ``X-Error-Code``.
    """
    code, found = (
        answer.headers.get("X-Error-Code", ""),
        re.search(r"//[^/]+/(?:api/models/)?([^/]+/[^/]+)", url),
    )
    if not is_hub(url) or not found:
        return None
    if answer.status_code == 401 and not code and has_token():
        return (
            "HF_TOKEN is not accepted",
            f"set HF_TOKEN in the environment to a token of {HUB}/settings/tokens, or remove it",
        )
    repository, told = unquote(found[1]), file_at(url)
    page = f"{HUB}/{repository}"
    if code == "GatedRepo" and answer.status_code == 401:
        what = "is not accepted" if has_token() else "is not set"
        return (
            f"{repository} is gated and HF_TOKEN {what}",
            f"ask for access at {page} and set HF_TOKEN in the environment to your token",
        )
    if code == "GatedRepo":
        return (
            f"{repository} is gated and the account of HF_TOKEN has no access",
            f"ask for access at {page}",
        )
    if code == "RevisionNotFound":
        revision = told["revision"] if told else "asked for"
        return (
            f"{repository} has no revision {revision} any more",
            f"look at {page} what took its place, and correct its row in resources/data_lock.tsv",
        )
    if code == "EntryNotFound":
        return (
            f"{repository} has no file {unquote(told['file']) if told else ''}".rstrip(),
            f"look at {page} and correct its row in resources/data_lock.tsv",
        )
    if code == "RepoNotFound":
        return (
            f"{repository} does not exist, or is private",
            f"correct its row in resources/data_lock.tsv, or set HF_TOKEN to a token that may read {page}",
        )
    return None
