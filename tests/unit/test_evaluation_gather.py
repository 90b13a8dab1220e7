"""Results of a method over folds and seeds, where sections of one patient are tested in different folds."""

from __future__ import annotations

import pandas as pd

from histobench.evaluation.domain_tables import domain_table
from histobench.evaluation.gather import ScoredMethod


def test_section_wise_folds_count_every_spot_of_a_patient_once():
    """A fold pools the sections that it tests: two folds have 137 and 142 spots of the patient."""
    rows = [
        {"patient": "P1", "section": section, "metric": "purity_truth", "value": value, "n_spots": spots}
        for section, value, spots in (
            ("P1_1", 0.6, 137),
            ("P1_2", 0.8, 142),
            ("*", 0.6, 137),
            ("*", 0.8, 142),
        )
    ]
    seeds = [pd.DataFrame(rows), pd.DataFrame(rows).assign(value=0.5)]
    method = ScoredMethod("knn", "classical", [], [], 2, scalars=seeds)
    scores = method.scalar_scores.set_index("section")
    assert scores["n_spots"].to_dict() == {"*": 279, "P1_1": 137, "P1_2": 142}
    assert scores["value"].round(6).to_dict() == {"*": 0.6, "P1_1": 0.55, "P1_2": 0.65}
    table = domain_table([method])
    assert table.set_index("section")["n_spots"].to_dict() == {"*": 279, "P1_1": 137, "P1_2": 142}
    assert table["n_spots"].dtype == "Int64"
