"""Who a patient is: one name for all names of one person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Aliases = Mapping[str, str] | Mapping[str, Mapping[str, str]]


class Persons:
    """Persons behind the patients of several cohorts.

    A patient with an alias is the person of that name in any other cohort. Patients of different cohorts that
    merely share a name ("A") are different persons, unless one cohort is declared to use the other's names.

    Parameters
    ----------
    aliases
        Cohort -> patient -> name elsewhere; or patient -> name, whatever the cohort.
    same_patients
        Cohort -> the cohort whose names its patients bear.
    """

    def __init__(self, aliases: Aliases, same_patients: Mapping[str, str]) -> None:
        self._aliases = aliases
        self._home = same_patients
        self._meant: set[str] = set()

    def learn(self, patients: Iterable[tuple[str, str]]) -> None:
        """Take note of the aliases of (cohort, patient) pairs; call it for all before :meth:`who`."""
        self._meant |= {alias for cohort, patient in patients if (alias := self._alias(cohort, patient))}

    def _alias(self, cohort: str, patient: str) -> str:
        for name in (cohort, self._home.get(cohort, cohort)):
            own = self._aliases.get(name, {})
            if isinstance(own, Mapping) and patient in own:
                return own[patient]
        flat = self._aliases.get(patient, "")
        return flat if isinstance(flat, str) else ""

    def who(self, cohort: str, patient: str) -> str:
        """Return the person's name, the same for all names of one person."""
        alias = self._alias(cohort, patient)
        if alias:
            return alias
        return patient if patient in self._meant else f"{self._home.get(cohort, cohort)}:{patient}"
