"""Better maps for converting an index? Fits that were tried on Cranfield, beside the one that is used.

    python docs/migration/variants.py ../shared/data

measures nDCG@10 of the converted index into variants.json: six changes to a better encoder, 1,000 pairs of the
index's own documents, each document converted by a map that has not seen it. The folder is that of study.py.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import study
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from atlas import create
from atlas.authors import unit
from atlas.components.aligner import Aligner
from atlas.migration.advice import MAPS
from atlas.migration.judgements import relevant
from atlas.migration.scoring import scorer
from atlas.migration.searching import nearest
from atlas.migration.trial import Maps, Pairs, Trial
from atlas.storage.files import whole_file
from atlas.storage.rows import Rows

HERE = Path(__file__).parent
PAIRS, FOLDS = 1000, 5
# Old and new models, the new one being the better.
CHANGES = (
    ("use", "minilm"), ("wordllama", "minilm"), ("use", "wordllama"),
    ("e5", "minilm"), ("use", "e5"), ("wordllama", "e5"),
)  # fmt: skip
# Pairs of documents, and how often each of 112 pairs of queries counts; and the maps that `advise` mostly takes.
WEIGHTS = {
    "documents": (PAIRS, 0),
    "documents, and queries": (PAIRS, 1),
    "documents, and queries counted 3 times": (PAIRS, 3),
    "documents, and queries counted 8 times": (PAIRS, 8),
    "queries": (0, 1),
}
USED: Mapping[str, tuple[str, dict[str, Any]]] = {
    "convert": ("kernel", {"spread": True}),
    "bridge": ("cca", {"ridge": 3.0}),
}
Map = Callable[[Tensor], Tensor]
Fit = Callable[[Tensor, Tensor], Map]
TOLD = {
    "kernel": "`kernel`",
    "shape": "`kernel` with `spread`, as `advise` prefers it",
    "linear": "`linear`, ridge 0.3",
    "log": "`kernel`, half of the queries added as pairs",
    "log, linear": "`linear`, half of the queries added as pairs",
    "rotation": "mean of `kernel` and `procrustes`, at length 1",
    "ensemble": "mean of `kernel`, `linear` and `cca`, at length 1",
    "local": "mixture of eight local ridge maps, each shrunk to the global one",
    "ranking": "`linear`, then 50 steps of gradient on in-batch contrast",
    "residual": "`kernel` on the residuals of `linear`",
    "spread": "`kernel`, rows moved out again in every target",
    "spread, sharp": "likewise, with sharpness 3 and ridge 0.03",
    "whitened": "`kernel` on rows half whitened by the covariance of all old ones",
    "near": "`kernel`, rows drawn by 0.3 to the mean of the five whose old rows are nearest, in the whole index",
    "shape, near": "`kernel` with `spread`, likewise",
}


def fitted(name: str, **options: Any) -> Fit:
    """Return the fit of an aligner."""
    return lambda X, Y: create(Aligner, name, options).fit(X, Y).transform


def mean_of(*fits: Fit) -> Fit:
    """Return the mean of maps, each at length 1."""

    def fit(X: Tensor, Y: Tensor) -> Map:
        maps = [one(X, Y) for one in fits]
        return lambda Z: torch.stack([unit(one(Z)) for one in maps]).mean(0)

    return fit


def local(X: Tensor, Y: Tensor, k: int = 8, sharpness: float = 20.0) -> Map:
    """Return a soft mixture of ridge maps about k centres, each fitted on what the global map leaves."""
    whole = fitted("linear", ridge=0.3)(X, Y)
    centres = X[torch.randperm(len(X), generator=torch.Generator().manual_seed(0))[:k]]
    for _ in range(10):
        nearest_one = (X @ centres.T).argmax(1)
        centres = unit(torch.stack([X[nearest_one == i].mean(0) for i in range(k)]).nan_to_num())
    mean, rest = X.mean(0), Y - whole(X)

    def shares(Z: Tensor) -> Tensor:
        return torch.softmax(sharpness * Z @ centres.T, 1)

    A, parts = X - mean, []
    for w in shares(X).T:
        gram = A.T @ (w[:, None] * A)
        parts.append(
            torch.linalg.solve(gram + gram.diagonal().mean() * torch.eye(len(gram)), A.T @ (w[:, None] * rest))
        )
    return lambda Z: whole(Z) + torch.einsum("nk,nd,kde->ne", shares(Z), Z - mean, torch.stack(parts))


def ranking(X: Tensor, Y: Tensor, steps: int = 50) -> Map:
    """Return the ridge map after steps of gradient on contrast: a mapped row should be nearest to its own partner."""
    made = create(Aligner, "linear", {"ridge": 0.3}).fit(X, Y).state_dict()
    W, b = (made[name].clone().requires_grad_() for name in ("weight", "bias"))
    optimiser, targets = torch.optim.Adam([W, b], lr=1e-3), unit(Y)
    for step in range(steps):
        some = torch.randperm(len(X), generator=torch.Generator().manual_seed(step))[:256]
        scores = targets[some] @ unit(X[some] @ W + b).T / 0.05
        optimiser.zero_grad()
        cross_entropy(scores, torch.arange(len(some))).backward()
        optimiser.step()
    return lambda Z: (Z @ W + b).detach()


def residual(X: Tensor, Y: Tensor) -> Map:
    """Return a linear map, and a kernel on what it leaves."""
    first = fitted("linear", ridge=0.3)(X, Y)
    second = fitted("kernel")(X, Y - first(X))
    return lambda Z: first(Z) + second(Z)


def spread(fit: Fit) -> Fit:
    """Return maps whose rows lie as far from the mean as true ones do on average: a ridge draws uncertain ones in."""

    def made(X: Tensor, Y: Tensor) -> Map:
        one, mean = fit(X, Y), Y.mean(0)
        length = (Y - mean).norm(dim=1).mean()
        return lambda Z: mean + length * unit(one(Z) - mean)

    return made


def whitened(fit: Fit, old: Tensor, power: float = 0.5) -> Fit:
    """Return maps of rows that are divided by a power of the spread of all old vectors in each direction."""
    mean = old.mean(0)
    values, directions = torch.linalg.eigh((old - mean).T @ (old - mean) / len(old))
    W = (directions * values.clamp_min(1e-9) ** (-power / 2)) @ directions.T

    def made(X: Tensor, Y: Tensor) -> Map:
        one = fit((X - mean) @ W, Y)
        return lambda Z: one((Z - mean) @ W)

    return made


def near(fit: Fit, old: Tensor, share: float = 0.3, k: int = 5) -> Fit:
    """Return maps whose rows are mixed with the mean of those that the nearest old vectors are mapped to."""
    mean = old.mean(0)

    def made(X: Tensor, Y: Tensor) -> Map:
        one = fit(X, Y)
        # The nearest of all is the row itself.
        about = one(old)[nearest(old - mean, [old - mean], k + 1)[:, 1:]].mean(1)
        return lambda Z: (1 - share) * one(Z) + share * about[nearest(Z - mean, [old - mean], 1)[:, 0]]

    return made


FITS: Mapping[str, Fit] = {
    "kernel": fitted("kernel"),
    "shape": fitted("kernel", spread=True),
    "linear": fitted("linear", ridge=0.3),
    "rotation": mean_of(fitted("kernel"), fitted("procrustes")),
    "ensemble": mean_of(fitted("kernel"), fitted("linear", ridge=0.3), fitted("cca", ridge=1.0)),
    "local": local,
    "ranking": ranking,
    "residual": residual,
    "spread": spread(fitted("kernel")),
    "spread, sharp": spread(fitted("kernel", sharpness=3.0, ridge=0.03)),
}


# Fits that see all old vectors.
WIDE: Mapping[str, Callable[[Tensor], Fit]] = {
    "whitened": lambda old: whitened(fitted("kernel"), old),
    "near": lambda old: near(fitted("kernel"), old),
    "shape, near": lambda old: near(fitted("kernel", spread=True), old),
}


def converted(fit: Fit, X: Tensor, Y: Tensor, at: Tensor, more: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Return all rows X converted, those at which pairs are each by a map that has not seen it."""

    def fit_on(rows: Tensor) -> Map:
        sides = (
            (X[rows], Y[rows]) if more is None else tuple(map(torch.cat, zip((X[rows], Y[rows]), more, strict=True)))
        )
        return fit(*sides)

    made = fit_on(at)(X)
    for k in range(FOLDS):
        made[at[k::FOLDS]] = fit_on(at[torch.arange(len(at)) % FOLDS != k])(X[at[k::FOLDS]])
    return made


def measured(data: Path, old: str, new: str, world: study.World) -> dict[str, float]:
    """Return nDCG@10 of each fit, in points."""
    documents, queries, judgements = world.searched
    X, Y, Q = documents[old].data, documents[new].data, queries[new].data
    at = torch.randperm(len(X), generator=torch.Generator().manual_seed(0))[:PAIRS]
    score = scorer(relevant(judgements, queries[new].ids, documents[new].ids))

    def values(index: Tensor) -> Tensor:
        return 100 * score(queries[new].ids, documents[new].ids, nearest(Q, [index], 10))["ndcg@10"]

    found = {"stay": 100 * score(queries[old].ids, documents[old].ids, nearest(queries[old].data, [X], 10))["ndcg@10"]}
    fits = {**FITS, **{name: made(X) for name, made in WIDE.items()}}
    found |= {"re-embed": values(Y), **{name: values(converted(fit, X, Y, at)) for name, fit in fits.items()}}
    judged = torch.tensor([queries[new].ids.index(q) for q in score.queries])
    for name, fit in {"log": FITS["kernel"], "log, linear": FITS["linear"]}.items():
        halves = []
        for half in (0, 1):
            asked = [side.data[1 - half :: 2] for side in (queries[old], queries[new])]
            halves.append(values(converted(fit, X, Y, at, (asked[0], asked[1]))))
        # Each query counts where the others were pairs.
        found[name] = torch.where(judged % 2 == 0, halves[0], halves[1])
    return {name: float(one.mean()) for name, one in found.items()}


def roles(old: str, new: str, world: study.World) -> dict[str, dict[str, float]]:
    """Return nDCG@10 of both maps, from pairs of documents, of queries, and of both; each query where it is no pair."""
    documents, queries, judgements = world.searched
    X, Y = documents[old].data, documents[new].data
    at = torch.randperm(len(X), generator=torch.Generator().manual_seed(0))[:PAIRS]
    score = scorer(relevant(judgements, queries[new].ids, documents[new].ids))
    judged = torch.tensor([queries[new].ids.index(q) for q in score.queries])
    found: dict[str, dict[str, float]] = {}
    for (name, (rows, times)), way in itertools.product(WEIGHTS.items(), MAPS):
        halves = []
        for half in (0, 1):
            log = [side.data[1 - half :: 2].repeat(times, 1) for side in (queries[old], queries[new])]
            some = torch.cat([at[:rows], torch.full((len(log[0]),), -1)])
            pairs = Pairs(torch.cat([X[at[:rows]], log[0]]), torch.cat([Y[at[:rows]], log[1]]), some)
            trial = Trial(
                documents[new].ids, Rows(X), torch.arange(len(X)), Y, queries[new].ids, None, queries[new].data, pairs
            )
            finds = getattr(trial, way)(Maps.of(create(Aligner, *USED[way]), pairs, way, FOLDS))
            halves.append(score(queries[new].ids, documents[new].ids, finds)["ndcg@10"])
        value = torch.where(judged % 2 == 0, halves[0], halves[1]).mean()
        found.setdefault(name, {})[way] = 100 * float(value)
    return found


def elsewhere(old: str, new: str, sets: Mapping[str, study.World]) -> dict[str, float]:
    """Return nDCG@10 on Cranfield from 300 pairs of banking questions, as they are and re-centred without pairs."""
    documents, queries, judgements = sets["cranfield"].searched
    some = study.some_of(study.DOCUMENTS, 300, 0)
    A, B = (sets["banking"].documents[encoder].data[some] for encoder in (old, new))
    X, Y, Q = documents[old].data, documents[new].data, queries[new].data
    score = scorer(relevant(judgements, queries[new].ids, documents[new].ids))
    moved = {}
    for name, options in (("linear", {"ridge": 0.3}), ("procrustes", {})):
        made = fitted(name, **options)(A, B)
        # New vectors of some documents, whichever, tell the mean of the new space.
        centred = fitted(name, **options)(A - A.mean(0), B - B.mean(0))
        moved |= {name: made(X), f"{name}, re-centred": centred(X - X.mean(0)) + Y[::5].mean(0)}
    rows = {name: nearest(Q, [index], 10) for name, index in moved.items()}
    return {n: 100 * float(score(queries[new].ids, documents[new].ids, r)["ndcg@10"].mean()) for n, r in rows.items()}


def table() -> str:
    """Return means over all pairs, and over how many of them a fit is better than `kernel`."""
    found = [r["in"] for r in json.loads((HERE / "variants.json").read_text())]
    lines = ["| map of documents | nDCG@10 | over `kernel` | better in |", "|---|---|---|---|"]
    for name, told in TOLD.items():
        gains = [r[name] - r["kernel"] for r in found]
        mean = sum(r[name] for r in found) / len(found)
        better = f"{sum(gain > 0.05 for gain in gains)} of {len(gains)}" if name != "kernel" else ""
        lines.append(f"| {told} | {mean:.1f} | {sum(gains) / len(gains):+.1f} | {better} |")
    return "\n".join(lines)


def claims() -> str:
    """Return sentences on the fits that win somewhere."""
    found = json.loads((HERE / "variants.json").read_text())

    def gains(name: str, e5: bool | None = None) -> str:
        some = [r["in"][name] - r["in"]["kernel"] for r in found if e5 is None or (r["new"] == "e5") == e5]
        return f"{min(some):+.1f} to {max(some):+.1f} points"

    bridged = [r["roles"]["documents, and queries"]["bridge"] - r["roles"]["documents"]["bridge"] for r in found]
    return (
        f"- A log of queries by both models, added to the pairs, brings {gains('log', e5=False)} to a converted index "
        f"where the new model encodes queries as documents, and {gains('log', e5=True)} where that is e5, which has a "
        f"prompt for each. To a bridge it brings {min(bridged):+.1f} to {max(bridged):+.1f} points."
    )


def weights() -> str:
    """Return means over all pairs of models of maps fitted on documents, on queries, and on both."""
    found = [r["roles"] for r in json.loads((HERE / "variants.json").read_text())]
    lines = ["| pairs | " + " | ".join(f"{way} | better in" for way in MAPS) + " |", "|---" * (1 + 2 * len(MAPS)) + "|"]
    for name in WEIGHTS:
        cells = []
        for way in MAPS:
            gains = [r[name][way] - r["documents"][way] for r in found]
            better = f"{sum(gain > 0.05 for gain in gains)} of {len(gains)}" if name != "documents" else ""
            cells += [f"{sum(r[name][way] for r in found) / len(found):.1f}", better]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def outside() -> str:
    """Return means over all pairs of maps from another domain."""
    found = [r["out"] for r in json.loads((HERE / "variants.json").read_text())]
    lines = ["| map, from 300 pairs of banking77 | nDCG@10 on Cranfield |", "|---|---|"]
    return "\n".join([*lines, *(f"| {n} | {sum(r[n] for r in found) / len(found):.1f} |" for n in found[0])])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("data", type=Path)
    data, made = parser.parse_args().data, []
    sets = study.sets_of(data)
    for old, new in CHANGES:
        one = measured(data, old, new, sets["cranfield"])
        made.append({"old": old, "new": new, "in": one, "out": elsewhere(old, new, sets)})
        made[-1]["roles"] = roles(old, new, sets["cranfield"])
        print(
            old,
            new,
            {name: round(value, 1) for name, value in {**one, **made[-1]["out"]}.items()},
            made[-1]["roles"],
            flush=True,
        )
    with whole_file(HERE / "variants.json") as temporary:
        temporary.write_text(json.dumps(made, indent=1) + "\n")
