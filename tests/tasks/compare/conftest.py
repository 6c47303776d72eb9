"""A small atlas in which a condition shifts two programmes in one type, and the shares of two others."""

from __future__ import annotations

import numpy as np
import pytest


def with_rep(cells):
    """Add principal components, as ``obsm["X_rep"]``."""
    counts = cells.X.toarray().astype(float)
    logs = np.log1p(1e4 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
    left, size, _ = np.linalg.svd(logs - logs.mean(axis=0), full_matrices=False)
    cells.obsm["X_rep"] = (left * size)[:, :8]
    return cells


def simulated(**settings):
    from scssl.datasets import simulate_atlas

    usual = {
        "n_cells": 900, "n_genes": 120, "n_types": 3, "n_donors": 8, "n_studies": 1, "batches_per_study": 1,
        "n_programmes": 6, "condition_effect": 2.0, "composition_effect": 1.5, "seed": 3,
    }  # fmt: skip
    return with_rep(simulate_atlas(**{**usual, **settings}))


@pytest.fixture(scope="session")
def study():
    """Four donors against four."""
    return simulated()


@pytest.fixture(scope="session")
def pairs():
    """Four donors under both conditions."""
    return simulated(n_donors=4, design="paired")


@pytest.fixture(scope="session")
def gmt(study, tmp_path_factory):
    """The true programmes as a file."""
    path = tmp_path_factory.mktemp("sets") / "programmes.gmt"
    sets = study.uns["simulation"]["programmes"]
    path.write_text("".join(f"{name}\ttrue\t" + "\t".join(p["genes"]) + "\n" for name, p in sets.items()))
    return path


@pytest.fixture(scope="session")
def asked():
    """What is asked of simulated cells."""
    return {
        "condition": "condition", "control": "healthy", "case": "disease", "donor": "donor", "cell_type": "cell_type",
    }  # fmt: skip


@pytest.fixture(scope="session")
def fitted(study, gmt, asked):
    """All four kinds of change."""
    from scssl.tasks import Comparer

    pytest.importorskip("pydeseq2")
    return Comparer(use_rep="X_rep", programmes=gmt).fit(study, **asked)
