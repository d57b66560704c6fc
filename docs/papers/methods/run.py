"""Which method when: every way between four text encoders, by number of pairs, for classes and for retrieval.

python docs/papers/methods/run.py --data DATA --out methods
"""

from __future__ import annotations

import csv
import itertools
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import paper_networks
import papers
from papers import Report
from ways import LARGEST, METHODS, READ

import atlas
from atlas import metrics
from atlas.models.heads import HEADS, HeadModel

Figures = Iterator[dict[str, Any]]
Views = Mapping[str, Mapping[str, Tensor]]
ENCODERS = ("wordllama", "minilm", "e5", "use")
ATLASES = ("generalized-procrustes", "corrected-procrustes", "generalized-cca")


@papers.command
def main(report: Report, data: Path, models: Path) -> None:
    """Measure everything that the page on methods tells."""
    views, labels = digits() if report.small else texts(data)
    heads = {name: HEADS["linear"]().fit(views[name]["train"], labels["train"]) for name in views}
    report.part("own", own, views, labels, heads)
    cases = [(method, n) for method in METHODS for n in ((100, 1000) if report.small else (100, 1000, 10_000))]
    report.parts("classes", classes, [((views, labels, heads), {"method": m, "n": n}) for m, n in cases])
    if not report.small:
        report.part("retrieval", own_queries, data, method="own")
        cases = [(method, n) for method, n in cases if n <= 1000]
        report.parts("retrieval", retrieval, [((data,), {"method": m, "n": n}) for m, n in cases])
    for n in (100, 1000) if report.small else (100, 1000, 10_000):
        report.part("atlases", atlases, views, labels, heads, None if report.small or n > 1000 else data, n=n)
    for kind in READ:
        report.part("read", read, views, labels, kind=kind, n=256 if report.small else 2000)


def texts(data: Path) -> tuple[Views, dict[str, Tensor]]:
    """Return vectors of the questions of banking77 by four encoders, and their intents."""
    views = {name: {s: vectors(data, f"banking-{s}", name) for s in ("train", "test")} for name in ENCODERS}
    named = {}
    for split in ("train", "test"):
        with (data / "banking77" / f"{split}.csv").open(newline="", encoding="utf-8") as file:
            named[split] = [row["category"] for row in csv.DictReader(file)]
    number = {name: k for k, name in enumerate(sorted(set(named["train"])))}
    return views, {split: torch.tensor([number[name] for name in named[split]]) for split in named}


def digits() -> tuple[Views, dict[str, Tensor]]:
    """Return vectors of the digits that ship with Atlas by three networks, and their classes."""
    pixels = {split: atlas.read_vectors(f"digits-{split}") for split in ("train", "test")}
    networks = [encoder for _, encoder, _ in paper_networks.DIGITS]
    views = {name: {s: atlas.encode(name, X).data for s, X in pixels.items()} for name in networks}
    return views, {split: X.labels for split, X in pixels.items() if X.labels is not None}


def vectors(data: Path, items: str, name: str) -> Tensor:
    """Return stored vectors of some items by an encoder."""
    return torch.from_numpy(np.load(data / "vectors" / f"{items}.{name}.npy").astype("float32"))


def own(views: Views, labels: Mapping[str, Tensor], heads: Mapping[str, HeadModel]) -> Figures:
    """Yield the accuracy of each head on its own encoder."""
    for name, head in heads.items():
        value = papers.accuracy(head, views[name]["test"], labels["test"])
        yield {"target": name, "metric": "accuracy", "value": value}


def fitted(method: str, A: Tensor, B: Tensor) -> tuple[float, Sequence[atlas.Aligner]]:
    """Return the seconds of processor time that a fit on pairs took, and what maps vectors with it."""
    name, options = METHODS[method]
    begin = time.thread_time()
    if name == "relative":
        made = [atlas.create(atlas.Aligner, name, options).fit(X) for X in (A, B)]
    else:
        made = [atlas.create(atlas.Aligner, name, options).fit(A, B)]
    # What is derived on first use is part of the fit.
    mapped(made, A[:1])
    return time.thread_time() - begin, made


def mapped(made: Sequence[atlas.Aligner], X: Tensor) -> Tensor:
    """Return vectors mapped directly, or into similarities by one half and out of them by the other."""
    there = made[0].transform(X)
    return there if len(made) == 1 else made[1].inverse_transform(there)


def chosen(n: int, of: int) -> Tensor:
    """Return the rows that are pairs."""
    return torch.randperm(of, generator=torch.Generator().manual_seed(0))[:n]


def classes(views: Views, labels: Mapping[str, Tensor], heads: Mapping[str, HeadModel], method: str, n: int) -> Figures:
    """Yield what a frozen head of the target gets right of vectors that a method maps, by pair of encoders."""
    for source, target in itertools.permutations(views, 2):
        A, B = (views[name]["train"][chosen(n, len(labels["train"]))] for name in (source, target))
        seconds, made = fitted(method, A, B)
        about = {"source": source, "target": target}
        value = papers.accuracy(heads[target], mapped(made, views[source]["test"]), labels["test"])
        yield {**about, "metric": "accuracy", "value": value}
        yield {**about, "metric": "seconds", "value": seconds}


def cranfield(data: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Return vectors of the abstracts of Cranfield by encoder, of its queries, and which are relevant to which."""
    documents, queries = (
        {name: vectors(data, f"cran-{what}", name) for name in ENCODERS} for what in ("docs", "queries")
    )
    relevant = torch.zeros(len(queries["e5"]), len(documents["e5"]))
    for line in (data / "cranfield" / "cranqrel.trec.txt").read_text().splitlines():
        query, _, document, grade = map(int, line.split())
        relevant[query - 1, document - 1] = grade > 0
    return documents, queries, relevant


def own_queries(data: Path, method: str) -> Figures:
    """Yield nDCG@10 of queries of each encoder in an index of its own, Cranfield."""
    documents, queries, relevant = cranfield(data)
    for name in ENCODERS:
        yield {"target": name, "metric": "ndcg@10", "value": ndcg(queries[name], documents[name], relevant)}


def retrieval(data: Path, method: str, n: int) -> Figures:
    """Yield the same of queries of one encoder, mapped, in an index of another's; fitted on its abstracts."""
    documents, queries, relevant = cranfield(data)
    for source, target in itertools.permutations(ENCODERS, 2):
        rows = chosen(n, len(relevant[0]))
        _, made = fitted(method, documents[source][rows], documents[target][rows])
        value = ndcg(mapped(made, queries[source]), documents[target], relevant)
        yield {"source": source, "target": target, "metric": "ndcg@10", "value": value}


def atlases(
    views: Views, labels: Mapping[str, Tensor], heads: Mapping[str, HeadModel], data: Path | None, n: int
) -> Figures:
    """Yield what aggregators make of all encoders at once: what they translate, and what is near in the shared space.

    With data, of Cranfield too: queries in the shared space among documents of another encoder, and translated.
    """
    rows = chosen(n, len(labels["train"]))
    tested = {name: view["test"] for name, view in views.items()}
    for method in ATLASES:
        made, seconds = together(method, {name: view["train"][rows] for name, view in views.items()})
        yield {"method": method, "metric": "seconds", "value": seconds}
        for source, target, Z in translated(made, tested):
            value = papers.accuracy(heads[target], Z, labels["test"])
            yield {"source": source, "target": target, "method": method, "metric": "accuracy", "value": value}
        shared = {name: alone(made, name, X) for name, X in tested.items()}
        for source, target in itertools.permutations(views, 2):
            value = metrics.recall_at_k(shared[source], shared[target], k=1)
            yield {"source": source, "target": target, "method": method, "metric": "found", "value": value}
    if data:
        documents, queries, relevant = cranfield(data)
        for method in ATLASES:
            made, _ = together(method, {name: X[chosen(n, len(X))] for name, X in documents.items()})
            placed = {name: alone(made, name, X) for name, X in documents.items()}
            for source, target, Z in translated(made, queries):
                about = {"source": source, "target": target, "method": method, "metric": "ndcg@10"}
                yield {**about, "where": "target", "value": ndcg(Z, documents[target], relevant)}
                value = ndcg(alone(made, source, queries[source]), placed[target], relevant)
                yield {**about, "where": "shared", "value": value}


def together(method: str, views: Mapping[str, Tensor]) -> tuple[atlas.Aggregator, float]:
    """Return an aggregator fitted on views, and the seconds of processor time that took."""
    begin = time.process_time()
    made = atlas.create(atlas.Aggregator, method).fit(views)
    return made, time.process_time() - begin


def translated(made: atlas.Aggregator, views: Mapping[str, Tensor]) -> Iterator[tuple[str, str, Tensor]]:
    """Yield source, target, and the vectors of the source that go through the shared space to the target."""
    for source, target in itertools.permutations(views, 2):
        yield source, target, made.chart(target).inverse_transform(made.chart(source).transform(views[source]))


def alone(made: atlas.Aggregator, space: str, X: Tensor) -> Tensor:
    """Return vectors of one space in the shared one."""
    k = list(made.charts).index(space)
    rows = torch.zeros(len(X), len(made.charts), made.dim)
    rows[:, k] = made.chart(space).transform(X)
    return made.combine(rows, (torch.arange(len(made.charts)) == k).expand(len(X), -1))


def ndcg(queries: Tensor, documents: Tensor, relevant: Tensor, k: int = 10) -> float:
    """Return the mean normalised discounted cumulative gain of the k documents nearest to each query by cosine."""
    unit = torch.nn.functional.normalize
    found = (unit(queries) @ unit(documents).T).topk(k, 1).indices
    gains = 1 / torch.arange(2.0, k + 2).log2()
    best = gains.cumsum(0)[relevant.sum(1).clamp(1, k).long() - 1]
    return float(((relevant.gather(1, found) * gains).sum(1) / best).mean())


def read(views: Views, labels: Mapping[str, Tensor], kind: str, n: int) -> Figures:
    """Yield what ridge regression on relative vectors gets right of those of its own encoder and of others."""
    rows = chosen(n, len(labels["train"]))
    seen = {name: related(view, rows, kind) for name, view in views.items()}
    for target in views:
        head = HEADS["linear"](loss="ridge").fit(seen[target]["train"], labels["train"])
        for source in views:
            value = papers.accuracy(head, seen[source]["test"], labels["test"])
            about = {"source": source, "target": target, "reads": "own" if source == target else "others"}
            yield {**about, "metric": "accuracy", "value": value}


def related(view: Mapping[str, Tensor], rows: Tensor, kind: str) -> dict[str, Tensor]:
    """Return the training and test vectors of an encoder as similarities to some rows, each kind of one mean square."""
    parts: dict[str, list[Tensor]] = {"train": [], "test": []}
    for options in READ[kind]:
        made = atlas.create(atlas.Aligner, "relative", options).fit(view["train"][rows])
        found = {split: largest(made.transform(view[split]), LARGEST.get(kind, len(rows))) for split in parts}
        size = found["train"].square().mean().sqrt() if len(READ[kind]) > 1 else 1.0
        for split, R in found.items():
            parts[split].append(R / size)
    return {split: torch.cat(each, 1) for split, each in parts.items()}


def largest(R: Tensor, k: int) -> Tensor:
    """Return R (n, d) with all zero but the k largest of each row; R itself where that is all."""
    if k >= R.shape[1]:
        return R
    values, columns = R.topk(k, 1)
    return torch.zeros_like(R).scatter(1, columns, values)


if __name__ == "__main__":
    main()
