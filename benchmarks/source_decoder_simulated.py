"""Whether telling the decoder the source helps where sources differ strongly: simulated studies with batch effects.

    python -m benchmarks.source_decoder_simulated

Pre-training (15 epochs) on 6,000 simulated cells of four studies, without labels; then three studies are the reference
and the fourth the query of zero-shot annotation. Five seeds of atlas and model; the difference is paired by seed.
"""

from __future__ import annotations

import itertools

import numpy as np

import scssl
from benchmarks import protocol
from scssl.tasks import Annotator

SEEDS = (0, 1, 2, 3, 4)
BATCH_EFFECTS = (0.2, 0.5, 1.0)
EPOCHS = 15


def main() -> None:
    rows = []
    for strength, seed in itertools.product(BATCH_EFFECTS, SEEDS):
        cells = scssl.datasets.simulate_atlas(
            6000, 2000, n_types=12, n_studies=4, n_donors=16, batch_effect=strength, seed=seed
        )
        new = (cells.obs["study"] == cells.obs["study"].cat.categories[-1]).to_numpy()
        for told in (True, False):
            settings = [f"architecture.source_decoder={str(told).lower()}"]
            model = scssl.pretrain(
                cells, genes="union", source="study", max_epochs=EPOCHS, seed=seed, overrides=settings
            )
            annotator = Annotator(model).fit(cells[~new].copy(), labels="cell_type")
            f1 = annotator.evaluate(cells[new].copy(), truth="cell_type").macro_f1
            rows.append({"batch_effect": strength, "seed": seed, "told": told, "macro_f1": round(f1, 4)})
            print(rows[-1], flush=True)
    summary = [summarise(rows, strength) for strength in BATCH_EFFECTS]
    protocol.write(
        "source_decoder_simulated",
        command="python -m benchmarks.source_decoder_simulated",
        result={"epochs": EPOCHS, "summary": summary, "scores": rows},
    )
    for line in summary:
        print(line)


def summarise(rows: list[dict], strength: float) -> dict:
    """Means, and the paired difference with its standard error over seeds."""
    by_told = {
        told: np.array([r["macro_f1"] for r in rows if r["batch_effect"] == strength and r["told"] == told])
        for told in (True, False)
    }
    gain = by_told[True] - by_told[False]
    return {
        "batch_effect": strength,
        "told": round(float(by_told[True].mean()), 4),
        "not_told": round(float(by_told[False].mean()), 4),
        "gain": round(float(gain.mean()), 4),
        "gain_standard_error": round(float(gain.std(ddof=1) / np.sqrt(len(gain))), 4),
        "seeds_won": int((gain > 0).sum()),
    }


if __name__ == "__main__":
    main()
