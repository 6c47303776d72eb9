"""Tables of a study, from predictions made up here."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from scssl.study.methods import ANY, list_methods
from scssl.study.outcome import Results, Setting, table_of_scores
from scssl.study.plan import Plan


def test_on_a_share_of_the_corpus_stands_only_what_was_trained_on_it():
    rng = np.random.default_rng(0)
    codes, donors = rng.integers(0, 3, 120), np.repeat(np.arange(6), 20)
    target = SimpleNamespace(codes=codes, classes=["a", "b", "c"], donors=donors, n_cells=120)
    plan = Plan(
        pretexts=("masked", "byol"), controls=(), modes=("probe", "scratch"), baselines=("logistic",), seeds=(0,),
        fractions=(0.1, 1.0), n_resamples=100,
    )  # fmt: skip
    whole, part = (Setting("donor", "excluded", 0, share) for share in (1.0, 0.1))
    guess = rng.integers(0, 3, (1, 120))
    predicted = {
        ("masked:probe", whole): codes[None],
        ("masked:probe", part): guess,
        ("byol:probe", whole): codes[None],
        ("scratch", whole._replace(arm=ANY)): guess,
        ("logistic", whole._replace(arm=ANY)): guess,
    }
    results = Results(
        target=target, splits=[SimpleNamespace(scheme="donor", test=np.arange(120))], plan=plan,
        methods=list_methods(plan), jobs=None, predicted=predicted,
    )  # fmt: skip
    table = table_of_scores(results).set_index(["corpus_share", "method"])["macro_f1"]
    assert set(table.loc[1.0].index) == {"masked:probe", "byol:probe", "scratch", "logistic"}
    assert set(table.loc[0.1].index) == {"masked:probe"}
    assert table.loc[(1.0, "byol:probe")] == 1
    assert table.loc[(0.1, "masked:probe")] < 0.6
