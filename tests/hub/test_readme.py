"""The README of a repository: Atlas's part is brought up to date, and what people wrote is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from hubtools import CLIENT_WARNS, make_alignment, upload

from atlas.cards.folder import read_card
from atlas.cards.kinds import Metric
from atlas.cards.space import Space
from atlas.cards.yaml import parse_yaml
from atlas.errors import AtlasError, CardError
from atlas.hub.model_card import BEGIN, END, changes, readme
from atlas.hub.model_card_text import body
from atlas.sharing.publishing import push

pytest_plugins = ["hub_fixtures"]
pytestmark = CLIENT_WARNS
METRICS = (Metric("self-recall@10", 0.8, 0.7, 0.9, native=0.95, floor=0.01, dataset="toy", split="test", n=100),)


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


def test_a_readme_that_is_too_large_to_read_is_left_alone(hub, repo: str, tmp_path: Path) -> None:
    begin = b"---\ntags: [a]\n---\n"
    upload(repo, {"README.md": begin + b"x" * (1_000_001 - len(begin))})
    with pytest.raises(AtlasError, match=r"its README.md of 1000001 bytes is too large to be kept up to date$"):
        push(make_alignment(tmp_path / "a"), repo)
    upload(repo, {"README.md": begin + b"x" * (1_000_000 - len(begin))})
    push(make_alignment(tmp_path / "a"), repo)


def test_metadata_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(CardError, match=r"^here: the metadata must be a mapping, got list$"):
        readme("---\n- a\n---\n", {}, {}, "", "here")


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
    assert "self-recall@10" in twice
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


EVIL = (
    "<img src=x onerror=alert(1)> [click](http://evil.example) <!-- atlas:end --> `<script>` | ** _x_ \n# Heading\n"
    "- a\n![p](https://evil.example/p.png) <https://evil.example> www.evil.example &lt;img&gt; $$x$$ ~~gone~~ \\"
)


def hostile(folder: Path) -> Path:
    """Write an alignment every text of whose card is hostile."""
    source = Space("left", 6, EVIL, {"model": EVIL})
    metrics = (Metric(EVIL, 0.5, native=0.6, floor=0.1, dataset=EVIL, split=EVIL, n=10),)
    fields = {"description": EVIL, "license": EVIL, "plugin": EVIL, "dataset": EVIL, "aligner": EVIL, "anchors": EVIL}
    config = {EVIL: EVIL, "nested": [{EVIL: EVIL}]}
    evaluation = {EVIL: f"hf://{EVIL}"}
    make_alignment(folder, source=source, metrics=metrics, config=config, evaluation=evaluation, **fields)
    (folder / "curve.csv").write_text(f"pairs,{' '.join(EVIL.split())}\n10,<img>\n")
    (folder / "recipe.yaml").write_text("steps: {}\n# `````\n# <!-- atlas:end --> <!-- atlas:begin -->\n")
    return folder


def test_a_hostile_card_becomes_text_and_the_same_bytes_each_time(hub, repo: str, tmp_path: Path) -> None:
    folder = hostile(tmp_path / "a")
    first = push(folder, repo).readme
    for _ in range(3):
        done = push(folder, repo)
        assert (done.changed, done.readme) == ((), first)
    body = first.split(BEGIN)[1]
    assert (body.count(END), body.count("<!-- atlas:")) == (1, 1)
    assert body.rstrip().endswith(END)
    prose, _, code = body.partition("## How it was made")
    # A block of code is closed by no fence within it.
    assert code.startswith("\n\n``````yaml\n")
    for markup in ("<img", "<script", "<http", "](http:/", "://evil", "www.", "\n# Heading", "\n- a", "$$", "~~"):
        assert markup not in prose.replace("# left__right__ridge", ""), markup
    assert "&lt;img src=x onerror=alert(1)&gt; \\[click\\](http:&#47;&#47;evil.example)" in prose
    # What changes later takes the place of what was there, and nothing is left over.
    make_alignment(folder, description="Mended")
    assert len(push(folder, repo).readme) < len(first)
    hostile(tmp_path / "a")
    assert push(folder, repo).readme.split(BEGIN)[1] == body


def test_a_card_of_every_kind_escapes_its_texts(pair) -> None:
    from atlas.cards.kinds import AnchorsCard, AtlasCard, HeadCard, SpaceCard, VectorsCard
    from atlas.hub.model_card_text import body

    space = Space("left", 6, EVIL, {"repo": EVIL})
    metrics = (Metric(EVIL, 0.5, dataset=EVIL),)
    about = {"description": EVIL, "dataset": EVIL}
    cards = [
        SpaceCard("a", space=space, config={EVIL: EVIL}, description=EVIL),
        AnchorsCard("a", n=3, items="0" * 64, spaces=(space,), sampler=EVIL, config={EVIL: EVIL}, **about),
        VectorsCard("a", space=space, n=3, **about),
        HeadCard("a", space=space, head=EVIL, config={EVIL: EVIL}, classes=(EVIL,), metrics=metrics, **about),
        AtlasCard("a", space=space, charts=(space,), aggregator=EVIL, anchors=EVIL, config={EVIL: EVIL}, **about),
    ]
    for card in cards:
        text = body(card, "you/x")
        assert "&lt;img" in text
        for markup in ("<img", "<script", "<!--", "](http:/", "://evil", "www.", "\n# Heading"):
            assert markup not in text, (card.kind, markup)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("A plain sentence, of 3 words - or 1.5.", "A plain sentence, of 3 words - or 1.5."),
        ("a_b *c* [d] `e` | \\", "a\\_b \\*c\\* \\[d\\] \\`e\\` \\| \\\\"),
        ("<b>&lt;", "&lt;b&gt;&amp;lt;"),
        ("# no heading", "\\# no heading"),
        ("- no list", "\\- no list"),
        ("--- no line", "\\--- no line"),
        ("12. no list", "12\\. no list"),
        ("-0.5", "-0.5"),
        ("1.5", "1.5"),
        ("C# and recall@10", "C# and recall@10"),
        ("two\n\nlines", "two lines"),
    ],
)
def test_text_is_shown_as_it_is(text: str, shown: str) -> None:
    from atlas.hub.model_card_text import plain

    assert plain(text) == shown
    assert plain(plain(text)) == shown


def test_first_results_by_thirds_have_a_table_of_their_own(tmp_path: Path) -> None:
    thirds = [Metric("first-result", 0.5, 0.4, 0.6, floor=0.01, split=f"queries mapped, {t}", n=33) for t in "ab"]
    text = body(read_card(make_alignment(tmp_path / "a", metrics=(*METRICS, *thirds))), "owner/name")
    kept, sure = text.split("## How sure an answer is")
    assert "first-result" not in kept and "| self-recall@10 |" in kept
    assert sure.count("| queries mapped, ") == 2
    text = body(read_card(make_alignment(tmp_path / "b", metrics=tuple(thirds))), "owner/name")
    assert "How much of the vectors it keeps has not been measured" in text
