"""Settings of the simulated cohort: bounds, names, and no heavy import while the workflow is built."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import histobench
from histobench.cohorts.simulation.simulate import (
    SimulationSettings,
    patient_of,
    section_names,
    settings_from_options,
)
from histobench.errors import UserError


def test_every_setting_has_bounds_and_names_itself():
    for entry in fields(SimulationSettings):
        for wrong in (-1, "6", None, True, float("nan")):
            with pytest.raises(UserError, match=entry.name) as caught:
                SimulationSettings(**{entry.name: wrong})
            assert "expected a" in str(caught.value)


def test_whole_numbers_are_asked_for_where_they_are_needed():
    with pytest.raises(UserError, match=r"grid_rows is 12\.5, expected a whole number from 5 to 64"):
        SimulationSettings(grid_rows=12.5)
    assert SimulationSettings(um_per_px=1).pitch_px == 200.0


def test_options_refuse_an_unknown_key_and_take_known_ones():
    with pytest.raises(UserError, match="unknown key 'n_patient'"):
        settings_from_options({"n_patient": 3})
    assert settings_from_options({"n_patients": 3, "seed": 7}) == SimulationSettings(n_patients=3, seed=7)
    assert settings_from_options(None) == SimulationSettings()


def test_too_few_counts_per_gene_are_refused():
    with pytest.raises(UserError, match="mean_depth is 500, expected at least"):
        SimulationSettings(mean_depth=500)


def test_sections_are_named_by_patient_and_cut():
    names = section_names(SimulationSettings(n_patients=2, sections_per_patient=2))
    assert names == {"P1_1": "P1", "P1_2": "P1", "P2_1": "P2", "P2_2": "P2"}


def test_unknown_section_is_one_sentence():
    with pytest.raises(UserError, match=r"no section 'P9_1'.*P1_1 to P6_2"):
        patient_of(SimulationSettings(), "P9_1")


def test_names_need_no_heavy_import():
    code = (
        "import sys; from histobench.cohorts.simulation.simulate import SimulationSettings, section_names\n"
        "section_names(SimulationSettings())\n"
        "print([m for m in ('numpy', 'pandas', 'cv2', 'scipy') if m in sys.modules])"
    )
    library = str(Path(histobench.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": library}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_image_spans_the_array_frame():
    settings = SimulationSettings(grid_columns=33, grid_rows=35, um_per_px=0.6875)
    assert settings.image_size == (round(32 * 200 / 0.6875), round(34 * 200 / 0.6875))
