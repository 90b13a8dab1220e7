"""Captions of Snakemake's own report: they render, without warnings, to what was written with the figure."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from docutils.core import publish_parts
from jinja2 import Environment, StrictUndefined
from unit import result_tables


def rendered(project, name: str, snakemake) -> str:
    """Render a caption as Snakemake does; every warning of docutils is an error."""
    source = (project / "workflow" / "report" / name).read_text(encoding="utf-8")
    environment = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    text = environment.from_string(source).render(snakemake=snakemake)
    return publish_parts(text, writer="html", settings_overrides={"halt_level": 2})["body"]


def test_every_figure_caption_is_the_one_written_with_the_figure(project, tmp_path_factory):
    home = result_tables.shared_run(tmp_path_factory) / "harmonised"
    for path in sorted((home / "figures").glob("*.txt")):
        output = SimpleNamespace(caption=path, table="table.tsv", png="figure.png")
        job = SimpleNamespace(
            output=output, wildcards=SimpleNamespace(experiment="harmonised", figure=path.stem)
        )
        body = rendered(project, "figure.rst", job)
        assert path.read_text()[:40].replace("&", "&amp;") in body and "harmonised" in body


@pytest.mark.parametrize("settings", [{}, {"mode": "paper"}])
def test_table_and_page_captions_render(project, settings):
    job = SimpleNamespace(params={"settings": settings}, wildcards=SimpleNamespace(experiment="demo"))
    body = rendered(project, "table.rst", SimpleNamespace(params=_Params(settings), wildcards=job.wildcards))
    assert "Benjamini-Hochberg" in body and ("(paper mode)" in body) == bool(settings)
    assert "without network" in rendered(project, "page.rst", job)


class _Params(dict):
    """Parameters as Snakemake gives them: by key and by attribute."""

    def __init__(self, settings):
        super().__init__(settings=settings)
        self.settings = SimpleNamespace(**settings)


def test_the_global_text_names_the_experiments(project):
    body = rendered(
        project, "workflow.rst", SimpleNamespace(config={"experiments": {"demo": {}, "paper": {}}})
    )
    assert "<em>demo</em>, <em>paper</em>." in body and "<li>" in body
    assert "Experiments of this run" not in rendered(project, "workflow.rst", SimpleNamespace(config={}))
