"""A door for people: the results of a run, found and read by name.

``histobench.open("results")`` works on any copy of a folder of results, on the machine of the run or another:
nothing but the files below the folder is looked at. A table comes as a data frame with the declared types, a
prediction as AnnData, a figure as something that a notebook shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from histobench.errors import UserError, near
from histobench.files import read_json, read_results, read_table
from histobench.results import tables
from histobench.results.catalogue import ACROSS, Entry, catalogue, place

if TYPE_CHECKING:
    import anndata
    import pandas as pd

_TABLES = "{experiment}/tables/"
_BRANCHES = "external"


def open_results(folder: str | Path = "results") -> Run:
    """Open the results of a run.

    Parameters
    ----------
    folder
        The folder that the workflow wrote, or a copy of it.

    Raises
    ------
    UserError
        There is no such folder, or no experiment has left anything in it.
    """
    path = Path(folder)
    if not path.is_dir():
        raise UserError(f"{path}: there is no such folder; give the folder `results` of a run.")
    run = Run(path)
    if not run.experiments:
        below = path / "results"
        hint = f"did you mean {below}?" if below.is_dir() else "give the folder `results` of a run."
        raise UserError(f"{path}: no experiment has left results here; {hint}")
    return run


def _unknown(what: str, name: str, known: Iterable[str], where: Path) -> NoReturn:
    raise UserError(f"{where}: there is no {what} {name!r}; {near(name, known)}")


def _names(folder: Path, pattern: str) -> list[str]:
    """Stems of the files, or names of the folders, that are there; hidden ones are not."""
    return sorted(
        path.name if path.is_dir() else path.stem
        for path in folder.glob(pattern)
        if not path.name.startswith(".")
    )


class Run:
    """All results below one folder; ``run["her2st_lopo"]`` is one experiment.

    Attributes
    ----------
    folder
        Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __repr__(self) -> str:
        return f"<results in {self.folder}: {', '.join(self.experiments)}>"

    @property
    def experiments(self) -> list[str]:
        """Names of experiments, and of branches that test their models on other cohorts."""
        found = [
            str(path.parent.relative_to(self.folder))
            for pattern in ("*/tables", "*/predictions", f"*/{_BRANCHES}/*/tables")
            for path in self.folder.glob(pattern)
            if path.is_dir()
        ]
        return sorted(set(found))

    def __getitem__(self, name: str) -> Results:
        """Return the results of an experiment.

        Raises
        ------
        UserError
            There is none of that name; the nearest one is named.
        """
        if name not in self.experiments:
            _unknown("experiment", name, self.experiments, self.folder)
        return Results(name, self.folder / name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.experiments)

    def __len__(self) -> int:
        return len(self.experiments)

    @property
    def tables(self) -> list[str]:
        """Names of the tables across experiments that are there."""
        return [entry.name for entry in ACROSS if (self.folder / entry.path).is_file()]

    def table(self, name: str) -> pd.DataFrame:
        """Return a table across experiments: ``contrasts`` or ``transfer``."""
        if name not in self.tables:
            _unknown("table across experiments", name, self.tables, self.folder)
        entry = catalogue()[name]
        return tables.read(self.folder / entry.path, entry)

    @property
    def cohorts(self) -> list[str]:
        """Names of the cohorts."""
        return [path.parent.name for path in sorted(self.folder.glob("data/*/sections"))]

    def sections(self, cohort: str) -> list[str]:
        """Return the names of the sections of a cohort."""
        if cohort not in self.cohorts:
            _unknown("cohort", cohort, self.cohorts, self.folder)
        return _names(self.folder / "data" / cohort / "sections", "*.h5ad")

    def section(self, cohort: str, name: str) -> anndata.AnnData:
        """Return a section: raw counts, positions, labels and a picture."""
        if name not in self.sections(cohort):
            _unknown(f"section of {cohort}", name, self.sections(cohort), self.folder)
        return read_results(self.folder / "data" / cohort / "sections" / f"{name}.h5ad")

    @property
    def provenance(self) -> dict[str, Any]:
        """Code, configuration, data and environment behind all of it."""
        path = self.folder / catalogue()["provenance"].path
        if not path.is_file():
            raise UserError(f"{path}: there is no provenance; the run has not been finished.")
        told: dict[str, Any] = read_json(path)
        return told

    @property
    def report(self) -> Path:
        """The report, one file for the browser."""
        path = self.folder / catalogue()["report"].path
        if not path.is_file():
            raise UserError(f"{path}: there is no report; the run has not been finished.")
        return path


@dataclass(frozen=True)
class Figure:
    """A figure of an experiment; a notebook shows it.

    Attributes
    ----------
    name
        Its name.
    png, svg
        Files.
    caption
        What is printed below it.
    numbers
        File of the table that it was drawn from.
    """

    name: str
    png: Path
    svg: Path
    caption: str
    numbers: Path

    @property
    def table(self) -> pd.DataFrame:
        """The numbers that it was drawn from."""
        return read_table(self.numbers)

    def _repr_png_(self) -> bytes:
        return self.png.read_bytes()


class Results:
    """The results of one experiment.

    Attributes
    ----------
    name
        Name of the experiment, or of a branch (``EXPERIMENT/external/COHORT``).
    folder
        Where they lie.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder

    def __repr__(self) -> str:
        return f"<results of {self.name}: {len(self.methods)} methods, {len(self.tables)} tables>"

    # -- tables ------------------------------------------------------------------------------------------

    @property
    def tables(self) -> list[str]:
        """Names of the tables that are there, in the order of the documentation."""
        found = [*_names(self.folder / "tables", "*.tsv"), *_names(self.folder / "tables", "*.parquet")]
        return sorted(found, key=place)

    def table(self, name: str) -> pd.DataFrame:
        """Return a result table; ``docs/results.md`` says what its columns mean.

        Raises
        ------
        UserError
            There is no table of that name, or it is not as declared.
        """
        if name not in self.tables:
            _unknown("table", name, self.tables, self.folder)
        entry = self.about(name)
        return tables.read(self.folder / entry.path.removeprefix("{experiment}/"), entry)

    @staticmethod
    def about(name: str) -> Entry:
        """Return what a table is: title, caption, and columns with type, unit and meaning."""
        declared = {key: e for key, e in catalogue().items() if e.path.startswith(_TABLES)}
        if name not in declared:
            raise UserError(f"no table is called {name!r}; {near(name, declared)}")
        return declared[name]

    @property
    def leaderboard(self) -> pd.DataFrame:
        """One row per method, best first."""
        return self.table("leaderboard")

    @property
    def genes(self) -> pd.DataFrame:
        """One row per method and gene."""
        return self.table("genes")

    @property
    def folds(self) -> pd.DataFrame:
        """The role of every section in every fold."""
        path = self.folder / "folds.tsv"
        if not path.is_file():
            raise UserError(
                f"{path}: there are no folds; a branch on another cohort tests every section once, by models "
                "that were trained on all patients of its experiment."
            )
        return tables.read(path, catalogue()["folds"])

    @property
    def methods(self) -> list[str]:
        """Methods with results: those of the leader board, best first, then those that predict no gene."""
        ranked = list(self.leaderboard["method"]) if "leaderboard" in self.tables else []
        others = list(self.table("tumour")["method"]) if "tumour" in self.tables else []
        return list(dict.fromkeys([*ranked, *others])) or _names(self.folder / "predictions", "*")

    # -- predictions -------------------------------------------------------------------------------------

    def predicted(self, method: str) -> dict[str, list[str]]:
        """Return what a method has predicted: section -> folds that test it.

        Raises
        ------
        UserError
            There is nothing of that method.
        """
        folders = _names(self.folder / "predictions", "*")
        if method not in folders:
            _unknown("prediction of a method", method, folders, self.folder)
        found: dict[str, list[str]] = {}
        for path in sorted((self.folder / "predictions" / method).glob("*/*.h5ad")):
            found.setdefault(path.stem, []).append(path.parent.name)
        return found

    def predictions(self, method: str, section: str, fold: str = "") -> anndata.AnnData:
        """Return the prediction of a section by a method, ready for scanpy and squidpy.

        Parameters
        ----------
        method
            Method, or ``METHOD.seed3`` for a further seed.
        section
            A tested section.
        fold
            Fold that tests it, where several do.

        Returns
        -------
        anndata.AnnData
            Predicted expression in ``X``, measured in ``layers["truth"]``, counts in ``layers["counts"]``.
            To ``var``, which has ``gene_id`` and ``pearson`` (r over the spots of the section), the noise
            ceiling of each gene is added where it is known.

        Raises
        ------
        UserError
            There is no such prediction; the nearest name is named.
        """
        section, fold = str(section), str(fold)  # 151507 is a name
        known = self.predicted(method)
        if section not in known:
            _unknown(f"prediction by {method} of section", section, known, self.folder)
        folds = known[section]
        if fold and fold not in folds:
            _unknown(f"prediction of {section} in fold", fold, folds, self.folder)
        if not fold and len(folds) > 1:
            raise UserError(
                f"{self.folder}: {section} is tested in {len(folds)} folds; say which, as in "
                f"predictions({method!r}, {section!r}, fold={folds[0]!r})."
            )
        fold = fold or folds[0]
        table = read_results(self.folder / "predictions" / method / fold / f"{section}.h5ad")
        for column, metric, name, path in (
            ("pearson", "pearson", "scores", self.folder / "metrics" / method / f"{fold}.parquet"),
            ("ceiling", "ceiling", "ceiling", self.folder / "ceiling" / f"{fold}.parquet"),
        ):
            if column not in table.var and path.is_file():
                scores = tables.read(path, catalogue()[name])
                own = scores[(scores["section"] == section) & (scores["metric"] == metric)]
                table.var[column] = own.set_index("gene")["value"].reindex(table.var_names)
        return table

    # -- figures -----------------------------------------------------------------------------------------

    @property
    def figures(self) -> list[str]:
        """Names of the figures that are there."""
        return _names(self.folder / "figures", "*.png")

    def figure(self, name: str) -> Figure:
        """Return a figure; a notebook shows it.

        Raises
        ------
        UserError
            There is none of that name.
        """
        if name not in self.figures:
            _unknown("figure", name, self.figures, self.folder)
        stem = self.folder / "figures" / name
        caption = stem.with_suffix(".txt")
        return Figure(
            name,
            stem.with_suffix(".png"),
            stem.with_suffix(".svg"),
            caption.read_text(encoding="utf-8").strip() if caption.is_file() else "",
            self.folder / "tables" / "figures" / f"{name}.tsv",
        )
