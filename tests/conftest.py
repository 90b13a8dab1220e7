"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from _pytest.nodeid import NodeId
from hypothesis import settings

# How long an example takes depends on what else the machine does; that is no property of the code.
settings.register_profile("histobench", deadline=None)
settings.load_profile("histobench")

PROJECT = Path(__file__).resolve().parent.parent


# What begins last is short, so that no process waits long for another: the longest groups of tests, and longest folders.
ORDER = ("finished", "workflow", "real", "unit", "conformance")


def group_of(item: pytest.Item) -> str | None:
    """Name what a test shares with others that is dear: a fixture of their module or of the session, or what functions
    of their file keep, unless they name it themselves. A test that runs the workflow in a folder of its own shares nothing.
    """
    if named := item.get_closest_marker("xdist_group"):
        return named.args[0]
    scopes = {name: found[-1].scope for name, found in item._fixtureinfo.name2fixturedefs.items()}
    if "finished" in scopes:
        return "finished"
    return item.nodeid.partition("::")[0] if "fresh" not in scopes or "module" in scopes.values() else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let one process run the tests of a group, where several share a tier (`tests/run.sh`).

    Which is what `--dist loadgroup` is for; but it looks for groups in the names of tests, and pytest-xdist 3.8 writes them
    where pytest 9.2 does not look any more.
    """
    groups = {item: group_of(item) for item in items}
    folders = {item: item.path.relative_to(PROJECT / "tests").parts[0] for item in items}
    places = {name: place for place, name in enumerate(ORDER)}
    items.sort(key=lambda item: places.get(groups[item] or "", places.get(folders[item], len(ORDER))))
    if getattr(config.option, "loadgroup", False):
        for item in items:
            if groups[item] and not item.nodeid.endswith(f"@{groups[item]}"):
                item._id = NodeId.parse(f"{item.nodeid}@{groups[item]}")


def pytest_collection_finish() -> None:
    """Leave what is there before the first test out of every later search for garbage; some libraries search often."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def project() -> Path:
    """Root of the checkout."""
    return PROJECT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Mirror folder with real tissue; tests that need it skip where there is none."""
    folder = Path(os.environ.get("HISTOBENCH_MIRROR", PROJECT.parent / "shared" / "data"))
    if not (folder / "her2st").is_dir():
        pytest.skip("needs a mirror of the real data: set HISTOBENCH_MIRROR to a folder that holds her2st/")
    return folder
