"""The pairs that a map finds, for whatever else they are good for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

import atlas
from atlas_bootstrap.matching import mutual


def matched(
    alignment: atlas.Alignment,
    source: atlas.Vectors,
    target: atlas.Vectors,
    n: int,
    seeds: atlas.Anchors | Sequence[str] = (),
) -> Tensor:
    """Return pairs of rows (r, 2) of source and target, r at most n: the seeds first, then the most alike under a map.

    Of the others, a row is paired with the one it is most like if that is most like it, too, and of these the n most
    alike are taken; no row is in two pairs.

    Args:
        alignment: from the source's space to the target's.
        source: vectors to find partners for.
        target: vectors among which the partners are.
        n: how many pairs, the seeds included.
        seeds: ids of items that are in both.
    """
    ids = list(seeds.ids if isinstance(seeds, atlas.Anchors) else seeds)
    if n < max(len(ids), 2):
        raise atlas.AtlasError(f"Cannot match {n} pairs, of which {len(ids)} are seeds - ask for more")
    alignment.target.require(target.space, f"Alignment '{alignment.id}' maps to", "the vectors to match")
    mapped = alignment(source).data.double()
    centre = target.data.double().mean(0)
    known = torch.stack([source.numbers_of(ids, "the seeds"), target.numbers_of(ids, "the seeds")], 1)
    found, _ = mutual(mapped - centre, target.data.double() - centre)
    fresh = ~(torch.isin(found[:, 0], known[:, 0]) | torch.isin(found[:, 1], known[:, 1]))
    return torch.cat([known, found[fresh]])[:n]


def parallel_anchors(
    rows: Tensor, source: atlas.Vectors, target: atlas.Vectors, *, id: str = "bootstrapped"
) -> atlas.Anchors:
    """Return pairs of rows as anchors with their vectors in both spaces, under the ids of the source's items.

    Both sides can be fitted on them alone, by 'relative' for example, and reach the same space.

    Args:
        rows: (k, 2) numbers of rows of source and target, as `matched` or `BootstrapAnchors.found` return them.
        source: vectors.
        target: vectors of another space.
        id: of the anchors.
    """
    if source.space.id == target.space.id:
        raise atlas.AtlasError(f"Anchors need spaces of two ids, got '{source.space.id}' twice - rename one of them")
    ours = source.take(rows[:, 0])
    # The rows alone: one of the target may be the match of several of the source.
    theirs = atlas.Vectors.of(target.data[rows[:, 1]], target.space, ids=ours.ids)
    return atlas.Anchors.of(id, ours.ids, ours, theirs, dataset=source.dataset)
