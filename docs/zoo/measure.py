"""Predicted and measured figures of the maps of the shipped zoo: every route of up to three of them.

    python docs/zoo/measure.py VECTORS

VECTORS is the folder that registry/text.py was run on. Writes results.json beside this file; takes about two minutes.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results.json")
# Figures, each with the ground that it is predicted by.
RECALL = "self-recall@10"
TOLD = (("r2", "cards"), ("r2", "anchors"), ("r2", "moments"), (RECALL, "cards"), (RECALL, "anchors"))
sys.path.insert(0, str(ROOT / "registry"))


def measure(folder: Path) -> dict[str, Any]:
    """Return the prediction and the measurement on held-out questions for every route."""
    import text

    import atlas
    from atlas.routes.edges import edges
    from atlas.routes.paths import Graph
    from atlas.verbs.evaluate import evaluate
    from atlas.verbs.moments import moments
    from atlas.verbs.route import explained, scaled

    train, held_out = text.views(folder, text.FITTED), text.views(folder, text.HELD_OUT)
    registry = atlas.Registry(ROOT / "registry")
    maps = {pair: atlas.load(registry.find("__".join([*pair, "linear"]))) for pair in itertools.permutations(train, 2)}
    told = {}
    for metric in ("r2", "self-recall@10"):
        found = edges(((made.card, "") for made in maps.values()), metric, "banking77")
        told[metric] = {(edge.source.id, edge.target.id): edge for edge in found if not edge.inverse}
    graphs = {metric: Graph(list(steps.values()), metric=metric) for metric, steps in told.items()}
    anchors = atlas.load(registry.find("banking-1000"))
    sums = {pair: moments(source=train[pair[0]], target=train[pair[1]]).sums for pair in maps}
    rows = []
    for stops in (stops for n in (2, 3, 4) for stops in itertools.permutations(train, n)):
        pairs = list(itertools.pairwise(stops))
        made = atlas.compose(*(maps[pair] for pair in pairs))
        held = {"source": held_out[stops[0]], "target": held_out[stops[-1]]}
        row: dict[str, Any] = {"stops": stops}
        shared = {end: anchors.vectors(view.space.id) for end, view in held.items()}
        for figure in evaluate(made, **held, metrics=list(graphs)):
            keeps = graphs[figure.name].keeps([told[figure.name][pair] for pair in pairs])
            [tried] = evaluate(made, **shared, metrics=[scaled(figure.name, len(anchors), figure.n)])
            values = {"cards": float(keeps or 0), "anchors": tried.value, "measured": figure.value}
            row[figure.name] = {by: round(value, 4) for by, value in values.items()}
        state = made.aligner.state
        exact = explained(sums[stops[0], stops[-1]], state["weight"].double(), state["bias"].double())
        row["r2"]["moments"] = round(exact, 4)
        rows.append(row)
        print(" > ".join(stops), row["r2"], row["self-recall@10"], flush=True)
    return {"fitted": text.FITTED, "held_out": text.HELD_OUT, "rows": rows}


def ranks(values: list[float]) -> list[float]:
    """Return the rank of each value, equal ones sharing theirs."""
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) - 1) / 2 for value in values]


def correlation(a: list[float], b: list[float]) -> float:
    """Return the rank correlation (Spearman's) of two lists."""
    x, y = ranks(a), ranks(b)
    x, y = [one - sum(x) / len(x) for one in x], [one - sum(y) / len(y) for one in y]
    return sum(p * q for p, q in zip(x, y, strict=True)) / (sum(p * p for p in x) * sum(q * q for q in y)) ** 0.5


def compared(pairs: Iterable[tuple[float, float]]) -> str:
    """Return the agreement of predictions and measurements, as the cells of a table."""
    told, real = (list(values) for values in zip(*pairs, strict=True))
    errors = [abs(a - b) for a, b in zip(told, real, strict=True)]
    return f"{correlation(told, real):.3f} | {sum(errors) / len(errors):.3f} | {max(errors):.3f}"


def summary() -> str:
    """Return the agreement of predictions and measurements, as a Markdown table."""
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    lines = [
        "| figure | predicted by | routes | rank correlation | mean error | largest error |",
        "|---|---|---|---|---|---|",
    ]
    for name, by in TOLD:
        for what, some in (("all", rows), ("of two and three maps", [row for row in rows if len(row["stops"]) > 2])):
            told, real = ([row[name][key] for row in some] for key in (by, "measured"))
            lines.append(f"| {name} | {by} | {what}, {len(some)} | {compared(zip(told, real, strict=True))} |")
    return "\n".join(lines)


def table() -> str:
    """Return every route, best first within its ends, as a Markdown table."""
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    rows.sort(key=lambda row: (row["stops"][0], row["stops"][-1], -row["r2"]["measured"]))
    columns = [*TOLD[:3], ("r2", "measured"), *TOLD[3:], (RECALL, "measured")]
    lines = [f"| route | {' | '.join(f'{name}, {by}' for name, by in columns)} |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        cells = [f"{row[name][by]:.3f}" for name, by in columns]
        lines.append(f"| {' > '.join(row['stops'])} | {' | '.join(cells)} |")
    return "\n".join(lines)


def maps() -> str:
    """Return the figures of every map on its own questions and on abstracts of another kind, from the cards."""
    sys.path.insert(0, str(ROOT))
    from atlas.storage.registry import Registry

    lines = [
        "| map | R² | cosine | self-recall@10 | cosine, abstracts | self-recall@10, abstracts |",
        "|---|---|---|---|---|---|",
    ]
    for entry in Registry(ROOT / "registry").list("banking77", kind="alignment"):
        found = {(m.name, m.dataset): m.value for m in entry.card.metrics}  # type: ignore[attr-defined]
        own = [found[name, "banking77"] for name in ("r2", "cosine", "self-recall@10")]
        cells = [*own, *(found[name, "cranfield"] for name in ("cosine", "self-recall@10"))]
        lines.append(f"| {entry.card.id} | {' | '.join(f'{cell:.3f}' for cell in cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    found = measure(Path(sys.argv[1]))
    RESULTS.write_text(json.dumps(found, indent=None, separators=(",", ":")).replace('{"stops"', '\n{"stops"') + "\n")
    print(summary())
