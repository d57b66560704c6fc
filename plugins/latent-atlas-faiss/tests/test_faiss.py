"""A mapped index finds what mapping by hand and searching the old index find, and the old index stays as it is."""

import gc

import faiss
import numpy as np
import pytest
import torch
from indexes import INNER, KINDS, L2, TOLERANCE, D, K, N, assert_finds, build, by_hand, command, rows, store

import atlas
from atlas.components.linear import Affine
from atlas.testing import check_exporter
from atlas.testing.promises import D_TARGET
from atlas_faiss import Faiss, is_unit, mapped_index, read, register_exporters


def test_it_is_registered():
    assert register_exporters() == [Faiss]


def test_it_keeps_the_promises_of_exporters(folder):
    index = faiss.IndexFlatL2(D_TARGET)
    index.add(rows(50, D_TARGET, 0).numpy())
    check_exporter(Faiss(index=store(index)))


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("metric", [L2, INNER])
@pytest.mark.parametrize("kind", KINDS)
def test_it_finds_what_mapping_by_hand_finds(folder, alignment, kind, metric, unit):
    if kind == "LSH" and metric == INNER:
        pytest.skip("faiss has no LSH of inner products")
    index, Q = build(kind, metric, unit), rows(40, D, 3)
    path = atlas.export("faiss", alignment, "new.faiss", index=store(index), normalize=unit)
    found = faiss.read_index(str(path)).search(Q.numpy(), 5)
    assert_finds(found, index.search(by_hand(alignment, Q, unit), 5))


@pytest.mark.parametrize("kind", KINDS)
def test_it_sees_whether_vectors_have_length_1_or_asks(kind):
    for unit in (False, True):
        index = build(kind, unit=unit)
        try:
            told = is_unit(index)
        except atlas.AtlasError as error:
            assert "does not show whether its vectors were scaled to length 1 - give option 'normalize'" in str(error)
            assert KINDS[kind] is None
        else:
            assert told == (unit and KINDS[kind])


def test_vectors_of_length_0_say_nothing_of_the_others(alignment):
    index = faiss.IndexFlatIP(K)
    index.add(np.concatenate([np.zeros((3, K), np.float32), rows(9, K, 0, unit=True).numpy()]))
    assert is_unit(index)


def test_an_index_of_unit_vectors_gets_unit_vectors_and_gives_cosines(folder, alignment):
    index, Q = build(metric=INNER, unit=True), rows(40, D, 3)
    atlas.export("faiss", alignment, "new.faiss", index=store(index))
    found = faiss.read_index("new.faiss").search(Q.numpy(), 5)
    assert_finds(found, index.search(by_hand(alignment, Q, unit=True), 5))
    assert np.abs(found[0]).max() <= 1


@pytest.mark.parametrize("kind", ["IVF8,PQ4x4", "OPQ4,IVF8,PQ4x4"])
def test_a_doubt_is_told_by_the_command(folder, alignment, kind):
    store(build(kind, unit=True))
    alignment.save_pretrained("map")
    said = command("map", "--out", "new.faiss", status=1)
    assert said == (
        "Error: 'old.faiss' does not show whether its vectors were scaled to length 1"
        " - give option 'normalize', true if they were\n"
    )
    command("map", "--out", "new.faiss", "-o", "normalize", "true")
    assert "NormalizationTransform" in chain(faiss.read_index("new.faiss"))


def chain(index):
    transforms = [faiss.downcast_VectorTransform(index.chain.at(i)) for i in range(index.chain.size())]
    return [type(transform).__name__ for transform in transforms]


def test_the_command_writes_an_index_and_leaves_the_old_one(folder, alignment):
    index = build("IVF8,Flat")
    index.nprobe = 3
    alignment.save_pretrained("map")
    before = (folder / store(index)).read_bytes()
    assert command("map", "--out", "new.faiss") == f"Wrote alignment '{alignment.id}' for faiss to new.faiss\n"
    assert (folder / "old.faiss").read_bytes() == before
    made, Q = faiss.read_index("new.faiss"), rows(40, D, 3)
    assert faiss.extract_index_ivf(made).nprobe == 3
    assert_finds(made.search(Q.numpy(), 5), index.search(by_hand(alignment, Q), 5))


def test_what_the_old_index_did_to_vectors_comes_after_the_map(folder, alignment):
    atlas.export("faiss", alignment, "new.faiss", index=store(build("OPQ4,PQ4x4")), normalize=True)
    made = faiss.read_index("new.faiss")
    assert chain(made) == ["LinearTransform", "NormalizationTransform", "LinearTransform"]
    assert type(faiss.downcast_index(made.index)).__name__ == "IndexPQ"


def test_vectors_of_the_new_model_are_added_through_the_map(folder, alignment):
    index, added = build("IDMap2,Flat"), rows(5, D, 4)
    atlas.export("faiss", alignment, "new.faiss", index=store(index))
    made = faiss.read_index("new.faiss")
    made.add_with_ids(added.numpy(), np.arange(5) + 10**6)
    ids = made.search(added.numpy(), 1)[1]
    assert ids[:, 0].tolist() == [10**6 + i for i in range(5)]
    inner = faiss.downcast_index(made.index)
    stored = np.stack([inner.reconstruct(10**6 + i) for i in range(5)])
    np.testing.assert_allclose(stored, by_hand(alignment, added), rtol=TOLERANCE, atol=TOLERANCE)
    # Vectors of the old model still go into the index within.
    assert inner.search(rows(3, K, 0).numpy(), 1)[1][:, 0].tolist() == [7, 10, 13]


def test_a_rotation_gives_vectors_back_in_the_new_space(folder):
    rotation = torch.linalg.qr(rows(K, K, 5)).Q
    alignment = atlas.Alignment.of(Affine.of(rotation, torch.ones(K)), atlas.Space("new", K), atlas.Space("old", K))
    atlas.export("faiss", alignment, "new.faiss", index=store(build()))
    for made in (faiss.read_index("new.faiss"), mapped_index(alignment, build())):
        found = torch.from_numpy(made.reconstruct(3))
        torch.testing.assert_close(alignment(found[None])[0], rows(N, K, 0)[3], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["Flat", "L2norm,Flat", "OPQ4,IVF8,PQ4x4"])
def test_an_index_in_memory_is_used_and_not_changed(alignment, kind):
    index, Q = build(kind), rows(40, D, 3)
    before = faiss.serialize_index(index)
    made, expected = mapped_index(alignment, index, normalize=False), index.search(by_hand(alignment, Q), 5)
    np.testing.assert_array_equal(faiss.serialize_index(index), before)
    del index
    gc.collect()
    assert_finds(made.search(Q.numpy(), 5), expected)


def test_lists_in_another_file_are_shared_and_that_is_told(folder, alignment):
    index = build("IVF8,Flat")
    lists = faiss.OnDiskInvertedLists(index.nlist, index.code_size, "lists.ivfdata")
    index.reset()
    index.replace_invlists(lists)
    index.add(rows(N, K, 0).numpy())
    store(index)
    assert faiss.downcast_InvertedLists(read("old.faiss").invlists).read_only
    before = (folder / "lists.ivfdata").read_bytes()
    with pytest.warns(atlas.AtlasWarning, match=r"'old.faiss' keeps its lists in 'lists\.ivfdata', and the new index"):
        atlas.export("faiss", alignment, "new.faiss", index="old.faiss", normalize=False)
    assert (folder / "lists.ivfdata").read_bytes() == before
