"""What a run ran on: versions and machine, as a report or a bug report needs them."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from shlex import quote
from typing import Any

from scssl.cores import n_cores

PACKAGES = (
    "scssl",
    "torch",
    "lightning",
    "anndata",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "h5py",
    "zarr",
    "safetensors",
)
"""Packages whose version can change a result or decide whether a file opens."""


def installed_version(package: str) -> str | None:
    """Return the version of an installed package without importing it, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on.

    Returns
    -------
    dict
        Name to version; packages that are not installed are left out. Nothing is imported.
    """
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        number = installed_version(package)
        if number is not None:
            found[package] = number
    return found


def extras() -> dict[str, list[str]]:
    """Return, for each extra of scssl, the packages of it that are missing (an empty list: all there)."""
    missing: dict[str, list[str]] = {}
    for line in requires("scssl") or []:
        requirement, _, marker = line.partition(";")
        if "extra ==" not in marker:
            continue
        extra = marker.split("extra ==")[1].strip().strip("'\"")
        package = requirement.strip()
        for sign in "<>=!~[ ":
            package = package.split(sign)[0]
        absent = missing.setdefault(extra, [])
        if package != "scssl" and installed_version(package) is None:
            absent.append(package)
        # "scssl[report]" inside an extra: that extra's packages count too.
        if package == "scssl" and "[" in requirement:
            absent.extend(missing.get(requirement.split("[")[1].split("]")[0], []))
    return missing


def memory_gib() -> tuple[float | None, float | None]:
    """Return the memory of the machine and what is free of it now, in GiB; None where the system does not say."""
    total = available = None
    for line in _text(Path("/proc/meminfo")).splitlines():
        key, _, value = line.partition(":")
        if key == "MemTotal":
            total = int(value.split()[0]) / 2**20
        elif key == "MemAvailable":
            available = int(value.split()[0]) / 2**20
    if total is None and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    limit = _first_line(Path("/sys/fs/cgroup/memory.max"))
    if limit.isdigit() and (total is None or int(limit) / 2**30 < total):
        total = int(limit) / 2**30
        available = total if available is None else min(available, total)
    return total, available


def machine() -> dict[str, Any]:
    """Return what this machine is: system, processor, cores and memory; no host or user name.

    Returns
    -------
    dict
        `system` and `processor` (str), `cores` (int), `memory_gib` and `memory_free_gib` (float or None).
    """
    total, available = memory_gib()
    return {
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "processor": _processor(),
        "cores": n_cores(),
        "memory_gib": None if total is None else round(total, 1),
        "memory_free_gib": None if available is None else round(available, 1),
    }


def devices() -> dict[str, Any]:
    """Return what torch can compute on; imports torch.

    Returns
    -------
    dict
        `cpu_threads` (int), `cpu_bf16` (str: how bfloat16 products are computed), `cuda` (list of names with memory),
        `cuda_version` (str or None), `mps` (bool).
    """
    import torch

    cuda = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        cuda.append(f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    return {
        "cpu_threads": torch.get_num_threads(),
        "cpu_bf16": _bf16(),
        "cuda": cuda,
        "cuda_version": torch.version.cuda,
        "mps": bool(torch.backends.mps.is_available()),
    }


def _bf16() -> str:
    flags = set(_text(Path("/proc/cpuinfo")).split())
    if "amx_bf16" in flags:
        return "AMX"
    return "AVX-512" if "avx512_bf16" in flags else "emulated"


def _processor() -> str:
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _first_line(path: Path) -> str:
    return _text(path).partition("\n")[0].strip()


def command_line() -> str:
    """Return the command that runs now, quoted for a shell; in Python without scssl's command line, the script."""
    program = Path(sys.argv[0]).name
    return " ".join(
        quote(word) for word in ("scssl" if program in {"app.py", "__main__.py"} else program, *sys.argv[1:])
    )


def shortened(path: Path | str) -> str:
    """Return a path with the user's home folder as ``~``: it is nobody else's business.

    Parameters
    ----------
    path
        As it is.
    """
    home, text = str(Path.home()), str(path)
    return f"~{text[len(home) :]}" if text == home or text.startswith(f"{home.rstrip('/')}/") else text


def at_home(text: str) -> str:
    """Return a text, such as a command, with the user's home folder as ``~`` wherever it stands in it.

    Parameters
    ----------
    text
        As it is.
    """
    home = str(Path.home()).rstrip("/")
    return re.sub(rf"(?<![\w/.~-]){re.escape(home)}(?=/)", "~", text) if home else text


def expanded(path: str) -> Path:
    """Return the path that `shortened` made shorter.

    Parameters
    ----------
    path
        With ``~`` for the home folder. A user's home that this machine does not have is left as it is.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def executable() -> str:
    """Return the Python interpreter in use."""
    return shortened(sys.executable)
