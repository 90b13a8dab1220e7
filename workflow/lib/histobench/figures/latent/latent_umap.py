"""The latent space of networks, one map per patient, with typical and atypical patches (He et al. 2020).

Inputs: ``predictions`` (of the methods, all folds), ``patches`` (patch files of all sections). Settings:
``section`` (its patient's patches are shown).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.errors import UserError
from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.kinds import ranked_by_kind
from histobench.figures.drawing.labels import label_colours, label_handles
from histobench.figures.drawing.parts import require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import Predicted, as_list, read_predictions
from histobench.figures.drawing.style import DOUBLE, new_figure
from histobench.figures.drawing.text import count, prose
from histobench.files import read_table, reading
from histobench.seeds import seed_for

MOST_PATIENTS = 6
MOST_SPOTS = 2000
PER_ROW = 4
ROLES = ("typical", "atypical")
COLUMNS = ["method", "patient", "section", "spot", "label", "x", "y", "role"]


def tidy_latent_map(sections: Sequence[Predicted], shown: str = "", embed: Any = None) -> pd.DataFrame:
    """Return method, patient, section, spot, label, x, y, role: a map per method and patient.

    Every patient is embedded by itself, because each was tested by another network. Role is "typical" for
    spots (tumour, normal) whose neighbours in latent space are of their kind and "atypical" for those among
    neighbours of the other kind, in the patient of the section ``shown``; without labels, for the spots
    nearest to and farthest from the centre.

    Parameters
    ----------
    sections
        Of one or several methods, with embeddings; others are left out.
    shown
        Section whose patient's patches are chosen; by default the first patient.
    embed
        (spots, dimensions), seed -> (spots, 2); UMAP by default.
    """
    of_method: dict[str, list[Predicted]] = {}
    for section in sections:
        if section.embedding is not None:
            of_method.setdefault(section.method, []).append(section)
    blocks = [_maps_of(known, shown, embed or _umap) for known in of_method.values()]
    return pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame(columns=COLUMNS)


def _maps_of(known: Sequence[Predicted], shown: str, embed: Any) -> pd.DataFrame:
    """Return the maps of one method."""
    of_section = {s.section: str(s.spots["patient"].iloc[0]) for s in known}
    patients = list(dict.fromkeys(of_section.values()))
    first = of_section.get(shown, patients[0] if patients else "")
    patients = [first, *(patient for patient in patients if patient != first)][:MOST_PATIENTS]
    blocks = []
    for patient in patients:
        own = [section for section in known if of_section[section.section] == patient]
        vectors = np.concatenate([section.embedding for section in own])
        spots = pd.concat([section.spots for section in own])
        keep = np.arange(len(spots))
        if len(keep) > MOST_SPOTS:
            keep = np.sort(
                np.random.default_rng(seed_for("latent_umap", patient)).choice(keep, MOST_SPOTS, False)
            )
        vectors, spots = vectors[keep], spots.iloc[keep]
        place = embed(vectors, seed_for("latent_umap", patient) % 2**31)
        role = (
            _roles(vectors, spots["tumour"].to_numpy(float)) if patient == first else np.full(len(spots), "")
        )
        blocks.append(
            pd.DataFrame(
                {
                    "method": own[0].method,
                    "patient": patient,
                    "section": spots["section"].to_numpy(),
                    "spot": spots.index.astype(str),
                    "label": spots["label"].to_numpy(),
                    "x": place[:, 0],
                    "y": place[:, 1],
                    "role": role,
                }
            )
        )
    return pd.concat(blocks, ignore_index=True)


def _roles(vectors: np.ndarray, tumour: np.ndarray) -> np.ndarray:
    """Name the typical and atypical spots of each kind: "tumour typical", or "typical" where labels lack.

    Atypical spots lie among neighbours of the other kind; without labels, far from the centre of all.
    """
    role = np.full(len(vectors), "", dtype=object)
    ranked = {f"{kind} ": places for kind, places in ranked_by_kind(vectors, tumour).items()}
    if not ranked or not all(len(places) >= 2 * PER_ROW for places in ranked.values()):
        distance = np.linalg.norm(vectors - vectors.mean(axis=0), axis=1)
        ranked = {"": np.argsort(distance, kind="stable")}
    for kind, places in ranked.items():
        role[places[:PER_ROW]] = f"{kind}typical"
        role[places[PER_ROW:][-PER_ROW:]] = f"{kind}atypical"
    return role


def _umap(vectors: np.ndarray, seed: int) -> np.ndarray:
    """Embed in two dimensions by UMAP after PCA to at most 50."""
    from sklearn.decomposition import PCA

    if len(vectors) < 5:
        return np.zeros((len(vectors), 2)) + np.arange(len(vectors))[:, None]
    reduced = PCA(min(50, *vectors.shape), random_state=seed).fit_transform(vectors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from umap import UMAP
        except ImportError:
            raise UserError(
                "A map of a latent space needs umap-learn, which is not installed; install it "
                "(`pip install 'histobench[figures]'`)."
            ) from None

        found = UMAP(n_neighbors=min(15, len(vectors) - 1), random_state=seed, n_jobs=1).fit_transform(
            reduced
        )
    return np.asarray(found, dtype=float)


def role_patches(table: pd.DataFrame, files: Mapping[str, Path]) -> dict[str, list[np.ndarray]]:
    """Return the patches of every role as stored, uint8 (width, width, 3), from files by section."""
    found: dict[str, list[np.ndarray]] = {}
    entry: Any
    for entry in table[table["role"] != ""].itertuples():
        path = files.get(entry.section)
        if path is None:
            continue
        index = list(read_table(path.with_suffix(".tsv"))["spot"].astype(str))
        if entry.spot in index:
            with reading(path):
                stored = np.load(path, mmap_mode="r")
            found.setdefault(entry.role, []).append(np.asarray(stored[index.index(entry.spot)]))
    return found


def plot_latent_map(
    table: pd.DataFrame,
    patches: Mapping[str, Mapping[str, list[np.ndarray]]],
    settings: Settings,
) -> Figure:
    """Draw a row per method: its maps in a grid to the left and patches by role to the right."""
    methods = list(dict.fromkeys(table["method"]))
    colours = label_colours(table["label"])
    figure = new_figure(DOUBLE, 0.4 + 3.3 * len(methods))
    rows: Any = figure.subfigures(len(methods), 1, squeeze=False)[:, 0]
    for row, method in zip(rows, methods, strict=True):
        _plot_method(row, table[table["method"] == method], colours, patches.get(method, {}))
        if len(methods) > 1:
            row.suptitle(settings.title(method), fontsize=8.5, color=settings.look(method).colour)
    figure.legend(handles=label_handles(colours), loc="outside lower center", ncols=min(5, len(colours)))
    return figure


def _plot_method(
    figure: Any,
    table: pd.DataFrame,
    colours: Mapping[str, Any],
    patches: Mapping[str, list[np.ndarray]],
) -> None:
    patients = list(dict.fromkeys(table["patient"]))
    parts: Any = figure.subfigures(1, 2, width_ratios=[1.35, 1])
    left, right = parts
    columns = min(3, len(patients))
    rows = -(-len(patients) // columns)
    grid = left.subplots(rows, columns, squeeze=False)
    for axes, patient in zip(grid.flat, patients, strict=False):
        own = table[table["patient"] == patient]
        axes.scatter(own["x"], own["y"], c=[colours[label] for label in own["label"]], s=6, linewidths=0)
        for role, marker in zip(ROLES, ("o", "s"), strict=True):
            chosen = own[
                own["role"].str.endswith(role)
                & (~own["role"].str.endswith("atypical") | (role == "atypical"))
            ]
            axes.plot(chosen["x"], chosen["y"], marker, ms=4.6, mfc="none", mec="#222222", mew=0.8, ls="none")
        axes.set_title(f"patient {patient}", pad=2)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color("#cccccc")
    for axes in list(grid.flat)[len(patients) :]:
        axes.axis("off")
    left.supxlabel("UMAP 1", fontsize=7)
    left.supylabel("UMAP 2", fontsize=7)
    roles = [role for role in dict.fromkeys(sorted(patches, key=_role_order)) if patches[role]]
    if roles:
        tiles = right.subplots(len(roles), PER_ROW, squeeze=False)
        for row, role in zip(tiles, roles, strict=True):
            for axes in row:
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
            for axes, patch in zip(row, patches[role], strict=False):
                axes.imshow(patch, interpolation="none")
            row[0].set_ylabel(role.replace(" ", "\n"), fontsize=7, rotation=0, ha="right", va="center")
        right.suptitle(f"patches of patient {patients[0]}", fontsize=8)


def _role_order(role: str) -> tuple[bool, bool]:
    return "normal" in role, "atypical" in role


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say why patients have maps of their own, and what typical means."""
    return prose(f"""
        Latent space of {settings.listed(table["method"])}: UMAP of each held-out patient by itself (n =
        {count(table["patient"].nunique(), "patient")},
        {count(len(table) // table["method"].nunique(), "spot")}, at most 2,000 per patient and six
        patients), because each was embedded by a network that did not see it; axes have no unit. Colour:
        the {settings.labels} label. Rings and squares mark the typical and atypical spots of one patient
        whose patches are shown, by their ten nearest neighbours in latent space, not on the map: all of
        their own kind (tumour or normal), and most of the other; without such labels, nearest to and
        farthest from the centre. Distances between groups on such a map mean little. An
        illustration; no test.
    """)


@figure(
    "Latent space by patient, with patches",
    "latent space",
    predictions="latent",
    patches="section",
    settings=["section"],
)
def latent_umap(inputs: Inputs, settings: Settings) -> Drawing:
    """Read embeddings and patches and draw the maps."""
    sections = read_predictions(inputs["predictions"])
    table = tidy_latent_map(sections, settings.section)
    table = require_rows(table, "the method wrote no latent space.")
    files = {path.stem: path for path in as_list(inputs["patches"])}
    patches = {str(method): role_patches(own, files) for method, own in table.groupby("method", sort=False)}
    return plot_latent_map(table, patches, settings), table, caption(table, settings)
