"""A model's card: what was trained on what, from whose weights, and on which terms it may be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from histobench.files import atomic_path, noted_checksum

CARD = "card.md"
NON_COMMERCIAL = "no commercial use"


def terms_in_words(terms: Mapping[str, Any]) -> str:
    """Return a licence and its marks, as tables, report and cards print them."""
    words = [str(terms["licence"])]
    words += [] if terms.get("commercial", True) else [NON_COMMERCIAL]
    words += ["holds for models trained on it too"] if terms.get("taints_derivatives") else []
    return "; ".join(words)


def published_weights(
    files: Sequence[str | Path | None],
    encoder: Mapping[str, Any] | None,
    terms: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Return the published weights that a training started from or saw images through: place -> facts.

    Parameters
    ----------
    files
        Files that the training was given; None where it needed none.
    encoder
        Recipe of its frozen features, whose weights a package may bring (``PACKAGE:FILE``).
    terms
        ``licence`` and ``commercial`` of weights by place.
    """
    found: dict[str, dict[str, Any]] = {
        str(file): {"sha256": noted_checksum(file)} for file in files if file is not None
    }
    weights = (encoder or {}).get("weights") or {}
    if encoder and encoder.get("pretrained") and weights.get("package"):
        found[f"{weights['package']}:{weights['file']}"] = {"sha256": weights.get("sha256")}
    kept = ("licence", "commercial", "taints_derivatives")
    return {
        place: {**facts, **{key: terms[place][key] for key in kept if key in terms.get(place, {})}}
        for place, facts in found.items()
    }


def recorded_terms(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the different terms of the published weights behind some trainings, from their ``run.json``."""
    told = [told for record in records for told in (record.get("published_weights") or {}).values()]
    return list(dict.fromkeys(terms_in_words(each) for each in told if "licence" in each))


def write_card(facts: Mapping[str, Any], path: str | Path) -> None:
    """Write the card of a training, in Markdown, from what ``run.json`` says of it."""
    patients = facts.get("train_patients") or []
    genes = facts.get("genes") or []
    sees = facts["needs"].get("patches") or facts["needs"].get("features")
    lines = [
        f"# {facts['method']}, fold {facts['fold']} of {facts['experiment']}",
        "",
        f"- Predicts {len(genes)} genes ({facts['transform']}) from {'images' if sees else 'no image'}.",
        f"- Trained on {facts.get('n_train_spots', 0)} spots of {len(patients)} patients: "
        f"{', '.join(map(str, patients))}.",
        f"- Method: `{facts['entry']}`; parameters, versions and seeds: `run.json`.",
        "- For research; not for diagnosis.",
        "",
        "## Weights that it was trained on",
        "",
    ]
    weights = facts.get("published_weights") or {}
    for place, told in weights.items():
        said = terms_in_words(told) if "licence" in told else "licence not recorded"
        lines.append(f"- `{place}` (sha256 `{told['sha256']}`): {said}.")
    if not weights:
        lines.append("None: it starts from random numbers, or has none.")
    if any(not told.get("commercial", True) for told in weights.values()):
        lines += ["", f"**Its weights come with terms: {NON_COMMERCIAL}.**"]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
