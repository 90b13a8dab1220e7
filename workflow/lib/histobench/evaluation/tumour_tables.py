"""Tables about tumour and other tissue: probabilities, genes that differ, genes that inform, co-location."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.evaluation.gather import ScoredMethod
from histobench.evaluation.results import SectionScores, aligned, mean_of
from histobench.evaluation.score import POOLED
from histobench.evaluation.statistics import adjust, all_equal, bootstrap_interval, gene_means, paired_test
from histobench.evaluation.tumour import curves
from histobench.files import read_table
from histobench.results.catalogue import columns_of

if TYPE_CHECKING:
    import pandas as pd

TUMOUR_COLUMNS = columns_of("tumour")
CURVE_COLUMNS = columns_of("tumour_curves")
TUMOUR_GENE_COLUMNS = columns_of("tumour_genes")
INFORMATIVE_COLUMNS = columns_of("informative_genes")
COLOCATION_COLUMNS = columns_of("colocation")
# Share of the panel that counts as informative.
INFORMATIVE_SHARE = 0.1
OBSERVED = "observed"


def tumour_differences(method: ScoredMethod) -> tuple[np.ndarray, np.ndarray]:
    """Mean over tumour spots minus mean over normal ones, observed and predicted; (patients, genes) each.

    NaN for patients without spots of either kind. Averaged over seeds.
    """
    found = tumour_differences_by_seed(method)
    if not found:
        nothing = np.full((len(method.patients), len(method.genes)), np.nan)
        return nothing, nothing
    truth, prediction = (mean_of([sides[place] for sides in found]) for place in (0, 1))
    return truth, prediction


def tumour_differences_by_seed(method: ScoredMethod) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the same of each seed that has spots of both kinds."""
    found = []
    for runs in zip(*(method.subsets.get(subset, ()) for subset in ("tumour", "normal")), strict=True):
        if all(len(run.sections) for run in runs):
            truth, prediction = (
                np.subtract(*(_subset_means(method, run, side) for run in runs))
                for side in ("truth", "prediction")
            )
            found.append((truth, prediction))
    return found


def _subset_means(method: ScoredMethod, run: SectionScores, side: str) -> np.ndarray:
    """Mean over the spots of a subset, all sections of a patient pooled; (patients, genes)."""
    values = _weighted(run, run[f"mean_{side}"])
    return aligned(values, run.patient_names, run.genes, method.patients, method.genes)


def _weighted(run: SectionScores, values: np.ndarray) -> np.ndarray:
    own = np.array(run.patients)
    known = np.isfinite(values)
    weight = np.where(known, run.n_spots[:, None], 0.0)
    rows = []
    for patient in run.patient_names:
        mine = own == patient
        total = weight[mine].sum(axis=0)
        top = (weight[mine] * np.where(known[mine], values[mine], 0.0)).sum(axis=0)
        rows.append(np.divide(top, total, out=np.full(len(total), np.nan), where=total > 0))
    return np.array(rows).reshape(len(run.patient_names), len(run.genes))


def mean_p(differences: np.ndarray) -> np.ndarray:
    """Two-sided p of a one-sample t-test over patients per gene.

    NaN with fewer than two patients; where all agree exactly, 1 for no difference and 0 for one.
    """
    from scipy import stats

    known = np.isfinite(differences)
    n = known.sum(axis=0)
    mean = gene_means(differences)
    squares = np.where(known, (differences - mean) ** 2, 0.0).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = mean / np.sqrt(squares / (n - 1) / n)
        p = 2 * stats.t.sf(np.abs(t), np.maximum(n - 1, 1))
    p = np.where(all_equal(differences), np.where(mean == 0, 1.0, 0.0), p)
    return np.where(n > 1, p, np.nan)


def tumour_gene_table(methods: Sequence[ScoredMethod]) -> pd.DataFrame:
    """Genes that differ between tumour and normal spots, observed and predicted, over patients.

    The replicate is the patient: its mean over tumour spots minus that over normal ones. p is two-sided
    (t-test), q is Benjamini-Hochberg's over the genes.
    """
    import pandas as pd

    tables = []
    for method in methods:
        truth, prediction = tumour_differences(method)
        known = np.isfinite(truth).any(axis=0)
        if not known.any():
            continue
        p = {"truth": mean_p(truth), "prediction": mean_p(prediction)}
        table = pd.DataFrame(
            {
                "method": method.name,
                "gene": list(method.genes),
                "n_patients": np.isfinite(truth).sum(axis=0),
                "difference_truth": gene_means(truth),
                "difference_prediction": gene_means(prediction),
                "p_truth": p["truth"],
                "q_truth": adjust(p["truth"], "fdr_bh"),
                "p_prediction": p["prediction"],
                "q_prediction": adjust(p["prediction"], "fdr_bh"),
            }
        )
        tables.append(table[known])
    columns = list(TUMOUR_GENE_COLUMNS)
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def informative_table(methods: Sequence[ScoredMethod]) -> pd.DataFrame:
    """Genes by their importance to a random forest that tells tumour spots, observed and predicted.

    Importances are averaged over sections and patients with both classes. ``in_truth`` and
    ``in_prediction`` mark the tenth of the panel with the highest ones, the sets of a Venn diagram. A gene
    that no forest used has no rank: an order by name would be the same on both sides. So has every gene of a
    constant prediction.
    """
    import pandas as pd

    tables = []
    for method in methods:
        scores = method.scores
        per_patient = {
            side: scores.per_patient(scores[f"importance_{side}"]) for side in ("truth", "prediction")
        }
        means = {side: gene_means(values) for side, values in per_patient.items()}
        known = np.isfinite(means["truth"])
        if not known.any():
            continue
        size = max(1, round(INFORMATIVE_SHARE * int(known.sum())))
        table = pd.DataFrame(
            {
                "method": method.name,
                "gene": list(method.genes),
                "n_patients": np.isfinite(per_patient["truth"]).sum(axis=0),
                **{f"importance_{side}": values for side, values in means.items()},
            }
        )[known]
        for side in means:
            used = table[f"importance_{side}"].where(lambda importance: importance > 0)
            rank = used.rank(method="min", ascending=False)
            table[f"rank_{side}"] = rank.astype("Int64")
            table[f"in_{side}"] = (rank <= size).astype(int)
        tables.append(table)
    columns = list(INFORMATIVE_COLUMNS)
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def tumour_table(every_method: Sequence[ScoredMethod], n_bootstrap: int, seed: int) -> pd.DataFrame:
    """Tumour probabilities per patient (sections pooled), and "*": the mean over patients with intervals.

    AUROC and AUPRC are undefined for patients with one class only. A precision-recall area is to be read
    beside the prevalence, what a blind method scores.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for method in every_method:
        table = method.scalar_scores
        own = table[(table["section"] == POOLED) & table["metric"].str.startswith("tumour_")]
        if own.empty:
            continue
        wide = own.pivot(index="patient", columns="metric", values="value")
        wide.columns = [name.removeprefix("tumour_") for name in wide.columns]
        rows += [{"method": method.name, "patient": patient, **row} for patient, row in wide.iterrows()]
        overall: dict[str, Any] = {"method": method.name, "patient": POOLED, **wide.mean()}
        overall["n_labelled"] = wide["n_labelled"].sum()
        for name in ("auroc", "auprc"):
            low, high = bootstrap_interval(wide[[name]].to_numpy(), n=n_bootstrap, seed=seed)
            overall |= {f"{name}_low": low, f"{name}_high": high}
        rows.append(overall)
    return pd.DataFrame(rows, columns=list(TUMOUR_COLUMNS)).astype({"n_labelled": "Int64"})


def tumour_curve_table(every_method: Sequence[ScoredMethod]) -> pd.DataFrame:
    """ROC, precision-recall and calibration curves over the labelled spots of all patients pooled.

    Pooling lets sections differ in level, so areas under these curves are not those of the patients.
    """
    import pandas as pd

    tables = []
    for method in every_method:
        spots = read_spots(method.spots)
        if spots.empty:
            continue
        found = curves(*(spots[name].to_numpy(dtype=np.float64) for name in ("tumour", "tumour_probability")))
        for name, (x, y, third) in found.items():
            table = pd.DataFrame({"method": method.name, "curve": name, "x": x, "y": y})
            table["threshold" if name != "calibration" else "n_spots"] = third
            tables.append(table.reindex(columns=list(CURVE_COLUMNS)))
    if not tables:
        return pd.DataFrame(columns=list(CURVE_COLUMNS))
    return pd.concat([table.astype({"n_spots": "Int64"}) for table in tables], ignore_index=True)


def read_spots(paths: Sequence[Path]) -> pd.DataFrame:
    """Read spot tables of all folds; empty without any."""
    import pandas as pd

    return pd.concat([read_table(path) for path in paths], ignore_index=True) if paths else pd.DataFrame()


def colocation_table(methods: Sequence[ScoredMethod], n_bootstrap: int, seed: int) -> pd.DataFrame:
    """Test whether tumour and immune genes correlate less with each other than among themselves.

    Per patient, the mean correlation over the spots of a section of pairs between the groups minus that of
    pairs within a group; two-sided paired t-test over patients (He et al. 2020), Holm over the rows. The
    first row, ``observed``, is of the measured expression.
    """
    import pandas as pd

    rows = []
    for place, method in enumerate(methods):
        for side in ("truth", "prediction") if place == 0 else ("prediction",):
            pairs = _colocation_by_patient(method, side)
            if pairs is not None:
                name = OBSERVED if side == "truth" else method.name
                tested = paired_test(pairs, n=n_bootstrap, seed=seed)
                tested |= {"within": tested.pop("first"), "between": tested.pop("second")}
                rows.append({"method": name, **tested})
    table = pd.DataFrame(rows, columns=list(COLOCATION_COLUMNS))
    table["p_holm"] = adjust(table["p"].to_numpy(dtype=np.float64), "holm")
    return table


def _colocation_by_patient(method: ScoredMethod, side: str) -> np.ndarray | None:
    """Correlations within and between the groups, (patients, 2), of patients that have both."""
    table = method.scalar_scores
    names = [f"colocation_{kind}_{side}" for kind in ("within", "between")]
    own = table[table["metric"].isin(names) & (table["section"] != POOLED)]
    if own.empty:
        return None
    wide = own.pivot_table(index="patient", columns="metric", values="value", dropna=False).reindex(
        columns=names
    )
    pairs: np.ndarray = wide.dropna().to_numpy()
    return pairs if len(pairs) else None
