"""Every command that reads cells, a corpus or a model, with the file in question in each of its places."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scssl.cli.app import main

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TINY_RUN = ("--preset", "small", "--epochs", "1", "--device", "cpu", "--set", "architecture.hidden=[8]")


@dataclass(frozen=True)
class Base:
    """Good inputs: a file of cells, and a corpus, a model and a saved annotator and search made of it."""

    file: Path
    corpus: Path
    model: Path
    annotator: Path
    search: Path


def that_read_cells(base: Base, file: Path, out: Path) -> dict[str, list[object]]:
    """Commands by name; what they write goes into the folder `out`."""
    model, labels = ("--model", base.model), ("--labels", "cell_type")
    study = (*labels, "--donor", "donor", "--out", out / "study", *TINY_RUN)
    return {
        "check": ["check", file],
        "build": ["corpus", "build", file, "--out", out / "c", "--split-by", "cell"],
        "append": ["corpus", "append", base.corpus, file],
        "audit": ["corpus", "audit", base.corpus, "--against", file],
        "pretrain": ["pretrain", file, "--out", out / "m", *TINY_RUN],
        "embed": ["embed", file, *model, "--out", out / "o.h5ad"],
        "annotate": ["annotate", file, *model, "--reference", base.file, *labels, "--out", out / "o.h5ad"],
        "annotate saved": ["annotate", file, "--model", base.annotator, "--out", out / "o.h5ad"],
        "annotate reference": ["annotate", base.file, *model, "--reference", file, *labels, "--out", out / "o.h5ad"],
        "similar": ["similar", file, *model, "--reference", base.corpus, "--out", out / "o.csv"],
        "similar saved": ["similar", file, "--model", base.search, "--out", out / "o.csv"],
        "similar reference": ["similar", base.file, *model, "--reference", file, "--out", out / "o.csv"],
        "integrate": ["integrate", file, *model, "--batch", "donor", "--out", out / "o.h5ad"],
        "reconstruct": ["reconstruct", file, *model, "--out", out / "o.h5ad"],
        "study corpus": ["study", file, "--target", base.file, *study],
        "study target": ["study", base.corpus, "--target", file, *study],
    }


def that_read_a_corpus(base: Base, corpus: Path, out: Path) -> dict[str, list[object]]:
    """Commands by name, as for cells."""
    labels = ("--labels", "cell_type", "--donor", "donor")
    return {
        "info": ["corpus", "info", corpus],
        "verify": ["corpus", "verify", corpus],
        "append": ["corpus", "append", corpus, base.file],
        "audit": ["corpus", "audit", corpus, "--against", base.file],
        "pretrain": ["pretrain", corpus, "--out", out / "m", *TINY_RUN],
        "similar": ["similar", base.file, "--model", base.model, "--reference", corpus, "--out", out / "o.csv"],
        "study": ["study", corpus, "--target", base.file, *labels, "--out", out / "study", *TINY_RUN],
    }


def that_read_a_model(base: Base, model: Path, out: Path) -> dict[str, list[object]]:
    """Commands by name, as for cells."""
    file, reference = base.file, ("--reference", base.file)
    return {
        "embed": ["embed", file, "--model", model, "--out", out / "o.h5ad"],
        "annotate": [
            "annotate", file, "--model", model, *reference, "--labels", "cell_type", "--out", out / "o.h5ad",
        ],
        "similar": ["similar", file, "--model", model, *reference, "--out", out / "o.csv"],
        "pretrain": ["pretrain", base.corpus, "--init", model, "--out", out / "m", "--device", "cpu"],
        "integrate": ["integrate", file, "--model", model, "--batch", "donor", "--out", out / "o.h5ad"],
        "reconstruct": ["reconstruct", file, "--model", model, "--out", out / "o.h5ad"],
    }  # fmt: skip


def without_privileges(do):
    """Call a function as somebody who may only do what permissions say, also where the tests are run by root.

    Root's privileges are the thread's own on Linux: it is given up in a thread made for that, and what that returns or
    raises is returned or raised here.
    """
    if os.geteuid() != 0:
        return do()
    made = []

    def alone():
        try:
            # No capability at all, neither in effect nor permitted nor inheritable; the first words are a version and a
            # thread, this one.
            nothing = (ctypes.c_uint32 * 6)()
            if ctypes.CDLL(None, use_errno=True).capset((ctypes.c_uint32 * 2)(0x20080522, 0), nothing):
                raise OSError(ctypes.get_errno(), "capset")
            made.append((do(), None))
        except BaseException as error:  # noqa: BLE001 (raised again below)
            made.append((None, error))

    thread = threading.Thread(target=alone)
    thread.start()
    thread.join()
    [(value, error)] = made
    if error is not None:
        raise error
    return value


def content(*paths: Path) -> Mapping[Path, bytes]:
    """Every byte at some paths."""
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return {file: file.read_bytes() for file in files if file.is_file()}


def refused(capsys, argv, *, words, names=(), untouched=()) -> str:
    """Run a command that has to refuse its input, and return its message.

    Parameters
    ----------
    words
        What the message has to say.
    names
        Of files, keys or values: the message must have each of them.
    untouched
        Files and folders that must be what they were.
    """
    before = content(*untouched)
    code = main([*map(str, argv), "--json"])
    out, err = capsys.readouterr()
    assert code == 2, f"not refused: {out}"
    answer = json.loads(out)
    message = answer["error"] if "error" in answer else " ".join(answer["problems"])
    assert words in message, f"{words!r} is not in: {message}"
    assert "\n" not in message
    assert "Traceback" not in err
    if "error" in answer:
        assert err.splitlines()[-1] == f"error: {message}"
        assert all(str(name) in message for name in names), f"{names} are not in: {message}"
    assert content(*untouched) == before, "changed"
    return message


def all_refused(capsys, commands, *, out, **expected) -> None:
    """Run commands that all have to refuse their input and to leave nothing in the folder `out`; see `refused`."""
    wrong = {}
    for name, argv in commands.items():
        try:
            refused(capsys, argv, **expected)
            assert list(out.iterdir()) == [], "something was left"
        except AssertionError as error:
            wrong[name] = str(error)
            shutil.rmtree(out)
            out.mkdir()
    assert not wrong, "\n".join(f"{name}: {what}" for name, what in wrong.items())
