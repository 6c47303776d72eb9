"""Networks as the paper published them, written out in plain torch."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

WIDTHS = (512, 512, 256, 256, 64)


def plain(*widths):
    """Linear layers with SELU and dropout between them."""
    layers = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.SELU(), nn.Dropout(0.1)]
    return nn.Sequential(*layers[:-2])


class Masked(nn.Module):
    """The masked autoencoder: its decoder ends in a sigmoid."""

    def __init__(self, n_genes):
        super().__init__()
        self.encoder = plain(n_genes, *WIDTHS)
        self.decoder = nn.Sequential(plain(*reversed(WIDTHS), n_genes), nn.Sigmoid())


class Byol(nn.Module):
    """Names of BYOL, whose online network holds the inner model as well."""

    def __init__(self, n_genes):
        super().__init__()
        self.inner_model = plain(n_genes, *WIDTHS)
        self.byol = nn.Module()
        self.byol.net = self.inner_model
        self.byol.online_predictor = nn.Linear(8, 8)


class Barlow(nn.Module):
    """Names of Barlow Twins, saved as bare weights."""

    def __init__(self, n_genes):
        super().__init__()
        self.backbone = plain(n_genes, *WIDTHS)
        self.projector = nn.Sequential(nn.Linear(64, 8, bias=False), nn.BatchNorm1d(8))
        self.bn = nn.BatchNorm1d(8, affine=False)


def lightning(network, **more):
    """What Lightning puts into a checkpoint of a network that took one step."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    sum(p.square().sum() for p in network.parameters()).backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.9)
    return {
        "epoch": 1,
        "global_step": 1,
        "pytorch-lightning_version": "2.0.1",
        "state_dict": network.state_dict(),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": {"best_model_score": torch.tensor(0.3)}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [schedule.state_dict()],
        **more,
    }
