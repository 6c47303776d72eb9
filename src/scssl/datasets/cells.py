"""From the hidden structure of a simulated atlas to the counts of its cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scssl.datasets.counts import negative_binomial

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from scssl.datasets.blueprint import Condition, Programmes
    from scssl.datasets.design import Samples
    from scssl.datasets.modalities import Readout

_CHUNK_ENTRIES = 4_000_000
# Dense entries worked on at a time: about 100 MB, whatever the size of the atlas.

_IDENTITY_STATE = 0.6
# Programmes of cell identity vary less from cell to cell than those of cell state.


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Everything about an atlas but its cells."""

    var: pd.DataFrame
    programmes: Programmes
    shifts: Sequence[Condition]
    samples: Samples
    batch_effects: NDArray[np.float32]
    """(n_genes, n_batches), log."""
    donor_effects: NDArray[np.float32]
    """(n_genes, n_donors), log."""
    measured: NDArray[np.bool_]
    """(n_genes, n_studies)."""
    readouts: Mapping[str, Readout]


@dataclass(frozen=True, kw_only=True)
class Cells:
    """What was drawn, cells in the order of the samples."""

    counts: sp.csr_matrix
    """(n_cells, n_genes) raw counts."""
    sample: NDArray[np.int64]
    cell_type: NDArray[np.int64]
    depth: NDArray[np.float32]
    """(n_cells,) expected total counts."""
    activity: NDArray[np.float32]
    """(n_cells, n_programmes)."""
    readouts: dict[str, sp.csr_matrix]


def draw_cells(
    truth: Truth,
    *,
    library_size: float,
    library_spread: float,
    state_effect: float,
    donor_effect: float,
    rng: Mapping[str, np.random.Generator],
) -> Cells:
    """Draw types, depths, TF levels and counts of all cells, some thousand cells at a time.

    Parameters
    ----------
    truth
        The hidden structure.
    library_size, library_spread, state_effect, donor_effect
        As in `simulate_atlas`.
    rng
        Streams of random numbers ``"cells"``, ``"counts"``, and one per readout.
    """
    samples, programmes, draw = truth.samples, truth.programmes, rng["cells"]
    sample = np.repeat(np.arange(len(samples.table)), samples.table["n_cells"])
    n_cells, n_types = len(sample), samples.proportions.shape[1]
    steps = samples.proportions.cumsum(1)[:, :-1]
    cell_type = (draw.random(n_cells)[:, None] > steps[sample]).sum(1)

    # Depth: what was put on the sequencer differs by study and donor, what the cell held by type.
    log_depth = draw.normal(0, library_spread, n_cells)
    log_depth += draw.normal(0, 0.25, len(samples.study_names))[samples.study[sample]]
    log_depth += draw.normal(0, 0.15, len(samples.donor_names))[samples.donor[sample]]
    log_depth += draw.normal(0, 0.15, (n_types,))[cell_type]

    levels = _tf_levels(truth, sample, cell_type, state_effect=state_effect, donor_effect=donor_effect, rng=draw)
    activity = levels @ programmes.tf_weights
    base = np.log(truth.var["abundance"].to_numpy())
    offset = (np.log(library_size) + log_depth - _log_total(base, programmes)[cell_type]).astype(np.float32)

    n_genes = len(base)
    rows = max(1, _CHUNK_ENTRIES // n_genes)
    dispersion = truth.var["dispersion"].to_numpy()
    pieces: list[sp.csr_matrix] = []
    other: dict[str, list[sp.csr_matrix]] = {name: [] for name in truth.readouts}
    depth = np.empty(n_cells, dtype=np.float32)
    for start in range(0, n_cells, rows):
        chunk = slice(start, start + rows)
        mean = _mean_counts(truth, base, sample[chunk], levels[chunk], activity[chunk], offset[chunk])
        depth[chunk] = mean.sum(1)
        pieces.append(_compact(negative_binomial(mean, dispersion=dispersion, rng=rng["counts"])))
        for name, readout in truth.readouts.items():
            drawn = readout.draw(activity[chunk], log_depth=0.5 * log_depth[chunk], rng=rng[name])
            other[name].append(drawn)
    return Cells(
        counts=sp.vstack(pieces, format="csr"),
        sample=sample,
        cell_type=cell_type,
        depth=depth,
        activity=activity,
        readouts={name: sp.vstack(parts, format="csr") for name, parts in other.items()},
    )


def _tf_levels(
    truth: Truth,
    sample: NDArray[np.int64],
    cell_type: NDArray[np.int64],
    *,
    state_effect: float,
    donor_effect: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Log expression of each TF in each cell, as a deviation from its base, shape (n_cells, n_tfs)."""
    samples, programmes = truth.samples, truth.programmes
    drives = programmes.tf_weights > 0
    programme = drives.argmax(1)
    levels = programmes.type_activity[:, programme][cell_type]
    levels += rng.normal(0, 2 * donor_effect, (len(samples.donor_names), len(programme)))[samples.donor[sample]]
    spread = np.where(programmes.is_identity, _IDENTITY_STATE, 1.0)[programme] * state_effect
    levels += rng.standard_normal(levels.shape, dtype=np.float32) * spread.astype(np.float32)
    for number, shift in enumerate(truth.shifts, start=1):
        cells = (samples.condition[sample] == number) & np.isin(cell_type, shift.types)
        levels[np.ix_(cells, np.isin(programme, shift.programmes))] += shift.shift
    return levels


def _log_total(base: NDArray[np.floating], programmes: Programmes) -> NDArray[np.float64]:
    """Per type, log of the summed rates of its typical cell, so that depth means the same in every type."""
    rate = programmes.type_activity @ programmes.loadings + base
    programme = (programmes.tf_weights > 0).argmax(1)
    rate[:, programmes.tf_genes] += programmes.type_activity[:, programme]
    total: NDArray[np.float64] = np.log(np.exp(rate.astype(np.float64)).sum(1))
    return total


def _mean_counts(
    truth: Truth,
    base: NDArray[np.floating],
    sample: NDArray[np.int64],
    levels: NDArray[np.float32],
    activity: NDArray[np.float32],
    offset: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return expected counts, shape (n_cells, n_genes)."""
    mean = activity @ truth.programmes.loadings
    mean[:, truth.programmes.tf_genes] += levels
    mean += offset[:, None]
    # Cells of a sample follow each other, so that its gene-wise effects are added to a block, not gathered per cell.
    samples = truth.samples
    for s in np.unique(sample):
        first, last = np.searchsorted(sample, [s, s + 1])
        block = mean[first:last]
        effect = truth.batch_effects[:, samples.batch[s]] + truth.donor_effects[:, samples.donor[s]]
        block += (base + effect).astype(np.float32)
        np.exp(block, out=block)
        block *= truth.measured[:, samples.study[s]]
    return mean


def _compact(counts: sp.csr_matrix) -> sp.csr_matrix:
    dtype = np.uint16 if counts.nnz == 0 or counts.data.max() <= np.iinfo(np.uint16).max else np.uint32
    return counts.astype(dtype)
