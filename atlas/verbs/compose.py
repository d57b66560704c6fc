"""Alignments, one after another, to one."""

from __future__ import annotations

import itertools

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.composed import Composed
from atlas.errors import AtlasError


def compose(*alignments: Alignment, id: str = "") -> Alignment:
    """Apply alignments one after another, as one: each must reach the space the next one maps from."""
    if not alignments:
        raise AtlasError("Composing needs at least one alignment, got none")
    for first, second in itertools.pairwise(alignments):
        second.source.require(first.target, f"Alignment '{second.id}' maps from", f"the vectors '{first.id}' makes")
    aligner = Composed.of([(alignment.aligner, False) for alignment in alignments])
    pairs = min(alignment.n_pairs for alignment in alignments)
    names = {alignment.anchors for alignment in alignments}
    anchors = names.pop() if len(names) == 1 else ""
    return Alignment.of(aligner, alignments[0].source, alignments[-1].target, id, n_pairs=pairs, anchors=anchors)
