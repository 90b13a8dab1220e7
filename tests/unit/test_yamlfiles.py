"""YAML of users: names are text as written, nothing stands twice, and a mistake is one sentence with its line."""

from __future__ import annotations

import pytest
import yaml

from histobench import yamlfiles
from histobench.config.benchmark import Benchmark
from histobench.config.files import read_configuration
from histobench.config.schemas import file_rules
from histobench.errors import UserError
from histobench.yamlfiles import read_yaml

WORDS = [
    "NO",
    "no",
    "on",
    "Yes",
    "y",
    "007",
    "1_1",
    "12:30",
    "1e3",
    "1e-3",
    "0x10",
    "0o7",
    "2024-01-31",
    "NA",
    "nan",
]


def written(tmp_path, text, data=None):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text.encode() if data is None else data)
    return path


def load(project, tmp_path, text):
    files = [project / "config/config.yaml", written(tmp_path, text)]
    return Benchmark(read_configuration(files, project), project, files)


@pytest.mark.parametrize("word", WORDS)
def test_a_plain_word_is_text_as_it_is_written(tmp_path, word):
    value = read_yaml(written(tmp_path, f"a: {word}\n{word}: [{word}, {{{word}: 1}}]"))
    assert value == {"a": word, word: [word, {word: 1}]}


@pytest.mark.parametrize("word", ["1", "-3", "1.10", "true", "null", "~", "1.0e3", ".5"])
def test_every_key_is_text(tmp_path, word):
    assert read_yaml(written(tmp_path, f"{word}: a")) == {word: "a"}


def test_numbers_true_and_null_are_what_they_are(tmp_path):
    text = "[1, -2, +3, 0.5, .5, 5., 1.0e-3, 1.0e+3, -1.5E2, true, False, null, ~, '1', \"no\"]"
    assert read_yaml(written(tmp_path, f"a: {text}"))["a"] == [
        1, -2, 3, 0.5, 0.5, 5.0, 1e-3, 1e3, -150.0, True, False, None, None, "1", "no",
    ]  # fmt: skip
    assert type(read_yaml(written(tmp_path, "a: 1"))["a"]) is int
    assert type(read_yaml(written(tmp_path, "a: 1.5"))["a"]) is float


def test_the_files_of_the_project_mean_the_same_to_every_reader(project):
    for file in (project / "config").rglob("*.yaml"):
        assert read_yaml(file) == yaml.safe_load(file.read_text()), file


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("run: [demo]\nexperiments: {}\n\nexperiments: {}\n", "in line 2 and in line 4"),
        ("a:\n  b: 1\n  c: 2\n  b: 1\n", "in line 2 and in line 4"),
        ("a: {b: 1, 'b': 1}\n", "in line 1 and in line 1"),
        ("- 1\n- {x: 1,\n   y: 2,\n   x: 3}\n", "in line 2 and in line 4"),
        ("007: a\n'007': b\n", "in line 1 and in line 2"),
        ("base: &b {x: 1}\nuse: {<<: *b, y: 2, y: 3}\n", "in line 2 and in line 2"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_both_lines(tmp_path, text, lines):
    path = written(tmp_path, text)
    with pytest.raises(UserError, match=f"stands twice, {lines}") as refused:
        read_yaml(path)
    assert str(refused.value).startswith(str(path)) and "\n" not in str(refused.value)


def test_a_merged_key_may_be_overridden_and_one_number_is_no_other(tmp_path):
    text = "base: &b {x: 1, y: 2}\nuse: {<<: *b, y: 3}\n1: a\n1.0: b\n01: c\n"
    assert read_yaml(written(tmp_path, text)) == {
        "base": {"x": 1, "y": 2},
        "use": {"x": 1, "y": 3},
        "1": "a",
        "1.0": "b",
        "01": "c",
    }


def test_anchors_may_be_merged_in_any_depth(tmp_path):
    text = "a: &a {x: 1, y: 1}\nz: {deep: {b: &b {<<: *a, x: 2}}}\nc: {<<: *b, y: 3}\nd: [*b, *b]\ne: {<<: [*a, *b]}\n"
    value = read_yaml(written(tmp_path, text))
    assert (
        value == yaml.safe_load(text)
        and value["c"] == {"x": 2, "y": 3}
        and value["d"] == [{"x": 2, "y": 1}] * 2
    )


def _alias_of_aliases(depth):
    """Nine of nine of nine ...: some hundred bytes that mean 9^depth values."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, depth + 1)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"a:\n\tb: 1\n", "line 2.*a tab.*indent with blanks"),
        (b"- 1\n", "expected keys with values"),
        (b"text", "expected keys with values"),
        (b"12", "expected keys with values.*found a number"),
        (b"a: &x {b: *x}\n", "line 1, column 4 .what an alias stands for holds itself"),
        (b"a: &x [{b: [*x]}]\n", "holds itself"),
        (_alias_of_aliases(9), "means more than 1000000 values"),
        (b"a: [1\n", "no valid YAML at line"),
        (b"? [1, 2]\n: a\n", "a key must be a word"),
        (b"a: !!python/object/apply:os.system [x]\n", "no valid YAML at line 1"),
        (b"t: M\xfccke\n", 'line 1, character 5: "M\u00fccke" is not written in UTF-8'),
        (b"a: \0\n", "zero bytes"),
        (b"a: *b\n", "undefined alias"),
        (b"a: " + b"9" * 5000, "no valid YAML"),
        (b"PK\x03\x04", "Excel"),
    ],
)
def test_what_is_no_yaml_is_one_sentence(tmp_path, data, says):
    with pytest.raises(UserError, match=says) as refused:
        read_yaml(written(tmp_path, "", data))
    assert "\n" not in str(refused.value) and "mine.yaml" in str(refused.value)


def test_empty_files_and_other_encodings(tmp_path):
    assert read_yaml(written(tmp_path, "")) == {} == read_yaml(written(tmp_path, "# nothing\n"))
    assert read_yaml(written(tmp_path, "", "title: Mücke\n".encode("utf-16"))) == {"title": "Mücke"}
    with pytest.raises(UserError, match="no such file"):
        read_yaml(tmp_path / "other.yaml")


def test_where_text_is_wanted_a_number_is_text_as_written(tmp_path, project):
    text = (
        "run: [mine]\ntitle: 2024\n"
        "cohorts: {c: {title: 7, aliases: {1: 07}, sections: {1: {patient: 1, um_per_px: 1.0}}}}\n"
        "experiments: {mine: {sections: [1, 1.10], maps: {section: 3, genes: [1.10, 1e3, 5]}, folds: {held_out: [1, 2]},\n"
        "  panel: {size: 30}, external: [{cohort: c, sections: [7]}], methods: {knn: {title: 5, params: {k: 7}}}}}\n"
    )
    value = read_yaml(written(tmp_path, text), file_rules(project))
    assert value["title"] == "2024"
    assert value["cohorts"]["c"] == {
        "title": "7", "aliases": {"1": "07"}, "sections": {"1": {"patient": "1", "um_per_px": 1.0}},
    }  # fmt: skip
    mine = value["experiments"]["mine"]
    assert mine["sections"] == ["1", "1.10"] and mine["maps"] == {
        "section": "3",
        "genes": ["1.10", "1e3", "5"],
    }
    assert mine["folds"] == {"held_out": ["1", "2"]} and mine["panel"] == {"size": 30}
    assert mine["external"] == [{"cohort": "c", "sections": ["7"]}]
    assert mine["methods"]["knn"] == {"title": "5", "params": {"k": 7}}


SECTIONS = ["NO", "007", "1_1", "12:30", "1e3", "1", "1.10"]


def test_a_run_knows_sections_and_patients_by_the_names_that_were_written(project, tmp_path):
    sections = "\n".join(
        f"      {name}: {{patient: {name.replace(':', '-').replace('.', '-')}}}" for name in SECTIONS
    )
    bench = load(
        project,
        tmp_path,
        "run: [mine]\n"
        "cohorts:\n  her2st_counts:\n    sections:\n" + sections + "\n"
        "experiments:\n  mine: {title: a, cohort: her2st_counts, patches: null, sections: [NO, 007, 1_1, 12:30, 1e3, 1, 1.10],"
        " maps: {section: 007}, methods: {train_mean: }}\n",
    )
    assert bench.experiments["mine"]["sections"] == SECTIONS
    assert bench.cohorts["her2st_counts"]["sections"]["007"] == {"patient": "007"}
    assert set(bench.experiments["mine"]["folds"]["made"]) == {
        "NO",
        "007",
        "1_1",
        "12-30",
        "1e3",
        "1",
        "1-10",
    }
    assert bench.section_files("her2st_counts", "1.10")["counts"] == "data/ST-cnts/1.10.tsv.gz"


def test_later_files_and_the_command_line_count_more(project, tmp_path):
    one, other = tmp_path / "a.yaml", tmp_path / "b.yaml"
    one.write_text("run: [demo]\ntitle: A\nexperiments: {demo: {seeds: [0], panel: {size: 30}}}")
    other.write_text("experiments: {demo: {panel: {size: 40}}}")
    merged = read_configuration([one, other], project, {"title": "C"})
    assert merged["title"] == "C" and merged["experiments"]["demo"] == {"seeds": [0], "panel": {"size": 40}}


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (["--configfile", "a.yaml", "--cores", "1", "--configfile", "b.yaml"], "--configfile"),
        (["--configfile=a.yaml", "--configfiles", "b.yaml"], "--configfile"),
        (["--config", "run=[demo]", "-C", "title=B"], "--config"),
        (["--configfile", "a.yaml", "b.yaml", "--config", "title=B"], ""),
    ],
)
def test_a_flag_of_which_only_the_last_would_count_is_refused(project, tmp_path, arguments, flag):
    file = tmp_path / "a.yaml"
    file.write_text("run: [demo]")
    if flag:
        with pytest.raises(UserError, match=f"the command line: `{flag}` is given more than once"):
            read_configuration([file], project, arguments=arguments)
    else:
        assert read_configuration([file], project, arguments=arguments) == {"run": ["demo"]}


def test_what_the_command_line_says_is_not_blamed_on_a_file(project, tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("run: [demo]")
    with pytest.raises(
        UserError, match=r"^the command line: `--config` .*: `run` must be a list, found 'demo'"
    ):
        read_configuration([file], project, {"run": "demo"})


NOT_TAKEN = {
    "a boolean for a name": ("title: true", r"`title` must be text, found True \(put it in quotes"),
    "nothing for a name": ("experiments: {demo: {title: }}", r"must be text, found None \(put it in quotes"),
    "yes is a word": ("experiments: {demo: {panel: {drop_ambiguous: yes}}}", "must be `true` or `false`, found 'yes'"),
    "infinity": ("cohorts: {simulated: {pitch_um: .inf}}", r"`pitch_um` must be a number above 0, found inf"),
    "no number": ("cohorts: {simulated: {spot_um: .nan}}", r"`spot_um` must be a number above 0, found nan"),
    "a scale without size": ("cohorts: {her2st: {sections: {A1: {um_per_px: 1.0e-7}}}}", r"at least 0\.01, found 1e-07"),
    "a field without end": (
        "experiments: {demo: {patches: {width_px: 1000000000}}}", r"`patches\.width_px` must be at most 4096"
    ),
    "a fraction of a pixel": ("experiments: {demo: {patches: {width_px: 32.0}}}", "must be a whole number"),
    "a seed beyond all generators": (
        f"experiments: {{demo: {{seeds: [{2**70}]}}}}", r"`seeds\.0` must be at most 4294967295"
    ),
    "a negative seed": ("experiments: {demo: {seeds: [-1]}}", "at least 0, found -1"),
    "no thread": ("methods: {knn: {resources: {threads: 0}}}", "at least 1, found 0"),
    "a common scale of infinity": ("experiments: {demo: {patches: {um_per_px: .inf}}}", "found inf"),
    "memory of a planet": ("methods: {knn: {resources: {mem_mb: 100000000000}}}", "at most 10000000"),
    "a cohort called like a way out": ("cohorts: {../x: {title: a}}", "`cohorts` must match"),
    "a section called like a folder": ("cohorts: {her2st: {sections: {a/b: {patient: P}}}}", "`sections` must match"),
    "a source that leaves results": ("cohorts: {her2st: {source: ../../x}}", "`source` must match"),
    "a source of another file system": ("cohorts: {her2st: {source: /etc}}", "`source` must match"),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_TAKEN)
def test_values_that_mean_nothing_are_refused_when_they_are_read(project, tmp_path, case):
    text, says = NOT_TAKEN[case]
    with pytest.raises(UserError, match=says) as refused:
        load(project, tmp_path, "run: [demo]\n" + text)
    assert "\n" not in str(refused.value) and "mine.yaml" in str(refused.value)


def cohort(files="{counts: '{section}.tsv'}", section="{patient: P}", more=""):
    return (
        "run: [mine]\nexperiments: {mine: {title: a, cohort: c, patches: null, methods: {train_mean: }}}\n"
        "cohorts:\n  c: {title: c, reader: 'histobench.cohorts.readers.her2st:read_section', pitch_um: 200, spot_um: 100,\n"
        f"    files: {files}, sections: {{S1: {section}, S2: {{patient: Q}}}}{more}}}\n"
    )


LEAVING = {
    "a path upwards": (cohort("{counts: ../../../../etc/passwd}"), r"`files\.counts` names \.\./.*leaves the folder"),
    "an absolute path": (cohort("{counts: /etc/passwd}"), r"names /etc/passwd, which leaves"),
    "a way out in the middle": (cohort("{counts: 'a/../../{section}.tsv'}"), "leaves the folder"),
    "out of an archive": (cohort("{counts: 'a.zip!/../../x'}"), "leaves the folder"),
    "an absolute member": (cohort("{counts: 'a.zip!//etc/x'}"), "leaves the folder"),
    "through a key of the section": (
        cohort("{counts: '{file}'}", "{patient: P, file: ../../x}"), "section `S1`: `files.counts` names ../../x"
    ),
    "inside of an object": (cohort("{counts: '{section.__class__.__mro__}'}"), r"asks for \{section\.__class__"),
    "an index": (cohort("{counts: '{section[0]}'}"), r"asks for \{section\[0\]\}"),
    "a format": (cohort("{counts: '{section:>9}'}"), r"asks for \{section\}"),
    "a conversion": (cohort("{counts: '{section!r}'}"), r"asks for \{section\}"),
    "a place without a name": (cohort("{counts: '{}.tsv'}"), r"asks for \{\}"),
    "a brace left open": (cohort("{counts: '{section.tsv'}"), "no valid template"),
    "braces that stay": (cohort("{counts: '{{section}}.tsv'}"), "has braces in its path"),
    "a misspelt key": (cohort("{counts: '{sectoin}.tsv'}"), r"no section has; did you mean `section`\?"),
    "a key that nothing reads": (
        cohort(section="{patient: P, um_per_pix: 0.5}"), r"nothing reads the key `um_per_pix`.*did you mean `um_per_px`\?"
    ),
    "a resource with braces": (cohort(more=", resources: {symbols: 'a{b}.tsv'}"), "`resources.symbols` .*braces"),
    "sections of a simulation": (
        "run: [demo]\ncohorts: {simulated: {sections: {P1_2: {patient: P9}}}}", "`sections` has no effect on a simulated"
    ),
    "a gene list with braces": ("run: [demo]\nexperiments: {demo: {panel: {rule: file, file: 'a{b}'}}}", "braces"),
    "a slide with braces": (
        "run: [demo]\nslides: {s: {image: 'x {1}.svs', experiment: demo, method: knn}}", r"`image` names 'x \{1\}\.svs'"
    ),
    "resources that nothing reads": (
        "run: [demo]\nexperiments: {demo: {methods: {knn: {resources: {thread: 4}}}}}", "did you mean `threads`"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LEAVING)
def test_paths_and_templates_stay_where_they_belong(project, tmp_path, case):
    text, says = LEAVING[case]
    with pytest.raises(UserError, match=says) as refused:
        load(project, tmp_path, text)
    assert "\n" not in str(refused.value)


def test_a_path_with_dots_and_an_optional_key_are_fine(project, tmp_path):
    bench = load(
        project,
        tmp_path,
        cohort("{counts: 'a..b/{section}.x', image: '{image}'}", "{patient: P, image: i.jpg}"),
    )
    assert bench.section_files("c", "S1") == {"counts": "a..b/S1.x", "image": "i.jpg"}
    assert bench.section_files("c", "S2") == {"counts": "a..b/S2.x"}


@pytest.mark.parametrize("level", ["[", "{a: ", "- ", "-\t", "? "])
@pytest.mark.parametrize("depth", [2_000, 200_000])
def test_a_document_that_nests_without_end_is_one_sentence(tmp_path, level, depth):
    """And does not end the process, as the C library does."""
    file = tmp_path / "deep.yaml"
    file.write_text(f"a:\n  {level * depth}")
    with pytest.raises(UserError, match=r"deep.yaml: no valid YAML"):
        read_yaml(file)


def test_both_loaders_say_the_same_of_every_file(project):
    for file in (*(project / "config").rglob("*.yaml"), *(project / "workflow/schemas").glob("*.yaml")):
        read = [yaml.load(file.read_text(), loader) for loader in (yamlfiles._Loader, yamlfiles._FastLoader)]
        assert described(read[0]) == described(read[1]), file


def described(value):
    """A value with the kinds of all parts, and numbers as they were written."""
    if isinstance(value, dict):
        return [(key, described(part)) for key, part in value.items()]
    if isinstance(value, list):
        return [described(part) for part in value]
    return type(value), value, getattr(value, "text", None)


def test_the_fast_loader_is_the_one_that_reads(project, monkeypatch):
    monkeypatch.setattr(yamlfiles, "_Loader", None)
    assert read_yaml(project / "config/config.yaml")["run"]
