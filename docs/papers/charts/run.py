"""From charts to atlas (Crisostomi et al., 2023): three settings, with and without an oracle; tasks that come, clients.

python docs/papers/charts/run.py --data DATA --out charts
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import chart_pictures
import papers
from chart_bench import Bench, Figures, Split, combined, of_net, through
from chart_data import sources
from chart_splits import Data, held_out, settings, trained
from chart_tasks import tasks_and_clients
from papers import Report

import atlas
from atlas import metrics
from atlas.models.heads import HEADS

# Charts of the same item are weighed at these temperatures; without one they are not.
TEMPERATURES = {"whitened": None, "whitened, weighed": 2.0, "whitened, weighed more": 1.0}


@papers.command
def main(report: Report, data: Path, models: Path) -> None:
    """Measure everything that the page on relative latent space aggregation tells."""
    report.out.mkdir(parents=True, exist_ok=True)
    seeds = [0] if report.small else [0, 1, 2]
    read = sources(report.small, data)
    cases = [(name, seed) for name in read for seed in seeds]
    report.parts("settings", three_settings, [((read[n], report.out), {"data": n, "seed": seed}) for n, seed in cases])
    cases = [(name, seed) for name, seed in cases if name != "CIFAR-10"]
    report.parts("tasks", tasks_and_clients, [((read[n],), {"data": n, "seed": seed}) for n, seed in cases])
    chart_pictures.draw(report.out, report.results)


def three_settings(read: Callable[[], Data], out: Path, data: str, seed: int) -> Figures:
    """Yield what is measured in each of the settings."""
    given = read()
    validation = held_out(given.y, seed)
    nets = [trained(given, ~validation, 100 * seed + i) for i in range(given.tasks)]
    yield {"row": "end-to-end", "metric": "sha256", "value": papers.digest(*nets)}
    everything = [of_net(given, net) for net in nets]
    for setting in settings(given, validation, seed):
        nets = [trained(given, own, 100 * seed + 10 + t) for t, own in enumerate(setting.own.T)]
        yield {"setting": setting.name, "row": "tasks", "metric": "sha256", "value": papers.digest(*nets)}
        tasks = [of_net(given, net) for net in nets]
        bench = Bench(given, setting, validation, tasks, everything, seed)
        for figure in measured(bench, out / f"spaces-{data}.png" if seed == 0 else None):
            yield {"setting": setting.name, **figure}


def measured(bench: Bench, picture: Path | None) -> Figures:
    """Yield the figures of one setting."""
    told = Split(bench.setting.member, bench.setting.test_member)
    relative = atlas.create(atlas.Aligner, "relative").fit(bench.everything[0].train[bench.setting.anchors])
    networks = bench.everything[: len(bench.tasks)]
    whole = {
        "end-to-end": bench.everything[0],
        "end-to-end, relative": bench.everything[0].map(relative.transform),
        "end-to-end, whitened": whitened_alone(bench),
        "as many networks, end-to-end, whitened": bench.merged("whitened-concat", spaces=networks),
    }
    oracle = {
        "RLSA, told": bench.merged("relative-mean", told),
        "mean of absolute vectors, told": bench.merged("mean", told),
    }
    free = {
        "RLSA": bench.merged("relative-mean"),
        "RLSA, concatenated": bench.merged("relative-concat"),
        "mean of absolute vectors": bench.merged("mean"),
        "absolute vectors, concatenated": bench.merged("concat"),
        **{row: bench.merged("whitened-concat", temperature=t) for row, t in TEMPERATURES.items()},
    }
    yield from plain_rows(bench, {**whole, **oracle, **free}, free)
    yield from naive(bench)
    for row in ("end-to-end", "RLSA, told"):
        yield from told_the_group(bench, f"{row}, told the group", {**whole, **oracle}[row])
    yield from routed(bench, oracle["RLSA, told"], free["whitened"])
    yield from alike(bench, {**whole, **oracle, **free})
    yield from coverage(bench)
    if picture and bench.setting.name == "shared samples":
        shown = {**whole, **oracle, **free}
        rows = ("end-to-end, relative", "RLSA, told", "RLSA", "whitened")
        chart_pictures.draw_spaces(picture, {row: shown[row].test for row in rows}, bench.data.test_y)


def whitened_alone(bench: Bench) -> Split:
    """Return the vectors of the end-to-end network, whitened on what it was trained on."""
    first = bench.everything[0]
    doubled = bench.fitted("whitened-concat", [first, first])
    return first.map(doubled.chart("space-0").transform)


def plain_rows(bench: Bench, spaces: Mapping[str, Split], free: Collection[str]) -> Figures:
    """Yield how well each space is read, by the kernel head and, for those of the paper, by its network.

    For those that need no oracle, which may be chosen among, this is measured on the validation items, too.
    """
    for row, space in spaces.items():
        heads = bench.data.heads if row in ("end-to-end", "RLSA, told", "RLSA", "whitened") else ("kernel",)
        for kind in heads:
            head = bench.read(space, kind)
            yield from bench.accuracies(row, head.predict(space.test) == bench.data.test_y, kind)
            if row in free:
                kept = bench.validation
                value = papers.accuracy(head, space.train[kept], bench.data.y[kept])
                yield {"row": row, "head": kind, "of": "validation", "metric": "accuracy", "value": value}


def naive(bench: Bench) -> Figures:
    """Yield the accuracy of absolute vectors of every task thrown together; each image counts once."""
    member, tested = bench.setting.member & ~bench.validation[:, None], bench.setting.test_member
    X = torch.cat([space.train[rows] for space, rows in zip(bench.tasks, member.T, strict=True)])
    y = torch.cat([bench.data.y[rows] for rows in member.T])
    for kind in bench.data.heads:
        head = HEADS[kind].from_config({"epochs": 12} if kind == "network" else {}).fit(X, y, seed=bench.seed)
        right = torch.stack([head.predict(space.test) == bench.data.test_y for space in bench.tasks], 1)
        yield from bench.accuracies("naive, told", (right & tested).sum(1) / tested.sum(1), kind)


def told_the_group(bench: Bench, row: str, space: Split) -> Figures:
    """Yield the accuracy where only classes of the item's own group are allowed; nothing where that forbids none."""
    if not bool(bench.allowed.all()):
        for kind in bench.data.heads:
            scores = bench.read(space, kind).scores(space.test)
            predicted = scores.masked_fill(~bench.allowed[bench.group.test], -torch.inf).argmax(1)
            yield from bench.accuracies(row, predicted == bench.data.test_y, kind)


def routed(bench: Bench, merged: Split, seen: Split) -> Figures:
    """Yield what is left of RLSA where who knows a test item is predicted, or drawn at random; training was told."""
    head, fitted = bench.read(merged), bench.fitted("relative-mean", bench.tasks)
    predicted = bench.trained(seen, "kernel", bench.group.train).predict(seen.test)
    value = float((predicted == bench.group.test).double().mean())
    yield {"row": "router", "metric": "accuracy", "of": "groups", "value": value}
    chance = torch.Generator().manual_seed(bench.seed)
    random = torch.randint(len(bench.setting.patterns), (len(predicted),), generator=chance)
    for row, group in {"RLSA, routing predicted": predicted, "RLSA, routing random": random}.items():
        Z = combined(fitted, [space.test for space in bench.tasks], bench.setting.patterns[group])
        yield from bench.accuracies(row, head.predict(Z) == bench.data.test_y)


def alike(bench: Bench, spaces: Mapping[str, Split]) -> Figures:
    """Yield CKA with the end-to-end space of the same kind, and how far the novel classes lie apart."""
    common, y = torch.isin(bench.data.test_y, bench.setting.common), bench.data.test_y
    parts = {"total": common | True, **({"shared": common, "novel": ~common} if bool(common.any()) else {})}
    pairs = {
        "RLSA, told": "end-to-end, relative",
        "RLSA": "end-to-end, relative",
        "whitened": "end-to-end, whitened",
        "as many networks, end-to-end, whitened": "end-to-end, whitened",
    }
    for row, reference in pairs.items():
        for of_, rows in parts.items():
            value = metrics.unbiased_cka(spaces[row].test[rows], spaces[reference].test[rows])
            yield {"row": row, "with": reference, "of": of_, "metric": "unbiased-cka", "value": value}
    among = set(y[~common].tolist())
    for row in ("end-to-end", "end-to-end, relative", "RLSA, told", "RLSA", "whitened"):
        value = metrics.separability(spaces[row].test, y, among)
        yield {"row": row, "metric": "separability", "value": value}
    tested = bench.setting.test_member.T
    X = torch.cat([space.test[rows] for space, rows in zip(bench.tasks, tested, strict=True)])
    value = metrics.separability(X, torch.cat([y[rows] for rows in tested]), among)
    yield {"row": "naive, told", "metric": "separability", "value": value}


def coverage(bench: Bench) -> Figures:
    """Yield the mean weight of every chart for the test items of every group, and how often a knower weighs most."""
    fitted: Any = bench.fitted("whitened-concat", bench.tasks, temperature=1.0)
    rows = through(fitted, [space.test for space in bench.tasks])
    weights = fitted.weights(rows, torch.ones(rows.shape[:2], dtype=torch.bool))
    for g, pattern in enumerate(bench.setting.patterns):
        about = {"group": "".join(str(t + 1) for t in pattern.nonzero().flatten().tolist()), "metric": "weight"}
        for t, value in enumerate(weights[bench.group.test == g].mean(0).tolist()):
            yield {**about, "chart": t + 1, "value": value}
    some = ~bench.setting.test_member.all(1)
    heaviest = weights[some].argmax(1, keepdim=True)
    hit = float(bench.setting.test_member[some].gather(1, heaviest).double().mean())
    yield {"metric": "heaviest chart knows the item", "value": hit}


if __name__ == "__main__":
    main()
