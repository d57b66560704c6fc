"""What a handful of pairs is good for: retrieval by what is fitted on them alone, and by what grows from them.

    python few_pairs.py SOURCE TARGET TEST_SOURCE TEST_TARGET [--seeds 15] [--draws 5] [--items same|other]
        [--optimise 1000]

SOURCE and TARGET are vectors (folders, files or ids) of the same items in two spaces, to fit on, and the TESTs those of
other items, to measure on. Each draw takes other seeds, which are the pairs that are known. Of all others, both sides
get all ("same items"), or each side one half ("other items"); whose partner is whose is not told.

Prints the mean reciprocal rank of the partner of each test item among all test items, its standard deviation over the
draws, and the seconds of the processor that fitting took; what a line above it has fitted is not counted again.
--optimise ROWS also measures 'bootstrap-anchors', on so many rows.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

import atlas
from atlas_bootstrap import BootstrapAnchors, matched, parallel_anchors

ANCHORS = 300
Sides = tuple[atlas.Vectors, atlas.Vectors]
Maps = tuple[Callable[[Any], Any], Callable[[Any], Any]]


def dealt(whole: Sides, seeds: int, same: bool, draw: int) -> tuple[Sides, list[str]]:
    """Return what either side gets, and the ids of the seeds."""
    order = torch.randperm(len(whole[0]), generator=torch.Generator().manual_seed(draw))
    known, rest = order[:seeds], order[seeds:]
    middle = len(rest) // 2
    parts = (rest, rest) if same else (rest[:middle], rest[middle:])
    source, target = (v.take(torch.cat([known, part])) for v, part in zip(whole, parts, strict=True))
    return (source, target), [whole[0].ids[row] for row in known.tolist()]


def relative(anchors: atlas.Anchors, centre: bool) -> Maps:
    """Return the two halves of a relative representation, each fitted alone on its own vectors of the anchors."""
    sides = (anchors.vectors(space.id) for space in anchors.spaces)
    source, target = (atlas.fit("relative", source=side, centre=centre) for side in sides)
    return source, target


def anchors_of(whole: Sides, ids: list[str]) -> atlas.Anchors:
    """Return items as anchors, with their vectors in both spaces."""
    return atlas.Anchors.of("true", ids, *whole)


class Ways:
    """Every way to make two spaces comparable, given what either side holds and the ids of the seeds."""

    def __init__(self, whole: Sides, sides: Sides, seeds: list[str], optimise: int) -> None:
        self.whole, self.sides, self.seeds = whole, sides, seeds
        self.optimised = BootstrapAnchors(folds=0, rows=optimise, anchors=ANCHORS) if optimise else None

    @functools.cached_property
    def bootstrap(self) -> atlas.Alignment:
        """The map that the default of this plugin finds."""
        return self.fitted("bootstrap", folds=0)

    def fitted(self, aligner: Any, **options: Any) -> atlas.Alignment:
        """Return what an aligner makes of the seeds, and of all other vectors if it can."""
        return atlas.fit(aligner, source=self.sides[0], target=self.sides[1], anchors=self.seeds, **options)

    def on_all(self, aligner: str) -> atlas.Alignment:
        """Return what an aligner makes of all pairs, which nobody has who needs this plugin."""
        return atlas.fit(aligner, source=self.whole[0], target=self.whole[1])

    def maps(self) -> Iterator[tuple[str, Callable[[], atlas.Alignment]]]:
        """Yield the name of each map from the source to the target, and what fits it."""
        yield "seeds: linear", lambda: self.fitted("linear")
        yield "seeds: procrustes", lambda: self.fitted("procrustes")
        yield "bootstrap", lambda: self.bootstrap
        yield "bootstrap, neighbours 1", lambda: self.fitted("bootstrap", folds=0, neighbours=1)
        yield "bootstrap, method linear", lambda: self.fitted("bootstrap", folds=0, method="linear")
        if self.optimised:
            yield "bootstrap-anchors", lambda: self.fitted(self.optimised)
        yield "all pairs: linear", lambda: self.on_all("linear")
        yield "all pairs: procrustes", lambda: self.on_all("procrustes")

    def anchors(self) -> Iterator[tuple[str, Callable[[], atlas.Anchors]]]:
        """Yield the name of each choice of anchors, and what returns them; those optimised have been fitted before."""
        some = torch.randperm(len(self.whole[0]), generator=torch.Generator().manual_seed(0))[:ANCHORS]
        rows = lambda: matched(self.bootstrap, *self.sides, ANCHORS, self.seeds)  # noqa: E731
        yield "seeds", lambda: anchors_of(self.whole, self.seeds)
        yield f"{ANCHORS} by bootstrap", lambda: parallel_anchors(rows(), *self.sides)
        if found := self.optimised:
            yield f"{ANCHORS} by bootstrap-anchors", lambda: parallel_anchors(found.found, *self.sides)
        yield f"{ANCHORS} true anchors", lambda: anchors_of(self.whole, [self.whole[0].ids[row] for row in some])

    def __iter__(self) -> Iterator[tuple[str, Callable[[], Maps]]]:
        """Yield the name of each way, and what returns a map for either side."""
        for name, fit in self.maps():
            yield name, lambda fit=fit: (fit(), lambda Y: Y)
        for name, chosen in self.anchors():
            for centre in (False, True):
                label = f"{name}: relative{', centred' if centre else ''}"
                yield label, functools.partial(lambda chosen, centre: relative(chosen(), centre), chosen, centre)


def measured(whole: Sides, test: Sides, seeds: int, draws: int, same: bool, optimise: int) -> dict[str, list[Any]]:
    """Return the figure and the seconds of each draw, by way."""
    from atlas import metrics

    figures: dict[str, list[Any]] = {}
    for draw in range(draws):
        sides, known = dealt(whole, seeds, same, draw)
        for name, fitted in Ways(whole, sides, known, optimise):
            start = time.process_time()
            either = fitted()
            seconds = time.process_time() - start
            mapped = [one(v.data) for one, v in zip(either, test, strict=True)]
            figures.setdefault(name, []).append((metrics.mrr(*mapped), seconds))
    return figures


def main() -> None:
    """Print a table for each way to deal the items."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("source", "target", "test_source", "test_target"):
        parser.add_argument(name, type=atlas.read_vectors)
    parser.add_argument("--seeds", type=int, default=15)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--optimise", type=int, default=0, metavar="ROWS")
    parser.add_argument("--items", choices=("same", "other"), help="by default one after the other")
    given = parser.parse_args()
    whole, test = (given.source, given.target), (given.test_source, given.test_target)
    for items in [given.items] if given.items else ["same", "other"]:
        print(f"\n{given.seeds} seeds, {items} items on both sides, {given.draws} draws\n")
        for name, rows in measured(whole, test, given.seeds, given.draws, items == "same", given.optimise).items():
            figures, seconds = zip(*rows, strict=True)
            mean, spread = statistics.mean(figures), statistics.stdev(figures) if len(figures) > 1 else 0.0
            print(f"{name:<44}{mean:6.3f} ± {spread:.3f}{statistics.mean(seconds):8.1f} s", flush=True)


if __name__ == "__main__":
    main()
