"""Whatever cells a user hands over, as a corpus to train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scssl.corpus.sources.source import open_source
from scssl.corpus.store import Corpus
from scssl.errors import SettingsError
from scssl.log import logger

if TYPE_CHECKING:
    from anndata import AnnData

    from scssl.genes import GenePanel


def gather(
    data: Corpus | AnnData | Path | str,
    *,
    genes: str | Path | GenePanel | None = None,
    layer: str | None = None,
    source: str | None = None,
    split_by: str | None = None,
    seed: int = 0,
) -> Corpus:
    """Return a corpus as it is, open the folder of one, or make one in memory of an AnnData or file.

    Parameters
    ----------
    data
        Corpus, folder of one, AnnData of raw counts, or a file of one.
    genes, layer, source, split_by
        For an AnnData or file, as in `BuildSettings`. Without `split_by`, donors are kept apart where ``obs`` has a
        column ``donor`` with at least two of them, and otherwise cells are set apart one by one.
    seed
        Seed of the split.

    Raises
    ------
    SettingsError
        If an option is given that a corpus has settled already.
    """
    if isinstance(data, str | Path) and (Path(data) / "corpus.json").is_file():
        data = Corpus.open(data)
    if isinstance(data, Corpus):
        options = {"genes": genes, "layer": layer, "source": source, "split_by": split_by}
        given = [name for name, value in options.items() if value is not None]
        if given:
            message = f"{', '.join(given)} cannot be chosen for a corpus: they were settled when it was built"
            raise SettingsError(message)
        return data
    with open_source(data, layer=layer) as opened:
        obs, file = opened.obs, opened.file
    if split_by is None:
        donors = "donor" in obs.columns and obs["donor"].nunique() > 1
        split_by = "donor" if donors else "cell"
        why = "" if donors else " (there is no column 'donor' with two of them; see --split-by)"
        logger.info("%s: validation cells are set apart by %s%s", file, split_by, why)
    return Corpus.from_anndata(
        data,
        genes="human" if genes is None else genes,
        layer=layer,
        source=source,
        split_by=split_by,
        val=0.05 if split_by == "cell" else 0.1,
        test=0.0,
        seed=seed,
    )
