"""What kind of run a folder holds, and what can be recomputed of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from scssl.errors import FormatError, SettingsError
from scssl.model_capsule import MAX_BYTES, Finding, check_complete, check_environment, check_files, read_capsule

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


def verify_run(folder: Path, *, corpus: Path | None, place: str = "", depth: int = DEPTH) -> list[tuple[str, Finding]]:
    """Check a run and the runs in it.

    Parameters
    ----------
    folder
        Folder of a model, study, comparison, saved task or corpus, or of several of them.
    corpus
        That the models were trained on; None where the runs found theirs.
    place
        Name of the folder in the one that was asked about.
    depth
        How far down to look.

    Returns
    -------
    list of (str, Finding)
        With the place of each finding.

    Raises
    ------
    SettingsError
        If there is no such folder, or nothing in it that scssl wrote.
    """
    if not folder.is_dir():
        message = f"{folder}: there is no such folder of a run"
        raise SettingsError(message)
    own = [(place, finding) for finding in _verify_one(folder, corpus=corpus)]
    below = []
    if depth > 0:
        for child in sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()):
            if child.name.startswith(".") or (folder / "corpus.json").is_file():
                continue
            name = f"{place}/{child.name}" if place else child.name
            below += verify_run(child, corpus=corpus, place=name, depth=depth - 1)
    if not own and not below and not place:
        message = f"{folder} holds no run of scssl: no model, study, comparison, saved task or corpus"
        raise SettingsError(message)
    return own + below


def _verify_one(folder: Path, *, corpus: Path | None) -> list[Finding]:
    findings: list[Finding] = []
    try:
        capsule = read_capsule(folder)
        if capsule is not None:
            findings += [check_complete(capsule), check_files(folder, capsule["files"])]
            then = capsule.get("environment")
            findings.append(check_environment(then.get("versions", {}) if isinstance(then, dict) else {}))
        findings += _sealed(folder)
        if (folder / "corpus.json").is_file():
            findings.append(_corpus(folder))
        if (folder / "config.json").is_file():
            from scssl.model_verify import verify_model

            if capsule is None:
                findings.append(Finding(what="capsule", state="unknown", text="none: a model alone, or a copy of one"))
            own = verify_model(folder, corpus=corpus)
            # What the capsule says of these is more.
            findings += [f for f in own if f.what not in ("files", "environment") or capsule is None]
        elif (folder / "settings.json").is_file() and capsule is None:
            findings.append(Finding(what="run", state="differs", text="it has not finished; go on with it (--resume)"))
    except FormatError as error:
        findings.append(Finding(what="files", state="differs", text=str(error)))
    return findings


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


def _corpus(folder: Path) -> Finding:
    from scssl.corpus.format.verify import verify_folder

    n_files, problems = verify_folder(folder)
    if problems:
        return Finding(what="files", state="differs", text="; ".join(problems[:5]))
    return Finding(what="files", state="same", text=f"{n_files} of the corpus as they were written")
