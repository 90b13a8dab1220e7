"""What each result table is: a title, and a caption that says what a row is, n, the test and its correction.

A table that is not named here is still shown and offered, under its own name and without a caption.
"""

from __future__ import annotations

from typing import NamedTuple

LEAVE_ONE_OUT_NOTE = (
    "The binomial test of He et al. 2020 and the envelope of sign flips take patients for independent. "
    "Under leave-one-patient-out they are not: a patient stands in the training set of every other one, so "
    "without any signal the scores of n patients correlate by −1/(n − 1), which both ignore. The tests per "
    "gene that allow for shared training (columns named shared, and those of planted genes) correct for it."
)
ORACLE_NOTE = (
    "The oracle neighbour_mean finds null genes, and rightly: half of them have a smooth map of their own, "
    "which a spot's neighbours predict although the image does not. That is correct for an oracle, which "
    "sees the test section's measurements, and would be a leak in any other method."
)


class TableText(NamedTuple):
    """Title and caption of one table."""

    title: str
    caption: str


TEXTS = {
    "patients": TableText(
        "Scores per patient",
        "One row per method and patient: r per gene and section, averaged over the patient's sections, then "
        "genes. The patient is the unit of replication. Descriptive; no test.",
    ),
    "sections": TableText(
        "Scores per section",
        "One row per method and section, averaged over genes. Sections of a patient are serial cuts and no "
        "replicates. Undefined pairs are counted: too few spots for a correlation and constant truth are "
        "excluded, constant prediction scores 0.",
    ),
    "comparisons": TableText(
        "Comparisons of methods, paired over patients",
        "One row per pair: mean difference of the patients' scores with its 95 % percentile bootstrap over "
        "patients; p of the two-sided Wilcoxon signed-rank test over patients, Holm-corrected over all "
        "pairs; and the smallest p that so many patients can give.",
    ),
    "metrics": TableText(
        "Every metric of every method",
        "One row per method and metric: mean over genes, then patients, with its 95 % percentile bootstrap "
        "over patients; better says which direction is good, and is empty where a value is only to be read "
        "beside a control. No test.",
    ),
    "ranks": TableText(
        "Mean ranks, Friedman test and critical difference",
        "Per metric, methods ranked within each patient by its mean over genes; oracles do not compete. "
        "Friedman's test asks whether all mean ranks could be equal; methods that share a group number "
        "differ by less than the critical difference (family-wise 5 %) and cannot be told apart.",
    ),
    "variance": TableText(
        "Where the spread of scores comes from",
        "The variance of a method's score (mean over genes of what one fold tests, with one seed) split "
        "into patient, fold and seed; a part that the design cannot tell says so. Descriptive; no test.",
    ),
    "consistency": TableText(
        "Consistency of every gene over patients",
        "One row per method, kind of spots and gene: patients with r > 0 (sections pooled) of those in which "
        "r is defined; one-sided binomial p at 1/2; Holm (family-wise) and Benjamini-Hochberg over genes; "
        "the same for a p that allows for shared training. " + LEAVE_ONE_OUT_NOTE,
    ),
    "consistency_summary": TableText(
        "Consistent genes over all, tumour and normal spots",
        "Genes at 5 % by each correction, beside the smallest p that so many patients can give. Largest p "
        "Holm is what He et al. 2020 print as false discovery rate. " + LEAVE_ONE_OUT_NOTE,
    ),
    "consistency_curve": TableText(
        "Genes by number of positive patients",
        "Genes with r > 0 in at least k patients, per method; sections of a patient pooled, as in He et al. "
        "2020. Beside it the count expected of independent coins, the one expected with shared training, and "
        "the pointwise 95 % envelope of sign flips per patient. " + LEAVE_ONE_OUT_NOTE,
    ),
    "power": TableText(
        "What the tests can show",
        "The smallest p that so many patients can give, before and after correction, and the patients that "
        "Holm would need. A test that can never reject says nothing about the methods. " + LEAVE_ONE_OUT_NOTE,
    ),
    "tumour": TableText(
        "Tumour against normal spots",
        "Predicted tumour probability against the labels, per patient (sections pooled); * is the mean "
        "over patients with its 95 % percentile bootstrap. AUROC and AUPRC are undefined for a patient "
        "with one class; an AUPRC is read beside the prevalence.",
    ),
    "tumour_curves": TableText(
        "Curves of the tumour task",
        "ROC, precision-recall and calibration over the labelled spots of all patients pooled. Pooling "
        "lets sections differ in level, so areas under these curves are not those of the patients. No test.",
    ),
    "tumour_genes": TableText(
        "Genes that differ between tumour and normal spots",
        "Mean over patients of tumour minus normal spots, measured and predicted; two-sided t-test over "
        "patients, Benjamini-Hochberg over genes.",
    ),
    "informative_genes": TableText(
        "Genes that tell tumour spots apart",
        "Importance to a random forest, measured and predicted, averaged over sections and patients with "
        "both classes. The tenth of the panel with the highest ones is marked. No test.",
    ),
    "colocation": TableText(
        "Tumour and immune genes apart",
        "Mean correlation over spots of gene pairs between the groups and within them; two-sided paired "
        "t-test over patients (He et al. 2020), Holm over rows; 95 % percentile bootstrap. The row "
        "observed is of the measured expression.",
    ),
    "domains": TableText(
        "Domains: k-means against the pathologist's labels",
        "Per section, k-means with as many clusters as labels, on measured, predicted and latent values: "
        "ARI and NMI. Purity is of two clusters against tumour and normal, to be read beside that of a "
        "single cluster. Sections are no replicates; no test.",
    ),
    "confusion": TableText(
        "Spots by cluster and label",
        "Number of spots of every cluster and label, per section. Counts; no test.",
    ),
    "latent_neighbours": TableText(
        "Neighbours in latent space",
        "Correlation of a spot's genes with those of its nearest and farthest neighbour in latent space; "
        "mean over sections, patients, genes. The difference: two-sided Wilcoxon test over patients, Holm "
        "over methods, 95 % percentile bootstrap.",
    ),
    "planted": TableText(
        "Planted and null genes",
        "Known truth: the rate of planted genes is the true positive rate, that of null genes the false "
        "positive rate, at the level of the criterion; 95 % Wilson intervals over genes; one-sided t-test "
        "per gene over "
        "patients that allows for shared training patients. " + ORACLE_NOTE,
    ),
    "planted_genes": TableText(
        "Planted genes one by one",
        "One row per method, score and gene: p of the one-sided t-test over patients that allows for shared "
        "training patients, and q after Benjamini-Hochberg over all genes. " + ORACLE_NOTE,
    ),
    "published": TableText(
        "Published numbers beside ours",
        "One row per number of the paper whose protocol this experiment repeats: published, ours, "
        "difference, and the known reason for it. The comparison says so where the two are not the same "
        "quantity (another pooling, unit or cohort). Descriptive; no test.",
    ),
    "pseudobulk": TableText(
        "Slides against bulk expression",
        "One row per method: mean prediction over the tiles of a patient's slides against RNA-seq of the "
        "same patient, r per gene over patients; two-sided test of r, Holm and Benjamini-Hochberg over "
        "genes. Genes that the bulk does not list are counted, not scored; a constant prediction scores 0.",
    ),
    "subtypes": TableText(
        "Tumour subtypes from slides",
        "Logistic regression on predicted genes, on measured bulk expression of the same genes and on the "
        "model's features; 70 % of the patients to learn, the others to test. AUROC, and accuracy beside "
        "the prevalence; no test.",
    ),
    "slide_colocation": TableText(
        "Tumour and immune genes apart on slides",
        "Mean correlation over the tiles of a slide of predicted gene pairs between the groups and within "
        "them, averaged over slides, then patients; two-sided paired t-test over patients (He et al. 2020), "
        "Holm over rows; 95 % percentile bootstrap. Nothing is measured per tile, so there is no row "
        "observed.",
    ),
    "failures": TableText(
        "Failures and exclusions", "What failed or could not be measured, counted and not hidden."
    ),
}


def table_text(name: str) -> TableText:
    """Return title and caption of a table; an unknown one is titled by its name."""
    return TEXTS.get(name) or TableText(name.replace("_", " ").capitalize(), "")


def text_order(name: str) -> tuple[int, str]:
    """Return where a table stands among the others: as listed here, unknown ones last by name."""
    return list(TEXTS).index(name) if name in TEXTS else len(TEXTS), name
