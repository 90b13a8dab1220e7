"""Who makes a file: as an expression for every whole path would tell."""

from __future__ import annotations

import re
import types

from hypothesis import given
from hypothesis import strategies as st
from snakemake.io import regex_from_filepattern

from histobench.plan.ends import Ends, Flags

WORDS = st.sampled_from(["results/", "a", "b/", ".tsv", "{x}", "{y}", "{z,\\d+}", "12", "/"])
PATHS = st.lists(WORDS, min_size=1, max_size=5, unique=True).map("".join)


def parts(path: str) -> tuple[str, str]:
    """What a path has before the first wildcard and after the last; one without is both."""
    found = [match.span() for match in re.finditer(r"\{.*?\}", path)]
    return (path[: found[0][0]], path[found[-1][1] :]) if found else (path, path)


@given(st.lists(PATHS, max_size=6), st.text("ab/12.tsvresults", max_size=16) | PATHS)
def test_makers_are_those_whose_path_matches(paths, file):
    ends = Ends(((path, *parts(path), number) for number, path in enumerate(paths)), regex_from_filepattern)
    expected = {number for number, path in enumerate(paths) if re.match(regex_from_filepattern(path), file)}
    assert ends.makers(file) == expected
    assert ends.makers(file) is ends.makers(file), "asked once"


def test_flags_are_kept_from_the_first_on():
    path = types.SimpleNamespace(_flags=None)
    flags = Flags(path)
    assert not flags and path._flags is None
    flags["temp"] = True
    assert path._flags is flags == {"temp": True}
    other = types.SimpleNamespace(_flags=None)
    Flags(other).update({"ancient": True})
    assert other._flags == {"ancient": True}
