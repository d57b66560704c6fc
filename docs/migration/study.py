"""Whether a change of the embedding model can do without embedding everything: all ordered pairs of four encoders.

    python docs/migration/study.py ../shared/data

measures everything anew into results.json, in some twenty minutes of one core; `--draws 1` stops after the first draw.
The folder holds vectors/, made by four public encoders, and cranfield/; banking questions are judged by their labels.
Pages are made from the file, by study_tables.py.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atlas import Vectors
from atlas.authors import unit
from atlas.components.choosing import ROLES
from atlas.migration.advice import GATE, MAPS, Gate, verdict
from atlas.migration.advising import question_of
from atlas.migration.domain import leverage
from atlas.migration.judgements import Judgements, read_judgements
from atlas.migration.measuring import Measured
from atlas.migration.methods import choose
from atlas.migration.rolling import curves, rolling
from atlas.migration.trial import Maps
from atlas.storage.files import whole_file

HERE = Path(__file__).parent
ENCODERS = ("use", "wordllama", "e5", "minilm")
CHANGES = tuple(itertools.permutations(ENCODERS, 2))
DOCUMENTS, QUERIES = 1400, 225
# Documents with new vectors where the pairs are other items.
SAMPLE = 300


@dataclass(frozen=True)
class Run:
    """A number of pairs from somewhere, and how often it is drawn.

    Attributes:
        searched: the set whose documents are searched.
        of: the set that pairs are of: the same, whose documents they are then, the other one, or "others", questions
            of the same kind that are not in the index.
        pairs: how many.
        draws: of pairs and sample.
    """

    searched: str
    of: str
    pairs: int
    draws: int = 1

    @property
    def strange(self) -> bool:
        """Whether pairs are of another domain."""
        return self.of not in (self.searched, "others")


@dataclass(frozen=True)
class World:
    """What is searched.

    Attributes:
        documents: by encoder.
        queries: by encoder.
        judgements: what answers them.
        others: items of the same kind that are not searched, by encoder.
    """

    documents: Mapping[str, Vectors]
    queries: Mapping[str, Vectors]
    judgements: Judgements
    others: Mapping[str, Vectors]

    @property
    def searched(self) -> tuple[Mapping[str, Vectors], Mapping[str, Vectors], Judgements]:
        """Documents, queries and judgements."""
        return self.documents, self.queries, self.judgements


# Few pairs are drawn several times: 1,000 of 1,400 documents are much the same ones in each draw.
RUNS = (
    Run("cranfield", "cranfield", 100, 3),
    Run("cranfield", "cranfield", 300, 3),
    Run("cranfield", "cranfield", 1000),
    Run("banking", "banking", 100, 3),
    Run("banking", "banking", 300, 3),
    Run("banking", "banking", 1000),
    Run("banking", "others", 1000),
    Run("banking", "others", 3000),
    Run("banking", "others", 8603),
    Run("cranfield", "banking", 300),
    Run("banking", "cranfield", 300),
)
# The change whose every way is drawn, and whose indexes are mixed.
MAIN = Run("cranfield", "cranfield", 1000)


def vectors(data: Path, name: str, encoder: str, rows: Sequence[int] | None = None, ids: Sequence[str] = ()) -> Vectors:
    """Return vectors of some rows of a file at length 1."""
    X = unit(torch.tensor(np.load(data / "vectors" / f"{name}.{encoder}.npy")).float())
    X = X if rows is None else X[list(rows)]
    return Vectors.of(X, encoder, ids=[*ids] or [str(i) for i in rows or range(len(X))])


def cranfield(data: Path) -> World:
    """Return all abstracts, all queries, and judgements, which number queries by position from 1."""
    ids = json.loads((data / "vectors" / "cran-docs.ids.json").read_text())
    numbers = [str(i + 1) for i in range(QUERIES)]
    documents = {name: vectors(data, "cran-docs", name, ids=ids) for name in ENCODERS}
    queries = {name: vectors(data, "cran-queries", name, ids=numbers) for name in ENCODERS}
    return World(documents, queries, read_judgements(data / "cranfield" / "cranqrel.trec.txt"), {})


def banking(data: Path) -> World:
    """Return as many questions, 225 others that ask, and as judgements which are of the same of 77 intents."""
    labels = {}
    for part in ("train", "test"):
        with (data / "banking77" / f"{part}.csv").open(encoding="utf-8", newline="") as file:
            labels[part] = [row["category"] for row in csv.DictReader(file)]
    random = np.random.default_rng(0)
    drawn = random.permutation(len(labels["train"])).tolist()
    kept, rest = drawn[:DOCUMENTS], drawn[DOCUMENTS:]
    asked = random.permutation(len(labels["test"]))[:QUERIES].tolist()
    documents, others = (
        {name: vectors(data, "banking-train", name, rows) for name in ENCODERS} for rows in (kept, rest)
    )
    queries = {name: vectors(data, "banking-test", name, asked, [f"q{i}" for i in asked]) for name in ENCODERS}
    same = {f"q{q}": {str(d): 1 for d in kept if labels["train"][d] == labels["test"][q]} for q in asked}
    return World(documents, queries, same, others)


def sets_of(data: Path) -> dict[str, World]:
    """Return both sets."""
    return {"cranfield": cranfield(data), "banking": banking(data)}


def some_of(n: int, size: int, draw: int) -> torch.Tensor:
    """Return the numbers of so many of n items, drawn by chance."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(draw))[:size]


def asked_of(sets: Mapping[str, World], run: Run, old: str, new: str, draw: int) -> dict[str, Any]:
    """Return the arguments of `advise`."""
    world, pairs = sets[run.searched], None
    documents, queries, judgements = world.searched
    sample = documents[new].take(some_of(DOCUMENTS, run.pairs if run.of == run.searched else SAMPLE, draw))
    if run.of != run.searched:
        items = world.others if run.of == "others" else sets[run.of].documents
        some = some_of(len(items[old]), run.pairs, draw)
        pairs = [items[encoder].take(some) for encoder in (old, new)]
    return {
        "old": documents[old], "new": sample, "pairs": pairs, "judgements": judgements,
        "queries_old": queries[old], "queries_new": queries[new],
    }  # fmt: skip


def measured(sets: Mapping[str, World], run: Run, old: str, new: str, draw: int) -> dict[str, Any]:
    """Return what is advised from a sample, and what hindsight says: the same maps measured on all new vectors."""
    given = asked_of(sets, run, old, new, draw)
    question, all_known = (question_of(**given, new_index=one) for one in (None, sets[run.searched].documents[new]))
    pairs, everything, gate = question.whole.pairs, all_known.whole, Gate.of(GATE)
    methods = {way: choose(pairs, role)[0] for way, role in zip(MAPS, ROLES, strict=True)}
    maps = {way: Maps.of(method.create(), pairs, way) for way, method in methods.items()}
    ways = Measured(question.trial, question.whole, question.given, gate, methods, maps).ways()
    whole = Measured(everything, everything, question.given, gate, methods, maps)
    hindsight = {way.name: way for way in whole.ways()}
    return {
        "searched": run.searched, "pairs of": run.of, "pairs": run.pairs, "draw": draw, "old": old, "new": new,
        "advised": verdict(ways, gate, True)[0], "right": verdict([*hindsight.values()], gate, True)[0],
        "figures": {name: round(way.figures[gate.measure].value, 5) for name, way in hindsight.items()},
        "share": {name: round(way.share.value, 5) for name, way in hindsight.items()},
        "depth": hindsight["re-order"].depth,
        "methods": {way: str(method) for way, method in methods.items()},
        **({"rolling": mixed(whole, maps["convert"])} if run == MAIN and not draw else {}),
    }  # fmt: skip


def mixed(whole: Measured, maps: Maps) -> dict[str, dict[float, float]]:
    """Return the figure of a mixed index by order and by the share that is embedded anew."""
    trial = whole.trial
    converted = torch.cat(list(trial.converted(maps)))
    far = leverage(trial.pairs.new)(converted).argsort(descending=True)
    doubtful = curves(whole, converted, {"farthest from the pairs first": [far, far]})
    found = {**rolling(whole, maps), **doubtful}
    return {name: {share: round(figure.value, 5) for share, figure in one.items()} for name, one in found.items()}


def all_runs(data: Path, draws: int) -> Iterator[dict[str, Any]]:
    """Yield the outcome of every run, draw by draw and change by change."""
    sets = sets_of(data)
    for draw, run in itertools.product(range(draws), RUNS):
        for old, new in CHANGES if draw < run.draws else ():
            yield measured(sets, run, old, new, draw)


def example(data: Path, folder: Path) -> None:
    """Write what docs/migrate.md begins with: an index by USE, 1,000 of its documents by MiniLM, and judgements."""
    documents, queries, _ = cranfield(data).searched
    written = {
        **{f"index/part-{k}": documents["use"].take(rows) for k, rows in enumerate(torch.arange(DOCUMENTS).chunk(4))},
        "sample": documents["minilm"].take(some_of(DOCUMENTS, 1000, 0)),
        "queries-old": queries["use"],
        "queries-new": queries["minilm"],
        "embedded": documents["minilm"],
    }
    for name, made in written.items():
        made.save_pretrained(folder / f"{name}.parquet", overwrite=True)
    shutil.copyfile(data / "cranfield" / "cranqrel.trec.txt", folder / "cranqrel.trec.txt")


def main() -> None:
    """Measure all, or write the example."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("data", type=Path)
    parser.add_argument("--example", type=Path, metavar="FOLDER", help="write the files of docs/migrate.md instead")
    parser.add_argument("--draws", type=int, default=max(run.draws for run in RUNS), help="draws of pairs, at most")
    given, found = parser.parse_args(), []
    if given.example:
        example(given.data, given.example)
        return
    for one in all_runs(given.data, given.draws):
        found.append(json.dumps(one))
        shown = ("draw", "searched", "pairs of", "pairs", "old", "new", "advised", "right")
        print(*(one[key] for key in shown), flush=True)
        with whole_file(HERE / "results.json") as temporary:
            temporary.write_text("[\n" + ",\n".join(found) + "\n]\n")


if __name__ == "__main__":
    main()
