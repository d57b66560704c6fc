"""What charts are held against: no network, untrained and longer trained ones, sums; one chart more.

python docs/papers/controls/run.py --data DATA --out controls
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "charts"), str(HERE.parent)]

import papers
from chart_bench import Figures, Split, of_net
from chart_data import CODE, sources
from chart_reading import answers, read, share, whitened
from chart_splits import Data, Setting, apart, held_out, passes, settings, trained, untrained
from chart_tasks import TASKS, added_up, head_on_all, in_one_atlas
from papers import Report

# Training ends when validation has not been better for so many passes, or after so many times the usual passes.
PATIENCE, LONGEST = 5, 3
Pair = tuple[torch.nn.Sequential, torch.nn.Sequential]


@papers.command
def main(report: Report, data: Path, models: Path) -> None:
    """Measure what the page on controls tells."""
    given = {name: source() for name, source in sources(report.small, data).items()}
    cases = [(name, seed) for name in given for seed in range(1 if report.small else 5)]
    each = [((given[name],), {"data": name, "seed": seed}) for name, seed in cases]
    report.parts("controls", controls, each)
    report.parts("tasks", one_by_one, [case for case in each if case[1]["data"] != "CIFAR-10"])


def frozen(given: Data, used: Tensor) -> Split:
    """Return what all networks read; of images the first principal components of pixels, as many as a code is wide."""
    if not given.flips:
        return Split(given.X, given.test)
    mean = given.X[used].mean(0)
    directions = torch.linalg.eigh(torch.cov(given.X[used].T))[1][:, -CODE:]
    return Split(given.X, given.test).map(lambda X: (X - mean) @ directions)


def controls(given: Data, data: str, seed: int) -> Figures:
    """Yield accuracies of the kernel head on each space, where tasks share samples and where they share nothing."""
    validation = held_out(given.y, seed)
    used = ~validation
    base = frozen(given, used)
    first, longer = long_enough(given, used, validation, 100 * seed)
    whole, enough = of_net(given, first), of_net(given, longer)
    spaces = {
        "no network": base,
        "no network, whitened": whitened([base], [used]),
        "end-to-end": whole,
        "end-to-end, whitened": whitened([whole], [used]),
        "end-to-end, until validation says enough": enough,
        "end-to-end, until validation says enough, whitened": whitened([enough], [used]),
        "end-to-end and no network, whitened": whitened([whole, base], [used, used]),
    }
    right = {row: read(given, merged, used, seed) for row, merged in spaces.items()}
    right["end-to-end, its own answers"] = share(given, answers(first, given.test).argmax(1))
    sums = from_sums(base.train[used], given.y[used], base.test)
    right |= {row: share(given, predicted) for row, predicted in sums.items()}
    for row, value in right.items():
        yield {"row": row, "setting": "any", "metric": "accuracy", "value": value}
    yield {"row": "end-to-end", "metric": "sha256", "value": papers.digest(first)}
    for setting in settings(given, validation, seed):
        if setting.name != "shared classes":
            pairs = networks_of_tasks(given, setting, validation, seed)
            named = papers.digest(*itertools.chain(*pairs))
            yield {"row": "networks of tasks", "setting": setting.name, "metric": "sha256", "value": named}
            for row, merged in of_tasks(given, setting, base, pairs, validation, seed).items():
                value = read(given, merged, used, seed)
                yield {"row": row, "setting": setting.name, "metric": "accuracy", "value": value}


def networks_of_tasks(given: Data, setting: Setting, validation: Tensor, seed: int) -> list[Pair]:
    """Return the network of each task as it is trained in the paper, and longer."""
    kept = validation[:, None] & setting.member
    return [long_enough(given, rows, kept[:, t], 100 * seed + 10 + t) for t, rows in enumerate(setting.own.T)]


def of_tasks(
    given: Data, setting: Setting, base: Split, pairs: Sequence[Pair], validation: Tensor, seed: int
) -> dict[str, Split]:
    """Return the atlases of tasks' networks as they are trained in the paper, longer, and not at all."""
    own = list(setting.own.T)
    tasks, longer = ([of_net(given, net) for net in nets] for nets in zip(*pairs, strict=True))
    return {
        "whitened": whitened(tasks, own),
        "whitened, untrained networks": whitened(before_training(given, len(own), seed), own),
        "whitened, until validation says enough": whitened(longer, own),
        "whitened, and no network": whitened([*tasks, base], [*own, ~validation]),
    }


def long_enough(given: Data, rows: Tensor, kept: Tensor, seed: int) -> Pair:
    """Return a network after the usual passes over some rows, and as it was when it got most of the kept rows right."""
    present, best, since = given.y[rows].unique(), -1, 0
    for done, net in enumerate(passes(given, rows, seed), 1):
        with torch.no_grad():
            right = int((present[net(given.X[kept]).argmax(1)] == given.y[kept]).sum())
        if right > best:
            best, since, chosen = right, done, deepcopy(net)
        if done == given.epochs:
            usual = deepcopy(net)
        if done >= given.epochs and done >= min(since + PATIENCE, LONGEST * given.epochs):
            break
    return usual, chosen


def one_by_one(given: Data, data: str, seed: int) -> Figures:
    """Yield accuracies after each task that comes, and of clients, with trained networks and without."""
    validation = held_out(given.y, seed)
    order = torch.randperm(given.classes, generator=torch.Generator().manual_seed(3000 + seed))
    setting = apart(order, TASKS, given, validation, torch.empty(0, dtype=torch.int64), "one by one")
    base = frozen(given, ~validation)
    nets = [trained(given, own, 100 * seed + 10 + t) for t, own in enumerate(setting.own.T)]
    yield {"row": "networks, one by one", "metric": "sha256", "value": papers.digest(*nets)}
    spaces = {
        "trained networks": [of_net(given, net) for net in nets],
        "untrained networks": before_training(given, TASKS, seed),
        "no network": [base],
    }
    for t in range(TASKS):
        old, new = (m[:, : t + 1].any(1) for m in (setting.own, setting.test_member))
        found = {row: head_on_all(given, setting, among[: t + 1], old, new, seed) for row, among in spaces.items()}
        found |= from_sums(base.train[old], given.y[old], base.test[new])
        for row, predicted in found.items():
            value = float((predicted == given.test_y[new]).double().mean())
            yield {"row": row, "task": t + 1, "metric": "accuracy", "of": "classes so far", "value": value}
    merged = {row: in_one_atlas(setting, among) if len(among) > 1 else among[0] for row, among in spaces.items()}
    found = {row: added_up(given, setting, among) for row, among in merged.items()}
    found |= from_sums(base.train[~validation], given.y[~validation], base.test)
    for row, predicted in found.items():
        yield {"row": row, "metric": "accuracy", "of": "clients", "value": share(given, predicted)}


def before_training(given: Data, count: int, seed: int) -> list[Split]:
    """Return the vectors of networks as they are before training."""
    return [of_net(given, untrained(given, given.classes, seed + t)) for t in range(count)]


def from_sums(X: Tensor, y: Tensor, test: Tensor) -> dict[str, Tensor]:
    """Return the classes predicted from no more than sums over items: their classes' means, and one covariance."""
    X, test, present = X.double(), test.double(), y.unique()
    centres = torch.stack([X[y == c].mean(0) for c in present])
    within = X - centres[torch.searchsorted(present, y)]
    spread = torch.cov(within.T) + 1e-4 * X.var() * torch.eye(X.shape[1]).double()
    directions = torch.linalg.solve(spread, centres.T)
    scores = test @ directions - (centres.T * directions).sum(0) / 2
    return {
        "no network, nearest class mean": present[torch.cdist(test, centres).argmin(1)],
        "no network, linear discriminants": present[scores.argmax(1)],
    }


if __name__ == "__main__":
    main()
