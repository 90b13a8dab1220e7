"""Who makes a file: as an expression for every whole path would tell."""

from __future__ import annotations

import re
import types

from hypothesis import given
from hypothesis import strategies as st
from snakemake.io import regex_from_filepattern

from histobench.plan.ends import Ends, Flags

WORDS = st.sampled_from(
    ["results/", "a", "b/", ".tsv", "{x}", "{y}", "{z,\\d+}", "12", "/", "{w,a}", "{v,b/1}2{v}"]
)
PATHS = st.lists(WORDS, min_size=1, max_size=5, unique=True).map("".join)


@given(
    st.lists(PATHS, max_size=6),
    st.text("ab/12.tsvresults", max_size=16)
    | st.sampled_from(["b/12b/1", "ab/12b/1.tsv", "ab/12b/2"])
    | PATHS,
)
def test_makers_are_those_whose_path_matches(paths, file):
    ends = Ends(((path, number) for number, path in enumerate(paths)), regex_from_filepattern)
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
