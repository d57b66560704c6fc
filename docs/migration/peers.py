"""The map and the gate of isotrieve, a tool that converts indexes in place, beside those of `advise`.

    pip install isotrieve
    python docs/migration/peers.py ../shared/data

measures both on the same pairs, documents and queries in one run, into peers.json, in some five minutes of one core.
The folder is that of study.py.
"""

from __future__ import annotations

import argparse
import itertools
import json
import warnings
from collections import Counter
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import study
import torch
from torch import Tensor

from atlas.components.aligner import Aligner
from atlas.components.choosing import ROLES
from atlas.migration.advising import question_of
from atlas.migration.methods import choose
from atlas.migration.scoring import Figure, resampled, scorer
from atlas.migration.trial import Maps
from atlas.storage.files import whole_file

HERE = Path(__file__).parent
# What is searched, and how many of its documents are pairs.
RUNS = (("cranfield", 1000), ("cranfield", 300), ("banking", 300), ("banking", 1000))


@dataclass
class Peer(Aligner):
    """isotrieve's map as it is by default: ridge by cross-validation over its own grid, rows of length 1."""

    name = "isotrieve"

    def _fit(self, X: Tensor, Y: Tensor | None) -> dict[str, Tensor]:
        from isotrieve import RidgeMapping

        assert Y is not None
        fitted = RidgeMapping().fit(X.double().numpy(), Y.double().numpy())
        return {"weight": torch.from_numpy(np.asarray(fitted._W))}

    def _transform(self, X: Tensor) -> Tensor:
        weight = self.state["weight"].to(X)
        return torch.nn.functional.normalize(torch.addmm(weight[-1], X, weight[:-1]))

    @property
    def d_source(self) -> int:
        """One row of the weight is the bias."""
        return len(self.state["weight"]) - 1

    @property
    def d_target(self) -> int:
        """Columns of the weight."""
        return self.state["weight"].shape[1]


def gate(old: Tensor, new: Tensor, at: Tensor) -> dict[str, Any]:
    """Return what isotrieve's gate says of a map fitted on some rows, by the others, as its documentation asks."""
    from isotrieve import RidgeMapping
    from isotrieve.quality.gate import QualityGate

    X, Y = old.double().numpy(), new.double().numpy()
    fresh = np.setdiff1d(np.arange(len(X)), at.numpy())
    said = QualityGate().evaluate(RidgeMapping().fit(X[at], Y[at]), X[fresh], Y[fresh])
    return {"verdict": said.verdict.value, "predicted": said.predicted_retention, "interval": said.prediction_interval}


def measured(sets: dict[str, study.World], run: tuple[str, int], old: str, new: str) -> dict[str, Any]:
    """Return nDCG@10 of an index converted by the map that `advise` takes, and by isotrieve's, and both verdicts."""
    name, n = run
    documents, queries, judgements = sets[name].searched
    trial = question_of(
        old=documents[old],
        new=documents[new].take(study.some_of(study.DOCUMENTS, n, 0)),
        new_index=documents[new],
        queries_old=queries[old],
        queries_new=queries[new],
    ).whole
    pairs = trial.pairs
    score = scorer(judgements)

    def ndcg(found: Tensor) -> Tensor:
        return score(trial.queries, trial.documents, found)["ndcg@10"]

    method = choose(pairs, ROLES[0])[0]
    ours, theirs = (ndcg(trial.convert(Maps.of(one, pairs, "convert"))) for one in (method.create(), Peer()))
    stay, ceiling = ndcg(trial.stay()), ndcg(trial.re_embed())
    draws = (ours - theirs)[resampled(len(ours))].mean(1)
    low, high = draws.quantile(draws.new_tensor([0.025, 0.975])).tolist()
    return {
        "searched": name, "pairs": n, "old": old, "new": new, "method": str(method),
        "stay": float(stay.mean()), "re-embed": float(ceiling.mean()),
        "atlas": float(ours.mean()), "isotrieve": float(theirs.mean()),
        "difference": [float((ours - theirs).mean()), low, high],
        "kept": Figure.ratio(theirs, ceiling).value,
        "gate": gate(documents[old].data, documents[new].data, pairs.at),
    }  # fmt: skip


def results() -> dict[str, Any]:
    """Return what was measured last."""
    return json.loads((HERE / "peers.json").read_text())


def table() -> str:
    """Return a table of both maps, in points of nDCG@10, and of isotrieve's gate beside what its map kept."""
    lines = [
        "| searched, pairs | old, new | stay | isotrieve | `advise` | difference | re-embed | gate: predicted | kept |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results()["changes"]:
        points = [f"{100 * r[key]:.1f}" for key in ("stay", "isotrieve", "atlas", "re-embed")]
        value, low, high = (100 * v for v in r["difference"])
        difference = f"{value:+.1f} ({low:+.1f} to {high:+.1f})"
        said = f"{r['gate']['verdict']}: {r['gate']['predicted']:.2f} | {r['kept']:.2f}"
        where = f"{r['searched']}, {r['pairs']:,} | {r['old']}, {r['new']}"
        lines.append(f"| {where} | {' | '.join([*points[:3], difference, points[3]])} | {said} |")
    return "\n".join(lines)


def findings() -> str:
    """Return what the figures say, in sentences."""
    rows = results()["changes"]
    better = sum(r["difference"][1] > 0 for r in rows)
    worse = sum(r["difference"][2] < 0 for r in rows)
    error = np.mean([abs(r["gate"]["predicted"] - r["kept"]) for r in rows])
    inside = sum(r["gate"]["interval"][0] <= r["kept"] <= r["gate"]["interval"][1] for r in rows)
    verdicts = Counter(r["gate"]["verdict"] for r in rows).most_common()
    told = " and ".join(f"{said} in {n} of {len(rows)}" for said, n in verdicts)
    predicted, kept = ([r["gate"]["predicted"] for r in rows], [r["kept"] for r in rows])
    worth = {key: sum(r[key] > r["stay"] for r in rows) for key in ("isotrieve", "atlas")}
    means = {
        name: 100 * np.mean([r["difference"][0] for r in rows if r["searched"] == name])
        for name in ("cranfield", "banking")
    }
    return "\n".join(
        [
            f"- Of {len(rows)} converted indexes, that by the map of `advise` finds more than isotrieve's by more than "
            f"chance in {better}, and less in {worse}; the mean difference is {means['cranfield']:+.1f} points on "
            f"Cranfield and {means['banking']:+.1f} on banking77, which no choice of `advise` was made on.",
            "- The index converted by isotrieve finds more than the old one with the old model in "
            f"{worth['isotrieve']} of {len(rows)}, that by `advise` in {worth['atlas']}.",
            f"- The gate says {told}: its predictions of how much of the new model's figure is kept lie from "
            f"{min(predicted):.2f} to {max(predicted):.2f}, where {min(kept):.2f} to {max(kept):.2f} were kept; they "
            f"are off by {error:.2f} in the mean, and {inside} of its 80 % intervals hold what was kept.",
        ]
    )


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with vectors/ and cranfield/")
    data = parser.parse_args().data
    # Of fewer pairs than ten for each dimension, which the page says.
    warnings.filterwarnings("ignore", "K=")
    sets = study.sets_of(data)
    changes = []
    for run, (old, new) in itertools.product(RUNS, itertools.permutations(study.ENCODERS, 2)):
        changes.append(measured(sets, run, old, new))
        print(run, old, new, *(f"{100 * changes[-1][key]:.1f}" for key in ("isotrieve", "atlas")), flush=True)
    made = {"isotrieve": metadata.version("isotrieve"), "changes": changes}
    with whole_file(HERE / "peers.json") as temporary:
        temporary.write_text(json.dumps(made, indent=1) + "\n")
    print(findings())


if __name__ == "__main__":
    main()
