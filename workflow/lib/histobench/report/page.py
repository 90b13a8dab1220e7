"""The report: one HTML file that holds every figure and table and loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from histobench.figures.drawing.settings import FAMILIES, FAMILY_TITLES, Settings
from histobench.figures.drawing.style import QUIET_COLOUR
from histobench.files import atomic_path, read_json, read_table
from histobench.report.across import across_view
from histobench.report.charts import map_specs, vega_script
from histobench.report.cohort import cohort_view
from histobench.report.embed import Downloads, figure_width
from histobench.report.experiment import experiment_view
from histobench.report.methods import method_entries
from histobench.report.papers import papers_view

TEMPLATES = Path(__file__).parent / "templates"


def write_report(manifest: Mapping[str, Any], output_html: str | Path) -> None:
    """Write the report of a run.

    What the manifest names but does not exist is reported on the page with its reason; nothing of it stops
    the report.

    Parameters
    ----------
    manifest
        A mapping; every key is optional:

        ``title``
            Title of the page.
        ``experiments``
            By name: ``settings`` (mapping: ``title``, ``description``, ``mode``, ``cohort``, ``n_patients``,
            ``n_sections``, ``folds`` (scheme, or mapping with ``scheme``), ``panel``, ``transform``, ``qc``,
            ``seeds``, ``weights``, ``families`` (family by method), ``titles`` (title by method)), ``tables``
            (folder with the TSV tables; ``leaderboard``, ``genes``, ``power``, ``planted`` and
            ``failures`` have a place of their own, any other is shown as it is), ``figures`` (by name:
            ``svg``, ``png``, ``caption`` as text or path of a ``.txt``, ``table``, ``title``, ``group``),
            ``figures_left_out`` (reason by title), ``audit``, ``folds`` (TSV paths), ``maps`` (path of
            :func:`histobench.report.maps.collect_maps`' document), ``runs`` (paths of run.json by method),
            ``slides`` (folder of the tables of :mod:`histobench.slides.slide_tables` by cohort of slides)
            and ``methods`` (the method's YAML mapping by name, with the parameters used).
        ``across``
            ``contrasts`` and ``transfer`` (TSV paths): the tables of :mod:`histobench.evaluation.across`.
        ``cohorts``
            By name: ``settings`` (the cohort's YAML mapping), ``sections`` (TSV path), ``qc`` (path of
            summary.tsv by profile), ``stain`` (by section: ``json``, ``png``), ``labels`` (a note, text).
        ``hours``
            Path of a table of extrapolated hours of training (``what``, ``images``, ``images_per_second``,
            ``hours``, ``device``, ``note``), which `make bench` writes; shown with the provenance.
        ``papers``
            Path of the table of the papers' items (:mod:`histobench.evaluation.papers`).
        ``provenance``
            Path of the JSON record of :func:`histobench.report.provenance.write_provenance`.
    output_html
        The file to write; whole or absent.
    """
    downloads = Downloads()
    entries = manifest.get("experiments") or {}
    figure_px = figure_width(sum(len(entry.get("figures") or {}) for entry in entries.values()))
    experiments = [experiment_view(name, entry, downloads, figure_px) for name, entry in entries.items()]
    across = across_view(manifest.get("across") or {}, entries, downloads)
    cohorts = [cohort_view(name, entry, downloads) for name, entry in (manifest.get("cohorts") or {}).items()]
    provenance, provenance_missing = _provenance(manifest.get("provenance"), downloads)
    provenance |= _hours(manifest.get("hours"), downloads)
    downloads.embed()
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html", "j2"], default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("page.html.j2").render(
        title=str(manifest.get("title") or "HistoBench"),
        style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        script="".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("maps.js", "report.js")),
        vega=vega_script(),
        map_specs=map_specs(),
        experiments=experiments,
        across=across,
        compared=any(not section.unasked for section in across),
        papers=papers_view(manifest.get("papers"), experiments, entries),
        cohorts=cohorts,
        methods=method_entries(entries),
        families=[
            (
                FAMILY_TITLES[family],
                Settings().look("", family)._replace(colour=QUIET_COLOUR),
            )
            for family in FAMILIES
        ],
        provenance=provenance,
        provenance_missing=provenance_missing,
        downloads=downloads.by_group(),
    )
    with atomic_path(output_html) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _hours(path: Any, downloads: Downloads) -> dict[str, Any]:
    """Return what trainings would take on the machine whose speed was measured, if it was."""
    if not path or not Path(path).is_file():
        return {}
    downloads.add(path, "provenance")
    rows = read_table(path).to_dict("records")
    return {
        "hours": {
            "extrapolated from measured rates": {
                str(row["what"]): f"{row['hours']:.3g} h for {row['images'] / 1e6:.3g} million images at "
                f"{row['images_per_second']:,.0f} a second on {row['device']} ({row['note']})"
                for row in rows
            }
        }
    }


def _provenance(path: Any, downloads: Downloads) -> tuple[dict[str, Any], str]:
    """Return the record, or why there is none."""
    if not path:
        return {}, "no provenance record is part of this run"
    if not Path(path).is_file():
        return {}, f"{path} does not exist"
    downloads.add(path, "provenance")
    try:
        return dict(read_json(path)), ""
    except ValueError:
        return {}, f"{path} is no valid JSON"
