"""Training of a head on the codes of cells, alone or with their encoder; held-out cells say when to stop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from scssl.cores import own_cores
from scssl.errors import ScsslError
from scssl.log import progress
from scssl.tasks.translate.scale import dense
from scssl.training.schedule import one_cycle

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from scssl.nn import Encoder
    from scssl.nn.heads import ReadoutHead
    from scssl.tasks.translate.cells import Cells
    from scssl.tasks.translate.division import Division
    from scssl.tasks.translate.scale import Values
    from scssl.tasks.translate.settings import TranslationTraining

CHECKS: Final = 24
"""Times that held-out cells are looked at."""
PATIENCE: Final = 6
"""Looks without a better loss after which training ends."""
FEWEST_STEPS, SMALLEST_BATCH, MOST_STEPS = 10, 16, 4000


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Cells, and what was measured of them in another modality."""

    cells: Cells
    values: Values
    """(n_cells, n_features)."""
    size: NDArray[np.float64]
    """(n_cells,) total of the other modality over the typical one."""

    def target(self, rows: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
        """Return values and sizes of some cells."""
        size = torch.from_numpy(self.size[rows].astype(np.float32))
        return torch.from_numpy(dense(self.values[rows])).to(device), size.to(device)


def encode(encoder: Encoder, cells: Cells, device: torch.device) -> Tensor:
    """Return the codes of cells, (n_cells, n_latent), on the device."""
    encoder = encoder.to(device).eval()
    with torch.inference_mode(), own_cores(device):
        codes = torch.cat([encoder.embed(batch.to(device)).float() for batch in cells.batches()])
    # Inference tensors cannot be trained on.
    return codes.clone()


def train(
    head: ReadoutHead,
    problem: Problem,
    division: Division,
    *,
    settings: TranslationTraining,
    encoder: Encoder | None = None,
    encoder_rate: float = 1.0,
    codes: Tensor | None = None,
    steps: int | None = None,
    seed: int,
    device: torch.device,
) -> tuple[int, list[dict[str, float]]]:
    """Train in place, and keep the weights of the step at which held-out cells were predicted best.

    Parameters
    ----------
    head
        Head to train; its state counts as step 0.
    problem
        What is learned.
    division
        Rows to learn from, and rows held out; with none held out the last step is kept.
    settings
        Of the training.
    encoder
        Trained with the head; None for a frozen one, whose `codes` are given.
    encoder_rate
        Its learning rate as a share of the head's.
    codes
        (n_cells, n_latent) of a frozen encoder.
    steps
        Steps after which to stop, where that is known; the schedule stays that of a full run.
    seed
        Of cell order and dropout.
    device
        Where to compute.

    Returns
    -------
    steps : int
        Steps whose weights were kept.
    history : list of dict
        ``step``, ``train_loss`` and ``val_loss`` per look.

    Raises
    ------
    ScsslError
        If the loss stops being a number.
    """
    if steps == 0:
        return 0, []
    n = len(division.train)
    batch_size = max(1, min(n, settings.batch_size, max(SMALLEST_BATCH, n // FEWEST_STEPS)))
    per_epoch = math.ceil(n / batch_size)
    total = min(max(settings.epochs * per_epoch, settings.min_steps), max(MOST_STEPS, settings.min_steps))
    every = max(1, total // CHECKS)
    rate = settings.learning_rate if encoder is not None else settings.head_rate
    modules = [m.to(device) for m in (head, encoder) if m is not None]
    optimiser = torch.optim.AdamW(
        _groups(head, encoder, rate=rate, encoder_rate=encoder_rate, settings=settings), fused=True
    )
    schedule = one_cycle(optimiser, n_steps=total)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]

    def loss_of(rows: NDArray[np.int64]) -> Tensor:
        if encoder is None:
            assert codes is not None
            space = codes[torch.from_numpy(rows).to(device)]
        else:
            space = encoder.encode(problem.cells.batch(rows).to(device)).float()
        return head.loss(space, *problem.target(rows, device)).mean()

    def held_out() -> float:
        for module in modules:
            module.eval()
        parts = [division.val[i : i + 1024] for i in range(0, len(division.val), 1024)]
        with torch.no_grad():
            loss = sum(float(loss_of(part)) * len(part) for part in parts) / max(1, len(division.val))
        for module in modules:
            module.train()
        return loss

    rng = np.random.default_rng([seed, 0x7124])
    judged = len(division.val) > 0
    history: list[dict[str, float]] = []
    last = total if steps is None else steps
    with torch.random.fork_rng(), own_cores(device), progress("training", last, unit="steps") as advance:
        torch.manual_seed(seed)
        best_step, best = 0, held_out() if judged else math.inf
        kept = _copy(modules) if judged else []
        waited, recent = 0, []
        for module in modules:
            module.train()
        order = rng.permutation(division.train)
        for step in range(1, last + 1):
            start = (step - 1) % per_epoch * batch_size
            if start == 0:
                order = rng.permutation(division.train)
            loss = loss_of(order[start : start + batch_size])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, settings.gradient_clip)
            optimiser.step()
            if step < total:
                schedule.step()
            recent.append(float(loss.detach()))
            advance(1)
            if not math.isfinite(recent[-1]):
                message = f"the training loss is not a number: lower training.learning_rate (it is {rate})"
                raise ScsslError(message)
            if step % every and step != last:
                continue
            row = {"step": float(step), "train_loss": sum(recent) / len(recent)}
            recent = []
            if judged:
                row["val_loss"] = held_out()
                waited += 1
                if row["val_loss"] < best:
                    best_step, best, kept, waited = step, row["val_loss"], _copy(modules), 0
            history.append(row)
            if judged and waited >= PATIENCE:
                break
    if judged:
        for module, state in zip(modules, kept, strict=True):
            module.load_state_dict(state)
    for module in modules:
        module.eval()
    return (best_step if judged else last), history


def _groups(
    head: ReadoutHead, encoder: Encoder | None, *, rate: float, encoder_rate: float, settings: TranslationTraining
) -> list[dict[str, Any]]:
    parts: list[tuple[torch.nn.Module, float, float]] = [(head, rate, settings.head_decay)]
    if encoder is not None:
        parts.append((encoder, rate * encoder_rate, settings.weight_decay))
    return [
        {"params": [p for p in module.parameters() if (p.ndim > 1) == decayed], "lr": lr,
         "weight_decay": decay if decayed else 0.0}
        for module, lr, decay in parts
        for decayed in (True, False)
    ]  # fmt: skip


def _copy(modules: list[Any]) -> list[dict[str, Tensor]]:
    return [{name: value.detach().clone() for name, value in m.state_dict().items()} for m in modules]
