"""Tables about clusters of spots: domains against labels, purity, confusion, latent neighbours, the spots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from histobench.evaluation.domains import determined
from histobench.evaluation.gather import ScoredMethod
from histobench.evaluation.statistics import adjust, bootstrap_interval, gene_means, mean_score, wilcoxon_p
from histobench.evaluation.tumour_tables import OBSERVED, read_spots
from histobench.results.catalogue import columns_of

if TYPE_CHECKING:
    import pandas as pd

DOMAIN_COLUMNS = columns_of("domains")
CONFUSION_COLUMNS = columns_of("confusion")
NEIGHBOUR_COLUMNS = columns_of("latent_neighbours")
SPOT_KEYS = columns_of("spots")
_SIDES = {"truth": OBSERVED, "prediction": "predicted", "embedding": "latent"}


def domain_table(methods: Sequence[ScoredMethod]) -> pd.DataFrame:
    """Agreement of k-means with the labels of every section that has at least two.

    ``values`` says what was clustered: ``observed`` expression (method ``observed``), ``predicted``
    expression, or the ``latent`` space of a patient (section "*"). ``n_domains`` clusters give ARI and NMI;
    two clusters of the spots that are tumour or not give the purity, to be read beside
    ``purity_majority``, that of a single cluster.
    """
    import pandas as pd

    tables = []
    for place, method in enumerate(methods):
        wide = method.scalar_scores.pivot(index=["patient", "section"], columns="metric", values="value")
        spots = method.scalar_scores.groupby(["patient", "section"])["n_spots"].first()
        for side, values in _SIDES.items():
            if side == "truth" and place > 0:  # the observation is the same for every method
                continue
            names = {f"{kind}_{side}": kind for kind in ("ari", "nmi", "purity")}
            columns = [name for name in names if name in wide.columns]
            rows = wide[wide[columns].notna().any(axis=1)] if columns else wide.iloc[:0]
            part = rows.rename(columns=names).reindex(
                columns=["n_domains", "ari", "nmi", "purity", "purity_majority"]
            )
            part["n_spots"] = spots.reindex(part.index)
            part["method"] = OBSERVED if side == "truth" else method.name
            part["values"] = values
            tables.append(part.reset_index())
    if not tables:
        return pd.DataFrame(columns=list(DOMAIN_COLUMNS))
    table = pd.concat([t for t in tables if len(t)] or tables[:1], ignore_index=True)
    return table.reindex(columns=list(DOMAIN_COLUMNS)).astype({"n_spots": "Int64", "n_domains": "Int64"})


def confusion_table(methods: Sequence[ScoredMethod]) -> pd.DataFrame:
    """Count the spots of every cluster and label.

    ``kind`` is ``domains`` (as many clusters as labels, against the pathologist's words) or
    ``two_clusters`` (against tumour and normal).
    """
    import pandas as pd

    tables = []
    for place, method in enumerate(methods):
        spots = read_spots(method.spots)
        if spots.empty:
            continue
        tissue = spots["tumour"].map({1.0: "tumour", 0.0: "normal"})
        words = spots["label"].where(determined(spots["label"].fillna("").to_numpy()))
        for side, values in _SIDES.items():
            if side == "truth" and place > 0:
                continue
            for kind, column, label in (
                ("domains", f"domain_{side}", words),
                ("two_clusters", f"cluster_{side}", tissue),
            ):
                if column not in spots:
                    continue
                part = spots[["section"]].assign(cluster=spots[column], label=label).dropna()
                counts = part.groupby(["section", "cluster", "label"]).size().rename("n_spots").reset_index()
                counts["method"] = OBSERVED if side == "truth" else method.name
                counts["values"], counts["kind"] = values, kind
                tables.append(counts)
    filled = [table for table in tables if len(table)]
    if not filled:
        return pd.DataFrame(columns=list(CONFUSION_COLUMNS))
    return pd.concat(filled, ignore_index=True)[list(CONFUSION_COLUMNS)].astype({"cluster": int})


def neighbour_table(methods: Sequence[ScoredMethod], n_bootstrap: int, seed: int) -> pd.DataFrame:
    """Correlation of a spot's genes with those of its nearest and farthest neighbour in latent space.

    Mean over sections, patients, genes; the difference is tested over patients (Wilcoxon, two-sided, Holm
    over methods).
    """
    import pandas as pd

    rows = []
    for method in methods:
        scores = method.scores
        near, far = (scores.per_patient(scores[f"neighbour_{name}"]) for name in ("nearest", "farthest"))
        difference = near - far
        if not np.isfinite(difference).any():
            continue
        of_patients = gene_means(difference.T)
        low, high = bootstrap_interval(difference, n=n_bootstrap, seed=seed)
        rows.append(
            {
                "method": method.name,
                "n_patients": int(np.isfinite(of_patients).sum()),
                "nearest": mean_score(near),
                "farthest": mean_score(far),
                "difference": mean_score(difference),
                "difference_low": low,
                "difference_high": high,
                "p_wilcoxon": wilcoxon_p(of_patients[np.isfinite(of_patients)]),
            }
        )
    table = pd.DataFrame(rows, columns=list(NEIGHBOUR_COLUMNS))
    table["p_holm"] = adjust(table["p_wilcoxon"].to_numpy(dtype=np.float64), "holm")
    return table


def spot_table(methods: Sequence[ScoredMethod]) -> pd.DataFrame:
    """One row per spot: position, label, and per method domain, cluster and tumour probability.

    Columns ``{method}.domain``, ``{method}.cluster``, ``{method}.latent_cluster`` and
    ``{method}.tumour_probability``, where a method has them, of the first seed; ``observed.domain`` and
    ``observed.cluster`` of the measured expression.
    """
    import pandas as pd

    tables = {method.name: read_spots(method.spots) for method in methods}
    tables = {name: table for name, table in tables.items() if len(table)}
    if not tables:
        return pd.DataFrame(columns=list(SPOT_KEYS))
    observed = {"domain_truth": f"{OBSERVED}.domain", "cluster_truth": f"{OBSERVED}.cluster"}
    every = pd.concat(tables.values(), ignore_index=True).drop_duplicates(["section", "spot"])
    result = every[[*SPOT_KEYS, *observed]].rename(columns=observed).set_index(["section", "spot"])
    for name, spots in tables.items():
        own = {
            "domain_prediction": f"{name}.domain",
            "cluster_prediction": f"{name}.cluster",
            "cluster_embedding": f"{name}.latent_cluster",
            "tumour_probability": f"{name}.tumour_probability",
        }
        given = [column for column in own if spots[column].notna().any()]
        result = result.join(spots.set_index(["section", "spot"])[given].rename(columns=own))
    result = result.reset_index().sort_values(["section", "spot"], ignore_index=True)
    return result[[*SPOT_KEYS, *(name for name in result if name not in SPOT_KEYS)]]
