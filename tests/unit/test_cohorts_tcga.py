"""TCGA: manifests of the GDC, frozen slides as SVS files that OpenSlide opens, and STAR counts."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
import yaml

from histobench import paths
from histobench.cli.command import main
from histobench.cohorts.fetch import gdc
from histobench.cohorts.readers.tcga import read_star_counts, slide_scale, slide_tiles
from histobench.config.benchmark import Benchmark
from histobench.errors import UserError
from histobench.evaluation.papers import read_papers
from histobench.plan import external, size
from histobench.plan.model import Plan, make_plan

SLIDE = "TCGA-A8-A082-01A-01-TS1.3cad4a77-47a6-4658-becf-d8cffa161d3a.svs"
MD5 = "0123456789abcdef0123456789abcdef"


def hit(name: str, patient: str = "TCGA-A8-A082", kind: str = "Primary Tumor", **more: object) -> dict:
    return {
        "id": name,
        "file_id": f"id-of-{name[:24]}",
        "file_name": name,
        "md5sum": MD5,
        "file_size": 1234,
        "state": "released",
        "cases": [{"submitter_id": patient, "samples": [{"sample_type": kind}]}],
        **more,
    }


def answer(*hits: dict, total: int | None = None) -> dict:
    return {"data": {"hits": list(hits), "pagination": {"total": len(hits) if total is None else total}}}


def test_query_asks_for_open_frozen_slides() -> None:
    wanted = {
        part["content"]["field"]: part["content"]["value"]
        for part in gdc.query("slides")["filters"]["content"]
    }
    assert wanted == {
        "cases.project.project_id": ["TCGA-BRCA"],
        "access": ["open"],
        "data_type": ["Slide Image"],
        "experimental_strategy": ["Tissue Slide"],
        "data_format": ["SVS"],
    }
    assert "cases.samples.sample_type" in gdc.query("counts")["fields"]


def test_answer_is_filtered_and_counted() -> None:
    files, left_out = gdc.files_of_response(
        answer(
            hit("b.rna_seq.augmented_star_gene_counts.tsv", "TCGA-A8-A083"),
            hit(SLIDE),
            hit(SLIDE.replace("01A", "11A"), kind="Solid Tissue Normal"),
            hit("TCGA-A8-A082-01Z-00-DX1.90E71B08.svs"),  # a diagnostic slide is not frozen
            hit("pooled.tsv", cases=[{"submitter_id": "TCGA-A8-A082"}, {"submitter_id": "TCGA-A8-A083"}]),
        )
    )
    assert [file.filename for file in files] == [SLIDE, "b.rna_seq.augmented_star_gene_counts.tsv"]
    assert files[0] == gdc.GdcFile(
        f"id-of-{SLIDE[:24]}", SLIDE, MD5, 1234, "released", "TCGA-A8-A082", "Primary Tumor"
    )
    assert left_out == {"Solid Tissue Normal": 1, "not frozen": 1, "no single patient": 1}


def test_incomplete_and_odd_answers_are_refused() -> None:
    with pytest.raises(UserError, match="holds 1 of 12000 files; ask again with a larger size"):
        gdc.files_of_response(answer(hit(SLIDE), total=12_000))
    with pytest.raises(UserError, match="lists no files"):
        gdc.files_of_response({"message": "internal error"})


def manifest(path: Path, *files: gdc.GdcFile) -> Path:
    gdc.write_manifest(files, path)
    return path


def row(name: str, patient: str, kind: str = "Primary Tumor") -> gdc.GdcFile:
    return gdc.GdcFile("id-" + name, name, MD5, 10, "released", patient, kind)


def test_manifest_pairs_slides_with_expression(tmp_path: Path) -> None:
    files = [
        row(SLIDE, "TCGA-A8-A082"),
        row("z.tsv", "TCGA-A8-A082"),
        row("a.tsv", "TCGA-A8-A082"),
        row("n.tsv", "TCGA-A8-A082", "Solid Tissue Normal"),
        row("TCGA-A8-A083-01A-01-BSA.f9a1.svs", "TCGA-A8-A083"),
    ]
    path = manifest(tmp_path / "m.tsv", *files)
    assert path.read_text().splitlines()[0] == "id\tfilename\tmd5\tsize\tstate\tpatient\tsample_type"
    assert gdc.read_manifest(path) == files
    assert gdc.slide_sections(files) == {
        "TCGA-A8-A082-01A-01-TS1": {
            "patient": "TCGA-A8-A082",
            "sample_type": "Primary Tumor",
            "slide": SLIDE,
            "counts": "a.tsv",
        },
        "TCGA-A8-A083-01A-01-BSA": {
            "patient": "TCGA-A8-A083",
            "sample_type": "Primary Tumor",
            "slide": "TCGA-A8-A083-01A-01-BSA.f9a1.svs",
        },
    }
    lock = gdc.lock_rows(files, "tcga_brca")["tcga_brca", SLIDE]
    assert lock.urls == (f"https://api.gdc.cancer.gov/data/id-{SLIDE}",)
    assert (lock.checksum, lock.size) == (f"md5:{MD5}", 10)
    kept, left_out = gdc.paired(files)
    assert {file.patient for file in kept} == {"TCGA-A8-A082"} and left_out == 1


def test_manifest_errors_name_the_line(tmp_path: Path) -> None:
    path = manifest(tmp_path / "m.tsv", row(SLIDE, "TCGA-A8-A082"), row(SLIDE, "TCGA-A8-A082"))
    with pytest.raises(UserError, match=r"line 3: file TCGA-A8-A082.* occurs twice"):
        gdc.read_manifest(path)
    path.write_text(path.read_text().replace(MD5, "md5", 1))
    with pytest.raises(UserError, match="line 2: expected id, filename"):
        gdc.read_manifest(path)
    path.write_text("id\tfilename\n")
    with pytest.raises(UserError, match="the header must be id, filename, md5"):
        gdc.read_manifest(path)


def test_a_cohort_of_slides_takes_its_sections_from_the_manifest(tmp_path: Path, project: Path) -> None:
    path = manifest(tmp_path / "m.tsv", row(SLIDE, "TCGA-A8-A082"), row("a.tsv", "TCGA-A8-A082"))
    bench = Benchmark(
        {"run": ["demo"], "prepare": ["tcga_brca"], "cohorts": {"tcga_brca": {"table": str(path)}}},
        project,
    )
    assert list(bench.cohorts["tcga_brca"]["sections"]) == ["TCGA-A8-A082-01A-01-TS1"]
    files = bench.section_files("tcga_brca", "TCGA-A8-A082-01A-01-TS1")
    assert files == {"slide": SLIDE, "counts": "a.tsv"}
    with pytest.raises(UserError, match="cohort `tcga_brca` holds slides without spots"):
        Benchmark(
            {
                "run": ["x"],
                "experiments": {"x": {"title": "X", "cohort": "tcga_brca", "methods": {"train_mean": None}}},
            },
            project,
        )


PORTAL = "id\tfilename\tmd5\tsize\tstate"
EXPRESSION = "0f5a.rna_seq.augmented_star_gene_counts.tsv"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_manifest_of_the_portal_is_accepted_for_slides(tmp_path: Path, end: str) -> None:
    """Its five columns say nothing of the patient, but a slide's name does."""
    normal = "TCGA-A8-A082-11A-01-BS1.AB-CD.svs"
    rows = [PORTAL, *(f"id-{name}\t{name}\t{MD5.upper()}\t10\treleased" for name in (SLIDE, normal)), ""]
    (tmp_path / "m.txt").write_bytes(end.join(rows).encode())
    files = gdc.read_manifest(tmp_path / "m.txt")
    assert files == [row(SLIDE, "TCGA-A8-A082"), row(normal, "TCGA-A8-A082", "Solid Tissue Normal")]
    sections = gdc.slide_sections(files)
    assert {section["patient"] for section in sections.values()} == {"TCGA-A8-A082"} and len(sections) == 2


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (EXPRESSION, r"line 2: .* is no slide.* --sample-sheet SHEET"),
        (
            "TCGA-A8-A082-01Z-00-DX1.AB.svs",
            r"line 2: .* not named like a frozen section.* DX is a diagnostic",
        ),
        ("slide.svs", r"line 2: slide\.svs is not named like a frozen section"),
    ],
)
def test_what_the_portals_manifest_cannot_tell_is_asked_for(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "m.txt").write_text(f"{PORTAL}\nid\t{name}\t{MD5}\t10\treleased\n")
    with pytest.raises(UserError, match=says):
        gdc.read_manifest(tmp_path / "m.txt")


SHEETS = {
    "older": ("Sample Type", "Primary Tumor"),
    "newer": ("Tissue Type\tTumor Descriptor\tSpecimen Type\tPreservation Method", "Tumor\tPrimary\tx\ty"),
}


def portal_tables(folder: Path, sheet: str, *files: tuple[str, str, str]) -> list[str]:
    """Write the two tables that the portal gives out; returns the options that name them."""
    column, kind = SHEETS[sheet]
    manifest = [PORTAL]
    samples = [f"File ID\tFile Name\tData Category\tData Type\tProject ID\tCase ID\tSample ID\t{column}"]
    for name, case, sample in files:
        manifest.append(f"id-{name}\t{name}\t{MD5}\t10\treleased")
        samples.append(f"id-{name}\t{name}\tc\tt\tTCGA-BRCA\t{case}\t{sample}\t{kind}")
    (folder / "gdc_manifest.txt").write_text("\n".join(manifest) + "\n")
    (folder / "gdc_sample_sheet.tsv").write_text("\n".join(samples) + "\n")
    return [
        "--portal-manifest",
        str(folder / "gdc_manifest.txt"),
        "--sample-sheet",
        str(folder / "gdc_sample_sheet.tsv"),
        "--output",
        str(folder / "m.tsv"),
    ]


@pytest.mark.parametrize("sheet", list(SHEETS))
def test_the_portals_manifest_and_sample_sheet_are_joined(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sheet: str
) -> None:
    case = "TCGA-A8-A082"
    options = portal_tables(
        tmp_path,
        sheet,
        (SLIDE, case, f"{case}-01A"),
        (EXPRESSION, case, f"{case}-01A"),
        ("normal.tsv", case, f"{case}-11A"),
        ("pooled.tsv", f"{case}, TCGA-A8-A083", f"{case}-01A, TCGA-A8-A083-01A"),
        ("twice.tsv", f"{case}, {case}", f"{case}-01A, {case}-01B"),
        ("alone.tsv", "TCGA-A8-A099", "TCGA-A8-A099-01A"),
    )
    assert main(["gdc-manifest", *options]) == 0
    files = gdc.read_manifest(tmp_path / "m.tsv")
    assert [file.filename for file in files] == [EXPRESSION, SLIDE, "twice.tsv"]
    assert {(file.patient, file.sample_type) for file in files} == {(case, "Primary Tumor")}
    printed = capsys.readouterr().out
    assert "1 files (Solid Tissue Normal)" in printed and "1 files (no single patient)" in printed


def test_portal_tables_that_do_not_fit_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = "TCGA-A8-A082"
    options = portal_tables(
        tmp_path, "newer", (SLIDE, case, f"{case}-01A"), (EXPRESSION, case, f"{case}-01A")
    )
    sheet = tmp_path / "gdc_sample_sheet.tsv"
    whole = sheet.read_text()
    for text, says in (
        ("".join(whole.splitlines(keepends=True)[:2]), f"line 3: {EXPRESSION} is not in"),
        (whole.replace("Sample ID", "Sample"), "has no column Sample ID"),
        (whole.replace("\tTCGA-BRCA", "", 1), "line 2 has 10 fields, expected 11"),
        ("", "has no column File ID"),
        (
            whole.replace(f"\t{case}-01A\t", f"\t{case}-11A\t"),
            "no patient has both a frozen slide and expression",
        ),
    ):
        sheet.write_text(text)
        assert main(["gdc-manifest", *options]) == 1
        assert says in capsys.readouterr().err and not (tmp_path / "m.tsv").exists()
    assert main(["gdc-manifest", *options[:2], *options[4:]]) == 1
    assert "belong together" in capsys.readouterr().err


def external_slides(project: Path, table: Path | None) -> Benchmark:
    """Name the cohort of slides as external, with a manifest or the one that is shipped."""
    change = {} if table is None else {"cohorts": {"tcga_brca": {"table": str(table)}}}
    experiment = {
        "title": "X",
        "cohort": "simulated",
        "patches": {"um_per_px": 4.8, "width_px": 32},
        "weights": "none",
        "methods": {"colour_ridge": None},
        "external": [{"cohort": "tcga_brca"}],
    }
    return Benchmark({"run": ["x"], "experiments": {"x": experiment}, **change}, project)


def default_run(project: Path, table: Path | None) -> Plan:
    """Plan the experiment of the default run that takes TCGA as soon as there is a list of its slides."""
    change = {} if table is None else {"cohorts": {"tcga_brca": {"table": str(table)}}}
    return make_plan(Benchmark({"run": ["hbcis_stnet"], **change}, project))


def test_the_default_run_has_tcga_as_soon_as_slides_are_listed(tmp_path: Path, project: Path) -> None:
    """Until then nothing of it is planned, which is said with the command that makes the list."""
    without = default_run(project, None)
    assert list(without.branches) == ["hbcis_stnet/external/visium_breast"]
    (told,) = [line for line in size.sentences(without) if line.startswith("Left out:")]
    assert "hbcis_stnet leaves out cohort tcga_brca" in told
    assert gdc.fill_command((project / "resources/tcga_brca_manifest.tsv").resolve()) in told
    counts = row("a.tsv", "TCGA-A8-A082")
    having = default_run(project, manifest(tmp_path / "m.tsv", row(SLIDE, "TCGA-A8-A082"), counts))
    branch = "hbcis_stnet/external/tcga_brca"
    assert branch in having.branches and not having.bench.left_out
    jobs = size.jobs(having)
    assert {"predict_tiles", "compare_pseudobulk", "tabulate_slides"} <= {job.rule for job in jobs}
    papers = read_papers(project / "resources/papers.tsv")
    promised = papers.loc[papers["reason"].str.contains(branch), "reason"]
    assert len(promised) == 3
    for reason in promised:
        (table,) = re.findall(r"\b(\w+)\.tsv", reason)
        assert paths.at(paths.TABLE, experiment=branch, table=table) in external.branch_files(having, branch)


def test_slides_alone_can_be_prepared(tmp_path: Path, project: Path) -> None:
    (tmp_path / "portal.txt").write_text(f"{PORTAL}\nid\t{SLIDE}\t{MD5}\t10\treleased\n")
    change = {"cohorts": {"tcga_brca": {"table": str(tmp_path / "portal.txt")}}}
    bench = Benchmark({"run": ["demo"], "prepare": ["tcga_brca"], **change}, project)
    assert bench.section_files("tcga_brca", SLIDE.partition(".")[0]) == {"slide": SLIDE}


def test_an_empty_manifest_is_refused_with_the_command_that_fills_it(tmp_path: Path, project: Path) -> None:
    """At plan time: without, the comparison with bulk expression would be planned without input."""
    with pytest.raises(UserError) as caught:
        external_slides(project, None)
    shipped = project / "resources/tcga_brca_manifest.tsv"
    assert f"`histobench gdc-manifest --patients 50 --output {shipped.resolve()}`" in str(caught.value)
    assert "experiments.x: `external` names cohort `tcga_brca`" in str(caught.value)
    with pytest.raises(UserError, match="lists no slide; fill it"):
        external_slides(project, manifest(tmp_path / "counts.tsv", row("a.tsv", "TCGA-A8-A082")))
    (tmp_path / "portal.txt").write_text(f"{PORTAL}\nid\t{SLIDE}\t{MD5}\t10\treleased\n")
    for table in (tmp_path / "portal.txt", manifest(tmp_path / "m.tsv", row(SLIDE, "TCGA-A8-A082"))):
        with pytest.raises(UserError, match=r"lists no expression to compare .* --sample-sheet SHEET"):
            external_slides(project, table)
    both = manifest(tmp_path / "m.tsv", row(SLIDE, "TCGA-A8-A082"), row("a.tsv", "TCGA-A8-A082"))
    assert external_slides(project, both).experiments["x"]["external"][0]["sections"] == [
        SLIDE.partition(".")[0]
    ]


def test_manifest_is_built_from_what_the_gdc_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a real HTTP server: one request for slides, one for expression."""
    asked = []

    class Gdc(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fields = [part["content"]["field"] for part in body["filters"]["content"]]
            asked.append("counts" if "analysis.workflow_type" in fields else "slides")
            names = (
                [("c1.tsv", "TCGA-A8-A082"), ("c2.tsv", "TCGA-A8-A099")]
                if asked[-1] == "counts"
                else [(SLIDE, "TCGA-A8-A082")]
            )
            content = json.dumps(answer(*(hit(*name) for name in names))).encode()
            self.send_response(200 if asked.count("slides") < 2 else 503)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Gdc)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(gdc, "FILES_URL", f"http://127.0.0.1:{server.server_port}/files")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    try:
        assert main(["gdc-manifest", "--output", str(tmp_path / "m.tsv")]) == 0
        assert [file.filename for file in gdc.read_manifest(tmp_path / "m.tsv")] == [SLIDE, "c1.tsv"]
        assert asked == ["slides", "counts"]
        with pytest.raises(UserError, match="does not answer"):
            gdc.build_manifest(tmp_path / "n.tsv")
        assert not (tmp_path / "n.tsv").exists()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_shipped_manifest_is_valid(project: Path) -> None:
    cohort = yaml.safe_load((project / "config/cohorts/tcga_brca.yaml").read_text())
    assert isinstance(gdc.read_manifest(project / "config/cohorts" / cohort["table"]), list)


def svs(path: Path, array: np.ndarray, properties: str) -> Path:
    """A tiled pyramid with Aperio's description."""
    with tifffile.TiffWriter(path) as writer:
        for level in (array, array[::4, ::4]):
            writer.write(
                np.ascontiguousarray(level),
                tile=(64, 64),
                photometric="rgb",
                description=f"Aperio Image Library v11.2.1\n{level.shape[1]}x{level.shape[0]} {properties}",
                metadata=None,
            )
    assert openslide.OpenSlide.detect_format(path) == "aperio"
    return path


@pytest.mark.parametrize(
    ("properties", "um_per_px", "source"),
    [
        ("|AppMag = 20|MPP = 0.4990", 0.499, "mpp"),
        ("|AppMag = 20|MPP = 0.2325", 0.2325, "mpp"),  # contradiction seen in TCGA: the scale is right
        ("|AppMag = 40", 0.25, "AppMag 40"),
        ("|AppMag = 20|MPP = 0", 0.5, "AppMag 20"),
        ("|AppMag = 10", None, "neither a plausible scale nor a magnification of 20 or 40 (AppMag: 10)"),
        ("|Filtered = 5", None, "neither a plausible scale nor a magnification of 20 or 40 (AppMag: none)"),
    ],
)
def test_scale_of_a_slide(tmp_path: Path, properties: str, um_per_px: float | None, source: str) -> None:
    path = svs(tmp_path / "slide.svs", np.zeros((64, 64, 3), np.uint8), properties)
    found = slide_scale(path)
    assert found.source == source and found.um_per_px == (um_per_px and pytest.approx(um_per_px))
    if um_per_px is None:
        with pytest.raises(UserError, match="the slide states neither a plausible scale"):
            next(slide_tiles(path))


def test_tissue_is_tiled_at_20x_without_the_glass(tmp_path: Path) -> None:
    image = np.full((300, 520, 3), 245, np.uint8)
    small = np.random.default_rng(0).integers(0, 180, (64, 128, 3), dtype=np.uint8)
    image[64:192, 128:384] = np.kron(small, np.ones((2, 2, 1), np.uint8))
    path = svs(tmp_path / "slide.svs", image, "|AppMag = 40|MPP = 0.25")
    batches = list(slide_tiles(path, um_per_px=0.5, width_px=32, batch=5))
    left, top = (np.concatenate([getattr(part, axis) for part in batches]) for axis in ("left", "top"))
    # windows of 64 native pixels; tissue lies on whole ones
    expected = [(x, y) for y in (64, 128) for x in (128, 192, 256, 320)]
    assert list(zip(left.tolist(), top.tolist(), strict=True)) == expected
    pixels = np.concatenate([part.pixels for part in batches])
    np.testing.assert_array_equal(pixels[5], small[32:64, 32:64])
    assert max(len(part.left) for part in batches) <= 5
    # a scale that is known better than the file's changes the field
    wider = np.concatenate([part.left for part in slide_tiles(path, width_px=32, um_per_px_native=0.5)])
    assert len(wider) == 32


def test_slides_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        slide_scale(tmp_path / "slide.svs")
    (tmp_path / "slide.svs").write_bytes(b"II*\0 truncated")
    with pytest.raises(UserError, match="header is truncated or damaged"):
        slide_scale(tmp_path / "slide.svs")


STAR = (
    "# gene-model: GENCODE v36\n"
    "gene_id\tgene_name\tgene_type\tunstranded\tstranded_first\tstranded_second\ttpm_unstranded\tfpkm_unstranded\t"
    "fpkm_uq_unstranded\n"
    "N_unmapped\t\t\t2000\t2000\t2000\t\t\t\n"
    "N_multimapping\t\t\t3000\t3000\t3000\t\t\t\n"
    "N_noFeature\t\t\t10\t11\t12\t\t\t\n"
    "N_ambiguous\t\t\t5\t6\t7\t\t\t\n"
    "ENSG00000141736.14\tERBB2\tprotein_coding\t512\t250\t262\t10.5\t4.1\t5.2\n"
    "ENSG00000002586.20\tCD99\tprotein_coding\t100\t50\t50\t1.5\t1.1\t1.2\n"
    "ENSG00000002586.20_PAR_Y\tCD99\tprotein_coding\t0\t0\t0\t0\t0\t0\n"
)


def test_star_counts(tmp_path: Path) -> None:
    path = tmp_path / "x.rna_seq.augmented_star_gene_counts.tsv"
    path.write_text(STAR)
    found = read_star_counts(path)
    assert found.genes["count"].to_dict() == {"ENSG00000141736": 512, "ENSG00000002586": 100}
    assert found.genes["gene"].tolist() == ["ERBB2", "CD99"]
    assert found.dropped == {"summary_rows": 4, "par_y": 1}
    assert read_star_counts(path, "tpm_unstranded").genes["count"].tolist() == [10.5, 1.5]
    with pytest.raises(UserError, match="column htseq is missing"):
        read_star_counts(path, "htseq")
    path.write_text(STAR.replace("512", "many"))
    with pytest.raises(UserError, match='line 7, column unstranded: expected a number, found "many"'):
        read_star_counts(path)
    path.write_text(STAR.replace("ENSG00000002586.20\t", "ENSG00000141736.2\t"))
    with pytest.raises(UserError, match="line 8: gene ENSG00000141736 occurs twice"):
        read_star_counts(path)
