"""Reconstruction: the expression that was read for some cells, and where it goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scssl import keys
from scssl.tasks.output import Results, undivided

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

QUANTITIES = ("expression", "sd", "counts", "counts_sd")
"""What can be asked for."""
WARNING = (
    "reconstructed values share information between cells and genes: tests on them (differential expression, "
    "correlation) find differences that are not there. Test on the counts"
)


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """Expression of some cells, all (n_cells, n_genes) float32; NaN where nothing is known."""

    expression: NDArray[np.float32]
    """log1p of counts per 10,000, without the noise of counting where the model predicts counts."""
    sd: NDArray[np.float32] | None
    """Standard deviation of a measurement about it at the cell's depth, on the same scale; None if not known."""
    counts: NDArray[np.float32] | None
    """Expected counts at the cell's own depth; None unless the model predicts counts and they were asked for."""
    counts_sd: NDArray[np.float32] | None
    """Standard deviation of the counts, from the likelihood."""
    genes: pd.DataFrame
    """One row per gene, by ID: ``symbol``, ``measured`` (in the query), ``learned`` (seen in training)."""
    obs: pd.DataFrame
    """Annotation of the cells as it came with them."""
    features: NDArray[np.int64]
    """(n_vars,) position among `genes` of each feature of the query's ``X``, -1 where it is none of them."""
    settings: dict[str, Any]
    """How it came about, as written to ``uns``."""

    def to_anndata(self) -> AnnData:
        """Return the cells with all genes that were reconstructed.

        Returns
        -------
        anndata.AnnData
            ``X``: `expression`; ``layers``: ``"sd"``, ``"counts"``, ``"counts_sd"``, those there are; ``var``: `genes`.
        """
        from anndata import AnnData

        layers = {name: value for name in QUANTITIES[1:] if (value := getattr(self, name)) is not None}
        return AnnData(
            self.expression,
            obs=self.obs.copy(),
            var=self.genes.copy(),
            layers={name: np.ascontiguousarray(value) for name, value in layers.items()},
            uns={keys.SETTINGS: {"reconstruct": undivided(self.settings)}},
        )

    def results(self, *, key_added: str | None = None, features: bool = True) -> Results:
        """Return the values under the names that they have in an AnnData, see `Reconstructor.predict`.

        Parameters
        ----------
        key_added
            Word to put in place of "scssl" in those names.
        features
            Whether layers are wanted: only beside the query's own ``X``.
        """
        layers, var = {}, {}
        if features and (self.features >= 0).any():
            for name in QUANTITIES:
                value = getattr(self, name)
                if value is not None:
                    layers[layer_name(name, key_added)] = by_feature(value, self.features)
            var[named(keys.RECONSTRUCTED, key_added)] = self.features >= 0
        return make_results(self.expression, layers, var, genes=self.genes, settings=self.settings, key_added=key_added)


def named(key: str, key_added: str | None) -> str:
    """Return a key under the name that the user chose."""
    return key if key_added is None else key.replace("scssl", key_added)


def layer_name(quantity: str, key_added: str | None) -> str:
    """Return the layer that a quantity goes to.

    Parameters
    ----------
    quantity
        One of `QUANTITIES`.
    key_added
        Word in place of "scssl".
    """
    key = keys.EXPRESSION
    if quantity == "sd":
        key += "_sd"
    elif quantity != "expression":
        key = f"scssl_{quantity}"
    return named(key, key_added)


def by_feature(
    values: NDArray[np.float32], features: NDArray[np.int64], out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Spread values of genes over the features of a file; NaN for those without.

    Parameters
    ----------
    values
        (n_cells, n_genes).
    features
        (n_vars,) position of the gene, or -1.
    out
        (n_cells, n_vars) to write to.
    """
    spread = np.empty((len(values), len(features)), dtype=np.float32) if out is None else out
    known = features >= 0
    spread[:, known] = values[:, features[known]]
    spread[:, ~known] = np.nan
    return spread


def make_results(
    panel: NDArray[np.float32] | None,
    layers: dict[str, NDArray[np.float32]],
    var: dict[str, Any],
    *,
    genes: pd.DataFrame,
    settings: dict[str, Any],
    key_added: str | None,
) -> Results:
    """Put values in the places that they have in an AnnData.

    Parameters
    ----------
    panel
        (n_cells, n_genes) of all genes asked for; None to leave them out.
    layers, var
        By feature of the file.
    genes, settings, key_added
        See `Reconstruction`.
    """
    listed = {
        "genes": genes.index.to_numpy(dtype=object),
        "symbols": genes["symbol"].to_numpy(dtype=object),
        "measured": genes["measured"].to_numpy(),
        "learned": genes["learned"].to_numpy(),
    }
    return Results(
        task="reconstruct" if key_added is None else f"reconstruct_{key_added}",
        settings={**settings, **listed, "warning": WARNING},
        obsm={} if panel is None else {named(keys.PANEL_EXPRESSION, key_added): panel},
        layers=dict(layers),
        var=var,
    )
