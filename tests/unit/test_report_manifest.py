"""The manifest between an experiment's results and the report."""

from __future__ import annotations

import hashlib

from histobench.files import read_json
from histobench.report.manifest import read_manifests, write_manifest


def test_a_manifest_changes_with_every_file_that_it_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.tsv", "a.svg"):
        (tmp_path / name).write_text(name)
    shown = {"methods": {"zeta": 1, "alpha": 2}, "tables": "tables"}
    write_manifest(["b.tsv", "a.svg", "b.tsv"], shown, "manifest.json")
    before = (tmp_path / "manifest.json").read_bytes()
    assert read_json("manifest.json")["files"] == {
        name: hashlib.sha256(name.encode()).hexdigest() for name in ("a.svg", "b.tsv")
    }
    (found,) = read_manifests({"mine": "manifest.json"}).values()
    assert found == shown and list(found["methods"]) == ["zeta", "alpha"], "methods keep their order"
    write_manifest(["a.svg", "b.tsv"], shown, "manifest.json")
    assert (tmp_path / "manifest.json").read_bytes() == before
    (tmp_path / "a.svg").write_text("drawn anew")
    write_manifest(["a.svg", "b.tsv"], shown, "manifest.json")
    assert (tmp_path / "manifest.json").read_bytes() != before
