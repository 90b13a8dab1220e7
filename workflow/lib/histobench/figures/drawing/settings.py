"""What no table says: names and families of methods, and what captions tell of an experiment."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from textwrap import fill
from typing import Any, NamedTuple

# Trained methods first: the order of legends and panels. Tables sort by score instead.
FAMILIES = ("deep", "classical", "control", "oracle")
# Families that compete; the others are what they are held against.
COMPETITORS = ("deep", "classical")
FAMILY_TITLES = {
    "deep": "deep network",
    "classical": "classical learner",
    "control": "control",
    "oracle": "oracle (uses test measurements)",
}
FAMILY_COLOURS = {"deep": "#D55E00", "classical": "#0072B2", "control": "#6f6f6f", "oracle": "#8A7A1F"}
FAMILY_MARKERS = {"deep": "o", "classical": "s", "control": "o", "oracle": "D"}
# Controls and oracles are drawn hollow, so that the distinction survives greyscale print.
HOLLOW = frozenset({"control", "oracle"})

# After the palettes of Okabe & Ito (2008) and Tol (2021), both made for colour-blind readers; light tones are
# darkened until names printed in them are legible on white. Each family keeps to one side of the colour
# circle: warm for deep, cold for classical, grey and olive for the rest.
RAMPS = {
    "deep": ("#D55E00", "#C2649A", "#882255", "#C98600", "#CC6677", "#661100", "#AA4499", "#A0522D"),
    "classical": ("#0072B2", "#3B9BD6", "#009E73", "#332288", "#2F8F80", "#117733"),
    "control": ("#444444", "#777777", "#8d8d8d", "#5b6470", "#8c8379"),
    "oracle": ("#8A7A1F", "#A89200", "#6B5D2E", "#9C8F50"),
}
_DASHES = ("-", "--", "-.", ":")


class MethodStyle(NamedTuple):
    """How one method is drawn, everywhere."""

    colour: str
    marker: str
    dashes: str
    hollow: bool

    @property
    def face(self) -> str:
        """Fill of the marker."""
        return "white" if self.hollow else self.colour


def base_name(method: str) -> str:
    """Return the method's name without the suffix of a further seed (``NAME.seed1`` -> ``NAME``)."""
    return re.sub(r"\.seed\d+$", "", method)


@dataclass(frozen=True)
class Settings:
    """Settings of an experiment, as far as figures and captions tell of them; nothing is required.

    ``families``, ``titles`` and ``places`` are what methods declare, by arm: the family, the short name, and
    the place among the methods of the family, which gives the colour and the order in legends. The last
    fields are given to figures that declare them.
    """

    experiment: str = ""
    cohort: str = ""
    mode: str = ""
    transform: str = ""
    unit: str = ""
    labels: str = "pathologist's"
    qc: str = ""
    folds: str | Mapping[str, Any] = ""
    panel: Mapping[str, Any] = field(default_factory=dict)
    n_patients: int = 0
    n_sections: int = 0
    pitch_um: float | None = None
    seeds: Sequence[int] = ()
    families: Mapping[str, str] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, int] = field(default_factory=dict)
    apart: Mapping[str, Sequence[str]] = field(default_factory=dict)
    also_differs: Mapping[str, Any] = field(default_factory=dict)
    baselines: Sequence[str] = ()
    entries: Mapping[str, str] = field(default_factory=dict)
    genes: Sequence[str] = ()
    heads: Mapping[str, str] = field(default_factory=dict)
    leader: str = ""
    pair: Sequence[str] = ()
    section: str = ""
    slides: Mapping[str, Any] = field(default_factory=dict)
    transforms: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Settings:
        """Take from a mapping what figures know; what it says nothing about keeps its default."""
        known = {each.name for each in fields(cls)}
        return cls(**{key: value for key, value in settings.items() if key in known and value})

    def family(self, method: str) -> str:
        """Return the family that a method declares, else "deep"."""
        return str(self.families.get(base_name(method), "deep"))

    def title(self, method: str) -> str:
        """Return the name to print: the declared short one, else the method's own without underscores."""
        name = base_name(method)
        return str(self.titles.get(name) or name.replace("_", " "))

    def listed(self, methods: Iterable[str]) -> str:
        """Return the names of several methods as a list in a sentence: "A, B and C"."""
        names = [self.title(method) for method in dict.fromkeys(methods)]
        return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))

    def wrapped(self, method: str, letters: int = 16) -> str:
        """Return the name to print in lines of at most so many letters, which only longer words exceed."""
        return fill(self.title(method), letters, break_long_words=False)

    def look(self, method: str, family: str = "") -> MethodStyle:
        """Return colour, marker and dashes of a method; a function of its name, family and place alone.

        The look does not depend on which other methods are in a figure, so it is the same everywhere. A
        method without a declared place takes one by its name, beyond the first round of colours. ``family``
        is what a table says of the method, for callers that have one.
        """
        name, family = base_name(method), family or self.family(method)
        ramp = RAMPS.get(family, RAMPS["deep"])
        place = self.places.get(name, len(ramp) + zlib.crc32(name.encode()) % 97)
        return MethodStyle(
            colour=ramp[place % len(ramp)],
            marker=FAMILY_MARKERS.get(family, FAMILY_MARKERS["deep"]),
            dashes=_DASHES[(place // len(ramp)) % len(_DASHES)],
            hollow=family in HOLLOW,
        )

    def order(self, methods: Iterable[str]) -> list[str]:
        """Sort methods by family, then by declared place, then by name; each once."""

        def key(method: str) -> tuple[int, float, str]:
            family = self.family(method)
            rank = FAMILIES.index(family) if family in FAMILIES else len(FAMILIES)
            return rank, self.places.get(base_name(method), float("inf")), method

        return sorted(dict.fromkeys(methods), key=key)

    def by_family(self, methods: Iterable[str]) -> dict[str, list[str]]:
        """Group methods by family, families in fixed order, methods in the order of all legends."""
        ordered = self.order(methods)
        groups = {family: [m for m in ordered if self.family(m) == family] for family in FAMILIES}
        return {family: members for family, members in groups.items() if members}

    def competitors(self, methods: Iterable[str]) -> list[str]:
        """Return trained methods, or all that there are if none is."""
        ordered = self.order(methods)
        trained = [m for m in ordered if self.family(m) in COMPETITORS]
        return trained or ordered
