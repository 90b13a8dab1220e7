"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes depends on what else the machine does; that is no property of the code.
settings.register_profile("histobench", deadline=None)
settings.load_profile("histobench")

PROJECT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests one process runs, where several share a tier (`tests/run.sh`): those that share something dear.

    That is a fixture of their module or of the session, or what functions of their file keep; a test that runs the
    workflow in a folder of its own shares nothing.
    """
    for item in items:
        scopes = {name: found[-1].scope for name, found in item._fixtureinfo.name2fixturedefs.items()}
        if "fresh" not in scopes or "finished" in scopes or "module" in scopes.values():
            group = "finished" if "finished" in scopes else item.nodeid.partition("::")[0]
            item.add_marker(pytest.mark.xdist_group(group))


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
