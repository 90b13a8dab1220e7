"""Image, measured expression and latent spaces embedded (Chen et al. 2024, HE2Gene, Supp. Figs. S5, S6).

Inputs: ``predictions`` (of the methods with a latent space, all folds), ``patches`` (of all sections).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.labels import CLUSTER_COLOURS, label_colours, label_handles
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import Predicted, as_list, read_predictions
from histobench.figures.drawing.style import DOUBLE, NothingToDraw, new_figure
from histobench.figures.drawing.text import count, prose, transform_text
from histobench.files import read_table, reading
from histobench.seeds import seed_for

MOST_SPOTS = 3000
PATIENTS = len(CLUSTER_COLOURS)
SIDE = 8  # pixels per side of a patch as it is embedded
NEIGHBOURS = 10
IMAGE, EXPRESSION = "image", "measured expression"
COLUMNS = ["space", "patient", "section", "spot", "label", "x", "y", "same_patient", "expected_same"]


def spread_spots(sections: Sequence[Predicted]) -> list[np.ndarray]:
    """Return which spots of each section are embedded: evenly many of each patient, at most 3,000 in all."""
    patients = [str(one.spots["patient"].iloc[0]) for one in sections]
    share = MOST_SPOTS // max(1, len(set(patients)))
    chosen = []
    for one, patient in zip(sections, patients, strict=True):
        rng = np.random.default_rng(seed_for("expression_embedding", one.section))
        number = min(len(one.spots), max(1, share // patients.count(patient)))
        chosen.append(np.sort(rng.choice(len(one.spots), number, replace=False)))
    return chosen


def small_patches(path: Path, spots: Sequence[str]) -> np.ndarray:
    """Return the patches of some spots, averaged to 8 x 8 pixels, (spots, 192); zeros where there is none."""
    index = {name: row for row, name in enumerate(read_table(path.with_suffix(".tsv"))["spot"].astype(str))}
    out = np.zeros((len(spots), SIDE * SIDE * 3))
    with reading(path):
        stored = np.load(path, mmap_mode="r")
    step = max(1, stored.shape[1] // SIDE)
    for row, spot in enumerate(spots):
        if spot in index:
            patch = np.asarray(stored[index[spot]], float)[: step * SIDE, : step * SIDE]
            out[row] = patch.reshape(SIDE, step, SIDE, step, 3).mean(axis=(1, 3)).ravel()
    return out


def tidy_embeddings(spaces: Mapping[str, np.ndarray], spots: pd.DataFrame, embed: Any = None) -> pd.DataFrame:
    """Return :data:`COLUMNS`: every space in two dimensions, all patients together.

    ``same_patient`` is the share of a spot's ten nearest neighbours in the full space that are of its
    patient, averaged over spots, ``expected_same`` what it would be if patients were mixed: their difference
    is the batch effect.

    Parameters
    ----------
    spaces
        (spots, dimensions) by name.
    spots
        ``patient``, ``section``, ``spot`` and ``label`` of the same rows.
    embed
        (spots, dimensions), seed -> (spots, 2); UMAP by default.
    """
    from scipy.spatial import cKDTree

    patient = spots["patient"].to_numpy(str)
    sizes = spots["patient"].value_counts()
    expected = float(((sizes * (sizes - 1)).sum()) / (len(spots) * max(1, len(spots) - 1)))
    blocks = []
    for name, values in spaces.items():
        reduced = _reduced(values, name)
        k = min(NEIGHBOURS, len(reduced) - 1)
        near = cKDTree(reduced).query(reduced, k=k + 1)[1][:, 1:]
        same = float((patient[near] == patient[:, None]).mean()) if k > 0 else float("nan")
        place = (embed or _umap)(reduced, seed_for("expression_embedding", name) % 2**31)
        blocks.append(
            spots[["patient", "section", "spot", "label"]].assign(
                space=name, x=place[:, 0], y=place[:, 1], same_patient=same, expected_same=expected
            )
        )
    return pd.concat(blocks, ignore_index=True)[COLUMNS]


def _reduced(values: np.ndarray, name: str) -> np.ndarray:
    """Centre, and keep at most 30 principal components."""
    from sklearn.decomposition import PCA

    seed = seed_for("expression_embedding", "pca", name) % 2**31
    reduced: np.ndarray = PCA(min(30, *values.shape), random_state=seed).fit_transform(np.nan_to_num(values))
    return reduced


def _umap(values: np.ndarray, seed: int) -> np.ndarray:
    if len(values) < 5:
        return np.zeros((len(values), 2)) + np.arange(len(values))[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from umap import UMAP

        found = UMAP(n_neighbors=min(15, len(values) - 1), random_state=seed, n_jobs=1).fit_transform(values)
    return np.asarray(found, dtype=float)


def plot_embeddings(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw every space twice: coloured by label above, by patient below."""
    spaces = list(dict.fromkeys(table["space"]))
    labels = label_colours(table["label"])
    patients = sorted(set(table["patient"]))
    tones = {name: CLUSTER_COLOURS[place % PATIENTS] for place, name in enumerate(patients)}
    rows = [("label", labels), ("patient", tones)] if set(labels) != {""} else [("patient", tones)]
    side = DOUBLE / max(3, len(spaces))
    figure = new_figure(side * len(spaces), 0.5 + (side + 0.25) * len(rows) + 0.55)
    grid = figure.subplots(len(rows), len(spaces), squeeze=False)
    order = np.random.default_rng(0).permutation(int((table["space"] == spaces[0]).sum()))
    for row, (kind, colours) in zip(grid, rows, strict=True):
        for axes, space in zip(row, spaces, strict=True):
            own = table[table["space"] == space].iloc[order]  # no patient lies above all others
            axes.scatter(
                own["x"], own["y"], c=[colours[v] for v in own[kind]], s=3, lw=0, rasterized=len(own) > 1000
            )
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color("#cccccc")
            if kind == "patient":
                text = f"{100 * own['same_patient'].iloc[0]:.0f} % of neighbours\nof the same patient"
                axes.set_xlabel(text, fontsize=6)
        row[0].set_ylabel(f"by {kind}", fontsize=7.5)
    for axes, space in zip(grid[0], spaces, strict=True):
        known = space in (IMAGE, EXPRESSION)
        axes.set_title(space if known else settings.wrapped(space, 18), pad=3,
                       color="#222222" if known else settings.look(space).colour)  # fmt: skip
    handles = label_handles(labels) if len(rows) == 2 else []
    shown = {f"patient {name}": tone for name, tone in tones.items()} if len(patients) <= PATIENTS else {}
    figure.legend(handles=[*handles, *label_handles(shown)], loc="outside lower center", ncols=5, fontsize=6)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what is embedded, and what the share of neighbours means."""
    spaces = list(dict.fromkeys(table["space"]))
    first = table[table["space"] == spaces[0]]
    networks = [space for space in spaces if space not in (IMAGE, EXPRESSION)]
    parts = ["patches averaged to 8 × 8 pixels"] if IMAGE in spaces else []
    if EXPRESSION in spaces:
        parts.append(f"measured expression ({transform_text(settings) or 'scale of the targets'})")
    folds = ""
    if networks:
        parts.append(f"latent spaces of {settings.listed(networks)}")
        folds = """Where patients were tested in different folds, their spots come from different networks,
            whose axes have no relation, and lie apart for that reason alone."""
    return prose(f"""
        UMAP of tested spots of all patients together (n =
        {count(first["patient"].nunique(), "patient")}, {count(len(first), "spot")}, evenly many of each),
        after PCA to 30 dimensions: {"; ".join(parts)}. Below: share of the ten nearest neighbours, in the
        space before UMAP, that are of the same patient; if patients were mixed it would be
        {100 * first["expected_same"].iloc[0]:.0f} %. More is a batch effect, which a model of one patient
        cannot carry to another. {folds} Distances on such maps mean little. Descriptive; no test.
    """)


@figure(
    "Image, expression and latent spaces embedded",
    "latent space",
    predictions="latent",
    optional={"patches": "data/{cohort}/patches/{patches}/{section}.npy"},
    when=["paper"],
)
def expression_embedding(inputs: Inputs, settings: Settings) -> Drawing:
    """Read embeddings, truth and patches of the same spots and draw them."""
    of_method: dict[str, dict[str, Predicted]] = {}
    for one in read_predictions(inputs["predictions"]):
        if one.embedding is not None:
            of_method.setdefault(one.method, {})[one.section] = one
    first = list(next(iter(of_method.values()), {}).values())
    if not first:
        raise NothingToDraw("no method wrote a latent space.")
    chosen = spread_spots(first)
    names = [one.spots.index.astype(str)[rows] for one, rows in zip(first, chosen, strict=True)]
    spots = pd.concat([
        one.spots.iloc[rows][["patient", "section", "label"]].assign(spot=spot)
        for one, rows, spot in zip(first, chosen, names, strict=True)
    ], ignore_index=True)  # fmt: skip
    common = [gene for gene in first[0].genes if all(gene in set(one.genes) for one in first)]
    spaces: dict[str, np.ndarray] = {}
    files = {path.stem: path for path in as_list(inputs.get("patches") or [])}
    if all(one.section in files for one in first):
        parts = [
            small_patches(files[one.section], list(spot)) for one, spot in zip(first, names, strict=True)
        ]
        spaces[IMAGE] = np.concatenate(parts)
    if common:
        parts = [
            one.truth[rows][:, [one.column(gene) for gene in common]]
            for one, rows in zip(first, chosen, strict=True)
        ]
        spaces[EXPRESSION] = np.concatenate(parts)
    for method, sections in of_method.items():
        if all(one.section in sections for one in first):
            own: list[Any] = [sections[one.section].embedding for one in first]
            spaces[method] = np.concatenate([part[rows] for part, rows in zip(own, chosen, strict=True)])
    table = tidy_embeddings(spaces, spots)
    return plot_embeddings(table, settings), table, caption(table, settings)
