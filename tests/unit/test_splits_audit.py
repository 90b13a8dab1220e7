"""Leakage audit: clean folds pass, every leak fails with its reason, declared leaks are declared."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from histobench.errors import UserError
from histobench.splits.audit import Declared, audit, write_audit
from histobench.splits.folds import make_folds, roles, write_folds

SECTIONS = {f"{patient}{i}": patient for patient in "ABCD" for i in (1, 2)}
PATIENTWISE = Declared(scheme="leave_one_patient_out")


def table_of(scheme, cohort="her2st", **options):
    return pd.DataFrame(roles(make_folds(SECTIONS, scheme=scheme, **options), SECTIONS, cohort))


def declared(scheme="leave_one_patient_out", **other):
    return Declared(scheme=scheme, **other)


def statuses(result, check):
    found = set(result.loc[result["check"] == check, "status"])
    assert found, f"there is no check {check}"
    return found


def reason(result, check):
    """The detail of a check's first row that is not fine."""
    rows = result[(result["check"] == check) & (result["status"] != "ok")]
    return rows["detail"].iloc[0]


@pytest.mark.parametrize(
    "options",
    [
        {"scheme": "leave_one_patient_out", "valid_patients": 1},
        {"scheme": "k_fold_patients", "k": 2, "held_out": ["D"]},
    ],
)
def test_patient_wise_folds_pass(options):
    folds = table_of(**options)
    training = {
        name: {r.section: r.role for r in fold.itertuples() if r.role != "test"}
        for name, fold in folds.groupby("fold")
    }
    panels = {name: fold[fold["role"] != "test"] for name, fold in folds.groupby("fold")}
    result = audit(folds, declared(options["scheme"], training=training), panels=panels, images=[])
    assert list(result.columns) == ["check", "scope", "status", "detail"]
    assert set(result["status"]) == {"ok"} and result["detail"].ne("").all()
    checks = {"fold scheme", "panel scope", "tested once", "stain reference", "truth", "images", "sections", "patients",
              "checkpoint selection", "training input", "panel sections"}  # fmt: skip
    assert set(result["check"]) == checks


def test_section_wise_folds_are_declared_in_paper_mode_and_fail_otherwise():
    folds = table_of("leave_one_section_out")
    paper = audit(folds, declared("leave_one_section_out", mode="paper"))
    assert statuses(paper, "fold scheme") == statuses(paper, "patients") == {"declared"}
    assert "fail" not in set(paper["status"])
    assert statuses(audit(folds, declared("leave_one_section_out")), "fold scheme") == {"fail"}


@pytest.mark.parametrize("mode", ["harmonised", "paper"])
def test_section_wise_folds_declared_as_patient_wise_fail_in_every_mode(mode):
    result = audit(table_of("leave_one_section_out"), declared(mode=mode))
    assert statuses(result, "patients") == {"fail"}
    assert reason(result, "patients") == (
        "section A2 of tested patient A is trained on (test A1), although the folds are declared as "
        "leave_one_patient_out"
    )


def test_a_panel_of_all_sections_as_configured():
    folds = table_of("leave_one_patient_out")
    assert statuses(audit(folds, declared(panel_scope="all")), "panel scope") == {"fail"}
    assert statuses(audit(folds, declared(panel_scope="all", mode="paper")), "panel scope") == {"declared"}
    listed = audit(folds, declared(panel_rule="file"))
    assert "not known" in listed.loc[listed["check"] == "panel scope", "detail"].iloc[0]


def panels_of(folds, extra=()):
    """Sections on which genes were chosen: those of training, and others that should not be there."""
    chosen = {}
    for name, fold in folds.groupby("fold"):
        rows = fold[fold["role"] != "test"]
        chosen[name] = pd.concat([rows, fold[fold["section"].isin(extra)]])[["section", "patient", "cohort"]]
    return chosen


def test_a_panel_that_was_computed_on_test_patients():
    """The record of what happened counts, not only what the configuration says."""
    folds = table_of("leave_one_patient_out")
    result = audit(folds, PATIENTWISE, panels=panels_of(folds, extra=["B2"]))
    failed = result[(result["check"] == "panel sections") & (result["status"] == "fail")]
    assert list(failed["scope"]) == ["B"]
    assert failed["detail"].iloc[0] == "genes were chosen on section B2 of patient B, who is tested"
    every = audit(folds, declared(panel_scope="all", mode="paper"), panels=panels_of(folds, extra=SECTIONS))
    assert statuses(every, "panel sections") == {"declared"}
    # Paper mode excuses a leak that the protocol names, not one that merely happened.
    happened = audit(folds, declared(mode="paper"), panels=panels_of(folds, extra=["B2"]))
    assert "fail" in statuses(happened, "panel sections")
    assert "fail" in statuses(audit(folds, PATIENTWISE, panels={}), "panel sections")


def test_a_panel_chosen_on_the_tested_patient_under_another_name():
    folds = table_of("leave_one_patient_out")
    elsewhere = pd.DataFrame({"section": ["X1"], "patient": ["BC1"], "cohort": ["hbcis"]})
    panels = {name: pd.concat([rows, elsewhere]) for name, rows in panels_of(folds).items()}
    result = audit(folds, declared(aliases={"her2st": {"C": "BC1"}}), panels=panels)
    failed = result[(result["check"] == "panel sections") & (result["status"] == "fail")]
    assert list(failed["scope"]) == ["C"] and "BC1, who is tested as C" in failed["detail"].iloc[0]


def stained(patient, section="R1", cohort="her2st", **other):
    reference = {"cohort": cohort, "section": section, "patient": patient}
    return declared(stain="vahadane", stain_reference=reference, **other)


def test_a_stain_reference_from_a_test_patient():
    folds = table_of("leave_one_patient_out")
    result = audit(folds, stained("B", "B1"))
    assert statuses(result, "stain reference") == {"fail"}
    assert reason(result, "stain reference").startswith(
        "stains are normalised to section B1 of patient B, who is tested (section B2)"
    )
    assert statuses(audit(folds, stained("B", mode="paper")), "stain reference") == {"declared"}
    assert statuses(audit(folds, stained("Z")), "stain reference") == {"ok"}
    assert statuses(audit(folds, declared(stain="vahadane")), "stain reference") == {"ok"}
    alias = stained("BC7", cohort="hbcis", aliases={"her2st": {"D": "BC7"}})
    assert "who is tested as D" in reason(audit(folds, alias), "stain reference")
    external = stained("Q", "Q1", external=[{"cohort": "her2st", "section": "Q2", "patient": "Q"}])
    assert statuses(audit(folds, external), "stain reference") == {"fail"}


BREAST = pd.DataFrame(
    [("heldout", p, f"{p}_C1", role, "hbcis") for p, role in
     [("BC23567", "train"), ("BC23903", "train"), ("A", "train"), ("BC1", "test")]],
    columns=["fold", "patient", "section", "role", "cohort"],
)  # fmt: skip
ALIASES = {"her2st": {"E": "BC23567", "G": "BC23903"}}


def external(*patients, cohort="her2st"):
    return [
        {"cohort": cohort, "section": f"{patient}{i}", "patient": patient}
        for patient in patients
        for i in (1, 2)
    ]


def test_external_patients_who_are_trained_on_under_another_name():
    leaking = declared("k_fold_patients", external=external("A", "E", "G"), aliases=ALIASES)
    result = audit(BREAST, leaking)
    assert statuses(result, "external patients") == {"fail"}
    assert reason(result, "external patients") == (
        "her2st shares 2 of its 3 patients with the training data of hbcis (E is BC23567; G is BC23903); leave "
        "sections E1, E2, G1, G2 out of the external test"
    )
    # Patient A of one cohort is nobody in the other, although there is an A.
    clean = declared("k_fold_patients", external=external("A", "B"), aliases=ALIASES)
    assert statuses(audit(BREAST, clean), "external patients") == {"ok"}
    paper = declared("k_fold_patients", external=external("E"), aliases=ALIASES, mode="paper")
    assert statuses(audit(BREAST, paper), "external patients") == {"declared"}


def test_an_alias_holds_in_both_directions():
    """The cohort that is trained on may be the one that knows the alias."""
    folds = table_of("leave_one_patient_out")
    other = declared(external=external("BC9", cohort="hbcis"), aliases={"her2st": {"A": "BC9"}})
    assert statuses(audit(folds, other), "external patients") == {"fail"}


def test_a_cohort_that_shares_the_names_of_another():
    folds = table_of("leave_one_patient_out")
    again = {"external": external("A", cohort="her2st_zenodo")}
    assert statuses(audit(folds, declared(**again)), "external patients") == {"ok"}
    known = declared(**again, same_patients={"her2st_zenodo": "her2st"})
    assert statuses(audit(folds, known), "external patients") == {"fail"}
    # ... and then has the aliases of that cohort, too.
    hbcis = declared(
        "k_fold_patients",
        external=external("E", cohort="her2st_zenodo"),
        aliases=ALIASES,
        same_patients={"her2st_zenodo": "her2st"},
    )
    assert statuses(audit(BREAST, hbcis), "external patients") == {"fail"}


def test_two_patients_of_one_cohort_that_are_one_person():
    result = audit(table_of("leave_one_patient_out"), declared(aliases={"A": "X", "B": "X"}))
    assert statuses(result, "patients") == {"ok", "fail"}


def hashes(*pairs, cohort="her2st"):
    bare = {"places": [], "descriptions": ""}
    return [
        {"cohort": cohort, "section": section, "phash": phash, "landmarks": bare} for section, phash in pairs
    ]


def test_one_image_under_two_names():
    folds = table_of("leave_one_patient_out")
    different = ["5a" * 32, "1c7e" * 16, "00ff" * 16]
    images = hashes(*zip(["A1", "B1", "C1"], different, strict=True))
    assert statuses(audit(folds, PATIENTWISE, images=images), "images") == {"ok"}
    for mode in ("harmonised", "paper"):
        result = audit(folds, declared(mode=mode), images=[*images, *hashes(("D2", different[0]))])
        assert statuses(result, "images") == {"fail"}
        assert reason(result, "images") == (
            "section A1 of patient A (her2st) and section D2 of patient D (her2st) have the same image "
            "(0 of 255 bits differ); keep one of them"
        )
    # A section of the same name in another cohort is another section, and may have the same image.
    other = declared(external=external("A", cohort="hbcis"))
    result = audit(folds, other, images=[*images, *hashes(("A1", different[2]), cohort="hbcis")])
    assert "section C1 of patient C (her2st) and section A1 of patient A (hbcis)" in reason(result, "images")


def test_checkpoints_chosen_on_test_or_training_patients():
    folds = table_of("leave_one_patient_out", valid_patients=1)
    trained = folds[folds["role"] == "train"].iloc[0]
    both = folds.copy()
    both.loc[trained.name, "role"] = "valid"  # the patient's other section is still trained on
    assert "is trained on too" in reason(audit(both, PATIENTWISE), "checkpoint selection")
    fold = folds[folds["fold"] == "A"]
    spied = folds.copy()
    spied.loc[fold.index[fold["section"] == "A2"], "role"] = "valid"  # A1 is tested
    for mode in ("harmonised", "paper"):
        result = audit(spied, declared(mode=mode))
        assert statuses(result, "checkpoint selection") == {"ok", "fail"}
        assert reason(result, "checkpoint selection") == (
            "checkpoints are chosen on section A2 of patient A, who is tested"
        )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"A1": "train"}, "training gets section A1 for train, but in folds.tsv it has the role test"),
        ({"Z9": "valid"}, "training gets section Z9 for valid, but in folds.tsv it takes no part"),
        ({"B1": None}, "training does not get section B1"),
    ],
)
def test_training_gets_what_the_folds_say(change, words):
    folds = table_of("leave_one_patient_out")
    given = {section: "train" for section, patient in SECTIONS.items() if patient != "A"} | change
    training = {"A": {section: role for section, role in given.items() if role}}
    result = audit(folds[folds["fold"] == "A"], declared(training=training))
    assert statuses(result, "training input") == {"fail"} and words in reason(result, "training input")


def test_double_role_and_double_test():
    folds = table_of("leave_one_patient_out")
    row = folds[(folds.role == "train")].iloc[0]
    double = pd.concat([folds, row.to_frame().T.assign(role="test")], ignore_index=True)
    result = audit(double, PATIENTWISE)
    assert "fail" in statuses(result, "sections") and statuses(result, "tested once") == {"fail"}


def test_stage_writes_the_table_and_fails_with_one_sentence(tmp_path):
    folds = make_folds(SECTIONS, scheme="leave_one_section_out")
    write_folds(folds, SECTIONS, "her2st", tmp_path / "folds.tsv")
    with pytest.raises(
        UserError, match=r"fold scheme \(experiment\): .* \(and 8 more checks fail\); nothing"
    ):
        write_audit(
            folds_tsv=tmp_path / "folds.tsv", output=tmp_path / "leak.tsv", scheme="leave_one_section_out"
        )
    assert (pd.read_csv(tmp_path / "leak.tsv", sep="\t")["status"] == "fail").sum() == 9
    write_audit(folds_tsv=tmp_path / "folds.tsv", output=tmp_path / "paper.tsv", scheme="leave_one_section_out",
                mode="paper", panel_scope="all")  # fmt: skip
    assert "fail" not in (tmp_path / "paper.tsv").read_text()


def test_stage_reads_panels_and_hashes(tmp_path):
    write_folds(
        make_folds(SECTIONS, scheme="leave_one_patient_out"), SECTIONS, "her2st", tmp_path / "folds.tsv"
    )
    folds = pd.read_csv(tmp_path / "folds.tsv", sep="\t")
    panels = {}
    for name, rows in panels_of(folds).items():
        panels[name] = tmp_path / f"{name}.sections.tsv"
        rows.to_csv(panels[name], sep="\t", index=False)
    images = []
    for section in ("A1", "C2"):
        images.append(tmp_path / f"{section}.json")
        images[-1].write_text(json.dumps(hashes((section, "77" * 32))[0]))
    arguments = {"folds_tsv": tmp_path / "folds.tsv", "output": tmp_path / "a.tsv",
                 "scheme": "leave_one_patient_out", "panels": panels}  # fmt: skip
    write_audit(**arguments, images=images[:1])
    with pytest.raises(UserError, match=r"section A1 of patient A .* and section C2 of patient C"):
        write_audit(**arguments, images=images)


def twins_of(*rows):
    return pd.DataFrame(rows, columns=["section", "other", "patient", "other_patient", "same"])


@pytest.mark.parametrize(
    ("known", "rows", "says"),
    [
        # E1 is measured in both cohorts; sister sections have its outline but not its counts
        ({"E": "A"}, [("A1", "E1", "A", "E", True), ("A2", "E1", "A", "E", False)], ""),
        # outlines alone confirm a person whose counts another pipeline has made
        ({"E": "A"}, [("A2", "E1", "A", "E", False)], ""),
        ({}, [("B1", "F1", "B", "F", False)], ""),
        ({}, [("A1", "E1", "A", "E", True)], "section E1 of patient E (other) has the spots and counts of section A1 of patient A (hbcis), but is not declared to be that person; add `E: A` to the aliases of other"),
        ({"E": "B"}, [("A1", "E1", "A", "E", True)], "add `E: A` to the aliases of other"),
        ({"E": "A"}, [("A1", "F1", "A", "F", False)], "patient E of other is declared to be A of hbcis, but no section of theirs has the same spots"),
        # a patient of whom one of the cohorts has no section cannot be checked
        ({"E": "BC9", "X": "A"}, [], ""),
    ],
)  # fmt: skip
def test_aliases_against_spots_and_counts(known, rows, says):
    """Also of patients who take no part in the experiment: their sections are read for others of the run."""
    patients = {"hbcis": ["A", "B", "C", "D"], "other": ["E", "F"]}
    about = declared(mode="paper", aliases={"other": known}, patients=patients)
    twins = {"other": twins_of(*rows)}
    result = audit(table_of("leave_one_patient_out", "hbcis"), about, twins=twins)
    assert statuses(result, "patient aliases") == ({"fail"} if says else {"ok"})
    if says:
        assert says in reason(result, "patient aliases")


def test_a_cohort_under_another_name_has_the_same_patients():
    """Two deposits of one cohort: the same names, the same persons."""
    about = declared(same_patients={"copy": "her2st"}, patients={"her2st": ["A"], "copy": ["A"]})
    twins = {"copy": twins_of(("A1", "A1", "A", "A", True))}
    result = audit(table_of("leave_one_patient_out"), about, twins=twins)
    (detail,) = result.loc[result["check"] == "patient aliases", "detail"]
    assert detail == "confirmed by spots (A is A), 1 sections also by counts"


def test_networks_that_have_seen_a_tested_patient_are_refused():
    folds = table_of("leave_one_patient_out")
    before = [{"cohort": "hbcis", "section": "x", "patient": "BC1"}]
    result = audit(folds, declared(start=before))
    assert statuses(result, "starting weights") == {"ok"}
    result = audit(folds, declared(start=before, aliases={"her2st": {"B": "BC1"}}))
    assert statuses(result, "starting weights") == {"fail"}
    assert "have seen patient BC1 of hbcis, who is tested as B" in reason(result, "starting weights")


@pytest.mark.parametrize("mode", ["harmonised", "paper"])
def test_a_competitor_that_is_given_the_truth_fails_in_every_mode(mode):
    fair = {"stnet": {"family": "deep", "oracle": False}, "depth": {"family": "oracle", "oracle": True}}
    result = audit(table_of("leave_one_patient_out"), declared(mode=mode, methods=fair))
    assert statuses(result, "truth") == {"ok"}
    cheat = fair | {"cheat": {"family": "classical", "oracle": True}}
    result = audit(table_of("leave_one_patient_out"), declared(mode=mode, methods=cheat))
    assert statuses(result, "truth") == {"fail"}
    assert reason(result, "truth") == (
        "cheat is given the truth of the section it predicts, but competes as classical"
    )


@pytest.mark.parametrize("mode", ["harmonised", "paper"])
def test_one_measurement_under_two_names_of_one_cohort(mode):
    def found(*rows):
        table = pd.DataFrame(
            rows, columns=["section", "other", "patient", "other_patient", "depth_correlation"]
        )
        result = audit(table_of("leave_one_patient_out"), declared(mode=mode), twins={"her2st": table})
        return result[result["check"] == "counts"].iloc[0]

    assert found()["status"] == "ok"
    assert found(("A1", "Z9", "A", "Z", "1.0"))["status"] == "ok"  # Z9 takes no part
    twice = found(("A1", "B2", "A", "B", "0.9981"))
    assert twice["status"] == "fail"
    assert twice["detail"] == (
        "section A1 of patient A and section B2 of patient B have the same counts (their depth correlates to "
        "0.998); keep one of them"
    )
    assert found(("A1", "A2", "A", "A", "1.0"))["status"] == "fail"  # also of one patient


NAMED = {
    "a copy of a copy": {"same_patients": {"new": "copy", "copy": "her2st"}},
    "each other's copy": {"same_patients": {"new": "her2st", "her2st": "new"}},
    "a name elsewhere of a name elsewhere": {
        "aliases": {"new": {"A": "b1"}, "other": {"b1": "A9"}, "her2st": {"A": "A9"}}
    },
    "each other's name": {"aliases": {"new": {"A": "A9"}, "her2st": {"A": "A9"}}},
    "said by both": {
        "aliases": {"new": {"A": "X"}, "her2st": {"A": "A"}},
        "same_patients": {"new": "her2st"},
    },
    "whatever the cohort": {"aliases": {"A": "X"}},
}


@pytest.mark.parametrize("how", list(NAMED))
def test_one_person_is_found_through_every_chain_of_names(how):
    tested = [{"cohort": "new", "section": "x", "patient": "A"}]
    result = audit(table_of("leave_one_patient_out"), declared(external=tested, **NAMED[how]))
    assert statuses(result, "external patients") == {"fail"}, how
    other = [{"cohort": "new", "section": "y", "patient": "Z"}]
    result = audit(table_of("leave_one_patient_out"), declared(external=other, **NAMED[how]))
    assert statuses(result, "external patients") == {"ok"}, how


def test_patients_that_share_a_name_by_chance_stay_two():
    tested = [{"cohort": "new", "section": "x", "patient": "A"}]
    result = audit(table_of("leave_one_patient_out"), declared(external=tested, aliases={"new": {"A": "B7"}}))
    assert statuses(result, "external patients") == {"ok"}
