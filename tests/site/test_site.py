"""Pages of a registry: whole, linked, without anything from elsewhere, and the text of cards stays text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hubtools import CLIENT_WARNS, make_alignment

import atlas
from atlas.cards.folder import CARD, dump_card
from atlas.cards.kinds import AlignmentCard, Metric
from atlas.cards.space import Space
from atlas.cards.yaml import parse_yaml
from atlas.errors import AtlasError
from atlas.sharing.publishing import push
from atlas.site.pages import NAMES, site
from atlas.storage.registry import FOLDERS

pytest_plugins = ["hub_fixtures"]
EVIL = "\"><img src=x onerror=alert(1)><script>alert(2)</script>'</code>{{ 7*7 }}"


class Links(HTMLParser):
    """Every link of a page, and the elements and attributes there are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]


def write(root: Path, card: AlignmentCard) -> None:
    folder = root / "alignments" / card.id
    folder.mkdir(parents=True)
    (folder / CARD).write_text(dump_card(card))


@pytest.fixture
def zoo(pair, tmp_path: Path) -> Path:
    """A registry with an artefact of every kind that vectors make, and one whose every text is hostile."""
    root = tmp_path / "zoo"
    X, Y = pair.source, pair.target.of_items(list(pair.source.ids))
    made = atlas.fit("linear", source=X, target=Y)
    figures = (Metric("r2", 0.5, 0.4, 0.6, native=1.0, floor=-1.0, n=9), Metric("r2", 0.99, n=9, overlap=9))
    there = made.with_card(metrics=figures)
    back = made.inverse().with_card(id="back")
    both = atlas.aggregate("mean", X, Y, id="both")
    for one in (
        there,
        back,
        both,
        atlas.train("linear", X),
        atlas.sample("uniform", X, 9),
        X,
        atlas.moments(source=X, target=Y),
    ):
        one.save_pretrained(root / FOLDERS[one.kind] / one.id)
    space = Space("evil", 8, EVIL, {"model": EVIL, EVIL: [EVIL]})
    about = {"description": EVIL, "license": EVIL, "dataset": EVIL, "anchors": EVIL, "plugin": EVIL}
    metrics = (Metric(EVIL, 0.5, dataset=EVIL, split=EVIL), Metric("r2", 0.5, dataset=EVIL))
    write(root, AlignmentCard("evil", source=X.space, target=space, aligner=EVIL, metrics=metrics, **about))
    return root


def test_every_link_leads_to_a_page_and_nothing_comes_from_elsewhere(zoo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert site([zoo], out) == 8
    assert {path.name for path in out.iterdir()} == NAMES
    pages = [*out.rglob("*.html")]
    for page in pages:
        text = page.read_text()
        found = Links(text)
        for link in found.links:
            assert (page.parent / link).resolve().is_file(), (page, link)
        assert "default-src 'none'; style-src 'self'; script-src 'self'" in text
        assert found.attributes & {"style", "onerror", "onclick", "onload"} == set()
    linked = {(page.parent / link).resolve() for page in pages for link in Links(page.read_text()).links}
    assert {page.resolve() for page in pages} <= linked
    listed = json.loads((out / "index.json").read_text())
    assert len(listed) == 8
    assert all((out / one["page"]).is_file() for one in listed)


def test_text_of_cards_stays_text(zoo: Path, tmp_path: Path) -> None:
    site([zoo], tmp_path / "out")
    for page in (tmp_path / "out").rglob("*.html"):
        text = page.read_text()
        assert "img" not in Links(text).tags
        assert "<script>" not in text
        assert ("onerror" in text) == ("{{ 7*7 }}" in text)
    assert "&lt;img src=x onerror=alert(1)&gt;" in (tmp_path / "out" / "artefacts" / "alignment-evil.html").read_text()


def test_what_is_told_of_an_artefact_and_of_a_space(zoo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    site([zoo], out)
    home = (out / "index.html").read_text()
    assert "0.5</td>" in home
    assert "fitted on 9 of 9" not in home
    page = (out / "artefacts" / "alignment-a__b__linear.html").read_text()
    assert '<strong class="mark">fitted on 9 of 9</strong>' in page
    assert "atlas.load(&#34;a__b__linear&#34;)" in page
    assert "alignment a__b__linear, run backwards" in (out / "artefacts" / "alignment-back.html").read_text()
    spaces = [path.read_text() for path in (out / "spaces").iterdir()]
    told = next(text for text in spaces if "<h1>a</h1>" in text)
    assert {"maps them to b", "reads them", "has anchors of them", "maps them to both"} <= set(
        re.findall(r"<td>([^<]*)</td></tr>", told)
    )
    graph = (out / "graph.html").read_text()
    assert "a__b__linear</td>" in graph
    assert graph.count('<circle class="node"') == 4


def test_a_site_is_replaced_and_nothing_else_is(zoo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    site([zoo], out)
    with pytest.raises(AtlasError, match="out' exists - choose another name, or pass --overwrite"):
        site([zoo], out)
    (zoo / "alignments" / "back" / CARD).unlink()
    assert site([zoo], out, overwrite=True) == 7
    assert not (out / "artefacts" / "alignment-back.html").exists()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(AtlasError, match="is a folder of something else"):
        site([zoo], out, overwrite=True)
    assert (out / "mine.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_many_artefacts_and_two_owners_of_one_id(tmp_path: Path, atlas_command) -> None:
    root = tmp_path / "zoo"
    spaces = [Space(f"s{i}", 4, "x", {"i": i}) for i in range(70)]
    for i in range(200):
        metrics = (Metric("r2", i / 200),)
        write(
            root,
            AlignmentCard(
                f"m{i}", source=spaces[i % 70], target=spaces[(i * 7 + 1) % 70], aligner="x", metrics=metrics
            ),
        )
    for owner in ("ann", "ben"):
        card = AlignmentCard("same", source=spaces[0], target=spaces[1], aligner="x", hub=f"{owner}/same@{'0' * 40}")
        write(root / owner, card)
    said = atlas_command("site", root, "--out", tmp_path / "out")
    assert (
        said.stderr
        == f"Wrote a site of 202 artefacts to {tmp_path / 'out'} - next: open {tmp_path / 'out' / 'index.html'}\n"
    )
    home = (tmp_path / "out" / "index.html").read_text()
    assert len({link for link in Links(home).links if "same" in link}) == 2
    assert "hf://ann/same@" in "".join(p.read_text() for p in (tmp_path / "out" / "artefacts").glob("*same*"))
    assert "There are too many spaces to tell all routes" in (tmp_path / "out" / "graph.html").read_text()


def test_an_empty_registry_makes_a_site(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    assert site([tmp_path / "none"], tmp_path / "out") == 0
    assert "0 artefacts" in (tmp_path / "out" / "index.html").read_text()


def test_a_space_has_a_card_and_is_replaced_as_any_site(zoo: Path, tmp_path: Path) -> None:
    for overwrite in (False, True):
        site([zoo], tmp_path / "site", space="owner/my-zoo", overwrite=overwrite)
    _, head, _ = (tmp_path / "site" / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    about = parse_yaml(head, "README.md")
    assert (about["title"], about["sdk"], about["app_file"]) == ("my-zoo", "static", "index.html")
    site([zoo], tmp_path / "site", overwrite=True)
    assert not (tmp_path / "site" / "README.md").exists()


def test_a_space_needs_a_name_that_the_hub_takes(zoo: Path, tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="is not a repository of the Hub - write owner/name"):
        site([zoo], tmp_path / "site", space="my zoo")
    assert not (tmp_path / "site").exists()


@CLIENT_WARNS
def test_artefacts_of_an_author_on_the_hub_are_shown(hub, tmp_path: Path, atlas_command) -> None:
    push(make_alignment(tmp_path / "map"), "test-org/site-of-a-map")
    done = atlas_command("site", "--hub", "test-org", "--space", "test-org/pages", "--out", tmp_path / "site")
    assert "hf upload test-org/pages" in done.output
    shown = json.loads((tmp_path / "site" / "index.json").read_text(encoding="utf-8"))
    assert any(one["ref"].startswith("hf://test-org/site-of-a-map@") for one in shown)
