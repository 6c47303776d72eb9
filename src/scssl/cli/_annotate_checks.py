"""What `scssl annotate` refuses before it begins: results in each other's place, options that do nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scssl.errors import SettingsError
from scssl.files import why_unwritable

if TYPE_CHECKING:
    from collections.abc import Mapping

_READ_BY: Final = {"k": ("zero_shot",), "class_weight": ("probe", "finetune", "scratch")}
"""Options that some modes alone know."""
_HELD_OUT: Final = ("error_rate", "error_budget")


def check_effect(given: Mapping[str, Any], *, donor: str | None, ontology: str | None, named: bool) -> None:
    """Every option that is given has to do something.

    Parameters
    ----------
    given
        Settings of the annotator that were given.
    donor, ontology
        As given.
    named
        Whether results are scored or the annotator is kept, both of which the ontology serves.
    """
    mode = given.get("mode", "zero_shot")
    for name, modes in _READ_BY.items():
        if name in given and mode not in modes:
            known = "mode" if len(modes) == 1 else "modes"
            _refuse(name, f"in --mode {mode}: it is for the {known} {', '.join(modes)}")
    never = given.get("calibrate") == "never"
    for name in _HELD_OUT:
        if never and name in given:
            _refuse(name, "with --calibrate never: label sets and rejection are learned on held-out donors")
    if never and donor is not None and mode in ("zero_shot", "probe"):
        _refuse("donor", f"with --calibrate never in --mode {mode}: no donor is held out")
    if ontology is not None and not named and (never or given.get("error_rate") == 0):
        _refuse("ontology", "without label sets, --truth and --save: nothing else asks for it")


def _refuse(name: str, why: str) -> None:
    message = f"--{name.replace('_', '-')} has no effect {why}. Leave it out"
    raise SettingsError(message)


def check_apart(model: Path, results: dict[str, Path | None]) -> None:
    """No result may be in the place of another, in the model's folder, or where it cannot be written."""
    given = {"--model": model, **{option: path for option, path in results.items() if path is not None}}
    for inner in given.keys() & results.keys():
        for outer in given.keys() - {inner}:
            if given[inner].resolve().is_relative_to(given[outer].resolve()):
                message = f"{inner} {given[inner]} lies in {outer} {given[outer]}; choose another place for {inner}"
                raise SettingsError(message)
    for option in given.keys() & results.keys():
        if problem := why_unwritable(given[option]):
            message = f"{option} {given[option]}: {problem}"
            raise SettingsError(message)


def check_saved(model: Path, given: dict[str, Any]) -> None:
    """Without a reference, the model has to be an annotator, whose settings are settled."""
    from scssl.tasks.annotate.files import KIND

    chosen = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    if not KIND.is_at(model):
        missing = " and ".join(f"--{name}" for name in ("reference", "labels") if given[name] is None)
        message = f"{model} is not a saved annotator, so give {missing}: labelled cells to name others by"
        raise SettingsError(message)
    if chosen:
        message = (
            f"{', '.join(chosen)} cannot be chosen for the annotator {model}: they were settled when it was made. Give "
            "a model with --model, and --reference and --labels, to make another one"
        )
        raise SettingsError(message)
