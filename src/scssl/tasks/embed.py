"""Embeddings of a data set's own kind: what a model makes of the cells, beside what the cells say of themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scssl.errors import DataError, SettingsError
from scssl.pretraining import pretrain
from scssl.tasks.pca import PCAEncoder

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.model.cell_model import CellModel
    from scssl.training.devices import Device

FEWEST = 20
"""Cells that a model can be adapted to."""
TOP_GENES = 3000
"""Genes that the principal components are of: those whose log values vary most."""


def beside(*parts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put embeddings of the same cells beside each other, so that each weighs the same.

    Each is centred and divided by the root of its total variance: the squared distances of cells are, on average, as
    much of one as of another.

    Parameters
    ----------
    *parts
        (n_cells, any width) each.

    Returns
    -------
    numpy.ndarray
        (n_cells, sum of the widths) float32. A part in which all cells are alike is zeros.

    Raises
    ------
    SettingsError
        If they are not of the same cells.

    Examples
    --------
    >>> import numpy as np
    >>> beside(np.array([[0.0], [2.0]]), np.array([[10.0], [30.0]])).tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    """
    lengths = {len(part) for part in parts}
    if len(lengths) != 1:
        message = (
            f"embeddings of {' and '.join(f'{n:,}' for n in sorted(lengths))} cells cannot be put beside each other"
        )
        raise SettingsError(message)
    scaled = []
    for part in parts:
        centred = part - part.mean(axis=0, dtype=np.float64)
        spread = float(np.sqrt(centred.var(axis=0).sum()))
        scaled.append(centred / spread if spread > 0 else centred * 0)
    return np.concatenate(scaled, axis=1).astype(np.float32)


def embed(
    model: CellModel,
    data: AnnData | Path | str,
    *,
    adapt: bool = False,
    pca: int = 0,
    layer: str | None = None,
    batch_size: int = 4096,
    seed: int = 0,
    device: Device = "auto",
    devices: int = 1,
) -> NDArray[np.float32]:
    """Embed cells by a model; on request beside the code of the adapted model, and their own principal components.

    On data sets that the model's corpus did not hold, the three together named cells better than any of them, where few
    cells were labelled (docs/recipes.md). The additions are of these very cells: embeddings of two data sets that were
    made apart cannot be compared then.

    Parameters
    ----------
    model
        Pre-trained model.
    data
        AnnData or file with raw counts.
    adapt
        Go on with the pre-training on these cells, without labels (`scssl.pretrain` with ``init``), and put the adapted
        model's code beside that of the model as it is.
    pca
        Principal components of the cells' log counts to put beside the code; 20 are a good number. 0 for none.
    layer
        Where the raw counts are: None for ``X``, ``"raw"`` for ``.raw``, else the name of a layer.
    batch_size
        Cells encoded at a time.
    seed
        Of the adaptation, and of the components.
    device, devices
        Where to compute, and in how many processes; see `CellModel.embed`.

    Returns
    -------
    numpy.ndarray
        (n_cells, n_latent) float32: the code, as the model gives it. With additions, all parts by `beside`.

    Raises
    ------
    ScsslError
        If the counts cannot be used, or there are fewer cells than asked for.
    """
    if pca < 0:
        message = f"pca is {pca}: give a number of components, or 0 for none"
        raise SettingsError(message)
    options = {"layer": layer, "batch_size": batch_size}
    parts = [model.embed(data, **options, device=device, devices=devices)]  # type: ignore[arg-type]
    if adapt:
        if len(parts[0]) < FEWEST:
            message = (
                f"{len(parts[0])} cells are too few to adapt a model to; give {FEWEST} or more, or leave out adapt"
            )
            raise DataError(message)
        adapted = pretrain(data, init=model, layer=layer, split_by="cell", seed=seed, device=device, loggers=["csv"])
        parts.append(adapted.embed(data, **options, device=device))  # type: ignore[arg-type]
    if pca:
        # All coding genes: those that the model does not read may tell cells apart too.
        encoder = PCAEncoder(model.panel.species or model.panel, n_components=pca, n_top_genes=TOP_GENES, seed=seed)
        parts.append(encoder.fit(data, layer=layer).embed(data, layer=layer))
    return parts[0] if len(parts) == 1 else beside(*parts)
