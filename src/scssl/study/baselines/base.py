"""What a baseline is, and the registry of those that exist."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from scssl.errors import MissingExtraError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from scssl.study.target import Target


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """What every method is given: some labelled cells, and others to name."""

    target: Target
    train: NDArray[np.int64]
    """Rows of the target whose labels are told."""
    unlabelled: NDArray[np.int64]
    """Rows of the same donors whose labels are not told; `train` is among them."""
    test: NDArray[np.int64]
    """Rows to name. Their labels are there, and no method may look."""
    seed: int
    space: NDArray[np.float32] | None = None
    """(n_cells, n_dimensions) embedding of all labelled cells of the target, for methods that read one."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where networks are trained."""

    @property
    def codes(self) -> NDArray[np.int64]:
        """Labels of `train`."""
        return self.target.codes[self.train]

    @property
    def n_classes(self) -> int:
        """Labels there are."""
        return len(self.target.classes)


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What `list_baselines` says of a baseline."""

    name: str
    title: str
    """Name in tables."""
    summary: str
    doi: str = ""
    needs: str = ""
    """What it asks for beyond the target: ``"corpus"``, or the name of a package."""
    predict: Callable[[Fit], NDArray[np.int64]]
    """Codes of the labels of the test cells."""
    space: str = ""
    """Embedding that it reads: ``"pca"`` is fitted once on the corpus."""

    @property
    def package(self) -> str:
        """Package that it needs, or nothing."""
        return "" if self.needs in {"", "corpus"} else self.needs

    @property
    def installed(self) -> bool:
        """Whether it can be run here."""
        return not self.package or find_spec(_MODULES.get(self.package, self.package)) is not None

    @property
    def fix(self) -> str:
        """What to do where it cannot be run."""
        return f"{self.title} needs {self.package}, which is not installed. Run: pip install {self.package}"


_MODULES = {"scvi-tools": "scvi"}
_REGISTRY: dict[str, Baseline] = {}


def register(**record: Any) -> Callable[[Callable[[Fit], NDArray[np.int64]]], Callable[[Fit], NDArray[np.int64]]]:
    """Add a function to the registry (decorator).

    Parameters
    ----------
    **record
        Fields of `Baseline`, without `predict`.
    """

    def add(function: Callable[[Fit], NDArray[np.int64]]) -> Callable[[Fit], NDArray[np.int64]]:
        _REGISTRY[record["name"]] = Baseline(predict=function, **record)
        return function

    return add


def list_baselines() -> list[Baseline]:
    """Return all baselines."""
    return list(_REGISTRY.values())


def get_baseline(name: str, *, must_run: bool = False) -> Baseline:
    """Return a baseline.

    Parameters
    ----------
    name
        Its name.
    must_run
        Refuse where its package is not installed.

    Raises
    ------
    SettingsError
        If there is none of this name; the message lists those that exist.
    MissingExtraError
        If `must_run`, and it cannot.
    """
    if name not in _REGISTRY:
        message = f"baseline {name!r} does not exist; choose from: {', '.join(_REGISTRY)}"
        raise SettingsError(message)
    found = _REGISTRY[name]
    if must_run and not found.installed:
        raise MissingExtraError(found.fix)
    return found
