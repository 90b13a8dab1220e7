"""Tables that compare encoders: what each is and whether it can be had here, and how it scores.

encoders
    One row per encoder that was asked for: size, cost, licence and terms, what it was trained on and which
    of this benchmark's cohorts are among that, whether it took part, and else what brings it.
encoder_scores
    One row per method and way of scoring, with an interval over patients and the rank among encoders under
    the same head, field and scoring; controls and the noise ceiling have rows without an encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.evaluation.metrics import LEAST_SPOTS
from histobench.evaluation.results import SectionScores, average_seeds, read_scores, split_seed
from histobench.evaluation.statistics import ALPHA, bootstrap_interval, mean_score
from histobench.results.catalogue import catalogue, columns_of
from histobench.results.tables import read, write
from histobench.seeds import seed_for

if TYPE_CHECKING:
    import pandas as pd

ENCODER_COLUMNS = columns_of("encoders")
SCORE_COLUMNS = columns_of("encoder_scores")
#: Resamples of patients for the scores over all spots.
N_RESAMPLES = 400
CEILING = "ceiling"


def spot_interval(
    scores: SectionScores, *, centred: bool, seed: int, n: int = N_RESAMPLES
) -> tuple[float, float]:
    """Percentile interval over patients of the mean over genes of r over all spots."""
    number = len(scores.patient_names)
    if number < 2:
        return float("nan"), float("nan")
    draws = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), size=n)
    values = [_mean(scores.over_spots(weights, centred=centred)) for weights in draws]
    low, high = np.nanquantile(values, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)


def _mean(values: np.ndarray) -> float:
    known = np.isfinite(values)
    return float(values[known].mean()) if known.any() else float("nan")


def _scored(scores: SectionScores, seed: int) -> dict[str, tuple[float, float, float]]:
    by_patient = scores.per_patient(scores["pearson"])
    found = {"within": (mean_score(by_patient), *bootstrap_interval(by_patient, seed=seed))}
    for name, centred in (("pooled", False), ("centred", True)):
        value = _mean(scores.over_spots(centred=centred))
        found[name] = (value, *spot_interval(scores, centred=centred, seed=seed))
    return found


def measured_costs(costs: Sequence[str | Path], labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what jobs have measured of each encoder, by label.

    Parameters
    ----------
    costs, labels
        Tables ``encoder_cost``, and whose each is; a section in several fields counts once for each.

    Returns
    -------
    dict
        Label -> ``seconds_per_1000_spots``, ``described_on``, ``parameters`` and ``dimension``.
    """
    import pandas as pd

    entry, found = catalogue()["encoder_cost"], {}
    for label in dict.fromkeys(labels):
        files = [path for path, whose in zip(costs, labels, strict=True) if whose == label]
        own = pd.concat([read(path, entry) for path in files])
        found[label] = {
            "seconds_per_1000_spots": 1000 * own["seconds"].sum() / max(own["n_spots"].sum(), 1),
            "described_on": "; ".join(sorted(set(own["hardware"]))),
            "parameters": int(own["parameters"].iloc[0]),
            "dimension": int(own["dimension"].iloc[0]),
        }
    return found


def encoder_table(
    encoders: Sequence[Mapping[str, Any]], cohort: str, costs: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """Describe the encoders that were asked for, in that order.

    Parameters
    ----------
    encoders
        Each with ``encoder``, ``pretrained``, ``missing`` (what keeps it from being had here, or None) and
        what its file says.
    cohort
        The cohort that they are compared on.
    costs
        What was measured of those that took part, :func:`measured_costs`; what a file does not say of a
        network is taken from there.
    """
    import pandas as pd

    rows = []
    for each in encoders:
        terms, trained = each["terms"], each.get("pretraining") or {}
        measured = costs.get(each["encoder"], {})
        rows.append(
            {
                "encoder": each["encoder"],
                "title": each["title"],
                "status": "not available here" if each["missing"] else "compared",
                "what_to_do": each["missing"] or "",
                "parameters": each.get("parameters") or measured.get("parameters"),
                "dimension": each.get("dimension") or measured.get("dimension"),
                "seconds_per_1000_spots": measured.get("seconds_per_1000_spots"),
                "described_on": measured.get("described_on", ""),
                "licence": terms["licence"] if each["pretrained"] else "no weights are used",
                "gated": bool(terms["gated"]) and each["pretrained"],
                "commercial": bool(terms["commercial"]) or not each["pretrained"],
                "taints_derivatives": bool(terms.get("taints_derivatives")) and each["pretrained"],
                "trained_on": (trained.get("data") or "") if each["pretrained"] else "nothing (random start)",
                "saw_cohort": cohort in trained.get("cohorts", []) and each["pretrained"],
                "citation": each.get("citation", ""),
            }
        )
    return pd.DataFrame(rows, columns=list(ENCODER_COLUMNS))


def score_table(
    scores: Mapping[str, SectionScores],
    arms: Mapping[str, Mapping[str, Any]],
    ceiling: SectionScores | None,
    seed: int,
) -> pd.DataFrame:
    """Score every method in every way; arguments as in :func:`write_encoder_tables`."""
    import pandas as pd

    rows = []
    for method, own in scores.items():
        arm = arms[method]
        for scoring, (value, low, high) in _scored(own, seed).items():
            rows.append(
                {
                    "method": method,
                    "head": arm["head"] or "",
                    "encoder": arm["encoder"] or "",
                    "start": arm["start"] or "",
                    "field_um": arm["field_um"],
                    "scoring": scoring,
                    "value": value,
                    "low": low,
                    "high": high,
                    "n_patients": len(own.patient_names),
                    "n_genes": len(own.genes),
                }
            )
    if ceiling is not None and ceiling.sections:
        by_patient = ceiling.per_patient(ceiling["ceiling"])
        low, high = bootstrap_interval(by_patient, seed=seed)
        rows.append(
            {
                "method": CEILING, "head": "", "encoder": "", "start": "", "scoring": "within",
                "value": mean_score(by_patient), "low": low, "high": high,
                "n_patients": len(ceiling.patient_names), "n_genes": len(ceiling.genes),
            }
        )  # fmt: skip
    table = pd.DataFrame(rows).reindex(columns=list(SCORE_COLUMNS))
    table["field_um"] = table["field_um"].astype(float)
    compared = table["head"] != ""
    same = table[compared].groupby(["head", "field_um", "scoring"], dropna=False)["value"]
    table.loc[compared, "rank"] = same.rank(ascending=False, method="average")
    table.loc[compared, "n_encoders"] = same.transform("size")
    return table


def write_encoder_tables(
    *,
    experiment: str,
    cohort: str,
    metrics: Mapping[str, Sequence[str | Path]],
    ceilings: Sequence[str | Path],
    costs: Sequence[str | Path],
    cost_labels: Sequence[str],
    arms: Mapping[str, Mapping[str, Any]],
    encoders: Sequence[Mapping[str, Any]],
    output_encoders: str | Path,
    output_scores: str | Path,
    least_spots: int = LEAST_SPOTS,
) -> None:
    """Write ``encoders.tsv`` and ``encoder_scores.tsv``, see the module.

    Parameters
    ----------
    experiment, cohort
        Names.
    metrics
        Result folder (method, or method.seed3) -> metric Parquet files.
    ceilings
        Ceiling Parquet files of the folds.
    costs, cost_labels
        See :func:`measured_costs`.
    arms
        Method -> ``head`` (None for a control), ``encoder``, ``start`` ("pretrained" or "none") and
        ``field_um`` (None for that of the patches).
    encoders
        See :func:`encoder_table`.
    least_spots
        What the sections were scored with.
    """
    runs: dict[str, list[SectionScores]] = {}
    for folder, files in metrics.items():
        name, _ = split_seed(folder)
        there = [path for path in files if Path(path).is_file()]
        if there:
            runs.setdefault(name, []).append(read_scores(there, least_spots=least_spots))
    scores = {name: average_seeds(each) for name, each in runs.items()}
    found = [path for path in ceilings if Path(path).is_file()]
    ceiling = read_scores(found, least_spots=least_spots) if found else None
    table = score_table(scores, arms, ceiling, seed_for(experiment, "encoders"))
    write(
        encoder_table(encoders, cohort, measured_costs(costs, cost_labels)),
        output_encoders,
        catalogue()["encoders"],
    )
    write(table, output_scores, catalogue()["encoder_scores"])
