"""The envelope of the null control, as figures and the report tell of it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from histobench.figures.drawing.settings import COMPETITORS, Settings
from histobench.figures.drawing.text import count, signed


@dataclass(frozen=True)
class Null:
    """What null controls score over permutations: the ends of all envelopes, and how many they are of."""

    low: float
    high: float
    n_permutations: int
    methods: tuple[str, ...]

    @classmethod
    def of(cls, board: pd.DataFrame) -> Null | None:
        """Take the envelope from a leader board; None where no control of it has one."""
        if "null_low" not in board or board["null_low"].isna().all():
            return None
        own = board[board["null_low"].notna()]
        return cls(
            float(own["null_low"].min()),
            float(own["null_high"].max()),
            int(own["n_permutations"].sum()),
            tuple(own["method"]),
        )

    @property
    def between(self) -> str:
        """Say between which scores permutations lie."""
        share = "95 % of" if self.n_permutations >= len(self.methods) * 39 else "all"
        number = count(self.n_permutations, "permutation")
        return f"{share} {number} lie between {signed(self.low, 3)} and {signed(self.high, 3)}"

    def outside(self, board: pd.DataFrame, settings: Settings) -> str:
        """Say how many deep and classical methods of a leader board lie above, and name those that do not."""
        scored = board[board["family"].isin(COMPETITORS) & board["pearson"].notna()]
        above = scored["pearson"] > self.high
        if not len(scored):
            return ""
        if above.all():
            return f"All {count(len(scored), 'deep or classical method')} lie above."
        rest = settings.listed(scored.loc[~above, "method"])
        return f"Of {count(len(scored), 'deep or classical method')} {above.sum()} lie above; not {rest}."
