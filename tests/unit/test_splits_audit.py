"""Leakage audit: clean folds pass, every leak fails with its reason, declared leaks are declared."""

from __future__ import annotations

import pandas as pd
import pytest

from histobench.errors import UserError
from histobench.splits.audit import audit, write_audit
from histobench.splits.folds import make_folds, roles, write_folds

SECTIONS = {f"{patient}{i}": patient for patient in "ABCD" for i in (1, 2)}


def table_of(scheme, cohort="her2st", **options):
    return pd.DataFrame(roles(make_folds(SECTIONS, scheme=scheme, **options), SECTIONS, cohort))


def statuses(result, check):
    return set(result.loc[result["check"] == check, "status"])


@pytest.mark.parametrize(
    "options",
    [
        {"scheme": "leave_one_patient_out", "valid_patients": 1},
        {"scheme": "k_fold_patients", "k": 2, "held_out": ["D"]},
    ],
)
def test_patient_wise_folds_pass(options):
    result = audit(table_of(**options), scheme=options["scheme"])
    assert list(result.columns) == ["check", "scope", "status", "detail"]
    assert set(result["status"]) == {"ok"} and result["detail"].ne("").all()


def test_section_wise_folds_are_declared_in_paper_mode_and_fail_otherwise():
    folds = table_of("leave_one_section_out")
    paper = audit(folds, scheme="leave_one_section_out", mode="paper")
    assert statuses(paper, "fold scheme") == statuses(paper, "patients") == {"declared"}
    assert "fail" not in set(paper["status"])
    assert statuses(audit(folds, scheme="leave_one_section_out"), "fold scheme") == {"fail"}


def test_section_wise_folds_declared_as_patient_wise_fail_in_every_mode():
    folds = table_of("leave_one_section_out")
    for mode in ("harmonised", "paper"):
        result = audit(folds, scheme="leave_one_patient_out", mode=mode)
        assert statuses(result, "patients") == {"fail"}
        assert "A2 of tested patient A is trained on" in result.query("check == 'patients'")["detail"].iloc[0]


def test_panel_of_all_sections():
    folds = table_of("leave_one_patient_out")
    leak = {"scheme": "leave_one_patient_out", "panel_scope": "all"}
    assert statuses(audit(folds, **leak), "panel scope") == {"fail"}
    assert statuses(audit(folds, **leak, mode="paper"), "panel scope") == {"declared"}


def cross_cohort(tested="E"):
    rows = [
        ("external", patient, f"{patient}_C1", "train", "hbcis") for patient in ("BC23567", "BC23903", "A")
    ]
    rows.append(("external", tested, f"{tested}1", "test", "her2st"))
    return pd.DataFrame(rows, columns=["fold", "patient", "section", "role", "cohort"])


def test_patient_known_by_another_name_in_another_cohort():
    aliases = {"her2st": {"E": "BC23567", "G": "BC23903"}}
    result = audit(cross_cohort("E"), scheme="leave_one_patient_out", aliases=aliases)
    assert statuses(result, "patients") == {"fail"}
    assert (
        "who is patient BC23567 of the training data" in result.query("check == 'patients'")["detail"].iloc[0]
    )
    # Patient A of one cohort is nobody in the other, although there is an A.
    assert statuses(
        audit(cross_cohort("A"), scheme="leave_one_patient_out", aliases=aliases), "patients"
    ) == {"ok"}
    assert statuses(
        audit(cross_cohort("E"), scheme="leave_one_patient_out", aliases={"E": "BC23567"}), "patients"
    ) == {"fail"}


def test_two_patients_of_one_cohort_that_are_one_person():
    result = audit(
        table_of("leave_one_patient_out"), scheme="leave_one_patient_out", aliases={"A": "X", "B": "X"}
    )
    assert statuses(result, "patients") == {"ok", "fail"}


def test_validation_section_double_role_and_double_test():
    folds = table_of("leave_one_patient_out", valid_patients=1)
    row = folds[(folds.role == "train")].iloc[0]
    split = folds.copy()
    split.loc[row.name, "role"] = "valid"
    assert "fail" in statuses(audit(split, scheme="leave_one_patient_out"), "validation")
    double = pd.concat([folds, row.to_frame().T.assign(role="test")], ignore_index=True)
    result = audit(double, scheme="leave_one_patient_out")
    assert "fail" in statuses(result, "sections") and statuses(result, "tested once") == {"fail"}


def test_stage_writes_the_table_and_fails_with_one_sentence(tmp_path):
    folds = make_folds(SECTIONS, scheme="leave_one_section_out")
    write_folds(folds, SECTIONS, "her2st", tmp_path / "folds.tsv")
    with pytest.raises(UserError, match=r"fold scheme \(experiment\).* and 8 more checks fail; change"):
        write_audit(
            folds_tsv=tmp_path / "folds.tsv", output=tmp_path / "leak.tsv", scheme="leave_one_section_out"
        )
    assert (pd.read_csv(tmp_path / "leak.tsv", sep="\t")["status"] == "fail").sum() == 9
    write_audit(folds_tsv=tmp_path / "folds.tsv", output=tmp_path / "paper.tsv", scheme="leave_one_section_out",
                mode="paper", panel_scope="all")  # fmt: skip
    assert "fail" not in (tmp_path / "paper.tsv").read_text()
