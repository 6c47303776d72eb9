"""What kind of run a folder holds, and what can be recomputed of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from scssl.cli._repeat_outcome import ASK, settled
from scssl.errors import FormatError, SettingsError
from scssl.model.capsule import (
    MAX_BYTES,
    Finding,
    check_complete,
    check_environment,
    check_files,
    check_inputs,
    read_capsule,
)

DEPTH: Final = 2
"""Folders in folders that are looked into: the models of a study, the corpus of a demonstration."""
SETTINGS_OF: Final = {
    "reference.safetensors": "annotator.json", "study.safetensors": "integrator.json",
    "spread.safetensors": "reconstructor.json", "codes.safetensors": "similar.json",
    "simulator.safetensors": "simulator.json", "translator.safetensors": "translator.json",
}  # fmt: skip
"""Arrays of saved tasks to the settings beside them, without which nothing says what the arrays were."""
SEALED: Final = {*SETTINGS_OF.values(), "comparison.json"}
"""Settings that hold checksums: where they cannot be read, something was altered."""


def verify_run(
    run: Path,
    *,
    corpus: Path | None,
    again: bool = False,
    place: str = "",
    depth: int = DEPTH,
    of_study: bool = False,
) -> list[tuple[str, Finding]]:
    """Check a run and the runs in it.

    Parameters
    ----------
    run
        Folder of a model, study, comparison, demonstration, saved task or corpus, of tables and figures, or of several
        of them; or .h5ad that a command wrote.
    corpus
        That the models were trained on; None where the runs found theirs.
    again
        Give the command of the run again, and compare what it writes.
    place
        Name of the folder in the one that was asked about.
    depth
        How far down to look.
    of_study
        It is in the folder of a study.

    Returns
    -------
    list of (str, Finding)
        With the place of each finding.

    Raises
    ------
    SettingsError
        If there is no such run, or nothing in it that scssl wrote.
    """
    if run.is_file():
        from scssl.cli._verify_file import verify_file

        found = verify_file(run)
        # The newest task comes last, and it is that one's command that is given again.
        return _settled(found, run, place=found[-1][0]) if again else found
    if not run.is_dir():
        message = f"{run}: there is no such folder of a run, nor a file of one"
        raise SettingsError(message)
    own = [(place, finding) for finding in _verify_one(run, corpus=corpus, of_study=of_study)]
    of_study = of_study or (run / "verdict.json").is_file()
    if again and not place:
        own = _settled(own, run, place=place)
    below = []
    if depth > 0:
        for child in sorted(path for path in run.iterdir() if path.is_dir() and not path.is_symlink()):
            if child.name.startswith(".") or (run / "corpus.json").is_file():
                continue
            name = f"{place}/{child.name}" if place else child.name
            below += verify_run(child, corpus=corpus, place=name, depth=depth - 1, of_study=of_study)
    if not place and not below and all(finding.what == "repeated" for _, finding in own):
        message = f"{run} holds no run of scssl: no model, study, comparison, saved task or corpus"
        raise SettingsError(message)
    return own + below


def _settled(found: list[tuple[str, Finding]], run: Path, *, place: str) -> list[tuple[str, Finding]]:
    from scssl.cli._repeat_compare import has_scores

    repeated = _repeated(run)
    return settled(found, repeated, place=place, scored=repeated.state == "same" and has_scores(run))


def _repeated(run: Path) -> Finding:
    """Give the command of a run again, as its capsule, or the newest record in its file, has it."""
    from scssl.cli._repeat import repeat

    if run.is_file():
        from scssl.report.file_tasks import read_content

        return repeat(run, read_content(run).tasks[-1].record)
    try:
        capsule = read_capsule(run) or {}
    except FormatError:
        # `_verify_one` says what is wrong with it.
        return Finding(what="repeated", state="unknown", text="its capsule, which holds the command, cannot be read")
    ran = capsule.get("environment")
    return repeat(run, ran if isinstance(ran, dict) else {})


def _verify_one(folder: Path, *, corpus: Path | None, of_study: bool) -> list[Finding]:
    findings: list[Finding] = []
    try:
        capsule = read_capsule(folder)
        if capsule is not None:
            findings += [check_complete(capsule), check_files(folder, capsule["files"])]
            then, data = capsule.get("environment"), capsule.get("data")
            findings.append(check_environment(then.get("versions", {}) if isinstance(then, dict) else {}))
            inputs = data.get("inputs") if isinstance(data, dict) else None
            findings += check_inputs(inputs if isinstance(inputs, list) else [])
            findings += _recomputed(folder, what=str(capsule.get("what")))
        findings += [f for f in _sealed(folder) if capsule is None or f.state == "differs"]
        if (folder / "corpus.json").is_file():
            findings += _corpus(folder)
        if (folder / "config.json").is_file():
            from scssl.model.verify import verify_model

            if capsule is None:
                findings.append(Finding(what="capsule", state="unknown", text="none: a model alone, or a copy of one"))
            own = verify_model(folder, corpus=None if of_study else corpus)
            if of_study:
                # No corpus that could be given has just these cells.
                text = "not recomputed: the study trained it on part of its corpus; what it scored is checked above"
                own = [f for f in own if f.what not in ("data", "metrics")]
                own.append(Finding(what="metrics", state="unknown", text=text))
            # What the capsule says of these is more.
            findings += [f for f in own if f.what not in ("files", "environment") or capsule is None]
        elif (folder / "settings.json").is_file() and capsule is None:
            findings.append(Finding(what="run", state="differs", text="it has not finished; go on with it (--resume)"))
    except FormatError as error:
        findings.append(Finding(what="files", state="differs", text=str(error)))
    return findings


def _recomputed(folder: Path, *, what: str) -> list[Finding]:
    """Compute the outcome again from what the folder holds, as far as that goes without the whole run."""
    if what == "study":
        from scssl.study.capsule import recheck

        return recheck(folder)
    if what == "comparison":
        return [_answers(folder)]
    if what == "demo":
        return [_named(folder)]
    if what == "pretraining":
        return []  # `verify_model` says more
    return [Finding(what="metrics", state="unknown", text=f"not recomputed: {ASK}")]


def _answers(folder: Path) -> Finding:
    """Correct the p-values of a comparison again, for all that was asked."""
    import numpy as np

    from scssl.tasks.compare import files
    from scssl.tasks.compare.tables import Tables, ask

    found = files.read(folder)
    names = ("composition", "state", "genes", "programmes")
    try:
        kinds, fdr = tuple(found.settings["kinds"]), float(found.settings["fdr"])
        again = ask(Tables(**{name: getattr(found, name).copy() for name in names}), kinds=kinds, fdr=fdr)
        both = found.answers.merge(again, on=["cell_type", "kind"], suffixes=("", "_again"))
        wrong = len(both) != len(found.answers) or len(both) != len(again)
        for name in ("p_value", "q_value", "n_found"):
            values, others = both[name].to_numpy(dtype=float), both[f"{name}_again"].to_numpy(dtype=float)
            wrong = wrong or not np.allclose(values, others, rtol=1e-6, atol=1e-12, equal_nan=True)
    except (KeyError, TypeError, ValueError) as error:
        text = f"cannot be asked again: its settings or tables are not as scssl writes them ({error})"
        return Finding(what="metrics", state="differs", text=text)
    if wrong:
        return Finding(what="metrics", state="differs", text="answers.csv does not follow from the tables of the tests")
    text = f"{len(both)} answers follow from the tables; the tests themselves: {ASK}"
    return Finding(what="metrics", state="same", text=text)


def _named(folder: Path) -> Finding:
    """Count again how many cells of a demonstration were named rightly."""
    import pandas as pd

    try:
        scores = pd.read_csv(folder / "scores.csv")
        shares = []
        for stem in ("atlas", "pbmc"):
            cells = pd.read_csv(folder / f"cells_{stem}.csv", usecols=["cell_type", "predicted"], dtype=str)
            shares.append(float((cells["cell_type"] == cells["predicted"]).mean()))
        missed = [share for share in shares if not (scores["accuracy"] - share).abs().lt(1e-6).any()]
    except (OSError, ValueError, KeyError) as error:
        return Finding(what="metrics", state="differs", text=f"cannot be read: {error}")
    if missed:
        return Finding(what="metrics", state="differs", text="scores.csv is not what the named cells give")
    return Finding(what="metrics", state="same", text="the cells that were named give the accuracies of scores.csv")


def _sealed(folder: Path) -> list[Finding]:
    """Check a saved task, whose settings hold the checksums of its files and of themselves."""
    from scssl.tasks.seal import check

    findings = []
    for arrays, settings in SETTINGS_OF.items():
        if (folder / arrays).is_file() and not (folder / settings).is_file():
            message = f"{folder / settings} is missing, which says what {arrays} is. Copy it again, or make it again"
            raise FormatError(message)
    for file in sorted(folder.glob("*.json")):
        content: Any = None
        if file.stat().st_size <= MAX_BYTES:
            try:
                text = file.read_bytes().decode()
                content = json.loads(text)
            except (ValueError, RecursionError):
                content = None
        if not isinstance(content, dict) or not isinstance(content.get("files"), dict) or "sha256" not in content:
            if file.name in SEALED:
                message = f"{file} has no checksums: truncated or altered. Copy it again, or make it again"
                raise FormatError(message)
            continue
        if file.name == "corpus.json":
            continue
        what = str(content.get("format", "task")).removeprefix("scssl-")
        check(file, text=text, content=content, what=what)
        findings.append(Finding(what="files", state="same", text=f"{len(content['files'])} as they were written"))
        then = content.get("environment", {})
        findings.append(check_environment(then.get("versions", {}) if isinstance(then, dict) else {}))
        findings.append(Finding(what="metrics", state="unknown", text="not recomputed: they need the labelled cells"))
    return findings


def _corpus(folder: Path) -> list[Finding]:
    from scssl.corpus.format.manifest import read_manifest
    from scssl.corpus.format.verify import verify_folder
    from scssl.environment import versions

    n_files, problems = verify_folder(folder)
    if problems:
        return [Finding(what="files", state="differs", text="; ".join(problems[:5]))]
    built, now = str(read_manifest(folder)["package"]), f"scssl {versions().get('scssl')}"
    same = built == now
    return [
        Finding(what="files", state="same", text=f"{n_files} of the corpus as they were written"),
        Finding(what="environment", state="same" if same else "other", text=f"built by {built}"),
        Finding(what="data", state="unknown", text="a corpus holds its cells; the files they came from are not read"),
    ]
