"""What the page shows of one cohort: sections, quality control, stain records, labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histobench.figures.per_section.qc_dropped import reason_title
from histobench.files import read_json
from histobench.report.embed import Downloads, preview_uri, slug
from histobench.report.tables import Column, Loaded, View, known, load, number, percent, plain, view, whole

SECTIONS = (
    Column("section", "Section", numeric=False),
    Column("patient", "Patient", choose=True, numeric=False),
    Column("patient_alias", "Known elsewhere as", numeric=False),
    Column("n_spots_raw", "Spots, raw", whole),
    Column("n_spots_kept", "Spots, kept", whole),
    Column("median_umi", "Median UMIs", whole, "per spot, over all measured genes"),
    Column("n_genes", "Genes", whole),
    Column("um_per_px", "µm/px", number(4), "fitted from the spot grid"),
    Column("scale_residual_px", "Grid residual, px", number(2), "how far spots lie from the fitted grid"),
    Column("image_width", "Width, px", whole),
    Column("image_height", "Height, px", whole),
    Column("n_labelled", "Labelled spots", whole),
    Column("label_source", "Labels by", choose=True, numeric=False),
)
_REASONS = {
    "border": "the patch would reach over the image's edge",
    "few_genes": "fewer genes found than the profile asks for",
    "high_umi": "more UMIs than the profile allows",
    "label_no_spot": "labels of spots that the section does not have",
    "low_umi": "fewer UMIs than the profile asks for",
    "mitochondrial": "a larger share of mitochondrial UMIs than the profile allows",
    "no_counts": "positions without counts",
    "no_position": "counts without a position",
    "not_selected": "not under tissue, as the cohort's own files say",
    "outside_image": "the spot's centre lies outside the image",
    "unlabelled": "without a pathologist's label",
    "white_patch": "the patch shows hardly any tissue: not trained on, but still predicted and scored",
    "zero_umi": "nothing was counted",
}
_STAIN_FACTS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "tissue_share": ("tissue", percent),
    "separation_degrees": ("angle between stains", lambda degrees: f"{float(degrees):.1f}°"),
    "luminosity_percentile": ("luminosity percentile", plain),
}


@dataclass(frozen=True)
class StainView:
    """One section's stain record: preview, flags and a few numbers, or the reason why it is missing."""

    section: str
    uri: str | None
    flags: list[str]
    facts: list[tuple[str, str]]
    missing: str = ""


@dataclass
class CohortView:
    """Everything that the template prints of one cohort."""

    name: str
    anchor: str
    title: str
    description: str
    facts: list[tuple[str, str]]
    notes: list[str]
    sections: View
    qc: list[View]
    stains: list[StainView]
    stain_missing: str = ""


def cohort_view(name: str, entry: Mapping[str, Any], downloads: Downloads) -> CohortView:
    """Read what is known of one cohort and prepare it for the page."""
    settings = dict(entry.get("settings") or {})
    loaded = load(entry.get("sections"), "table of sections")
    offered = (
        downloads.add(entry["sections"], f"cohort {name}", "sections.tsv") if entry.get("sections") else None
    )
    sections = view(
        f"{name}-sections", "Sections", loaded, [*SECTIONS, *_dropped_columns(loaded)],
        download=offered, search=True,
        note="Spots that cannot be used are dropped with a count for each reason.",
    )  # fmt: skip
    qc = [_qc_view(name, profile, path, downloads) for profile, path in (entry.get("qc") or {}).items()]
    stains = [_stain(section, record) for section, record in (entry.get("stain") or {}).items()]
    return CohortView(
        name=name,
        anchor=f"cohort-{name}",
        title=str(settings.get("title") or name),
        description=str(settings.get("description") or ""),
        facts=_facts(settings, loaded),
        notes=_notes(entry, loaded),
        sections=sections,
        qc=qc,
        stains=stains,
        stain_missing=""
        if stains
        else "no stain was fitted: no experiment of this run uses images of this cohort",
    )


def _dropped_columns(loaded: Loaded) -> list[Column]:
    """Return one column per reason for which a spot was dropped, and one that names the spots."""
    if loaded.table is None:
        return []
    keys = [str(key) for key in loaded.table.columns if str(key).startswith("dropped_")]
    return [
        Column(key, "Dropped spots", hint="their names, with the reason", numeric=False)
        if key == "dropped_spots"
        else Column(
            key, f"Dropped: {reason_title(key)}", whole, _REASONS.get(key.removeprefix("dropped_"), "")
        )
        for key in keys
    ]


def _qc_view(name: str, profile: str, path: Any, downloads: Downloads) -> View:
    loaded = load(path, f"summary of QC profile {profile}")
    offered = downloads.add(path, f"cohort {name}", f"qc-{slug(profile)}.tsv") if path else None
    note = ""
    if loaded.table is not None and {"n_spots_raw", "n_spots_kept"} <= set(loaded.table.columns):
        raw, kept = int(loaded.table["n_spots_raw"].sum()), int(loaded.table["n_spots_kept"].sum())
        note = f"{raw - kept:,} of {raw:,} spots dropped."
    columns = [
        Column("section", "Section", numeric=False),
        Column("n_spots_raw", "Spots before", whole),
        Column("n_spots_kept", "Spots kept", whole),
        Column("n_spots_train", "of these for training", whole),
        *_dropped_columns(loaded),
    ]
    title = f"Quality control: {profile}"
    return view(f"{name}-qc-{slug(profile)}", title, loaded, columns, note=note, download=offered, rest=True)


def _stain(section: str, record: Mapping[str, Any]) -> StainView:
    """Read one stain record; what is missing is said."""
    record_path, image_path = (Path(record[key]) if record.get(key) else None for key in ("json", "png"))
    if record_path is None or not record_path.is_file():
        return StainView(section, None, [], [], f"{record_path or 'stain record'} does not exist")
    stored = read_json(record_path)
    flags = stored.get("flags") or []
    flags = [flags] if isinstance(flags, str) else list(flags)
    facts = [
        (title, show(stored[key])) for key, (title, show) in _STAIN_FACTS.items() if known(stored.get(key))
    ]
    found = image_path is not None and image_path.is_file()
    uri = preview_uri(image_path) if found and image_path else None
    missing = "" if found else f"{image_path or 'preview'} does not exist"
    return StainView(section, uri, [str(flag).replace("_", " ") for flag in flags], facts, missing)


def _facts(settings: Mapping[str, Any], loaded: Loaded) -> list[tuple[str, str]]:
    facts: dict[str, Any] = {}
    if loaded.table is not None:
        table = loaded.table
        facts["Patients"] = table["patient"].nunique()
        facts["Sections"] = len(table)
        if {"n_spots_raw", "n_spots_kept"} <= set(table.columns):
            facts["Spots"] = (
                f"{int(table['n_spots_kept'].sum()):,} kept of {int(table['n_spots_raw'].sum()):,}"
            )
    facts["Spot diameter"] = f"{settings['spot_um']} µm" if known(settings.get("spot_um")) else None
    facts["Spot pitch"] = f"{settings['pitch_um']} µm" if known(settings.get("pitch_um")) else None
    facts["Source"] = settings.get("source") if settings.get("source") != settings.get("name") else None
    facts["Licence"] = settings.get("licence")
    facts["Citation"] = settings.get("citation")
    return [(key, str(value)) for key, value in facts.items() if known(value)]


def _notes(entry: Mapping[str, Any], loaded: Loaded) -> list[str]:
    """Return what a reader must know before using this cohort's labels and patients."""
    notes = [str(entry["labels"])] if entry.get("labels") else []
    table = loaded.table
    if table is None:
        return notes
    if "label_source" in table:
        sources = table["label_source"].fillna("none").value_counts()
        if "transferred" in sources:
            notes.append(
                f"Tumour labels of {sources['transferred']} of {len(table)} sections are transferred from "
                "the annotated "
                "section of the same patient by position in the tissue. They are not a pathologist's "
                "judgement of those "
                "spots; scores that use them are marked as transferred."
            )
    if "patient_alias" in table:
        known_alias = table[table["patient_alias"].fillna("") != ""].drop_duplicates("patient")
        if len(known_alias):
            pairs = ", ".join(f"{row.patient} = {row.patient_alias}" for row in known_alias.itertuples())
            notes.append(
                f"Some patients also occur in another cohort under another name ({pairs}); a model trained "
                "there has "
                "seen them."
            )
    return notes
