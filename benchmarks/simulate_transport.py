"""Optimal transport and flow matching in the pre-trained code, as ways to simulate cells: tried in the benchmark only.

    OMP_NUM_THREADS=1 python -m benchmarks.simulate_transport

Control and case cells of each training type are coupled by exact optimal transport of their codes (equal numbers of
cells, drawn at random). From the pairs is learned how a code moves: by ridge regression of the displacement on the
code, its penalty by leaving types out; or by conditional flow matching (Lipman et al. 2023, arXiv:2210.02747; with
coupled pairs: Tong et al. 2024, arXiv:2302.00482): a network is told where on the straight way between the cells of a
pair it stands, and learns the speed. Cells of the type left out move along. Their mean expression before and after is
read off by a decoder of counts (multinomial, one hidden layer), trained on the codes and counts of the training cells,
or from the nearest measured cells; cells are then made by the count generator that all methods share.

Cell types are left out as in ``benchmarks.simulate``, with its cells, models, seeds and scores.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
import torch
from scipy.optimize import linear_sum_assignment

from benchmarks import protocol
from benchmarks.simulate import SEEDS, models, problems
from benchmarks.simulate_tables import one_setting
from benchmarks.simulate_variants import groups_of
from scssl.tasks.simulate.baselines import latent_shift
from scssl.tasks.simulate.judge import compare
from scssl.tasks.simulate.learn import learn
from scssl.tasks.simulate.predict import Moved, populate
from scssl.tasks.simulate.pseudobulks import PLAIN, SCALE, to_share, to_value
from scssl.tasks.simulate.scoring import score_groups

SETTINGS = {"muscat, type out": "development", "scGen split, type out": "confirmation",
            "simulated, type out": "confirmation"}  # fmt: skip
COUPLED = 300
"""Cells of a type and condition that are coupled, at most."""
PENALTIES = 10.0 ** np.arange(-1, 5)
FLOW = {"width": 128, "steps": 1500, "batch": 256, "rate": 1e-3, "path": 20}
DECODER = {"width": 128, "steps": 500, "batch": 256, "rate": 5e-3}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    args = parser.parse_args()
    begin, rows = time.perf_counter(), []
    for seed, model, _ in models(args.seeds):
        for name in SETTINGS:
            for control, case, cells, folds in problems(name, model, seed=seed):
                known = {"setting": name, "seed": seed, "case": case}
                found = left_out(cells, folds, control=control, case=case, seed=seed)
                rows += [{**known, **row} for row in found]
            print(f"seed {seed}, {name}: {time.perf_counter() - begin:.0f} s", flush=True)
    table = pd.DataFrame(rows)
    settings = {
        str(name): {"role": SETTINGS[str(name)], **one_setting(part, pd.DataFrame())}
        for name, part in table.groupby("setting", sort=False)
    }
    result = {"minutes": round((time.perf_counter() - begin) / 60, 1), "settings": settings}
    protocol.write(
        "simulate_transport", command="OMP_NUM_THREADS=1 python -m benchmarks.simulate_transport", result=result
    )


def left_out(cells, folds, *, control: str, case: str, seed: int) -> list[dict]:
    """Leave out the case cells of each fold, and score all methods on them."""
    is_case, rows = cells.condition == case, []
    for fold in sorted(set(folds[is_case]) & set(folds[~is_case])):
        held = folds == fold
        train = cells.at(~(held & is_case))
        learned = learn(train, control=control, case=case)
        start, truth = cells.at(held & ~is_case), cells.at(held & is_case)
        known, _ = compare(learned, train=train, control_cells=start, truth=truth, control=control, seed=seed)
        targets, judged = groups_of(learned, start=start, truth=truth)
        more = transported(learned, train=train, control=control, targets=targets, judged=judged, seed=seed)
        rows += [{"fold": fold, **row} for row in known + more]
    return rows


def transported(learned, *, train, control: str, targets, judged, seed: int) -> list[dict]:
    """Score both ways, each with a trained decoder of counts and with the mean of the nearest measured cells."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        starts, ends, of = couplings(train, control=control, seed=seed)
        middle, unit = starts.mean(axis=0), float(starts.std())
        starts, ends = (starts - middle) / unit, (ends - middle) / unit
        decode = fit_decoder((train.codes - middle) / unit, train.counts)
        ways = {"transport": regressed(starts, ends, of), "flow matching": flow(starts, ends)}
        moved = {}
        for name, way in ways.items():
            codes = [(targets.cells.codes[rows] - middle) / unit for _, rows in targets.groups]
            after = [way(points) for points in codes]
            moved[f"{name}, decoder"] = moved_by(
                [decode(b) - decode(a) for a, b in zip(codes, after, strict=True)], targets
            )
            known = (train.codes - middle) / unit
            moved[f"{name}, nearest cells"] = moved_by(
                [latent_shift(a, shift=b - a, known=known, counts=train.counts)
                 for a, b in zip(codes, after, strict=True)], targets
            )  # fmt: skip
    populations = {name: populate(name, moved, targets, learned=learned, seed=seed) for name in moved}
    return [row for row in score_groups(judged, populations, seed=seed) if row["method"] in moved]


def couplings(train, *, control: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return codes of coupled control and case cells, type by type, and the number of the type."""
    rng, starts, ends, of = np.random.default_rng([11, seed]), [], [], []
    is_case = train.condition != control
    for number, name in enumerate(sorted(set(train.types[is_case]) & set(train.types[~is_case]))):
        sides = [np.flatnonzero((train.types == name) & side) for side in (~is_case, is_case)]
        n = min(COUPLED, *map(len, sides))
        before, after = (train.codes[rng.permutation(rows)[:n]].astype(np.float64) for rows in sides)
        cost = ((before[:, None] - after[None]) ** 2).sum(axis=2)
        first, second = linear_sum_assignment(cost)
        starts.append(before[first])
        ends.append(after[second])
        of.append(np.full(n, number))
    return np.concatenate(starts), np.concatenate(ends), np.concatenate(of)


def regressed(starts: np.ndarray, ends: np.ndarray, of: np.ndarray):
    """Return how codes move by ridge regression of displacements on codes; types weigh the same."""
    weight = 1.0 / np.bincount(of)[of]
    change = ends - starts

    def solved(kept: np.ndarray, penalty: float) -> np.ndarray:
        A = np.concatenate([np.ones((kept.sum(), 1)), starts[kept]], axis=1)
        P = penalty * np.diag([0.0] + [1.0] * starts.shape[1]) / 100
        return np.linalg.solve(A.T @ (weight[kept, None] * A) + P, A.T @ (weight[kept, None] * change[kept]))

    def error(penalty: float) -> float:
        total = 0.0
        for fold in np.unique(of):
            B, out = solved(of != fold, penalty), of == fold
            # Of the mean of the type: where single cells go is coupled by chance.
            total += float(((change[out].mean(axis=0) - B[0] - starts[out].mean(axis=0) @ B[1:]) ** 2).sum())
        return total

    best = solved(np.ones(len(of), dtype=bool), min(PENALTIES, key=error) if of.max() > 0 else PENALTIES[-1])
    return lambda points: points + best[0] + points @ best[1:]


def flow(starts: np.ndarray, ends: np.ndarray):
    """Return how codes move along a flow learned from coupled pairs."""
    width = starts.shape[1]
    net = torch.nn.Sequential(
        torch.nn.Linear(width + 1, FLOW["width"]), torch.nn.SELU(),
        torch.nn.Linear(FLOW["width"], FLOW["width"]), torch.nn.SELU(),
        torch.nn.Linear(FLOW["width"], width),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(net.parameters(), lr=FLOW["rate"], weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, FLOW["steps"])
    first, second = (torch.tensor(part, dtype=torch.float32) for part in (starts, ends))
    for _ in range(FLOW["steps"]):
        rows = torch.randint(len(first), (FLOW["batch"],))
        t = torch.rand(FLOW["batch"], 1)
        a, b = first[rows], second[rows]
        loss = (net(torch.cat([a + t * (b - a), t], dim=1)) - (b - a)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    @torch.no_grad()
    def move(points: np.ndarray) -> np.ndarray:
        x = torch.tensor(points, dtype=torch.float32)
        for step in range(FLOW["path"]):
            t = torch.full((len(x), 1), (step + 0.5) / FLOW["path"])
            x = x + net(torch.cat([x, t], dim=1)) / FLOW["path"]
        return x.numpy().astype(np.float64)

    return move


def fit_decoder(codes: np.ndarray, counts):
    """Return a function from codes to the mean expression that they are decoded to, on the plain scale."""
    n, n_genes = counts.shape
    net = torch.nn.Sequential(
        torch.nn.Linear(codes.shape[1], DECODER["width"]), torch.nn.SELU(), torch.nn.Linear(DECODER["width"], n_genes)
    )
    whole = np.asarray(counts.sum(axis=0), dtype=np.float64).ravel()
    with torch.no_grad():
        net[2].weight *= 0.1
        net[2].bias.copy_(torch.tensor(np.log((whole + 0.5) / whole.sum()), dtype=torch.float32))
    optimizer = torch.optim.AdamW(net.parameters(), lr=DECODER["rate"], weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, DECODER["steps"])
    totals = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    usual = float(np.exp(np.log(totals).mean()))
    points = torch.tensor(codes, dtype=torch.float32)
    for _ in range(DECODER["steps"]):
        rows = torch.randint(n, (DECODER["batch"],))
        y = torch.tensor(counts[rows.numpy()].toarray(), dtype=torch.float32)
        said = (torch.log_softmax(net(points[rows]), dim=1) * y).sum(dim=1)
        # Cells of more counts say more, but no cell many times more.
        loss = -(said / y.sum(dim=1) * y.sum(dim=1).clamp(max=2 * usual)).mean() / usual
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    @torch.no_grad()
    def decode(found: np.ndarray) -> np.ndarray:
        share = torch.softmax(net(torch.tensor(found, dtype=torch.float32)), dim=1).mean(dim=0).double().numpy()
        return np.append(to_value(share, offset=PLAIN), 0.0)

    return decode


def moved_by(changes: list[np.ndarray], targets) -> Moved:
    """Put changes on the plain scale onto the groups' own levels."""
    own = np.stack([group.share for group in targets.bulks])
    change = np.stack(changes)
    share = to_share(to_value(own, offset=PLAIN) + change[:, :-1], offset=PLAIN)
    found = np.log1p(SCALE * share) - np.log1p(SCALE * own)
    return Moved(share=share, log_depth=change[:, -1], change=found, sd=np.full_like(found, np.nan))


if __name__ == "__main__":
    main()
