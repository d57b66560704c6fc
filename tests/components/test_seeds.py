"""Aligners that fit on seeds: two sets of vectors, and the few pairs among them that are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from planted import normal, turn

import atlas
from atlas.artefacts.anchors import Anchors
from atlas.artefacts.vectors import Vectors, paired, seeds
from atlas.cli import main
from atlas.components.aligner import Aligner
from atlas.errors import AtlasError
from atlas.hub.model_card_text import body
from atlas.sharing.measuring import curve
from atlas.testing import check_aligner
from atlas.verbs.fit import fit

pytest_plugins = ["plugin_fixtures"]

X, TURN = normal(60, 4), turn(4, 4)
Y = X @ TURN
# Fits nothing unless it is shown every row of both sides.
PLUGIN = """
from dataclasses import dataclass
import torch
import atlas

@dataclass
class Turned(atlas.Aligner):
    \"\"\"Turn the source as the seeds say.\"\"\"
    name = "turned"
    fits_on = "seeds"
    affine = True
    def _fit_seeds(self, X, Y, pairs):
        if (len(X), len(Y)) != (40, 30):
            raise self.fail(f"was shown {len(X)} and {len(Y)} rows")
        weight = torch.linalg.pinv(X[pairs[:, 0]]) @ Y[pairs[:, 1]]
        return {"weight": weight, "bias": torch.zeros_like(Y[0])}
    def _transform(self, X):
        return X @ self.state["weight"].to(X)

@atlas.hookimpl
def register_aligners():
    return [Turned]
"""


@dataclass
class Turned(Aligner):
    """Turn the source as the seeds say, and keep how many rows there were in all."""

    name = "turned"
    fits_on = "seeds"
    affine = invertible = True
    seen = ()

    def _fit_seeds(self, X, Y, pairs):
        type(self).seen = (len(X), len(Y), len(pairs))
        A, B = X[pairs[:, 0]], Y[pairs[:, 1]]
        weight = torch.linalg.pinv(A - A.mean(0)) @ (B - B.mean(0))
        return {"weight": weight, "bias": B.mean(0) - A.mean(0) @ weight}

    def _transform(self, X):
        return X @ self.state["weight"].to(X) + self.state["bias"].to(X)

    def _inverse_transform(self, Y):
        return (Y - self.state["bias"].to(Y)) @ torch.linalg.pinv(self.state["weight"].double()).to(Y)


class _Deaf(Turned):
    def check_pairs(self, pairs, n, m):
        return super().check_pairs([[0, 0], [1, 1], [2, 2]] if pairs is None else pairs, n, m)


@dataclass
class Means(Aligner):
    """Move the mean of one set onto that of another, and keep how many rows there were."""

    name = "means"
    fits_on = "sets"
    affine = True
    seen = ()

    def _fit(self, X, Y):
        type(self).seen = (len(X), len(Y))
        return {"weight": torch.eye(X.shape[1]), "bias": Y.mean(0) - X.mean(0)}

    def _transform(self, X):
        return X + self.state["bias"].to(X)


@pytest.fixture
def sides():
    """Vectors of items 0 to 39 and, in another order, 30 to 59: ten are on both sides."""
    ids = [f"item-{i}" for i in range(60)]
    order = torch.arange(59, 29, -1)
    source = Vectors.of(X[:40], "a", ids=ids[:40])
    return source, Vectors.of(Y[order], "b", ids=[ids[i] for i in order])


def test_a_seeded_aligner_keeps_the_contract():
    check_aligner(Turned())


def test_the_contract_notices_one_that_does_without_seeds():
    with pytest.raises(AssertionError, match="must refuse no seeds with an AtlasError"):
        check_aligner(_Deaf())


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_it_is_given_all_rows_and_the_pairs_that_are_known(kind):
    fitted = Turned().fit(X, Y.flip(0), kind([[i, 59 - i] for i in range(9)]))
    assert Turned.seen == (60, 60, 9)
    torch.testing.assert_close(fitted.transform(X), Y, rtol=0, atol=1e-5)


def test_seeds_are_what_both_sides_have(sides):
    made = fit(Turned(), source=sides[0], target=sides[1])
    assert Turned.seen == (40, 30, 10) and made.n_pairs == 10
    torch.testing.assert_close(made(X), Y, rtol=0, atol=1e-5)


def test_anchors_name_the_seeds(sides):
    anchors = Anchors.of("few", [f"item-{i}" for i in (33, 30, 39, 35, 36)])
    made = fit(Turned(), source=sides[0], target=sides[1], anchors=anchors)
    assert Turned.seen == (40, 30, 5) and (made.n_pairs, made.anchors) == (5, "few")
    torch.testing.assert_close(made(X), Y, rtol=0, atol=1e-5)


def test_the_numbers_of_seeds_are_those_of_their_rows(sides):
    for only in (None, ["item-39", "item-30"]):
        rows = seeds(*sides, only)
        source, target = paired(*sides, only)
        assert torch.equal(sides[0].data[rows[:, 0]], source.data)
        assert torch.equal(sides[1].data[rows[:, 1]], target.data)
    same = seeds(sides[0], sides[0])
    assert torch.equal(same, torch.arange(40)[:, None].expand(-1, 2))


def test_seeds_that_are_missing_are_told(sides):
    with pytest.raises(AtlasError, match="Vectors of 'b' hold 1 of the 2 items of the anchors, the first missing is"):
        fit(Turned(), source=sides[0], target=sides[1], anchors=["item-0", "item-30"])
    alone = Vectors.of(Y[50:], "b", ids=[f"item-{i}" for i in range(50, 60)])
    with pytest.raises(AtlasError, match="Only 0 of 40 and 10 items are in both, rows are paired by item id"):
        fit(Turned(), source=sides[0], target=alone)
    with pytest.raises(AtlasError, match="needs the vectors of both spaces - give a target"):
        fit(Turned(), source=sides[0])


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (None, "Aligner 'turned' needs to know which rows are of one item - give pairs, the numbers of their rows"),
        ([["a", "b"]], r"Pairs must be a tensor or an array of numbers, got list$"),
        ([0, 1], r"Pairs must be whole numbers \(s, 2\), got torch.int64 of shape \(2,\)"),
        ([[0.0, 1.0], [1.0, 0.0]], r"Pairs must be whole numbers \(s, 2\), got torch.float32 of shape \(2, 2\)"),
        ([[3, 3]], "Pairs must be at least 2, got 1"),
        ([[0, 0], [60, 1]], "Pairs must name rows of X from 0 to 59, got 60"),
        ([[0, 0], [1, -1]], "Pairs must name rows of Y from 0 to 59, got -1"),
        ([[0, 0], [2, 7], [1, 7]], "Pairs must name a row of Y once, got 7 in two of them"),
    ],
)
def test_pairs_that_cannot_be_are_refused(pairs, message):
    with pytest.raises(AtlasError, match=message):
        Turned().fit(X, Y, pairs)


def test_a_card_says_how_many_had_a_partner_and_how_many_had_none(sides, plant, tmp_path):
    plant("turned", PLUGIN)
    made = fit("turned", source=sides[0], target=sides[1], anchors=[f"item-{i}" for i in range(30, 36)])
    atlas.save(made, tmp_path / "map")
    kept = atlas.load(tmp_path / "map")
    assert (kept.n_pairs, kept.n_unpaired) == (6, 40 + 30 - 12)
    assert "fitted on 6 pairs; 58 vectors had no known partner." in body(kept.card, "someone/map")
    back = fit(Turned(), source=sides[0], target=sides[1]).inverse()
    assert (back.n_pairs, back.n_unpaired) == (10, 40 + 30 - 20)
    whole = fit("procrustes", source=sides[0], target=sides[1])
    assert (whole.n_pairs, whole.n_unpaired) == (10, 50)
    whole = fit("procrustes", source=sides[0], target=sides[0])
    assert whole.n_unpaired == 0 and "n_unpaired" not in whole.card.to_dict()


def test_the_command_says_what_had_no_partner(sides, plant, tmp_path):
    plant("turned", PLUGIN)
    for v, name in zip(sides, "ab", strict=True):
        v.save_pretrained(tmp_path / name)
    given = ["fit", "turned", "--source", tmp_path / "a", "--target", tmp_path / "b", "--out", tmp_path / "map"]
    done = CliRunner().invoke(main, list(map(str, given)))
    said = "(4 to 4 dimensions, fitted on 10 items, 50 vectors had no known partner)"
    assert done.exit_code == 0 and said in done.output


def test_sets_have_no_pairs_and_anchors_are_all_they_are_fitted_on(sides):
    made = fit(Means(), source=sides[0], target=sides[1])
    assert Means.seen == (40, 30) and (made.n_pairs, made.n_unpaired) == (0, 70)
    made = fit(Means(), source=sides[0], target=sides[1], anchors=["item-30", "item-31"])
    assert Means.seen == (2, 2) and (made.n_pairs, made.n_unpaired) == (0, 4)


@pytest.mark.parametrize("name", ["procrustes", "relative"])
def test_other_aligners_take_no_pairs(name):
    with pytest.raises(AtlasError, match="takes no pairs of row numbers - leave out pairs"):
        atlas.create(Aligner, name).fit(X, Y, [[0, 0], [1, 1]])


def test_a_curve_over_pairs_leaves_all_other_rows_in(sides, plant):
    plant("turned", PLUGIN)
    card = fit("turned", source=sides[0], target=sides[1]).card
    views = {"source": Vectors.of(X, "a"), "target": Vectors.of(Y, "b")}
    [point] = curve(card, sides, paired(*sides)[0].ids, views, "cosine")
    assert point.pairs == 10 and point.mean == pytest.approx(1)


def test_a_map_that_is_not_finite_is_refused():
    class Broken(Means):
        def _fit(self, X, Y):
            return {"weight": torch.eye(4) / 0, "bias": Y.mean(0)}

    with pytest.raises(AtlasError, match="Aligner 'means' found no finite map for these vectors - scale them"):
        Broken().fit(X, Y)
