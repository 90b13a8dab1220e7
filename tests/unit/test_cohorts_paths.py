"""Paths of users' own files: what the workflow engine would read as a placeholder is refused in the table, by line."""

from __future__ import annotations

import pytest

from histobench.cohorts.sheet import local_sections, read_sheet
from histobench.errors import UserError
from histobench.files import path_trouble

HEADER = "section\tpatient\timage\tcounts\tpositions\n"


def sheet(folder, image, section="S1"):
    folder.mkdir(parents=True, exist_ok=True)
    for name in (image, "c.tsv", "p.tsv"):
        (folder / name).write_text("x")
    path = folder / "mine.tsv"
    path.write_text(f"# my images\n{HEADER}{section}\tP1\t{image}\tc.tsv\tp.tsv\n")
    return path


@pytest.mark.parametrize(
    "image", ["img 0 {x}.jpg", "{section}.jpg", "a{.jpg", "}b.jpg", "{{x}}.jpg", "{x,[0-9]+}.png"]
)
def test_braces_in_a_file_name_are_refused_with_the_line(tmp_path, image):
    path = sheet(tmp_path, image)
    (problem,) = read_sheet(path).problems
    assert str(problem).startswith(f"{path}: line 3: image names ")
    assert image in str(problem) and "braces" in str(problem) and "rename" in str(problem)
    with pytest.raises(UserError, match="line 3"):
        local_sections(path)


def test_braces_in_the_name_of_a_folder_are_refused_too(tmp_path):
    problems = read_sheet(sheet(tmp_path / "lab {7}", "a.jpg")).problems
    assert [str(problem).split(": ")[2].split()[0] for problem in problems] == [
        "image",
        "counts",
        "positions",
    ]
    assert all("lab {7}" in str(problem) for problem in problems)


@pytest.mark.parametrize(
    "image",
    ["img 0 #x,y.jpg", "a$b & (c)'s [d].jpg", "*?.jpg", "Bild ä µ.jpg", "a;b|c.jpg", "-x.jpg", "%s.jpg"],
)
def test_other_odd_names_are_taken_as_they_are(tmp_path, image):
    assert local_sections(sheet(tmp_path, image))["S1"]["image"] == str(tmp_path / image)


def test_sections_may_be_called_like_numbers_and_times(tmp_path):
    for name in ("NO", "007", "1_1", "12:30", "1e3"):
        assert list(local_sections(sheet(tmp_path, "a.jpg", name))) == [name]
    (problem,) = read_sheet(sheet(tmp_path, "a.jpg", "a{b}")).problems
    assert "becomes a file name" in str(problem)


def test_invisible_signs_are_trouble():
    assert (
        "line break" in path_trouble("a\nb")
        and "invisible" in path_trouble("a\x07")
        and not path_trouble("a b")
    )
