"""What is said of a study's time before it starts."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp

from scssl.study.estimate import OTHERS, estimate
from scssl.study.methods import Job, list_methods
from scssl.study.plan import PLANS, Plan


def seconds(name, *, n_train=5000, workers=1):
    plan = Plan()
    methods = {method.name: method for method in list_methods(plan)}
    methods |= {other: SimpleNamespace(name=other, mode=None) for other in OTHERS}
    target = SimpleNamespace(
        panel=range(2000), genes=np.ones(2000, dtype=bool), classes=["a", "b"], counts=sp.csr_matrix((6000, 2000))
    )
    work = SimpleNamespace(plan=plan, target=target, splits=[SimpleNamespace(train=range(n_train))], methods=methods)
    jobs = [Job(method=name, arm="any", seed=seed, split=0, labels=0, fraction=1.0) for seed in range(50)]
    number, unit = re.search(r"about (\d+) (s|min)", estimate(work, [], jobs, workers=workers)).groups()
    return int(number) * (60 if unit == "min" else 1)


def test_other_packages_are_counted():
    assert set(OTHERS) == set(PLANS["full"].extras)
    for name in OTHERS:
        assert seconds(name) > seconds("pca_knn")
    assert seconds("scanvi") > seconds("scvi") > seconds("celltypist")
    assert seconds("scanvi") > seconds("scanvi", n_train=500)


def test_processes_share_the_work():
    assert seconds("scanvi", workers=2) == pytest.approx(seconds("scanvi") / 2, rel=0.05)
