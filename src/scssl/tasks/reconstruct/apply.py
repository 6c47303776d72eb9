"""Reading the expression of a query, in chunks of cells: into memory, or into a file."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scssl import keys
from scssl.corpus.sources.source import open_source
from scssl.errors import DataError, SettingsError
from scssl.genes import harmonise
from scssl.log import logger, progress
from scssl.model.files import versions
from scssl.tasks.output import write_results
from scssl.tasks.reconstruct.readout import Readout
from scssl.tasks.reconstruct.reconstruction import (
    QUANTITIES,
    WARNING,
    Reconstruction,
    by_feature,
    layer_name,
    make_results,
    named,
)
from scssl.words import count

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.genes import GenePanel
    from scssl.tasks.output import Results
    from scssl.tasks.reconstruct.learn import Fitted
    from scssl.tasks.reconstruct.settings import ReconstructorSettings
    from scssl.training.devices import Device

VALUES = 8_000_000
"""Values decoded at a time."""
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A query whose expression is to be read."""

    fitted: Fitted
    readout: Readout
    query: AnnData | Path | str
    layer: str | None
    wanted: tuple[str, ...]
    positions: NDArray[np.int64]
    """(n_genes,) in the panel."""
    genes: pd.DataFrame
    obs: pd.DataFrame
    features: NDArray[np.int64]
    settings: dict[str, Any]

    def chunks(self) -> Iterator[tuple[slice, dict[str, NDArray[np.float32]]]]:
        """Yield cells and their values, (n, n_genes) each, in order and in bounded memory."""
        size = int(np.clip(VALUES // len(self.positions), 16, 2048))
        unknown, start, n_empty = ~self.readout.learned, 0, 0
        with progress("reconstructing", len(self.obs)) as advance:
            for batch in self.fitted.model.batches(self.query, layer=self.layer, batch_size=size):
                total = (batch.size_factor / batch.measured_share[0]).numpy()
                values = self.readout.quantities(self.readout.decode(batch), total=total, wanted=self.wanted)
                if "sd" in self.wanted and "sd" not in values and self.fitted.spread is not None:
                    spread = self.fitted.spread[self.positions]
                    values["sd"] = np.broadcast_to(spread, (batch.n_cells, len(spread))).copy()
                empty = total == 0
                n_empty += int(empty.sum())
                for value in values.values():
                    value[empty] = np.nan
                    value[:, unknown] = np.nan
                yield slice(start, start + batch.n_cells), values
                start += batch.n_cells
                advance(batch.n_cells)
        if n_empty:
            cells = count(n_empty, "cell")
            logger.warning("%s without counts on the model's genes: nothing is said of their expression", cells)

    @property
    def available(self) -> tuple[str, ...]:
        """Which of the quantities asked for there will be."""
        there = {"expression"}
        if self.readout.counted:
            there |= set(QUANTITIES)
        elif self.fitted.spread is not None:
            there.add("sd")
        return tuple(name for name in QUANTITIES if name in self.wanted and name in there)

    def all(self) -> Reconstruction:
        """Read everything into memory."""
        shape = (len(self.obs), len(self.positions))
        arrays = {name: np.empty(shape, dtype=np.float32) for name in self.available}
        for cells, values in self.chunks():
            for name, array in arrays.items():
                array[cells] = values[name]
        return Reconstruction(
            expression=arrays["expression"],
            sd=arrays.get("sd"),
            counts=arrays.get("counts"),
            counts_sd=arrays.get("counts_sd"),
            genes=self.genes,
            obs=self.obs,
            features=self.features,
            settings=self.settings,
        )

    def write(self, file: Path, out: Path, *, key_added: str | None, panel: bool) -> Results:
        """Write the input plus the expression to a file, in memory that does not grow with the number of cells.

        Parameters
        ----------
        file, out
            The query, and the file to make.
        key_added
            Word in place of "scssl" in names.
        panel
            Whether all genes asked for go to ``obsm``, beside those of the file in layers.

        Returns
        -------
        Results
            What was written, without the values.
        """
        n_cells = len(self.obs)
        layered = (self.features >= 0).any()
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.stem}-") as scratch:
            # Values wait on disk: a file is written at once, when all of it is there.
            def mapped(name: str, width: int) -> NDArray[np.float32]:
                path = Path(scratch) / name
                return np.memmap(path, dtype=np.float32, mode="w+", shape=(n_cells, width))

            layers = {name: mapped(name, len(self.features)) for name in self.available} if layered else {}
            whole = mapped("panel", len(self.positions)) if panel or not layered else None
            for cells, values in self.chunks():
                for name, array in layers.items():
                    by_feature(values[name], self.features, array[cells])
                if whole is not None:
                    whole[cells] = values["expression"]
            results = make_results(
                whole,
                {layer_name(name, key_added): array for name, array in layers.items()},
                {named(keys.RECONSTRUCTED, key_added): self.features >= 0} if layered else {},
                genes=self.genes,
                settings=self.settings,
                key_added=key_added,
            )
            write_results(file, out, results)
        return results


def read(
    fitted: Fitted,
    query: AnnData | Path | str,
    *,
    settings: ReconstructorSettings,
    model_name: str,
    genes: Sequence[str] | None,
    wanted: Collection[str],
    layer: str | None,
    device: Device,
) -> Reading:
    """Look at a query, and at what is asked of it; nothing is decoded yet.

    Parameters
    ----------
    fitted
        Model, and how far its values stray.
    query
        AnnData or file with raw counts.
    settings, model_name
        Of the reconstructor.
    genes
        IDs or symbols; None for all of the panel.
    wanted
        Any of `QUANTITIES`.
    layer, device
        Where the counts are, and where to compute.
    """
    strange = sorted(set(wanted) - set(QUANTITIES))
    if strange:
        message = f"{strange[0]!r} cannot be reconstructed; choose from: {', '.join(QUANTITIES)}"
        raise SettingsError(message)
    panel = fitted.model.panel
    positions = find_genes(panel, genes)
    readout = Readout(fitted.model, genes=None if genes is None else positions, source=settings.source, device=device)
    asked = tuple(dict.fromkeys(("expression", *wanted)))
    counts = [name for name in asked if name.startswith("counts")]
    if counts and not readout.counted:
        message = (
            f"{counts[0]} cannot be read from a model that predicts log values (loss 'mse'); use mode 'finetune' with "
            "loss 'nb' (--mode finetune --loss nb), or leave it out"
        )
        raise SettingsError(message)
    with open_source(query, layer=layer) as source:
        obs, file = source.obs, source.file
        measured = harmonise(source.var, panel, file=file).measured
        in_x = source.layer != "raw"
        var = source.var if in_x else None
    features = np.full(0, -1, dtype=np.int64)
    if var is None:
        var = _var_of_x(query)
    if var is not None:
        at = np.full(len(panel), -1, dtype=np.int64)
        at[positions] = np.arange(len(positions))
        index = harmonise(var, panel, file=file).index
        features = np.where(index >= 0, at[index.clip(min=0)], -1)
    table = pd.DataFrame(
        {"symbol": panel.symbols[positions], "measured": measured[positions], "learned": readout.learned},
        index=pd.Index(panel.ids[positions]),
    )
    _tell(table, fitted=fitted, readout=readout, file=file, wanted=wanted)
    said = "none"
    if readout.counted:
        said = f"from the likelihood of the counts ({readout.loss})"
    elif fitted.spread is not None:
        said = f"root mean square error per gene at hidden entries of {fitted.reference}"
    described = {
        "mode": settings.mode, "model": model_name, "query": file, "layer": layer or "X", "loss": readout.loss,
        "reference": fitted.reference, "n_reference_cells": fitted.n_reference, "source": settings.source,
        "scale": "log1p of counts per 10,000", "uncertainty": said, "training": fitted.training,
        "versions": versions(),
    }  # fmt: skip
    return Reading(
        fitted=fitted, readout=readout, query=query, layer=layer, wanted=asked, positions=positions, genes=table,
        obs=obs, features=features, settings=described,
    )  # fmt: skip


def find_genes(panel: GenePanel, names: Sequence[str] | None) -> NDArray[np.int64]:
    """(n_genes,) positions in a panel of genes given by ID or symbol, each once, in the order given.

    Parameters
    ----------
    panel
        Of the model.
    names
        Genes; None for all.

    Raises
    ------
    DataError
        If some are not on the panel.
    """
    if names is None:
        return np.arange(len(panel), dtype=np.int64)
    lookup = panel.lookup
    rows = [lookup.exact.get(name, -1) for name in names]
    rows = [lookup.folded.get(name.upper(), -1) if row < 0 else row for name, row in zip(names, rows, strict=True)]
    missing = [name for name, row in zip(names, rows, strict=True) if row < 0]
    if missing or not rows:
        listed = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        what = f"{len(missing)} of {len(rows)} genes are not on the model's panel ({panel.name}): {listed}"
        message = f"{what}; leave them out" if missing else "no gene is given; leave genes out for all of the panel"
        raise DataError(message)
    return np.array(list(dict.fromkeys(rows)), dtype=np.int64)


def _var_of_x(query: AnnData | Path | str) -> pd.DataFrame | None:
    """Return the features of X, for counts that are in .raw; None if there is no X."""
    try:
        with open_source(query) as source:
            return source.var
    except DataError:
        return None


def _tell(table: pd.DataFrame, *, fitted: Fitted, readout: Readout, file: str, wanted: Collection[str]) -> None:
    unknown = int((~table["learned"]).sum())
    if unknown:
        logger.warning(
            "%s: %s of the %s genes had no counts in the cells that the model learned from: nothing is said of them",
            file, f"{unknown:,}", f"{len(table):,}",
        )  # fmt: skip
    if "sd" in wanted and not readout.counted and fitted.spread is None:
        logger.warning(
            "the model predicts log values, whose spread is learned from a reference: there is none, so no "
            "uncertainty is given. Call fit(reference) (--reference), or use a model of counts"
        )
    logger.info("note: %s", WARNING)
