"""Learn what a treatment does to some cell types, and simulate treated cells of a type that was not measured.

    python examples/simulate.py

Takes about 30 seconds. The cells are simulated; put your own AnnData with raw counts in their place.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

import scssl
from scssl.tasks import Simulator


def main(n_cells: int = 2000, n_genes: int = 500, epochs: int = 5) -> dict[str, float]:
    cells = treated(scssl.datasets.simulate_atlas(n_cells, n_genes, n_types=5, n_donors=4, conditions=["control"]))

    # Without labels; better is a model of many other cells.
    model = scssl.pretrain(cells, genes="union", source="study", max_epochs=epochs)

    # Treated cells of type_3 are not looked at; whether the model is worth more than simple baselines is found out by
    # leaving out the other types in turn.
    simulator = Simulator(model).fit(
        cells, condition="condition", control="control", case="treated", hold_out="cell_type=type_3"
    )
    print(simulator.verdicts["treated"].text)

    virtual = simulator.predict(cells, where="cell_type=type_3")
    print(virtual)
    rise = virtual.varm["scssl_change"].mean(axis=1).sort_values(ascending=False)
    print(rise.head().round(2).to_string())

    scores = simulator.evaluate(cells, where="cell_type=type_3")
    print(scores.methods.round(3).to_string())
    return dict(scores.methods["explained"])


def treated(cells):
    """Treat half of the cells with something that raises forty genes, in some types more than in others."""
    rng = np.random.default_rng(0)
    case = rng.random(cells.n_obs) < 0.5
    counts = cells.X.toarray().astype(np.int64)
    number = cells.obs["cell_type"].cat.codes.to_numpy()[case]
    counts[case, 100:140] += rng.poisson(np.repeat(1 + number[:, None] / 2, 40, axis=1))
    cells.X = sp.csr_matrix(counts)
    cells.obs["condition"] = np.where(case, "treated", "control")
    return cells


if __name__ == "__main__":
    main()
