from __future__ import annotations

import random

import pytest
import torch

from atlas.errors import AtlasError, CardError
from atlas.storage.item_ids import (
    RowNumbers,
    StoredIds,
    Texts,
    check_ids,
    hash_ids,
    hashed,
    match,
    pack_ids,
    unpack_ids,
)


def test_row_numbers_are_a_sequence_of_texts():
    ids = RowNumbers(5)
    assert list(ids) == ["0", "1", "2", "3", "4"]
    assert ids[-1] == "4" and ids[1:3] == ["1", "2"] and len(ids) == 5
    assert "3" in ids and "5" not in ids
    with pytest.raises(IndexError):
        ids[5]


def test_row_numbers_equal_the_texts_they_stand_for():
    assert RowNumbers(3) == RowNumbers(3) == ["0", "1", "2"]
    assert RowNumbers(3) == ["0", "1", "2"]
    assert RowNumbers(3) != RowNumbers(4)
    assert RowNumbers(2) != ["0", "2"]


@pytest.mark.parametrize(
    "ids",
    [
        RowNumbers(4),
        ["0", "7", "123456789012345678", "3"],
        ["", "a", "é/ü.png", "x\ny"],
        ["00", "1", "2", "3"],
        ["-1", "1", "2", "3"],
        ["12345678901234567890", "1", "2", "3"],
        ["\u0661", "1", "2", "3"],
    ],
)
def test_ids_survive_being_packed(ids):
    assert list(unpack_ids(pack_ids(ids), 4, "file")) == list(ids)


def test_row_numbers_take_no_room():
    assert pack_ids(RowNumbers(10**9)) == {}


def test_whole_numbers_are_packed_as_such():
    assert pack_ids(["3", "1"])["ids"].tolist() == [3, 1]


def test_match_pairs_by_id_in_the_order_of_the_left():
    left, right = match(["a", "b", "c", "d"], ["d", "x", "b"])
    assert left.tolist() == [1, 3] and right.tolist() == [2, 0]


def test_match_of_the_same_ids_is_no_index():
    assert match(["a", "b"], ["a", "b"]) is None
    assert match(RowNumbers(3), ["0", "1", "2"]) is None
    assert match(["0", "1", "2"], RowNumbers(3)) is None


def test_match_of_row_numbers_of_different_length():
    left, right = match(RowNumbers(3), RowNumbers(2))
    assert left.tolist() == right.tolist() == [0, 1]


def test_match_of_nothing_in_common_is_empty():
    left, right = match(["a"], ["b"])
    assert len(left) == len(right) == 0


MANY = ["", "é/ü.png", "\ud800", "0", "00", *(f"item-{i}" * (i % 7 + 1) for i in range(3000))]


def stored(ids, size=700):
    return StoredIds(len(ids), lambda: (Texts.of(ids[i : i + size]) for i in range(0, len(ids), size)), "These")


@pytest.mark.parametrize("left", [list, stored])
@pytest.mark.parametrize("right", [list, stored])
def test_match_of_many_ids_is_that_of_a_dictionary(left, right):
    a, b = MANY[:], [*MANY[::2], *(f"other-{i}" for i in range(500))]
    random.Random(0).shuffle(a)
    random.Random(1).shuffle(b)
    where = {item: row for row, item in enumerate(b)}
    rows, partners = match(left(a), right(b))
    assert rows.tolist() == [row for row, item in enumerate(a) if item in where]
    assert partners.tolist() == [where[a[row]] for row in rows.tolist()]
    assert match(left(a), right(a[:])) is None


@pytest.mark.parametrize(("left", "right"), [([], ["a"]), (["a"], [])])
def test_match_with_no_ids_is_empty(left, right):
    assert [len(rows) for rows in match(left, right)] == [0, 0]


def test_packed_texts_are_those_they_were_made_of():
    some = Texts.of(MANY)
    part = Texts(some.ends[3:9], some.text)
    assert some[-1] == MANY[-1] and stored(MANY)[-2] == MANY[-2] and some[-3:] == MANY[-3:]
    with pytest.raises(IndexError):
        some[len(MANY)]
    assert list(some) == MANY and some[1] == MANY[1] and some[2:4] == MANY[2:4]
    assert list(part) == MANY[3:8] and list(part.raw()) == [item.encode() for item in MANY[3:8]]
    assert (part.hashes() == some.hashes()[3:8]).all()


def test_texts_that_differ_in_a_byte_or_its_place_have_other_hashes():
    alike = ["ab", "ba", "a", "b", "aa", "", "abc", "bca"]
    assert len({tuple(pair) for pair in hashed(alike).tolist()}) == len(alike)


def test_stored_ids_that_repeat_are_refused_when_they_are_matched():
    with pytest.raises(AtlasError, match="These has 1 duplicate id, 'b'"):
        match(stored(["a", "b", "c", "b"]), ["c", "a"])


def test_duplicate_ids_are_counted_and_the_first_named():
    with pytest.raises(
        AtlasError, match="Vectors has 3 duplicate ids, the first is 'b', in row 1 and row 2 - ids must be distinct"
    ):
        check_ids(["a", "b", "b", "b", "a"], 5, "Vectors")


def test_one_duplicate_is_singular():
    with pytest.raises(AtlasError, match="Vectors has 1 duplicate id, 'a', in row 0 and row 1 - ids must be distinct"):
        check_ids(["a", "a"], 2, "Vectors")


def test_too_few_ids_are_refused():
    with pytest.raises(AtlasError, match="Vectors has 3 rows but 2 ids"):
        check_ids(["a", "b"], 3, "Vectors")


def test_the_hash_depends_on_ids_and_order():
    assert hash_ids(["a", "b"]) == hash_ids(["a", "b"]) != hash_ids(["b", "a"])
    assert hash_ids(RowNumbers(2)) == hash_ids(["0", "1"])


@pytest.mark.parametrize(
    "tensors",
    [
        {"ids.ends": torch.tensor([2, 1]), "ids.text": torch.zeros(1, dtype=torch.uint8)},
        {"ids.ends": torch.tensor([-1, 2]), "ids.text": torch.zeros(2, dtype=torch.uint8)},
        {"ids.ends": torch.tensor([1, 2]), "ids.text": torch.zeros(5, dtype=torch.uint8)},
    ],
)
def test_damaged_ends_are_refused(tensors):
    with pytest.raises(CardError, match="file: the ids are damaged: their ends do not fit their text"):
        unpack_ids(tensors, 2, "file")


def test_damaged_text_is_refused():
    tensors = {"ids.ends": torch.tensor([1]), "ids.text": torch.tensor([255], dtype=torch.uint8)}
    with pytest.raises(CardError, match="file: the ids are damaged: not UTF-8 text"):
        unpack_ids(tensors, 1, "file")


def test_half_the_tensors_of_ids_are_refused():
    with pytest.raises(CardError, match=r"file: the ids are damaged: 'ids.text' is missing"):
        unpack_ids({"ids.ends": torch.tensor([1])}, 1, "file")


def test_half_a_character_cannot_be_stored():
    with pytest.raises(AtlasError, match=r"The id '\\udc80.png' holds half a character"):
        pack_ids(["a.png", "\udc80.png"])


@pytest.mark.parametrize("rows", [[0, 3, 4, 9], [9, 3, 3, 0], [], [2]])
def test_some_are_picked_in_the_order_of_their_rows(rows):
    ids = [f"é-{i}" for i in range(10)]
    picked = stored(ids, 4).pick(torch.tensor(rows, dtype=torch.int64))
    assert list(picked) == [ids[i] for i in rows] and len(picked) == len(rows)
