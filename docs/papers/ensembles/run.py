"""Networks that cost as much as charts: several that are trained on everything, and one that is as wide as all.

python docs/papers/ensembles/run.py --data DATA --out ensembles
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "charts"), str(HERE.parent)]

import papers
import torch
from chart_bench import Figures, of_net
from chart_data import sources
from chart_reading import answers, read, share, whitened
from chart_splits import Data, held_out, trained
from paper_networks import Layers
from papers import Report
from torch import Tensor


@papers.command
def main(report: Report, data: Path, models: Path) -> None:
    """Measure what the page on networks that cost as much as charts tells."""
    given = {name: source() for name, source in sources(report.small, data).items()}
    seeds = range(1 if report.small else 5)
    cases = [(name, seed, networks) for networks in MEASURED for name in given for seed in seeds]
    each = [((given[name],), {"data": name, "seed": seed, "networks": networks}) for name, seed, networks in cases]
    report.parts("networks", measured, each)


def measured(given: Data, data: str, seed: int, networks: str) -> Figures:
    """Yield the figures of one kind of networks, trained on all that is not held out."""
    yield from MEASURED[networks](given, ~held_out(given.y, seed), seed)


def as_many_as_tasks(given: Data, used: Tensor, seed: int) -> Figures:
    """Yield accuracies of as many networks as there are tasks."""
    nets = [trained(given, used, 100 * seed + t) for t in range(given.tasks)]
    yield {"row": "as many networks, end-to-end", "metric": "sha256", "value": papers.digest(*nets)}
    merged = whitened([of_net(given, net) for net in nets], [used] * given.tasks)
    mean = torch.stack([answers(net, given.test) for net in nets]).mean(0)
    rows = {
        "as many networks, end-to-end, whitened": read(given, merged, used, seed),
        "as many networks, end-to-end, mean of their answers": share(given, mean.argmax(1)),
    }
    for row, value in rows.items():
        yield {"row": row, "setting": "any", "metric": "accuracy", "value": value}


def as_wide_as_all(given: Data, used: Tensor, seed: int) -> Figures:
    """Yield the accuracy in the space of one network whose layers are as wide as those of all tasks' together."""
    net = trained(replace(given, layers=wide(given)), used, 100 * seed)
    yield {"row": "network as wide as all", "metric": "sha256", "value": papers.digest(net)}
    value = read(given, of_net(given, net), used, seed)
    yield {"row": "end-to-end, as wide as all", "setting": "any", "metric": "accuracy", "value": value}


def wide(given: Data) -> Callable[[int], Layers]:
    """Return the layers of a network that is as many times as wide as there are tasks, but for its input and output."""

    def layers(classes: int) -> Layers:
        found = [dict(layer) for layer in given.layers(classes)]
        weighty = [layer for layer in found if layer["type"] in ("linear", "conv")]
        for ends, among in (("out", weighty[:-1]), ("in", weighty[1:])):
            for layer in among:
                layer[f"{ends}_{'features' if layer['type'] == 'linear' else 'channels'}"] *= given.tasks
        return found

    return layers


# In this order, as those that take longest must not be left to the end.
MEASURED = {"wide": as_wide_as_all, "several": as_many_as_tasks}

if __name__ == "__main__":
    main()
