"""The list of mutants follows the code: one whose text is gone would be no mistake, and nobody would ask."""

from __future__ import annotations

import pytest
from mutation.mutants import MUTANTS


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_has_its_place_and_its_tests(project, mutant):
    assert (project / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.old != mutant.new
    assert all((project / test).is_file() for test in mutant.tests)
