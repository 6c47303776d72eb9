"""What the demonstration says about itself: tables, sections and summary of its report."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from scssl.report.file_cells import choose_genes, gene_names, unique_names
from scssl.report.markers import log_expression
from scssl.report.run import Run, Section
from scssl.report.style import category_order
from scssl.report.tables import seconds
from scssl.words import count

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    from scssl.cli._demo import Plan
    from scssl.corpus import Corpus
    from scssl.model.cell_model import CellModel
    from scssl.tasks import Annotation

MODEL, PCA = "pre-trained model + kNN", "PCA + kNN"
ATLAS, FEW, PBMC = "held-out donors, all labels", "held-out donors, few labels", "real PBMC, one donor"


def first_sections(plan: Plan) -> list[Section]:
    """Return the sections on scores and training."""
    return [
        Section(
            kind="scores",
            title="Does it name cells?",
            file="scores.csv",
            text="Each query cell takes the label that most of its nearest labelled neighbours have. Both methods get "
            "the same labelled cells and the same queries; only the space they look in differs. Macro F1 is the mean "
            f"over cell types, so that rare types count as much as common ones; 1 is perfect. Few labels: {plan.few} "
            f"cells of each type, mean of {plan.draws} draws; PCA is still fitted on all cells.",
            options={"value": "macro_f1", "label": "method", "group": "data"},
        ),
        Section(
            kind="curve",
            title="Learning",
            file="history.csv",
            text="The task: some of the genes of each cell are hidden, and predicted from the others. The loss is "
            "the mean squared error on the hidden genes (log1p of counts per 10,000). Both lines should fall and "
            "level off.",
        ),
    ]


def cell_sections(
    out: Path, stem: str, name: str, annotation: Annotation, layout: np.ndarray, query: AnnData
) -> list[Section]:
    """Write cells and confusion of one query, and say how the report shows them."""
    several = len(set(annotation.obs["donor"])) > 1
    cells = pd.DataFrame(layout, columns=["x", "y"]).round(4)
    for column in ["cell_type", *(c for c in ("donor", "study", "condition") if several and c in annotation.obs)]:
        cells[column] = annotation.obs[column].astype(str).to_numpy()
    cells["predicted"] = annotation.labels.astype(str)
    cells["confidence"] = annotation.confidence.round(3)
    shown = list(cells.columns[2:])
    X = log_expression(csr_matrix(query.X, dtype=np.float32))
    genes, _ = choose_genes(X, np.asarray(annotation.labels, dtype=object))
    markers = unique_names(gene_names(query.var)[genes], taken=shown)
    cells = pd.concat([cells, pd.DataFrame(X[:, genes].toarray().round(3), columns=markers)], axis=1)
    cells.to_csv(out / f"cells_{stem}.csv", index=False)
    counts = annotation.score("cell_type").confusion
    counts = counts.reindex(index=category_order(list(counts.index)), columns=category_order(list(counts.columns)))
    counts.to_csv(out / f"confusion_{stem}.csv")
    place = name.split(",")[0]
    return [
        Section(
            kind="embedding",
            title=f"Cells as the model sees them: {place}",
            file=f"cells_{stem}.csv",
            text="UMAP of the embedding. "
            + ("Good: cells of one type lie together, and donors mix within a type. " if several else "")
            + f"The colour can also be one of {len(markers)} genes, those that set the predicted types apart most "
            "(log1p of counts per 10,000).",
            options={
                "colour": ["cell_type", "donor" if several else "predicted"],
                "hover": shown,
                "features": {"Marker genes": markers},
            },
        ),
        Section(
            kind="confusion",
            title=f"What is taken for what: {place}",
            file=f"confusion_{stem}.csv",
            text="Each row is a true type; the shade says which share of its cells the model gave which label.",
        ),
    ]


def tell(run: Run, scores: pd.DataFrame, *, corpus: Corpus, model: CellModel, plan: Plan) -> None:
    """Write the summary, settings and provenance from what was computed."""
    learning = next(s for step, s in run.timings.items() if step.startswith("pre-train"))
    n_query = scores.set_index("data")["query_cells"].groupby(level=0).first()
    n_donors = corpus.obs("test")["donor"].astype(str).nunique()
    run.summary = [
        f"An encoder learned from {count(corpus.n_cells('train'), 'cell')} of "
        f"{count(len(corpus.sources), 'source')} in "
        f"{seconds(learning)}, without being told a single cell type.",
        f"It then named {count(n_query[ATLAS], 'simulated cell')} of {count(n_donors, 'donor')} that it had never "
        f"seen, by their nearest labelled neighbours. {compare(scores, ATLAS, 'With the labels of all other donors')} "
        f"{compare(scores, FEW, f'With {plan.few} labelled cells per type')}",
        f"{compare(scores, PBMC, f'On {n_query[PBMC]:,} real blood cells')} They come from one donor and were split "
        "at random, so this says nothing about other donors.",
        "One seed, and mostly simulated cells: this shows that the parts work together. It is not a benchmark.",
    ]
    run.settings = {"demo": asdict(plan), "model": asdict(model.config)}
    sizes = {source["name"]: source for source in corpus.info()["sources"]}
    run.data = [
        {
            "source": name,
            "from": "scanpy.datasets.pbmc68k_reduced (Zheng et al. 2017), half of the cells"
            if name.startswith("pbmc")
            else f"scssl.datasets.simulate_atlas(seed={plan.seed})",
            "train": sizes[name]["n_cells"]["train"],
            "validation": sizes[name]["n_cells"]["val"],
            "test": sizes[name]["n_cells"]["test"],
            "genes": sizes[name]["n_genes"],
        }
        for name in corpus.sources
    ]


def compare(scores: pd.DataFrame, data: str, where: str) -> str:
    """Say in one sentence how the two methods did on one comparison."""
    f1 = scores[scores["data"] == data].set_index("method")["macro_f1"]
    difference = f1[MODEL] - f1[PCA]
    verdict = "no difference to speak of"
    if abs(difference) >= 0.005:
        verdict = f"pre-training is {'ahead' if difference > 0 else 'behind'} by {abs(difference):.3f}"
    return f"{where}: macro F1 {f1[MODEL]:.3f} with the model, {f1[PCA]:.3f} with PCA ({verdict})."
