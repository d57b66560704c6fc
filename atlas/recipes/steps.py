"""What each verb of a recipe does, given everything its arguments stand for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from atlas.artefacts.loading import save
from atlas.cards.kinds import Metric
from atlas.progress import Progress
from atlas.recipes.tables import FIELDS
from atlas.verbs.aggregate import aggregate, extend
from atlas.verbs.apply import apply
from atlas.verbs.arguments import make_ready
from atlas.verbs.compare import Comparison, compare
from atlas.verbs.compose import compose
from atlas.verbs.encode import encode
from atlas.verbs.evaluate import evaluate
from atlas.verbs.fit import fit
from atlas.verbs.predict import predict
from atlas.verbs.sample import sample
from atlas.verbs.stitch import stitch
from atlas.verbs.train import train

# Arguments that do not change the result: where to compute, and in what batches.
HOW = ("batch_size", "device")
Given = Mapping[str, Any]
# A variable of a recipe may well be called n.
RENAMED = {"name": "metric", "n": "items"}


def _named(given: Given) -> dict[str, Any]:
    return {**given.get("options", {}), **({"id": given["id"]} if "id" in given else {})}


def _how(given: Given) -> dict[str, Any]:
    return {name: given[name] for name in HOW if name in given}


def _encode(given: Given, target: Path, progress: Progress) -> None:
    made = encode(
        given["encoder"],
        given["input"],
        out=target,
        id=given.get("id"),
        overwrite=True,
        progress=progress,
        **_how(given),
    )
    given["encoder"].stored_id = made.space.id


def _sample(given: Given, target: Path, progress: Progress) -> None:
    seed = given.get("seed", 0)
    anchors = sample(given["sampler"], given["vectors"], given["n"], seed=seed, **_named(given))
    for view in given.get("also", ()):
        anchors = anchors.encoded_in(view)
    save(anchors, target, overwrite=True)


def _fit(given: Given, target: Path, progress: Progress) -> None:
    made = fit(
        given["aligner"],
        source=given["source"],
        target=given.get("target"),
        anchors=given.get("anchors"),
        progress=progress,
        **_named(given),
    )
    save(made, target, overwrite=True)


def _train(given: Given, target: Path, progress: Progress) -> None:
    seed = given.get("seed", 0)
    save(train(given["head"], given["vectors"], seed=seed, **_named(given)), target, overwrite=True)


def _compose(given: Given, target: Path, progress: Progress) -> None:
    parts = [*given.get("alignments", ()), *(alignment.inverse() for alignment in given.get("backwards", ()))]
    save(compose(*parts, **_named(given)), target, overwrite=True)


def _aggregate(given: Given, target: Path, progress: Progress) -> None:
    made = aggregate(given["aggregator"], *given["vectors"], anchors=given.get("anchors"), **_named(given))
    save(made, target, overwrite=True)


def _extend(given: Given, target: Path, progress: Progress) -> None:
    save(extend(given["atlas"], *given["vectors"], **_named(given)), target, overwrite=True)


def _chart(given: Given, target: Path, progress: Progress) -> None:
    save(given["atlas"].chart(given["space"]).with_card(**_named(given)), target, overwrite=True)


def _apply(given: Given, target: Path, progress: Progress) -> None:
    backwards = given.get("inverse", False)
    apply(given["mapping"], *given["vectors"], out=target, inverse=backwards, overwrite=True, progress=progress)


def figure(measured: Metric | Comparison) -> dict[str, Any]:
    """Return a figure as plain data under the names of `FIELDS`, what is not known of it left out."""
    plain = dataclasses.asdict(measured)
    renamed = {RENAMED.get(name, name): value for name, value in plain.items()}
    return {name: renamed[name] for name in FIELDS if renamed.get(name) not in (None, "")}


def _evaluate(given: Given, target: Path, progress: Progress) -> list[dict[str, Any]]:
    found = evaluate(
        given["alignment"],
        source=given["source"],
        target=given["target"],
        head=given.get("head"),
        metrics=given.get("metrics"),
    )
    return [figure(metric) for metric in found]


def _compare(given: Given, target: Path, progress: Progress) -> list[dict[str, Any]]:
    found = compare(*given["vectors"], metrics=given.get("metrics", ("cka",)))
    return [figure(one) for one in found]


def _stitch(given: Given, target: Path, progress: Progress) -> list[dict[str, Any]]:
    make_ready(given["encoder"], given["input"])
    model = stitch(given["encoder"], given.get("alignment"), given["head"])
    found = predict(model, given["input"], progress=progress, **_how(given))
    return [figure(metric) for metric in found]


DO: dict[str, Callable[[Given, Path, Progress], list[dict[str, Any]] | None]] = {
    "encode": _encode,
    "sample": _sample,
    "fit": _fit,
    "train": _train,
    "compose": _compose,
    "aggregate": _aggregate,
    "extend": _extend,
    "chart": _chart,
    "apply": _apply,
    "evaluate": _evaluate,
    "compare": _compare,
    "stitch": _stitch,
}
