"""Where to compute, and in which arithmetic; needs no Lightning, which takes seconds to import."""

from __future__ import annotations

from typing import Literal

import torch

from scssl.errors import SettingsError

Device = Literal["auto", "cpu", "cuda", "mps"]


def resolve_device(device: Device) -> torch.device:
    """Return the torch device for a name; `auto` takes CUDA, then Apple's mps, then the CPU.

    Raises
    ------
    SettingsError
        If the device is not on this machine.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    if not available.get(device, False):
        there = ", ".join(name for name, ok in available.items() if ok)
        message = f"device {device!r} is not available here; this machine has: {there}"
        raise SettingsError(message)
    return torch.device(device)


def resolve_precision(precision: str, device: torch.device) -> Literal["fp32", "bf16"]:
    """Return the arithmetic to use: bf16 where the hardware has fast matrix products for it."""
    if precision != "auto":
        return "bf16" if precision == "bf16" else "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type != "cpu":
        return "fp32"
    # Both instruction sets multiply bf16 faster than fp32; without them bf16 is emulated, and slower.
    checks = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return "bf16" if any(check is not None and check() for check in checks) else "fp32"
