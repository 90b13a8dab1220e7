"""Weights are data: `snakemake data` fetches them, and everything after it runs without a network."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest
from unit.loopback_hub import Repository, running_hub

TOKEN = "hf_ThisIsTheSecretOfSomebody"
COMMIT = "a" * 40
TRIED = """\
run: [tiny]
device: cpu
cohorts:
  simulated:
    options: {n_patients: 3, sections_per_patient: 1, grid_columns: 7, grid_rows: 7, um_per_px: 2.0}
encoders:
  mine:
    title: Mine
    load: {kind: timm, name: test_resnet}
    kwargs: {num_classes: 0}
    weights: {file: mine.safetensors, url: "https://huggingface.co/me/mine/resolve/main/model.safetensors"}
    dimension: DIMENSION
    terms: {licence: Mine non-commercial, gated: true, commercial: false}
experiments:
  tiny:
    title: Tiny
    cohort: simulated
    panel: {size: 20}
    patches: {um_per_px: 4.8, width_px: 32}
    encoder: mine
    methods:
      train_mean:
      ridge_probe:
      stnet:
        window: null
        params: {architecture: resnet18, input_px: 32, epochs: 1, selection: fixed, views: 1}
"""

# In every Python process of a run: whoever asks for another machine is refused, and noted.
CUT = """\
import os, socket
def _refused(real):
    def call(self, address, *rest):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1"):
            with open(os.environ["ASKED"], "a") as stream:
                stream.write(f"{address}\\n")
            raise OSError(101, "Network is unreachable")
        return real(self, address, *rest)
    return call
socket.socket.connect = _refused(socket.socket.connect)
socket.socket.connect_ex = _refused(socket.socket.connect_ex)
def _no_names(name, *rest, _real=socket.getaddrinfo, **options):
    if name not in (None, "", "localhost", "127.0.0.1", "::1", socket.gethostname()):
        with open(os.environ["ASKED"], "a") as stream:
            stream.write(f"{name}\\n")
        raise socket.gaierror(-3, "Temporary failure in name resolution")
    return _real(name, *rest, **options)
socket.getaddrinfo = _no_names
"""


def prepared(checkout, hub) -> None:
    """Publish weights of two networks: one like torchvision's, by an address; one of a gated model of the hub."""
    import timm
    import torch
    from safetensors.torch import save
    from torchvision import models

    torch.manual_seed(0)
    file = checkout.folder / "new.pth"
    torch.save(models.resnet18().state_dict(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    published = f"resnet18-{digest[:8]}.pth"
    encoder = timm.create_model("test_resnet", num_classes=0)
    hub.accounts = {TOKEN}
    hub.repositories = {
        "me/mine": Repository(
            {COMMIT: {"model.safetensors": save(encoder.state_dict())}}, {"main": COMMIT}, True, {TOKEN}
        ),
        "me/torch": Repository({COMMIT: {published: file.read_bytes()}}, {"main": COMMIT}),
    }
    file.unlink()
    (checkout.folder / "tiny.yaml").write_text(TRIED.replace("DIMENSION", str(encoder.num_features)))
    # the network's file has another name and address than torchvision's: its content is random
    names = checkout.folder / "workflow/lib/histobench/networks/architectures.py"
    names.write_text(names.read_text().replace("resnet18-f37072fd.pth", published))
    lock = checkout.folder / "resources/data_lock.tsv"
    text = lock.read_text().replace("resnet18-f37072fd.pth", published).replace("f37072fd", digest[:8])
    lock.write_text(text.replace("https://download.pytorch.org/models/resnet18", f"{hub.base}/me/torch/resolve/{COMMIT}/resnet18"))  # fmt: skip


@pytest.mark.slow
def test_after_the_data_a_run_needs_no_network_and_no_token_is_written(fresh, tmp_path):
    checkout, asked = fresh("offline"), tmp_path / "asked"
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / "sitecustomize.py").write_text(CUT)
    library = str(checkout.folder / "workflow/lib")
    plain = {"PYTHONPATH": library, "HF_HUB_OFFLINE": "0"}
    told = ""
    with running_hub() as hub:
        prepared(checkout, hub)
        online = {**plain, "HF_ENDPOINT": hub.base}
        # without a token: one sentence before the first job, with the command
        refused = checkout.snakemake("data", extra={**online, "HF_TOKEN": ""})
        assert refused.returncode and "mine.safetensors" in refused.stdout
        assert "set HF_TOKEN in the environment and run" in refused.stdout
        assert "Traceback" not in refused.stdout and hub.requests == []
        told += checkout.snakemake("data", check=True, extra={**online, "HF_TOKEN": TOKEN}).stdout
    offline = {
        "PYTHONPATH": os.pathsep.join([str(cut), library]),
        "HF_HUB_OFFLINE": "1",
        "HF_TOKEN": TOKEN,
        "ASKED": str(asked),
    }
    told += checkout.snakemake("tables", "results/report/provenance.json", check=True, extra=offline).stdout
    assert not asked.exists(), asked.read_text()
    # the cut does cut
    tried = "import urllib.request; urllib.request.urlopen('http://192.0.2.1/')"
    assert subprocess.run(
        [sys.executable, "-c", tried], env={**os.environ, **offline}, check=False
    ).returncode
    assert "192.0.2.1" in asked.read_text()
    results = checkout.folder / "results"
    sums = {}
    for path in (results / "data/weights/raw").glob("*"):
        if path.suffix in (".pth", ".safetensors"):
            sums[f"results/data/weights/raw/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(sums) == 2
    recorded = {}
    for run in (results / "tiny/models").glob("*/*/run.json"):
        recorded |= json.loads(run.read_text()).get("published_weights", {})
    assert {place: told["sha256"] for place, told in recorded.items()} == sums
    mine = "results/data/weights/raw/mine.safetensors"
    assert recorded[mine]["licence"] == "Mine non-commercial" and not recorded[mine]["commercial"]
    card = (results / "tiny/models/ridge_probe/P1/card.md").read_text()
    assert sums[mine] in card and "Mine non-commercial; no commercial use" in card
    provenance = json.loads((results / "report/provenance.json").read_text())["weights"]
    assert {place: facts["sha256"] for place, facts in provenance.items()} == sums
    licences = {facts["licence"] for facts in provenance.values()}
    assert "Mine non-commercial" in licences
    # nothing that was written or said holds the token
    assert TOKEN not in told
    for folder in (results, checkout.folder / ".snakemake"):
        for path in folder.rglob("*"):
            if path.is_file():
                assert TOKEN.encode() not in path.read_bytes(), path
