"""Which pixels of a patch a network's prediction rests on: integrated gradients (He et al. 2020, Fig. 3).

Inputs: ``weights`` and ``run`` (of the network, the fold that tests the section), ``prediction`` (its
folder), ``patches`` (of the section). Settings: ``section``, ``genes``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.errors import UserError
from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import colour_bar
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import choose_gene, read_predictions, read_window
from histobench.figures.drawing.style import DOUBLE, NothingToDraw, new_figure
from histobench.figures.drawing.text import count, prose, transform_text
from histobench.files import read_json

NUMBER = 3
STEPS = 16
COLUMNS = ["method", "section", "gene", "spot", "role", "predicted", "baseline", "attributed", "steps"]


def integrated_gradients(
    network: Any, patches: np.ndarray, gene: int, steps: int = STEPS
) -> tuple[np.ndarray, np.ndarray]:
    """Attribute the prediction of one gene to pixels, from a white patch to the patch.

    Parameters
    ----------
    network
        Float pixels (batch, 3, width, width) on the scale 0 to 255 -> (expression, features).
    patches
        uint8 (n, width, width, 3).
    gene
        Column of the expression.

    Returns
    -------
    attribution, outputs
        (n, width, width), summed over colours, and (n, 2) with prediction and that of the white patch; the
        attribution of a patch sums to about their difference (more steps, closer).
    """
    import torch

    try:
        from captum.attr import IntegratedGradients
    except ImportError:
        raise UserError(
            "Attributions need captum, which is not installed; install it "
            "(`pip install 'histobench[figures]'`)."
        ) from None

    network.eval()
    pixels = torch.from_numpy(np.ascontiguousarray(patches.transpose(0, 3, 1, 2))).float()
    white = torch.full_like(pixels[:1], 255.0)

    def of_gene(batch: torch.Tensor) -> torch.Tensor:
        expression: torch.Tensor = network(batch)[0][:, gene]
        return expression

    found = IntegratedGradients(of_gene).attribute(
        pixels, white.expand_as(pixels), n_steps=steps, internal_batch_size=32
    )
    with torch.no_grad():
        outputs = torch.stack([of_gene(pixels), of_gene(white.expand_as(pixels))], dim=1)
    return found.sum(dim=1).numpy(), outputs.numpy()


def choose_spots(prediction: np.ndarray) -> dict[str, list[int]]:
    """Return the spots with the highest and the lowest prediction of the gene."""
    order = np.argsort(prediction, kind="stable")
    number = min(NUMBER, len(order) // 2)
    return {"highest": order[::-1][:number].tolist(), "lowest": order[:number].tolist()}


def plot_attributions(
    table: pd.DataFrame,
    patches: np.ndarray,
    attribution: np.ndarray,
    settings: Settings,
) -> Figure:
    """Draw each patch above its attribution; red pixels raise the prediction, blue ones lower it."""
    figure = new_figure(DOUBLE, 2.9)
    grid = figure.subplots(2, len(table), squeeze=False)
    limit = float(np.quantile(np.abs(attribution), 0.99)) or 1.0
    for column, (role, value) in enumerate(zip(table["role"], table["predicted"], strict=True)):
        grid[0, column].imshow(patches[column], interpolation="none")
        grid[0, column].set_title(f"{role}\n{value:.2f}", fontsize=7, pad=2)
        image = grid[1, column].imshow(
            attribution[column], cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="none"
        )
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    grid[0, 0].set_ylabel("patch")
    grid[1, 0].set_ylabel("attribution")
    colour_bar(
        figure,
        image,
        grid,
        f"contribution per pixel to\n{transform_text(settings) or 'the target'}",
        fraction=0.02,
        pad=0.01,
        extend="both",
    )
    figure.suptitle(
        f"Prediction of {table['gene'].iloc[0]} by {settings.title(table['method'].iloc[0])}",
        fontsize=8.5,
    )
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say what was integrated, and how completely."""
    gap = np.abs(table["attributed"] - (table["predicted"] - table["baseline"]))
    whole = np.abs(table["predicted"] - table["baseline"])
    return prose(f"""
        Integrated gradients of the prediction of {table["gene"].iloc[0]} by
        {settings.title(table["method"].iloc[0])} (n = {count(len(table), "spot")} of section
        {table["section"].iloc[0]}, held out of training): patches with the highest and lowest
        prediction, and the contribution of each pixel from a white patch to the patch in
        {int(table["steps"].iloc[0])} steps, summed over colours; colours end at the 99th percentile.
        Contributions add up to the prediction minus that of the white patch but for
        {100 * float(gap.sum() / max(whole.sum(), 1e-09)):.0f} %. Plain patch, without averaging over
        symmetries. An illustration; no test.
    """)


@figure(
    "Integrated gradients",
    "latent space",
    inputs={
        "weights": "{experiment}/models/{attributed}/{map_fold}/weights.pt",
        "run": "{experiment}/models/{attributed}/{map_fold}/run.json",
        "prediction": "{experiment}/predictions/{attributed}/{map_fold}",
    },
    patches="map_section",
    settings=["section", "genes"],
)
def attributions(inputs: Inputs, settings: Settings) -> Drawing:
    """Load the network and attribute one gene on a few patches."""
    import torch

    from histobench.training.data import resize
    from histobench.training.entry import load_method

    torch.set_num_threads(1)
    record = read_json(inputs["run"])
    method: Any = load_method(record["entry"], record["params"], Path(inputs["weights"]).parent)
    trained = getattr(method, "trained", None)
    network = getattr(trained, "network", None)
    sections = read_predictions(inputs["prediction"], [settings.section])
    if trained is None or network is None or not sections:
        raise NothingToDraw("the network, or a spot that it predicts, is not there.")
    predicted = sections[0]
    gene = choose_gene(predicted, settings.genes)
    values = predicted.prediction[:, predicted.column(gene)]
    chosen = [(role, spot) for role, spots in choose_spots(values).items() for spot in spots]
    names = [str(predicted.spots.index[spot]) for _, spot in chosen]
    patches = read_window(inputs["patches"], names, record, predicted.um_per_px)
    width = trained.shape.px or patches.shape[1]
    small = resize(torch.from_numpy(patches.transpose(0, 3, 1, 2).copy()), width)
    shown = small.numpy().transpose(0, 2, 3, 1)
    attribution, outputs = integrated_gradients(network.float().cpu(), shown, predicted.column(gene))
    table = pd.DataFrame({
        "method": predicted.method, "section": predicted.section, "gene": gene, "spot": names,
        "role": [role for role, _ in chosen], "predicted": outputs[:, 0], "baseline": outputs[:, 1],
        "attributed": attribution.sum(axis=(1, 2)), "steps": STEPS,
    })[COLUMNS]  # fmt: skip
    return plot_attributions(table, shown, attribution, settings), table, caption(table, settings)
