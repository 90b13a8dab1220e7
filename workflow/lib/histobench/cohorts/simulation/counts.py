"""Spots, labels and counts of the simulated cohort, drawn from its latent tissue.

Colour, depth and patient genes are negative binomial around depth times share. The log depth of a spot is
driven by the cellularity beneath it and, more strongly, by technical causes that the image does not show.

Null genes need care. The usual target, ln(1 + 1e4 c / Z), is not free of Z: a log turns noise into bias,
the noise of a Poisson or negative binomial count falls with depth, and depth is partly visible in the image.
A gene that takes a constant expected share would therefore still correlate with cellularity, and a gene that
others crowd out of the library would correlate with them. So a null gene takes a random share of what its
spot really caught: gamma noise of constant variance times the sum of all other counts, rounded up or down at
random. Its c / Z has the same distribution in every spot of a section, and so has every transform of it.
Morphology genes are drawn in the same way, around a share that their programme moves: they follow it and
nothing else, neither depth nor colour genes that crowd them out. The programme knows no tissue. Were it flat
where no nuclei are, in fat, then the spread of these genes would follow fat, and through the log their mean.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from histobench.cohorts.simulation.settings import PITCH_UM, SPOT_UM
from histobench.files import atomic_path, write_table
from histobench.seeds import seed_for

if TYPE_CHECKING:
    from histobench.cohorts.simulation.settings import SimulationSettings
    from histobench.cohorts.simulation.tissue import Tissue

PROGRAMMES = ("tumour", "stroma", "immune", "fat", "grade")

# Mean and standard deviation of a programme over spots, averaged over many simulated patients. Fixed numbers,
# so that a section's counts do not depend on which other sections exist.
PROGRAMME_SCALE = {
    "tumour": (0.31, 0.39),
    "stroma": (0.40, 0.41),
    "immune": (0.14, 0.26),
    "fat": (0.16, 0.34),
    "grade": (0.17, 0.27),
}
MORPHOLOGY = "nesting"
_NESTING_SD = 0.36  # standard deviation of the programme of morphology genes, in the same way; its mean is 0
_LOG_CELLS_SCALE = (7.95, 1.0)  # the same for log nuclei per mm²

_STRENGTHS = (0.1, 0.2, 0.35, 0.55)
_DEPTH_STRENGTHS = (0.3, 0.5, 0.7)
_MORPHOLOGY_STRENGTHS = (0.55, 0.35, 0.2)
_AMPLIFIED_STRENGTH = 0.6  # log fold per sd of tumour where a patient gene is amplified,
_UNAMPLIFIED_STRENGTH = 0.2  # and in all other patients
_AMPLIFIED_LEVEL = 2.2  # log fold of its level in the patient, tumour or not
_NULL_SHAPE = 4.0  # gamma shape of null genes: squared coefficient of variation 1/4, near that of the others
_SIZE = 5.0  # negative binomial size of all other genes
_SPOT_TISSUE = 0.6  # a spot is under tissue when this share of its disc is

LABELS = {
    "tumour": "invasive cancer",
    "stroma": "connective tissue",
    "immune": "immune infiltrate",
    "fat": "adipose tissue",
}
_MAJORITY = 0.45  # below this share a pathologist's "undetermined"


def truth_table(settings: SimulationSettings) -> pd.DataFrame:
    """Return gene, kind, programme, strength, mean_count; one row per gene (see simulate.simulate_truth)."""
    rng = np.random.default_rng(seed_for("simulated", settings.seed, "truth"))
    rows: list[tuple[str, str, str, float, float]] = []
    weight = 1.0
    for programme_number, programme in enumerate(PROGRAMMES):
        for i in range(programme_number, settings.n_genes_colour, len(PROGRAMMES)):
            # Up and down genes come in pairs of equal strength and expression, so that colour genes do not
            # push each other, or the library size, up or down with the tissue.
            number = i // len(PROGRAMMES)
            strength = _STRENGTHS[(number // 2 + programme_number) % len(_STRENGTHS)]
            weight = weight if number % 2 else float(np.exp(rng.normal(0, 0.7)))
            signed = settings.strength_scale * (-strength if number % 2 else strength)
            rows.append((f"{programme.upper()}-{number + 1:02d}", "colour", programme, signed, weight))
    for i in range(settings.n_genes_null):
        # Every second null gene has a smooth map of its own, which shares nothing with the image.
        programme = "own map" if i % 2 else "none"
        weight = float(np.exp(np.clip(rng.normal(-0.35, 0.5), -1.2, 1.0)))
        rows.append((f"NULL-{i + 1:02d}", "null", programme, 0.0, weight))
    for i in range(settings.n_genes_depth):
        strength = _DEPTH_STRENGTHS[i % len(_DEPTH_STRENGTHS)]
        rows.append((f"DEPTH-{i + 1:02d}", "depth", "depth", strength, float(np.exp(rng.normal(0, 0.4)))))
    for i in range(settings.n_genes_patient):
        rows.append(
            (
                f"AMP-{i + 1:02d}",
                "patient",
                "tumour",
                _AMPLIFIED_STRENGTH,
                0.35 * float(np.exp(rng.normal(0, 0.2))),
            )
        )
    for i in range(settings.n_genes_morphology):
        strength = _MORPHOLOGY_STRENGTHS[i // 2 % len(_MORPHOLOGY_STRENGTHS)]  # in pairs, as above
        weight = weight if i % 2 else float(np.exp(rng.normal(0, 0.3)))
        signed = settings.strength_scale * (-strength if i % 2 else strength)
        rows.append((f"NEST-{i + 1:02d}", "morphology", MORPHOLOGY, signed, weight))
    truth = pd.DataFrame(rows, columns=["gene", "kind", "programme", "strength", "mean_count"])
    truth["mean_count"] *= settings.mean_depth / truth["mean_count"].sum()
    return truth


def spots_under_tissue(settings: SimulationSettings, section: str, tissue: Tissue) -> pd.DataFrame:
    """Return the spots that lie on tissue with their latent truth (columns: see simulate.latent_at_spots)."""
    grid = _grid(settings, section)
    x_um, y_um = ((grid[axis].to_numpy() - 1) * PITCH_UM for axis in ("new_x", "new_y"))
    inside = tissue.inside.astype(np.float32)
    keep = _disc(tissue, inside, x_um, y_um).mean(axis=1) >= _SPOT_TISSUE
    spots, x, y = grid.loc[keep.tolist()].copy(), x_um[keep], y_um[keep]
    on_tissue = _disc(tissue, inside, x, y)

    def under(values: np.ndarray) -> np.ndarray:
        """Return the mean over the tissue part of each spot's disc."""
        return (_disc(tissue, values, x, y) * on_tissue).sum(axis=1) / on_tissue.sum(axis=1)

    for name in ("tumour", "stroma", "immune", "fat"):
        spots[name] = under(getattr(tissue, name)).astype(float)
    spots["grade"] = under(tissue.tumour * tissue.grade).astype(float)
    spots["nesting"] = under(tissue.nested - 0.5).astype(float)
    cells = sum(under(tissue.nuclei_per_mm2(kind)) for kind in ("tumour", "stroma", "immune", "fat"))
    spots["cellularity"] = np.asarray(cells, dtype=float)
    spots["log_depth"] = _log_depth(settings, section, spots, tissue, x, y)
    shares = spots[list(LABELS)].to_numpy()
    names = np.array(list(LABELS.values()), dtype=object)
    clear = shares.max(axis=1) >= _MAJORITY
    spots["label"] = np.where(clear, names[shares.argmax(axis=1)], "undetermined")
    spots["tumour_label"] = np.where(clear, (shares.argmax(axis=1) == 0).astype(float), np.nan)
    return spots


def _grid(settings: SimulationSettings, section: str) -> pd.DataFrame:
    """Return every array position of the section as in a legacy ST selection file, index ``XxY``."""
    rng = np.random.default_rng(seed_for("simulated", settings.seed, section, "grid"))
    y, x = np.mgrid[1 : settings.grid_rows + 1, 1 : settings.grid_columns + 1].reshape(2, -1)
    jitter = np.clip(rng.normal(0, 0.04, size=(2, x.size)), -0.2, 0.2)
    # The frame starts at array position 1 and ends at the last: no spot lies outside the image.
    new_x = np.clip(np.round(x + jitter[0], 3), 1, settings.grid_columns)
    new_y = np.clip(np.round(y + jitter[1], 3), 1, settings.grid_rows)
    table = pd.DataFrame({"x": x, "y": y, "new_x": new_x, "new_y": new_y})
    table["pixel_x"] = ((table["new_x"] - 1) * settings.pitch_px).round(2)
    table["pixel_y"] = ((table["new_y"] - 1) * settings.pitch_px).round(2)
    table["selected"] = 1
    table.index = pd.Index([f"{a}x{b}" for a, b in zip(x, y, strict=True)], name="spot")
    return table


def _disc(tissue: Tissue, values: np.ndarray, x_um: np.ndarray, y_um: np.ndarray) -> np.ndarray:
    """Return a map's values over the disc of each spot: (spots, map pixels of a disc)."""
    from histobench.cohorts.simulation.tissue import MAP_UM

    reach = np.arange(-SPOT_UM / 2, SPOT_UM / 2 + MAP_UM, MAP_UM)
    dx, dy = (axis.ravel() for axis in np.meshgrid(reach, reach))
    disc = np.hypot(dx, dy) <= SPOT_UM / 2
    return tissue.at(values, x_um[:, None] + dx[disc], y_um[:, None] + dy[disc])


def _log_depth(
    settings: SimulationSettings,
    section: str,
    spots: pd.DataFrame,
    tissue: Tissue,
    x_um: np.ndarray,
    y_um: np.ndarray,
) -> np.ndarray:
    """Return the log of each spot's expected UMIs: patient, section, cellularity, technical causes."""
    from histobench.cohorts.simulation.tissue import smooth_field

    patient = section.split("_")[0]
    between = np.random.default_rng(seed_for("simulated", settings.seed, patient, "depth")).normal(0, 0.25)
    rng = np.random.default_rng(seed_for("simulated", settings.seed, section, "depth"))
    mean, sd = _LOG_CELLS_SCALE
    cells = (np.log(spots["cellularity"].to_numpy() + 100.0) - mean) / sd
    # Technical depth: mostly spot by spot, partly smooth (uneven permeabilisation).
    smooth = tissue.at(smooth_field(rng, tissue.level.shape, 900), x_um, y_um)
    technical = np.sqrt(0.75) * rng.standard_normal(len(spots)) + np.sqrt(0.25) * smooth
    return (
        np.log(settings.mean_depth)
        + between
        + rng.normal(0, 0.1)
        + settings.cellularity_depth_sd * np.clip(cells, -2.5, 2.5)
        + settings.technical_depth_sd * np.clip(technical, -2.5, 2.5)
    )


def _scores(latent: pd.DataFrame) -> np.ndarray:
    """Return programmes on their common scale: (spots, programmes)."""
    return np.column_stack([(latent[p] - PROGRAMME_SCALE[p][0]) / PROGRAMME_SCALE[p][1] for p in PROGRAMMES])


def _patient_slopes(settings: SimulationSettings, patient: str, truth: pd.DataFrame) -> np.ndarray:
    """Return each gene's log fold per programme in this patient: (genes, programmes).

    A colour gene follows its programme with its strength; on top, every patient relates the gene to all
    programmes a little differently. Patient genes rise with tumour, more so where they are amplified. Null,
    morphology and depth genes have no slopes in any patient.
    """
    rng = np.random.default_rng(seed_for("simulated", settings.seed, patient, "slopes"))
    own = rng.standard_normal(
        (len(truth), len(PROGRAMMES))
    )  # drawn for all genes: kinds do not shift the rest
    colour = (truth["kind"] == "colour").to_numpy()
    strength = np.where(colour, truth["strength"], 0.0)[:, None]
    main = (truth["programme"].to_numpy()[:, None] == np.array(PROGRAMMES)[None, :]) * strength
    extra = own * np.abs(strength) * settings.patient_slope_spread / np.sqrt(len(PROGRAMMES))
    weight = np.where(colour, truth["mean_count"], 0.0)[:, None]
    extra -= colour[:, None] * (weight * extra).sum(axis=0) / weight.sum()  # balanced, like the pairs
    slopes = main + extra
    of_patients = (truth["kind"] == "patient").to_numpy()
    amplified = amplified_in(settings, truth)[patient].to_numpy()[of_patients]
    slopes[of_patients, PROGRAMMES.index("tumour")] = np.where(
        amplified, _AMPLIFIED_STRENGTH, _UNAMPLIFIED_STRENGTH
    )
    return slopes


def amplified_in(settings: SimulationSettings, truth: pd.DataFrame) -> pd.DataFrame:
    """Return in which patients each gene is amplified: bool, (genes, patients).

    A gene of kind "patient" is amplified in one patient of six, at least in one; every patient gets about as
    many amplified genes as the next. Other genes are amplified in none.
    """
    rng = np.random.default_rng(seed_for("simulated", settings.seed, "amplified"))
    patients = [f"P{number}" for number in range(1, settings.n_patients + 1)]
    table = np.zeros((len(truth), len(patients)), dtype=bool)
    many = max(1, round(len(patients) / 6))
    rows = np.flatnonzero(truth["kind"] == "patient")
    decks = [rng.permutation(len(patients)) for _ in range(-(-len(rows) * many // len(patients)))]
    turns = np.concatenate(decks) if decks else np.zeros(0, int)
    for number, row in enumerate(rows):
        table[row, turns[number * many : (number + 1) * many]] = True
    return pd.DataFrame(table, index=truth["gene"], columns=patients)


def expected_shares(
    settings: SimulationSettings, patient: str, latent: pd.DataFrame, truth: pd.DataFrame
) -> np.ndarray:
    """Return each gene's expected share of a spot's counts: float64, (spots, genes), rows add to 1.

    Null genes have the same share in all spots of the section.
    """
    rng = np.random.default_rng(seed_for("simulated", settings.seed, patient, "expression"))
    base = np.log(truth["mean_count"].to_numpy()) + rng.normal(0, settings.patient_effect_sd, len(truth))
    base += _AMPLIFIED_LEVEL * amplified_in(settings, truth)[patient].to_numpy()
    log_share = base + _scores(latent) @ _patient_slopes(settings, patient, truth).T

    kind = truth["kind"].to_numpy()
    depth = latent["log_depth"].to_numpy()
    spread = np.hypot(settings.technical_depth_sd, settings.cellularity_depth_sd) or 1.0
    depth_score = (depth - depth.mean()) / spread
    log_share[:, kind == "depth"] += np.outer(depth_score, truth.loc[kind == "depth", "strength"])

    morphology = kind == "morphology"
    nesting = latent["nesting"] / _NESTING_SD
    log_share[:, morphology] += np.outer(nesting, truth.loc[morphology, "strength"])

    share = np.exp(log_share)
    null = kind == "null"
    # Each of three blocks keeps its part of the counts in every spot, so that none crowds out another.
    blocks = (null, morphology, ~null & ~morphology)
    parts = [share[:, block].sum(axis=1).mean() for block in blocks]
    for block, total in zip(blocks, np.array(parts) / sum(parts), strict=True):
        if block.any():
            share[:, block] *= total / share[:, block].sum(axis=1, keepdims=True)
    return share


def draw_counts(
    settings: SimulationSettings, section: str, patient: str, latent: pd.DataFrame
) -> pd.DataFrame:
    """Draw the counts of one section: int32, (spots, genes), rows in the order of ``latent``."""
    truth = truth_table(settings)
    rng = np.random.default_rng(seed_for("simulated", settings.seed, section, "counts"))
    share = expected_shares(settings, patient, latent, truth)
    follows = truth["kind"].isin(["null", "morphology"]).to_numpy()  # follow what the spot really caught
    counts = np.zeros(share.shape, dtype=np.int32)

    mean = np.exp(latent["log_depth"].to_numpy())[:, None] * share[:, ~follows]
    counts[:, ~follows] = rng.poisson(mean * rng.gamma(_SIZE, 1 / _SIZE, mean.shape))

    noise = rng.gamma(_NULL_SHAPE, 1 / _NULL_SHAPE, (len(latent), int(follows.sum())))
    own_map = (truth.loc[follows, "programme"] == "own map").to_numpy()
    noise[:, own_map] = _smooth_gamma(rng, latent, int(own_map.sum()))
    caught = counts[:, ~follows].sum(axis=1, keepdims=True) / share[:, ~follows].sum(axis=1, keepdims=True)
    wanted = caught * share[:, follows] * noise
    counts[:, follows] = np.floor(wanted + rng.random(wanted.shape))
    return pd.DataFrame(counts, index=latent.index, columns=pd.Index(truth["gene"]))


def _smooth_gamma(rng: np.random.Generator, latent: pd.DataFrame, genes: int) -> np.ndarray:
    """Draw gamma noise of mean 1 that varies smoothly over the section: float64, (spots, genes).

    Smooth normal scores (random waves of 600 to 2,000 µm, plus white noise) go through the gamma quantile
    function, so that each spot keeps the gamma distribution of the other null genes.
    """
    from scipy.special import gammaincinv, ndtr

    points = (latent[["new_x", "new_y"]].to_numpy() - 1) * PITCH_UM
    waves = 24
    angle = rng.uniform(0, np.pi, (waves, genes))
    number = 2 * np.pi / rng.uniform(600, 2000, (waves, genes))
    phase = rng.uniform(0, 2 * np.pi, (waves, genes))
    smooth = np.zeros((len(points), genes))
    for i in range(waves):
        along = points[:, :1] * np.cos(angle[i]) + points[:, 1:] * np.sin(angle[i])
        smooth += np.cos(along * number[i] + phase[i])
    smooth *= np.sqrt(2 / waves)
    score = np.sqrt(0.7) * smooth + np.sqrt(0.3) * rng.standard_normal(smooth.shape)
    return gammaincinv(_NULL_SHAPE, np.clip(ndtr(score), 1e-6, 1 - 1e-6)) / _NULL_SHAPE


def write_counts(counts: pd.DataFrame, path: Path) -> None:
    """Write counts as ``tsv.gz`` in the legacy layout; the archive carries no time and no file name."""
    text = counts.to_csv(sep="\t", index_label="", lineterminator="\n")
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(text.encode(), compresslevel=6, mtime=0))


def write_spots(settings: SimulationSettings, section: str, latent: pd.DataFrame, path: Path) -> None:
    """Write the spot selection: the spots with counts and, as in published files, up to two without."""
    columns = ["x", "y", "new_x", "new_y", "pixel_x", "pixel_y", "selected"]
    grid = _grid(settings, section)
    rng = np.random.default_rng(seed_for("simulated", settings.seed, section, "spare spots"))
    others = grid.index.difference(latent.index, sort=False)
    spare = rng.choice(len(others), size=min(int(rng.integers(0, 3)), len(others)), replace=False)
    chosen = grid.index.isin(latent.index.union(others[spare]))
    write_table(grid.loc[chosen, columns], path)


def write_labels(latent: pd.DataFrame, path: Path) -> None:
    """Write ``spot label tumour``; tumour is 1, 0 or empty where the label is undetermined."""
    tumour = latent["tumour_label"].map({1.0: "1", 0.0: "0"}).fillna("")
    table = pd.DataFrame(
        {"spot": latent.index, "label": latent["label"].to_numpy(), "tumour": tumour.to_numpy()}
    )
    write_table(table, path)
