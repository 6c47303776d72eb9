"""Whether confidence, label sets and rejection keep what they promise: on new donors, types left out, other data.

    OMP_NUM_THREADS=1 python -m benchmarks.trust

Kang's control cells (8 donors, 8 types, 1,287 genes). Each donor in turn is the query, the other seven the reference:
temperature, label sets (error rates 0.1 and 0.05) and rejection (budget 0.05) are fitted on the reference alone and
judged on the donor. Then each type in turn is taken out of the reference, for one donor per seed. Then all eight
donors name pbmc3k, another laboratory's cells with another chemistry, where nothing is exchangeable. Embeddings are a
PCA of the reference, or of a masked model pre-trained on the immune corpus without any Kang file and without pbmc3k.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path
from typing import NamedTuple

import anndata as ad
import numpy as np

import scssl
from benchmarks import protocol
from scssl import log
from scssl.genes import harmonise, load_panel
from scssl.metrics import calibration_scores
from scssl.study import PCAEncoder
from scssl.tasks.annotate.calibrate import fit_temperature, probabilities
from scssl.tasks.annotate.classifier import hold_out
from scssl.tasks.annotate.conformal import LabelSets, coverage
from scssl.tasks.annotate.labels import map_labels, read_label_map
from scssl.tasks.annotate.probe import learn_probe
from scssl.tasks.annotate.unknown import Novelty
from scssl.tasks.annotate.zero_shot import NearestCells

KANG, PBMC = "kang_ctrl_8donors_1287g", "pbmc3k_10xv1"
KANG_FILES = ("kang_ifnb_harmony", "kang_ifnb_scgen")
MAP = Path(__file__).parent / "label_maps" / f"pbmc3k_to_{KANG}.csv"
SEEDS = (0, 1, 2)
EPOCHS = 10
ENCODERS = ("PCA", "masked")
MODES = ("zero_shot", "probe")
ERROR_RATES = (0.1, 0.05)
BUDGET = 0.05


class Cells(NamedTuple):
    """Cells in the space of an encoder."""

    embedding: np.ndarray
    codes: np.ndarray
    donors: np.ndarray

    def at(self, rows) -> Cells:  # noqa: D102
        return Cells(self.embedding[rows], self.codes[rows], self.donors[rows])


def main() -> None:
    log.configure()
    kang = ad.read_h5ad(protocol.DATA / f"{KANG}.h5ad")
    types, codes = np.unique(kang.obs["cell_type"].astype(str), return_inverse=True)
    names, donors = np.unique(kang.obs["donor"].astype(str), return_inverse=True)
    pbmc = ad.read_h5ad(protocol.DATA / f"{PBMC}.h5ad")
    truth = map_labels(protocol.labels_of(protocol.DATA / f"{PBMC}.h5ad"), read_label_map(MAP))
    # Cells without a label are left out, and with them the 14 platelets, too few to score.
    pbmc, truth = pbmc[truth.notna().to_numpy()].copy(), truth[truth.notna()].astype(str).to_numpy()
    other = np.searchsorted(types, truth)
    found = {"donors": [], "types": [], "other data": []}
    with tempfile.TemporaryDirectory() as scratch:
        corpus = _corpus(Path(scratch) / "corpus")
        for seed, encoder in itertools.product(SEEDS, ENCODERS):
            model = scssl.pretrain(corpus, max_epochs=EPOCHS, seed=seed) if encoder == "masked" else None
            where = {"encoder": encoder, "seed": seed}
            whole = Cells(np.empty(0), codes, donors)
            for donor in range(len(names)):
                new = donors == donor
                cells = whole._replace(embedding=_embed(model, kang, fit_on=~new, seed=seed))
                far = rejected(cells.at(~new), cells.at(new), types=types, seed=seed)
                for mode in MODES:
                    scores = judge(cells.at(~new), cells.at(new), types=types, mode=mode, seed=seed)
                    found["donors"].append({**where, "mode": mode, "donor": names[donor], **scores, **far})
                print(found["donors"][-1], flush=True)
                if donor == np.argsort(-np.bincount(donors))[seed]:
                    found["types"] += [
                        {**where, "donor": names[donor], **row}
                        for row in types_taken_out(cells, new=new, types=types, seed=seed)
                    ]
            reference, query = _embed_both(model, kang, pbmc, seed=seed)
            cells, known = Cells(query, other, np.zeros(len(other), dtype=np.int64)), Cells(reference, codes, donors)
            far = rejected(known, cells, types=types, seed=seed)
            for mode in MODES:
                scores = judge(known, cells, types=types, mode=mode, seed=seed)
                found["other data"].append({**where, "mode": mode, **scores, **far})
                print(found["other data"][-1], flush=True)
    result = {"epochs": EPOCHS, "budget": BUDGET, "summary": summarise(found), "scores": found}
    protocol.write("trust", command="OMP_NUM_THREADS=1 python -m benchmarks.trust", result=result)
    print(json.dumps(result["summary"], indent=1))


def judge(reference: Cells, query: Cells, *, types: np.ndarray, mode: str, seed: int) -> dict[str, float]:
    """Fit everything on the reference, score it on the query."""

    def learn(embedding, codes):
        if mode == "probe":
            return learn_probe(embedding, codes, n_classes=len(types))
        return NearestCells(embedding=embedding, codes=codes, n_classes=len(types), k=5)

    held = hold_out(learn, reference.embedding, reference.codes, donors=reference.donors, seed=seed)
    temperature = fit_temperature(held.log_scores, codes=held.codes, donors=held.donors)
    scores = learn(reference.embedding, reference.codes).log_scores(query.embedding)
    before = calibration_scores(query.codes, probabilities(scores))
    p = probabilities(scores, temperature=temperature)
    after = calibration_scores(query.codes, p)
    out = {
        "n_cells": len(query.codes),
        "accuracy": after.accuracy,
        "temperature": temperature,
        "confidence_before": before.confidence,
        "confidence": after.confidence,
        "ece_before": before.ece,
        "ece": after.ece,
        "nll_before": before.nll,
        "nll": after.nll,
    }
    held_p = probabilities(held.log_scores, temperature=temperature)
    for rate, (unit, donors) in itertools.product(ERROR_RATES, (("donors", held.donors), ("cells", None))):
        sets = LabelSets.fit(held_p, codes=held.codes, donors=donors, error_rate=rate)
        row = coverage(sets.sets(p), codes=query.codes).iloc[0]
        out |= {f"{name}_{rate}_{unit}": float(row[name]) for name in ("coverage", "size", "single")}
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in out.items()}


def rejected(reference: Cells, query: Cells, *, types: np.ndarray, seed: int) -> dict[str, object]:
    """Learn to reject on the reference, all of whose types are known; count what of the query is rejected."""
    novelty = Novelty.fit(
        reference.embedding,
        codes=reference.codes,
        classes=list(types),
        donors=reference.donors,
        error_budget=BUDGET,
        seed=seed,
    )
    far = novelty.distance(query.embedding) > novelty.limit
    return {"rejected": round(float(far.mean()), 4), "score": novelty.score}


def types_taken_out(cells: Cells, *, new: np.ndarray, types: np.ndarray, seed: int) -> list[dict]:
    """Take each type out of the reference: what share of the new donor's cells of it, and of others, is rejected."""
    rows = []
    for code, name in enumerate(types):
        reference, query = cells.at(~new & (cells.codes != code)), cells.at(new)
        # Codes without a gap.
        left, places = np.unique(reference.codes, return_inverse=True)
        novelty = Novelty.fit(
            reference.embedding,
            codes=places,
            classes=[str(types[c]) for c in left],
            donors=reference.donors,
            error_budget=BUDGET,
            seed=seed,
        )
        far = novelty.distance(query.embedding) > novelty.limit
        rows.append(
            {
                "type": str(name),
                "n_cells": int((query.codes == code).sum()),
                "found": round(float(far[query.codes == code].mean()), 4),
                "others_rejected": round(float(far[query.codes != code].mean()), 4),
                "expected": round(float(np.mean([*novelty.power.values()])), 4),
                "score": novelty.score,
            }
        )
    return rows


def summarise(found: dict[str, list[dict]]) -> dict[str, list[dict]]:
    """Means over seeds and donors, with the lowest donor where it matters."""
    out: dict[str, list[dict]] = {}
    for part in ("donors", "other data"):
        out[part] = []
        for encoder, mode in itertools.product(ENCODERS, MODES):
            mine = [row for row in found[part] if (row["encoder"], row["mode"]) == (encoder, mode)]
            numbers = [name for name, value in mine[0].items() if isinstance(value, float)]
            row = {name: round(float(np.mean([line[name] for line in mine])), 4) for name in numbers}
            lowest = {f"{name}_lowest": min(line[name] for line in mine) for name in numbers if "coverage" in name}
            out[part].append({"encoder": encoder, "mode": mode, **row, **lowest})
    out["types"] = []
    for encoder, name in itertools.product(ENCODERS, dict.fromkeys(row["type"] for row in found["types"])):
        mine = [row for row in found["types"] if (row["encoder"], row["type"]) == (encoder, name)]
        row = {key: round(float(np.mean([line[key] for line in mine])), 4) for key in ("found", "others_rejected")}
        out["types"].append({"encoder": encoder, "type": name, **row})
    return out


def _corpus(folder: Path) -> scssl.Corpus:
    excluded = json.dumps([*protocol.TARGETS, *KANG_FILES])
    return scssl.Corpus.build(
        protocol.DATA / "human_immune_corpus.h5ad",
        folder,
        genes="hvg:3000",
        obs=["donor", "file"],
        source="file",
        measured="uns:measured",
        where=f"file not in {excluded} and batch != {protocol.COPIES_OF_TARGETS!r}",
        split_by="donor",
        overwrite=True,
    )


def _embed(model, data: ad.AnnData, *, fit_on: np.ndarray, seed: int) -> np.ndarray:
    if model is not None:
        return model.embed(data)
    return PCAEncoder("human", n_components=50, seed=seed).fit(data[fit_on].copy()).embed(data)


def _embed_both(model, reference: ad.AnnData, query: ad.AnnData, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    if model is not None:
        return model.embed(reference), model.embed(query)
    panel = load_panel("human")
    shared = np.logical_and(*(harmonise(data.var, panel).measured for data in (reference, query)))
    pca = PCAEncoder(panel, n_components=50, genes=shared, seed=seed).fit(reference)
    return pca.embed(reference), pca.embed(query)


if __name__ == "__main__":
    main()
