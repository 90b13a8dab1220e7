"""The catalogue of a run's files: where each lies, what its columns are, and what a reader must know of it.

A result table is declared here and nowhere else. From its entry follow the outputs of the rule that makes it,
the heading, caption and columns in the report, ``docs/results.md``, what :mod:`histobench.results.tables`
lets be written and read, and what ``histobench.open`` offers.

Nothing heavy is imported for it: planning a run reads this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from histobench import paths
from histobench.results.columns import COLUMNS, END, Column, count, flag, number, p, text

LEAVE_ONE_OUT_NOTE = (
    "The binomial test of He et al. 2020 and the envelope of sign flips take patients for independent. "
    "Under leave-one-patient-out they are not: a patient stands in the training set of every other one, so "
    "without any signal the scores of n patients correlate by −1/(n − 1), which both ignore. The tests per "
    "gene that allow for shared training (columns named shared, and those of planted genes) correct for it."
)
ORACLE_NOTE = (
    "An oracle that averages a spot's neighbours finds null genes, and rightly: half of them have a smooth "
    "map of their own, which the neighbours predict although the image does not. That is correct for an "
    "oracle, which sees the test section's measurements, and would be a leak in any other method."
)


@dataclass(frozen=True)
class Entry:
    """A file of a run.

    Attributes
    ----------
    name
        What it is called in rules, report and :func:`histobench.open`.
    path
        Below the folder of results, with placeholders in braces.
    title, caption
        Heading; and what a row (or the file) is, with n, test and correction.
    columns
        Columns in their order; empty for what is no table.
    more
        What further columns there may be; "" for none.
    make
        ``module:function`` below :mod:`histobench.evaluation` that computes the table of an experiment, see
        :func:`histobench.evaluation.tables.compute`; "" where a rule of its own does.
    shown
        Columns in the report, in their order there; empty for all.
    brief
        What the README says of it; "" for what a newcomer need not look at first.
    """

    name: str
    path: str
    title: str
    caption: str
    columns: tuple[Column, ...] = ()
    more: str = ""
    make: str = ""
    shown: tuple[str, ...] = ()
    brief: str = ""

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the declared columns."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column | None:
        """Return a declared column, None for one that is not."""
        return next((column for column in self.columns if column.name == name), None)


def _columns(*given: str | Column) -> tuple[Column, ...]:
    """Look up what is meant by names that mean the same everywhere; several may stand in one text."""
    found: list[Column] = []
    for one in given:
        found += [COLUMNS[name] for name in one.split()] if isinstance(one, str) else [one]
    return tuple(found)


def _below(path: str) -> str:
    """Return a path of a run below its folder of results."""
    return path.removeprefix(f"{paths.ROOT}/")


def table(
    name: str,
    title: str,
    caption: str,
    *columns: str | Column,
    make: str = "",
    more: str = "",
    shown: str = "",
    brief: str = "",
    path: str = paths.TABLE,
) -> Entry:
    """Declare a table: names of columns that mean the same everywhere, and its own columns, in order."""
    return Entry(
        name,
        _below(path.replace("{table}", name)),
        title,
        caption,
        _columns(*columns),
        more,
        make,
        tuple(shown.split()),
        brief,
    )


_DETAILS = "spearman pearson_smoothed pearson_partial_depth rmse mae auroc_quartiles"
_DIFFERENCE = "difference difference_low difference_high"
_KIND = text("kind", "what is known of the gene: colour, morphology, null, depth or patient")
_GENE_KIND = text("kind", "target (a gene of the panel) or auxiliary (one beside it)")
_IMPORTANCES = tuple(
    number(f"importance_{side}", f"importance of the {what} gene to a forest that sees all genes", "share")
    for side, what in (("truth", "measured"), ("prediction", "predicted"))
)

EXPERIMENT: tuple[Entry, ...] = (
    table(
        "leaderboard",
        "Leader board",
        "One row per method, best first. Click a heading to sort. Controls and oracles are marked by hollow "
        "swatches: an oracle uses measurements of the test section and does not compete. Against null says "
        "where r lies beside the envelope of the null control, whose own r is of one permutation a seed. "
        "Methods that predict tissue and no gene stand in the tables of tumour.",
        "method family pearson pearson_low pearson_high pearson_pooled ceiling_fraction spearman rmse mae "
        "n_genes n_positive",
        count(
            "n_consistent_holm",
            "genes consistent across patients, family-wise error 5 %",
            "genes",
            "Consistent (Holm)",
        ),
        count(
            "n_consistent_bh",
            "genes consistent across patients, false discovery rate 5 %",
            "genes",
            "Consistent (BH)",
        ),
        "n_undefined train_seconds peak_memory_mb parameters n_folds seeds",
        text(
            "weights_terms",
            "licence of the published weights that it starts from or sees images through, with a mark where "
            "no commercial use is allowed; empty where there are none",
        ),
        text(
            "against_null",
            "where r lies beside the envelope of the null control: above, within or below; empty without one",
        ),
        number("null_low", "of a null control: lower end of the envelope of its permutations", "r"),
        number("null_high", "of a null control: upper end of the envelope of its permutations", "r"),
        count("n_permutations", "of a null control: permutations", "permutations"),
        "pearson_centred",
        brief="a row per method: mean Pearson r with its interval over patients, fraction of the "
        "ceiling, errors, consistent genes, cost",
        make="score_tables:leaderboard",
        shown="method family pearson pearson_low pearson_high against_null null_low null_high "
        "ceiling_fraction spearman rmse mae pearson_pooled pearson_centred n_genes n_positive "
        "n_consistent_holm n_consistent_bh n_undefined train_seconds peak_memory_mb parameters n_folds seeds",
    ),
    table(
        "metrics",
        "Every metric of every method",
        "One row per method and metric: mean over genes, then patients, with its 95 % percentile bootstrap "
        "over patients; better says which direction is good, and is empty where a value is only to be read "
        "beside a control. No test.",
        "method family metric",
        text("better", "higher, lower or one (nearest to 1); empty where neither is better by itself"),
        number("value", "mean over genes, then patients"),
        number("value_low", f"lower {END}"),
        number("value_high", f"upper {END}"),
        "n_patients n_genes",
        brief="every metric of every method with its interval over patients",
        make="metric_tables:metric_table",
    ),
    table(
        "ranks",
        "Mean ranks, Friedman test and critical difference",
        "Per metric, methods ranked within each patient by its mean over genes; oracles do not compete. "
        "Friedman's test asks whether all mean ranks could be equal; methods that share a group number "
        "differ by less than the critical difference (family-wise 5 %) and cannot be told apart.",
        "metric method",
        number("mean_rank", "mean over patients of the rank, 1 is best"),
        "n_patients",
        count("n_methods", "methods that were ranked", "methods"),
        number("friedman_chi2", "Friedman's statistic"),
        p("p_friedman", "p of Friedman's test that all mean ranks are equal"),
        number("critical_difference", "difference of mean ranks from which on two methods differ"),
        text("groups", "numbers of the groups of methods that cannot be told apart, best first"),
        brief="mean ranks with Friedman's test and critical difference",
        make="metric_tables:rank_table",
    ),
    table(
        "variance",
        "Where the spread of scores comes from",
        "The variance of a method's score (mean over genes of what one fold tests, with one seed) split "
        "into patient, fold and seed; a part that the design cannot tell says so. Descriptive; no test.",
        "method",
        text("component", "patient, fold, seed, or what cannot be told apart"),
        number("variance", "variance of the score that it accounts for"),
        number("sd", "its square root", "r"),
        number("share", "part of the whole variance", "share"),
        count("n_levels", "patients, folds or seeds that were compared"),
        "note",
        brief="share of patient, fold and seed in the spread of scores",
        make="metric_tables:variance_table",
    ),
    table(
        "permutations",
        "Null distribution",
        "One row per permutation of the null control, which is trained on images that were moved among the "
        "spots of each section. All genes of a permutation share it, so that one alone may be far from zero; "
        "the envelope of all is what scores without image content look like. It reaches from the 2.5 % to "
        "the 97.5 % quantile, with fewer than 39 permutations over their whole range, outside of which a "
        "further one would fall with a probability of 2/(n + 1).",
        "method",
        count("permutation", "its number, seed after seed; the first of each seed is on the leader board"),
        "pearson n_patients n_genes",
        brief="r of every permutation of the null control",
        make="permutation_tables:permutation_table",
    ),
    table(
        "genes",
        "Genes",
        "One row per gene and method. Choose a method, search a gene, click a heading to sort.",
        "method gene",
        number("median_pearson", "median over patients of r, sections of a patient pooled", "r", "Median r"),
        number("mean_pearson", "mean over patients of r per section", "r", "Mean r"),
        count("n_patients", "patients in which r is defined", "patients", "of"),
        count("n_positive", "patients with r > 0", "patients", "Positive"),
        "p_binomial p_holm q_bh p_shared",
        number("neg_log10_p", "mean −log10 p of r in sections, spots taken for independent"),
        number("ceiling", "noise ceiling of the gene", "r", "Ceiling"),
        "pearson_pooled",
        _DETAILS,
        count("n_undefined", "sections without a correlation, or with one set to 0", "sections"),
        brief="per method and gene: r over patients, binomial p, Holm and Benjamini-Hochberg",
        make="score_tables:gene_table",
        shown="gene method median_pearson mean_pearson ceiling n_positive n_patients p_binomial p_holm q_bh",
    ),
    table(
        "patients",
        "Scores per patient",
        "One row per method and patient: r per gene and section, averaged over the patient's sections, then "
        "genes. The patient is the unit of replication. Descriptive; no test.",
        "method patient pearson pearson_pooled ceiling",
        _DETAILS,
        "n_sections n_spots n_genes",
        make="score_tables:patient_table",
    ),
    table(
        "sections",
        "Scores per section",
        "One row per method and section, averaged over genes. Sections of a patient are serial cuts and no "
        "replicates. Undefined pairs are counted: too few spots for a correlation and constant truth are "
        "excluded, constant prediction scores 0.",
        "method patient section pearson ceiling",
        _DETAILS,
        "n_spots n_genes",
        count("n_too_few_spots", "genes without r, because the section has too few spots", "genes"),
        count("n_constant_truth", "genes without r, because they do not vary in the section", "genes"),
        count("n_constant_prediction", "genes of r 0, because the prediction does not vary", "genes"),
        make="score_tables:section_table",
    ),
    table(
        "comparisons",
        "Comparisons of methods, paired over patients",
        "One row per pair: mean difference of the patients' scores with its 95 % percentile bootstrap over "
        "patients; p of the two-sided Wilcoxon signed-rank test over patients, Holm-corrected over all "
        "pairs; and the smallest p that so many patients can give.",
        "method_a method_b n_patients",
        _DIFFERENCE,
        "p_wilcoxon p_holm smallest_p",
        brief="paired differences of methods",
        make="inference_tables:comparison_table",
    ),
    table(
        "consistency",
        "Consistency of every gene over patients",
        "One row per method, kind of spots and gene: patients with r > 0 (sections pooled) of those in which "
        "r is defined; one-sided binomial p at 1/2; Holm (family-wise) and Benjamini-Hochberg over genes; "
        "the same for a p that allows for shared training. " + LEAVE_ONE_OUT_NOTE,
        "method",
        text("spots", "all, tumour or normal spots"),
        "gene",
        count("n_patients", "patients in which r is defined", "patients"),
        count("n_positive", "patients with r > 0", "patients"),
        number("median_pearson", "median over patients of r, sections of a patient pooled", "r"),
        "p_binomial p_holm q_bh p_shared",
        p("p_shared_holm", "p_shared after Holm's correction"),
        p("q_shared_bh", "p_shared after Benjamini-Hochberg"),
        make="study:consistency",
    ),
    table(
        "consistency_summary",
        "Consistent genes over all, tumour and normal spots",
        "Genes at 5 % by each correction, beside the smallest p that so many patients can give. Largest p "
        "Holm is what He et al. 2020 print as false discovery rate. " + LEAVE_ONE_OUT_NOTE,
        "method",
        text("spots", "all, tumour or normal spots"),
        "n_genes n_patients",
        count("n_positive_median", "genes with a positive median r over patients", "genes"),
        count("n_consistent_holm", "genes at 5 % after Holm", "genes"),
        p("largest_p_holm", "largest adjusted p among the genes at 5 % after Holm"),
        count("n_consistent_bh", "genes at 5 % after Benjamini-Hochberg", "genes"),
        count("n_shared_holm", "genes at 5 % after Holm, shared training allowed for", "genes"),
        count("n_shared_bh", "genes at 5 % after Benjamini-Hochberg, shared training allowed for", "genes"),
        "smallest_p",
        p("smallest_p_shared", "smallest p that so many patients can give, shared training allowed for"),
        flag("can_reject_holm", "whether Holm can reject at all with so many patients"),
        "shared_training note",
        brief="consistent genes over all, tumour and normal spots, and what is left when shared "
        "training patients are allowed for",
        make="study:consistency_summary",
    ),
    table(
        "consistency_curve",
        "Genes by number of positive patients",
        "Genes with r > 0 in at least k patients, per method; sections of a patient pooled, as in He et al. "
        "2020. Beside it the count expected of independent coins, the one expected with shared training, and "
        "the pointwise 95 % envelope of sign flips per patient. " + LEAVE_ONE_OUT_NOTE,
        "method",
        count("k", "patients with r > 0, at least", "patients"),
        "n_genes",
        number("n_expected", "genes expected of independent coins", "genes"),
        number("envelope_low", "lower end of the pointwise 95 % envelope of sign flips", "genes"),
        number("envelope_high", "upper end of the pointwise 95 % envelope of sign flips", "genes"),
        p("p_sign_flip", "share of sign flips with at least so many genes"),
        "n_patients",
        number("n_expected_shared", "genes expected with shared training", "genes"),
        "shared_training",
        make="inference_tables:curve_table",
    ),
    table(
        "power",
        "What the tests can show",
        "The smallest p that so many patients can give, before and after correction, and the patients that "
        "Holm would need. A test that can never reject says nothing about the methods. " + LEAVE_ONE_OUT_NOTE,
        text("test", "the test"),
        "n_patients",
        count("n_tests", "tests that are corrected for"),
        "smallest_p",
        p("smallest_p_holm", "the smallest p after Holm's correction"),
        count("patients_needed_holm", "patients from which on Holm can reject", "patients"),
        flag("can_reject_holm", "whether Holm can reject at all with so many patients"),
        count("genes_needed_bh", "genes at the smallest p from which on Benjamini-Hochberg rejects", "genes"),
        text("statement", "the row in one sentence"),
        brief="what the tests can and cannot show with so many patients",
        make="inference_tables:power_table",
    ),
    table(
        "tumour",
        "Tumour against normal spots",
        "Predicted tumour probability against the labels, per patient (sections pooled); * is the mean "
        "over patients with its 95 % percentile bootstrap. AUROC and AUPRC are undefined for a patient "
        "with one class; an AUPRC is read beside the prevalence.",
        "method",
        text("patient", "patient; * for the mean over patients"),
        count("n_labelled", "spots with a label", "spots"),
        number("prevalence", "share of tumour among labelled spots", "share"),
        number("accuracy", "share of labelled spots on the right side of 1/2", "share"),
        number("auroc", "area under the ROC curve", "share"),
        number("auroc_low", f"lower {END}", "share"),
        number("auroc_high", f"upper {END}", "share"),
        number("auprc", "area under the precision-recall curve", "share"),
        number("auprc_low", f"lower {END}", "share"),
        number("auprc_high", f"upper {END}", "share"),
        number("brier", "Brier score: mean squared error of the probability"),
        brief="tumour probabilities against the labels",
        make="tumour_tables:tumour_table",
    ),
    table(
        "tumour_curves",
        "Curves of the tumour task",
        "ROC, precision-recall and calibration over the labelled spots of all patients pooled. Pooling "
        "lets sections differ in level, so areas under these curves are not those of the patients. No test.",
        "method",
        text("curve", "roc, precision_recall or calibration"),
        number("x", "false positive rate, recall, or mean predicted probability", "share"),
        number("y", "true positive rate, precision, or share of tumour", "share"),
        number("threshold", "probability from which on a spot counts as tumour", "share"),
        "n_spots",
        make="tumour_tables:tumour_curve_table",
    ),
    table(
        "tumour_genes",
        "Genes that differ between tumour and normal spots",
        "Mean over patients of tumour minus normal spots, measured and predicted; two-sided t-test over "
        "patients, Benjamini-Hochberg over genes.",
        "method gene n_patients",
        number("difference_truth", "measured tumour minus normal spots, mean over patients", "target"),
        number("difference_prediction", "predicted tumour minus normal spots, mean over patients", "target"),
        p("p_truth", "two-sided t-test over patients of the measured difference"),
        p("q_truth", "p_truth after Benjamini-Hochberg over genes"),
        p("p_prediction", "two-sided t-test over patients of the predicted difference"),
        p("q_prediction", "p_prediction after Benjamini-Hochberg over genes"),
        make="tumour_tables:tumour_gene_table",
    ),
    table(
        "informative_genes",
        "Genes that tell tumour spots apart",
        "Importance to a random forest, measured and predicted, averaged over sections and patients with "
        "both classes. The tenth of the panel with the highest ones is marked. No test.",
        "method gene n_patients",
        number("importance_truth", "importance of the measured gene to the forest", "share"),
        number("importance_prediction", "importance of the predicted gene to the forest", "share"),
        number("rank_truth", "rank of the measured gene, 1 is the most important"),
        number("rank_prediction", "rank of the predicted gene, 1 is the most important"),
        count("in_truth", "1 where the measured gene is in the highest tenth of the panel, else 0"),
        count("in_prediction", "1 where the predicted gene is in the highest tenth of the panel, else 0"),
        make="tumour_tables:informative_table",
    ),
    table(
        "colocation",
        "Tumour and immune genes apart",
        "Mean correlation over spots of gene pairs between the groups and within them; two-sided paired "
        "t-test over patients (He et al. 2020), Holm over rows; 95 % percentile bootstrap. The row "
        "observed is of the measured expression.",
        text("method", "method or arm; observed for the measured expression"),
        "n_patients within between",
        _DIFFERENCE,
        "t p p_holm",
        make="tumour_tables:colocation_table",
    ),
    table(
        "domains",
        "Domains: k-means against the pathologist's labels",
        "Per section, k-means with as many clusters as labels, on measured, predicted and latent values: "
        "ARI and NMI. Purity is of two clusters against tumour and normal, to be read beside that of a "
        "single cluster. Sections are no replicates; no test.",
        "method",
        text("values", "observed, predicted or latent"),
        "patient section n_spots",
        count("n_domains", "clusters, as many as there are labels"),
        number("ari", "adjusted Rand index of clusters and labels"),
        number("nmi", "normalised mutual information of clusters and labels", "share"),
        number("purity", "share of spots in the majority class of their cluster, two clusters", "share"),
        number("purity_majority", "the same of a single cluster: the share of the larger class", "share"),
        brief="k-means domains against the labels",
        make="domain_tables:domain_table",
    ),
    table(
        "confusion",
        "Spots by cluster and label",
        "Number of spots of every cluster and label, per section. Counts; no test.",
        "method",
        text("values", "observed, predicted or latent"),
        "section",
        text("kind", "domain (as many clusters as labels) or tumour (two clusters)"),
        count("cluster", "number of the cluster"),
        text("label", "label of the pathologist"),
        "n_spots",
        make="domain_tables:confusion_table",
    ),
    table(
        "latent_neighbours",
        "Neighbours in latent space",
        "Correlation of a spot's genes with those of its nearest and farthest neighbour in latent space; "
        "mean over sections, patients, genes. The difference: two-sided Wilcoxon test over patients, Holm "
        "over methods, 95 % percentile bootstrap.",
        "method n_patients",
        number("nearest", "r of a spot's genes with those of its nearest neighbour in latent space", "r"),
        number("farthest", "r of a spot's genes with those of its farthest neighbour in latent space", "r"),
        _DIFFERENCE,
        "p_wilcoxon p_holm",
        make="domain_tables:neighbour_table",
    ),
    table(
        "planted",
        "Planted and null genes",
        "Known truth: the rate of planted genes (colour and morphology) is the true positive rate, that of "
        "null genes the false "
        "positive rate, at the level of the criterion; 95 % Wilson intervals over genes; one-sided t-test "
        "per gene over patients that allows for shared training patients. " + ORACLE_NOTE,
        "method",
        text("metric", "score that is tested: pearson or pearson_partial_depth"),
        _KIND,
        text("criterion", "what counts as found"),
        "n_genes",
        count("n_found", "genes that were found", "genes"),
        number("rate", "share of the genes that were found", "share"),
        number("rate_low", "lower end of the 95 % Wilson interval over genes", "share"),
        number("rate_high", "upper end of the 95 % Wilson interval over genes", "share"),
        number("mean_score", "mean score of the genes", "r"),
        "shared_training",
        make="study:planted",
    ),
    table(
        "planted_genes",
        "Planted genes one by one",
        "One row per method, score and gene: p of the one-sided t-test over patients that allows for shared "
        "training patients, and q after Benjamini-Hochberg over all genes. " + ORACLE_NOTE,
        "method",
        text("metric", "score that is tested: pearson or pearson_partial_depth"),
        "gene",
        _KIND,
        text("programme", "spatial programme that the gene was planted to follow"),
        number("strength", "strength with which it follows, on the log scale"),
        number("mean_score", "mean score over patients", "r"),
        "n_patients",
        p("p", "one-sided t-test over patients, shared training allowed for"),
        "q_bh",
        count("found_p", "1 where p is at most 5 %, else 0"),
        count("found_q", "1 where q is at most 5 %, else 0"),
        make="study:planted_genes",
    ),
    table(
        "auxiliary",
        "Target and auxiliary genes",
        "One row per kind of genes of a method that predicts genes beside the panel: r per gene and section, "
        "averaged over sections, patients, genes, with its 95 % percentile bootstrap over patients; and "
        "beside it r with the sections of a patient pooled. Genes that do not vary have no r. No test.",
        "method",
        _GENE_KIND,
        "n_patients n_genes",
        count("n_undefined", "genes that have no r, as they vary in no tested section", "genes"),
        "pearson pearson_low pearson_high",
        number("pearson_pooled", "r per gene with the sections of a patient pooled, mean over both", "r"),
        number("mse", "mean squared error per gene and section, averaged like r", "squared target"),
        count("n_positive", "genes with positive mean correlation", "genes"),
        brief="scores of the genes beside the panel, for methods that predict them",
        make="study:auxiliary",
    ),
    table(
        "failures",
        "Failures and exclusions",
        "What failed or could not be measured, counted and not hidden.",
        "method",
        count("seed", "seed of the run; empty where there is one only"),
        "fold reason",
        make="inference_tables:failure_table",
    ),
)
"""Tables of an experiment or of a branch that tests its models elsewhere, all made by one rule."""

PAPER: tuple[Entry, ...] = (
    table(
        "published",
        "Published numbers beside ours",
        "One row per number of the paper whose protocol this experiment repeats: published, ours, "
        "difference, and the known reason for it. The comparison says so where the two are not the same "
        "quantity (another pooling, unit or cohort). Descriptive; no test.",
        text("paper", "the publication"),
        text("source", "paper, supplement or code that states the number"),
        text("item", "table, figure or sentence"),
        text("method", "method that the number is of"),
        text("quantity", "what was measured"),
        text("gene", "gene that it is of; empty for none"),
        text("section", "section that it is of; empty for none"),
        number("published", "the number as published"),
        number("ours", "the same statistic of this run; empty where there is none"),
        number("difference", "ours minus published, where the two can be compared"),
        text("unit", "unit of both"),
        text("comparison", "whether the two can be compared"),
        text("reason", "why they differ, or cannot be compared"),
        text("averaging", "how the paper averaged"),
        text("published_protocol", "how the paper's number was obtained"),
        text("citation", "where it stands"),
        brief="what the papers report beside ours, with the difference or the reason why there is none "
        "(paper mode)",
    ),
)
"""Tables that only an experiment has that repeats a paper's protocol."""

SLIDES: tuple[Entry, ...] = (
    table(
        "pseudobulk",
        "Slides against bulk expression",
        "One row per method: mean prediction over the tiles of a patient's slides against RNA-seq of the "
        "same patient, r per gene over patients; two-sided test of r, Holm and Benjamini-Hochberg over "
        "genes. Genes that the bulk does not list are counted, not scored; a constant prediction scores 0.",
        "method n_patients n_genes",
        count("n_not_measured", "genes that the bulk does not list", "genes"),
        count("n_constant", "genes that are constant in the bulk", "genes"),
        number("pearson_median", "median over genes of r over patients", "r"),
        number("spearman_median", "median over genes of the rank correlation over patients", "r"),
        count("n_positive", "genes with r > 0", "genes"),
        count("n_significant_holm", "genes with r > 0 at 5 % after Holm", "genes"),
        count("n_significant_bh", "genes with r > 0 at 5 % after Benjamini-Hochberg", "genes"),
    ),
    table(
        "subtypes",
        "Tumour subtypes from slides",
        "Logistic regression on predicted genes, on measured bulk expression of the same genes and on the "
        "model's features; 70 % of the patients to learn, the others to test. AUROC, and accuracy beside "
        "the prevalence; no test.",
        "method",
        text("features", "what was learnt from: predicted, measured or embedding"),
        text("subtype", "subtype against all others"),
        count("n_features", "features that were learnt from"),
        count("n_train", "patients that were learnt from", "patients"),
        count("n_test", "patients that were tested", "patients"),
        number("strength", "inverse strength of the penalty, chosen on training patients"),
        number("accuracy", "share of tested patients told right", "share"),
        number("prevalence", "share of tested patients of the subtype", "share"),
        number("auroc", "area under the ROC curve", "share"),
        "reason",
    ),
    table(
        "slide_colocation",
        "Tumour and immune genes apart on slides",
        "Mean correlation over the tiles of a slide of predicted gene pairs between the groups and within "
        "them, averaged over slides, then patients; two-sided paired t-test over patients (He et al. 2020), "
        "Holm over rows; 95 % percentile bootstrap. Nothing is measured per tile, so there is no row "
        "observed.",
        "method n_patients",
        count("n_slides", "slides of these patients", "slides"),
        "within between",
        _DIFFERENCE,
        "t p p_holm",
    ),
)
"""Tables of a cohort of slides; its branches have none of the others."""

ENCODERS: tuple[Entry, ...] = (
    table(
        "encoders",
        "Encoders that were asked for",
        "One row per encoder: size, cost, licence and terms, what it was trained on and whether this cohort "
        "is among that, whether it took part, and else what brings it. No test.",
        text("encoder", "encoder, as configured"),
        text("title", "its name"),
        text("status", "compared, or not available here"),
        text("what_to_do", "what brings an encoder that is not available; empty for one that is"),
        count("parameters", "parameters of the network"),
        count("dimension", "length of its vectors"),
        number(
            "seconds_per_1000_spots",
            "time to describe 1,000 spots, measured by the jobs of this run without loading the network; "
            "over all sections and fields, and empty where none was described",
            "s",
        ),
        text("described_on", "hardware of these jobs; several where they differ"),
        text("licence", "licence of the weights"),
        flag("gated", "whether its publisher asks for an agreement before the download"),
        flag("commercial", "whether commercial use is allowed"),
        flag("taints_derivatives", "whether the terms reach what is made with it"),
        text("trained_on", "data of its training"),
        flag("saw_cohort", "whether this cohort is among that data"),
        text("citation", "publication"),
    ),
    table(
        "encoder_scores",
        "Scores of encoders",
        "One row per method and way of scoring, with its 95 % percentile bootstrap, and the rank among "
        "encoders under the same head, field and scoring; controls and the noise ceiling have rows without "
        "an encoder. No test.",
        "method",
        text("head", "method on the encoder's vectors; empty for a control"),
        text("encoder", "encoder; empty for a control"),
        text("start", "pretrained or none: where the encoder's weights come from"),
        number("field_um", "side of the field that is described; empty for that of the patches", "µm"),
        text("scoring", "within sections, pooled over all spots, or pooled with section means taken away"),
        number("value", "r by that way of scoring", "r"),
        number("low", "lower end of the 95 % percentile bootstrap interval", "r"),
        number("high", "upper end of the 95 % percentile bootstrap interval", "r"),
        number("rank", "rank among encoders under the same head, field and scoring, 1 is best"),
        count("n_encoders", "encoders that were ranked"),
        "n_patients n_genes",
    ),
)
"""Tables that only an experiment has that compares encoders."""

BRANCH: tuple[Entry, ...] = (
    table(
        "external",
        "Another cohort",
        "One row: under which conditions the models of an experiment predict another cohort.",
        text("trained_by", "experiment whose models predict"),
        text("cohort", "cohort that is predicted"),
        "n_patients n_sections n_genes",
        count("n_not_measured", "genes of the panel that the cohort does not measure", "genes"),
        text("not_measured", "their names"),
        text("stain", "stain handling, as in training; empty where no image is looked at"),
        number("um_per_px_patches", "scale of the patches", "µm/px"),
        number("um_per_px_min", "smallest scale of an image", "µm/px"),
        number("um_per_px_max", "largest scale of an image", "µm/px"),
        text("resampled_by", "factors by which images are enlarged"),
    ),
)
"""Tables of a branch that tests an experiment's models on another cohort, beside those of an experiment."""

ACROSS: tuple[Entry, ...] = (
    table(
        "contrasts",
        "The same method in two experiments",
        "Leakage inflation and ablations: one row per method and pair of experiments that differ in one "
        "thing, change paired over patients with its 95 % percentile bootstrap; two-sided Wilcoxon test, "
        "Holm over the methods of a pair.",
        text("question", "what the pair differs in"),
        text("base", "experiment that is changed", "Base"),
        text("other", "experiment with the change", "Other"),
        text("base_value", "what is changed, in the first"),
        text("other_value", "what is changed, in the second"),
        "method family n_patients n_genes",
        number("pearson_base", "over the patients and genes that both experiments score", "r", "r, base"),
        number("pearson_other", "over the patients and genes that both experiments score", "r", "r, other"),
        number("change", "other minus base, paired over patients", "r", "Change"),
        number("change_low", f"lower {END}", "r", "95 % low"),
        number("change_high", f"upper {END}", "r", "95 % high"),
        "p_wilcoxon p_holm smallest_p",
        text("also_differs", "what else the two differ in", "Also differs"),
        "note",
        brief="leakage inflation and ablations: the same method in two experiments of the run, change "
        "paired over patients with its interval, and what else differs",
        path=paths.CONTRASTS,
        shown="method base other pearson_base pearson_other change change_low change_high p_wilcoxon p_holm "
        "smallest_p n_patients n_genes also_differs note",
    ),
    table(
        "transfer",
        "Transfer to other cohorts",
        "Every way in which models reach a cohort that some experiment tests without training on it: "
        "patients of the training cohort held out in turn, and other cohorts predicted by models of all its "
        "patients, with or without further training. Genes that a cohort does not measure are left out "
        "there, so that rows can be means over different genes. Intervals over patients; no test.",
        "method family",
        text("trained_on", "cohort of the training", "Trained on"),
        text("tested_on", "cohort that was tested", "Tested on"),
        text("arm", "how the two are connected", "Tested are"),
        "experiment pearson pearson_low pearson_high ceiling_fraction n_genes n_patients",
        brief="trained on x tested on: scores on held-out patients and on other cohorts",
        path=paths.TRANSFER,
        shown="method trained_on tested_on arm pearson pearson_low pearson_high ceiling_fraction n_genes "
        "n_patients experiment",
    ),
)
"""Tables across the experiments of a run."""

_VALUE = number("value", "value of the metric; empty where it is not defined")
FILES: tuple[Entry, ...] = (
    table(
        "folds",
        "Folds",
        "The role of every section in every fold.",
        "fold patient section",
        text("role", "train, valid or test"),
        "cohort",
        path=paths.FOLDS,
    ),
    table(
        "panel",
        "Genes of a fold",
        "Genes that are predicted, chosen on the training sections of the fold.",
        "gene",
        count("rank", "place in the order of choice, 1 is first"),
        number("statistic", "what they were ordered by; empty for a published list"),
        path=paths.PANEL,
    ),
    table(
        "leakage",
        "Leakage audit",
        "What training could have seen of the tested patients, checked before training. A finding is a leak "
        "that nobody declared, and stops a run; a declared leak belongs to the published protocol that an "
        "experiment in paper mode repeats.",
        text("check", "what was checked", "Check"),
        text("scope", "experiment or fold", "Scope"),
        text("status", "ok, declared or fail; a declared leak is the published protocol's", "Status"),
        text("detail", "what was found", "Detail"),
        brief="checks that no tested patient was trained on; a failed check stops the run",
        path=paths.AUDIT,
        shown="status check scope detail",
    ),
    table(
        "scores",
        "Metrics of a method",
        "Every metric of every section, gene and fold. Rows without a gene are of the section; section * is "
        "of the patient's pooled sections.",
        "patient section gene metric",
        _VALUE,
        "n_spots",
        path=f"{paths.METRICS}/{{fold}}.parquet",
    ),
    table(
        "every_gene_scores",
        "Every predicted gene of a method",
        "One row per tested section and gene, for methods that predict genes beside the panel. Their "
        "predictions are not kept; means, standard deviations and r of sections pool exactly.",
        "patient section gene",
        _GENE_KIND,
        "n_spots",
        count("n_labelled", "spots with a label of tumour or normal tissue", "spots"),
        number("pearson", "r over the spots of the section; empty where the gene does not vary", "r"),
        number("rmse", "root mean squared error", "target"),
        number("mean_truth", "mean of the measured gene", "target"),
        number("mean_prediction", "mean of the predicted gene", "target"),
        number("sd_truth", "standard deviation of the measured gene", "target"),
        number("sd_prediction", "standard deviation of the predicted gene", "target"),
        *_IMPORTANCES,
        path=paths.EVERY_GENE_SCORES,
    ),
    table(
        "every_gene",
        "Every predicted gene",
        "One row per method, gene and kind of gene, for methods that predict genes beside the panel: scores "
        "averaged over sections and patients, and ranks of importance to forests that tell the tumour spots "
        "of a section apart by all these genes together. No test.",
        "method gene",
        _GENE_KIND,
        "n_patients",
        number("mean_pearson", "mean over patients of r per section", "r"),
        number("pearson_pooled", "mean over patients of r, sections of a patient pooled", "r"),
        number("mse", "mean squared error, mean over sections and patients", "squared target"),
        *_IMPORTANCES,
        number("rank_truth", "rank of the measured gene, 1 is the most important"),
        number("rank_prediction", "rank of the predicted gene, 1 is the most important"),
        brief="scores of every gene that a method predicts, also beside the panel",
        path=paths.EVERY_GENE,
    ),
    table(
        "ceiling",
        "Noise ceilings",
        "The best r that each gene of each tested section allows, estimated by thinning its counts.",
        "patient section gene metric",
        _VALUE,
        "n_spots",
        path=paths.CEILING,
    ),
    table(
        "nuclei",
        "Nuclei",
        "One row per spot of a section, for experiments with a method that finds nuclei, by its recipe. "
        "Means are over the nuclei of a patch, empty without one; distances are to Delaunay neighbours.",
        "section spot",
        count("n_nuclei", "nuclei in the patch", "nuclei"),
        number("density", "nuclei per square millimetre", "per mm²"),
        number("area_share", "share of the patch that nuclei cover", "share"),
        number("area_sd", "standard deviation of the nuclei's areas", "µm²"),
        number("haematoxylin", "optical density of haematoxylin, mean over the patch"),
        number("area", "area of a nucleus", "µm²"),
        number("major_axis", "major axis of the ellipse with equal moments", "µm"),
        number("minor_axis", "its minor axis", "µm"),
        number("axis_ratio", "major by minor axis"),
        number("mean_red", "red of the nucleus, 0 to 1"),
        number("mean_green", "green of the nucleus, 0 to 1"),
        number("mean_blue", "blue of the nucleus, 0 to 1"),
        number("max_distance", "largest distance to a neighbouring nucleus", "µm"),
        number("mean_distance", "mean distance to neighbouring nuclei", "µm"),
        number("min_distance", "smallest distance to a neighbouring nucleus", "µm"),
        brief="number, size, shape, colour and density of the nuclei of every spot",
        path=paths.NUCLEI,
    ),
    table(
        "spots",
        "Spots",
        "One row per tested spot with its clusters under every method, of the first seed.",
        "patient section spot",
        number("array_x", "column on the array"),
        number("array_y", "row on the array"),
        text("label", "label of the pathologist; empty for none"),
        number("tumour", "1 tumour, 0 normal, empty unknown"),
        more="METHOD.domain, METHOD.cluster, METHOD.latent_cluster and METHOD.tumour_probability where a "
        "method has them; observed.domain and observed.cluster of the measured expression",
        brief="the clusters of every spot",
        path=paths.SPOT_TABLE,
    ),
    table(
        "encoder_cost",
        "Cost of an encoder",
        "One row per section that an encoder has described: what it took, measured by the job.",
        "section",
        text("encoder", "encoder, as its file is named"),
        text("start", "pretrained or none: where its weights come from"),
        "n_spots",
        number("seconds", "time to describe its patches, without loading the network", "s"),
        count("parameters", "parameters of the network, counted"),
        count("dimension", "length of its vectors, or of each of its tokens"),
        text("hardware", "what it ran on"),
        brief="seconds, number of parameters and hardware of every section that an encoder has described",
        path=paths.FEATURE_COST,
    ),
    table(
        "cohort_sections",
        "Sections of a cohort",
        "Spots kept and dropped with the reason, depth, geometry, and checksums of what was read.",
        "section patient",
        text("patient_alias", "name of the patient in another cohort"),
        count("n_spots_raw", "spots with counts or a position", "spots"),
        count("n_spots_kept", "spots that are stored", "spots"),
        more="dropped_REASON, spots lost for each reason; depth, scale, image and labels",
        brief="spots kept and dropped with the reason, depth, scale",
        path=paths.SECTIONS,
    ),
    Entry(
        "section",
        _below(paths.SECTION),
        "A section",
        "AnnData: raw counts in X; obs with positions (array_x, array_y, pixel_x, pixel_y; array_row, "
        "array_col, in_tissue), patient, section and label; gene_id in var; a small picture and its scale in "
        "uns['spatial']. Opens in scanpy and squidpy.",
        brief="counts, positions, labels and a picture of a section, opens in scanpy and squidpy",
    ),
    Entry(
        "predictions",
        _below(paths.PREDICTION),
        "A prediction",
        "AnnData: predicted expression in X, measured in layers['truth'], raw counts in layers['counts']; "
        "gene_id and r over the section's spots (pearson) in var; tumour_probability in obs and the latent "
        "space in obsm['embedding'] where the method has them; of the null control r of every permutation in "
        "varm['pearson_permuted']. Opens in scanpy and squidpy.",
        brief="predicted and measured expression, opens in scanpy and squidpy",
    ),
    Entry(
        "run",
        _below(paths.RUN_RECORD),
        "Record of a training",
        "Parameters, seed, versions, hardware, seconds, memory, and who was trained on.",
    ),
    Entry(
        "trainings",
        _below(paths.RECORDS),
        "Records of trainings",
        "The records of all trainings whose models an experiment or branch tests, as a JSON list.",
    ),
    Entry(
        "figure",
        _below(paths.FIGURE_SVG),
        "A figure",
        "Beside it the same as PNG and its caption as text; its numbers in tables/figures/{figure}.tsv.",
        brief="every figure as SVG and PNG; its numbers in `EXPERIMENT/tables/figures/`",
    ),
    Entry("report", _below(paths.REPORT), "The report", "One file, readable offline."),
    Entry(
        "provenance",
        _below(paths.PROVENANCE),
        "Provenance",
        "Code, configuration, data and environment behind all of it.",
        brief="code, configuration, data and environment behind all of it",
    ),
)
"""What else a run leaves: inputs of the tables, sections, predictions, models and figures."""


def catalogue() -> dict[str, Entry]:
    """Return every entry by name, in the order of the documentation."""
    return {
        entry.name: entry for entry in (*EXPERIMENT, *PAPER, *ENCODERS, *BRANCH, *SLIDES, *ACROSS, *FILES)
    }


def place(name: str) -> tuple[int, str]:
    """Return where a table stands among the others: as declared, unknown ones last by name."""
    known = list(catalogue())
    return known.index(name) if name in known else len(known), name


def names(entries: Sequence[Entry]) -> list[str]:
    """Return the names of a group of entries."""
    return [entry.name for entry in entries]


def columns_of(name: str) -> tuple[str, ...]:
    """Return the names of the columns of a table, in their order.

    Raises
    ------
    KeyError
        No table is declared under that name.
    """
    return catalogue()[name].column_names
