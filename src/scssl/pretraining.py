"""`pretrain`: from unlabelled cells to a `CellModel`, in one process or several."""

from __future__ import annotations

import os
import shlex
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from scssl.corpus import Corpus
from scssl.corpus.gather import gather
from scssl.errors import SettingsError
from scssl.interruption import Interrupted, Signals
from scssl.launch import LAUNCHED, launch
from scssl.model import files as model_files
from scssl.model.cell_model import CellModel, load
from scssl.model.init import check_init, gentle, long_enough, take_weights
from scssl.model.run import RunFolder, note_run
from scssl.ranks import Ranks, check_devices
from scssl.training import Config, build_task, choose_config, find_programmes, from_dict, gene_moments, merge
from scssl.training.devices import resolve_device
from scssl.training.loggers import check_loggers
from scssl.training.options import with_advice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from scssl.genes import GenePanel
    from scssl.training.devices import Device
    from scssl.training.loggers import LoggerName


@with_advice
def pretrain(
    data: Corpus | AnnData | Path | str,
    *,
    preset: str | None = None,
    pretext: str | None = None,
    max_epochs: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    config: Path | str | Config | None = None,
    overrides: Sequence[str] = (),
    init: CellModel | Path | str | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    device: Device = "auto",
    devices: int | None = None,
    num_nodes: int | None = None,
    loggers: Sequence[LoggerName] | None = None,
    genes: str | Path | GenePanel | None = None,
    layer: str | None = None,
    source: str | None = None,
    split_by: str | None = None,
) -> CellModel:
    """Pre-train an encoder on unlabelled cells.

    Parameters
    ----------
    data
        Corpus, folder of one, AnnData of raw counts, or a file of one.
    preset
        Settings to start from; `scssl presets` lists them. ``"default"`` by default.
    pretext
        Pretext task; `scssl pretexts` lists them.
    max_epochs, batch_size, seed
        Override the preset's.
    config
        YAML file laid over the preset, or complete settings.
    overrides
        Single settings, ``"a.b=c"`` each, e.g. ``"task.rate=0.25"``; applied last.
    init
        Model to go on from, with its genes and settings, rather than from random weights: to adapt it to the cells of
        a new study, without their labels. By default at a third of its learning rate and for 1,000 steps. Sources that
        it does not know start as one that is not told.
    out
        Folder for the model, its training log and checkpoints; nothing is kept on disk without it.
    overwrite
        Replace what is at `out`.
    resume
        Go on with the interrupted run at `out`, with its settings.
    device
        Where to compute.
    devices
        Processes on this machine that share each batch, one per CUDA device (or several on the cpu). Under torchrun or
        srun those that were started. More than one needs a corpus on disk.
    num_nodes
        Machines, if it is to be checked; what starts the processes (torchrun, srun) decides.
    loggers
        Where the numbers go beside `history.csv`: any of ``"tensorboard"``, ``"wandb"``, ``"mlflow"``, or ``"csv"`` for
        nowhere. By default to TensorBoard, if it is installed.
    genes, layer, source, split_by
        For an AnnData or file: as in `Corpus.build`; genes are ``"human"`` by default, those of `init` if given.
        Without `split_by`, donors are kept apart where ``obs`` has a column ``donor`` with at least two of them, and
        otherwise 5 % of the cells are used for validation.

    Returns
    -------
    CellModel
        With the weights of the best epoch by validation loss.

    Raises
    ------
    ScsslError
        For settings or data that cannot be used.
    Interrupted
        (a `KeyboardInterrupt`) If ended by Ctrl-C, SIGTERM or SIGUSR1; with `out`, a checkpoint was saved, and
        ``resume=True`` goes on from there, with the same result.

    Examples
    --------
    >>> import scssl
    >>> adata = scssl.datasets.simulate_atlas(400, 300)
    >>> model = scssl.pretrain(adata, preset="small", max_epochs=1)
    >>> model.embed(adata).shape
    (400, 32)
    """
    chosen: dict[str, Any] = {
        "preset": preset,
        "pretext": pretext,
        "config": config,
        "overrides": list(overrides) or None,
    }
    chosen |= {"max_epochs": max_epochs, "batch_size": batch_size, "seed": seed}
    files = {"genes": genes, "layer": layer, "source": source, "split_by": split_by}
    first = init if init is None or isinstance(init, CellModel) else load(init)
    if first is not None and genes is None and not _is_corpus(data):
        files["genes"] = first.panel
    ranks = Ranks.current()
    n_processes = check_devices(ranks, devices=devices, num_nodes=num_nodes)
    if ranks.world_size > 1 and out is None:
        message = f"{ranks.world_size} processes need a folder that all of them see; give out="
        raise SettingsError(message)
    run = (
        RunFolder.open(out, overwrite=overwrite, resume=resume)
        if ranks.rank == 0
        else RunFolder(path=Path(out or ""), resume=resume)
    )
    if resume:
        given = [name for name, value in (*chosen.items(), ("init", init)) if value is not None]
        if given:
            message = f"a resumed run keeps its settings; leave out {', '.join(given)}, or start again without --resume"
            raise SettingsError(message)
        settings = from_dict(Config, run.settings(), where=f"{out}/settings.json")
    else:
        if first is not None:
            if preset is not None:
                message = "init brings the settings of its model; leave out preset, or change single ones by overrides"
                raise SettingsError(message)
            if not isinstance(config, Config):
                config = merge(gentle(first.config), config) if config is not None else gentle(first.config)
        settings = choose_config(
            preset=preset,
            config=config,
            pretext=pretext,
            epochs=max_epochs,
            batch_size=batch_size,
            seed=seed,
            overrides=overrides,
        )
    # How long a run that goes on from a model takes is a matter of its cells, unless somebody says it.
    open_end = first is not None and max_epochs is None and not any(o.startswith("training.epochs") for o in overrides)
    # Before a run with `overwrite` empties its folder.
    resolve_device(device)
    check_loggers(loggers)
    if n_processes > 1:
        options = {"device": device, "loggers": loggers, "overwrite": overwrite, "resume": resume, "init": first}
        corpus = gather(data, **files, seed=settings.training.seed)  # type: ignore[arg-type]
        if open_end:
            settings = long_enough(settings, n_cells=corpus.n_cells("train"))
        return _in_processes(n_processes, corpus, settings=settings, out=out, options=options)
    try:
        with Signals():
            return _train(
                data,
                settings,
                run=run,
                rank=ranks.rank,
                device=device,
                resume=resume,
                loggers=loggers,
                files=files,
                first=first,
                open_end=open_end,
            )
    except Interrupted as stop:
        if run.resumable:
            # The processes that `devices` started do not know of it.
            several = ranks.world_size if LAUNCHED in os.environ else devices
            where = {"--device": None if device == "auto" else device, "--devices": several, "--num-nodes": num_nodes}
            stop.advice = _advice(data, out, options={**where, **files})
        raise


def _train(
    data: Corpus | AnnData | Path | str,
    settings: Config,
    *,
    run: RunFolder,
    rank: int,
    device: Device,
    resume: bool,
    loggers: Sequence[LoggerName] | None,
    files: dict[str, Any],
    first: CellModel | None,
    open_end: bool,
) -> CellModel:
    """Train in this process, be it one of several."""
    # Here, because Lightning takes seconds to import, which those who only start other processes need not wait for.
    from scssl.training import fit

    corpus = gather(data, **files, seed=settings.training.seed)
    out = run.path
    if out and corpus.path is not None and out.resolve().is_relative_to(corpus.path.resolve()):
        message = f"{out} is inside the corpus {corpus.path}; choose another folder for the model"
        raise SettingsError(message)
    if first is not None:
        check_init(first, settings, corpus.panel)
    if open_end:
        settings = long_enough(settings, n_cells=corpus.n_cells("train"))
    programmes = model_files.read_programmes(out, corpus.panel) if resume and out else find_programmes(settings, corpus)
    task = build_task(settings, n_genes=len(corpus.panel), n_sources=len(corpus.sources), programmes=programmes)
    if not resume:
        mean, variance = gene_moments(corpus, target_sum=settings.target_sum)
        task.start_from(gene_mean=mean, gene_variance=variance, gene_share=torch.from_numpy(corpus.gene_share()))
        if first is not None:
            take_weights(task, first, sources=corpus.sources)

    started = time.time()
    # The first of several processes writes for all.
    written = out if rank == 0 else None
    with tempfile.TemporaryDirectory() as scratch:
        # What goes to a server passes through a folder; else a run that nobody can go on with needs none.
        directory = out or (Path(scratch) if set(loggers or ()) - {"csv"} else None)
        if written is not None:
            run.begin(asdict(settings), corpus_id=corpus.fingerprint)
            if programmes is not None and not resume:
                programmes.save(written / model_files.PROGRAMMES, panel=corpus.panel)
        try:
            result = fit(task, corpus, settings, directory=directory, device=device, resume=resume, loggers=loggers)
        except BaseException:
            if written is not None:
                run.leave()
            raise
        card = model_files.card(corpus, settings, asdict(result), started=started)
        if first is not None:
            card["init"] = {"data": first.card.get("data", {}), "training": first.card.get("training", {})}
        model = CellModel(task=task, panel=corpus.panel, config=settings, sources=list(corpus.sources), card=card)
        if written is not None:
            model.save(written, overwrite=True)
            run.finish()
            note_run(written, model, corpus)
    return model


def _in_processes(
    n: int, corpus: Corpus, *, settings: Config, out: Path | str | None, options: dict[str, Any]
) -> CellModel:
    """Train in several new processes, and read the model that they leave."""
    if corpus.path is None:
        message = (
            f"devices={n}: several processes need a corpus on disk that each can read; build one with: "
            "scssl corpus build FILE --out DIR"
        )
        raise SettingsError(message)
    with tempfile.TemporaryDirectory() as scratch:
        folder = str(out or f"{scratch}/model")
        arguments = {"data": str(corpus.path), "out": folder, **options}
        if options["init"] is not None:
            options["init"].save(f"{scratch}/init")
            arguments["init"] = f"{scratch}/init"
        if not options["resume"]:
            arguments["config"] = asdict(settings)
        launch("scssl.pretraining:be_one_of_several", [arguments] * n)
        return CellModel.load(folder)


def _is_corpus(data: Corpus | AnnData | Path | str) -> bool:
    """Whether the genes of the cells are settled already."""
    return isinstance(data, Corpus) or (isinstance(data, str | Path) and (Path(data) / "corpus.json").is_file())


def be_one_of_several(*, config: dict[str, Any] | None = None, **arguments: Any) -> None:
    """Pre-train as one of the processes that `pretrain` starts.

    Parameters
    ----------
    config
        Settings as plain values; None to resume.
    **arguments
        Of `pretrain`.
    """
    pretrain(config=None if config is None else from_dict(Config, config), **arguments)


def _advice(data: Any, out: Path | str | None, *, options: dict[str, Any]) -> str:
    """Return how an interrupted run goes on."""
    if not isinstance(data, str | Path):
        path = getattr(data, "path", None)
        if path is None:
            return f"go on with: scssl.pretrain(..., out={str(out)!r}, resume=True)"
        data = path
    words = ["scssl", "pretrain", str(data), "--out", str(out), "--resume"]
    for name, value in options.items():
        if value is not None:
            words += [name if name.startswith("--") else f"--{name.replace('_', '-')}", str(value)]
    return f"go on with: {shlex.join(words)}"
