"""Panels and patches: lists of genes, fields of view and stains that an experiment asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from histobench.cohorts.templates import check_path
from histobench.config.declarations import Declarations
from histobench.config.places import section_files
from histobench.errors import UserError, near


def check_list(project: Path, where: str, panel: Mapping[str, Any]) -> None:
    """Refuse a list of genes that is not there, or that the rule does not look at."""
    check_path(panel["file"], "panel.file", where)
    if panel["rule"] != "file":
        raise UserError(
            f"{where}: `panel.file` has no effect with `panel.rule: {panel['rule']}`; set `rule: file`, "
            "or `file: null`."
        )
    path = project / panel["file"]
    if not path.is_file():
        raise UserError(f"{where}: `panel.file` names {path}, which is no file; correct the path.")


def check_fit(where: str, patches: Mapping[str, Any]) -> None:
    """Refuse a fit by StainTools where there is nothing to fit, or no StainTools."""
    if patches.get("fit", "own") == "own":
        return
    if patches["stain"] == "raw":
        raise UserError(
            f"{where}: `patches.fit: {patches['fit']}` needs stains to be normalised; set "
            "`patches.stain: vahadane` or `macenko`, or remove it."
        )
    from histobench.imaging.staintools_fit import require_staintools

    require_staintools(f"{where}: `patches.fit: {patches['fit']}`")


def check_reference(declarations: Declarations, where: str, value: Mapping[str, Any]) -> None:
    """Refuse a stain reference that does not exist or is not used; the audit judges whose it is."""
    reference = (value["patches"] or {}).get("stain_reference")
    if reference is None:
        return
    if value["patches"]["stain"] == "raw":
        raise UserError(
            f"{where}: `patches.stain_reference` needs stains to be normalised; set `patches.stain: "
            "vahadane` or `macenko`, or remove it."
        )
    known = declarations.cohorts[value["cohort"]]["sections"]
    if reference not in known:
        raise UserError(
            f"{where}: `patches.stain_reference` names `{reference}`, which cohort `{value['cohort']}` "
            f"does not have; {near(reference, known)}"
        )
    if "image" not in section_files(declarations, value["cohort"], reference):
        raise UserError(
            f"{where}: `patches.stain_reference` names `{reference}`, which has no image; name another."
        )


def check_window(
    where: str, arm: str, window: Mapping[str, float] | None, patches: Mapping[str, Any] | None
) -> None:
    """Refuse a method that looks at more than its patches show."""
    if window and patches:
        if "px" in window and window["px"] > patches["width_px"]:
            raise UserError(
                f"{where}: `methods.{arm}` looks at {window['px']} px but `patches.width_px` is "
                f"{patches['width_px']}; make the patch at least as wide."
            )
        if "um" in window and patches["um_per_px"] != "native":
            field = patches["width_px"] * patches["um_per_px"]
            if window["um"] > field + patches["um_per_px"]:
                raise UserError(
                    f"{where}: `methods.{arm}` looks at {window['um']:g} µm but the patch spans "
                    f"{field:g} µm; raise `patches.width_px`."
                )
