"""The methods that a plan compares, and which of them are run with which labels, arms and amounts of cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from scssl.study.baselines import get_baseline

if TYPE_CHECKING:
    from scssl.study.plan import Mode, Plan
    from scssl.study.splits import Split

Group = Literal["pre-trained", "scratch", "control", "baseline"]
SCRATCH = "scratch"
ANY = "any"
"""Stands for the arm of methods that see no corpus: they are the same in all."""
_MODES = {"zero_shot": "kNN", "probe": "logistic regression", "finetune": "fine-tuned"}


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to name cells."""

    name: str
    title: str
    """Name in tables."""
    group: Group
    pretext: str = ""
    """Pretext task of the network, for methods that use one."""
    mode: Mode | None = None
    baseline: str = ""

    @property
    def sees_corpus(self) -> bool:
        """Whether what it does depends on the corpus."""
        if self.baseline:
            return get_baseline(self.baseline).needs == "corpus"
        return self.group != "scratch"


@dataclass(frozen=True, kw_only=True, order=True)
class Job:
    """One method, fitted once."""

    method: str
    arm: str
    seed: int
    split: int
    """Position in the list of splits."""
    labels: int
    """Labelled cells per type; 0 for all."""
    fraction: float
    """Share of the corpus' cells in pre-training."""

    @property
    def key(self) -> str:
        """Name of its result's file."""
        name = self.method.replace(":", "-")
        told = self.labels or "all"
        return f"{name}_{self.arm}_seed{self.seed}_split{self.split}_labels-{told}_cells-{self.fraction:g}"


@dataclass(frozen=True, kw_only=True, order=True)
class Network:
    """One pre-trained network, or one embedding made on the corpus (``pca``)."""

    pretext: str
    arm: str
    seed: int
    fraction: float

    @property
    def key(self) -> str:
        """Name of its folder."""
        return f"{self.pretext}_{self.arm}_seed{self.seed}_cells-{self.fraction:g}"


def list_methods(plan: Plan) -> list[Method]:
    """List what a plan compares, pre-trained networks first."""
    found = [
        _network(pretext, mode, "pre-trained") for pretext in plan.pretexts for mode in plan.modes if mode != SCRATCH
    ]
    found.append(Method(name=SCRATCH, title="same network from scratch", group="scratch", mode="scratch"))
    for pretext in plan.controls:
        found += [_network(pretext, mode, "control") for mode in ("zero_shot", "probe") if mode in plan.modes]
    for name in (*plan.baselines, *plan.extras):
        record = get_baseline(name)
        if record.installed:
            found.append(Method(name=name, title=record.title, group="baseline", baseline=name))
    return found


def _network(pretext: str, mode: Mode, group: Group) -> Method:
    known = {"none": "random network", "autoencoder": "autoencoder, nothing hidden"}
    title = f"{known.get(pretext, f'pre-trained ({pretext})')}, {_MODES[mode]}"
    return Method(name=f"{pretext}:{mode}", title=title, group=group, pretext=pretext, mode=mode)


def list_jobs(plan: Plan, methods: list[Method], splits: list[Split]) -> list[Job]:
    """List every fit of a plan.

    All methods are fitted with all labels. Fewer labels and fewer cells to pre-train on are for the first pretext task,
    scratch and the baselines of this package; data sets left out are for all labels.
    """
    jobs = set()
    most = max(plan.labels, key=_many)
    for method in methods:
        arms = plan.arms if method.sees_corpus else (ANY,)
        curve = method.baseline not in plan.extras and method.pretext in {"", plan.pretexts[0], "none"}
        for arm in arms:
            for seed in plan.seeds:
                for number, split in enumerate(splits):
                    whole = split.scheme == "data set"
                    for n in (most,) if whole or not curve else plan.labels:
                        jobs.add(_job(method, arm, seed, number, n, 1.0))
                    if method.group == "pre-trained" and method.pretext == plan.pretexts[0] and not whole:
                        for share in plan.fractions:
                            jobs.add(_job(method, arm, seed, number, most, share))
    return sorted(jobs)


def _job(method: Method, arm: str, seed: int, split: int, n: int | None, share: float) -> Job:
    return Job(method=method.name, arm=arm, seed=seed, split=split, labels=n or 0, fraction=share)


def _many(n: int | None) -> float:
    return float("inf") if n is None else n


def network_of(job: Job, method: Method, plan: Plan) -> Network | None:
    """Return the network or embedding that a job needs, if any."""
    if method.group == "scratch":
        # Only its shape is used, and the random network has it.
        return Network(pretext="none", arm=plan.arms[0], seed=job.seed, fraction=1.0)
    if method.pretext:
        return Network(pretext=method.pretext, arm=job.arm, seed=job.seed, fraction=job.fraction)
    if get_baseline(method.baseline).space:
        return Network(pretext=get_baseline(method.baseline).space, arm=job.arm, seed=job.seed, fraction=1.0)
    return None


def list_networks(jobs: list[Job], methods: list[Method], plan: Plan) -> list[Network]:
    """List the networks and embeddings that some jobs need, those that take longest first."""
    by_name = {method.name: method for method in methods}
    found = {network_of(job, by_name[job.method], plan) for job in jobs} - {None}
    quick = {"none", "pca"}
    return sorted((n for n in found if n is not None), key=lambda n: (n.pretext in quick, -n.fraction, n))
