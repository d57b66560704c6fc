"""Moments as something one can keep: merging, bytes, what is checked, and what is published of them."""

from __future__ import annotations

import pytest
import torch
from conftest import space_of
from safetensors.torch import save

from atlas import Moments, Vectors, merge, metrics, moments
from atlas.artefacts.moments import are_many
from atlas.cards.folder import MODEL, dump_card
from atlas.errors import AtlasError, AtlasWarning, CardError, SpaceMismatchError
from atlas.numerics.moments import Moments as Sums
from atlas.storage.tensors import load_tensors
from atlas.testing.promises import paired_data

ALL = ("xy", "xx", "yy", "rows")


@pytest.fixture
def views():
    X, Y = paired_data(n=500, d_source=6, d_target=4)
    ids = [f"item {i}" for i in range(len(X))]
    return Vectors.of(X, space_of("a", 6), ids=ids, dataset="toy"), Vectors.of(Y, space_of("b", 4), ids=ids)


def parts(views, *stops):
    """Return the moments of consecutive rows."""
    starts = [0, *stops[:-1]]
    return [
        moments(source=views[0].take(rows), target=views[1].take(rows)) for rows in map(torch.arange, starts, stops)
    ]


def assert_same(a: Moments, b: Moments, tolerance: float = 0.0):
    one, other = a.tensors(), b.tensors()
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=tolerance, atol=tolerance * 100)


def test_moments_of_parts_merge_to_those_of_all(views):
    whole = moments(source=views[0], target=views[1])
    one, two, three = parts(views, 40, 300, 500)
    assert_same(one + two + three, whole, 1e-12)
    assert_same(sum([three, one, two]), whole, 1e-12)
    assert_same(merge(one, two, three, id="all"), whole, 1e-12)
    assert (one + two).n == 300 and merge(one, two, id="all").id == "all"


def test_no_rows_change_nothing_to_the_bit(views):
    whole = moments(source=views[0], target=views[1])
    none = Moments.of(Sums.of(torch.empty(0, 6), torch.empty(0, 4), ALL), whole.source, whole.target)
    assert none.n == 0 and none.sums.n_distinct == 0
    for made in (none + whole, whole + none, sum([none, none, whole, none])):
        assert_same(made, whole)
    assert_same(none + none, none)


def test_moments_are_paired_by_item_and_restricted_to_anchors(views):
    order = torch.randperm(500, generator=torch.Generator().manual_seed(0))
    assert_same(moments(source=views[0].take(order), target=views[1]), moments(source=views[0], target=views[1]), 1e-12)
    assert moments(source=views[0], target=views[1], anchors=views[0].ids[:90]).n == 90


def test_arrays_have_moments_as_vectors_have(views):
    arrays = [view.data.numpy() for view in views]
    made = moments(source=arrays[0], target=arrays[1])
    assert (made.source.id, made.target.id) == ("source", "target")
    assert_same(made, moments(source=views[0], target=views[1]))


def test_bytes_bring_back_the_same_moments(views):
    made = moments(source=views[0], target=views[1])
    again = Moments.from_bytes(made.to_bytes())
    assert_same(again, made)
    assert again.card == made.card and again.to_bytes() == made.to_bytes()


@pytest.mark.parametrize("data", [b"", b"12345678 what", "text", None])
def test_other_bytes_are_refused(data):
    with pytest.raises(AtlasError, match=r"These bytes are not moments: .* - give the result of to_bytes\(\)"):
        Moments.from_bytes(data)


def test_bytes_of_another_kind_are_refused(views):
    card = dump_card(views[0].card).encode()
    data = save({"card": torch.tensor(list(card), dtype=torch.uint8)})
    with pytest.raises(CardError, match=r"^These bytes are of kind vectors, not moments$"):
        Moments.from_bytes(data)


def test_bytes_that_are_damaged_are_refused_in_words_or_make_moments(views):
    data = bytearray(moments(source=views[0], target=views[1]).to_bytes())
    random = torch.Generator().manual_seed(0)
    for _ in range(200):
        other = bytearray(data)
        for _ in range(3):
            other[int(torch.randint(len(data), (), generator=random))] = int(torch.randint(256, (), generator=random))
        try:
            Moments.from_bytes(bytes(other))
        except AtlasError as error:
            assert "\n" not in str(error)


def test_moments_are_not_merged_with_themselves(views):
    made, other = parts(views, 250, 500)
    with pytest.raises(AtlasError, match=f"Two of the moments are of the same {made.n:,} items - give each set of"):
        merge(made, other, made)
    empty = Moments.of(Sums.empty(*made.sums.shape, ALL), made.source, made.target)
    assert merge(empty, made, empty).n == made.n


def test_pairs_that_are_in_two_of_the_moments_are_told(views):
    one, other = (
        moments(source=views[0].take(rows), target=views[1].take(rows)) for rows in torch.arange(350).split(200)
    )
    both = moments(source=views[0].take(torch.arange(150, 300)), target=views[1].take(torch.arange(150, 300)))
    assert (one + other).n == 350
    with pytest.warns(AtlasWarning, match=r"share 50 pairs, which count twice - give each set of items once"):
        assert merge(one, both).n == 350


def test_moments_of_other_spaces_are_not_merged(views):
    made = moments(source=views[0], target=views[1])
    other = moments(source=views[0].with_card(space=space_of("a", 6, revision="2")), target=views[1])
    with pytest.raises(
        SpaceMismatchError, match=r"have the source 'a', but those of .* are of 'a': revision is not set"
    ):
        made + other
    with pytest.raises(
        SpaceMismatchError, match=r"have the source 'a', but those of .* are of 'b': dimension is 6 there"
    ):
        made + made.reversed()
    with pytest.raises(AtlasError, match=r"Moments of \(6, 4\) and of \(4, 6\) dimensions cannot be added"):
        made.sums + made.reversed().sums


def test_a_space_that_is_known_is_kept_beside_one_that_is_not(views):
    bare = moments(source=Vectors.of(views[0].data[:250]), target=Vectors.of(views[1].data[:250]))
    _, made = parts(views, 250, 500)
    assert (bare + made).source == (made + bare).source == views[0].space


def test_reversed_moments_are_those_of_target_and_source(views):
    made, back = moments(source=views[0], target=views[1]), moments(source=views[1], target=views[0])
    found = made.reversed()
    assert (found.source, found.target) == (back.source, back.target)
    for name in ("xy", "xx", "yy", "ssx", "ssy", "mean_x", "mean_y"):
        torch.testing.assert_close(getattr(found.sums, name), getattr(back.sums, name), rtol=1e-13, atol=1e-13)
    assert found.sums.n_distinct == back.sums.n_distinct == 500


def test_nothing_merges_to_nothing():
    with pytest.raises(AtlasError, match="Merging needs moments of at least one set of items, got none"):
        merge()


@pytest.mark.parametrize(
    "change",
    [
        {"ssx": lambda t: -t},
        {"xy": lambda t: 100 * t},
        {"mean_x": lambda t: t * torch.inf},
        {"apart": lambda t: t + 1},
        {"eps": lambda t: t - 1},
        {"n": lambda t: t - 501},
    ],
)
def test_sums_that_no_rows_have_are_refused(views, change):
    tensors = moments(source=views[0], target=views[1]).tensors()
    with pytest.raises(AtlasError, match=r"These tensors are not the moments of any -?\d+ rows - make them again"):
        Sums.from_tensors({name: change.get(name, torch.clone)(t) for name, t in tensors.items()}, 6, 4)


def test_tensors_of_another_shape_or_name_are_refused(views):
    tensors = moments(source=views[0], target=views[1]).tensors()
    for other in (
        {**tensors, "xy": tensors["xy"].T},
        {**tensors, "rows": tensors["rows"][:, None]},
        {**tensors, "more": tensors["n"]},
        {**tensors, "xx": tensors["xx"].float()},
    ):
        with pytest.raises(AtlasError, match="is not one of moments from 6 to 4 dimensions"):
            Sums.from_tensors(other, 6, 4)


def test_a_card_that_counts_other_rows_than_its_tensors_is_refused(views, tmp_path):
    made = moments(source=views[0], target=views[1])
    made.with_card(n=499).save_pretrained(tmp_path / "m")
    with pytest.raises(CardError, match=r"The tensors are of 500 rows, the card says 499, 0 of them public"):
        Moments.from_pretrained(tmp_path / "m")


def test_what_is_published_holds_no_hashes_of_rows_and_counts_as_many(views):
    twice = [Vectors.of(view.data.repeat(2, 1), view.space) for view in views]
    made = moments(source=twice[0], target=twice[1])
    assert made.n == 1000 and made.sums.n_distinct == 500
    out = made.published()
    assert len(out.tensors()["rows"]) == 0 and out.sums.n_distinct == 500 and out.n_public == 1000
    assert (out + made).sums.n_distinct == 1000 and len(made.tensors()["rows"]) == 500


def test_moments_that_give_rows_away_are_not_published_unless_asked_for(views):
    few = parts(views, 59)[0]
    message = "would give away the 59 distinct rows .* 60 are needed for 6 dimensions - publish them with --few"
    with pytest.raises(AtlasError, match=message):
        few.published()
    assert few.published(few=True).n == 59
    assert are_many(60, 6, 4) and not are_many(59, 6, 4)
    repeated = [Vectors.of(view.data[:20].repeat(5, 1), view.space) for view in views]
    with pytest.raises(AtlasError, match="give away the 20 distinct rows"):
        moments(source=repeated[0], target=repeated[1]).published()


def test_few_rows_are_not_hidden_among_those_that_were_published_before(views):
    theirs, mine = parts(views, 480, 500)
    public = theirs.published()
    # Anybody could take away what was published, and have the moments of 20 rows.
    with pytest.raises(AtlasError, match="give away the 20 distinct rows that have not been published before"):
        (public + mine).published()
    assert public.published().card == public.card
    assert (
        parts(views, 420, 500)[1].n == 80 and (parts(views, 420)[0].published() + parts(views, 420, 500)[1]).published()
    )


def test_a_hash_tells_nothing_of_a_row_that_it_is_not_of(views, tmp_path):
    """What is saved stays small: hashes of distinct rows alone, up to a number that the dimension sets."""
    made = moments(source=views[0], target=views[1])
    made.save_pretrained(tmp_path / "m")
    assert load_tensors(tmp_path / "m" / MODEL)["rows"].numel() == 500
    X, Y = paired_data(n=6000, d_source=6, d_target=4)
    assert "rows" not in moments(source=Vectors.of(X), target=Vectors.of(Y)).tensors()


def test_similarities_come_from_stored_moments_as_from_rows(views):
    from atlas import compare

    made = moments(source=views[0], target=views[1])
    names = ["cka", "cca", "squared-cca", "svcca", "pwcca", "procrustes-distance", "angular-distance"]
    found = compare(moments=made, metrics=names)
    for mine, theirs in zip(found, compare(*views, metrics=names), strict=True):
        assert mine.value == pytest.approx(theirs.value, abs=1e-9)
        assert (mine.metric, mine.a, mine.b, mine.n, mine.note) == (
            theirs.metric,
            theirs.a,
            theirs.b,
            theirs.n,
            theirs.note,
        )
    assert metrics.linear_cka_from_moments(made.sums) == found[0].value
    with pytest.raises(AtlasError, match="Metric 'cosine' needs vectors - give them, or one of angular-distance, "):
        compare(moments=made, metrics=["cosine"])
    with pytest.raises(AtlasError, match="Vectors and moments cannot be compared at once - give one of them"):
        compare(views[0], moments=made)
