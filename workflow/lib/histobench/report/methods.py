"""What the page says of each method: parameters, published figures, deviations, sources, licence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from histobench.figures.drawing.settings import FAMILY_TITLES, MethodStyle, Settings
from histobench.report.tables import known

_TEXTS = ("citation", "licence", "weights_licence")
_LISTS = ("deviations", "sources")
_SETTINGS = ("params", "published", "needs", "window")


@dataclass
class MethodEntry:
    """One method as configured, with the experiments that use it so."""

    anchor: str
    name: str
    title: str
    family: str
    look: MethodStyle
    description: str
    entry: str
    experiments: list[str]
    deviations: list[str]
    sources: list[str]
    texts: list[tuple[str, str]]
    settings: dict[str, list[tuple[str, str]]] = field(default_factory=dict)


def method_entries(experiments: Mapping[str, Any]) -> list[MethodEntry]:
    """Return every configured method once, or once per configuration where experiments differ."""
    entries: list[tuple[Mapping[str, Any], MethodEntry]] = []
    for experiment, entry in experiments.items():
        settings = Settings.of(entry.get("settings") or {})
        methods = entry.get("methods") or {}
        for name in settings.order(methods):
            stored = methods[name] or {}
            same = next((made for config, made in entries if made.name == name and config == stored), None)
            if same is not None:
                same.experiments.append(experiment)
                continue
            entries.append((stored, _entry(name, stored, experiment, settings)))
    return [made for _, made in entries]


def _entry(name: str, stored: Mapping[str, Any], experiment: str, settings: Settings) -> MethodEntry:
    family = str(stored.get("family") or settings.family(name))
    look = settings.look(name, family)
    return MethodEntry(
        anchor=f"method-{experiment}-{name}",
        name=name,
        title=str(stored.get("title") or settings.title(name)),
        family=FAMILY_TITLES.get(family, family),
        look=look,
        description=" ".join(str(stored.get("description") or "").split()),
        entry=str(stored.get("entry") or ""),
        experiments=[experiment],
        deviations=_lines(stored.get("deviations")),
        sources=_lines(stored.get("sources")),
        texts=[
            (key.capitalize().replace("_", " "), str(stored[key])) for key in _TEXTS if known(stored.get(key))
        ],
        settings={key: _pairs(stored.get(key)) for key in _SETTINGS if stored.get(key)},
    )


def _lines(value: Any) -> list[str]:
    """Return a list of texts from a list, a mapping or one text."""
    if not value:
        return []
    if isinstance(value, Mapping):
        return [f"{key}: {text}" for key, text in value.items()]
    return [_text(item) for item in value] if isinstance(value, (list, tuple)) else [str(value)]


def _pairs(value: Any) -> list[tuple[str, str]]:
    """Return a mapping as pairs of text; anything else as one pair."""
    if isinstance(value, Mapping):
        return [(str(key).replace("_", " "), _text(item)) for key, item in value.items()]
    return [("", _text(value))]


def _text(value: Any) -> str:
    """Return a value of a configuration as readable text."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_text(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not set" if value is None else str(value)
