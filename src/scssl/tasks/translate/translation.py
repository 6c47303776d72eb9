"""Translation: another modality that was predicted for some cells."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from scssl import keys
from scssl.cores import own_cores
from scssl.corpus.sources.source import open_source
from scssl.errors import SettingsError
from scssl.log import progress
from scssl.tasks.output import Results
from scssl.tasks.translate.cells import fingerprint
from scssl.training import resolve_device

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.tasks.translate.fitted import Fitted
    from scssl.tasks.translate.scale import Scale
    from scssl.tasks.translate.settings import TranslatorSettings, Written
    from scssl.training.devices import Device

CHUNK = 2048


@dataclass(frozen=True, kw_only=True, eq=False)
class Translation:
    """Predicted proteins or peaks of the cells of one query."""

    values: dict[str, NDArray[np.float32]]
    """(n_cells, n_features) each: ``"scaled"``, the mean on the scale of the scores, and what else was asked for."""
    scale: Scale
    """Names of the features, and what the numbers mean."""
    obs: pd.DataFrame
    """Annotation of the cells as it came with them."""
    file: str
    """What the query is called in messages."""
    empty: NDArray[np.bool_]
    """(n_cells,) cells without any count on the model's genes: what is predicted for them means nothing, and is NaN."""
    settings: dict[str, Any]
    """How the numbers came about, as written to ``uns``."""
    fingerprint: str
    """Of the counts of the cells, to know those of the reference again."""

    def table(self, what: Written = "scaled") -> pd.DataFrame:
        """Return predictions with the names of cells and features.

        Parameters
        ----------
        what
            Which numbers.
        """
        return pd.DataFrame(self._of(what), index=self.obs.index, columns=pd.Index(self.scale.names))

    def results(self, *, written: Written = "scaled", key_added: str | None = None) -> Results:
        """Return predictions under the names that they have in an AnnData, see `Translator.predict`.

        Parameters
        ----------
        written
            Which numbers.
        key_added
            Word to put in place of "scssl" in those names.
        """
        task = "translate" if key_added is None else f"translate_{key_added}"
        key = keys.PROTEIN if self.scale.to == "protein" else keys.PEAKS
        named = key if key_added is None else key.replace("scssl", key_added)
        obsm = {named: self._of(written)}
        if "probability" in self.values:
            obsm[f"{named}_probability"] = self.values["probability"]
        settings = {
            **self.settings,
            "written": written,
            "key": named,
            "names": np.array(self.scale.names, dtype=object),
        }
        return Results(task=task, settings=settings, obsm=obsm)

    def _of(self, what: str) -> NDArray[np.float32]:
        if what not in self.values:
            there = [name for name in self.values if name != "probability"]
            message = f"{what!r} is not known with likelihood {self.scale.likelihood!r}; there is: {', '.join(there)}"
            raise SettingsError(message)
        return self.values[what]


def translate(
    fitted: Fitted, query: AnnData | Path | str, *, layer: str | None, device: Device, settings: dict[str, Any]
) -> Translation:
    """Predict for all cells of a query, see `Translator.translate`."""
    where = resolve_device(device)
    with open_source(query, layer=layer) as source:
        obs, file, n_cells = source.obs, source.file, source.n_cells
    encoder = fitted.model.encoder.to(where).eval()
    if isinstance(fitted.predictor, torch.nn.Module):
        fitted.predictor.to(where)
    values: dict[str, NDArray[np.float32]] = {}
    empty = np.zeros(n_cells, dtype=bool)
    done, totals = 0, []
    with progress("translating", n_cells) as advance, torch.no_grad(), own_cores(where):
        for batch in fitted.model.batches(query, layer=layer, batch_size=CHUNK):
            rows = slice(done, done + batch.n_cells)
            totals.append(batch.size_factor.numpy().copy())
            empty[rows] = totals[-1] == 0
            found = fitted.predict(encoder.embed(batch.to(where)).float())
            for name, part in found.items():
                if name not in values:
                    values[name] = np.empty((n_cells, part.shape[1]), dtype=np.float32)
                values[name][rows] = part
            done += batch.n_cells
            advance(batch.n_cells)
    for array in values.values():
        array[empty] = np.nan
    return Translation(
        values=values,
        scale=fitted.scale,
        obs=obs,
        file=file,
        empty=empty,
        settings={**settings, "query": file, "layer": layer or "X"},
        fingerprint=fingerprint(totals),
    )


def describe(fitted: Fitted, settings: TranslatorSettings, *, model_name: str) -> dict[str, Any]:
    """Return how predictions come about, as plain values for ``uns``."""
    training = {name: value for name, value in fitted.training.items() if name != "history"}
    return {
        "to": settings.to,
        "mode": settings.mode,
        "likelihood": fitted.scale.likelihood,
        "scale": fitted.scale.text,
        **({"k": settings.k} if settings.mode == "zero_shot" else {}),
        "model": model_name,
        "genes": fitted.model.panel.name,
        "reference": fitted.reference,
        "target": fitted.target,
        "n_reference_cells": fitted.n_cells,
        "training": training,
        "versions": {name: version(name) for name in ("scssl", "torch", "anndata", "numpy")},
    }
