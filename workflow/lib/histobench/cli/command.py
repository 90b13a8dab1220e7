"""The ``histobench`` command: what is not a result of the workflow."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from histobench.errors import UserError
from histobench.project import checkout, project_folder
from histobench.software import installed_version


def _document_config(arguments: argparse.Namespace) -> None:
    from histobench.cli import configdoc, environments, methodsdoc
    from histobench.files import atomic_path
    from histobench.results import document as resultsdoc

    project = checkout("document-config")
    pages: dict[str, Callable[[Path], str]] = {
        "config/README.md": configdoc.document,
        "docs/methods.md": methodsdoc.document,
        "docs/results.md": resultsdoc.document,
        "README.md": resultsdoc.readme,
        **{
            f"envs/{name}.yaml": functools.partial(environments.document, name=name)
            for name in environments.declared(project)
        },
    }
    for name, document in pages.items():
        path, text = project / name, document(project)
        if arguments.check:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                raise UserError(f"{path} does not match what it is made from; run `make docs`.")
            continue
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"wrote {path}")


def _gdc_manifest(arguments: argparse.Namespace) -> None:
    from histobench.cohorts.fetch.gdc import build_manifest, join_portal_tables, write_paired

    if bool(arguments.portal_manifest) != bool(arguments.sample_sheet):
        raise UserError("--portal-manifest and --sample-sheet belong together; give both, or neither.")
    if arguments.portal_manifest:
        files, left_out = join_portal_tables(arguments.portal_manifest, arguments.sample_sheet)
        left_out += write_paired(files, arguments.output, arguments.patients)
    else:
        left_out = build_manifest(arguments.output, arguments.project, arguments.patients)
    print(f"wrote {arguments.output}")
    for reason, number in sorted(left_out.items()):
        print(f"left out: {number} files ({reason})")


def _lock(arguments: argparse.Namespace) -> int:
    import datetime

    from histobench.cohorts.fetch.publishers import refresh_lock

    lock = arguments.lock or checkout("lock") / "resources" / "data_lock.tsv"
    found = refresh_lock(lock, arguments.refresh, datetime.date.today().isoformat())
    for line in found.told:
        print(line)
    for line in found.contradictions:
        print(f"Problem: {line}; find out which is right, and correct the row.")
    return 1 if found.contradictions else 0


def _plan(arguments: argparse.Namespace) -> None:
    from histobench.config.benchmark import Benchmark
    from histobench.config.files import read_configuration
    from histobench.plan.model import make_plan
    from histobench.plan.size import sentences

    project = project_folder()
    files = [project / "config" / "config.yaml", *arguments.configfile]
    bench = Benchmark(read_configuration(files, project), project, files)
    for sentence in sentences(make_plan(bench)):
        print(sentence)


def _debug(arguments: argparse.Namespace) -> int:
    import runpy

    project = checkout("debug")
    # not of the library, which does not know Snakemake
    tool = runpy.run_path(str(project / "workflow" / "debug.py"))
    wildcards: dict[str, str] = {}
    for item in arguments.wildcards:
        name, equal, value = item.partition("=")
        if not equal:
            raise UserError(f"{item} is no wildcard; write NAME=VALUE, for instance fold=P1.")
        if wildcards.setdefault(name, value) != value:
            raise UserError(f"{name} is given as {wildcards[name]} and as {value}; one job has one of them.")
    status: int = tool["debug"](
        arguments.rule, wildcards, project, arguments.configfile, post_mortem=arguments.pdb
    )
    return status


def _check_cohort(arguments: argparse.Namespace) -> int:
    from histobench.cli.cohortcheck import check_cohort

    folder = arguments.drawings or Path(f"{arguments.file.stem}_check")
    found = check_cohort(arguments.file, project_folder(), folder, arguments.mirror)
    for problem in found.problems:
        print(f"Problem: {problem}")
    for note in found.notes:
        print(f"Note: {note}")
    if found.drawings:
        print(f"Look at the spots over tissue: {len(found.drawings)} drawings in {folder}")
    number = len(found.problems)
    print(f"{found.n_sections} sections checked, {number or 'no'} problem{'' if number == 1 else 's'}.")
    return 1 if found.problems else 0


def _check_method(arguments: argparse.Namespace) -> int:
    from histobench.cli.methodcheck import method_problems

    problems = method_problems(arguments.name, project_folder(), arguments.configfile)
    for problem in problems:
        print(f"Problem: {problem}")
    print(f"{arguments.name}: {len(problems) or 'no'} problem{'' if len(problems) == 1 else 's'}.")
    return 1 if problems else 0


def _check_encoder(arguments: argparse.Namespace) -> int:
    from histobench.cli.encodercheck import check_encoder

    found = check_encoder(
        arguments.name,
        project_folder(),
        arguments.configfile,
        weights=arguments.weights,
        offline=arguments.offline,
    )
    for problem in found.problems:
        print(f"Problem: {problem}")
    for note in found.notes:
        print(f"Note: {note}")
    number = len(found.problems)
    print(f"{arguments.name}: {number or 'no'} problem{'' if number == 1 else 's'}.")
    return 1 if found.problems else 0


def _predict(arguments: argparse.Namespace) -> None:
    import os

    from histobench.slides.newslide import write_slide_prediction

    output = arguments.output or Path(f"{arguments.image.stem}.predicted.h5ad")
    if output.suffix != ".h5ad":
        raise UserError(f"--output is {output}, but AnnData files end in .h5ad; give such a name.")
    facts = write_slide_prediction(
        arguments.model,
        arguments.image,
        output,
        output.with_suffix(".png"),
        um_per_px=arguments.um_per_px,
        pitch_um=arguments.pitch_um,
        device=arguments.device,
        threads=arguments.threads or len(os.sched_getaffinity(0)),
        progress=True,
    )
    found = facts["n_positions"] - facts["n_glass"]
    print(
        f"{found} positions on tissue ({facts['n_glass']} on glass) at {facts['um_per_px']:g} µm per pixel "
        f"({facts['um_per_px_source']})"
    )
    if facts["note"]:
        print(f"note: {facts['note']}")
    if facts["weights_terms"]:
        print(f"terms of the weights behind the model: {facts['weights_terms']}")
    print(f"wrote {output} and {output.with_suffix('.png')}")


def _recover(arguments: argparse.Namespace) -> int:
    from histobench.cli.cluster import recover

    given = arguments.arguments[1:] if arguments.arguments[:1] == ["--"] else arguments.arguments
    return recover(Path.cwd(), given, rerun=not arguments.no_rerun)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    main = argparse.ArgumentParser(
        prog="histobench",
        description="Companion of the HistoBench workflow; Snakemake runs the benchmark, see README.md.",
    )
    main.add_argument("--version", action="version", version=f"histobench {installed_version('histobench')}")
    commands = main.add_subparsers(title="commands", required=True, metavar="COMMAND")
    document = commands.add_parser(
        "document-config",
        help="write the pages made from declarations: config/README.md, docs/, envs/ and the README's table",
    )
    document.add_argument("--check", action="store_true", help="only say whether the pages are up to date")
    document.set_defaults(run=_document_config)
    cohort = commands.add_parser(
        "check-cohort",
        help="say everything that is wrong with a cohort of your own, and draw spots over tissue",
    )
    cohort.add_argument("file", type=Path, metavar="FILE", help="the cohort's YAML file (origin: local)")
    cohort.add_argument(
        "--drawings", type=Path, metavar="FOLDER", help="where drawings go; default: FILE's name with _check"
    )
    cohort.add_argument(
        "--mirror", type=Path, action="append", default=[], metavar="FOLDER",
        help="where files are looked for that are not beside the table; may be repeated",
    )  # fmt: skip
    cohort.set_defaults(run=_check_cohort)
    method = commands.add_parser(
        "check-method", help="say in what a method, or an arm of one, breaks the contract of all methods"
    )
    method.add_argument("name", metavar="NAME", help="as an experiment names it")
    method.add_argument(
        "--configfile", type=Path, metavar="FILE", help="configuration that changes or defines the method"
    )
    method.set_defaults(run=_check_method)
    encoder = commands.add_parser(
        "check-encoder", help="say what is wrong with an image encoder, its weights included"
    )
    encoder.add_argument("name", metavar="NAME", help="file in config/encoders")
    encoder.add_argument(
        "--weights", type=Path, metavar="FILE", help="file of its weights, else what `encoder_files` names"
    )
    encoder.add_argument(
        "--offline", action="store_true", help="leave weights out: size, output and pooling alone"
    )
    encoder.add_argument(
        "--configfile", type=Path, metavar="FILE", help="configuration that changes or defines the encoder"
    )
    encoder.set_defaults(run=_check_encoder)
    configured = argparse.ArgumentParser(add_help=False)
    configured.add_argument(
        "--configfile", type=Path, nargs="+", action="extend", default=[], metavar="FILE",
        help="as Snakemake is given them",
    )  # fmt: skip
    plan = commands.add_parser(
        "plan",
        parents=[configured],
        help="say how much a run is: jobs, GPU-hours, longest job, downloads, disk",
    )
    plan.set_defaults(run=_plan)
    debug = commands.add_parser(
        "debug",
        parents=[configured],
        help="run one job of the workflow alone in this process, its inputs being there",
    )
    debug.add_argument("rule", metavar="RULE", help="name of the rule, for instance train_method")
    debug.add_argument(
        "wildcards", nargs="*", metavar="NAME=VALUE", help="its wildcards, as an error names them"
    )
    debug.add_argument("--pdb", action="store_true", help="open the debugger where it fails")
    debug.set_defaults(run=_debug)
    predict = commands.add_parser(
        "predict", help="predict expression, and tumour where the model does, on a slide of your own"
    )
    predict.add_argument(
        "--model", type=Path, required=True, metavar="FOLDER",
        help="a trained model, results/EXPERIMENT/models/METHOD/FOLD",
    )  # fmt: skip
    predict.add_argument(
        "--image",
        type=Path,
        required=True,
        metavar="FILE",
        help="JPEG, PNG, TIFF, SVS, or what OpenSlide opens",
    )
    predict.add_argument(
        "--um-per-px", type=float, metavar="X",
        help="micrometres per pixel of the image, where the file does not say it (20x: about 0.5)",
    )  # fmt: skip
    predict.add_argument(
        "--pitch-um", type=float, default=100.0, metavar="X",
        help="distance of predicted positions in micrometres (default: %(default)g)",
    )  # fmt: skip
    predict.add_argument(
        "--output", type=Path, metavar="FILE.h5ad",
        help="AnnData file to write; a preview is written beside it (default: IMAGE.predicted.h5ad)",
    )  # fmt: skip
    predict.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="where a network runs"
    )
    predict.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all)")
    predict.set_defaults(run=_predict)
    after = commands.add_parser(
        "recover",
        help="after a run on a SLURM cluster was killed: cancel its jobs, wait, unlock and run it again",
    )
    after.add_argument("--no-rerun", action="store_true", help="do not start the run again")
    after.add_argument(
        "arguments", nargs=argparse.REMAINDER, metavar="-- ARGUMENTS", help="what snakemake was given"
    )
    after.set_defaults(run=_recover)
    manifest = commands.add_parser(
        "gdc-manifest",
        help="ask the Genomic Data Commons which frozen slides have expression, and fix the list",
    )
    manifest.add_argument("--output", required=True, help="manifest to write")
    manifest.add_argument("--project", default="TCGA-BRCA", help="project of the GDC (default: %(default)s)")
    manifest.add_argument("--patients", type=int, help="only the first so many patients")
    manifest.add_argument(
        "--portal-manifest", type=Path, metavar="FILE",
        help="do not ask, but take the manifest of a selection made in the GDC's portal",
    )  # fmt: skip
    manifest.add_argument(
        "--sample-sheet", type=Path, metavar="FILE", help="the portal's sample sheet of the same selection"
    )
    manifest.set_defaults(run=_gdc_manifest)
    lock = commands.add_parser(
        "lock", help="ask publishers what they state of their files, and write it into the data lock"
    )
    lock.add_argument(
        "--refresh", required=True, metavar="SOURCE", help="source of the lock whose rows are asked for"
    )
    lock.add_argument(
        "--lock", type=Path, metavar="FILE",
        help="the data lock (default: resources/data_lock.tsv of this checkout)",
    )  # fmt: skip
    lock.set_defaults(run=_lock)
    return main


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; a user's mistake is one sentence and exit status 1."""
    parsed = parser().parse_args(arguments)
    try:
        status: int = parsed.run(parsed) or 0
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
