"""One cluster for all tests of the profile."""

from __future__ import annotations

import os

import pytest
from slurm.cluster import Cluster
from workflow.conftest import Checkout


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    if os.environ.get("HISTOBENCH_SLURM") != "private":
        pytest.skip("needs namespaces of its own for a real SLURM: run `make test-slurm`")
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def checkout(project, tmp_path_factory):
    return Checkout(project, tmp_path_factory.mktemp("cluster") / "checkout")
