"""The settings of a pre-training run: frozen dataclasses, read from YAML, changed by ``a.b=c``, checked."""

from __future__ import annotations

import math
import types
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from scssl.errors import SettingsError, require
from scssl.nn.architecture import Architecture

T = TypeVar("T")
LARGEST: Final = 2**32 - 1


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """AdamW and its learning-rate schedule."""

    learning_rate: float = 3e-3
    """Highest learning rate."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    schedule: Literal["one_cycle", "step", "constant"] = "one_cycle"
    """`one_cycle`: warm up, then cosine to zero over the run; `step`: times 0.9 every two epochs, as in the paper."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient; 0 for none."""

    def __post_init__(self) -> None:
        rate = self.learning_rate
        require("optimiser.learning_rate", rate, holds=0 < rate < math.inf, must="a number above 0")
        for name in ("weight_decay", "gradient_clip"):
            value = getattr(self, name)
            require(f"optimiser.{name}", value, holds=0 <= value < math.inf, must="a number, 0 or more")


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long and how to train."""

    epochs: int = 20
    """Passes over the training cells."""
    batch_size: int = 512
    """Cells per step."""
    min_steps: int = 100
    """Smaller batches, down to 64, are used where an epoch would otherwise have fewer steps than this."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the matrix products; `auto`: bf16 on CUDA cards and CPUs (AMX, AVX-512) that have it, else fp32."""
    patience: int = 0
    """Stop after this many epochs without a better validation loss; 0 never stops early."""
    probe: str = ""
    """Kept obs column whose labels show, while training, what the embedding is worth; one of cell types if it is empty
    and there is one. The labels guide nothing."""
    probe_every: int = 5
    """Epochs between looks at the labels; the last epoch always has one."""
    checkpoint_minutes: float = 10.0
    """Minutes between checkpoints within an epoch, from which an interrupted run goes on; each epoch ends with one."""
    seed: int = 0
    """Seed of weights, masks, cell order and dropout."""

    def __post_init__(self) -> None:
        smallest = {"epochs": 1, "batch_size": 1, "min_steps": 1, "patience": 0, "probe_every": 1, "seed": 0}
        for name, least in smallest.items():
            value = getattr(self, name)
            must = f"a whole number from {least} to {LARGEST:,}"
            require(f"training.{name}", value, holds=least <= value <= LARGEST, must=must)
        minutes = self.checkpoint_minutes
        require("training.checkpoint_minutes", minutes, holds=minutes > 0, must="a number above 0; .inf for none")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides a pre-trained model, apart from its corpus."""

    preset: str = "default"
    """Name of the preset it started from."""
    pretext: str = "masked"
    """Name of the pretext task; `scssl pretexts` lists them."""
    task: dict[str, Any] = field(default_factory=dict)
    """Settings of the pretext task that differ from its defaults."""
    architecture: Architecture = field(default_factory=Architecture)
    """Shape of the network."""
    optimiser: Optimiser = field(default_factory=Optimiser)
    """Optimiser and schedule."""
    training: Training = field(default_factory=Training)
    """Length, batch size, precision, seed."""
    target_sum: float = 1e4
    """Total to which each cell's counts are scaled before log1p."""

    def __post_init__(self) -> None:
        total = self.target_sum
        require("target_sum", total, holds=0 < total < 1e9, must="a number of counts above 0, such as 10000")


def from_dict(cls: type[T], values: Any, *, where: str = "config") -> T:
    """Build a settings dataclass from plain values, checking names, types and choices.

    Parameters
    ----------
    cls
        Dataclass to build.
    values
        Mapping of field names to values (nested mappings for nested dataclasses); what is absent keeps its default.
    where
        What to call it in messages.

    Raises
    ------
    SettingsError
        For an unknown name (with a suggestion) or a value of the wrong type.
    """
    if not isinstance(values, dict):
        message = f"{where} must be a mapping of settings, not {values!r}"
        raise SettingsError(message)
    hints = get_type_hints(cls)
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    out = {}
    for name, value in values.items():
        if name not in known:
            close = get_close_matches(str(name), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"choose one of: {', '.join(sorted(known))}"
            message = f"{where} has no setting {name!r}; {hint}"
            raise SettingsError(message)
        out[name] = _convert(hints[name], value, where=f"{where}.{name}")
    return cls(**out)


def _convert(hint: Any, value: Any, *, where: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        return from_dict(hint, value, where=where)
    if origin is Literal:
        if value in args:
            return value
        expected = f"one of: {', '.join(map(str, args))}"
    elif origin in {Union, types.UnionType}:
        if value is None and type(None) in args:
            return None
        return _convert(next(a for a in args if a is not type(None)), value, where=where)
    elif origin is tuple:
        if isinstance(value, (list, tuple)):
            return tuple(_convert(args[0], item, where=where) for item in value)
        expected = "a list"
    elif hint is float and _number(value) is not None:
        return _number(value)
    elif hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    elif hint is bool or hint is str or origin is dict:
        kind = dict if origin is dict else hint
        if isinstance(value, kind):
            return value
        expected = {bool: "true or false", str: "a text", dict: "a mapping"}[kind]
    else:
        expected = {int: "a whole number", float: "a number"}.get(hint, str(hint))
    message = f"{where} is {value!r}; it must be {expected}"
    raise SettingsError(message)


def _number(value: Any) -> float | None:
    # YAML 1.1 reads 1e-3 (no dot) as text.
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def override(config: Config, assignments: list[str] | tuple[str, ...]) -> Config:
    """Return the settings with some changed.

    Parameters
    ----------
    config
        Settings to start from.
    assignments
        ``a.b=c`` each, where ``c`` is read as YAML, e.g. ``task.rate=0.25`` or ``architecture.hidden=[512]``.

    Raises
    ------
    SettingsError
        For a text that is no assignment, an unknown name or a wrong value.

    Examples
    --------
    >>> override(Config(), ["training.epochs=3"]).training.epochs
    3
    """
    values = asdict(config)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            message = f"{assignment!r} is not of the form name=value, e.g. training.epochs=5"
            raise SettingsError(message)
        *parents, last = path.strip().split(".")
        level = values
        for depth, parent in enumerate(parents):
            if not isinstance(level.get(parent), dict):
                from_dict(Config, {parent: {}}) if depth == 0 and parent not in level else None
                message = f"{'.'.join(parents[: depth + 1])} has no settings of its own (in {assignment!r})"
                raise SettingsError(message)
            level = level[parent]
        try:
            level[last] = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError) as error:
            message = f"{assignment!r}: what follows = cannot be read; write e.g. architecture.hidden=[512,256]"
            raise SettingsError(message) from error
    return from_dict(Config, values)


def merge(config: Config, path: Path | str) -> Config:
    """Return the settings with those of a YAML file laid over them.

    Raises
    ------
    SettingsError
        If the file is missing, not YAML, or has unknown names or wrong values.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except FileNotFoundError as error:
        message = f"{path}: there is no such settings file"
        raise SettingsError(message) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        message = f"{path} is not a YAML file: {error}"
        raise SettingsError(message) from error
    if not isinstance(values, dict):
        message = f"{path} must hold settings by name, e.g. 'training: {{epochs: 5}}'"
        raise SettingsError(message)
    base = asdict(config)
    for name, value in values.items():
        inner = isinstance(value, dict) and isinstance(base.get(name), dict)
        base[name] = {**base[name], **value} if inner else value
    return from_dict(Config, base, where=str(path))
