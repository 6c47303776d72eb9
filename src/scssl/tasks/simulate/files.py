"""The folder of a saved simulator: settings, what was learned of each condition, and the model."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.errors import FormatError, SettingsError
from scssl.files import usual_permissions
from scssl.tasks.seal import check, seal
from scssl.tasks.simulate.calibrate import Calibration
from scssl.tasks.simulate.cells import Columns
from scssl.tasks.simulate.fitted import Fitted
from scssl.tasks.simulate.judge import Verdict
from scssl.tasks.simulate.learn import Learned
from scssl.tasks.simulate.settings import SimulatorSettings
from scssl.tasks.simulate.space import Space
from scssl.training.config import from_dict

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT, FORMAT_VERSION = "scssl-simulator", 1
SETTINGS, ARRAYS, MODEL = "simulator.json", "simulator.safetensors", "model"
MAX_SETTINGS_BYTES: Final = 256 * 2**20
OF_GROUPS: Final = ("before", "change", "variance", "n_cells", "codes")


def write(path: Path, fitted: Fitted, *, settings: SimulatorSettings, overwrite: bool) -> None:
    """Write a folder that appears only when complete.

    Raises
    ------
    SettingsError
        If there is something at `path` that is not a simulator to overwrite.
    """
    from safetensors.numpy import save_file

    if path.exists() and not (overwrite and (path / SETTINGS).is_file()):
        fix = "it is not a simulator, choose another folder" if overwrite else "choose another folder, or overwrite it"
        message = f"{path} exists already; {fix}"
        raise SettingsError(message)
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=f".{path.name}-") as scratch:
        folder = Path(scratch) / "new"
        folder.mkdir()
        fitted.model.save(folder / MODEL)
        arrays: dict[str, NDArray[Any]] = {}
        conditions = []
        for number, (case, learned) in enumerate(fitted.learned.items()):
            arrays |= {f"{number}.{name}": array for name, array in _arrays(learned).items()}
            verdict = fitted.verdicts[case].to_dict()
            conditions.append(
                {
                    "case": case,
                    "types": learned.types,
                    "donors": learned.donors,
                    "target_sum": learned.space.target_sum,
                    "unevenness": learned.unevenness,
                    "verdict": verdict,
                    "calibration": fitted.calibrations.get(case, Calibration()).to_dict(),
                }
            )
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / ARRAYS)
        usual_permissions(folder / ARRAYS)
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "scssl_version": version("scssl"),
            "settings": asdict(settings),
            "columns": asdict(fitted.columns),
            "control": fitted.control,
            "reference": fitted.reference,
            "hold_out": fitted.hold_out,
            "doses": fitted.doses,
            "conditions": conditions,
            "genes": fitted.genes,
        }
        (folder / SETTINGS).write_text(seal(folder, content), encoding="utf-8", newline="\n")
        if path.exists():
            shutil.move(path, Path(scratch) / "old")
        os.replace(folder, path)  # noqa: PTH105


def read(path: Path) -> tuple[SimulatorSettings, Fitted]:
    """Read and check a folder.

    Raises
    ------
    FormatError
        If anything is missing, altered, malformed, of a later version, or does not fit together.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from scssl.model import load

    file = path / SETTINGS
    if not file.is_file():
        message = f"{path} is not a simulator: it has no {SETTINGS}"
        raise FormatError(message)
    content = _read_settings(file)
    try:
        arrays = dict(load_file(path / ARRAYS))
    except (OSError, SafetensorError) as error:
        message = f"{path / ARRAYS} cannot be read, it is missing, truncated or altered: {error}"
        raise FormatError(message) from error
    try:
        settings = from_dict(SimulatorSettings, content["settings"], where=str(file))
        genes = [str(name) for name in content["genes"]]
        learned = {
            str(one["case"]): _learned(arrays, number, one, n_genes=len(genes))
            for number, one in enumerate(content["conditions"])
        }
        verdicts = {str(one["case"]): _verdict(one["verdict"]) for one in content["conditions"]}
        fitted = Fitted(
            model=load(path / MODEL),
            genes=genes,
            columns=Columns(**content["columns"]),
            control=str(content["control"]),
            learned=learned,
            verdicts=verdicts,
            reference=str(content["reference"]),
            hold_out=str(content["hold_out"]),
            doses={str(name): float(dose) for name, dose in content["doses"].items()},
            calibrations={
                str(one["case"]): Calibration.from_dict(one.get("calibration", {})) for one in content["conditions"]
            },
        )
    except (SettingsError, KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"{file} is incomplete, malformed, or does not fit its other files: {error}"
        raise FormatError(message) from error
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
    return Learned(
        types=list(one["types"]), donors=one["donors"], unevenness=float(one["unevenness"]), space=space, **found
    )


def _verdict(content: dict[str, Any]) -> Verdict:
    found: dict[str, Any] = {name: float("nan") if value is None else value for name, value in content.items()}
    return Verdict(**found)


def _read_settings(file: Path) -> dict[str, Any]:
    if file.stat().st_size > MAX_SETTINGS_BYTES:
        message = f"{file} is larger than any simulator's settings ({file.stat().st_size:,} bytes)"
        raise FormatError(message)
    try:
        text = file.read_bytes().decode()
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"{file} is not JSON: {error}"
        raise FormatError(message) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        message = f"{file} does not describe a simulator of scssl"
        raise FormatError(message)
    number = content.get("format_version")
    if not isinstance(number, int) or number > FORMAT_VERSION:
        message = (
            f"{file} has format version {number!r}; this scssl reads up to {FORMAT_VERSION}. Run: pip install -U scssl"
        )
        raise FormatError(message)
    check(file, text=text, content=content, what="simulator")
    return content
