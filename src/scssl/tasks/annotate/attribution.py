"""Integrated gradients (Sundararajan et al. 2017) from a score of a cell's code back to its genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import nn

from scssl.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from scssl.nn import Encoder

STEPS = 64
"""Points on the way from the baseline to the cell. They are cheap: see `integrated_gradients`."""


class Attribution(NamedTuple):
    """What each gene adds to a score."""

    values: Tensor
    """(n_cells, n_genes); 0 for genes that were not measured."""
    score: Tensor
    """(n_cells,) score of the cell."""
    baseline: Tensor
    """(n_cells,) score of the baseline. `values` add up to the difference, but for the error of finite steps."""


def integrated_gradients(
    encoder: Encoder,
    score: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    unmeasured: Tensor | None = None,
    n_steps: int = STEPS,
) -> Attribution:
    r"""Share the difference between a cell's score and the baseline's out over genes.

    .. math:: a_g = (x_g - b_g) \int_0^1 \frac{\partial F}{\partial x_g}\bigl(b + t (x - b)\bigr) \, dt

    with F the score of the code (Sundararajan et al. 2017, doi 10.48550/arXiv.1703.01365), and the baseline b the gene
    means of the pre-training corpus, the encoder's zero. The integral is a midpoint sum. Genes that were not measured
    are the same learned value at both ends, so nothing falls to them.

    All of the encoder up to its first layer is affine, so on the way the units of that layer move on straight lines
    too. The gradients are therefore averaged there, a few hundred numbers per cell, and go back to the genes once: a
    step costs next to nothing, and the result is the same.

    Parameters
    ----------
    encoder
        Encoder; dropout is off while this runs.
    score
        From (n_cells, n_latent) codes to (n_cells,) scores, differentiable, each cell's of its own code only.
    x
        (n_cells, n_genes) log1p values.
    unmeasured
        (n_cells, n_genes) bool, or None where there are none.
    n_steps
        Points on the way.

    Raises
    ------
    SettingsError
        If `n_steps` is not positive.
    """
    if n_steps < 1:
        message = f"n_steps is {n_steps}; at least one step is needed"
        raise SettingsError(message)
    training = encoder.training
    encoder.eval()
    try:
        first, *others = [*encoder.layers, encoder.code]
        rest, weight = nn.Sequential(*others), cast("Tensor", first.weight)
        with torch.no_grad():
            end = encoder.states(x, unmeasured=unmeasured)
            start = encoder.states(encoder.states.mean.expand_as(x), unmeasured=unmeasured)
            way = end.sub_(start)
            start_units: Tensor = first(start)
            del start
            way_units = way @ weight.T
        gradient = torch.zeros_like(way_units)
        with torch.enable_grad():
            for step in range(n_steps):
                units = (start_units + (step + 0.5) / n_steps * way_units).requires_grad_()
                gradient += torch.autograd.grad(score(rest(units)).sum(), units)[0]
        with torch.no_grad():
            values = way.mul_(gradient.div_(n_steps) @ weight)
            return Attribution(
                values=values,
                score=score(rest(start_units + way_units)).detach(),
                baseline=score(rest(start_units)).detach(),
            )
    finally:
        encoder.train(training)
