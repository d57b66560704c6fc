"""The snippets on model cards run as they are, whatever is published."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hubtools import CLIENT_WARNS

import atlas
from atlas.cards.yaml import parse_yaml
from atlas.hub.model_card_text import example
from atlas.sharing.publishing import push

pytest_plugins = ["hub_fixtures"]
pytestmark = CLIENT_WARNS
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def artefact(kind: str, pair) -> Any:
    """Return an artefact of a kind."""
    X, Y = pair.source, pair.target.of_items(list(pair.source.ids))
    if kind == "text":
        return atlas.create(atlas.Encoder, "tfidf-svd", {"dim": 2}).fit(["one two", "two three", "three four", "one"])
    if kind == "network":
        made = atlas.create(
            atlas.Encoder, "network", {"layers": [{"type": "linear", "in_features": 6, "out_features": 3}]}
        )
        return made.load_state_dict({"0.weight": torch.ones(3, 6), "0.bias": torch.ones(3)})
    if kind == "pixels":
        return atlas.create(atlas.Encoder, "pixels").fit(torch.rand(2, 3, 4, 4))
    return {
        "alignment": lambda: atlas.fit("linear", source=X, target=Y),
        "relative": lambda: atlas.fit("relative", source=X),
        "composed": lambda: atlas.compose(
            atlas.fit("mlp", source=X, target=Y, steps=5), atlas.fit("mlp", source=Y, target=X, steps=5)
        ),
        "head": lambda: atlas.train("linear", X),
        "knn": lambda: atlas.train("knn", X),
        "atlas": lambda: atlas.aggregate("generalized-procrustes", X, Y),
        "anchors": lambda: atlas.sample("uniform", X, 10),
        "vectors": lambda: X,
        "moments": lambda: atlas.moments(source=X, target=Y),
    }[kind]()


KINDS = ["text", "network", "pixels", "alignment", "relative", "composed", "head", "knn", "atlas", "anchors", "vectors"]
KINDS += ["moments"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_snippet_runs(hub, repo: str, pair, kind: str) -> None:
    text = push(artefact(kind, pair), repo, license="mit", few=True).readme
    blocks = BLOCK.findall(text)
    assert len(blocks) == (2 if kind in ("alignment", "head") else 1)
    for block in blocks:
        names: dict = {}
        exec(compile(block, "README.md", "exec"), names)
        if "mapped" in names:
            assert len(names["mapped"]) == 3
        if kind in ("text", "network", "pixels"):
            assert len(names["vectors"]) in (2, 3)
        if kind == "atlas":
            assert names["shared"].space.id
        if kind == "head" and "classes" in names:
            assert set(names["classes"]) <= {"ant", "bee", "cat"}
    assert "```bash\npip install latent-atlas\n```" in text


def test_a_snippet_takes_the_vectors_that_are_published(hub, repo: str, pair, tmp_path: Path) -> None:
    refs = [f"hf://{repo}-{side}" for side in "xy"]
    for view, ref in zip((pair.source, pair.target), refs, strict=True):
        view.push_to_hub(ref)
    text = push(artefact("alignment", pair), repo, evaluated_on=refs).readme
    block = BLOCK.findall(text)[0]
    assert f'vectors = atlas.load("{refs[0]}@' in block
    names: dict = {}
    exec(compile(block, "README.md", "exec"), names)
    assert names["mapped"].space == pair.target.space


def test_a_card_says_how_to_install_the_paper_the_language_and_the_models(hub, repo: str, pair) -> None:
    model = f"{repo}-model"
    made = artefact("relative", pair)
    space = atlas.Space("a", 8, "sentence-transformers", {"model": model})
    made = made.with_card(source=space, plugin="latent-atlas-other 1.2")
    push(artefact("text", pair), model)
    text = push(made, repo, language=["en", "pt-BR"]).readme
    data = parse_yaml(text.split("---\n")[1], "README")
    assert data["language"] == ["en", "pt-BR"]
    assert (data["base_model"], data["base_model_relation"]) == ([model], "adapter")
    assert "arxiv:2209.15430" in data["tags"]
    assert "[arXiv:2209.15430](https://arxiv.org/abs/2209.15430)" in text
    assert "pip install latent-atlas latent-atlas-other\n" in text
    with pytest.raises(
        atlas.AtlasError, match="language must be a code such as en or pt-BR, or multilingual, got 'x y'"
    ):
        push(made, repo, language=["x y"])


def test_a_card_names_the_packages_that_bring_the_weights(hub, repo: str) -> None:
    text = push("wordllama", repo).readme
    assert "```bash\npip install latent-atlas latent-atlas-static wordllama\n```" in text
    # Options that are not set are not printed.
    assert "None" not in push("minilm", f"{repo}-minilm").readme


def test_no_name_of_a_package_becomes_a_command() -> None:
    from atlas.cards.kinds import SpaceCard
    from atlas.hub.model_card_text import body

    options = {"a": "package:--pre/x", "b": "package:x; rm -rf/y", "c": "package:good_name/x"}
    card = SpaceCard("a", space=atlas.Space("a", 8, "x"), config=options)
    assert "```bash\npip install latent-atlas good_name\n```" in body(card, "you/a")


@pytest.mark.parametrize("shape", [["1); import os; ("], [0], "8", {"a": 1}, [True]])
def test_no_text_of_a_card_becomes_code(shape) -> None:
    from atlas.cards.kinds import HeadCard, SpaceCard

    card = SpaceCard("a", space=atlas.Space("a", 8, "x", {"shape": shape}), config={"input_shape": shape})
    assert "torch.rand(3, 8)" in example(card, "you/a")
    evil = {"vectors": 'hf://x"); import os; ("'}
    head = HeadCard("a", space=atlas.Space("a", 8), head="linear", evaluation=evil)
    assert "import os" not in example(head, "you/a")
