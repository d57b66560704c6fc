"""How sure the results of mapped searches are, and what their scores mean: real encoders, two sets, both directions.

    python docs/search/queries.py ../shared/data

measures everything into queries.json. For each ordered pair of encoders a map is fitted on documents; half of the
queries calibrate it, and the other half are figures of the calibrated map. The folder holds vectors/, made by four
public encoders.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import atlas
from atlas import Vectors
from atlas.authors import unit
from atlas.metrics.nearest import nearest
from atlas.numerics.calibration import Calibration, logistic
from atlas.numerics.domain import Domain
from atlas.numerics.moments import Moments
from atlas.storage.files import whole_file

HERE = Path(__file__).parent
ENCODERS = ("use", "wordllama", "e5", "minilm")
# Of each set: documents, queries, pairs to fit on, documents that are searched, queries at most.
SETS = {
    "Cranfield": ("cran-docs", "cran-queries", 700, 700, 225),
    "banking77": ("banking-train", "banking-test", 1000, 2000, 600),
}
# The mapped side, and by which method.
ROLES: dict[str, tuple[str, dict[str, float]]] = {"queries": ("cca", {"ridge": 3.0}), "index": ("kernel", {})}
EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
KNOWN, TRIED = slice(0, None, 2), slice(1, None, 2)


def vectors(data: Path, name: str, encoder: str) -> Vectors:
    """Return vectors of an encoder at length 1."""
    rows = torch.tensor(np.load(data / "vectors" / f"{name}.{encoder}.npy")).float()
    return Vectors.of(unit(rows), encoder, ids=[f"{name}{i}" for i in range(len(rows))])


def world(data: Path, name: str, sides: Sequence[str]) -> list[tuple[Vectors, Vectors]]:
    """Return pairs, documents that are searched, and queries, each of the map's source and of its target."""
    documents, queries, n, searched, most = SETS[name]
    order = torch.randperm(1400, generator=torch.Generator().manual_seed(0))
    if documents.startswith("banking"):
        order = torch.randperm(10003, generator=torch.Generator().manual_seed(0))
    parts = ((documents, order[:n]), (documents, order[n : n + searched]), (queries, torch.arange(most)))
    return [(vectors(data, of, sides[0]).take(rows), vectors(data, of, sides[1]).take(rows)) for of, rows in parts]


def found(made: atlas.Alignment, role: str, documents: Any, asked: Any, k: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores of results through a map, their true scores, and whether the first result is the true one."""
    if role == "queries":
        scores, rows = nearest(made(asked[0].data), [documents[1].data], k)
    else:
        scores, rows = nearest(asked[1].data, [made(documents[0].data)], k)
    true = (documents[1].data[rows] @ asked[1].data[:, :, None])[:, :, 0]
    return scores, true, true[:, 0] >= nearest(asked[1].data, [documents[1].data], 1)[0][:, 0] - 1e-6


def measured(data: Path, name: str, role: str, old: str, new: str) -> dict[str, Any]:
    """Return the figures of one map."""
    sides = (new, old) if role == "queries" else (old, new)
    pairs, documents, asked = world(data, name, sides)
    method, options = ROLES[role]
    made = atlas.fit(method, source=pairs[0], target=pairs[1], **options)
    known, tried = (tuple(side.take(torch.arange(len(side))[half]) for side in asked) for half in (KNOWN, TRIED))
    ways = {
        "queries": {"source": known[0], "target": known[1], "index": documents[1]}
        if role == "queries"
        else {"source": documents[0], "target": documents[1], "queries": known[1]},
        "pairs": {"source": pairs[0], "target": pairs[1], **({"queries": pairs[1]} if role == "index" else {})},
    }
    seen = found(made, role, documents, tried)
    by = {way: told(atlas.calibrate(made, **given).calibration[role], *seen) for way, given in ways.items()}
    other = next(one for one in SETS if one != name)
    calibration = atlas.calibrate(made, **ways["queries"]).calibration[role]
    elsewhere = told(calibration, *found(made, role, *world(data, other, sides)[1:]))
    extra = signals(made, role, pairs, documents, asked) if role == "queries" else {}
    about = {"set": name, "role": role, "old": old, "new": new, "right": float(seen[2].double().mean())}
    return {**about, "by": by, "elsewhere": elsewhere, "signals": extra}


def told(calibration: Calibration, scores: Tensor, true: Tensor, right: Tensor) -> dict[str, Any]:
    """Return the claims of a calibration, beside the truth."""
    chance, y = calibration.chance(scores).double(), right.double()
    thirds = [float(y[part].mean()) for part in chance.argsort(descending=True).tensor_split(3)]
    bins = [(chance >= low) & ((chance < high) | (high == 1)) for low, high in itertools.pairwise(EDGES)]
    return {
        "told": float(chance.mean()), "true": float(y.mean()), "thirds": thirds, "auc": auc(chance, y),
        "brier": float((chance - y).square().mean()), "base": float(y.mean() * (1 - y.mean())),
        "bins": [[int(one.sum()), float(chance[one].sum()), float(y[one].sum())] for one in bins],
        "off": float((scores - true).abs().mean()),
        "off, calibrated": float((calibration.scores(scores) - true).abs().mean()),
    }  # fmt: skip


def auc(told: Tensor, right: Tensor) -> float:
    """Return how often a right result was surer than a wrong one."""
    yes, no = told[right > 0], told[right == 0]
    return float(((yes[:, None] > no).double() + 0.5 * (yes[:, None] == no).double()).mean())


def signals(made: atlas.Alignment, role: str, pairs: Any, documents: Any, asked: Any) -> dict[str, list[float]]:
    """Return AUC and Brier score where a regression sees more than margin and score: leverage, and two half-fits."""
    scores, _, right = found(made, role, documents, asked)
    method, options = ROLES[role]
    halves = [atlas.fit(method, source=pairs[0].take(part), target=pairs[1].take(part), **options)
              for part in torch.arange(len(pairs[0])).split(len(pairs[0]) // 2)]  # fmt: skip
    firsts = [nearest(one(asked[0].data), [documents[1].data], 1)[1][:, 0] for one in (made, *halves)]
    agreed = sum((a == b).double() for a, b in itertools.combinations(firsts, 2))
    X = pairs[0].data.double()
    leverage = Domain.of(Moments.of(X, X, ("xx", "xy"))).leverage(asked[0].data).double().log()
    margin, score = (scores[:, 0] - scores[:, 1] + 1e-4).double().log(), scores[:, 0].double()
    sets = {
        "margin": [margin], "score": [score], "leverage": [leverage], "half-fits": [agreed],
        "margin, score": [margin, score], "margin, score, leverage": [margin, score, leverage],
        "margin, score, half-fits": [margin, score, agreed],
        "all four": [margin, score, leverage, agreed],
    }  # fmt: skip
    made_of = {}
    for name, columns in sets.items():
        X, y = torch.stack(columns, 1), right.double()
        w = logistic(X[KNOWN], y[KNOWN])
        chance = torch.sigmoid(w[0] + X[TRIED] @ w[1:])
        made_of[name] = [auc(chance, y[TRIED]), float((chance - y[TRIED]).square().mean())]
    return made_of


def results() -> list[dict[str, Any]]:
    """Return the figures measured last."""
    return json.loads((HERE / "queries.json").read_text())


def groups() -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """Yield the figures of each mapped side and set."""
    for role, name in itertools.product(ROLES, SETS):
        yield role, name, [r for r in results() if (r["role"], r["set"]) == (role, name)]


def mean(rows: Sequence[dict[str, Any]], *keys: Any) -> float:
    """Return the mean of a figure that lies so deep in each row."""
    values: list[Any] = list(rows)
    for key in keys:
        values = [value[key] for value in values]
    return float(np.mean(values))


def table_of(header: str, rows: Sequence[Sequence[Any]]) -> str:
    """Return a table in Markdown."""
    lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join([f"| {header} |", "|---" * (header.count("|") + 1) + "|", *lines])


def thirds() -> str:
    """Return how often the first result is right by thirds of the chance that is told, and how well it is told."""
    header = (
        "mapped | set | first result right | surest third | middle | least sure | predicted | AUC | Brier | of the mean"
    )
    rows = [
        [role, name, f"{mean(r, 'right'):.2f}", *(f"{mean(r, 'by', 'queries', 'thirds', i):.2f}" for i in range(3)),
         f"{mean(r, 'by', 'queries', 'told'):.2f}",
         *(f"{mean(r, 'by', 'queries', key):.3f}" for key in ("auc", "brier", "base"))]
        for role, name, r in groups()
    ]  # fmt: skip
    return table_of(header, rows)


def reliability() -> str:
    """Return, by the chance that is told, how many queries are told it, and how often it is so."""
    header = "mapped | calibrated on | " + " | ".join(f"{a:.1f} to {b:.1f}" for a, b in itertools.pairwise(EDGES))
    rows = []
    for role, way in itertools.product(ROLES, ("queries", "pairs")):
        bins = np.sum([r["by"][way]["bins"] for r in results() if r["role"] == role], 0)
        gap = float(np.abs(bins[:, 1] - bins[:, 2]).sum() / bins[:, 0].sum())
        cells = [f"{p / max(n, 1):.2f}: {y / max(n, 1):.2f} ({n:,.0f})" for n, p, y in bins]
        rows.append([role, way, *cells, f"{gap:.3f}"])
    return table_of(f"{header} | expected error", rows)


def alternatives() -> str:
    """Return the gain of more signals."""
    names = list(results()[0]["signals"])
    rows = [
        [n, *(f"{mean(r, 'signals', n, i):.3f}" for role, _, r in groups() if role == "queries" for i in (0, 1))]
        for n in names
    ]
    return table_of("signals | Cranfield: AUC | Brier | banking77: AUC | Brier", rows)


def scores() -> str:
    """Return how far scores are from true ones."""
    rows = [
        [role, name, f"{mean(r, 'by', 'queries', 'off'):.3f}",
         *(f"{mean(r, 'by', way, 'off, calibrated'):.3f}" for way in ("pairs", "queries"))]
        for role, name, r in groups()
    ]  # fmt: skip
    return table_of("mapped | set | as they are | calibrated on pairs | on queries", rows)


def elsewhere() -> str:
    """Return the claims about queries and documents of another set."""
    rows = [
        [role, name, *(f"{mean(r, 'elsewhere', key):.2f}" for key in ("told", "true", "off", "off, calibrated"))]
        for role, name, r in groups()
    ]
    return table_of("mapped | fitted and calibrated on | predicted | true | scores off by | calibrated", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("data", type=Path)
    given, made = parser.parse_args(), []
    for one in itertools.product(SETS, ROLES, itertools.permutations(ENCODERS, 2)):
        made.append(measured(given.data, one[0], one[1], *one[2]))
        print(*one[:2], *one[2], f"{made[-1]['right']:.2f}", flush=True)
    with whole_file(HERE / "queries.json") as temporary:
        temporary.write_text(json.dumps(made, indent=None) + "\n")
