"""The columns of result tables: type, unit and meaning of each name, declared once for all tables.

A table that means something else by a name says so where it is declared
(:mod:`histobench.results.catalogue`).
"""

from __future__ import annotations

from dataclasses import dataclass

TYPES = {
    "text": "text",
    "integer": "whole number",
    "number": "number",
    "flag": "True or False",
}
"""Types of columns, in words. A field may be empty where a value is not defined."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes
    ----------
    name
        As in the file's header.
    type
        One of :data:`TYPES`.
    meaning
        What a value says.
    unit
        What a value counts in; "" for text and plain numbers. ``r`` is a correlation, ``p`` a probability
        under the null hypothesis, ``share`` a fraction of one, ``target`` the scale of the targets.
    title
        Heading in the report; "" for one that follows from the name.
    """

    name: str
    type: str
    meaning: str
    unit: str = ""
    title: str = ""


def text(name: str, meaning: str, title: str = "") -> Column:
    """Declare a column of words."""
    return Column(name, "text", meaning, "", title)


def count(name: str, meaning: str, unit: str = "", title: str = "") -> Column:
    """Declare a column of whole numbers."""
    return Column(name, "integer", meaning, unit, title)


def number(name: str, meaning: str, unit: str = "", title: str = "") -> Column:
    """Declare a column of numbers."""
    return Column(name, "number", meaning, unit, title)


def p(name: str, meaning: str, title: str = "") -> Column:
    """Declare a column of p-values, or of false discovery rates."""
    return Column(name, "number", meaning, "p", title)


def flag(name: str, meaning: str, title: str = "") -> Column:
    """Declare a column that is true or false."""
    return Column(name, "flag", meaning, "", title)


END = "end of the 95 % percentile bootstrap interval over patients"
"""What the two ends of an interval are; lower or upper comes before it."""

COLUMNS = {
    column.name: column
    for column in (
        # who and where
        text("method", "method or arm, as configured", "Method"),
        text("method_a", "first method of the pair"),
        text("method_b", "second method of the pair"),
        text("family", "kind of method: deep, classical, control or oracle", "Family"),
        text("experiment", "experiment, as configured"),
        text("cohort", "cohort, as configured"),
        text("fold", "fold of the experiment"),
        text("patient", "patient, the unit of replication"),
        text("section", "section of tissue"),
        text("spot", "spot of the section"),
        text("gene", "gene symbol", "Gene"),
        text("metric", "name of the metric"),
        text("note", "what else must be known to read the row"),
        text("reason", "why something is missing or left out"),
        # numbers of things
        count("n_patients", "patients that the row is about", "patients"),
        count("n_sections", "sections that the row is about", "sections"),
        count("n_spots", "spots that the row is about", "spots"),
        count("n_genes", "genes that the row is about", "genes", "Genes"),
        count("n_folds", "folds with results", "folds", "Folds"),
        count("seeds", "seeds that were averaged", "seeds", "Seeds"),
        # scores
        number("pearson", "r per gene and section, averaged over sections, patients, genes", "r", "r"),
        number("pearson_low", f"lower {END}", "r", "95 % low"),
        number("pearson_high", f"upper {END}", "r", "95 % high"),
        number(
            "pearson_pooled",
            "pooled over sections: rewards recognising the section; for comparison only",
            "r",
            "r pooled",
        ),
        number(
            "pearson_centred",
            "pooled over sections after the mean of each is taken from truth and prediction",
            "r",
            "r centred",
        ),
        number("ceiling", "noise ceiling: r that a perfect prediction would reach", "r", "Ceiling"),
        number("ceiling_fraction", "score divided by the noise ceiling", "share of ceiling", "of ceiling"),
        number("spearman", "Spearman's rank correlation, averaged like r", "r", "Spearman"),
        number("pearson_smoothed", "r with the truth averaged over neighbouring spots", "r"),
        number("pearson_partial_depth", "r after the sequencing depth of spots is partialled out", "r"),
        number("rmse", "root mean squared error on the scale of the targets", "target", "RMSE"),
        number("mae", "mean absolute error on the scale of the targets", "target", "MAE"),
        number("auroc_quartiles", "area under the ROC curve, highest against lowest quarter of spots"),
        count("n_positive", "genes with positive mean correlation", "genes", "Genes r > 0"),
        count("n_undefined", "pairs of gene and section without r, or with r set to 0", "", "Undefined"),
        # tests
        p("p_binomial", "one-sided binomial test of r > 0 over patients, probability 1/2", "p binomial"),
        p("p_holm", "Holm's step-down correction: family-wise error", "p Holm"),
        p("q_bh", "Benjamini-Hochberg: false discovery rate", "q BH"),
        p("p_shared", "like p_binomial, with shared training patients allowed for"),
        p("p_wilcoxon", "two-sided Wilcoxon signed-rank test over patients"),
        p("smallest_p", "smallest p that so many patients can give"),
        p("p", "two-sided p, uncorrected"),
        number("t", "t statistic of the paired test over patients"),
        number("difference", "mean difference over patients, first minus second"),
        number("difference_low", f"lower {END}"),
        number("difference_high", f"upper {END}"),
        number("within", "mean correlation of gene pairs within the groups", "r"),
        number("between", "mean correlation of gene pairs between the groups", "r"),
        number("shared_training", "correlation of patients' scores that shared training alone makes", "r"),
        # cost
        number("train_seconds", "wall time of one training, mean over folds", "s", "Training"),
        number("peak_memory_mb", "largest peak memory of a training", "MB", "Memory"),
        count("parameters", "parameters that are trained", "", "Parameters"),
    )
}  # fmt: skip
"""Columns that mean the same in every table that has them."""
