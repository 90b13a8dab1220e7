"""Whether a list of gene names can be one: symbols or Ensembl identifiers of human genes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from histobench.cohorts.text import MISSING_WORDS

MOST_UNKNOWN = 0.1
"""Largest share of unknown names. Annotations of different years differ in about 5 % of the symbols."""

_ENSEMBL = re.compile(r"ENSG\d{11}(\.\d+)?(_PAR_Y)?")
_COMPOSITE = "__ambiguous["
# Spreadsheets turn SEPT2 and MARCH1 into dates.
# ... in the language of the spreadsheet, with the year or without.
_MONTH = (
    "(jan|ene|gen|feb|fev|f[eé]vr|m[aä]r|mars|mrz|mrt|mar[czt]o|apr|avr|abr|ma[iyj]|mag|may|jui?n|giu|jui?l|lug|aug"
    "|ao[uû]t|ago|sept?|set|o[ckt]t|out|nov|de[czs]|d[eé]c|dic)"
)
_DATE = re.compile(
    rf"\d\d?[-./ ]+{_MONTH}\.?([-./ ]+\d+)?|{_MONTH}\.?[-./ ]+\d\d?([-./, ]+\d+)?"
    r"|\d{4}(?P<y>[-./])\d\d?(?P=y)\d\d?.*|\d\d?(?P<d>[-./])\d\d?(?P=d)\d{2,4}",
    re.IGNORECASE,
)
_NO_WORDS = MISSING_WORDS | {"#name?", "#value!", "#ref!", "#div/0!", "#null!", "#num!", "true", "false"}
_NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?(e[-+]?\d+)?", re.IGNORECASE)


_IDENTIFIER = re.compile(r"ENS[A-Z]*G\d{11}")
_VERSION = re.compile(r"(ENS[A-Z]*\d{11})\.\d+")


# Antibodies, hashtags, spike-ins, what aligners and R count beside genes, and the controls of Xenium, CosMx
# and MERSCOPE, where no column says so.
_NO_GENE = re.compile(
    r".*[-_. ]?TotalSeq[-_A-D].*|ADT[-_].+|HTO[-_].*|Hashtag.*|NegControl(Probe|Codeword).*|NegPrb.*"
    r"|Negative\d+|SystemControl.*|Blank[-_]\d+|BLANK_.*"
    r"|ERCC-\d+|__(no_feature|ambiguous|too_low_aQual|not_aligned|alignment_not_unique)"
    r"|N_(unmapped|multimapping|noFeature|ambiguous)|n(Count|Feature)_\w+|total_counts|n_genes(_by_counts)?"
    r"|(Unassigned|Deprecated|Genomic).*Codeword.*|antisense_.+",
    re.IGNORECASE,
)

LOUD = 0.5
"""Largest share of all counts that features of unknown names may hold: antibodies outnumber genes."""


def names_no_gene(name: str) -> bool:
    """Whether a name is one that makers give to antibodies, hashtags or controls."""
    return _NO_GENE.fullmatch(name) is not None


def gene_key(name: str, gene_id: str = "") -> str:
    """Tell which gene is meant: by its identifier without version, by its name where it has none."""
    known = gene_id or name
    versioned = _VERSION.fullmatch(known)
    return versioned.group(1) if versioned else known


def exchanged(ids: Sequence[str], names: Sequence[str]) -> bool:
    """Whether the names of most genes are Ensembl identifiers, and their identifiers are none."""
    turned = sum(
        _IDENTIFIER.match(name) is not None and _IDENTIFIER.match(given) is None
        for given, name in zip(ids, names, strict=True)
    )
    return turned > len(names) / 2


class GeneCheck(NamedTuple):
    """Places (from 0) of names that cannot be genes, with the reason; and of names that are not known."""

    impossible: list[tuple[int, str]]
    unknown: list[int]


def check_genes(names: Sequence[str], symbols: Mapping[str, str]) -> GeneCheck:
    """Look at the names of genes.

    Parameters
    ----------
    names
        As in the file.
    symbols
        Approved symbol by Ensembl identifier, see :func:`histobench.expression.symbols.load_symbols`.
    """
    approved = set(symbols.values())
    impossible, unknown = [], []
    for place, name in enumerate(names):
        if reason := _impossible(name):
            impossible.append((place, reason))
        elif name.startswith(_COMPOSITE) or name in approved or _ENSEMBL.fullmatch(name):
            continue
        else:
            unknown.append(place)
    return GeneCheck(impossible, unknown)


def _impossible(name: str) -> str:
    if not name.strip():
        return "the name is empty"
    if _NUMBER.fullmatch(name):
        return "a number is no gene"
    if _DATE.fullmatch(name):
        return "a spreadsheet has turned the name into a date"
    if name.lower() in _NO_WORDS:
        return "the word stands for no name, or for an error"
    if name.startswith("ENSG") and not _ENSEMBL.fullmatch(name):
        return "an Ensembl gene id has eleven digits"
    return ""
