"""What one job makes for many sections: kept spots, hashes and stains of images, patches, features.

Starting a job takes longer than most sections do, and a plan takes time for every file that a job asks for.
So one job makes what all sections of a cohort need, and a list of the files with their checksums, which those
ask for who need many of them. Its sections are recorded when it is first planned: a section that comes later
gets a job of its own, and what is made already stays as it is.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from histobench import paths
from histobench.files import read_json, write_json
from histobench.plan.branches import plain_name

#: Sections that are needed, by (kind, cohort, what).
Wanted = Mapping[tuple[str, str, str], Iterable[str]]
Record = Mapping[str, Sequence[Sequence[str]]]


@dataclass(frozen=True)
class Kind:
    """What is made for every section of a cohort.

    Attributes
    ----------
    name
        As records name it.
    makes
        Paths of a section.
    what
        The wildcard that tells what is made: a filter, a variant of patches, an encoder; "" where there is
        one of a kind.
    listed
        Path of the list of a batch, with its files and their checksums; "" for none.
    """

    name: str
    makes: tuple[str, ...]
    what: str = ""
    listed: str = ""

    def files(self, cohort: str, what: str, section: str) -> list[str]:
        """Return the files of a section."""
        return [self.at(path, cohort, what, section=section) for path in self.makes]

    def at(self, path: str, cohort: str, what: str, **wildcards: str) -> str:
        """Return a path of something that is made."""
        return paths.at(path, cohort=cohort, **({self.what: what} if self.what else {}), **wildcards)


KEPT = Kind("kept", (paths.KEPT_SPOTS,), "profile", paths.KEPT_LIST)
IMAGES = Kind("images", (paths.IMAGE_HASH, paths.STAIN, paths.STAIN_PREVIEW))
OTHER_STAINS = Kind("other_stains", (paths.OTHER_STAIN, paths.OTHER_STAIN_PREVIEW), "stain")
PATCHES = Kind("patches", (paths.PATCHES, paths.PATCH_INDEX), "variant", paths.PATCH_LIST)
FEATURES = Kind("features", (paths.FEATURES,), "backbone", paths.FEATURE_LIST)
KINDS = {kind.name: kind for kind in (KEPT, IMAGES, OTHER_STAINS, PATCHES, FEATURES)}


@dataclass(frozen=True)
class Batch:
    """Sections of a cohort that one job makes something for, for each of some things.

    Attributes
    ----------
    kind
        What is made.
    cohort
        Its name.
    sections
        Its sections, in order; the same job serves all of them.
    whats
        Names of filters, patches or encoders: one job each.
    number
        Which it is of its kind and cohort.
    """

    kind: Kind
    cohort: str
    sections: tuple[str, ...]
    whats: tuple[str, ...]
    number: int = 1

    @property
    def digest(self) -> str:
        """A short name of the sections, for lists, whichever other batches there are."""
        return hashlib.sha256("\n".join(self.sections).encode()).hexdigest()[:8]

    @property
    def label(self) -> str:
        """Name for rules: that of the cohort, and a number where there are several."""
        cohort = plain_name(self.cohort)
        return cohort if self.number == 1 else f"{cohort}_{self.number}"

    def place(self, rule: str) -> str:
        """Return where logs and benchmarks of a rule lie; what is made stays a wildcard."""
        what = [f"{{{self.kind.what}}}"] if self.kind.what else []
        return "/".join((rule, self.label, *what))

    @property
    def told(self) -> str:
        """What it is made for, for messages."""
        first, last = self.sections[0], self.sections[-1]
        some = f"{len(self.sections)} sections ({first} to {last})" if first != last else f"section {first}"
        return f"{some} of {self.cohort}"

    def outputs(self, path: str) -> list[str]:
        """Return a path of every section; what is made stays a wildcard for a rule to match."""
        return [paths.fixed(path, cohort=self.cohort, section=section) for section in self.sections]

    def list_pattern(self) -> str:
        """Return the path of the list, with what is made as a wildcard."""
        return paths.fixed(self.kind.listed, cohort=self.cohort, batch=self.digest)

    def listed(self, what: str) -> str:
        """Return the path of the list."""
        return self.kind.at(self.kind.listed, self.cohort, what, batch=self.digest)

    def cost_pattern(self) -> str:
        """Return the path of what its features took, with what is made as a wildcard."""
        return paths.fixed(paths.FEATURE_COST, cohort=self.cohort, batch=self.digest)

    def cost(self, what: str) -> str:
        """Return the path of what its features took."""
        return self.kind.at(paths.FEATURE_COST, self.cohort, what, batch=self.digest)


def divide(wanted: Wanted, recorded: Record, known: Mapping[str, Iterable[str]]) -> list[Batch]:
    """Divide what is needed into jobs.

    Parameters
    ----------
    wanted
        What the run needs.
    recorded
        Batches of earlier runs by ``kind/cohort/what``; they keep their sections.
    known
        Sections of each cohort; a recorded one that is no longer among them is left out.

    Returns
    -------
    list
        Batches by kind, cohort and sections; things that are made of the same sections share one.
    """
    found: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for (kind, cohort, what), sections in sorted(wanted.items()):
        left = set(sections)
        for old in recorded.get(_key(kind, cohort, what), []):
            kept = tuple(sorted(set(old) & set(known[cohort])))
            if left & set(kept):
                found.setdefault((kind, cohort, kept), []).append(what)
                left -= set(kept)
        if left:
            found.setdefault((kind, cohort, tuple(sorted(left))), []).append(what)
    return [
        Batch(KINDS[kind], cohort, sections, tuple(whats))
        for (kind, cohort, sections), whats in sorted(found.items())
    ]


def numbered(batches: Iterable[Batch]) -> list[Batch]:
    """Return batches with the number that each has among those of its kind and cohort."""
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for batch in batches:
        seen[batch.kind.name, batch.cohort] += 1
        found.append(replace(batch, number=seen[batch.kind.name, batch.cohort]))
    return found


def _key(kind: str, cohort: str, what: str) -> str:
    return f"{kind}/{cohort}/{what}"


def read_record(path: Path, *, complete: bool = False) -> dict[str, list[list[str]]]:
    """Read the batches of earlier runs.

    Parameters
    ----------
    path
        See :func:`write_record`; nothing is recorded where it is missing or no longer readable.
    complete
        Whether to keep batches of which no file is left: as jobs must, whose own files are not there yet.
    """
    try:
        stored = read_json(path)
    except (OSError, ValueError):
        return {}
    record = {str(key): [list(map(str, each)) for each in batches] for key, batches in stored.items()}
    record = {key: batches for key, batches in record.items() if key.partition("/")[0] in KINDS}
    if complete:
        return record
    return {
        key: kept
        for key, batches in record.items()
        if (kept := [each for each in batches if _any_left(key, each)])
    }


def _any_left(key: str, sections: Iterable[str]) -> bool:
    kind, cohort, what = key.split("/", 2)
    return any(
        Path(file).is_file() for section in sections for file in KINDS[kind].files(cohort, what, section)
    )


def write_record(path: Path, batches: Iterable[Batch], earlier: Record) -> None:
    """Write down what is made together; batches of other configurations are kept."""
    record: dict[str, list[list[str]]] = {key: [list(each) for each in old] for key, old in earlier.items()}
    for batch in batches:
        for what in batch.whats:
            own = record.setdefault(_key(batch.kind.name, batch.cohort, what), [])
            own[:] = [each for each in own if not set(each) & set(batch.sections)]
            own.append(list(batch.sections))
    record = {key: sorted(batches) for key, batches in sorted(record.items())}
    if record and record != read_record(path):
        write_json(record, path)
