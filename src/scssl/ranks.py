"""Which of several processes this one is, as whatever started them says in the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scssl.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEDULER: Final = {"RANK": "SLURM_PROCID", "LOCAL_RANK": "SLURM_LOCALID", "WORLD_SIZE": "SLURM_STEP_NUM_TASKS"}


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Place of this process among those that work on the same thing."""

    rank: int = 0
    """Number of this process; 0 writes what there is to write."""
    world_size: int = 1
    """Processes in all."""
    local_rank: int = 0
    """Number of this process on its machine."""
    local_world_size: int = 1
    """Processes on this machine."""
    slurm: bool = False
    """Started by SLURM's srun, rather than by torchrun or `scssl.launch`."""

    @property
    def n_nodes(self) -> int:
        """Machines, each with as many processes."""
        return self.world_size // self.local_world_size

    @classmethod
    def current(cls, environment: Mapping[str, str] | None = None) -> Ranks:
        """Read them from the environment: of torchrun, of `scssl.launch`, or of a step of SLURM.

        In a batch script of SLURM, or a shell in an allocation, there is one process until srun starts more.

        Parameters
        ----------
        environment
            That of this process by default.

        Raises
        ------
        SettingsError
            If it contradicts itself.
        """
        found = os.environ if environment is None else environment
        if "RANK" in found and "WORLD_SIZE" in found:
            names = {"rank": "RANK", "local_rank": "LOCAL_RANK", "world_size": "WORLD_SIZE"}
            values = {key: _number(found, name) for key, name in names.items()}
            local = _number(found, "LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in found else values["world_size"]
            slurm = False
        elif "SLURM_STEP_ID" in found and "SLURM_STEP_NUM_TASKS" in found and "SLURM_PROCID" in found:
            values = {key.lower(): _number(found, name) for key, name in SCHEDULER.items()}
            nodes = _number(found, "SLURM_STEP_NUM_NODES") if "SLURM_STEP_NUM_NODES" in found else 1
            local, slurm = max(1, values["world_size"] // max(1, nodes)), True
        else:
            return cls()
        world = values["world_size"]
        if not 0 <= values["rank"] < world or not 0 <= values["local_rank"] < local or world % local:
            message = (
                f"the environment says that this is process {values['rank']} of {world}, and {values['local_rank']} of "
                f"{local} on its machine, which cannot be; start as many processes on each machine"
            )
            raise SettingsError(message)
        return cls(**values, local_world_size=local, slurm=slurm)


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    if not text.isdigit():
        message = f"the environment variable {name} is {text!r}; what started this process should set it to a number"
        raise SettingsError(message)
    return int(text)


def check_devices(ranks: Ranks, *, devices: int | None, num_nodes: int | None) -> int:
    """Return how many processes are still to be started here: 1 if this one does all, or is one of those running.

    Parameters
    ----------
    ranks
        Of this process.
    devices
        Processes per machine that were asked for; None for those that there are.
    num_nodes
        Machines that were asked for; None for those that there are.

    Raises
    ------
    SettingsError
        If there are others than were asked for, or several machines are wanted that nothing was started on.
    """
    for name, value in (("devices", devices), ("num_nodes", num_nodes)):
        if value is not None and value < 1:
            message = f"{name}={value} is not possible; it must be at least 1"
            raise SettingsError(message)
    if ranks.world_size == 1:
        if num_nodes is not None and num_nodes > 1:
            message = (
                f"num_nodes={num_nodes}: start the command on each machine with torchrun, or with srun under SLURM; "
                f"e.g. torchrun --nnodes {num_nodes} --nproc-per-node {devices or 1} --no-python scssl pretrain ..."
            )
            raise SettingsError(message)
        return devices or 1
    asked = {"devices": devices, "num_nodes": num_nodes}
    there = {"devices": ranks.local_world_size, "num_nodes": ranks.n_nodes}
    for name, value in asked.items():
        if value is not None and value != there[name]:
            by = "srun" if ranks.slurm else "torchrun"
            message = f"{name}={value}, but {by} started {there[name]}; leave {name} out, or start as many"
            raise SettingsError(message)
    return 1
