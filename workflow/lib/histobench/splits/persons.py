"""Who a patient is: one name for all names of one person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Aliases = Mapping[str, str] | Mapping[str, Mapping[str, str]]

# A patient of a cohort; of no cohort: whoever bears a name that somebody is said to bear elsewhere.
Patient = tuple[str, str]


class Persons:
    """Persons behind the patients of several cohorts.

    A patient with an alias is the person of that name in any other cohort, and whoever that one is said to
    be. Patients of different cohorts that merely share a name ("A") are different persons, unless one cohort
    is declared to use the other's names.

    Parameters
    ----------
    aliases
        Cohort -> patient -> name elsewhere; or patient -> name, whatever the cohort.
    same_patients
        Cohort -> the cohort whose names its patients bear.
    """

    def __init__(self, aliases: Aliases, same_patients: Mapping[str, str]) -> None:
        self._home = same_patients
        self._said: dict[Patient, set[str]] = {}
        for cohort, own in aliases.items():
            if isinstance(own, Mapping):
                for patient, alias in own.items():
                    self._said.setdefault((self._named_by(cohort), patient), set()).add(alias)
            else:
                self._said.setdefault(("", cohort), set()).add(own)
        self._meant: set[str] = set()
        self._first: dict[Patient, Patient] = {}

    def _named_by(self, cohort: str) -> str:
        """Return the cohort whose names a cohort's patients bear, and that bears no other's."""
        passed = [cohort]
        while (home := self._home.get(passed[-1], passed[-1])) not in passed:
            passed.append(home)
        # cohorts that name each other in a circle are one
        return min(passed[passed.index(home) :])

    def learn(self, patients: Iterable[tuple[str, str]]) -> None:
        """Take note of the aliases of (cohort, patient) pairs; call it for all before :meth:`who`."""
        asked = [(self._named_by(cohort), patient) for cohort, patient in patients]
        asked += [("", patient) for _, patient in asked]
        while asked:
            known = asked.pop()
            for alias in sorted(self._said.get(known, ())):
                self._unite(known, ("", alias))
                if alias not in self._meant:
                    self._meant.add(alias)
                    asked += [each for each in self._said if each[1] == alias]
        # whoever bears a name that is meant is meant, and so are all whom that one is said to be
        for each in self._said:
            if each[1] in self._meant or ("", each[1]) in self._said:
                self._unite(each, ("", each[1]))

    def _unite(self, one: Patient, other: Patient) -> None:
        first, second = sorted((self._find(one), self._find(other)))
        if first != second:
            self._first[second] = first

    def _find(self, patient: Patient) -> Patient:
        while patient in self._first:
            patient = self._first[patient]
        return patient

    def who(self, cohort: str, patient: str) -> str:
        """Return the person's name, the same for all names of one person."""
        anywhere = patient in self._meant or ("", patient) in self._said
        cohort, name = self._find(("" if anywhere else self._named_by(cohort), patient))
        return f"{cohort}:{name}" if cohort else name
