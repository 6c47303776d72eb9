"""The report: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import io
import os
import re
import tempfile
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from scssl import __version__
from scssl.environment import at_home
from scssl.errors import DataError, FormatError, SettingsError, import_extra
from scssl.report.cells import pack, thin
from scssl.report.compare import DRAWN, IN_WORDS, draw
from scssl.report.confusion import confusion_matrix
from scssl.report.curves import loss_curve
from scssl.report.embedding import embedding
from scssl.report.file_forms import FORMS, as_h5ad
from scssl.report.file_run import run_of_file
from scssl.report.model_run import is_model, run_of_model
from scssl.report.reliability import reliability
from scssl.report.run import FILE, Run, Section
from scssl.report.scores import score_bars
from scssl.report.simulate import SECTIONS, draw_simulated
from scssl.report.study import differences, learning_curves, method_scores, type_scores
from scssl.report.study_run import is_study_folder, run_of_study
from scssl.report.style import RC, TEXT
from scssl.report.tables import breakable, flatten, seconds, table
from scssl.words import count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.figure import Figure

GENERATOR = f"scssl {__version__}"


def render(
    run: str | Path, *, out: str | Path | None = None, truth: str | None = None, overwrite: bool = False
) -> Path:
    """Make the report of a run.

    Parameters
    ----------
    run
        Folder with ``run.json`` and the CSV files it names; folder of a model or a study; or .h5ad, .h5mu or .zarr with
        what a task of scssl wrote.
    out
        File to write. By default ``report.html`` in a folder; beside a file of cells, its name with .html.
    truth
        Of a file with labels: column of obs with the true ones; that of ``scssl annotate --truth`` by default.
    overwrite
        Replace `out` even if it is not a report of scssl.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    FormatError
        If `run` is not a run, or a file of it is absent or unreadable.
    SettingsError
        If `out` exists and is not a report, or `truth` has no meaning here.
    MissingExtraError
        If jinja2 or matplotlib is not installed.
    """
    folder = Path(run)
    if folder.is_file() or folder.suffix in FORMS:
        out = folder.with_suffix(".html") if out is None else Path(out)
        # Before a minute's work rather than after it.
        for module in ("jinja2", "matplotlib", "umap"):
            if find_spec(module) is None:
                import_extra(module, extra="report")
        _check_output(out, overwrite=overwrite, of=folder)
        with tempfile.TemporaryDirectory() as scratch:
            file = as_h5ad(folder, Path(scratch)) if folder.suffix in FORMS else folder
            found = run_of_file(file, Path(scratch), truth=truth, name=folder.name)
            return write_page(found, folder=scratch, out=out, overwrite=overwrite)
    if truth is not None:
        message = f"{folder} is no file of cells with labels, so a column of true ones ({truth!r}) has no meaning here"
        raise SettingsError(message)
    _check_output(folder / "report.html" if out is None else Path(out), overwrite=overwrite, of=folder)
    if is_study_folder(folder):
        found = run_of_study(folder)
    else:
        found = run_of_model(folder) if is_model(folder) and not (folder / FILE).exists() else Run.open(folder)
    return write_page(found, folder=folder, out=out, overwrite=overwrite)


def write_page(run: Run, *, folder: str | Path, out: str | Path | None = None, overwrite: bool = False) -> Path:
    """Make the report of a run whose tables lie in `folder`; see `render`.

    Parameters
    ----------
    run
        What was done.
    folder
        Folder with the CSV files that the sections of `run` name.
    out
        File to write; ``report.html`` in `folder` by default.
    overwrite
        Replace `out` even if it is not a report of scssl.

    Returns
    -------
    Path
        The file written.
    """
    jinja2 = import_extra("jinja2", extra="report")
    import_extra("matplotlib", extra="report")
    folder = Path(folder)
    out = folder / "report.html" if out is None else Path(out)
    _check_output(out, overwrite=overwrite)
    assets = files("scssl.report") / "assets"
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["breakable"] = breakable
    markup = environment.from_string((assets / "page.html.j2").read_text(encoding="utf-8"))
    html = markup.render(
        run=run,
        command=at_home(run.command),
        facts=_facts(run),
        parts=[_part(section, folder, f"figure-{i}-") for i, section in enumerate(run.sections, start=1)],
        details=_details(run),
        folded=_folded(run),
        css=_safe((assets / "page.css").read_text(encoding="utf-8")),
        js=_safe((assets / "page.js").read_text(encoding="utf-8")),
        generator=GENERATOR,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.tmp")
    # Names of files need not be UTF-8.
    temporary.write_text(html, encoding="utf-8", errors="replace")
    temporary.replace(out)
    return out


def _check_output(out: Path, *, overwrite: bool, of: Path | None = None) -> None:
    """Refuse places for a page; what it tells `of`, a file or the tables and weights of a run, is never replaced."""
    if out.is_dir():
        message = f"{out} is a folder; give a file name, e.g. {out / 'report.html'}"
        raise SettingsError(message)
    above = next(parent for parent in out.absolute().parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        message = f"--out {out}: cannot be written: {above} is not a folder that you may write to"
        raise SettingsError(message)
    own = of is not None and out.exists() and out.resolve().is_relative_to(of.resolve())
    # No input ends so: tables, weights and .h5ad files do not.
    if own and out.suffix.lower() not in (".html", ".htm"):
        message = f"--out {out} is what the report is of, which is never replaced. Choose another --out"
        raise SettingsError(message)
    if not out.exists() or overwrite:
        return
    with out.open(encoding="utf-8", errors="replace") as stream:
        if 'name="generator" content="scssl' not in stream.read(2000):
            message = f"{out} exists and is not a report of scssl. Choose another --out, or give --overwrite."
            raise SettingsError(message)


def _part(section: Section, folder: Path, prefix: str) -> dict[str, Any]:
    data = _shown(_read(folder / section.file, names=section.options.get("names", ())), section)
    part: dict[str, Any] = {
        "title": section.title,
        "text": section.text,
        "svg": None,
        "cells": None,
        "png": None,
        "note": "",
        "table": None,
        "open": False,
    }
    try:
        part.update(_SHOW[section.kind](data, section))
    except (DataError, KeyError, ValueError, TypeError) as error:
        message = f"{folder / section.file}: cannot be shown as {section.kind!r} ({error})"
        raise FormatError(message) from error
    if part["svg"] is not None:
        part["svg"] = _own_ids(part["svg"], prefix)
    return part


def _read(path: Path, *, names: Sequence[str]) -> pd.DataFrame:
    if not path.is_file():
        message = f"{path}: named in run.json but not there"
        raise FormatError(message)
    try:
        # "NA" and "None" are names that donors and types do have.
        return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(names, str))
    except (ValueError, UnicodeDecodeError) as error:
        message = f"{path}: not readable as CSV ({error})"
        raise FormatError(message) from error


def _shown(data: pd.DataFrame, section: Section) -> pd.DataFrame:
    """Keep the rows that the section is about."""
    for column, value in section.options.get("where", {}).items():
        if column not in data:
            message = f"{section.file}: no column {column!r}, which section {section.title!r} is about"
            raise FormatError(message)
        data = data[data[column].astype(str) == str(value)]
    return data


def _methods(data: pd.DataFrame, section: Section) -> dict[str, Any]:
    figure = method_scores(data, prefix=section.options.get("prefix", ""))
    return {"svg": _svg(figure, section.title), "table": table(data, name=section.file)}


def _differences(data: pd.DataFrame, section: Section) -> dict[str, Any]:
    known = {"prefix": section.options.get("prefix", "")}
    figure = differences(data, min_effect=float(section.options.get("min_effect", 0.0)), **known)
    return {"svg": _svg(figure, section.title), "table": table(data, name=section.file)}


def _types(data: pd.DataFrame, section: Section) -> dict[str, Any]:
    return {"svg": _svg(type_scores(data), section.title), "table": table(data, name=section.file)}


def _curves(data: pd.DataFrame, section: Section) -> dict[str, Any]:
    figure = learning_curves(data, x=section.options["x"], x_label=section.options["x_label"])
    return {"svg": _svg(figure, section.title), "table": table(data, name=section.file)}


def _curve(data: pd.DataFrame, section: Section) -> dict[str, Any]:
    known = {key: section.options[key] for key in ("x", "y", "y_label") if key in section.options}
    return {"svg": _svg(loss_curve(data, **known), section.title), "table": table(data, name=section.file)}


def _embedding(data: pd.DataFrame, section: Section) -> dict[str, Any]:
    x, y = section.options.get("x", "x"), section.options.get("y", "y")
    features: dict[str, list[str]] = section.options.get("features", {})
    shown = thin(data)
    points, colours = shown[[x, y]].to_numpy(dtype=float), shown.drop(columns=[x, y])
    plain = colours.drop(columns=[name for names in features.values() for name in names])
    panels = [name for name in section.options.get("colour", list(plain.columns)) if name in colours]
    n_cells = int(section.options.get("n_cells", len(data)))
    note = "Point at a cell, or touch it, to see what it is; press a name to see those cells alone."
    note = (
        f"{len(shown):,} of {count(n_cells, 'cell')}, drawn at random. {note}"
        if len(shown) < n_cells
        else (f"{count(n_cells, 'cell')}. {note}")
    )
    still = _png(embedding(points, colours[panels], title=section.options.get("axes", "UMAP")))
    packed = pack(points, colours, panels=panels, features=features, hover=section.options.get("hover"))
    return {"cells": packed, "png": still, "note": note}


def _confusion(data: pd.DataFrame, section: Section) -> dict[str, Any]:
    counts = data.set_index(data.columns[0])
    return {"svg": _svg(confusion_matrix(counts), section.title), "table": table(data, name=section.file)}


def _scores(data: pd.DataFrame, section: Section) -> dict[str, Any]:
    known = {key: section.options.get(key) for key in ("group", "low", "high")}
    figure = score_bars(data, value=section.options["value"], label=section.options["label"], **known)
    return {"svg": _svg(figure, section.title), "table": table(data, name=section.file), "open": True}


def _reliability(data: pd.DataFrame, section: Section) -> dict[str, Any]:
    return {"svg": _svg(reliability(data), section.title), "table": table(data, name=section.file)}


def _compared(data: pd.DataFrame, section: Section) -> dict[str, Any]:
    known = {"fdr": float(section.options.get("fdr", 0.05)), "types": section.options.get("types", ())}
    figure = draw(section.kind, data, **known)
    shown = data[IN_WORDS] if section.kind == "answers" else data
    found = {"svg": _svg(figure, section.title), "table": table(shown, name=section.file)}
    return {**found, "open": section.kind == "answers"}


def _simulated(data: pd.DataFrame, section: Section) -> dict[str, Any]:
    svg = _svg(draw_simulated(section.kind, data, options=section.options), section.title)
    # Coordinates of cells are not for reading.
    shown = None if section.kind == "simulation_cells" else table(data, name=section.file)
    return {"svg": svg, "table": shown, "open": section.kind == "simulation_scores"}


def _table(data: pd.DataFrame, section: Section) -> dict[str, Any]:
    return {"table": table(data, name=section.file)}


_SHOW: dict[str, Callable[[pd.DataFrame, Section], dict[str, Any]]] = {
    "curve": _curve,
    "embedding": _embedding,
    "confusion": _confusion,
    "scores": _scores,
    "reliability": _reliability,
    "table": _table,
    "methods": _methods,
    "differences": _differences,
    "curves": _curves,
    "types": _types,
    **dict.fromkeys(DRAWN, _compared),
    **dict.fromkeys(SECTIONS, _simulated),
}


def _facts(run: Run) -> list[str]:
    facts = [run.created.replace("T", " ").replace("+00:00", " UTC").replace("+0000", " UTC")] if run.created else []
    if run.timings:
        facts.append(f"took {seconds(sum(run.timings.values()))}")
    if "scssl" in run.versions:
        facts.append(f"scssl {run.versions['scssl']}")
    if "cores" in run.machine:
        facts.append(f"{run.machine['cores']} cores")
    return facts


def _details(run: Run) -> list[dict[str, Any]]:
    found = []
    if run.timings:
        steps = pd.DataFrame({"step": list(run.timings), "seconds": [round(s, 2) for s in run.timings.values()]})
        steps["share"] = [f"{s / max(sum(run.timings.values()), 1e-9):.0%}" for s in run.timings.values()]
        found.append({"title": "How long it took", **table(steps, name="timings.csv")})
    if run.data:
        inputs = [{key: at_home(v) if isinstance(v, str) else v for key, v in one.items()} for one in run.data]
        found.append({"title": "What went in", **table(pd.DataFrame(inputs), name="data.csv")})
    return found


def _folded(run: Run) -> list[dict[str, Any]]:
    found = []
    for title, content in (("Settings", run.settings), ("Versions", run.versions), ("Machine", run.machine)):
        rows = flatten(content)
        if rows:
            frame = pd.DataFrame(rows, columns=["name", "value"])
            found.append({"title": title, **table(frame, name=f"{title.lower()}.csv")})
    return found


def _svg(figure: Figure, title: str) -> Any:
    """Inline a figure: text in the page's font and colour, so that it suits light and dark."""
    import matplotlib as mpl
    from markupsafe import Markup, escape

    stream = io.StringIO()
    with mpl.rc_context(RC):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(TEXT, "currentColor", text, flags=re.IGNORECASE)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    width, height = figure.get_size_inches()
    size = f"max-width:{width * 1.25:.1f}in;aspect-ratio:{width:.2f}/{height:.2f}"
    head = f'<svg role="img" aria-label="{escape(title)}" style="{size}"'
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    return Markup(text.replace("<svg", head, 1))  # noqa: S704 (matplotlib escapes the text it draws)


def _own_ids(svg: Any, prefix: str) -> Any:
    """Put `prefix` before the ids of a figure and before what refers to them: a page has several figures."""
    return _safe(re.sub(r'(?<=[ ]id=")|(?<=url\(#)|(?<=href="#)', prefix, str(svg)))


def _png(figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _safe(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 (the package's own files)
