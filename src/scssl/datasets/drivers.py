"""The genes of a simulated atlas, and the human transcription factors among them that drive its programmes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scssl.genes import GenePanel

LOG_ABUNDANCE_SD = 2.0
"""Spread of log abundances over genes, as in 10x data (1.7 to 2.1 in blood cells)."""

_SYMBOLS = """
SPI1 CEBPA CEBPB PAX5 EBF1 TCF7 LEF1 GATA3 TBX21 EOMES RORC FOXP3 BCL11B IRF8 IRF4 IRF7 TCF4 GATA1 GATA2
KLF1 TAL1 RUNX1 RUNX3 PRDM1 XBP1 BACH2 BCL6 POU2AF1 KLF2 KLF4 MAFB MAF NR4A1 IKZF1 IKZF2 ZEB1 ZEB2 BATF
BATF3 STAT1 STAT2 STAT3 STAT4 STAT6 IRF1 IRF9 NFKB1 REL RELA JUN JUNB FOS FOSB ATF3 EGR1 EGR2 MYC E2F1 E2F2
E2F8 FOXM1 MYBL2 HIF1A EPAS1 ATF4 DDIT3 HSF1 NFE2L2 NFE2 FLI1 ERG ETS1 ETS2 ELF1 SOX17 SOX18 HEY1 TCF21
TWIST1 TWIST2 PRRX1 MEF2C GATA4 GATA6 NKX2-1 NKX2-5 FOXA1 FOXA2 HNF1A HNF4A PDX1 PTF1A NEUROD1 SOX2 SOX9
SOX10 OLIG2 ASCL1 PAX6 KLF5 GRHL2 ELF3 TP63 FOXJ1 RFX2 RFX3 TP53 SMAD3 TEAD1 SNAI2 CREB1 BMAL1 BHLHE40 PPARG
NR1H3 SREBF1 SREBF2 ESR1 AR NR3C1 VDR RARA RXRA AHR TFEB MITF HMGA2 LIN28B HOXA9 HOXB4 MEIS1 PBX1 GFI1 GFI1B
"""
TRANSCRIPTION_FACTORS: tuple[str, ...] = tuple(_SYMBOLS.split())
"""Factors with known parts in cell identity or cell state."""

_TF_LOG_ABUNDANCE = 1.0
# TFs above the median gene: they are lowly expressed, but a TF never seen would drive programmes unseen.


def draw_genes(
    n_genes: int, *, n_programmes: int, dispersion: float, rng: np.random.Generator
) -> tuple[pd.DataFrame, list[list[int]]]:
    """Choose human protein-coding genes, some of them the transcription factors that drive the programmes.

    Parameters
    ----------
    n_genes
        Number of genes.
    n_programmes
        Number of programmes, each with one to three drivers of its own; where the known transcription factors run
        out, other genes stand in.
    dispersion
        Median negative binomial dispersion.
    rng
        Source of random numbers.

    Returns
    -------
    tuple
        ``var`` (index Ensembl gene IDs; ``symbol``, ``abundance`` summing to 1, ``dispersion``, ``is_tf``), and per
        programme the positions of its drivers.
    """
    panel = GenePanel.builtin("human")
    # Genes without a symbol, and the second of two that share one, would make poor examples.
    symbols, first = np.unique(np.asarray(panel.symbols), return_index=True)
    named = np.sort(first[symbols != ""])
    ids, symbols = np.asarray(panel.ids)[named], np.asarray(panel.symbols)[named]
    position = {symbol: i for i, symbol in enumerate(symbols)}
    known = np.asarray([position[symbol] for symbol in TRANSCRIPTION_FACTORS if symbol in position])
    rest = np.setdiff1d(np.arange(len(ids)), known)
    order = np.concatenate([rng.permutation(known), rng.permutation(rest)])

    n_drivers = rng.integers(1, 4, n_programmes)
    if n_drivers.sum() > min(len(known), n_genes // 3):
        n_drivers[:] = 1
    n_tfs = int(n_drivers.sum())
    chosen = np.sort(order[:n_genes])
    drivers = np.searchsorted(chosen, order[:n_tfs])
    ends = np.cumsum(n_drivers)
    tf_of = [drivers[end - n : end].tolist() for n, end in zip(n_drivers, ends, strict=True)]

    log_abundance = rng.normal(0, LOG_ABUNDANCE_SD, n_genes)
    log_abundance[drivers] = rng.normal(_TF_LOG_ABUNDANCE, 0.7, n_tfs)
    abundance = np.exp(log_abundance)
    is_tf = np.zeros(n_genes, dtype=bool)
    is_tf[drivers] = True
    var = pd.DataFrame(
        {
            "symbol": symbols[chosen].astype(object),
            "abundance": (abundance / abundance.sum()).astype(np.float32),
            "dispersion": (dispersion * np.exp(rng.normal(0, 0.4, n_genes))).astype(np.float32),
            "is_tf": is_tf,
        },
        index=pd.Index(ids[chosen].astype(object)),
    )
    return var, tf_of
