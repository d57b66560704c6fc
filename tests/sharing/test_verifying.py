"""Whether an artefact is what it says: its numbers, its plugin, and its figures, measured again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hubtools import CLIENT_WARNS, make_alignment

import atlas
from atlas.cards.folder import CARD, MODEL, dump_card, read_card
from atlas.cards.kinds import Metric, merged
from atlas.errors import AtlasError
from atlas.sharing.publishing import push
from atlas.sharing.verifying import Check, verify
from atlas.storage.files import sha256_file
from atlas.storage.tensors import save_tensors

pytest_plugins = ["hub_fixtures"]
pytestmark = CLIENT_WARNS
FIRST, LAST = torch.arange(80), torch.arange(80, 120)


def verdicts(checks) -> dict[str, bool | None]:
    """Return what each check decided."""
    return {check.name: check.ok for check in checks}


def test_figures_are_measured_again(hub, repo: str, pair, tmp_path: Path) -> None:
    source, target = pair.source.push_to_hub(f"{repo}-x"), pair.target.push_to_hub(f"{repo}-y")
    fitted = atlas.fit("procrustes", source=pair.source, target=pair.target)
    figures = atlas.evaluate(fitted, source=pair.source, target=pair.target)
    atlas.save(fitted.with_card(metrics=figures), tmp_path / "a")
    done = push(tmp_path / "a", repo, evaluated_on=[f"hf://{repo}-x", f"hf://{repo}-y"])
    assert atlas.pull(repo).card.evaluation == {"source": source.pinned, "target": target.pinned}
    checks = verify(done.pinned)
    # All but one: it was measured on what it was fitted on.
    assert [check.name for check in checks if check.ok is not True] == ["held out"]
    assert "it was fitted on 120 of the 120 items it is measured on - measure it on others" in str(checks)
    assert {"format", "hashes", "numbers", "condition", "plugin", "cosine", "self-recall@10"} <= set(verdicts(checks))
    wrong = atlas.load(done.pinned).with_card(metrics=(replace(figures[0], value=figures[0].value - 0.1),))
    assert wrong.evaluation == {"source": source.pinned, "target": target.pinned}
    atlas.save(wrong, tmp_path / "b")
    assert verdicts(verify(tmp_path / "b"))[figures[0].name] is False
    assert "does not hold: the card says" in verify(tmp_path / "b")[-1].said
    with pytest.raises(AtlasError, match=r"cannot be reached by others - push it, and give its hf:// reference"):
        push(tmp_path / "a", repo, evaluated_on=["a", "b"])


def test_what_cannot_be_measured_says_why(tmp_path: Path) -> None:
    folder = make_alignment(tmp_path / "a")
    assert verify(folder)[-1].said == "the card has none"
    make_alignment(tmp_path / "a", metrics=(Metric("cosine", 0.5),))
    assert verify(folder)[-1].said == "the card does not say on which vectors - give --source and --target"
    last = verify(folder, {"source": str(tmp_path / "x"), "target": str(tmp_path / "y")})[-1]
    assert (last.ok, last.said.startswith("could not be measured again: There is no")) == (None, True)


@pytest.mark.parametrize(
    ("plugin", "ok", "said"),
    [
        ("", True, "needs none"),
        ("latent-atlas 0.0.1", True, "latent-atlas 0.0.1 is installed"),
        ("latent-atlas 999.0", False, "it was made with latent-atlas 999.0, installed is"),
        ("latent-atlas-pot 1.0", False, "it comes with latent-atlas-pot 1.0, which is not installed: pip install"),
        ("evil; rm -rf / 1.0", False, "does not say which plugin it needs in a way that can be read"),
    ],
)
def test_the_plugin_is_looked_for(tmp_path: Path, plugin: str, ok: bool, said: str) -> None:
    folder = make_alignment(tmp_path / "a", plugin=plugin)
    retold(folder, {"map": torch.eye(3)})
    check = next(check for check in verify(folder) if check.name == "plugin")
    assert (check.ok, said in check.said) == (ok, True)


def retold(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Replace an artefact's tensors, with a card that agrees."""
    infos = save_tensors(folder / MODEL, tensors)
    card = replace(read_card(folder), tensors=infos, sha256=sha256_file(folder / MODEL))
    (folder / CARD).write_text(dump_card(card))


def test_a_map_that_needs_no_plugin_is_sound_without(tmp_path: Path) -> None:
    folder = make_alignment(tmp_path / "a", plugin="latent-atlas-pot 1.0")
    assert "is not needed: the map is a weight and a bias" in str(verify(folder))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_found(tmp_path: Path, value: float) -> None:
    folder = make_alignment(tmp_path / "a")
    retold(folder, {"weight": torch.full((6, 4), value), "bias": torch.zeros(4)})
    assert "NaN or infinity in weight" in str(verify(folder))
    assert verdicts(verify(folder))["numbers"] is False


def test_a_map_that_loses_directions_is_told(tmp_path: Path) -> None:
    folder = make_alignment(tmp_path / "a")
    retold(folder, {"weight": torch.ones(6, 4), "bias": torch.zeros(4)})
    check = next(check for check in verify(folder) if check.name == "condition")
    assert check.ok is None
    assert "some directions are lost" in check.said


def test_figures_of_the_same_name_data_set_and_split_are_replaced() -> None:
    old = (Metric("cosine", 0.1, dataset="toy", split="test"), Metric("cosine", 0.2, dataset="toy", split="val"))
    new = (Metric("cosine", 0.3, dataset="toy", split="test"), Metric("rank", 0.4, dataset="toy", split="test"))
    assert merged(old, new) == (new[0], old[1], new[1])
    assert merged((), new) == new


class Sets:
    """An alignment in a folder, and references to vectors of two data sets, and of a part of the first."""

    def __init__(self, repo: str, pair: Any, folder: Path) -> None:
        target = pair.target.of_items(list(pair.source.ids))
        train = pair.source.take(FIRST), target.take(FIRST)
        atlas.fit("procrustes", source=train[0], target=train[1]).save_pretrained(folder)
        self.folder = folder
        self.refs: dict[str, list[str]] = {}
        held = {"toy": (LAST, "toy"), "part": (LAST[:15], "toy"), "other": (torch.arange(60, 110), "other")}
        for name, (rows, dataset) in held.items():
            views = [view.take(rows).with_card(dataset=dataset) for view in (pair.source, target)]
            sides = [f"{repo}-{name}-{side}" for side in "xy"]
            self.refs[name] = [f"hf://{side}" for side in sides]
            for view, side in zip(views, sides, strict=True):
                view.push_to_hub(side)
        target.take(LAST).with_card(dataset="toy")
        atlas.train("nearest-mean", train[1]).push_to_hub(f"{repo}-head")
        self.head = f"hf://{repo}-head"


@pytest.fixture
def sets(hub, repo: str, pair, tmp_path: Path) -> Sets:
    return Sets(repo, pair, tmp_path / "a")


def of(card: Any) -> dict[tuple[str, str, str], float]:
    return {(one.name, one.dataset, one.split): one.value for one in card.metrics}


def test_a_push_keeps_the_figures_of_other_data_sets_and_tells_the_folder(
    hub, repo: str, sets: Sets, atlas_command
) -> None:
    first = atlas_command("push", sets.folder, repo, "--evaluated-on", *sets.refs["toy"])
    assert f"Wrote the figures to {sets.folder}" in first.stderr
    once: Any = read_card(sets.folder)
    before = (sets.folder / CARD).read_bytes()
    dry = atlas_command("push", sets.folder, repo, "--evaluated-on", *sets.refs["other"], "--dry-run")
    assert "Wrote the figures" not in dry.stderr
    assert (sets.folder / CARD).read_bytes() == before
    atlas_command("push", sets.folder, repo, "--evaluated-on", *sets.refs["other"])
    twice: Any = read_card(sets.folder)
    published: Any = atlas.pull(repo).card
    assert (published.metrics, published.evaluation) == (twice.metrics, twice.evaluation)
    assert {key: of(twice)[key] for key in of(once)} == of(once)
    assert {key[1] for key in of(twice)} == {"toy", "other"}
    assert twice.evaluation == {
        part: atlas.pull(ref).pinned for part, ref in zip(("source", "target"), sets.refs["other"], strict=True)
    }
    # The same once more changes nothing, and says so.
    again = atlas_command("push", sets.folder, repo, "--evaluated-on", *sets.refs["other"])
    assert "Nothing has changed" in again.stderr
    assert "Wrote the figures" not in again.stderr


def test_figures_of_several_data_sets_stay_honest(hub, repo: str, sets: Sets) -> None:
    push(sets.folder, repo, evaluated_on=sets.refs["toy"])
    push(sets.folder, repo, evaluated_on=sets.refs["other"])
    card: Any = read_card(sets.folder)

    def said(checks: list[Check], name: str) -> list[tuple[bool | None, str]]:
        return [(check.ok, check.said.split(":")[0]) for check in checks if check.name == name]

    other = (None, "the card says it of toy, the vectors are of other")
    assert said(verify(f"hf://{repo}"), "cosine") == [other, (True, "holds")]
    given = dict(zip(("source", "target"), sets.refs["toy"], strict=True))
    mine = (None, "the card says it of other, the vectors are of toy")
    assert said(verify(f"hf://{repo}", given), "cosine") == [(True, "holds"), mine]
    # A part of the same data set is told from the whole by its figures, or else by its number of items.
    push(sets.folder, repo, evaluated_on=sets.refs["part"])
    card = read_card(sets.folder)
    assert [(one.dataset, one.split, one.n) for one in card.metrics if one.name == "cosine"] == [
        ("toy", "", 15),
        ("other", "", 50),
    ]


def test_parts_of_a_data_set_are_told_apart(hub, repo: str, sets: Sets, tmp_path: Path) -> None:
    mapping = atlas.load(sets.folder)
    views = {name: [atlas.load(ref) for ref in sets.refs[name]] for name in ("toy", "part")}
    figures = [
        figure
        for name, split in (("toy", "test"), ("part", "validation"))
        for figure in atlas.evaluate(mapping, source=views[name][0], target=views[name][1], split=split)
    ]
    atlas.save(mapping.with_card(metrics=merged((), figures)), tmp_path / "b")
    done = push(tmp_path / "b", repo, evaluated_on=sets.refs["part"])
    card: Any = atlas.pull(repo).card
    # Measured on as many items as those of the validation, so they are the same.
    assert of(card) == of(read_card(tmp_path / "b")) == of(mapping.with_card(metrics=merged((), figures)).card)
    checks = [(check.ok, check.said) for check in verify(done.pinned) if check.name == "cosine"]
    assert checks[0] == (None, "the card says it of other vectors: 40 items test")
    assert checks[1][0] is True
    wrong = tuple(replace(one, value=one.value - 0.2) for one in card.metrics)
    atlas.save(mapping.with_card(metrics=wrong, evaluation=card.evaluation), tmp_path / "c")
    assert [check.ok for check in verify(tmp_path / "c") if check.name == "cosine"] == [None, False]


def test_an_accuracy_stays_where_no_head_is_given(hub, repo: str, sets: Sets) -> None:
    push(sets.folder, repo, evaluated_on=sets.refs["toy"], head=sets.head)
    before: Any = read_card(sets.folder)
    assert before.evaluation["head"] == atlas.pull(sets.head).pinned
    push(sets.folder, repo, evaluated_on=sets.refs["toy"])
    card: Any = read_card(sets.folder)
    assert of(card) == of(before)
    assert "head" not in card.evaluation
    checks = {check.name: check for check in verify(f"hf://{repo}")}
    assert checks["cosine"].ok is True
    assert (checks["accuracy"].ok, checks["accuracy"].said) == (None, "is not one that can be measured again")


def test_what_was_pulled_is_not_written_to(hub, repo: str, sets: Sets) -> None:
    push(sets.folder, repo)
    folder = atlas.pull(repo).folder
    done = push(folder, f"{repo}-copy", evaluated_on=sets.refs["toy"])
    assert done.told == ""
    assert read_card(folder).metrics == ()  # type: ignore[attr-defined]
    assert atlas.load(sets.folder).push_to_hub(repo).changed == ()
    assert push(atlas.load(sets.folder), repo, evaluated_on=sets.refs["toy"]).told == ""


def test_numbers_are_looked_at_by_batches(tmp_path: Path, monkeypatch) -> None:
    from atlas.hub.pushing import not_finite
    from atlas.storage import rows

    monkeypatch.setattr(rows, "BATCH_BYTES", 4000)
    last = torch.zeros(5000, 3)
    last[-1, -1] = float("nan")
    half = torch.zeros(7, dtype=torch.float16)
    half[0] = float("-inf")
    tensors = {"sound": torch.ones(5000, 3), "last": last, "half": half, "whole": torch.ones(4, dtype=torch.int64)}
    tensors |= {"none": torch.zeros(0, 3), "one": torch.tensor(2.0), "bytes": torch.ones(3, dtype=torch.uint8)}
    save_tensors(tmp_path / MODEL, tensors)
    taken: list[int] = []
    batches = rows.Rows.batches

    def watched(self, *what):
        for batch in batches(self, *what):
            taken.append(len(batch))
            yield batch

    monkeypatch.setattr(rows.Rows, "batches", watched)
    assert sorted(not_finite(tmp_path / MODEL)) == ["half", "last"]
    assert max(taken) == 1000
