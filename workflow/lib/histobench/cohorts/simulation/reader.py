"""Reader of the simulated cohort: raw files in the legacy ST layout, labels beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from histobench.cohorts.readers.legacy_st import join_spots, read_counts, read_spots
from histobench.cohorts.simulation.settings import settings_from_options
from histobench.cohorts.text import numbers, require_columns, text_table
from histobench.cohorts.types import RawSection
from histobench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd


def read_section(section: str, files: Mapping[str, str], options: Mapping[str, Any]) -> RawSection:
    """Read one simulated section.

    Parameters
    ----------
    section
        Name, such as "P1_1"; used in messages.
    files
        ``counts``, ``spots``, ``labels`` as
        :func:`histobench.cohorts.simulation.simulate.simulate_section` writes them.
    options
        The settings of the simulation. They are checked, not used: the files say all that a reader may know.

    Raises
    ------
    UserError
        A file is missing or malformed; an option is unknown or out of bounds.
    """
    import pandas as pd

    settings_from_options(options)
    for kind in ("counts", "spots", "labels"):
        if kind not in files:
            raise UserError(f'Section {section}: the cohort\'s files lack "{kind}"; add its path template.')
    counts, spot_ids, genes = read_counts(files["counts"])
    counts, spots, dropped = join_spots(counts, spot_ids, read_spots(files["spots"]))
    labels = read_labels(files["labels"])
    dropped["label_no_spot"] = int((~labels.index.isin(spots.index)).sum())
    found = labels.reindex(spots.index)
    spots["label"] = found["label"].fillna("").astype(object)
    spots["tumour"] = found["tumour"].to_numpy(dtype=np.float32)
    spots["label_source"] = np.where(spots["label"] != "", "simulated", "none").astype(object)
    return RawSection(
        counts=counts, spots=spots, genes=pd.DataFrame({"gene_id": ""}, index=genes), dropped=dropped
    )


def read_labels(path: str | Path) -> pd.DataFrame:
    """Read ``spot label tumour``; index spot id, columns ``label`` (str) and ``tumour`` (1, 0 or NaN).

    Raises
    ------
    UserError
        The file or a column is missing, a spot occurs twice, or ``tumour`` is neither 1, 0 nor empty.
    """
    import pandas as pd

    table = text_table(path)
    require_columns(table, ("spot", "label", "tumour"), path)
    tumour = numbers(table["tumour"], path, allow_missing=True)
    odd = ~(np.isnan(tumour) | (tumour == 0) | (tumour == 1))
    if odd.any():
        line = table.index[odd][0]
        raise UserError(f"{path}: line {line}: tumour is {tumour[odd][0]:g}, expected 1, 0 or nothing.")
    repeated = table["spot"].duplicated()
    if repeated.any():
        line = table.index[repeated][0]
        raise UserError(f"{path}: line {line}: spot {table['spot'][line]} occurs twice; keep one of them.")
    index = pd.Index(table["spot"].to_numpy(dtype=object), name="spot")
    return pd.DataFrame(
        {"label": table["label"].to_numpy(dtype=object), "tumour": tumour.astype(np.float32)}, index=index
    )
