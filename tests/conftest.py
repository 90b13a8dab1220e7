"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes depends on what else the machine does; that is no property of the code.
settings.register_profile("histobench", deadline=None)
settings.load_profile("histobench")

PROJECT = Path(__file__).resolve().parent.parent


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
