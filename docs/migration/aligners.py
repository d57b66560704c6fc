"""Each aligner that comes with Atlas and has a closed form, to convert an index and to bridge to it.

    python docs/migration/aligners.py ../shared/data

measures nDCG@10 into aligners.json, in some four minutes of one core: in each set the six changes to a better encoder,
from 100 and from 1,000 pairs of the index's own documents, none of which is searched through a map that has seen it.
The folder is that of study.py.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import study
from variants import CHANGES

from atlas import create
from atlas.components.aligner import Aligner
from atlas.migration.advice import MAPS
from atlas.migration.advising import question_of
from atlas.migration.judgements import relevant
from atlas.migration.scoring import scorer
from atlas.migration.trial import Maps
from atlas.storage.files import whole_file

HERE = Path(__file__).parent
PAIRS, FOLDS = (100, 1000), 4
# Old and new models, the new one being the better, which e5 is on one set beside WordLlama, and WordLlama on the other.
BETTER = {
    "cranfield": CHANGES,
    "banking": tuple(one if one != ("wordllama", "e5") else ("e5", "wordllama") for one in CHANGES),
}
# Their names in the table. `auto` takes one of them.
TRIED: Mapping[str, tuple[str, dict[str, Any]]] = {
    "`procrustes`": ("procrustes", {}),
    "`linear-orthogonal`": ("linear-orthogonal", {}),
    "`low-rank`": ("low-rank", {}),
    "`linear`": ("linear", {}),
    "`linear`, ridge 0.3": ("linear", {"ridge": 0.3}),
    "`linear`, ridge 1": ("linear", {"ridge": 1.0}),
    "`two-way`": ("two-way", {}),
    "`cca`": ("cca", {}),
    "`cca`, ridge 1": ("cca", {"ridge": 1.0}),
    "`cca`, ridge 3": ("cca", {"ridge": 3.0}),
    "`kernel`": ("kernel", {}),
    "`kernel` with `spread`": ("kernel", {"spread": True}),
}


def measured(world: study.World, pairs: int, old: str, new: str) -> dict[str, dict[str, float]]:
    """Return nDCG@10 of each aligner in points, for both ways."""
    documents, queries, judgements = world.searched
    trial = question_of(
        old=documents[old],
        new=documents[new].take(study.some_of(study.DOCUMENTS, pairs, 0)),
        new_index=documents[new],
        queries_old=queries[old],
        queries_new=queries[new],
    ).whole
    score = scorer(relevant(judgements, trial.queries, trial.documents))
    found: dict[str, dict[str, float]] = {}
    for told, (name, options) in TRIED.items():
        for way in MAPS:
            finds = getattr(trial, way)(Maps.of(create(Aligner, name, options), trial.pairs, way, FOLDS))
            value = score(trial.queries, trial.documents, finds)["ndcg@10"].mean()
            found.setdefault(told, {})[way] = round(100 * float(value), 3)
    return found


def table(searched: str) -> str:
    """Return means over the six changes of a set."""
    rows = [r for r in json.loads((HERE / "aligners.json").read_text()) if r["searched"] == searched]
    heads = [f"{way}, {pairs:,} pairs" for way in MAPS for pairs in PAIRS]
    made = [f"| aligner | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
    for told in TRIED:
        cells = []
        for way in MAPS:
            for pairs in PAIRS:
                values = [r["found"][told][way] for r in rows if r["pairs"] == pairs]
                cells.append(f"{sum(values) / len(values):.1f}")
        made.append(f"| {told} | {' | '.join(cells)} |")
    return "\n".join(made)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("data", type=Path)
    sets, made = study.sets_of(parser.parse_args().data), []
    for searched, pairs in itertools.product(BETTER, PAIRS):
        for old, new in BETTER[searched]:
            found = measured(sets[searched], pairs, old, new)
            made.append({"searched": searched, "pairs": pairs, "old": old, "new": new, "found": found})
            print(searched, pairs, old, new, found, flush=True)
    with whole_file(HERE / "aligners.json") as temporary:
        temporary.write_text("[\n" + ",\n".join(json.dumps(one) for one in made) + "\n]\n")
