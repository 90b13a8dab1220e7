"""Target transforms: formulas, published check values, empty spots, and what their files may say."""

from __future__ import annotations

import ast
import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from project_copy import copy_project
from scipy import sparse
from unit.described import planned
from unit.target_transforms import NAMES, declared

from histobench.config.benchmark import Benchmark
from histobench.config.schemas import schema
from histobench.errors import UserError
from histobench.expression.transforms import ALONE, BY_DEPTH, Transform, transform_counts, usual_transform
from histobench.plan import data, figures, tables, training
from histobench.plan.model import make_plan

COUNTS = np.array([[0, 3, 10], [2, 0, 1], [0, 0, 0]])
TOTAL = np.array([500.0, 20.0, 0.0])


def test_formulas():
    def ours(name):
        return transform_counts(name, COUNTS, TOTAL, n_genes=26949)[:2]

    z, panel = TOTAL[:2, None], COUNTS[:2].sum(axis=1, keepdims=True)
    c = COUNTS[:2]
    np.testing.assert_allclose(ours("log1p_cp10k"), np.log(1 + 1e4 * c / z), rtol=1e-6)
    np.testing.assert_allclose(ours("stnet"), np.log((1 + c) / (26949 + z)), rtol=1e-6)
    np.testing.assert_allclose(ours("log1p"), np.log(1 + c), rtol=1e-6)
    np.testing.assert_allclose(ours("log10_cp10k"), np.log10(1 + 1e4 * c / z), rtol=1e-6)
    np.testing.assert_allclose(ours("log10_cp10k_panel"), np.log10(1 + 1e4 * c / panel), rtol=1e-6)


def test_stnet_target_of_the_median_spot():
    """26,949 genes and a median library of 3,426: -10.32 for a zero count, -7.92 for a count of ten."""
    target = transform_counts("stnet", np.array([[0, 10]]), np.array([3426]), n_genes=26949)
    np.testing.assert_allclose(target, [[-10.32, -7.92]], atol=0.005)


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.int64, st.tuples(st.integers(0, 6), st.integers(1, 5)), elements=st.integers(0, 10**6)),
    st.sampled_from(NAMES),
)
def test_always_finite_single_precision_and_the_same_for_sparse_input(counts, name):
    total = counts.sum(axis=1)
    target = transform_counts(name, counts, total, n_genes=100)
    assert target.dtype == np.float32 and target.shape == counts.shape and np.isfinite(target).all()
    same = transform_counts(name, sparse.csr_matrix(counts), total, n_genes=100)
    np.testing.assert_array_equal(target, same)


def test_given_panel_total_replaces_the_row_sums():
    target = transform_counts("log10_cp10k_panel", COUNTS[:2], TOTAL[:2], panel_total=[100.0, 200.0])
    np.testing.assert_allclose(target[0, 1], np.log10(1 + 1e4 * 3 / 100), rtol=1e-6)


def test_input_is_left_alone():
    counts = COUNTS.astype(float)
    transform_counts("log1p", counts, TOTAL)
    np.testing.assert_array_equal(counts, COUNTS)


def test_wrong_requests():
    with pytest.raises(UserError, match=r"'log1p_cp10' has no file in .*; did you mean `log1p_cp10k`"):
        transform_counts("log1p_cp10", COUNTS, TOTAL)
    with pytest.raises(ValueError, match="number of measured genes"):
        transform_counts("stnet", COUNTS, TOTAL)
    with pytest.raises(ValueError, match="same spots"):
        transform_counts("log1p", COUNTS, TOTAL[:2])


def test_values_of_the_shipped_transforms_are_those_of_plain_arithmetic_to_the_last_digit():
    rng = np.random.default_rng(0)
    counts = rng.negative_binomial(1, 0.05, (200, 30)).astype(float)
    total, panel = counts.sum(axis=1) + rng.integers(0, 9000, 200), counts.sum(axis=1)
    wanted = {
        "log1p_cp10k": np.log1p(counts * (1e4 / total)[:, None]),
        "stnet": np.log((counts + 1.0) / (15000 + total)[:, None]),
        "log1p": np.log1p(counts),
        "log10_cp10k": np.log1p(counts * (1e4 / total)[:, None]) / np.log(10.0),
        "log10_cp10k_panel": np.log1p(counts * (1e4 / panel)[:, None]) / np.log(10.0),
    }
    assert wanted.keys() == set(NAMES)
    for name, values in wanted.items():
        target = transform_counts(name, counts, total, panel, 15000)
        np.testing.assert_array_equal(target, values.astype(np.float32))


def test_the_steps_of_the_schema_are_the_functions_of_the_module(project):
    rules = schema(project, "transform")["properties"]["steps"]["items"]["properties"]
    functions = {**BY_DEPTH, **{name: forward for name, (forward, _) in ALONE.items()}}
    assert rules.keys() == functions.keys()
    for name, step in functions.items():
        settings = {
            key
            for key, value in inspect.signature(step).parameters.items()
            if value.kind is value.KEYWORD_ONLY
        }
        assert rules[name]["properties"].keys() == settings == set(rules[name].get("required", ()))


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float64, (3, 4), elements=st.floats(0, 1e4)),
    st.sampled_from([None, 2, 10, "e"]),
    st.booleans(),
)
def test_what_can_be_undone_is_undone(values, base, root):
    steps = [*([{"sqrt": {}}] if root else []), *([{"log1p": {"base": base}}] if base else [])]
    transform = Transform.of({"name": "x", "depth": "none", "steps": steps})
    assert transform.invertible and transform.log_base == {None: None, "e": np.e}.get(base, base)
    np.testing.assert_allclose(transform.linear(transform.curved(values)), values, rtol=1e-9, atol=1e-9)
    assert Transform.of(transform.definition) == transform == Transform.stored(transform.marks)


def test_who_names_no_transform_gets_that_of_experiments(project):
    default = schema(project, "experiment")["properties"]["transform"]["default"]
    assert usual_transform() == Transform.of(default) == Transform.of(declared(default))


NEW = (
    "{title: Square root of counts per million, source: Own choice, unit: √CPM, depth: panel, "
    "steps: [{scale: {to: 1000000}}, {sqrt: {}}]}"
)


def test_a_new_transform_is_one_yaml_entry_and_reaches_targets_scores_and_axes(project, tmp_path):
    text = f"transforms: {{root_cpm: {NEW}}}\nexperiments: {{demo: {{transform: root_cpm}}}}\n"
    plan = planned(project, tmp_path, text)
    steps = [{"scale": {"to": 1000000}}, {"sqrt": {}}]
    told = {"name": "root_cpm", "depth": "panel", "steps": steps}
    run = next(iter(plan.described("demo").runs))
    assert training.prediction_settings(plan, "demo", run)["transform"] == told
    assert tables.ceiling_settings(plan, "demo")["transform"] == told
    assert tables.table_settings(plan, "demo")["transform"] == told
    assert figures.experiment_facts(plan, "demo")["unit"] == "√CPM"
    target = transform_counts(told, COUNTS[:2], TOTAL[:2])
    np.testing.assert_allclose(
        target, np.sqrt(1e6 * COUNTS[:2] / COUNTS[:2].sum(axis=1, keepdims=True)), rtol=1e-6
    )
    assert Transform.of(told).log_base is None  # no factor to tell


def test_a_new_transform_is_one_file(project, tmp_path):
    copy = tmp_path / "checkout"
    copy_project(project, copy)
    (copy / "config/transforms/mine.yaml").write_text(
        "title: Counts\nsource: Own choice\nunit: counts\ndepth: none\nsteps: []\n"
    )
    bench = Benchmark({"run": ["demo"], "experiments": {"demo": {"transform": "mine"}}}, copy)
    assert "mine" in bench.transforms
    told = data.target(make_plan(bench), "mine")
    np.testing.assert_array_equal(transform_counts(told, COUNTS, TOTAL), COUNTS)


def steps(text, more=""):
    """A configuration with a transform of these steps."""
    about = "title: Mine, source: Own choice, unit: u"
    return f"transforms: {{mine: {{{about}, {more}steps: [{text}]}}}}\nexperiments: {{demo: {{transform: mine}}}}\n"


DEEP, NONE = "depth: measured, ", "depth: none, "


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("experiments: {demo: {transform: log2}}", "`transform` names the transform `log2`, which does not exist"),
        ("transforms: {log1: {unit: x}}", "changes the transform `log1`, which has no file in config/transforms"),
        (steps("{scaled: {to: 3}}", DEEP), "unknown key `scaled` in `steps.0`; did you mean `scale`?"),
        (steps("{log1p: {bas: e}}", NONE), "unknown key `bas` in `steps.0.log1p`; did you mean `base`?"),
        (steps("{log1p: {}}", NONE), "the key `base` is missing in `steps.0.log1p`; add it."),
        (steps("{log1p: {base: 3}}", NONE), "`steps.0.log1p.base` must be one of `e`, `2`, `10`, found 3."),
        (steps("{scale: {to: 0}}", DEEP), "`steps.0.scale.to` must be a number above 0, found 0."),
        (steps("{scale: {to: 9}, sqrt: {}}", DEEP), "`steps.0` takes at most 1 entries"),
        (steps("{sqrt: {}}"), "has no file in config/transforms; "),
        (steps("{sqrt: {}}", DEEP), "`depth: measured` has no effect, as no step divides by it"),
        (steps("{scale: {to: 9}}", NONE), "the step `scale` divides by the depth; set `depth: measured`"),
        (steps("{share: {pseudocount: 1}}", "depth: panel, "), "`share` counts every measured gene"),
        (steps("{scale: {to: 9}}, {share: {pseudocount: 1}}", DEEP), "`scale` and `share` both divide"),
        (steps("{sqrt: {}}, {scale: {to: 9}}", DEEP), "`sqrt` stands before it; put `scale` first"),
        (steps("{log: {base: e}}", NONE), "the step `log` of a count of zero is infinite"),
        (steps("{share: {pseudocount: 1}}, {log: {base: e}}, {sqrt: {}}", DEEP), "take `sqrt` out"),
        (steps("{clip: {most: 9}}", NONE), "`invertible: true` is wrong, as the step `clip` cannot be undone"),
        (steps("{sqrt: {}}", NONE + "invertible: false, "), "`invertible: false` is wrong, as every step can be"),
        (
            steps("{sqrt: {}}", NONE + "training_statistics: true, "),
            "`training_statistics` must be one of `False`, found True",
        ),
    ],
)  # fmt: skip
def test_a_wrong_transform_is_one_sentence(project, tmp_path, text, says):
    with pytest.raises(UserError) as told:
        planned(project, tmp_path, text)
    assert says in str(told.value) and "\n" not in str(told.value)


def test_a_method_that_undoes_the_target_needs_one_that_can_be_undone(project, tmp_path):
    text = steps("{clip: {most: 9}}", NONE + "invertible: false, ")
    text = text.replace("transform: mine}", "transform: mine, methods: {nmf_composition: }}")
    with pytest.raises(UserError, match=r"`methods\.nmf_composition` takes targets back to counts"):
        planned(project, tmp_path, text)
    with pytest.raises(UserError, match="`clip` cannot be undone"):
        Transform.of({"name": "x", "depth": "none", "steps": [{"clip": {"most": 9}}]}).linear(COUNTS)


def test_no_other_place_of_the_library_knows_a_transform_by_name(project):
    # also the name of a method, or of a step
    others = {*ALONE, *(file.stem for file in (project / "config/methods").glob("*"))}
    names = set(NAMES) - others
    assert len(names) >= 3
    found = [
        f"{file.relative_to(project)}: {node.value}"
        for file in (project / "workflow/lib").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert not found
