"""The verdict, in worlds where it is known."""

from __future__ import annotations

import pytest
import torch
from planted import normal
from worlds import QUERIES, N, world

import atlas
from atlas import AtlasError, Vectors
from atlas.authors import unit

pytest.importorskip("ir_measures", reason="needs latent-atlas[migrate]")


def half(vectors):
    """Return every other document."""
    return vectors.take(torch.arange(0, len(vectors), 2))


def test_of_two_models_that_find_the_same_the_old_one_stays():
    found = atlas.advise(**world().given())
    assert found.verdict == "stay"
    assert found.reason.startswith("the new model is not shown to be better on these queries: 0.0 [0.0, 0.0] points")
    assert found.passed


def test_an_index_that_lost_nothing_is_converted():
    # The old model's queries are poor, its documents are not: all of the gain is to be had for nothing.
    found = atlas.advise(**world(queries=1.5).given())
    assert found.verdict == "convert"
    assert found.way("convert").share.value == 1
    assert found.way("convert").gain.low > 0.1
    assert found.way("convert").texts == 0
    assert "keeps 100 % [100, 100] of the new model's ndcg@10" in found.reason


def test_an_index_that_finds_the_right_ones_too_far_down_is_re_ordered():
    found = atlas.advise(**world(documents=0.7).given())
    assert found.verdict == "recall and re-order"
    assert found.way("re-order").depth in (50, 100, 200)
    assert found.way("convert").share.value < 0.95 < found.way("re-order").share.value


def test_an_index_that_finds_nothing_is_embedded_again():
    found = atlas.advise(**world(documents=50.0, queries=50.0).given(gate="ndcg@10>=0.99"))
    assert found.verdict == "re-embed"
    assert not found.passed
    assert "no cheaper way keeps 99 % of the new model's ndcg@10" in found.reason


@pytest.mark.parametrize("aligner", ["linear", "kernel"])
def test_maps_between_models_that_share_nothing_are_seen_to_find_nothing(aligner):
    # As many dimensions as pairs: a map that may see the documents it is measured on would find all of them.
    one = world()
    noise = Vectors.of(normal(N, 200, seed=7).float(), "old-model", ids=one.new.ids)
    queries = Vectors.of(normal(QUERIES, 200, seed=8).float(), "old-model", ids=one.queries_new.ids)
    found = atlas.advise(**one.given(old=noise, queries_old=queries, aligners=[aligner]))
    chance = 10 / N
    for way in ("stay", "convert", "bridge"):
        assert found.way(way).figures["recall@10"].value < 3 * chance
    assert found.way("re-embed").figures["recall@10"].value > 0.9


def test_a_figure_is_that_of_the_queries_and_documents_one_by_one():
    one = world(documents=0.7)
    found = atlas.advise(**one.given())
    similar = unit(one.queries_old.data) @ unit(one.old.data).T
    place = 1 + (similar > similar.gather(1, 3 * torch.arange(QUERIES)[:, None])).sum(1)
    hits = place <= 10
    assert found.way("stay").figures["recall@10"].value == pytest.approx(float(hits.double().mean()))
    expected = torch.where(hits, 1 / (1 + place.double()).log2(), 0.0)
    assert found.way("stay").figures["ndcg@10"].value == pytest.approx(float(expected.mean()), abs=1e-6)


def test_the_surest_third_finds_what_the_new_model_finds_more_often():
    found = atlas.advise(**world(documents=0.7).given())
    assert found.chance == 1 / N
    for name, thirds in found.sure.items():
        assert list(thirds) == ["surest third", "middle third", "least sure third"]
        assert thirds["surest third"].value > thirds["least sure third"].value > found.chance, name
    assert [*found.sure] == ["convert", "bridge"]


def test_a_map_that_loses_nothing_is_right_in_every_third():
    found = atlas.advise(**world(queries=1.5).given())
    assert {one.value for thirds in found.sure.values() for one in thirds.values()} == {1.0}


def test_few_queries_have_no_thirds():
    one, few = world(documents=0.7), torch.arange(20)
    some = {name: getattr(one, name).take(few) for name in ("queries_old", "queries_new")}
    assert atlas.advise(**one.given(**some)).sure == {}


def test_of_a_sample_figures_are_of_the_documents_that_are_known_and_the_whole_index_is_beside_them():
    one = world(documents=0.7)
    found = atlas.advise(**one.given(new=half(one.new)))
    assert (found.documents, found.whole, found.pairs) == (N // 2, N, N // 2)
    assert found.way("stay").whole.value < found.way("stay").figures["ndcg@10"].value
    assert found.way("re-embed").whole is None
    assert any("Figures are of the 120 documents" in note for note in found.notes)
    assert found.way("re-embed").texts == N // 2


def test_a_sample_that_holds_all_candidates_is_measured_in_the_whole_index():
    one = world(documents=0.3)
    few = torch.arange(2)
    near = unit(one.queries_old.data[few]) @ unit(one.old.data).T
    wanted = near.topk(50).indices.unique()
    queries = {name: getattr(one, name).take(few) for name in ("queries_old", "queries_new")}
    found = atlas.advise(**one.given(**queries, new=one.new.take(wanted)))
    assert (found.documents, found.pairs) == (N, len(wanted))
    assert found.pairs < N
    assert any(note.startswith(f"The new vectors of {N - len(wanted)} documents are not known") for note in found.notes)
    found = atlas.advise(**one.given(**queries, new=one.new.take(wanted[:60])))
    assert found.documents == 60


def test_new_vectors_of_all_documents_are_measured_and_maps_are_fitted_on_the_sample_alone():
    one = world(documents=0.7)
    found = atlas.advise(**one.given(new=half(one.new), new_index=one.new))
    assert (found.documents, found.pairs) == (N, N // 2)


def test_pairs_of_other_items_are_fitted_on_instead():
    one, other = world(queries=1.5), world(queries=1.5)
    strangers = [f"x{i}" for i in range(N)]
    pairs = tuple(Vectors.of(v.data, v.space, ids=strangers) for v in (other.old, other.new))
    found = atlas.advise(**one.given(pairs=pairs))
    assert found.way("convert").share.value == 1


def test_pairs_of_another_domain_are_told_of():
    one = world(queries=1.5)
    strangers = [f"x{i}" for i in range(N)]
    flat = torch.cat([normal(N, 2, seed=5), 0.01 * normal(N, 10, seed=6)], 1).float()
    pairs = (Vectors.of(flat, "old-model", ids=strangers), Vectors.of(flat, "new-model", ids=strangers))
    found = atlas.advise(**one.given(pairs=pairs))
    assert found.outside["old index"] > 0.9
    assert any("of the old index lie where pairs do not" in note for note in found.notes)
    assert found.verdict != "convert"


def test_where_the_old_model_is_gone_the_bridge_fetches_the_candidates():
    found = atlas.advise(**world(documents=0.7).given(queries_old=None))
    assert [way.name for way in found.ways] == ["swap", "convert", "bridge", "re-order", "re-embed"]
    assert found.way("re-order").share.value > found.way("bridge").share.value
    assert found.way("re-order").gain is None


def test_spaces_of_other_dimensions_cannot_be_swapped():
    found = atlas.advise(**world(d_old=15).given())
    assert [way.name for way in found.ways] == ["stay", "convert", "bridge", "re-order", "re-embed"]


def test_without_judgements_the_new_model_is_the_measure():
    found = atlas.advise(**world(queries=1.5).given(judgements=None))
    assert found.way("re-embed").figures["ndcg@10"].value == 1
    assert not found.judged
    assert found.notes[0].startswith("There are no judgements: figures are against the new model's finds")
    assert found.verdict == "convert"


def test_a_mixed_index_ends_at_the_new_models_figure_and_begins_at_the_converted_one():
    found = atlas.advise(**world(documents=0.7).given())
    for curve in found.rolling.values():
        assert list(curve) == [0, 0.1, 0.25, 0.5, 0.75, 1]
        assert curve[0] == found.way("convert").figures["ndcg@10"]
        assert curve[1] == found.way("re-embed").figures["ndcg@10"]
    assert found.rolling["in order"][0.5].value > found.rolling["by chance"][0.5].value


def test_half_precision_and_few_queries_are_told_of():
    one = world()
    few = {"q0": {"d0": 1}, "q1": {"d3": 1}}
    halved = Vectors.of(one.old.data.half(), "old-model", ids=one.old.ids)
    found = atlas.advise(**one.given(old=halved, judgements=few))
    assert found.queries == 2
    assert any(note.startswith("The old index is in half precision") for note in found.notes)
    assert any(note.startswith("There are 2 queries that count") for note in found.notes)


def test_judgements_of_strangers_are_counted():
    one = world(queries=1.5)
    judged = {**one.judgements, "x": {"d0": 1}, "q1": {"d3": 1, "y": 1}}
    found = atlas.advise(**one.given(judgements=judged))
    assert found.queries == QUERIES
    assert any(
        note.startswith("The judgements name 1 queries and 1 documents of which there are") for note in found.notes
    )


def test_texts_cost_tokens_and_hours():
    one = world(documents=0.7)
    way = atlas.advise(**one.given(new=half(one.new), rate=10, tokens=30)).way("re-embed")
    assert (way.texts, way.tokens, way.hours) == (N // 2, 30 * N // 2, pytest.approx(N / 2 / 10 / 3600))


@pytest.mark.parametrize(
    "others, sentence",
    [
        ({"gate": "ndcg@10>0.9"}, "A gate must be like 'ndcg@10>=0.95', of ndcg@10 or recall@10 or mrr@10"),
        ({"gate": "map>=0.9"}, "A gate must be like"),
        ({"gate": "ndcg@10>=95"}, "from 0 to 1, got 'ndcg@10>=95'"),
        (
            {"judgements": {"q0": {"x": 1}}},
            r"none of the 240 documents \(theirs are such as 'x', the vectors' 'd0'\)",
        ),
        ({"judgements": {"x": {"d0": 1}}}, "name none of the 60 queries"),
        (
            {"judgements": {"q0": {"x": 1, "d0": 0}}},
            "None of the 1 queries has a relevant document among the 240 that are looked at",
        ),
        (
            {"queries_new": "noise"},
            "The new queries find hardly more than chance does - check that they are of the model",
        ),
        ({"new": "few"}, r"Only 20 of the 20 items with new vectors are in the old index .* - embed 50 documents"),
        ({"old": "damaged"}, "The old vector of 'd3' is missing - embed it again, or leave it out"),
        ({"aligners": ["procrustse"]}, "did you mean 'procrustes'"),
        ({"aligners": ["relative"]}, "Aligner 'relative' maps into a space of its own, and not into the other model's"),
        ({"judgements": {"q0": {"d0": 0}, "q1": {"d3": -1}}}, "for any of the 2 queries: all grades are 0 or below"),
        ({"queries_new": "empty"}, "The new vector of query 'q3' is all zeros - embed it again, or leave it out"),
        ({"queries_old": "lost"}, "The set of old queries has 12 values that are NaN or infinite, the first in row 3"),
        ({"pairs": "few pairs"}, "Pairs must be 20 or more, or better 1,000, got 3 - embed more with both models"),
        ({"rate": float("nan")}, "The rate must be a number from 0 up, got nan"),
        ({"tokens": float("inf")}, "The number of tokens must be a number from 0 up, got inf"),
    ],
)
def test_what_cannot_be_used_is_refused(others, sentence):
    one = world()
    wrong = {
        "noise": Vectors.of(normal(QUERIES, one.new.space.dim, seed=9).float(), "new-model", ids=one.queries_new.ids),
        "few": one.new.take(torch.arange(20)),
        "few pairs": tuple(
            Vectors.of(side.data[:3], side.space, ids=["x1", "x2", "x3"]) for side in (one.old, one.new)
        ),
        "empty": damaged(one.queries_new, 0.0),
        "lost": damaged(one.queries_old, torch.nan),
        "damaged": Vectors.of(
            one.old.data.index_fill(0, torch.tensor([3]), torch.nan), "old-model", ids=list(one.old.ids)
        ),
    }
    with pytest.raises(AtlasError, match=sentence):
        atlas.advise(**one.given(**{name: wrong.get(str(value), value) for name, value in others.items()}))


def damaged(vectors, value):
    """Return vectors of which the fourth holds nothing but a value."""
    data = vectors.data.index_fill(0, torch.tensor([3]), value)
    return Vectors.of(data, vectors.space, ids=list(vectors.ids))


def test_a_query_that_is_there_twice_is_refused(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    one = world()
    ids = ["q0", *one.queries_new.ids[:-1]]
    lists = pa.array(list(one.queries_new.data.numpy()), pa.list_(pa.float32()))
    parquet.write_table(pa.table({"id": ids, "embedding": lists}), tmp_path / "asked.parquet")
    with pytest.raises(
        AtlasError, match="The set of new queries has 1 duplicate id, 'q0', in row 0 and row 1 - ids must be distinct"
    ):
        atlas.advise(**one.given(queries_new=tmp_path / "asked.parquet", queries_old=None))


@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_an_index_in_few_bits_is_advised_on_as_it_is(kind):
    one = world(queries=1.5)
    X = one.old.data / one.old.data.abs().max() * 127
    found = atlas.advise(**one.given(old=Vectors.of(X.numpy().astype(kind), "old-model", ids=list(one.old.ids))))
    assert found.verdict == "convert"


def test_queries_of_another_model_are_refused():
    one = world(d_old=15)
    with pytest.raises(AtlasError, match="The new vectors are of 'new-model', but the new queries are of 'old-model'"):
        atlas.advise(**one.given(queries_new=one.queries_old))


def test_a_sample_of_other_documents_is_refused():
    one = world()
    other = Vectors.of(one.new.data, "new-model", ids=[f"x{i}" for i in range(N)])
    with pytest.raises(AtlasError, match="Only 0 of 240 and 240 items are in both"):
        atlas.advise(**one.given(new=other))


def test_what_is_gained_over_the_old_model_is_said_where_it_is_known():
    from types import SimpleNamespace

    from atlas.migration.advice import _kept

    share, gate = SimpleNamespace(value=0.9, low=0.85, high=0.95), SimpleNamespace(measure="ndcg@10")
    way = SimpleNamespace(name="map", method="linear", depth=0, gain="3 [1, 5]", share=share)
    begins = "map with linear keeps 90 % [85, 95] of the new model's ndcg@10"
    assert _kept(way, gate) == begins + ", 3 [1, 5] points over the old model"
    way.gain = None
    assert _kept(way, gate) == begins
