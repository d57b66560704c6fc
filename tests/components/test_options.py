"""Options are checked wherever they come from, and so is what the code of a plugin returns."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import pytest
import torch

from atlas import AtlasError, AtlasWarning
from atlas.components.options import Component, option
from atlas_builtin.aligners import Linear


@dataclass
class Some(Component):
    """A component with an option of every type."""

    kind = "thing"
    name = "some"

    count: int = option(help="A number")
    share: float | None = option(0.5, help="A share")
    on: bool = option(True, help="Whether")
    word: str = option("a", help="A word", choices=("a", "b"))
    many: list = option([1], help="A list")


def test_options_say_what_they_are():
    count, share, on, word, many = Some.options()
    assert [o.name for o in Some.options()] == ["count", "share", "on", "word", "many"]
    assert (count.type_name, share.type_name, many.type_name) == ("int", "float or none", "list")
    assert (count.help, word.choices, on.choices, on.default) == ("A number", ("a", "b"), (), True)
    assert Some(1).config() == {"count": 1, "share": 0.5, "on": True, "word": "a", "many": [1]}
    # Each gets a list of its own.
    assert Some(1).many is not Some(2).many


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("count", "7", 7),
        ("share", "2", 2.0),
        ("share", " None", None),
        ("share", "null", None),
        *(("on", text, True) for text in ("true", "Yes", "1")),
        *(("on", text, False) for text in ("false", "NO", "0 ")),
        ("word", "b", "b"),
        ("many", "[2, x]", [2, "x"]),
    ],
)
def test_a_text_becomes_a_value_of_the_type(name, text, value):
    assert Some.parse_config([(name, text)]) == {name: value}


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("count", "none", r"Option 'count' of thing 'some' must be int, got 'none' \(str\)"),
        ("count", "2.5", "must be int, got '2.5'"),
        ("on", "maybe", "Option 'on' of thing 'some' must be bool, got 'maybe'"),
        ("word", "c", "Option 'word' of thing 'some' must be one of a, b, got 'c'"),
        ("many", "3", "Option 'many' of thing 'some' must be list, got 3"),
        ("many1", "3", "Unknown option 'many1' of thing 'some' - did you mean 'many'"),
    ],
)
def test_a_text_that_is_no_value_is_refused(name, text, sentence):
    with pytest.raises(AtlasError, match=sentence):
        Some.parse_config([(name, text)])


def test_an_option_is_given_once_and_all_that_are_needed():
    with pytest.raises(AtlasError, match="Option 'count' of thing 'some' is given twice"):
        Some.parse_config([("count", "1"), ("count", "1")])
    with pytest.raises(AtlasError, match="Option 'count' of thing 'some' is missing - A number"):
        Some.from_config({})
    made = Some.from_config({"count": 3, "share": 1, "word": "b"})
    assert made == Some(3, 1.0, word="b") and type(made.share) is float
    assert Some.from_config({"count": 3, "share": None}).share is None


def test_nan_is_no_value_of_an_option():
    message = r"^Option 'ridge' of aligner 'linear' must be a number, got nan$"
    with pytest.raises(AtlasError, match=message):
        Linear.from_config({"ridge": math.nan})
    with pytest.raises(AtlasError, match=message):
        Linear.parse_config([("ridge", "nan")])


def test_rounding_is_told_from_a_hundredth_of_the_spread_on_and_refused_from_a_half_on():
    made = Some(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.check_rounding(0.99e-4 * 9, 9.0)
        # Where nothing is spread, nothing is lost.
        made.check_rounding(1.0, 0.0)
    for lost, share in ((0.011, "1%"), (0.49, "49%")):
        with pytest.warns(AtlasWarning, match=f"Thing 'some' loses {share} of the spread of these vectors"):
            made.check_rounding(lost**2 * 9, 9.0)
    for lost, share in ((0.51, "51%"), (3.0, "100%")):
        with pytest.raises(AtlasError, match=f"loses {share} of the spread .* - subtract the mean of each space first"):
            made.check_rounding(lost**2 * 9, 9.0)


def test_what_a_method_makes_is_real_numbers_of_a_shape():
    made, result = Some(1), torch.ones(2, 3)
    assert made.made(result, 2, 3) is result
    for wrong, what in (
        (torch.ones(3, 2), r"torch.float32 of shape \(3, 2\)"),
        (torch.ones(2, 3, dtype=torch.int64), r"torch.int64 of shape \(2, 3\)"),
        ([1.0], "list"),
    ):
        with pytest.raises(AtlasError, match=f"made {what} where it should make real numbers of shape"):
            made.made(wrong, 2, 3)


def test_what_a_method_learns_is_tensors_by_name():
    made = Some(1)
    assert made.check_learned({"a": torch.ones(1)}) == {"a": torch.ones(1)}
    for wrong, what in (
        ([], "list"),
        ({"a": torch.ones(1), "b": 3}, "int under 'b'"),
        ({4: torch.ones(1)}, "Tensor under 4"),
    ):
        with pytest.raises(AtlasError, match=f"learned {what} where it should learn a dict of tensors by name"):
            made.check_learned(wrong)
