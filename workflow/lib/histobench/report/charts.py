"""Charts that answer to the reader: Vega-Lite specifications, drawn by the page with its own copy of Vega.

A chart shows the numbers of a table that stands beside it, so the page is complete without.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

from histobench.figures.drawing.null import Null
from histobench.figures.drawing.settings import FAMILIES, FAMILY_TITLES, Settings
from histobench.figures.drawing.style import SEQUENTIAL
from histobench.report.maps import script_json

CONFIG: dict[str, Any] = {
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif",
    "view": {"stroke": None},
    "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "gridColor": "#e6eaee",
             "domainColor": "#8a949e", "tickColor": "#8a949e", "labelLimit": 170},
    "legend": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"},
}  # fmt: skip
SCORES = {
    "pearson": "r, per section",
    "spearman": "Spearman",
    "pearson_smoothed": "r, truth smoothed over neighbours",
    "pearson_partial_depth": "r given depth",
    "pearson_pooled": "r, pooled over sections",
    "pearson_centred": "r, pooled over sections that are centred",
    "rmse": "RMSE",
    "mae": "MAE",
}
_SHAPES = {"deep": "circle", "classical": "square", "control": "circle", "oracle": "diamond"}


@functools.cache
def vega_script() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script that needs no network.

    It defines ``window.vegaEmbed``.
    """
    script: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]
    if "</script" in script.lower():  # it would end its own element
        script = script.replace("</script", "<\\/script")
    return script


@dataclass(frozen=True)
class Chart:
    """One chart: its specification as JSON, what it shows, and where its numbers are printed."""

    anchor: str
    title: str
    caption: str
    spec: str


def leaderboard_charts(name: str, board: pd.DataFrame | None, settings: Settings) -> list[Chart]:
    """Return the charts of a leader board: every score, and score against cost; none without scores."""
    if board is None or not len(board) or not board["pearson"].notna().any():
        return []
    table = _styled(board[board["pearson"].notna()], settings)
    null = Null.of(board)
    band = f" Grey band, for r only: null, {null.between}." if null else ""
    charts = [
        Chart(
            f"{name}-chart-scores",
            "Scores of all methods",
            "Choose a score. Dots: mean over patients of the mean over genes; hollow: controls and oracles. "
            f"Bars, for r only: 95 % percentile bootstrap over {_patients(settings)}; no correction for the "
            f"number of methods.{band} The numbers are in the leader board below.",
            script_json(_scores(table, null)),
        )
    ]
    if "train_seconds" in table and (table["train_seconds"] > 0).sum() > 1:
        charts.append(
            Chart(
                f"{name}-chart-cost",
                "Score against cost",
                "r per section against the wall time of one training (mean over folds, logarithmic; less "
                "than 1 ms is drawn at 1 ms); bars as in the other chart. Named: methods that no other, "
                "oracles aside, beats at less cost; the rest are named when pointed at or touched. Cost "
                "depends on the hardware, which the provenance names. Descriptive; no test.",
                script_json(_cost(table)),
            )
        )
    return charts


def _patients(settings: Settings) -> str:
    number = settings.n_patients
    return f"{number} patients" if number else "patients"


def _styled(board: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return the numbers of the leader board with the look that its methods have everywhere."""
    wanted = [*SCORES, "pearson_low", "pearson_high", "train_seconds", "peak_memory_mb", "parameters"]
    table = board[[column for column in wanted if column in board]].astype(float)
    looks = [
        settings.look(method, family) for method, family in zip(board["method"], board["family"], strict=True)
    ]
    return table.assign(
        method=[settings.title(method) for method in board["method"]],
        family=[FAMILY_TITLES.get(family, family) for family in board["family"]],
        shape=[_SHAPES.get(family, "circle") for family in board["family"]],
        colour=[look.colour for look in looks],
        fill=["#ffffff" if look.hollow else look.colour for look in looks],
    )


def _records(table: pd.DataFrame, alt: Any) -> alt.InlineData:
    """Return a table as data of a chart; numbers shortened, missing ones null."""
    rows = [
        {key: _plain(value) for key, value in row.items() if _plain(value) is not None}
        for row in table.to_dict("records")
    ]
    return alt.InlineData(values=rows)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if value != value else float(f"{value:.5g}")
    return value


def _scores(table: pd.DataFrame, null: Null | None = None) -> dict[str, Any]:
    """Return dots of one score, chosen by the reader, methods sorted by it; the null as a band behind r."""
    offered = [key for key in SCORES if key in table and table[key].notna().any()]
    intervals = {"low": "pearson_low", "high": "pearson_high"}
    long = table.melt(
        id_vars=["method", "family", "shape", "colour", "fill", *intervals.values()],
        value_vars=offered,
        var_name="key",
    ).dropna(subset=["value"])
    for column, key in intervals.items():
        long[column] = long.pop(key).where(long["key"] == "pearson")
        # Every dot has a bar, of no length where there is no interval: a scale needs some data.
        long[f"{column}_end"] = long[column].fillna(long["value"])
    long["score"] = long["key"].map(SCORES)
    # Errors rank the other way round.
    long["rank"] = long["value"].where(~long["key"].isin(["rmse", "mae"]), -long["value"])
    chosen = alt.param(
        name="score",
        value=SCORES[offered[0]],
        bind=alt.binding_select(options=[SCORES[key] for key in offered], name="Score "),
    )
    base = (
        alt.Chart(_records(long.drop(columns="key"), alt))
        .transform_filter("datum.score === score")
        .encode(
            y=alt.Y("method:N", title=None, sort=alt.EncodingSortField("rank", "max", "descending")),
            color=alt.Color("colour:N", scale=None),
            tooltip=[
                alt.Tooltip("method:N", title="method"),
                alt.Tooltip("family:N", title="family"),
                alt.Tooltip("value:Q", title="score", format=".3f"),
                alt.Tooltip("low:Q", title="95 % low", format=".3f"),
                alt.Tooltip("high:Q", title="95 % high", format=".3f"),
            ],
        )
    )
    value = alt.X("value:Q", title=None, scale=alt.Scale(zero=True, nice=True))
    zero = (
        alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(color="#8a949e").encode(x=alt.X("zero:Q"))
    )
    bars = base.mark_rule(strokeWidth=2).encode(x="low_end:Q", x2="high_end:Q")
    dots = base.mark_point(size=70, opacity=1, strokeWidth=2).encode(
        x=value, fill=alt.Fill("fill:N", scale=None), shape=alt.Shape("shape:N", scale=None)
    )
    ends = [{"low": null.low, "high": null.high, "score": SCORES["pearson"]}] if null else []
    # of no width at zero beside another score: a scale needs some data
    width = {end: f"datum.score === score ? datum.{end} : 0" for end in ("low", "high")}
    band = (
        alt.Chart(alt.InlineData(values=ends))
        .transform_calculate(left=width["low"], right=width["high"])
        .mark_rect(color="#8a949e", opacity=0.25)
        .encode(x="left:Q", x2="right:Q")
    )
    layers = [band, zero, bars, dots] if null else [zero, bars, dots]
    return _finish(alt.layer(*layers).add_params(chosen).properties(height=22 * len(table)))


def _cost(table: pd.DataFrame) -> dict[str, Any]:
    """Return score against wall time; names stand beside those that nothing beats at less cost."""
    table = table[table["train_seconds"].notna()].assign(
        time=lambda rows: rows["train_seconds"].clip(lower=1e-3)
    )
    fair = table[table["family"] != FAMILY_TITLES["oracle"]].sort_values(
        ["time", "pearson"], ascending=[True, False]
    )
    best = fair["pearson"].cummax()
    named = fair.index[(fair["pearson"] >= best) & (best > best.shift(fill_value=0.0))]
    table = table.assign(named=table.index.isin(named))
    base = alt.Chart(_records(table, alt)).encode(
        x=alt.X(
            "time:Q",
            title="seconds of one training (log scale)",
            scale=alt.Scale(type="log"),
            axis=alt.Axis(format="~g", tickCount=6, grid=False),
        ),
        color=alt.Color("colour:N", scale=None),
        tooltip=[
            alt.Tooltip("method:N", title="method"),
            alt.Tooltip("family:N", title="family"),
            alt.Tooltip("pearson:Q", title="r", format=".3f"),
            alt.Tooltip("train_seconds:Q", title="seconds", format=",.1f"),
            *(
                alt.Tooltip(f"{key}:Q", title=title, format=",.0f")
                for key, title in (("peak_memory_mb", "memory, MB"), ("parameters", "parameters"))
                if key in table
            ),
        ],
    )
    bars = base.mark_rule(strokeWidth=1.5, opacity=0.6).encode(
        y=alt.Y("pearson_low:Q", title="r, per section"), y2="pearson_high:Q"
    )
    dots = base.mark_point(size=80, opacity=1, strokeWidth=2).encode(
        y="pearson:Q", fill=alt.Fill("fill:N", scale=None), shape=alt.Shape("shape:N", scale=None)
    )
    names = (
        base.transform_filter("datum.named")
        .mark_text(align="left", dx=8, dy=-8, fontSize=11)
        .encode(y="pearson:Q", text="method:N")
    )
    return _finish(alt.layer(bars, dots, names).properties(height=300))


def map_specs() -> str:
    """Return what the map explorer fills in and draws, as JSON: ``map``, ``scatter`` and ``methods``.

    The page sets data, sizes and the ends of the colour scale.
    """
    return script_json({"map": _map(), "scatter": _scatter(), "methods": _methods()})


def _map() -> dict[str, Any]:
    """Return discs on a picture of the tissue; y runs downwards as in the image."""
    picture = (
        alt.Chart(alt.NamedData("picture"))
        .mark_image(align="left", baseline="top", aspect=False)
        .encode(x=alt.value(0), y=alt.value(0), url="url:N")
    )
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, 1], nice=False, zero=False))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[1, 0], nice=False, zero=False))
    absent = (
        alt.Chart(alt.NamedData("spots"))
        .transform_filter("!isValid(datum.value)")
        .mark_point(shape="cross", angle=45, color="#888888")
        .encode(x=x, y=y, tooltip=[alt.Tooltip("spot:N", title="not measured; spot")])
    )
    spots = (
        alt.Chart(alt.NamedData("spots"))
        .transform_filter("isValid(datum.value)")
        .mark_circle(opacity=0.95)
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                "value:Q",
                scale=alt.Scale(scheme=SEQUENTIAL, domain=[0, 1], clamp=True),  # type: ignore[arg-type]
                legend=alt.Legend(orient="bottom", title=None, gradientThickness=10),
            ),
            tooltip=[
                alt.Tooltip("value:Q", title="shown here", format=".2f"),
                alt.Tooltip("measured:Q", title="measured", format=".2f"),
                alt.Tooltip("predicted:Q", title="predicted", format=".2f"),
            ],
        )
    )
    bar = (
        alt.Chart(alt.NamedData("bar"))
        .mark_rule(color="#1d232a", strokeWidth=3)
        .encode(x=alt.X("x:Q"), x2="x2:Q", y="y:Q")
    )
    label = (
        alt.Chart(alt.NamedData("bar"))
        .mark_text(align="left", baseline="bottom", dy=-4, fontSize=11)
        .encode(x="x:Q", y="y:Q", text="label:N")
    )
    return _finish(alt.layer(picture, absent, spots, bar, label), width=None)


def _scatter() -> dict[str, Any]:
    """Return prediction against truth, one dot per spot, on equal scales with the line of equality."""
    scale = alt.Scale(domain=[0, 1], nice=False, zero=False)
    line = (
        alt.Chart(alt.NamedData("line"))
        .mark_line(color="#8a949e", strokeDash=[4, 3])
        .encode(
            x=alt.X("value:Q", scale=scale, title="measured"),
            y=alt.Y("value:Q", scale=scale, title="predicted"),
        )
    )
    dots = (
        alt.Chart(alt.NamedData("spots"))
        .mark_circle(size=22, opacity=0.45)
        .encode(
            x=alt.X("measured:Q", scale=scale, title="measured"),
            y=alt.Y("predicted:Q", scale=scale, title="predicted"),
            color=alt.value("#0072B2"),
            tooltip=[alt.Tooltip("measured:Q", format=".2f"), alt.Tooltip("predicted:Q", format=".2f")],
        )
    )
    return _finish(alt.layer(line, dots), width=None)


def _methods() -> dict[str, Any]:
    """Return r of every method for one gene in one section; the chosen method is drawn larger."""
    base = alt.Chart(alt.NamedData("scores")).encode(
        y=alt.Y("method:N", title=None, sort=alt.EncodingSortField("r", "max", "descending")),
        color=alt.Color("colour:N", scale=None),
        tooltip=[alt.Tooltip("method:N"), alt.Tooltip("r:Q", format=".3f")],
    )
    lines = base.mark_rule(strokeWidth=1.5).encode(
        x=alt.X("zero:Q", title="r of this gene in this section"), x2="r:Q"
    )
    dots = base.mark_point(opacity=1, strokeWidth=2).encode(
        x="r:Q",
        fill=alt.Fill("fill:N", scale=None),
        shape=alt.Shape("shape:N", scale=None),
        size=alt.Size("size:Q", scale=None),
    )
    return _finish(alt.layer(lines, dots))


def _finish(chart: Any, width: str | None = "container") -> dict[str, Any]:
    """Return the checked specification, as wide as its place on the page."""
    if width:
        chart = chart.properties(width=width)
    spec: dict[str, Any] = chart.to_dict()
    spec["config"] = CONFIG
    return spec


def method_looks(methods: Mapping[str, str], settings: Settings) -> dict[str, dict[str, Any]]:
    """Return title and look of methods for the script, best known families first."""
    looks = {}
    for method, family in sorted(
        methods.items(), key=lambda item: FAMILIES.index(item[1]) if item[1] in FAMILIES else 9
    ):
        look = settings.look(method, family)
        looks[method] = {
            "title": settings.title(method),
            "family": FAMILY_TITLES.get(family, family),
            "colour": look.colour,
            "fill": "#ffffff" if look.hollow else look.colour,
            "shape": _SHAPES.get(family, "circle"),
        }
    return looks
