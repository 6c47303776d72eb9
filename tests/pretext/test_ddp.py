"""Two processes that share a batch compute the loss and the gradients of one process that has all of it."""

import subprocess
import sys

import pytest
import torch

SCRIPT = """
import sys
from dataclasses import replace
import numpy as np
import scipy.sparse as sp
import torch
from torch import nn
import torch.distributed as dist
from scssl.corpus.batch import CellBatch
from scssl.nn import Architecture, Encoder
from scssl.pretext import get_task
from scssl.training import Config
from scssl.training.module import PretrainModule

torch.set_num_threads(1)
folder, rank, n_ranks = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sizes = {1: [24], 2: [int(n) for n in sys.argv[4].split(",")]}[n_ranks]
counts = sp.csr_matrix(np.random.default_rng(0).negative_binomial(1, 0.2, (24, 40)))
rows = np.arange(sum(sizes[:rank]), sum(sizes[: rank + 1]))


class Loss(PretrainModule):
    def forward(self, batch):
        return self.training_step(batch, 0)


if n_ranks > 1:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=n_ranks)
found = {}
TASKS = {
    "byol": {"projector": (12, 12), "noise": 0.1},
    "barlow_twins": {"projector": (12, 12), "noise": 0.1},
    "vicreg": {"projector": (12, 12), "noise": 0.1},
    "simclr": {"projector": (12, 12), "noise": 0.1},
    "masked": {"rate": 0.3},
    "masked, balanced": {"rate": 0.3, "balance_zeros": True},
    "masked, nb": {"rate": 0.3, "loss": "nb"},
    "autoencoder": {"loss": "zinb"},
    "combined": {"two_view": "simclr", "weight": 0.5},
}
for arm, given in TASKS.items():
    name = arm.partition(",")[0]
    torch.manual_seed(0)
    architecture = Architecture(hidden=(16,), n_latent=8, dropout=0.0, source_dropout=0.0)
    record = get_task(name).record
    settings = record.settings(**given)
    encoder = Encoder(40, architecture)
    task = get_task(name)(encoder, architecture=architecture, n_sources=1, settings=settings)
    loss = Loss(task, Config(), steps_per_epoch=1)
    if n_ranks > 1:
        # As training has it: every parameter gets a gradient in every process, or this would wait or fail.
        loss = nn.parallel.DistributedDataParallel(loss, broadcast_buffers=False)
    # Sources 0 and 1 are on both processes, source 2 on one.
    batch = replace(CellBatch.from_csr(counts[rows], cell=rows), source=torch.from_numpy(rows % 2 + (rows < 3) * 1))
    value = loss(batch)
    value.backward()
    gradients = {key: p.grad for key, p in task.named_parameters() if p.grad is not None}
    found[arm] = {"loss": value.detach(), "gradients": gradients}
torch.save(found, f"{folder}/{n_ranks}-{rank}.pt")
if n_ranks > 1:
    dist.destroy_process_group()
"""


def _run(folder, n_ranks, sizes):
    arguments = [str(n_ranks), ",".join(map(str, sizes))]
    processes = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", SCRIPT, str(folder), str(rank), *arguments])
        for rank in range(n_ranks)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0] * n_ranks
    return [torch.load(folder / f"{n_ranks}-{rank}.pt", weights_only=True) for rank in range(n_ranks)]


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(12, 12), (17, 7)])
def test_two_processes_compute_what_one_does(tmp_path, sizes):
    (whole,) = _run(tmp_path, 1, sizes)
    parts = _run(tmp_path, 2, sizes)
    for name, expected in whole.items():
        losses = torch.stack([part[name]["loss"] for part in parts])
        torch.testing.assert_close(losses.mean(), expected["loss"])
        if name in ("byol", "barlow_twins", "vicreg", "simclr"):
            # Each process knows the loss of the whole batch.
            torch.testing.assert_close(losses[0], losses[1])
        for part in parts:
            gradients = {key: g for key, g in part[name]["gradients"].items() if g.abs().sum() > 0}
            assert gradients.keys() == {key for key, g in expected["gradients"].items() if g.abs().sum() > 0}
            for key, gradient in gradients.items():
                torch.testing.assert_close(gradient, expected["gradients"][key], rtol=1e-4, atol=1e-6)
