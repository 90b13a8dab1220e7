"""Predictions for slides against bulk expression of the same patients (He et al. 2020, TCGA).

The mean over a patient's tiles, a pseudo-bulk, is compared with RNA-seq gene by gene over patients; tumours
are divided into subtypes from predicted genes, from measured genes and from the model's features; and tumour
and immune genes are asked whether they keep to themselves on the slide. The paper tells subtypes from the 55
genes that it found significant on the same patients; here all genes that can be compared are used, which no
tested patient has chosen.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from histobench.cohorts.readers.tcga import read_star_counts
from histobench.errors import UserError
from histobench.evaluation.colocation import GROUPS, colocation, group_scores
from histobench.evaluation.statistics import adjust
from histobench.files import read_table, write_table
from histobench.seeds import seed_for

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

GENE_COLUMNS = ("gene", "n_patients", "pearson", "spearman", "p", "p_holm", "q_bh", "reason")
SUBTYPE_COLUMNS = (
    "features", "subtype", "n_features", "n_train", "n_test", "strength", "accuracy", "prevalence", "auroc",
    "reason",
)  # fmt: skip
COLOCATION_COLUMNS = ("patient", "slide", "n_tiles", "within", "between", "difference", "scores")
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)  # He et al. 2020
TEST_SHARE = 0.3
_GENE, _EMBEDDING = "gene.", "embedding."


def bulk_expression(counts: Mapping[str, str | Path]) -> pd.DataFrame:
    """Read STAR counts of patients: ln(1 + counts per million), (patients, gene symbols).

    Counts of a symbol that several identifiers bear are added. A gene that a file does not list is NaN.
    """
    import pandas as pd

    rows = {}
    for patient, path in counts.items():
        genes = read_star_counts(path).genes.groupby("gene")["count"].sum()
        rows[patient] = np.log1p(1e6 * genes / max(genes.sum(), 1))
    return pd.DataFrame(rows).T


def patient_means(tiles: Mapping[str, str | Path], patients: Mapping[str, str]) -> pd.DataFrame:
    """Average tables of tiles (slide -> file) over the tiles of each patient, all slides pooled."""
    import pandas as pd

    sums: dict[str, pd.Series] = {}
    numbers: dict[str, int] = {}
    for slide, path in tiles.items():
        table = read_table(path)
        values = table[[c for c in map(str, table) if c.startswith((_GENE, _EMBEDDING))]]
        patient = patients[slide]
        sums[patient] = sums.get(patient, 0) + values.sum().astype(np.float64)
        numbers[patient] = numbers.get(patient, 0) + len(table)
    return pd.DataFrame({patient: sums[patient] / numbers[patient] for patient in sorted(sums)}).T


def compare_genes(predicted: pd.DataFrame, bulk: pd.DataFrame) -> pd.DataFrame:
    """Correlate pseudo-bulk with bulk over patients, gene by gene.

    Parameters
    ----------
    predicted, bulk
        (patients, genes); patients that both have are compared.

    Returns
    -------
    pandas.DataFrame
        Columns :data:`GENE_COLUMNS`. p is two-sided (Pearson), corrected over the compared genes. A gene
        that the bulk does not list, or that does not vary, is not compared; ``reason`` says so.
    """
    import pandas as pd
    from scipy import stats

    shared = predicted.index.intersection(bulk.index)
    if len(shared) < 3:
        raise UserError(
            f"pseudo-bulk: {len(shared)} patients have both slides and expression, and a correlation needs "
            "3; add patients to the manifest."
        )
    rows = []
    for gene in predicted.columns:
        row = {"gene": gene, "n_patients": len(shared), "reason": ""}
        x = predicted.loc[shared, gene].to_numpy()
        y = bulk.loc[shared, gene].to_numpy() if gene in bulk else np.full(len(shared), np.nan)
        if not np.isfinite(y).all():
            row["reason"] = "not_measured"
        elif np.ptp(y) == 0:
            row["reason"] = "constant_bulk"
        elif np.ptp(x) <= 1e-6 * np.abs(x).max():
            # says nothing about the patients, as everywhere in this benchmark
            row |= {"reason": "constant_prediction", "pearson": 0.0, "spearman": 0.0, "p": 1.0}
        else:
            r = stats.pearsonr(x, y)
            row |= {"pearson": r.statistic, "p": r.pvalue, "spearman": stats.spearmanr(x, y).statistic}
        rows.append(row)
    table = pd.DataFrame(rows).reindex(columns=list(GENE_COLUMNS))
    p = table["p"].to_numpy(np.float64)
    table["p_holm"], table["q_bh"] = adjust(p, "holm"), adjust(p, "fdr_bh")
    return table.sort_values("pearson", ascending=False, ignore_index=True)


def read_subtypes(path: str | Path, patients: Iterable[str]) -> dict[str, str]:
    """Read patients' subtypes: a table with the columns ``patient`` and ``subtype``, empty where unknown.

    Raises
    ------
    UserError
        A column is missing, a patient stands twice with other subtypes, or nobody of ``patients`` is named.
    """
    table = read_table(path, dtype=str)
    if lacking := [column for column in ("patient", "subtype") if column not in table]:
        raise UserError(
            f"{path}: column `{lacking[0]}` is missing, found {', '.join(map(str, table))}; write a table of "
            "patient and subtype, separated by tabs."
        )
    listed: dict[str, str] = {}
    for patient, subtype in table[["patient", "subtype"]].dropna().itertuples(index=False):
        patient, subtype = patient.strip(), subtype.strip()
        if subtype and listed.setdefault(patient, subtype) != subtype:
            raise UserError(
                f"{path}: patient {patient} is both {listed[patient]} and {subtype}; keep the right line."
            )
    known = sorted(patients)
    if not set(listed) & set(known):
        raise UserError(
            f"{path}: none of its {len(listed)} patients is one of the cohort's ({', '.join(known[:3])}, "
            "...); name patients as the manifest does."
        )
    return listed


def classify_subtypes(
    sets: Mapping[str, pd.DataFrame], subtypes: Mapping[str, str], *, seed: int = 0
) -> pd.DataFrame:
    """Tell subtypes by logistic regression: 70 % of the patients to train, C by five inner folds.

    Parameters
    ----------
    sets
        Name of a feature set -> (patients, features). All are judged on the same patients.
    subtypes
        Patient -> subtype.
    seed
        Of the division of patients.

    Returns
    -------
    pandas.DataFrame
        Columns :data:`SUBTYPE_COLUMNS`; each subtype against the others. Where a subtype has too few
        patients, ``reason`` says so.
    """
    import pandas as pd
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    patients = sorted(set(subtypes).intersection(*(table.index for table in sets.values())))
    kinds = sorted({subtypes[patient] for patient in patients})
    rows = []
    for kind in kinds if len(kinds) > 2 else kinds[-1:]:
        label = np.array([subtypes[patient] == kind for patient in patients])
        split = None
        if min(label.sum(), (~label).sum()) >= 8:
            split = train_test_split(
                np.arange(len(patients)), test_size=TEST_SHARE, stratify=label, random_state=seed
            )
        for name, table in sets.items():
            row = {"features": name, "subtype": kind, "n_features": table.shape[1]}
            rows.append(row)
            if split is None or not table.shape[1]:
                row["reason"] = "no feature" if split else "fewer than 8 patients of a kind"
                continue
            x = table.loc[patients].to_numpy(np.float64)
            learn, held = split
            inner = StratifiedKFold(5, shuffle=True, random_state=seed)
            pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
            choices = {"logisticregression__C": list(STRENGTHS)}
            model = GridSearchCV(pipeline, choices, cv=inner, scoring="neg_log_loss").fit(
                x[learn], label[learn]
            )
            score = model.predict_proba(x[held])[:, 1]
            row |= {
                "n_train": len(learn),
                "n_test": len(held),
                "strength": float(model.best_params_["logisticregression__C"]),
                "accuracy": float(np.mean((score >= 0.5) == label[held])),
                "prevalence": float(label[held].mean()),
                "auroc": float(roc_auc_score(label[held], score)),
                "reason": "",
            }
    return pd.DataFrame(rows, columns=list(SUBTYPE_COLUMNS))


def colocation_table(
    tiles: Mapping[str, str | Path],
    patients: Mapping[str, str],
    groups: Mapping[str, Sequence[str]] = GROUPS,
) -> pd.DataFrame:
    """Ask of each slide whether tumour and immune genes keep apart over its tiles.

    Parameters
    ----------
    tiles
        Slide -> table of tiles.
    patients
        Slide -> patient.
    groups
        Two groups of genes.

    Returns
    -------
    pandas.DataFrame
        Columns :data:`COLOCATION_COLUMNS`: mean correlation of gene pairs ``within`` and ``between`` the
        groups, their ``difference`` (between - within), and ``scores``, the correlation of the two groups'
        scores (:func:`histobench.evaluation.colocation.group_scores`). Empty where genes are lacking.
    """
    import pandas as pd

    rows = []
    for slide, path in tiles.items():
        table = read_table(path)
        genes = [column for column in map(str, table) if column.startswith(_GENE)]
        names = [gene.removeprefix(_GENE) for gene in genes]
        values = table[genes].to_numpy()
        found = colocation(values, names, groups)
        if found:
            difference = found["between"] - found["within"]
            scores = list(group_scores(values, names, groups).values())
            r = float(np.corrcoef(np.array(scores))[0, 1]) if len(scores) == 2 else np.nan
            place: dict[str, object] = {"patient": patients[slide], "slide": slide, "n_tiles": len(table)}
            rows.append(place | found | {"difference": difference, "scores": r})
    return pd.DataFrame(rows, columns=list(COLOCATION_COLUMNS))


def write_pseudobulk(
    *,
    tiles: Mapping[str, str | Path],
    counts: Mapping[str, str | Path],
    patients: Mapping[str, str],
    output_genes: str | Path,
    output_patients: str | Path,
    output_subtypes: str | Path,
    output_colocation: str | Path,
    subtypes_tsv: str | Path | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    name: str = "",
) -> None:
    """Write every table about one method on a cohort of slides.

    Parameters
    ----------
    tiles
        Slide -> table of tiles (:func:`histobench.slides.tiles.predict_tiles`).
    counts
        Patient -> STAR counts of the sample.
    patients
        Slide -> patient.
    output_genes, output_subtypes, output_colocation
        See :func:`compare_genes`, :func:`classify_subtypes`, :func:`colocation_table`.
    output_patients
        Long: patient, gene, predicted, bulk.
    subtypes_tsv
        patient, subtype; without it no subtype is told.
    groups
        Tumour and immune genes; those of He et al. 2020 by default.
    name
        Of the experiment and method; the division of patients follows from it.
    """
    import pandas as pd

    means = patient_means(tiles, patients)
    columns = {prefix: [c for c in map(str, means) if c.startswith(prefix)] for prefix in (_GENE, _EMBEDDING)}
    predicted = means[columns[_GENE]].rename(columns=lambda column: column.removeprefix(_GENE))
    bulk = bulk_expression(counts)
    genes = compare_genes(predicted, bulk)
    log.info("%d of %d genes follow the bulk (r > 0)", (genes["pearson"] > 0).sum(), len(genes))
    compared = list(genes.loc[~genes["reason"].isin(["not_measured", "constant_bulk"]), "gene"])
    shared = predicted.index.intersection(bulk.index)
    long = pd.DataFrame(
        [(p, g, predicted.at[p, g], bulk.at[p, g]) for p in shared for g in compared],
        columns=["patient", "gene", "predicted", "bulk"],
    )
    told = pd.DataFrame(columns=list(SUBTYPE_COLUMNS))
    if subtypes_tsv is not None:
        listed = read_subtypes(subtypes_tsv, means.index)
        sets = {"predicted": predicted.loc[shared, compared], "bulk": bulk.loc[shared, compared]}
        if columns[_EMBEDDING]:
            sets["features"] = means.loc[shared, columns[_EMBEDDING]]
        told = classify_subtypes(sets, listed, seed=seed_for(name, "subtypes") % 2**32)
    for table, path in (
        (genes, output_genes),
        (long, output_patients),
        (told, output_subtypes),
        (colocation_table(tiles, patients, groups or GROUPS), output_colocation),
    ):
        write_table(table, path)
