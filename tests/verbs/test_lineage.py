"""What a card says of where an artefact came from: the items it was fitted on, and what it was made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import atlas
from atlas.artefacts.sketches import count_fitted
from atlas.cards.folder import CARD, read_card
from atlas.cards.kinds import Metric, Part, best
from atlas.errors import CardError
from atlas.verbs.aggregate import chart, extend

FIRST, LAST, ACROSS = torch.arange(80), torch.arange(80, 120), torch.arange(60, 120)


@pytest.fixture
def sides(pair):
    """Source and target, row by row of the same items."""
    return pair.source, pair.target.of_items(list(pair.source.ids))


def fitted(sides, rows=FIRST, method: str = "procrustes", **about):
    made = atlas.fit(method, source=sides[0].take(rows), target=sides[1].take(rows))
    return made.with_card(**about)


@pytest.mark.parametrize(("rows", "n"), [(FIRST, 80), (LAST, 0), (ACROSS, 20)])
def test_figures_say_how_many_items_were_fitted_on(sides, rows, n) -> None:
    held = [side.take(rows) for side in sides]
    [figure, *_] = atlas.evaluate(fitted(sides), source=held[0], target=held[1])
    assert (figure.overlap, figure.n) == (n, len(rows))
    [head] = atlas.evaluate(atlas.train("nearest-mean", sides[0].take(FIRST)), vectors=held[0])
    assert head.overlap == n
    # Of renamed items, the vectors are known, whatever their precision.
    renamed = [atlas.Vectors.of(side.data.double(), side.space, dataset="other") for side in held]
    [figure, *_] = atlas.evaluate(fitted(sides), source=renamed[0], target=renamed[1])
    assert figure.overlap == n


def test_row_numbers_of_other_vectors_are_other_items(sides) -> None:
    numbered = [[atlas.Vectors.of(side.take(rows).data, side.space) for side in sides] for rows in (FIRST, LAST)]
    made = atlas.fit("procrustes", source=numbered[0][0], target=numbered[0][1])
    assert count_fitted(made.card.fitted_on, *numbered[0]) == 80
    assert count_fitted(made.card.fitted_on, *numbered[1]) == 0


def test_an_accuracy_counts_the_items_of_the_head(sides) -> None:
    head = atlas.train("nearest-mean", sides[1].take(LAST))
    held = [side.take(LAST) for side in sides]
    found = atlas.evaluate(fitted(sides), source=held[0], target=held[1], head=head)
    assert {figure.name: figure.overlap for figure in found if figure.name in ("accuracy", "r2")} == {
        "accuracy": 40,
        "r2": 0,
    }
    made = atlas.aggregate("mean", *(side.take(FIRST) for side in sides))
    reader = atlas.train("nearest-mean", made(*(side.take(ACROSS) for side in sides)))
    assert atlas.evaluate(made, vectors=held, head=reader)[0].overlap == 40
    old = reader.with_card(fitted_on="")
    assert atlas.evaluate(made, vectors=held, head=old)[0].overlap == 0
    assert atlas.evaluate(made.with_card(fitted_on=""), vectors=held, head=old)[0].overlap is None


def test_a_figure_of_items_fitted_on_is_none_of_the_best() -> None:
    figures = [Metric("r2", 0.99, overlap=7, n=10), Metric("r2", 0.5), Metric("r2", 0.6, overlap=0), Metric("mrr", 1.0)]
    assert best(figures, "r2") == figures[2]
    assert best(figures[:1], "r2") == figures[0]
    assert best(figures, "cka") is None
    # Where no alignment has more than the target's own vectors, less is better.
    assert (
        best([Metric("mse", 3.0, native=0.0, floor=9.0), Metric("mse", 2.0, native=0.0, floor=9.0)], "mse").value == 2
    )


def test_an_inverse_says_what_it_is_the_inverse_of(sides) -> None:
    back = fitted(sides, license="mit").inverse()
    [part] = back.parts
    assert (part.id, part.inverse, part.license, part.n_pairs, part.dataset) == (
        "a__b__procrustes",
        True,
        "mit",
        80,
        "toy",
    )
    held = [side.take(ACROSS) for side in sides]
    assert atlas.evaluate(back, source=held[1], target=held[0])[0].overlap == 20
    assert [one.inverse for one in back.inverse().parts] == [False]


def test_a_chain_says_what_it_is_made_of(sides, tmp_path: Path) -> None:
    there = fitted(sides, license="mit", dataset="toy")
    atlas.save(there, tmp_path / "there")
    back = fitted(sides[::-1], LAST, license="cc-by-4.0", dataset="other, toy")
    made = atlas.compose(tmp_path / "there", back, id="round")
    sha256 = read_card(tmp_path / "there").sha256
    assert made.parts == (
        Part(
            "alignment",
            "a__b__procrustes",
            sha256=sha256,
            license="mit",
            dataset="toy",
            n_pairs=80,
            method="procrustes",
        ),
        Part(
            "alignment", "b__a__procrustes", license="cc-by-4.0", dataset="other, toy", n_pairs=40, method="procrustes"
        ),
    )
    assert (made.n_pairs, made.license, made.dataset) == (40, "cc-by-4.0 AND mit", "other, toy")
    assert count_fitted(made.card.fitted_on, sides[0]) == 120
    assert count_fitted(made.card.fitted_on, sides[0].take(ACROSS)) == 60
    atlas.save(made, tmp_path / "made")
    assert atlas.load(tmp_path / "made").card == made.card
    longer = atlas.compose(made, there)
    assert [part.id for part in longer.parts] == ["a__b__procrustes", "b__a__procrustes", "a__b__procrustes"]
    assert [part.inverse for part in made.inverse().parts] == [True, True]
    # What is not known of a part is not known of the chain.
    unknown = atlas.compose(there, back.with_card(license="", fitted_on=""))
    assert (unknown.license, unknown.card.fitted_on) == ("", "")


def test_a_chart_and_an_extended_atlas_say_of_what(sides, tmp_path: Path) -> None:
    views = [side.take(FIRST) for side in sides]
    made = atlas.aggregate("generalized-procrustes", *views, id="two").with_card(
        license="mit", description="Two of them", metrics=(Metric("accuracy", 0.9),), evaluation={"head": "x"}
    )
    one = chart(made, "b")
    [part] = one.parts
    assert (part.kind, part.id, part.chart, part.license) == ("atlas", "two", "b", "mit")
    assert (one.n_pairs, one.dataset, one.license) == (80, "toy", "mit")
    assert count_fitted(one.card.fitted_on, sides[0]) == 80
    through = atlas.compose(chart(made, "a"), one, inverse=[one])
    assert [(part.chart, part.inverse) for part in through.parts] == [("a", False), ("b", True)]
    third = replace(views[0], card=replace(views[0].card, space=atlas.Space("c", 8, "planted", {"name": "c"})))
    grown = extend(made, third)
    assert grown.card.n_items == (80, 80, 80)
    assert (grown.id, grown.metrics, grown.evaluation, grown.description) == ("two-c", (), {}, "")
    assert ([part.id for part in grown.card.parts], grown.license) == (["two"], "mit")
    atlas.save(grown, tmp_path / "grown")
    assert atlas.load(tmp_path / "grown").card.parts == grown.card.parts
    assert [part.id for part in chart(grown, "c").parts] == ["two-c"]


def test_a_card_with_damaged_lineage_is_refused(sides, tmp_path: Path) -> None:
    atlas.save(atlas.compose(fitted(sides)), tmp_path / "a")
    text = (tmp_path / "a" / CARD).read_text()
    for wrong, message in {
        text.replace("fitted_on: ", "fitted_on: zz"): "fitted_on must be a limit",
        text.replace("- kind: alignment", "- kind: alignment\n  hub: x"): "hub must be owner/name@commit",
        text.replace("  id: a__b__procrustes\n", "  id: ../up\n"): "must be at most 96 lower-case letters",
    }.items():
        assert wrong != text
        (tmp_path / "a" / CARD).write_text(wrong)
        with pytest.raises(CardError, match=message):
            read_card(tmp_path / "a")
