"""Cells simulated under a condition against measured ones: cell types, donors and replicates left out one by one.

    OMP_NUM_THREADS=1 python -m benchmarks.simulate [--cell-eval PYTHON]

The method was chosen on Kang's two donors (``muscat``) and a simulated atlas (seed 11): development. It is confirmed
on Kang's scGen split (a type left out: the classic test), Kang's three donors on 100 genes (a donor left out), a CRISPR
screen (a replicate left out: 25 targets) and simulated atlases of other seeds. The Kang sets are of one experiment and
share cells, so theirs is a confirmation on other genes and cells of the same biology. Models are pre-trained on the
immune corpus without any Kang file; those of simulated atlases on the atlas' control cells, without labels.

Every fold is learned without the case cells of the fold. Three seeds draw models, counts and atlases. Intervals are
Student's, 95 %, of the difference between the model and a baseline over folds (means over seeds): folds of one
experiment are not independent, so they are narrow. ``auto`` takes in each fold what cross-validation within its
training cells chooses. Ablations: what types are alike in (the model's codes, control expression, nothing). Hacks:
what inflated, rescaled, doubly logged or averaged predictions of a *baseline* gain in each score.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import torch

import scssl
from benchmarks import protocol, simulate_tables
from benchmarks.simulate_variants import ablations, hacked, simulated_once
from scssl.genes import GenePanel, harmonise
from scssl.tasks.simulate import cells as reading
from scssl.tasks.simulate.judge import compare, judge
from scssl.tasks.simulate.learn import learn

if TYPE_CHECKING:
    from collections.abc import Iterator

SEEDS = (0, 1, 2)
EPOCHS, VARIABLE = 3, 2000
REAL = {
    "muscat, type out": {"role": "development", "file": "kang_muscat_4samples", "by": "types", "donor": "donor",
                         "control": "ctrl", "case": "stim"},
    "muscat, donor out": {"role": "development", "file": "kang_muscat_4samples", "by": "donors", "donor": "donor",
                          "control": "ctrl", "case": "stim"},
    "scGen split, type out": {"role": "confirmation", "file": "kang_ifnb_scgen", "by": "types", "donor": None,
                              "control": "control", "case": "stimulated"},
    "100 genes, donor out": {"role": "confirmation", "file": "kang_distinct_100g", "by": "donors", "donor": "donor",
                             "control": "ctrl", "case": "stim"},
    "CRISPR, replicate out": {"role": "confirmation", "file": "papalexi_eccite_lowmoi_299g", "by": "donors",
                              "donor": "batch", "control": "non-targeting", "case": None},
}  # fmt: skip
ATLASES = {
    "simulated, type out": ("confirmation", 5100, "types"),
    "simulated, donor out": ("confirmation", 5100, "donors"),
}
MOST_CELLS, FEW_CELLS = 200, 100
"""Of a type, donor and condition; the same of the screen."""
JUDGED = ("muscat, type out", "scGen split, type out", "100 genes, donor out", "simulated, type out",
          "simulated, donor out")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--only")
    parser.add_argument("--name", default="simulate")
    parser.add_argument("--cell-eval", help="a Python that has cell-eval")
    args = parser.parse_args()
    begin = time.perf_counter()
    parts: dict[str, list[pd.DataFrame]] = {"scores": [], "hacks": []}
    verdicts, checked = [], None
    for seed, model, corpus in models(args.seeds):
        for name in [*REAL, *ATLASES]:
            if args.only not in (None, name):
                continue
            role = REAL[name]["role"] if name in REAL else ATLASES[name][0]
            for control, case, cells, folds in problems(name, model, seed=seed):
                found = left_out(cells, folds, control=control, case=case, seed=seed)
                for kind, table in found.items():
                    if table.empty:
                        continue
                    parts[kind].append(table.assign(setting=name, role=role, seed=seed, case=case))
                if name in JUDGED and seed == 0:
                    verdicts += judged(name, cells, folds, control=control, case=case)
            print(f"seed {seed}, {name}: {time.perf_counter() - begin:.0f} s", flush=True)
        if args.cell_eval and checked is None:
            checked = simulate_tables.against_cell_eval(args.cell_eval, *simulated_once(*crispr(model, seed=seed)))
        record(args, parts, verdicts, checked, begin=begin, corpus=corpus)


def models(n_seeds: int) -> Iterator[tuple[int, scssl.CellModel, scssl.Corpus]]:
    """Yield the seeds, each with a model pre-trained on the corpus, and the corpus; nothing is said meanwhile."""
    logging.getLogger("scssl").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        corpus = build_corpus(Path(scratch) / "corpus")
        for seed in SEEDS[:n_seeds]:
            yield seed, scssl.pretrain(corpus, max_epochs=EPOCHS, seed=seed, device="cpu", loggers=["csv"]), corpus


def record(args, parts, verdicts, checked, *, begin: float, corpus: scssl.Corpus) -> None:
    """Write what there is so far."""
    tables = {kind: pd.concat(found, ignore_index=True) for kind, found in parts.items() if found}
    summary = simulate_tables.summarise(tables, pd.DataFrame(verdicts))
    result = {
        "minutes": round((time.perf_counter() - begin) / 60, 1),
        "corpus_cells": {split: corpus.n_cells(split) for split in ("train", "val")},
        **summary,
        "verdicts": verdicts,
        "cell_eval": checked,
    }
    command = "OMP_NUM_THREADS=1 python -m benchmarks.simulate" + (" --cell-eval PYTHON" if args.cell_eval else "")
    protocol.write(args.name, command=command, result=result)


def build_corpus(folder: Path) -> scssl.Corpus:
    """Build the immune corpus without Kang's cells, on its most variable genes and those of the small panels."""
    folder.mkdir()
    human = GenePanel.builtin("human")
    small = []
    for name in ("kang_muscat_4samples", "kang_distinct_100g", "papalexi_eccite_lowmoi_299g"):
        var = ad.read_h5ad(protocol.DATA / f"{name}.h5ad", backed="r").var
        small += list(human.ids[harmonise(var, human, file=name).measured])

    def build(genes: str | Path, out: str) -> scssl.Corpus:
        return scssl.Corpus.build(
            protocol.DATA / "human_immune_corpus.h5ad", folder / out, genes=genes, obs=["cell_type", "donor"],
            source="file", measured="uns:measured", where="file not in ['kang_ifnb_harmony', 'kang_ifnb_scgen']",
            unlabelled=["unknown"], split_by="donor", val=0.05, test=0,
        )  # fmt: skip

    genes = folder / "genes.txt"
    genes.write_text("\n".join(dict.fromkeys([*small, *build(f"hvg:{VARIABLE}", "variable").panel.ids])))
    return build(genes, "corpus")


def problems(name: str, model: scssl.CellModel, *, seed: int):
    """Yield control, case, cells and folds of a setting."""
    if name in REAL:
        plan = REAL[name]
        columns = reading.Columns(condition="condition", cell_type="cell_type", donor=plan["donor"])
        path = protocol.DATA / f"{plan['file']}.h5ad"
        most = MOST_CELLS if plan["case"] else FEW_CELLS
        cells = few(reading.read(path, model, columns=columns, layer=None, device="cpu"), most=most, seed=seed)
        cases = [plan["case"]] if plan["case"] else sorted(set(cells.condition) - {plan["control"]})
        for case in cases:
            both = cells.at(np.isin(cells.condition, [plan["control"], case]))
            yield plan["control"], case, both, getattr(both, plan["by"])
        return
    _, first, by = ATLASES[name]
    cells = atlas_cells(first + seed, seed=seed)
    yield "healthy", "disease", cells, getattr(cells, by)


@cache
def atlas_cells(drawn: int, *, seed: int) -> reading.Cells:
    """Simulate an atlas, and embed it by a model of its control cells."""
    atlas = scssl.datasets.simulate_atlas(
        3000, 1000, n_types=6, n_donors=8, design="paired", condition_effect=1.5, seed=drawn
    )
    control = atlas[atlas.obs["condition"] == "healthy"].copy()
    own = scssl.pretrain(control, max_epochs=4, seed=seed, device="cpu", loggers=["csv"])
    columns = reading.Columns(condition="condition", cell_type="cell_type", donor="donor")
    return reading.read(atlas, own, columns=columns, layer=None, device="cpu")


def crispr(model: scssl.CellModel, *, seed: int):
    """Return the problems of the screen, for the comparison with cell-eval."""
    return list(problems("CRISPR, replicate out", model, seed=seed)), seed


def few(cells: reading.Cells, *, most: int, seed: int) -> reading.Cells:
    """Return at most `most` cells of a type, donor and condition."""
    rng, kept = np.random.default_rng([5, seed]), []
    for name in sorted(set(cells.condition)):
        rows = np.flatnonzero(cells.condition == name)
        kept += [rows[rng.permutation(group)[:most]] for _, group in cells.at(rows).groups()]
    return cells.at(np.sort(np.concatenate(kept)))


def left_out(cells, folds, *, control: str, case: str, seed: int) -> dict[str, pd.DataFrame]:
    """Leave out the case cells of each fold, and score all methods, ablations and hacks on them."""
    is_case = cells.condition == case
    scores, hacks = [], []
    for fold in sorted(set(folds[is_case]) & set(folds[~is_case])):
        held = folds == fold
        train = cells.at(~(held & is_case))
        try:
            learned = learn(train, control=control, case=case)
            start, truth = cells.at(held & ~is_case), cells.at(held & is_case)
            rows, _ = compare(learned, train=train, control_cells=start, truth=truth, control=control, seed=seed)
        except scssl.errors.DataError:
            continue
        more = []
        if seed == SEEDS[0] and len(set(cells.types)) > 1:
            more = ablations(learned, start=start, truth=truth, seed=seed)
        scores += [{"fold": fold, **row} for row in rows + more]
        if seed == SEEDS[0]:
            hacks += [{"fold": fold, **row} for row in hacked(learned, start=start, truth=truth, seed=seed)]
    return {"scores": pd.DataFrame(scores), "hacks": pd.DataFrame(hacks)}


def judged(name: str, cells, folds, *, control: str, case: str) -> list[dict]:
    """Say for each fold what cross-validation within its training cells would choose."""
    is_case, rows = cells.condition == case, []
    for fold in sorted(set(folds[is_case])):
        kept = ~((folds == fold) & is_case)
        verdict = judge(
            cells.at(kept), control=control, case=case, folds=folds[kept], by="folds", confidence=0.9, seed=0
        )
        rows.append(
            {"setting": name, "fold": fold, "method": verdict.method, "beats": verdict.beats, "text": verdict.text}
        )
    return rows


if __name__ == "__main__":
    main()
