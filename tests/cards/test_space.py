"""Spaces: when two are the same, and how a bare file carries one."""

from __future__ import annotations

import json

import pytest

from atlas.cards.space import Space
from atlas.errors import CardError

SPACE = Space("clip-b", 512, "clip", {"revision": "a" * 40, "pool": {"kind": "mean"}})


@pytest.mark.parametrize("space", [SPACE, Space("bare", 3)])
def test_a_space_survives_as_one_line_of_text(space):
    text = space.to_json()
    assert "\n" not in text and Space.from_json(text) == space
    assert Space.from_json(text).fingerprint == space.fingerprint


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", r"The card must be a mapping, got \[\] \(list\)"),
        ('{"id": "a"}', "Field 'dim' is missing"),
        ('{"id": "a", "dim": "3"}', r"Field 'dim' must be int, got '3' \(str\)"),
        ('{"id": "../a", "dim": 3}', "Space id '../a' must be at most 96 lower-case letters"),
        ('{"id": "a", "dim": 0}', "Space 'a' must have at least 1 dimension, got 0"),
        ('{"id": "a", "dim": 3, "identity": {"x": NaN}}', "must have an identity of plain, finite data"),
        ('{"id": "a", "dim": 3, "licence": "mit"}', "Unknown field 'licence'"),
        (json.dumps("x" * 1_000_001), "it has 1000003 characters, more than 1000000"),
    ],
)
def test_a_text_that_is_no_space_is_refused(text, reason):
    with pytest.raises(CardError, match=f"^The space under 'latent_atlas.space' is damaged: .*{reason}.* - write"):
        Space.from_json(text)


def test_spaces_are_the_same_by_fingerprint_or_by_name():
    assert SPACE.same(Space("other-name", 512, "clip", SPACE.identity))
    assert not SPACE.same(Space("clip-b", 512, "clip"))
    assert SPACE.same(Space("clip-b", 512)) and not SPACE.same(Space("use", 512))
