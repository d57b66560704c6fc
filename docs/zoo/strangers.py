"""Figures of the routes that the rule of `atlas route` was chosen on; none of them is a route of the zoo.

    python docs/zoo/strangers.py VECTORS

Two encoders that count, words and pieces of words, come to the four of the zoo, and every route over one of them is
measured on every third test question of banking77. Routes between the four are measured on 500 abstracts of
Cranfield, with maps that were fitted on the other 900. VECTORS is the folder that registry/text.py was run on. Writes
strangers.json beside this file, the measured figures alone; takes about a minute.
"""

from __future__ import annotations

import csv
import itertools
import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("strangers.json")
NAMES = ("minilm", "e5", "use", "wordllama")
COUNTS: dict[str, dict[str, Any]] = {
    "words": {"sublinear": True, "ngram_max": 2},
    "pieces": {"analyzer": "char", "sublinear": True, "ngram_min": 3, "ngram_max": 4, "dim": 200},
}
ZOO, ASKED, DOCS = "the zoo", "questions, one of the encoders counts", "abstracts"
Views = dict[str, Any]
Figures = dict[tuple[str, ...], float]
FIGURES = ("r2", "self-recall@10")


def questions(folder: Path) -> tuple[Views, Views]:
    """Return the vectors of the training and the test questions, by encoder."""
    import numpy as np
    import torch

    import atlas

    texts = []
    for part in ("train", "test"):
        with (folder.parent / "banking77" / f"{part}.csv").open(encoding="utf-8", newline="") as file:
            texts.append([row["text"] for row in csv.DictReader(file)])
    found = [{name: np.load(folder / f"banking-{part}.{name}.npy") for name in NAMES} for part in ("train", "test")]
    for name, options in COUNTS.items():
        encoder = atlas.create(atlas.Encoder, "tfidf-svd", options).fit(texts[0])
        for views, some in zip(found, texts, strict=True):
            views[name] = torch.cat([*encoder.encode(some)]).numpy()
    return found[0], {name: X[::3] for name, X in found[1].items()}


def abstracts(folder: Path) -> tuple[Views, Views]:
    """Return the vectors of 900 and of the other 500 abstracts, by encoder."""
    import numpy as np

    order = np.random.default_rng(0).permutation(1400)
    every = {name: np.load(folder / f"cran-docs.{name}.npy") for name in NAMES}
    return tuple({name: X[some] for name, X in every.items()} for some in (order[:900], order[900:]))  # type: ignore


def measure(fitted: Views, held_out: Views) -> dict[str, list[float]]:
    """Return R² and self-recall@3 of every route of up to three maps, by its stops."""
    import torch

    import atlas
    from atlas.metrics import agreement, retrieval

    pairs = itertools.permutations(fitted, 2)
    maps = {(a, b): atlas.fit("linear", source=fitted[a], target=fitted[b]) for a, b in pairs}
    true = {name: torch.as_tensor(X, dtype=torch.float32) for name, X in held_out.items()}
    rows: dict[str, list[float]] = {}
    mapped = {(name,): X for name, X in true.items()}
    for n in (2, 3, 4):
        for stops in itertools.permutations(fitted, n):
            found = mapped[stops] = atlas.apply(maps[stops[-2:]], mapped[stops[:-1]])  # type: ignore[index]
            Y = true[stops[-1]]
            figures = agreement.r2(found, Y), retrieval.recall_at_k(found, Y, 3)
            rows[" ".join(stops)] = [round(figure, 4) for figure in figures]
        print(f"{len(rows)} routes", flush=True)
    return rows


def summary() -> str:
    """Return the agreement of predictions from the figures of single maps with measurements, as a Markdown table."""
    from measure import RESULTS as OF_ZOO
    from measure import compared

    rows = json.loads(OF_ZOO.read_text(encoding="utf-8"))["rows"]
    every = {ZOO: {" ".join(row["stops"]): [row[name]["measured"] for name in FIGURES] for row in rows}}
    every.update(json.loads(RESULTS.read_text(encoding="utf-8")))
    lines = [
        "| figure | routes | rank correlation | mean error | the same without the map between the ends | |",
        "|---|---|---|---|---|---|",
    ]
    for (name, found), (i, metric) in itertools.product(every.items(), enumerate(FIGURES)):
        real = {tuple(stops.split()): figures[i] for stops, figures in found.items()}
        some = [stops for stops in real if name != ASKED or not set(COUNTS).isdisjoint(stops)]
        cells = []
        for without in (False, True):
            told = predicted(real, metric, without)
            pairs = [told[stops] for stops in some if not without or len(stops) > 2]
            cells += compared(pairs).split(" | ")[:2]
        shown = "self-recall@3" if i and name != ZOO else metric
        lines.append(f"| {shown} | {name}, {len(some)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def predicted(real: Figures, metric: str, without: bool = False) -> dict[tuple[str, ...], tuple[float, float]]:
    """Return the prediction from the figures of single maps, and the measurement, of every route.

    Args:
        real: the measured figures by stops.
        metric: the figure.
        without: predict a longer route without the map between its two ends.
    """
    from atlas.cards.space import Space
    from atlas.routes.edges import Edge
    from atlas.routes.paths import Graph

    spaces = {name: Space(name, 1) for stops in real for name in stops}
    steps: dict[tuple[str, ...], Edge] = {
        stops: Edge(spaces[stops[0]], spaces[stops[1]], "", None, keeps=figure)  # type: ignore[arg-type]
        for stops, figure in real.items()
        if len(stops) == 2
    }
    whole = Graph(list(steps.values()), metric=metric)
    graphs = {left: Graph([steps[one] for one in steps if one != left], metric=metric) for left in steps if without}
    told = {}
    for stops, figure in real.items():
        graph = graphs.get((stops[0], stops[-1]), whole) if len(stops) > 2 else whole
        told[stops] = graph.keeps([steps[pair] for pair in itertools.pairwise(stops)]) or 0.0, figure
    return told


if __name__ == "__main__":
    where = Path(sys.argv[1])
    found = {ASKED: measure(*questions(where)), DOCS: measure(*abstracts(where))}
    RESULTS.write_text(json.dumps(found, separators=(",", ":")).replace('],"', '],\n"') + "\n", encoding="utf-8")
    print(summary())
