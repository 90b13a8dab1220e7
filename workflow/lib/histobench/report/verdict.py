"""The answer of an experiment on one screen: which method, how sure, at what cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from histobench.evaluation.statistics import power_statement
from histobench.figures.drawing.null import Null
from histobench.figures.drawing.settings import COMPETITORS, Settings
from histobench.report.tables import Loaded, known, megabytes, percent, probability, r3, seconds, whole


@dataclass
class Verdict:
    """The answer of one experiment on one screen."""

    best: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    which: list[str] = field(default_factory=list)
    sure: list[str] = field(default_factory=list)
    cost: list[str] = field(default_factory=list)
    missing: str = ""


def verdict(loaded: Mapping[str, Loaded], settings: Settings) -> Verdict:
    """Say which method is best, how sure that is and at what cost, from the tables alone."""
    board = loaded["leaderboard"].table
    if board is None:
        return Verdict(missing=loaded["leaderboard"].reason)
    scored = board[board["pearson"].notna()].sort_values("pearson", ascending=False, kind="stable")
    competitors = scored[scored["family"].isin(COMPETITORS)]
    if scored.empty:
        return Verdict(missing="no method has a score")
    leader = (competitors if len(competitors) else scored).iloc[0]
    result = Verdict(best=str(leader["method"]), rows=_short_board(scored, settings))
    name, score = settings.title(result.best), r3(leader["pearson"])
    if len(competitors):
        share = leader.get("ceiling_fraction")
        of_ceiling = f", {percent(share)} of the noise ceiling" if known(share) else ""
        level = competitors.loc[competitors["pearson"] == leader["pearson"], "method"].iloc[1:]
        also = f", level with {settings.listed(level)}" if len(level) else ""
        result.which.append(f"{_capital(name)} leads with r = {score}{of_ceiling}{also}.")
    else:
        result.which.append(f"No competitor was run; the best of the rest is {name} with r = {score}.")
    controls = scored[scored["family"] == "control"]
    if len(controls) and len(competitors):
        control = controls.iloc[0]
        lead = leader["pearson"] - control["pearson"]
        words = "above" if lead > 0 else "not above"
        between = _between(result.best, str(control["method"]), loaded.get("comparisons", Loaded(None)))
        result.which.append(
            f"It is {words} the best control, {settings.title(control['method'])} "
            f"(r = {r3(control['pearson'])}, difference {r3(lead)}{between})."
        )
    result.which += _other_winners(result.best, competitors, settings)
    result.sure = [*_certainty(leader, loaded, settings), *null_lines(loaded, settings)]
    result.cost = _cost(leader, competitors, settings)
    return result


def null_lines(loaded: Mapping[str, Loaded], settings: Settings) -> list[str]:
    """Say what the null control scores over its permutations, and which methods lie above; [] without one."""
    board, draws = loaded["leaderboard"].table, loaded.get("permutations", Loaded(None)).table
    null = Null.of(board) if board is not None else None
    if board is None or null is None or draws is None:
        return []
    scores = f"mean r {r3(draws['pearson'].mean())}, {null.between}"
    return [f"Null ({settings.listed(null.methods)}): {scores}. {null.outside(board, settings)}".strip()]


def _other_winners(best: str, competitors: pd.DataFrame, settings: Settings) -> list[str]:
    """Say who would lead if correlations were pooled over sections, where that is somebody else."""
    ways = {"pearson_pooled": "pooled over all sections", "pearson_centred": "pooled over centred sections"}
    winners: dict[str, list[str]] = {}
    for column, way in ways.items():
        scored = competitors[competitors[column].notna()] if column in competitors else competitors[:0]
        if len(scored):
            row = scored.sort_values(column, ascending=False, kind="stable").iloc[0]
            winners.setdefault(str(row["method"]), []).append(f"{way} (r = {r3(row[column])})")
    return [
        f"{_capital(settings.title(winner))} would lead if r were {' or '.join(found)}."
        for winner, found in winners.items()
        if winner != best
    ]


def _short_board(scored: pd.DataFrame, settings: Settings) -> list[dict[str, Any]]:
    """Return the rows of the overview: the best five competitors, then the best control and oracle."""
    best = scored[scored["family"].isin(COMPETITORS)].head(5)
    rest = [scored[scored["family"] == family].head(1) for family in ("control", "oracle")]
    top = float(scored["pearson_high"].max()) if scored["pearson_high"].notna().any() else 1.0
    rows = []
    for part in [best, *rest]:
        for row in part.to_dict("records"):
            look = settings.look(row["method"], row["family"])
            rows.append(
                {
                    "title": settings.title(row["method"]),
                    "family": row["family"],
                    "look": look,
                    "r": r3(row["pearson"]),
                    "interval": _interval(row["pearson_low"], row["pearson_high"]),
                    "bar": _bar(row, top),
                    "share": percent(row["ceiling_fraction"]) if known(row.get("ceiling_fraction")) else "–",
                    "time": seconds(row["train_seconds"]) if known(row.get("train_seconds")) else "–",
                }
            )
    return rows


def _capital(text: str) -> str:
    """Return a name as the first word of a sentence."""
    return text[:1].upper() + text[1:]


def _interval(low: Any, high: Any) -> str:
    return f"{r3(low)} to {r3(high)}" if known(low) and known(high) else "no interval"


def _bar(row: Mapping[Any, Any], top: float) -> dict[str, float] | None:
    """Return positions in percent of a small dot-and-interval drawing whose axis runs from 0 to ``top``."""
    if not (known(row["pearson_low"]) and known(row["pearson_high"]) and top > 0):
        return None
    low, middle, high = (
        min(100.0, max(0.0, 100 * float(row[key]) / top))
        for key in ("pearson_low", "pearson", "pearson_high")
    )
    return {"low": round(low, 1), "middle": round(middle, 1), "width": round(high - low, 1)}


def _certainty(leader: Any, loaded: Mapping[str, Loaded], settings: Settings) -> list[str]:
    patients = settings.n_patients
    sample = f"{patients} patients" if patients else "patients"
    lines = [f"95 % interval {_interval(leader['pearson_low'], leader['pearson_high'])} over {sample}."]
    lines += _comparison_lines(str(leader["method"]), loaded.get("comparisons", Loaded(None)), settings)
    if patients and known(leader.get("n_genes")):
        statement = power_statement(int(patients), int(leader["n_genes"]))
        lines.append(f"Consistency of genes: {statement[0].lower()}{statement[1:]}")
    board = loaded["leaderboard"].table
    several = board is not None and "seeds" in board and board["seeds"].max() > 1
    # where others have several, this one needs no more: no seed changes it
    if int(leader["n_folds"] or 0) and not several and str(leader.get("seeds", "1")) in ("1", "1.0"):
        lines.append("One seed: the spread between trainings is not measured.")
    return lines


def _between(best: str, other: str, comparisons: Loaded) -> str:
    """Return the interval of the paired difference to another method, and whether it leaves zero open."""
    table = comparisons.table
    if table is None or not {"method_a", "method_b", "difference_low", "difference_high"} <= set(
        table.columns
    ):
        return ""
    for sign, a, b in ((1.0, best, other), (-1.0, other, best)):
        found = table[(table["method_a"] == a) & (table["method_b"] == b)]
        if len(found) and known(found["difference_low"].iloc[0]):
            ends = sorted(sign * float(found[name].iloc[0]) for name in ("difference_low", "difference_high"))
            clear = "" if ends[0] > 0 or ends[1] < 0 else ", which does not exclude zero"
            return f", 95 % interval {_interval(*ends)}{clear}"
    return ""


def _comparison_lines(best: str, comparisons: Loaded, settings: Settings) -> list[str]:
    """Say how the leader stands against the next competitor, from the paired comparisons."""
    table = comparisons.table
    if table is None or not {"method_a", "method_b", "difference"} <= set(table.columns):
        return []
    rows = []
    for row in table.to_dict("records"):
        if best not in (row["method_a"], row["method_b"]):
            continue
        other = row["method_b"] if row["method_a"] == best else row["method_a"]
        sign = 1.0 if row["method_a"] == best else -1.0
        if settings.family(other) in COMPETITORS and known(row["difference"]):
            rows.append((sign * float(row["difference"]), other, sign, row))
    if not rows:
        return []
    difference, other, sign, row = min(rows, key=lambda entry: entry[0])
    low, high = row.get("difference_low"), row.get("difference_high")
    ends = sorted(sign * float(end) for end in (low, high) if end is not None and known(end))
    interval = f" ({_interval(*ends)})" if len(ends) == 2 else ""
    p = row.get("p_holm")
    test = f"; Wilcoxon signed-rank over patients, Holm-corrected p = {probability(p)}" if known(p) else ""
    title = settings.title(other)
    # pairs are of the patients and genes that both have, so that their order need not be that of the board
    how = f"Ahead of {title} by" if difference > 0 else f"Not ahead of {title} where both have r: difference"
    return [f"{how} {r3(difference)}{interval}{test}."]


def _cost(leader: Any, competitors: pd.DataFrame, settings: Settings) -> list[str]:
    parts = []
    if known(leader.get("train_seconds")):
        parts.append(f"{seconds(leader['train_seconds'])} per training")
    if known(leader.get("peak_memory_mb")):
        parts.append(f"{megabytes(leader['peak_memory_mb'])} peak memory")
    if known(leader.get("parameters")):
        parts.append(f"{whole(leader['parameters'])} parameters")
    lines = [
        f"{_capital(settings.title(leader['method']))}: {', '.join(parts)}."
        if parts
        else "Cost was not recorded."
    ]
    if "train_seconds" in competitors and len(competitors) > 1 and leader["pearson"] > 0:
        others = competitors[competitors["method"] != leader["method"]]
        cheap = others[others["train_seconds"].notna() & (others["pearson"] > 0)].sort_values("train_seconds")
        near = cheap[cheap["pearson"] >= 0.8 * leader["pearson"]]
        if (
            len(near)
            and known(leader.get("train_seconds"))
            and near.iloc[0]["train_seconds"] < leader["train_seconds"]
        ):
            row = near.iloc[0]
            lines.append(
                f"{_capital(settings.title(row['method']))} reaches "
                f"{percent(row['pearson'] / leader['pearson'])} of that "
                f"score in {seconds(row['train_seconds'])}."
            )
    return lines
