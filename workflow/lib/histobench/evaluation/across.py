"""Comparisons across the experiments of a run: one method under two protocols, and on other cohorts.

Two tables:

``contrasts``
    A row per question, pair of experiments and method that both have: the paired change of its score over the
    patients and genes that both experiments score.
``transfer``
    A row per method, cohort that its models were trained on and cohort that they were tested on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from histobench.evaluation.results import SectionScores, aligned, average_seeds, read_scores, split_seed
from histobench.evaluation.statistics import (
    N_BOOTSTRAP,
    adjust,
    bootstrap_interval,
    mean_score,
    smallest_p,
    wilcoxon_p,
)
from histobench.files import read_table
from histobench.results.catalogue import catalogue, columns_of
from histobench.results.tables import write
from histobench.seeds import seed_for

if TYPE_CHECKING:
    import pandas as pd


class Question(NamedTuple):
    """What a pair of experiments that differ in one respect is asked."""

    title: str
    text: str


QUESTIONS = {
    "folds": Question(
        "Leakage inflation",
        "The same methods with patient-wise folds (base) and with section-wise folds, which train on other "
        "sections of the tested patient. The change is what the leak is worth.",
    ),
    "transform": Question(
        "Target transform", "The same methods with targets on another scale. Correlations can be compared."
    ),
    "stain": Question(
        "Stain normalisation", "The same methods on images as they are and with stains normalised."
    ),
    "window": Question("Window and scale", "The same methods on patches of another width or resolution."),
    "start": Question(
        "Fine-tuning",
        "The same methods from their ordinary start and from models of another cohort, on the same patients.",
    ),
    "weights": Question(
        "Initial weights", "The same methods with pretrained networks and from a random start."
    ),
}
CONTRAST_COLUMNS = columns_of("contrasts")
TRANSFER_COLUMNS = columns_of("transfer")


def paired_change(
    base: SectionScores, other: SectionScores, *, n_bootstrap: int = N_BOOTSTRAP, seed: int = 0
) -> dict[str, Any]:
    """Compare two scorings of one method on the patients and genes that both define.

    Returns
    -------
    dict
        n_patients, n_genes, pearson_base, pearson_other, change (other minus base; mean over patients, then
        genes), change_low, change_high (95 % percentile bootstrap over patients), p_wilcoxon (two-sided, over
        the patients' mean changes), smallest_p that so many patients can give.
    """
    patients = sorted({*base.patient_names} & {*other.patient_names})
    genes = sorted({*base.genes} & {*other.genes})
    first, second = (
        aligned(scores.per_patient(scores["pearson"]), scores.patient_names, scores.genes, patients, genes)
        for scores in (base, other)
    )
    both = np.isfinite(first) & np.isfinite(second)
    first, second = np.where(both, first, np.nan), np.where(both, second, np.nan)
    if not both.any():
        return {"n_patients": 0, "n_genes": 0, "note": "no patient and gene is scored in both"}
    change = second - first
    low, high = bootstrap_interval(change, n=n_bootstrap, seed=seed)
    counted = both.any(axis=1)
    each = np.array(
        [float(row[known].mean()) for row, known in zip(change, both, strict=True) if known.any()]
    )
    return {
        "n_patients": int(counted.sum()),
        "n_genes": int(both.any(axis=0).sum()),
        "pearson_base": mean_score(first),
        "pearson_other": mean_score(second),
        "change": mean_score(change),
        "change_low": low,
        "change_high": high,
        "p_wilcoxon": wilcoxon_p(each),
        "smallest_p": min(1.0, 2.0 * smallest_p(int(np.count_nonzero(each)))),
        "note": "",
    }


def contrast_table(
    pairs: Sequence[Mapping[str, Any]],
    metrics: Sequence[str | Path],
    n_bootstrap: int = N_BOOTSTRAP,
) -> pd.DataFrame:
    """Compare each pair of experiments, method by method.

    Parameters
    ----------
    pairs
        question, base, other (experiments), base_value, other_value, methods (by name: family, and
        ``also_differs``, what else is not the same).
    metrics
        Folders ``results/EXPERIMENT/metrics/METHOD`` with a metric file per fold.
    """
    import pandas as pd

    folders: dict[tuple[str, str], list[Path]] = {}
    for folder in map(Path, metrics):
        folders.setdefault((folder.parts[-3], split_seed(folder.name)[0]), []).append(folder)
    read: dict[tuple[str, str], SectionScores | None] = {}

    def scores(experiment: str, method: str) -> SectionScores | None:
        key = (experiment, method)
        if key not in read:
            files = [sorted(folder.glob("*.parquet")) for folder in folders.get(key, [])]
            read[key] = (
                average_seeds([read_scores(paths) for paths in files if paths]) if any(files) else None
            )
        return read[key]

    tables = []
    for pair in pairs:
        rows = []
        for method, facts in pair["methods"].items():
            found = {name: scores(pair[name], method) for name in ("base", "other")}
            lost = [pair[name] for name, each in found.items() if each is None]
            row = {"note": f"no results in {' and '.join(lost)}"} if lost else {}
            if found["base"] is not None and found["other"] is not None:
                seed = seed_for(pair["base"], pair["other"], "across")
                row = paired_change(found["base"], found["other"], n_bootstrap=n_bootstrap, seed=seed)
            rows.append({**pair, "method": method, **facts, **row})
        table = pd.DataFrame(rows).reindex(columns=CONTRAST_COLUMNS)
        table["p_holm"] = adjust(table["p_wilcoxon"].to_numpy(dtype=np.float64), "holm")
        tables.append(table.sort_values("pearson_base", ascending=False, kind="stable", na_position="last"))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(CONTRAST_COLUMNS))


def transfer_table(tested: Mapping[str, Mapping[str, Any]], boards: Mapping[str, str | Path]) -> pd.DataFrame:
    """List the scores of models on the cohort that they were trained on and on others.

    Parameters
    ----------
    tested
        Experiment, or branch to another cohort -> trained_on, tested_on, arm, n_patients.
    boards
        The same -> its leaderboard.tsv.
    """
    import pandas as pd

    tables = [
        read_table(boards[name]).assign(experiment=name, **facts)
        for name, facts in tested.items()
        if Path(boards[name]).is_file()
    ]
    if not tables:
        return pd.DataFrame(columns=list(TRANSFER_COLUMNS))
    table = pd.concat([each.reindex(columns=TRANSFER_COLUMNS) for each in tables], ignore_index=True)
    table = table[table["pearson"].notna()]
    return table.sort_values(
        ["tested_on", "trained_on", "pearson"],
        ascending=[True, True, False],
        kind="stable",
        ignore_index=True,
    )


def write_comparisons(
    *,
    pairs: Sequence[Mapping[str, Any]],
    tested: Mapping[str, Mapping[str, Any]],
    metrics: Sequence[str | Path],
    boards: Mapping[str, str | Path],
    contrasts_tsv: str | Path,
    transfer_tsv: str | Path,
) -> None:
    """Write both tables of the module docstring; arguments as for the functions that make them."""
    write(contrast_table(pairs, metrics), contrasts_tsv, catalogue()["contrasts"])
    write(transfer_table(tested, boards), transfer_tsv, catalogue()["transfer"])
