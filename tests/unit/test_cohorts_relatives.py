"""Names, labels and tables that look alike and are not, in files of a user's own."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from unit.own_cohort import GENES, OwnCohort

from histobench.cohorts.counts import gene_features
from histobench.cohorts.gene_names import check_genes, exchanged, names_no_gene
from histobench.cohorts.readers.table_cohort import check_options, read_section
from histobench.cohorts.sheet import FILES, read_sheet
from histobench.cohorts.table import refuse_ambiguous_genes, written_apart
from histobench.errors import UserError
from histobench.splits.folds import make_folds


@pytest.fixture
def own(tmp_path):
    return OwnCohort(tmp_path / "mine", sections=("S1",))


def read(own, **options):
    record = read_sheet(own.folder / "mine.tsv").sections["S1"]
    return read_section("S1", {kind: record[kind] for kind in FILES if kind in record}, options)


def label(own, text, **options):
    (own.folder / "labels.tsv").write_text(text, encoding="utf-8")
    own.row("S1")["labels"] = "labels.tsv"
    own.write_table()
    return read(own, **options)


def spots(word, ending=""):
    return "spot\tlabel\n" + "".join(f"{x}x{y}{ending}\t{word}\n" for x, y in OwnCohort.grid())


# -- labels -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "asked"),
    [
        ("Invasive", "invasive"),
        ("1.0", "1"),
        ("True", "true"),
        ("in situ", "in  situ"),
        ("in-situ", "in situ"),
    ],
)
def test_a_label_that_is_nearly_one_that_counts_is_refused(own, found, asked):
    with pytest.raises(UserError, match=f'the label "{found}" is not quite "{asked}"'):
        label(own, spots(found), tumour=[asked])
    assert (label(own, spots(found), tumour=[asked, found]).spots["tumour"] == 1).all()


@pytest.mark.parametrize(
    ("found", "asked"), [("infiltre\u0301", "infiltr\u00e9"), ("\u200bDCIS", "DCIS "), ("a\u00a0", "a")]
)
def test_words_that_look_the_same_are_the_same(own, found, asked):
    assert (label(own, spots(found), tumour=[asked]).spots["tumour"] == 1).all()


def test_numbers_of_classes_that_became_floats_are_told(own):
    def classes(adata):
        adata.obs["cluster"] = [1.0] * 20 + [2.0] * 20 + [np.nan] * 2

    own.use_anndata("S1", classes)
    with pytest.raises(UserError, match=r'the label "1.0" is not quite "1"'):
        read(own, label="cluster", tumour=["1"])


@pytest.mark.parametrize("ending", ["_1", "-1"])
def test_labels_of_other_spots_are_refused(own, ending):
    with pytest.raises(
        UserError, match=rf"42 of 42 labels are of no spot .* 2x3{ending} \(spots are called 2x3"
    ):
        label(own, spots("invasive", ending))


def test_labels_with_columns_exchanged_are_refused_though_some_fit(own):
    turned = "spot\tlabel\n" + "".join(f"{y}x{x}\tinvasive\n" for x, y in OwnCohort.grid())
    with pytest.raises(UserError, match="labels are of no spot of this section"):
        label(own, turned)
    some = spots("invasive") + "33x35\tinvasive\n"
    assert label(own, some).dropped["label_no_spot"] == 1


@pytest.mark.parametrize("nothing", ["#N/A", "n.a.", "-", "?", "."])
def test_more_words_for_no_label(own, nothing):
    text = spots(nothing).replace(f"2x3\t{nothing}", "2x3\tinvasive")
    raw = label(own, text, tumour=["invasive"])
    assert (raw.spots["label"] != "").sum() == 1


def test_one_word_does_not_mean_two_things():
    with pytest.raises(UserError, match='"x" is both tumour and normal'):
        check_options({"tumour": ["x", "y"], "normal": ["x"]})


# -- tables -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["pixel_x", "new_y", "selected"])
def test_a_column_that_stands_twice_is_refused(own, column):
    spots = own.spots()
    other = spots[[column]] * 0.5
    pd.concat([spots, other], axis=1).to_csv(own.folder / "S1_spots.tsv", sep="\t", index=False)
    with pytest.raises(UserError, match=f"column {column} stands twice in the header"):
        read(own)


def test_columns_that_nobody_reads_may_repeat(own):
    spots = own.spots().assign(note=1)
    pd.concat([spots, spots[["note"]]], axis=1).to_csv(own.folder / "S1_spots.tsv", sep="\t", index=False)
    assert len(read(own).spots) == 42


def test_labels_and_visium_positions_with_a_column_twice(own):
    with pytest.raises(UserError, match="column label stands twice"):
        label(own, spots("normal\tinvasive").replace("spot\tlabel", "spot\tlabel\tlabel"))
    del own.row("S1")["labels"]
    positions = own.use_visium("S1") / "spatial/tissue_positions.csv"
    lines = positions.read_text().splitlines()
    positions.write_text("\n".join([f"{lines[0]},array_row", *(f"{line},0" for line in lines[1:])]))
    with pytest.raises(UserError, match="column array_row stands twice"):
        read(own)


# -- counts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float16", "longdouble"])
def test_kinds_of_numbers_that_scipy_lacks(own, kind):
    from histobench.cohorts.counts import row_matrix

    assert (
        row_matrix(np.arange(6).reshape(2, 3).astype(kind), "f").toarray() == [[0, 1, 2], [3, 4, 5]]
    ).all()


def market(own, first, features):
    outs = own.use_visium("S1")
    (outs / "filtered_feature_bc_matrix.h5").unlink()
    folder = outs / "filtered_feature_bc_matrix"
    folder.mkdir()
    (folder / "matrix.mtx").write_text(first)
    (folder / "barcodes.tsv").write_text("".join(f"BC{i:03d}-1\n" for i in range(64)))
    (folder / "features.tsv").write_text("".join(f"{line}\tGene Expression\n" for line in features))


def test_a_matrix_without_values_is_refused(own):
    entries = "".join(f"{gene} {spot}\n" for gene in (1, 2) for spot in range(1, 65))
    market(own, f"%%MatrixMarket matrix coordinate pattern general\n2 64 128\n{entries}", ["E1\tA", "E2\tB"])
    with pytest.raises(UserError, match="says where counts are, but not how large"):
        read(own)


def test_features_with_names_first_are_refused(own):
    ids = ["ENSG00000141510", "ENSG00000075624.3"]
    entries = "".join(f"{gene} {spot} 1\n" for gene in (1, 2) for spot in range(1, 65))
    header = "%%MatrixMarket matrix coordinate integer general\n2 64 128\n"
    market(own, header + entries, [f"TP53\t{ids[0]}", f"ACTB\t{ids[1]}"])
    with pytest.raises(UserError, match="the name first and the identifier second"):
        read(own)
    assert not exchanged(ids, ids) and not exchanged(ids, ["TP53", "ACTB"])


# -- names ------------------------------------------------------------------------------------------


DATES = [
    "1-Mar", "01-Mar-2021", "1-Mar-01", "Mar 1", "1. Mrz", "2-sept", "1-mars", "2-déc", "1-Dez", "Okt 4",
    "03.01.2021", "2021/03/01", "2001-03-01 00:00:00", "3/1/2019", "Sep-02-2020",
]  # fmt: skip


@pytest.mark.parametrize("name", DATES)
def test_dates_of_every_spreadsheet_are_no_genes(name):
    ((place, reason),) = check_genes(["TP53", name], {"ENSG00000141510": "TP53"}).impossible
    assert place == 1 and "date" in reason


@pytest.mark.parametrize("name", ["#NAME?", "#N/A", "TRUE", "nan", "NA", "-"])
def test_errors_of_spreadsheets_are_no_genes(name):
    assert check_genes([name], {}).impossible


def test_no_approved_symbol_looks_like_a_date_or_an_error(project):
    from histobench.config.tables import SYMBOLS
    from histobench.expression.symbols import load_symbols

    names = sorted(set(load_symbols(project / SYMBOLS).values()))
    assert len(names) > 10_000 and not check_genes(names, {}).impossible


def test_names_lose_what_cannot_be_seen_and_may_then_repeat(own):
    def blanks(adata):
        adata.var_names = [f"{GENES[0]} ", f"{GENES[1]}\u00a0", f"\ufeff{GENES[2]}", *GENES[3:]]
        adata.obs_names = [f"{adata.obs_names[0]} ", *adata.obs_names[1:]]

    own.use_anndata("S1", blanks)
    raw = read(own)
    assert list(raw.genes.index) == GENES and raw.spots.index[0] == "2x3"


def test_genes_that_differ_in_case_between_sections_are_refused():
    def listed(*pairs):
        return pd.DataFrame(pairs, columns=["gene", "path"]).assign(gene_id="")

    with pytest.raises(UserError, match="written C1ORF112, but C1orf112 in a"):
        refuse_ambiguous_genes(listed(("C1orf112", "a.h5ad"), ("C1ORF112", "b.h5ad")))
    both = [(gene, path) for path in ("a.h5ad", "b.h5ad") for gene in ("GAPDH", "Gapdh")]
    refuse_ambiguous_genes(listed(*both))  # human cells in a mouse
    refuse_ambiguous_genes(listed(("dl", "a.h5ad"), ("Dl", "b.h5ad")).assign(any_names=True))


def test_two_positions_of_a_spot_must_agree(own):
    def hires(adata: anndata.AnnData) -> None:
        adata.obs["pixel_x"], adata.obs["pixel_y"] = (adata.obsm["spatial"] * 0.8).T

    own.use_anndata("S1", hires)
    with pytest.raises(UserError, match=r"obs says that spot 2x3 lies at pixel .* and obsm\['spatial'\] at"):
        read(own)


# -- sections and patients --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "alike"),
    [
        (["P1", "p1"], True),
        (["p_1", "P-1"], True),
        (["1", "01"], True),  # a spreadsheet takes the zeros away, in the lines that it was opened with
        (["P10", "P010"], True),
        (["1", "10", "1_1", "11", "100", "P0"], False),
        (["P1", "P1"], False),
    ],
)
def test_patients_that_look_alike_are_refused(tmp_path, names, alike):
    sections = {f"S{n}": name for n, name in enumerate([*names, "other"], start=1)}
    own = OwnCohort(tmp_path / "more", sections=sections)
    for row in own.rows:
        row["patient"] = sections[row["section"]]
    own.write_table()
    problems = [str(problem) for problem in read_sheet(own.folder / "mine.tsv").problems]
    if alike:
        assert len(problems) == 1 and f"patient {names[1]} looks like {names[0]} of line 2" in problems[0]
        with pytest.raises(UserError, match="look like one"):
            make_folds(sections, scheme="leave_one_patient_out")
    else:
        assert not problems and make_folds(sections, scheme="leave_one_patient_out")


def test_sections_that_some_disks_take_for_one_are_refused(tmp_path):
    own = OwnCohort(tmp_path / "more", sections=("Sec1", "sec1"))
    (problem,) = read_sheet(own.folder / "mine.tsv").problems
    assert "section sec1 looks like Sec1 of line 2" in str(problem)


# -- ids, columns and files that nearly fit ------------------------------------------------------------


def rename(own, way):
    counts = own.counts()
    counts.index = [way(*map(int, spot.split("x"))) for spot in counts.index]
    own.write_counts("S1", counts)


OTHERWISE = {
    "from zero": (lambda x, y: f"{x - 1}x{y - 1}", "are counted from 0 in one file and from 1 in the other"),
    "columns from zero": (lambda x, y: f"{x - 1}x{y}", "are counted from 0 in one file"),
    "rows first": (lambda x, y: f"{y}x{x}", "are row and column in one file"),
}


@pytest.mark.parametrize("how", list(OTHERWISE))
def test_spots_that_are_named_otherwise_do_not_join_their_neighbours(own, how):
    """Most names of a dense array are those of a neighbour, whose counts would be taken without a word."""
    way, says = OTHERWISE[how]
    rename(own, way)
    with pytest.raises(UserError, match=f"S1.tsv.gz: spots {says}.* counts would lie on wrong spots"):
        read(own)
    own.write_counts("S1", own.counts())
    lines = "".join(f"{way(x, y)}\tinvasive\n" for x, y in own.grid())
    with pytest.raises(UserError, match=f"labels.tsv: spots {says}|labels are of no spot"):
        label(own, f"spot\tlabel\n{lines}")


def test_zeros_before_numbers_are_told(own):
    lines = "".join(
        f"{x:02d}x{y:02d}\tinvasive\n" if x > 4 else f"{x}x{y}\tinvasive\n" for x, y in own.grid()
    )
    with pytest.raises(UserError, match="have zeros before the numbers in one file"):
        label(own, f"spot\tlabel\n{lines}")


def test_spots_that_are_missing_are_not_taken_for_renamed_ones(own):
    counts = own.counts()
    own.write_counts("S1", counts.iloc[:-4])
    own.write_spots("S1", own.spots().iloc[3:])
    assert read(own).dropped["no_position"] == 3


def test_a_quotation_mark_that_is_never_closed_in_its_line_is_refused(own):
    rows = [f"{x}x{y}\tinvasive" for x, y in own.grid()]
    rows[3], rows[20] = rows[3].replace("inv", '"inv'), rows[20].replace("inv", '"inv')
    with pytest.raises(
        UserError, match='column label: a quotation mark before "invasive" takes the lines after'
    ):
        label(own, "spot\tlabel\n" + "\n".join(rows) + "\n")
    whole = label(own, "spot\tlabel\n" + "".join(f'"{x}x{y}"\t"in ""situ"""\n' for x, y in own.grid()))
    assert set(whole.spots["label"]) == {'in "situ"'}


@pytest.mark.parametrize("sep", [";", "\t"])
def test_a_table_without_any_label_is_refused(own, sep):
    lines = "".join(f"{x}x{y}{sep}invasive\n" for x, y in own.grid())
    with pytest.raises(UserError, match=r"none of its 42 lines has a label|column|no spot of this section"):
        label(own, f"spot,label\n{lines}")


@pytest.mark.parametrize("kind", ["positions", "labels"])
def test_one_file_is_not_that_of_two_sections(tmp_path, kind):
    own = OwnCohort(tmp_path / "more", sections=("S1", "S2"))
    (own.folder / "labels.tsv").write_text("spot\tlabel\n2x3\tinvasive\n")
    for section in ("S1", "S2"):
        own.row(section)[kind] = "labels.tsv" if kind == "labels" else "S1_spots.tsv"
    own.write_table()
    (problem,) = read_sheet(own.folder / "mine.tsv").problems
    assert f"line 3: {kind} " in str(problem) and "are those of line 2" in str(problem)


@pytest.mark.parametrize(
    "name",
    ["nCount_RNA", "__no_feature", "N_unmapped", "ERCC-00002", "total_counts", "__alignment_not_unique"],
)
def test_what_programs_count_beside_genes_is_no_gene(name):
    assert names_no_gene(name)


def test_no_approved_symbol_is_what_programs_count(project):
    from histobench.config.tables import SYMBOLS
    from histobench.expression.symbols import load_symbols

    assert not [name for name in load_symbols(project / SYMBOLS).values() if names_no_gene(name)]


def test_genes_whose_header_r_has_written_are_one(own):
    listed = pd.DataFrame({"gene": ["HLA-A", "HLA.A"], "path": ["a.h5ad", "b.h5ad"]})
    assert written_apart(listed) == "b.h5ad: a gene is written HLA.A, but HLA-A in a.h5ad"
    both = pd.DataFrame({"gene": ["HLA-A", "HLA.A"], "path": ["a.h5ad", "a.h5ad"]})
    assert written_apart(both) == ""


@pytest.mark.parametrize("key", ["label", "layer", "library_key"])
def test_names_among_options_are_single(own, key):
    with pytest.raises(UserError, match=rf"options.{key} is \['counts'\], expected one name"):
        read(own, **{key: ["counts"]})


def test_spots_of_two_people_are_no_section(own):
    own.use_anndata("S1", lambda adata: adata.obs.insert(0, "patient", ["PA"] * 20 + ["PB"] * 22))
    with pytest.raises(
        UserError, match=r"obs\['patient'\] names several people \(PA, PB\), but a section is of one"
    ):
        read(own)


def fewer(adata):
    adata.raw = adata.copy()
    return adata[:, :2].copy()


def present(adata):
    adata.layers["counts"] = adata.X.copy()
    adata.X = (adata.X > 0).astype(np.float32)


@pytest.mark.parametrize(("change", "layer", "n"), [(fewer, "raw", 6), (present, "counts", 6)])
def test_whole_numbers_in_x_are_not_taken_where_the_file_holds_more_counts(own, change, layer, n):
    own.use_anndata("S1", change)
    with pytest.raises(
        UserError, match=rf"fewer than the raw counts of {layer}; set `options: \{{layer: {layer}\}}`"
    ):
        read(own)
    assert (read(own, layer=layer).counts.toarray() == own.counts().to_numpy()).all()
    assert read(own, layer="X").counts.sum() < own.counts().to_numpy().sum()


def test_a_column_of_biotypes_that_knows_mrna_keeps_every_gene(own):
    own.use_anndata("S1", lambda adata: adata.var.insert(0, "type", ["mRNA"] * 4 + ["lncRNA", "pseudogene"]))
    assert len(read(own).genes) == 6


def test_a_kind_may_be_written_with_another_blank():
    kinds = [
        "Gene Expression",
        "Gene_Expression",
        "gene  expression",
        "",
        "Antibody Capture",
        "Antibody_Capture",
    ]
    assert list(gene_features(kinds)) == [True] * 4 + [False] * 2
