from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from atlas.cards.folder import CARD, MODEL, dump_card, read_card
from atlas.cards.kinds import AlignmentCard, Card, HeadCard, SpaceCard
from atlas.cards.space import Space
from atlas.errors import AtlasError, CardError, NotFoundError
from atlas.storage.checks import check_file, problems
from atlas.storage.files import sha256_file
from atlas.storage.registry import Registry, find_local, searched_first
from atlas.storage.tensors import save_tensors

A, B, C = (Space(name, 2, "toy", {"name": name}) for name in "abc")


def write(folder, card: Card) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).write_text(dump_card(card))


def stored(folder, card_of=AlignmentCard, **fields) -> Card:  # type: ignore[no-untyped-def]
    """Write an alignment with its tensors, and return its card."""
    folder.mkdir(parents=True)
    infos = save_tensors(folder / MODEL, {"weight": torch.eye(2), "bias": torch.zeros(2)})
    about = {"id": folder.name, "source": A, "target": B, "aligner": "procrustes", **fields}
    card = card_of(**about, sha256=sha256_file(folder / MODEL), tensors=infos)
    (folder / CARD).write_text(dump_card(card))
    return card


@pytest.fixture
def zoo(tmp_path):
    folder = tmp_path / "zoo"
    for space in (A, B, C):
        write(folder / "spaces" / space.id, SpaceCard(space.id, space=space))
    stored(folder / "alignments" / "a__b__procrustes", description="Rotates a onto b")
    stored(folder / "alignments" / "b__c__ridge", source=B, target=C, aligner="ridge", dataset="cifar10")
    write(folder / "heads" / "a", HeadCard("a", space=A, head="linear"))
    return folder


def ids(entries) -> list[str]:
    return [entry.card.id for entry in entries]


def test_every_card_is_listed_in_order(zoo):
    assert ids(Registry(zoo).list()) == ["a__b__procrustes", "b__c__ridge", "a", "a", "b", "c"]


def test_the_cache_of_the_hub_holds_no_entries(zoo):
    before = ids(Registry(zoo).list())
    commit = zoo / "hub" / "models--ann--x" / "snapshots" / ("0" * 40)
    stored(commit / "deep")
    stored(zoo / "alignments" / "models--mine", id="mine")
    assert ids(Registry(zoo).list()) == [*before[:2], "mine", *before[2:]]
    assert ids(Registry(commit).list()) == ["deep"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"query": "ridge"}, ["b__c__ridge"]),
        ({"query": "ROTATES onto"}, ["a__b__procrustes"]),
        ({"query": "cifar10"}, ["b__c__ridge"]),
        ({"query": "rotates cifar10"}, []),
        ({"kind": "head"}, ["a"]),
        ({"source": "b"}, ["b__c__ridge"]),
        ({"target": "b"}, ["a__b__procrustes"]),
        ({"source": "a", "target": "c"}, []),
    ],
)
def test_entries_are_found_by_words_kind_and_spaces(zoo, wanted, expected):
    assert ids(Registry(zoo).list(**wanted)) == expected


def test_an_unknown_kind_is_refused(zoo):
    with pytest.raises(AtlasError, match="Unknown kind 'alignments' - did you mean 'alignment'"):
        Registry(zoo).list(kind="alignments")


def test_a_card_that_cannot_be_read_is_left_out_of_lists_and_reported_by_check(zoo):
    (zoo / "heads" / "a" / CARD).write_text("kind: head")
    assert "head" not in {entry.card.kind for entry in Registry(zoo).list()}
    assert [str(f) for f, found in Registry(zoo).check().items() if found] == [str(zoo / "heads" / "a")]


def test_hidden_folders_are_not_entries(zoo):
    stored(zoo / ".x.tmp" / "x")
    assert "x" not in ids(Registry(zoo).list())


def test_a_missing_registry_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"There is no folder '.*/none'"):
        Registry(tmp_path / "none").list()
    (tmp_path / "file").write_text("")
    with pytest.raises(NotFoundError, match=r"'.*/file' is a file, not a folder"):
        Registry(tmp_path / "file").list()


def test_find_by_id_and_kind(zoo):
    assert Registry(zoo).find("b__c__ridge") == zoo / "alignments" / "b__c__ridge"
    assert Registry(zoo).find("a", ["head"]) == zoo / "heads" / "a"
    with pytest.raises(NotFoundError, match="no alignment of that id"):
        Registry(zoo).find("a", ["alignment"])


def test_an_id_of_two_kinds_is_ambiguous(zoo):
    with pytest.raises(
        AtlasError, match=r"'a' is the id of several artefacts: head 'a' in .* space 'a' in .* - give the folder"
    ):
        Registry(zoo).find("a")


def test_two_owners_have_one_id_side_by_side(zoo, monkeypatch):
    for owner, folder in (("ann", "x__y__ridge"), ("ben", "ben--x__y__ridge")):
        card = AlignmentCard("x__y__ridge", source=A, target=B, aligner="ridge", hub=f"{owner}/some-name@{'0' * 40}")
        write(zoo / "alignments" / folder, card)
    registry = Registry(zoo)
    assert [e.name for e in registry.list("x__y__ridge")] == ["ben/x__y__ridge", "ann/x__y__ridge"]
    assert registry.find("ben/x__y__ridge").name == "ben--x__y__ridge"
    assert registry.find("ann/x__y__ridge").name == "x__y__ridge"
    with pytest.raises(AtlasError, match=r"alignment 'ann/x__y__ridge' in .* - give the folder, or owner/id"):
        registry.find("x__y__ridge")
    assert not any("is in" in problem for found in registry.check().values() for problem in found)
    monkeypatch.setenv("ATLAS_REGISTRY", str(zoo))
    assert find_local("ben/x__y__ridge").name == "ben--x__y__ridge"
    assert find_local("nobody/x__y__ridge") == Path("nobody/x__y__ridge")


def test_an_unknown_id_names_the_nearest(zoo):
    message = (
        "There is no folder 'b__c__rigde', and no alignment of that id in the registry - did you mean 'b__c__ridge'"
    )
    with pytest.raises(NotFoundError, match=message):
        Registry(zoo).find("b__c__rigde", ["alignment"])
    with pytest.raises(NotFoundError, match="no alignment or atlas of that id in the registry - see 'atlas list'"):
        Registry(zoo).find("xyz", ["alignment", "atlas"])


def test_the_first_folder_wins(zoo, tmp_path):
    stored(tmp_path / "mine" / "a__b__procrustes", description="mine")
    first, second = Registry(tmp_path / "mine", zoo), Registry(zoo, tmp_path / "mine")
    assert first.find("a__b__procrustes") == tmp_path / "mine" / "a__b__procrustes"
    assert second.find("a__b__procrustes") == zoo / "alignments" / "a__b__procrustes"
    assert ids(first.list()).count("a__b__procrustes") == 1


def test_the_first_folder_wins_whatever_its_artefacts_folders_are_called(zoo, tmp_path):
    stored(tmp_path / "mine" / "my-map", id="a__b__procrustes")
    assert Registry(tmp_path / "mine", zoo).find("a__b__procrustes") == tmp_path / "mine" / "my-map"


def test_the_environment_names_registries_in_order(zoo, tmp_path, monkeypatch):
    monkeypatch.setenv("ATLAS_REGISTRY", os.pathsep.join([str(tmp_path / "other"), str(zoo)]))
    stored(tmp_path / "other" / "b__c__ridge")
    assert Registry().find("b__c__ridge") == tmp_path / "other" / "b__c__ridge"
    assert Registry().folders[-1].name in ("registry", "_registry")


def test_folders_can_be_searched_first_for_a_while(zoo):
    with searched_first([zoo]):
        assert Registry().find("b__c__ridge") == zoo / "alignments" / "b__c__ridge"
    assert zoo not in Registry().folders


def test_find_local_tells_paths_from_ids(zoo, monkeypatch):
    monkeypatch.chdir(zoo)
    assert str(find_local("heads")) == "heads"
    assert str(find_local("./none")) == "none"
    assert str(find_local("x/none")) == "x/none"
    assert str(find_local("none.npy")) == "none.npy"
    with searched_first([zoo]):
        assert find_local("b__c__ridge") == zoo / "alignments" / "b__c__ridge"
    with pytest.raises(NotFoundError, match="There is no folder 'none', and no artefact of that id"):
        find_local("none")


def test_a_sound_registry_has_no_problems(zoo):
    assert list(Registry(zoo).check().values()) == [[]] * 6


def test_tensors_that_were_changed_are_reported(zoo):
    folder = zoo / "alignments" / "a__b__procrustes"
    raw = bytearray((folder / MODEL).read_bytes())
    raw[-1] ^= 1
    (folder / MODEL).write_bytes(raw)
    [problem] = problems(folder)
    assert problem.startswith(f"{folder / MODEL} does not match its card: sha256 is ")


def test_tensors_of_another_shape_are_told_by_name(zoo):
    folder = zoo / "alignments" / "a__b__procrustes"
    save_tensors(folder / MODEL, {"weight": torch.zeros(3, 2), "bias": torch.zeros(2)})
    message = r"does not match its card: tensor 'weight' is F32 \[3, 2\], the card says F32 \[2, 2\]"
    with pytest.raises(CardError, match=message):
        check_file(folder, read_card(folder))
    save_tensors(folder / MODEL, {"weight": torch.eye(2)})
    with pytest.raises(CardError, match=r"tensor 'bias' is not there, the card says F32 \[2\]"):
        check_file(folder, read_card(folder))


def test_a_missing_file_is_reported(zoo):
    folder = zoo / "alignments" / "a__b__procrustes"
    (folder / MODEL).unlink()
    assert problems(folder) == [f"{folder / MODEL}: the file is missing - the card lists 2 tensors"]


def test_a_file_of_the_hub_need_not_be_there(zoo):
    folder = zoo / "alignments" / "on-the-hub"
    stored(folder, hub="owner/name@" + "0" * 40)
    (folder / MODEL).unlink()
    assert problems(folder) == []


def test_a_file_the_card_does_not_list_is_reported(zoo):
    folder = zoo / "heads" / "a"
    save_tensors(folder / MODEL, {"weight": torch.eye(2)})
    assert problems(folder) == [f"{folder / MODEL}: the card does not list it"]


def test_two_artefacts_of_one_id_are_reported(zoo):
    stored(zoo / "more" / "x", id="a__b__procrustes")
    [problem] = [problem for found in Registry(zoo).check().values() for problem in found]
    first, second = zoo / "alignments" / "a__b__procrustes", zoo / "more" / "x"
    assert problem == f"{second / CARD}: alignment 'a__b__procrustes' is in '{first}' too"


def test_a_folder_may_be_called_anything(zoo):
    stored(zoo / "alignments" / "my map", id="a__c__ridge", target=C)
    assert problems(zoo / "alignments" / "my map") == []


def test_the_shipped_registry_is_sound():
    assert {str(folder): found for folder, found in Registry().check().items() if found} == {}
