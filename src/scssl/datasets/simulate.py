"""The simulated atlas: raw counts of cells whose every cause is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from scssl.datasets.assemble import assemble
from scssl.datasets.blueprint import draw_condition, draw_programmes, grow_tree
from scssl.datasets.cells import Truth, draw_cells
from scssl.datasets.design import Design, draw_samples
from scssl.datasets.drivers import draw_genes
from scssl.datasets.modalities import Readout, peak_readout, protein_readout
from scssl.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

_STREAMS = (
    "genes",
    "programmes",
    "conditions",
    "samples",
    "batches",
    "donors",
    "measured",
    "cells",
    "counts",
    "protein",
    "atac",
)


def simulate_atlas(
    n_cells: int = 2000,
    n_genes: int = 1000,
    *,
    n_types: int = 8,
    n_studies: int = 3,
    n_donors: int = 12,
    n_programmes: int = 20,
    batches_per_study: int = 2,
    programme_size: int | None = None,
    type_effect: float = 2.0,
    state_effect: float = 0.4,
    batch_effect: float = 0.2,
    donor_effect: float = 0.1,
    conditions: Sequence[str] = ("healthy", "disease"),
    condition_effect: float = 1.0,
    composition_effect: float = 0.7,
    composition_spread: float = 0.3,
    design: Design = "balanced",
    library_size: float = 2000.0,
    library_spread: float = 0.4,
    dispersion: float = 0.2,
    unmeasured: float = 0.0,
    n_proteins: int = 0,
    n_peaks: int = 0,
    seed: int = 0,
) -> AnnData:
    """Simulate an atlas of several studies with the truth about every cell.

    A binary tree of cell types switches gene programmes on, branch by branch. Each programme is driven by one to
    three transcription factors (TFs): their log expression in a cell is what its branch, its donor, its condition and
    chance make it, and the programme's target genes follow. Genes have heavy-tailed abundances. Studies, batches and
    donors shift every gene a little. Counts are negative binomial around the cell's depth times the gene's share, so
    that most zeros come from shallow sampling: an atlas drawn at half the depth has the distribution of one drawn in
    full and thinned by half.

    Parameters
    ----------
    n_cells, n_genes
        Size of the atlas. The genes are human protein-coding genes, TFs of the programmes among them.
    n_types
        Cell types, the leaves of the tree; neighbours in name are siblings in the tree.
    n_studies, n_donors, batches_per_study
        Donors are nested in batches, batches in studies.
    n_programmes
        Gene programmes; seven in ten tell types apart, the others vary from cell to cell in all types.
    programme_size
        Target genes per programme; by default half of ``n_genes / n_programmes``, between 5 and 400.
    type_effect
        How far branches lie apart (log expression of the TFs); 0 makes all types alike.
    state_effect
        Standard deviation between cells of one type of the TFs that drive programmes.
    batch_effect
        Standard deviation between studies of the log expression of each gene; half of that between batches.
    donor_effect
        The same between donors; TFs vary between donors by twice as much.
    conditions
        Names, the control first; one name means no condition.
    condition_effect
        Added to the log expression of the TFs of the shifted programmes, in a quarter of the types; 0 is a true null.
    composition_effect
        Log factor on the share of one type that a condition makes more frequent (of another: less frequent).
    composition_spread
        Standard deviation of log shares of types, between studies and again between donors.
    design
        Who gets which condition: ``"balanced"`` within each study, ``"paired"`` every donor under every condition,
        ``"confounded"`` whole studies.
    library_size, library_spread
        Median total counts per cell, and standard deviation of its logarithm within a donor.
    dispersion
        Median over genes of the negative binomial dispersion.
    unmeasured
        Share of genes that each study did not measure: no counts there, and ``uns["measured"]`` says so.
    n_proteins, n_peaks
        Surface proteins (CITE-seq) and accessible peaks (multiome) measured in the same cells.
    seed
        The same arguments and seed give the same atlas.

    Returns
    -------
    anndata.AnnData
        - ``X``: raw counts, CSR uint16 (uint32 where a count needs it), shape (n_cells, n_genes).
        - ``obs``: ``cell_type``, ``donor``, ``study``, ``batch``, ``condition`` (categorical), ``depth`` (float32,
          expected total counts). Cells of one donor follow each other.
        - ``var``: index Ensembl gene IDs; ``symbol``, ``abundance`` (share of counts at base), ``dispersion``,
          ``is_tf``.
        - ``obsm["programme_activity"]``: float32, (n_cells, n_programmes), true activity.
        - ``obsm["protein"]``: int32, (n_cells, n_proteins), names in ``uns["protein_names"]``; if asked for.
        - ``obsm["atac"]``: CSR uint16, (n_cells, n_peaks), names in ``uns["peak_names"]``; if asked for.
        - ``uns["measured"]``: bool table, genes x studies; if `unmeasured` is above 0.
        - ``uns["simulation"]``: the truth: ``settings``, ``tree``, ``type_activity`` (types x programmes),
          ``programmes`` (by name: ``genes``, ``loadings``, ``tfs``, ``tf_weights``, ``identity``), ``conditions`` (by
          name: ``programmes``, ``genes``, ``tfs``, ``types``, ``shift``, ``composition``), ``samples`` (one row per
          donor and condition), ``proportions`` (samples x types), ``batch_effects`` (genes x batches, log),
          ``donor_effects`` (genes x donors, log), ``protein_genes`` and ``peak_genes``.

    Raises
    ------
    scssl.errors.SettingsError
        If a size or a strength is not possible.

    Example
    -------
    >>> import scssl
    >>> adata = scssl.datasets.simulate_atlas(200, 300, seed=1)
    >>> adata.shape, adata.obs["donor"].nunique()
    ((200, 300), 12)
    """
    settings: dict[str, Any] = {
        key: list(value) if key == "conditions" else value for key, value in locals().items() if value is not None
    }
    _check(settings)
    # One stream per part, so that asking for proteins or more cells leaves the rest of the truth as it is.
    streams = dict(zip(_STREAMS, np.random.SeedSequence(seed).spawn(len(_STREAMS)), strict=True))
    rng = {name: np.random.default_rng(stream) for name, stream in streams.items()}

    var, tf_of = draw_genes(n_genes, n_programmes=n_programmes, dispersion=dispersion, rng=rng["genes"])
    tree = grow_tree(n_types)
    size = programme_size or int(np.clip(0.5 * n_genes / n_programmes, 5, 400))
    symbols = var["symbol"].to_numpy(dtype=str)
    programmes = draw_programmes(
        tree,
        tf_of=tf_of,
        abundance=var["abundance"].to_numpy(),
        size=size,
        type_effect=type_effect,
        labels=symbols,
        rng=rng["programmes"],
    )
    shifts = [
        draw_condition(
            name,
            programmes=programmes,
            effect=condition_effect,
            composition_effect=composition_effect,
            rng=rng["conditions"],
        )
        for name in conditions[1:]
    ]
    samples = draw_samples(
        n_cells=n_cells,
        n_types=n_types,
        n_studies=n_studies,
        n_donors=n_donors,
        batches_per_study=batches_per_study,
        conditions=conditions,
        shifts=shifts,
        design=design,
        composition_spread=composition_spread,
        rng=rng["samples"],
    )
    by_study = np.repeat(rng["batches"].normal(0, batch_effect, (n_genes, n_studies)), batches_per_study, axis=1)
    by_batch = rng["batches"].normal(0, batch_effect / 2, by_study.shape)
    readouts: dict[str, Readout] = {}
    if n_proteins:
        readouts["protein"] = protein_readout(
            n_proteins, loadings=programmes.loadings, symbols=symbols, rng=rng["protein"]
        )
    if n_peaks:
        readouts["atac"] = peak_readout(n_peaks, loadings=programmes.loadings, symbols=symbols, rng=rng["atac"])
    truth = Truth(
        var=var,
        programmes=programmes,
        shifts=shifts,
        samples=samples,
        batch_effects=(by_study + by_batch).astype(np.float32),
        donor_effects=rng["donors"].normal(0, donor_effect, (n_genes, n_donors)).astype(np.float32),
        measured=rng["measured"].random((n_genes, n_studies)) >= unmeasured,
        readouts=readouts,
    )
    cells = draw_cells(
        truth,
        library_size=library_size,
        library_spread=library_spread,
        state_effect=state_effect,
        donor_effect=donor_effect,
        rng=rng,
    )
    return assemble(truth, tree, cells, settings=settings)


def _check(settings: Mapping[str, Any]) -> None:
    """Refuse sizes and strengths that are not possible, before anything is drawn."""
    for name in ("n_cells", "n_genes", "n_types", "n_studies", "n_donors", "n_programmes", "batches_per_study"):
        if settings[name] < 1:
            message = f"{name} is {settings[name]}: give at least 1"
            raise SettingsError(message)
    for name in ("state_effect", "batch_effect", "donor_effect", "library_spread", "composition_spread"):
        if settings[name] < 0:
            message = f"{name} is {settings[name]}: it is a standard deviation, give 0 or more"
            raise SettingsError(message)
    for name in ("library_size", "dispersion"):
        if settings[name] <= 0:
            message = f"{name} is {settings[name]}: give a number above 0"
            raise SettingsError(message)
    if not 0 <= settings["unmeasured"] < 1:
        message = f"unmeasured is {settings['unmeasured']}: give a share of the genes, 0 or more and below 1"
        raise SettingsError(message)
    if settings["design"] not in get_args(Design):
        message = f"design {settings['design']!r} is not known: choose one of {', '.join(get_args(Design))}"
        raise SettingsError(message)
    conditions = settings["conditions"]
    if not conditions or len(set(conditions)) != len(conditions) or any("/" in name for name in conditions):
        message = f"conditions are {conditions}: give different names without '/', the control first"
        raise SettingsError(message)
    n_samples = settings["n_donors"] * (len(conditions) if settings["design"] == "paired" else 1)
    if settings["n_donors"] < settings["n_studies"] or settings["n_cells"] < n_samples:
        message = (
            f"{settings['n_cells']} cells of {settings['n_donors']} donors ({n_samples} samples) in "
            f"{settings['n_studies']} studies: every study needs a donor, every sample a cell"
        )
        raise SettingsError(message)
    if settings["n_genes"] < 3 * settings["n_programmes"]:
        message = (
            f"{settings['n_programmes']} programmes need at least {3 * settings['n_programmes']} genes, n_genes is "
            f"{settings['n_genes']}: give more genes or fewer programmes"
        )
        raise SettingsError(message)
