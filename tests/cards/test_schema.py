"""One checker of plain data stands behind cards, options, layers and recipes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pytest

import atlas
from atlas.cards.schema import build, check_names, exactly, of_type, read_as
from atlas.errors import AtlasError


@dataclass(frozen=True)
class Counted:
    n: int


@pytest.mark.parametrize("kind, value", [(int, True), (int, 1.0), (float, True), (str, None), (bool, 1), (list, ())])
def test_only_the_very_type_will_do(kind, value):
    with pytest.raises(AtlasError, match=rf"^It must be {kind.__name__}, got .* \({type(value).__name__}\)"):
        of_type(kind, value, "It")


def test_a_whole_number_will_do_for_a_float():
    assert type(of_type(float, 3, "It")) is float
    with pytest.raises(AtlasError, match="It must be float, got 1000"):
        of_type(float, 10**400, "It")


def test_a_message_is_short_however_long_the_value_is():
    with pytest.raises(AtlasError) as caught:
        of_type(int, "x" * 1_000_000, "It")
    assert len(str(caught.value)) < 100
    with pytest.raises(AtlasError) as caught:
        check_names(["x" * 1_000_000], ["known"], {})
    assert len(str(caught.value)) < 120


def test_words_say_what_a_value_must_be():
    read = partial(exactly, int, fits=range(1, 9).__contains__)
    assert read_as(read, "a number from 1 to 8", 8, "It") == 8
    with pytest.raises(
        AtlasError, match=r"^It must be a number from 1 to 8, got '9' \(str\) - write it without quotes$"
    ):
        read_as(read, "a number from 1 to 8", "9", "It")


def test_names_are_known_and_the_needed_ones_there():
    check_names(["a", "b"], ["a", "b", "c"], {"a": ""})
    with pytest.raises(AtlasError, match=r"^Unknown option 'd' of it - known: a$"):
        check_names(["d"], ["a"], {}, "Option", " of it")
    with pytest.raises(AtlasError, match=r"^Option 'a' of it is missing - say which$"):
        check_names([], ["a"], {"a": "say which"}, "Option", " of it")


def test_an_option_of_a_component_goes_through_it():
    with pytest.raises(AtlasError, match=r"^Option 'ridge' of aligner 'linear' must be float.*, got 1000"):
        atlas.create(atlas.Aligner, "linear", {"ridge": 10**400})


def test_whole_numbers_of_cards_are_those_that_eight_bytes_hold():
    assert build(Counted, {"n": 2**63 - 1}) == Counted(2**63 - 1)
    for n in (2**63, -1):
        with pytest.raises(AtlasError, match=rf"^Field 'n' must be from 0 to 2\*\*63 - 1, got {n}$"):
            build(Counted, {"n": n})
