"""Does it pay to move rows of `kernel` out again, to the distance from the mean of true ones? All changes, many draws.

    python docs/migration/distances.py ../shared/data

measures nDCG@10 of the converted index, as the penalty leaves it and moved out, into distances.json, in some two
minutes of one core; and that of an index of which a part is embedded anew. The folder is that of study.py.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import study
import torch
from torch import Tensor

from atlas import create
from atlas.authors import unit
from atlas.components.aligner import Aligner
from atlas.migration.judgements import relevant
from atlas.migration.scoring import scorer
from atlas.migration.searching import nearest
from atlas.storage.files import whole_file

HERE = Path(__file__).parent
# Of each run: what is searched, and how many pairs of it maps are fitted on.
RUNS = (("cranfield", 1000), ("cranfield", 300), ("banking", 300))
DRAWS, FOLDS = 3, 10
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def converted(X: Tensor, Y: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows mapped as the penalty leaves them, pairs each by a map that has not seen it; and moved out."""

    def both(rows: Tensor, Z: Tensor) -> tuple[Tensor, Tensor]:
        # About their mean, rows of no target share a direction, so that `kernel` moves none.
        mean, about = Y[rows].mean(0), Y[rows] - Y[rows].mean(0)
        made = create(Aligner, "kernel").fit(X[rows], about).transform(Z)
        return mean + made, mean + about.norm(dim=1).mean() * unit(made)

    found = both(at, X)
    for k in range(FOLDS):
        for index, rows in zip(found, both(at[torch.arange(len(at)) % FOLDS != k], X[at[k::FOLDS]]), strict=True):
            index[at[k::FOLDS]] = rows
    return found


def measured(world: study.World, pairs: int, old: str, new: str) -> dict[str, Any]:
    """Return nDCG@10 in points, means over draws of the pairs; with shares of the documents embedded anew by chance."""
    documents, queries, judgements = world.searched
    X, Y, Q = documents[old].data, documents[new].data, queries[new].data
    score = scorer(relevant(judgements, queries[new].ids, documents[new].ids))
    anew = torch.randperm(len(X), generator=torch.Generator().manual_seed(DRAWS))
    mixed = torch.zeros(2, len(SHARES), dtype=torch.float64)
    for seed in range(DRAWS):
        at = torch.randperm(len(X), generator=torch.Generator().manual_seed(seed))[:pairs]
        for row, index in enumerate(converted(X, Y, at)):
            for column, share in enumerate(SHARES):
                some = anew[: round(share * len(X))]
                found = nearest(Q, [index.index_copy(0, some, Y[some])], 10)
                value = score(queries[new].ids, documents[new].ids, found)["ndcg@10"].mean()
                mixed[row, column] += 100 * float(value) / DRAWS
    shared = float(unit(Y).mean(0).square().sum())
    return {"old": old, "new": new, "shared": shared, "left": mixed[0].tolist(), "moved": mixed[1].tolist()}


def results() -> list[dict[str, Any]]:
    """Return what was measured last."""
    return json.loads((HERE / "distances.json").read_text())


def table() -> str:
    """Return the gain of moving rows out, by the new model."""
    news = study.ENCODERS
    lines = [
        f"| searched | pairs | better in | {' | '.join(f'to {new}' for new in news)} |",
        "|---|---|---|" + "---|" * len(news),
    ]
    for searched, pairs in RUNS:
        rows = [r for r in results() if (r["searched"], r["pairs"]) == (searched, pairs)]
        gains = {new: [r["moved"][0] - r["left"][0] for r in rows if r["new"] == new] for new in news}
        cells = [f"{min(some):+.1f} to {max(some):+.1f}" for some in gains.values()]
        better = sum(gain > 0 for some in gains.values() for gain in some)
        lines.append(f"| {searched} | {pairs:,} | {better} of {len(rows)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shared() -> str:
    """Return the mean cosines of two rows of each model, over both sets."""
    told = []
    for new in study.ENCODERS:
        values = {r["shared"] for r in results() if r["new"] == new}
        told.append(f"{max(values):.2f} in `{new}`" if len(told) else f"at most {max(values):.2f} in `{new}`")
    return f"The mean cosine of two documents is {', '.join(told)}."


def mixed() -> str:
    """Return mixed indexes of Cranfield from 1,000 pairs, means over the old models."""
    lines = [
        f"| new | rows | {' | '.join(f'{share:.0%}' for share in SHARES)} |",
        "|---|---" + "|---" * len(SHARES) + "|",
    ]
    for new, (key, told) in itertools.product(
        ("e5", "minilm"), {"left": "as the penalty leaves them", "moved": "moved out"}.items()
    ):
        rows = [r[key] for r in results() if (r["searched"], r["pairs"], r["new"]) == (*RUNS[0], new)]
        means = (sum(column) / len(rows) for column in zip(*rows, strict=True))
        lines.append(f"| {new} | {told} | {' | '.join(f'{mean:.1f}' for mean in means)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("data", type=Path)
    data, made = parser.parse_args().data, []
    sets = study.sets_of(data)
    for searched, pairs in RUNS:
        for old, new in itertools.permutations(study.ENCODERS, 2):
            made.append({"searched": searched, "pairs": pairs, **measured(sets[searched], pairs, old, new)})
            print(searched, pairs, old, new, [round(made[-1][key][0], 1) for key in ("left", "moved")], flush=True)
    with whole_file(HERE / "distances.json") as temporary:
        temporary.write_text(json.dumps(made, indent=1) + "\n")
