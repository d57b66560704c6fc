"""The sketch of the items that something was fitted on: exact for few, an even sample of many, never in doubt."""

from __future__ import annotations

import random

import pytest
import torch

from atlas.artefacts.sketches import item_hashes, row_hashes, sketch_of
from atlas.artefacts.vectors import Vectors
from atlas.cards.sketch import END, MOST, Sketch
from atlas.errors import CardError


def hashes(n: int, seed: int = 0) -> list[int]:
    generator = random.Random(seed)
    return [generator.randrange(END) for _ in range(n)]


def sketch(items: list[int], rows: list[int] | None = None) -> Sketch:
    return Sketch.of(zip(items, rows or [0] * len(items), strict=True))


def test_few_items_are_known_exactly() -> None:
    items, rows = hashes(200), hashes(200, 1)
    made = sketch(items[:100], rows[:100])
    assert made.exact
    assert made.count(items[50:150], hashes(100, 2)) == 50
    # Under other ids, vectors are known all the same.
    assert made.count(hashes(100, 3), rows[70:170]) == 30
    assert made.count(hashes(100, 3), hashes(100, 4)) == 0


def test_of_many_a_share_is_estimated() -> None:
    items, rows = hashes(10_000), hashes(10_000, 1)
    made = sketch(items, rows)
    assert not made.exact
    assert len(made.pairs) == MOST
    assert made.count(items[:2_000], hashes(2_000, 2)) == 2_000
    half = [*items[:1_000], *hashes(1_000, 3)]
    assert 600 < made.count(half, hashes(2_000, 2)) < 1_400
    assert 600 < made.count(hashes(2_000, 3), [*rows[:1_000], *hashes(1_000, 4)]) < 1_400
    assert made.count(hashes(2_000, 3), hashes(2_000, 2)) == 0


@pytest.mark.parametrize(("n", "m"), [(60, 90), (100, 5_000), (3_000, 5_000)])
def test_two_sketches_make_that_of_both(n: int, m: int) -> None:
    left, right = hashes(n), hashes(m, 1)
    assert sketch(left) | sketch(right) == sketch(left + right)


@pytest.mark.parametrize("n", [0, 1, 255, 256, 257, 5_000])
def test_a_card_holds_it_as_text(n: int) -> None:
    made = sketch(hashes(n), hashes(n, 1))
    assert Sketch.parse(made.text()) == made
    assert len(made.text()) < 3_500


def test_of_one_item_all_vectors_are_kept_or_none() -> None:
    items = [item for item in hashes(200) for _ in range(3)]
    made = sketch(items, list(range(600)))
    assert {sum(item == one for item, _ in made.pairs) for one, _ in made.pairs} == {3}


@pytest.mark.parametrize("text", ["x", "zz:AAAA", "10:AAAA", "10:****", "-1:", "1" + "0" * 12 + ":", "10:é"])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(CardError, match="fitted_on must be a limit, ':' and at most 256 pairs of hashes, got '"):
        Sketch.parse(text)


def test_a_sketch_made_list_by_list_is_that_of_all_at_once() -> None:
    view = Vectors.of(torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0)), "a", dataset="toy")
    assert sketch_of(view) == Sketch.of(zip(item_hashes(view), row_hashes(view), strict=True)).text()
