"""One search over indexes of four models, beside embedding everything with the model of the queries.

    python docs/search/indexes.py ../shared/data

measures everything into indexes.json. Documents are dealt out to four encoders, by chance or by subject, and searched
with queries of each. Maps and atlas are fitted on as many other documents. The folder holds vectors/, made by four
public encoders, cranfield/ and banking77/.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import atlas
from atlas import Vectors
from atlas.authors import unit
from atlas.migration.judgements import relevant
from atlas.migration.scoring import scorer
from atlas.storage.files import whole_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "migration"))
import study  # noqa: E402

SEEDS = 3
ENCODERS = study.ENCODERS
WAYS = {
    "re-embedded": "all embedded by the queries' model",
    "own": "the index of the queries' model alone",
    "cosine": "maps, merged by cosine",
    "standardised": "maps, cosines less their mean over the index, in standard deviations",
    "calibrated": "maps, calibrated on pairs",
    "rank": "maps, merged by rank",
    "atlas, cosine": "an atlas (generalized-procrustes), merged by cosine",
    "atlas, rank": "an atlas, merged by rank",
}


def subjects(data: Path) -> list[str]:
    """Return the intent of each question."""
    with (data / "banking77" / "train.csv").open(encoding="utf-8", newline="") as file:
        return [row["category"] for row in csv.DictReader(file)]


def measured(
    sets: Mapping[str, study.World], name: str, dealt: str, names: Sequence[str], seed: int
) -> list[dict[str, Any]]:
    """Return nDCG@10 of each way, for queries of each encoder."""
    documents, queries, judgements = sets[name].searched
    order = torch.randperm(study.DOCUMENTS, generator=torch.Generator().manual_seed(seed))
    fitted, held = order.chunk(2)
    pairs, searched = ({e: documents[e].take(rows) for e in ENCODERS} for rows in (fitted, held))
    ids = list(searched["use"].ids)
    if dealt == "by subject":
        kinds = sorted(set(names))
        part = torch.tensor([kinds.index(names[int(i)]) % 4 for i in ids])
    else:
        part = torch.arange(len(ids)) % 4
    parts = {e: searched[e].take((part == k).nonzero()[:, 0]) for k, e in enumerate(ENCODERS)}
    together = atlas.aggregate("generalized-procrustes", *pairs.values())
    about = {"set": name, "dealt": dealt, "seed": seed}
    return [
        {**about, "queries": new, **ways(new, queries[new], pairs, parts, searched[new], together, judgements, ids)}
        for new in ENCODERS
    ]


def ways(
    new: str, asked: Vectors, pairs: Any, parts: Any, everything: Vectors, together: Any, judgements: Any, ids: Any
) -> dict[str, float]:
    """Return nDCG@10 of each way, in points."""
    maps = [atlas.fit("kernel", source=pairs[e], target=pairs[new]) for e in ENCODERS if e != new]
    score = scorer(relevant(judgements, asked.ids, ids))
    place = {id: i for i, id in enumerate(ids)}

    def figure(answers: Sequence[Any]) -> float:
        rows = [[place[id] for id in answer.ids] for answer in answers]
        return 100 * float(score(asked.ids, ids, rows)["ndcg@10"].mean())

    found = {
        "re-embedded": figure(atlas.search(maps, asked, everything)),
        "own": figure(atlas.search(maps, asked, parts[new])),
        **{merge: figure(atlas.search(maps, asked, [*parts.values()], merge=merge)) for merge in ("cosine", "rank")},
        **{
            f"atlas, {merge}": figure(atlas.search(together, asked, parts, merge=merge)) for merge in ("cosine", "rank")
        },
    }
    for name, scores in others(asked, {made.source.id: made for made in maps}, pairs, parts).items():
        numbers = torch.tensor([place[id] for part in parts.values() for id in part.ids])
        found[name] = 100 * float(score(asked.ids, ids, numbers[scores.topk(10).indices])["ndcg@10"].mean())
    return found


def others(asked: Vectors, maps: Any, pairs: Any, parts: Any) -> dict[str, Tensor]:
    """Return scores (q, n) of all documents by ways that are not offered: standardised, and calibrated."""
    standardised, calibrated = [], []
    for e, part in parts.items():
        made = maps.get(e)
        scores = unit(asked.data) @ unit(made(part.data) if made else part.data).T
        standardised.append((scores - scores.mean(1, keepdim=True)) / scores.std(1, keepdim=True))
        if made:
            target = pairs[made.target.id]
            known = atlas.calibrate(made, source=pairs[e], target=target, queries=target).calibration["index"]
            scores = known.scores(scores)
        calibrated.append(scores)
    return {"standardised": torch.cat(standardised, 1), "calibrated": torch.cat(calibrated, 1)}


def table() -> str:
    """Return nDCG@10 of each way, means over encoders and seeds."""
    found = json.loads((HERE / "indexes.json").read_text())
    groups = [("Cranfield", "by chance"), ("banking77", "by chance"), ("banking77", "by subject")]
    rows = [[r for r in found if (r["set"], r["dealt"]) == group] for group in groups]
    lines = ["| | " + " | ".join(f"{name}, dealt out {dealt}" for name, dealt in groups) + " |", "|---|---|---|---|"]
    for way, told in WAYS.items():
        means = (sum(r[way] for r in some) / len(some) for some in rows)
        lines.append(f"| {told} | {' | '.join(f'{mean:.1f}' for mean in means)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("data", type=Path)
    data, made = parser.parse_args().data, []
    sets, names = {"Cranfield": study.cranfield(data), "banking77": study.banking(data)}, subjects(data)
    for group in (("Cranfield", "by chance"), ("banking77", "by chance"), ("banking77", "by subject")):
        for seed in range(SEEDS):
            made += measured(sets, *group, names, seed)
            print(*group, seed, flush=True)
    with whole_file(HERE / "indexes.json") as temporary:
        temporary.write_text(json.dumps(made) + "\n")
