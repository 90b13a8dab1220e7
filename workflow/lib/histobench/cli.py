"""The ``histobench`` command: what is not a result of the workflow."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from histobench.errors import UserError

# A checkout: the library lies in workflow/lib/histobench.
PROJECT = Path(__file__).resolve().parents[3]


def _document_config(arguments: argparse.Namespace) -> None:
    from histobench.configdoc import document
    from histobench.files import atomic_path

    path = PROJECT / "config" / "README.md"
    text = document(PROJECT)
    if arguments.check:
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            raise UserError(f"{path} does not match the schemas; run `make docs`.")
        return
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"wrote {path}")


def _gdc_manifest(arguments: argparse.Namespace) -> None:
    from histobench.cohorts.gdc import build_manifest

    left_out = build_manifest(arguments.output, arguments.project, arguments.patients)
    print(f"wrote {arguments.output}")
    for reason, number in sorted(left_out.items()):
        print(f"left out: {number} files ({reason})")


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    main = argparse.ArgumentParser(
        prog="histobench",
        description="Companion of the HistoBench workflow; Snakemake runs the benchmark, see README.md.",
    )
    commands = main.add_subparsers(title="commands", required=True, metavar="COMMAND")
    document = commands.add_parser(
        "document-config", help="write config/README.md from the schemas in workflow/schemas"
    )
    document.add_argument("--check", action="store_true", help="only say whether the page is up to date")
    document.set_defaults(run=_document_config)
    manifest = commands.add_parser(
        "gdc-manifest",
        help="ask the Genomic Data Commons which frozen slides have expression, and fix the list",
    )
    manifest.add_argument("--output", required=True, help="manifest to write")
    manifest.add_argument("--project", default="TCGA-BRCA", help="project of the GDC (default: %(default)s)")
    manifest.add_argument("--patients", type=int, help="only the first so many patients")
    manifest.set_defaults(run=_gdc_manifest)
    return main


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; a user's mistake is one sentence and exit status 1."""
    parsed = parser().parse_args(arguments)
    try:
        parsed.run(parsed)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
