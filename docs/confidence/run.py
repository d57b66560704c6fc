"""How well maps know where they are wrong: predicted beside true errors, within the domain of the fit and without.

Every ordered pair of encoders is fitted on one set of texts, and tried on others of the same kind and on those of
another. Vectors lie in one folder as `<set>.<encoder>.npy`, row by row of the same texts for all encoders.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

import atlas
from atlas.progress import bar
from atlas.storage.files import whole_file

SETS = ("banking-train", "banking-test", "cran-docs")
ENCODERS = ("use", "minilm", "e5", "wordllama")


@click.command(help=__doc__)
@click.argument("vectors", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", default=Path(__file__).parent / "results.json", type=click.Path(path_type=Path))
@click.option("--method", "methods", multiple=True, default=("linear", "procrustes"), show_default=True)
@click.option("--encoder", "encoders", multiple=True, default=ENCODERS, show_default=True)
@click.option("--sets", nargs=3, default=SETS, show_default=True, help="To fit on, like it, and unlike it.")
def run(vectors: Path, out: Path, methods: tuple[str, ...], encoders: tuple[str, ...], sets: tuple[str, ...]) -> None:
    """Measure every pair, and write the figures."""
    views = {
        (name, encoder): atlas.Vectors.of(np.load(vectors / f"{name}.{encoder}.npy").astype(np.float32), encoder)
        for name in sets
        for encoder in encoders
    }
    pairs = list(itertools.product(methods, itertools.permutations(encoders, 2)))
    found = [
        measured(method, *({name: views[name, encoder] for name in sets} for encoder in pair))
        for method, pair in bar(pairs, len(pairs), "Fitting")
    ]
    with whole_file(out) as temporary:
        temporary.write_text(json.dumps({"sets": sets, "results": found}, indent=1) + "\n", encoding="utf-8")


def measured(method: str, source: dict[str, atlas.Vectors], target: dict[str, atlas.Vectors]) -> dict[str, object]:
    """Return the figures of one map."""
    fitted, like, unlike = source
    made = atlas.fit(method, source=source[fitted], target=target[fitted], confidence=True)
    assert made.domain is not None
    errors = {name: (made(source[name]).data - target[name].data).norm(dim=1) for name in (like, unlike)}
    told = {name: made.confidence(source[name]) for name in (like, unlike)}
    sides = {"source": made.source.id, "target": made.target.id, "method": method, "n": made.n_pairs}
    both = [torch.cat([part[like], part[unlike]]) for part in (told, errors)]
    return {
        **sides,
        "dim": made.source.dim,
        "level": made.domain.level,
        "error": made.domain.error,
        "both": rank_correlation(*both),
        **{name: of_set(made, source[name], target[name], told[name], errors[name]) for name in (like, unlike)},
    }


def of_set(made: atlas.Alignment, X: atlas.Vectors, Y: atlas.Vectors, told: Tensor, errors: Tensor) -> dict[str, float]:
    """Return the figures of one set: how far out it lies, predicted and true errors, and their correlation."""
    assert made.domain is not None
    return {
        "leverage": float(made.domain.leverage(X.data).mean()),
        "outside": float(made.domain.outside(X.data).double().mean()),
        "predicted": rms(told),
        "true": rms(errors),
        "cosine": float(torch.cosine_similarity(made(X).data, Y.data).mean()),
        "correlation": rank_correlation(told, errors),
    }


def rms(values: Tensor) -> float:
    """Return the root of the mean square."""
    return float(values.double().square().mean().sqrt())


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Return Spearman's rank correlation."""
    ranks = torch.stack([t.argsort().argsort().double() for t in (a, b)])
    return float(torch.corrcoef(ranks)[0, 1])


if __name__ == "__main__":
    run()
