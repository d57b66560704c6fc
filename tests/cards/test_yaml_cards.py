from __future__ import annotations

import pytest

from atlas.cards.folder import CARD, dump_card, read_card
from atlas.cards.kinds import SpaceCard
from atlas.cards.space import Space
from atlas.cards.yaml import dump_yaml, parse_yaml, read_yaml
from atlas.errors import AtlasError, CardError, NotFoundError

PLAIN = {
    "texts": [
        "no",
        "yes",
        "on",
        "off",
        "1:30",
        "2024-01-01",
        "1e3x",
        "~x",
        "",
        " a ",
        "#1",
        "é",
        "- a",
        "a: b",
        "0x1F",
    ],
    "numbers": [1e-3, 1e300, -0.5, 0, -3, 12345678901234567890, 1.0, 5e-324],
    "others": [True, False, None],
    "nested": [{"a": [1, [2, 3]]}, {}, []],
    "strings that look like something": ["1", "1.5", "1e-3", "true", "null", "~", ".inf", ".nan", "NULL", "0o7", "+1"],
}


def test_plain_data_survives_with_its_types():
    again = parse_yaml(dump_yaml(PLAIN), "text")
    assert again == PLAIN
    assert [type(x) for x in again["numbers"]] == [type(x) for x in PLAIN["numbers"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-3", 0.001),
        ("1E+5", 100000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("no", "no"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("0777", 777),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("True", True),
        ("~", None),
        ("", None),
        (".inf", float("inf")),
        ("-.inf", float("-inf")),
        ("<<", "<<"),
        ("=", "="),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, expected):
    value = parse_yaml(text, "text")
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x 1\nb: *x", r"aliases are not allowed \(line 1\)"),
        ("a: [*x]", "aliases are not allowed"),
        ("a: !!python/object:os.system x", "tags such as .* are not allowed"),
        ("a: !!binary aGk=", "tags such as"),
        ("a: 1\na: 2", "key 'a' is given twice"),
        ("a: {b: 1, b: 2}", "key 'b' is given twice"),
        ("{a: {1: 2, 1: 3}}", "key '1' is given twice"),
        ("[" * 40 + "]" * 40, r"nested deeper than 32 levels \(line 1\)"),
        ("a: " + "9" * 100, r"a number of 100 digits is too long \(line 1\)"),
        ("a: [1, 2", "not valid YAML: .* in line"),
        ("a: 1\n b: 2", "not valid YAML: .* in line 2"),
        ("a: 1\n---\nb: 2", "holds 2 documents, must hold one"),
        ("a: \x07", "not valid YAML: "),
        ("? [a]\n: 1", r"a key must be a text \(line 1\)"),
        ("x" * 1_000_001, "1000001 characters are too many - the limit is 1000000"),
    ],
)
def test_what_a_card_never_holds_is_refused(text, message):
    with pytest.raises(CardError, match=f"^here: {message}"):
        parse_yaml(text, "here")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"There is no file '.*none.yaml'"):
        read_yaml(tmp_path / "none.yaml")


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    with pytest.raises(AtlasError, match="cannot be read: Is a directory"):
        read_yaml(tmp_path)


def test_text_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"a: \xff")
    with pytest.raises(CardError, match=r"x.yaml: not UTF-8 text \(byte 3\)"):
        read_yaml(tmp_path / "x.yaml")


def test_a_huge_file_is_refused(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"#" * 2_000_000)
    with pytest.raises(CardError, match="characters are too many"):
        read_yaml(tmp_path / "x.yaml")


def test_a_card_is_read_from_its_folder(tmp_path):
    card = SpaceCard("pixels", space=Space("pixels", 4, "pixels", {"size": 2}))
    (tmp_path / CARD).write_text(dump_card(card))
    assert read_card(tmp_path) == card
    assert (tmp_path / CARD).read_text().startswith("format: 1\nkind: space\nid: pixels\nspace:\n  id: pixels\n")


def test_a_malformed_card_is_named_with_its_path(tmp_path):
    (tmp_path / CARD).write_text("format: 1\nkind: space\nid: x\nlicence: mit")
    with pytest.raises(CardError, match=r"config.yaml: Unknown field 'licence'"):
        read_card(tmp_path)


def test_a_folder_without_a_card_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"is not an artefact of Atlas: it has no config.yaml"):
        read_card(tmp_path)
    with pytest.raises(NotFoundError, match=r"There is no folder '.*/none'"):
        read_card(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotFoundError, match=r"'.*/file' is a file, not the folder of an artefact"):
        read_card(tmp_path / "file")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"description": "a\x07b"}, "characters that cannot be printed are not allowed"),
        ({"license": 3}, r"Field 'license' must be str, got 3"),
        ({"config": {"ridge": float("nan")}}, "it would not be read as it is"),
        ({"config": {"long": "x" * 1_000_001}}, "characters are too many"),
    ],
)
def test_a_card_that_could_not_be_read_again_is_not_written(fields, reason):
    card = SpaceCard("x", space=Space("x", 4), **fields)
    with pytest.raises(CardError, match=f"The card of space 'x' cannot be stored: .*({reason})"):
        dump_card(card)


def test_a_card_of_just_a_megabyte_is_read_and_one_of_a_character_more_is_not():
    text = "a: " + "x" * (10**6 - 3)
    assert len(parse_yaml(text, "card")["a"]) == 10**6 - 3
    with pytest.raises(CardError, match=r"^card: 1000001 characters are too many - the limit is 1000000$"):
        parse_yaml(text + "x", "card")
