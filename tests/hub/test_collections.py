"""Collections: what belongs together is added, listed and pulled together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hubtools import CLIENT_WARNS, make_alignment, upload

import atlas
from atlas.cards.kinds import Metric
from atlas.errors import AtlasError, NotFoundError
from atlas.hub.cache import Ref
from atlas.hub.collections import add, members
from atlas.hub.searching import search
from atlas.sharing.publishing import push

pytest_plugins = ["hub_fixtures"]
pytestmark = CLIENT_WARNS


@pytest.fixture
def title(tmp_path: Path) -> str:
    """A title that no other test has."""
    return f"Maps of {tmp_path.name}"


@pytest.fixture
def three(hub, repo: str, title: str, tmp_path: Path) -> str:
    """An alignment, vectors and a model of somebody else's library, in one collection."""
    push(make_alignment(tmp_path / "a"), f"{repo}-map", collection=title)
    vectors = atlas.Vectors.of([[1.0, 2.0], [3.0, 5.0]], "toy")
    vectors.push_to_hub(f"{repo}-vectors", license="mit", collection=title)
    upload(f"{repo}-other", {"notes.txt": b"something else"})
    return add(Ref(f"{repo}-other"), title)


def test_what_is_pushed_is_in_the_collection_once(hub, repo: str, three: str, title: str, tmp_path: Path) -> None:
    push(make_alignment(tmp_path / "b"), f"{repo}-map", collection=title)
    push(make_alignment(tmp_path / "b"), f"{repo}-map", collection=three)
    assert [ref.repo for ref in members(three)] == [f"{repo}-map", f"{repo}-vectors", f"{repo}-other"]


def test_a_dry_run_makes_none(hub, repo: str, title: str, tmp_path: Path) -> None:
    done = push(make_alignment(tmp_path / "a"), repo, collection=title, dry_run=True)
    assert not done.collection and title not in [made["title"] for made in hub.hub.collections.values()]


def test_a_listing_holds_its_artefacts_alone(hub, repo: str, three: str, tmp_path: Path) -> None:
    push(make_alignment(tmp_path / "elsewhere"), f"{repo}-elsewhere")
    assert sorted(one.repo for one in search(collection=three)) == [f"{repo}-map", f"{repo}-vectors"]
    assert [one.repo for one in search(collection=three, kind="vectors")] == [f"{repo}-vectors"]
    assert search(collection=three, author="other") == []


def test_all_of_it_is_pulled(hub, repo: str, title: str, tmp_path: Path, atlas_command) -> None:
    push(make_alignment(tmp_path / "a"), f"{repo}-map")
    done = atlas_command("push", tmp_path / "a", f"{repo}-map", "--collection", title)
    slug = push(make_alignment(tmp_path / "b", seed=1), f"{repo}-second", collection=title).collection
    assert f"It is in collection {slug}" in done.output
    told = json.loads(atlas_command("pull", "--collection", slug, "--to", tmp_path / "here", "--json").stdout)
    places = [tmp_path / "here" / f"{repo}-{name}".replace("/", "--") for name in ("map", "second")]
    assert [one["folder"] for one in told] == [str(place) for place in places]
    assert atlas.load(places[1]).id == "left__right__ridge"
    listed = json.loads(atlas_command("list", "--hub", "--collection", slug, "--json").stdout)
    assert sorted(one["repo"] for one in listed) == [f"{repo}-map", f"{repo}-second"]


@pytest.mark.parametrize("name", ["no-owner", "owner/a b", "../../x", "owner/../x"])
def test_what_is_no_name_of_a_collection_is_refused(hub, name: str) -> None:
    with pytest.raises(AtlasError, match="is not the name of a collection - write owner/title-and-number"):
        members(name)


def test_a_collection_that_is_not_there_is_told(hub) -> None:
    with pytest.raises(AtlasError, match=r"^'tester/none-0': there is no such collection on .*, or it is private"):
        members("tester/none-0")


def test_a_collection_of_others_cannot_be_added_to(hub, repo: str, three: str) -> None:
    with pytest.raises(AtlasError, match=f"^'{three}': the token does not allow this"):
        add(Ref(f"{repo}-map"), three, token="hf_other_write")


def test_hostile_names_in_a_collection_are_refused(hub, three: str) -> None:
    hub.hub.collections[three]["items"].append({"_id": "0" * 24, "id": "../../etc", "type": "model"})
    with pytest.raises(AtlasError, match="is not a repository of the Hub"):
        members(three)


def test_an_empty_collection_is_told(hub, three: str) -> None:
    hub.hub.collections[three]["items"] = [{"_id": "0" * 24, "id": "2106.09685", "type": "paper"}]
    with pytest.raises(NotFoundError, match="holds no models"):
        members(three)


@pytest.fixture
def some(hub, tmp_path: Path, title: str) -> str:
    """A collection of three maps of other licences, pairs and figures."""
    slug = ""
    for name, license, pairs, figure in (
        ("a", "mit", 50, Metric("r2", 0.9, dataset="toy")),
        ("b", "mit", 500, Metric("r2", 0.7, dataset="toy")),
        ("c", "cc-by-4.0", 500, Metric("r2", 0.95, dataset="toy", overlap=3, n=10)),
    ):
        folder = make_alignment(tmp_path / name, license=license, n_pairs=pairs, metrics=(figure,), id=name)
        slug = push(folder, f"tester/{name}-{tmp_path.name[-8:]}", collection=title).collection
    return slug


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"license": "mit"}, "ab"),
        ({"pairs": 100}, "bc"),
        ({"least": {"r2": 0.8}}, "a"),
        ({"license": "mit", "pairs": 100, "least": {"r2": 0.8}}, ""),
        ({"limit": 2}, "ab"),
    ],
)
def test_artefacts_are_chosen_by_licence_pairs_and_figures(hub, some: str, wanted, found: str) -> None:
    assert "".join(one.repo.split("/")[1][0] for one in search(collection=some, **wanted)) == found


def test_the_command_line_chooses_the_same(hub, some: str, tmp_path: Path, atlas_command) -> None:
    wanted = ("--license", "mit", "--least", "r2", "0.8", "--json")
    [one] = json.loads(atlas_command("list", "--hub", "--collection", some, *wanted).stdout)
    assert one["license"] == "mit" and one["pairs"] == 50
    said = atlas_command("list", "--hub", "--collection", some, "--sort", "r3").stderr
    assert "Note: no card found has a figure of 'r3' - there are figures of r2\n" in said
    for name in "abc":
        (tmp_path / "zoo" / "alignments").mkdir(parents=True, exist_ok=True)
        (tmp_path / name).rename(tmp_path / "zoo" / "alignments" / name)
    here = json.loads(atlas_command("list", "--registry", tmp_path / "zoo", *wanted).stdout)
    assert [entry["id"] for entry in here] == ["a"]
    two = json.loads(atlas_command("list", "--registry", tmp_path / "zoo", "--limit", 2, "--json").stdout)
    assert len(two) == 2


def test_a_registry_id_is_pushed(hub, repo: str) -> None:
    done = push("digits-256", repo)
    assert atlas.load(done.pinned).id == "digits-256"


def test_push_to_hub_takes_every_keyword_of_push_but_those_that_measure() -> None:
    import inspect

    push_keywords = {*inspect.signature(atlas.push).parameters} - {"artefact"}
    measured = {"evaluated_on", "head", "fitted_on", "with_moments"}
    assert {*inspect.signature(atlas.Alignment.push_to_hub).parameters} - {"self"} == push_keywords - measured
