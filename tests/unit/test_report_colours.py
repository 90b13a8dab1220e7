"""Colours of the report: every text can be read on every ground that it stands on, in light and in dark."""

from __future__ import annotations

import re

import pytest

TEXTS = ("ink", "soft", "faint", "link")
GROUNDS = ("page", "wash", "hover", "chosen")
MARKS = ("bad", "warn", "good")


@pytest.fixture(scope="module")
def style(project):
    return (project / "workflow/lib/histobench/report/templates/report.css").read_text(encoding="utf-8")


def colours(style: str, scheme: str) -> dict[str, str]:
    """Colours by name: those of the light page, or with those of the dark page over them."""
    light, dark = re.findall(r":root \{(.*?)\}", style, flags=re.S)
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", light + (dark if scheme == "dark" else "")))


def contrast(one: str, other: str) -> float:
    """Contrast of two colours after WCAG 2.1."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(style, scheme):
    known = colours(style, scheme)
    pairs = [(text, ground) for text in TEXTS for ground in GROUNDS]
    pairs += [("ink", f"{kind}-wash") for kind in ("bad", "note")] + [("faint", "ceiling")]
    pairs += [(mark, ground) for mark in MARKS for ground in ("page", f"{mark}-wash")]
    weak = {pair: contrast(known[pair[0]], known[pair[1]]) for pair in pairs}
    assert {pair: round(value, 1) for pair, value in weak.items() if value < 4.5} == {}


def test_the_dark_page_is_dark_and_figures_keep_their_paper(style):
    assert contrast(colours(style, "dark")["page"], "#000") < 1.3
    assert "@media screen and (prefers-color-scheme: dark)" in style  # printed pages stay light
    dark = style[style.index("@media screen") :]
    assert re.search(r"figure > img, \.drawing \{ background: #fff", dark)


def test_no_rule_names_a_ground_of_its_own(style):
    """A ground that is not among the named colours would stay light on the dark page."""
    rules = style[style.index("* { box-sizing") :]
    assert re.findall(r"background(?:-color)?: *#[0-9a-f]{3,6}", rules) == []
