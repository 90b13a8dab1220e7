"""Which frozen features a run needs, and in which jobs they are made: few, large ones.

Loading an encoder takes as long as a section or more, so one job describes all sections of a cohort that
need the same features. Its sections are recorded when it is first planned: a section that comes later gets a
job of its own, and those that are described already stay as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from histobench.files import read_json, write_json

#: Sections that need some features, by (cohort, name of the features).
Wanted = Mapping[tuple[str, str], Iterable[str]]
Record = Mapping[str, Sequence[Sequence[str]]]


@dataclass(frozen=True)
class Batch:
    """Sections of a cohort that one job describes, for each of some features.

    Attributes
    ----------
    cohort
        Name.
    sections
        In order; all are described by the same job.
    features
        Names of the features, ENCODER.START.VARIANT: one job each.
    """

    cohort: str
    sections: tuple[str, ...]
    features: tuple[str, ...]

    @property
    def label(self) -> str:
        """Name that depends on nothing but cohort and sections, for rules and logs."""
        digest = hashlib.sha256("\n".join(self.sections).encode()).hexdigest()[:8]
        return f"{self.cohort}_{digest}"

    @property
    def told(self) -> str:
        """What is described, for messages."""
        first, last = self.sections[0], self.sections[-1]
        some = f"{len(self.sections)} sections ({first} to {last})" if first != last else f"section {first}"
        return f"{some} of {self.cohort}"


def feature_batches(wanted: Wanted, recorded: Record, known: Mapping[str, Iterable[str]]) -> list[Batch]:
    """Divide wanted features into jobs.

    Parameters
    ----------
    wanted
        What the run needs.
    recorded
        Batches of earlier runs by ``cohort/features``; they keep their sections.
    known
        Sections of each cohort; a recorded one that is no longer among them is left out.

    Returns
    -------
    list
        Batches by cohort and sections; features with the same sections share one.
    """
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (cohort, features), sections in sorted(wanted.items()):
        left = set(sections)
        for old in recorded.get(f"{cohort}/{features}", []):
            kept = tuple(sorted(set(old) & set(known[cohort])))
            if left & set(kept):
                found.setdefault((cohort, kept), []).append(features)
                left -= set(kept)
        if left:
            found.setdefault((cohort, tuple(sorted(left))), []).append(features)
    return [
        Batch(cohort, sections, tuple(features)) for (cohort, sections), features in sorted(found.items())
    ]


def read_record(path: Path, features: str | None = None) -> dict[str, list[list[str]]]:
    """Read the batches of earlier runs.

    Parameters
    ----------
    path
        See :func:`write_record`; nothing is recorded where it is missing or no longer readable.
    features
        Where features lie, with wildcards ``cohort``, ``backbone`` and ``section``: batches of which no file
        is left there are forgotten. None keeps all, as jobs must, whose own files are not there yet.
    """
    try:
        stored = read_json(path)
    except (OSError, ValueError):
        return {}
    record = {str(key): [list(map(str, each)) for each in batches] for key, batches in stored.items()}
    if features is None:
        return record
    return {
        key: kept
        for key, batches in record.items()
        if (kept := [each for each in batches if _any_left(features, key, each)])
    }


def _any_left(features: str, key: str, sections: Iterable[str]) -> bool:
    cohort, _, backbone = key.partition("/")
    files = (features.format(cohort=cohort, backbone=backbone, section=section) for section in sections)
    return any(Path(file).is_file() for file in files)


def write_record(path: Path, batches: Iterable[Batch], earlier: Record) -> None:
    """Write down which sections are described together; batches of other configurations are kept."""
    record: dict[str, list[list[str]]] = {key: [list(each) for each in old] for key, old in earlier.items()}
    for batch in batches:
        for features in batch.features:
            own = record.setdefault(f"{batch.cohort}/{features}", [])
            own[:] = [each for each in own if not set(each) & set(batch.sections)]
            own.append(list(batch.sections))
    record = {key: sorted(batches) for key, batches in sorted(record.items())}
    if record and record != read_record(path):
        write_json(record, path)
