"""The README of a repository: Atlas's part is brought up to date, and what people wrote is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from hubtools import CLIENT_WARNS, make_alignment, upload

from atlas.cards.kinds import Metric
from atlas.cards.space import Space
from atlas.cards.yaml import parse_yaml
from atlas.errors import CardError
from atlas.hub.model_card import BEGIN, END, changes, readme
from atlas.sharing.publishing import push

pytest_plugins = ["hub_fixtures"]
pytestmark = CLIENT_WARNS
METRICS = (Metric("recall@10", 0.8, 0.7, 0.9, native=0.95, floor=0.01, dataset="toy", split="test", n=100),)


def api(hub):
    """Return the client."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=hub.url)


def text_of(hub, repo: str, name: str = "README.md") -> str:
    """Return the text of a file on the main branch."""
    return Path(api(hub).hf_hub_download(repo, name)).read_text(encoding="utf-8")


PEOPLES = """---
# kept: a comment
license: mit # ours
language:
  - en
tags: [mine, "vector-alignment"]
library_name: latent-atlas
base_model: their/model
---
# My own title

My own words, with `code` and --- dashes.
"""


def test_what_people_write_is_kept(hub, repo: str, tmp_path: Path) -> None:
    upload(repo, {"README.md": PEOPLES.encode(), "notes.txt": b"mine", "sub/figure.png": b"\x89PNG"})
    push(make_alignment(tmp_path / "a", license="apache-2.0"), repo)
    once = text_of(hub, repo)
    edited = once.replace(END, END + "\n\nAfter the marks.\n").replace("language:", "extra: {a: 1}\nlanguage:")
    upload(repo, {"README.md": edited.encode()})
    push(make_alignment(tmp_path / "a", metrics=METRICS, source=Space("newer", 6)), repo)
    twice = text_of(hub, repo)
    for text in (
        "# kept: a comment\n",
        "license: mit # ours\n",
        "language:\n  - en\n",
        "# My own title\n\nMy own words",
    ):
        assert text in once
        assert text in twice
    assert "extra: {a: 1}\n" in twice
    assert "After the marks.\n" in twice
    assert "recall@10" in twice
    data = parse_yaml(twice.split("---\n")[1], "README")
    assert "mine" in data["tags"]
    assert "atlas:source:newer" in data["tags"]
    assert "atlas:source:left" not in data["tags"]
    assert data["tags"].count("vector-alignment") == 1
    assert data["base_model"] == "their/model"
    assert twice.count(BEGIN) == 1
    assert {"notes.txt", "sub/figure.png"} < set(api(hub).list_repo_files(repo))


@pytest.mark.parametrize("mark", [BEGIN, END])
def test_a_mark_without_the_other_is_refused(mark: str) -> None:
    with pytest.raises(CardError, match="one of the marks atlas:begin and atlas:end is missing"):
        readme(f"Text\n{mark}\nmore", {}, {}, "body")


def test_metadata_that_is_no_yaml_is_refused() -> None:
    with pytest.raises(CardError, match=r"README.md: the metadata: not valid YAML"):
        readme("---\na: [\n---\n", {}, {"license": "mit"}, "body")


@pytest.mark.parametrize(
    ("now", "old", "new", "set_to"),
    [
        ({}, {}, {"license": "mit"}, {"license": "mit"}),
        ({"license": "mit"}, {"license": "mit"}, {"license": "zlib"}, {"license": "zlib"}),
        ({"license": "isc"}, {"license": "mit"}, {"license": "zlib"}, {}),
        ({"tags": ["a", "x"]}, {"tags": ["a"]}, {"tags": ["b"]}, {"tags": ["b", "x"]}),
        ({"tags": "x"}, {}, {"tags": ["b"]}, {"tags": ["b", "x"]}),
        ({"datasets": ["a"]}, {"datasets": ["a"]}, {}, {"datasets": None}),
        ({"datasets": ["a", "x"]}, {"datasets": ["a"]}, {}, {"datasets": ["x"]}),
    ],
)
def test_metadata_is_merged_three_ways(now: dict, old: dict, new: dict, set_to: dict) -> None:
    assert changes(now, old, new) == set_to
