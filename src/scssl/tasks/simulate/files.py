"""What the folder of a saved simulator holds: settings, what was learned of each condition, and the model."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from scssl.tasks.saved import Kind, read_arrays, read_model
from scssl.tasks.simulate.calibrate import Calibration
from scssl.tasks.simulate.cells import Columns
from scssl.tasks.simulate.fitted import Fitted
from scssl.tasks.simulate.judge import Verdict
from scssl.tasks.simulate.learn import Learned
from scssl.tasks.simulate.settings import SimulatorSettings
from scssl.tasks.simulate.space import Space
from scssl.training.config import from_dict

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ARRAYS: Final = "simulator.safetensors"
OF_GROUPS: Final = ("before", "change", "variance", "n_cells", "codes")
KIND: Final = Kind(
    named="a simulator", format="scssl-simulator", version=1, settings="simulator.json",
    holds={
        "settings": dict, "columns": dict, "control": str, "reference": str, "hold_out": str, "doses": dict,
        "conditions": list, "genes": list,
    },
)  # fmt: skip


def write(path: Path, fitted: Fitted, *, settings: SimulatorSettings, overwrite: bool) -> None:
    """Write a folder that appears only when complete; see `Kind.write`."""
    arrays: dict[str, NDArray[Any]] = {}
    conditions = []
    for number, (case, learned) in enumerate(fitted.learned.items()):
        arrays |= {f"{number}.{name}": array for name, array in _arrays(learned).items()}
        conditions.append(
            {
                "case": case,
                "types": learned.types,
                "donors": learned.donors,
                "covariates": None if learned.covariates is None else learned.covariates.to_dict("list"),
                "target_sum": learned.space.target_sum,
                "unevenness": learned.unevenness,
                "verdict": fitted.verdicts[case].to_dict(),
                "calibration": fitted.calibrations.get(case, Calibration()).to_dict(),
            }
        )
    content = {
        "settings": asdict(settings),
        "columns": asdict(fitted.columns),
        "control": fitted.control,
        "reference": fitted.reference,
        "hold_out": fitted.hold_out,
        "doses": fitted.doses,
        "conditions": conditions,
        "genes": fitted.genes,
    }
    KIND.write(path, content, model=fitted.model, arrays={ARRAYS: arrays}, overwrite=overwrite)


def read(path: Path) -> tuple[SimulatorSettings, Fitted]:
    """Read and check a folder.

    Raises
    ------
    FormatError
        If anything is missing, altered, malformed, of a later version, or does not fit together.
    """
    content, file = KIND.read(path), path / KIND.settings
    arrays, conditions = read_arrays(path / ARRAYS), content["conditions"]
    with KIND.using(file):
        settings = from_dict(SimulatorSettings, content["settings"], where=str(file))
        genes = [str(name) for name in content["genes"]]
        learned = {
            str(one["case"]): _learned(arrays, number, one, n_genes=len(genes)) for number, one in enumerate(conditions)
        }
        fitted = Fitted(
            model=read_model(path),
            genes=genes,
            columns=_columns(content["columns"]),
            control=content["control"],
            learned=learned,
            verdicts={str(one["case"]): _verdict(one["verdict"]) for one in conditions},
            reference=content["reference"],
            hold_out=content["hold_out"],
            doses={str(name): float(dose) for name, dose in content["doses"].items()},
            calibrations={str(one["case"]): Calibration.from_dict(one.get("calibration", {})) for one in conditions},
        )
    return settings, fitted


def _arrays(learned: Learned) -> dict[str, NDArray[Any]]:
    found = {name: getattr(learned, name) for name in OF_GROUPS}
    found |= {"pooled": learned.pooled, "dispersion": learned.dispersion}
    return found | {"space_mean": learned.space.mean, "components": learned.space.components}


def _learned(arrays: dict[str, NDArray[Any]], number: int, one: dict[str, Any], *, n_genes: int) -> Learned:
    found = {name.removeprefix(f"{number}."): array for name, array in arrays.items() if name.startswith(f"{number}.")}
    mean, components = found.pop("space_mean"), found.pop("components")
    n_groups = len(one["types"])
    shapes = {"before": (n_groups, n_genes + 1), "change": (n_groups, n_genes + 1), "dispersion": (n_genes,)}
    if len(mean) != n_genes or any(found[name].shape != shape for name, shape in shapes.items()):
        message = "arrays of another number of groups or genes"
        raise ValueError(message)
    space = Space(target_sum=float(one["target_sum"]), mean=mean, components=components)
    covariates = one.get("covariates")
    return Learned(
        types=list(one["types"]), donors=one["donors"], unevenness=float(one["unevenness"]), space=space,
        covariates=None if covariates is None else _covariates(covariates, n_groups=n_groups), **found,
    )  # fmt: skip


def _columns(content: dict[str, Any]) -> Columns:
    several = {name: tuple(map(str, content.get(name, ()))) for name in ("covariates", "numbers")}
    return Columns(**content | several)


def _covariates(content: dict[str, list[Any]], *, n_groups: int) -> pd.DataFrame:
    found = pd.DataFrame({str(name): values for name, values in content.items()})
    if len(found) != n_groups or found.isna().any(axis=None):
        message = "covariates of another number of groups"
        raise ValueError(message)
    return found


def _verdict(content: dict[str, Any]) -> Verdict:
    found: dict[str, Any] = {name: float("nan") if value is None else value for name, value in content.items()}
    return Verdict(**found)
