"""Why a job runs, in a line that a person reads."""

from __future__ import annotations

from histobench.plan.told import shorter


def test_one_file_of_each_kind_is_named_and_the_others_are_counted():
    reason = "Missing output files: b/2, a/1, c/3; Input files updated by another job: x/1, x/2"
    assert shorter(reason) == "Missing output files: a/1 and 2 more"
    assert shorter("Updated input files: x/1; Code has changed since last execution") == (
        "Updated input files: x/1; Code has changed since last execution"
    )


def test_a_changed_configuration_is_not_told_whole():
    change = (
        "Params have changed since last execution: before: {"
        + ", ".join(f"'key{i}': {i}" for i in range(5000))
        + "}"
    )
    told = shorter(f"{change}; Code has changed since last execution")
    assert told.startswith("Params have changed since last execution: before: {'key0': 0, 'key1'")
    assert told.endswith(" ...; Code has changed since last execution") and len(told) < 500
