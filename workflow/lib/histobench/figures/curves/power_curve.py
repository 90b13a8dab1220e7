"""The smallest p that so many patients can give, before and after correction.

Inputs: ``power`` (power.tsv: test, n_patients, n_tests, smallest_p, patients_needed_holm).
"""

from __future__ import annotations

import textwrap
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from histobench.figures.drawing.declare import Drawing, Inputs, figure
from histobench.figures.drawing.parts import beside, log_axis, require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import DOUBLE, QUIET_COLOUR, REFERENCE_COLOUR, new_figure
from histobench.figures.drawing.text import count, prose
from histobench.files import read_table

LEVEL = 0.05
MOST = 24
COLUMNS = ["test", "n_patients", "smallest_p", "smallest_p_holm", "n_tests", "here"]


def tidy_power(power: pd.DataFrame) -> pd.DataFrame:
    """Return test, n_patients (1 to 24, or the experiment's if more), smallest p alone and after Holm.

    Each further patient halves the smallest p, which the table gives for the experiment's own number; it is
    at most 1, and so is its product with the number of tests. Tests in which it does not halve, because they
    allow for shared training patients, are left out.
    """
    rows = []
    entry: Any
    for entry in power.itertuples():
        # both tests are on signs or signed ranks; sides are 1 or 2
        sides = float(entry.smallest_p) * 2.0**entry.n_patients
        if not (abs(sides - 1) < 1e-6 or abs(sides - 2) < 1e-6):
            continue
        for n in range(1, max(MOST, int(entry.n_patients)) + 1):
            p = min(1.0, sides * 2.0**-n)
            rows.append((entry.test, n, p, min(1.0, p * entry.n_tests), entry.n_tests, n == entry.n_patients))
    return pd.DataFrame(rows, columns=COLUMNS)


def plot_power(table: pd.DataFrame, settings: Settings) -> Figure:
    """Draw a panel per test on a logarithmic axis, with the 5 % line and the experiment's patients."""
    tests = list(dict.fromkeys(table["test"]))
    figure = new_figure(DOUBLE if len(tests) > 1 else 3.8, 2.6)
    panels = figure.subplots(1, len(tests), sharey=True, squeeze=False)[0]
    for axes, test in zip(panels, tests, strict=True):
        own = table[table["test"] == test]
        axes.plot(
            own["n_patients"], own["smallest_p"], color=QUIET_COLOUR, marker="o", ms=2.5, label="one test"
        )
        number = int(own["n_tests"].iloc[0])
        axes.plot(
            own["n_patients"],
            own["smallest_p_holm"],
            color="#0072B2",
            marker="s",
            ms=2.5,
            label=f"Holm over {number}",
        )
        axes.axhline(LEVEL, color=REFERENCE_COLOUR, lw=0.8, ls=(0, (4, 2)))
        beside(axes, LEVEL, "5 %", 2, 6.5)
        here = own[own["here"].astype(bool)]
        axes.plot(here["n_patients"], here["smallest_p_holm"], "o", ms=9, mfc="none", mec="#D55E00", mew=1.5,
                  label="this experiment")  # fmt: skip
        axes.set_yscale("log")
        log_axis(axes.yaxis)
        axes.set_xlabel("patients")
        title = textwrap.fill(test.split(" (")[0], max(24, 84 // len(tests)))
        axes.set_title(title, loc="left", fontsize=7.5)
        axes.legend(loc="lower left")
        axes.grid()
    panels[0].set_ylabel("smallest attainable p")
    return figure


def caption(table: pd.DataFrame, settings: Settings) -> str:
    """Say in words what the experiment's patients allow."""
    own = table[table["here"].astype(bool)]
    parts = [
        f"{entry['test']}: {entry['smallest_p']:.2g}, after Holm over {entry['n_tests']} tests "
        f"{entry['smallest_p_holm']:.2g}"
        for _, entry in own.iterrows()
    ]
    return prose(f"""
        Smallest p that a test over patients can give if all patients agree, by number of patients; ring:
        this experiment (n = {count(int(own["n_patients"].max()), "patient")}). {"; ".join(parts)}. Above
        the dashed line nothing can ever be found, whatever the data; 'no consistent gene' then says
        nothing about the genes. No test.
    """)


@figure("What the tests can show with so many patients", "genes", tables=["power"])
def power_curve(inputs: Inputs, settings: Settings) -> Drawing:
    """Read the power table and draw it."""
    table = require_rows(tidy_power(read_table(inputs["power"])), "no method was scored.")
    return plot_power(table, settings), table, caption(table, settings)
