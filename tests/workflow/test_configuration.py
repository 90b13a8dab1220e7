"""What a user writes into a configuration is judged when the run is planned: one sentence, and no job."""

from __future__ import annotations

import pytest
from unit.own_cohort import OwnCohort

pytestmark = pytest.mark.slow

WRONG = {
    "a key that stands twice": ("experiments: {demo: {seeds: [1]}}\n", r"mine.yaml: the key `experiments` stands twice, in line 2 and in line 3"),
    "a learning rate that is text": (None, "params.learning_rate` must be a number, found '1e-3' (YAML reads 1e-3 as text: write 1.0e-3)"),
}  # fmt: skip


@pytest.fixture(scope="module")
def checkout(fresh):
    return fresh("configuration")


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_ends_the_plan_with_one_sentence(checkout, case):
    more, says = WRONG[case]
    text = "run: [demo]\nexperiments: {demo: {methods: {stnet: {params: {learning_rate: 1e-3}}}}}\n" + (
        more or ""
    )
    (checkout.folder / "mine.yaml").write_text(text)
    done = checkout.snakemake("-n", configfile="mine.yaml")
    assert done.returncode != 0 and says in done.stdout and "Traceback" not in done.stdout, done.stdout[
        -2000:
    ]


def test_names_that_yaml_would_read_otherwise_and_braces_in_titles_run(checkout):
    names = ["NO", "007", "1_1", "12:30"]
    own = OwnCohort(checkout.folder / "mine files", sections=names)
    for number, row in enumerate(own.rows):
        row["patient"] = ["NO", "007", "1_1", "P4"][number]
    own.write_table()
    (checkout.folder / "mine.yaml").write_text(
        "run: [mine]\ntitle: 'a {title} of $ and \\ braces'\ndevice: cpu\n"
        "cohorts:\n  mine: {title: 'the {cohort}', origin: local, table: mine files/mine.tsv, pitch_um: 200, spot_um: 100,\n"
        "    reader: 'histobench.cohorts.readers.table_cohort:read_section', options: {genes: any}}\n"
        "experiments:\n  mine: {title: 'one {x}', description: 'with {braces}', cohort: mine, patches: null,\n"
        f"    sections: [{', '.join(names)}], maps: {{section: 007}}, methods: {{train_mean: {{title: '_{{0}}'}}}}}}\n"
    )
    targets = [f"results/data/mine/sections/{name}.h5ad" for name in names]
    checkout.snakemake(*targets, "results/mine/folds.tsv", configfile="mine.yaml", check=True)
    assert all((checkout.folder / target).is_file() for target in targets)
    folds = (checkout.folder / "results/mine/folds.tsv").read_text()
    assert all(f"\t{name}\t" in folds for name in names), folds
    checkout.snakemake("-n", configfile="mine.yaml", check=True)  # the whole run can be planned
