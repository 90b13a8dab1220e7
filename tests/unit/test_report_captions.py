"""Captions of Snakemake's own report: they render, without warnings, to what was written with the figure."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from docutils.core import publish_parts
from jinja2 import Environment, StrictUndefined
from unit import result_tables


def rendered(file, snakemake=None) -> str:
    """Render a caption as Snakemake does; every warning of docutils is an error."""
    environment = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    text = environment.from_string(file.read_text(encoding="utf-8")).render(snakemake=snakemake)
    return publish_parts(text, writer="html", settings_overrides={"halt_level": 2})["body"]


def test_every_figure_caption_is_text_that_snakemake_renders_as_it_stands(tmp_path_factory):
    home = result_tables.shared_run(tmp_path_factory) / "harmonised"
    captions = sorted((home / "figures").glob("*.txt"))
    assert captions
    for path in captions:
        assert path.read_text()[:40].replace("&", "&amp;") in rendered(path)


@pytest.mark.parametrize("settings", [{}, {"mode": "paper"}])
def test_table_and_page_captions_render(project, settings):
    report = project / "workflow/report"
    job = SimpleNamespace(params={"settings": settings}, wildcards=SimpleNamespace(experiment="demo"))
    body = rendered(report / "table.rst", SimpleNamespace(params=_Params(settings), wildcards=job.wildcards))
    assert "Benjamini-Hochberg" in body and ("(paper mode)" in body) == bool(settings)
    assert "without network" in rendered(report / "page.rst", job)


class _Params(dict):
    """Parameters as Snakemake gives them: by key and by attribute."""

    def __init__(self, settings):
        super().__init__(settings=settings)
        self.settings = SimpleNamespace(**settings)


def test_the_global_text_names_the_experiments(project):
    page = project / "workflow/report/workflow.rst"
    body = rendered(page, SimpleNamespace(config={"experiments": {"demo": {}, "paper": {}}}))
    assert "<em>demo</em>, <em>paper</em>." in body and "<li>" in body
    assert "Experiments of this run" not in rendered(page, SimpleNamespace(config={}))
