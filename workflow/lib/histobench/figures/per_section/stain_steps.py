"""One section through the steps of stain normalisation (Kumar and Chatterjee 2024, HistoSPACE, Fig. 2).

Inputs: ``previews`` (pictures of sections, before and after side by side). Settings: ``section``.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import as_list, read_picture
from histobench.figures.drawing.style import DOUBLE, new_figure
from histobench.figures.drawing.text import prose

GAP = 8  # pixels between the two halves of a preview
CHANNELS = ("red", "green", "blue")
STEPS = {
    "image": "as it was scanned",
    "cast": "colour cast removed",
    "luminosity": "luminosity standardised",
    "stain": "stains normalised",
}
_STORED_PX = 330
_WHITE, _TISSUE = 99, 220
_LUMINOSITY = 95
COLUMNS = ["section", "step", "channel", "p01", "median", "p99"]


def remove_cast(pixels: np.ndarray) -> np.ndarray:
    """Scale each channel so that its 99th percentile is 255: uint8, as given."""
    white = np.percentile(pixels.reshape(-1, 3), _WHITE, axis=0)
    scaled = pixels * (255.0 / np.maximum(white, 1.0))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def standardise_luminosity(pixels: np.ndarray) -> np.ndarray:
    """Divide the L of LAB by its 95th percentile, as StainTools does: uint8, as given."""
    from skimage.color import lab2rgb, rgb2lab

    lab = rgb2lab(pixels)
    top = float(np.percentile(lab[..., 0], _LUMINOSITY))
    lab[..., 0] = np.clip(lab[..., 0] * (100.0 / max(top, 1.0)), 0, 100)
    return np.clip(np.rint(255 * lab2rgb(lab)), 0, 255).astype(np.uint8)


def steps_of(preview: np.ndarray) -> dict[str, np.ndarray]:
    """Return the picture after each step; the last is the section as the experiment normalised it."""
    side = (preview.shape[1] - GAP) // 2
    image = preview[:, :side]
    cast = remove_cast(image)
    return {
        "image": image,
        "cast": cast,
        "luminosity": standardise_luminosity(cast),
        "stain": preview[:, -side:],
    }


def tidy_steps(steps: dict[str, np.ndarray], section: str) -> pd.DataFrame:
    """Return :data:`COLUMNS`: quantiles of each channel over tissue, where the darkest one is below 220."""
    tissue = steps["image"].min(axis=2) < _TISSUE
    if not tissue.any():
        return pd.DataFrame(columns=COLUMNS)
    rows = [
        (section, step, channel, *np.quantile(pixels[tissue][:, place], (0.01, 0.5, 0.99)))
        for step, pixels in steps.items()
        for place, channel in enumerate(CHANNELS)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def plot_steps(table: pd.DataFrame, steps: dict[str, np.ndarray], settings: Settings) -> Figure:
    """Draw the four pictures in a row, with the medians of their channels."""
    first = steps["image"]
    side = DOUBLE / len(STEPS)
    figure = new_figure(DOUBLE, side * first.shape[0] / first.shape[1] + 0.65)
    for axes, (step, title) in zip(figure.subplots(1, len(STEPS)), STEPS.items(), strict=True):
        picture = Image.fromarray(steps[step])
        picture.thumbnail((_STORED_PX, _STORED_PX))
        axes.imshow(np.asarray(picture) // 4 * 4, interpolation="none")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_title(title, pad=3, fontsize=7.5)
        medians = table[table["step"] == step].set_index("channel")["median"]
        text = ", ".join(f"{name[0].upper()} {medians[name]:.0f}" for name in CHANNELS)
        axes.set_xlabel(f"median of tissue: {text}", fontsize=6)
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what each step does, and which of them the experiment takes."""
    return prose(f"""
        Section {table["section"].iloc[0]} (n = 1 section, a small preview) as it was scanned; with its
        colour cast removed, each channel scaled so that its 99th percentile is 255; then with the L of LAB
        divided by its 95th percentile; and with stains normalised after Vahadane et al. as patches are, for
        which this benchmark standardises luminosity and does not remove the cast. Below, the median of each
        channel over the tissue. Whether an experiment uses normalised images is in its settings. An
        illustration; no test.
    """)


@figure(
    "One section through stain normalisation",
    "cohort",
    inputs={"previews": "data/{cohort}/stain/{stained}.png"},
    when=["paper"],
    settings=["section"],
)
def stain_steps(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the preview of the section of the maps, else of the first, and draw its steps."""
    files = {path.stem: path for path in as_list(inputs["previews"])}
    section = settings.section if settings.section in files else next(iter(files))
    steps = steps_of(read_picture(files[section]))
    table = require_rows(tidy_steps(steps, section), "the preview shows no tissue.")
    return plot_steps(table, steps, settings), table, caption(table, settings)
