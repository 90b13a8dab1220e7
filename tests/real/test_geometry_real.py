"""The gate for geometry on every real section of the mirror: what is right passes, and passes alike at any angle."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from histobench.cohorts.geometry import GeometryError, Question, judge
from histobench.cohorts.readers.scalefactors import read_scale_factors
from histobench.cohorts.readers.visium import read_spatial

SECTIONS = [f"{p}{i}" for p in "ABCD" for i in range(1, 7)] + [f"{p}{i}" for p in "EFGH" for i in range(1, 4)]


def spots(shared_data, section, *, whole):
    table = pd.read_csv(shared_data / f"her2st/data/ST-spotfiles/{section}_selection.tsv", sep="\t")
    x, y = ("x", "y") if whole else ("new_x", "new_y")
    table.index = [f"{a}x{b}" for a, b in zip(table.x, table.y, strict=True)]
    return table.assign(array_x=table[x].astype(float), array_y=table[y].astype(float))


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("section", SECTIONS)
def test_legacy_sections_pass_and_their_accidents_do_not(shared_data, section, whole):
    table = spots(shared_data, section, whole=whole)
    declared = 0.917 if section.startswith("A") else 0.688
    about = Question(section, pitch_um=200.0, declared=declared, framed=True)
    found = judge(table, about)
    assert found.scale.um_per_px == pytest.approx(declared, rel=0.01) and found.notes == ()
    assert found.scale.residual_px < (0.09 if whole else 0.01) * found.scale.pitch_px
    mixed = table["pixel_x"].to_numpy().copy()
    tenth = np.random.default_rng(1).choice(len(mixed), len(mixed) // 10, replace=False)
    mixed[tenth] = np.roll(mixed[tenth], 1)
    shuffled = table.sample(frac=1, random_state=0)  # most files are in the order of one of the columns
    for wrong in (
        table.assign(pixel_x=mixed),
        shuffled.assign(pixel_x=np.sort(table["pixel_x"])),
        table.assign(pixel_x=table["pixel_x"] / 2),
        table.assign(pixel_x=table["pixel_y"], pixel_y=table["pixel_x"]),
        table.assign(pixel_x=9500 - table["pixel_x"]),
        table.assign(pixel_x=table["pixel_x"] * 0.7 - table["pixel_y"] * 0.714,
                     pixel_y=table["pixel_x"] * 0.714 + table["pixel_y"] * 0.7),
    ):  # fmt: skip
        with pytest.raises(GeometryError, match=f"Section {section}: "):
            judge(wrong, about)


def test_a_visium_section_at_every_angle(shared_data):
    folder = shared_data / "visium_block_a_s1/spatial"
    if not folder.is_dir():
        pytest.skip("the mirror has no visium_block_a_s1")
    table = read_spatial(folder)
    about = Question(
        "S1",
        grid="hexagonal",
        maker_pitch_um=100.0,
        factors=read_scale_factors(folder / "scalefactors_json.json"),
    )
    straight = judge(table, about).scale.um_per_px
    assert straight == pytest.approx(0.3654, rel=1e-3)
    x, y = table["pixel_x"] - 12000, table["pixel_y"] - 12000
    for degrees in range(0, 360, 7):
        a = np.deg2rad(degrees)
        turned = table.assign(
            pixel_x=12000 + x * np.cos(a) - y * np.sin(a), pixel_y=12000 + x * np.sin(a) + y * np.cos(a)
        )
        assert judge(turned, about).scale.um_per_px == pytest.approx(straight, rel=1e-6)
