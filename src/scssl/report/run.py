"""The record of a run: run.json beside the tables it names, written by the commands and read by the report."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from scssl.environment import machine, versions
from scssl.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FILE = "run.json"
FORMAT = "scssl-run"
VERSION = 1

SectionKind = Literal[
    "curve", "embedding", "confusion", "scores", "reliability", "table", "methods", "differences", "curves", "types",
    "answers", "volcano", "shares", "share_changes", "state_shifts", "programme_shifts",
    "simulation_scores", "simulation_means", "simulation_cells",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the report: a CSV file of the run folder and how to show it.

    The kinds, and the `options` that each knows:

    ``curve``
        Lines over training. ``x`` (column, default ``epoch``), ``y`` (list of columns), ``y_label``.
    ``embedding``
        Cells in the plane. ``x``, ``y`` (columns, default ``x`` and ``y``), ``colour`` (columns shown at first; default
        all others), ``hover`` (columns that pointing at a cell shows; default all that are no features), ``features``
        (heading to columns, such as genes), ``n_cells`` (of how many the file has some), ``axes`` (their name).
    ``confusion``
        Rows are the true labels (first column), the other columns count the predicted ones.
    ``scores``
        ``value`` (column drawn as bars), ``label`` (column that names a bar), ``group`` (column that splits them),
        ``low`` and ``high`` (columns with the ends of an interval). The table is shown below the bars.
    ``reliability``
        A table as from `scssl.metrics.reliability_curve`.
    ``table``
        The table alone.
    ``methods``, ``differences``, ``curves``, ``types``
        Parts of a study: methods with their intervals, comparisons (``min_effect``), scores over ``x`` (named
        ``x_label``), and F1 by type and method. The first two know a ``prefix`` of the columns with the numbers.
    ``answers``, ``volcano``, ``shares``, ``share_changes``, ``state_shifts``, ``programme_shifts``
        Tables of a `scssl.tasks.Comparison`, drawn at a false discovery rate ``fdr``; a volcano in the
        order of ``types``.
    ``simulation_scores``, ``simulation_means``, ``simulation_cells``
        Of simulated cells: methods, ``made`` being those that the cells are of; mean expression of genes in control,
        measured and simulated cells; these cells themselves. The last two know a ``title``.

    All kinds know ``where``: column to the one value that rows must have to be shown; and ``names``: columns that hold
    names, even where these look like numbers.
    """

    kind: SectionKind
    title: str
    file: str
    """Name of the CSV file in the run folder."""
    text: str = ""
    """What is seen and how to read it, in plain words."""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class Run:
    """What was done, with what, on what, for how long and with which outcome.

    A run is saved as ``run.json`` beside the CSV files that its sections name; `scssl.pl.render` makes a page of such
    a folder.

    Examples
    --------
    >>> run = Run(title="Demo", command="scssl demo", summary=["It worked."])
    >>> with run.step("count to three"):
    ...     total = 1 + 2
    >>> list(run.timings)
    ['count to three']
    """

    title: str
    command: str = ""
    """The command that repeats the run."""
    summary: list[str] = field(default_factory=list)
    """Paragraphs in plain words: what came out."""
    sections: list[Section] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    """Every setting with its value, nested as in the configuration."""
    data: list[dict[str, Any]] = field(default_factory=list)
    """Provenance: one record per input (name, cells, where from, ...)."""
    timings: dict[str, float] = field(default_factory=dict)
    """Step to seconds, in the order of the steps."""
    versions: dict[str, str] = field(default_factory=versions)
    machine: dict[str, Any] = field(default_factory=machine)
    created: str = field(default_factory=lambda: datetime.now(tz=UTC).isoformat(timespec="seconds"))
    """When the run began, UTC, ISO 8601."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a step and note its seconds in `timings`; a step entered twice adds up.

        Parameters
        ----------
        name
            What is done, as the report will say it.
        """
        start = perf_counter()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + perf_counter() - start

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``run.json``."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, file: str = FILE) -> Self:
        """Read the content of a ``run.json``; entries that this version does not know are left alone.

        Parameters
        ----------
        content
            The parsed JSON object.
        file
            Name used in error messages.

        Raises
        ------
        FormatError
            If it is not the record of a run, or of a newer version.
        """
        if content.get("format") != FORMAT or not isinstance(content.get("title"), str):
            message = f"{file}: not the record of a run ('format' is {content.get('format')!r}, not {FORMAT!r})"
            raise FormatError(message)
        if content.get("version") != VERSION:
            message = f"{file}: version {content.get('version')!r} is not known here ({VERSION} is). Update scssl."
            raise FormatError(message)
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in content.items() if key in known}
        for key, expected in {
            "summary": list,
            "sections": list,
            "settings": dict,
            "data": list,
            "timings": dict,
            "versions": dict,
            "machine": dict,
            "created": str,
            "command": str,
        }.items():
            if not isinstance(values.get(key, expected()), expected):
                message = f"{file}: {key!r} is not a {expected.__name__}"
                raise FormatError(message)
        if not all(isinstance(record, dict) for record in values.get("data", [])):
            message = f"{file}: 'data' holds something else than records"
            raise FormatError(message)
        if not all(isinstance(seconds, int | float) for seconds in values.get("timings", {}).values()):
            message = f"{file}: 'timings' holds something else than seconds"
            raise FormatError(message)
        values["sections"] = [_section(record, file=file) for record in values.get("sections", [])]
        # What the record does not say must not be filled with this machine and this moment.
        return cls(**{"versions": {}, "machine": {}, "created": "", **values})

    def save(self, folder: str | Path) -> Path:
        """Write ``run.json`` into `folder` (made if absent) and return its path.

        Parameters
        ----------
        folder
            Run folder; the sections' CSV files belong there too.

        Returns
        -------
        Path
            The file written.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / FILE
        temporary = folder / f".{FILE}.tmp"
        temporary.write_text(
            json.dumps(self.to_dict(), indent=2, allow_nan=False, default=str) + "\n", encoding="utf-8"
        )
        temporary.replace(path)
        return path

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Read the run of a folder.

        Parameters
        ----------
        folder
            Folder with ``run.json``.

        Raises
        ------
        FormatError
            If the folder has no readable ``run.json``.
        """
        path = Path(folder) / FILE
        if not Path(folder).exists():
            message = f"{folder}: there is no such file or folder"
            raise FormatError(message)
        if not path.is_file():
            message = (
                f"{folder}: no {FILE} there. Give a folder written by `scssl pretrain`, `study`, `compare` or `demo`, "
                "or a file that another command wrote."
            )
            raise FormatError(message)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            message = f"{path}: not readable as JSON ({error}); the file is truncated or altered"
            raise FormatError(message) from error
        if not isinstance(content, dict):
            message = f"{path}: not the record of a run (a JSON {type(content).__name__}, not an object)"
            raise FormatError(message)
        return cls.from_dict(content, file=str(path))


def _section(record: Any, *, file: str) -> Section:
    if not isinstance(record, dict) or not {"kind", "title", "file"} <= record.keys():
        message = f"{file}: a section needs 'kind', 'title' and 'file'"
        raise FormatError(message)
    if record["kind"] not in get_args(SectionKind):
        message = f"{file}: section kind {record['kind']!r} is not one of {', '.join(get_args(SectionKind))}"
        raise FormatError(message)
    name = str(record["file"])
    # A run folder may come from someone else: it must not make a page of files outside itself.
    if name != Path(name).name or name in {"", ".", ".."} or "\\" in name:
        message = f"{file}: section file {name!r} must be a plain file name in the run folder"
        raise FormatError(message)
    options = record.get("options", {})
    shapes = {"where": dict, "features": dict, "names": list}
    if not isinstance(options, dict) or not all(
        isinstance(options.get(key, kind()), kind) for key, kind in shapes.items()
    ):
        message = f"{file}: options of section {record['title']!r} are not as scssl writes them"
        raise FormatError(message)
    known = {f.name for f in fields(Section)}
    return Section(**{key: value for key, value in record.items() if key in known})
