"""The work of a study: networks pre-trained, embeddings made, methods fitted; each piece alone, with fixed threads."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from scssl.log import logger
from scssl.study.baselines import Fit, PCAEncoder, get_baseline
from scssl.study.baselines.pca_methods import COMPONENTS, nearest_labels, probe_labels
from scssl.study.methods import Job, Method, Network, network_of
from scssl.study.splits import draw_labelled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from scssl.corpus import Corpus
    from scssl.study.plan import Plan
    from scssl.study.splits import Split
    from scssl.study.store import Store
    from scssl.study.target import Target
    from scssl.training import Config
    from scssl.training.trainer import Device


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """All that a piece of work may need; the same in every process."""

    store: Store
    plan: Plan
    target: Target
    splits: list[Split]
    methods: dict[str, Method]
    corpora: dict[tuple[str, float], Corpus] = field(default_factory=dict)
    """By arm and share of the cells."""
    device: Device = "cpu"
    threads: int = 1

    @property
    def folder(self) -> Path:
        """Folder of the study."""
        return self.store.folder

    def model_folder(self, network: Network) -> Path:
        """Return where a network is kept."""
        return self.folder / "models" / network.key

    def space_file(self, network: Network) -> Path:
        """Return where the target's embedding is kept."""
        return self.folder / "embeddings" / f"{network.key}.npy"

    def done(self, network: Network) -> bool:
        """Say whether a network and its embedding are there."""
        kept = network.pretext == "pca" or (self.model_folder(network) / "config.json").is_file()
        return kept and self.space_file(network).is_file()


def make_network(work: Work, network: Network) -> None:
    """Pre-train a network, or go on with one that was interrupted, and embed the target's cells."""
    if work.done(network):
        return
    with limited(work.threads):
        rows = np.arange(work.target.n_cells)
        corpus = work.corpora[(network.arm, network.fraction)]
        if network.pretext == "pca":
            encoder: Any = PCAEncoder(corpus.panel, n_components=COMPONENTS, genes=work.target.genes, seed=network.seed)
            space = encoder.fit(corpus).embed(work.target.anndata(rows))
        else:
            space = _pretrained(work, network, corpus).embed(work.target.anndata(rows), device=work.device)
        file = work.space_file(network)
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.tmp.npy")
        np.save(temporary, space.astype(np.float32))
        temporary.replace(file)


def _pretrained(work: Work, network: Network, corpus: Corpus) -> Any:
    from scssl import load, pretrain
    from scssl.model.run import RunFolder

    folder = work.model_folder(network)
    if (folder / "config.json").is_file():
        return load(folder)
    resumable = (folder / RunFolder.CHECKPOINTS / "last.ckpt").is_file()
    if resumable:
        return pretrain(corpus, out=folder, resume=True, device=work.device)
    config = network_config(work.plan, network.pretext, seed=network.seed)
    return pretrain(corpus, config=config, out=folder, overwrite=True, device=work.device)


def network_config(plan: Plan, pretext: str, *, seed: int) -> Config:
    """Return the settings of a network.

    Parameters
    ----------
    plan
        What is studied. Its settings of the pretext task, ``task.a=b``, are for the first task alone.
    pretext
        Pretext task.
    seed
        Seed of the network.

    Raises
    ------
    SettingsError
        If there is no such preset, task or setting.
    """
    from scssl.pretext import get_task
    from scssl.training import choose_config, from_dict

    given = [o for o in plan.overrides if pretext == plan.pretexts[0] or not o.strip().startswith("task.")]
    # Labels of the corpus are no part of this.
    given.append("training.probe_every=1000000")
    config = choose_config(preset=plan.preset, pretext=pretext, epochs=plan.epochs, seed=seed, overrides=given)
    from_dict(get_task(pretext).record.settings, config.task, where="task")
    return config


def fit_job(work: Work, job: Job) -> None:
    """Fit one method on the labelled cells of a split, name the test cells, and write what came out."""
    if work.store.has(job, n_test=len(work.splits[job.split].named)):
        return
    split, method = work.splits[job.split], work.methods[job.method]
    key = (job.seed, job.split, job.labels)
    train = draw_labelled(split.train, work.target.codes, n_labels=job.labels or None, key=key)
    network = network_of(job, method, work.plan)
    space = None if network is None or method.mode in {"finetune", "scratch"} else np.load(work.space_file(network))
    fit = Fit(
        target=work.target, train=train, unlabelled=split.train, test=split.named, seed=job.seed, space=space,
        device=work.device,
    )  # fmt: skip
    started = time.perf_counter()
    try:
        with limited(work.threads):
            predicted = _predict(work, method, fit, network)
    except Exception as error:
        if method.baseline not in work.plan.extras:
            raise
        # Of another package, which may not fit the versions here: that must not cost the study.
        work.store.fail(job, f"{type(error).__name__}: {error}")
        return
    work.store.write(
        job,
        predicted=predicted,
        method=job.method,
        arm=job.arm,
        seed=job.seed,
        split=split.name,
        scheme=split.scheme,
        labels=job.labels,
        fraction=job.fraction,
        n_train=len(train),
        n_test=len(split.test),
        seconds=round(time.perf_counter() - started, 2),
    )


def _predict(work: Work, method: Method, fit: Fit, network: Network | None) -> NDArray[np.int64]:
    if method.baseline:
        return get_baseline(method.baseline).predict(fit)
    assert network is not None
    if method.mode == "zero_shot" or method.mode == "probe":
        assert fit.space is not None
        train, test = fit.space[fit.train], fit.space[fit.test]
        if method.mode == "zero_shot":
            return nearest_labels(train, fit.codes, test)
        return probe_labels(train, fit.codes, test, n_classes=fit.n_classes)
    return _tuned(work, method, fit, network)


def _tuned(work: Work, method: Method, fit: Fit, network: Network) -> NDArray[np.int64]:
    """Fine-tune, or train from scratch, as the annotator does; validation cells come from the training donors."""
    from scssl.model.cell_model import load
    from scssl.tasks.annotate.finetune import tune
    from scssl.training.finetuning import FineTuning

    target = fit.target
    present, local = np.unique(fit.codes, return_inverse=True)
    if len(present) == 1:
        return np.full(len(fit.test), present[0], dtype=np.int64)
    names, donors = np.unique(target.donors[fit.train], return_inverse=True)
    tuned = tune(
        load(work.model_folder(network)),
        target.anndata(fit.train),
        layer=None,
        kept=np.ones(len(fit.train), dtype=bool),
        codes=local.astype(np.int64),
        classes=[target.classes[code] for code in present],
        donors=donors.astype(np.int64) if len(names) > 1 else None,
        name=target.file,
        settings=FineTuning(),
        class_weight="balanced",
        from_scratch=method.mode == "scratch",
        seed=fit.seed,
        device=work.device,
    )
    space = tuned.model.embed(target.anndata(fit.test), device=work.device)
    found: NDArray[np.int64] = present[tuned.head.log_scores(space).argmax(axis=1)]
    return found


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """Work with a fixed number of threads and without a word: how many jobs run beside must not change a result."""
    import torch
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    before, level = torch.get_num_threads(), logger.level
    torch.set_num_threads(threads)
    logger.setLevel(logging.ERROR)
    try:
        with threadpool_limits(threads):
            yield
    finally:
        logger.setLevel(level)
        torch.set_num_threads(before)
